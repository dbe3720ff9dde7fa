"""Movies as rows of the tables that SQLite and PostgreSQL share, and the changes of a load."""

import re
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import fields
from itertools import islice
from operator import attrgetter
from typing import Any

import msgspec

from movie_adapters.catalogue.lookups import Candidate
from movie_adapters.catalogue.terms import IndexEntry, index_entry, is_word, title_terms
from movie_core.discovery.movie_matching import Mismatch, MovieIdentity, MovieIndex, MovieMatch
from movie_core.search.movies import ListedMovie, Movie

MATCH_BATCH = 200
"""Rows matched together: some milliseconds of work."""
COLUMNS = "id, title, year, popularity, details"
"""The columns of `row_of` and `movie_of`."""

_DETAILS = tuple(f.name for f in fields(Movie) if f.name not in {"id", "title", "year", "popularity"})
_all_details = attrgetter(*_DETAILS)
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_LISTS = frozenset(("genres", "directors", "cast", "countries", "alt_titles"))


def batches(movies: Iterable[Movie], size: int) -> Iterator[list[Movie]]:
    """Split movies into batches; of several movies with one id in a batch, only the last is included."""
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


class _People(msgspec.Struct):
    directors: tuple[str, ...] = ()
    cast: tuple[str, ...] = ()


_people_of = msgspec.json.Decoder(_People).decode


def candidate_of(
    rank: int, names: str, year: int | None, popularity: float | None, details: str | None = None
) -> Candidate:
    """A candidate, with its people if the lookup requested them."""
    if details is None:
        return Candidate(rank, names, year, popularity)
    people = _people_of(details)
    return Candidate(rank, names, year, popularity, (*people.directors, *people.cast))


def storable(texts: Iterable[str | None]) -> list[str]:
    """The distinct texts that a database can store."""
    return [text for text in dict.fromkeys(texts) if text and not _UNSTORABLE.search(text)]


async def match_movies(
    identities: Sequence[MovieIdentity],
    by_ids: Callable[[list[str], list[str], list[str]], Awaitable[Iterable[Movie]]],
    by_terms: Callable[[list[str]], Awaitable[Iterable[Movie]]],
) -> list[MovieMatch | Mismatch]:
    """Implement `MovieCatalogue.match`. `by_ids` finds movies by our ids, IMDb ids and TMDB ids; `by_terms` finds those
    with any of the terms."""
    matches: list[MovieMatch | Mismatch] = []
    for start in range(0, len(identities), MATCH_BATCH):
        batch = identities[start : start + MATCH_BATCH]
        index = MovieIndex(
            await by_ids(
                storable(identity.movie_id for identity in batch),
                storable(identity.imdb_id for identity in batch),
                storable(identity.tmdb_id for identity in batch),
            )
        )
        titles = {title for one in batch if one.titles and not index.match_by_id(one) for title in one.titles}
        if titles:
            for movie in await by_terms(title_terms(titles)):
                index.add(movie)
        matches += map(index.match, batch)
    return matches


def list_batches(listed: Iterable[ListedMovie], size: int) -> Iterator[list[ListedMovie]]:
    iterator = iter(listed)
    while batch := list(islice(iterator, size)):
        yield batch


def listed_ids(batch: Sequence[ListedMovie]) -> tuple[list[str], list[str], list[str]]:
    """The ids, IMDb ids and TMDB ids by which the stored movies of a batch are looked up."""
    movies = [listed.movie for listed in batch]
    return (
        storable(movie.id for movie in movies),
        storable(movie.imdb_id for movie in movies),
        storable(movie.tmdb_id for movie in movies),
    )


def term_batches(titles: Sequence[str]) -> Iterator[list[str]]:
    """Terms that find the movies with these titles, in lists for one lookup each."""
    for start in range(0, len(titles), MATCH_BATCH):
        yield title_terms(titles[start : start + MATCH_BATCH])


class PendingChanges:
    """The changes of one transaction, collected so that each table is written once."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, tuple[Any, ...]]] = []
        """Rank, and the values of `COLUMNS` and `names`, of the movies to be written."""
        self.terms: list[str] = []
        """The terms of each of `rows`."""
        self.removed: list[tuple[int]] = []
        """Ranks of the movies to be deleted."""
        self.indexed: list[tuple[int, str]] = []
        """New ranks and terms, where either has changed, for an index stored separately from the rows."""
        self.unindexed: list[tuple[int, str]] = []
        """Old ranks and terms of the same movies, to be deleted from that index."""
        self._terms: tuple[list[str], list[str]] = ([], [])
        self._genres: tuple[list[str], list[str]] = ([], [])

    def add(self, rank: int, movie: Movie, row: tuple[Any, ...]) -> None:
        entry = index_entry(movie)
        terms = " ".join(entry.terms)
        self.rows.append((rank, (*row, entry.names)))
        self.terms.append(terms)
        self.indexed.append((rank, terms))
        self._count(movie, entry, 1)

    def remove(self, rank: int, movie: Movie) -> None:
        entry = index_entry(movie)
        self.removed.append((rank,))
        self.unindexed.append((rank, " ".join(entry.terms)))
        self._count(movie, entry, -1)

    def replace(self, old_rank: int, old: Movie, rank: int, movie: Movie, row: tuple[Any, ...]) -> None:
        before, after = index_entry(old), index_entry(movie)
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
        """Changes of the number of movies per word of the vocabulary, without zeros."""
        return {term: change for term, change in _net_changes(self._terms).items() if is_word(term)}

    @property
    def genres(self) -> dict[str, int]:
        """Changes of the number of movies per genre, without zeros."""
        return _net_changes(self._genres)

    def _count(self, movie: Movie, entry: IndexEntry, change: int) -> None:
        self._terms[change < 0].extend(entry.terms)
        self._genres[change < 0].extend(dict.fromkeys(movie.genres))


class Reindexed:
    """New index entries of stored movies."""

    def __init__(self) -> None:
        self.names: list[tuple[str, int]] = []
        """Names and rank of each movie."""
        self.indexed: list[tuple[int, str]] = []
        """Rank and terms of each movie."""
        self.words = Counter[str]()
        """Number of movies per word of the vocabulary."""

    def add(self, rank: int, movie: Movie) -> None:
        entry = index_entry(movie)
        self.names.append((entry.names, rank))
        self.indexed.append((rank, " ".join(entry.terms)))
        self.words.update(filter(is_word, entry.terms))


def _net_changes(lists: tuple[list[str], list[str]]) -> dict[str, int]:
    net = Counter(lists[0])
    net.subtract(lists[1])
    return {key: change for key, change in net.items() if change}
