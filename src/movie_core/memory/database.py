"""Tables of users, sessions and outgoing mail that the adapters of `movie_core.memory` share."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from movie_core.accounts.keyring import Keyring, new_id
from movie_core.accounts.outbox import (
    ACTIVATIONS,
    NOTICES,
    RENEWED,
    EmailLink,
    Mail,
    MailKind,
    MailRules,
    MailState,
    NewLink,
    Purpose,
)
from movie_core.accounts.sessions import Session
from movie_core.accounts.users import Address, Registration, User, Username
from movie_core.errors import (
    UsernameTaken,
)
from movie_core.operations.rate_limits import widest_network_of


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
