"""Users in a SQL database."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine

from movie_adapters.sql.registrations import activate_registration, pending_registrations, username_taken
from movie_adapters.sql.tables import (
    acquire_address_lock,
    end_sessions,
    login_networks,
    registrations,
    sessions,
    transaction,
    users,
)
from movie_adapters.sql.user_rows import user_from_row, username_columns
from movie_core.accounts.users import User, Username
from movie_core.errors import UserNotFound


class SqlUserRepo:
    """A `UserRepo` in tables created by `engine.migrate`. The caller disposes of the engine."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def find(self, user_id: str) -> User | None:
        return await self._find(users.c.id == user_id)

    async def find_by_address(self, address_key: str) -> User | None:
        return await self._find(users.c.email_key == address_key)

    async def login_networks(self, address_key: str) -> Sequence[str]:
        own = select(login_networks.c.network).join(users).where(users.c.email_key == address_key)
        async with transaction(self._engine, read_only=True) as connection:
            return (await connection.scalars(own.order_by(login_networks.c.last_used_at.desc()))).all()

    async def change_profile(
        self, user_id: str, *, username: Username | None = None, record_events: bool | None = None
    ) -> User:
        values: dict[str, Any] = {}
        if username is not None:
            values |= username_columns(username)
        if record_events is not None:
            values["record_events"] = record_events
        own = users.c.id == user_id
        async with transaction(self._engine) as connection:
            statement = update(users).where(own).values(values).returning(users) if values else select(users).where(own)
            try:
                row = (await connection.execute(statement)).one_or_none()
            except IntegrityError:
                raise username_taken() from None
        if row is None:
            raise UserNotFound("no such user")
        return user_from_row(row)

    async def set_active(self, address_key: str, is_active: bool, now: datetime) -> Sequence[str]:
        async with transaction(self._engine) as connection:
            await acquire_address_lock(connection, address_key)
            statement = update(users).where(users.c.email_key == address_key).values(is_active=is_active)
            user_id = await connection.scalar(statement.returning(users.c.id))
            if user_id is not None:
                return [] if is_active else await end_sessions(connection, sessions.c.user_id == user_id, now)
            newest = pending_registrations(address_key).order_by(registrations.c.created_at.desc(), registrations.c.id)
            registration = (await connection.execute(newest.limit(1))).one_or_none() if is_active else None
            if registration is None:
                raise UserNotFound("no user with this email address")
            await activate_registration(connection, registration.id, address_key, now, used_link=None)
            return []

    async def set_staff(self, address_key: str, is_staff: bool) -> None:
        async with transaction(self._engine) as connection:
            statement = update(users).where(users.c.email_key == address_key).values(is_staff=is_staff)
            if not (await connection.execute(statement)).rowcount:
                raise UserNotFound("no user with this email address")

    async def _find(self, condition: ColumnElement[bool]) -> User | None:
        async with transaction(self._engine, read_only=True) as connection:
            row = (await connection.execute(select(users).where(condition))).one_or_none()
            return None if row is None else user_from_row(row)
