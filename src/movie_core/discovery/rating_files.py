"""Parser of rating exports of IMDb, Letterboxd and MovieLens (CSV)."""

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time

from movie_core.discovery.movie_matching import MovieIdentity
from movie_core.discovery.ratings import HIGHEST, MAX_IMPORT, ImportRow, Rejection
from movie_core.errors import InvalidBody, SeveralUsers, TooManyRows
from movie_core.text import normalise_imdb_id

MAX_TITLE = 1000
"""Maximum characters of a title."""
MAX_QUOTED = 40
"""Characters of a cell that a rejection quotes."""

_RATING = re.compile(r"[0-9]{1,2}(?:\.[0-9]{1,3})?")
_YEAR = re.compile(r"([0-9]{4})(?:\.0)?")
_TMDB_ID = re.compile(r"([0-9]{1,10})(?:\.0)?")
_YEAR_IN_PARENTHESES = re.compile(r"\(([0-9]{4})(?:[-\N{EN DASH}][0-9]{0,4})?\)")


@dataclass(frozen=True, slots=True)
class _Format:
    """The columns of one service's export. Names of columns are compared case-insensitively."""

    columns: frozenset[str]
    """A file with these columns has this format."""
    rating: str = "rating"
    is_of_stars: bool = True
    """True: 0.5 to 5 in steps of 0.5, doubled on import. False: 1 to 10 in whole numbers."""
    imdb_id: str = ""
    tmdb_id: str = ""
    title: str = "title"
    year: str = ""
    """Empty if the year follows the title in parentheses, as alternative titles do."""
    rated_on: str = ""
    timestamp: str = ""
    user_id: str = ""


_FORMATS = (
    _Format(
        frozenset(("const", "your rating")),
        rating="your rating",
        is_of_stars=False,
        imdb_id="const",
        year="year",
        rated_on="date rated",
    ),
    _Format(frozenset(("name", "year", "letterboxd uri", "rating")), title="name", year="year", rated_on="date"),
    _Format(frozenset(("movie_id", "imdb_id", "tmdb_id", "rating")), imdb_id="imdb_id", tmdb_id="tmdb_id"),
    _Format(frozenset(("userid", "movieid", "rating")), timestamp="timestamp", user_id="userid"),
)


def parse_ratings(body: bytes) -> tuple[list[ImportRow], list[Rejection]]:
    """Parses a file into its usable and its rejected rows; blank lines are not rows.

    Raises `InvalidBody` for a file of another format, `TooManyRows` for more than `MAX_IMPORT` rows, and `SeveralUsers`
    for ratings of more than one user.
    """
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InvalidBody("the file is not UTF-8") from None
    lines = _lines(text)
    header = [name.strip().casefold() for name in next(lines, ())]
    layout = next((layout for layout in _FORMATS if layout.columns <= set(header)), None)
    if layout is None:
        raise InvalidBody("the first line must contain the column names of an export of IMDb, Letterboxd or MovieLens")
    rows: list[ImportRow] = []
    rejected: list[Rejection] = []
    owner = ""
    for number, values in enumerate(lines, 1):
        if number > MAX_IMPORT:
            raise TooManyRows(f"a file must have at most {MAX_IMPORT} rows")
        cells = {name: value.strip() for name, value in zip(header, values, strict=False) if name}
        user_id = cells.get(layout.user_id) or owner
        owner = owner or user_id
        if user_id != owner:
            raise SeveralUsers("the file must contain the ratings of one user only")
        try:
            rows.append(_row(number, layout, cells, is_longer=len(values) > len(header)))
        except _RowError as error:
            rejected.append(Rejection(number, error.code, error.detail))
    return rows, rejected


def _lines(text: str) -> Iterator[list[str]]:
    try:
        for cells in csv.reader(io.StringIO(text, newline="")):
            if any(map(str.strip, cells)):
                yield cells
    except csv.Error:
        raise InvalidBody("the file is not valid CSV") from None


class _RowError(Exception):
    """A row that cannot be used."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


def _row(number: int, layout: _Format, cells: dict[str, str], *, is_longer: bool) -> ImportRow:
    if is_longer:
        raise _RowError("invalid_row", "the row has more cells than the header has columns")
    rating = _rating(cells.get(layout.rating, ""), layout)
    title, year = _title_and_year(layout, cells)
    imdb_id = normalise_imdb_id(cells.get(layout.imdb_id, ""))
    tmdb_id = _TMDB_ID.fullmatch(cells.get(layout.tmdb_id, ""))
    identity = MovieIdentity(
        imdb_id=imdb_id,
        tmdb_id=str(int(tmdb_id[1])) if tmdb_id else None,
        title=title,
        year=year,
    )
    if not (imdb_id or tmdb_id or title):
        hint = "; a MovieLens id is not sufficient" if layout.user_id else ""
        raise _RowError("unknown_movie", f"the row identifies no movie by id or title{hint}")
    return ImportRow(number, identity, rating, _rated_at(layout, cells))


def _rating(text: str, layout: _Format) -> float:
    if not text:
        raise _RowError("invalid_rating", "the row has no rating")
    scale, steps = (2, "0.5 to 5 in steps of 0.5") if layout.is_of_stars else (1, "1 to 10 in whole numbers")
    rating = scale * float(text) if _RATING.fullmatch(text) else 0.0
    if not 1 <= rating <= HIGHEST or not rating.is_integer():
        raise _RowError("invalid_rating", f"{_quoted(text)} is not {steps}")
    return rating


def _title_and_year(layout: _Format, cells: dict[str, str]) -> tuple[str | None, int | None]:
    title, year = " ".join(cells.get(layout.title, "").split()), cells.get(layout.year, "")
    if len(title) > MAX_TITLE:
        raise _RowError("invalid_row", f"a title must have at most {MAX_TITLE} characters")
    if not layout.year:
        # No regular expression search: a crafted file could make it very slow.
        if suffix := _YEAR_IN_PARENTHESES.fullmatch(title, start) if (start := title.rfind("(")) > 0 else None:
            title, year = title[:start].rstrip(), suffix[1]
        while title.endswith(")") and (start := title.rfind("(")) > 0 and ")" not in title[start:-1]:
            title = title[:start].rstrip()
    number = _YEAR.fullmatch(year)
    if year and not number:
        raise _RowError("invalid_row", f"{_quoted(year)} is not a year")
    return title or None, int(number[1]) if number else None


def _rated_at(layout: _Format, cells: dict[str, str]) -> datetime | None:
    day, seconds = cells.get(layout.rated_on, ""), cells.get(layout.timestamp, "")
    try:
        if day:
            return datetime.combine(date.fromisoformat(day), time(), UTC)
        if seconds:
            return datetime.fromtimestamp(int(seconds), UTC)
    except (ValueError, OverflowError, OSError):
        raise _RowError("invalid_row", f"{_quoted(day or seconds)} is not a valid date or time") from None
    return None


def _quoted(text: str) -> str:
    return ascii(text if len(text) <= MAX_QUOTED else f"{text[:MAX_QUOTED]}…")
