"""Parser of JSON with ratings: rows of this service and its export, and the exports of Trakt and SIMKL."""

import codecs
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from movie_core.discovery.movie_matching import MovieIdentity
from movie_core.discovery.rating_files import RowError, Scale, check_type, checked_title, parse_year, quoted
from movie_core.discovery.ratings import MAX_IMPORT, MAX_RATINGS, ImportRow, Rejection, check_rating
from movie_core.discovery.spreadsheet_dates import DateColumn
from movie_core.errors import InvalidBody, InvalidRating, TooManyRows
from movie_core.text import normalise_imdb_id, normalise_tmdb_id

MAX_NUMBER = 20
"""Characters of a number in JSON that are read."""
_BEFORE_JSON = codecs.BOM_UTF8 + codecs.BOM_UTF16 + b"\0 \t\r\n"
"""Bytes of byte order marks and of white space in UTF-8 and UTF-16."""
_LISTS = ("movies", "shows", "anime", "seasons", "episodes")
"""The lists in exports of Trakt and SIMKL."""
_OTHER_WORKS = ("show", "season", "episode")
_FIELDS = frozenset(("movie_id", "rating", "rated_at", "source", "title", "year"))
"""The fields of a row of this service; those of its export include all."""


def is_json(body: bytes) -> bool:
    """Whether a file is JSON and not a table, by its first character."""
    return body.lstrip(_BEFORE_JSON).startswith((b"[", b"{"))


def parse_json_ratings(document: Any) -> tuple[list[ImportRow], list[Rejection]]:
    """Parses decoded JSON into its usable and its rejected rows: an array of rows, or an object with such arrays.

    Raises `InvalidBody` for other JSON, and `TooManyRows` for more than `MAX_IMPORT` rows, or `MAX_RATINGS` in an
    export of this service.
    """
    items, most = _items(document)
    if len(items) > most:
        raise TooManyRows(f"at most {most} rows are allowed, the body has {len(items)}")
    rows: list[ImportRow] = []
    rejected: list[Rejection] = []
    for number, item in enumerate(items, 1):
        try:
            rows.append(_row(number, item))
        except RowError as error:
            rejected.append(Rejection(number, error.code, error.detail, error.identity))
    return rows, rejected


def _row(number: int, item: Any) -> ImportRow:
    if not isinstance(item, dict):
        raise RowError("invalid_row", "the row must be an object")
    film = _film(item)
    identity = _own_identity(item) if film is None else _identity(film)
    try:
        if film is None:
            return ImportRow(number, identity, _own_rating(item), _own_time(item))
        return ImportRow(number, identity, _rating(item), _time(item))
    except RowError as error:
        error.identity = identity
        raise


def _items(document: Any) -> tuple[list[Any], int]:
    """The rows of a document, and their maximum number."""
    if isinstance(document, list):
        return document, MAX_IMPORT
    if isinstance(document, dict):
        if isinstance(own := document.get("ratings"), list):
            return own, MAX_RATINGS if "account" in document else MAX_IMPORT
        lists = [document[name] or [] for name in _LISTS if name in document]
        if lists and all(isinstance(items, list) for items in lists):
            return [item for items in lists for item in items], MAX_IMPORT
    raise InvalidBody("the body must be a JSON array of ratings, or an export of this service, Trakt or SIMKL")


# --- rows of this service


def _own_identity(row: dict[str, Any]) -> MovieIdentity:
    for name in row:
        if name not in _FIELDS:
            raise RowError("invalid_row", f"{quoted(name)} is not a field of a rating")
    movie_id = row.get("movie_id")
    if not isinstance(movie_id, str):
        raise RowError("invalid_row", "movie_id must be given, as a string")
    return MovieIdentity(
        movie_id=movie_id,
        source=_text(row, "source") or None,
        title=checked_title(_text(row, "title")),
        year=_year(row),
    )


def _own_rating(row: dict[str, Any]) -> float:
    rating = row.get("rating")
    if isinstance(rating, bool) or not isinstance(rating, int | float):
        raise RowError("invalid_row", "rating must be given, as a number")
    try:
        return check_rating(rating)
    except InvalidRating as error:
        raise RowError(error.code, error.detail) from None


def _own_time(row: dict[str, Any]) -> datetime | None:
    if "rated_at" not in row:
        return None
    try:
        time = datetime.fromisoformat(row["rated_at"])
        if time.tzinfo is not None:
            return time.astimezone(UTC)
    except (TypeError, ValueError, OverflowError):
        pass
    raise RowError("invalid_row", "rated_at must be a date and time with a zone, such as 2024-05-01T10:00:00Z")


# --- rows of Trakt and SIMKL


def _film(row: dict[str, Any]) -> dict[str, Any] | None:
    """The film of a row of Trakt or SIMKL; None for a row of this service."""
    if row.get("anime_type") == "movie":
        film = row.get("show", row.get("movie"))
    elif any(row.get(name) is not None for name in _OTHER_WORKS):
        raise RowError("not_a_movie", "the row is about a series, a season or an episode")
    elif "movie" not in row and "ids" not in row:
        return None
    else:
        film = row.get("movie", row)
        check_type(_text(row, "type"))
    if not isinstance(film, dict):
        raise RowError("invalid_row", "the movie must be an object")
    return film


def _identity(film: dict[str, Any]) -> MovieIdentity:
    ids = film.get("ids") or {}
    if not isinstance(ids, dict):
        raise RowError("invalid_row", "ids must be an object")
    identity = MovieIdentity(
        imdb_id=normalise_imdb_id(str(ids.get("imdb", ""))),
        tmdb_id=normalise_tmdb_id(str(ids.get("tmdb", ""))),
        title=checked_title(_text(film, "title")),
        original_title=checked_title(_text(film, "original_title")),
        year=parse_year(str(film.get("year") or "")),
    )
    if not (identity.imdb_id or identity.tmdb_id or identity.titles):
        raise RowError("unknown_movie", "the row identifies no movie by id or title")
    return identity


def _rating(row: dict[str, Any]) -> float:
    rating = _first(row, ("rating", "user_rating"))
    return Scale.HALVES.parse("" if rating is None else str(rating)[:MAX_NUMBER])


def _time(row: dict[str, Any]) -> datetime | None:
    time = _first(row, ("rated_at", "user_rated_at", "last_watched_at"))
    if not time:
        return None
    try:
        return DateColumn(()).read(str(time))
    except ValueError:
        raise RowError("invalid_row", "the time of the rating is not valid") from None


def _first(row: dict[str, Any], names: Iterable[str]) -> Any:
    return next((row[name] for name in names if row.get(name) is not None), None)


def _text(row: dict[str, Any], name: str) -> str:
    text = row.get(name)
    if text is not None and not isinstance(text, str):
        raise RowError("invalid_row", f"{name} must be a string")
    return text or ""


def _year(row: dict[str, Any]) -> int | None:
    year = row.get("year")
    if year is not None and (isinstance(year, bool) or not isinstance(year, int) or not 0 <= year <= 9999):
        raise RowError("invalid_row", "year must be a number of four digits")
    return year or None
