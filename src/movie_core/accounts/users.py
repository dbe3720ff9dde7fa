"""Users and pending registrations, and the keys that make addresses and usernames unique."""

import unicodedata
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

MAX_ADDRESS = 254
"""Bytes of an email address; the limit of RFC 5321 for a path."""
MAX_USERNAME = 30
"""Characters of a normalised username."""
MAX_PASSWORD = 1024
"""Bytes of a password. Longer ones are rejected, never truncated."""
MIN_STRENGTH = 3
"""Minimum zxcvbn score, 0 to 4. Score 3 gives moderate protection against offline attacks on a slow hash."""
MAX_SIMILARITY = 0.7
"""Similarity to the address or username, 0 to 1, from which a password is rejected; the same value as in Django."""

MAX_PENDING = 50
"""Pending registrations of one address. A further one deletes the oldest of the network that has most of them, so that
displacing a registration of another network takes this number of networks."""
REPEAT = timedelta(seconds=10)
"""An identical registration within this time counts as a repeat of the same request."""

_ASCII_CASE = str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz")


def address_key(local: str, domain: str) -> str:
    """Returns the `Address.key` of a local part and a domain in IDNA."""
    return f"{unicodedata.normalize('NFC', local.casefold())}@{domain.lower()}"


@dataclass(frozen=True, slots=True)
class Address:
    """An email address as entered, with the key that makes it unique."""

    spelling: str
    """The address as entered; email is sent to it."""
    key: str
    """Equal for all spellings of one address: casefolded local part, domain as IDNA in lower case."""

    @property
    def mailbox(self) -> str:
        """Equal for spellings that certainly reach the same mailbox. Casefolding equates more than mail servers do (ß
        and ss), so secrets are sent only to the mailbox that requested them."""
        local, _, _ = self.spelling.rpartition("@")
        return f"{local.translate(_ASCII_CASE)}@{self.key.rpartition('@')[2]}"


@dataclass(frozen=True, slots=True)
class Username:
    """A username as displayed, with the keys that make it unique."""

    shown: str
    key: str
    """Equal for usernames that differ in case only."""
    skeleton: str | None = None
    """Equal for usernames that look alike (UTS 39); None if unknown, as for users created by earlier versions."""


@dataclass(frozen=True, slots=True)
class User:
    """A user with an activated address. `password_hash` has the format of the `PasswordHasher`."""

    id: str
    address: Address
    username: Username
    password_hash: str
    is_active: bool
    is_staff: bool
    record_events: bool
    created_at: datetime
    last_login: datetime | None = None


@dataclass(frozen=True, slots=True)
class PendingRegistration:
    """A pending registration. The registrant may not own the address. Its id becomes the id of the user."""

    id: str
    address: Address
    username: Username
    password_hash: str
    created_at: datetime
    requested_from: str = ""
    """The widest network (see `rate_limits.networks_of`) of the request; empty if unknown."""


@dataclass(frozen=True, slots=True)
class UserSummary:
    """A user or a pending registration, as listed for staff."""

    id: str
    address: Address
    username: Username
    is_pending: bool
    is_active: bool
    is_staff: bool
    created_at: datetime
    last_login: datetime | None


class UserState(StrEnum):
    """A filter of users and pending registrations."""

    ACCOUNT = "account"
    """All users, without pending registrations."""
    ACTIVE = "active"
    INACTIVE = "inactive"
    STAFF = "staff"
    """Users with staff rights, active or not."""
    PENDING = "pending"
    """Registrations that are not activated yet."""


@dataclass(frozen=True, slots=True)
class ActivationLink:
    """A valid activation link, or one that has activated its user."""

    registration: PendingRegistration | None
    """The registration that the link activates; None if the link was used already."""
    is_only: bool
    """Whether all pending registrations of the address have the same mailbox, username and password hash; then the link
    works without a password."""


@dataclass(frozen=True, slots=True)
class ActivationResult:
    """Result of using an activation link."""

    user: User
    is_new: bool
    """False if the same link had activated the user before."""
