"""The catalogue of movies on PostgreSQL: a GIN index of terms, order by `title_order`.

The pool is SQLAlchemy's, the statements go to asyncpg directly: a search is up to a dozen small ones.
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

from movie_adapters.catalogue import ranking
from movie_adapters.catalogue.ranking import AllOf, AnyOf, Candidate, Expression, Found, Term, Vocabulary
from movie_adapters.catalogue.rows import COLUMNS, Change, batches, match_movies, movie_of, row_of, storable
from movie_adapters.catalogue.vocabulary import LAST, Remembered, begun_ranges, ended_range
from movie_core.discovery.ratings import MovieIdentity
from movie_core.errors import MovieNotFound, StoreUnavailable
from movie_core.paging import Window
from movie_core.search.movies import Capability, FoundMovie, Genre, LoadResult, Movie, MoviePage, MovieQuery, Order

BATCH = 5000
"""Movies that a load writes in one transaction."""
MATCH_COST = "0.25"
"""`cpu_operator_cost` for the planner, a hundred times its default. Matching an expression of a hundred terms is that
expensive; with the default the planner would test it on every movie instead of using the index."""
READ_SECONDS = 1.0
"""How long reading may take, connecting included."""
WRITE_SECONDS = 60.0
"""How long one transaction of a load may take."""

_IMDB_ID, _TMDB_ID = (f"(details::json ->> '{name}')" for name in ("imdb_id", "tmdb_id"))
"""As they are indexed."""
_T = TypeVar("_T")
# `InternalClientError` is how the driver refuses a connection whose end the server has announced.
_CUT = (asyncpg.PostgresConnectionError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)
_log = logging.getLogger(__name__)


class PostgresMovieCatalogue:
    """A `MovieCatalogue` in tables that `sql_database.migrate` has made; the engine stays its owner's to dispose of."""

    capabilities = frozenset(Capability)

    def __init__(self, engine: AsyncEngine, source: str) -> None:
        self.name = source
        self._engine = engine
        self._remembered = Remembered(-1)

    async def search(self, query: MovieQuery, window: Window) -> MoviePage:
        total, movies = await self._find(
            lambda left_out: ranking.search(query, window.limit, window.offset, left_out), query.without
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

    async def match(self, wanted: Sequence[MovieIdentity]) -> Sequence[Movie | None]:
        return await match_movies(wanted, self._get_many, self._of_terms)

    # --- writing

    async def load(self, movies: Iterable[Movie], *, replace: bool = False, edition: str | None = None) -> LoadResult:
        """As `MovieCatalogue.load`; `movies` is iterated in a thread, and written in batches of `BATCH`."""
        total = Counter[str]()
        kept: set[str] = set()
        waiting = batches(movies, BATCH)
        while batch := await asyncio.to_thread(lambda: next(waiting, None)):
            if replace:
                kept.update(movie.id for movie in batch)
            async with self._transaction() as connection:
                total.update(await self._write(connection, batch))
        if replace:
            total["removed"] = await self._remove_others(kept)
        if edition is not None:
            async with self._transaction() as connection:
                number, _ = await self._own_number(connection)
                await connection.execute("UPDATE catalogues SET edition = $1 WHERE number = $2", edition, number)
        return LoadResult(**total)

    async def _write(self, connection: Any, movies: Sequence[Movie]) -> dict[str, int]:
        """Add or update movies of different ids."""
        number, sequence = await self._own_number(connection)
        rows = await connection.fetch(
            f"SELECT {COLUMNS}, rank FROM movies WHERE catalogue = $1 AND id = ANY($2::text[])",
            number,
            [movie.id for movie in movies],
        )
        stored = {row["id"]: tuple(row) for row in rows}

        def compare() -> tuple[Change, int]:
            change, last = Change(), sequence
            for movie in movies:
                row, old = row_of(movie), stored.get(movie.id)
                if old is None:
                    last += 1
                    change.add(ranking.movie_rank(number, movie.popularity, last), movie, row)
                elif old[:-1] != row:
                    rank = ranking.movie_rank(number, movie.popularity, old[-1])
                    change.replace(old[-1], movie_of(old[:-1]), rank, movie, row)
            return change, last

        change, last = await asyncio.to_thread(compare)
        added, updated = last - sequence, len(change.removed)
        if change.rows:
            await self._apply(connection, number, change, added)
            await connection.execute("UPDATE catalogues SET sequence = $1 WHERE number = $2", last, number)
        return {"added": added, "updated": updated, "unchanged": len(movies) - added - updated}

    async def _remove_others(self, kept: set[str]) -> int:
        async with self._transaction() as connection:
            number, _ = await self._own_number(connection)
            ids = await connection.fetch("SELECT rank, id FROM movies WHERE catalogue = $1", number)
        gone = iter(sorted(rank for rank, movie_id in ids if movie_id not in kept))
        removed = 0
        while ranks := list(islice(gone, BATCH)):
            async with self._transaction() as connection:
                number, _ = await self._own_number(connection)
                rows = await connection.fetch(f"SELECT {COLUMNS}, rank FROM movies WHERE rank = ANY($1)", ranks)
                change = Change()
                for *row, rank in rows:
                    change.remove(rank, movie_of(row))
                await self._apply(connection, number, change, -len(rows))
            removed += len(rows)
        return removed

    async def _apply(self, connection: Any, number: int, change: Change, more: int) -> None:
        execute = connection.execute
        if change.removed:
            await execute("DELETE FROM movies WHERE rank = ANY($1::bigint[])", [rank for (rank,) in change.removed])
        if change.rows:
            rows = ((rank, *row, terms) for (rank, row), terms in zip(change.rows, change.terms, strict=True))
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
        for table, column, counts in (("movie_words", "term", change.words), ("movie_genres", "name", change.genres)):
            changed = sorted(counts.items())
            await execute(
                f"INSERT INTO {table} (catalogue, {column}, movies) SELECT $1, * FROM unnest($2::text[], $3::int[]) "
                f"ON CONFLICT (catalogue, {column}) DO UPDATE SET movies = {table}.movies + excluded.movies",
                number,
                [key for key, _ in changed],
                [by for _, by in changed],
            )
            fewer = [key for key, by in changed if by < 0]
            if fewer:
                await execute(
                    f"DELETE FROM {table} WHERE catalogue = $1 AND {column} = ANY($2::text[]) AND movies <= 0",
                    number,
                    fewer,
                )
        await execute(
            "UPDATE catalogues SET revision = revision + 1, movies = movies + $1 WHERE number = $2", more, number
        )

    async def _own_number(self, connection: Any) -> tuple[int, int]:
        """The catalogue's number, given out with the first movie written, and its sequence; locks its row."""
        select = "SELECT number, sequence FROM catalogues WHERE source = $1 FOR UPDATE"
        row = await connection.fetchrow(select, self.name)
        if row is None:
            # The lock keeps two first writers of different sources from taking one number.
            await connection.execute("LOCK TABLE catalogues IN SHARE ROW EXCLUSIVE MODE")
            await connection.execute(
                "INSERT INTO catalogues (number, source) SELECT coalesce(max(number), 0) + 1, $1 FROM catalogues "
                "ON CONFLICT (source) DO NOTHING",
                self.name,
            )
            row = await connection.fetchrow(select, self.name)
        return row["number"], row["sequence"]

    # --- reading

    async def _get_many(
        self, movie_ids: list[str], imdb_ids: Sequence[str] = (), tmdb_ids: Sequence[str] = ()
    ) -> list[Movie]:
        """The movies that have one of these ids."""
        wanted = {"id": movie_ids, _IMDB_ID: imdb_ids, _TMDB_ID: tmdb_ids}

        async def look(connection: Any) -> list[Movie]:
            found: list[Movie] = []
            for column, values in wanted.items():
                if values:
                    rows = await connection.fetch(
                        f"SELECT {COLUMNS} FROM movies WHERE {column} = ANY($2::text[]) "
                        "AND catalogue = (SELECT number FROM catalogues WHERE source = $1)",
                        self.name,
                        values,
                    )
                    found += map(movie_of, rows)
            return found

        return await self._read(look)

    async def _of_terms(self, terms: list[str]) -> list[Movie]:
        # One look into the index for each, and other catalogues left out afterwards: where a table has just been
        # loaded, and its statistics are missing still, the planner would rather test all movies of the catalogue.
        rows = await self._read(
            lambda connection: connection.fetch(
                "WITH found AS MATERIALIZED (SELECT movies.* FROM unnest($2::text[]) AS asked (term) "
                "JOIN movies ON terms @@ term::tsquery) "
                f"SELECT {COLUMNS} FROM found WHERE catalogue = (SELECT number FROM catalogues WHERE source = $1)",
                self.name,
                [_match(Term(term)) for term in terms],
            )
        )
        return [movie_of(row) for row in rows]

    async def _find(
        self, steps: Callable[[frozenset[int]], ranking.Steps], without: Collection[str] = ()
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
                number, left_out = row["number"], frozenset[int]()
                remembered = self._remembered
                if remembered.revision != row["revision"]:
                    remembered = self._remembered = Remembered(row["revision"])
                if without:
                    gone = await connection.fetch(
                        "SELECT rank FROM movies WHERE catalogue = $1 AND id = ANY($2::text[])",
                        number,
                        storable(without),
                    )
                    left_out = frozenset(rank for (rank,) in gone)
                lookup = _Lookup(connection, number, row["movies"], remembered, left_out)
                found = await _run(steps(left_out), lookup)
                rows = await connection.fetch(
                    f"SELECT {COLUMNS}, rank FROM movies WHERE rank = ANY($1::bigint[])", found.ranks
                )
            by_rank = {rank: row for *row, rank in rows}
            return found.total, tuple(movie_of(by_rank[rank]) for rank in found.ranks)

        return await self._read(run)

    async def _read(self, work: Callable[[Any], Awaitable[_T]]) -> _T:
        async with self._connection(READ_SECONDS) as connection:
            return await work(connection)

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[Any]:
        async with self._connection(WRITE_SECONDS) as connection, connection.transaction():
            yield connection

    @asynccontextmanager
    async def _connection(self, seconds: float) -> AsyncIterator[Any]:
        """A connection of asyncpg; its type is left open, as the package has no complete types."""
        try:
            async with asyncio.timeout(seconds), self._engine.connect() as connection:
                raw = await connection.get_raw_connection()
                try:
                    yield raw.driver_connection
                except (*_CUT, asyncio.CancelledError):
                    # Whatever state it is in, nobody should get this one again. SQLAlchemy would ask it to close and
                    # wait; closed already, the pool replaces it.
                    if raw.driver_connection is not None:
                        raw.driver_connection.terminate()
                    raise
        except (SQLAlchemyError, asyncpg.PostgresError, TimeoutError, *_CUT) as error:
            _log.warning(
                "PostgreSQL doesn't answer: %s", type(error).__name__, exc_info=_log.isEnabledFor(logging.DEBUG)
            )
            raise StoreUnavailable("the database doesn't answer") from error


async def _run(steps: ranking.Steps, lookup: "_Lookup") -> Found:
    """Answer what the search asks, until it has found."""

    def go_on(answer: Any) -> ranking.Ask | Found:
        try:
            return steps.send(answer)
        except StopIteration as done:
            found: Found = done.value
            return found

    next_ask = go_on(None)
    while not isinstance(next_ask, Found):
        answer = await lookup.answer(next_ask)
        # Comparing words with long lists of terms takes milliseconds, during which others are served.
        is_long = isinstance(next_ask, ranking.Similar | ranking.Begun)
        next_ask = await asyncio.to_thread(go_on, answer) if is_long else go_on(answer)
    return next_ask


class _Lookup:
    """Answers what `ranking.search` asks, within one transaction."""

    def __init__(
        self, connection: Any, catalogue: int, movies: int, remembered: Remembered, left_out: frozenset[int]
    ) -> None:
        self._fetch = connection.fetch
        self._catalogue = catalogue
        self._movies = movies
        self._remembered = remembered
        self._left_out = list(left_out)

    async def answer(self, ask: ranking.Ask) -> Any:
        match ask:
            case ranking.Find():
                return await self._find(ask)
            case ranking.Count():
                return await self._count(ask.expression)
            case ranking.CountLeftOut():
                return await self._count_left_out(ask.expression)
            case ranking.Listing():
                return await self._listing(ask)
            case ranking.BestKnown():
                return await self._most_popular()
            case ranking.Known():
                return await self._known(ask.terms)
            case ranking.Similar():
                return {term: [*await self._begun(term), await self._ended(term)] for term in ask.terms}
            case ranking.Begun():
                return await self._begun(ask.term)

    async def _find(self, ask: ranking.Find) -> list[Candidate]:
        more, values = self._lessening(ask, 5)
        # Materialised, or the planner may walk the ranks and test each movie for a term that is rare.
        rows = await self._fetch(
            "WITH found AS MATERIALIZED "
            f"(SELECT rank FROM movies WHERE terms @@ $2::text::tsquery AND catalogue = $1 {more}) "
            "SELECT rank, names, year, popularity "
            "FROM (SELECT rank FROM found ORDER BY rank LIMIT $3 OFFSET $4) AS few JOIN movies USING (rank) "
            "ORDER BY rank",
            self._catalogue,
            _match(ask.expression),
            ask.limit,
            ask.offset,
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

    async def _count_left_out(self, expression: Expression | None) -> int:
        if expression is None:
            return len(self._left_out)
        # Materialised, so that just these are tested.
        rows = await self._fetch(
            "WITH gone AS MATERIALIZED (SELECT terms FROM movies WHERE rank = ANY($1::bigint[])) "
            "SELECT count(*) FROM gone WHERE terms @@ $2::text::tsquery",
            self._left_out,
            _match(expression),
        )
        count: int = rows[0][0]
        return count

    async def _listing(self, ask: ranking.Listing) -> list[int]:
        column = "year" if ask.order is Order.YEAR else "popularity"
        where, values = (
            ("", ()) if ask.expression is None else ("AND terms @@ $4::text::tsquery", (_match(ask.expression),))
        )
        more, ranks = self._lessening(ask, 4 + len(values))
        rows = await self._fetch(
            f"SELECT rank FROM movies WHERE catalogue = $1 {where} {more} ORDER BY {column} DESC NULLS LAST, rank "
            "LIMIT $2 OFFSET $3",
            self._catalogue,
            ask.limit,
            ask.offset,
            *values,
            *ranks,
        )
        return [rank for (rank,) in rows]

    def _lessening(self, ask: ranking.Find | ranking.Listing, number: int) -> tuple[str, tuple[list[int], ...]]:
        """The condition that leaves movies out, and the value of its parameter, which has this number."""
        if not ask.lessened:
            return "", ()
        return f"AND rank NOT IN (SELECT unnest(${number}::bigint[]))", (self._left_out,)

    async def _most_popular(self) -> float | None:
        rows = await self._fetch(
            "SELECT popularity FROM movies WHERE rank BETWEEN $1 AND $2 ORDER BY rank LIMIT 1",
            *ranking.rank_range(self._catalogue),
        )
        return rows[0][0] if rows else None

    async def _known(self, terms: Sequence[Term]) -> frozenset[Term]:
        rows = await self._fetch(
            "SELECT at FROM unnest($2::text[], $3::text[]) WITH ORDINALITY AS asked (first, last, at) WHERE EXISTS "
            "(SELECT 1 FROM movie_words WHERE catalogue = $1 AND term BETWEEN first AND last)",
            self._catalogue,
            [term.text for term in terms],
            [term.text + LAST if term.begun else term.text for term in terms],
        )
        return frozenset(terms[at - 1] for (at,) in rows)

    async def _begun(self, term: str) -> list[Vocabulary]:
        return [await self._vocabulary("term BETWEEN $2 AND $3", *values) for values in begun_ranges(term)]

    async def _ended(self, term: str) -> Vocabulary:
        return await self._vocabulary('right(term, 2) = $2 COLLATE "C" AND term BETWEEN $3 AND $4', *ended_range(term))

    async def _vocabulary(self, where: str, *values: str) -> Vocabulary:
        known = self._remembered.terms.get(values)
        if known is not None:
            return known
        rows = await self._fetch(
            f"SELECT term, movies FROM movie_words WHERE catalogue = $1 AND {where}", self._catalogue, *values
        )
        return self._remembered.keep_terms(values, ([term for term, _ in rows], [movies for _, movies in rows]))


def _match(expression: Expression) -> str:
    """The expression as a tsquery; terms hold neither quotes nor backslashes."""
    match expression:
        case Term(text, begun):
            return f"'{text}':*" if begun else f"'{text}'"
        case AllOf(parts):
            return "(" + " & ".join(map(_match, parts)) + ")"
        case AnyOf(parts):
            return "(" + " | ".join(map(_match, parts)) + ")"
    return f"({_match(expression.base)} & !{_match(expression.other)})"
