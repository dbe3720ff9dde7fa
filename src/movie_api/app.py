"""The composition root of the API: `create_app(settings, *overrides)`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path

from dishka import Provider, Scope, provide
from dishka.integrations.litestar import DishkaRouter, LitestarProvider, setup_dishka
from litestar import Litestar, Router
from litestar.config.cors import CORSConfig
from litestar.datastructures import State
from litestar.routes import HTTPRoute

from movie_adapters.observability.logs import request_log
from movie_adapters.observability.metrics import MetricsPeers, RequestCounts
from movie_adapters.observability.tracing import Tracing
from movie_adapters.settings.settings import Settings
from movie_adapters.wiring.background import serving
from movie_adapters.wiring.providers import create_container, notice_of
from movie_api.middleware.edge import Guard
from movie_api.middleware.response_cache import CachedSearchMiddleware
from movie_api.openapi import document
from movie_api.problems import answer
from movie_api.routes.accounts import ACCOUNT_ROUTES, Callers
from movie_api.routes.admin import ADMIN_ROUTES
from movie_api.routes.analytics import ANALYTICS_ROUTES
from movie_api.routes.events import EVENT_ROUTES
from movie_api.routes.metrics import MetricsProvider, show_metrics
from movie_api.routes.movies import MOVIE_ROUTES, ResponseCache, SearchAccess
from movie_api.routes.ratings import RATING_ROUTES
from movie_api.web.dashboard import dashboard_router
from movie_api.web.pages import explain_error, is_live, is_ready, reading_router
from movie_core.accounts.services import Accounts
from movie_core.discovery.event_recorder import EventRecorder
from movie_core.operations.rate_limits import RateLimits
from movie_core.search.caching import RESPONSE_CACHE_FRACTION, CacheInvalidation

MAX_BODY = 64 * 1024
"""Bytes of a request's body."""


class Searches(Provider):
    """What the two ways to answer a search share."""

    scope = Scope.APP

    @provide
    def access(self, settings: Settings, accounts: Accounts, limits: RateLimits) -> SearchAccess:
        return SearchAccess(accounts, limits, is_public=settings.public_search)

    @provide
    def ready(self, settings: Settings, invalidation: CacheInvalidation) -> ResponseCache:
        ready = ResponseCache(settings.cache_bytes // RESPONSE_CACHE_FRACTION)
        invalidation.subscribe(ready.clear)
        return ready


def create_app(settings: Settings, *overrides: Provider, peers: Path | None = None) -> Litestar:
    """The ASGI application; `overrides` are providers that stand in for some of `movie_adapters.wiring.providers`.
    Processes that share a port share the folder `peers` too, to tell their metrics together."""
    requests = RequestCounts()
    container = create_container(
        settings, LitestarProvider(), Callers(), Searches(), MetricsProvider(requests, peers), *overrides
    )
    notice = notice_of(settings)
    described = document(
        settings.public_url,
        version=version("movie-search-backend"),
        public_search=settings.public_search,
        notice=notice,
    )

    @asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncIterator[None]:
        await container.get(MetricsPeers)
        guard.put_between((await container.get(Tracing)).app)
        async with serving(container):
            lane.open(
                await container.get(SearchAccess),
                await container.get(ResponseCache),
                await container.get(EventRecorder),
            )
            yield
        await container.close()

    routes = _telling_all_methods(
        DishkaRouter(
            "/",
            route_handlers=[
                *MOVIE_ROUTES,
                *RATING_ROUTES,
                *EVENT_ROUTES,
                *ACCOUNT_ROUTES,
                *ANALYTICS_ROUTES,
                *ADMIN_ROUTES,
                is_live,
                is_ready,
                explain_error,
                show_metrics,
            ],
        )
    )
    app = Litestar(
        route_handlers=[
            routes,
            reading_router(
                described,
                notice,
                public_search=settings.public_search,
                public_url=settings.public_url,
                security_contact=settings.security_contact,
            ),
            dashboard_router(),
        ],
        lifespan=[lifespan],
        exception_handlers={Exception: answer},
        cors_config=CORSConfig(allow_origins=list(settings.cors_origins)) if settings.cors_origins else None,
        request_max_body_size=MAX_BODY,
        state=State({"settings": settings, "is_draining": False}),
        openapi_config=None,
        logging_config=None,
        debug=False,  # whatever LITESTAR_DEBUG says
    )
    setup_dishka(container, app)
    lane = CachedSearchMiddleware()
    app.asgi_handler = guard = Guard(
        app.asgi_handler,
        at_once=lane,
        log=request_log(),
        count=requests.count,
        public_url=settings.public_url,
        allowed_hosts=settings.allowed_hosts,
        trusted_proxies=settings.trusted_proxies,
    )
    return app


def _telling_all_methods(router: Router) -> Router:
    """Litestar answers OPTIONS for the first handler of a path alone; without that, it makes another for them all."""
    for route in router.routes:
        if isinstance(route, HTTPRoute):
            route.route_handlers = [one for one in route.route_handlers if "OPTIONS" not in one.http_methods]
    return router
