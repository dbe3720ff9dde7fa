"""Users, registrations, sessions and the transactional outbox: the state that several adapters in memory share."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from movie_core.accounts.keyring import Keyring, new_id
from movie_core.accounts.outbox import (
    ACTIVATION_KINDS,
    MAX_LINKS,
    NOTICES,
    EmailLink,
    Mail,
    MailKind,
    MailRules,
    MailState,
    Purpose,
)
from movie_core.accounts.sessions import Session
from movie_core.accounts.users import Address, PendingRegistration, User, Username
from movie_core.errors import InvalidLink, UsernameTaken
from movie_core.operations.rate_limits import widest_network_of


@dataclass(slots=True)
class LinkRow:
    """A valid link, or the one that activated its user."""

    link: EmailLink
    purpose: Purpose
    address_key: str
    expires_at: datetime
    is_used: bool = False


@dataclass(slots=True)
class OutboxRow:
    """A row of the outbox.

    A delayed email (`prepared_at` is None) has no recipient and no links before it is due.
    """

    mail: Mail
    address_key: str
    requested_from: str = ""
    prepared_at: datetime | None = None
    mailbox: str | None = None
    """Restricts a delayed email to one mailbox: the rate limit allowed only the email to another mailbox with the same
    address key."""
    hashes: tuple[str, ...] = ()
    owner: str | None = None
    leased_until: datetime | None = None


@dataclass(slots=True)
class RefreshTokenRow:
    """A refresh token; used if it has a successor."""

    session_id: str
    expires_at: datetime
    used_at: datetime | None = None
    successor: str | None = None


class MemoryDatabase:
    """The database of the repositories of accounts, `MemoryOutbox` and the stores of personal data.

    The methods of the adapters do not await anything, so each is one transaction for all tasks of the event loop.
    """

    def __init__(self, rules: MailRules, keyring: Keyring) -> None:
        self._rules = rules
        self._keyring = keyring
        self.users: dict[str, User] = {}
        self.registrations: list[PendingRegistration] = []
        self.decoy_ids: set[str] = set()
        """Ids of registrations for an address that already belonged to a user."""
        self.links: dict[str, LinkRow] = {}
        self.outbox: list[OutboxRow] = []
        self.sessions: dict[str, Session] = {}
        self.refresh_tokens: dict[str, RefreshTokenRow] = {}
        self.ended_sessions: dict[str, datetime] = {}
        self.login_networks: dict[str, dict[str, datetime]] = {}
        """By user id, the networks of logins with the time of the last one, most recent last."""

    def find_by_address(self, address_key: str) -> User | None:
        return next((user for user in self.users.values() if user.address.key == address_key), None)

    def pending_registrations(self, address_key: str) -> list[PendingRegistration]:
        """The registrations that can become a user (not decoys), newest first."""
        pending = [
            registration
            for registration in reversed(self.registrations)
            if registration.address.key == address_key and registration.id not in self.decoy_ids
        ]
        return sorted(pending, key=lambda registration: registration.created_at, reverse=True)

    def check_username(self, username: Username, *, except_user_id: str | None = None) -> None:
        others = (user.username for user in self.users.values() if user.id != except_user_id)
        if any(
            other.key == username.key or (other.skeleton is not None and other.skeleton == username.skeleton)
            for other in others
        ):
            raise UsernameTaken("the username is taken", field="username")

    def activate(
        self,
        registration: PendingRegistration,
        now: datetime,
        *,
        used_link: str | None,
        password_hash: str | None = None,
    ) -> User:
        """Create the user of a registration; delete all registrations of the address, and all its links but
        `used_link`, the hash of the activation link."""
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
        self.users[user.id] = user
        key = user.address.key
        self.registrations = [other for other in self.registrations if other.address.key != key]
        self.links = {
            hashed: row for hashed, row in self.links.items() if row.address_key != key or hashed == used_link
        }
        if used_link is not None:
            self.links[used_link].is_used = True
        for kind in ACTIVATION_KINDS:
            self.drop_delayed(kind, key)
        return user

    def delete_registration(self, registration: PendingRegistration) -> None:
        """Delete a registration and its links."""
        self.registrations.remove(registration)
        self.decoy_ids.discard(registration.id)
        self.links = {hashed: row for hashed, row in self.links.items() if row.link.uid != registration.id}

    def valid_link(self, purpose: Purpose, uid: str, token_hash: str, now: datetime) -> LinkRow:
        """A link that is valid or was used. Raises `InvalidLink`."""
        row = self.links.get(token_hash)
        if (
            row is None
            or row.purpose is not purpose
            or row.link.uid != uid
            or (row.expires_at <= now and not row.is_used)
        ):
            raise InvalidLink("the link is invalid or has expired")
        return row

    def end_sessions(self, session_ids: Iterable[str], now: datetime) -> list[str]:
        ids = list(session_ids)
        for session_id in ids:
            del self.sessions[session_id]
            self.ended_sessions[session_id] = now
        self.refresh_tokens = {
            hashed: token for hashed, token in self.refresh_tokens.items() if token.session_id in self.sessions
        }
        return ids

    def list_sessions_of(self, user_id: str) -> list[Session]:
        """The sessions of a user, most recently used first."""
        sessions = [session for session in reversed(self.sessions.values()) if session.user_id == user_id]
        return sorted(sessions, key=lambda session: session.last_used_at, reverse=True)

    def session_expires_at(self, session_id: str) -> datetime:
        """When the newest refresh token of a session expires."""
        return max(token.expires_at for token in self.refresh_tokens.values() if token.session_id == session_id)

    def delete_reset_links(self, user_id: str) -> None:
        self.links = {
            hashed: row
            for hashed, row in self.links.items()
            if row.purpose is not Purpose.RESET or row.link.uid != user_id
        }

    # --- the outbox

    def next_allowed_at(self, address_key: str, now: datetime, requested_from: str) -> datetime:
        """The earliest time at which the rate limit allows another email to the address."""
        prepared = [
            (row.prepared_at, row.requested_from)
            for row in self.outbox
            if row.address_key == address_key and row.prepared_at is not None and row.mail.kind not in NOTICES
        ]
        user = self.find_by_address(address_key)
        known_networks = () if user is None else map(widest_network_of, self.login_networks.get(user.id, ()))
        return self._rules.free_at(now, prepared, requested_from, is_known=requested_from in known_networks)

    def drop_delayed(self, kind: MailKind, address_key: str, requested_from: str | None = None) -> None:
        """Delete the delayed emails of a kind: those that one network has requested, or all."""
        self.outbox = [
            row
            for row in self.outbox
            if row.prepared_at is not None
            or (row.mail.kind, row.address_key) != (kind, address_key)
            or requested_from not in (None, row.requested_from)
        ]

    def delay_email(
        self, kind: MailKind, address_key: str, now: datetime, due_at: datetime, requested_from: str = ""
    ) -> None:
        """Add a delayed email; it replaces a delayed one of the same kind, address and network."""
        self.drop_delayed(kind, address_key, requested_from)
        mail = Mail(new_id(), kind, "", MailState.PENDING, 0, "", now, due_at)
        self.outbox.append(OutboxRow(mail, address_key, requested_from))

    def add_email(self, kind: MailKind, address: Address, now: datetime, requested_from: str = "") -> OutboxRow:
        """Add an email that is due now."""
        mail = Mail(new_id(), kind, address.spelling, MailState.PENDING, 0, "", now, now)
        row = OutboxRow(mail, address.key, requested_from, prepared_at=now)
        self.outbox.append(row)
        return row

    def add_link(self, row: OutboxRow, purpose: Purpose, uid: str, now: datetime) -> None:
        link = EmailLink.create(uid, self._keyring)
        self.links[link.token_hash] = LinkRow(link, purpose, row.address_key, self._rules.link_expiry(now))
        row.hashes += (link.token_hash,)

    def prepare(self, row: OutboxRow, now: datetime) -> None:
        """Replace a delayed email by one email per mailbox, or delay it further while the rate limit allows none.

        A delayed email without a recipient is deleted.
        """
        key, kind = row.address_key, row.mail.kind
        user = self.find_by_address(key)
        groups: list[list[PendingRegistration]]
        if kind in ACTIVATION_KINDS:
            pending = [] if user else self.pending_registrations(key)
            if kind is MailKind.ACTIVATION:
                linked = {link_row.link.uid for link_row in self.links.values()}
                pending = [
                    registration
                    for registration in pending
                    if registration.requested_from == row.requested_from and registration.id not in linked
                ]
            pending.sort(key=lambda registration: registration.requested_from != row.requested_from)
            groups = self._by_mailbox(pending, row.mailbox)
        else:
            groups = [[]] if user is not None and user.is_active else []
        for position, group in enumerate(groups):
            due_at = now if kind in NOTICES else self.next_allowed_at(key, now, row.requested_from)
            if due_at > now:
                if position == 0:
                    row.mail = replace(row.mail, due_at=due_at)
                    return
                delayed = replace(row.mail, id=new_id(), due_at=due_at)
                self.outbox.append(OutboxRow(delayed, key, row.requested_from, mailbox=group[0].address.mailbox))
                continue
            prepared = self.add_email(kind, user.address if user else group[0].address, now, row.requested_from)
            prepared.mail = replace(prepared.mail, created_at=row.mail.created_at)
            if kind is MailKind.PASSWORD_RESET and user:
                self.add_link(prepared, Purpose.RESET, user.id, now)
            renewed = {registration.id for registration in group}
            self.links = {hashed: other for hashed, other in self.links.items() if other.link.uid not in renewed}
            for registration in group:
                self.add_link(prepared, Purpose.ACTIVATE, registration.id, now)
        self.outbox.remove(row)

    @staticmethod
    def _by_mailbox(pending: list[PendingRegistration], mailbox: str | None) -> list[list[PendingRegistration]]:
        groups: dict[str, list[PendingRegistration]] = {}
        for registration in pending:
            groups.setdefault(registration.address.mailbox, []).append(registration)
        return [group[:MAX_LINKS] for name, group in groups.items() if mailbox in (None, name)]

    def with_links(self, row: OutboxRow) -> Mail:
        """The email with those of its links that are still valid."""
        links = (self.links[hashed].link for hashed in row.hashes if hashed in self.links)
        return replace(row.mail, links=tuple(links))

    def extend_links(self, row: OutboxRow, now: datetime) -> None:
        """Restart the validity of the links of an email: they expire `link_ttl` from now."""
        for hashed in row.hashes:
            if hashed in self.links:
                self.links[hashed].expires_at = self._rules.link_expiry(now)

    @property
    def link_ttl(self) -> timedelta:
        return self._rules.link_ttl
