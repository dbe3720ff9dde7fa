"""The `UserDirectory` port in memory."""

import unicodedata
from collections.abc import Sequence

from movie_core.accounts.users import UserState, UserSummary
from movie_core.memory.database import MemoryDatabase
from movie_core.paging import Window


class MemoryUserDirectory:
    """A `UserDirectory` over a `MemoryDatabase`."""

    def __init__(self, database: MemoryDatabase) -> None:
        self._database = database

    async def list_users(
        self, window: Window, address_key: str | None = None, *, search: str = "", state: UserState | None = None
    ) -> tuple[int, Sequence[UserSummary]]:
        fragment = unicodedata.normalize("NFC", search.casefold())
        matches = [
            user
            for user in self._summaries()
            if address_key in (None, user.address.key)
            and any(
                fragment in text for text in (user.address.key, user.address.spelling.casefold(), user.username.key)
            )
            and _has_state(user, state)
        ]
        matches.sort(key=lambda user: user.id)
        matches.sort(key=lambda user: user.created_at, reverse=True)
        return len(matches), matches[window.offset : window.offset + window.limit]

    async def find_summary(self, user_id: str) -> UserSummary | None:
        return next((user for user in self._summaries() if user.id == user_id), None)

    def _summaries(self) -> list[UserSummary]:
        database = self._database
        users = [
            UserSummary(
                id=user.id,
                address=user.address,
                username=user.username,
                is_pending=False,
                is_active=user.is_active,
                is_staff=user.is_staff,
                created_at=user.created_at,
                last_login=user.last_login,
            )
            for user in database.users.values()
        ]
        pending = [
            UserSummary(
                id=registration.id,
                address=registration.address,
                username=registration.username,
                is_pending=True,
                is_active=False,
                is_staff=False,
                created_at=registration.created_at,
                last_login=None,
            )
            for registration in database.registrations
            if registration.id not in database.decoy_ids
        ]
        return users + pending


def _has_state(user: UserSummary, state: UserState | None) -> bool:
    match state:
        case None:
            return True
        case UserState.PENDING:
            return user.is_pending
        case UserState.ACCOUNT:
            return not user.is_pending
        case UserState.STAFF:
            return user.is_staff
        case _:
            return not user.is_pending and user.is_active is (state is UserState.ACTIVE)
