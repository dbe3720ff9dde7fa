"""The transactional outbox: emails are stored in the transaction that causes them and deleted only after a server has
accepted them, so that none is lost.

An email is *due* from the time at which it may be sent, *prepared* once its recipient and links are set, *claimed*
while a process holds its lease, and finally *sent* or *dead* (a dead letter).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from movie_core.accounts.keyring import Keyring, new_token, token_hash
from movie_core.quotas import Rate, free_at

LEASE = timedelta(seconds=20)
"""Duration of the lease of an email. The emails of a killed process are sent by another one after it."""
SEND_SECONDS = 12.0
"""Timeout of one attempt to send; well below the lease."""
BATCH = 20
"""Emails claimed at a time."""
MAX_LINKS = 3
"""Maximum number of registrations for which one delayed email has links."""
ALL_NETWORKS_FACTOR = 4
"""The limit of emails requested from all networks together, as a multiple of the limit of one network."""
RETRY_SECONDS = (2, 5, 15, 45, 60, 300, 300)
"""Delays after the attempts of an email that the server rejects temporarily; after one more attempt it is dead."""
MAX_ATTEMPTS = len(RETRY_SECONDS) + 1
UNAVAILABLE_SECONDS = (1, 2, 5, 10, 15)
"""Delays while no server is reachable, the last one repeated indefinitely; these attempts do not count, as no email
causes them."""
MAX_ERROR = 300
"""Characters stored of a server's reply."""
MAX_COUNT = 100_000
"""Maximum count of emails of one state."""


class MailKind(StrEnum):
    ACTIVATION = "activation"
    ACTIVATION_RENEWAL = "activation_renewal"
    """An activation email that was requested again."""
    ADDRESS_TAKEN = "address_taken"
    """Notifies a user that another registration used the address."""
    PASSWORD_RESET = "password_reset"  # noqa: S105
    PASSWORD_CHANGED = "password_changed"  # noqa: S105
    SESSIONS_ENDED = "sessions_ended"
    ACCOUNT_ERASED = "account_erased"
    TEST = "test"
    """Requested by an operator; sent immediately and not stored."""


USER_KINDS = frozenset(
    (MailKind.PASSWORD_RESET, MailKind.PASSWORD_CHANGED, MailKind.SESSIONS_ENDED, MailKind.ACCOUNT_ERASED)
)
"""Kinds that only users get. They are sent before the others, so that registrations by strangers do not delay them."""
NOTICES = USER_KINDS - {MailKind.PASSWORD_RESET}
"""Kinds that notify users of a change of their account. No rate limit applies:
strangers could exhaust it and so suppress the notice."""
ACTIVATION_KINDS = frozenset((MailKind.ACTIVATION, MailKind.ACTIVATION_RENEWAL))

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
    """The server rejected it permanently, or temporarily too often (a dead letter)."""


class Purpose(StrEnum):
    ACTIVATE = "activate"
    RESET = "reset"


@dataclass(frozen=True, slots=True)
class MailRules:
    """The validity of links and the rate limit of emails."""

    link_ttl: timedelta
    """Validity of a link, from the last attempt to send it."""
    limit: Rate | None
    """Rate limit of emails of all kinds to one address requested from one network; further ones are delayed."""

    def link_expiry(self, now: datetime) -> datetime:
        """Returns when a mailed link expires that is created, renewed or sent at `now`."""
        return now + self.link_ttl

    @property
    def total(self) -> Rate | None:
        """Rate limit of emails to one address requested from all networks together."""
        return None if self.limit is None else self.limit.multiplied(ALL_NETWORKS_FACTOR)

    def free_at(
        self, now: datetime, earlier: Sequence[tuple[datetime, str]], requested_from: str, *, is_known: bool = False
    ) -> datetime:
        """Returns when the next email to an address may be prepared. `earlier` has the time and requesting network of
        each earlier one. `is_known`: the user has logged in from this network, so the total of all networks does not
        apply."""
        network_free_at = free_at(now, self.limit, [at for at, network in earlier if network == requested_from])
        if is_known:
            return network_free_at
        return max(network_free_at, free_at(now, self.total, [at for at, _ in earlier]))


@dataclass(frozen=True, slots=True)
class EmailLink:
    """A link of an email. Its token is stored as a hash, and encrypted until the email is sent."""

    uid: str
    """The id of the registration or user that the link is for."""
    token_hash: str
    encrypted_token: str

    @classmethod
    def create(cls, uid: str, keyring: Keyring) -> "EmailLink":
        """Creates a link with a new token."""
        token = new_token()
        return cls(uid, token_hash(token), keyring.encrypt_token(token))


@dataclass(frozen=True, slots=True)
class Mail:
    """A record of the outbox. `recipient` is empty until the email is prepared."""

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
    """Statistics of the outbox."""

    counts: Mapping[MailState, int]
    """Number of emails by state, at most `MAX_COUNT` each."""
    oldest_pending_since: datetime | None
    """Since when the oldest due email has been waiting; None without one."""


@dataclass(frozen=True, slots=True)
class OutgoingEmail:
    """An email as passed to a `Mailer`."""

    mail_id: str
    """The Message-ID is derived from it, so that a duplicate is recognisable."""
    kind: MailKind
    recipient: str
    created_at: datetime
    links: tuple[str, ...]
    """The URL of each link, the newest registration first."""


class MailRejected(Exception):
    """The server rejected this email, permanently if `is_final`. `detail` is its reply without secrets."""

    def __init__(self, detail: str, *, is_final: bool) -> None:
        super().__init__(detail)
        self.detail = detail
        self.is_final = is_final


class MailUnavailable(Exception):
    """No server is reachable, or it accepts no email at all. The email is not the cause."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


def link_url(public_url: str, kind: MailKind, uid: str, token: str) -> str:
    """Returns the URL of a link in an email."""
    path = "password/reset" if kind is MailKind.PASSWORD_RESET else "verify-email"
    return f"{public_url}/api/v1/authentication/{path}/{uid}/{token}/"


def after_rejection(mail: Mail, rejection: MailRejected, now: datetime) -> Mail:
    """Returns the email's record after an attempt that the server rejected: dead, or due after a delay."""
    attempted = replace(mail, attempts=mail.attempts + 1, last_error=rejection.detail[:MAX_ERROR])
    if rejection.is_final or attempted.attempts >= MAX_ATTEMPTS:
        return replace(attempted, state=MailState.DEAD)
    return replace(attempted, due_at=now + timedelta(seconds=RETRY_SECONDS[attempted.attempts - 1]))
