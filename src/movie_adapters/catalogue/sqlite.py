"""The catalogue of movies on SQLite: full-text index FTS5, order by `title_order`.

The driver of the standard library is used directly, on threads of this module's own: a search is a dozen small
statements of some ten microseconds each, which no layer between should make dearer.
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
from pathlib import Path
from typing import Any, TypeVar

from movie_adapters.catalogue import ranking
from movie_adapters.catalogue.ranking import AllOf, AnyOf, Candidate, Expression, Found, Term, Vocabulary
from movie_adapters.catalogue.rows import COLUMNS, Change, batches, match_movies, movie_of, row_of, storable
from movie_adapters.catalogue.vocabulary import LAST, Remembered, begun_ranges, ended_range
from movie_core.discovery.ratings import MovieIdentity
from movie_core.errors import MovieNotFound, StoreUnavailable
from movie_core.paging import Window
from movie_core.search.movies import Capability, FoundMovie, Genre, LoadResult, Movie, MoviePage, MovieQuery, Order

BATCH = 10_000
"""Movies that a load writes in one transaction, about a second's work: so long other writers wait."""
FIRST_BATCH = 50_000
"""The same while a catalogue is empty: bulk goes quicker, and nobody searches or writes yet."""
INDEX_MEMORY = 64 * 1024 * 1024
"""Bytes of postings that FTS5 collects before it writes them out; small transactions need little of it."""
TIDY_FROM = 100_000
"""Changes of one load after which the index is tidied up; below, its parts are too few to matter."""
READERS = 2
"""Threads that search."""

_IMDB_ID, _TMDB_ID = (f"json_extract(details, '$.{name}')" for name in ("imdb_id", "tmdb_id"))
"""As they are indexed."""
_T = TypeVar("_T")


class SqliteMovieCatalogue:
    """A `MovieCatalogue` in an SQLite file whose tables `sql_database.migrate` has made; for any event loop."""

    capabilities = frozenset(Capability)

    def __init__(self, path: Path, source: str) -> None:
        self.name = source
        self._file = SqliteCatalogueFile(path, source)
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="movies-read")
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="movies-write")

    async def close(self) -> None:
        """Wait for what is under way, and let the file go."""
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
        """As `MovieCatalogue.load`; `movies` is iterated in a thread, and written in batches of `BATCH`."""
        work = asyncio.get_running_loop().run_in_executor(
            self._writer, lambda: self._file.load(movies, replace=replace, edition=edition)
        )
        return await work

    async def count(self) -> int:
        return await self._read(self._file.count)

    async def edition(self) -> str | None:
        return await self._read(self._file.edition)

    async def get_many(self, movie_ids: Collection[str]) -> Mapping[str, Movie]:
        return {movie.id: movie for movie in await self._read(lambda: self._file.get_many(movie_ids))}

    async def most_popular(self, limit: int) -> Sequence[Movie]:
        return await self._read(lambda: self._file.most_popular(limit))

    async def match(self, wanted: Sequence[MovieIdentity]) -> Sequence[Movie | None]:
        return await match_movies(
            wanted,
            lambda *ids: self._read(lambda: self._file.get_many(*ids)),
            lambda terms: self._read(lambda: self._file.of_terms(terms)),
        )

    async def _read(self, work: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._readers, work)


@dataclass(frozen=True, slots=True)
class _Catalogue:
    """The row of a catalogue."""

    number: int
    movies: int
    sequence: int
    revision: int
    edition: str | None


class SqliteCatalogueFile:
    """The same catalogue for callers that may block: each thread has a connection of its own."""

    def __init__(self, path: Path, source: str) -> None:
        self._path = path
        self._source = source
        self._local = threading.local()
        self._connections: list[sqlite3.Connection] = []
        self._known = Remembered(-1)

    def close(self) -> None:
        for connection in self._connections:
            connection.close()

    # --- reading

    def search(self, query: MovieQuery, window: Window) -> tuple[int, tuple[Movie, ...]]:
        """The total and the movies of the window."""
        with self._transaction("BEGIN") as connection:
            catalogue = self._catalogue(connection)
            if catalogue is None:
                return 0, ()
            left_out = self._ranks(connection, catalogue, query.without) if query.without else frozenset()
            steps = ranking.search(query, window.limit, window.offset, left_out)
            found = self._run(connection, catalogue, steps, left_out)
            return found.total, _movies(connection, found.ranks)

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
        """The movies that have one of these ids."""
        found: list[Movie] = []
        wanted = {"id": movie_ids, _IMDB_ID: imdb_ids, _TMDB_ID: tmdb_ids}
        with self._transaction("BEGIN") as connection:
            for column, values in wanted.items():
                if texts := storable(values):
                    rows = connection.execute(
                        f"SELECT {COLUMNS} FROM movies WHERE catalogue = (SELECT number FROM catalogues "
                        f"WHERE source = ?) AND {column} IN (SELECT value FROM json_each(?))",
                        (self._source, json.dumps(texts)),
                    )
                    found += map(movie_of, rows)
        return found

    def of_terms(self, terms: Sequence[str]) -> list[Movie]:
        """The movies that have one of these terms."""
        with self._transaction("BEGIN") as connection:
            catalogue = self._catalogue(connection)
            if catalogue is None:
                return []
            rows = connection.execute(
                f"SELECT {COLUMNS} FROM movie_index JOIN movies ON movies.rank = movie_index.rowid "
                "WHERE movie_index MATCH ? AND movie_index.rowid BETWEEN ? AND ?",
                (_match(AnyOf(tuple(map(Term, terms)))), *ranking.rank_range(catalogue.number)),
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
        steps: ranking.Steps,
        left_out: frozenset[int] = frozenset(),
    ) -> Found:
        """Answer what the search asks, until it has found."""
        known = self._known
        if known.revision != catalogue.revision:
            known = self._known = Remembered(catalogue.revision)
        lookup = _Lookup(connection, catalogue, known, left_out)
        answer: Any = None
        while True:
            try:
                ask = steps.send(answer)
            except StopIteration as done:
                found: Found = done.value
                return found
            answer = lookup.answer(ask)

    # --- writing

    def load(self, movies: Iterable[Movie], *, replace: bool = False, edition: str | None = None) -> LoadResult:
        total = Counter[str]()
        if replace:
            with self._errors():
                self._connection().executescript(
                    "DROP TABLE IF EXISTS temp.kept; CREATE TEMP TABLE kept (id TEXT PRIMARY KEY) WITHOUT ROWID;"
                )
        with self._errors():
            # One checkpoint after each batch, rather than one every thousand pages within it.
            self._connection().execute("PRAGMA wal_autocheckpoint = 0")
        for batch in batches(movies, BATCH if self.count() else FIRST_BATCH):
            with self._transaction("BEGIN IMMEDIATE") as connection:
                connection.execute(
                    "INSERT INTO movie_index (movie_index, rank) VALUES ('hashsize', ?)", (INDEX_MEMORY,)
                )
                if replace:
                    connection.executemany("INSERT OR IGNORE INTO kept VALUES (?)", ((movie.id,) for movie in batch))
                total.update(self._write(connection, batch))
            with self._errors():
                self._connection().execute("PRAGMA wal_checkpoint(PASSIVE)")
        if replace:
            total["removed"] = self._remove_others()
        if total["added"] + total["updated"] + total["removed"] >= TIDY_FROM:
            self._tidy()
        if edition is not None:
            with self._transaction("BEGIN IMMEDIATE") as connection:
                number = self._own_number(connection)
                connection.execute("UPDATE catalogues SET edition = ? WHERE number = ?", (edition, number))
        return LoadResult(**total)

    def _tidy(self) -> None:
        """Merge the parts of the index that a large load leaves behind, step by step: searches are faster then."""
        merged = True
        while merged:
            with self._transaction("BEGIN IMMEDIATE") as connection:
                before = connection.total_changes
                connection.execute("INSERT INTO movie_index (movie_index, rank) VALUES ('merge', -2000)")
                merged = connection.total_changes - before >= 2

    def _write(self, connection: sqlite3.Connection, movies: Sequence[Movie]) -> dict[str, int]:
        """Add or update movies of different ids."""
        number = self._own_number(connection)
        sequence: int = connection.execute("SELECT sequence FROM catalogues WHERE number = ?", (number,)).fetchone()[0]
        stored = {
            row[1]: row
            for row in connection.execute(
                f"SELECT rank, {COLUMNS} FROM movies WHERE catalogue = ? AND id IN (SELECT value FROM json_each(?))",
                (number, json.dumps([movie.id for movie in movies])),
            )
        }
        change = Change()
        added = 0
        for movie in movies:
            row = row_of(movie)
            old = stored.get(movie.id)
            if old is None:
                added += 1
                sequence += 1
                rank = ranking.movie_rank(number, movie.popularity, sequence)
                change.add(rank, movie, row)
            elif old[1:] != row:
                rank = ranking.movie_rank(number, movie.popularity, old[0])
                change.replace(old[0], movie_of(old[1:]), rank, movie, row)
        updated = len(change.removed)
        if change.rows:
            self._apply(connection, number, change, added)
            connection.execute("UPDATE catalogues SET sequence = ? WHERE number = ?", (sequence, number))
        return {"added": added, "updated": updated, "unchanged": len(movies) - added - updated}

    def _remove_others(self) -> int:
        """Remove the movies that the temporary table `kept` lacks."""
        removed = after = 0
        while True:
            with self._transaction("BEGIN IMMEDIATE") as connection:
                number = self._own_number(connection)
                first, last = ranking.rank_range(number)
                rows = connection.execute(
                    f"SELECT rank, {COLUMNS} FROM movies WHERE rank BETWEEN ? AND ? "
                    "AND id NOT IN (SELECT id FROM kept) ORDER BY rank LIMIT ?",
                    (max(first, after), last, BATCH),
                ).fetchall()
                if not rows:
                    return removed
                change = Change()
                for rank, *row in rows:
                    change.remove(rank, movie_of(row))
                self._apply(connection, number, change, -len(rows))
            removed += len(rows)
            after = rows[-1][0] + 1

    def _apply(self, connection: sqlite3.Connection, number: int, change: Change, more: int) -> None:
        execute, many = connection.execute, connection.executemany
        # By rank, deletions first: FTS5 collects postings in memory as long as ranks rise.
        many("INSERT INTO movie_index (movie_index, rowid, terms) VALUES ('delete', ?, ?)", sorted(change.unindexed))
        many("DELETE FROM movies WHERE rank = ?", change.removed)
        rows = ((rank, number, *row) for rank, row in sorted(change.rows))
        many(f"INSERT INTO movies (rank, catalogue, {COLUMNS}, names) VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)
        many("INSERT INTO movie_index (rowid, terms) VALUES (?, ?)", sorted(change.indexed))
        for table, column, counts in (("movie_words", "term", change.words), ("movie_genres", "name", change.genres)):
            many(
                f"INSERT INTO {table} (catalogue, {column}, movies) VALUES (?, ?, ?) "
                "ON CONFLICT DO UPDATE SET movies = movies + excluded.movies",
                sorted((number, key, by) for key, by in counts.items()),
            )
            gone = [(number, key) for key, by in counts.items() if by < 0]
            many(f"DELETE FROM {table} WHERE catalogue = ? AND {column} = ? AND movies <= 0", gone)
        execute("UPDATE catalogues SET revision = revision + 1, movies = movies + ? WHERE number = ?", (more, number))

    # --- connections

    def _catalogue(self, connection: sqlite3.Connection) -> _Catalogue | None:
        row = connection.execute(
            "SELECT number, movies, sequence, revision, edition FROM catalogues WHERE source = ?", (self._source,)
        ).fetchone()
        return None if row is None else _Catalogue(*row)

    def _own_number(self, connection: sqlite3.Connection) -> int:
        """The catalogue's number, given out with the first movie written."""
        catalogue = self._catalogue(connection)
        if catalogue is not None:
            return catalogue.number
        insert = "INSERT INTO catalogues (source) VALUES (?) RETURNING number"
        number: int = connection.execute(insert, (self._source,)).fetchone()[0]
        return number

    def _connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = sqlite3.connect(
                f"{self._path.absolute().as_uri()}?mode=rw",  # never makes an empty file in place of a missing one
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
            raise StoreUnavailable("the database doesn't answer") from error


class _Lookup:
    """Answers what `ranking.search` asks, within one transaction."""

    def __init__(
        self, connection: sqlite3.Connection, catalogue: _Catalogue, known: Remembered, left_out: frozenset[int]
    ) -> None:
        self._execute = connection.execute
        self._catalogue = catalogue
        self._known = known
        self._range = ranking.rank_range(catalogue.number)
        self._left_out = left_out
        self._left_out_text = json.dumps(list(left_out)) if left_out else ""

    def answer(self, ask: ranking.Ask) -> Any:
        match ask:
            case ranking.Find():
                return self._find(ask)
            case ranking.Count():
                return self._count(ask.expression)
            case ranking.CountLeftOut():
                return self._count_left_out(ask.expression)
            case ranking.Listing():
                return self._listing(ask)
            case ranking.BestKnown():
                return self._most_popular()
            case ranking.Known():
                return frozenset(term for term in ask.terms if self._is_known(term))
            case ranking.Similar():
                return {term: [*self._begun(term), self._ended(term)] for term in ask.terms}
            case ranking.Begun():
                return self._begun(ask.term)

    def _find(self, ask: ranking.Find) -> list[Candidate]:
        more, values = self._lessening(ask, "movie_index.rowid")
        rows = self._execute(
            "SELECT movies.rank, names, year, popularity "
            "FROM movie_index JOIN movies ON movies.rank = movie_index.rowid "
            f"WHERE movie_index MATCH ? AND movie_index.rowid BETWEEN ? AND ? {more}"
            "ORDER BY movie_index.rowid LIMIT ? OFFSET ?",
            (_match(ask.expression), *self._range, *values, ask.limit, ask.offset),
        )
        return [Candidate(*row) for row in rows]

    def _count(self, expression: Expression | None) -> int:
        if expression is None:
            return self._catalogue.movies
        match = _match(expression)
        count = self._known.counts.get(match)
        if count is None:
            count = self._execute(
                "SELECT count(*) FROM movie_index WHERE movie_index MATCH ? AND rowid BETWEEN ? AND ?",
                (match, *self._range),
            ).fetchone()[0]
            self._known.counts.put(match, count)
        return count

    def _count_left_out(self, expression: Expression | None) -> int:
        if expression is None:
            return len(self._left_out)
        count: int = self._execute(
            # Plus 0, or the index would be asked once for each of them.
            "SELECT count(*) FROM movie_index WHERE movie_index MATCH ? "
            "AND rowid + 0 IN (SELECT value FROM json_each(?))",
            (_match(expression), self._left_out_text),
        ).fetchone()[0]
        return count

    def _lessening(self, ask: ranking.Find | ranking.Listing, rank: str) -> tuple[str, tuple[str, ...]]:
        """The condition that leaves movies out, and its values."""
        if not ask.lessened:
            return "", ()
        return f"AND {rank} NOT IN (SELECT value FROM json_each(?)) ", (self._left_out_text,)

    def _listing(self, ask: ranking.Listing) -> list[int]:
        order = "year DESC, movies.rank" if ask.order is Order.YEAR else "popularity DESC, movies.rank"
        more, values = self._lessening(ask, "movies.rank")
        if ask.expression is None:
            rows = self._execute(
                f"SELECT rank FROM movies WHERE catalogue = ? {more}ORDER BY {order} LIMIT ? OFFSET ?",
                (self._catalogue.number, *values, ask.limit, ask.offset),
            )
        else:
            rows = self._execute(
                "SELECT movies.rank FROM movie_index JOIN movies ON movies.rank = movie_index.rowid "
                f"WHERE movie_index MATCH ? AND movie_index.rowid BETWEEN ? AND ? {more}"
                f"ORDER BY {order} LIMIT ? OFFSET ?",
                (_match(ask.expression), *self._range, *values, ask.limit, ask.offset),
            )
        return [rank for (rank,) in rows]

    def _most_popular(self) -> float | None:
        if self._known.best is None:
            row = self._execute(
                "SELECT popularity FROM movies WHERE rank BETWEEN ? AND ? ORDER BY rank LIMIT 1", self._range
            ).fetchone()
            self._known.best = row or (None,)
        return self._known.best[0]

    def _is_known(self, term: Term) -> bool:
        return bool(
            self._execute(
                "SELECT EXISTS (SELECT 1 FROM movie_words WHERE catalogue = ? AND term BETWEEN ? AND ?)",
                (self._catalogue.number, term.text, term.text + LAST if term.begun else term.text),
            ).fetchone()[0]
        )

    def _begun(self, term: str) -> list[Vocabulary]:
        return [self._vocabulary("term BETWEEN ? AND ?", *values) for values in begun_ranges(term)]

    def _ended(self, term: str) -> Vocabulary:
        return self._vocabulary("substr(term, -2) = ? AND term BETWEEN ? AND ?", *ended_range(term))

    def _vocabulary(self, where: str, *values: str) -> Vocabulary:
        known = self._known.terms.get(values)
        if known is not None:
            return known
        rows = self._execute(
            f"SELECT term, movies FROM movie_words WHERE catalogue = ? AND {where}",
            (self._catalogue.number, *values),
        ).fetchall()
        return self._known.keep_terms(values, ([term for term, _ in rows], [movies for _, movies in rows]))


def _match(expression: Expression) -> str:
    """The expression in the query language of FTS5; terms hold no quotes."""
    match expression:
        case Term(text, begun):
            return f'"{text}"*' if begun else f'"{text}"'
        case AllOf(parts):
            return "(" + " AND ".join(map(_match, parts)) + ")"
        case AnyOf(parts):
            return "(" + " OR ".join(map(_match, parts)) + ")"
    return f"({_match(expression.base)} NOT {_match(expression.other)})"


def _movies(connection: sqlite3.Connection, ranks: Sequence[int]) -> tuple[Movie, ...]:
    """In the order of `ranks`."""
    marks = ",".join("?" * len(ranks))
    rows = connection.execute(f"SELECT rank, {COLUMNS} FROM movies WHERE rank IN ({marks})", tuple(ranks)).fetchall()
    by_rank = {rank: row for rank, *row in rows}
    return tuple(movie_of(by_rank[rank]) for rank in ranks)
