"""The service behind accounts: register, activate, log in and out, and what belongs to a profile.

Nobody learns here whether an address has an account: whatever its state, an answer is the same and costs the same.
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
from movie_core.accounts.users import Address, Registration, User
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
"""Tokens of which is remembered that they were found good; about a kilobyte each."""
_NOBODY = "\x00"
"""Stands in for the key of a malformed address: no account has it, and looking for it costs the same."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class AccountRules:
    """What a deployment decides."""

    password_min: int
    """Characters."""
    access_ttl: timedelta
    refresh_ttl: timedelta
    session_ttl: timedelta = timedelta(days=30)
    """From a login on; no refresh makes a session last longer."""
    reauthenticate_after: timedelta = timedelta(minutes=15)
    """Greatest age of a login that may erase or rename the account or end other sessions."""


@dataclass(frozen=True, slots=True)
class TokenPair:
    """What a login is answered with."""

    access: str
    refresh: str


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, as a token proves it."""

    user_id: str
    session_id: str
    expires_at: datetime
    """When the token does."""


class Accounts:
    """Accounts over their ports. Every method raises `StoreUnavailable` when the store is away, and `Busy`."""

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
        keys: Keyring,
        rules: AccountRules,
        clock: Callable[[], datetime] = utc_now,
        *,
        personal: Sequence[PersonalData] = (),
    ) -> None:
        """`personal` is all that is kept about users elsewhere, to be exported and erased with the account."""
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
        self._keys = keys
        self._rules = rules
        self._clock = clock
        self._personal = tuple(personal)
        self._callers: OrderedDict[str, Caller] = OrderedDict()

    # --- becoming a user

    async def register(self, email: str, username: str, password: str, *, requested_from: str = "") -> Registration:
        """Take a registration; a mail with its link follows. A taken address looks the same, and its owner is told.
        `requested_from` is the client's widest network (see `networks_of`), for which the mail is counted.

        Raises the `Invalid` that a field deserves, with those of the other fields in `others`, and `UsernameTaken`.
        """
        wrong: list[Invalid] = []
        address = name = None
        try:
            address = parse_address(email, self._syntax)
        except Invalid as error:
            wrong.append(error)
        try:
            name = parse_username(username, self._username_syntax)
        except Invalid as error:
            wrong.append(error)
        password = normalise_password(password)
        if address is not None and name is not None:
            try:
                check_password(
                    password, self._strength, min_length=self._rules.password_min, address=address, username=name
                )
            except Invalid as error:
                wrong.append(error)
        if address is None or name is None or wrong:
            first, *rest = wrong
            first.others = tuple(rest)
            raise first
        # The salt is the same for the same person: that is how the store knows a registration sent twice.
        salt = self._keys.salt(address.mailbox, name.key)
        hashed = await self._hasher.hash(password, salt=salt, queue=address.key)
        now = self._clock()
        registration = Registration(new_id(), address, name, hashed, now, requested_from)
        await self._users.register(registration, now)
        await self._notifier.notify()
        return registration

    async def is_activated(self, uid: str, token: str) -> bool:
        """Whether a good activation link was used already; raises `InvalidLink`. Changes nothing."""
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
        """Use an activation link, and log in the device that did; None without a device, and for a link used before.

        The link proves access to the mailbox, not that the same person registered. So `password` must be that of the
        registration, or `new_password` replaces it. Neither is needed if the registration is the only one pending.

        Raises `InvalidLink`, `InvalidPassword`, `WeakPassword`, `PasswordRequired`, and `UsernameTaken` when somebody
        else got the username meanwhile.
        """
        hashed = token_hash(token)
        link = await self._users.find_activation_link(uid, hashed, self._clock())
        if link.registration is None:
            return None
        password_hash = None
        if new_password is not None:
            password_hash = await self._new_password(link.registration, new_password, field="new_password")
        elif password is not None:
            if not await self._verify(password, link.registration.password_hash, link.registration.address.key):
                raise InvalidPassword(
                    "this is not the password of this registration; `new_password` sets another one", field="password"
                )
            password_hash = link.registration.password_hash
        elif not link.is_only:
            raise PasswordRequired(
                "several registrations are pending for this address; send `password` (the one you registered with) or "
                "`new_password`"
            )
        activated = await self._users.activate(uid, hashed, self._clock(), password_hash=password_hash)
        if activated.is_new:
            _log.info("account activated: account %s", activated.user.id)
        if not activated.is_new or device is None:
            return None
        return await self._start_session(activated.user, device, network=network)

    async def resend(self, email: str, *, requested_from: str = "") -> None:
        """Mail new links for the registrations that wait under this address, if any do; raises `InvalidEmail`."""
        await self._ask_for_mail(MailKind.ACTIVATION_RENEWAL, email, requested_from)

    # --- passwords

    async def forgot_password(self, email: str, *, requested_from: str = "") -> None:
        """Mail a link that resets the password, if somebody has this address; raises `InvalidEmail`."""
        await self._ask_for_mail(MailKind.PASSWORD_RESET, email, requested_from)

    async def check_reset(self, uid: str, token: str) -> None:
        """Raises `InvalidLink` unless the link can reset a password. Changes nothing."""
        await self._users.find_reset_user(uid, token_hash(token), self._clock())

    async def reset_password(self, uid: str, token: str, password: str) -> None:
        """Set a new password by a mailed link; ends all sessions. Raises `InvalidLink`, `WeakPassword`."""
        hashed = token_hash(token)
        owner = await self._users.find_reset_user(uid, hashed, self._clock())
        new_hash = await self._new_password(owner, password)
        self._registry.forget(await self._users.reset_password(uid, hashed, new_hash, self._clock()))
        await self._notifier.notify()
        _log.info("password reset: account %s", owner.id)

    async def change_password(self, caller: Caller, old: str, new: str) -> None:
        """Set a new password by the old one; ends the other sessions. Raises `InvalidPassword`, `WeakPassword`."""
        user = await self._account(caller)
        wrong = InvalidPassword("the current password is wrong", field="old_password")
        if not await self._verify(old, user.password_hash, user.address.key):
            _log.info("password change refused: wrong password, account %s", user.id)
            raise wrong
        new_hash = await self._new_password(user, new, field="new_password")
        ended = await self._users.change_password(
            user.id, user.password_hash, new_hash, except_session_id=caller.session_id, now=self._clock()
        )
        if ended is None:  # changed by another session in between
            raise wrong
        self._registry.forget(ended)
        await self._notifier.notify()
        _log.info("password changed: account %s", user.id)

    # --- sessions

    async def log_in(self, email: str, password: str, device: str, *, network: str = "") -> TokenPair:
        """Start a session; raises `InvalidCredentials`, after the same work whatever is wrong. `network` is the
        narrowest one of the client: see `networks_of`."""
        key = self.address_key(email)
        user = await self._users.find_by_address(key)
        is_right = await self._verify(password, None if user is None else user.password_hash, key)
        wrong = InvalidCredentials("address or password is wrong, or the account isn't active")
        if user is None or not is_right or not user.is_active:
            reason = "unknown address" if user is None else "wrong password" if not is_right else "inactive account"
            _log.info("login failed: %s, account %s", reason, "none" if user is None else user.id)
            raise wrong
        rehashed = None
        if self._hasher.is_outdated(user.password_hash):
            rehashed = await self._hasher.hash(normalise_password(password), queue=key)
        try:
            pair = await self._start_session(user, device, rehashed=rehashed, network=network)
        except InvalidCredentials:
            if rehashed is not None:  # another login may have stored a stronger hash of the same password
                return await self.log_in(email, password, device, network=network)
            _log.info("login failed: the password was changed meanwhile, account %s", user.id)
            raise wrong from None
        _log.info("login succeeded: account %s", user.id)
        return pair

    async def networks_of(self, address_key: str) -> Sequence[str]:
        """The networks from which an account has logged in; none where there is no account, after the same work."""
        return await self._sessions.networks(address_key)

    async def reauthenticate(self, caller: Caller, password: str, device: str, *, network: str = "") -> TokenPair:
        """Check the password, and replace the caller's session by a new one; raises `InvalidPassword`."""
        user = await self._account(caller)
        wrong = InvalidPassword("the password is wrong", field="password")
        if not await self._verify(password, user.password_hash, user.address.key):
            _log.info("reauthentication failed: wrong password, account %s", user.id)
            raise wrong
        try:
            pair = await self._start_session(user, device, network=network)
        except InvalidCredentials:
            _log.info("reauthentication failed: the password was changed meanwhile, account %s", user.id)
            raise wrong from None
        self._registry.forget(await self._sessions.end(user.id, self._clock(), session_id=caller.session_id))
        _log.info("reauthentication succeeded: account %s", user.id)
        return pair

    async def require_recent_login(self, caller: Caller) -> None:
        """Raises `ReauthenticationRequired` where the session was started too long ago."""
        session = await self._sessions.find(caller.session_id)
        if session is None or self._clock() - session.created_at > self._rules.reauthenticate_after:
            raise ReauthenticationRequired(
                "recent login required: POST the password to authentication/reauthenticate/, or log in again"
            )

    def address_key(self, email: str) -> str:
        """What a try to log in counts for: the same for every spelling of an address, and something for any text."""
        try:
            return parse_address(email, self._syntax).key
        except InvalidEmail:
            return _NOBODY + email[:1024].casefold()

    async def refresh(self, refresh_token: str) -> TokenPair:
        """Exchange a refresh token for a new pair; raises `InvalidToken`, and ends the session of a stolen one."""
        now = self._clock()
        successors = self._keys.successors(refresh_token)
        rotated = await self._sessions.rotate(
            token_hash(refresh_token),
            [token_hash(one) for one in successors],
            now,
            now + self._rules.refresh_ttl,
            lifetime=self._rules.session_ttl,
        )
        if rotated is None:
            raise InvalidToken("the refresh token is not valid")
        return TokenPair(self._access(rotated.session, now), successors[rotated.successor])

    async def find_owner(self, refresh_token: str) -> str | None:
        """The id of the account to which a refresh token belongs; None for an unknown token or an ended session."""
        return await self._sessions.find_owner(token_hash(refresh_token))

    async def authenticate(self, access_token: str) -> Caller:
        """Who presents this token; raises `InvalidToken`. Asks the store for a session's first request only, and goes
        on without it while it is away."""
        caller = self._caller(access_token)
        await self._registry.check(caller.session_id)
        return caller

    def recognise(self, access_token: str) -> Caller | None:
        """Who presents this token, where that is known without asking the store; None where it isn't, and then
        `authenticate` says more."""
        try:
            caller = self._caller(access_token)
        except InvalidToken:
            return None
        return caller if self._registry.is_live(caller.session_id) else None

    def _caller(self, access_token: str) -> Caller:
        """Whom the token names. One that was found good is so until it expires; whether its session lives is asked
        each time."""
        known = self._callers.get(access_token)
        if known is not None and self._clock() < known.expires_at:
            self._callers.move_to_end(access_token)
            return known
        access = self._tokens.read(access_token)
        caller = self._callers[access_token] = Caller(access.user_id, access.session_id, access.expires_at)
        if len(self._callers) > MAX_CALLERS:
            self._callers.popitem(last=False)
        return caller

    async def log_out(self, caller: Caller) -> None:
        """End this session; its tokens are refused from now on, by other processes within a second."""
        await self.end_session(caller, caller.session_id)

    async def sessions(self, caller: Caller) -> Sequence[Session]:
        """All of the caller's, the one used last first."""
        return await self._sessions.list_page(caller.user_id)

    async def end_session(self, caller: Caller, session_id: str) -> None:
        """End one of the caller's sessions, the present one or, after a recent login, another; raises
        `SessionNotFound`, `ReauthenticationRequired`."""
        if session_id != caller.session_id:
            await self.require_recent_login(caller)
        ended = await self._sessions.end(caller.user_id, self._clock(), session_id=session_id)
        self._registry.forget(ended)
        if not ended:
            raise SessionNotFound("there is no such session")

    async def end_other_sessions(self, caller: Caller) -> None:
        """End all of the caller's sessions but the present one; raises `ReauthenticationRequired`."""
        await self.require_recent_login(caller)
        ended = await self._sessions.end(
            caller.user_id, self._clock(), except_session_id=caller.session_id, notify=True
        )
        self._registry.forget(ended)
        await self._notifier.notify()

    # --- the profile

    async def profile(self, caller: Caller) -> User:
        return await self._account(caller)

    async def change_profile(
        self, caller: Caller, *, username: str | None = None, record_events: bool | None = None
    ) -> User:
        """Change what is given, the username after a recent login only; raises `InvalidUsername`, `UsernameTaken`,
        `ReauthenticationRequired`."""
        name = None if username is None else parse_username(username, self._username_syntax)
        if name is not None:
            await self.require_recent_login(caller)
        return await self._users.change_profile(caller.user_id, username=name, record_events=record_events)

    async def export(self, caller: Caller) -> dict[str, Any]:
        """Everything stored about the caller."""
        return await self._export((await self._account(caller)).address)

    async def erase(self, caller: Caller) -> None:
        """Remove everything about the caller; raises `ReauthenticationRequired`."""
        user = await self._account(caller)
        await self.require_recent_login(caller)
        await self._erase(user.address)

    # --- what staff does; each raises `InvalidEmail` and `UserNotFound`

    async def list_users(self, window: Window, email: str | None = None) -> tuple[int, Sequence[UserSummary]]:
        """How many accounts and waiting registrations there are, and a part of them, newest first; those of one address
        where it is given."""
        return await self._users.list_users(window, None if email is None else self._parsed(email).key)

    async def set_active(self, email: str, is_active: bool) -> User:
        """Activate an address, pending or not, or deactivate an account, which ends its sessions; that account."""
        self._registry.forget(await self._users.set_active(self._parsed(email).key, is_active, self._clock()))
        return await self.account_of(email)

    async def set_staff(self, email: str, is_staff: bool) -> User:
        await self._users.set_staff(self._parsed(email).key, is_staff)
        return await self.account_of(email)

    async def account_of(self, email: str) -> User:
        user = await self._users.find_by_address(self._parsed(email).key)
        if user is None:
            raise UserNotFound("there is no account with this address")
        return user

    async def sessions_of(self, email: str) -> Sequence[Session]:
        return await self._sessions.list_page((await self.account_of(email)).id)

    async def end_sessions_of(self, user: User) -> int:
        """End all sessions of an account; how many there were."""
        ended = await self._sessions.end(user.id, self._clock(), notify=True)
        self._registry.forget(ended)
        await self._notifier.notify()
        return len(ended)

    async def export_of(self, email: str) -> dict[str, Any]:
        """Everything stored about an address, which may have pending registrations only."""
        return await self._export(await self._person(email))

    async def erase_of(self, email: str) -> None:
        """Remove everything about an address, which may have pending registrations only."""
        await self._erase(await self._person(email))

    # --- shared

    def _parsed(self, email: str) -> Address:
        return parse_address(email, self._syntax)

    async def _account(self, caller: Caller) -> User:
        user = await self._users.find(caller.user_id)
        if user is None or not user.is_active:
            raise InvalidToken("the account is gone or inactive")
        return user

    async def _person(self, email: str) -> Address:
        address = self._parsed(email)
        total, _ = await self._users.list_users(Window(limit=1), address.key)
        if not total:
            raise UserNotFound("nobody has this address")
        return address

    async def _export(self, address: Address) -> dict[str, Any]:
        stored = await self._users.export(address.key)
        if (user := await self._users.find_by_address(address.key)) is not None:
            for one in self._personal:
                stored |= await one.export(user.id)
        return stored

    async def _erase(self, address: Address) -> None:
        if (user := await self._users.find_by_address(address.key)) is not None:
            for one in self._personal:  # before the account goes: where one of these is away, its owner can ask again
                await one.erase(user.id)
        self._registry.forget(await self._users.erase(address.key, self._clock()))
        await self._mailer.erase(address)
        await self._notifier.notify()  # only now, so that the notice isn't among the mails that are removed

    async def _ask_for_mail(self, kind: MailKind, email: str, requested_from: str) -> None:
        await self._users.request_mail(kind, self._parsed(email).key, self._clock(), requested_from=requested_from)
        await self._notifier.notify()

    async def _verify(self, password: str, hashed: str | None, address_key: str) -> bool:
        password = normalise_password(password)
        return await self._hasher.verify(password, hashed if is_hashable(password) else None, queue=address_key)

    async def _new_password(self, user: User | Registration, password: str, field: str = "password") -> str:
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

    def _access(self, session: Session, now: datetime) -> str:
        now = now.replace(microsecond=0)
        expires_at = min(
            now + self._rules.access_ttl, session.created_at.replace(microsecond=0) + self._rules.session_ttl
        )
        return self._tokens.issue(AccessClaims(session.user_id, session.id, new_id(), now, expires_at))

    async def _start_session(
        self, user: User, device: str, *, rehashed: str | None = None, network: str = ""
    ) -> TokenPair:
        now = self._clock()
        device = "".join(c if c.isprintable() else " " for c in device)[:MAX_DEVICE]
        session = Session(new_id(), user.id, device, created_at=now, last_used_at=now)
        refresh = new_token()
        gone = await self._sessions.start(
            session,
            token_hash(refresh),
            now + min(self._rules.refresh_ttl, self._rules.session_ttl),
            password_hash=user.password_hash,
            rehashed=rehashed,
            network=network,
        )
        self._registry.forget(gone)
        return TokenPair(self._access(session, now), refresh)
