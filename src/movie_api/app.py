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
from movie_adapters.wiring.background import run_background_work
from movie_adapters.wiring.providers import create_container, source_attribution
from movie_api.auth import AccessControl, CallerProvider
from movie_api.middleware.edge import EdgeMiddleware
from movie_api.middleware.response_cache import CachedSearchMiddleware
from movie_api.openapi import document
from movie_api.problems import handle_error
from movie_api.routes.accounts import ACCOUNT_ROUTES
from movie_api.routes.admin import ADMIN_ROUTES
from movie_api.routes.analytics import ANALYTICS_ROUTES
from movie_api.routes.events import EVENT_ROUTES
from movie_api.routes.health import HEALTH_ROUTES
from movie_api.routes.metrics import MetricsProvider, show_metrics
from movie_api.routes.movies import MOVIE_ROUTES, ResponseCache
from movie_api.routes.ratings import RATING_ROUTES
from movie_api.routes.recommendations import RECOMMENDATION_ROUTES
from movie_api.routes.sessions import SESSION_ROUTES
from movie_api.routes.users import USER_ROUTES
from movie_api.web.dashboard import dashboard_router
from movie_api.web.pages import error_page, pages_router
from movie_core.accounts.services import Accounts
from movie_core.discovery.event_recorder import EventRecorder
from movie_core.operations.rate_limits import RateLimits
from movie_core.search.caching import RESPONSE_CACHE_FRACTION, CacheInvalidation

API_HANDLERS = (
    *MOVIE_ROUTES,
    *RATING_ROUTES,
    *RECOMMENDATION_ROUTES,
    *EVENT_ROUTES,
    *ACCOUNT_ROUTES,
    *SESSION_ROUTES,
    *USER_ROUTES,
    *ANALYTICS_ROUTES,
    *ADMIN_ROUTES,
    *HEALTH_ROUTES,
    error_page,
    show_metrics,
)
"""The handlers of the documented operations."""
MAX_BODY = 64 * 1024
"""Maximum bytes of a request body."""


class SearchAccessProvider(Provider):
    """Provides what the search handler and `CachedSearchMiddleware` share."""

    scope = Scope.APP

    @provide
    def access(self, settings: Settings, accounts: Accounts, limits: RateLimits) -> AccessControl:
        return AccessControl(accounts, limits, is_public=settings.public_search)

    @provide
    def response_cache(self, settings: Settings, invalidation: CacheInvalidation) -> ResponseCache:
        cache = ResponseCache(settings.cache_bytes // RESPONSE_CACHE_FRACTION)
        invalidation.subscribe(cache.clear)
        return cache


def create_app(settings: Settings, *overrides: Provider, peers: Path | None = None) -> Litestar:
    """Create the ASGI application. `overrides` are providers that replace some of `movie_adapters.wiring.providers`.
    `peers` is a folder that the processes of one server share, so that each of them reports the metrics of all."""
    requests = RequestCounts()
    container = create_container(
        settings,
        LitestarProvider(),
        CallerProvider(),
        SearchAccessProvider(),
        MetricsProvider(requests, peers),
        *overrides,
    )
    notice = source_attribution(settings)
    openapi = document(
        API_HANDLERS,
        settings.public_url,
        version=version("movie-search-backend"),
        public_search=settings.public_search,
        notice=notice,
    )

    @asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncIterator[None]:
        await container.get(MetricsPeers)
        edge.wrap_app((await container.get(Tracing)).app)
        async with run_background_work(container):
            cached_search.enable(
                await container.get(AccessControl),
                await container.get(ResponseCache),
                await container.get(EventRecorder),
            )
            yield
        await container.close()

    routes = _without_options_handlers(DishkaRouter("/", route_handlers=API_HANDLERS))
    app = Litestar(
        route_handlers=[
            routes,
            pages_router(
                openapi,
                notice,
                public_search=settings.public_search,
                public_url=settings.public_url,
                security_contact=settings.security_contact,
            ),
            dashboard_router(),
        ],
        lifespan=[lifespan],
        exception_handlers={Exception: handle_error},
        cors_config=CORSConfig(allow_origins=list(settings.cors_origins)) if settings.cors_origins else None,
        request_max_body_size=MAX_BODY,
        state=State({"settings": settings, "is_draining": False}),
        openapi_config=None,
        logging_config=None,
        debug=False,  # overrides LITESTAR_DEBUG
    )
    setup_dishka(container, app)
    cached_search = CachedSearchMiddleware()
    app.asgi_handler = edge = EdgeMiddleware(
        app.asgi_handler,
        find_cached=cached_search,
        log=request_log(),
        count=requests.count,
        public_url=settings.public_url,
        allowed_hosts=settings.allowed_hosts,
        trusted_proxies=settings.trusted_proxies,
    )
    return app


def _without_options_handlers(router: Router) -> Router:
    """Removes the generated OPTIONS handlers, which cover only the first handler of a path; Litestar then generates one
    that lists the methods of all of them."""
    for route in router.routes:
        if isinstance(route, HTTPRoute):
            route.route_handlers = [
                handler for handler in route.route_handlers if "OPTIONS" not in handler.http_methods
            ]
    return router
