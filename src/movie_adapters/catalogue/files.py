"""Movies from files: those that users bring, in the forms they are usually published in, and the bundled films.

A file is CSV, TSV or JSON lines in UTF-8, gzipped, xz-compressed or neither. What is accepted stands in
`docs/catalogue.md`. Reading streams: memory grows with the number of ids alone, never with the size of a line or of
what is packed.
"""

import csv
import gzip
import hashlib
import io
import json
import lzma
import math
import re
import unicodedata
import zlib
from array import array
from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache, partial
from importlib.resources import files
from operator import itemgetter
from pathlib import Path
from stat import S_ISREG
from typing import BinaryIO, cast

import msgspec

from movie_core.errors import InvalidParameter
from movie_core.search.movies import MAX_ID, Movie

MAX_LINE = 256 * 1024
"""Bytes of a line; a longer one is skipped without being held in memory."""
MAX_ROW_LINES = 200
"""Lines that a quoted CSV field may span before its quote counts as never closed."""
MAX_TITLE = 500
"""Characters of a title, original or not; alternative titles beyond are left out."""
MAX_NAME = 200
"""Characters of a genre, person or country; longer ones are left out."""
MAX_NAMES = 50
"""Genres, persons, countries or alternative titles of one movie; those that follow are left out."""
MAX_OVERVIEW = 5_000
"""Characters of an overview; the rest is cut off."""
MAX_POPULARITY = 1e15
FIRST_YEAR = 1870
LAST_YEAR = 2100
KEPT = 20
"""Rejected rows that are kept with their detail, unless told otherwise."""

BUNDLED_NAME = "bundled-films"
BUNDLED_EDITION = f"{BUNDLED_NAME}-af530a53"
"""The name, and the CRC-32 of the bundled file unpacked; `scripts/build_films.py` tells what it has to be."""
BUNDLED_FILMS = 40_097
"""How many films are bundled."""

_TITLE_TYPES = frozenset({"movie", "Movie", "tvMovie", "TV Movie"})
_NAMES = {
    "id": ("id", "movieid", "tconst", "const"),
    "title": ("title", "primarytitle", "name"),
    "year": ("year", "startyear", "releaseyear", "releasedate"),
    "genres": ("genres", "genre", "majorgenre"),
    "alt_titles": ("alttitles", "alttitle", "alternativetitles", "akas"),
    "popularity": ("popularity", "nratings", "numvotes", "imdbvotes", "votes"),
    "imdb_id": ("imdbid", "imdb", "tconst", "const"),
    "tmdb_id": ("tmdbid", "tmdb"),
    "directors": ("director", "directors"),
    "cast": ("cast", "actors", "stars"),
    "original_title": ("originaltitle",),
    "overview": ("overview", "plot", "description"),
    "runtime_minutes": ("runtime", "runtimeminutes", "runtimemin", "runtimemins", "runningtimemin", "duration"),
    "countries": ("country", "countries"),
    "poster_url": ("posterurl", "poster"),
    "title_type": ("titletype",),
    "is_adult": ("isadult",),
}
"""Which columns tell which field, best first; letters and digits of the column's name in lower case."""
_FIELDS = tuple(_NAMES)
_ID, _TITLE, _YEAR_AT, _GENRES, _ALT_TITLES, _POPULARITY, _IMDB_ID, _TMDB_ID = range(8)
"""Where a row's values stand that the form of the file or those beside it change."""
_ARTICLES = re.compile(
    r"(.+), (the|an?|las?|l[eo]s?|l'|une?|una|des|el|il|gli|i|der|die|das|den|det|de|het|en|eine?|os?|as|uma?)",
    re.IGNORECASE,
)
_NULL = r"\N"

_YEAR = re.compile(r"(?<!\d)\d{4}(?!\d)", re.ASCII)
_IMDB = re.compile(r"(?:tt)?(\d{1,10})", re.ASCII)
_RUNTIME = re.compile(r"(\d{1,4})(?:\.0*)?(?: ?min(?:utes|s)?\.?)?", re.ASCII)
_NO_WORD = re.compile(r"[^a-z0-9]+")
_ENDING_YEAR = re.compile(r"\s*\((\d{4})(?:[-\u2013]\d{0,4})?\)$", re.ASCII)
_IN_BRACKETS = re.compile(r"\s*\(([^()]*)\)")
_AKA = re.compile(r"^a\.?\s?k\.?\s?a\.?\s+", re.IGNORECASE)
_GZIP, _XZ = b"\x1f\x8b", b"\xfd7zXZ\x00"
_OTHER_FORMS = {
    b"PK\x03\x04": "a zip archive or an Excel workbook",
    b"BZh": "packed with bzip2",
    b"\x28\xb5\x2f\xfd": "packed with zstd",
    b"\xff\xfe": "in UTF-16",
    b"\xfe\xff": "in UTF-16",
    b"SQLite format 3\x00": "an SQLite database",
    b"%PDF": "a PDF",
}
_EXPECTED = "expected CSV, TSV or JSON lines in UTF-8, gzipped or not"


@dataclass(frozen=True, slots=True)
class Rejected:
    """A row that gave no movie."""

    row: int
    """Data rows count from 1; the header and blank lines don't."""
    code: str
    """`no_title`, `invalid_id`, `repeated_id`, `invalid_year`, `invalid_popularity`, `too_long`, `wrong_columns`,
    `unclosed_quote`, `bad_utf8`, `bad_json` or `line_too_long`.
    """
    detail: str
    """One sentence for a person."""


class _FlawError(Exception):
    """Why a row gives no movie."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


class MovieFile:
    """The movies of one file. Iterate as often as you like; each time reads the file anew and counts from zero.

    Making one looks at the beginning of the file and raises `InvalidParameter` where that can't be read as movies;
    iterating raises it where the file is damaged further on. The counts are right for what has been read so far.
    """

    def __init__(self, path: Path, *, keep: int = KEPT) -> None:
        self.path = path
        self.rows = 0
        """Data rows seen."""
        self.movies = 0
        """Movies given."""
        self.rejected: list[Rejected] = []
        """The first `keep` of the rows that gave no movie."""
        self.reasons: Counter[str] = Counter()
        """How many rows gave no movie, by code."""
        self.left_out: Counter[str] = Counter()
        """Rows that are no movies (`title_type`) or for adults only (`adult`), as IMDb's lists say; nothing is wrong
        with them.
        """
        self._keep = keep
        self._counted = 0
        self._raw: io.FileIO | None = None
        self._ids: set[str] = set()
        self._suffixes: dict[str, int] = {}
        self._header, self._delimiter = self._look()
        self._columns = _columns(self._header)
        self._pick: Callable[[list[str]], Sequence[str]] = itemgetter(
            *(self._columns.get(field, len(self._header)) for field in _FIELDS)
        )
        self._of_imdb = "tconst" in self._header or "const" in self._header
        self._of_movielens = {"movieid", "title", "genres"} <= set(self._header) and "year" not in self._columns
        self._beside = self._companions()
        self.bytes_total = sum(companion.stat().st_size for companion in (path, *self._beside.values()))
        """Size of the file and of those beside it that are read too, as they lie on disk."""

    @property
    def bytes_read(self) -> int:
        """How much of `bytes_total` has been read."""
        return self._counted + (0 if self._raw is None or self._raw.closed else self._raw.tell())

    def __iter__(self) -> Iterator[Movie]:
        self.rows = self.movies = self._counted = 0
        self.rejected, self.reasons, self.left_out = [], Counter(), Counter()
        self._ids, self._suffixes = set(), {}
        complete = self._completion()
        with self._opened(self.path) as stream:
            for row in self._rows(stream):
                self.rows += 1
                try:
                    values = self._values(row)
                    if complete is not None:
                        values = complete(values)
                    movie = self._movie(values)
                    if movie is None:
                        continue
                except _FlawError as flaw:
                    self.reasons[flaw.code] += 1
                    if len(self.rejected) < self._keep:
                        self.rejected.append(Rejected(self.rows, flaw.code, flaw.detail))
                else:
                    self.movies += 1
                    yield movie
        self._ids, self._suffixes = set(), {}

    # From bytes to rows

    def _wrong(self, what: str) -> InvalidParameter:
        return InvalidParameter(f"{self.path.name} {what}", field="FILE")

    @contextmanager
    def _opened(self, path: Path) -> Iterator[BinaryIO]:
        """The unpacked bytes of a file, after its byte order mark; what goes wrong becomes `InvalidParameter`."""
        try:
            with io.FileIO(path) as raw:
                self._raw = raw
                buffered = io.BufferedReader(raw, 1 << 17)
                head = buffered.peek(16)[:16]
                is_gzip, is_xz = head.startswith(_GZIP), head.startswith(_XZ)
                for ending, is_so, name in ((".gz", is_gzip, "gzipped"), (".xz", is_xz, "xz-compressed")):
                    if path.suffix.lower() == ending and head and not is_so:
                        raise InvalidParameter(f"{path.name} is named as if {name}, but isn't", field="FILE")
                stream = buffered
                if is_gzip or is_xz:
                    unpacked = gzip.open(buffered) if is_gzip else lzma.open(buffered)  # noqa: SIM115  # raw is closed
                    stream = io.BufferedReader(cast(io.FileIO, unpacked), 1 << 17)
                if stream.peek(3)[:3] == b"\xef\xbb\xbf":
                    stream.read(3)
                yield stream
                self._counted += raw.tell()
        except FileNotFoundError:
            raise InvalidParameter(f"{path} does not exist", field="FILE") from None
        except (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile) as error:
            raise InvalidParameter(f"{path.name} is cut off or damaged: it can't be unpacked", field="FILE") from error
        except OSError as error:
            raise InvalidParameter(f"{path} can't be read: {error.strerror or error}", field="FILE") from error
        finally:
            self._raw = None

    def _look(self) -> tuple[list[str], str]:
        """The columns' plain names and what stands between them; no names and `{` for JSON lines."""
        with suppress(OSError):  # opening it tells what is wrong
            if not S_ISREG(self.path.stat().st_mode):
                raise InvalidParameter(f"{self.path} is not a file", field="FILE")  # a pipe can't be looked into first
        with self._opened(self.path) as stream:
            head = stream.read(MAX_LINE)
        for magic, name in _OTHER_FORMS.items():
            if head.startswith(magic):
                raise self._wrong(f"is {name}; {_EXPECTED}")
        first = next((line for line in head.split(b"\n") if line.strip()), b"")
        if b"\x00" in first or head.count(b"\x00") > len(head) // 100:  # a few in a title are cleaned away
            raise self._wrong(f"is not text; {_EXPECTED}")
        if not first:
            raise self._wrong(f"is empty; {_EXPECTED}")
        if first.lstrip().startswith(b"{"):
            return [], "{"
        if first.lstrip().startswith(b"["):
            raise self._wrong("holds a JSON array; of JSON one object on each line is expected")
        try:
            line = first.decode().rstrip("\r")
            delimiter = max("\t;,", key=line.count)
            header = [_plain(name) for name in next(csv.reader([line], delimiter=delimiter))]
        except UnicodeDecodeError:
            raise self._wrong(f"is not UTF-8; {_EXPECTED}") from None
        except csv.Error:
            raise self._wrong("has no first line with the names of columns, or no line ends that we know") from None
        if "title" not in _columns(header):
            shown = ", ".join(name for name in header[:8] if name.isascii())[:120]
            if header[0] in {"tconst", "movieid", "userid"}:
                raise self._wrong(
                    f"has no titles (columns: {shown}): import the file with the titles, and leave this one beside it"
                )
            raise self._wrong(f"has no column `title` in its first line (columns: {shown})")
        return header, delimiter

    def _lines(self, stream: BinaryIO) -> Iterator[str | _FlawError]:
        """Lines with their ends; blank ones are left out."""
        for raw in iter(partial(stream.readline, MAX_LINE), b""):
            if len(raw) == MAX_LINE and not raw.endswith(b"\n"):
                while (rest := stream.readline(MAX_LINE)) and not rest.endswith(b"\n"):
                    pass
                yield _FlawError("line_too_long", f"the line has more than {MAX_LINE} bytes")
                continue
            try:
                line = raw.decode()
            except UnicodeDecodeError:
                yield _FlawError("bad_utf8", "the row is not UTF-8")
                continue
            if not line.isspace():
                yield line

    def _rows(self, stream: BinaryIO) -> Iterator[list[str] | str | _FlawError]:
        """Cells, or the line as it is for JSON."""
        lines = self._lines(stream)
        if self._delimiter == "{":
            yield from lines
            return
        next(lines, None)  # the header
        yield from _tab_separated(lines) if self._delimiter == "\t" else _comma_separated(lines, self._delimiter)

    # From rows to movies

    def _values(self, row: list[str] | str | _FlawError) -> Sequence[str]:
        """What the row says of each field, in the order of `_FIELDS`; empty where it says nothing."""
        if isinstance(row, list):
            if len(row) != len(self._header):
                raise _FlawError("wrong_columns", f"the row has {len(row)} columns, the header {len(self._header)}")
            if _NULL in row:
                row = ["" if cell == _NULL else cell for cell in row]
            row.append("")  # what the fields without a column pick
            return self._pick(row)
        if isinstance(row, str):
            return _json_values(row)
        raise row

    def _movie(self, values: Sequence[str]) -> Movie | None:
        """None for a row that is left out on purpose."""
        (
            given, title, year, genres, alt_titles, popularity, imdb, tmdb, directors, cast_,
            original, overview, runtime, countries, poster, title_type, is_adult,
        ) = values  # fmt: skip
        if title_type and title_type not in _TITLE_TYPES:
            self.left_out["title_type"] += 1
            return None
        if is_adult == "1":
            self.left_out["adult"] += 1
            return None
        title = _clean(title)
        if not title:
            raise _FlawError("no_title", "the row has no title")
        if len(title) > MAX_TITLE:
            raise _FlawError("too_long", f"the title has {len(title)} characters, more than {MAX_TITLE}")
        commas = self._of_imdb  # its exports put commas between names, and no name there holds one
        people = _items(directors, commas=commas) if directors else ()
        actors = _items(cast_, commas=commas) if cast_ else ()
        number = _year(year) if year else None
        imdb_id = _imdb_id(imdb) if imdb else None
        fame = _popularity(popularity) if popularity else None
        original = _clean(original) if original else ""
        return Movie(
            id=self._id(given, imdb_id, title, number, people or actors),
            title=title,
            year=number,
            genres=_genres(genres) if genres else (),
            original_title=original if original != title and 0 < len(original) <= MAX_TITLE else None,
            overview=_clean(overview)[:MAX_OVERVIEW].rstrip() or None if overview else None,
            runtime_minutes=_runtime(runtime) if runtime else None,
            directors=people,
            cast=actors,
            countries=_items(countries, commas=commas) if countries else (),
            poster_url=_url(poster) if poster else None,
            imdb_id=imdb_id,
            tmdb_id=_tmdb_id(tmdb) if tmdb else None,
            popularity=fame,
            alt_titles=_items(alt_titles, limit=MAX_TITLE) if alt_titles else (),
        )

    def _id(self, given: str, imdb_id: str | None, title: str, year: int | None, people: tuple[str, ...]) -> str:
        """The id given, or the IMDb id, or one made; never one that the file has had before."""
        movie_id = given.strip() or imdb_id
        if movie_id:
            if len(movie_id) > MAX_ID or not movie_id.isprintable():
                raise _FlawError("invalid_id", f"an id must have at most {MAX_ID} characters, none for control")
            if movie_id in self._ids:
                raise _FlawError("repeated_id", f"the id {movie_id} stood in the file before")
        else:
            movie_id = base = made_id(title, year, people[0] if people else None)
            while movie_id in self._ids:
                number = self._suffixes[base] = self._suffixes.get(base, 1) + 1
                movie_id = f"{base}-{number}"
        self._ids.add(movie_id)
        return movie_id

    # What lies beside the file

    def _companions(self) -> dict[str, Path]:
        """The files beside this one that IMDb and MovieLens publish with it."""
        if "tconst" in self._header and "title_type" in self._columns and "popularity" not in self._columns:
            wanted = {"ratings": self.path.name.replace("basics", "ratings")}
        elif self._of_movielens:
            wanted = {"links": "links.csv", "ratings": "ratings.csv"}
        else:
            return {}
        found = {}
        for kind, name in wanted.items():
            bare = name.removesuffix(".gz").removesuffix(".xz")
            for candidate in (name, bare, f"{bare}.gz", f"{bare}.xz"):
                path = self.path.with_name(candidate)
                if candidate != self.path.name and path.is_file():
                    found[kind] = path
                    break
        return found

    def _completion(self) -> Callable[[Sequence[str]], Sequence[str]] | None:
        """Adds what the form of the file, and the files beside it, tell of a movie."""
        if self._of_movielens:
            return self._completion_of_movielens()
        if "ratings" not in self._beside:
            return None
        votes = _Counts((_number(row[0]), row[1]) for row in self._read_beside("ratings", "tconst", "numvotes"))

        def with_votes(values: Sequence[str]) -> Sequence[str]:
            count = votes.get(_number(values[_ID]))
            return values if count is None else (*values[:_POPULARITY], str(count), *values[_POPULARITY + 1 :])

        return with_votes

    def _completion_of_movielens(self) -> Callable[[Sequence[str]], Sequence[str]]:
        links = {row[0]: row[1:] for row in self._read_beside("links", "movieid", "imdbid", "tmdbid")}
        counts = Counter(row[0] for row in self._read_beside("ratings", "movieid", "rating"))
        has_counts = "ratings" in self._beside

        def with_all(values: Sequence[str]) -> Sequence[str]:
            known = list(values)
            known[_TITLE], known[_YEAR_AT], known[_ALT_TITLES] = _title_parts(known[_TITLE])
            if known[_GENRES] == "(no genres listed)":
                known[_GENRES] = ""
            known[_IMDB_ID], known[_TMDB_ID] = links.get(known[_ID], ("", ""))
            if has_counts:
                known[_POPULARITY] = str(counts[known[_ID]])
            return known

        return with_all

    def _read_beside(self, kind: str, *columns: str) -> Iterator[tuple[str, ...]]:
        """Some columns of a file beside this one; rows that aren't whole are left out."""
        path = self._beside.get(kind)
        if path is None:
            return
        with self._opened(path) as stream:
            lines = self._lines(stream)
            first = next(lines, "")
            delimiter = "\t" if isinstance(first, str) and "\t" in first else ","
            header = [_plain(name) for name in first.split(delimiter)] if isinstance(first, str) else []
            if not set(columns) <= set(header):
                raise InvalidParameter(f"{path.name} lacks one of the columns {', '.join(columns)}", field="FILE")
            pick = itemgetter(*(header.index(column) for column in columns))
            for line in lines:
                if isinstance(line, str) and len(cells := line.rstrip("\r\n").split(delimiter)) == len(header):
                    yield pick(cells)


class _Counts:
    """A count for each of millions of numbers, in 12 bytes each."""

    def __init__(self, pairs: Iterable[tuple[int, str]]) -> None:
        numbers, counts = array("Q"), array("I")
        for number, count in pairs:
            if count.isdecimal() and len(count) < 10:
                numbers.append(number)
                counts.append(int(count))
        order = range(len(numbers))
        if any(numbers[i] < numbers[i - 1] for i in order[1:]):
            by_number = sorted(order, key=numbers.__getitem__)
            numbers, counts = array("Q", (numbers[i] for i in by_number)), array("I", (counts[i] for i in by_number))
        self._numbers, self._counts = numbers, counts

    def get(self, number: int) -> int | None:
        index = bisect_left(self._numbers, number)
        return self._counts[index] if index < len(self._numbers) and self._numbers[index] == number else None


def read_movies(path: Path, *, keep: int = KEPT) -> MovieFile:
    """The movies of a file in any accepted form; raises `InvalidParameter` for a file that isn't one."""
    return MovieFile(path, keep=keep)


def made_id(title: str, year: int | None, person: str | None) -> str:
    """An id from what is known of a movie without one: the same today and tomorrow, readable, plain ASCII.

    >>> made_id("Amélie", 2001, "Audrey Tautou")
    'amelie-2001-audrey-tautou'
    """
    slug = _slug(title, 60)
    if year is not None:
        slug = f"{slug}-{year}"
    return f"{slug}-{_person_slug(person)}" if person else slug


def bundled_path() -> Path:
    """The file of the bundled films: JSON lines whose keys are the fields of `Movie`; `read_movies` reads it too."""
    return Path(str(files("movie_adapters.catalogue") / "films.jsonl.gz"))


def bundled_films() -> Iterator[Movie]:
    """The bundled films, `BUNDLED_FILMS` of them, always in the same order."""
    decode = msgspec.json.Decoder(Movie).decode  # half the time of `read_movies`, which has to distrust a file
    yield from map(decode, gzip.decompress(bundled_path().read_bytes()).splitlines())


def _tab_separated(lines: Iterable[str | _FlawError]) -> Iterator[list[str] | _FlawError]:
    """A tab always ends a cell. Quotes around a cell go where a spreadsheet has put them, doubling those within."""
    for line in lines:
        if isinstance(line, str):
            cells = line.rstrip("\r\n").split("\t")
            yield [_unquoted(cell) for cell in cells] if '"' in line else cells
        else:
            yield line


def _unquoted(cell: str) -> str:
    if len(cell) < 2 or cell[0] != '"' or cell[-1] != '"':
        return cell
    inner = cell[1:-1].replace('""', "\0")
    return cell if '"' in inner else inner.replace("\0", '"')


def _comma_separated(lines: Iterator[str | _FlawError], delimiter: str) -> Iterator[list[str] | _FlawError]:
    """RFC 4180; a quote that is never closed costs its own line only."""
    waiting: deque[str | _FlawError] = deque()

    def following() -> str | _FlawError | None:
        return waiting.popleft() if waiting else next(lines, None)

    while (line := following()) is not None:
        if not isinstance(line, str):
            yield line
        elif '"' not in line:
            yield line.rstrip("\r\n").split(delimiter)
        else:
            taken: list[str | _FlawError] = [line]

            def one_row(taken: list[str | _FlawError] = taken) -> Iterator[str]:
                while isinstance(taken[-1], str):
                    yield taken[-1]
                    more = following() if len(taken) < MAX_ROW_LINES else None
                    if more is None:
                        break
                    taken.append(more)
                raise _FlawError("unclosed_quote", "a quote is opened and not closed")

            try:
                yield next(csv.reader(one_row(), delimiter=delimiter))
            except (csv.Error, _FlawError):
                yield _FlawError("unclosed_quote", "a quote is opened and not closed")
                waiting.extendleft(reversed(taken[1:]))


def _json_values(line: str) -> list[str]:
    try:
        data = json.loads(line)
    except (ValueError, RecursionError):
        raise _FlawError("bad_json", "the line is not JSON") from None
    if not isinstance(data, dict):
        raise _FlawError("bad_json", "the line is not a JSON object")
    plain = {_plain(key): value for key, value in data.items()}
    return [next(filter(None, (_json_text(plain.get(name)) for name in names)), "") for names in _NAMES.values()]


def _json_text(value: object) -> str:
    """A value as a cell would spell it: lists with bars between, an object by its name."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "|".join(filter(None, (_json_text(item) for item in value if not isinstance(item, list))))
    if isinstance(value, dict):
        name = value.get("name")
        return name if isinstance(name, str) else ""
    if isinstance(value, int | float):  # true and false too: as a year or title they are wrong, and said to be
        return json.dumps(value)
    return ""


def _title_parts(title: str) -> tuple[str, str, str]:
    """`Matrix, The (a.k.a. Neo) (1999)` as MovieLens has it: the title, the year, other titles with bars between."""
    title, year = title.strip(), ""
    match = _ENDING_YEAR.search(title)
    if match is not None:
        year = match[1]
        title = title[: match.start()]
    others: list[str] = []
    while title.endswith(")") and (brackets := list(_IN_BRACKETS.finditer(title))) and brackets[-1].start() > 0:
        others.insert(0, _article_first(_AKA.sub("", brackets[-1][1])))
        title = title[: brackets[-1].start()]
    return _article_first(title), year, "|".join(others)


def _article_first(title: str) -> str:
    """`Matrix, The` as `The Matrix`, in the languages of `_ARTICLES`."""
    match = _ARTICLES.fullmatch(title.strip())
    if match is None:
        return title.strip()
    return f"{match[2]}{match[1]}" if match[2].endswith("'") else f"{match[2]} {match[1]}"


def _plain(name: object) -> str:
    return "".join(character for character in str(name).lower() if character.isalnum())


def _columns(header: list[str]) -> dict[str, int]:
    """Which column tells which field."""
    found = {}
    for field, names in _NAMES.items():
        known = [name for name in names if name in header]
        if known:
            found[field] = header.index(known[0])
    return found


def _clean(text: str) -> str:
    """NFC, without control characters, blanks outside or runs of them."""
    if text.isascii() and text.isprintable() and "  " not in text:
        return text.strip()
    if not text.isprintable():
        text = "".join(" " if unicodedata.category(character) in {"Cc", "Cs"} else character for character in text)
    return " ".join(unicodedata.normalize("NFC", text).split())


def _items(text: str, *, commas: bool = False, limit: int = MAX_NAME) -> tuple[str, ...]:
    """The parts between bars, or between commas where there are no bars and `commas` says so; each once."""
    text = _clean(text)
    bar = "|" if "|" in text or not commas else ","
    if bar not in text:
        return (text,) if 0 < len(text) <= limit else ()
    has_blanks = f" {bar}" in text or f"{bar} " in text
    parts = dict.fromkeys([part.strip() for part in text.split(bar)] if has_blanks else text.split(bar))
    if len(text) > limit or "" in parts:
        return tuple(part for part in parts if 0 < len(part) <= limit)[:MAX_NAMES]
    return tuple(parts)[:MAX_NAMES]


@lru_cache(maxsize=10_000)
def _genres(text: str) -> tuple[str, ...]:
    return _items(text, commas=True) if len(text) < MAX_OVERVIEW else ()


def _year(text: str) -> int | None:
    """The one number of four digits in `1999`, `1999.0`, `1999-03-31` or `Mar 31 1999`."""
    text = text.strip()
    if not text:
        return None
    if len(text) != 4 or not (text.isascii() and text.isdecimal()):
        found = _YEAR.findall(text) if len(text) <= 40 else []
        if len(found) != 1:
            raise _FlawError("invalid_year", f"{_shown(text)} is not a year")
        text = found[0]
    year = int(text)
    if not FIRST_YEAR <= year <= LAST_YEAR:
        raise _FlawError("invalid_year", f"the year {year} does not lie between {FIRST_YEAR} and {LAST_YEAR}")
    return year


def _popularity(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        if not text.strip():
            return None
        number = math.nan
    if not 0 <= number <= MAX_POPULARITY:
        raise _FlawError("invalid_popularity", f"{_shown(text)} is not a number from 0 up")
    return number


def _imdb_id(text: str) -> str | None:
    match = _IMDB.fullmatch(text.strip())
    return None if match is None else f"tt{match[1]:0>7}"


def _tmdb_id(text: str) -> str | None:
    number = text.strip().removesuffix(".0")
    return number if number.isascii() and number.isdecimal() and len(number) <= 10 else None


def _runtime(text: str) -> int | None:
    match = _RUNTIME.fullmatch(text.strip())
    return int(match[1]) or None if match else None


def _url(text: str) -> str | None:
    url = text.strip()
    is_safe = url.startswith(("https://", "http://")) and len(url) <= 2000 and url.isprintable() and " " not in url
    return url if is_safe else None


def _number(tconst: str) -> int:
    """The number in an IMDb id; 0 where there is none, which no title has."""
    digits = tconst[2:]
    return int(digits) if digits.isascii() and digits.isdecimal() and len(digits) < 19 else 0


def _shown(text: str) -> str:
    return ascii(text if len(text) <= 40 else f"{text[:40]}…")


def _slug(text: str, limit: int) -> str:
    """Words of ASCII letters and digits; a text that loses letters by that gets a checksum of all of it."""
    folded = text.casefold().replace("'", "")
    lost = ""
    if not folded.isascii():
        folded = folded.replace("\u2019", "")
        bare = "".join(c for c in unicodedata.normalize("NFKD", folded) if not unicodedata.combining(c))
        if any(not c.isascii() and c.isalnum() for c in bare):
            lost = _checksum(folded)
        folded = bare
    words = _NO_WORD.sub("-", folded).strip("-")[:limit].rstrip("-") or _checksum(folded)
    return f"{words}-{lost}" if lost else words


@lru_cache(maxsize=10_000)
def _person_slug(name: str) -> str:
    return _slug(name, 30)


def _checksum(text: str) -> str:
    return hashlib.blake2b(unicodedata.normalize("NFC", text).encode(), digest_size=4).hexdigest()
