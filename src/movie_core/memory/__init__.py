"""Every port in memory: for tests, for small collections, and as the shortest example of an adapter."""

from movie_core.memory.accounts import (
    MemoryBook,
    MemoryHasher,
    MemoryMailer,
    MemoryNotifier,
    MemoryOutbox,
    MemoryRateLimiter,
    MemorySessions,
    MemoryTokens,
    MemoryUsers,
    PlainAddressSyntax,
    PlainStrength,
    PlainUsernameSyntax,
)
from movie_core.memory.audit import MemoryAuditLog
from movie_core.memory.events import MemoryEvents
from movie_core.memory.movies import (
    ENTRY_BYTES,
    MAX_PENDING,
    MemoryCatalogue,
    MemoryEntries,
    MemorySeenMovies,
    words,
)
from movie_core.memory.ratings import MemoryRatings
from movie_core.memory.recommending import MemoryModels, MemoryRecommender
from movie_core.memory.trends import MemoryOrders, MemoryTrends

__all__ = [
    "ENTRY_BYTES",
    "MAX_PENDING",
    "MemoryAuditLog",
    "MemoryBook",
    "MemoryCatalogue",
    "MemoryEntries",
    "MemoryEvents",
    "MemoryHasher",
    "MemoryMailer",
    "MemoryModels",
    "MemoryNotifier",
    "MemoryOrders",
    "MemoryOutbox",
    "MemoryRateLimiter",
    "MemoryRatings",
    "MemoryRecommender",
    "MemorySeenMovies",
    "MemorySessions",
    "MemoryTokens",
    "MemoryTrends",
    "MemoryUsers",
    "PlainAddressSyntax",
    "PlainStrength",
    "PlainUsernameSyntax",
    "words",
]
