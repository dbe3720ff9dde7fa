"""Movies as rows: what the tables on SQLite and PostgreSQL hold alike, and how a load changes them."""

import re
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import fields
from itertools import islice
from operator import attrgetter
from typing import Any

import msgspec

from movie_adapters.catalogue import ranking
from movie_adapters.catalogue.ranking import Entry
from movie_core.discovery.ratings import MovieIdentity, MovieIndex
from movie_core.search.movies import Movie

IDENTIFIED = 200
"""Rows that are identified together: some milliseconds of work."""
COLUMNS = "id, title, year, popularity, details"
"""The columns of `row_of` and `movie_of`."""

_DETAILS = tuple(f.name for f in fields(Movie) if f.name not in {"id", "title", "year", "popularity"})
_all_details = attrgetter(*_DETAILS)
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_LISTS = frozenset(("genres", "directors", "cast", "countries", "alt_titles"))


def batches(movies: Iterable[Movie], size: int) -> Iterator[list[Movie]]:
    """Of several movies of one id in a batch only the last."""
    iterator = iter(movies)
    while batch := list(islice(iterator, size)):
        yield list({movie.id: movie for movie in batch}.values())


def row_of(movie: Movie) -> tuple[Any, ...]:
    details = {name: value for name, value in zip(_DETAILS, _all_details(movie), strict=True) if value}
    return movie.id, movie.title, movie.year, movie.popularity, msgspec.json.encode(details).decode()


def movie_of(row: Sequence[Any]) -> Movie:
    movie_id, title, year, popularity, details = row
    values: dict[str, Any] = msgspec.json.decode(details)
    for name in _LISTS & values.keys():
        values[name] = tuple(values[name])
    return Movie(id=movie_id, title=title, year=year, popularity=popularity, **values)


def storable(texts: Iterable[str | None]) -> list[str]:
    """Each that a store may hold, once."""
    return [text for text in dict.fromkeys(texts) if text and not _UNSTORABLE.search(text)]


async def match_movies(
    wanted: Sequence[MovieIdentity],
    by_ids: Callable[[list[str], list[str], list[str]], Awaitable[Iterable[Movie]]],
    by_terms: Callable[[list[str]], Awaitable[Iterable[Movie]]],
) -> list[Movie | None]:
    """As `MovieCatalogue.match`, where `by_ids` finds the movies of our ids, IMDb ids and TMDB ids, and `by_terms`
    those that have any of the terms."""
    movies: list[Movie | None] = []
    for start in range(0, len(wanted), IDENTIFIED):
        some = wanted[start : start + IDENTIFIED]
        known = MovieIndex(
            await by_ids(
                storable(one.movie_id for one in some),
                storable(one.imdb_id for one in some),
                storable(one.tmdb_id for one in some),
            )
        )
        titles = {one.title for one in some if one.title and not known.by_id(one)}
        if titles:
            for movie in await by_terms(ranking.title_terms(titles)):
                known.add(movie)
        movies += map(known.find, some)
    return movies


class Change:
    """What a transaction changes, collected so that each table is written in one go."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, tuple[Any, ...]]] = []
        """Rank, and the values of `COLUMNS` and `names`, of movies to be written."""
        self.terms: list[str] = []
        """The terms of each of `rows`."""
        self.removed: list[tuple[int]] = []
        self.indexed: list[tuple[int, str]] = []
        """Rank and terms, where these two change: for an index that stands beside the rows."""
        self.unindexed: list[tuple[int, str]] = []
        self._terms: tuple[list[str], list[str]] = ([], [])
        self._genres: tuple[list[str], list[str]] = ([], [])

    def add(self, rank: int, movie: Movie, row: tuple[Any, ...]) -> None:
        entry = ranking.index_entry(movie)
        terms = " ".join(entry.terms)
        self.rows.append((rank, (*row, entry.names)))
        self.terms.append(terms)
        self.indexed.append((rank, terms))
        self._count(movie, entry, 1)

    def remove(self, rank: int, movie: Movie) -> None:
        entry = ranking.index_entry(movie)
        self.removed.append((rank,))
        self.unindexed.append((rank, " ".join(entry.terms)))
        self._count(movie, entry, -1)

    def replace(self, old_rank: int, old: Movie, rank: int, movie: Movie, row: tuple[Any, ...]) -> None:
        before, after = ranking.index_entry(old), ranking.index_entry(movie)
        self.removed.append((old_rank,))
        self.rows.append((rank, (*row, after.names)))
        self.terms.append(" ".join(after.terms))
        if (old_rank, before.terms) != (rank, after.terms):
            self.unindexed.append((old_rank, " ".join(before.terms)))
            self.indexed.append((rank, " ".join(after.terms)))
        self._count(old, before, -1)
        self._count(movie, after, 1)

    @property
    def words(self) -> dict[str, int]:
        """By how many movies each word of the vocabulary has gained or lost, where it has."""
        return {term: by for term, by in _balance(self._terms).items() if ranking.is_word(term)}

    @property
    def genres(self) -> dict[str, int]:
        """By how many movies each genre has gained or lost, where it has."""
        return _balance(self._genres)

    def _count(self, movie: Movie, entry: Entry, by: int) -> None:
        self._terms[by < 0].extend(entry.terms)
        self._genres[by < 0].extend(dict.fromkeys(movie.genres))


def _balance(lists: tuple[list[str], list[str]]) -> dict[str, int]:
    balance = Counter(lists[0])
    balance.subtract(lists[1])
    return {key: by for key, by in balance.items() if by}
