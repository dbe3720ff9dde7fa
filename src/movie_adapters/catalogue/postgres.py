"""Movie catalogue on PostgreSQL: a GIN index of terms, ordered by `ranking`.

Uses the connection pool of SQLAlchemy and executes statements on asyncpg directly, because a search consists of up to a
dozen small ones.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import islice
from typing import Any, TypeVar

import asyncpg
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

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
from movie_adapters.sql.engine import uses_transaction_pooler
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

BATCH = 5000
"""Movies that a load writes in one transaction."""
MATCH_COST = "0.25"
"""`cpu_operator_cost` for the planner, a hundred times the default: the cost of matching an expression of a hundred
terms. With the default, the planner would evaluate it for every movie instead of using the index."""
READ_SECONDS = 1.0
"""Timeout of a read, including the connection."""
WRITE_SECONDS = 60.0
"""Timeout of one transaction of a load."""
REINDEX_SECONDS = 1800.0
"""Timeout of the transaction that indexes a whole catalogue again: some minutes for a million movies."""

_IMDB_ID, _TMDB_ID = (f"(details::json ->> '{name}')" for name in ("imdb_id", "tmdb_id"))
"""The expressions that are indexed."""
_EXTERNAL_IDS = {"imdb_id": _IMDB_ID, "tmdb_id": _TMDB_ID}
_T = TypeVar("_T")
# The driver raises `InternalClientError` on a connection that the server is about to close.
_CONNECTION_ERRORS = (asyncpg.PostgresConnectionError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)
_log = logging.getLogger(__name__)


class PostgresMovieCatalogue:
    """A `MovieCatalogue` in tables created by `movie_adapters.sql.engine.migrate`. Does not dispose of the engine."""

    capabilities = frozenset(Capability)

    def __init__(self, engine: AsyncEngine, source: str) -> None:
        self.name = source
        self._engine = engine
        self._cache = RevisionCache(-1)

    async def search(self, query: MovieQuery, window: Window) -> MoviePage:
        total, movies = await self._find(
            lambda excluded: ranking.search(query, window.limit, window.offset, excluded), query.exclude_ids
        )
        return MoviePage(total=total, items=movies, source=self.name)

    async def suggest(self, text: str, limit: int) -> Sequence[Movie]:
        query = MovieQuery(text)
        if not query.text:
            return ()
        _, movies = await self._find(lambda _: ranking.suggest(query, limit))
        return movies

    async def get(self, movie_id: str) -> FoundMovie:
        row = await self._read(
            lambda connection: connection.fetchrow(
                f"SELECT {COLUMNS} FROM movies WHERE id = $1 AND catalogue = "
                "(SELECT number FROM catalogues WHERE source = $2)",
                movie_id.encode("utf-8", "replace").decode().replace("\x00", "\ufffd"),
                self.name,
            )
        )
        if row is None:
            raise MovieNotFound("no such movie")
        return FoundMovie(movie_of(row), self.name)

    async def genres(self) -> Sequence[Genre]:
        rows = await self._read(
            lambda connection: connection.fetch(
                "SELECT name, movies FROM movie_genres WHERE catalogue = "
                "(SELECT number FROM catalogues WHERE source = $1) ORDER BY name",
                self.name,
            )
        )
        return tuple(Genre(name, movies) for name, movies in rows)

    async def count(self) -> int:
        count = await self._read(
            lambda connection: connection.fetchval("SELECT movies FROM catalogues WHERE source = $1", self.name)
        )
        return count or 0

    async def edition(self) -> str | None:
        edition: str | None = await self._read(
            lambda connection: connection.fetchval("SELECT edition FROM catalogues WHERE source = $1", self.name)
        )
        return edition

    async def get_many(self, movie_ids: Collection[str]) -> Mapping[str, Movie]:
        return {movie.id: movie for movie in await self._get_many(storable(movie_ids))}

    async def most_popular(self, limit: int) -> Sequence[Movie]:
        rows = await self._read(
            lambda connection: connection.fetch(
                f"SELECT {COLUMNS} FROM movies WHERE catalogue = (SELECT number FROM catalogues WHERE source = $1) "
                "ORDER BY popularity DESC NULLS LAST, rank LIMIT $2",
                self.name,
                limit,
            )
        )
        return [movie_of(row) for row in rows]

    async def match(self, wanted: Sequence[MovieIdentity]) -> Sequence[MovieMatch | Mismatch]:
        return await match_movies(wanted, self._get_many, self._with_terms)

    # --- writing

    async def load(self, movies: Iterable[Movie], *, replace: bool = False, edition: str | None = None) -> LoadResult:
        """Implement `MovieCatalogue.load`: `movies` is iterated in a thread, and written in batches of `BATCH`."""
        pending = batches(movies, BATCH)

        async def next_batch() -> list[Movie] | None:
            return await asyncio.to_thread(lambda: next(pending, None))

        return await self._load(next_batch, replace=replace, edition=edition)

    async def import_list(
        self, listed: Iterable[ListedMovie], *, replace: bool = False, edition: str | None = None
    ) -> LoadResult:
        """Implement `MovieCatalogue.import_list`, like `load`."""
        merger, pending = ListMerger(clear=replace), list_batches(listed, BATCH)

        async def next_batch() -> list[Movie] | None:
            batch = await asyncio.to_thread(lambda: next(pending, None))
            if batch is None:
                return None
            stored = await self._get_many(*listed_ids(batch))
            for terms in term_batches(merger.titles(batch, stored)):
                stored += await self._with_terms(terms)
            return await asyncio.to_thread(merger.merge, batch, stored)

        return await self._load(next_batch, replace=replace, edition=edition)

    async def remove(self, movie_ids: Collection[str]) -> int:
        async with self._transaction() as connection:
            number, _ = await self._own_number(connection)
            rows = await connection.fetch(
                f"SELECT {COLUMNS}, rank FROM movies WHERE catalogue = $1 AND id = ANY($2::text[])",
                number,
                storable(movie_ids),
            )
            await self._remove(connection, number, rows)
        return len(rows)

    async def _load(
        self, next_batch: Callable[[], Awaitable[list[Movie] | None]], *, replace: bool, edition: str | None
    ) -> LoadResult:
        await self._update_index()
        total = Counter[str]()
        loaded: set[str] = set()
        while batch := await next_batch():
            if replace:
                loaded.update(movie.id for movie in batch)
            async with self._transaction() as connection:
                total.update(await self._write(connection, batch))
        if replace:
            total["removed"] = await self._remove_others(loaded)
        if edition is not None:
            async with self._transaction() as connection:
                number, _ = await self._own_number(connection)
                await connection.execute("UPDATE catalogues SET edition = $1 WHERE number = $2", edition, number)
        return LoadResult(**total)

    async def _write(self, connection: Any, movies: Sequence[Movie]) -> dict[str, int]:
        """Add or update movies with distinct ids."""
        number, sequence = await self._own_number(connection)
        rows = await connection.fetch(
            f"SELECT {COLUMNS}, rank FROM movies WHERE catalogue = $1 AND id = ANY($2::text[])",
            number,
            [movie.id for movie in movies],
        )
        stored = {row["id"]: tuple(row) for row in rows}

        def compare() -> tuple[PendingChanges, int]:
            changes, last = PendingChanges(), sequence
            for movie in movies:
                row, old = row_of(movie), stored.get(movie.id)
                if old is None:
                    last += 1
                    changes.add(movie_rank(number, movie.popularity, last), movie, row)
                elif old[:-1] != row:
                    rank = movie_rank(number, movie.popularity, old[-1])
                    changes.replace(old[-1], movie_of(old[:-1]), rank, movie, row)
            return changes, last

        changes, last = await asyncio.to_thread(compare)
        added, updated = last - sequence, len(changes.removed)
        if changes.rows:
            await self._apply(connection, number, changes, added)
            await connection.execute("UPDATE catalogues SET sequence = $1 WHERE number = $2", last, number)
        return {"added": added, "updated": updated, "unchanged": len(movies) - added - updated}

    async def _update_index(self) -> None:
        """Index the movies again if an earlier version of this program has indexed them. Searches see the earlier index
        meanwhile; other loads wait."""
        is_outdated = "SELECT number FROM catalogues WHERE source = $1 AND index_version < $2"
        number = await self._read(lambda connection: connection.fetchval(is_outdated, self.name, INDEX_VERSION))
        if number is None:
            return
        async with self._transaction(REINDEX_SECONDS) as connection:
            await self._own_number(connection)  # locks the row
            if await connection.fetchval(is_outdated, self.name, INDEX_VERSION) is None:
                return  # another process has done it
            words = Counter[str]()
            after, last = rank_range(number)
            while rows := await connection.fetch(
                f"SELECT {COLUMNS}, rank FROM movies WHERE rank BETWEEN $1 AND $2 ORDER BY rank LIMIT $3",
                after,
                last,
                BATCH,
            ):
                reindexed = await asyncio.to_thread(_index_again, rows)
                await connection.execute(
                    "UPDATE movies SET names = new.names, terms = array_to_tsvector(string_to_array(new.terms, ' ')) "
                    "FROM unnest($1::bigint[], $2::text[], $3::text[]) AS new (rank, names, terms) "
                    "WHERE movies.rank = new.rank",
                    [rank for rank, _ in reindexed.indexed],
                    [names for names, _ in reindexed.names],
                    [terms for _, terms in reindexed.indexed],
                )
                words += reindexed.words
                after = rows[-1]["rank"] + 1
            await connection.execute("DELETE FROM movie_words WHERE catalogue = $1", number)
            await connection.execute(
                "INSERT INTO movie_words (catalogue, term, movies) SELECT $1, * FROM unnest($2::text[], $3::int[])",
                number,
                list(words),
                list(words.values()),
            )
            await connection.execute(
                "UPDATE catalogues SET revision = revision + 1, index_version = $1 WHERE number = $2",
                INDEX_VERSION,
                number,
            )

    async def _remove_others(self, loaded: set[str]) -> int:
        async with self._transaction() as connection:
            number, _ = await self._own_number(connection)
            ids = await connection.fetch("SELECT rank, id FROM movies WHERE catalogue = $1", number)
        unlisted = iter(sorted(rank for rank, movie_id in ids if movie_id not in loaded))
        removed = 0
        while ranks := list(islice(unlisted, BATCH)):
            async with self._transaction() as connection:
                number, _ = await self._own_number(connection)
                rows = await connection.fetch(f"SELECT {COLUMNS}, rank FROM movies WHERE rank = ANY($1)", ranks)
                await self._remove(connection, number, rows)
            removed += len(rows)
        return removed

    async def _remove(self, connection: Any, number: int, rows: Sequence[Any]) -> None:
        """Delete movies, given their columns and ranks."""
        changes = PendingChanges()
        for *row, rank in rows:
            changes.remove(rank, movie_of(row))
        await self._apply(connection, number, changes, -len(rows))

    async def _apply(self, connection: Any, number: int, changes: PendingChanges, added: int) -> None:
        execute = connection.execute
        if changes.removed:
            await execute("DELETE FROM movies WHERE rank = ANY($1::bigint[])", [rank for (rank,) in changes.removed])
        if changes.rows:
            rows = ((rank, *row, terms) for (rank, row), terms in zip(changes.rows, changes.terms, strict=True))
            columns = zip(*rows, strict=True)
            await execute(
                f"INSERT INTO movies (rank, catalogue, {COLUMNS}, names, terms) "
                "SELECT rank, $1, id, title, year, popularity, details, names, "
                "array_to_tsvector(string_to_array(terms, ' ')) FROM unnest($2::bigint[], $3::text[], $4::text[], "
                "$5::int[], $6::float8[], $7::text[], $8::text[], $9::text[]) "
                "AS new (rank, id, title, year, popularity, details, names, terms)",
                number,
                *map(list, columns),
            )
        for table, column, counts in (("movie_words", "term", changes.words), ("movie_genres", "name", changes.genres)):
            changed = sorted(counts.items())
            await execute(
                f"INSERT INTO {table} (catalogue, {column}, movies) SELECT $1, * FROM unnest($2::text[], $3::int[]) "
                f"ON CONFLICT (catalogue, {column}) DO UPDATE SET movies = {table}.movies + excluded.movies",
                number,
                [key for key, _ in changed],
                [by for _, by in changed],
            )
            decreased = [key for key, by in changed if by < 0]
            if decreased:
                await execute(
                    f"DELETE FROM {table} WHERE catalogue = $1 AND {column} = ANY($2::text[]) AND movies <= 0",
                    number,
                    decreased,
                )
        await execute(
            "UPDATE catalogues SET revision = revision + 1, movies = movies + $1 WHERE number = $2", added, number
        )

    async def _own_number(self, connection: Any) -> tuple[int, int]:
        """The number of the catalogue, assigned by the first write, and its sequence number; locks the row."""
        select = "SELECT number, sequence FROM catalogues WHERE source = $1 FOR UPDATE"
        row = await connection.fetchrow(select, self.name)
        if row is None:
            # The lock prevents the first writers of two sources from assigning the same number.
            await connection.execute("LOCK TABLE catalogues IN SHARE ROW EXCLUSIVE MODE")
            await connection.execute(
                "INSERT INTO catalogues (number, source, index_version) "
                "SELECT coalesce(max(number), 0) + 1, $1, $2 FROM catalogues ON CONFLICT (source) DO NOTHING",
                self.name,
                INDEX_VERSION,
            )
            row = await connection.fetchrow(select, self.name)
        return row["number"], row["sequence"]

    # --- reading

    async def _get_many(
        self, movie_ids: list[str], imdb_ids: Sequence[str] = (), tmdb_ids: Sequence[str] = ()
    ) -> list[Movie]:
        """The movies with one of these ids."""
        ids = {"id": movie_ids, _IMDB_ID: imdb_ids, _TMDB_ID: tmdb_ids}

        async def read(connection: Any) -> list[Movie]:
            movies: list[Movie] = []
            for column, values in ids.items():
                if values:
                    rows = await connection.fetch(
                        f"SELECT {COLUMNS} FROM movies WHERE {column} = ANY($2::text[]) "
                        "AND catalogue = (SELECT number FROM catalogues WHERE source = $1)",
                        self.name,
                        values,
                    )
                    movies += map(movie_of, rows)
            return movies

        return await self._read(read)

    async def _with_terms(self, terms: list[str]) -> list[Movie]:
        # One index lookup per term; movies of other catalogues are removed afterwards. Otherwise the planner would scan
        # the whole catalogue after a load, while statistics are missing.
        rows = await self._read(
            lambda connection: connection.fetch(
                "WITH found AS MATERIALIZED (SELECT movies.* FROM unnest($2::text[]) AS requested (term) "
                "JOIN movies ON terms @@ term::tsquery) "
                f"SELECT {COLUMNS} FROM found WHERE catalogue = (SELECT number FROM catalogues WHERE source = $1)",
                self.name,
                [_match(Term(term)) for term in terms],
            )
        )
        return [movie_of(row) for row in rows]

    async def _find(
        self, steps: Callable[[frozenset[int]], Steps], exclude_ids: Collection[str] = ()
    ) -> tuple[int, tuple[Movie, ...]]:
        async def run(connection: Any) -> tuple[int, tuple[Movie, ...]]:
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                row = await connection.fetchrow(
                    "SELECT number, movies, revision, set_config('cpu_operator_cost', $2, true) "
                    "FROM catalogues WHERE source = $1",
                    self.name,
                    MATCH_COST,
                )
                if row is None:
                    return 0, ()
                number, excluded = row["number"], frozenset[int]()
                cache = self._cache
                if cache.revision != row["revision"]:
                    cache = self._cache = RevisionCache(row["revision"])
                if exclude_ids:
                    ranks = await connection.fetch(
                        "SELECT rank FROM movies WHERE catalogue = $1 AND id = ANY($2::text[])",
                        number,
                        storable(exclude_ids),
                    )
                    excluded = frozenset(rank for (rank,) in ranks)
                executor = _LookupExecutor(connection, number, row["movies"], cache, excluded)
                page = await _run(steps(excluded), executor)
                rows = await connection.fetch(
                    f"SELECT {COLUMNS}, rank FROM movies WHERE rank = ANY($1::bigint[])", page.ranks
                )
            by_rank = {rank: row for *row, rank in rows}
            return page.total, tuple(movie_of(by_rank[rank]) for rank in page.ranks)

        async with self._connection(READ_SECONDS) as connection:
            return await run(connection)

    async def _read(self, work: Callable[[Any], Awaitable[_T]]) -> _T:
        async with self._connection(READ_SECONDS) as connection:
            if not uses_transaction_pooler(self._engine):
                return await work(connection)
            async with connection.transaction(readonly=True):
                return await work(connection)

    @asynccontextmanager
    async def _transaction(self, seconds: float = WRITE_SECONDS) -> AsyncIterator[Any]:
        async with self._connection(seconds) as connection, connection.transaction():
            yield connection

    @asynccontextmanager
    async def _connection(self, seconds: float) -> AsyncIterator[Any]:
        """A connection of asyncpg, untyped because the package has no complete type information."""
        try:
            async with self._engine.connect() as connection, asyncio.timeout(seconds):
                raw = await connection.get_raw_connection()
                try:
                    yield raw.driver_connection
                except (*_CONNECTION_ERRORS, asyncio.CancelledError):
                    # The state of the connection is unknown, so it must not be reused. SQLAlchemy would wait for it to
                    # close; the pool replaces a terminated one at once.
                    if raw.driver_connection is not None:
                        raw.driver_connection.terminate()
                    raise
        except (SQLAlchemyError, asyncpg.PostgresError, TimeoutError, *_CONNECTION_ERRORS) as error:
            _log.warning(
                "PostgreSQL is unavailable: %s", type(error).__name__, exc_info=_log.isEnabledFor(logging.DEBUG)
            )
            raise StoreUnavailable("the database is unavailable") from error


def _index_again(rows: Iterable[Any]) -> Reindexed:
    reindexed = Reindexed()
    for *row, rank in rows:
        reindexed.add(rank, movie_of(row))
    return reindexed


async def _run(steps: Steps, executor: "_LookupExecutor") -> RankedPage:
    """Execute the lookups of a search and return its page."""

    def advance(result: Any) -> lookups.Lookup | RankedPage:
        try:
            return steps.send(result)
        except StopIteration as stop:
            page: RankedPage = stop.value
            return page

    step = advance(None)
    while not isinstance(step, RankedPage):
        result = await executor.execute(step)
        # Comparing words with long lists of terms takes milliseconds; a thread does not block the event loop.
        is_slow = isinstance(step, lookups.SimilarTerms | lookups.PrefixTerms)
        step = await asyncio.to_thread(advance, result) if is_slow else advance(result)
    return step


class _LookupExecutor:
    """Executes the lookups of `ranking.search` within one transaction."""

    def __init__(
        self, connection: Any, catalogue: int, movies: int, cache: RevisionCache, excluded: frozenset[int]
    ) -> None:
        self._fetch = connection.fetch
        self._catalogue = catalogue
        self._movies = movies
        self._cache = cache
        self._excluded = list(excluded)

    async def execute(self, lookup: lookups.Lookup) -> Any:
        match lookup:
            case lookups.FindCandidates():
                return await self._find(lookup)
            case lookups.FindIdentified():
                return await self._find_identified(lookup)
            case lookups.CountMatches():
                return await self._count(lookup.expression)
            case lookups.CountExcluded():
                return await self._count_excluded(lookup.expression)
            case lookups.ListRanks():
                return await self._list(lookup)
            case lookups.TopPopularity():
                return await self._top_popularity()
            case lookups.ExistingTerms():
                return await self._existing(lookup.terms)
            case lookups.SimilarTerms():
                return {term: [*await self._with_prefix(term), await self._with_suffix(term)] for term in lookup.terms}
            case lookups.PrefixTerms():
                return await self._with_prefix(lookup.term)

    async def _find(self, lookup: lookups.FindCandidates) -> list[Candidate]:
        condition, values = self._exclusion(lookup, 5)
        column = "details" if lookup.with_people else "NULL"
        # Materialised, because the planner might scan the ranks and test every movie for a rare term.
        rows = await self._fetch(
            "WITH found AS MATERIALIZED "
            f"(SELECT rank FROM movies WHERE terms @@ $2::text::tsquery AND catalogue = $1 {condition}) "
            f"SELECT rank, names, year, popularity, {column} "
            "FROM (SELECT rank FROM found ORDER BY rank LIMIT $3 OFFSET $4) AS page JOIN movies USING (rank) "
            "ORDER BY rank",
            self._catalogue,
            _match(lookup.expression),
            lookup.limit,
            lookup.offset,
            *values,
        )
        return [candidate_of(*row) for row in rows]

    async def _find_identified(self, lookup: lookups.FindIdentified) -> list[Candidate]:
        column = _EXTERNAL_IDS[lookup.field]
        condition = "" if lookup.filters is None else "WHERE terms @@ $3::text::tsquery"
        values = () if lookup.filters is None else (_match(lookup.filters),)
        # Materialised, so that the filters are not looked up in the index.
        rows = await self._fetch(
            "WITH found AS MATERIALIZED (SELECT rank, names, year, popularity, terms FROM movies "
            f"WHERE catalogue = $1 AND {column} = $2) "
            f"SELECT rank, names, year, popularity FROM found {condition} ORDER BY rank",
            self._catalogue,
            lookup.external_id,
            *values,
        )
        return [Candidate(*row) for row in rows]

    async def _count(self, expression: Expression | None) -> int:
        if expression is None:
            return self._movies
        rows = await self._fetch(
            "SELECT count(*) FROM movies WHERE terms @@ $2::text::tsquery AND catalogue = $1",
            self._catalogue,
            _match(expression),
        )
        count: int = rows[0][0]
        return count

    async def _count_excluded(self, expression: Expression | None) -> int:
        if expression is None:
            return len(self._excluded)
        # Materialised, so that only the excluded movies are tested.
        rows = await self._fetch(
            "WITH excluded AS MATERIALIZED (SELECT terms FROM movies WHERE rank = ANY($1::bigint[])) "
            "SELECT count(*) FROM excluded WHERE terms @@ $2::text::tsquery",
            self._excluded,
            _match(expression),
        )
        count: int = rows[0][0]
        return count

    async def _list(self, lookup: lookups.ListRanks) -> list[int]:
        column = "year" if lookup.order is Order.YEAR else "popularity"
        where, values = (
            ("", ()) if lookup.expression is None else ("AND terms @@ $4::text::tsquery", (_match(lookup.expression),))
        )
        condition, ranks = self._exclusion(lookup, 4 + len(values))
        rows = await self._fetch(
            f"SELECT rank FROM movies WHERE catalogue = $1 {where} {condition} ORDER BY {column} DESC NULLS LAST, rank "
            "LIMIT $2 OFFSET $3",
            self._catalogue,
            lookup.limit,
            lookup.offset,
            *values,
            *ranks,
        )
        return [rank for (rank,) in rows]

    def _exclusion(
        self, lookup: lookups.FindCandidates | lookups.ListRanks, number: int
    ) -> tuple[str, tuple[list[int], ...]]:
        """The condition that excludes movies, and its parameter, which has this number."""
        if not lookup.excluding:
            return "", ()
        return f"AND rank NOT IN (SELECT unnest(${number}::bigint[]))", (self._excluded,)

    async def _top_popularity(self) -> float | None:
        rows = await self._fetch(
            "SELECT popularity FROM movies WHERE rank BETWEEN $1 AND $2 ORDER BY rank LIMIT 1",
            *rank_range(self._catalogue),
        )
        return rows[0][0] if rows else None

    async def _existing(self, terms: Sequence[Term]) -> frozenset[Term]:
        rows = await self._fetch(
            "SELECT at FROM unnest($2::text[], $3::text[]) WITH ORDINALITY AS requested (first, last, at) WHERE EXISTS "
            "(SELECT 1 FROM movie_words WHERE catalogue = $1 AND term BETWEEN first AND last)",
            self._catalogue,
            [term.text for term in terms],
            [term.text + LAST if term.prefix else term.text for term in terms],
        )
        return frozenset(terms[at - 1] for (at,) in rows)

    async def _with_prefix(self, term: str) -> list[TermCounts]:
        return [await self._read_terms("term BETWEEN $2 AND $3", *values) for values in prefix_ranges(term)]

    async def _with_suffix(self, term: str) -> TermCounts:
        return await self._read_terms('right(term, 2) = $2 COLLATE "C" AND term BETWEEN $3 AND $4', *suffix_range(term))

    async def _read_terms(self, where: str, *values: str) -> TermCounts:
        cached = self._cache.terms.get(values)
        if cached is not None:
            return cached
        rows = await self._fetch(
            f"SELECT term, movies FROM movie_words WHERE catalogue = $1 AND {where}", self._catalogue, *values
        )
        return self._cache.put_terms(values, ([term for term, _ in rows], [movies for _, movies in rows]))


def _match(expression: Expression) -> str:
    """Render an expression as a tsquery; terms contain neither quotes nor backslashes."""
    match expression:
        case Term(text, prefix):
            return f"'{text}':*" if prefix else f"'{text}'"
        case AllOf(parts):
            return "(" + " & ".join(map(_match, parts)) + ")"
        case AnyOf(parts):
            return "(" + " | ".join(map(_match, parts)) + ")"
    return f"({_match(expression.base)} & !{_match(expression.other)})"
