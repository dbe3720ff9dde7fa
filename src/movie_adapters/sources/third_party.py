"""The original's third party, which searches titles: `GET {url}/movies/?skip=&limit=&query=` answers
`{"items": [{"id", "title"}], "total"}`.
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
MAX_NAMES = 100
"""Genres, directors and the like that one movie keeps."""
MAX_TOTAL = 1_000_000_000
"""No collection has more movies; a source that says so is broken."""

_IMDB_ID = re.compile(r"tt[0-9]{7,10}", re.ASCII)


class ThirdPartyMovieSource:
    """The third party as a `MovieSource` that searches by text and nothing else. One search is one try."""

    name = "third_party"
    capabilities: frozenset[Capability] = frozenset()

    def __init__(self, http: SourceHttp) -> None:
        self._http = http
        self.dropped = 0
        """Items that were left out since it lives: without a usable id or title, or with an id that was there."""

    async def search(self, query: MovieQuery, window: Window) -> MoviePage:
        for ability in sorted(query.required_capabilities):
            raise FilterUnsupported(f"the source {self.name} can't apply {ability}", field=ability)
        parameters = (("skip", str(window.offset)), ("limit", str(window.limit)), ("query", query.text))
        answer = await self._http.get("movies/", parameters)
        total, listed = _read_envelope(answer)
        items, skipped = self._usable(listed[: window.limit] if window.offset < total else [])
        if window.offset < total and not items:
            raise _wrong_shape("sent a page without a usable movie")
        return MoviePage(total, items, self.name, skipped=skipped)

    async def get(self, movie_id: str) -> FoundMovie:
        raise FilterUnsupported(f"the source {self.name} has no details")

    async def suggest(self, text: str, limit: int) -> Sequence[Movie]:
        raise FilterUnsupported(f"the source {self.name} has no suggestions")

    async def genres(self) -> Sequence[Genre]:
        raise FilterUnsupported(f"the source {self.name} has no list of genres")

    def _usable(self, listed: list[Any]) -> tuple[tuple[Movie, ...], tuple[int, ...]]:
        """The movies, and the places of what is none."""
        movies: dict[str, Movie] = {}
        skipped = []
        for place, item in enumerate(listed):
            movie = read_movie(item)
            if movie is None or movie.id in movies:
                skipped.append(place)
            else:
                movies[movie.id] = movie
        self.dropped += len(skipped)
        return tuple(movies.values()), tuple(skipped)


def _read_envelope(answer: Any) -> tuple[int, list[Any]]:
    """The total and the raw items; raises `SourceFault` where they can't both be right."""
    if not isinstance(answer, dict):
        raise _wrong_shape("sent no object")
    if answer.get("error"):
        raise _wrong_shape("sent an error beside status 200")
    total, items = answer.get("total"), answer.get("items")
    if type(total) is not int or not 0 <= total <= MAX_TOTAL:  # a bool is an int too
        raise _wrong_shape("sent no usable total")
    if not isinstance(items, list):
        raise _wrong_shape("sent no list of items")
    if total == 0 and items:
        raise _wrong_shape("sent items beside a total of 0")
    return total, items


def _wrong_shape(detail: str) -> SourceFault:
    return SourceFault("wrong_shape", detail, status=200)


def read_movie(item: Any) -> Movie | None:
    """The movie that an item tells of; None without a usable id and title. Other fields are taken where they fit."""
    if not isinstance(item, dict):
        return None
    movie_id, title = _identifier(item.get("id")), _text(item.get("title"))
    if movie_id is None or title is None:
        return None
    return Movie(
        id=movie_id,
        title=title,
        year=_whole(item.get("year"), 1800, 2200),
        genres=_names(item.get("genres")),
        original_title=_text(item.get("original_title")),
        overview=_text(item.get("overview"), longest=10_000),
        runtime_minutes=_whole(item.get("runtime_minutes"), 1, 10_000),
        directors=_names(item.get("directors")),
        cast=_names(item.get("cast")),
        countries=_names(item.get("countries")),
        poster_url=_web_address(item.get("poster_url")),
        imdb_id=_matching(_IMDB_ID, item.get("imdb_id")),
        tmdb_id=_identifier(item.get("tmdb_id")),
        popularity=_number(item.get("popularity")),
    )


def _identifier(value: Any) -> str | None:
    # An id can't be mended as a title can: without its odd characters it would be another movie's.
    text = str(value) if type(value) is int else value
    return text if isinstance(text, str) and 0 < len(text) <= MAX_ID and text == clean_text(text) else None


def _text(value: Any, longest: int = MAX_TITLE) -> str | None:
    text = clean_text(value) if isinstance(value, str) and len(value) <= longest else ""
    return text or None


def _names(value: Any) -> tuple[str, ...]:
    def usable() -> Iterator[str]:
        for name in value[:MAX_NAMES] if isinstance(value, list) else ():
            text = _text(name)
            if text is not None:
                yield text

    return tuple(dict.fromkeys(usable()))


def _whole(value: Any, least: int, most: int) -> int | None:
    return value if type(value) is int and least <= value <= most else None


def _number(value: Any) -> float | None:
    return float(value) if type(value) in {int, float} and abs(value) < 1e15 and math.isfinite(value) else None


def _web_address(value: Any) -> str | None:
    text = _text(value, longest=2_000)
    return text if text is not None and text.startswith(("https://", "http://")) and " " not in text else None


def _matching(pattern: re.Pattern[str], value: Any) -> str | None:
    return value if isinstance(value, str) and pattern.fullmatch(value) else None
