"""Routes of recommendations, similar movies and trending movies."""

from collections.abc import Mapping
from typing import Annotated

import msgspec
from dishka import FromDishka
from litestar import Response, get
from litestar.params import FromPath

from movie_api.auth import require_search_access, require_user
from movie_api.operations import PAGE_ERRORS, SOURCE_ERRORS, Access, Operation
from movie_api.pagination import (
    Limit,
    Offset,
    Page,
    PageParameters,
    page_response,
    parse_window,
    request_window,
)
from movie_api.parameters import parse_parameters
from movie_api.problems import AnyRequest
from movie_api.responses import NO_STORE, PRIVATE, json_response, timestamp
from movie_api.routes.movies import SEARCH_PATH, Movie
from movie_api.schemas import Count, JsonObject, Timestamp, documented
from movie_core.accounts.sessions import Caller
from movie_core.discovery.recommendations import MAX_REASONS, ReasonKind, Tier
from movie_core.discovery.services import Discovery, RecommendedMovies
from movie_core.discovery.trending import WEIGHTS, InteractionKind, TrendWindow
from movie_core.errors import InvalidParameter
from movie_core.paging import DEFAULT_LIMIT, MAX_LIMIT

RECOMMENDATIONS = "/api/v1/recommendations/"
SIMILAR = SEARCH_PATH + "{movie_id:str}/similar/"
TRENDING = SEARCH_PATH + "trending/"


class Reason(JsonObject):
    """A reason for a recommendation."""

    kind: ReasonKind
    movie_id: str
    title: str


class RecommendedMovie(Movie, kw_only=True):
    """A recommended or similar movie."""

    score: Annotated[float, documented("Comparable within this list only.")]
    reasons: Annotated[list[Reason], documented(maxItems=MAX_REASONS)]


class RecommendationsMeta(JsonObject):
    """The basis of a list of recommendations."""

    tier: Annotated[
        Tier, documented("`personal`: based on the user's ratings. `popular`: the user has no ratings yet.")
    ]


class Recommendations(Page[RecommendedMovie]):
    """A page of recommended movies."""

    meta: RecommendationsMeta


class SimilarMovies(Page[RecommendedMovie]):
    """A page of similar movies."""


class TrendingParameters(msgspec.Struct):
    """The parameters of trending movies."""

    window: Annotated[TrendWindow, documented("Half-life of the weights: 6 hours for `day`, 2 days for `week`.")] = (
        TrendWindow.DAY
    )
    offset: Offset = 0
    limit: Limit = DEFAULT_LIMIT


class InteractionCounts(JsonObject):
    """Numbers of interactions by kind."""

    view: Count
    click: Count
    rating: Count


class TrendingMovie(Movie, kw_only=True):
    """A trending movie."""

    score: Annotated[float, documented("The sum of the weights, each halved after every half-life.")]
    counts: InteractionCounts


class InteractionWeights(JsonObject):
    """Weights of interactions by kind; `liked` is a good rating."""

    view: float
    click: float
    rating: float
    liked: float


class TrendingMeta(JsonObject):
    """How the scores were computed."""

    window: TrendWindow
    half_life: Annotated[int, documented("Seconds.")]
    weights: InteractionWeights
    state: Annotated[
        str,
        documented(
            "`stale`: computed at `as_of`, because the store is unavailable or being rebuilt.", enum=["live", "stale"]
        ),
    ]
    as_of: Timestamp


class Trending(JsonObject):
    """Trending movies, highest score first."""

    items: Annotated[list[TrendingMovie], documented(maxItems=MAX_LIMIT)]
    meta: TrendingMeta


@get(
    RECOMMENDATIONS,
    guards=[require_user],
    operation=Operation(
        id="recommendMovies",
        tag="ratings",
        summary="Recommended movies, based on all ratings so far",
        description=(
            "Returns movies that the user has not rated, best first, each with the rated movies that are the reasons. "
            "Before the first rating, the list has popular movies; `meta.tier` states which it is."
        ),
        is_limited=True,
        parameters=PageParameters,
        response=Recommendations,
        headers=("Cache-Control", "Link"),
        errors=(*PAGE_ERRORS, *SOURCE_ERRORS),
    ),
)
async def recommend_movies(
    request: AnyRequest, caller: FromDishka[Caller], discovery: FromDishka[Discovery]
) -> Response[bytes]:
    window = request_window(request)
    page = await discovery.recommendations(caller.user_id, window)
    meta = RecommendationsMeta(page.tier)
    return page_response(
        Recommendations, request, RECOMMENDATIONS, window, page.total, _recommended_movies(page), NO_STORE, meta=meta
    )


@get(
    SIMILAR,
    guards=[require_search_access],
    operation=Operation(
        id="listSimilarMovies",
        tag="movies",
        summary="Similar movies, most similar first",
        description=(
            "Returns movies that are similar to one movie, by ratings of the same users and by genres and release "
            "year, each with its reasons."
        ),
        access=Access.SEARCHERS,
        is_limited=True,
        parameters=PageParameters,
        response=SimilarMovies,
        headers=("Link", "Cache-Control"),
        errors=(*PAGE_ERRORS, "movie_not_found", *SOURCE_ERRORS),
    ),
)
async def similar_movies(
    request: AnyRequest, movie_id: FromPath[str], discovery: FromDishka[Discovery]
) -> Response[bytes]:
    window = request_window(request)
    page = await discovery.similar(movie_id, window)
    path = request.scope["raw_path"].decode("ascii").rstrip("/") + "/"
    return page_response(SimilarMovies, request, path, window, page.total, _recommended_movies(page), PRIVATE)


@get(
    TRENDING,
    guards=[require_search_access],
    operation=Operation(
        id="listTrendingMovies",
        tag="movies",
        summary="Trending movies",
        description=(
            "Returns the movies with the highest score: the weighted sum of recent views, clicks and ratings, in which "
            "each interaction loses half of its weight per half-life. `meta` has the weights and the half-life."
        ),
        access=Access.SEARCHERS,
        is_limited=True,
        parameters=TrendingParameters,
        response=Trending,
        headers=("Cache-Control",),
        errors=("invalid_parameter", "invalid_offset_or_limit", *SOURCE_ERRORS),
    ),
)
async def trending_movies(request: AnyRequest, discovery: FromDishka[Discovery]) -> Response[bytes]:
    parameters = parse_parameters(request.scope["query_string"], TrendingParameters)
    try:
        window = TrendWindow(parameters.get("window", TrendWindow.DAY))
    except ValueError:
        raise InvalidParameter("window must be day or week", field="window") from None
    result = await discovery.trending(window, parse_window(parameters))
    items = [TrendingMovie.of(movie, score=trend.score, counts=_counts(trend.counts)) for movie, trend in result.items]
    meta = TrendingMeta(
        window=window,
        half_life=window.half_life,
        weights=InteractionWeights(**WEIGHTS),
        state="stale" if result.trending.is_stale else "live",
        as_of=timestamp(result.trending.as_of),
    )
    return json_response(Trending(items, meta), headers=PRIVATE)


def _counts(counts: Mapping[InteractionKind, int]) -> InteractionCounts:
    return InteractionCounts(**{kind.value: counts.get(kind, 0) for kind in InteractionKind})


def _recommended_movies(page: RecommendedMovies) -> list[RecommendedMovie]:
    return [
        RecommendedMovie.of(item.movie, score=item.score, reasons=[Reason.of(reason) for reason in item.reasons])
        for item in page.items
    ]


RECOMMENDATION_ROUTES = (recommend_movies, similar_movies, trending_movies)
