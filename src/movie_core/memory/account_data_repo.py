"""The `AccountDataRepo` port in memory."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from movie_core.accounts.exports import (
    AccountExport,
    ExportedAccount,
    ExportedMail,
    ExportedRegistration,
    ExportedSession,
    LoginNetwork,
)
from movie_core.accounts.outbox import MailKind, MailState
from movie_core.memory.database import MemoryDatabase


class MemoryAccountDataRepo:
    """An `AccountDataRepo` over a `MemoryDatabase`."""

    def __init__(self, database: MemoryDatabase) -> None:
        self._database = database

    async def export(self, address_key: str) -> AccountExport:
        database = self._database
        user = database.find_by_address(address_key)
        networks = database.login_networks.get(user.id, {}) if user else {}
        return AccountExport(
            account=None
            if user is None
            else ExportedAccount(
                id=user.id,
                email=user.address.spelling,
                username=user.username.shown,
                created_at=user.created_at,
                is_active=user.is_active,
                is_staff=user.is_staff,
                record_events=user.record_events,
                last_login=user.last_login,
            ),
            registrations=[
                ExportedRegistration(one.id, one.address.spelling, one.username.shown, one.created_at)
                for one in database.pending_registrations(address_key)
            ],
            sessions=[
                ExportedSession(
                    one.id, one.device, one.created_at, one.last_used_at, database.session_expires_at(one.id)
                )
                for one in (database.list_sessions_of(user.id) if user else ())
            ],
            login_networks=[LoginNetwork(network, at) for network, at in networks.items()],
            mails=[
                ExportedMail(
                    id=row.mail.id,
                    kind=row.mail.kind,
                    recipient=row.mail.recipient,
                    state=row.mail.state,
                    attempts=row.mail.attempts,
                    last_error=row.mail.last_error,
                    created_at=row.mail.created_at,
                    due_at=row.mail.due_at,
                    sent_at=row.mail.sent_at,
                )
                for row in database.outbox
                if row.address_key == address_key
            ],
        )

    async def erase(self, address_key: str, now: datetime) -> Sequence[str]:
        database = self._database
        user = database.find_by_address(address_key)
        ended = []
        if user is not None:
            ended = database.end_sessions((session.id for session in database.list_sessions_of(user.id)), now)
            del database.users[user.id]
            database.login_networks.pop(user.id, None)
        for registration in list(database.registrations):
            if registration.address.key == address_key:
                database.delete_registration(registration)
        database.links = {hashed: row for hashed, row in database.links.items() if row.address_key != address_key}
        database.outbox = [row for row in database.outbox if row.address_key != address_key]
        if user is not None:
            database.add_email(MailKind.ACCOUNT_ERASED, user.address, now)
        return ended

    async def purge(self, now: datetime) -> int:
        database = self._database
        rows_before = self._count_rows()
        database.refresh_tokens = {
            hashed: token for hashed, token in database.refresh_tokens.items() if token.expires_at > now
        }
        active_ids = {token.session_id for token in database.refresh_tokens.values() if token.used_at is None}
        database.sessions = {
            session_id: session for session_id, session in database.sessions.items() if session_id in active_ids
        }
        database.refresh_tokens = {
            hashed: token for hashed, token in database.refresh_tokens.items() if token.session_id in active_ids
        }
        database.ended_sessions = {
            session_id: ended_at
            for session_id, ended_at in database.ended_sessions.items()
            if now - ended_at <= timedelta(days=1)
        }
        pending = [row for row in database.outbox if row.mail.state is MailState.PENDING]
        pending_hashes = {hashed for row in pending for hashed in row.hashes}
        delayed = {row.address_key for row in pending if row.prepared_at is None}
        oldest = now - timedelta(days=7)
        database.links = {
            hashed: link
            for hashed, link in database.links.items()
            if link.expires_at >= oldest or hashed in pending_hashes
        }
        linked = {row.link.uid for row in database.links.values()}
        for registration in list(database.registrations):
            is_expired = registration.created_at + database.link_ttl < oldest
            if is_expired and registration.id not in linked and registration.address.key not in delayed:
                database.delete_registration(registration)
        database.outbox = [
            row for row in database.outbox if row.mail.sent_at is None or now - row.mail.sent_at <= timedelta(days=30)
        ]
        return rows_before - self._count_rows()

    def _count_rows(self) -> int:
        database = self._database
        return (
            len(database.links)
            + len(database.registrations)
            + len(database.outbox)
            + len(database.refresh_tokens)
            + len(database.sessions)
            + len(database.ended_sessions)
        )
