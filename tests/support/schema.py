"""Comparison of the tables that migrations create with those that the adapters declare."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from movie_adapters.sql.engine import create_engine, metadata

Shape = Callable[[Connection], dict[str, Any]]
"""Describes the tables concerned in values that can be compared."""


async def migrated_and_declared(url: str, folder: Path, shape: Shape) -> tuple[dict[str, Any], dict[str, Any]]:
    """The shape of the tables of a migrated database, and that of new tables from their declarations."""

    def declared(connection: Connection) -> dict[str, Any]:
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql("CREATE SCHEMA declared")
            connection.exec_driver_sql("SET search_path TO declared")
        metadata.create_all(connection)
        return shape(connection)

    engine = create_engine(url)
    other = create_engine(f"sqlite+aiosqlite:///{folder}/other.db") if engine.dialect.name == "sqlite" else engine
    try:
        async with engine.connect() as connection:
            migrated = await connection.run_sync(shape)
        async with other.connect() as connection:
            made = await connection.run_sync(declared)
            await connection.rollback()
    finally:
        await engine.dispose()
        await other.dispose()
    return migrated, made
