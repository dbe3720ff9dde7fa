"""What staff did: who, what, about which account or mail, and when. No address is in it, and no secret."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from movie_core.accounts.keyring import new_id
from movie_core.clock import iso_time

KEEP = timedelta(days=400)
"""How long an entry is kept: a year, and time to look into it."""
COMMAND_LINE = "command line"
"""The actor where no account is one."""


class Action(StrEnum):
    USER_ACTIVATED = "user_activated"
    USER_DEACTIVATED = "user_deactivated"
    STAFF_GRANTED = "staff_granted"
    STAFF_REVOKED = "staff_revoked"
    USER_ERASED = "user_erased"
    SESSIONS_ENDED = "sessions_ended"
    """All of an account's."""
    MAIL_RETRIED = "mail_retried"
    CACHE_FLUSHED = "cache_flushed"


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One deed."""

    at: datetime
    actor: str
    """The id of an account, `COMMAND_LINE`, or empty where the account was erased."""
    action: Action
    account_id: str | None = None
    """Whom it was about; None too where that account was erased."""
    mail_id: str | None = None
    id: str = field(default_factory=new_id)


def exported(entry: AuditEntry, account_id: str) -> dict[str, object]:
    """An entry as the export of an account shows it, without whom else it names."""
    return {
        "action": entry.action.value,
        "at": iso_time(entry.at),
        "by_this_account": entry.actor == account_id,
        "about_this_account": entry.account_id == account_id,
    }
