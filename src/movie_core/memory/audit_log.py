"""The audit log in memory."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from movie_core.memory.database import MemoryDatabase
from movie_core.operations.audit import COMMAND_LINE, AuditEntry, exported
from movie_core.paging import Window


class MemoryAuditLog:
    """An `AuditLog` for the accounts of a book."""

    def __init__(self, database: MemoryDatabase) -> None:
        self._database = database
        self._entries: list[AuditEntry] = []

    async def append(self, entries: Sequence[AuditEntry]) -> None:
        self._entries += entries

    async def list_page(self, window: Window) -> tuple[int, Sequence[AuditEntry]]:
        entries = sorted(self._shown(), key=lambda one: one.id)
        entries.sort(key=lambda one: one.at, reverse=True)
        return len(entries), entries[window.offset : window.offset + window.limit]

    async def purge(self, before: datetime) -> int:
        amount = len(self._entries)
        self._entries = [one for one in self._entries if one.at >= before]
        return amount - len(self._entries)

    async def export(self, user_id: str) -> Mapping[str, Any]:
        known = self._shown() if user_id in self._database.accounts else []
        own = [one for one in known if user_id in (one.actor, one.account_id)]
        return {"audit": [exported(one, user_id) for one in sorted(own, key=lambda one: (one.at, one.id))]}

    async def erase(self, user_id: str) -> None:
        self._entries = self._named(set(self._database.accounts) - {user_id})

    def _shown(self) -> list[AuditEntry]:
        return self._named(self._database.accounts)

    def _named(self, account_ids: Collection[str]) -> list[AuditEntry]:
        """The entries as they are where these accounts may be named."""
        return [
            replace(
                one,
                actor=one.actor if one.actor == COMMAND_LINE or one.actor in account_ids else "",
                account_id=one.account_id if one.account_id in account_ids else None,
            )
            for one in self._entries
        ]
