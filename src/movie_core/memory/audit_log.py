"""The `AuditLog` port in memory."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime

from movie_core.memory.database import MemoryDatabase
from movie_core.operations.audit import COMMAND_LINE, AuditEntry, AuditExport, exported
from movie_core.paging import Window


class MemoryAuditLog:
    """An `AuditLog` for the users of a `MemoryDatabase`."""

    def __init__(self, database: MemoryDatabase) -> None:
        self._database = database
        self._entries: list[AuditEntry] = []

    async def append(self, entries: Sequence[AuditEntry]) -> None:
        self._entries += entries

    async def list_page(self, window: Window) -> tuple[int, Sequence[AuditEntry]]:
        entries = sorted(self._visible(), key=lambda entry: entry.id)
        entries.sort(key=lambda entry: entry.at, reverse=True)
        return len(entries), entries[window.offset : window.offset + window.limit]

    async def purge(self, before: datetime) -> int:
        count = len(self._entries)
        self._entries = [entry for entry in self._entries if entry.at >= before]
        return count - len(self._entries)

    async def export(self, user_id: str) -> AuditExport:
        entries = self._visible() if user_id in self._database.users else []
        user_entries = [entry for entry in entries if user_id in (entry.actor, entry.account_id)]
        return AuditExport(
            [exported(entry, user_id) for entry in sorted(user_entries, key=lambda entry: (entry.at, entry.id))]
        )

    async def erase(self, user_id: str) -> None:
        self._entries = self._redacted(set(self._database.users) - {user_id})

    def _visible(self) -> list[AuditEntry]:
        return self._redacted(self._database.users)

    def _redacted(self, user_ids: Collection[str]) -> list[AuditEntry]:
        """The entries without the ids of users that are not in `user_ids`."""
        return [
            replace(
                entry,
                actor=entry.actor if entry.actor == COMMAND_LINE or entry.actor in user_ids else "",
                account_id=entry.account_id if entry.account_id in user_ids else None,
            )
            for entry in self._entries
        ]
