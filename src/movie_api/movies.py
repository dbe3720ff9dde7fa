"""`/api/v1/movies/…` and `/api/v1/genres/`: parse, ask the service, render.

`parse_search` and `render_page` are the whole way from a query string to the bytes of an answer, for every lane that
answers searches.
"""

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any
from urllib.parse import unquote_to_bytes

import msgspec
from dishka import FromDishka
from litestar import Request, Response, get
from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler
from litestar.params import FromPath

from movie_core.accounts import Caller
from movie_core.catalog import Catalog
from movie_core.errors import (
    Invalid,
    InvalidOffsetOrLimit,
    InvalidParameter,
    InvalidQuery,
)
from movie_core.movies import FoundMovie, Movie, MoviePage, MovieQuery, normalise_query
from movie_core.paging import PageLinks, Window

Connection = ASGIConnection[Any, Any, Any, Any]

SEARCH_PATH = "/api/v1/movies/"
MAX_ID = 200
"""Characters of a movie's id; longer ones belong to no movie."""

_BROKEN_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_LATER = ("exclude",)
"""Parameters that the API knows but does not offer."""
_REFUSALS: Mapping[str, Callable[[str], Invalid]] = {
    "offset": lambda detail: InvalidOffsetOrLimit(detail, field="offset"),
    "limit": lambda detail: InvalidOffsetOrLimit(detail, field="limit"),
    "query": lambda detail: InvalidQuery(detail, field="query"),
    "year": lambda detail: InvalidParameter(detail, field="year"),
    "genre": lambda detail: InvalidParameter(detail, field="genre"),
    "order": lambda detail: InvalidParameter(detail, field="order"),
    "exclude": lambda detail: InvalidParameter(detail, field="exclude"),
}
_SHOWN = tuple(one.name for one in fields(Movie) if one.name != "alt_titles")


@dataclass(frozen=True, slots=True)
class Meta:
    """Where an answer comes from."""

    source: str
    state: str
    fetched_at: datetime


def parse_parameters(query_string: bytes) -> dict[str, str]:
    """The parameters that we know, each given at most once, decoded strictly; unknown ones are ignored."""
    known: dict[str, str] = {}
    for pair in query_string.split(b"&"):
        raw_name, _, raw_value = pair.partition(b"=")
        name = _decoded(raw_name)
        refuse = _REFUSALS.get(name or "")
        if refuse is None:
            continue
        value = _decoded(raw_value)
        if value is None:
            raise refuse(f"{name} must be percent-encoded UTF-8")
        if name in known:
            raise refuse(f"{name} must be given once")
        known[str(name)] = value
    return known


def _decoded(raw: bytes) -> str | None:
    """None where the bytes are no percent-encoded UTF-8."""
    if _BROKEN_ESCAPE.search(raw):
        return None
    try:
        return unquote_to_bytes(raw.replace(b"+", b" ")).decode()
    except UnicodeDecodeError:
        return None


def parse_search(query_string: bytes) -> tuple[MovieQuery, Window]:
    """What a search asks for; raises an error of the `Invalid` family."""
    given = parse_parameters(query_string)
    for name in _LATER:
        if name in given:
            raise InvalidParameter(f"{name} is not offered here", field=name)
    window = Window.parse(given.get("offset"), given.get("limit"))
    query = MovieQuery.parse(
        given.get("query"), year=given.get("year"), genre=given.get("genre"), order=given.get("order")
    )
    return query, window


def movie_fields(movie: Movie) -> dict[str, Any]:
    """What is known of a movie; what isn't is left out."""
    return {name: value for name in _SHOWN if (value := getattr(movie, name)) is not None and value != ()}


def _meta(page: MoviePage | FoundMovie) -> Meta:
    return Meta(page.source, page.state.value, page.fetched_at.replace(microsecond=0))


def render_page(page: MoviePage, query: MovieQuery, window: Window, public_url: str) -> tuple[dict[str, str], bytes]:
    """Headers and body of a page."""
    links = PageLinks.of(public_url + SEARCH_PATH, window, page.total, query.parameters())
    items = msgspec.json.encode([movie_fields(movie) for movie in page.items])
    info = msgspec.json.encode(links.info(window, page.total))
    told = b'{"total":%d,"items":%b,"page_info":%b' % (page.total, items, info)
    body = b'%b,"meta":%b}' % (told, msgspec.json.encode(_meta(page)))
    headers = {
        "link": links.header(),
        # Of items, total and links alone: state and age of the same answer may differ.
        "etag": f'W/"{hashlib.blake2b(told, digest_size=12).hexdigest()}"',
        "cache-control": "private",
        "cache-status": "movies; fwd=miss",
    }
    return headers, body


def _matches(if_none_match: str | None, etag: str) -> bool:
    """Weak comparison (RFC 9110, 13.1.2)."""
    if if_none_match is None:
        return False
    listed = {tag.strip().removeprefix("W/") for tag in if_none_match.split(",")}
    return "*" in listed or etag.removeprefix("W/") in listed


def _json(request: Request[Any, Any, Any], headers: dict[str, str], body: bytes) -> Response[bytes]:
    if "etag" in headers and _matches(request.headers.get("if-none-match"), headers["etag"]):
        return Response(b"", status_code=304, headers=headers)
    return Response(body, headers=headers, media_type="application/json")


async def require_search_access(connection: Connection, _: BaseRouteHandler) -> None:
    """Guards these routes: they need a valid token, unless search is public and no token is looked at."""
    if not connection.app.state.settings.public_search:
        await connection.state.dishka_container.get(Caller)


@get(SEARCH_PATH, guards=[require_search_access])
async def search_movies(request: Request[Any, Any, Any], catalog: FromDishka[Catalog]) -> Response[bytes]:
    query, window = parse_search(request.scope["query_string"])
    page = await catalog.search(query, window)
    return _json(request, *render_page(page, query, window, request.scope["state"]["public_url"]))


@get("/api/v1/movies/suggest/", guards=[require_search_access])
async def suggest_movies(request: Request[Any, Any, Any], catalog: FromDishka[Catalog]) -> Response[bytes]:
    given = parse_parameters(request.scope["query_string"])
    movies = await catalog.suggest(normalise_query(given.get("query", "")))
    items = [
        {"id": movie.id, "title": movie.title} | ({} if movie.year is None else {"year": movie.year})
        for movie in movies
    ]
    return _json(request, {"cache-control": "private"}, msgspec.json.encode({"items": items}))


@get("/api/v1/movies/{movie_id:str}/", guards=[require_search_access])
async def movie_details(
    request: Request[Any, Any, Any], movie_id: FromPath[str], catalog: FromDishka[Catalog]
) -> Response[bytes]:
    found = await catalog.get(movie_id)
    body = msgspec.json.encode(movie_fields(found.movie) | {"meta": _meta(found)})
    return _json(request, {"cache-control": "private"}, body)


@get("/api/v1/genres/", guards=[require_search_access])
async def list_genres(request: Request[Any, Any, Any], catalog: FromDishka[Catalog]) -> Response[bytes]:
    genres = await catalog.genres()
    return _json(request, {"cache-control": "private"}, msgspec.json.encode({"items": genres}))


MOVIE_ROUTES = (search_movies, suggest_movies, movie_details, list_genres)
