"""Files of ratings, as IMDb, Letterboxd and MovieLens export them."""

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time

from movie_core.discovery.ratings import HIGHEST, MAX_IMPORT, ImportRow, MovieIdentity, Rejection
from movie_core.errors import InvalidBody, SeveralUsers, TooManyRows

MAX_TITLE = 1000
"""Characters of a title."""
SHOWN = 40
"""Characters of a cell that a rejection shows."""

_RATING = re.compile(r"[0-9]{1,2}(?:\.[0-9]{1,3})?")
_YEAR = re.compile(r"([0-9]{4})(?:\.0)?")
_IMDB_ID = re.compile(r"(?:tt)?([0-9]{1,10})")
_TMDB_ID = re.compile(r"([0-9]{1,10})(?:\.0)?")
_YEAR_IN_BRACKETS = re.compile(r"\(([0-9]{4})(?:[-\N{EN DASH}][0-9]{0,4})?\)")


@dataclass(frozen=True, slots=True)
class _Form:
    """Whose export has which columns. The names of columns are compared without regard to case."""

    columns: frozenset[str]
    """By these it is known."""
    rating: str = "rating"
    is_of_stars: bool = True
    """0.5 to 5 in halves, doubled by us; else 1 to 10."""
    imdb_id: str = ""
    tmdb_id: str = ""
    title: str = "title"
    year: str = ""
    """Empty: the year stands in brackets behind the title, as do other titles."""
    rated_on: str = ""
    timestamp: str = ""
    user_id: str = ""


_FORMS = (
    _Form(
        frozenset(("const", "your rating")),
        rating="your rating",
        is_of_stars=False,
        imdb_id="const",
        year="year",
        rated_on="date rated",
    ),
    _Form(frozenset(("name", "year", "letterboxd uri", "rating")), title="name", year="year", rated_on="date"),
    _Form(frozenset(("movie_id", "imdb_id", "tmdb_id", "rating")), imdb_id="imdb_id", tmdb_id="tmdb_id"),
    _Form(frozenset(("userid", "movieid", "rating")), timestamp="timestamp", user_id="userid"),
)


def parse_ratings(body: bytes) -> tuple[list[ImportRow], list[Rejection]]:
    """What the rows of a file say, and those that can't be used; blank lines don't count as rows.

    Raises `InvalidBody` for what is no such file, `TooManyRows` for more than `MAX_IMPORT` rows, `SeveralUsers`.
    """
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InvalidBody("the file is not UTF-8") from None
    lines = _lines(text)
    header = [name.strip().casefold() for name in next(lines, ())]
    form = next((form for form in _FORMS if form.columns <= set(header)), None)
    if form is None:
        raise InvalidBody("the first line doesn't name the columns of an export by IMDb, Letterboxd or MovieLens")
    rows: list[ImportRow] = []
    rejected: list[Rejection] = []
    owner = ""
    for number, cells in enumerate(lines, 1):
        if number > MAX_IMPORT:
            raise TooManyRows(f"a file may have at most {MAX_IMPORT} rows")
        told = {name: cell.strip() for name, cell in zip(header, cells, strict=False) if name}
        user_id = told.get(form.user_id) or owner
        owner = owner or user_id
        if user_id != owner:
            raise SeveralUsers("the file has ratings of several users")
        try:
            rows.append(_row(number, form, told, is_longer=len(cells) > len(header)))
        except _UnusableError as unusable:
            rejected.append(Rejection(number, unusable.code, unusable.detail))
    return rows, rejected


def _lines(text: str) -> Iterator[list[str]]:
    try:
        for cells in csv.reader(io.StringIO(text, newline="")):
            if any(map(str.strip, cells)):
                yield cells
    except csv.Error:
        raise InvalidBody("the file is not CSV that can be read") from None


class _UnusableError(Exception):
    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


def _row(number: int, form: _Form, told: dict[str, str], *, is_longer: bool) -> ImportRow:
    if is_longer:
        raise _UnusableError("invalid_row", "the row has more cells than there are columns")
    rating = _rating(told.get(form.rating, ""), form)
    title, year = _title_and_year(form, told)
    imdb_id = _IMDB_ID.fullmatch(told.get(form.imdb_id, ""))
    tmdb_id = _TMDB_ID.fullmatch(told.get(form.tmdb_id, ""))
    identity = MovieIdentity(
        imdb_id=f"tt{imdb_id[1].lstrip('0'):0>7}" if imdb_id else None,
        tmdb_id=str(int(tmdb_id[1])) if tmdb_id else None,
        title=title,
        year=year,
    )
    if not (imdb_id or tmdb_id or title):
        other = "; an id of MovieLens alone tells none" if form.user_id else ""
        raise _UnusableError("unknown_movie", f"the row tells no movie by an id or a title{other}")
    return ImportRow(number, identity, rating, _rated_at(form, told))


def _rating(text: str, form: _Form) -> float:
    if not text:
        raise _UnusableError("invalid_rating", "the row has no rating")
    scale, steps = (2, "0.5 to 5 in steps of a half") if form.is_of_stars else (1, "1 to 10 in whole numbers")
    rating = scale * float(text) if _RATING.fullmatch(text) else 0.0
    if not 1 <= rating <= HIGHEST or not rating.is_integer():
        raise _UnusableError("invalid_rating", f"{_shown(text)} is not {steps}")
    return rating


def _title_and_year(form: _Form, told: dict[str, str]) -> tuple[str | None, int | None]:
    title, year = " ".join(told.get(form.title, "").split()), told.get(form.year, "")
    if len(title) > MAX_TITLE:
        raise _UnusableError("invalid_row", f"a title has at most {MAX_TITLE} characters")
    if not form.year:
        # No pattern that searches: a file could be made to keep it busy.
        if behind := _YEAR_IN_BRACKETS.fullmatch(title, start) if (start := title.rfind("(")) > 0 else None:
            title, year = title[:start].rstrip(), behind[1]
        while title.endswith(")") and (start := title.rfind("(")) > 0 and ")" not in title[start:-1]:
            title = title[:start].rstrip()
    number = _YEAR.fullmatch(year)
    if year and not number:
        raise _UnusableError("invalid_row", f"{_shown(year)} is not a year")
    return title or None, int(number[1]) if number else None


def _rated_at(form: _Form, told: dict[str, str]) -> datetime | None:
    day, seconds = told.get(form.rated_on, ""), told.get(form.timestamp, "")
    try:
        if day:
            return datetime.combine(date.fromisoformat(day), time(), UTC)
        if seconds:
            return datetime.fromtimestamp(int(seconds), UTC)
    except (ValueError, OverflowError, OSError):
        raise _UnusableError("invalid_row", f"{_shown(day or seconds)} is not a time that can be read") from None
    return None


def _shown(text: str) -> str:
    return ascii(text if len(text) <= SHOWN else f"{text[:SHOWN]}…")
