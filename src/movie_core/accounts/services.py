"""The accounts service: registration, activation, login and logout, sessions, passwords and profiles.

It does not reveal whether an address belongs to a user (user enumeration): the response and its cost are the same in
either case.
"""

import logging
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from movie_core.accounts.identifiers import parse_address, parse_username
from movie_core.accounts.keyring import Keyring, new_id, new_token, token_hash
from movie_core.accounts.outbox import MailKind
from movie_core.accounts.passwords import check_password, is_hashable, normalise_password
from movie_core.accounts.session_registry import SessionRegistry
from movie_core.accounts.sessions import MAX_DEVICE, AccessClaims, Session
from movie_core.accounts.users import Address, PendingRegistration, User
from movie_core.clock import utc_now
from movie_core.errors import (
    Invalid,
    InvalidCredentials,
    InvalidEmail,
    InvalidPassword,
    InvalidToken,
    PasswordRequired,
    ReauthenticationRequired,
    SessionNotFound,
    UserNotFound,
)
from movie_core.paging import Window
from movie_core.ports import (
    AccessTokens,
    AddressSyntax,
    DeliveryNotifier,
    Mailer,
    PasswordHasher,
    PasswordStrength,
    PersonalData,
    SessionStore,
    UsernameSyntax,
    UserRepo,
    UserSummary,
)

MAX_CALLERS = 10_000
"""Verified tokens that are cached, about 1 kB each."""
_NO_ADDRESS = "\x00"
"""Prefix of the key of a malformed address: no user has it, and the lookup costs the same."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class AccountRules:
    """Settings of `Accounts`."""

    password_min: int
    """Minimum length of a password, in characters."""
    access_ttl: timedelta
    """Lifetime of an access token."""
    refresh_ttl: timedelta
    """Lifetime of a refresh token; each refresh issues a new one."""
    session_ttl: timedelta = timedelta(days=30)
    """Maximum lifetime of a session from its login, however often it is refreshed."""
    reauthenticate_after: timedelta = timedelta(minutes=15)
    """Maximum age of a login that may erase or rename the user or end other sessions."""


@dataclass(frozen=True, slots=True)
class TokenPair:
    """The tokens of a session: a signed access token and an opaque refresh token."""

    access: str
    refresh: str


@dataclass(frozen=True, slots=True)
class Caller:
    """The authenticated user and session of a request."""

    user_id: str
    session_id: str
    expires_at: datetime
    """Expiry of the access token; UTC."""


class Accounts:
    """Registration, login, sessions and profiles of users.

    Every method raises `StoreUnavailable` if the store is unavailable, and `Busy` if too many passwords wait for
    hashing. Other errors are listed per method. Emails are queued in the outbox and sent by `OutboxDispatcher`.
    """

    def __init__(
        self,
        users: UserRepo,
        sessions: SessionStore,
        registry: SessionRegistry,
        hasher: PasswordHasher,
        tokens: AccessTokens,
        syntax: AddressSyntax,
        username_syntax: UsernameSyntax,
        strength: PasswordStrength,
        mailer: Mailer,
        notifier: DeliveryNotifier,
        keyring: Keyring,
        rules: AccountRules,
        clock: Callable[[], datetime] = utc_now,
        *,
        personal: Sequence[PersonalData] = (),
    ) -> None:
        """`personal` are the other stores of data about users; their data is exported and erased with the user."""
        self._users = users
        self._sessions = sessions
        self._registry = registry
        self._hasher = hasher
        self._tokens = tokens
        self._syntax = syntax
        self._username_syntax = username_syntax
        self._strength = strength
        self._mailer = mailer
        self._notifier = notifier
        self._keyring = keyring
        self._rules = rules
        self._clock = clock
        self._personal = tuple(personal)
        self._callers: OrderedDict[str, Caller] = OrderedDict()

    # --- registration and activation

    async def register(
        self, email: str, username: str, password: str, *, requested_from: str = ""
    ) -> PendingRegistration:
        """Stores a registration and queues an email with its activation link. If the address belongs to a user, the
        result is the same and that user gets an email instead. `requested_from` is the client's widest network (see
        `rate_limits.networks_of`), against whose rate limit the email counts.

        Raises the `Invalid` error of the first invalid field, with those of the other fields in `others`, and
        `UsernameTaken`.
        """
        errors: list[Invalid] = []
        address = name = None
        try:
            address = parse_address(email, self._syntax)
        except Invalid as error:
            errors.append(error)
        try:
            name = parse_username(username, self._username_syntax)
        except Invalid as error:
            errors.append(error)
        password = normalise_password(password)
        if address is not None and name is not None:
            try:
                check_password(
                    password, self._strength, min_length=self._rules.password_min, address=address, username=name
                )
            except Invalid as error:
                errors.append(error)
        if address is None or name is None or errors:
            first, *others = errors
            first.others = tuple(others)
            raise first
        # The salt is the same for the same mailbox and username, so the store recognises a repeated registration.
        salt = self._keyring.salt(address.mailbox, name.key)
        password_hash = await self._hasher.hash(password, salt=salt, queue=address.key)
        now = self._clock()
        registration = PendingRegistration(new_id(), address, name, password_hash, now, requested_from)
        await self._users.register(registration, now)
        await self._notifier.notify()
        return registration

    async def is_activated(self, uid: str, token: str) -> bool:
        """Returns whether an activation link was used already; raises `InvalidLink` unless it is valid or was used.
        Changes nothing."""
        return (await self._users.find_activation_link(uid, token_hash(token), self._clock())).registration is None

    async def activate(
        self,
        uid: str,
        token: str,
        device: str | None,
        *,
        password: str | None = None,
        new_password: str | None = None,
        network: str = "",
    ) -> TokenPair | None:
        """Activates a user by an activation link and logs in the device. Returns None without a device and for a link
        that was used before.

        The link proves access to the mailbox, but not that the same person registered. Therefore `password` must be
        that of the registration, or `new_password` replaces it. Neither is needed if the registration is the only one
        pending.

        Raises `InvalidLink`, `InvalidPassword`, `WeakPassword`, `PasswordRequired`, and `UsernameTaken` if another user
        has got the username since.
        """
        link_hash = token_hash(token)
        link = await self._users.find_activation_link(uid, link_hash, self._clock())
        if link.registration is None:
            return None
        password_hash = None
        if new_password is not None:
            password_hash = await self._hash_new_password(link.registration, new_password, field="new_password")
        elif password is not None:
            if not await self._verify(password, link.registration.password_hash, link.registration.address.key):
                raise InvalidPassword(
                    "this is not the password of this registration; send `new_password` to set another one",
                    field="password",
                )
            password_hash = link.registration.password_hash
        elif not link.is_only:
            raise PasswordRequired(
                "several registrations are pending for this address; send `password` (the one you registered with) or "
                "`new_password`"
            )
        activated = await self._users.activate(uid, link_hash, self._clock(), password_hash=password_hash)
        if activated.is_new:
            _log.info("account activated: account %s", activated.user.id)
        if not activated.is_new or device is None:
            return None
        return await self._start_session(activated.user, device, network=network)

    async def resend_activation(self, email: str, *, requested_from: str = "") -> None:
        """Queues an email with new links for the pending registrations of this address, if there are any; raises
        `InvalidEmail`."""
        await self._request_mail(MailKind.ACTIVATION_RENEWAL, email, requested_from)

    # --- passwords

    async def forgot_password(self, email: str, *, requested_from: str = "") -> None:
        """Queues an email with a password reset link, if a user has this address; raises `InvalidEmail`."""
        await self._request_mail(MailKind.PASSWORD_RESET, email, requested_from)

    async def check_reset_link(self, uid: str, token: str) -> None:
        """Raises `InvalidLink` unless the link can reset a password. Changes nothing."""
        await self._users.find_reset_user(uid, token_hash(token), self._clock())

    async def reset_password(self, uid: str, token: str, password: str) -> None:
        """Sets a new password by a reset link and ends all sessions. Raises `InvalidLink`, `WeakPassword`."""
        link_hash = token_hash(token)
        user = await self._users.find_reset_user(uid, link_hash, self._clock())
        new_hash = await self._hash_new_password(user, password)
        self._registry.mark_ended(await self._users.reset_password(uid, link_hash, new_hash, self._clock()))
        await self._notifier.notify()
        _log.info("password reset: account %s", user.id)

    async def change_password(self, caller: Caller, old: str, new: str) -> None:
        """Sets a new password and ends the other sessions. Raises `InvalidPassword` for `old`, `WeakPassword`."""
        user = await self._active_user(caller)
        wrong = InvalidPassword("the current password is wrong", field="old_password")
        if not await self._verify(old, user.password_hash, user.address.key):
            _log.info("password change refused: wrong password, account %s", user.id)
            raise wrong
        new_hash = await self._hash_new_password(user, new, field="new_password")
        ended = await self._users.change_password(
            user.id, user.password_hash, new_hash, except_session_id=caller.session_id, now=self._clock()
        )
        if ended is None:  # another session has changed the password since
            raise wrong
        self._registry.mark_ended(ended)
        await self._notifier.notify()
        _log.info("password changed: account %s", user.id)

    # --- sessions

    async def log_in(self, email: str, password: str, device: str, *, network: str = "") -> TokenPair:
        """Starts a session. Raises `InvalidCredentials`, at the same cost for every cause. `network` is the narrowest
        network of the client (see `rate_limits.networks_of`)."""
        key = self.address_key(email)
        user = await self._users.find_by_address(key)
        is_correct = await self._verify(password, None if user is None else user.password_hash, key)
        wrong = InvalidCredentials("the email or the password is wrong, or the account is not active")
        if user is None or not is_correct or not user.is_active:
            reason = "unknown address" if user is None else "wrong password" if not is_correct else "inactive account"
            _log.info("login failed: %s, account %s", reason, "none" if user is None else user.id)
            raise wrong
        new_password_hash = None
        if self._hasher.is_outdated(user.password_hash):
            new_password_hash = await self._hasher.hash(normalise_password(password), queue=key)
        try:
            pair = await self._start_session(user, device, new_password_hash=new_password_hash, network=network)
        except InvalidCredentials:
            if new_password_hash is not None:  # another login may have stored a stronger hash of the same password
                return await self.log_in(email, password, device, network=network)
            _log.info("login failed: the password was changed concurrently, account %s", user.id)
            raise wrong from None
        _log.info("login succeeded: account %s", user.id)
        return pair

    async def networks_of(self, address_key: str) -> Sequence[str]:
        """Returns the networks from which the user has logged in; none without a user, after the same work."""
        return await self._sessions.networks(address_key)

    async def reauthenticate(self, caller: Caller, password: str, device: str, *, network: str = "") -> TokenPair:
        """Checks the password and replaces the caller's session by a new one. Raises `InvalidPassword`."""
        user = await self._active_user(caller)
        wrong = InvalidPassword("the password is wrong", field="password")
        if not await self._verify(password, user.password_hash, user.address.key):
            _log.info("reauthentication failed: wrong password, account %s", user.id)
            raise wrong
        try:
            pair = await self._start_session(user, device, network=network)
        except InvalidCredentials:
            _log.info("reauthentication failed: the password was changed concurrently, account %s", user.id)
            raise wrong from None
        self._registry.mark_ended(await self._sessions.end(user.id, self._clock(), session_id=caller.session_id))
        _log.info("reauthentication succeeded: account %s", user.id)
        return pair

    async def require_recent_login(self, caller: Caller) -> None:
        """Raises `ReauthenticationRequired` if the session started more than `reauthenticate_after` ago."""
        session = await self._sessions.find(caller.session_id)
        if session is None or self._clock() - session.created_at > self._rules.reauthenticate_after:
            raise ReauthenticationRequired(
                "recent login required: POST the password to authentication/reauthenticate/, or log in again"
            )

    def address_key(self, email: str) -> str:
        """Returns the key by which login attempts are counted: equal for all spellings of an address."""
        try:
            return parse_address(email, self._syntax).key
        except InvalidEmail:
            return _NO_ADDRESS + email[:1024].casefold()

    async def refresh(self, refresh_token: str) -> TokenPair:
        """Exchanges a refresh token for new tokens. Raises `InvalidToken`; a stolen token also ends its session."""
        now = self._clock()
        successors = self._keyring.successors(refresh_token)
        rotated = await self._sessions.rotate(
            token_hash(refresh_token),
            [token_hash(successor) for successor in successors],
            now,
            now + self._rules.refresh_ttl,
            lifetime=self._rules.session_ttl,
        )
        if rotated is None:
            raise InvalidToken("the refresh token is not valid")
        return TokenPair(self._issue_access_token(rotated.session, now), successors[rotated.successor])

    async def find_owner(self, refresh_token: str) -> str | None:
        """Returns the id of the user of a refresh token; None for an unknown token or an ended session."""
        return await self._sessions.find_owner(token_hash(refresh_token))

    async def authenticate(self, access_token: str) -> Caller:
        """Verifies an access token and its session. Raises `InvalidToken`. Queries the store only for the first request
        of a session, and works without the store while it is unavailable."""
        caller = self._caller(access_token)
        await self._registry.check(caller.session_id)
        return caller

    def authenticate_cached(self, access_token: str) -> Caller | None:
        """Verifies an access token without a query. Returns None if the token is invalid or its session is not cached;
        call `authenticate` then."""
        try:
            caller = self._caller(access_token)
        except InvalidToken:
            return None
        return caller if self._registry.is_live(caller.session_id) else None

    def _caller(self, access_token: str) -> Caller:
        """Reads a token. A verified token is cached until it expires; its session is not checked here."""
        cached = self._callers.get(access_token)
        if cached is not None and self._clock() < cached.expires_at:
            self._callers.move_to_end(access_token)
            return cached
        claims = self._tokens.read(access_token)
        caller = self._callers[access_token] = Caller(claims.user_id, claims.session_id, claims.expires_at)
        if len(self._callers) > MAX_CALLERS:
            self._callers.popitem(last=False)
        return caller

    async def log_out(self, caller: Caller) -> None:
        """Ends this session. Its tokens are rejected from now on, by other processes within a second."""
        await self.end_session(caller, caller.session_id)

    async def list_sessions(self, caller: Caller) -> Sequence[Session]:
        """Returns the caller's sessions, most recently used first."""
        return await self._sessions.list_for_user(caller.user_id)

    async def end_session(self, caller: Caller, session_id: str) -> None:
        """Ends one of the caller's sessions; another one than the current requires a recent login. Raises
        `SessionNotFound`, `ReauthenticationRequired`."""
        if session_id != caller.session_id:
            await self.require_recent_login(caller)
        ended = await self._sessions.end(caller.user_id, self._clock(), session_id=session_id)
        self._registry.mark_ended(ended)
        if not ended:
            raise SessionNotFound("there is no such session")

    async def end_other_sessions(self, caller: Caller) -> None:
        """Ends all of the caller's sessions except the current one. Raises `ReauthenticationRequired`."""
        await self.require_recent_login(caller)
        ended = await self._sessions.end(
            caller.user_id, self._clock(), except_session_id=caller.session_id, notify=True
        )
        self._registry.mark_ended(ended)
        await self._notifier.notify()

    # --- the profile

    async def profile(self, caller: Caller) -> User:
        """Returns the caller's user. Raises `InvalidToken` if it was deleted or deactivated."""
        return await self._active_user(caller)

    async def change_profile(
        self, caller: Caller, *, username: str | None = None, record_events: bool | None = None
    ) -> User:
        """Changes the given fields; the username requires a recent login. Raises `InvalidUsername`, `UsernameTaken`,
        `ReauthenticationRequired`."""
        name = None if username is None else parse_username(username, self._username_syntax)
        if name is not None:
            await self.require_recent_login(caller)
        return await self._users.change_profile(caller.user_id, username=name, record_events=record_events)

    async def export(self, caller: Caller) -> dict[str, Any]:
        """Returns all data stored about the caller, in JSON-compatible types."""
        return await self._export((await self._active_user(caller)).address)

    async def erase(self, caller: Caller) -> None:
        """Deletes all data about the caller. Raises `ReauthenticationRequired`."""
        user = await self._active_user(caller)
        await self.require_recent_login(caller)
        await self._erase(user.address)

    # --- administration by staff; each method raises `InvalidEmail` and `UserNotFound`

    async def list_users(self, window: Window, email: str | None = None) -> tuple[int, Sequence[UserSummary]]:
        """Returns the number of users and pending registrations, and those in the window, newest first. `email` filters
        by one address."""
        return await self._users.list_users(window, None if email is None else self._parsed(email).key)

    async def set_active(self, email: str, is_active: bool) -> User:
        """Activates a user or pending registration, or deactivates a user and ends the sessions. Returns the user."""
        self._registry.mark_ended(await self._users.set_active(self._parsed(email).key, is_active, self._clock()))
        return await self.find_user(email)

    async def set_staff(self, email: str, is_staff: bool) -> User:
        """Grants or revokes staff rights. Returns the user."""
        await self._users.set_staff(self._parsed(email).key, is_staff)
        return await self.find_user(email)

    async def find_user(self, email: str) -> User:
        """Returns the user with this address."""
        user = await self._users.find_by_address(self._parsed(email).key)
        if user is None:
            raise UserNotFound("no user has this address")
        return user

    async def list_sessions_of(self, email: str) -> Sequence[Session]:
        """Returns the sessions of a user, most recently used first."""
        return await self._sessions.list_for_user((await self.find_user(email)).id)

    async def end_all_sessions(self, user: User) -> int:
        """Ends all sessions of a user and returns their number."""
        ended = await self._sessions.end(user.id, self._clock(), notify=True)
        self._registry.mark_ended(ended)
        await self._notifier.notify()
        return len(ended)

    async def export_address(self, email: str) -> dict[str, Any]:
        """Returns all data stored about an address, even if it has pending registrations only."""
        return await self._export(await self._existing_address(email))

    async def erase_address(self, email: str) -> None:
        """Deletes all data about an address, even if it has pending registrations only."""
        await self._erase(await self._existing_address(email))

    # --- helpers

    def _parsed(self, email: str) -> Address:
        return parse_address(email, self._syntax)

    async def _active_user(self, caller: Caller) -> User:
        user = await self._users.find(caller.user_id)
        if user is None or not user.is_active:
            raise InvalidToken("the user was deleted or deactivated")
        return user

    async def _existing_address(self, email: str) -> Address:
        address = self._parsed(email)
        total, _ = await self._users.list_users(Window(limit=1), address.key)
        if not total:
            raise UserNotFound("no user or pending registration has this address")
        return address

    async def _export(self, address: Address) -> dict[str, Any]:
        stored = await self._users.export(address.key)
        if (user := await self._users.find_by_address(address.key)) is not None:
            for store in self._personal:
                stored |= await store.export(user.id)
        return stored

    async def _erase(self, address: Address) -> None:
        if (user := await self._users.find_by_address(address.key)) is not None:
            for store in self._personal:  # before the user: if a store is unavailable, the user can retry
                await store.erase(user.id)
        self._registry.mark_ended(await self._users.erase(address.key, self._clock()))
        await self._mailer.erase(address)
        await self._notifier.notify()  # only now, so that the mailer does not delete the notice of the erasure

    async def _request_mail(self, kind: MailKind, email: str, requested_from: str) -> None:
        await self._users.request_mail(kind, self._parsed(email).key, self._clock(), requested_from=requested_from)
        await self._notifier.notify()

    async def _verify(self, password: str, password_hash: str | None, address_key: str) -> bool:
        password = normalise_password(password)
        return await self._hasher.verify(password, password_hash if is_hashable(password) else None, queue=address_key)

    async def _hash_new_password(self, user: User | PendingRegistration, password: str, field: str = "password") -> str:
        password = normalise_password(password)
        check_password(
            password,
            self._strength,
            min_length=self._rules.password_min,
            address=user.address,
            username=user.username,
            field=field,
        )
        return await self._hasher.hash(password, queue=user.address.key)

    def _issue_access_token(self, session: Session, now: datetime) -> str:
        now = now.replace(microsecond=0)
        expires_at = min(
            now + self._rules.access_ttl, session.created_at.replace(microsecond=0) + self._rules.session_ttl
        )
        return self._tokens.issue(AccessClaims(session.user_id, session.id, new_id(), now, expires_at))

    async def _start_session(
        self, user: User, device: str, *, new_password_hash: str | None = None, network: str = ""
    ) -> TokenPair:
        now = self._clock()
        device = "".join(c if c.isprintable() else " " for c in device)[:MAX_DEVICE]
        session = Session(new_id(), user.id, device, created_at=now, last_used_at=now)
        refresh = new_token()
        ended = await self._sessions.start(
            session,
            token_hash(refresh),
            now + min(self._rules.refresh_ttl, self._rules.session_ttl),
            password_hash=user.password_hash,
            new_password_hash=new_password_hash,
            network=network,
        )
        self._registry.mark_ended(ended)
        return TokenPair(self._issue_access_token(session, now), refresh)
