"""Imported ratings in a SQL database.

An import writes its rows under a number of its own, in short transactions that hold up no other writer. The last one
makes it the current import; the rows of others are deleted afterwards.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import suppress

from sqlalchemy import (
    BigInteger,
    Column,
    Integer,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    delete,
    func,
    insert,
    literal,
    select,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from movie_adapters.sql.engine import metadata
from movie_adapters.sql.tables import AnyText, text_column, transaction, upsert
from movie_core.discovery.training_ratings import TrainingRating
from movie_core.errors import StoreUnavailable

BATCH = 20_000
"""Ratings in one batch of `iter_all`."""
ROWS_PER_TRANSACTION = 20_000
"""Ratings that one transaction writes."""
DELETED_PER_TRANSACTION = 50_000
"""Ratings that one transaction deletes, besides those of one more user."""
SECONDS = 30.0
"""Timeout of one transaction. No request waits for it."""
WRITING, CURRENT, OBSOLETE = "writing", "current", "obsolete"
"""States of an import."""

training_imports = Table(
    "training_imports",
    metadata,
    Column("number", Integer(), primary_key=True, autoincrement=True),
    text_column("source", index=True),
    text_column("state"),
    sqlite_autoincrement=True,  # numbers identify versions and are never used again
)

training_movies = Table(
    "training_movies",
    metadata,
    Column("import_number", Integer(), nullable=False),
    Column("number", Integer(), nullable=False),
    text_column("movie_id"),
    PrimaryKeyConstraint("import_number", "number"),
    sqlite_with_rowid=False,
)

training_ratings = Table(
    "training_ratings",
    metadata,
    Column("import_number", Integer(), nullable=False),
    Column("user_number", Integer(), nullable=False),
    Column("movie_number", Integer(), nullable=False),
    Column("half_points", SmallInteger(), nullable=False),
    Column("rated_at", BigInteger(), nullable=False),
    PrimaryKeyConstraint("import_number", "user_number", "movie_number"),
    sqlite_with_rowid=False,
)

_IMPORTS, _MOVIES, _RATINGS = training_imports.c, training_movies.c, training_ratings.c


class SqlTrainingRatingStore:
    """A `TrainingRatingStore` of one movie source, in tables created by `engine.migrate`."""

    def __init__(self, engine: AsyncEngine, source: str) -> None:
        self._engine = engine
        self._source = source

    async def replace(self, batches: Iterable[Sequence[TrainingRating]]) -> int | None:
        number = await self._start()
        try:
            return await self._finish(number) if await self._write(number, batches) else None
        finally:
            with suppress(StoreUnavailable):  # then the next import deletes the rows
                await self._discard(number)

    async def iter_all(self) -> AsyncIterator[Sequence[TrainingRating]]:
        async with transaction(self._engine, read_only=True, seconds=SECONDS) as connection:
            number = await self._current(connection)
            movies = select(_MOVIES.number, _MOVIES.movie_id).where(_MOVIES.import_number == (number or 0))
            movie_ids = {row.number: row.movie_id for row in await connection.execute(movies)}
        user, movie = _RATINGS.user_number, _RATINGS.movie_number
        last_user = last_movie = -1
        while movie_ids:
            later = (user >= last_user) & ((user > last_user) | (movie > last_movie))
            batch = (
                select(user, movie, _RATINGS.half_points, _RATINGS.rated_at)
                .where(_RATINGS.import_number == number, later)
                .order_by(user, movie)
                .limit(BATCH)
            )
            async with transaction(self._engine, read_only=True, seconds=SECONDS) as connection:
                rows = (await connection.execute(batch)).all()
            if not rows:
                return
            yield [TrainingRating(row[0], movie_ids[row[1]], row[2] / 2, row[3]) for row in rows]
            last_user, last_movie = rows[-1][0], rows[-1][1]

    async def version(self) -> str:
        async with transaction(self._engine, read_only=True) as connection:
            return str(await self._current(connection) or 0)

    async def _current(self, connection: AsyncConnection) -> int | None:
        current = select(_IMPORTS.number).where(_IMPORTS.source == self._source, _IMPORTS.state == CURRENT)
        return await connection.scalar(current)

    # --- the steps of an import

    async def _start(self) -> int:
        """Begin an import, which ends all others that are still writing, and return its number."""
        async with transaction(self._engine) as connection:
            await self._lock(connection)
            await self._mark_obsolete(connection, WRITING)
            new = insert(training_imports).values(source=self._source, state=WRITING)
            number: int = (await connection.execute(new.returning(_IMPORTS.number))).scalar_one()
        await self._delete_obsolete()
        return number

    async def _write(self, number: int, batches: Iterable[Sequence[TrainingRating]]) -> bool:
        """Store the ratings; False if another import has started."""
        movie_numbers: dict[str, int] = {}
        iterator = iter(batches)
        while (batch := await asyncio.to_thread(next, iterator, None)) is not None:
            for start in range(0, len(batch), ROWS_PER_TRANSACTION):
                ratings = batch[start : start + ROWS_PER_TRANSACTION]
                known = len(movie_numbers)
                rows = [
                    {
                        "import_number": number,
                        "user_number": user,
                        "movie_number": movie_numbers.setdefault(movie_id, len(movie_numbers)),
                        "half_points": round(2 * rating),
                        "rated_at": rated_at,
                    }
                    for user, movie_id, rating, rated_at in ratings
                ]
                new_movies = [
                    {"import_number": number, "number": movie_number, "movie_id": movie_id}
                    for movie_id, movie_number in list(movie_numbers.items())[known:]
                ]
                async with transaction(self._engine, seconds=SECONDS) as connection:
                    if not await self._is_writing(connection, number):
                        return False
                    if new_movies:
                        await connection.execute(insert(training_movies), new_movies)
                    await _insert_newest(connection, rows)
        return True

    async def _finish(self, number: int) -> int | None:
        """Make the import the current one and return the number of its ratings; None if another one has started."""
        of_import = _RATINGS.import_number == number
        async with transaction(self._engine, seconds=SECONDS) as connection:
            await self._lock(connection)
            if not await self._is_writing(connection, number):
                return None
            count = await connection.scalar(select(func.count()).select_from(training_ratings).where(of_import)) or 0
            await self._mark_obsolete(connection, CURRENT)
            await connection.execute(update(training_imports).where(_IMPORTS.number == number).values(state=CURRENT))
            return count

    async def _discard(self, number: int) -> None:
        """Delete what is not in use: the import itself if it has failed, and the previous one."""
        failed = (_IMPORTS.number == number) & (_IMPORTS.state == WRITING)
        async with transaction(self._engine) as connection:
            await connection.execute(update(training_imports).where(failed).values(state=OBSOLETE))
        await self._delete_obsolete()

    async def _delete_obsolete(self) -> None:
        obsolete = select(_IMPORTS.number).where(_IMPORTS.source == self._source, _IMPORTS.state == OBSOLETE)
        async with transaction(self._engine, read_only=True) as connection:
            numbers = (await connection.scalars(obsolete)).all()
        for number in numbers:
            of_import = _RATINGS.import_number == number
            users = select(_RATINGS.user_number).where(of_import).order_by(_RATINGS.user_number)
            while True:
                async with transaction(self._engine, seconds=SECONDS) as connection:
                    last_user = await connection.scalar(users.offset(DELETED_PER_TRANSACTION).limit(1))
                    if last_user is None:
                        await connection.execute(delete(training_ratings).where(of_import))
                        await connection.execute(delete(training_movies).where(_MOVIES.import_number == number))
                        await connection.execute(delete(training_imports).where(_IMPORTS.number == number))
                        break
                    await connection.execute(
                        delete(training_ratings).where(of_import, _RATINGS.user_number <= last_user)
                    )

    async def _lock(self, connection: AsyncConnection) -> None:
        """Serialise the starts and ends of imports. On SQLite writers are serialised anyway."""
        if connection.dialect.name == "postgresql":
            key = func.hashtextextended(literal(f"training ratings of {self._source}", AnyText()), 0)
            await connection.execute(select(func.pg_advisory_xact_lock(key)))

    async def _mark_obsolete(self, connection: AsyncConnection, state: str) -> None:
        of_state = (_IMPORTS.source == self._source) & (_IMPORTS.state == state)
        await connection.execute(update(training_imports).where(of_state).values(state=OBSOLETE))

    async def _is_writing(self, connection: AsyncConnection, number: int) -> bool:
        """Whether no other import has started; none can until the transaction ends."""
        state = select(_IMPORTS.state).where(_IMPORTS.number == number).with_for_update(read=True)
        return await connection.scalar(state) == WRITING


async def _insert_newest(connection: AsyncConnection, rows: Sequence[dict[str, int]]) -> None:
    """Insert ratings, of several with one key the newest."""
    new = upsert(connection, training_ratings)
    statement = new.on_conflict_do_update(
        index_elements=list(training_ratings.primary_key),
        set_={name: new.excluded[name] for name in ("half_points", "rated_at")},
        where=_RATINGS.rated_at <= new.excluded.rated_at,
    )
    await connection.execute(statement, rows)
