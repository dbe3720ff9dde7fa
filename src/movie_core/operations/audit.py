"""Audit log entries: time, actor, action, affected user or email. They contain no address and no secret."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from movie_core.accounts.keyring import new_id

RETENTION = timedelta(days=400)
"""Retention of entries: a year, and time to investigate."""
COMMAND_LINE = "command line"
"""The actor of an action on the command line."""


class Action(StrEnum):
    """The logged actions."""

    USER_ACTIVATED = "user_activated"
    USER_DEACTIVATED = "user_deactivated"
    STAFF_GRANTED = "staff_granted"
    STAFF_REVOKED = "staff_revoked"
    USER_ERASED = "user_erased"
    SESSIONS_ENDED = "sessions_ended"
    """All sessions of a user were ended."""
    MAIL_RETRIED = "mail_retried"
    CACHE_FLUSHED = "cache_flushed"


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One action of staff."""

    at: datetime
    actor: str
    """The id of the acting user, `COMMAND_LINE`, or empty if that user was erased."""
    action: Action
    account_id: str | None = None
    """The id of the affected user; None if there is none or that user was erased."""
    mail_id: str | None = None
    id: str = field(default_factory=new_id)


@dataclass(frozen=True, slots=True)
class ExportedAuditEntry:
    """An entry as exported to a user, without the ids of other users."""

    action: Action
    at: datetime
    by_this_account: bool
    about_this_account: bool


@dataclass(frozen=True, slots=True)
class AuditExport:
    """All data of a user in an `AuditLog`."""

    audit: Sequence[ExportedAuditEntry]


def exported(entry: AuditEntry, account_id: str) -> ExportedAuditEntry:
    """Returns an entry for the export of a user."""
    return ExportedAuditEntry(entry.action, entry.at, entry.actor == account_id, entry.account_id == account_id)
