"""The list of users and pending registrations in a SQL database."""

import unicodedata
from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import ColumnElement, CompoundSelect, Table, false, func, null, or_, select, true, union_all
from sqlalchemy.ext.asyncio import AsyncEngine

from movie_adapters.sql.tables import registrations, transaction, users
from movie_adapters.sql.user_rows import summary_from_row
from movie_core.accounts.users import UserState, UserSummary
from movie_core.paging import Window

LIST_SECONDS = 5.0
"""Timeout of listing users: a search scans every row, a million in about a second."""


class SqlUserDirectory:
    """A `UserDirectory` in tables created by `engine.migrate`. The caller disposes of the engine."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def list_users(
        self, window: Window, address_key: str | None = None, *, search: str = "", state: UserState | None = None
    ) -> tuple[int, Sequence[UserSummary]]:
        listed = _users_and_registrations(
            lambda table: [
                *([] if address_key is None else [table.c.email_key == address_key]),
                *([_matches(table, search)] if search else []),
            ]
        ).subquery()
        condition: ColumnElement[bool] = true()
        match state:
            case UserState.PENDING:
                condition = listed.c.is_pending
            case UserState.ACCOUNT:
                condition = ~listed.c.is_pending
            case UserState.STAFF:
                condition = listed.c.is_staff
            case UserState.ACTIVE:
                condition = listed.c.is_active
            case UserState.INACTIVE:
                condition = ~listed.c.is_active & ~listed.c.is_pending
        count = select(func.count()).select_from(listed).where(condition)
        query = select(listed).where(condition).order_by(listed.c.created_at.desc(), listed.c.id)
        async with transaction(self._engine, read_only=True, seconds=LIST_SECONDS) as connection:
            total = await connection.scalar(count)
            rows = await connection.execute(query.offset(window.offset).limit(window.limit))
            return total or 0, [summary_from_row(row) for row in rows]

    async def find_summary(self, user_id: str) -> UserSummary | None:
        async with transaction(self._engine, read_only=True) as connection:
            row = (await connection.execute(_users_and_registrations(lambda table: [table.c.id == user_id]))).first()
            return None if row is None else summary_from_row(row)


def _users_and_registrations(conditions: Callable[[Table], Sequence[ColumnElement[bool]]]) -> CompoundSelect[Any]:
    """Select users and pending registrations for `summary_from_row`; `conditions` is called for each of the tables."""
    shared = ("id", "email", "email_key", "username", "username_key", "username_skeleton", "created_at")
    user_rows = select(
        *(users.c[name] for name in shared),
        users.c.last_login,
        users.c.is_active,
        users.c.is_staff,
        false().label("is_pending"),
    )
    registration_rows = select(*(registrations.c[name] for name in shared), null(), false(), false(), true())
    is_pending = (~registrations.c.is_decoy, *conditions(registrations))
    return union_all(user_rows.where(*conditions(users)), registration_rows.where(*is_pending))


def _matches(table: Table, search: str) -> ColumnElement[bool]:
    """The condition that `search` is a substring of the email address or username, ignoring case.

    Keys are case-folded. As the domain of an address key is in ASCII, the spelling of the address is searched too.
    """
    folded = unicodedata.normalize("NFC", search.casefold())
    return or_(
        table.c.email_key.contains(folded, autoescape=True),
        table.c.username_key.contains(folded, autoescape=True),
        table.c.email.icontains(search, autoescape=True),
    )
