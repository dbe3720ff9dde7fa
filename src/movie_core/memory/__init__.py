"""Every port in memory: for tests, for small collections, and as the shortest example of an adapter.

`deployment` wires all of them with the services into a whole `Deployment`.
"""

from movie_core.memory.account_data_repo import MemoryAccountDataRepo
from movie_core.memory.audit_log import MemoryAuditLog
from movie_core.memory.cache_store import ENTRY_BYTES, MemoryCacheStore
from movie_core.memory.database import MemoryDatabase
from movie_core.memory.deployments import Deployment, deployment
from movie_core.memory.event_store import MemoryEventStore
from movie_core.memory.mailer import MemoryDeliveryNotifier, MemoryMailer
from movie_core.memory.model_store import MemoryModelStore
from movie_core.memory.movies import MAX_PENDING, MemoryMovieCatalogue, MemorySeenMovies
from movie_core.memory.outbox import MemoryOutbox
from movie_core.memory.password_reset_repo import MemoryPasswordResetRepo
from movie_core.memory.personal_order_store import MemoryPersonalOrderStore
from movie_core.memory.rate_limiter import MemoryRateLimiter
from movie_core.memory.rating_store import MemoryRatingStore
from movie_core.memory.recommender import MemoryRecommender
from movie_core.memory.registration_repo import MemoryRegistrationRepo
from movie_core.memory.security import MemoryAccessTokens, MemoryPasswordHasher, PlainPasswordStrength
from movie_core.memory.session_repo import MemorySessionRepo
from movie_core.memory.syntax import PlainAddressSyntax, PlainUsernameSyntax
from movie_core.memory.training_rating_store import MemoryTrainingRatingStore
from movie_core.memory.trend_store import MemoryTrendStore
from movie_core.memory.user_directory import MemoryUserDirectory
from movie_core.memory.user_repo import MemoryUserRepo

__all__ = [
    "ENTRY_BYTES",
    "MAX_PENDING",
    "Deployment",
    "MemoryAccessTokens",
    "MemoryAccountDataRepo",
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
    "MemoryPasswordResetRepo",
    "MemoryPersonalOrderStore",
    "MemoryRateLimiter",
    "MemoryRatingStore",
    "MemoryRecommender",
    "MemoryRegistrationRepo",
    "MemorySeenMovies",
    "MemorySessionRepo",
    "MemoryTrainingRatingStore",
    "MemoryTrendStore",
    "MemoryUserDirectory",
    "MemoryUserRepo",
    "PlainAddressSyntax",
    "PlainPasswordStrength",
    "PlainUsernameSyntax",
    "deployment",
]
