"""Accounts, their mails and their limits in memory."""

import base64
import hashlib
import hmac
import json
import math
import re
import secrets
import time
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from movie_core.accounts.keyring import Keyring, new_id
from movie_core.accounts.outbox import (
    ACTIVATIONS,
    FOR_ACCOUNTS,
    MAX_TALLY,
    NOTICES,
    RENEWED,
    EmailLink,
    Mail,
    MailKind,
    MailRejected,
    MailRules,
    MailState,
    NewLink,
    OutboxStats,
    OutgoingEmail,
    Purpose,
)
from movie_core.accounts.sessions import MAX_NETWORKS, MAX_SESSIONS, AccessClaims, Reuse, Session, classify_reuse
from movie_core.accounts.users import MAX_PENDING as MAX_REGISTRATIONS
from movie_core.accounts.users import REPEAT, Address, Registration, User, Username, UserState
from movie_core.clock import iso_time, utc_now
from movie_core.errors import (
    InvalidCredentials,
    InvalidEmail,
    InvalidLink,
    InvalidToken,
    PasswordRequired,
    UsernameTaken,
    UserNotFound,
)
from movie_core.operations.rate_limits import HitWindow, PermitWindow, widest_network_of
from movie_core.paging import Window
from movie_core.ports import ActivationLink, ActivationResult, RotationResult, UserSummary
from movie_core.quotas import Permits, Quota, Rate


@dataclass(slots=True)
class _Link:
    """A link that is good, or the one that activated its account."""

    new: NewLink
    purpose: Purpose
    address_key: str
    expires_at: datetime
    is_used: bool = False


@dataclass(slots=True)
class _Mail:
    """A row of the outbox."""

    mail: Mail
    address_key: str
    requested_from: str = ""
    made_at: datetime | None = None
    mailbox: str | None = None
    """The only one that a waiting mail is for, when it had to wait while another mailbox got its own."""
    hashes: tuple[str, ...] = ()
    owner: str | None = None
    leased_until: datetime | None = None


@dataclass(slots=True)
class _Token:
    """A refresh token; one with a successor is used."""

    session_id: str
    expires_at: datetime
    spent_at: datetime | None = None
    successor: str | None = None


class MemoryDatabase:
    """What `MemoryUserRepo`, `MemorySessionStore` and `MemoryOutbox` share. Their methods never wait inside, so that each is
    one transaction for all that runs on the same event loop."""

    def __init__(self, rules: MailRules, keys: Keyring) -> None:
        self._rules = rules
        self._keys = keys
        self.accounts: dict[str, User] = {}
        self.registrations: list[Registration] = []
        self.decoys: set[str] = set()
        """Ids of registrations for addresses that were taken already."""
        self.links: dict[str, _Link] = {}
        self.mails: list[_Mail] = []
        self.sessions: dict[str, Session] = {}
        self.tokens: dict[str, _Token] = {}
        self.ended: dict[str, datetime] = {}
        self.networks: dict[str, dict[str, datetime]] = {}
        """By account, those that it has logged in from, the last one last."""

    def find_by_address(self, address_key: str) -> User | None:
        return next((one for one in self.accounts.values() if one.address.key == address_key), None)

    def pending(self, address_key: str) -> list[Registration]:
        """The registrations that may become an account, newest first."""
        own = [one for one in self.registrations if one.address.key == address_key and one.id not in self.decoys]
        own.reverse()
        return sorted(own, key=lambda one: one.created_at, reverse=True)

    def check_username(self, username: Username, *, except_user_id: str | None = None) -> None:
        others = (one.username for one in self.accounts.values() if one.id != except_user_id)
        if any(
            one.key == username.key or (one.skeleton is not None and one.skeleton == username.skeleton)
            for one in others
        ):
            raise UsernameTaken("the username is taken", field="username")

    def activate(
        self, registration: Registration, now: datetime, *, used: str | None, password_hash: str | None = None
    ) -> User:
        """The account of a registration; its address' other registrations and links end."""
        self.check_username(registration.username)
        user = User(
            id=registration.id,
            address=registration.address,
            username=registration.username,
            password_hash=password_hash or registration.password_hash,
            is_active=True,
            is_staff=False,
            record_events=True,
            created_at=now,
        )
        self.accounts[user.id] = user
        key = user.address.key
        self.registrations = [one for one in self.registrations if one.address.key != key]
        self.links = {hashed: link for hashed, link in self.links.items() if link.address_key != key or hashed == used}
        if used is not None:
            self.links[used].is_used = True
        for kind in ACTIVATIONS:
            self.drop_waiting(kind, key)
        return user

    def end_sessions(self, session_ids: Iterable[str], now: datetime) -> list[str]:
        ids = list(session_ids)
        for session_id in ids:
            del self.sessions[session_id]
            self.ended[session_id] = now
        self.tokens = {hashed: token for hashed, token in self.tokens.items() if token.session_id in self.sessions}
        return ids

    def sessions_of(self, user_id: str) -> list[Session]:
        """The one used last first."""
        own = [one for one in self.sessions.values() if one.user_id == user_id]
        own.reverse()
        return sorted(own, key=lambda one: one.last_used_at, reverse=True)

    def end_resets(self, user_id: str) -> None:
        self.links = {
            hashed: link
            for hashed, link in self.links.items()
            if link.purpose is not Purpose.RESET or link.new.uid != user_id
        }

    # --- mails

    def free_at(self, address_key: str, now: datetime, requested_from: str) -> datetime:
        made = [
            (row.made_at, row.requested_from)
            for row in self.mails
            if row.address_key == address_key and row.made_at is not None and row.mail.kind not in NOTICES
        ]
        user = self.find_by_address(address_key)
        known = () if user is None else map(widest_network_of, self.networks.get(user.id, ()))
        return self._rules.free_at(now, made, requested_from, is_known=requested_from in known)

    def drop_waiting(self, kind: MailKind, address_key: str, requested_from: str | None = None) -> None:
        """The mails of a kind that wait, those that one network has requested, or all."""
        self.mails = [
            row
            for row in self.mails
            if row.made_at is not None
            or (row.mail.kind, row.address_key) != (kind, address_key)
            or requested_from not in (None, row.requested_from)
        ]

    def wait(self, kind: MailKind, address_key: str, now: datetime, due_at: datetime, requested_from: str = "") -> None:
        """Keep a mail that is made later, in place of one like it that waits."""
        self.drop_waiting(kind, address_key, requested_from)
        mail = Mail(new_id(), kind, "", MailState.PENDING, 0, "", now, due_at)
        self.mails.append(_Mail(mail, address_key, requested_from))

    def add(self, kind: MailKind, address: Address, now: datetime, requested_from: str = "") -> _Mail:
        mail = Mail(new_id(), kind, address.spelling, MailState.PENDING, 0, "", now, now)
        row = _Mail(mail, address.key, requested_from, made_at=now)
        self.mails.append(row)
        return row

    def add_link(self, row: _Mail, purpose: Purpose, uid: str, now: datetime) -> None:
        new = NewLink.make(uid, self._keys)
        self.links[new.hashed] = _Link(new, purpose, row.address_key, now + self._rules.link_ttl)
        row.hashes += (new.hashed,)

    def is_for_nobody(self, row: _Mail) -> bool:
        """Whether a waiting mail is for an address that has neither a registration nor an active account."""
        if row.mail.kind in ACTIVATIONS:
            return not self.pending(row.address_key)
        user = self.find_by_address(row.address_key)
        return user is None or not user.is_active

    def make(self, row: _Mail, now: datetime) -> None:
        """Make a waiting mail, or put it off; one that nobody is there for is removed."""
        key, kind = row.address_key, row.mail.kind
        user = self.find_by_address(key)
        groups: list[list[Registration]]
        if kind in ACTIVATIONS:
            pending = [] if user else self.pending(key)
            if kind is MailKind.ACTIVATION:
                linked = {link.new.uid for link in self.links.values()}
                pending = [one for one in pending if one.requested_from == row.requested_from and one.id not in linked]
            pending.sort(key=lambda one: one.requested_from != row.requested_from)
            groups = self._mailboxes(pending, row.mailbox)
        else:
            groups = [] if self.is_for_nobody(row) else [[]]
        for place, group in enumerate(groups):
            due_at = now if kind in NOTICES else self.free_at(key, now, row.requested_from)
            if due_at > now:
                if place == 0:
                    row.mail = replace(row.mail, due_at=due_at)
                    return
                late = replace(row.mail, id=new_id(), due_at=due_at)
                self.mails.append(_Mail(late, key, row.requested_from, mailbox=group[0].address.mailbox))
                continue
            made = self.add(kind, user.address if user else group[0].address, now, row.requested_from)
            made.mail = replace(made.mail, created_at=row.mail.created_at)
            if kind is MailKind.PASSWORD_RESET and user:
                self.add_link(made, Purpose.RESET, user.id, now)
            renewed = {one.id for one in group}
            self.links = {hashed: link for hashed, link in self.links.items() if link.new.uid not in renewed}
            for one in group:
                self.add_link(made, Purpose.ACTIVATE, one.id, now)
        self.mails.remove(row)

    @staticmethod
    def _mailboxes(pending: list[Registration], mailbox: str | None) -> list[list[Registration]]:
        groups: dict[str, list[Registration]] = {}
        for one in pending:
            groups.setdefault(one.address.mailbox, []).append(one)
        return [group[:RENEWED] for one, group in groups.items() if mailbox in (None, one)]

    def shown(self, row: _Mail) -> Mail:
        """A mail with those of its links that are good still."""
        links = (self.links[hashed] for hashed in row.hashes if hashed in self.links)
        return replace(
            row.mail,
            links=tuple(EmailLink(one.new.uid, one.new.hashed, one.new.sealed) for one in links),
        )

    def extend_links(self, row: _Mail, now: datetime) -> None:
        for hashed in row.hashes:
            if hashed in self.links:
                self.links[hashed].expires_at = now + self._rules.link_ttl

    @property
    def link_ttl(self) -> timedelta:
        return self._rules.link_ttl


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


class MemorySessionStore:
    """A `SessionStore`."""

    def __init__(self, database: MemoryDatabase) -> None:
        self._database = database

    async def start(
        self,
        session: Session,
        refresh_hash: str,
        expires_at: datetime,
        *,
        password_hash: str,
        rehashed: str | None = None,
        network: str = "",
    ) -> Sequence[str]:
        database = self._database
        user = database.accounts.get(session.user_id)
        if user is None or not user.is_active or user.password_hash != password_hash:
            raise InvalidCredentials("the account is gone or inactive, or its password is another by now")
        database.accounts[user.id] = replace(
            user, password_hash=rehashed or password_hash, last_login=session.created_at
        )
        gone = [one.id for one in database.sessions_of(user.id)[MAX_SESSIONS - 1 :]]
        database.end_sessions(gone, session.created_at)
        database.sessions[session.id] = session
        database.tokens[refresh_hash] = _Token(session.id, expires_at)
        if network:
            networks = database.networks.setdefault(user.id, {})
            networks.pop(network, None)
            networks[network] = session.created_at
            while len(networks) > MAX_NETWORKS:
                del networks[next(iter(networks))]
        return gone

    async def rotate(
        self,
        refresh_hash: str,
        successors: Sequence[str],
        now: datetime,
        expires_at: datetime,
        *,
        lifetime: timedelta | None = None,
    ) -> RotationResult | None:
        database = self._database
        token = database.tokens.get(refresh_hash)
        if token is None or token.expires_at <= now:
            return None
        if lifetime is not None:
            end = database.sessions[token.session_id].created_at + lifetime
            if end <= now:
                return None
            expires_at = min(expires_at, end)
        if token.spent_at is None or token.successor is None:
            token.spent_at, token.successor = now, successors[0]
            database.tokens[successors[0]] = _Token(token.session_id, expires_at)
            session = replace(database.sessions[token.session_id], last_used_at=now)
            database.sessions[session.id] = session
            return RotationResult(session, 0)
        following = database.tokens.get(token.successor)
        is_unused = following is not None and following.spent_at is None
        if classify_reuse(now, token.spent_at, successor_is_unused=is_unused) is Reuse.THEFT:
            database.end_sessions([token.session_id], now)
            return None
        if token.successor not in successors:  # made with a secret that is no longer set
            return None
        return RotationResult(database.sessions[token.session_id], list(successors).index(token.successor))

    async def list_page(self, user_id: str) -> Sequence[Session]:
        return self._database.sessions_of(user_id)

    async def end(
        self,
        user_id: str,
        now: datetime,
        *,
        session_id: str | None = None,
        except_session_id: str | None = None,
        notify: bool = False,
    ) -> Sequence[str]:
        own = (one.id for one in self._database.sessions_of(user_id))
        ended = self._database.end_sessions(
            (one for one in own if session_id in (None, one) and one != except_session_id), now
        )
        if ended and notify:
            self._database.wait(MailKind.SESSIONS_ENDED, self._database.accounts[user_id].address.key, now, now)
        return ended

    async def find(self, session_id: str) -> Session | None:
        return self._database.sessions.get(session_id)

    async def find_owner(self, refresh_hash: str) -> str | None:
        token = self._database.tokens.get(refresh_hash)
        return None if token is None else self._database.sessions[token.session_id].user_id

    async def networks(self, address_key: str) -> Sequence[str]:
        user = self._database.find_by_address(address_key)
        return [] if user is None else list(reversed(self._database.networks.get(user.id, {})))

    async def is_live(self, session_id: str) -> bool:
        return session_id in self._database.sessions

    async def ended_since(self, at: datetime) -> Sequence[str]:
        return [session_id for session_id, ended_at in self._database.ended.items() if ended_at >= at]


class MemoryOutbox:
    """An `Outbox`."""

    def __init__(self, database: MemoryDatabase) -> None:
        self._database = database

    async def claim(self, owner: str, now: datetime, limit: int, lease: timedelta) -> Sequence[Mail]:
        database = self._database
        for row in [row for row in database.mails if row.made_at is None and row.mail.due_at <= now]:
            database.make(row, now)
        # A mail whose links have all ended meanwhile has nothing left to tell.
        database.mails = [
            row
            for row in database.mails
            if row.made_at is None
            or row.mail.state is not MailState.PENDING
            or not row.hashes
            or any(hashed in database.links for hashed in row.hashes)
        ]
        free = [
            row
            for row in database.mails
            if row.made_at is not None
            and row.mail.state is MailState.PENDING
            and row.mail.due_at <= now
            and (row.leased_until is None or row.leased_until <= now)
        ]
        claimed = sorted(free, key=lambda row: (row.mail.kind not in FOR_ACCOUNTS, row.mail.due_at))[:limit]
        for row in claimed:
            row.owner, row.leased_until = owner, now + lease
            database.extend_links(row, now)
        return [database.shown(row) for row in claimed]

    async def complete(self, owner: str, mail: Mail) -> bool:
        row = next((row for row in self._database.mails if row.mail.id == mail.id and row.owner == owner), None)
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
            self._database.mails.remove(row)
        return True

    async def release(self, owner: str, mail_ids: Sequence[str], now: datetime) -> None:
        for row in self._database.mails:
            if row.owner == owner and row.mail.id in mail_ids:
                row.owner = row.leased_until = None

    async def list_page(self, window: Window, state: MailState | None = None) -> tuple[int, Sequence[Mail]]:
        mails = sorted(
            (row.mail for row in self._database.mails if state in (None, row.mail.state)), key=lambda mail: mail.id
        )
        mails.sort(key=lambda mail: mail.created_at, reverse=True)
        return len(mails), mails[window.offset : window.offset + window.limit]

    async def find(self, mail_id: str) -> Mail | None:
        return next((row.mail for row in self._database.mails if row.mail.id == mail_id), None)

    async def retry(self, mail_ids: Sequence[str] | None, now: datetime) -> Sequence[str]:
        dead = [
            row
            for row in self._database.mails
            if row.mail.state is MailState.DEAD and (mail_ids is None or row.mail.id in mail_ids)
        ]
        for row in dead:
            row.mail = replace(row.mail, state=MailState.PENDING, attempts=0, due_at=now)
            self._database.extend_links(row, now)
        return [row.mail.id for row in dead]

    async def stats(self, now: datetime) -> OutboxStats:
        counts = Counter(row.mail.state for row in self._database.mails)
        waiting = [
            row.made_at or row.mail.due_at
            for row in self._database.mails
            if row.mail.state is MailState.PENDING and (row.made_at is not None or row.mail.due_at <= now)
        ]
        return OutboxStats({state: min(counts[state], MAX_TALLY) for state in MailState}, min(waiting, default=None))


class MemoryMailer:
    """A `Mailer` that keeps its letters."""

    def __init__(self) -> None:
        self.emails: list[OutgoingEmail] = []
        self.failure: Exception | None = None
        """What `send` raises, while it is set."""

    async def send(self, email: OutgoingEmail) -> None:
        if self.failure is not None:
            raise self.failure
        if not email.recipient.isprintable() or any(c in " ,;<>" for c in email.recipient):
            raise MailRejected("the recipient is no address", is_final=True)
        self.emails.append(email)

    async def erase(self, address: Address) -> None:
        self.emails = [email for email in self.emails if email.recipient != address.spelling]


class MemoryDeliveryNotifier:
    """A `DeliveryNotifier` that counts."""

    def __init__(self) -> None:
        self.rings = 0

    async def notify(self) -> None:
        self.rings += 1


class MemoryPasswordHasher:
    """A `PasswordHasher` for tests: quick, so no protection at all."""

    _PREFIX = "sha256$"

    async def hash(self, password: str, *, salt: bytes | None = None, queue: str = "") -> str:
        salt = secrets.token_bytes(16) if salt is None else salt
        digest = hashlib.sha256(salt + password.encode("utf-8", "surrogatepass")).hexdigest()
        return f"{self._PREFIX}{salt.hex()}${digest}"

    async def verify(self, password: str, hashed: str | None, *, queue: str = "") -> bool:
        match = re.fullmatch(r"sha256\$([0-9a-f]{32})\$[0-9a-f]{64}", hashed or "")
        made = await self.hash(password, salt=bytes.fromhex(match[1]) if match else bytes(16))
        return match is not None and hmac.compare_digest(made, match[0])

    def is_outdated(self, hashed: str) -> bool:
        return not hashed.startswith(self._PREFIX)


class MemoryAccessTokens:
    """`AccessTokens` as JSON with an HMAC; in a form of its own, so a token is good for no other adapter."""

    def __init__(self, keys: Keyring, clock: Callable[[], datetime] = utc_now) -> None:
        self._secrets = tuple(keys.by_id.values())
        self._clock = clock

    def issue(self, access: AccessClaims) -> str:
        said = [
            access.user_id,
            access.session_id,
            access.token_id,
            int(access.issued_at.timestamp()),
            int(access.expires_at.timestamp()),
        ]
        body = base64.urlsafe_b64encode(json.dumps(said).encode()).decode()
        return f"{body}.{self._mac(self._secrets[0], body)}"

    def read(self, token: str) -> AccessClaims:
        body, dot, mac = token.partition(".")
        is_ours = token.isascii() and any(hmac.compare_digest(mac, self._mac(one, body)) for one in self._secrets)
        if not dot or not is_ours:
            raise InvalidToken("the token is not valid")
        user_id, session_id, token_id, issued_at, expires_at = json.loads(base64.urlsafe_b64decode(body))
        at, until = (datetime.fromtimestamp(seconds, UTC) for seconds in (issued_at, expires_at))
        access = AccessClaims(user_id, session_id, token_id, at, until)
        if not access.issued_at <= self._clock() < access.expires_at:
            raise InvalidToken("the token has expired")
        return access

    @staticmethod
    def _mac(secret: bytes, body: str) -> str:
        return hmac.new(secret, b"access" + body.encode(), hashlib.sha256).hexdigest()


class PlainUsernameSyntax:
    """`UsernameSyntax` by the names that characters have; of look-alikes it knows some Greek and Cyrillic letters."""

    _ALIKE = str.maketrans("\u0430\u0435\u043e\u0440\u0441\u0443\u0445\u0456\u03b1\u03bf\u03c101", "aeopcyxiaopol")
    _TOGETHER = frozenset(("CJK", "HIRAGANA", "KATAKANA", "HANGUL"))

    def is_of_one_script(self, text: str) -> bool:
        scripts = {unicodedata.name(c, "?").partition(" ")[0] for c in text if unicodedata.category(c)[0] == "L"}
        return len(scripts) <= 1 or scripts <= self._TOGETHER

    def skeleton(self, text: str) -> str:
        folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
        return folded.translate(self._ALIKE).replace("i", "l").replace("m", "rn")


_ATEXT = re.compile(r"[^\s\x00-\x1f\x7f\"(),:;<>@\[\]\\.]+(?:\.[^\s\x00-\x1f\x7f\"(),:;<>@\[\]\\.]+)*")
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")


class PlainAddressSyntax:
    """`AddressSyntax` by the structure alone: which domains exist, or may, isn't known here. Domains of other scripts
    are read by IDNA of 2003, where ß is ss."""

    def split(self, text: str) -> tuple[str, str]:
        local, _, domain = text.rpartition("@")
        try:
            is_local = _ATEXT.fullmatch(local) is not None and len(local.encode()) <= 64
            ascii_domain = domain.encode("idna").decode().lower()
        except UnicodeError:
            raise InvalidEmail("the address has characters that no address has") from None
        labels = ascii_domain.split(".")
        is_domain = len(labels) > 1 and len(ascii_domain) <= 253 and all(map(_LABEL.fullmatch, labels))
        if not is_local or not is_domain or labels[-1].isdigit():
            raise InvalidEmail("the address must be one plain mailbox, such as name@example.com")
        return local, ascii_domain


_COMMON = frozenset(
    (
        *(
            "password",
            "passwort",
            "passw0rd",
            "letmein",
            "welcome",
            "iloveyou",
            "dragon",
            "monkey",
            "football",
            "qwerty",
        ),
        *("qwertyuiop", "asdfghjkl", "abc123", "admin", "login", "master", "sunshine", "princess", "superman"),
        *("12345678", "123456789", "1234567890", "abcdefgh", "1q2w3e4r", "trustno1"),
    )
)


class PlainPasswordStrength:
    """`PasswordStrength` by a rough estimate: how many characters there are, of how many kinds, once common words and
    those that are known count as one character each. Good for tests; too kind to passwords of real people."""

    def score(self, password: str, known: Sequence[str]) -> int:
        rest = password.casefold()[:100]
        for word in sorted(_COMMON.union(one.casefold() for one in known), key=len, reverse=True):
            if len(word) >= 3:
                rest = rest.replace(word, "*")
        variety = min(len(set(rest)), len(rest))
        kinds = sum(
            (
                any(c.islower() for c in password),
                any(c.isupper() for c in password),
                any(c.isdigit() for c in password),
                any(not c.isalnum() for c in password),
            )
        )
        bits = variety * math.log2(8 * max(kinds, 1))
        return sum(bits >= threshold for threshold in (12, 24, 36, 48))


class MemoryRateLimiter:
    """A `RateLimiter` for one process, exact; keys without counts are deleted."""

    _SWEEP = 1000
    """Calls between two deletions of expired keys."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._hits: dict[tuple[str, str, Rate], HitWindow] = {}
        self._leases: dict[tuple[str, str, Rate], PermitWindow] = {}
        self._until_sweep = self._SWEEP

    async def hit(self, name: str, key: str, rate: Rate) -> tuple[bool, Quota]:
        now = self._clock()
        self._sweep(now)
        is_allowed, remaining, reset = self._hits.setdefault((name, key, rate), HitWindow(rate)).hit(now)
        return is_allowed, Quota(name, rate, remaining, reset)

    async def refund(self, name: str, key: str, rate: Rate) -> None:
        if window := self._hits.get((name, key, rate)):
            window.refund()

    async def lease(
        self, name: str, key: str, rate: Rate, *, prefetch: int, seconds: float, returned: Permits | None
    ) -> tuple[bool, Quota, Permits]:
        now = self._clock()
        self._sweep(now)
        window = self._leases.setdefault((name, key, rate), PermitWindow(rate))
        is_allowed, remaining, reset, permits = window.take(
            now, new_id(), prefetch=prefetch, seconds=seconds, returned=returned
        )
        return is_allowed, Quota(name, rate, remaining, reset), permits

    def _sweep(self, now: float) -> None:
        self._until_sweep -= 1
        if self._until_sweep <= 0:
            self._until_sweep = max(self._SWEEP, len(self._hits) + len(self._leases))
            self._hits = {key: window for key, window in self._hits.items() if not window.is_over(now)}
            self._leases = {key: window for key, window in self._leases.items() if not window.is_over(now)}
