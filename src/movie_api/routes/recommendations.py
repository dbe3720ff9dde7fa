"""Routes of recommendations, similar movies and trending movies."""

from typing import Any

from dishka import FromDishka
from litestar import Response, get
from litestar.params import FromPath

from movie_api.auth import require_search_access, require_user
from movie_api.pagination import PAGING_PARAMETERS, page_response, parse_window, request_window
from movie_api.parameters import parse_parameters
from movie_api.problems import AnyRequest
from movie_api.responses import NO_STORE, PRIVATE, json_response, timestamp
from movie_api.routes.movies import SEARCH_PATH, movie_fields
from movie_core.accounts.sessions import Caller
from movie_core.discovery.services import Discovery, RecommendedMovies
from movie_core.discovery.trending import WEIGHTS, InteractionKind, TrendWindow
from movie_core.errors import InvalidParameter

RECOMMENDATIONS = "/api/v1/recommendations/"
SIMILAR = SEARCH_PATH + "{movie_id:str}/similar/"
TRENDING = SEARCH_PATH + "trending/"


@get(RECOMMENDATIONS, guards=[require_user])
async def recommend_movies(
    request: AnyRequest, caller: FromDishka[Caller], discovery: FromDishka[Discovery]
) -> Response[bytes]:
    window = request_window(request)
    page = await discovery.recommendations(caller.user_id, window)
    return page_response(
        request, RECOMMENDATIONS, window, page.total, _recommended_movies(page), NO_STORE, meta={"tier": page.tier}
    )


@get(SIMILAR, guards=[require_search_access])
async def similar_movies(
    request: AnyRequest, movie_id: FromPath[str], discovery: FromDishka[Discovery]
) -> Response[bytes]:
    window = request_window(request)
    page = await discovery.similar(movie_id, window)
    path = request.scope["raw_path"].decode("ascii").rstrip("/") + "/"
    return page_response(request, path, window, page.total, _recommended_movies(page), PRIVATE)


@get(TRENDING, guards=[require_search_access])
async def trending_movies(request: AnyRequest, discovery: FromDishka[Discovery]) -> Response[bytes]:
    parameters = parse_parameters(request.scope["query_string"], {**PAGING_PARAMETERS, "window": InvalidParameter})
    try:
        window = TrendWindow(parameters.get("window", TrendWindow.DAY))
    except ValueError:
        raise InvalidParameter("window must be day or week", field="window") from None
    result = await discovery.trending(window, parse_window(parameters))
    items = [
        movie_fields(movie)
        | {"score": trend.score, "counts": {kind.value: trend.counts.get(kind, 0) for kind in InteractionKind}}
        for movie, trend in result.items
    ]
    meta = {
        "window": window,
        "half_life": window.half_life,
        "weights": WEIGHTS,
        "state": "stale" if result.trending.is_stale else "live",
        "as_of": timestamp(result.trending.as_of),
    }
    return json_response({"items": items, "meta": meta}, headers=PRIVATE)


def _recommended_movies(page: RecommendedMovies) -> list[dict[str, Any]]:
    return [movie_fields(item.movie) | {"score": item.score, "reasons": item.reasons} for item in page.items]


RECOMMENDATION_ROUTES = (recommend_movies, similar_movies, trending_movies)
