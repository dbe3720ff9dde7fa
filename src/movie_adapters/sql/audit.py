"""What staff did, in a SQL database."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Boolean, Column, ForeignKey, Table, delete, func, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from movie_adapters.sql.engine import metadata
from movie_adapters.sql.tables import text_column, time_column, transaction, users
from movie_core.operations.audit import COMMAND_LINE, Action, AuditEntry, exported
from movie_core.paging import Window

BATCH = 500
"""Rows that a purge removes in one transaction."""

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
    """An `AuditLog` in a table that `engine.migrate` has made. The database itself takes the id of an account out
    when the account goes."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def append(self, entries: Sequence[AuditEntry]) -> None:
        if not entries:
            return
        named = {one for entry in entries for one in (entry.actor, entry.account_id)}
        async with transaction(self._engine) as connection:
            # Held until the end, so that no account goes before its entry is there to be changed.
            known = select(users.c.id).where(users.c.id.in_(named)).order_by(users.c.id)
            there = set(await connection.scalars(known.with_for_update(key_share=True)))
            rows = [
                {
                    "id": entry.id,
                    "at": entry.at,
                    "action": entry.action.value,
                    "is_command_line": entry.actor == COMMAND_LINE,
                    "actor_id": entry.actor if entry.actor in there else None,
                    "account_id": entry.account_id if entry.account_id in there else None,
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
        amount, removed = BATCH, 0
        while amount == BATCH:
            async with transaction(self._engine) as connection:
                some = select(audit.c.id).where(audit.c.at < before).limit(BATCH)
                amount = (await connection.execute(delete(audit).where(audit.c.id.in_(some)))).rowcount
            removed += amount
        return removed

    async def export(self, user_id: str) -> Mapping[str, Any]:
        own = or_(audit.c.actor_id == user_id, audit.c.account_id == user_id)
        async with transaction(self._engine, read_only=True) as connection:
            rows = await connection.execute(select(audit).where(own).order_by(audit.c.at, audit.c.id))
            return {"audit": [exported(_entry(row), user_id) for row in rows]}

    async def erase(self, user_id: str) -> None:
        async with transaction(self._engine) as connection:
            await take_out(connection, user_id)


async def take_out(connection: AsyncConnection, account_id: str) -> None:
    """Take the id of an account out of the entries. Locks them in one order, so that two accounts that name each other
    don't get stuck when both end."""
    own = select(audit.c.id).where(or_(audit.c.actor_id == account_id, audit.c.account_id == account_id))
    await connection.execute(own.order_by(audit.c.id).with_for_update())
    for column in (audit.c.actor_id, audit.c.account_id):
        await connection.execute(update(audit).where(column == account_id).values({column: None}))


def _entry(row: Any) -> AuditEntry:
    return AuditEntry(
        at=row.at,
        actor=COMMAND_LINE if row.is_command_line else row.actor_id or "",
        action=Action(row.action),
        account_id=row.account_id,
        mail_id=row.mail_id,
        id=row.id,
    )
