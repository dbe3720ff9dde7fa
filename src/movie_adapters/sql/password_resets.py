"""Password resets and password changes in a SQL database."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import delete, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from movie_adapters.sql.links import invalid_link, lock_link
from movie_adapters.sql.mail_queue import queue_notice, request_mail
from movie_adapters.sql.tables import acquire_user_lock, end_sessions, links, sessions, transaction, users
from movie_adapters.sql.user_rows import user_from_row
from movie_core.accounts.outbox import MailKind, Purpose
from movie_core.accounts.users import User


class SqlPasswordResetRepo:
    """A `PasswordResetRepo` in tables created by `engine.migrate`. The caller disposes of the engine."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def request_reset(self, address_key: str, now: datetime, *, requested_from: str = "") -> None:
        await request_mail(self._engine, MailKind.PASSWORD_RESET, address_key, now, requested_from)

    async def find_reset_user(self, uid: str, token_hash: str, now: datetime) -> User:
        async with transaction(self._engine, read_only=True) as connection:
            return await _find_reset_user(connection, uid, token_hash, now)

    async def reset_password(self, uid: str, token_hash: str, password_hash: str, now: datetime) -> Sequence[str]:
        async with transaction(self._engine) as connection:
            await lock_link(connection, token_hash)
            user = await _find_reset_user(connection, uid, token_hash, now)
            await connection.execute(update(users).where(users.c.id == user.id).values(password_hash=password_hash))
            await _delete_reset_links(connection, user.id)
            await queue_notice(connection, MailKind.PASSWORD_CHANGED, user.address.key, now)
            return await end_sessions(connection, sessions.c.user_id == user.id, now)

    async def change_password(
        self, user_id: str, old_hash: str, new_hash: str, *, except_session_id: str, now: datetime
    ) -> Sequence[str] | None:
        is_current = (users.c.id == user_id) & (users.c.password_hash == old_hash)
        async with transaction(self._engine) as connection:
            address_key = await acquire_user_lock(connection, user_id)
            changed = await connection.execute(update(users).where(is_current).values(password_hash=new_hash))
            if address_key is None or not changed.rowcount:
                return None
            await _delete_reset_links(connection, user_id)
            await queue_notice(connection, MailKind.PASSWORD_CHANGED, address_key, now)
            others = (sessions.c.user_id == user_id) & (sessions.c.id != except_session_id)
            return await end_sessions(connection, others, now)


async def _find_reset_user(connection: AsyncConnection, uid: str, token_hash: str, now: datetime) -> User:
    is_valid = (links.c.hashed == token_hash) & (links.c.purpose == Purpose.RESET.value) & (links.c.expires_at > now)
    result = await connection.execute(
        select(users)
        .join_from(users, links, links.c.uid == users.c.id)
        .where(users.c.id == uid, users.c.is_active, is_valid)
    )
    row = result.one_or_none()
    if row is None:
        raise invalid_link()
    return user_from_row(row)


async def _delete_reset_links(connection: AsyncConnection, user_id: str) -> None:
    await connection.execute(delete(links).where(links.c.uid == user_id, links.c.purpose == Purpose.RESET.value))
