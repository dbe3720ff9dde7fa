"""Movie catalogue on SQLite: a full-text index (FTS5), ordered by `ranking`.

Uses the driver of the standard library directly, on its own thread pool: a search consists of a dozen statements of
about ten microseconds each, and an abstraction layer would slow each of them down considerably.
"""

import asyncio
import json
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

from movie_adapters.catalogue import lookups, ranking
from movie_adapters.catalogue.lookups import AllOf, AnyOf, Candidate, Expression, RankedPage, Steps, Term, TermCounts
from movie_adapters.catalogue.rows import (
    COLUMNS,
    PendingChanges,
    Reindexed,
    batches,
    candidate_of,
    list_batches,
    listed_ids,
    match_movies,
    movie_of,
    row_of,
    storable,
    term_batches,
)
from movie_adapters.catalogue.terms import INDEX_VERSION, movie_rank, rank_range
from movie_adapters.catalogue.vocabulary import LAST, RevisionCache, prefix_ranges, suffix_range
from movie_core.discovery.movie_matching import Mismatch, MovieIdentity, MovieMatch
from movie_core.errors import MovieNotFound, StoreUnavailable
from movie_core.paging import Window
from movie_core.search.merging import ListMerger
from movie_core.search.movies import (
    Capability,
    FoundMovie,
    Genre,
    ListedMovie,
    LoadResult,
    Movie,
    MoviePage,
    MovieQuery,
    Order,
)

BATCH = 10_000
"""Movies that a load writes in one transaction: about a second, during which other writers wait."""
FIRST_BATCH = 50_000
"""The same for an empty catalogue: larger transactions are faster, and there are no searches or writes to delay."""
INDEX_MEMORY = 64 * 1024 * 1024
"""Bytes of postings that FTS5 buffers before it writes them; small transactions use little of it."""
MERGE_FROM = 100_000
"""Minimum number of changes after which a load merges the index segments; fewer changes create too few segments."""
READERS = 2
"""Number of reader threads."""

_IMDB_ID, _TMDB_ID = (f"json_extract(details, '$.{name}')" for name in ("imdb_id", "tmdb_id"))
"""The expressions that are indexed."""
_EXTERNAL_IDS = {"imdb_id": _IMDB_ID, "tmdb_id": _TMDB_ID}
_T = TypeVar("_T")


class SqliteMovieCatalogue:
    """A `MovieCatalogue` in an SQLite file migrated by `movie_adapters.sql.engine.migrate`; works in any event loop."""

    capabilities = frozenset(Capability)

    def __init__(self, path: Path, source: str) -> None:
        self.name = source
        self._file = SqliteCatalogueFile(path, source)
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="movies-read")
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="movies-write")

    async def close(self) -> None:
        """Wait for running calls, and close the file."""
        await asyncio.to_thread(self._readers.shutdown)
        await asyncio.to_thread(self._writer.shutdown)
        self._file.close()

    async def search(self, query: MovieQuery, window: Window) -> MoviePage:
        total, movies = await self._read(lambda: self._file.search(query, window))
        return MoviePage(total=total, items=movies, source=self.name)

    async def get(self, movie_id: str) -> FoundMovie:
        return FoundMovie(await self._read(lambda: self._file.get(movie_id)), self.name)

    async def suggest(self, text: str, limit: int) -> Sequence[Movie]:
        return await self._read(lambda: self._file.suggest(text, limit))

    async def genres(self) -> Sequence[Genre]:
        return await self._read(self._file.genres)

    async def load(self, movies: Iterable[Movie], *, replace: bool = False, edition: str | None = None) -> LoadResult:
        """Implement `MovieCatalogue.load`: `movies` is iterated in a thread, and written in batches of `BATCH`."""
        work = asyncio.get_running_loop().run_in_executor(
            self._writer, lambda: self._file.load(movies, replace=replace, edition=edition)
        )
        return await work

    async def import_list(
        self, listed: Iterable[ListedMovie], *, replace: bool = False, edition: str | None = None
    ) -> LoadResult:
        """Implement `MovieCatalogue.import_list`, like `load`."""
        work = asyncio.get_running_loop().run_in_executor(
            self._writer, lambda: self._file.import_list(listed, replace=replace, edition=edition)
        )
        return await work

    async def remove(self, movie_ids: Collection[str]) -> int:
        return await asyncio.get_running_loop().run_in_executor(self._writer, lambda: self._file.remove(movie_ids))

    async def count(self) -> int:
        return await self._read(self._file.count)

    async def edition(self) -> str | None:
        return await self._read(self._file.edition)

    async def get_many(self, movie_ids: Collection[str]) -> Mapping[str, Movie]:
        return {movie.id: movie for movie in await self._read(lambda: self._file.get_many(movie_ids))}

    async def most_popular(self, limit: int) -> Sequence[Movie]:
        return await self._read(lambda: self._file.most_popular(limit))

    async def match(self, wanted: Sequence[MovieIdentity]) -> Sequence[MovieMatch | Mismatch]:
        return await match_movies(
            wanted,
            lambda *ids: self._read(lambda: self._file.get_many(*ids)),
            lambda terms: self._read(lambda: self._file.with_terms(terms)),
        )

    async def _read(self, work: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._readers, work)


@dataclass(frozen=True, slots=True)
class _Catalogue:
    """A row of the table `catalogues`."""

    number: int
    movies: int
    sequence: int
    revision: int
    edition: str | None
    index_version: int


class SqliteCatalogueFile:
    """The blocking implementation of the catalogue, with one connection per thread."""

    def __init__(self, path: Path, source: str) -> None:
        self._path = path
        self._source = source
        self._local = threading.local()
        self._connections: list[sqlite3.Connection] = []
        self._cache = RevisionCache(-1)

    def close(self) -> None:
        for connection in self._connections:
            connection.close()

    # --- reading

    def search(self, query: MovieQuery, window: Window) -> tuple[int, tuple[Movie, ...]]:
        """The total number of matches, and the movies of the window."""
        with self._transaction("BEGIN") as connection:
            catalogue = self._catalogue(connection)
            if catalogue is None:
                return 0, ()
            excluded = self._ranks(connection, catalogue, query.exclude_ids) if query.exclude_ids else frozenset()
            steps = ranking.search(query, window.limit, window.offset, excluded)
            page = self._run(connection, catalogue, steps, excluded)
            return page.total, _movies(connection, page.ranks)

    def suggest(self, text: str, limit: int) -> tuple[Movie, ...]:
        query = MovieQuery(text)
        if not query.text:
            return ()
        with self._transaction("BEGIN") as connection:
            catalogue = self._catalogue(connection)
            if catalogue is None:
                return ()
            return _movies(connection, self._run(connection, catalogue, ranking.suggest(query, limit)).ranks)

    def get(self, movie_id: str) -> Movie:
        with self._transaction("BEGIN") as connection:
            row = connection.execute(
                f"SELECT {COLUMNS} FROM movies WHERE id = ? AND catalogue = "
                "(SELECT number FROM catalogues WHERE source = ?)",
                (movie_id.encode("utf-8", "replace").decode(), self._source),
            ).fetchone()
        if row is None:
            raise MovieNotFound("no such movie")
        return movie_of(row)

    def genres(self) -> tuple[Genre, ...]:
        with self._transaction("BEGIN") as connection:
            rows = connection.execute(
                "SELECT name, movies FROM movie_genres WHERE catalogue = "
                "(SELECT number FROM catalogues WHERE source = ?) ORDER BY name",
                (self._source,),
            ).fetchall()
        return tuple(Genre(name, movies) for name, movies in rows)

    def count(self) -> int:
        with self._transaction("BEGIN") as connection:
            catalogue = self._catalogue(connection)
        return 0 if catalogue is None else catalogue.movies

    def edition(self) -> str | None:
        with self._transaction("BEGIN") as connection:
            catalogue = self._catalogue(connection)
        return None if catalogue is None else catalogue.edition

    def get_many(
        self, movie_ids: Iterable[str], imdb_ids: Iterable[str] = (), tmdb_ids: Iterable[str] = ()
    ) -> list[Movie]:
        """The movies with one of these ids."""
        movies: list[Movie] = []
        ids = {"id": movie_ids, _IMDB_ID: imdb_ids, _TMDB_ID: tmdb_ids}
        with self._transaction("BEGIN") as connection:
            for column, values in ids.items():
                if texts := storable(values):
                    rows = connection.execute(
                        f"SELECT {COLUMNS} FROM movies WHERE catalogue = (SELECT number FROM catalogues "
                        f"WHERE source = ?) AND {column} IN (SELECT value FROM json_each(?))",
                        (self._source, json.dumps(texts)),
                    )
                    movies += map(movie_of, rows)
        return movies

    def with_terms(self, terms: Sequence[str]) -> list[Movie]:
        """The movies with one of these terms."""
        with self._transaction("BEGIN") as connection:
            catalogue = self._catalogue(connection)
            if catalogue is None:
                return []
            rows = connection.execute(
                f"SELECT {COLUMNS} FROM movie_index JOIN movies ON movies.rank = movie_index.rowid "
                "WHERE movie_index MATCH ? AND movie_index.rowid BETWEEN ? AND ?",
                (_match(AnyOf(tuple(map(Term, terms)))), *rank_range(catalogue.number)),
            )
            return [movie_of(row) for row in rows]

    def most_popular(self, limit: int) -> list[Movie]:
        with self._transaction("BEGIN") as connection:
            rows = connection.execute(
                f"SELECT {COLUMNS} FROM movies WHERE catalogue = (SELECT number FROM catalogues WHERE source = ?) "
                "ORDER BY popularity DESC, rank LIMIT ?",
                (self._source, limit),
            )
            return [movie_of(row) for row in rows]

    def _ranks(self, connection: sqlite3.Connection, catalogue: _Catalogue, movie_ids: Iterable[str]) -> frozenset[int]:
        rows = connection.execute(
            "SELECT rank FROM movies WHERE catalogue = ? AND id IN (SELECT value FROM json_each(?))",
            (catalogue.number, json.dumps(storable(movie_ids))),
        )
        return frozenset(rank for (rank,) in rows)

    def _run(
        self,
        connection: sqlite3.Connection,
        catalogue: _Catalogue,
        steps: Steps,
        excluded: frozenset[int] = frozenset(),
    ) -> RankedPage:
        """Execute the lookups of a search and return its page."""
        cache = self._cache
        if cache.revision != catalogue.revision:
            cache = self._cache = RevisionCache(catalogue.revision)
        executor = _LookupExecutor(connection, catalogue, cache, excluded)
        result: Any = None
        while True:
            try:
                lookup = steps.send(result)
            except StopIteration as stop:
                page: RankedPage = stop.value
                return page
            result = executor.execute(lookup)

    # --- writing

    def load(self, movies: Iterable[Movie], *, replace: bool = False, edition: str | None = None) -> LoadResult:
        return self._load(batches(movies, BATCH if self.count() else FIRST_BATCH), replace=replace, edition=edition)

    def import_list(
        self, listed: Iterable[ListedMovie], *, replace: bool = False, edition: str | None = None
    ) -> LoadResult:
        merger = ListMerger(clear=replace)

        def merged() -> Iterator[list[Movie]]:
            # Each batch is merged when the earlier ones have been written.
            for batch in list_batches(listed, BATCH if self.count() else FIRST_BATCH):
                by_ids = self.get_many(*listed_ids(batch))
                by_titles = map(self.with_terms, term_batches(merger.titles(batch, by_ids)))
                yield merger.merge(batch, chain(by_ids, chain.from_iterable(by_titles)))

        return self._load(merged(), replace=replace, edition=edition)

    def remove(self, movie_ids: Iterable[str]) -> int:
        with self._transaction("BEGIN IMMEDIATE") as connection:
            number = self._own_number(connection)
            rows = connection.execute(
                f"SELECT rank, {COLUMNS} FROM movies WHERE catalogue = ? AND id IN (SELECT value FROM json_each(?))",
                (number, json.dumps(storable(movie_ids))),
            ).fetchall()
            self._remove(connection, number, rows)
            return len(rows)

    def _load(self, movies: Iterator[list[Movie]], *, replace: bool, edition: str | None) -> LoadResult:
        total = Counter[str]()
        self._update_index()
        if replace:
            with self._errors():
                self._connection().executescript(
                    "DROP TABLE IF EXISTS temp.loaded; CREATE TEMP TABLE loaded (id TEXT PRIMARY KEY) WITHOUT ROWID;"
                )
        with self._errors():
            # One checkpoint after each batch instead of one per thousand pages.
            self._connection().execute("PRAGMA wal_autocheckpoint = 0")
        for batch in movies:
            with self._transaction("BEGIN IMMEDIATE") as connection:
                connection.execute(
                    "INSERT INTO movie_index (movie_index, rank) VALUES ('hashsize', ?)", (INDEX_MEMORY,)
                )
                if replace:
                    connection.executemany("INSERT OR IGNORE INTO loaded VALUES (?)", ((movie.id,) for movie in batch))
                total.update(self._write(connection, batch))
            with self._errors():
                self._connection().execute("PRAGMA wal_checkpoint(PASSIVE)")
        if replace:
            total["removed"] = self._remove_others()
        if total["added"] + total["updated"] + total["removed"] >= MERGE_FROM:
            self._merge_segments()
        if edition is not None:
            with self._transaction("BEGIN IMMEDIATE") as connection:
                number = self._own_number(connection)
                connection.execute("UPDATE catalogues SET edition = ? WHERE number = ?", (edition, number))
        return LoadResult(**total)

    def _update_index(self) -> None:
        """Index the movies again if an earlier version of this program has indexed them."""
        with self._transaction("BEGIN") as connection:
            catalogue = self._catalogue(connection)
        if catalogue is not None and catalogue.index_version < INDEX_VERSION:
            with self._transaction("BEGIN IMMEDIATE") as connection:
                self._own_number(connection)

    def _index_again(self, connection: sqlite3.Connection) -> None:
        """Index the movies of all catalogues again. Searches see the earlier index until the transaction ends.

        All in one transaction, because single entries of an earlier version cannot be deleted: FTS5 needs their terms
        for that.
        """
        connection.execute("INSERT INTO movie_index (movie_index) VALUES ('delete-all')")
        connection.execute("DELETE FROM movie_words")
        for (number,) in connection.execute("SELECT number FROM catalogues ORDER BY number").fetchall():
            self._index_catalogue(connection, number)
        connection.execute(
            "UPDATE catalogues SET revision = revision + 1, index_version = max(index_version, ?)", (INDEX_VERSION,)
        )

    @staticmethod
    def _index_catalogue(connection: sqlite3.Connection, number: int) -> None:
        words = Counter[str]()
        after, last = rank_range(number)
        while True:
            rows = connection.execute(
                f"SELECT rank, {COLUMNS} FROM movies WHERE rank BETWEEN ? AND ? ORDER BY rank LIMIT ?",
                (after, last, BATCH),
            ).fetchall()
            if not rows:
                break
            reindexed = Reindexed()
            for rank, *row in rows:
                reindexed.add(rank, movie_of(row))
            connection.executemany("UPDATE movies SET names = ? WHERE rank = ?", reindexed.names)
            connection.executemany("INSERT INTO movie_index (rowid, terms) VALUES (?, ?)", reindexed.indexed)
            words += reindexed.words
            after = rows[-1][0] + 1
        connection.executemany(
            "INSERT INTO movie_words (catalogue, term, movies) VALUES (?, ?, ?)",
            sorted((number, term, movies) for term, movies in words.items()),
        )

    def _merge_segments(self) -> None:
        """Merge the index segments of a large load in small transactions, which speeds up searches."""
        merged = True
        while merged:
            with self._transaction("BEGIN IMMEDIATE") as connection:
                before = connection.total_changes
                connection.execute("INSERT INTO movie_index (movie_index, rank) VALUES ('merge', -2000)")
                merged = connection.total_changes - before >= 2

    def _write(self, connection: sqlite3.Connection, movies: Sequence[Movie]) -> dict[str, int]:
        """Add or update movies with distinct ids."""
        number = self._own_number(connection)
        sequence: int = connection.execute("SELECT sequence FROM catalogues WHERE number = ?", (number,)).fetchone()[0]
        stored = {
            row[1]: row
            for row in connection.execute(
                f"SELECT rank, {COLUMNS} FROM movies WHERE catalogue = ? AND id IN (SELECT value FROM json_each(?))",
                (number, json.dumps([movie.id for movie in movies])),
            )
        }
        changes = PendingChanges()
        added = 0
        for movie in movies:
            row = row_of(movie)
            old = stored.get(movie.id)
            if old is None:
                added += 1
                sequence += 1
                rank = movie_rank(number, movie.popularity, sequence)
                changes.add(rank, movie, row)
            elif old[1:] != row:
                rank = movie_rank(number, movie.popularity, old[0])
                changes.replace(old[0], movie_of(old[1:]), rank, movie, row)
        updated = len(changes.removed)
        if changes.rows:
            self._apply(connection, number, changes, added)
            connection.execute("UPDATE catalogues SET sequence = ? WHERE number = ?", (sequence, number))
        return {"added": added, "updated": updated, "unchanged": len(movies) - added - updated}

    def _remove_others(self) -> int:
        """Delete the movies that are not in the temporary table `loaded`."""
        removed = after = 0
        while True:
            with self._transaction("BEGIN IMMEDIATE") as connection:
                number = self._own_number(connection)
                first, last = rank_range(number)
                rows = connection.execute(
                    f"SELECT rank, {COLUMNS} FROM movies WHERE rank BETWEEN ? AND ? "
                    "AND id NOT IN (SELECT id FROM loaded) ORDER BY rank LIMIT ?",
                    (max(first, after), last, BATCH),
                ).fetchall()
                if not rows:
                    return removed
                self._remove(connection, number, rows)
            removed += len(rows)
            after = rows[-1][0] + 1

    def _remove(self, connection: sqlite3.Connection, number: int, rows: Sequence[tuple[Any, ...]]) -> None:
        """Delete movies, given their ranks and columns."""
        changes = PendingChanges()
        for rank, *row in rows:
            changes.remove(rank, movie_of(row))
        self._apply(connection, number, changes, -len(rows))

    def _apply(self, connection: sqlite3.Connection, number: int, changes: PendingChanges, added: int) -> None:
        execute, many = connection.execute, connection.executemany
        # Ordered by rank, deletions first: FTS5 buffers postings as long as the ranks increase.
        many("INSERT INTO movie_index (movie_index, rowid, terms) VALUES ('delete', ?, ?)", sorted(changes.unindexed))
        many("DELETE FROM movies WHERE rank = ?", changes.removed)
        rows = ((rank, number, *row) for rank, row in sorted(changes.rows))
        many(f"INSERT INTO movies (rank, catalogue, {COLUMNS}, names) VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)
        many("INSERT INTO movie_index (rowid, terms) VALUES (?, ?)", sorted(changes.indexed))
        for table, column, counts in (("movie_words", "term", changes.words), ("movie_genres", "name", changes.genres)):
            many(
                f"INSERT INTO {table} (catalogue, {column}, movies) VALUES (?, ?, ?) "
                "ON CONFLICT DO UPDATE SET movies = movies + excluded.movies",
                sorted((number, key, by) for key, by in counts.items()),
            )
            decreased = [(number, key) for key, by in counts.items() if by < 0]
            many(f"DELETE FROM {table} WHERE catalogue = ? AND {column} = ? AND movies <= 0", decreased)
        execute("UPDATE catalogues SET revision = revision + 1, movies = movies + ? WHERE number = ?", (added, number))

    # --- connections

    def _catalogue(self, connection: sqlite3.Connection) -> _Catalogue | None:
        row = connection.execute(
            "SELECT number, movies, sequence, revision, edition, index_version FROM catalogues WHERE source = ?",
            (self._source,),
        ).fetchone()
        return None if row is None else _Catalogue(*row)

    def _own_number(self, connection: sqlite3.Connection) -> int:
        """The number of the catalogue, assigned by the first write. Every write calls this first, because it needs an
        index of this version of the program."""
        catalogue = self._catalogue(connection)
        if catalogue is not None:
            if catalogue.index_version < INDEX_VERSION:
                self._index_again(connection)
            return catalogue.number
        insert = "INSERT INTO catalogues (source, index_version) VALUES (?, ?) RETURNING number"
        number: int = connection.execute(insert, (self._source, INDEX_VERSION)).fetchone()[0]
        return number

    def _connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = sqlite3.connect(
                f"{self._path.absolute().as_uri()}?mode=rw",  # does not create a missing file
                uri=True,
                timeout=5.0,
                isolation_level=None,
                check_same_thread=False,
                cached_statements=512,
            )
            for pragma in ("synchronous = NORMAL", "cache_size = -32000", "mmap_size = 1073741824"):
                connection.execute(f"PRAGMA {pragma}")
            self._local.connection = connection
            self._connections.append(connection)
        return connection

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[sqlite3.Connection]:
        with self._errors():
            connection = self._connection()
            connection.execute(begin)
            try:
                yield connection
                connection.execute("COMMIT")
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise StoreUnavailable("the database is unavailable") from error


class _LookupExecutor:
    """Executes the lookups of `ranking.search` within one transaction."""

    def __init__(
        self, connection: sqlite3.Connection, catalogue: _Catalogue, cache: RevisionCache, excluded: frozenset[int]
    ) -> None:
        self._execute = connection.execute
        self._catalogue = catalogue
        self._cache = cache
        self._range = rank_range(catalogue.number)
        self._excluded = excluded
        self._excluded_text = json.dumps(list(excluded)) if excluded else ""

    def execute(self, lookup: lookups.Lookup) -> Any:
        match lookup:
            case lookups.FindCandidates():
                return self._find(lookup)
            case lookups.FindIdentified():
                return self._find_identified(lookup)
            case lookups.CountMatches():
                return self._count(lookup.expression)
            case lookups.CountExcluded():
                return self._count_excluded(lookup.expression)
            case lookups.ListRanks():
                return self._list(lookup)
            case lookups.TopPopularity():
                return self._top_popularity()
            case lookups.ExistingTerms():
                return frozenset(term for term in lookup.terms if self._exists(term))
            case lookups.SimilarTerms():
                return {term: [*self._with_prefix(term), self._with_suffix(term)] for term in lookup.terms}
            case lookups.PrefixTerms():
                return self._with_prefix(lookup.term)

    def _find(self, lookup: lookups.FindCandidates) -> list[Candidate]:
        condition, values = self._exclusion(lookup, "movie_index.rowid")
        column = "details" if lookup.with_people else "NULL"
        rows = self._execute(
            f"SELECT movies.rank, names, year, popularity, {column} "
            "FROM movie_index JOIN movies ON movies.rank = movie_index.rowid "
            f"WHERE movie_index MATCH ? AND movie_index.rowid BETWEEN ? AND ? {condition}"
            "ORDER BY movie_index.rowid LIMIT ? OFFSET ?",
            (_match(lookup.expression), *self._range, *values, lookup.limit, lookup.offset),
        )
        return [candidate_of(*row) for row in rows]

    def _find_identified(self, lookup: lookups.FindIdentified) -> list[Candidate]:
        column = _EXTERNAL_IDS[lookup.field]
        condition: str = ""
        values: tuple[str, ...] = ()
        if lookup.filters is not None:
            condition = "AND EXISTS (SELECT 1 FROM movie_index WHERE movie_index MATCH ? AND rowid = movies.rank) "
            values = (_match(lookup.filters),)
        rows = self._execute(
            "SELECT rank, names, year, popularity FROM movies WHERE catalogue = ? "
            f"AND {column} = ? {condition}ORDER BY rank",
            (self._catalogue.number, lookup.external_id, *values),
        )
        return [Candidate(*row) for row in rows]

    def _count(self, expression: Expression | None) -> int:
        if expression is None:
            return self._catalogue.movies
        match = _match(expression)
        count = self._cache.counts.get(match)
        if count is None:
            count = self._execute(
                "SELECT count(*) FROM movie_index WHERE movie_index MATCH ? AND rowid BETWEEN ? AND ?",
                (match, *self._range),
            ).fetchone()[0]
            self._cache.counts.put(match, count)
        return count

    def _count_excluded(self, expression: Expression | None) -> int:
        if expression is None:
            return len(self._excluded)
        count: int = self._execute(
            # Without `+ 0`, SQLite would query the index once per excluded movie.
            "SELECT count(*) FROM movie_index WHERE movie_index MATCH ? "
            "AND rowid + 0 IN (SELECT value FROM json_each(?))",
            (_match(expression), self._excluded_text),
        ).fetchone()[0]
        return count

    def _exclusion(self, lookup: lookups.FindCandidates | lookups.ListRanks, rank: str) -> tuple[str, tuple[str, ...]]:
        """The condition that excludes movies, and its parameters."""
        if not lookup.excluding:
            return "", ()
        return f"AND {rank} NOT IN (SELECT value FROM json_each(?)) ", (self._excluded_text,)

    def _list(self, lookup: lookups.ListRanks) -> list[int]:
        order = "year DESC, movies.rank" if lookup.order is Order.YEAR else "popularity DESC, movies.rank"
        condition, values = self._exclusion(lookup, "movies.rank")
        if lookup.expression is None:
            rows = self._execute(
                f"SELECT rank FROM movies WHERE catalogue = ? {condition}ORDER BY {order} LIMIT ? OFFSET ?",
                (self._catalogue.number, *values, lookup.limit, lookup.offset),
            )
        else:
            rows = self._execute(
                "SELECT movies.rank FROM movie_index JOIN movies ON movies.rank = movie_index.rowid "
                f"WHERE movie_index MATCH ? AND movie_index.rowid BETWEEN ? AND ? {condition}"
                f"ORDER BY {order} LIMIT ? OFFSET ?",
                (_match(lookup.expression), *self._range, *values, lookup.limit, lookup.offset),
            )
        return [rank for (rank,) in rows]

    def _top_popularity(self) -> float | None:
        if self._cache.top_popularity is None:
            row = self._execute(
                "SELECT popularity FROM movies WHERE rank BETWEEN ? AND ? ORDER BY rank LIMIT 1", self._range
            ).fetchone()
            self._cache.top_popularity = row or (None,)
        return self._cache.top_popularity[0]

    def _exists(self, term: Term) -> bool:
        return bool(
            self._execute(
                "SELECT EXISTS (SELECT 1 FROM movie_words WHERE catalogue = ? AND term BETWEEN ? AND ?)",
                (self._catalogue.number, term.text, term.text + LAST if term.prefix else term.text),
            ).fetchone()[0]
        )

    def _with_prefix(self, term: str) -> list[TermCounts]:
        return [self._read_terms("term BETWEEN ? AND ?", *values) for values in prefix_ranges(term)]

    def _with_suffix(self, term: str) -> TermCounts:
        return self._read_terms("substr(term, -2) = ? AND term BETWEEN ? AND ?", *suffix_range(term))

    def _read_terms(self, where: str, *values: str) -> TermCounts:
        cached = self._cache.terms.get(values)
        if cached is not None:
            return cached
        rows = self._execute(
            f"SELECT term, movies FROM movie_words WHERE catalogue = ? AND {where}",
            (self._catalogue.number, *values),
        ).fetchall()
        return self._cache.put_terms(values, ([term for term, _ in rows], [movies for _, movies in rows]))


def _match(expression: Expression) -> str:
    """Render an expression in the query syntax of FTS5; terms contain no quotes."""
    match expression:
        case Term(text, prefix):
            return f'"{text}"*' if prefix else f'"{text}"'
        case AllOf(parts):
            return "(" + " AND ".join(map(_match, parts)) + ")"
        case AnyOf(parts):
            return "(" + " OR ".join(map(_match, parts)) + ")"
    return f"({_match(expression.base)} NOT {_match(expression.other)})"


def _movies(connection: sqlite3.Connection, ranks: Sequence[int]) -> tuple[Movie, ...]:
    """The movies with these ranks, in that order."""
    marks = ",".join("?" * len(ranks))
    rows = connection.execute(f"SELECT rank, {COLUMNS} FROM movies WHERE rank IN ({marks})", tuple(ranks)).fetchall()
    by_rank = {rank: row for rank, *row in rows}
    return tuple(movie_of(by_rank[rank]) for rank in ranks)
