"""Files with the ratings of many people, which train the recommender.

A file is a table in UTF-8 with one rating per row, plain or compressed with gzip or xz. Its movies have IMDb ids or
MovieLens' ids, which the `links.csv` and `movies.csv` in the same directory explain. Files are streamed.
"""

import csv
from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import UTC, datetime
from operator import itemgetter
from pathlib import Path
from typing import BinaryIO

from movie_adapters.catalogue.cells import RowError
from movie_adapters.catalogue.companions import training_companions
from movie_adapters.catalogue.records import comma_separated, normalise_column, tab_separated
from movie_adapters.catalogue.streams import FileOpener, read_lines
from movie_core.discovery.movie_matching import MovieIdentity
from movie_core.discovery.rating_files import RowError as ImportRowError
from movie_core.discovery.rating_files import Scale, checked_title, split_title
from movie_core.discovery.training_ratings import FileRating
from movie_core.errors import InvalidParameter
from movie_core.text import normalise_imdb_id, normalise_tmdb_id

WRONG_COLUMNS = "the number of cells is not that of the header"
INCOMPLETE = "the user or the movie is missing"
INVALID_TIME = "the time is not one since 1970, in seconds or in ISO 8601"

_MOVIELENS = ("userid", "movieid", "rating", "timestamp")
_BY_IMDB_ID = (("user", "imdbid", "rating", "timestamp"), ("userid", "imdbid", "rating", "timestamp"))
_STARS = 5.0
"""The highest rating of MovieLens' scale."""
_END_OF_TIME = datetime.max.replace(tzinfo=UTC).timestamp()


class TrainingFile:
    """The ratings of one file. Each iteration reads it from the start and yields its ratings and, instead of each row
    that cannot be used, the reason.

    The constructor reads the header and raises `InvalidParameter` if it is not a file of ratings. Iteration raises it
    if the file is damaged further on.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._opener = FileOpener()
        if path.exists() and not path.is_file():
            raise InvalidParameter(f"{path} is not a file")  # a pipe cannot be read twice
        with self._opener.open(path) as stream:
            _, self._header = _header(stream)
        self._companions: dict[str, Path] = {}
        layout = next((names for names in (_MOVIELENS, *_BY_IMDB_ID) if set(names) <= set(self._header)), None)
        if layout is None:
            raise InvalidParameter(
                f"{path.name} must be a table with the columns userId, movieId, rating, timestamp or user, imdb_id, "
                "rating, timestamp"
            )
        self._layout = layout
        self._scale = Scale.STARS if layout is _MOVIELENS else Scale.HALVES
        if layout is _MOVIELENS:
            self._companions = training_companions(path)
            if not self._companions:
                raise InvalidParameter(
                    f"{path.name} has MovieLens' ids: its links.csv or movies.csv must be in the same directory"
                )
        self.bytes_total = path.stat().st_size
        """Size on disk."""

    @property
    def bytes_read(self) -> int:
        """Number of bytes that the current iteration has read."""
        return self._opener.bytes_read

    def __iter__(self) -> Iterator[FileRating | str]:
        self._opener.reset()
        ratings: dict[str, float | str] = {}  # by the text of the cell: there are few
        width, pick = len(self._header), itemgetter(*(self._header.index(name) for name in self._layout))
        highest = 0.0
        with self._opener.open(self.path) as stream:
            for row in _rows(stream):
                if isinstance(row, RowError):
                    yield row.detail
                    continue
                if len(row) != width:
                    yield WRONG_COLUMNS
                    continue
                user, movie, rating_text, time_text = map(str.strip, pick(row))
                rating = ratings.get(rating_text)
                if rating is None:
                    if len(ratings) == _MAX_TEXTS:
                        ratings.clear()
                    rating = ratings[rating_text] = self._rating(rating_text)
                seconds = _seconds(time_text)
                if isinstance(rating, str):
                    yield rating
                elif seconds is None:
                    yield INVALID_TIME
                elif not user or not movie:
                    yield INCOMPLETE
                else:
                    highest = max(highest, rating)
                    yield FileRating(user, movie, rating, seconds)
        if self._scale is Scale.HALVES and 0 < highest <= _STARS:
            raise InvalidParameter(f"{self.path.name} must have ratings from 1 to 10, but none is above 5")

    def identities(self, movies: Collection[str]) -> Mapping[str, MovieIdentity]:
        """What the file and its companions state about these movies; without those that they do not identify."""
        if self._layout is not _MOVIELENS:
            found = {movie: MovieIdentity(imdb_id=normalise_imdb_id(movie)) for movie in movies}
            return {movie: identity for movie, identity in found.items() if identity.imdb_id}
        links = {
            movie: (normalise_imdb_id(imdb_id), normalise_tmdb_id(tmdb_id))
            for movie, imdb_id, tmdb_id in self._companion("links", "movieid", "imdbid", "tmdbid")
            if movie in movies
        }
        titles = {movie: title for movie, title in self._companion("movies", "movieid", "title") if movie in movies}
        identities = {}
        for movie in dict.fromkeys((*links, *titles)):
            imdb_id, tmdb_id = links.get(movie, (None, None))
            title, alt_titles, year = _title(titles.get(movie, ""))
            identity = MovieIdentity(imdb_id=imdb_id, tmdb_id=tmdb_id, title=title, alt_titles=alt_titles, year=year)
            if identity.imdb_id or identity.tmdb_id or title:
                identities[movie] = identity
        return identities

    def _rating(self, text: str) -> float | str:
        """The rating on the scale of this service, or what is wrong with it."""
        try:
            return self._scale.parse(text)
        except ImportRowError:
            return f"the rating is not {self._scale.value[2]}"

    def _companion(self, kind: str, *columns: str) -> Iterator[tuple[str, ...]]:
        """Some columns of a companion file, if there is one; rows that cannot be read are skipped."""
        path = self._companions.get(kind)
        if path is None:
            return
        with self._opener.open(path) as stream:
            _, header = _header(stream)
        if not set(columns) <= set(header):
            raise InvalidParameter(f"{path.name} lacks one of the columns {', '.join(columns)}")
        pick: Callable[[list[str]], tuple[str, ...]] = itemgetter(*map(header.index, columns))
        with self._opener.open(path) as stream:
            for row in _rows(stream):
                if not isinstance(row, RowError) and len(row) == len(header):
                    yield tuple(map(str.strip, pick(row)))


_MAX_TEXTS = 10_000
"""Texts of ratings that are remembered."""


def _header(stream: BinaryIO) -> tuple[str, list[str]]:
    """The delimiter and the normalised names of the columns; no names if the first line is not text."""
    line = next(read_lines(stream), "")
    if not isinstance(line, str):
        return ",", []
    delimiter = max("\t;,", key=line.count)
    try:
        return delimiter, [normalise_column(name) for name in next(csv.reader([line], delimiter=delimiter), [])]
    except csv.Error:
        return delimiter, []


def _rows(stream: BinaryIO) -> Iterator[list[str] | RowError]:
    """The rows after the header."""
    delimiter, _ = _header(stream)
    lines = read_lines(stream)
    return tab_separated(lines) if delimiter == "\t" else comma_separated(lines, delimiter)


def _seconds(text: str) -> int | None:
    """Seconds since 1970; None for another text or an earlier time."""
    try:
        seconds = float(text)
    except ValueError:
        try:
            at = datetime.fromisoformat(text)
        except ValueError:
            return None
        try:
            seconds = (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
        except OverflowError:
            return None
    return int(seconds) if 0 <= seconds <= _END_OF_TIME else None


def _title(text: str) -> tuple[str | None, tuple[str, ...], int | None]:
    """Title, alternative titles and year of a title of MovieLens."""
    try:
        checked = checked_title(text)
    except ImportRowError:
        return None, (), None
    if checked is None:
        return None, (), None
    title, alt_titles, year = split_title(checked)
    return title, alt_titles, int(year) if year else None
