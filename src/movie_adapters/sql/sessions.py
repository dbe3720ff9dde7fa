"""Sessions in a SQL database."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from movie_adapters.sql.mail_queue import queue_notice
from movie_adapters.sql.tables import (
    acquire_user_lock,
    end_sessions,
    ended_sessions,
    login_networks,
    refresh_tokens,
    sessions,
    transaction,
    upsert,
    users,
)
from movie_core.accounts.outbox import MailKind
from movie_core.accounts.sessions import MAX_NETWORKS, MAX_SESSIONS, Reuse, RotationResult, Session, classify_reuse
from movie_core.errors import InvalidCredentials

_log = logging.getLogger(__name__)


class SqlSessionRepo:
    """A `SessionRepo` in tables created by `engine.migrate`. The caller disposes of the engine."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def start(
        self,
        session: Session,
        refresh_hash: str,
        expires_at: datetime,
        *,
        password_hash: str,
        new_password_hash: str | None = None,
        network: str = "",
    ) -> Sequence[str]:
        login = {"last_login": session.created_at, "password_hash": new_password_hash or password_hash}
        # One statement checks that the verified hash is still current and locks the row. A concurrent password change
        # either commits first, and then no session starts, or ends this session too.
        is_current = (users.c.id == session.user_id) & users.c.is_active & (users.c.password_hash == password_hash)
        async with transaction(self._engine) as connection:
            own = sessions.c.user_id == session.user_id
            count = select(func.count()).select_from(sessions).where(own).scalar_subquery()
            updated = await connection.execute(update(users).where(is_current).values(login).returning(count))
            session_count = updated.scalar_one_or_none()
            if session_count is None:
                raise InvalidCredentials("the user was deleted or deactivated, or the password was changed")
            ended: Sequence[str] = []
            if session_count >= MAX_SESSIONS:
                newest = sessions.c.last_used_at.desc(), sessions.c.id
                excess = select(sessions.c.id).where(own).order_by(*newest).offset(MAX_SESSIONS - 1)
                ended = await end_sessions(
                    connection, sessions.c.id.in_((await connection.scalars(excess)).all()), session.created_at
                )
            row = {
                "id": session.id,
                "user_id": session.user_id,
                "device": session.device,
                "created_at": session.created_at,
                "last_used_at": session.last_used_at,
                "expires_at": expires_at,
            }
            await connection.execute(insert(sessions).values(row))
            await _insert_token(connection, refresh_hash, session.id, expires_at)
            if network:
                await _record_network(connection, session.user_id, network, session.created_at)
            return ended

    async def rotate(
        self,
        refresh_hash: str,
        successors: Sequence[str],
        now: datetime,
        expires_at: datetime,
        *,
        lifetime: timedelta | None = None,
    ) -> RotationResult | None:
        async with transaction(self._engine) as connection:
            row = await _find_token(connection, refresh_hash)
            if row is None or row.token_expires_at <= now:
                return None
            if lifetime is not None:
                end = row.created_at + lifetime
                if end <= now:
                    return None
                expires_at = min(expires_at, end)
            if row.spent_at is None:
                spent = await connection.execute(
                    update(refresh_tokens)
                    .where(refresh_tokens.c.hashed == refresh_hash, refresh_tokens.c.spent_at.is_(None))
                    .values(spent_at=now, successor=successors[0])
                )
                if spent.rowcount:
                    await _insert_token(connection, successors[0], row.id, expires_at)
                    used = update(sessions).where(sessions.c.id == row.id)
                    await connection.execute(used.values(last_used_at=now, expires_at=expires_at))
                    return RotationResult(replace(_session(row), last_used_at=now), 0)
                row = await _find_token(connection, refresh_hash)  # a concurrent request has rotated the token
                if row is None:
                    return None
            if classify_reuse(now, row.spent_at, successor_is_unused=row.successor_is_unused) is Reuse.THEFT:
                await end_sessions(connection, sessions.c.id == row.id, now)
                _log.warning("refresh token reuse detected: ended session %s of user %s", row.id, row.user_id)
                return None
            if row.successor not in successors:  # derived with a key that is no longer configured
                return None
            return RotationResult(_session(row), successors.index(row.successor))

    async def list_for_user(self, user_id: str) -> Sequence[Session]:
        async with transaction(self._engine, read_only=True) as connection:
            rows = await connection.execute(
                select(sessions)
                .where(sessions.c.user_id == user_id)
                .order_by(sessions.c.last_used_at.desc(), sessions.c.created_at.desc(), sessions.c.id)
            )
            return [_session(row) for row in rows]

    async def end(
        self,
        user_id: str,
        now: datetime,
        *,
        session_id: str | None = None,
        except_session_id: str | None = None,
        notify: bool = False,
    ) -> Sequence[str]:
        condition = sessions.c.user_id == user_id
        if session_id is not None:
            condition &= sessions.c.id == session_id
        if except_session_id is not None:
            condition &= sessions.c.id != except_session_id
        async with transaction(self._engine) as connection:
            address_key = await acquire_user_lock(connection, user_id) if notify else None
            ended = await end_sessions(connection, condition, now)
            if ended and address_key is not None:
                await queue_notice(connection, MailKind.SESSIONS_ENDED, address_key, now)
            return ended

    async def find(self, session_id: str) -> Session | None:
        async with transaction(self._engine, read_only=True) as connection:
            row = (await connection.execute(select(sessions).where(sessions.c.id == session_id))).one_or_none()
            return None if row is None else _session(row)

    async def find_owner(self, refresh_hash: str) -> str | None:
        query = select(sessions.c.user_id).join(refresh_tokens).where(refresh_tokens.c.hashed == refresh_hash)
        async with transaction(self._engine, read_only=True) as connection:
            owner: str | None = await connection.scalar(query)
            return owner

    async def ended_since(self, since: datetime) -> Sequence[str]:
        async with transaction(self._engine, read_only=True) as connection:
            ended = await connection.scalars(select(ended_sessions.c.id).where(ended_sessions.c.ended_at >= since))
            return ended.all()


async def _insert_token(connection: AsyncConnection, hashed: str, session_id: str, expires_at: datetime) -> None:
    row = {"hashed": hashed, "session_id": session_id, "expires_at": expires_at}
    await connection.execute(insert(refresh_tokens).values(row))


async def _record_network(connection: AsyncConnection, user_id: str, network: str, now: datetime) -> None:
    """Record that a user logs in from a network. Deletes the least recently used beyond `MAX_NETWORKS`."""
    row = {"user_id": user_id, "network": network, "last_used_at": now}
    insertion = upsert(connection, login_networks).values(row)
    await connection.execute(
        insertion.on_conflict_do_update(index_elements=["user_id", "network"], set_={"last_used_at": now})
    )
    own = login_networks.c.user_id == user_id
    newest = select(login_networks.c.network).where(own).order_by(login_networks.c.last_used_at.desc())
    await connection.execute(
        delete(login_networks).where(own, login_networks.c.network.not_in(newest.limit(MAX_NETWORKS)))
    )


async def _find_token(connection: AsyncConnection, hashed: str) -> Any:
    """Read a refresh token with its session. Locks the session row first, as ending a session does."""
    successors = refresh_tokens.alias()
    rows = await connection.execute(
        select(
            sessions,
            refresh_tokens.c.expires_at.label("token_expires_at"),
            refresh_tokens.c.spent_at,
            refresh_tokens.c.successor,
            (successors.c.hashed.is_not(None) & successors.c.spent_at.is_(None)).label("successor_is_unused"),
        )
        .join_from(refresh_tokens, sessions)
        .join(successors, successors.c.hashed == refresh_tokens.c.successor, isouter=True)
        .where(refresh_tokens.c.hashed == hashed)
        .with_for_update(of=sessions)
    )
    return rows.one_or_none()


def _session(row: Any) -> Session:
    return Session(row.id, row.user_id, row.device, row.created_at, row.last_used_at)
