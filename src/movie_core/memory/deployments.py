"""A whole deployment in memory: every port, and the services over them."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

from movie_core.accounts.account_data import AccountData
from movie_core.accounts.credentials import Credentials
from movie_core.accounts.identifiers import IdentifierParser
from movie_core.accounts.keyring import Keyring
from movie_core.accounts.login import Login
from movie_core.accounts.outbox import MailRules
from movie_core.accounts.outbox_dispatcher import OutboxDispatcher
from movie_core.accounts.passwords import Passwords
from movie_core.accounts.profiles import Profiles
from movie_core.accounts.registration import Registration
from movie_core.accounts.rules import AccountRules
from movie_core.accounts.session_registry import SessionRegistry
from movie_core.accounts.session_service import Sessions
from movie_core.accounts.session_tokens import SessionTokens
from movie_core.accounts.user_management import UserManagement
from movie_core.clock import Clock, utc_now
from movie_core.discovery.event_recorder import EventRecorder
from movie_core.discovery.services import Discovery
from movie_core.discovery.trending_service import TrendingService
from movie_core.memory.account_data_repo import MemoryAccountDataRepo
from movie_core.memory.audit_log import MemoryAuditLog
from movie_core.memory.cache_store import MemoryCacheStore
from movie_core.memory.database import MemoryDatabase
from movie_core.memory.event_store import MemoryEventStore
from movie_core.memory.mailer import MemoryDeliveryNotifier, MemoryMailer
from movie_core.memory.model_store import MemoryModelStore
from movie_core.memory.movies import MemoryMovieCatalogue, MemorySeenMovies
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
from movie_core.operations.administration import AuditRecorder, MailAdministration, UserAdministration
from movie_core.operations.maintenance import Maintenance
from movie_core.ports import MovieSource, Recommender
from movie_core.search.movie_search import MovieSearch
from movie_core.search.movies import Movie

_EXAMPLE_KEY = "an example that is 32 bytes or longer"


@dataclass(frozen=True, slots=True)
class Deployment:
    """Every port in memory and the services over them, as `deployment` wires them."""

    clock: Clock
    keyring: Keyring
    mail_rules: MailRules

    # Search
    catalogue: MemoryMovieCatalogue
    source: MovieSource
    """The catalogue, unless another source was given."""
    seen: MemorySeenMovies | None
    """Only with a source other than the catalogue; it stores its movies in the catalogue."""
    cache_store: MemoryCacheStore
    movie_search: MovieSearch

    # Accounts
    database: MemoryDatabase
    user_repo: MemoryUserRepo
    user_directory: MemoryUserDirectory
    registration_repo: MemoryRegistrationRepo
    password_reset_repo: MemoryPasswordResetRepo
    session_repo: MemorySessionRepo
    account_data_repo: MemoryAccountDataRepo
    outbox: MemoryOutbox
    mailer: MemoryMailer
    notifier: MemoryDeliveryNotifier
    hasher: MemoryPasswordHasher
    tokens: MemoryAccessTokens
    address_syntax: PlainAddressSyntax
    username_syntax: PlainUsernameSyntax
    password_strength: PlainPasswordStrength
    registry: SessionRegistry
    registration: Registration
    login: Login
    passwords: Passwords
    profiles: Profiles
    sessions: Sessions
    session_tokens: SessionTokens
    user_management: UserManagement
    dispatcher: OutboxDispatcher

    # Discovery
    ratings: MemoryRatingStore
    training_ratings: MemoryTrainingRatingStore
    events: MemoryEventStore
    trend_store: MemoryTrendStore
    orders: MemoryPersonalOrderStore
    models: MemoryModelStore
    recommender: Recommender
    trends: TrendingService
    recorder: EventRecorder
    discovery: Discovery

    # Operations
    rate_limiter: MemoryRateLimiter
    audit_log: MemoryAuditLog
    audit_recorder: AuditRecorder
    user_administration: UserAdministration
    mail_administration: MailAdministration
    maintenance: Maintenance

    @property
    def analytics(self) -> MemoryEventStore:
        """The port `Analytics`; the event store implements both."""
        return self.events


def deployment(
    movies: Iterable[Movie] = (),
    *,
    clock: Clock = utc_now,
    secret: str = _EXAMPLE_KEY,
    mail_rules: MailRules | None = None,
    account_rules: AccountRules | None = None,
    public_url: str = "https://movies.example.com",
    source: MovieSource | None = None,
    recommender: Recommender | None = None,
) -> Deployment:
    """Build a whole deployment in memory, for tests and examples.

    Links expire after 24 hours, access tokens after 15 minutes, refresh tokens after 5 days; passwords have at least 8
    characters; the number of emails is not limited. `source` replaces the catalogue as the searched source; the
    catalogue then stores the movies that searches have returned. `recommender` replaces `MemoryRecommender`.

    >>> import asyncio
    >>> from movie_core import Movie, MovieQuery, Window, memory
    >>> world = memory.deployment([Movie(id="603", title="The Matrix", year=1999)])
    >>> async def example() -> list[str]:
    ...     await world.registration.register("ann@example.com", "ann", "copper lantern walks home")
    ...     await world.dispatcher.deliver_due()
    ...     [link] = world.mailer.emails[0].links
    ...     uid, token = link.rstrip("/").split("/")[-2:]
    ...     tokens = await world.registration.activate(uid, token, device="a phone")
    ...     caller = await world.session_tokens.authenticate(tokens.access)
    ...     page = await world.movie_search.search(MovieQuery("matrix"), Window())
    ...     await world.discovery.rate(caller.user_id, page.items[0].id, 9.5)
    ...     return [rating.title for rating in await world.ratings.history(caller.user_id)]
    >>> asyncio.run(example())
    ['The Matrix']
    """
    keyring = Keyring([secret])
    mail_rules = mail_rules or MailRules(link_ttl=timedelta(hours=24), limit=None)
    account_rules = account_rules or AccountRules(
        password_min=8, access_ttl=timedelta(minutes=15), refresh_ttl=timedelta(days=5)
    )

    def timestamp() -> float:
        return clock().timestamp()

    catalogue = MemoryMovieCatalogue(movies, source="catalogue" if source is None else source.name)
    seen = None if source is None else MemorySeenMovies(catalogue)
    movie_search = MovieSearch(source or catalogue, seen)

    database = MemoryDatabase(mail_rules, keyring)
    user_repo, user_directory = MemoryUserRepo(database), MemoryUserDirectory(database)
    registration_repo, password_reset_repo = MemoryRegistrationRepo(database), MemoryPasswordResetRepo(database)
    session_repo, account_data_repo = MemorySessionRepo(database), MemoryAccountDataRepo(database)
    outbox = MemoryOutbox(database)
    ratings, events, audit_log = MemoryRatingStore(database), MemoryEventStore(database), MemoryAuditLog(database)
    audit_recorder = AuditRecorder(audit_log, clock)
    orders = MemoryPersonalOrderStore(clock)

    mailer, notifier, hasher = MemoryMailer(), MemoryDeliveryNotifier(), MemoryPasswordHasher()
    tokens = MemoryAccessTokens(keyring, clock)
    address_syntax, username_syntax = PlainAddressSyntax(), PlainUsernameSyntax()
    password_strength = PlainPasswordStrength()
    registry = SessionRegistry(session_repo, clock)
    identifiers = IdentifierParser(address_syntax, username_syntax)
    credentials = Credentials(user_repo, hasher, password_strength, keyring, account_rules)
    session_tokens = SessionTokens(session_repo, registry, tokens, keyring, account_rules, clock)
    sessions = Sessions(session_repo, registry, notifier, account_rules, clock)
    registration = Registration(registration_repo, credentials, identifiers, session_tokens, notifier, clock)
    login = Login(user_repo, credentials, identifiers, session_tokens, sessions)
    passwords = Passwords(password_reset_repo, credentials, identifiers, registry, notifier, clock)
    personal = (ratings, events, orders, audit_log)
    account_data = AccountData(account_data_repo, personal, mailer, registry, notifier, clock)
    profiles = Profiles(user_repo, user_directory, credentials, identifiers, sessions, account_data)
    user_management = UserManagement(user_repo, user_directory, identifiers, sessions, registry, clock)
    dispatcher = OutboxDispatcher(outbox, mailer, keyring, public_url=public_url, owner="memory", clock=clock)

    trend_store = MemoryTrendStore()
    trends = TrendingService(trend_store, events, clock)
    recorder = EventRecorder(events, trends, clock=clock)
    training_ratings = MemoryTrainingRatingStore()
    recommender = recommender or MemoryRecommender(ratings, training_ratings, catalogue, clock)
    discovery = Discovery(
        movie_search, catalogue, ratings, recommender, orders, trends, recorder, seen=seen, clock=clock
    )

    return Deployment(
        clock=clock,
        keyring=keyring,
        mail_rules=mail_rules,
        catalogue=catalogue,
        source=source or catalogue,
        seen=seen,
        cache_store=MemoryCacheStore(clock=timestamp),
        movie_search=movie_search,
        database=database,
        user_repo=user_repo,
        user_directory=user_directory,
        registration_repo=registration_repo,
        password_reset_repo=password_reset_repo,
        account_data_repo=account_data_repo,
        session_repo=session_repo,
        outbox=outbox,
        mailer=mailer,
        notifier=notifier,
        hasher=hasher,
        tokens=tokens,
        address_syntax=address_syntax,
        username_syntax=username_syntax,
        password_strength=password_strength,
        registry=registry,
        registration=registration,
        login=login,
        passwords=passwords,
        profiles=profiles,
        sessions=sessions,
        session_tokens=session_tokens,
        user_management=user_management,
        dispatcher=dispatcher,
        ratings=ratings,
        training_ratings=training_ratings,
        events=events,
        trend_store=trend_store,
        orders=orders,
        models=MemoryModelStore(),
        recommender=recommender,
        trends=trends,
        recorder=recorder,
        discovery=discovery,
        rate_limiter=MemoryRateLimiter(timestamp),
        audit_log=audit_log,
        audit_recorder=audit_recorder,
        user_administration=UserAdministration(user_management, profiles, audit_recorder),
        mail_administration=MailAdministration(outbox, notifier, audit_recorder, clock),
        maintenance=Maintenance(
            account_data_repo, events, recommender, audit_log, events_keep=timedelta(days=90), clock=clock
        ),
    )
