"""Conversion between rows and values of users and registrations."""

from typing import Any

from movie_core.accounts.users import Address, PendingRegistration, User, Username, UserSummary


def user_from_row(row: Any) -> User:
    return User(
        id=row.id,
        address=Address(row.email, row.email_key),
        username=Username(row.username, row.username_key, row.username_skeleton),
        password_hash=row.password_hash,
        is_active=row.is_active,
        is_staff=row.is_staff,
        record_events=row.record_events,
        created_at=row.created_at,
        last_login=row.last_login,
    )


def registration_from_row(row: Any) -> PendingRegistration:
    return PendingRegistration(
        id=row.id,
        address=Address(row.email, row.email_key),
        username=Username(row.username, row.username_key, row.username_skeleton),
        password_hash=row.password_hash,
        created_at=row.created_at,
        requested_from=row.requested_from or "",
    )


def summary_from_row(row: Any) -> UserSummary:
    return UserSummary(
        id=row.id,
        address=Address(row.email, row.email_key),
        username=Username(row.username, row.username_key, row.username_skeleton),
        is_pending=row.is_pending,
        is_active=row.is_active,
        is_staff=row.is_staff,
        created_at=row.created_at,
        last_login=row.last_login,
    )


def username_columns(username: Username) -> dict[str, str | None]:
    return {
        "username": username.shown,
        "username_key": username.key,
        "username_skeleton": username.skeleton,
    }
