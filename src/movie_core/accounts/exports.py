"""The data stored about an address, as exported to its user: without hashes and tokens."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from movie_core.accounts.outbox import MailKind, MailState


@dataclass(frozen=True, slots=True)
class ExportedAccount:
    """A user."""

    id: str
    email: str
    username: str
    created_at: datetime
    is_active: bool
    is_staff: bool
    record_events: bool
    last_login: datetime | None


@dataclass(frozen=True, slots=True)
class ExportedRegistration:
    """A pending registration."""

    id: str
    email: str
    username: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class ExportedSession:
    """A session; `expires_at` is that of its refresh token."""

    id: str
    device: str
    created_at: datetime
    last_used_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class LoginNetwork:
    """A network from which the user has logged in."""

    network: str
    last_used_at: datetime


@dataclass(frozen=True, slots=True)
class ExportedMail:
    """An email of the outbox; `recipient` is empty until it is prepared."""

    id: str
    kind: MailKind
    recipient: str
    state: MailState
    attempts: int
    last_error: str
    created_at: datetime
    due_at: datetime
    sent_at: datetime | None


@dataclass(frozen=True, slots=True)
class AccountExport:
    """All data about an address in an `AccountDataRepo`."""

    account: ExportedAccount | None
    """None without a user."""
    registrations: Sequence[ExportedRegistration] = ()
    sessions: Sequence[ExportedSession] = ()
    login_networks: Sequence[LoginNetwork] = ()
    mails: Sequence[ExportedMail] = ()


@dataclass(frozen=True, slots=True)
class UserExport:
    """All data about an address and its user, over every store."""

    account: AccountExport
    personal: tuple[object, ...] = ()
    """The export of each other store (`PersonalData.export`), a dataclass; no two have a field of the same name."""
