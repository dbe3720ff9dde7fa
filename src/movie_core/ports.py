"""The ports: interfaces of everything that the core needs from outside, each with a contract in numbered clauses.

`MovieSource`, `UserRepo` and `Mailer` are the main ones. Each area defines its ports in `<area>/ports.py`; this module
re-exports all of them. `movie_core.memory` implements every port in memory. `movie_core.testing` has one contract suite
per port, whose tests follow the clauses. To connect another source or store, implement the methods of its port and run
the suite against the implementation.
"""

from movie_core.accounts.ports import (
    AccessTokens,
    AccountDataRepo,
    AddressSyntax,
    DeliveryNotifier,
    Mailer,
    Outbox,
    PasswordHasher,
    PasswordResetRepo,
    PasswordStrength,
    RegistrationRepo,
    SessionRepo,
    UserDirectory,
    UsernameSyntax,
    UserRepo,
)
from movie_core.discovery.ports import (
    Analytics,
    EventStore,
    ModelStore,
    PersonalOrderStore,
    RatingStore,
    Recommender,
    TrainingRatingStore,
    TrendStore,
)
from movie_core.operations.ports import AuditLog, RateLimiter
from movie_core.personal_data import PersonalData
from movie_core.search.ports import CacheStore, MovieCatalogue, MovieSource, SeenMovies

__all__ = [  # noqa: RUF022  (the main ports first, then by area)
    "MovieSource",
    "UserRepo",
    "Mailer",
    # search
    "MovieCatalogue",
    "SeenMovies",
    "CacheStore",
    # accounts
    "RegistrationRepo",
    "PasswordResetRepo",
    "SessionRepo",
    "UserDirectory",
    "AccountDataRepo",
    "Outbox",
    "DeliveryNotifier",
    "PasswordHasher",
    "PasswordStrength",
    "AccessTokens",
    "AddressSyntax",
    "UsernameSyntax",
    # discovery
    "RatingStore",
    "TrainingRatingStore",
    "EventStore",
    "Analytics",
    "TrendStore",
    "PersonalOrderStore",
    "Recommender",
    "ModelStore",
    # operations
    "RateLimiter",
    "AuditLog",
    # every store of data about users
    "PersonalData",
]
