"""Ports of accounts: users and registrations, sessions, the outbox, email, passwords and tokens."""

from abc import abstractmethod
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Protocol

from movie_core.accounts.exports import AccountExport
from movie_core.accounts.outbox import Mail, MailState, OutboxStats, OutgoingEmail
from movie_core.accounts.sessions import AccessClaims, RotationResult, Session
from movie_core.accounts.users import (
    ActivationLink,
    ActivationResult,
    Address,
    PendingRegistration,
    User,
    Username,
    UserState,
    UserSummary,
)
from movie_core.paging import Window


class UserRepo(Protocol):
    """A repository of users. Every method is one transaction and raises `StoreUnavailable` within seconds if the store
    is unavailable; the same holds for the other repositories of accounts. Methods that end sessions return the ids of
    these sessions.
    """

    @abstractmethod
    async def find(self, user_id: str) -> User | None:
        """1. Returns the user with this id, active or not."""

    @abstractmethod
    async def find_by_address(self, address_key: str) -> User | None:
        """2. Returns the user with this address, active or not."""

    @abstractmethod
    async def login_networks(self, address_key: str) -> Sequence[str]:
        """3. Returns the networks from which the user with this address has logged in, most recent first. The work is
        the same if there is no such user.
        """

    @abstractmethod
    async def change_profile(
        self, user_id: str, *, username: Username | None = None, record_events: bool | None = None
    ) -> User:
        """4. Changes the given fields. Raises `UserNotFound`, and `UsernameTaken` if another user has the username or
        one with the same skeleton."""

    @abstractmethod
    async def set_active(self, address_key: str, is_active: bool, now: datetime) -> Sequence[str]:
        """5. True activates the user, or the newest registration of a pending address, as its link would. False
        deactivates the user and ends all sessions. Raises `UserNotFound`, also for deactivating a pending address, and
        `UsernameTaken`.
        """

    @abstractmethod
    async def set_staff(self, address_key: str, is_staff: bool) -> None:
        """6. Grants or revokes staff rights. Raises `UserNotFound`, also for a pending address."""


class UserDirectory(Protocol):
    """The list of users and pending registrations, for staff."""

    @abstractmethod
    async def list_users(
        self, window: Window, address_key: str | None = None, *, search: str = "", state: UserState | None = None
    ) -> tuple[int, Sequence[UserSummary]]:
        """1. Returns the number of users and pending registrations, and those in the window: newest first, then by id.
        `address_key` and `state`, if given, filter them. `search` is a case-insensitive substring of the address or
        username without wildcards.
        """

    @abstractmethod
    async def find_summary(self, user_id: str) -> UserSummary | None:
        """2. Returns the user or pending registration with this id. Any string is accepted."""


class RegistrationRepo(Protocol):
    """A repository of pending registrations.

    1. Addresses are unique among users, and so are usernames, each compared by key, also under concurrent calls.
       Registrations reserve neither.
    """

    @abstractmethod
    async def register(self, registration: PendingRegistration, now: datetime) -> None:
        """2. Stores the registration and its email with one new link, in one transaction; other registrations of the
        address are unaffected. If a user has the address, stores an `ADDRESS_TAKEN` email to that user instead, does
        the same work, and leaves no other trace of the registration.
        3. Raises `UsernameTaken` if a user has the username or one with the same skeleton, whatever the address.
        4. Does nothing if a registration with the same mailbox, username and password hash is at most `users.REPEAT`
           old.
        5. An email beyond the limit of its address is delayed (see `Outbox`). An address has at most
           `users.MAX_PENDING` registrations: a further one deletes the oldest of the network that has most of them.
        """

    @abstractmethod
    async def request_activation(self, address_key: str, now: datetime, *, requested_from: str = "") -> None:
        """6. Stores a request for an `ACTIVATION_RENEWAL` email to an address, due now. It replaces a pending request
        for the same address and network. Does not check whether the address has registrations, so that the work is
        the same; the outbox checks that later.
        """

    @abstractmethod
    async def find_activation_link(self, uid: str, token_hash: str, now: datetime) -> ActivationLink:
        """7. Returns the registration of a valid link, and none for a link that was used. Raises `InvalidLink` for any
        other link. Changes nothing.
        """

    @abstractmethod
    async def activate(
        self, uid: str, token_hash: str, now: datetime, *, password_hash: str | None = None
    ) -> ActivationResult:
        """8. Creates the user from the link's registration, with the registration's id and this password hash. All
        registrations of the address and their links are deleted, except this link; using it again returns `is_new`
        False. Without `password_hash` that of the registration is used if the link `is_only`; otherwise raises
        `PasswordRequired`.
        9. Raises `InvalidLink` for a link that is unknown, expired, superseded, or of another uid or purpose, and
           `UsernameTaken` if a user has got the username, or one with the same skeleton, since. Then nothing changes.
        """

    @abstractmethod
    async def create_user(self, registration: PendingRegistration, now: datetime) -> User | None:
        """10. Creates an active user from a registration that is not stored, without an email, and deletes the
        registrations of the address; None, changing nothing, if a user has the address. Raises `UsernameTaken`.
        """


class PasswordResetRepo(Protocol):
    """A repository for resetting passwords by a mailed link, and changing them by the current password. Either deletes
    all reset links of the user, stores a `PASSWORD_CHANGED` email, and returns the ids of the ended sessions.
    """

    @abstractmethod
    async def request_reset(self, address_key: str, now: datetime, *, requested_from: str = "") -> None:
        """1. Stores a request for a `PASSWORD_RESET` email to an address, due now. It replaces a pending request for
        the same address and network. Does not check whether the address belongs to a user, so that the work is the
        same; the outbox checks that later.
        """

    @abstractmethod
    async def find_reset_user(self, uid: str, token_hash: str, now: datetime) -> User:
        """2. Returns the user whose password the link resets. Raises `InvalidLink` for a link that is unknown, expired,
        or of another uid or purpose, and for an inactive user. Changes nothing."""

    @abstractmethod
    async def reset_password(self, uid: str, token_hash: str, password_hash: str, now: datetime) -> Sequence[str]:
        """3. Sets the password and ends all sessions of the user. Raises `InvalidLink`."""

    @abstractmethod
    async def change_password(
        self, user_id: str, old_hash: str, new_hash: str, *, except_session_id: str, now: datetime
    ) -> Sequence[str] | None:
        """4. Replaces the password by compare-and-swap: returns None, changing nothing, unless `old_hash` is the stored
        hash. Ends all sessions but `except_session_id`.
        """


class AccountDataRepo(Protocol):
    """Export, erasure and retention of the data of accounts."""

    @abstractmethod
    async def export(self, address_key: str) -> AccountExport:
        """1. Returns all data stored about an address, except hashes and encrypted tokens."""

    @abstractmethod
    async def erase(self, address_key: str, now: datetime) -> Sequence[str]:
        """2. Deletes all data about the address: user, registrations, links, sessions, emails in any state. If a user
        was deleted, one `ACCOUNT_ERASED` email is stored until it is sent. Returns the ids of the ended sessions.
        """

    @abstractmethod
    async def purge(self, now: datetime) -> int:
        """3. Deletes expired data and returns the number of deleted records: sessions whose refresh token has expired
        and used refresh tokens that have expired; records of ended sessions after a day; registrations and links 7 days
        after the link has ended, unless they have a pending email; sent emails after 30 days.
        """


class SessionRepo(Protocol):
    """A repository of sessions and of hashes of their refresh tokens."""

    @abstractmethod
    async def start(
        self,
        session: Session,
        refresh_hash: str,
        expires_at: datetime,
        *,
        password_hash: str,
        new_password_hash: str | None = None,
        network: str = "",
    ) -> Sequence[str]:
        """1. Stores a new session, the user's `last_login`, and the network of the login, if given. A user has at most
        `sessions.MAX_SESSIONS` sessions and `sessions.MAX_NETWORKS` networks; the least recently used ones are deleted.
        Returns the ids of deleted sessions.
        2. `new_password_hash` is a new hash of the same password and replaces the stored one.
        3. Raises `InvalidCredentials`, changing nothing, if the user is inactive or deleted, or if the stored hash is
           no longer `password_hash`, which was verified: a login in progress starts no session after a change of the
           password.
        """

    @abstractmethod
    async def rotate(
        self,
        refresh_hash: str,
        successors: Sequence[str],
        now: datetime,
        expires_at: datetime,
        *,
        lifetime: timedelta | None = None,
    ) -> RotationResult | None:
        """4. Exchanges an unused, unexpired token for the first of `successors` (hashes), which expires at
        `expires_at`. Exactly one of any number of concurrent callers succeeds; the others find the token used. No token
        of a session is valid longer than `lifetime` after its login.
        5. A used token is classified by `sessions.classify_reuse`: a repeat returns the same successor as before, which
           is one of `successors`; a theft ends the session.
        6. Returns None for an unknown or expired token, an ended session and a theft.
        """

    @abstractmethod
    async def list_for_user(self, user_id: str) -> Sequence[Session]:
        """7. Returns the sessions of a user, most recently used first."""

    @abstractmethod
    async def end(
        self,
        user_id: str,
        now: datetime,
        *,
        session_id: str | None = None,
        except_session_id: str | None = None,
        notify: bool = False,
    ) -> Sequence[str]:
        """8. Ends one session, all but one, or all, and revokes their tokens. Returns the ids of the ended sessions.
        `notify` stores a `SESSIONS_ENDED` email if any session has ended.
        """

    @abstractmethod
    async def find(self, session_id: str) -> Session | None:
        """9. Returns None for an ended or unknown session. Any string is accepted."""

    @abstractmethod
    async def ended_since(self, since: datetime) -> Sequence[str]:
        """10. Returns every session that ended at or after `since`, for any reason; available for a day."""

    @abstractmethod
    async def find_owner(self, refresh_hash: str) -> str | None:
        """11. Returns the id of the user of a refresh token, used or not; None for an unknown token."""


class Mailer(Protocol):
    """A sender of email."""

    @abstractmethod
    async def send(self, email: OutgoingEmail) -> None:
        """1. Returns once the server has accepted the message. Raises `outbox.MailRejected` if the server rejects this
        message (temporarily or permanently) and `outbox.MailUnavailable` if it would accept no message, within
        `outbox.SEND_SECONDS`. Sending again sends an identical message: same Message-ID, same text. No text in a
        message can add a header or a recipient.
        """

    @abstractmethod
    async def erase(self, address: Address) -> None:
        """2. Deletes the messages to this address that this mailer stores, if it stores any."""


class Outbox(Protocol):
    """A transactional outbox of emails. Every method raises `StoreUnavailable` if the store is unavailable.

    1. In any window an address gets at most the limit of `MailRules` in emails requested from one network, of all kinds
       together, counted when emails are prepared; and at most `outbox.ALL_NETWORKS_FACTOR` times that limit in emails
       requested from all networks. The total does not apply to a network from which the user has logged in.
       `outbox.NOTICES` neither count nor wait. A delayed email has no links yet, and earlier links stay valid. At most
       one email per address, kind and network is delayed; it is dropped only when a newer one of the same kind and
       network replaces it.
    2. A delayed `ACTIVATION` email is prepared with links for the `outbox.MAX_LINKS` newest pending registrations of
       the address and network that have no link yet. An `ACTIVATION_RENEWAL` email has new links for the same number of
       pending registrations of the address, those of its network first, then the newest; their earlier links end.
       Registrations of another mailbox get a separate email. A `PASSWORD_RESET` email leaves earlier reset links valid.
       An email without a recipient (no pending registration, no active user) is deleted; any number of these delays no
       other email.
    """

    @abstractmethod
    async def claim(self, owner: str, now: datetime, limit: int, lease: timedelta) -> Sequence[Mail]:
        """3. Prepares the emails that are due, then leases due emails: those of `outbox.USER_KINDS` first, then the
        oldest. No email is leased twice until its lease expires. The links of leased emails are valid for
        `link_ttl` of the rules from `now`.
        """

    @abstractmethod
    async def complete(self, owner: str, mail: Mail) -> bool:
        """4. Stores state, attempts, last error, due time and sent time of an email and ends its lease; False, changing
        nothing, if the owner has lost the lease. Deletes the encrypted tokens of a sent email, and the whole record of
        an `ACCOUNT_ERASED` email that is sent or dead.
        """

    @abstractmethod
    async def release(self, owner: str, mail_ids: Sequence[str]) -> None:
        """5. Ends leases that the owner still holds, as if the emails had not been claimed."""

    @abstractmethod
    async def list_page(self, window: Window, state: MailState | None = None) -> tuple[int, Sequence[Mail]]:
        """6. Returns the number of emails and those in the window: newest first, then by id, without links."""

    @abstractmethod
    async def retry(self, mail_ids: Sequence[str] | None, now: datetime) -> Sequence[str]:
        """7. Makes dead emails pending and due, with 0 attempts and valid links; None retries all dead emails. Returns
        the ids of those that were dead.
        """

    @abstractmethod
    async def stats(self, now: datetime) -> OutboxStats:
        """8. Returns the number of emails by state, at most `outbox.MAX_COUNT` of each. The wait of an email begins
        when it is prepared, or else when it is due, so a delay by a rate limit does not count.
        """

    @abstractmethod
    async def find(self, mail_id: str) -> Mail | None:
        """9. Returns one email without its links. Any string is accepted."""


class DeliveryNotifier(Protocol):
    """A wake-up signal for the outbox dispatcher. Only a hint: without it, due emails are delivered seconds later."""

    @abstractmethod
    async def notify(self) -> None:
        """1. Returns within 0.1 s and never raises."""


class PasswordHasher(Protocol):
    """Slow hashing of passwords, outside the event loop and with limited concurrency."""

    @abstractmethod
    async def hash(self, password: str, *, salt: bytes | None = None, queue: str = "") -> str:
        """1. Returns a hash: with a salt of 16 bytes the same for the same password, otherwise a different one each
        time. Raises `Busy`."""

    @abstractmethod
    async def verify(self, password: str, password_hash: str | None, *, queue: str = "") -> bool:
        """2. Returns whether the hash belongs to this password. For None or a malformed hash it does the same work and
        returns False. Raises `Busy`."""

    @abstractmethod
    def is_outdated(self, password_hash: str) -> bool:
        """3. Returns whether the hash has lower parameters than `hash` uses.
        4. Queues are served in turn (round robin): however many passwords wait in one user's queue, one in another
           user's queue is checked soon.
        """


class AccessTokens(Protocol):
    """Signed tokens that carry `AccessClaims`."""

    @abstractmethod
    def issue(self, claims: AccessClaims) -> str:
        """1. Returns a token that `read` accepts."""

    @abstractmethod
    def read(self, token: str) -> AccessClaims:
        """2. Returns the claims of an unexpired token with a valid signature; raises `InvalidToken` for any other
        string."""


class AddressSyntax(Protocol):
    """Syntax rules of email addresses."""

    @abstractmethod
    def split(self, text: str) -> tuple[str, str]:
        """1. Returns the local part, and the domain as ASCII (IDNA) in lower case; raises `InvalidEmail`. Makes no
        network requests."""


class UsernameSyntax(Protocol):
    """Unicode's security rules for usernames (UTS 39)."""

    @abstractmethod
    def is_of_one_script(self, text: str) -> bool:
        """1. Returns whether all letters are of one script, or of a mix that Japanese, Korean or Chinese uses. Digits
        and punctuation belong to every script.
        """

    @abstractmethod
    def skeleton(self, text: str) -> str:
        """2. Returns the same value for texts that look alike or differ in case only; empty for an empty text only."""


class PasswordStrength(Protocol):
    """An estimator of how hard a password is to guess."""

    @abstractmethod
    def score(self, password: str, guesses: Sequence[str]) -> int:
        """1. Returns 0 (guessed at once) to 4 (practically never), within a few milliseconds for any password.
        `guesses` are words that an attacker would try first.
        """
