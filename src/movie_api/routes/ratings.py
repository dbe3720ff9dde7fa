"""Routes of ratings."""

import asyncio
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Annotated

import msgspec
from dishka import FromDishka
from litestar import Response, delete, get, put
from litestar.params import FromPath

from movie_api.auth import require_importer, require_user, require_writer
from movie_api.pagination import page_response, request_window
from movie_api.problems import AnyRequest
from movie_api.request_body import CSV, media_type_of, read_file, read_json, read_rows
from movie_api.responses import NO_STORE, json_response, no_content, timestamp
from movie_api.routes.movies import SEARCH_PATH, movie_fields
from movie_api.routes.users import ME
from movie_core.accounts.sessions import Caller
from movie_core.discovery.rating_files import parse_ratings
from movie_core.discovery.ratings import MAX_IMPORT, ImportRow, MovieIdentity, Rating, Rejection, check_rating
from movie_core.discovery.services import Discovery
from movie_core.errors import InvalidRating

RATING = SEARCH_PATH + "{movie_id:str}/rating/"
RATINGS = ME + "ratings/"

MAX_IMPORT_BODY = 2 * 1024 * 1024
"""Bytes of the body of an import."""


class RatingRequest(msgspec.Struct):
    rating: float


class RatingImportRow(msgspec.Struct, forbid_unknown_fields=True):
    movie_id: str
    rating: float
    rated_at: Annotated[datetime, msgspec.Meta(tz=True)] | msgspec.UnsetType = msgspec.UNSET


@put(RATING, guards=[require_writer])
async def rate_movie(
    request: AnyRequest, movie_id: FromPath[str], caller: FromDishka[Caller], discovery: FromDishka[Discovery]
) -> Response[bytes]:
    body = await read_json(request, RatingRequest)
    return _rating_response(await discovery.rate(caller.user_id, movie_id, body.rating))


@get(RATING)
async def show_rating(
    movie_id: FromPath[str], caller: FromDishka[Caller], discovery: FromDishka[Discovery]
) -> Response[bytes]:
    return _rating_response(await discovery.get_rating(caller.user_id, movie_id))


@delete(RATING, guards=[require_writer])
async def remove_rating(
    movie_id: FromPath[str], caller: FromDishka[Caller], discovery: FromDishka[Discovery]
) -> Response[None]:
    await discovery.delete_rating(caller.user_id, movie_id)
    return no_content(NO_STORE)


@get(RATINGS, guards=[require_user])
async def list_ratings(
    request: AnyRequest, caller: FromDishka[Caller], discovery: FromDishka[Discovery]
) -> Response[bytes]:
    window = request_window(request)
    rated = await discovery.list_ratings(caller.user_id, window)
    items = [
        movie_fields(item.movie) | {"rating": item.rating, "rated_at": timestamp(item.rated_at)} for item in rated.items
    ]
    return page_response(request, RATINGS, window, rated.total, items, {})


@put(RATINGS, guards=[require_importer], request_max_body_size=MAX_IMPORT_BODY)
async def import_ratings(
    request: AnyRequest, caller: FromDishka[Caller], discovery: FromDishka[Discovery]
) -> Response[bytes]:
    if media_type_of(request) == CSV:
        rows, rejected = await asyncio.to_thread(parse_ratings, await read_file(request, CSV))
    else:
        rows, rejected = _validate(await read_rows(request, RatingImportRow, least=0, most=MAX_IMPORT))
    return json_response(await discovery.import_ratings(caller.user_id, rows, rejected))


def _validate(rows: Iterable[RatingImportRow]) -> tuple[list[ImportRow], list[Rejection]]:
    accepted, rejected = [], []
    for number, row in enumerate(rows, 1):
        try:
            rating = check_rating(row.rating)
        except InvalidRating as error:
            rejected.append(Rejection(number, error.code, error.detail))
            continue
        try:
            at = None if isinstance(row.rated_at, msgspec.UnsetType) else row.rated_at.astimezone(UTC)
        except OverflowError:
            rejected.append(Rejection(number, "invalid_row", "rated_at is before the year 1 in UTC"))
            continue
        accepted.append(ImportRow(number, MovieIdentity(movie_id=row.movie_id), rating, at))
    return accepted, rejected


def _rating_response(rating: Rating) -> Response[bytes]:
    content = {"movie_id": rating.movie_id, "rating": rating.rating, "rated_at": timestamp(rating.rated_at)}
    return json_response(content, headers=NO_STORE)


RATING_ROUTES = (
    rate_movie,
    show_rating,
    remove_rating,
    list_ratings,
    import_ratings,
)
