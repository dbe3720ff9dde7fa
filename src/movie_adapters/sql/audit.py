"""The audit log in a SQL database."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Boolean, Column, ForeignKey, Table, delete, func, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from movie_adapters.sql.engine import metadata
from movie_adapters.sql.tables import text_column, time_column, transaction, users
from movie_core.operations.audit import COMMAND_LINE, Action, AuditEntry, AuditExport, exported
from movie_core.paging import Window

BATCH = 500
"""Rows that a purge deletes in one transaction."""

audit = Table(
    "audit",
    metadata,
    text_column("id", primary_key=True),
    time_column("at", index=True),
    text_column("action"),
    Column("is_command_line", Boolean(), nullable=False),
    text_column("actor_id", ForeignKey("users.id", ondelete="SET NULL"), nullable=True, index=True),
    text_column("account_id", ForeignKey("users.id", ondelete="SET NULL"), nullable=True, index=True),
    text_column("mail_id", nullable=True),
)


class SqlAuditLog:
    """An `AuditLog` in a table created by `engine.migrate`. Foreign keys set the id of a deleted user to NULL."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def append(self, entries: Sequence[AuditEntry]) -> None:
        if not entries:
            return
        user_ids = {user_id for entry in entries for user_id in (entry.actor, entry.account_id)}
        async with transaction(self._engine) as connection:
            # Locked until the commit, so that no user is deleted before its entry exists to be anonymised.
            referenced = select(users.c.id).where(users.c.id.in_(user_ids)).order_by(users.c.id)
            existing = set(await connection.scalars(referenced.with_for_update(key_share=True)))
            rows = [
                {
                    "id": entry.id,
                    "at": entry.at,
                    "action": entry.action.value,
                    "is_command_line": entry.actor == COMMAND_LINE,
                    "actor_id": entry.actor if entry.actor in existing else None,
                    "account_id": entry.account_id if entry.account_id in existing else None,
                    "mail_id": entry.mail_id,
                }
                for entry in entries
            ]
            await connection.execute(insert(audit), rows)

    async def list_page(self, window: Window) -> tuple[int, Sequence[AuditEntry]]:
        newest = select(audit).order_by(audit.c.at.desc(), audit.c.id).offset(window.offset).limit(window.limit)
        async with transaction(self._engine, read_only=True) as connection:
            total = await connection.scalar(select(func.count()).select_from(audit))
            return total or 0, [_entry(row) for row in await connection.execute(newest)]

    async def purge(self, before: datetime) -> int:
        count, deleted = BATCH, 0
        while count == BATCH:
            async with transaction(self._engine) as connection:
                batch = select(audit.c.id).where(audit.c.at < before).limit(BATCH)
                count = (await connection.execute(delete(audit).where(audit.c.id.in_(batch)))).rowcount
            deleted += count
        return deleted

    async def export(self, user_id: str) -> AuditExport:
        own = or_(audit.c.actor_id == user_id, audit.c.account_id == user_id)
        async with transaction(self._engine, read_only=True) as connection:
            rows = await connection.execute(select(audit).where(own).order_by(audit.c.at, audit.c.id))
            return AuditExport([exported(_entry(row), user_id) for row in rows])

    async def erase(self, user_id: str) -> None:
        async with transaction(self._engine) as connection:
            await anonymise_entries(connection, user_id)


async def anonymise_entries(connection: AsyncConnection, user_id: str) -> None:
    """Remove the id of a user from the entries.

    Locks them in id order, to avoid a deadlock when two users that refer to each other are erased at the same time.
    """
    own = select(audit.c.id).where(or_(audit.c.actor_id == user_id, audit.c.account_id == user_id))
    await connection.execute(own.order_by(audit.c.id).with_for_update())
    for column in (audit.c.actor_id, audit.c.account_id):
        await connection.execute(update(audit).where(column == user_id).values({column: None}))


def _entry(row: Any) -> AuditEntry:
    return AuditEntry(
        at=row.at,
        actor=COMMAND_LINE if row.is_command_line else row.actor_id or "",
        action=Action(row.action),
        account_id=row.account_id,
        mail_id=row.mail_id,
        id=row.id,
    )
