"""Routes of ratings."""

import asyncio
import codecs
from datetime import datetime
from typing import Annotated

import msgspec
from dishka import FromDishka
from litestar import Response, delete, get, put
from litestar.params import FromPath

from movie_api.auth import require_importer, require_user, require_writer
from movie_api.operations import PAGE_ERRORS, SOURCE_ERRORS, Operation
from movie_api.pagination import Page, PageParameters, page_response, request_window
from movie_api.parameters import parse_parameters
from movie_api.problems import AnyRequest
from movie_api.request_body import CSV, JSON, ZIP, media_type_of, parse_json, read_file, read_json
from movie_api.responses import NO_STORE, json_response, no_content, timestamp
from movie_api.routes.movies import SEARCH_PATH, Movie
from movie_api.routes.users import ME
from movie_api.schemas import Count, JsonObject, Score, Timestamp, documented
from movie_core.accounts.sessions import Caller
from movie_core.discovery.movie_matching import MatchedBy
from movie_core.discovery.rating_files import parse_ratings
from movie_core.discovery.rating_json import is_json, parse_json_ratings
from movie_core.discovery.ratings import (
    MAX_IMPORT,
    ImportRow,
    Rejection,
)
from movie_core.discovery.ratings import BatchResult as CoreBatchResult
from movie_core.discovery.ratings import ImportResult as CoreImportResult
from movie_core.discovery.ratings import Rating as CoreRating
from movie_core.discovery.services import Discovery
from movie_core.discovery.tables import decode, unpack
from movie_core.errors import InvalidParameter

RATING = SEARCH_PATH + "{movie_id:str}/rating/"
RATINGS = ME + "ratings/"

MAX_IMPORT_BODY = 2 * 1024 * 1024
"""Bytes of the body of an import."""


class NewRating(JsonObject):
    """A rating to store."""

    rating: Score


class Rating(JsonObject):
    """The rating that a user gave a movie."""

    movie_id: str
    rating: Score
    rated_at: Timestamp


class RatedMovie(Movie, kw_only=True):
    """A movie that the user has rated."""

    rating: float
    rated_at: Timestamp


class RatedMovies(Page[RatedMovie]):
    """A page of rated movies."""


class RatingRow(JsonObject):
    """A rating to import. Rows of the user's export have all fields."""

    movie_id: str
    rating: float
    rated_at: Annotated[datetime, msgspec.Meta(tz=True)] | msgspec.UnsetType = msgspec.UNSET
    source: Annotated[
        str | msgspec.UnsetType | None,
        documented("The movie source whose id `movie_id` is; the one in use if it is omitted."),
    ] = msgspec.UNSET
    title: Annotated[
        str | msgspec.UnsetType | None, documented("If given, it must be that of the movie with this id.")
    ] = msgspec.UNSET
    year: int | msgspec.UnsetType | None = msgspec.UNSET


RatingImport = Annotated[
    list[RatingRow], msgspec.Meta(title="RatingImport", extra_json_schema={"maxItems": MAX_IMPORT})
]
RatingFile = Annotated[
    str,
    documented(
        examples=["Date,Name,Year,Letterboxd URI,Rating\n2024-03-03,Casablanca,1942,https://boxd.it/2b0k,4.5\n"]
    ),
]
RatingArchive = Annotated[str, documented("A ZIP file with one file `ratings.csv`.", format="binary")]

IMPORT_TYPES = {
    JSON: RatingImport,
    **dict.fromkeys(
        (CSV, "text/tab-separated-values", "text/plain", "application/csv", "application/vnd.ms-excel"), RatingFile
    ),
    **dict.fromkeys((ZIP, "application/x-zip-compressed"), RatingArchive),
}
"""The media types that browsers and programs state for these files. Only JSON is trusted: all others are recognised by
their content."""


RowNumber = Annotated[int, documented("Counted from 1, without the header row.", minimum=1)]


class RejectedRow(JsonObject):
    """A row that was not stored, with the reason."""

    row: RowNumber
    code: str
    detail: str


class BatchResult(JsonObject):
    """The result of storing a list of rows."""

    accepted: Annotated[int, documented("Number of accepted rows.", minimum=0)]
    rejected: list[RejectedRow]

    @classmethod
    def of_result(cls, result: CoreBatchResult) -> "BatchResult":
        return cls(result.accepted, [RejectedRow.of(row) for row in result.rejected])


class ImportParameters(msgspec.Struct):
    """Query parameters of an import."""

    overwrite: Annotated[
        bool, documented("Replace stored ratings that are newer than those of the file.", default=False)
    ] = False


class MatchCounts(JsonObject):
    """Numbers of accepted rows by what identified their movie, other than an id of this service."""

    imdb_id: Count
    tmdb_id: Count
    title_year: Annotated[int, documented("The title, with exactly the year.", minimum=0)]
    near_year: Annotated[
        int, documented("The title, with a year that differs by one or is missing on either side.", minimum=0)
    ]


class NearMatch(JsonObject):
    """An accepted row whose year is not exactly that of its movie."""

    row: RowNumber
    title: str | None
    year: int | None
    movie_id: str
    movie_title: str
    movie_year: int | None


class ImportResult(BatchResult):
    """The result of an import."""

    superseded: Annotated[
        list[RowNumber], documented("Accepted rows that are not stored, because a newer rating of the movie exists.")
    ]
    matched_by: MatchCounts
    near_matches: Annotated[list[NearMatch], documented("The rows that `near_year` counts.")]

    @classmethod
    def of_import(cls, result: CoreImportResult) -> "ImportResult":
        return cls(
            accepted=result.accepted,
            rejected=[RejectedRow.of(row) for row in result.rejected],
            superseded=list(result.superseded),
            matched_by=MatchCounts(
                **{name: result.matched_by.get(MatchedBy(name), 0) for name in MatchCounts.__struct_fields__}
            ),
            near_matches=[
                NearMatch.of(near, movie_id=near.movie.id, movie_title=near.movie.title, movie_year=near.movie.year)
                for near in result.near_matches
            ],
        )


@put(
    RATING,
    guards=[require_writer],
    operation=Operation(
        id="rateMovie",
        tag="ratings",
        summary="Rate a movie from a search result",
        description=(
            "Stores the user's rating of a movie, from 0.5 to 10 in steps of 0.5, and replaces an earlier one. It "
            "changes recommendations and `order=personal` at once."
        ),
        is_limited=True,
        request=NewRating,
        response=Rating,
        headers=("Cache-Control",),
        errors=("invalid_rating", "movie_not_found", "too_many_ratings", *SOURCE_ERRORS),
    ),
)
async def rate_movie(
    request: AnyRequest, movie_id: FromPath[str], caller: FromDishka[Caller], discovery: FromDishka[Discovery]
) -> Response[bytes]:
    body = await read_json(request, NewRating)
    return _rating_response(await discovery.rate(caller.user_id, movie_id, body.rating))


@get(
    RATING,
    operation=Operation(
        id="getRating",
        tag="ratings",
        summary="The rating that the user gave the movie",
        description="Returns the rating and its time; `rating_not_found` if the user has not rated the movie.",
        response=Rating,
        headers=("Cache-Control",),
        errors=("rating_not_found", *SOURCE_ERRORS),
    ),
)
async def show_rating(
    movie_id: FromPath[str], caller: FromDishka[Caller], discovery: FromDishka[Discovery]
) -> Response[bytes]:
    return _rating_response(await discovery.get_rating(caller.user_id, movie_id))


@delete(
    RATING,
    guards=[require_writer],
    operation=Operation(
        id="removeRating",
        tag="ratings",
        summary="Delete a rating",
        description="Deletes the user's rating of a movie. It is idempotent: it succeeds also if there is none.",
        is_limited=True,
        status=204,
        headers=("Cache-Control",),
        errors=SOURCE_ERRORS,
    ),
)
async def remove_rating(
    movie_id: FromPath[str], caller: FromDishka[Caller], discovery: FromDishka[Discovery]
) -> Response[None]:
    await discovery.delete_rating(caller.user_id, movie_id)
    return no_content(NO_STORE)


@get(
    RATINGS,
    guards=[require_user],
    operation=Operation(
        id="listRatings",
        tag="ratings",
        summary="The movies that the user has rated, newest rating first",
        description="Returns one page of the rated movies with the user's ratings. Without ratings, `total` is 0.",
        is_limited=True,
        parameters=PageParameters,
        response=RatedMovies,
        headers=("Link",),
        errors=(*PAGE_ERRORS, *SOURCE_ERRORS),
    ),
)
async def list_ratings(
    request: AnyRequest, caller: FromDishka[Caller], discovery: FromDishka[Discovery]
) -> Response[bytes]:
    window = request_window(request)
    rated = await discovery.list_ratings(caller.user_id, window)
    items = [RatedMovie.of(item.movie, rating=item.rating, rated_at=timestamp(item.rated_at)) for item in rated.items]
    return page_response(RatedMovies, request, RATINGS, window, rated.total, items, {})


@put(
    RATINGS,
    guards=[require_importer],
    request_max_body_size=MAX_IMPORT_BODY,
    operation=Operation(
        id="importRatings",
        tag="ratings",
        summary=f"Import up to {MAX_IMPORT} ratings, as JSON or as a file that another service exports",
        description=(
            "Stores many ratings at once: rows of this service, its export of a user (`/users/me/export/`), or a file "
            "of IMDb, Letterboxd, MovieLens, SIMKL, TMDB or Trakt as CSV, JSON or ZIP. Rows of files are matched by "
            "IMDb or TMDB id, then by title and year, and never with a movie that has another id. Five-star scales are "
            "doubled. Rows that cannot be stored are listed with the reason; all others are stored, except ratings "
            "that are older than the stored one."
        ),
        is_limited=True,
        parameters=ImportParameters,
        request=IMPORT_TYPES,
        response=ImportResult,
        errors=(
            *("invalid_parameter", "too_many_rows", "unclosed_quote", "several_users", "too_many_ratings"),
            *SOURCE_ERRORS,
        ),
    ),
)
async def import_ratings(
    request: AnyRequest, caller: FromDishka[Caller], discovery: FromDishka[Discovery]
) -> Response[bytes]:
    overwrite = _is_overwrite(request)
    body = await read_file(request, IMPORT_TYPES)
    rows, rejected = await asyncio.to_thread(_parse, body, media_type_of(request))
    result = await discovery.import_ratings(caller.user_id, rows, rejected, overwrite=overwrite)
    return json_response(ImportResult.of_import(result))


def _parse(body: bytes, media_type: str) -> tuple[list[ImportRow], list[Rejection]]:
    if media_type != JSON:
        body = unpack(body)
        if not is_json(body):
            return parse_ratings(body)
        body = decode(body).encode()
    return parse_json_ratings(parse_json(body.removeprefix(codecs.BOM_UTF8)))


def _is_overwrite(request: AnyRequest) -> bool:
    value = parse_parameters(request.scope["query_string"], ImportParameters).get("overwrite", "false")
    if value not in {"true", "false"}:
        raise InvalidParameter("overwrite must be true or false", field="overwrite")
    return value == "true"


def _rating_response(rating: CoreRating) -> Response[bytes]:
    content = Rating(rating.movie_id, rating.rating, timestamp(rating.rated_at))
    return json_response(content, headers=NO_STORE)


RATING_ROUTES = (
    rate_movie,
    show_rating,
    remove_rating,
    list_ratings,
    import_ratings,
)
