"""The one recipe book: which adapter stands behind which port, made from the settings.

Both programs and the command line build their container here; tests pass providers that stand in for some of it.
Adapters are imported where they are chosen: SQLAlchemy, httpx and redis cost start-up time and memory that an embedded
deployment needn't pay.
"""

import asyncio
import contextlib
import functools
import logging
import multiprocessing
import os
import secrets
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from dishka import AsyncContainer, Provider, Scope, from_context, make_async_container, provide
from dishka.entities.validation_settings import ValidationSettings

from movie_adapters.observability.metrics import BacklogGauges
from movie_adapters.observability.tracing import Tracing
from movie_adapters.private_files import make_private_folder
from movie_adapters.settings.settings import SettingError, Settings
from movie_adapters.sources.cached import CachedMovieSource
from movie_adapters.sources.seen import BatchedSeenMovies
from movie_core.accounts.keyring import Keyring
from movie_core.accounts.outbox import MailRules
from movie_core.accounts.outbox_dispatcher import OutboxDispatcher
from movie_core.accounts.services import AccountRules, Accounts
from movie_core.accounts.session_registry import SessionRegistry
from movie_core.discovery.event_recorder import EventRecorder
from movie_core.discovery.services import Discovery
from movie_core.discovery.trending_service import TrendingService
from movie_core.errors import StoreUnavailable, Unavailable
from movie_core.memory import MemoryCacheStore
from movie_core.operations.administration import Administration
from movie_core.operations.health import Dependency, Readiness
from movie_core.operations.maintenance import Maintenance
from movie_core.operations.rate_limits import RateLimits
from movie_core.paging import Window
from movie_core.ports import (
    AccessTokens,
    AddressSyntax,
    Analytics,
    AuditLog,
    CacheStore,
    DeliveryNotifier,
    EventStore,
    Mailer,
    ModelStore,
    MovieCatalogue,
    MovieSource,
    Outbox,
    PasswordHasher,
    PasswordStrength,
    PersonalOrderStore,
    RateLimiter,
    RatingStore,
    Recommender,
    SeenMovies,
    SessionStore,
    TrendStore,
    UsernameSyntax,
    UserRepo,
)
from movie_core.search.caching import BLOCK_SIZES, RESPONSE_CACHE_FRACTION, CacheInvalidation, CachePolicy
from movie_core.search.movie_search import MovieSearch
from movie_core.search.movies import Movie, MovieQuery
from movie_core.search.retry_policy import RetryPolicy

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

    from movie_adapters.redis.client import RedisClient


EMBEDDED = "catalogue"
"""The source that keeps its movies itself."""


TMDB_BLOCK = 20
"""The length of TMDB's own pages: other blocks would ask for some of them twice."""
FOLLOW_SECONDS = 1.0
"""Between looks at whether the cache was flushed."""
FLUSH_SECONDS = 0.5
"""How long events wait for others to be written with them."""
HEAL_SECONDS = 5.0
"""Between looks at whether the store of trends has lost something."""
POLL_SECONDS = 0.3
"""Between looks at which sessions have ended: well within the second that a logout may take to reach all processes."""

_log = logging.getLogger(__name__)


class Database:
    """The database of the process; its engine is made, and SQLAlchemy imported, when something asks for it."""

    def __init__(self, url: str, tracing: Tracing) -> None:
        self._url = url
        self._tracing = tracing

    @cached_property
    def engine(self) -> "AsyncEngine":
        from movie_adapters.sql.engine import create_engine

        engine = create_engine(self._url)
        self._tracing.listen(engine)
        return engine

    async def close(self) -> None:
        if "engine" in self.__dict__:
            await self.engine.dispose()


@dataclass(frozen=True, slots=True)
class UpstreamSource:
    """The source itself, asked each time, and around it the patience that the network needs."""

    source: MovieSource


@dataclass(frozen=True, slots=True)
class SharedRedis:
    """Redis as an optimisation, for all in the process who use it as one; no link where there is no URL."""

    link: "RedisClient | None"
    cache: "RedisClient | None"
    """To the Redis that may forget: the same link where it is the same Redis."""

    def entries(self) -> CacheStore | None:
        """The answers that the processes remember together."""
        if self.cache is None:
            return None
        from movie_adapters.redis.cache import RedisCacheStore

        return RedisCacheStore(self.cache)

    def states(self) -> dict[str, Callable[[], bool]]:
        """Of each Redis in use, whether it is away."""
        links = {"redis": self.link, "cache_redis": None if self.cache is self.link else self.cache}
        return {part: functools.partial(getattr, link, "is_away") for part, link in links.items() if link is not None}


class Adapters(Provider):
    """Everything lives as long as the process."""

    scope = Scope.APP
    settings = from_context(Settings)

    @provide
    async def tracing(self, settings: Settings) -> AsyncIterator[Tracing]:
        tracing = Tracing.of(settings)
        yield tracing
        await tracing.close()

    @provide
    async def database(self, settings: Settings, tracing: Tracing) -> AsyncIterator[Database]:
        database = Database(settings.database_url, tracing)
        yield database
        await database.close()

    @provide
    async def redis_link(self, settings: Settings, tracing: Tracing) -> AsyncIterator[SharedRedis]:
        urls = (settings.redis_url, settings.cache_redis_url)
        if urls == (None, None):
            yield SharedRedis(None, None)
            return
        from movie_adapters.redis.client import RedisClient

        links = {
            url: RedisClient(url, prefix=settings.key_prefix, around=tracing.redis) for url in urls if url is not None
        }
        yield SharedRedis(*(None if url is None else links[url] for url in urls))
        for link in links.values():
            await link.close()

    @provide
    async def catalogue(self, settings: Settings, database: Database) -> AsyncIterator[MovieCatalogue]:
        """The movies that we keep under the name of the source in use."""
        if settings.sqlite_path is not None:
            from movie_adapters.catalogue.sqlite import SqliteMovieCatalogue

            sqlite = SqliteMovieCatalogue(settings.sqlite_path, settings.source)
            yield sqlite
            await sqlite.close()
        else:
            from movie_adapters.catalogue.postgres import PostgresMovieCatalogue

            yield PostgresMovieCatalogue(database.engine, settings.source)

    @provide
    async def upstream(
        self, settings: Settings, catalogue: MovieCatalogue, tracing: Tracing
    ) -> AsyncIterator[UpstreamSource]:
        if settings.source == EMBEDDED:
            yield UpstreamSource(catalogue)
            return
        import stamina

        from movie_adapters.sources.http import SourceHttp
        from movie_adapters.sources.resilient import ResilientMovieSource
        from movie_adapters.sources.third_party import ThirdPartyMovieSource
        from movie_adapters.sources.tmdb import TmdbMovieSource, tmdb_http

        stamina.instrumentation.set_on_retry_hooks(())  # a source that fails half the time would fill the log
        timeout, retry_status = settings.source_timeout, settings.source_retry_status
        inner: MovieSource
        if settings.source == "tmdb":
            http = tmdb_http(
                settings.source_token or "", base_url=settings.source_url, timeout=timeout, retry_status=retry_status
            )
            inner = TmdbMovieSource(http)
        else:
            http = SourceHttp(settings.source_url or "", timeout=timeout, retry_status=retry_status)
            inner = ThirdPartyMovieSource(http)
        resilient = ResilientMovieSource(
            tracing.source(inner), RetryPolicy(deadline=settings.source_deadline, timeout=timeout)
        )
        yield UpstreamSource(resilient)
        await resilient.close()
        await http.close()

    @provide
    def invalidation(self) -> CacheInvalidation:
        return CacheInvalidation()

    @provide
    async def source(
        self,
        settings: Settings,
        upstream: UpstreamSource,
        seen: SeenMovies,
        redis: SharedRedis,
        invalidation: CacheInvalidation,
    ) -> AsyncIterator[MovieSource]:
        """What searches ask: a source with memory, unless it keeps its movies itself."""
        if settings.source == EMBEDDED:
            yield upstream.source
            return
        cached = CachedMovieSource(
            upstream.source,
            store=redis.entries(),
            memory=MemoryCacheStore(settings.cache_bytes - settings.cache_bytes // RESPONSE_CACHE_FRACTION),
            policy=CachePolicy(settings.cache_fresh, settings.cache_stale),
            deadline=settings.source_deadline,
            block=TMDB_BLOCK if settings.source == "tmdb" else BLOCK_SIZES[0],
            namespace=settings.source_url or "",
            keep=seen.remember,
            invalidation=invalidation,
        )
        yield cached
        await cached.close()

    @provide
    async def seen(self, catalogue: MovieCatalogue) -> AsyncIterator[SeenMovies]:
        seen = BatchedSeenMovies(catalogue)
        yield seen
        await seen.close()

    @provide
    def movie_search(self, settings: Settings, source: MovieSource, seen: SeenMovies) -> MovieSearch:
        return MovieSearch(source, None if settings.source == EMBEDDED else seen)

    @provide
    async def readiness(
        self, settings: Settings, catalogue: MovieCatalogue, upstream: UpstreamSource
    ) -> AsyncIterator[Readiness]:
        parts = [_database_part(settings, catalogue)]
        if settings.source != EMBEDDED:
            parts.append(_source_part(upstream.source))
        named = {"redis": settings.redis_url}
        if settings.cache_redis_url != settings.redis_url:
            named["cache"] = settings.cache_redis_url
        urls = {name: url for name, url in named.items() if url is not None}
        if not urls:
            yield Readiness(parts)
            return
        from redis.asyncio import Redis

        clients = {name: Redis.from_url(url, socket_timeout=2, socket_connect_timeout=2) for name, url in urls.items()}
        yield Readiness([*parts, *(_redis_part(name, client.ping) for name, client in clients.items())])
        for client in clients.values():
            await client.aclose()


class AccountAdapters(Provider):
    """Accounts, their mails and their limits; everything lives as long as the process."""

    scope = Scope.APP

    @provide
    def keys(self, settings: Settings) -> Keyring:
        return Keyring(settings.secret_key or (kept_secret(settings.data_dir),))

    @provide
    def mail_rules(self, settings: Settings) -> MailRules:
        return MailRules(link_ttl=timedelta(seconds=settings.link_ttl), limit=settings.limit_mail)

    @provide
    def users(self, database: Database, rules: MailRules, keys: Keyring, syntax: UsernameSyntax) -> UserRepo:
        from movie_adapters.sql.users import SqlUserRepo

        return SqlUserRepo(database.engine, rules, keys, syntax)

    @provide
    def sessions(self, database: Database) -> SessionStore:
        from movie_adapters.sql.sessions import SqlSessionStore

        return SqlSessionStore(database.engine)

    @provide
    def outbox(self, database: Database, rules: MailRules, keys: Keyring) -> Outbox:
        from movie_adapters.sql.outbox import SqlOutbox

        return SqlOutbox(database.engine, rules, keys)

    @provide
    async def mailer(self, settings: Settings) -> AsyncIterator[Mailer]:
        if settings.smtp_url is None:
            from movie_adapters.email.files import FileMailer

            yield FileMailer(settings.data_dir / "mail", settings.mail_from, _show if settings.shows_links else None)
            return
        from movie_adapters.email.smtp import SmtpMailer

        smtp = SmtpMailer(settings.smtp_url, settings.mail_from)
        yield smtp
        await smtp.close()

    @provide
    async def notifier(self, settings: Settings) -> AsyncIterator[DeliveryNotifier]:
        if settings.redis_url is None:
            from movie_adapters.wiring.background import EventNotifier

            yield EventNotifier()
            return
        from movie_adapters.redis.task_queue import TaskNotifier

        notifier = TaskNotifier(settings.redis_url, settings.key_prefix)
        yield notifier
        await notifier.close()

    @provide
    async def hasher(self) -> AsyncIterator[PasswordHasher]:
        from movie_adapters.security.argon2 import Argon2PasswordHasher

        hasher = Argon2PasswordHasher()
        yield hasher
        await hasher.close()

    @provide
    def tokens(self, settings: Settings, keys: Keyring) -> AccessTokens:
        from movie_adapters.security.jwt import JwtAccessTokens

        return JwtAccessTokens(keys, issuer=settings.public_url)

    @provide
    def syntax(self) -> AddressSyntax:
        from movie_adapters.email.syntax import EmailValidatorSyntax

        return EmailValidatorSyntax()

    @provide
    def username_syntax(self) -> UsernameSyntax:
        from movie_adapters.security.username_syntax import UnicodeUsernameSyntax

        return UnicodeUsernameSyntax()

    @provide
    def strength(self) -> PasswordStrength:
        from movie_adapters.security.password_strength import ZxcvbnPasswordStrength

        return ZxcvbnPasswordStrength()

    @provide
    def rate_limiter(self, redis: SharedRedis) -> RateLimiter:
        from movie_adapters.redis.rate_limits import SharedRateLimiter

        return SharedRateLimiter(redis.link)

    @provide
    def limits(self, settings: Settings, limiter: RateLimiter) -> RateLimits:
        return RateLimits(
            limiter,
            login=settings.limit_login,
            register=settings.limit_register,
            search=settings.limit_search,
            suggest=settings.limit_suggest,
            events=settings.limit_events,
            writes=settings.limit_writes,
            imports=settings.limit_imports,
            exports=settings.limit_exports,
        )

    @provide
    def registry(self, sessions: SessionStore) -> SessionRegistry:
        return SessionRegistry(sessions)

    @provide
    def account_rules(self, settings: Settings) -> AccountRules:
        return AccountRules(
            password_min=settings.password_min,
            access_ttl=timedelta(seconds=settings.access_ttl),
            refresh_ttl=timedelta(seconds=settings.refresh_ttl),
            session_ttl=timedelta(seconds=settings.session_ttl),
            reauthenticate_after=timedelta(seconds=settings.reauthenticate_after),
        )

    @provide
    def accounts(
        self,
        users: UserRepo,
        sessions: SessionStore,
        registry: SessionRegistry,
        hasher: PasswordHasher,
        tokens: AccessTokens,
        syntax: AddressSyntax,
        username_syntax: UsernameSyntax,
        strength: PasswordStrength,
        mailer: Mailer,
        notifier: DeliveryNotifier,
        keys: Keyring,
        rules: AccountRules,
        ratings: RatingStore,
        events: EventStore,
        orders: PersonalOrderStore,
        audit_log: AuditLog,
    ) -> Accounts:
        return Accounts(
            users,
            sessions,
            registry,
            hasher,
            tokens,
            syntax,
            username_syntax,
            strength,
            mailer,
            notifier,
            keys,
            rules,
            personal=(ratings, events, orders, audit_log),
        )

    @provide
    def audit_log(self, database: Database) -> AuditLog:
        from movie_adapters.sql.audit import SqlAuditLog

        return SqlAuditLog(database.engine)

    @provide
    def administration(
        self, accounts: Accounts, users: UserRepo, outbox: Outbox, notifier: DeliveryNotifier, audit_log: AuditLog
    ) -> Administration:
        return Administration(accounts, users, outbox, notifier, audit_log)

    @provide
    def dispatcher(self, settings: Settings, outbox: Outbox, mailer: Mailer, keys: Keyring) -> OutboxDispatcher:
        owner = f"{socket.gethostname()[:40]}-{os.getpid()}-{secrets.token_hex(4)}"
        return OutboxDispatcher(outbox, mailer, keys, public_url=settings.public_url, owner=owner)


class DiscoveryAdapters(Provider):
    """Ratings, events and what comes of them, for the movies of the source in use; everything lives as long as the
    process."""

    scope = Scope.APP

    @provide
    def ratings(self, settings: Settings, database: Database) -> RatingStore:
        from movie_adapters.sql.ratings import SqlRatingStore

        return SqlRatingStore(database.engine, settings.source)

    @provide
    def events(self, settings: Settings, database: Database) -> EventStore:
        from movie_adapters.sql.events import SqlEventStore

        return SqlEventStore(database.engine, settings.source)

    @provide
    def analytics(self, settings: Settings, database: Database) -> Analytics:
        from movie_adapters.sql.analytics import SqlAnalytics

        return SqlAnalytics(database.engine, settings.source)

    @provide
    def trend_store(self, settings: Settings, database: Database, redis: SharedRedis) -> TrendStore:
        if redis.link is None:
            from movie_adapters.sql.trends import SqlTrendStore

            return SqlTrendStore(database.engine, settings.source)
        from movie_adapters.redis.trends import RedisTrendStore

        return RedisTrendStore(redis.link, settings.source)

    @provide
    def trends(self, store: TrendStore, events: EventStore) -> TrendingService:
        return TrendingService(store, events)

    @provide
    def recorder(
        self, settings: Settings, events: EventStore, trends: TrendingService, upstream: UpstreamSource
    ) -> EventRecorder:
        def calls() -> tuple[int, int]:
            outcomes = getattr(upstream.source, "outcomes", None)
            return (0, 0) if outcomes is None else (outcomes.total(), outcomes.total() - outcomes["answered"])

        return EventRecorder(events if settings.events else None, trends, calls=calls)

    @provide
    def orders(self, settings: Settings, database: Database) -> PersonalOrderStore:
        from movie_adapters.sql.personal_orders import SqlPersonalOrderStore

        return SqlPersonalOrderStore(database.engine, settings.source)

    @provide
    def models(self, settings: Settings, database: Database) -> ModelStore:
        from movie_adapters.sql.models import SqlModelStore

        return SqlModelStore(database.engine, settings.source)

    @provide
    async def recommender(
        self, ratings: RatingStore, catalogue: MovieCatalogue, models: ModelStore
    ) -> AsyncIterator[Recommender]:
        from movie_adapters.recommender.ease import EaseRecommender

        recommender = EaseRecommender(ratings, catalogue, models)
        yield recommender
        await recommender.close()

    @provide
    def discovery(
        self,
        settings: Settings,
        movie_search: MovieSearch,
        catalogue: MovieCatalogue,
        ratings: RatingStore,
        recommender: Recommender,
        orders: PersonalOrderStore,
        trends: TrendingService,
        recorder: EventRecorder,
        seen: SeenMovies,
    ) -> Discovery:
        return Discovery(
            movie_search,
            catalogue,
            ratings,
            recommender,
            orders,
            trends,
            recorder,
            seen=None if settings.source == EMBEDDED else seen,
        )

    @provide
    async def backlog(self, outbox: Outbox, recommender: Recommender) -> AsyncIterator[BacklogGauges]:
        backlog = BacklogGauges(outbox, recommender)
        yield backlog
        await backlog.close()

    @provide
    def upkeep(
        self,
        settings: Settings,
        users: UserRepo,
        events: EventStore,
        recommender: Recommender,
        audit_log: AuditLog,
    ) -> Maintenance:
        return Maintenance(users, events, recommender, audit_log, events_keep=timedelta(seconds=settings.events_keep))


def _show(line: str) -> None:
    """For the person at the console, not for a log: the line may hold a link that is as good as a password."""
    sys.stderr.write(f"movie-search: {line}\n")
    sys.stderr.flush()


def kept_secret(data_dir: Path) -> str:
    """The secret in the data dir, made when there is none; processes that start together get the same one."""
    path = data_dir / "secret_key"
    try:
        make_private_folder(data_dir)
        if not path.exists():
            fresh = data_dir / f"secret_key.{secrets.token_hex(8)}"
            with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
                file.write(secrets.token_hex(32))
            try:
                os.link(fresh, path)  # whoever comes first wins; the others read what that one wrote
            except FileExistsError:
                pass
            finally:
                fresh.unlink()
        return path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not text"
        raise SettingError("MOVIE_DATA_DIR", f"the secret key in it can't be read or made: {reason}") from None


def _database_part(settings: Settings, catalogue: MovieCatalogue) -> Dependency:
    async def check() -> str:
        count = await catalogue.count()
        if not count and settings.source == EMBEDDED:
            raise Unavailable("it holds no movies")
        return f"{count} movies"

    advice = "start the server that MOVIE_DATABASE_URL names, then run `movie-search migrate`"
    return Dependency("database", check, advice, is_required=settings.source == EMBEDDED)


def _source_part(source: MovieSource) -> Dependency:
    async def check() -> str:
        page = await source.search(MovieQuery(), Window(limit=1))
        return f"{page.total} movies"

    return Dependency("source", check, "check MOVIE_SOURCE_URL and MOVIE_SOURCE_TOKEN, and whether the source is up")


def _redis_part(name: str, ping: Callable[[], object]) -> Dependency:
    async def check() -> str:
        from redis.exceptions import RedisError

        try:
            await ping()  # type: ignore[misc]  # redis types its commands for both of its clients at once
        except (RedisError, OSError) as error:
            raise Unavailable("it can't be reached") from error
        return "answers"

    variable = {"redis": "MOVIE_REDIS_URL", "cache": "MOVIE_CACHE_REDIS_URL"}[name]
    return Dependency(name, check, f"start the server that {variable} names, or unset it")


def create_container(settings: Settings, *overrides: Provider) -> AsyncContainer:
    """The container of a process. Later providers win; one that replaces something must say `override=True`."""
    for name in ("httpx", "httpcore"):  # they log each URL in full, the key of a source in it
        logging.getLogger(name).setLevel(logging.WARNING)
    strict = ValidationSettings(nothing_overridden=True, implicit_override=True, nothing_decorated=True)
    return make_async_container(
        Adapters(),
        AccountAdapters(),
        DiscoveryAdapters(),
        *overrides,
        context={Settings: settings},
        validation_settings=strict,
    )


def notice_of(settings: Settings) -> str:
    """What the source in use asks to be said of it."""
    if settings.source != "tmdb":
        return ""
    from movie_adapters.sources.tmdb import TMDB_ATTRIBUTION

    return TMDB_ATTRIBUTION


@asynccontextmanager
async def serving(container: AsyncContainer) -> AsyncIterator[None]:
    """What a process that serves does beside its requests: it learns which sessions have ended, writes down events, and
    when there is no worker to do it, delivers mail and does the upkeep."""
    settings = await container.get(Settings)
    await container.get(Accounts)  # so that the first request doesn't wait for imports
    registry, source = await container.get(SessionRegistry), await container.get(MovieSource)
    recorder, trends = await container.get(EventRecorder), await container.get(TrendingService)

    async def rebuild() -> None:
        with contextlib.suppress(StoreUnavailable):  # told by the recorder, or by whoever asks for trends
            await trends.rebuild()

    looks = [(registry.poll, POLL_SECONDS), (recorder.flush, FLUSH_SECONDS), (rebuild, HEAL_SECONDS)]
    if isinstance(source, CachedMovieSource):
        looks.append((source.follow, FOLLOW_SECONDS))
    tasks = [asyncio.create_task(_regularly(look, seconds)) for look, seconds in looks]
    if settings.redis_url is None:
        from movie_adapters.wiring.background import EventNotifier, run_in_process

        dispatcher, upkeep, notifier = (
            await container.get(OutboxDispatcher),
            await container.get(Maintenance),
            await container.get(DeliveryNotifier),
        )
        if isinstance(notifier, EventNotifier):

            async def train() -> None:
                if await upkeep.is_training_due():
                    await _train_apart(settings)

            tasks.append(asyncio.create_task(run_in_process(dispatcher, upkeep.purge, train, notifier)))
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await recorder.flush()


async def _train_apart(settings: Settings) -> None:
    """Train in a process of its own: requests don't wait for it, and what it needs of memory doesn't stay."""
    process = multiprocessing.get_context("spawn").Process(target=_train, args=(settings,), daemon=True)
    process.start()
    try:
        await asyncio.to_thread(process.join)
    finally:
        process.kill()  # which also ends the thread that waits for it
    if process.exitcode:
        _log.error("training has failed with exit code %s", process.exitcode)


def _train(settings: Settings) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # meant for the process that serves, which ends this one
    with contextlib.suppress(OSError):
        os.nice(10)

    async def run() -> None:
        container = create_container(settings)
        try:
            with contextlib.suppress(StoreUnavailable):  # due again later
                await (await container.get(Recommender)).train()
        finally:
            await container.close()

    asyncio.run(run())


async def _regularly(look: Callable[[], Awaitable[None]], seconds: float) -> None:
    while True:
        try:
            await look()
        except Exception:  # noqa: BLE001  (a bug must not end what keeps this process up to date)
            _log.exception("a regular look has failed")
        await asyncio.sleep(seconds)


async def prepare_schema(settings: Settings) -> None:
    """Bring the schema up to date. Raises `StoreUnavailable`, and `SettingError` for a data dir that can't be made."""
    if settings.sqlite_path is not None:
        try:
            make_private_folder(settings.sqlite_path.parent)
        except OSError as error:
            raise SettingError("MOVIE_DATA_DIR", f"can't be made: {error.strerror}") from None
    from movie_adapters.sql.engine import migrate

    await asyncio.to_thread(migrate, settings.database_url)


async def prepare(
    settings: Settings, catalogue: MovieCatalogue, progress: Callable[[int, int], None] = lambda _done, _total: None
) -> bool:
    """Bring the schema up to date and make the bundled films searchable; True when films were loaded.

    `progress` is called with movies done and movies in all. Films that were imported in place of the bundled ones stay.
    Raises `StoreUnavailable`, and `SettingError` for a data dir that can't be made.
    """
    await prepare_schema(settings)
    if settings.source != EMBEDDED:
        return False
    from movie_adapters.catalogue.bundled import BUNDLED_EDITION, BUNDLED_FILMS, BUNDLED_NAME, bundled_films

    edition = await catalogue.edition()
    if edition is not None and (edition == BUNDLED_EDITION or not edition.startswith(BUNDLED_NAME)):
        return False

    def counted() -> Iterator[Movie]:
        for done, movie in enumerate(bundled_films(), 1):
            if done % 500 == 0 or done == BUNDLED_FILMS:
                progress(done, BUNDLED_FILMS)
            yield movie

    await catalogue.load(counted(), edition=BUNDLED_EDITION)
    return True
