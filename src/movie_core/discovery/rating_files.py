"""Parser of tables of ratings that IMDb, Letterboxd, MovieLens, SIMKL, TMDB and Trakt export."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum

from movie_core.discovery.movie_matching import MovieIdentity
from movie_core.discovery.ratings import MAX_IMPORT, ImportRow, Rejection
from movie_core.discovery.spreadsheet_dates import DateColumn
from movie_core.discovery.tables import decode, read_table
from movie_core.errors import InvalidBody, SeveralUsers, TooManyRows
from movie_core.text import normalise_imdb_id

MAX_TITLE = 1000
"""Maximum characters of a title."""
MAX_ALTERNATIVES = 4
"""Alternative titles of a row that are compared."""
MAX_QUOTED = 40
"""Characters of a cell that a rejection quotes."""

_RATING = re.compile(r"[0-9]{1,2}(?:[.,][0-9]{1,3})?")
_YEAR = re.compile(r"([0-9]{4})(?:[.,]0)?")
_YEAR_OF_DATE = re.compile(r"(?<![0-9])[0-9]{4}(?![0-9])")
_NUMBER = re.compile(r"([0-9]{1,10})(?:[.,]0)?")
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
        """Whether the rating is of more than five."""
        return bool(_RATING.fullmatch(text)) and float(text.replace(",", ".")) > 5

    def parse(self, text: str) -> float:
        """The rating from 0.5 to 10. Raises `RowError`."""
        factor, step, description = self.value
        if not text:
            raise RowError("invalid_rating", "the row has no rating")
        rating = factor * float(text.replace(",", ".")) if _RATING.fullmatch(text) else 0.0
        if not step <= rating <= 10 or rating % step:
            raise RowError("invalid_rating", f"{quoted(text)} is not {description}")
        return rating


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
    rated_on: tuple[str, ...] = ()
    timestamp: str = ""
    user_id: str = ""
    page: str = ""


_LAYOUTS = (
    *(
        _Layout(
            frozenset(("const", rating)),
            rating=rating,
            imdb_id=("const",),
            original_title="original title",
            type=("title type",),
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
        )
        for column, title in (("rating10", ("title",)), ("rating", ()))
    ),
)


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
        cells = {name: value.strip() for name, value in zip(names, values, strict=False) if name}
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


def tmdb_id_of(text: str) -> str | None:
    """The TMDB id, without the fraction of zero that spreadsheets add; None if the text is not one."""
    match = _NUMBER.fullmatch(text)
    return None if match is None else str(int(match[1]))


def imdb_id_of(text: str) -> str | None:
    """The IMDb id, with or without `tt`, also if a spreadsheet has taken it for a number; None if it is not one."""
    match = _NUMBER.fullmatch(text)
    return normalise_imdb_id(text if match is None else match[1])


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
    present = frozenset(names)
    return next((one for one in _LAYOUTS if one.columns <= present and (not one.any_of or one.any_of & present)), None)


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
    elif not year and (in_date := _YEAR_OF_DATE.search(cells.get(layout.release_date, ""))):
        year = in_date[0]
    number = _YEAR.fullmatch(year)
    if year and not number:
        raise RowError("invalid_row", f"{quoted(year)} is not a year")
    return MovieIdentity(
        imdb_id=imdb_id_of(_first(cells, layout.imdb_id)),
        tmdb_id=tmdb_id_of(_first(cells, layout.tmdb_id)),
        title=title,
        original_title=checked_title(cells.get(layout.original_title, "")),
        alt_titles=alt_titles,
        year=int(number[1]) if number else None,
        page=cells.get(layout.page) or None,
    )


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
    if not text:
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
