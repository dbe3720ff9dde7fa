"""The `UserRepo` port in memory."""

import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from movie_core.accounts.outbox import (
    MailKind,
    MailState,
    Purpose,
)
from movie_core.accounts.users import MAX_PENDING as MAX_REGISTRATIONS
from movie_core.accounts.users import REPEAT, Registration, User, Username, UserState
from movie_core.clock import iso_time
from movie_core.errors import (
    InvalidLink,
    PasswordRequired,
    UserNotFound,
)
from movie_core.memory.database import MemoryDatabase, _Link
from movie_core.paging import Window
from movie_core.ports import ActivationLink, ActivationResult, UserSummary


class MemoryUserRepo:
    """A `UserRepo`."""

    def __init__(self, database: MemoryDatabase) -> None:
        self._database = database

    async def register(self, registration: Registration, now: datetime) -> None:
        database, address = self._database, registration.address
        database.check_username(registration.username)
        same = (address.mailbox, registration.username.key, registration.password_hash)
        own = [one for one in database.registrations if one.address.key == address.key]
        if any(
            (one.address.mailbox, one.username.key, one.password_hash) == same and now - one.created_at <= REPEAT
            for one in own
        ):
            return
        user = database.find_by_address(address.key)
        database.registrations.append(registration)
        if user is not None:
            database.decoys.add(registration.id)
        for old in _surplus([*own, registration]):
            self._remove(old)
        kind = MailKind.ACTIVATION if user is None else MailKind.ADDRESS_TAKEN
        due_at = database.free_at(address.key, now, registration.requested_from)
        if due_at > now:
            database.wait(kind, address.key, now, due_at, registration.requested_from)
            return
        recipient = address if user is None else user.address
        row = database.add(kind, recipient, now, registration.requested_from)
        if user is None:
            database.add_link(row, Purpose.ACTIVATE, registration.id, now)

    async def request_mail(self, kind: MailKind, address_key: str, now: datetime, *, requested_from: str = "") -> None:
        self._database.wait(kind, address_key, now, now, requested_from)

    async def find_activation_link(self, uid: str, hashed: str, now: datetime) -> ActivationLink:
        if self._good(Purpose.ACTIVATE, uid, hashed, now).is_used:
            return ActivationLink(None, is_only=False)
        asked = next(one for one in self._database.registrations if one.id == uid)
        return ActivationLink(asked, is_only=self._is_only(asked))

    async def activate(
        self, uid: str, hashed: str, now: datetime, *, password_hash: str | None = None
    ) -> ActivationResult:
        if self._good(Purpose.ACTIVATE, uid, hashed, now).is_used:
            return ActivationResult(self._database.accounts[uid], is_new=False)
        asked = next(one for one in self._database.registrations if one.id == uid)
        if password_hash is None and not self._is_only(asked):
            raise PasswordRequired("several registrations wait under this address")
        user = self._database.activate(asked, now, used=hashed, password_hash=password_hash)
        return ActivationResult(user, is_new=True)

    def _is_only(self, registration: Registration) -> bool:
        pending = self._database.pending(registration.address.key)
        alike = {(one.address.mailbox, one.username.key, one.password_hash) for one in pending}
        return len(alike) == 1

    async def find_reset_user(self, uid: str, hashed: str, now: datetime) -> User:
        self._good(Purpose.RESET, uid, hashed, now)
        user = self._database.accounts[uid]
        if not user.is_active:
            raise InvalidLink("the link is not valid")
        return user

    async def reset_password(self, uid: str, hashed: str, password_hash: str, now: datetime) -> Sequence[str]:
        user = await self.find_reset_user(uid, hashed, now)
        return self._set_password(user, password_hash, None, now)

    async def find(self, user_id: str) -> User | None:
        return self._database.accounts.get(user_id)

    async def find_by_address(self, address_key: str) -> User | None:
        return self._database.find_by_address(address_key)

    async def change_password(
        self, user_id: str, old_hash: str, new_hash: str, *, except_session_id: str, now: datetime
    ) -> Sequence[str] | None:
        user = self._database.accounts.get(user_id)
        if user is None or user.password_hash != old_hash:
            return None
        return self._set_password(user, new_hash, except_session_id, now)

    async def change_profile(
        self, user_id: str, *, username: Username | None = None, record_events: bool | None = None
    ) -> User:
        user = self._database.accounts.get(user_id)
        if user is None:
            raise UserNotFound("there is no such account")
        if username is not None:
            self._database.check_username(username, except_user_id=user_id)
            user = replace(user, username=username)
        if record_events is not None:
            user = replace(user, record_events=record_events)
        self._database.accounts[user_id] = user
        return user

    async def set_active(self, address_key: str, is_active: bool, now: datetime) -> Sequence[str]:
        user = self._database.find_by_address(address_key)
        pending = self._database.pending(address_key)
        if user is None and is_active and pending:
            user = self._database.activate(pending[0], now, used=None)
        if user is None:
            raise UserNotFound("nobody has this address")
        self._database.accounts[user.id] = replace(user, is_active=is_active)
        own = [] if is_active else self._database.sessions_of(user.id)
        return self._database.end_sessions((one.id for one in own), now)

    async def set_staff(self, address_key: str, is_staff: bool) -> None:
        user = self._database.find_by_address(address_key)
        if user is None:
            raise UserNotFound("there is no account with this address")
        self._database.accounts[user.id] = replace(user, is_staff=is_staff)

    async def list_users(
        self, window: Window, address_key: str | None = None, *, search: str = "", state: UserState | None = None
    ) -> tuple[int, Sequence[UserSummary]]:
        part = unicodedata.normalize("NFC", search.casefold())
        found = [
            one
            for one in self._everybody()
            if address_key in (None, one.address.key)
            and any(part in text for text in (one.address.key, one.address.spelling.casefold(), one.username.key))
            and _is_in(one, state)
        ]
        found.sort(key=lambda one: one.id)
        found.sort(key=lambda one: one.created_at, reverse=True)
        return len(found), found[window.offset : window.offset + window.limit]

    async def find_summary(self, person_id: str) -> UserSummary | None:
        return next((one for one in self._everybody() if one.id == person_id), None)

    def _everybody(self) -> list[UserSummary]:
        accounts = [
            UserSummary(a.id, a.address, a.username, False, a.is_active, a.is_staff, a.created_at, a.last_login)
            for a in self._database.accounts.values()
        ]
        return accounts + [
            UserSummary(one.id, one.address, one.username, True, False, False, one.created_at, None)
            for one in self._database.registrations
            if one.id not in self._database.decoys
        ]

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
                    "id": one.id,
                    "email": one.address.spelling,
                    "username": one.username.shown,
                    "created_at": iso_time(one.created_at),
                }
                for one in database.pending(address_key)
            ],
            "sessions": [
                {
                    "id": one.id,
                    "device": one.device,
                    "created_at": iso_time(one.created_at),
                    "last_used_at": iso_time(one.last_used_at),
                }
                for one in (database.sessions_of(user.id) if user else ())
            ],
            "login_networks": [
                {"network": network, "last_used_at": iso_time(at)}
                for network, at in (database.networks.get(user.id, {}) if user else {}).items()
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
                for row in database.mails
                if row.address_key == address_key
            ],
        }

    async def erase(self, address_key: str, now: datetime) -> Sequence[str]:
        database = self._database
        user = database.find_by_address(address_key)
        ended = []
        if user is not None:
            ended = database.end_sessions((one.id for one in database.sessions_of(user.id)), now)
            del database.accounts[user.id]
            database.networks.pop(user.id, None)
        for one in [one for one in database.registrations if one.address.key == address_key]:
            self._remove(one)
        database.links = {hashed: link for hashed, link in database.links.items() if link.address_key != address_key}
        database.mails = [row for row in database.mails if row.address_key != address_key]
        if user is not None:
            database.add(MailKind.ACCOUNT_ERASED, user.address, now)
        return ended

    async def purge(self, now: datetime) -> int:
        database = self._database
        before = self._size()
        database.tokens = {hashed: token for hashed, token in database.tokens.items() if token.expires_at > now}
        alive = {token.session_id for token in database.tokens.values() if token.spent_at is None}
        database.sessions = {one.id: one for one in database.sessions.values() if one.id in alive}
        database.tokens = {hashed: token for hashed, token in database.tokens.items() if token.session_id in alive}
        database.ended = {one: at for one, at in database.ended.items() if now - at <= timedelta(days=1)}
        pending = [row for row in database.mails if row.mail.state is MailState.PENDING]
        wanted = {hashed for row in pending for hashed in row.hashes}
        waiting = {row.address_key for row in pending if row.made_at is None}
        oldest = now - timedelta(days=7)
        database.links = {
            hashed: link for hashed, link in database.links.items() if link.expires_at >= oldest or hashed in wanted
        }
        linked = {link.new.uid for link in database.links.values()}
        for one in list(database.registrations):
            is_over = one.created_at + database.link_ttl < oldest
            if is_over and one.id not in linked and one.address.key not in waiting:
                self._remove(one)
        database.mails = [
            row for row in database.mails if row.mail.sent_at is None or now - row.mail.sent_at <= timedelta(days=30)
        ]
        return before - self._size()

    def _size(self) -> int:
        database = self._database
        linked = len(database.links) + len(database.registrations) + len(database.mails)
        return linked + len(database.tokens) + len(database.sessions) + len(database.ended)

    def _remove(self, registration: Registration) -> None:
        database = self._database
        database.registrations.remove(registration)
        database.decoys.discard(registration.id)
        database.links = {hashed: link for hashed, link in database.links.items() if link.new.uid != registration.id}

    def _good(self, purpose: Purpose, uid: str, hashed: str, now: datetime) -> _Link:
        link = self._database.links.get(hashed)
        if (
            link is None
            or link.purpose is not purpose
            or link.new.uid != uid
            or (link.expires_at <= now and not link.is_used)
        ):
            raise InvalidLink("the link is not valid")
        return link

    def _set_password(self, user: User, new_hash: str, except_session_id: str | None, now: datetime) -> list[str]:
        self._database.accounts[user.id] = replace(user, password_hash=new_hash)
        self._database.end_resets(user.id)
        self._database.wait(MailKind.PASSWORD_CHANGED, user.address.key, now, now)
        own = self._database.sessions_of(user.id)
        return self._database.end_sessions((one.id for one in own if one.id != except_session_id), now)


def _surplus(registrations: list[Registration]) -> list[Registration]:
    """Those of one address that give way: beyond `MAX_REGISTRATIONS` the oldest of the networks that have most."""
    newest_first = sorted(registrations, key=lambda one: one.created_at, reverse=True)
    places: Counter[str] = Counter()
    placed = []
    for one in newest_first:
        placed.append((places[one.requested_from], one))
        places[one.requested_from] += 1
    placed.sort(key=lambda pair: pair[0])
    return [one for _, one in placed[MAX_REGISTRATIONS:]]


def _is_in(person: UserSummary, state: UserState | None) -> bool:
    match state:
        case None:
            return True
        case UserState.PENDING:
            return person.is_pending
        case UserState.ACCOUNT:
            return not person.is_pending
        case UserState.STAFF:
            return person.is_staff
        case _:
            return not person.is_pending and person.is_active is (state is UserState.ACTIVE)
