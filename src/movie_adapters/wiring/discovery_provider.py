"""Provider of ratings, events, recommendations, trends and maintenance."""

from collections.abc import AsyncIterator
from datetime import timedelta

from dishka import Provider, Scope, provide

from movie_adapters.observability.backlog import BacklogGauges
from movie_adapters.settings.settings import Settings
from movie_adapters.wiring.connections import Database, SharedRedis, UpstreamSource
from movie_core.clock import Clock
from movie_core.discovery.event_recorder import EventRecorder
from movie_core.discovery.services import Discovery
from movie_core.discovery.trending_service import TrendingService
from movie_core.operations.maintenance import Maintenance
from movie_core.ports import (
    AccountDataRepo,
    Analytics,
    AuditLog,
    EventStore,
    ModelStore,
    MovieCatalogue,
    Outbox,
    PersonalOrderStore,
    RatingStore,
    Recommender,
    TrainingRatingStore,
    TrendStore,
)


class DiscoveryProvider(Provider):
    """Ratings, events, recommendations and trends for the movies of the configured source, and maintenance."""

    scope = Scope.APP
    trends = provide(TrendingService)
    discovery = provide(Discovery)

    @provide
    def ratings(self, settings: Settings, database: Database) -> RatingStore:
        from movie_adapters.sql.ratings import SqlRatingStore

        return SqlRatingStore(database.engine, settings.source)

    @provide
    def training_ratings(self, settings: Settings, database: Database) -> TrainingRatingStore:
        from movie_adapters.sql.training_ratings import SqlTrainingRatingStore

        return SqlTrainingRatingStore(database.engine, settings.source)

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
        if redis.client is None:
            from movie_adapters.sql.trends import SqlTrendStore

            return SqlTrendStore(database.engine, settings.source)
        from movie_adapters.redis.trends import RedisTrendStore

        return RedisTrendStore(redis.client, settings.source)

    @provide
    def recorder(
        self, settings: Settings, events: EventStore, trends: TrendingService, upstream: UpstreamSource, clock: Clock
    ) -> EventRecorder:
        def source_calls() -> tuple[int, int]:
            outcomes = getattr(upstream.movie_source, "outcomes", None)
            return (0, 0) if outcomes is None else (outcomes.total(), outcomes.total() - outcomes["success"])

        return EventRecorder(events if settings.events else None, trends, calls=source_calls, clock=clock)

    @provide
    def orders(self, settings: Settings, database: Database, clock: Clock) -> PersonalOrderStore:
        from movie_adapters.sql.personal_orders import SqlPersonalOrderStore

        return SqlPersonalOrderStore(database.engine, settings.source, clock)

    @provide
    def models(self, settings: Settings, database: Database) -> ModelStore:
        from movie_adapters.sql.models import SqlModelStore

        return SqlModelStore(database.engine, settings.source)

    @provide
    async def recommender(
        self,
        ratings: RatingStore,
        training_ratings: TrainingRatingStore,
        catalogue: MovieCatalogue,
        models: ModelStore,
        clock: Clock,
    ) -> AsyncIterator[Recommender]:
        from movie_adapters.recommender.ease import EaseRecommender

        recommender = EaseRecommender(ratings, training_ratings, catalogue, models, clock=clock)
        yield recommender
        await recommender.close()

    @provide
    async def backlog(self, outbox: Outbox, recommender: Recommender, clock: Clock) -> AsyncIterator[BacklogGauges]:
        backlog = BacklogGauges(outbox, recommender, clock=clock)
        yield backlog
        await backlog.close()

    @provide
    def maintenance(
        self,
        settings: Settings,
        accounts: AccountDataRepo,
        events: EventStore,
        recommender: Recommender,
        audit_log: AuditLog,
        clock: Clock,
    ) -> Maintenance:
        events_keep = timedelta(seconds=settings.events_keep)
        return Maintenance(accounts, events, recommender, audit_log, events_keep=events_keep, clock=clock)
