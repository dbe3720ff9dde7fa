"""The `Outbox` port in memory."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from movie_core.accounts.outbox import MAX_COUNT, USER_KINDS, Mail, MailKind, MailState, OutboxStats
from movie_core.memory.database import MemoryDatabase
from movie_core.paging import Window


class MemoryOutbox:
    """An `Outbox` over a `MemoryDatabase`."""

    def __init__(self, database: MemoryDatabase) -> None:
        self._database = database

    async def claim(self, owner: str, now: datetime, limit: int, lease: timedelta) -> Sequence[Mail]:
        database = self._database
        for row in [row for row in database.outbox if row.prepared_at is None and row.mail.due_at <= now]:
            database.prepare(row, now)
        # A pending email is deleted if all of its links have been deleted.
        database.outbox = [
            row
            for row in database.outbox
            if row.prepared_at is None
            or row.mail.state is not MailState.PENDING
            or not row.hashes
            or any(hashed in database.links for hashed in row.hashes)
        ]
        claimable = [
            row
            for row in database.outbox
            if row.prepared_at is not None
            and row.mail.state is MailState.PENDING
            and row.mail.due_at <= now
            and (row.leased_until is None or row.leased_until <= now)
        ]
        claimed = sorted(claimable, key=lambda row: (row.mail.kind not in USER_KINDS, row.mail.due_at))[:limit]
        for row in claimed:
            row.owner, row.leased_until = owner, now + lease
            database.extend_links(row, now)
        return [database.with_links(row) for row in claimed]

    async def complete(self, owner: str, mail: Mail) -> bool:
        row = next((row for row in self._database.outbox if row.mail.id == mail.id and row.owner == owner), None)
        if row is None:
            return False
        row.mail = replace(
            row.mail,
            state=mail.state,
            attempts=mail.attempts,
            last_error=mail.last_error,
            due_at=mail.due_at,
            sent_at=mail.sent_at,
        )
        row.owner = row.leased_until = None
        if mail.state is MailState.SENT:
            row.hashes = ()
        if mail.kind is MailKind.ACCOUNT_ERASED and mail.state is not MailState.PENDING:
            self._database.outbox.remove(row)
        return True

    async def release(self, owner: str, mail_ids: Sequence[str]) -> None:
        for row in self._database.outbox:
            if row.owner == owner and row.mail.id in mail_ids:
                row.owner = row.leased_until = None

    async def list_page(self, window: Window, state: MailState | None = None) -> tuple[int, Sequence[Mail]]:
        mails = sorted(
            (row.mail for row in self._database.outbox if state in (None, row.mail.state)), key=lambda mail: mail.id
        )
        mails.sort(key=lambda mail: mail.created_at, reverse=True)
        return len(mails), mails[window.offset : window.offset + window.limit]

    async def find(self, mail_id: str) -> Mail | None:
        return next((row.mail for row in self._database.outbox if row.mail.id == mail_id), None)

    async def retry(self, mail_ids: Sequence[str] | None, now: datetime) -> Sequence[str]:
        dead = [
            row
            for row in self._database.outbox
            if row.mail.state is MailState.DEAD and (mail_ids is None or row.mail.id in mail_ids)
        ]
        for row in dead:
            row.mail = replace(row.mail, state=MailState.PENDING, attempts=0, due_at=now)
            self._database.extend_links(row, now)
        return [row.mail.id for row in dead]

    async def stats(self, now: datetime) -> OutboxStats:
        counts = Counter(row.mail.state for row in self._database.outbox)
        waiting = [
            row.prepared_at or row.mail.due_at
            for row in self._database.outbox
            if row.mail.state is MailState.PENDING and (row.prepared_at is not None or row.mail.due_at <= now)
        ]
        return OutboxStats({state: min(counts[state], MAX_COUNT) for state in MailState}, min(waiting, default=None))
