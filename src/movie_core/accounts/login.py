"""The login service. Its errors and its work are the same whether or not an address belongs to a user."""

import logging
from collections.abc import Sequence

from movie_core.accounts.credentials import Credentials
from movie_core.accounts.identifiers import IdentifierParser
from movie_core.accounts.session_service import Sessions
from movie_core.accounts.session_tokens import SessionTokens
from movie_core.accounts.sessions import Caller, TokenPair
from movie_core.errors import InvalidCredentials, InvalidEmail, InvalidPassword
from movie_core.ports import UserRepo

_NO_ADDRESS = "\x00"
"""Prefix of the key of a malformed address: no user has it, and the lookup costs the same."""

_log = logging.getLogger(__name__)


class Login:
    """Login by password.

    Every method raises `StoreUnavailable` if the store is unavailable, and `Busy` if too many passwords wait for
    hashing. Other errors are listed per method.
    """

    def __init__(
        self,
        users: UserRepo,
        credentials: Credentials,
        identifiers: IdentifierParser,
        tokens: SessionTokens,
        sessions: Sessions,
    ) -> None:
        self._users = users
        self._credentials = credentials
        self._identifiers = identifiers
        self._tokens = tokens
        self._sessions = sessions

    def address_key(self, email: str) -> str:
        """Returns the key by which login attempts are counted: equal for all spellings of an address."""
        try:
            return self._identifiers.address(email).key
        except InvalidEmail:
            return _NO_ADDRESS + email[:1024].casefold()

    async def login_networks(self, address_key: str) -> Sequence[str]:
        """Returns the networks from which the user has logged in; none without a user, after the same work."""
        return await self._users.login_networks(address_key)

    async def log_in(self, email: str, password: str, device: str, *, network: str = "") -> TokenPair:
        """Starts a session. Raises `InvalidCredentials`, at the same cost for every cause. `network` is the narrowest
        network of the client (see `rate_limits.networks_of`)."""
        key = self.address_key(email)
        user = await self._users.find_by_address(key)
        is_correct = await self._credentials.verify(password, None if user is None else user.password_hash, key)
        wrong = InvalidCredentials("the email or the password is wrong, or the account is not active")
        if user is None or not is_correct or not user.is_active:
            reason = "unknown address" if user is None else "wrong password" if not is_correct else "inactive account"
            _log.info("login failed: %s, account %s", reason, "none" if user is None else user.id)
            raise wrong
        new_password_hash = await self._credentials.rehash(password, user)
        try:
            pair = await self._tokens.start(user, device, new_password_hash=new_password_hash, network=network)
        except InvalidCredentials:
            if new_password_hash is not None:  # another login may have stored a stronger hash of the same password
                return await self.log_in(email, password, device, network=network)
            _log.info("login failed: the password was changed concurrently, account %s", user.id)
            raise wrong from None
        _log.info("login succeeded: account %s", user.id)
        return pair

    async def reauthenticate(self, caller: Caller, password: str, device: str, *, network: str = "") -> TokenPair:
        """Checks the password and replaces the caller's session by a new one. Raises `InvalidPassword`."""
        user = await self._credentials.user_of(caller)
        wrong = InvalidPassword("the password is wrong", field="password")
        if not await self._credentials.verify(password, user.password_hash, user.address.key):
            _log.info("reauthentication failed: wrong password, account %s", user.id)
            raise wrong
        try:
            pair = await self._tokens.start(user, device, network=network)
        except InvalidCredentials:
            _log.info("reauthentication failed: the password was changed concurrently, account %s", user.id)
            raise wrong from None
        await self._sessions.log_out(caller)
        _log.info("reauthentication succeeded: account %s", user.id)
        return pair
