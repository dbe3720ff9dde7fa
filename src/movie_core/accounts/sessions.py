"""Sessions, their tokens, and the classification of reused refresh tokens."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum

GRACE = timedelta(seconds=60)
"""Time within which a used refresh token still returns the same successor, as the response may have been lost."""
MAX_SESSIONS = 100
"""Sessions of one user; a further login ends the least recently used one."""
MAX_NETWORKS = 20
"""Networks stored per user from which the user has logged in."""
MAX_DEVICE = 200
"""Characters stored of a client's name for its device."""


@dataclass(frozen=True, slots=True)
class AccessClaims:
    """The claims of an access token. `issued_at` and `expires_at` are whole seconds."""

    user_id: str
    session_id: str
    token_id: str
    issued_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Session:
    """A login on one device."""

    id: str
    user_id: str
    device: str
    created_at: datetime
    last_used_at: datetime


@dataclass(frozen=True, slots=True)
class TokenPair:
    """The tokens of a session: a signed access token and an opaque refresh token."""

    access: str
    refresh: str


@dataclass(frozen=True, slots=True)
class Caller:
    """The authenticated user and session of a request."""

    user_id: str
    session_id: str
    expires_at: datetime
    """Expiry of the access token; UTC."""


@dataclass(frozen=True, slots=True)
class RotationResult:
    """Result of exchanging a refresh token."""

    session: Session
    successor: int
    """Index, among the offered successors, of the session's new refresh token."""


class Reuse(Enum):
    """The kinds of reuse of a refresh token that was used before."""

    REPEAT = "repeat"
    """The response was lost; the same successor is returned again."""
    THEFT = "theft"
    """Two clients hold the token; the session ends."""


def classify_reuse(now: datetime, used_at: datetime, *, successor_is_unused: bool) -> Reuse:
    """Classifies the reuse of a refresh token that was first used at `used_at`."""
    return Reuse.REPEAT if successor_is_unused and now - used_at <= GRACE else Reuse.THEFT
