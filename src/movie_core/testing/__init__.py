"""One contract suite per port. Run it against your own adapter:

    class TestMyStore(CatalogueContract):
        @asynccontextmanager
        async def open(self, movies):
            store = MyStore(...)
            await store.load(movies)
            yield store
            await store.close()

Any runner that collects `test_*` methods of a class will do (pytest does). Each test opens the adapter anew in an
event loop of its own, and has a minute.
"""

from movie_core.testing.accounts import (
    LIMITED,
    LINK_TTL,
    UNLIMITED,
    AccessTokensContract,
    AddressSyntaxContract,
    Delivered,
    DeliveryNotifierContract,
    MailerContract,
    OutboxContract,
    PasswordHasherContract,
    PasswordStrengthContract,
    RateLimiterContract,
    SessionStoreContract,
    Stores,
    StoresContract,
    UsernameSyntaxContract,
    UserRepoContract,
    deliver,
    join,
    log_in,
    make_address,
    make_registration,
    reset_link,
)
from movie_core.testing.audit import AuditLogContract, AuditStores
from movie_core.testing.events import AnalyticsContract, EventStoreContract, EventStores, EventStoresContract
from movie_core.testing.movies import (
    CacheStoreContract,
    MovieCatalogueContract,
    MovieSourceContract,
    SeenMoviesContract,
)
from movie_core.testing.ratings import RatingStoreContract, RatingStores, check_personal_data
from movie_core.testing.recommending import ModelStoreContract, RecommenderContract
from movie_core.testing.shared import (
    NOW,
    ODD_STRINGS,
    SAMPLE,
    clause,
    refused,
    walk,
)
from movie_core.testing.trends import (
    PRECISION,
    OrderStores,
    PersonalOrderStoreContract,
    TrendStoreContract,
    brute_force,
    check_trends,
    make_deeds,
)

__all__ = [
    "LIMITED",
    "LINK_TTL",
    "NOW",
    "ODD_STRINGS",
    "PRECISION",
    "SAMPLE",
    "UNLIMITED",
    "AccessTokensContract",
    "AddressSyntaxContract",
    "AnalyticsContract",
    "AuditLogContract",
    "AuditStores",
    "CacheStoreContract",
    "Delivered",
    "DeliveryNotifierContract",
    "EventStoreContract",
    "EventStores",
    "EventStoresContract",
    "MailerContract",
    "ModelStoreContract",
    "MovieCatalogueContract",
    "MovieSourceContract",
    "OrderStores",
    "OutboxContract",
    "PasswordHasherContract",
    "PasswordStrengthContract",
    "PersonalOrderStoreContract",
    "RateLimiterContract",
    "RatingStoreContract",
    "RatingStores",
    "RecommenderContract",
    "SeenMoviesContract",
    "SessionStoreContract",
    "Stores",
    "StoresContract",
    "TrendStoreContract",
    "UserRepoContract",
    "UsernameSyntaxContract",
    "brute_force",
    "check_personal_data",
    "check_trends",
    "clause",
    "deliver",
    "join",
    "log_in",
    "make_address",
    "make_deeds",
    "make_registration",
    "refused",
    "reset_link",
    "walk",
]
