"""Settings of the account services."""

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True)
class AccountRules:
    """Settings of passwords, tokens and sessions."""

    password_min: int
    """Minimum length of a password, in characters."""
    access_ttl: timedelta
    """Lifetime of an access token."""
    refresh_ttl: timedelta
    """Lifetime of a refresh token; each refresh issues a new one."""
    session_ttl: timedelta = timedelta(days=30)
    """Maximum lifetime of a session from its login, however often it is refreshed."""
    reauthenticate_after: timedelta = timedelta(minutes=15)
    """Maximum age of a login that may erase or rename the user or end other sessions."""
