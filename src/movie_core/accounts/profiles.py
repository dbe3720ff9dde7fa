"""The profiles service: a user's own data, its export and its erasure."""

from movie_core.accounts.account_data import AccountData
from movie_core.accounts.credentials import Credentials
from movie_core.accounts.exports import UserExport
from movie_core.accounts.identifiers import IdentifierParser
from movie_core.accounts.session_service import Sessions
from movie_core.accounts.sessions import Caller
from movie_core.accounts.users import User
from movie_core.errors import UserNotFound
from movie_core.paging import Window
from movie_core.ports import UserDirectory, UserRepo


class Profiles:
    """Profiles of users. Every method raises `StoreUnavailable` if a store is unavailable."""

    def __init__(
        self,
        users: UserRepo,
        directory: UserDirectory,
        credentials: Credentials,
        identifiers: IdentifierParser,
        sessions: Sessions,
        data: AccountData,
    ) -> None:
        self._users = users
        self._directory = directory
        self._credentials = credentials
        self._identifiers = identifiers
        self._sessions = sessions
        self._data = data

    async def get(self, caller: Caller) -> User:
        """Returns the caller's user. Raises `InvalidToken` if it was deleted or deactivated."""
        return await self._credentials.user_of(caller)

    async def change(self, caller: Caller, *, username: str | None = None, record_events: bool | None = None) -> User:
        """Changes the given fields; the username requires a recent login. Raises `InvalidUsername`, `UsernameTaken`,
        `ReauthenticationRequired`."""
        name = None if username is None else self._identifiers.username(username)
        if name is not None:
            await self._sessions.require_recent_login(caller)
        return await self._users.change_profile(caller.user_id, username=name, record_events=record_events)

    async def export(self, caller: Caller) -> UserExport:
        """Returns all data stored about the caller."""
        return await self._data.export((await self.get(caller)).address)

    async def erase(self, caller: Caller) -> None:
        """Deletes all data about the caller. Raises `ReauthenticationRequired`."""
        user = await self.get(caller)
        await self._sessions.require_recent_login(caller)
        await self._data.erase(user.address, user.id)

    # --- for staff: also for an address that has only pending registrations. Raise `InvalidEmail` and `UserNotFound`.

    async def export_address(self, email: str) -> UserExport:
        """Returns all data stored about an address."""
        stored = await self._data.export(self._identifiers.address(email))
        if stored.account.account is None and not stored.account.registrations:
            raise _unknown_address()
        return stored

    async def erase_address(self, email: str) -> None:
        """Deletes all data about an address."""
        address = self._identifiers.address(email)
        user = await self._users.find_by_address(address.key)
        if user is None and not (await self._directory.list_users(Window(limit=1), address.key))[0]:
            raise _unknown_address()
        await self._data.erase(address, None if user is None else user.id)


def _unknown_address() -> UserNotFound:
    return UserNotFound("no user or pending registration has this address")
