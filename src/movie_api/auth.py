"""Authentication, authorization and rate limits of requests: the guards of the routes.

After a guard has run, `caller` of the `RequestContext` is the authenticated user, or None.
"""

import re
from typing import Any

from dishka import AsyncContainer, Provider, Scope, provide
from litestar import Request
from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler
from litestar.types import Guard

from movie_api.context import RequestContext, context_of
from movie_api.problems import AnyRequest
from movie_core.accounts.profiles import Profiles
from movie_core.accounts.session_tokens import SessionTokens
from movie_core.accounts.sessions import Caller
from movie_core.errors import Denied, InvalidToken, NotAllowed, NotAuthenticated, RateLimited
from movie_core.operations.rate_limits import LeasedLimit, RateLimits, UserLimit, network_of, networks_of

AnyConnection = ASGIConnection[Any, Any, Any, Any]

_BEARER = re.compile(r"Bearer ([!-~]+)")


class CallerProvider(Provider):
    """Provides the `Caller`: a handler with this parameter requires a valid access token."""

    scope = Scope.REQUEST

    @provide
    async def caller(self, request: Request, tokens: SessionTokens) -> Caller:  # type: ignore[type-arg]  # dishka's key
        caller = await authenticate(request, tokens)
        context_of(request.scope).caller = caller  # for the access log
        return caller


async def authenticate(request: AnyRequest, tokens: SessionTokens) -> Caller:
    """The user of the access token in the `Authorization` header; raises `NotAuthenticated` without the header, and
    `InvalidToken`."""
    headers = request.headers.getall("authorization", [])
    if not headers:
        raise NotAuthenticated("authentication required: send `Authorization: Bearer <token>`")
    match = _BEARER.fullmatch(headers[0])
    if len(headers) > 1 or match is None:
        raise InvalidToken("send exactly one header `Authorization: Bearer <token>`")
    return await tokens.authenticate(match[1])


class AccessControl:
    """Decides whether a request may search, and counts requests against rate limits.

    A valid token permits every search. If search is public, requests without a valid token are permitted too, and
    counted by network.
    """

    def __init__(self, tokens: SessionTokens, limits: RateLimits, *, is_public: bool) -> None:
        self._tokens = tokens
        self._limits = limits
        self._is_public = is_public

    def try_admit(self, context: RequestContext) -> bool:
        """Admit and count a search without I/O. If that is not possible, returns False and counts nothing; call `admit`
        then."""
        caller, authorization = None, context.head.authorization
        if authorization is not None or not self._is_public:
            if authorization is None or not authorization.startswith(b"Bearer "):
                return False
            caller = self._tokens.authenticate_cached(authorization[7:].decode("latin-1"))
            if caller is None:
                return False
        context.caller = caller
        if self._limits.search is None:
            return True
        try:
            context.quota = self._limits.search.spend(_rate_limit_key(context))
        except RateLimited:
            return False
        return context.quota is not None

    async def admit(
        self, connection: AnyConnection, limit: LeasedLimit | UserLimit | None, *, requires_user: bool = False
    ) -> None:
        """Authenticate the caller and count the request; raises errors of the `Denied` family, and `RateLimited`.

        If search is public, an invalid token is ignored, unless the route `requires_user`. A `UserLimit` is for such
        routes only.
        """
        context = context_of(connection.scope)
        context.caller = None
        try:
            context.caller = await container_of(connection).get(Caller)
        except Denied:
            if requires_user or not self._is_public:
                raise
        if isinstance(limit, UserLimit) and context.caller is not None:
            context.quota = await limit.hit(context.caller.user_id, networks_of(context.client))
        elif isinstance(limit, LeasedLimit):
            context.quota = await limit.hit(_rate_limit_key(context))


def container_of(connection: AnyConnection) -> AsyncContainer:
    """The container of the request, for guards: dishka injects only into handlers."""
    container: AsyncContainer = connection.state.dishka_container
    return container


def _rate_limit_key(context: RequestContext) -> str:
    caller = context.caller
    return f"network:{network_of(context.client)}" if caller is None else f"user:{caller.user_id}"


def _guard(limit: str, *, requires_user: bool = False) -> Guard:
    async def admit(connection: AnyConnection, _: BaseRouteHandler) -> None:
        container = container_of(connection)
        access, limits = await container.get(AccessControl), await container.get(RateLimits)
        await access.admit(connection, getattr(limits, limit), requires_user=requires_user)

    return admit


require_search_access = _guard("search")
"""Requires a valid token unless search is public; counted by the search limit."""
require_suggest_access = _guard("suggest")
"""Like `require_search_access`, with a limit of its own: clients request suggestions at every key press."""
require_user = _guard("search", requires_user=True)
"""Requires a valid token; counted by the search limit."""
require_event_access = _guard("events", requires_user=True)
"""Requires a valid token; for recording events."""
require_writer = _guard("writes", requires_user=True)
"""Requires a valid token; for changes of the user's data."""
require_importer = _guard("imports", requires_user=True)
"""Requires a valid token; for imports of ratings."""
require_exporter = _guard("exports", requires_user=True)
"""Requires a valid token; for exports of the user's data."""


async def require_staff(connection: AnyConnection, _: BaseRouteHandler) -> None:
    """Requires a token of a staff user; reads the user from the database, so that revoked rights end immediately."""
    container = container_of(connection)
    caller = await container.get(Caller)
    user = await (await container.get(Profiles)).get(caller)
    if not user.is_staff:
        raise NotAllowed("this route is for staff only")
