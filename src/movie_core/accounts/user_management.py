"""The user management service: lists, activates and deactivates users, grants and revokes staff rights."""

from collections.abc import Sequence

from movie_core.accounts.identifiers import IdentifierParser
from movie_core.accounts.session_registry import SessionRegistry
from movie_core.accounts.session_service import Sessions
from movie_core.accounts.sessions import Session
from movie_core.accounts.users import User, UserState, UserSummary
from movie_core.clock import Clock, utc_now
from movie_core.errors import UserNotFound
from movie_core.paging import Window
from movie_core.ports import UserDirectory, UserRepo


class UserManagement:
    """Management of users, without authorisation and audit log (see `administration.UserAdministration`).

    Every method raises `StoreUnavailable` if the store is unavailable. Methods with an `email` parameter raise
    `InvalidEmail` and, except for `list_users`, `UserNotFound`.
    """

    def __init__(
        self,
        users: UserRepo,
        directory: UserDirectory,
        identifiers: IdentifierParser,
        sessions: Sessions,
        registry: SessionRegistry,
        clock: Clock = utc_now,
    ) -> None:
        self._users = users
        self._directory = directory
        self._identifiers = identifiers
        self._sessions = sessions
        self._registry = registry
        self._clock = clock

    async def list_users(
        self, window: Window, email: str | None = None, *, search: str = "", state: UserState | None = None
    ) -> tuple[int, Sequence[UserSummary]]:
        """Returns the number of users and pending registrations, and those in the window, newest first. `email` filters
        by one address, `search` by a part of address or username."""
        key = None if email is None else self._identifiers.address(email).key
        return await self._directory.list_users(window, key, search=search, state=state)

    async def find_summary(self, user_id: str) -> UserSummary | None:
        """Returns the user or pending registration with this id."""
        return await self._directory.find_summary(user_id)

    async def find_user(self, email: str) -> User:
        """Returns the user with this address."""
        user = await self._users.find_by_address(self._identifiers.address(email).key)
        if user is None:
            raise UserNotFound("no user has this address")
        return user

    async def set_active(self, email: str, is_active: bool) -> User:
        """Activates a user or pending registration, or deactivates a user and ends the sessions. Returns the user."""
        key = self._identifiers.address(email).key
        self._registry.mark_ended(await self._users.set_active(key, is_active, self._clock()))
        return await self.find_user(email)

    async def set_staff(self, email: str, is_staff: bool) -> User:
        """Grants or revokes staff rights. Returns the user."""
        await self._users.set_staff(self._identifiers.address(email).key, is_staff)
        return await self.find_user(email)

    async def list_sessions(self, email: str) -> Sequence[Session]:
        """Returns the sessions of a user, most recently used first."""
        return await self._sessions.list_for_user((await self.find_user(email)).id)

    async def end_sessions(self, user: User) -> int:
        """Ends all sessions of a user, notifies the user by email, and returns the number of ended sessions."""
        return await self._sessions.end_all(user.id)
