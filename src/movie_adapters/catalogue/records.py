"""Records of movie files: CSV, TSV and JSON lines, and the columns that provide each field."""

import csv
import json
from collections import deque
from collections.abc import Iterable, Iterator

from movie_adapters.catalogue.cells import RowError

MAX_ROW_LINES = 200
"""Lines that a quoted CSV field may span; a longer one counts as unclosed."""

NAMES = {
    "id": ("id", "movieid", "tconst", "const"),
    "title": ("title", "primarytitle", "movietitle", "filmtitle", "seriestitle", "name", "filmlabel", "itemlabel"),
    "year": (
        *("year", "startyear", "releaseyear", "releasedyear", "titleyear", "releasedate", "released"),
        *("datepublished", "publicationdate"),
    ),
    "genres": ("genres", "genre", "majorgenre", "genrelabel", "listedin"),
    "alt_titles": ("alttitles", "alttitle", "alternativetitles", "akas"),
    "popularity": (
        *("popularity", "nratings", "numvotes", "imdbvotes", "votes", "votecount", "noofvotes", "numvotedusers"),
    ),
    "imdb_id": ("imdbid", "imdb", "tconst", "const", "imdbtitleid", "imdburl", "imdblink", "movieimdblink"),
    "tmdb_id": ("tmdbid", "tmdb"),
    "directors": ("director", "directors", "directorname", "directorlabel", "directedby"),
    "cast": ("cast", "actors", "stars", "starring"),
    "original_title": ("originaltitle",),
    "overview": ("overview", "plot", "description", "synopsis", "storyline", "summary"),
    "runtime_minutes": (
        *("runtime", "runtimeminutes", "runtimemin", "runtimemins", "runningtimemin", "runningtime", "duration"),
        *("minutes", "minute"),
    ),
    "countries": ("country", "countries", "productioncountries", "countrylabel", "countryoforigin"),
    "poster_url": ("posterurl", "poster", "posterlink"),
    "title_type": ("titletype", "type"),
    "is_adult": ("isadult", "adult"),
    "list_uri": ("letterboxduri",),
}
"""Normalised column names by field, in order of preference."""
FIELDS = tuple(NAMES)
_FILE_ONLY = frozenset(("id", "title_type", "is_adult", "list_uri"))
ID, TITLE, YEAR, GENRES, ALT_TITLES, POPULARITY, IMDB_ID, TMDB_ID = range(8)
"""Positions in `FIELDS` of the values that companion files or the format of a file change."""


def normalise_column(name: object) -> str:
    """Lower-case letters and digits of a column name."""
    return "".join(character for character in str(name).lower() if character.isalnum())


def find_columns(header: list[str]) -> dict[str, int]:
    """The index of the column for each field that the header provides."""
    columns = {}
    for field, names in NAMES.items():
        present = [name for name in names if name in header]
        if present:
            columns[field] = header.index(present[0])
    return columns


def tab_separated(lines: Iterable[str | RowError]) -> Iterator[list[str] | RowError]:
    """Split TSV. A tab always ends a cell. Quotes around a cell are removed if inner quotes are doubled, the form that
    spreadsheets write."""
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


def comma_separated(lines: Iterator[str | RowError], delimiter: str) -> Iterator[list[str] | RowError]:
    """Parse CSV (RFC 4180). An unclosed quote rejects only the line that opens it."""
    pending: deque[str | RowError] = deque()

    def next_line() -> str | RowError | None:
        return pending.popleft() if pending else next(lines, None)

    while (line := next_line()) is not None:
        if not isinstance(line, str):
            yield line
        elif '"' not in line:
            yield line.rstrip("\r\n").split(delimiter)
        else:
            taken: list[str | RowError] = [line]

            def record(taken: list[str | RowError] = taken) -> Iterator[str]:
                while isinstance(taken[-1], str):
                    yield taken[-1]
                    more = next_line() if len(taken) < MAX_ROW_LINES else None
                    if more is None:
                        break
                    taken.append(more)
                raise RowError("unclosed_quote", "a quote is not closed")

            try:
                yield next(csv.reader(record(), delimiter=delimiter))
            except (csv.Error, RowError):
                yield RowError("unclosed_quote", "a quote is not closed")
                pending.extendleft(reversed(taken[1:]))


def movie_fields(columns: Iterable[str]) -> frozenset[str]:
    """The fields of `Movie`, other than its id, among the keys of `NAMES`."""
    return frozenset(columns) - _FILE_ONLY


def json_record(line: str) -> tuple[list[str], dict[str, int]]:
    """The values of a JSON object in the order of `FIELDS`, as the text of cells, and the fields that it has."""
    try:
        data = json.loads(line)
    except (ValueError, RecursionError):
        raise RowError("bad_json", "the line is not JSON") from None
    if not isinstance(data, dict):
        raise RowError("bad_json", "the line is not a JSON object")
    values = {normalise_column(key): value for key, value in data.items()}
    texts = [next(filter(None, (_json_text(values.get(name)) for name in names)), "") for names in NAMES.values()]
    return texts, find_columns(list(values))


def _json_text(value: object) -> str:
    """A value as the text of a cell: lists separated by bars, an object as its name."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "|".join(filter(None, (_json_text(item) for item in value if not isinstance(item, list))))
    if isinstance(value, dict):
        name = value.get("name")
        return name if isinstance(name, str) else ""
    if isinstance(value, int | float):  # booleans too: as a year they are rejected with a reason
        return json.dumps(value)
    return ""
