"""The composition root of the API: `create_app(settings, *overrides)`."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from dishka import AsyncContainer, Provider, Scope, provide
from dishka.integrations.litestar import DishkaRouter, LitestarProvider, setup_dishka
from litestar import Litestar

from movie_adapters.observability.logs import request_log
from movie_adapters.observability.metrics import MetricsPeers, RequestCounts
from movie_adapters.observability.tracing import Tracing
from movie_adapters.settings.settings import Settings
from movie_adapters.wiring.background import run_background_work
from movie_adapters.wiring.providers import create_container, source_attribution
from movie_api.auth import AccessControl, CallerProvider, container_of
from movie_api.context import RequestContexts, context_of
from movie_api.middleware import Layer, compose
from movie_api.middleware.access_log import AccessLog, log_request
from movie_api.middleware.base_path import BasePath, base_path_of
from movie_api.middleware.cors import CorsPolicy, Preflights
from movie_api.middleware.head_requests import HeadRequests
from movie_api.middleware.hosts import TrustedHosts
from movie_api.middleware.last_resort import LastResort
from movie_api.middleware.limits import SizeLimits
from movie_api.middleware.response_cache import CachedSearch
from movie_api.middleware.response_headers import ResponseHeaders
from movie_api.middleware.transfer_encoding import TransferEncoding
from movie_api.openapi import document
from movie_api.operations import Access, Operation
from movie_api.parameters import check_names
from movie_api.problems import AnyRequest, handle_error
from movie_api.response_cache import ResponseCache
from movie_api.routes.accounts import ACCOUNT_ROUTES
from movie_api.routes.admin import ADMIN_ROUTES
from movie_api.routes.analytics import ANALYTICS_ROUTES
from movie_api.routes.events import EVENT_ROUTES
from movie_api.routes.health import HEALTH_ROUTES, Draining
from movie_api.routes.metrics import MetricsProvider, show_metrics
from movie_api.routes.movies import MOVIE_ROUTES, EmptySearch
from movie_api.routes.ratings import RATING_ROUTES
from movie_api.routes.recommendations import RECOMMENDATION_ROUTES
from movie_api.routes.sessions import SESSION_ROUTES
from movie_api.routes.users import USER_ROUTES
from movie_api.web.dashboard import dashboard_router
from movie_api.web.pages import error_page, pages_router
from movie_api.web.rendering import template_config
from movie_core.accounts.session_tokens import SessionTokens
from movie_core.accounts.sessions import Caller
from movie_core.errors import UnknownParameter
from movie_core.operations.rate_limits import RateLimits
from movie_core.search.caching import RESPONSE_CACHE_FRACTION, CacheInvalidation

VERSIONED_HANDLERS = (
    *MOVIE_ROUTES,
    *RATING_ROUTES,
    *RECOMMENDATION_ROUTES,
    *EVENT_ROUTES,
    *ACCOUNT_ROUTES,
    *SESSION_ROUTES,
    *USER_ROUTES,
    *ANALYTICS_ROUTES,
    *ADMIN_ROUTES,
)
"""The handlers of the operations below `/api/v1/`, which reject unknown query parameters."""
API_HANDLERS = (*VERSIONED_HANDLERS, *HEALTH_ROUTES, error_page, show_metrics)
"""The handlers of the documented operations."""
MAX_BODY = 64 * 1024
"""Maximum bytes of a request body."""


class ApplicationProvider(Provider):
    """Provides the objects that the application and its layers share with the handlers. `create_app` creates them,
    because the container can resolve nothing before startup."""

    scope = Scope.APP

    def __init__(self, response_cache: ResponseCache, tracing: Tracing, draining: Draining) -> None:
        super().__init__()
        self._response_cache = response_cache
        self._tracing = tracing
        self._draining = draining

    @provide
    def draining(self) -> Draining:
        return self._draining

    @provide
    def access(self, settings: Settings, tokens: SessionTokens, limits: RateLimits) -> AccessControl:
        return AccessControl(tokens, limits, is_public=settings.public_search)

    @provide
    def empty_search(self, settings: Settings) -> EmptySearch:
        return EmptySearch(settings.empty_search)

    @provide
    def response_cache(self) -> ResponseCache:
        return self._response_cache

    @provide(override=True)
    def invalidation(self) -> CacheInvalidation:
        return CacheInvalidation(self._response_cache.clear)

    @provide(override=True)
    async def tracing(self) -> AsyncIterator[Tracing]:
        yield self._tracing
        await self._tracing.close()


class ApiRouter(DishkaRouter):
    """Registers several handlers of one path with a complete `Allow`.

    Litestar generates an OPTIONS handler with the first handler of a path. It keeps that handler when others are
    registered, so `Allow` lists the methods of the first only. If it is hidden, Litestar generates a new one each time.
    """

    @property
    def route_handler_method_map(self) -> dict[str, Any]:
        return {
            path: {method: handler for method, handler in handlers.items() if method != "OPTIONS"}
            for path, handlers in super().route_handler_method_map.items()
        }


class Application:
    """The ASGI application: `litestar` in `layers`, of which the first is outermost."""

    def __init__(
        self,
        litestar: Litestar,
        layers: Sequence[Layer],
        *,
        settings: Settings,
        contexts: RequestContexts,
        draining: Draining,
    ) -> None:
        self.litestar = litestar
        self.layers = tuple(layers)
        self.settings = settings
        self.contexts = contexts
        self._draining = draining
        self._handle = compose(litestar, self.layers)
        self._base_path = BasePath(settings.public_url, (route.path for route in litestar.routes))

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            self._base_path.remove_from(scope)
            self.contexts.of(scope)
            await self._handle(scope, receive, send)
        else:  # lifespan events; websockets are not supported
            await self.litestar(scope, receive, send)

    def begin_draining(self) -> None:
        """Report from now on that this process is not ready."""
        self._draining.has_begun = True


def create_app(
    settings: Settings, *overrides: Provider, peers: Path | None = None, litestar: Litestar | None = None
) -> Application:
    """Create the ASGI application. `overrides` are providers that replace some of `movie_adapters.wiring.providers`.
    `peers` is a folder that the processes of one server share, so that each of them reports the metrics of all.
    `litestar` is a result of `create_litestar(settings)`, for a caller that has one, because it takes 0.1 s."""
    requests = RequestCounts()
    response_cache = ResponseCache(settings.cache_bytes // RESPONSE_CACHE_FRACTION)
    tracing = Tracing.for_collector(settings.otlp_url)
    draining = Draining()
    container = create_container(
        settings,
        LitestarProvider(),
        CallerProvider(),
        ApplicationProvider(response_cache, tracing, draining),
        MetricsProvider(requests, peers),
        *overrides,
    )
    cors = CorsPolicy(settings.cors_origins)
    contexts = RequestContexts(settings.public_url, settings.trusted_proxies)
    layers: list[Layer] = [
        partial(AccessLog, log=request_log() or log_request, count=requests.count),
        HeadRequests,
        partial(ResponseHeaders, public_url=settings.public_url, cors=cors),
        LastResort,
        SizeLimits,
        partial(TrustedHosts, allowed_hosts=settings.allowed_hosts),
        partial(CachedSearch, response_cache=response_cache),
        partial(Preflights, policy=cors),
        TransferEncoding,  # `CachedSearch` serves no request that has one
        partial(tracing.app, request_id=lambda scope: context_of(scope).request_id),
    ]
    litestar = litestar or create_litestar(settings)
    setup_dishka(container, litestar)
    return Application(litestar, layers, settings=settings, contexts=contexts, draining=draining)


async def check_parameter_names(request: AnyRequest) -> None:
    """Reject unknown query parameters; called after the guards of a handler, which count the request."""
    query_string = request.scope["query_string"]
    operation: Operation | None = request.route_handler.opt.get("operation")
    if query_string and operation is not None:  # the generated handlers of OPTIONS have none
        try:
            check_names(query_string, operation.parameter_names)
        except UnknownParameter:
            if operation.access is Access.USERS:  # some handlers have no guard and authenticate the caller themselves
                await container_of(request).get(Caller)
            raise


def create_litestar(settings: Settings) -> Litestar:
    """Create the routes. Their handlers get dependencies from the container that `setup_dishka` adds."""
    notice = source_attribution(settings)
    openapi = document(
        API_HANDLERS,
        settings.public_url,
        version=version("movie-search-backend"),
        public_search=settings.public_search,
        notice=notice,
    )

    @asynccontextmanager
    async def lifespan(litestar: Litestar) -> AsyncIterator[None]:
        container: AsyncContainer = litestar.state.dishka_container
        await container.get(MetricsPeers)
        async with run_background_work(container):
            yield
        await container.close()

    unversioned = API_HANDLERS[len(VERSIONED_HANDLERS) :]
    return Litestar(
        route_handlers=[
            ApiRouter("/", route_handlers=VERSIONED_HANDLERS, before_request=check_parameter_names),
            ApiRouter("/", route_handlers=unversioned),
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
        request_max_body_size=MAX_BODY,
        openapi_config=None,
        template_config=template_config(base_path=base_path_of(settings.public_url), app_url=settings.app_url),
        logging_config=None,
        debug=False,  # overrides LITESTAR_DEBUG
    )
