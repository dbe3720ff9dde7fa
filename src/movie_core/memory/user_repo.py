"""The `UserRepo` port in memory."""

import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from movie_core.accounts.outbox import MailKind, MailState, Purpose
from movie_core.accounts.users import MAX_PENDING as MAX_REGISTRATIONS
from movie_core.accounts.users import REPEAT, PendingRegistration, User, Username, UserState
from movie_core.clock import iso_time
from movie_core.errors import InvalidLink, PasswordRequired, UserNotFound
from movie_core.memory.database import LinkRow, MemoryDatabase
from movie_core.paging import Window
from movie_core.ports import ActivationLink, ActivationResult, UserSummary


class MemoryUserRepo:
    """A `UserRepo` over a `MemoryDatabase`."""

    def __init__(self, database: MemoryDatabase) -> None:
        self._database = database

    async def register(self, registration: PendingRegistration, now: datetime) -> None:
        database, address = self._database, registration.address
        database.check_username(registration.username)
        earlier = [other for other in database.registrations if other.address.key == address.key]
        if any(_identity(other) == _identity(registration) and now - other.created_at <= REPEAT for other in earlier):
            return
        user = database.find_by_address(address.key)
        database.registrations.append(registration)
        if user is not None:
            database.decoy_ids.add(registration.id)
        for surplus in _over_limit([*earlier, registration]):
            self._delete_registration(surplus)
        kind = MailKind.ACTIVATION if user is None else MailKind.ADDRESS_TAKEN
        due_at = database.next_allowed_at(address.key, now, registration.requested_from)
        if due_at > now:
            database.delay_email(kind, address.key, now, due_at, registration.requested_from)
            return
        recipient = address if user is None else user.address
        row = database.add_email(kind, recipient, now, registration.requested_from)
        if user is None:
            database.add_link(row, Purpose.ACTIVATE, registration.id, now)

    async def request_mail(self, kind: MailKind, address_key: str, now: datetime, *, requested_from: str = "") -> None:
        self._database.delay_email(kind, address_key, now, now, requested_from)

    async def find_activation_link(self, uid: str, token_hash: str, now: datetime) -> ActivationLink:
        if self._valid_link(Purpose.ACTIVATE, uid, token_hash, now).is_used:
            return ActivationLink(None, is_only=False)
        registration = self._registration(uid)
        return ActivationLink(registration, is_only=self._is_only(registration))

    async def activate(
        self, uid: str, token_hash: str, now: datetime, *, password_hash: str | None = None
    ) -> ActivationResult:
        if self._valid_link(Purpose.ACTIVATE, uid, token_hash, now).is_used:
            return ActivationResult(self._database.users[uid], is_new=False)
        registration = self._registration(uid)
        if password_hash is None and not self._is_only(registration):
            raise PasswordRequired("this address has several pending registrations")
        user = self._database.activate(registration, now, used=token_hash, password_hash=password_hash)
        return ActivationResult(user, is_new=True)

    def _registration(self, uid: str) -> PendingRegistration:
        return next(registration for registration in self._database.registrations if registration.id == uid)

    def _is_only(self, registration: PendingRegistration) -> bool:
        pending = self._database.pending_registrations(registration.address.key)
        return len({_identity(other) for other in pending}) == 1

    async def find_reset_user(self, uid: str, token_hash: str, now: datetime) -> User:
        self._valid_link(Purpose.RESET, uid, token_hash, now)
        user = self._database.users[uid]
        if not user.is_active:
            raise InvalidLink("the link is invalid or has expired")
        return user

    async def reset_password(self, uid: str, token_hash: str, password_hash: str, now: datetime) -> Sequence[str]:
        user = await self.find_reset_user(uid, token_hash, now)
        return self._set_password(user, password_hash, None, now)

    async def find(self, user_id: str) -> User | None:
        return self._database.users.get(user_id)

    async def find_by_address(self, address_key: str) -> User | None:
        return self._database.find_by_address(address_key)

    async def change_password(
        self, user_id: str, old_hash: str, new_hash: str, *, except_session_id: str, now: datetime
    ) -> Sequence[str] | None:
        user = self._database.users.get(user_id)
        if user is None or user.password_hash != old_hash:
            return None
        return self._set_password(user, new_hash, except_session_id, now)

    async def change_profile(
        self, user_id: str, *, username: Username | None = None, record_events: bool | None = None
    ) -> User:
        user = self._database.users.get(user_id)
        if user is None:
            raise UserNotFound("no such user")
        if username is not None:
            self._database.check_username(username, except_user_id=user_id)
            user = replace(user, username=username)
        if record_events is not None:
            user = replace(user, record_events=record_events)
        self._database.users[user_id] = user
        return user

    async def set_active(self, address_key: str, is_active: bool, now: datetime) -> Sequence[str]:
        user = self._database.find_by_address(address_key)
        pending = self._database.pending_registrations(address_key)
        if user is None and is_active and pending:
            user = self._database.activate(pending[0], now, used=None)
        if user is None:
            raise UserNotFound("no user with this email address")
        self._database.users[user.id] = replace(user, is_active=is_active)
        ended = [] if is_active else self._database.list_sessions_of(user.id)
        return self._database.end_sessions((session.id for session in ended), now)

    async def set_staff(self, address_key: str, is_staff: bool) -> None:
        user = self._database.find_by_address(address_key)
        if user is None:
            raise UserNotFound("no user with this email address")
        self._database.users[user.id] = replace(user, is_staff=is_staff)

    async def list_users(
        self, window: Window, address_key: str | None = None, *, search: str = "", state: UserState | None = None
    ) -> tuple[int, Sequence[UserSummary]]:
        fragment = unicodedata.normalize("NFC", search.casefold())
        matches = [
            user
            for user in self._summaries()
            if address_key in (None, user.address.key)
            and any(
                fragment in text for text in (user.address.key, user.address.spelling.casefold(), user.username.key)
            )
            and _has_state(user, state)
        ]
        matches.sort(key=lambda user: user.id)
        matches.sort(key=lambda user: user.created_at, reverse=True)
        return len(matches), matches[window.offset : window.offset + window.limit]

    async def find_summary(self, user_id: str) -> UserSummary | None:
        return next((user for user in self._summaries() if user.id == user_id), None)

    def _summaries(self) -> list[UserSummary]:
        database = self._database
        users = [
            UserSummary(
                id=user.id,
                address=user.address,
                username=user.username,
                is_pending=False,
                is_active=user.is_active,
                is_staff=user.is_staff,
                created_at=user.created_at,
                last_login=user.last_login,
            )
            for user in database.users.values()
        ]
        pending = [
            UserSummary(
                id=registration.id,
                address=registration.address,
                username=registration.username,
                is_pending=True,
                is_active=False,
                is_staff=False,
                created_at=registration.created_at,
                last_login=None,
            )
            for registration in database.registrations
            if registration.id not in database.decoy_ids
        ]
        return users + pending

    async def export(self, address_key: str) -> dict[str, Any]:
        database = self._database
        user = database.find_by_address(address_key)
        return {
            "account": user
            and {
                "id": user.id,
                "email": user.address.spelling,
                "username": user.username.shown,
                "is_active": user.is_active,
                "is_staff": user.is_staff,
                "record_events": user.record_events,
                "created_at": iso_time(user.created_at),
                "last_login": user.last_login and iso_time(user.last_login),
            },
            "registrations": [
                {
                    "id": registration.id,
                    "email": registration.address.spelling,
                    "username": registration.username.shown,
                    "created_at": iso_time(registration.created_at),
                }
                for registration in database.pending_registrations(address_key)
            ],
            "sessions": [
                {
                    "id": session.id,
                    "device": session.device,
                    "created_at": iso_time(session.created_at),
                    "last_used_at": iso_time(session.last_used_at),
                }
                for session in (database.list_sessions_of(user.id) if user else ())
            ],
            "login_networks": [
                {"network": network, "last_used_at": iso_time(at)}
                for network, at in (database.login_networks.get(user.id, {}) if user else {}).items()
            ],
            "mails": [
                {
                    "id": row.mail.id,
                    "kind": row.mail.kind.value,
                    "to": row.mail.recipient,
                    "state": row.mail.state.value,
                    "attempts": row.mail.attempts,
                    "last_error": row.mail.last_error,
                    "created_at": iso_time(row.mail.created_at),
                    "sent_at": row.mail.sent_at and iso_time(row.mail.sent_at),
                }
                for row in database.outbox
                if row.address_key == address_key
            ],
        }

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
                self._delete_registration(registration)
        database.links = {hashed: link for hashed, link in database.links.items() if link.address_key != address_key}
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
        linked = {stored.link.uid for stored in database.links.values()}
        for registration in list(database.registrations):
            is_expired = registration.created_at + database.link_ttl < oldest
            if is_expired and registration.id not in linked and registration.address.key not in delayed:
                self._delete_registration(registration)
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

    def _delete_registration(self, registration: PendingRegistration) -> None:
        database = self._database
        database.registrations.remove(registration)
        database.decoy_ids.discard(registration.id)
        database.links = {hashed: one for hashed, one in database.links.items() if one.link.uid != registration.id}

    def _valid_link(self, purpose: Purpose, uid: str, token_hash: str, now: datetime) -> LinkRow:
        link = self._database.links.get(token_hash)
        if (
            link is None
            or link.purpose is not purpose
            or link.link.uid != uid
            or (link.expires_at <= now and not link.is_used)
        ):
            raise InvalidLink("the link is invalid or has expired")
        return link

    def _set_password(self, user: User, new_hash: str, except_session_id: str | None, now: datetime) -> list[str]:
        self._database.users[user.id] = replace(user, password_hash=new_hash)
        self._database.delete_reset_links(user.id)
        self._database.delay_email(MailKind.PASSWORD_CHANGED, user.address.key, now, now)
        sessions = self._database.list_sessions_of(user.id)
        return self._database.end_sessions((session.id for session in sessions if session.id != except_session_id), now)


def _identity(registration: PendingRegistration) -> tuple[str, str, str]:
    """Equal for two registrations that differ only in time, network and spelling."""
    return registration.address.mailbox, registration.username.key, registration.password_hash


def _over_limit(registrations: list[PendingRegistration]) -> list[PendingRegistration]:
    """The registrations of one address beyond `MAX_REGISTRATIONS`: the oldest ones of the networks with the most."""
    newest_first = sorted(registrations, key=lambda registration: registration.created_at, reverse=True)
    counts: Counter[str] = Counter()
    ranked = []
    for registration in newest_first:
        ranked.append((counts[registration.requested_from], registration))
        counts[registration.requested_from] += 1
    ranked.sort(key=lambda pair: pair[0])
    return [registration for _, registration in ranked[MAX_REGISTRATIONS:]]


def _has_state(user: UserSummary, state: UserState | None) -> bool:
    match state:
        case None:
            return True
        case UserState.PENDING:
            return user.is_pending
        case UserState.ACCOUNT:
            return not user.is_pending
        case UserState.STAFF:
            return user.is_staff
        case _:
            return not user.is_pending and user.is_active is (state is UserState.ACTIVE)
