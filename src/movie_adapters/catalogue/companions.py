"""Files that IMDb and MovieLens publish next to a list of movies, and MovieLens' form of titles."""

import re
from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from operator import itemgetter
from pathlib import Path

from movie_adapters.catalogue.records import (
    ALT_TITLES,
    GENRES,
    ID,
    IMDB_ID,
    POPULARITY,
    TITLE,
    TMDB_ID,
    YEAR,
    normalise_column,
)
from movie_adapters.catalogue.streams import FileOpener, read_lines
from movie_core.errors import InvalidParameter
from movie_core.text import article_first

Completion = Callable[[Sequence[str]], Sequence[str]]
"""Completes the values of a row from companion files; input and output are in the order of `FIELDS`."""

_YEAR_LAST = re.compile(r"\s*\((\d{4})(?:[-\u2013]\d{0,4})?\)$", re.ASCII)
_IN_BRACKETS = re.compile(r"\s*\(([^()]*)\)")
_AKA = re.compile(r"^a\.?\s?k\.?\s?a\.?\s+", re.IGNORECASE)


def imdb_companions(path: Path) -> dict[str, Path]:
    """The file of ratings next to IMDb's list of titles."""
    return _existing(path, {"ratings": path.name.replace("basics", "ratings")})


def movielens_companions(path: Path) -> dict[str, Path]:
    """The files of links and ratings next to MovieLens' list of movies."""
    return _existing(path, {"links": "links.csv", "ratings": "ratings.csv"})


def training_companions(path: Path) -> dict[str, Path]:
    """The files of links and movies next to MovieLens' ratings."""
    return _existing(path, {"links": "links.csv", "movies": "movies.csv"})


def _existing(path: Path, names: Mapping[str, str]) -> dict[str, Path]:
    """The files that exist, compressed or not."""
    companions = {}
    for kind, name in names.items():
        bare = name.removesuffix(".gz").removesuffix(".xz")
        for candidate in (name, bare, f"{bare}.gz", f"{bare}.xz"):
            companion = path.with_name(candidate)
            if candidate != path.name and companion.is_file():
                companions[kind] = companion
                break
    return companions


def imdb_completion(opener: FileOpener, companions: Mapping[str, Path]) -> Completion | None:
    """Popularity: the number of votes at IMDb; None without a file of ratings."""
    if "ratings" not in companions:
        return None
    votes = _CountTable(
        (_number(row[0]), row[1]) for row in _read_columns(opener, companions.get("ratings"), "tconst", "numvotes")
    )

    def complete(values: Sequence[str]) -> Sequence[str]:
        count = votes.get(_number(values[ID]))
        return values if count is None else (*values[:POPULARITY], str(count), *values[POPULARITY + 1 :])

    return complete


def movielens_completion(opener: FileOpener, companions: Mapping[str, Path]) -> Completion:
    """Title, year and alternative titles from MovieLens' titles; ids from links; popularity: the number of ratings."""
    links = {row[0]: row[1:] for row in _read_columns(opener, companions.get("links"), "movieid", "imdbid", "tmdbid")}
    counts = Counter(row[0] for row in _read_columns(opener, companions.get("ratings"), "movieid", "rating"))
    has_counts = "ratings" in companions

    def complete(values: Sequence[str]) -> Sequence[str]:
        completed = list(values)
        completed[TITLE], completed[YEAR], completed[ALT_TITLES] = split_movielens_title(completed[TITLE])
        if completed[GENRES] == "(no genres listed)":
            completed[GENRES] = ""
        completed[IMDB_ID], completed[TMDB_ID] = links.get(completed[ID], ("", ""))
        if has_counts:
            completed[POPULARITY] = str(counts[completed[ID]])
        return completed

    return complete


def split_movielens_title(title: str) -> tuple[str, str, str]:
    """Split a title of MovieLens into title, year, and alternative titles separated by bars.

    >>> split_movielens_title("Matrix, The (a.k.a. Neo) (1999)")
    ('The Matrix', '1999', 'Neo')
    """
    title, year = title.strip(), ""
    match = _YEAR_LAST.search(title)
    if match is not None:
        year = match[1]
        title = title[: match.start()]
    others: list[str] = []
    while title.endswith(")") and (brackets := list(_IN_BRACKETS.finditer(title))) and brackets[-1].start() > 0:
        others.insert(0, article_first(_AKA.sub("", brackets[-1][1])))
        title = title[: brackets[-1].start()]
    return article_first(title), year, "|".join(others)


def _read_columns(opener: FileOpener, path: Path | None, *columns: str) -> Iterator[tuple[str, ...]]:
    """Some columns of a companion file; incomplete rows are skipped."""
    if path is None:
        return
    with opener.open(path) as stream:
        lines = read_lines(stream)
        first = next(lines, "")
        delimiter = "\t" if isinstance(first, str) and "\t" in first else ","
        header = [normalise_column(name) for name in first.split(delimiter)] if isinstance(first, str) else []
        if not set(columns) <= set(header):
            raise InvalidParameter(f"{path.name} lacks one of the columns {', '.join(columns)}", field="FILE")
        pick = itemgetter(*(header.index(column) for column in columns))
        for line in lines:
            if isinstance(line, str) and len(cells := line.rstrip("\r\n").split(delimiter)) == len(header):
                yield pick(cells)


def _number(tconst: str) -> int:
    """The number in an IMDb id; 0, which is not assigned, for any other text."""
    digits = tconst[2:]
    return int(digits) if digits.isascii() and digits.isdecimal() and len(digits) < 19 else 0


class _CountTable:
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
