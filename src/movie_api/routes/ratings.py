"""Ratings and what they lead to: a user's list, recommendations, similar movies, trends."""

import asyncio
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
from dishka import FromDishka
from litestar import Response, delete, get, put
from litestar.params import FromPath

from movie_api.pagination import PAGED, listing, window_of
from movie_api.problems import AnyRequest
from movie_api.request_body import CSV, media_type_of, read_file, read_json, read_rows
from movie_api.routes.accounts import ME
from movie_api.routes.movies import (
    SEARCH_PATH,
    movie_fields,
    parse_parameters,
    require_importer,
    require_search_access,
    require_user,
    require_writer,
)
from movie_core.accounts.services import Caller
from movie_core.discovery.rating_files import parse_ratings
from movie_core.discovery.ratings import MAX_IMPORT, ImportRow, MovieIdentity, Rating, Rejection, check_rating
from movie_core.discovery.services import Discovery, SuggestedMovies
from movie_core.discovery.trending import WEIGHTS, InteractionKind, TrendWindow
from movie_core.errors import InvalidParameter, InvalidRating
from movie_core.paging import Window

RATING = SEARCH_PATH + "{movie_id:str}/rating/"
RATINGS = ME + "ratings/"
RECOMMENDATIONS = "/api/v1/recommendations/"
SIMILAR = SEARCH_PATH + "{movie_id:str}/similar/"
TRENDING = SEARCH_PATH + "trending/"

MAX_IMPORT_BODY = 2 * 1024 * 1024
"""Bytes of a bulk import."""


class GivenRating(msgspec.Struct):
    rating: float


class ImportedRating(msgspec.Struct, forbid_unknown_fields=True):
    movie_id: str
    rating: float
    rated_at: Annotated[datetime, msgspec.Meta(tz=True)] | msgspec.UnsetType = msgspec.UNSET


@put(RATING, guards=[require_writer])
async def rate_movie(
    request: AnyRequest, movie_id: FromPath[str], caller: FromDishka[Caller], discovery: FromDishka[Discovery]
) -> Response[bytes]:
    given = await read_json(request, GivenRating)
    return _rating(await discovery.rate(caller.user_id, movie_id, given.rating))


@get(RATING)
async def show_rating(
    movie_id: FromPath[str], caller: FromDishka[Caller], discovery: FromDishka[Discovery]
) -> Response[bytes]:
    return _rating(await discovery.rating(caller.user_id, movie_id))


@delete(RATING, guards=[require_writer])
async def remove_rating(
    movie_id: FromPath[str], caller: FromDishka[Caller], discovery: FromDishka[Discovery]
) -> Response[None]:
    await discovery.unrate(caller.user_id, movie_id)
    return Response(None, status_code=204, headers=_NO_STORE)


@get(RATINGS, guards=[require_user])
async def list_ratings(
    request: AnyRequest, caller: FromDishka[Caller], discovery: FromDishka[Discovery]
) -> Response[bytes]:
    window = _window(request)
    found = await discovery.rated(caller.user_id, window)
    items = [movie_fields(one.movie) | {"rating": one.rating, "rated_at": _time(one.rated_at)} for one in found.items]
    return listing(request, RATINGS, window, found.total, items, {})


@put(RATINGS, guards=[require_importer], request_max_body_size=MAX_IMPORT_BODY)
async def import_ratings(
    request: AnyRequest, caller: FromDishka[Caller], discovery: FromDishka[Discovery]
) -> Response[bytes]:
    if media_type_of(request) == CSV:
        rows, rejected = await asyncio.to_thread(parse_ratings, await read_file(request, CSV))
    else:
        rows, rejected = _checked(await read_rows(request, ImportedRating, least=0, most=MAX_IMPORT))
    return _json(await discovery.import_ratings(caller.user_id, rows, rejected), {})


def _checked(given: Iterable[ImportedRating]) -> tuple[list[ImportRow], list[Rejection]]:
    rows, rejected = [], []
    for number, one in enumerate(given, 1):
        try:
            rating = check_rating(one.rating)
        except InvalidRating as wrong:
            rejected.append(Rejection(number, wrong.code, wrong.detail))
            continue
        try:
            at = None if isinstance(one.rated_at, msgspec.UnsetType) else one.rated_at.astimezone(UTC)
        except OverflowError:
            rejected.append(Rejection(number, "invalid_row", "rated_at lies before the year 1 in UTC"))
            continue
        rows.append(ImportRow(number, MovieIdentity(movie_id=one.movie_id), rating, at))
    return rows, rejected


@get(RECOMMENDATIONS, guards=[require_user])
async def recommend_movies(
    request: AnyRequest, caller: FromDishka[Caller], discovery: FromDishka[Discovery]
) -> Response[bytes]:
    window = _window(request)
    found = await discovery.recommendations(caller.user_id, window)
    return listing(
        request, RECOMMENDATIONS, window, found.total, _suggested(found), _NO_STORE, meta={"tier": found.tier}
    )


@get(SIMILAR, guards=[require_search_access])
async def similar_movies(
    request: AnyRequest, movie_id: FromPath[str], discovery: FromDishka[Discovery]
) -> Response[bytes]:
    window = _window(request)
    found = await discovery.similar(movie_id, window)
    path = request.scope["raw_path"].decode("ascii").rstrip("/") + "/"
    return listing(request, path, window, found.total, _suggested(found), _PRIVATE)


@get(TRENDING, guards=[require_search_access])
async def trending_movies(request: AnyRequest, discovery: FromDishka[Discovery]) -> Response[bytes]:
    given = parse_parameters(request.scope["query_string"], {**PAGED, "window": InvalidParameter})
    try:
        window = TrendWindow(given.get("window", TrendWindow.DAY))
    except ValueError:
        raise InvalidParameter("window must be day or week", field="window") from None
    page = window_of(given)
    found = await discovery.trending(window, page)
    items = [
        movie_fields(movie)
        | {"score": trend.score, "counts": {kind.value: trend.counts.get(kind, 0) for kind in InteractionKind}}
        for movie, trend in found.items
    ]
    meta = {
        "window": window,
        "half_life": window.half_life,
        "weights": WEIGHTS,
        "state": "stale" if found.trending.is_stale else "live",
        "as_of": _time(found.trending.as_of),
    }
    return _json({"items": items, "meta": meta})


_PRIVATE: Mapping[str, str] = {"cache-control": "private"}
_NO_STORE: Mapping[str, str] = {"cache-control": "no-store"}
"""For answers that say what a user likes. Those below `users/` get it from the guard."""


def _json(content: Any, headers: Mapping[str, str] = _PRIVATE) -> Response[bytes]:
    return Response(msgspec.json.encode(content), media_type="application/json", headers=dict(headers))


def _window(request: AnyRequest) -> Window:
    return window_of(parse_parameters(request.scope["query_string"], PAGED))


def _rating(rating: Rating) -> Response[bytes]:
    content = {"movie_id": rating.movie_id, "rating": rating.rating, "rated_at": _time(rating.rated_at)}
    return _json(content, _NO_STORE)


def _suggested(found: SuggestedMovies) -> list[dict[str, Any]]:
    return [movie_fields(one.movie) | {"score": one.score, "reasons": one.reasons} for one in found.items]


def _time(at: datetime) -> datetime:
    return at.replace(microsecond=0)


RATING_ROUTES = (
    rate_movie,
    show_rating,
    remove_rating,
    list_ratings,
    import_ratings,
    recommend_movies,
    similar_movies,
    trending_movies,
)
