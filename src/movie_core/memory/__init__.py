"""Every port in memory: for tests, for small collections, and as the shortest example of an adapter."""

from movie_core.memory.accounts import (
    MemoryAccessTokens,
    MemoryDatabase,
    MemoryDeliveryNotifier,
    MemoryMailer,
    MemoryOutbox,
    MemoryPasswordHasher,
    MemoryRateLimiter,
    MemorySessionStore,
    MemoryUserRepo,
    PlainAddressSyntax,
    PlainPasswordStrength,
    PlainUsernameSyntax,
)
from movie_core.memory.audit import MemoryAuditLog
from movie_core.memory.events import MemoryEventStore
from movie_core.memory.movies import (
    ENTRY_BYTES,
    MAX_PENDING,
    MemoryCacheStore,
    MemoryMovieCatalogue,
    MemorySeenMovies,
    words,
)
from movie_core.memory.ratings import MemoryRatingStore
from movie_core.memory.recommending import MemoryModelStore, MemoryRecommender
from movie_core.memory.trends import MemoryPersonalOrderStore, MemoryTrendStore

__all__ = [
    "ENTRY_BYTES",
    "MAX_PENDING",
    "MemoryAccessTokens",
    "MemoryAuditLog",
    "MemoryCacheStore",
    "MemoryDatabase",
    "MemoryDeliveryNotifier",
    "MemoryEventStore",
    "MemoryMailer",
    "MemoryModelStore",
    "MemoryMovieCatalogue",
    "MemoryOutbox",
    "MemoryPasswordHasher",
    "MemoryPersonalOrderStore",
    "MemoryRateLimiter",
    "MemoryRatingStore",
    "MemoryRecommender",
    "MemorySeenMovies",
    "MemorySessionStore",
    "MemoryTrendStore",
    "MemoryUserRepo",
    "PlainAddressSyntax",
    "PlainPasswordStrength",
    "PlainUsernameSyntax",
    "words",
]
