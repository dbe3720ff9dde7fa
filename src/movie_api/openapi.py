"""The OpenAPI 3.1 document of the API, built once at start: every path, parameter, header and error.

It is written out here rather than derived from handlers, because handlers parse the raw query string themselves; a
test compares its paths and methods with the routes there are.
"""

from collections.abc import Iterable
from typing import Any

from movie_api.errors import MEDIA_TYPE, PROBLEMS
from movie_core.catalog import MAX_SUGGESTIONS
from movie_core.movies import MAX_GENRE, MAX_QUERY, Order, State
from movie_core.paging import DEFAULT_LIMIT, MAX_LIMIT, MAX_OFFSET

Json = dict[str, Any]

_TEXT: Json = {"type": "string"}
_TEXTS: Json = {"type": "array", "items": _TEXT}
_URL: Json = {"type": "string", "format": "uri"}
_COUNT: Json = {"type": "integer", "minimum": 0}


def _object(required: Iterable[str], **properties: Json) -> Json:
    return {"type": "object", "required": list(required), "properties": properties, "additionalProperties": False}


def _list(of: Json, **limits: int) -> Json:
    return {"type": "array", "items": of, **limits}


def _schema(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


_MOVIE_PROPERTIES: Json = {
    "id": {"type": "string", "description": "Opaque; belongs to the source.", "examples": ["tt0133093"]},
    "title": {"type": "string", "examples": ["The Matrix"]},
    "year": {"type": "integer"},
    "genres": _TEXTS,
    "original_title": _TEXT,
    "overview": _TEXT,
    "runtime_minutes": {"type": "integer"},
    "directors": _TEXTS,
    "cast": _TEXTS,
    "countries": _TEXTS,
    "poster_url": _URL,
    "imdb_id": _TEXT,
    "tmdb_id": _TEXT,
    "popularity": {"type": "number", "description": "On the source's own scale; greater is better known."},
}
_ID_AND_TITLE = ("id", "title")

SCHEMAS: Json = {
    "Movie": _object(_ID_AND_TITLE, **_MOVIE_PROPERTIES),
    "MovieDetails": _object((*_ID_AND_TITLE, "meta"), **_MOVIE_PROPERTIES, meta=_schema("Meta")),
    "Meta": _object(
        ("source", "state", "fetched_at"),
        source={"type": "string", "enum": ["third_party", "tmdb", "catalogue", "local"]},
        state={"type": "string", "enum": list(State), "description": "`live`: just fetched from the source."},
        fetched_at={"type": "string", "format": "date-time"},
    ),
    "PageInfo": _object(
        ("current_page", "total_pages", "previous", "next"),
        current_page={"type": "integer", "minimum": 1},
        total_pages={"type": "integer", "minimum": 1},
        previous={"type": ["string", "null"], "format": "uri", "description": "null at offset 0 only"},
        next={"type": ["string", "null"], "format": "uri"},
    ),
    "MoviePage": _object(
        ("total", "items", "page_info", "meta"),
        total={"type": "integer", "minimum": 1, "description": "Matches in all, the source's own count."},
        items=_list(_schema("Movie"), minItems=1, maxItems=MAX_LIMIT),
        page_info=_schema("PageInfo"),
        meta=_schema("Meta"),
    ),
    "Suggestions": _object(
        ("items",),
        items=_list(_object(_ID_AND_TITLE, id=_TEXT, title=_TEXT, year={"type": "integer"}), maxItems=MAX_SUGGESTIONS),
    ),
    "Genres": _object(
        ("items",),
        items=_list(_object(("name", "movies"), name=_TEXT, movies={"type": "integer", "minimum": 1})),
    ),
    "Health": {
        "type": "object",
        "required": ["status"],
        "properties": {"status": {"type": "string", "enum": ["ready", "degraded", "unavailable"]}},
        "additionalProperties": _object(
            ("status", "detail"), status={"type": "string", "enum": ["up", "down"]}, detail=_TEXT
        ),
        "description": "Beside `status`, one member for each part that the process leans on.",
    },
    "Live": _object(("status",), status={"const": "live"}),
    "Problem": _object(
        ("type", "title", "status", "detail", "code", "request_id", "errors"),
        type=_URL,
        title=_TEXT,
        status={"type": "integer", "minimum": 400, "maximum": 599},
        detail=_TEXT,
        code={"type": "string", "enum": sorted(PROBLEMS)},
        request_id=_TEXT,
        errors=_list(_object(("field", "code", "detail"), field=_TEXT, code=_TEXT, detail=_TEXT)),
    ),
}


def _parameter(name: str, description: str, schema: Json, example: Any = None, where: str = "query") -> Json:
    parameter = {"name": name, "in": where, "description": description, "required": where == "path", "schema": schema}
    return parameter if example is None else parameter | {"example": example}


_QUERY = _parameter(
    "query",
    f"What to look for; empty or left out: all movies. Up to {MAX_QUERY} characters after NFC and joining blanks, "
    "no control characters.",
    {"type": "string", "maxLength": MAX_QUERY, "pattern": r"^[^\x00-\x1f\x7f-\x9f]*$", "default": ""},
    "matrix",
)
_SEARCH_PARAMETERS = [
    _QUERY,
    _parameter(
        "offset",
        "Matches to pass over.",
        {"type": "integer", "minimum": 0, "maximum": MAX_OFFSET, "default": 0},
    ),
    _parameter(
        "limit",
        "Matches on a page.",
        {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT},
    ),
    _parameter(
        "year",
        "A year or an inclusive range of years.",
        {"type": "string", "pattern": r"^[0-9]{4}(\.\.[0-9]{4})?$"},
    ),
    _parameter(
        "genre",
        "A genre as `/api/v1/genres/` names it; case doesn't matter.",
        {"type": "string", "minLength": 1, "maxLength": MAX_GENRE, "pattern": r"^[^\x00-\x1f\x7f-\x9f]*$"},
    ),
    _parameter(
        "order",
        "Best match, best known, or newest first.",
        {"type": "string", "enum": list(Order), "default": Order.RELEVANCE.value},
    ),
]

_HEADERS: dict[str, Json] = {
    "X-Request-ID": {
        "description": "The request's own id where it sent a usable one, else a new one.",
        "schema": _TEXT,
    },
    "Link": {"description": "`first`, `prev`, `next`, `last` (RFC 8288), as in `page_info`.", "schema": _TEXT},
    "ETag": {"description": "Weak; of items, total and links.", "schema": _TEXT},
    "Cache-Control": {"description": "`private`", "schema": _TEXT},
    "Cache-Status": {"description": "RFC 9211; `movies; fwd=miss` for a live answer.", "schema": _TEXT},
    "WWW-Authenticate": {"description": "`Bearer`", "schema": _TEXT},
    "Allow": {"description": "The methods of the path.", "schema": _TEXT},
    "Retry-After": {"description": "Seconds.", "schema": {"type": "integer", "minimum": 1}},
}
_FOR_STATUS = {401: ("WWW-Authenticate",), 405: ("Allow",), 503: ("Retry-After",)}


def _headers(*names: str) -> Json:
    return {name: _HEADERS[name] for name in ("X-Request-ID", *names)}


def _content(media_type: str, schema: Json) -> Json:
    return {media_type: {"schema": schema}}


def _problems(*codes: str) -> Json:
    """The error answers of an operation, those that every operation has included."""
    codes = (*codes, "invalid_host", "method_not_allowed", "uri_too_long", "headers_too_large", "internal_error")
    by_status: dict[int, list[str]] = {}
    for code in codes:
        by_status.setdefault(PROBLEMS[code].status, []).append(code)
    return {
        str(status): {
            "description": ", ".join(f"`{code}`" for code in listed),
            "headers": _headers(*_FOR_STATUS.get(status, ())),
            "content": _content(MEDIA_TYPE, _schema("Problem")),
        }
        for status, listed in sorted(by_status.items())
    }


def _get(
    name: str,
    tag: str,
    summary: str,
    schema: Json,
    *errors: str,
    parameters: Iterable[Json] = (),
    headers: Iterable[str] = (),
    media_type: str = "application/json",
    is_open: bool = False,
    more: Json | None = None,
) -> Json:
    answered = {"description": summary, "headers": _headers(*headers), "content": _content(media_type, schema)}
    return {
        "get": {
            "operationId": name,
            "tags": [tag],
            "summary": summary,
            "parameters": list(parameters),
            "responses": {"200": answered, **(more or {}), **_problems(*errors)},
            **({"security": []} if is_open else {}),
        }
    }


_ACCESS = ("not_authenticated", "invalid_token")
_AWAY = ("source_unavailable", "store_unavailable")
_NOT_MODIFIED = {
    "304": {
        "description": "As `If-None-Match` has it.",
        "headers": _headers("Link", "ETag", "Cache-Control", "Cache-Status"),
    }
}
_IF_NONE_MATCH = _parameter("If-None-Match", "ETags of answers at hand.", _TEXT, where="header")

PATHS: Json = {
    "/api/v1/movies/": _get(
        "searchMovies",
        "movies",
        "Search movies, a page at a time",
        _schema("MoviePage"),
        *("invalid_offset_or_limit", "invalid_query", "invalid_parameter", "filter_unsupported", "page_out_of_range"),
        *("movie_not_found", *_ACCESS, *_AWAY),
        parameters=[*_SEARCH_PARAMETERS, _IF_NONE_MATCH],
        headers=("Link", "ETag", "Cache-Control", "Cache-Status"),
        more=_NOT_MODIFIED,
    ),
    "/api/v1/movies/suggest/": _get(
        "suggestMovies",
        "movies",
        "Titles for a text that is being typed",
        _schema("Suggestions"),
        *("invalid_query", *_ACCESS, *_AWAY),
        parameters=[_QUERY],
        headers=("Cache-Control",),
    ),
    "/api/v1/movies/{movie_id}/": _get(
        "getMovie",
        "movies",
        "Everything known of one movie",
        _schema("MovieDetails"),
        *("movie_not_found", *_ACCESS, *_AWAY),
        parameters=[
            _parameter("movie_id", "As a search answered it.", {"type": "string", "minLength": 1}, "tt0133093", "path")
        ],
        headers=("Cache-Control",),
    ),
    "/api/v1/genres/": _get(
        "listGenres",
        "movies",
        "Genres, with the number of their movies",
        _schema("Genres"),
        *(*_ACCESS, *_AWAY),
        headers=("Cache-Control",),
    ),
    "/health/live": _get(
        "isLive", "operation", "Whether the process runs; touches nothing", _schema("Live"), is_open=True
    ),
    "/health/ready": _get(
        "isReady",
        "operation",
        "Whether the process can serve, and which parts are away",
        _schema("Health"),
        is_open=True,
        more={
            "503": {
                "description": "Nothing can be served, or the process is ending.",
                "headers": _headers("Retry-After"),
                "content": _content("application/json", _schema("Health")),
            }
        },
    ),
    "/errors/{code}": _get(
        "explainError",
        "operation",
        "What an error code means",
        _TEXT,
        "not_found",
        parameters=[
            _parameter(
                "code", "As problem documents carry it.", {"type": "string", "enum": sorted(PROBLEMS)}, None, "path"
            )
        ],
        media_type="text/html",
        is_open=True,
    ),
}


def document(public_url: str, *, version: str, public_search: bool, notice: str = "") -> Json:
    """The whole document. `notice` is what the source in use asks to be said of it."""
    description = "Searches movies held by a source that may fail, and answers in pages." + (notice and f"\n\n{notice}")
    bearer: Json = {"bearer": []}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Movie Search",
            "version": version,
            "description": description,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": public_url}],
        "security": [{}, bearer] if public_search else [bearer],
        "tags": [
            {"name": "movies", "description": "Search, details, suggestions, genres."},
            {"name": "operation", "description": "For operators and readers."},
        ],
        "paths": PATHS,
        "components": {
            "schemas": SCHEMAS,
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
        },
    }
