"""`/api/v1/movies/…` and `/api/v1/genres/`: parse the request, call the service, render the response.

`parse_search` and `render_page` turn a query string into the bytes of a response; `CachedSearch` sends such bytes
again. The routes of a movie's rating are in `ratings`.
"""

import hashlib
import time
from dataclasses import replace
from enum import Enum
from operator import attrgetter
from typing import Annotated, Any, Self

import msgspec
from dishka import FromDishka
from litestar import Response, get
from litestar.params import FromPath

from movie_api.auth import AccessControl, container_of, require_search_access, require_suggest_access
from movie_api.context import context_of
from movie_api.operations import SOURCE_ERRORS, Access, Operation, OtherResponse
from movie_api.pagination import Limit, Offset, PageInfo
from movie_api.parameters import parse_parameters
from movie_api.problems import AnyRequest
from movie_api.response_cache import EXCLUDE_RATED, RenderedPage, ResponseCache, SearchRequest, matches_etag
from movie_api.responses import PRIVATE, json_response, timestamp
from movie_api.schemas import NO_CONTROLS, JsonObject, Timestamp, documented
from movie_core.accounts.sessions import Caller
from movie_core.discovery.event_recorder import EventRecorder
from movie_core.discovery.services import Discovery
from movie_core.errors import InvalidParameter
from movie_core.paging import DEFAULT_LIMIT, MAX_LIMIT, PageLinks, Window
from movie_core.provenance import CacheStatus
from movie_core.search.movie_search import MAX_SUGGESTIONS, MovieSearch
from movie_core.search.movies import MAX_GENRE, FoundMovie, MovieQuery, NoMatch, Order
from movie_core.search.movies import Movie as CoreMovie
from movie_core.search.movies import MoviePage as CoreMoviePage
from movie_core.text import MAX_QUERY, normalise_query

SEARCH_PATH = "/api/v1/movies/"


class SuggestParameters(msgspec.Struct):
    """The parameters of a suggestion."""

    query: Annotated[
        str,
        documented(
            f"Search text; empty or omitted: all movies. At most {MAX_QUERY} characters after NFC and collapsing of "
            "spaces, no control characters. A catalogue also finds a movie by its IMDb id or its URL at IMDb or TMDB.",
            maxLength=MAX_QUERY,
            pattern=NO_CONTROLS,
            examples=["matrix"],
        ),
    ] = ""


class SearchParameters(SuggestParameters):
    """The parameters of a search."""

    offset: Offset = 0
    limit: Limit = DEFAULT_LIMIT
    year: (
        Annotated[str, documented("A year or an inclusive range of years.", pattern=r"^[0-9]{4}(\.\.[0-9]{4})?$")]
        | msgspec.UnsetType
    ) = msgspec.UNSET
    genre: (
        Annotated[
            str,
            documented(
                "A genre as listed by `/api/v1/genres/`; case-insensitive.",
                minLength=1,
                maxLength=MAX_GENRE,
                pattern=NO_CONTROLS,
            ),
        ]
        | msgspec.UnsetType
    ) = msgspec.UNSET
    order: Annotated[
        Order,
        documented(
            "`relevance`: best match first. `popularity`: most popular first. `year`: newest first. `personal` "
            "(requires authentication): the first 100 matches by the user's preferences."
        ),
    ] = Order.RELEVANCE
    exclude: (
        Annotated[
            str,
            documented("Omits movies that the user has rated; requires authentication.", enum=[EXCLUDE_RATED]),
        ]
        | msgspec.UnsetType
    ) = msgspec.UNSET


class ConditionalHeaders(msgspec.Struct, rename={"if_none_match": "If-None-Match"}):
    """The request headers of a conditional search."""

    if_none_match: Annotated[str, documented("ETags of responses that the client has stored.")] | msgspec.UnsetType = (
        msgspec.UNSET
    )


class Movie(JsonObject, omit_defaults=True):
    """A movie. Unknown fields are left out."""

    id: Annotated[str, documented("Opaque; assigned by the source.", examples=["tt0133093"])]
    title: Annotated[str, documented(examples=["The Matrix"])]
    year: int | None = None
    genres: tuple[str, ...] = ()
    original_title: str | None = None
    overview: str | None = None
    runtime_minutes: int | None = None
    directors: tuple[str, ...] = ()
    cast: tuple[str, ...] = ()
    countries: tuple[str, ...] = ()
    poster_url: Annotated[str | None, documented(format="uri")] = None
    imdb_id: str | None = None
    tmdb_id: str | None = None
    popularity: Annotated[float | None, documented("On the source's own scale; greater means more popular.")] = None

    @classmethod
    def of(cls, source: CoreMovie, **fields: Any) -> Self:  # type: ignore[override]  # of movies only
        return cls(*_movie_values(source), **fields)


_movie_values = attrgetter(*Movie.__struct_fields__)


class Meta(JsonObject):
    """The source of a response."""

    source: Annotated[str, documented(enum=["third_party", "tmdb", "catalogue", "local"])]
    state: Annotated[
        CacheStatus,
        documented(
            "`live`: just fetched from the source. `fresh`: from the cache. `stale`: from the cache, past its "
            "freshness, as it is being refreshed or the source is failing. `fallback`: from the local catalogue, as "
            "the source is unavailable."
        ),
    ]
    fetched_at: Timestamp


class MovieDetails(Movie, kw_only=True):
    """A movie and its source."""

    meta: Meta


class MoviePage(JsonObject):
    """A page of matches."""

    total: Annotated[int, documented("Number of all matches, as counted by the source.", minimum=0)]
    items: Annotated[list[Movie], documented(maxItems=MAX_LIMIT)]
    page_info: PageInfo
    meta: Meta


class Suggestion(JsonObject, omit_defaults=True):
    """A suggested movie."""

    id: str
    title: str
    year: int | None = None


class Suggestions(JsonObject):
    """Suggested movies, best match first."""

    items: Annotated[list[Suggestion], documented(maxItems=MAX_SUGGESTIONS)]


class Genre(JsonObject):
    """A genre and the number of movies that have it."""

    name: str
    movies: Annotated[int, documented(minimum=1)]


class Genres(JsonObject):
    """All genres of the source."""

    items: list[Genre]


class EmptySearch(Enum):
    """The response to a search without matches (`MOVIE_EMPTY_SEARCH`)."""

    NOT_FOUND = "404"
    EMPTY_PAGE = "200"


def parse_search(query_string: bytes) -> SearchRequest:
    """Parse the query string of a search; raises an error of the `Invalid` family."""
    parameters = parse_parameters(query_string, SearchParameters)
    if parameters.get("exclude", EXCLUDE_RATED) != EXCLUDE_RATED:
        raise InvalidParameter(f"exclude must be {EXCLUDE_RATED}", field="exclude")
    window = Window.parse(parameters.get("offset"), parameters.get("limit"))
    query = MovieQuery.parse(
        parameters.get("query"),
        year=parameters.get("year"),
        genre=parameters.get("genre"),
        order=parameters.get("order"),
    )
    return SearchRequest(query, window, "exclude" in parameters)


def _meta(page: CoreMoviePage | FoundMovie) -> Meta:
    return Meta(page.source, page.cache_status, timestamp(page.fetched_at))


def render_page(page: CoreMoviePage, request: SearchRequest, public_url: str) -> RenderedPage:
    links = PageLinks.of(public_url + SEARCH_PATH, request.window, page.total, request.parameters())
    info = PageInfo.of_links(links, request.window, page.total)
    items = [Movie(*_movie_values(movie)) for movie in page.items]
    body = msgspec.json.encode(MoviePage(page.total, items, info, _meta(page)))
    # Computed from items, total and links only, because `meta` of the same content may differ.
    content = body[: body.rindex(b',"meta":')]
    etag = f'W/"{hashlib.blake2b(content, digest_size=12).hexdigest()}"'
    fresh_until = None if page.fresh_until is None else page.fresh_until.timestamp()
    return RenderedPage(body, links.header(), etag, page.cache_status, page.fetched_at.timestamp(), fresh_until)


@get(
    SEARCH_PATH,
    guards=[require_search_access],
    operation=Operation(
        id="searchMovies",
        tag="movies",
        summary="Search movies",
        description=(
            "Returns one page of the movies that match `query` and the filters. Titles match despite typos, missing "
            "accents, prefixes and reordered words. `Link` and `page_info` have the links to other pages; following "
            "`next` visits each match once. No match is an error, `movie_not_found`, with `suggestions` if titles "
            "resemble the query; with the setting `MOVIE_EMPTY_SEARCH=200` it is an empty page."
        ),
        access=Access.SEARCHERS,
        is_limited=True,
        parameters=SearchParameters,
        request_headers=ConditionalHeaders,
        response=MoviePage,
        headers=("Link", "ETag", "Cache-Control", "Cache-Status", "Age"),
        errors=(
            *("invalid_offset_or_limit", "invalid_query", "invalid_parameter", "filter_unsupported"),
            *("page_out_of_range", "movie_not_found", *SOURCE_ERRORS),
        ),
        other_responses={
            304: OtherResponse(
                description="Not modified: the ETag matches `If-None-Match`.",
                headers=("Link", "ETag", "Cache-Control", "Cache-Status", "Age"),
            )
        },
    ),
)
async def search_movies(
    request: AnyRequest,
    movie_search: FromDishka[MovieSearch],
    discovery: FromDishka[Discovery],
    access: FromDishka[AccessControl],
    recorder: FromDishka[EventRecorder],
    response_cache: FromDishka[ResponseCache],
    empty_search: FromDishka[EmptySearch],
) -> Response[bytes]:
    search = parse_search(request.scope["query_string"])
    query, window = search.query, search.window
    context = context_of(request.scope)
    caller, public_url = context.caller, context.public_url
    if caller is None and search.is_personal:
        caller = await container_of(request).get(Caller)  # raises the error of the token
    user_id = None if caller is None else caller.user_id
    try:
        if search.is_personal:
            page = await discovery.search(query, window, user_id, exclude_rated=search.exclude_rated)
        else:
            page = await movie_search.search(query, window)
    except NoMatch as error:
        page = error.page
        recorder.record_search(user_id, query.text, page.cache_status, is_first=not window.offset, found=False)
        if empty_search is EmptySearch.NOT_FOUND:
            error.suggestions = await movie_search.closest_titles(query)
            raise
        return _page_response(request, render_page(page, replace(search, window=Window(0, window.limit)), public_url))
    recorder.record_search(user_id, query.text, page.cache_status, is_first=not window.offset)
    rendered = render_page(page, search, public_url)
    if not search.is_personal:
        response_cache.put(request.scope["query_string"], search, rendered, time.time(), access, recorder)
    return _page_response(request, rendered)


def _page_response(request: AnyRequest, page: RenderedPage) -> Response[bytes]:
    headers = page.headers(time.time())
    if matches_etag(request.headers.get("if-none-match"), page.etag):
        return Response(b"", status_code=304, headers=headers)
    return json_response(page.body, headers=headers)


@get(
    "/api/v1/movies/suggest/",
    guards=[require_suggest_access],
    operation=Operation(
        id="suggestMovies",
        tag="movies",
        summary="Suggest titles for a partial query",
        description=(
            f"Returns at most {MAX_SUGGESTIONS} movies whose title continues `query`, for completion while a user "
            "types. It has a rate limit of its own, and no match is an empty list."
        ),
        access=Access.SEARCHERS,
        is_limited=True,
        parameters=SuggestParameters,
        response=Suggestions,
        headers=("Cache-Control",),
        errors=("invalid_query", *SOURCE_ERRORS),
    ),
)
async def suggest_movies(request: AnyRequest, movie_search: FromDishka[MovieSearch]) -> Response[bytes]:
    parameters = parse_parameters(request.scope["query_string"], SuggestParameters)
    movies = await movie_search.suggest(normalise_query(parameters.get("query", "")))
    items = [Suggestion(movie.id, movie.title, movie.year) for movie in movies]
    return json_response(Suggestions(items), headers=PRIVATE)


@get(
    "/api/v1/movies/{movie_id:str}/",
    guards=[require_search_access],
    operation=Operation(
        id="getMovie",
        tag="movies",
        summary="Details of a movie",
        description=(
            "Returns everything known about a movie, from the source or, if the source has no details, from what "
            "searches have shown. `meta` states which."
        ),
        access=Access.SEARCHERS,
        is_limited=True,
        response=MovieDetails,
        headers=("Cache-Control",),
        errors=("movie_not_found", *SOURCE_ERRORS),
    ),
)
async def movie_details(movie_id: FromPath[str], movie_search: FromDishka[MovieSearch]) -> Response[bytes]:
    details = await movie_search.get(movie_id)
    return json_response(MovieDetails.of(details.movie, meta=_meta(details)), headers=PRIVATE)


@get(
    "/api/v1/genres/",
    guards=[require_search_access],
    operation=Operation(
        id="listGenres",
        tag="movies",
        summary="Genres, with their number of movies",
        description="Returns the genres of the source, for the parameter `genre` of a search.",
        access=Access.SEARCHERS,
        is_limited=True,
        response=Genres,
        headers=("Cache-Control",),
        errors=SOURCE_ERRORS,
    ),
)
async def list_genres(movie_search: FromDishka[MovieSearch]) -> Response[bytes]:
    return json_response(Genres([Genre.of(genre) for genre in await movie_search.genres()]), headers=PRIVATE)


MOVIE_ROUTES = (search_movies, suggest_movies, movie_details, list_genres)
