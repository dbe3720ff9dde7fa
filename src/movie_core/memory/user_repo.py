"""The `UserRepo` port in memory."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from movie_core.accounts.users import User, Username
from movie_core.errors import UserNotFound
from movie_core.memory.database import MemoryDatabase


class MemoryUserRepo:
    """A `UserRepo` over a `MemoryDatabase`."""

    def __init__(self, database: MemoryDatabase) -> None:
        self._database = database

    async def find(self, user_id: str) -> User | None:
        return self._database.users.get(user_id)

    async def find_by_address(self, address_key: str) -> User | None:
        return self._database.find_by_address(address_key)

    async def login_networks(self, address_key: str) -> Sequence[str]:
        user = self._database.find_by_address(address_key)
        return [] if user is None else list(reversed(self._database.login_networks.get(user.id, {})))

    async def change_profile(
        self, user_id: str, *, username: Username | None = None, record_events: bool | None = None
    ) -> User:
        user = self._database.users.get(user_id)
        if user is None:
            raise UserNotFound("no such user")
        if username is not None:
            self._database.check_username(username, except_user_id=user_id)
            user = replace(user, username=username)
        if record_events is not None:
            user = replace(user, record_events=record_events)
        self._database.users[user_id] = user
        return user

    async def set_active(self, address_key: str, is_active: bool, now: datetime) -> Sequence[str]:
        user = self._database.find_by_address(address_key)
        pending = self._database.pending_registrations(address_key)
        if user is None and is_active and pending:
            user = self._database.activate(pending[0], now, used_link=None)
        if user is None:
            raise UserNotFound("no user with this email address")
        self._database.users[user.id] = replace(user, is_active=is_active)
        ended = [] if is_active else self._database.list_sessions_of(user.id)
        return self._database.end_sessions((session.id for session in ended), now)

    async def set_staff(self, address_key: str, is_staff: bool) -> None:
        user = self._database.find_by_address(address_key)
        if user is None:
            raise UserNotFound("no user with this email address")
        self._database.users[user.id] = replace(user, is_staff=is_staff)
