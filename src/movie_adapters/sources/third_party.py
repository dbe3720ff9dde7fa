"""The original third party as a movie source.

It searches titles: `GET {url}/movies/?skip=&limit=&query=` returns `{"items": [{"id", "title"}], "total"}`.
"""

import math
import re
from collections.abc import Iterator, Sequence
from typing import Any

from movie_adapters.sources.http import SourceFault, SourceHttp, clean_text
from movie_core.errors import FilterUnsupported
from movie_core.paging import Window
from movie_core.search.movies import MAX_ID, Capability, FoundMovie, Genre, Movie, MoviePage, MovieQuery

MAX_TITLE = 1_000
"""Maximum length of a title or name, in characters."""
MAX_NAMES = 100
"""Maximum number of genres, directors, cast members or countries of one movie."""
MAX_TOTAL = 1_000_000_000
"""Maximum plausible total; a greater one is invalid."""

_IMDB_ID = re.compile(r"tt[0-9]{7,10}", re.ASCII)


class ThirdPartyMovieSource:
    """A `MovieSource` over the third party; it supports text search only. Each request is attempted once."""

    name = "third_party"
    capabilities: frozenset[Capability] = frozenset()

    def __init__(self, http: SourceHttp) -> None:
        self._http = http
        self.dropped = 0
        """Items left out so far: without a usable id or title, or with a duplicate id."""

    async def search(self, query: MovieQuery, window: Window) -> MoviePage:
        for capability in sorted(query.required_capabilities):
            raise FilterUnsupported(f"the source {self.name} does not support {capability}", field=capability)
        parameters = (("skip", str(window.offset)), ("limit", str(window.limit)), ("query", query.text))
        body = await self._http.get("movies/", parameters)
        total, raw_items = _parse_envelope(body)
        items, skipped = self._parse_items(raw_items[: window.limit] if window.offset < total else [])
        if window.offset < total and not items:
            raise _wrong_shape("sent a page without a usable movie")
        return MoviePage(total, items, self.name, skipped=skipped)

    async def get(self, movie_id: str) -> FoundMovie:
        raise FilterUnsupported(f"the source {self.name} does not support details")

    async def suggest(self, text: str, limit: int) -> Sequence[Movie]:
        raise FilterUnsupported(f"the source {self.name} does not support suggestions")

    async def genres(self) -> Sequence[Genre]:
        raise FilterUnsupported(f"the source {self.name} does not support genres")

    def _parse_items(self, raw_items: list[Any]) -> tuple[tuple[Movie, ...], tuple[int, ...]]:
        """Return the movies, and the positions of unusable items."""
        movies: dict[str, Movie] = {}
        skipped = []
        for position, item in enumerate(raw_items):
            movie = parse_movie(item)
            if movie is None or movie.id in movies:
                skipped.append(position)
            else:
                movies[movie.id] = movie
        self.dropped += len(skipped)
        return tuple(movies.values()), tuple(skipped)


def _parse_envelope(body: Any) -> tuple[int, list[Any]]:
    """Return the total and the raw items; raises `SourceFault` if they are invalid or contradictory."""
    if not isinstance(body, dict):
        raise _wrong_shape("sent no object")
    if body.get("error"):
        raise _wrong_shape("sent an error with status 200")
    total, items = body.get("total"), body.get("items")
    if type(total) is not int or not 0 <= total <= MAX_TOTAL:  # isinstance would accept a bool
        raise _wrong_shape("sent no usable total")
    if not isinstance(items, list):
        raise _wrong_shape("sent no list of items")
    if total == 0 and items:
        raise _wrong_shape("sent items with a total of 0")
    return total, items


def _wrong_shape(detail: str) -> SourceFault:
    return SourceFault("wrong_shape", detail, status=200)


def parse_movie(item: Any) -> Movie | None:
    """Parse a movie; None without a usable id and title. Other fields are left out if they are invalid."""
    if not isinstance(item, dict):
        return None
    movie_id, title = _identifier(item.get("id")), _text(item.get("title"))
    if movie_id is None or title is None:
        return None
    return Movie(
        id=movie_id,
        title=title,
        year=_int(item.get("year"), 1800, 2200),
        genres=_names(item.get("genres")),
        original_title=_text(item.get("original_title")),
        overview=_text(item.get("overview"), max_length=10_000),
        runtime_minutes=_int(item.get("runtime_minutes"), 1, 10_000),
        directors=_names(item.get("directors")),
        cast=_names(item.get("cast")),
        countries=_names(item.get("countries")),
        poster_url=_url(item.get("poster_url")),
        imdb_id=_matching(_IMDB_ID, item.get("imdb_id")),
        tmdb_id=_identifier(item.get("tmdb_id")),
        popularity=_number(item.get("popularity")),
    )


def _identifier(value: Any) -> str | None:
    # Unlike a title, an id must not be cleaned: it could become the id of another movie.
    text = str(value) if type(value) is int else value
    return text if isinstance(text, str) and 0 < len(text) <= MAX_ID and text == clean_text(text) else None


def _text(value: Any, max_length: int = MAX_TITLE) -> str | None:
    text = clean_text(value) if isinstance(value, str) and len(value) <= max_length else ""
    return text or None


def _names(value: Any) -> tuple[str, ...]:
    def usable() -> Iterator[str]:
        for name in value[:MAX_NAMES] if isinstance(value, list) else ():
            text = _text(name)
            if text is not None:
                yield text

    return tuple(dict.fromkeys(usable()))


def _int(value: Any, lowest: int, highest: int) -> int | None:
    return value if type(value) is int and lowest <= value <= highest else None


def _number(value: Any) -> float | None:
    return float(value) if type(value) in {int, float} and abs(value) < 1e15 and math.isfinite(value) else None


def _url(value: Any) -> str | None:
    text = _text(value, max_length=2_000)
    return text if text is not None and text.startswith(("https://", "http://")) and " " not in text else None


def _matching(pattern: re.Pattern[str], value: Any) -> str | None:
    return value if isinstance(value, str) and pattern.fullmatch(value) else None
