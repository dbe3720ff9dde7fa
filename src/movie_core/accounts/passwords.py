"""The passwords service: reset by a mailed link, and change by the current password."""

import logging
from collections.abc import Sequence

from movie_core.accounts.credentials import Credentials
from movie_core.accounts.identifiers import IdentifierParser
from movie_core.accounts.keyring import token_hash
from movie_core.accounts.session_registry import SessionRegistry
from movie_core.accounts.sessions import Caller
from movie_core.clock import Clock, utc_now
from movie_core.errors import InvalidPassword
from movie_core.ports import DeliveryNotifier, PasswordResetRepo

_log = logging.getLogger(__name__)


class Passwords:
    """Resets and changes of passwords; the user is notified of each by email.

    Every method raises `StoreUnavailable` if the store is unavailable, and `Busy` if too many passwords wait for
    hashing. Other errors are listed per method.
    """

    def __init__(
        self,
        resets: PasswordResetRepo,
        credentials: Credentials,
        identifiers: IdentifierParser,
        registry: SessionRegistry,
        notifier: DeliveryNotifier,
        clock: Clock = utc_now,
    ) -> None:
        self._resets = resets
        self._credentials = credentials
        self._identifiers = identifiers
        self._registry = registry
        self._notifier = notifier
        self._clock = clock

    async def request_reset(self, email: str, *, requested_from: str = "") -> None:
        """Queues an email with a password reset link, if a user has this address; raises `InvalidEmail`. The work is
        the same if there is no user."""
        key = self._identifiers.address(email).key
        await self._resets.request_reset(key, self._clock(), requested_from=requested_from)
        await self._notifier.notify()

    async def check_reset_link(self, uid: str, token: str) -> None:
        """Raises `InvalidLink` unless the link can reset a password. Changes nothing."""
        await self._resets.find_reset_user(uid, token_hash(token), self._clock())

    async def reset(self, uid: str, token: str, password: str) -> None:
        """Sets a new password by a reset link and ends all sessions. Raises `InvalidLink`, `WeakPassword`."""
        link_hash = token_hash(token)
        user = await self._resets.find_reset_user(uid, link_hash, self._clock())
        new_hash = await self._credentials.hash_new(password, user)
        await self._publish(await self._resets.reset_password(uid, link_hash, new_hash, self._clock()))
        _log.info("password reset: account %s", user.id)

    async def change(self, caller: Caller, old: str, new: str) -> None:
        """Sets a new password and ends the other sessions. Raises `InvalidPassword` for `old`, `WeakPassword`."""
        user = await self._credentials.user_of(caller)
        wrong = InvalidPassword("the current password is wrong", field="old_password")
        if not await self._credentials.verify(old, user.password_hash, user.address.key):
            _log.info("password change refused: wrong password, account %s", user.id)
            raise wrong
        new_hash = await self._credentials.hash_new(new, user, field="new_password")
        ended = await self._resets.change_password(
            user.id, user.password_hash, new_hash, except_session_id=caller.session_id, now=self._clock()
        )
        if ended is None:  # another session has changed the password since
            raise wrong
        await self._publish(ended)
        _log.info("password changed: account %s", user.id)

    async def _publish(self, ended: Sequence[str]) -> None:
        """Rejects the tokens of ended sessions, and has the notice to the user delivered."""
        self._registry.mark_ended(ended)
        await self._notifier.notify()
