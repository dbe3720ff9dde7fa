"""Mails: kept beside what they tell of until a server has taken them, so that none is lost.

A mail is *due* when it may go out, *made* when its links exist, *claimed* while one process holds its lease, and in the
end sent or dead.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from movie_core.accounts.keyring import Keyring, new_token, token_hash
from movie_core.quotas import Rate, free_at

LEASE = timedelta(seconds=20)
"""How long a process may hold a mail; what a killed one held goes out after that."""
SEND_SECONDS = 12.0
"""How long one try to send may take; well below the lease."""
BATCH = 20
"""Mails claimed at a time."""
RENEWED = 3
"""Registrations that one mail has links for, when it is made late."""
TOTAL = 4
"""Factor of the limit of mails from all networks together to the limit of one network."""
RETRY_SECONDS = (2, 5, 15, 45, 60, 300, 300)
"""Waits after the tries of a mail that its server puts off; after one more try it is dead."""
MAX_TRIES = len(RETRY_SECONDS) + 1
AWAY_SECONDS = (1, 2, 5, 10, 15)
"""Waits while no server can be reached; that is no mail's fault, so it goes on for ever, the last one repeated."""
MAX_ERROR = 300
"""Characters kept of a server's answer."""
MAX_TALLY = 100_000
"""Mails of one state that are counted."""

_log = logging.getLogger(__name__)


class MailKind(StrEnum):
    ACTIVATION = "activation"
    ACTIVATION_RENEWAL = "activation_renewal"
    """An activation mail that was requested again."""
    ADDRESS_TAKEN = "address_taken"
    """To the owner of an account, when somebody registers its address."""
    PASSWORD_RESET = "password_reset"  # noqa: S105
    PASSWORD_CHANGED = "password_changed"  # noqa: S105
    SESSIONS_ENDED = "sessions_ended"
    ACCOUNT_ERASED = "account_erased"
    TEST = "test"
    """Asked for by an operator, sent at once and kept nowhere."""


FOR_ACCOUNTS = frozenset(
    (MailKind.PASSWORD_RESET, MailKind.PASSWORD_CHANGED, MailKind.SESSIONS_ENDED, MailKind.ACCOUNT_ERASED)
)
"""Kinds that only somebody who has an account gets, and that strangers' registrations must not delay."""
NOTICES = FOR_ACCOUNTS - {MailKind.PASSWORD_RESET}
"""Kinds that say what has happened to an account. No limit holds them back, as strangers could use it up."""
ACTIVATIONS = frozenset((MailKind.ACTIVATION, MailKind.ACTIVATION_RENEWAL))

SUBJECTS = {
    MailKind.ACTIVATION: "Activate your account",
    MailKind.ACTIVATION_RENEWAL: "Activate your account",
    MailKind.ADDRESS_TAKEN: "You have an account already",
    MailKind.PASSWORD_RESET: "Choose a new password",
    MailKind.PASSWORD_CHANGED: "Your password was changed",
    MailKind.SESSIONS_ENDED: "Sessions of your account were ended",
    MailKind.ACCOUNT_ERASED: "Your account was deleted",
    MailKind.TEST: "Test mail",
}


class MailState(StrEnum):
    PENDING = "pending"
    SENT = "sent"
    DEAD = "dead"
    """Given up: the server refuses it for good, or put it off too often."""


class Purpose(StrEnum):
    ACTIVATE = "activate"
    RESET = "reset"


@dataclass(frozen=True, slots=True)
class MailRules:
    """What stores need to know to make mails."""

    link_ttl: timedelta
    """How long a mailed link is good, from the last try to send it."""
    limit: Rate | None
    """Mails of all kinds to one address that one network may request; further ones wait."""

    @property
    def total(self) -> Rate | None:
        """Mails to one address that all networks together may request."""
        return None if self.limit is None else self.limit.times(TOTAL)

    def free_at(
        self, now: datetime, made: Sequence[tuple[datetime, str]], requested_from: str, *, is_known: bool = False
    ) -> datetime:
        """When the next mail to an address may be made. `made` has the time and requesting network of each earlier one.
        `is_known`: the account has logged in from this network, so the total of all networks does not apply."""
        own = free_at(now, self.limit, [at for at, network in made if network == requested_from])
        return own if is_known else max(own, free_at(now, self.total, [at for at, _ in made]))


@dataclass(frozen=True, slots=True)
class NewLink:
    """A link that was just made; the token itself is nowhere but under its seal."""

    uid: str
    hashed: str
    sealed: str

    @classmethod
    def make(cls, uid: str, keys: Keyring) -> "NewLink":
        token = new_token()
        return cls(uid, token_hash(token), keys.encrypt_token(token))


@dataclass(frozen=True, slots=True)
class EmailLink:
    """One link of a mail."""

    uid: str
    hashed: str
    sealed: str


@dataclass(frozen=True, slots=True)
class Mail:
    """A row of the outbox. `recipient` is empty until the mail is made."""

    id: str
    kind: MailKind
    recipient: str
    state: MailState
    attempts: int
    last_error: str
    created_at: datetime
    due_at: datetime
    sent_at: datetime | None = None
    links: tuple[EmailLink, ...] = ()


@dataclass(frozen=True, slots=True)
class OutboxStats:
    """How the outbox is doing."""

    counts: Mapping[MailState, int]
    """Mails in each state; where there are more than `MAX_TALLY`, that many."""
    waiting_since: datetime | None
    """Since when the oldest mail waits that could have gone out; None where there is none."""


@dataclass(frozen=True, slots=True)
class OutgoingEmail:
    """A mail as a `Mailer` takes it."""

    mail_id: str
    """The Message-ID is made of it, so that whoever gets a mail twice sees that it is the same."""
    kind: MailKind
    recipient: str
    created_at: datetime
    links: tuple[str, ...]
    """The URL of each link, that of the newest registration first."""


class MailRejected(Exception):
    """The server won't take this mail: for good, or for now. `detail` is its answer, without anything secret."""

    def __init__(self, detail: str, *, is_final: bool) -> None:
        super().__init__(detail)
        self.detail = detail
        self.is_final = is_final


class MailUnavailable(Exception):
    """No server can be reached, or it takes no mail at all; no mail is to blame."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


def link_url(public_url: str, kind: MailKind, uid: str, token: str) -> str:
    """Where a mailed link leads."""
    path = "password/reset" if kind is MailKind.PASSWORD_RESET else "verify-email"
    return f"{public_url}/api/v1/authentication/{path}/{uid}/{token}/"


def after_refusal(mail: Mail, refused: MailRejected, now: datetime) -> Mail:
    """The mail after a try that its server refused."""
    tried = replace(mail, attempts=mail.attempts + 1, last_error=refused.detail[:MAX_ERROR])
    if refused.is_final or tried.attempts >= MAX_TRIES:
        return replace(tried, state=MailState.DEAD)
    return replace(tried, due_at=now + timedelta(seconds=RETRY_SECONDS[tried.attempts - 1]))
