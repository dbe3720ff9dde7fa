"""Ratings in a SQL database."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Column, ColumnElement, Double, ForeignKey, Integer, Row, Table, delete, func, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from movie_adapters.sql.engine import metadata
from movie_adapters.sql.tables import WRITE_SECONDS, text_column, time_column, transaction, upsert, users
from movie_core.discovery.ratings import MAX_RATINGS, NewRating, Rating, RatingChange, apply_rating, exported
from movie_core.errors import StoreUnavailable, TooManyRatings, UserNotFound
from movie_core.paging import Window

BATCH = 5_000
"""Ratings that `iter_all` tells together."""
LOOKED_UP = 500
"""Up to so many movies of a user's list are looked up by id; for more, all of it is read."""
ROWS = 1_000
"""Ratings that one statement writes."""
WRITERS = 8
"""Writers of one store at once. The others wait in turn, which connections of a pool aren't given in, and leave some of
these to everybody else."""

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
    """A `RatingStore` for the movies of one source, in tables that `engine.migrate` has made; the engine stays
    its owner's to dispose of.

    Transactions lock in one order, so that nobody gets stuck: the user, ratings, the version.
    """

    def __init__(self, engine: AsyncEngine, source: str) -> None:
        self._engine = engine
        self._source = source
        self._turns = asyncio.Semaphore(WRITERS)

    async def put(self, user_id: str, given: Sequence[NewRating], now: datetime) -> Sequence[RatingChange]:
        async with self._writing() as connection:
            if not await _lock_user(connection, user_id):
                raise UserNotFound("there is no such account")
            movie_ids = {one.movie_id for one in given}
            which = self._of(user_id)
            if len(movie_ids) <= LOOKED_UP:
                which &= ratings.c.movie_id.in_(movie_ids)
            before = {one.movie_id: one for one in await _read(connection, which)}
            own = dict(before)
            kept = [apply_rating(own, one, now) for one in given]
            if len(own) > len(before):
                count = await connection.scalar(select(func.count()).where(self._of(user_id))) or 0
                if count + len(own) - len(before) > MAX_RATINGS:
                    raise TooManyRatings(f"more than {MAX_RATINGS} ratings can't be kept")
            changed = [one for movie_id, one in own.items() if before.get(movie_id) != one]
            if changed:
                await self._write(connection, user_id, changed)
                await _note_change(connection, self._source)
            return kept

    async def _write(self, connection: AsyncConnection, user_id: str, changed: Sequence[Rating]) -> None:
        insert = upsert(connection, ratings)
        new = {name: insert.excluded[name] for name in ("title", "year", "rating", "rated_at")}
        statement = insert.on_conflict_do_update(index_elements=list(ratings.primary_key), set_=new)
        rows = [{"user_id": user_id, "source": self._source, **asdict(one)} for one in changed]
        for start in range(0, len(rows), ROWS):
            await connection.execute(statement, rows[start : start + ROWS])

    async def remove(self, user_id: str, movie_id: str) -> bool:
        async with self._writing() as connection:
            which = self._of(user_id) & (ratings.c.movie_id == movie_id)
            removed = await connection.execute(delete(ratings).where(which))
            if removed.rowcount:
                await _note_change(connection, self._source)
            return bool(removed.rowcount)

    async def get(self, user_id: str, movie_id: str) -> Rating | None:
        async with transaction(self._engine, read_only=True) as connection:
            found = await _read(connection, self._of(user_id) & (ratings.c.movie_id == movie_id))
            return found[0] if found else None

    async def list_page(self, user_id: str, window: Window) -> tuple[int, Sequence[Rating]]:
        which = self._of(user_id)
        newest = select(*_RATING).where(which).order_by(ratings.c.rated_at.desc(), ratings.c.movie_id)
        async with transaction(self._engine, read_only=True) as connection:
            total = await connection.scalar(select(func.count()).where(which)) or 0
            rows = await connection.execute(newest.offset(window.offset).limit(window.limit))
            return total, [_rating(row) for row in rows]

    async def history(self, user_id: str) -> Sequence[Rating]:
        async with transaction(self._engine, read_only=True) as connection:
            return await _read(connection, self._of(user_id))

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

    async def export(self, user_id: str) -> Mapping[str, Any]:
        """Of every source."""
        every = (
            select(ratings.c.source, *_RATING)
            .where(ratings.c.user_id == user_id)
            .order_by(ratings.c.source, ratings.c.rated_at, ratings.c.movie_id)
        )
        async with transaction(self._engine, read_only=True) as connection:
            rows = (await connection.execute(every)).all()
        return {"ratings": [exported(row[0], _rating(row[1:])) for row in rows]}

    async def erase(self, user_id: str) -> None:
        """Of every source."""
        of_user = ratings.c.user_id == user_id
        async with self._writing() as connection:
            await _lock_user(connection, user_id)
            sources = (await connection.scalars(select(ratings.c.source).where(of_user).distinct())).all()
            await connection.execute(delete(ratings).where(of_user))
            for source in sorted(sources):
                await _note_change(connection, source)

    @asynccontextmanager
    async def _writing(self) -> AsyncIterator[AsyncConnection]:
        try:
            async with asyncio.timeout(WRITE_SECONDS):
                await self._turns.acquire()
        except TimeoutError as error:
            raise StoreUnavailable("more ratings are being written than the database takes") from error
        try:
            async with transaction(self._engine) as connection:
                yield connection
        finally:
            self._turns.release()

    def _of(self, user_id: str) -> ColumnElement[bool]:
        return (ratings.c.user_id == user_id) & (ratings.c.source == self._source)


async def _read(connection: AsyncConnection, which: ColumnElement[bool]) -> list[Rating]:
    """Oldest first."""
    rows = await connection.execute(select(*_RATING).where(which).order_by(ratings.c.rated_at, ratings.c.movie_id))
    return [_rating(row) for row in rows]


def _rating(row: Row[Any] | tuple[Any, ...]) -> Rating:
    return Rating(*row)


async def _lock_user(connection: AsyncConnection, user_id: str) -> bool:
    """Let writers of a user's ratings follow each other; False for who isn't there. On SQLite all writers do anyway."""
    user = select(users.c.id).where(users.c.id == user_id).with_for_update(key_share=True)
    return await connection.scalar(user) is not None


async def _note_change(connection: AsyncConnection, source: str) -> None:
    # Last in its transaction: others wait for the row until that is over.
    insert = upsert(connection, rating_versions).values(source=source, changes=1)
    more = {"changes": rating_versions.c.changes + 1}
    await connection.execute(insert.on_conflict_do_update(index_elements=["source"], set_=more))
