"""Parser of tables of ratings that IMDb, Letterboxd, MovieLens, SIMKL, TMDB and Trakt export."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum

from movie_core.discovery.movie_matching import MovieIdentity
from movie_core.discovery.ratings import MAX_IMPORT, ImportRow, Rejection
from movie_core.discovery.spreadsheet_dates import DateColumn
from movie_core.discovery.tables import decode, plain_cell, read_table
from movie_core.errors import InvalidBody, SeveralUsers, TooManyRows
from movie_core.text import normalise_imdb_id, normalise_tmdb_id

MAX_TITLE = 1000
"""Maximum characters of a title."""
MAX_ALTERNATIVES = 4
"""Alternative titles of a row that are compared."""
MAX_QUOTED = 40
"""Characters of a cell that a rejection quotes."""

MAX_DIRECTORS = 10
"""Directors of a row that are compared."""

NULLS = frozenset(("", "-", "n/a", "na", "nan", "nat", "none", "null", "<na>", r"\n", "?", "????"))
"""How programs write that there is no value, case-folded."""
_NUMBER = r"(?:[0-9]{1,3}(?:[.,][0-9]{0,3})?|[0-9]?\N{VULGAR FRACTION ONE HALF})"
_RATING = re.compile(rf"({_NUMBER})(?: ?/ ?(5|10)(?:[.,]0)?)?")
_STARS = re.compile("([\N{BLACK STAR}\N{WHITE MEDIUM STAR}*]{0,10}\N{VULGAR FRACTION ONE HALF}?)([\N{WHITE STAR}]*)")
_YEAR = re.compile(r"(?<![0-9])[0-9]{4}(?![0-9])")
_MINUTES = re.compile(r"([0-9]{1,4})(?:[.,]0)?")
_YEAR_IN_PARENTHESES = re.compile(r"\(([0-9]{4})(?:[-\N{EN DASH}][0-9]{0,4})?\)")
_PART = re.compile(r"(?:part|vol|volume|chapter|episode|season)\b.*|[ivx0-9]+", re.IGNORECASE)
"""Text in parentheses that distinguishes movies of the same title."""

FILM_TYPES = frozenset(
    {
        *("movie", "movies", "film", "films", "feature", "featurefilm", "featuremovie", "short", "shortfilm"),
        *("shortmovie", "documentary", "documentaryfilm", "tvmovie", "tvfilm", "tvshort", "tvspecial", "tvdocumentary"),
        *("telefilm", "video", "fernsehfilm", "kurzfilm", "courtmétrage", "cortometraje", "película", "filme"),
    }
)
"""Types of films, in lower case without spaces and punctuation. All others, such as series and games, are not."""


class Scale(Enum):
    """A scale of ratings: factor to the scale of this service, step, and description."""

    STARS = 2, 1, "0.5 to 5 in steps of 0.5"
    WHOLE = 1, 1, "1 to 10 in whole numbers"
    HALVES = 1, 0.5, "0.5 to 10 in steps of 0.5"

    @staticmethod
    def is_above_stars(text: str) -> bool:
        """Whether the rating is of more than five, without stating its scale."""
        match = _RATING.fullmatch(text)
        return match is not None and not match[2] and _number(match[1]) > 5

    def parse(self, text: str) -> float:
        """The rating from 0.5 to 10. A text such as `4/5` or, for stars, `★★★★` states its own scale. Raises
        `RowError`."""
        factor, step, description = self.value
        if text.casefold() in NULLS:
            raise RowError("invalid_rating", "the row has no rating")
        rating = 0.0
        if match := _RATING.fullmatch(text):
            rating = _number(match[1]) * (10 / int(match[2]) if match[2] else factor)
        elif self is Scale.STARS and (match := _STARS.fullmatch(text)) and len(text) <= 5:
            rating = factor * (len(match[1]) - 0.5 * match[1].endswith(_HALF))
        if not step <= rating <= 10 or rating % step:
            raise RowError("invalid_rating", f"{quoted(text)} is not {description}")
        return rating


_HALF = "\N{VULGAR FRACTION ONE HALF}"


def _number(text: str) -> float:
    return float(text.replace(",", ".").replace(_HALF, ".5"))


@dataclass(frozen=True, slots=True)
class _Layout:
    """The columns of one service's export, case-folded. Of several names, the first that the file has is read."""

    columns: frozenset[str]
    """A file with these columns has this layout."""
    any_of: frozenset[str] = frozenset()
    """Not empty: it has at least one of these too."""
    rating: str = "rating"
    scale: Scale = Scale.WHOLE
    has_unstated_scale: bool = False
    """Whether other programs write files with these columns and ratings from 1 to 10."""
    rating_of_ten: str = ""
    """A column that, if it is not empty, has the rating from 1 to 10."""
    imdb_id: tuple[str, ...] = ()
    tmdb_id: tuple[str, ...] = ()
    title: str = "title"
    original_title: str = ""
    year: tuple[str, ...] = ("year",)
    """Empty if the year follows the title in parentheses, as alternative titles do."""
    release_date: str = ""
    type: tuple[str, ...] = ()
    url: str = ""
    """A column with the address of the movie at IMDb, read if there is no id."""
    directors: str = ""
    runtime: str = ""
    rated_on: tuple[str, ...] = ()
    timestamp: str = ""
    user_id: str = ""
    page: str = ""


_LAYOUTS = (
    *(
        _Layout(
            frozenset((rating,)),
            any_of=frozenset(("const", "url")),
            rating=rating,
            imdb_id=("const",),
            original_title="original title",
            type=("title type",),
            url="url",
            directors="directors",
            runtime="runtime (mins)",
            rated_on=("date rated", "date added", "created"),
        )
        for rating in ("your rating", "you rated")
    ),
    _Layout(
        frozenset(("tmdb id", "your rating")),
        rating="your rating",
        scale=Scale.HALVES,
        imdb_id=("imdb id",),
        tmdb_id=("tmdb id",),
        title="name",
        year=("year",),
        release_date="release date",
        type=("type",),
        rated_on=("date rated", "date added"),
    ),
    _Layout(
        frozenset(("simkl_id", "rating")),
        imdb_id=("imdb",),
        tmdb_id=("tmdb",),
        type=("type",),
        rated_on=("watcheddate",),
    ),
    _Layout(
        frozenset(("movie_id", "imdb_id", "tmdb_id", "rating")),
        scale=Scale.STARS,
        imdb_id=("imdb_id",),
        tmdb_id=("tmdb_id",),
        year=(),
    ),
    _Layout(
        frozenset(("userid", "movieid", "rating")),
        scale=Scale.STARS,
        year=(),
        timestamp="timestamp",
        user_id="userid",
    ),
    # Letterboxd's diary and reviews, in which one film may have several addresses, before its ratings.
    *(
        _Layout(
            frozenset(("name", "year", "letterboxd uri", "rating", *more)),
            scale=Scale.STARS,
            title="name",
            rated_on=("date",),
            page="" if more else "letterboxd uri",
        )
        for more in (("rewatch",), ())
    ),
    _Layout(
        frozenset(("name", "year", "rating")),
        any_of=frozenset(("date", "watched date", "url")),
        scale=Scale.STARS,
        has_unstated_scale=True,
        title="name",
        rated_on=("date",),
    ),
    _Layout(
        frozenset(("rated_at", "rating")),
        any_of=frozenset(("title", "imdb_id", "imdb", "tmdb_id", "tmdb")),
        imdb_id=("imdb_id", "imdb"),
        tmdb_id=("tmdb_id", "tmdb"),
        type=("type",),
        rated_on=("rated_at",),
    ),
    *(
        _Layout(
            frozenset((column,)),
            any_of=frozenset(("letterboxduri", "imdbid", "tmdbid", "watcheddate", *title)),
            scale=Scale.STARS,
            has_unstated_scale=True,
            rating_of_ten="rating10",
            imdb_id=("imdbid",),
            tmdb_id=("tmdbid",),
            rated_on=("watcheddate",),
            directors="directors",
        )
        for column, title in (("rating10", ("title",)), ("rating", ()))
    ),
)
_WITHOUT_RATINGS = frozenset(
    ("const", "tconst", "letterboxd uri", "letterboxduri", "simkl_id", "tmdb id", "movieid", "movie_id")
)
"""Columns by which lists of the same services are recognised."""


def parse_ratings(body: bytes) -> tuple[list[ImportRow], list[Rejection]]:
    """Parses a table into its usable and its rejected rows; blank lines are not rows.

    Raises `InvalidBody` for a file of another format, `UnclosedQuote`, `TooManyRows` for more than `MAX_IMPORT` rows,
    and `SeveralUsers` for ratings of more than one user.
    """
    layout, names, lines = read_table(decode(body), _layout_of)
    table: list[tuple[dict[str, str], bool]] = []
    owner = ""
    for values in lines:
        if len(table) == MAX_IMPORT:
            raise TooManyRows(f"a file must have at most {MAX_IMPORT} rows")
        cells = {name: plain_cell(value) for name, value in zip(names, values, strict=False) if name}
        user_id = cells.get(layout.user_id) or owner
        owner = owner or user_id
        if user_id != owner:
            raise SeveralUsers("the file must contain the ratings of one user only")
        table.append((cells, any(map(str.strip, values[len(names) :]))))
    if layout.has_unstated_scale and any(Scale.is_above_stars(cells.get(layout.rating, "")) for cells, _ in table):
        raise InvalidBody("the column Rating must have 0.5 to 5 stars; name a column of ratings from 1 to 10 Rating10")
    dates = DateColumn(_first(cells, layout.rated_on) for cells, _ in table)
    rows: list[ImportRow] = []
    rejected: list[Rejection] = []
    for number, (cells, is_longer) in enumerate(table, 1):
        try:
            rows.append(_row(number, layout, cells, dates, is_longer=is_longer))
        except RowError as error:
            rejected.append(Rejection(number, error.code, error.detail, error.identity))
    return rows, rejected


class RowError(Exception):
    """A row that cannot be used."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.identity: MovieIdentity | None = None
        """The movie of the row, if only its rating or its time is unusable."""


def check_type(text: str) -> None:
    """Raise `RowError` if a type is given that is not a film."""
    words = re.sub(r"[\W_]+", "", text.casefold())
    if words and words not in FILM_TYPES:
        raise RowError("not_a_movie", f"{quoted(text)} is not a type of film")


def checked_title(text: str) -> str | None:
    """The title with single spaces; None if there is none. Raises `RowError` if it is too long."""
    title = " ".join(text.split())
    if len(title) > MAX_TITLE:
        raise RowError("invalid_row", f"a title must have at most {MAX_TITLE} characters")
    return title or None


def quoted(text: str) -> str:
    """A cell as errors quote it."""
    return ascii(text if len(text) <= MAX_QUOTED else f"{text[:MAX_QUOTED]}…")


def _layout_of(names: list[str]) -> _Layout | None:
    """Raises `InvalidBody` for a list of movies without ratings."""
    present = frozenset(names)
    for layout in _LAYOUTS:
        if layout.columns <= present and (not layout.any_of or layout.any_of & present):
            return layout
    if present & _WITHOUT_RATINGS:
        raise InvalidBody("the file is a list of movies without your ratings: it has no column of a supported export")
    return None


def _first(cells: dict[str, str], names: tuple[str, ...]) -> str:
    """The cell of the first of these columns that the file has."""
    return next((cells[name] for name in names if name in cells), "")


def _row(number: int, layout: _Layout, cells: dict[str, str], dates: DateColumn, *, is_longer: bool) -> ImportRow:
    if is_longer:
        raise RowError("invalid_row", "the row has more cells than the header has columns")
    check_type(_first(cells, layout.type))
    identity = _identity(layout, cells)
    try:
        rating = _rating(layout, cells)
        rated_at = _date(dates, _first(cells, layout.rated_on)) or _timestamp(cells.get(layout.timestamp, ""))
    except RowError as error:
        error.identity = identity
        raise
    if not (identity.imdb_id or identity.tmdb_id or identity.titles):
        hint = "; a MovieLens id is not sufficient" if layout.user_id else ""
        raise RowError("unknown_movie", f"the row identifies no movie by id or title{hint}")
    return ImportRow(number, identity, rating, rated_at)


def _identity(layout: _Layout, cells: dict[str, str]) -> MovieIdentity:
    title, alt_titles = checked_title(cells.get(layout.title, "")), tuple[str, ...]()
    year = _first(cells, layout.year)
    if title is not None and not layout.year:
        title, alt_titles, year = split_title(title)
    number = parse_year(year)
    if number is None and layout.release_date:
        number = parse_year(cells.get(layout.release_date, ""))
    if title is not None and layout.year and title.endswith(")"):
        title, alt_titles, number = _without_year(title, number)
    runtime = _MINUTES.fullmatch(cells.get(layout.runtime, ""))
    directors = map(str.strip, cells.get(layout.directors, "").split(",", MAX_DIRECTORS)[:MAX_DIRECTORS])
    return MovieIdentity(
        imdb_id=normalise_imdb_id(_first(cells, layout.imdb_id)) or normalise_imdb_id(cells.get(layout.url, "")),
        tmdb_id=normalise_tmdb_id(_first(cells, layout.tmdb_id)),
        title=title,
        original_title=checked_title(cells.get(layout.original_title, "")),
        alt_titles=alt_titles,
        year=number,
        page=cells.get(layout.page) or None,
        directors=tuple(filter(None, directors)),
        runtime_minutes=int(runtime[1]) if runtime else None,
    )


def parse_year(text: str) -> int | None:
    """The only number of four digits, such as in a date; None if there is no year. Raises `RowError`."""
    if text.casefold() in NULLS or not text.strip("0.,"):
        return None
    numbers = _YEAR.findall(text) if len(text) <= MAX_QUOTED else []
    if len(numbers) != 1:
        raise RowError("invalid_row", f"{quoted(text)} is not a year")
    return int(numbers[0]) or None


def _without_year(title: str, year: int | None) -> tuple[str, tuple[str, ...], int | None]:
    """The title without the year in parentheses at its end, the whole as an alternative title, and the year."""
    start = title.rfind("(")
    match = _YEAR_IN_PARENTHESES.fullmatch(title, start) if start > 0 else None
    if match is None or year not in (None, int(match[1])):
        return title, (), year
    return title[:start].rstrip(), (title,), int(match[1])


def split_title(text: str) -> tuple[str, tuple[str, ...], str]:
    """The title, alternative titles and year of `City of Lost Children, The (Cité des enfants perdus, La) (1995)`."""
    # No regular expression search: a crafted file could make it very slow.
    year = ""
    start = text.rfind("(")
    if start > 0 and (suffix := _YEAR_IN_PARENTHESES.fullmatch(text, start)):
        text, year = text[:start].rstrip(), suffix[1]
    title, alternatives = text, []
    while title.endswith(")") and (start := title.rfind("(")) > 0 and ")" not in title[start:-1]:
        inner = title[start + 1 : -1].strip()
        if _PART.fullmatch(inner):
            break
        alternatives.append(inner[7:] if inner.casefold().startswith("a.k.a. ") else inner)
        title = title[:start].rstrip()
    # The whole text may be the title: `Birdman or (The Unexpected Virtue of Ignorance)`.
    others = [title, *reversed(alternatives)] if alternatives else []
    return text, tuple(filter(None, others))[:MAX_ALTERNATIVES], year


def _rating(layout: _Layout, cells: dict[str, str]) -> float:
    if of_ten := cells.get(layout.rating_of_ten):
        return Scale.WHOLE.parse(of_ten)
    return layout.scale.parse(cells.get(layout.rating, ""))


def _date(dates: DateColumn, text: str) -> datetime | None:
    if text.casefold() in NULLS or not text.strip("0-/.: "):
        return None
    try:
        return dates.read(text)
    except ValueError:
        raise RowError(
            "invalid_row", f"{quoted(text)} is not a valid date or time, or has more than one reading"
        ) from None


def _timestamp(seconds: str) -> datetime | None:
    try:
        return datetime.fromtimestamp(int(seconds), UTC) if seconds else None
    except (ValueError, OverflowError, OSError):
        raise RowError("invalid_row", f"{quoted(seconds)} is not a valid date or time") from None
