"""The sessions service: lists and ends sessions, and requires a recent login."""

from collections.abc import Sequence

from movie_core.accounts.rules import AccountRules
from movie_core.accounts.session_registry import SessionRegistry
from movie_core.accounts.sessions import Caller, Session
from movie_core.clock import Clock, utc_now
from movie_core.errors import ReauthenticationRequired, SessionNotFound
from movie_core.ports import DeliveryNotifier, SessionRepo


class Sessions:
    """The sessions of users. This process rejects the tokens of an ended session immediately, others within a second.

    Every method raises `StoreUnavailable` if the store is unavailable.
    """

    def __init__(
        self,
        sessions: SessionRepo,
        registry: SessionRegistry,
        notifier: DeliveryNotifier,
        rules: AccountRules,
        clock: Clock = utc_now,
    ) -> None:
        self._sessions = sessions
        self._registry = registry
        self._notifier = notifier
        self._rules = rules
        self._clock = clock

    async def list_for_user(self, user_id: str) -> Sequence[Session]:
        """Returns the sessions of a user, most recently used first."""
        return await self._sessions.list_for_user(user_id)

    async def require_recent_login(self, caller: Caller) -> None:
        """Raises `ReauthenticationRequired` if the session started more than `reauthenticate_after` ago."""
        session = await self._sessions.find(caller.session_id)
        if session is None or self._clock() - session.created_at > self._rules.reauthenticate_after:
            raise ReauthenticationRequired(
                "recent login required: POST the password to authentication/reauthenticate/, or log in again"
            )

    async def log_out(self, caller: Caller) -> None:
        """Ends the current session, unless it has ended already."""
        await self._end_one(caller, caller.session_id)

    async def end(self, caller: Caller, session_id: str) -> None:
        """Ends one of the caller's sessions; another one than the current requires a recent login. Raises
        `SessionNotFound`, `ReauthenticationRequired`."""
        if session_id != caller.session_id:
            await self.require_recent_login(caller)
        if not await self._end_one(caller, session_id):
            raise SessionNotFound("there is no such session")

    async def end_others(self, caller: Caller) -> None:
        """Ends all of the caller's sessions except the current one, and notifies the user by email. Raises
        `ReauthenticationRequired`."""
        await self.require_recent_login(caller)
        await self._end_all(caller.user_id, except_session_id=caller.session_id)

    async def end_all(self, user_id: str) -> int:
        """Ends all sessions of a user, notifies the user by email, and returns the number of ended sessions."""
        return len(await self._end_all(user_id))

    async def _end_one(self, caller: Caller, session_id: str) -> Sequence[str]:
        ended = await self._sessions.end(caller.user_id, self._clock(), session_id=session_id)
        self._registry.mark_ended(ended)
        return ended

    async def _end_all(self, user_id: str, *, except_session_id: str | None = None) -> Sequence[str]:
        ended = await self._sessions.end(user_id, self._clock(), except_session_id=except_session_id, notify=True)
        self._registry.mark_ended(ended)
        await self._notifier.notify()
        return ended
