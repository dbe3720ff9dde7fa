"""Import of movies from the file formats in which movie lists are usually published.

A file is CSV, TSV or JSON lines in UTF-8, plain or compressed with gzip or xz; `docs/catalogue.md` lists the accepted
columns. Files are streamed: memory grows only with the number of ids, not with the length of a line or the uncompressed
size.
"""

import csv
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from stat import S_ISREG
from typing import BinaryIO

from movie_adapters.catalogue import cells
from movie_adapters.catalogue.cells import MAX_OVERVIEW, MAX_TITLE, RowError
from movie_adapters.catalogue.companions import (
    Completion,
    imdb_companions,
    imdb_completion,
    movielens_companions,
    movielens_completion,
)
from movie_adapters.catalogue.ids import generate_id
from movie_adapters.catalogue.records import (
    FIELDS,
    ID,
    TITLE,
    comma_separated,
    find_columns,
    json_record,
    movie_fields,
    normalise_column,
    tab_separated,
)
from movie_adapters.catalogue.streams import MAX_LINE, FileOpener, read_lines
from movie_core.errors import InvalidParameter
from movie_core.search.movies import MAX_ID, ListedMovie, Movie
from movie_core.text import normalise_imdb_id, normalise_tmdb_id

MAX_REJECTED = 20
"""Rejected rows stored with their details by default."""

_TITLE_TYPES = frozenset(("movie", "tvmovie", "film", "featurefilm", "feature", "documentary"))
"""Types of films, normalised like the names of columns."""
_OTHER_TYPES = frozenset(
    (
        *("tvshow", "tv", "tvseries", "tvminiseries", "miniseries", "series", "show", "season", "tvseason", "episode"),
        *("tvepisode", "videogame", "game", "short", "tvshort", "musicvideo"),
        *("video", "tvspecial", "tvpilot", "podcastseries", "podcastepisode"),
    )
)
"""Types of other works, for files whose column `Type` may have any meaning."""
_SEPARATOR_LINE = re.compile(rb'"?sep=[,;\t]"?[,;\t]*', re.IGNORECASE)
"""The first line by which some programs tell spreadsheets the separator."""
_NULLS = frozenset((r"\N", "NaN", "nan", "NaT", "None", "none", "NULL", "Null", "null", "<NA>", "N/A", "n/a", "NA"))
"""How programs write that there is no value."""
_OTHER_FORMATS = {
    b"PK\x03\x04": "a zip archive or an Excel workbook",
    b"BZh": "compressed with bzip2",
    b"\x28\xb5\x2f\xfd": "compressed with zstd",
    b"\xff\xfe": "in UTF-16",
    b"\xfe\xff": "in UTF-16",
    b"SQLite format 3\x00": "an SQLite database",
    b"%PDF": "a PDF",
}
_EXPECTED = "expected CSV, TSV or JSON lines in UTF-8, gzipped or not"


@dataclass(frozen=True, slots=True)
class RejectedRow:
    """A row that is not a valid movie."""

    row: int
    """Number of the data row from 1, without header and blank lines."""
    code: str
    """`no_title`, `invalid_id`, `repeated_id`, `invalid_year`, `invalid_popularity`, `too_long`, `wrong_columns`,
    `unclosed_quote`, `bad_utf8`, `bad_json` or `line_too_long`.
    """
    detail: str
    """One sentence in plain English."""


class MovieFile:
    """The movies of one file. Each iteration reads the file from the start and resets the counters.

    The constructor reads the beginning of the file and raises `InvalidParameter` if it is not a file of movies.
    Iteration raises it if the file is damaged further on. During iteration, the counters cover the rows read so far.
    """

    def __init__(self, path: Path, *, max_rejected: int = MAX_REJECTED, adult: bool = False) -> None:
        """`adult`: include titles for adults only."""
        self.path = path
        self.rows = 0
        """Data rows read."""
        self.movies = 0
        """Valid movies."""
        self.rejected: list[RejectedRow] = []
        """The first `max_rejected` rejected rows."""
        self.reasons: Counter[str] = Counter()
        """Numbers of rejected rows by code."""
        self.skipped: Counter[str] = Counter()
        """Numbers of skipped rows, which are not rejected: not movies (`title_type`), or for adults only (`adult`)."""
        self._max_rejected = max_rejected
        self._includes_adult = adult
        self._opener = FileOpener()
        self._ids: set[str] = set()
        self._imdb_ids: set[str] = set()
        self._suffixes: dict[str, int] = {}
        self._header, self._delimiter = self._detect_format()
        self._columns = find_columns(self._header)
        self._is_imdb = not {"tconst", "const", "imdbtitleid"}.isdisjoint(self._header)
        self._is_movielens = {"movieid", "title", "genres"} <= set(self._header) and "year" not in self._columns
        if self._is_imdb and "description" in self._header:  # the remarks of the person who made the list
            self._columns.pop("overview", None)
        is_tmdb = {"id", "voteaverage", "originallanguage"} <= set(self._header)
        self._has_title_types = "titletype" in self._header
        self._has_own_ids = not (self._is_imdb or self._is_movielens or is_tmdb)
        if is_tmdb and "tmdb_id" not in self._columns:
            self._columns["tmdb_id"] = self._columns.get("id", len(self._header))
        self._pick: Callable[[list[str]], Sequence[str]] = itemgetter(
            *(self._columns.get(field, len(self._header)) for field in FIELDS)
        )
        self._companions = self._find_companions()
        self._fields = self._find_fields()
        self.bytes_total = sum(companion.stat().st_size for companion in (path, *self._companions.values()))
        """Size on disk of the file and its companions."""

    @property
    def bytes_read(self) -> int:
        """Number of bytes of `bytes_total` that have been read."""
        return self._opener.bytes_read

    def __iter__(self) -> Iterator[Movie]:
        return (listed.movie for listed in self.listed())

    def listed(self) -> Iterator[ListedMovie]:
        """The movies with the fields that the file has, for an import into a catalogue."""
        self.rows = self.movies = 0
        self.rejected, self.reasons, self.skipped = [], Counter(), Counter()
        self._ids, self._imdb_ids, self._suffixes = set(), set(), {}
        self._opener.reset()
        complete = self._completion()
        with self._opener.open(self.path) as stream:
            for row in self._rows(stream):
                self.rows += 1
                try:
                    values, fields = self._values(row)
                    if complete is not None:
                        values = complete(values)
                    movie = self._movie(values)
                    if movie is None:
                        continue
                    has_own_id = self._has_own_ids and bool(values[ID].strip())
                except RowError as error:
                    self.reasons[error.code] += 1
                    if len(self.rejected) < self._max_rejected:
                        self.rejected.append(RejectedRow(self.rows, error.code, error.detail))
                else:
                    self.movies += 1
                    yield ListedMovie(movie, fields, has_own_id)
        self._ids, self._imdb_ids, self._suffixes = set(), set(), {}

    # --- format

    def _error(self, problem: str) -> InvalidParameter:
        return InvalidParameter(f"{self.path.name} {problem}", field="FILE")

    def _detect_format(self) -> tuple[list[str], str]:
        """Normalised column names and delimiter; no names and `{` for JSON lines."""
        with suppress(OSError):  # opening the file reports the error
            if not S_ISREG(self.path.stat().st_mode):
                raise InvalidParameter(f"{self.path} is not a file", field="FILE")  # a pipe can't be read twice
        with self._opener.open(self.path) as stream:
            head = stream.read(MAX_LINE)
        for magic, name in _OTHER_FORMATS.items():
            if head.startswith(magic):
                raise self._error(f"is {name}; {_EXPECTED}")
        lines = (line for line in head.split(b"\n") if line.strip())
        first = next(lines, b"")
        self._has_separator_line = _SEPARATOR_LINE.fullmatch(first.strip()) is not None
        if self._has_separator_line:
            first = next(lines, b"")
        # A few NUL characters in titles are removed later.
        if b"\x00" in first or head.count(b"\x00") > len(head) // 100:
            raise self._error(f"is not text; {_EXPECTED}")
        if not first:
            raise self._error(f"is empty; {_EXPECTED}")
        if first.lstrip().startswith(b"{"):
            return [], "{"
        if first.lstrip().startswith(b"["):
            raise self._error("is a JSON array; expected one JSON object per line")
        try:
            line = first.decode().rstrip("\r")
            delimiter = max("\t;,", key=line.count)
            header = [normalise_column(name) for name in next(csv.reader([line], delimiter=delimiter))]
        except UnicodeDecodeError:
            raise self._error(f"is not UTF-8; {_EXPECTED}") from None
        except csv.Error:
            raise self._error("has no first line with column names, or unknown line ends") from None
        if "title" not in find_columns(header):
            shown = ", ".join(name for name in header[:8] if name.isascii())[:120]
            if header[0] in {"tconst", "movieid", "userid"}:
                raise self._error(
                    f"has no titles (columns: {shown}): import the file with the titles, and leave this one next to it"
                )
            raise self._error(f"has no column `title` in its first line (columns: {shown})")
        return header, delimiter

    def _find_companions(self) -> dict[str, Path]:
        if "tconst" in self._header and "title_type" in self._columns and "popularity" not in self._columns:
            return imdb_companions(self.path)
        return movielens_companions(self.path) if self._is_movielens else {}

    def _find_fields(self) -> frozenset[str]:
        """The fields of movies that the columns of the file and its companions provide."""
        columns = set(self._columns)
        if self._is_movielens:
            columns |= {"year", "alt_titles"}
        if "links" in self._companions:
            columns |= {"imdb_id", "tmdb_id"}
        if "ratings" in self._companions:
            columns.add("popularity")
        return movie_fields(columns)

    def _completion(self) -> Completion | None:
        if self._is_movielens:
            return movielens_completion(self._opener, self._companions)
        return imdb_completion(self._opener, self._companions)

    # --- rows

    def _rows(self, stream: BinaryIO) -> Iterator[list[str] | str | RowError]:
        """Cells, or the whole line for JSON."""
        lines = read_lines(stream)
        if self._delimiter == "{":
            yield from lines
            return
        for _ in range(1 + self._has_separator_line):  # the header
            next(lines, None)
        yield from tab_separated(lines) if self._delimiter == "\t" else comma_separated(lines, self._delimiter)

    def _values(self, row: list[str] | str | RowError) -> tuple[Sequence[str], frozenset[str]]:
        """The values of a row in the order of `FIELDS`, empty if missing, and the fields of movies that it has."""
        if isinstance(row, list):
            while len(row) > len(self._header) and not row[-1].strip():
                row.pop()
            if len(row) != len(self._header):
                raise RowError("wrong_columns", f"the row has {len(row)} columns, the header {len(self._header)}")
            if not _NULLS.isdisjoint(row):
                title = self._columns["title"]  # films may be called `None` or `NaN`
                row = ["" if cell in _NULLS and column != title else cell for column, cell in enumerate(row)]
            row.append("")  # the value of fields without a column
            return self._pick(row), self._fields
        if isinstance(row, str):
            values, columns = json_record(row)
            if not _NULLS.isdisjoint(values):
                values = ["" if value in _NULLS and field != TITLE else value for field, value in enumerate(values)]
            return values, movie_fields(columns)
        raise row

    def _movie(self, values: Sequence[str]) -> Movie | None:
        """The movie of a row; None for a row that is skipped."""
        (
            row_id, title, year, genres, alt_titles, popularity, imdb, tmdb, directors, cast,
            original, overview, runtime, countries, poster, title_type, is_adult, list_uri,
        ) = values  # fmt: skip
        if title_type and not self._is_film(normalise_column(title_type)):
            self.skipped["title_type"] += 1
            return None
        if is_adult and not self._includes_adult and cells.parse_flag(is_adult):
            self.skipped["adult"] += 1
            return None
        title = cells.parse_title(title)
        commas = self._is_imdb  # IMDb separates names by commas; no name there contains one
        director_names = cells.parse_people(directors, commas=commas) if directors else ()
        cast_names = cells.parse_people(cast, commas=commas) if cast else ()
        release_year = cells.parse_year(year) if year else None
        imdb_id = normalise_imdb_id(imdb) if imdb else None
        parsed_popularity = cells.parse_popularity(popularity) if popularity else None
        original = cells.clean(original) if original else ""
        movie_id = self._id(row_id, imdb_id, title, release_year, director_names or cast_names, list_uri)
        return Movie(
            id=movie_id,
            title=title,
            year=release_year,
            genres=cells.parse_genres(genres) if genres else (),
            original_title=original if original != title and 0 < len(original) <= MAX_TITLE else None,
            overview=cells.clean(overview)[:MAX_OVERVIEW].rstrip() or None if overview else None,
            runtime_minutes=cells.parse_runtime(runtime) if runtime else None,
            directors=director_names,
            cast=cast_names,
            countries=cells.parse_names(countries, commas=commas) if countries else (),
            poster_url=cells.parse_url(poster) if poster else None,
            imdb_id=imdb_id,
            tmdb_id=normalise_tmdb_id(tmdb) if tmdb else None,
            popularity=parsed_popularity,
            alt_titles=cells.parse_names(alt_titles, limit=MAX_TITLE) if alt_titles else (),
        )

    def _is_film(self, title_type: str) -> bool:
        return title_type in _TITLE_TYPES if self._has_title_types else title_type not in _OTHER_TYPES

    def _id(
        self,
        row_id: str,
        imdb_id: str | None,
        title: str,
        year: int | None,
        people: tuple[str, ...],
        list_uri: str,
    ) -> str:
        """The id of the row, the IMDb id, or a generated id, which is unique within the file."""
        movie_id = row_id.strip() or imdb_id
        if imdb_id is not None and imdb_id != movie_id:
            if imdb_id in self._imdb_ids:
                raise RowError("repeated_id", f"an earlier row has the IMDb id {imdb_id}")
            self._imdb_ids.add(imdb_id)
        if movie_id:
            if len(movie_id) > MAX_ID or not movie_id.isprintable():
                raise RowError("invalid_id", f"an id must have at most {MAX_ID} characters and no control characters")
            if movie_id in self._ids:
                raise RowError("repeated_id", f"an earlier row has the id {movie_id}")
        else:
            movie_id = base = generate_id(title, year, people[0] if people else None, list_uri)
            while movie_id in self._ids:
                number = self._suffixes[base] = self._suffixes.get(base, 1) + 1
                movie_id = f"{base}-{number}"
        self._ids.add(movie_id)
        return movie_id
