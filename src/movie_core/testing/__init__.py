"""One contract suite per port. An adapter that passes the suite of its port works with the services of `movie_core`.

Subclass the contract and implement `open`:

    class TestMyCatalogue(MovieCatalogueContract):
        @asynccontextmanager
        async def open(self, movies):
            catalogue = MyCatalogue(...)
            await catalogue.load(movies)
            yield catalogue
            await catalogue.close()

Any runner that collects the `test_*` methods of classes works (pytest does). Each test opens the adapter in an event
loop of its own and has a timeout of 60 seconds. A clause that needs a capability which the adapter does not have raises
`unittest.SkipTest`; runners report it as skipped, with the reason. The number in the name of a test is the number of
the clause in the docstring of the port (see `movie_core.ports`).

| Port | Contract |
|---|---|
| `MovieSource` | `MovieSourceContract` |
| `MovieCatalogue` | `MovieCatalogueContract` |
| `SeenMovies` | `SeenMoviesContract` |
| `CacheStore` | `CacheStoreContract` |
| `UserRepo` | `UserRepoContract` |
| `UserDirectory` | `UserDirectoryContract` |
| `RegistrationRepo` | `RegistrationRepoContract` |
| `PasswordResetRepo` | `PasswordResetRepoContract` |
| `SessionRepo` | `SessionRepoContract` |
| `AccountDataRepo` | `AccountDataRepoContract` |
| `Outbox` | `OutboxContract` |
| `Mailer` | `MailerContract` |
| `DeliveryNotifier` | `DeliveryNotifierContract` |
| `PasswordHasher` | `PasswordHasherContract` |
| `PasswordStrength` | `PasswordStrengthContract` |
| `AccessTokens` | `AccessTokensContract` |
| `AddressSyntax` | `AddressSyntaxContract` |
| `UsernameSyntax` | `UsernameSyntaxContract` |
| `RateLimiter` | `RateLimiterContract` |
| `AuditLog` | `AuditLogContract` |
| `RatingStore` | `RatingStoreContract` |
| `TrainingRatingStore` | `TrainingRatingStoreContract` |
| `EventStore` | `EventStoreContract` |
| `Analytics` | `AnalyticsContract` |
| `TrendStore` | `TrendStoreContract` |
| `PersonalOrderStore` | `PersonalOrderStoreContract` |
| `Recommender` | `RecommenderContract` |
| `ModelStore` | `ModelStoreContract` |
| `PersonalData` | `check_personal_data`, part of the contracts of the stores of personal data |
"""

from movie_core.testing.access_tokens import AccessTokensContract
from movie_core.testing.account_data_repo import AccountDataRepoContract
from movie_core.testing.account_fixtures import (
    LIMITED,
    LINK_TTL,
    UNLIMITED,
    AccountStores,
    create_user,
    deliver_due_mail,
    log_in,
    make_address,
    make_registration,
    memory_account_stores,
    request_reset_link,
)
from movie_core.testing.address_syntax import AddressSyntaxContract
from movie_core.testing.analytics import AnalyticsContract
from movie_core.testing.audit_log import AuditLogContract, AuditStores
from movie_core.testing.cache_store import CacheStoreContract
from movie_core.testing.delivery_notifier import DeliveryNotifierContract
from movie_core.testing.event_fixtures import EventStores
from movie_core.testing.event_store import EventStoreContract
from movie_core.testing.mailer import DeliveredEmail, MailerContract
from movie_core.testing.model_store import ModelStoreContract
from movie_core.testing.movie_catalogue import MovieCatalogueContract
from movie_core.testing.movie_source import MovieSourceContract
from movie_core.testing.outbox import OutboxContract
from movie_core.testing.password_hasher import PasswordHasherContract
from movie_core.testing.password_reset_repo import PasswordResetRepoContract
from movie_core.testing.password_strength import PasswordStrengthContract
from movie_core.testing.personal_order_store import OrderStores, PersonalOrderStoreContract
from movie_core.testing.rate_limiter import RateLimiterContract
from movie_core.testing.rating_store import RatingStoreContract, RatingStores, check_personal_data
from movie_core.testing.recommender import RecommenderContract
from movie_core.testing.registration_repo import RegistrationRepoContract
from movie_core.testing.seen_movies import SeenMoviesContract
from movie_core.testing.session_repo import SessionRepoContract
from movie_core.testing.shared import NOW, ODD_STRINGS, SAMPLE, assert_raises, clause, collect_pages
from movie_core.testing.training_rating_store import TrainingRatingStoreContract
from movie_core.testing.trend_store import (
    PRECISION,
    TrendStoreContract,
    check_trends,
    expected_trends,
    make_interactions,
)
from movie_core.testing.user_directory import UserDirectoryContract
from movie_core.testing.user_repo import UserRepoContract
from movie_core.testing.username_syntax import UsernameSyntaxContract

__all__ = [
    "LIMITED",
    "LINK_TTL",
    "NOW",
    "ODD_STRINGS",
    "PRECISION",
    "SAMPLE",
    "UNLIMITED",
    "AccessTokensContract",
    "AccountDataRepoContract",
    "AccountStores",
    "AddressSyntaxContract",
    "AnalyticsContract",
    "AuditLogContract",
    "AuditStores",
    "CacheStoreContract",
    "DeliveredEmail",
    "DeliveryNotifierContract",
    "EventStoreContract",
    "EventStores",
    "MailerContract",
    "ModelStoreContract",
    "MovieCatalogueContract",
    "MovieSourceContract",
    "OrderStores",
    "OutboxContract",
    "PasswordHasherContract",
    "PasswordResetRepoContract",
    "PasswordStrengthContract",
    "PersonalOrderStoreContract",
    "RateLimiterContract",
    "RatingStoreContract",
    "RatingStores",
    "RecommenderContract",
    "RegistrationRepoContract",
    "SeenMoviesContract",
    "SessionRepoContract",
    "TrainingRatingStoreContract",
    "TrendStoreContract",
    "UserDirectoryContract",
    "UserRepoContract",
    "UsernameSyntaxContract",
    "assert_raises",
    "check_personal_data",
    "check_trends",
    "clause",
    "collect_pages",
    "create_user",
    "deliver_due_mail",
    "expected_trends",
    "log_in",
    "make_address",
    "make_interactions",
    "make_registration",
    "memory_account_stores",
    "request_reset_link",
]
