"""Sessions: what a token says, when a refresh token may come again, and how a process knows which ones have ended."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum

GRACE = timedelta(seconds=10)
"""How long a used refresh token still gets the successor that it got before: its answer may have been lost."""
MAX_SESSIONS = 100
"""Of one account; a login beyond ends the one used longest ago."""
MAX_NETWORKS = 20
"""Networks that an account is remembered to have logged in from."""
MAX_DEVICE = 200
"""Characters kept of what a client calls itself."""


@dataclass(frozen=True, slots=True)
class AccessClaims:
    """What an access token says. `issued_at` and `expires_at` are whole seconds."""

    user_id: str
    session_id: str
    token_id: str
    issued_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Session:
    """One device logged in."""

    id: str
    user_id: str
    device: str
    created_at: datetime
    last_used_at: datetime


class Reuse(Enum):
    """What it means that a refresh token comes which was used before."""

    REPEAT = "repeat"
    """The answer was lost: the same successor again."""
    THEFT = "theft"
    """Two hold the token: the session ends."""


def classify_reuse(now: datetime, spent_at: datetime, *, successor_is_unused: bool) -> Reuse:
    """Judge a refresh token that was used at `spent_at`."""
    return Reuse.REPEAT if successor_is_unused and now - spent_at <= GRACE else Reuse.THEFT
