"""Ratings in a SQL database."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Double,
    ForeignKey,
    Integer,
    Row,
    Table,
    delete,
    exists,
    func,
    select,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from movie_adapters.sql.engine import metadata
from movie_adapters.sql.tables import WRITE_SECONDS, text_column, time_column, transaction, upsert, users
from movie_core.discovery.ratings import (
    MAX_RATINGS,
    NewRating,
    Rating,
    RatingChange,
    RatingExport,
    apply_rating,
    exported,
)
from movie_core.errors import StoreUnavailable, TooManyRatings, UserNotFound
from movie_core.paging import Window

BATCH = 5_000
"""Ratings in one batch of `iter_all`."""
MAX_LOOKUP = 500
"""Up to this many ratings of a user are read by movie id; for more, all ratings of the user are read."""
ROWS_PER_STATEMENT = 1_000
"""Ratings that one statement writes."""
MAX_WRITERS = 8
"""Concurrent write transactions of one store. The others wait in FIFO order, which the connection pool does not
guarantee, and leave connections of the pool to other stores."""

ratings = Table(
    "ratings",
    metadata,
    text_column("user_id", ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
    text_column("source", primary_key=True),
    text_column("movie_id", primary_key=True),
    text_column("title"),
    Column("year", Integer()),
    Column("rating", Double(), nullable=False),
    time_column("rated_at"),
)

rating_versions = Table(
    "rating_versions",
    metadata,
    text_column("source", primary_key=True),
    Column("changes", BigInteger(), nullable=False),
)

_RATING = (ratings.c.movie_id, ratings.c.title, ratings.c.year, ratings.c.rating, ratings.c.rated_at)


class SqlRatingStore:
    """A `RatingStore` for the movies of one source, in tables created by `engine.migrate`.

    The caller disposes of the engine. To avoid deadlocks, transactions lock in this order: user, ratings, version.
    """

    def __init__(self, engine: AsyncEngine, source: str) -> None:
        self._engine = engine
        self._source = source
        self._write_slots = asyncio.Semaphore(MAX_WRITERS)

    async def put(
        self, user_id: str, new_ratings: Sequence[NewRating], now: datetime, *, keep_newer: bool = False
    ) -> Sequence[RatingChange]:
        async with self._write_transaction() as connection:
            if not await _lock_user_row(connection, user_id):
                raise UserNotFound("no such user")
            movie_ids = {new.movie_id for new in new_ratings}
            condition = self._is_of(user_id)
            if len(movie_ids) <= MAX_LOOKUP:
                condition &= ratings.c.movie_id.in_(movie_ids)
            before = {rating.movie_id: rating for rating in await _read(connection, condition)}
            after = dict(before)
            changes = [apply_rating(after, new, now, keep_newer=keep_newer) for new in new_ratings]
            if len(after) > len(before):
                count = await connection.scalar(select(func.count()).where(self._is_of(user_id))) or 0
                if count + len(after) - len(before) > MAX_RATINGS:
                    raise TooManyRatings(f"a user can have at most {MAX_RATINGS} ratings")
            changed = [rating for movie_id, rating in after.items() if before.get(movie_id) != rating]
            if changed:
                await self._write(connection, user_id, changed)
                await _increment_version(connection, self._source)
            return changes

    async def _write(self, connection: AsyncConnection, user_id: str, changed: Sequence[Rating]) -> None:
        insert = upsert(connection, ratings)
        new = {name: insert.excluded[name] for name in ("title", "year", "rating", "rated_at")}
        statement = insert.on_conflict_do_update(index_elements=list(ratings.primary_key), set_=new)
        rows = [{"user_id": user_id, "source": self._source, **asdict(rating)} for rating in changed]
        for start in range(0, len(rows), ROWS_PER_STATEMENT):
            await connection.execute(statement, rows[start : start + ROWS_PER_STATEMENT])

    async def remove(self, user_id: str, movie_id: str) -> bool:
        async with self._write_transaction() as connection:
            condition = self._is_of(user_id) & (ratings.c.movie_id == movie_id)
            deleted = await connection.execute(delete(ratings).where(condition))
            if deleted.rowcount:
                await _increment_version(connection, self._source)
            return bool(deleted.rowcount)

    async def get(self, user_id: str, movie_id: str) -> Rating | None:
        async with transaction(self._engine, read_only=True) as connection:
            rows = await _read(connection, self._is_of(user_id) & (ratings.c.movie_id == movie_id))
            return rows[0] if rows else None

    async def list_page(self, user_id: str, window: Window) -> tuple[int, Sequence[Rating]]:
        condition = self._is_of(user_id)
        newest = select(*_RATING).where(condition).order_by(ratings.c.rated_at.desc(), ratings.c.movie_id)
        async with transaction(self._engine, read_only=True) as connection:
            total = await connection.scalar(select(func.count()).where(condition)) or 0
            rows = await connection.execute(newest.offset(window.offset).limit(window.limit))
            return total, [_rating(row) for row in rows]

    async def history(self, user_id: str) -> Sequence[Rating]:
        async with transaction(self._engine, read_only=True) as connection:
            return await _read(connection, self._is_of(user_id))

    async def iter_all(self) -> AsyncIterator[Sequence[tuple[str, Rating]]]:
        user_id = movie_id = ""
        user, movie = ratings.c.user_id, ratings.c.movie_id
        while True:
            later = (user >= user_id) & ((user > user_id) | (movie > movie_id))
            batch = (
                select(user, *_RATING)
                .join(users, users.c.id == user)
                .where(ratings.c.source == self._source, users.c.is_active, later)
                .order_by(user, movie)
                .limit(BATCH)
            )
            async with transaction(self._engine, read_only=True) as connection:
                rows = (await connection.execute(batch)).all()
            if not rows:
                return
            yield [(row[0], _rating(row[1:])) for row in rows]
            user_id, movie_id = rows[-1][0], rows[-1][1]

    async def version(self) -> str:
        changes = select(rating_versions.c.changes).where(rating_versions.c.source == self._source)
        async with transaction(self._engine, read_only=True) as connection:
            return str(await connection.scalar(changes) or 0)

    async def move(self, movie_ids: Mapping[str, str]) -> int:
        moved = 0
        async with self._write_transaction() as connection:
            for old_id, movie_id in movie_ids.items():
                is_old, is_new = (
                    (ratings.c.source == self._source) & (ratings.c.movie_id == rated) for rated in (old_id, movie_id)
                )
                count = await connection.scalar(select(func.count()).where(is_old)) or 0
                if not count:
                    continue
                moved += count
                other = ratings.alias()
                by_same_user = (other.c.source == self._source) & (other.c.user_id == ratings.c.user_id)
                newer = by_same_user & (other.c.movie_id == movie_id) & (other.c.rated_at >= ratings.c.rated_at)
                await connection.execute(delete(ratings).where(is_old, exists().where(newer)))
                older = by_same_user & (other.c.movie_id == old_id)
                await connection.execute(delete(ratings).where(is_new, exists().where(older)))
                await connection.execute(update(ratings).where(is_old).values(movie_id=movie_id))
            if moved:
                await _increment_version(connection, self._source)
        return moved

    async def export(self, user_id: str) -> RatingExport:
        """Includes the ratings of all sources."""
        query = (
            select(ratings.c.source, *_RATING)
            .where(ratings.c.user_id == user_id)
            .order_by(ratings.c.source, ratings.c.rated_at, ratings.c.movie_id)
        )
        async with transaction(self._engine, read_only=True) as connection:
            rows = (await connection.execute(query)).all()
        return RatingExport([exported(row[0], _rating(row[1:])) for row in rows])

    async def erase(self, user_id: str) -> None:
        """Deletes the ratings of all sources."""
        of_user = ratings.c.user_id == user_id
        async with self._write_transaction() as connection:
            await _lock_user_row(connection, user_id)
            sources = (await connection.scalars(select(ratings.c.source).where(of_user).distinct())).all()
            await connection.execute(delete(ratings).where(of_user))
            for source in sorted(sources):
                await _increment_version(connection, source)

    @asynccontextmanager
    async def _write_transaction(self) -> AsyncIterator[AsyncConnection]:
        try:
            async with asyncio.timeout(WRITE_SECONDS):
                await self._write_slots.acquire()
        except TimeoutError as error:
            raise StoreUnavailable("too many concurrent writes of ratings") from error
        try:
            async with transaction(self._engine) as connection:
                yield connection
        finally:
            self._write_slots.release()

    def _is_of(self, user_id: str) -> ColumnElement[bool]:
        return (ratings.c.user_id == user_id) & (ratings.c.source == self._source)


async def _read(connection: AsyncConnection, condition: ColumnElement[bool]) -> list[Rating]:
    """Return matching ratings, oldest first."""
    rows = await connection.execute(select(*_RATING).where(condition).order_by(ratings.c.rated_at, ratings.c.movie_id))
    return [_rating(row) for row in rows]


def _rating(row: Row[Any] | tuple[Any, ...]) -> Rating:
    return Rating(*row)


async def _lock_user_row(connection: AsyncConnection, user_id: str) -> bool:
    """Serialise writers of a user's ratings (SQLite serialises all writers). Returns False for an unknown user."""
    user = select(users.c.id).where(users.c.id == user_id).with_for_update(key_share=True)
    return await connection.scalar(user) is not None


async def _increment_version(connection: AsyncConnection, source: str) -> None:
    # The last statement of its transaction: other writers wait for this row until the commit.
    insert = upsert(connection, rating_versions).values(source=source, changes=1)
    increment = {"changes": rating_versions.c.changes + 1}
    await connection.execute(insert.on_conflict_do_update(index_elements=["source"], set_=increment))
