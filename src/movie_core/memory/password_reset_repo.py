"""The `PasswordResetRepo` port in memory."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from movie_core.accounts.outbox import MailKind, Purpose
from movie_core.accounts.users import User
from movie_core.errors import InvalidLink
from movie_core.memory.database import MemoryDatabase


class MemoryPasswordResetRepo:
    """A `PasswordResetRepo` over a `MemoryDatabase`."""

    def __init__(self, database: MemoryDatabase) -> None:
        self._database = database

    async def request_reset(self, address_key: str, now: datetime, *, requested_from: str = "") -> None:
        self._database.delay_email(MailKind.PASSWORD_RESET, address_key, now, now, requested_from)

    async def find_reset_user(self, uid: str, token_hash: str, now: datetime) -> User:
        self._database.valid_link(Purpose.RESET, uid, token_hash, now)
        user = self._database.users[uid]
        if not user.is_active:
            raise InvalidLink("the link is invalid or has expired")
        return user

    async def reset_password(self, uid: str, token_hash: str, password_hash: str, now: datetime) -> Sequence[str]:
        user = await self.find_reset_user(uid, token_hash, now)
        return self._set_password(user, password_hash, None, now)

    async def change_password(
        self, user_id: str, old_hash: str, new_hash: str, *, except_session_id: str, now: datetime
    ) -> Sequence[str] | None:
        user = self._database.users.get(user_id)
        if user is None or user.password_hash != old_hash:
            return None
        return self._set_password(user, new_hash, except_session_id, now)

    def _set_password(self, user: User, new_hash: str, except_session_id: str | None, now: datetime) -> list[str]:
        self._database.users[user.id] = replace(user, password_hash=new_hash)
        self._database.delete_reset_links(user.id)
        self._database.delay_email(MailKind.PASSWORD_CHANGED, user.address.key, now, now)
        sessions = self._database.list_sessions_of(user.id)
        return self._database.end_sessions((session.id for session in sessions if session.id != except_session_id), now)
