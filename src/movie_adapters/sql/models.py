"""Trained recommendation models in a SQL database."""

from datetime import datetime
from itertools import count

from sqlalchemy import BigInteger, Column, Integer, LargeBinary, PrimaryKeyConstraint, Table, delete, insert, select
from sqlalchemy.ext.asyncio import AsyncEngine

from movie_adapters.sql.engine import metadata
from movie_adapters.sql.tables import text_column, time_column, transaction, upsert
from movie_core.discovery.recommendations import ModelInfo

CHUNK_BYTES = 1 << 20
"""Bytes of a model that are written and read in one statement."""

models = Table(
    "models",
    metadata,
    text_column("source", primary_key=True),
    time_column("made_at"),
    text_column("version"),
    Column("ratings", BigInteger(), nullable=False),
    Column("users", BigInteger(), nullable=False),
    Column("movies", BigInteger(), nullable=False),
)

model_parts = Table(
    "model_parts",
    metadata,
    text_column("source"),
    Column("part", Integer(), nullable=False),
    Column("body", LargeBinary(), nullable=False),
    PrimaryKeyConstraint("source", "part"),
)


class SqlModelStore:
    """A `ModelStore` of one movie source, in tables created by `engine.migrate`."""

    def __init__(self, engine: AsyncEngine, source: str) -> None:
        self._engine = engine
        self._source = source

    async def save(self, info: ModelInfo, version: str, body: bytes) -> bool:
        row = {
            "made_at": info.made_at,
            "version": version,
            "ratings": info.ratings,
            "users": info.users,
            "movies": info.movies,
        }
        async with transaction(self._engine) as connection:
            # The first statement locks the row, which serialises writers: chunks of two models are never mixed.
            statement = upsert(connection, models).values(source=self._source, **row)
            statement = statement.on_conflict_do_update(
                index_elements=["source"], set_=row, where=models.c.made_at <= info.made_at
            )
            if (await connection.execute(statement.returning(models.c.source))).first() is None:
                return False
            await connection.execute(delete(model_parts).where(model_parts.c.source == self._source))
            for number, start in enumerate(range(0, len(body), CHUNK_BYTES)):
                chunk = {"source": self._source, "part": number, "body": body[start : start + CHUNK_BYTES]}
                await connection.execute(insert(model_parts).values(chunk))
        return True

    async def current(self) -> tuple[ModelInfo, str] | None:
        async with transaction(self._engine, read_only=True) as connection:
            row = (await connection.execute(select(models).where(models.c.source == self._source))).one_or_none()
        return None if row is None else (ModelInfo(row.made_at, row.ratings, row.users, row.movies), row.version)

    async def body(self, made_at: datetime) -> bytes | None:
        of_source = models.c.source == self._source
        chunks: list[bytes] = []
        for number in count():
            # One transaction per chunk, as a slow connection could exceed the timeout; `made_at` identifies the model.
            is_chunk = (model_parts.c.source == models.c.source) & (model_parts.c.part == number)
            query = select(models.c.made_at, model_parts.c.body).select_from(models.outerjoin(model_parts, is_chunk))
            async with transaction(self._engine, read_only=True) as connection:
                row = (await connection.execute(query.where(of_source))).one_or_none()
            if row is None or row.made_at != made_at:
                return None
            if row.body is None:
                return b"".join(chunks)
            chunks.append(row.body)
        raise AssertionError  # pragma: no cover
