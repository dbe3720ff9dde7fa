"""Who uses the service: addresses, usernames and passwords, and when two of them are the same."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

MAX_ADDRESS = 254
"""Bytes of an address (RFC 5321 allows no more in a path)."""
MAX_USERNAME = 30
"""Characters, once normalised."""
MAX_PASSWORD = 1024
"""Bytes; longer ones are refused, never cut."""
MIN_STRENGTH = 3
"""Of zxcvbn's 0 to 4: from 3 on a password withstands a stolen database for a while."""
TOO_SIMILAR = 0.7
"""Share of characters in common with the address or username from which a password is refused, as Django has it."""

MAX_PENDING = 50
"""Pending registrations of one address. A further one removes the oldest one of the network that has most of them, so
that it takes as many networks to push out a registration of another one."""
REPEAT = timedelta(seconds=10)
"""How long the same registration sent again counts as the same."""

_ASCII_CASE = str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz")


@dataclass(frozen=True, slots=True)
class Address:
    """An e-mail address as it was given, and what makes it unique."""

    spelling: str
    """Where mail goes."""
    key: str
    """The same for all spellings of one address: local part by casefold, domain as IDNA in lower case."""

    @property
    def mailbox(self) -> str:
        """Spellings with the same mailbox surely reach the same person. Casefold joins more (ß and ss) than mail
        servers do, so what is secret goes to the mailbox that asked for it only."""
        local, _, _ = self.spelling.rpartition("@")
        return f"{local.translate(_ASCII_CASE)}@{self.key.rpartition('@')[2]}"


@dataclass(frozen=True, slots=True)
class Username:
    """A name as it is shown, and what makes it unique."""

    shown: str
    key: str
    """The same for names that differ in case only."""
    skeleton: str | None = None
    """The same for names that look alike (UTS 39); None where it isn't known, as of accounts made by earlier versions.
    """


@dataclass(frozen=True, slots=True)
class User:
    """Somebody who has activated an address. `password_hash` is in the hasher's own format."""

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
class Registration:
    """What somebody asked for who may or may not own the address. Its id becomes the account's."""

    id: str
    address: Address
    username: Username
    password_hash: str
    created_at: datetime
    requested_from: str = ""
    """The widest network (see `limits.networks_of`) that the request came from; empty where it isn't known."""


class UserState(StrEnum):
    """Which accounts and registrations are meant."""

    ACCOUNT = "account"
    """Any account, so no registration that waits."""
    ACTIVE = "active"
    INACTIVE = "inactive"
    STAFF = "staff"
    """Accounts of staff, active or not."""
    PENDING = "pending"
    """Registrations that wait for their activation."""
