"""The API with in-memory adapters, called without a socket; requests and checks that several test modules share."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from html.parser import HTMLParser
from typing import Any

import httpx
from dishka import Provider, Scope, provide

from movie_adapters.settings.settings import Settings
from movie_api.app import Application
from movie_api.context import RequestContexts
from movie_api.middleware import Layer, compose
from movie_core import memory
from movie_core.accounts.outbox import MailRules, OutgoingEmail
from movie_core.accounts.outbox_dispatcher import OutboxDispatcher
from movie_core.accounts.user_management import UserManagement
from movie_core.clock import Clock, utc_now
from movie_core.memory import Deployment, MemoryMailer, MemorySeenMovies
from movie_core.operations.health import Readiness
from movie_core.ports import (
    AccessTokens,
    AccountDataRepo,
    AddressSyntax,
    Analytics,
    AuditLog,
    DeliveryNotifier,
    EventStore,
    Mailer,
    MovieCatalogue,
    MovieSource,
    Outbox,
    PasswordHasher,
    PasswordResetRepo,
    PasswordStrength,
    PersonalOrderStore,
    RateLimiter,
    RatingStore,
    Recommender,
    RegistrationRepo,
    SeenMovies,
    SessionRepo,
    TrendStore,
    UserDirectory,
    UsernameSyntax,
    UserRepo,
)
from movie_core.search.movies import Movie
from movie_core.testing import SAMPLE

PUBLIC_URL = "http://127.0.0.1:8000"
AUTHENTICATION = "/api/v1/authentication/"
ME = "/api/v1/users/me/"
ANN = {"email": "ann@example.com", "username": "ann", "password": "velvet harbour quill tundra"}
SECRET = "a secret of thirty-two bytes or more"


PORTS: dict[type, str] = {
    MovieCatalogue: "catalogue",
    UserRepo: "user_repo",
    UserDirectory: "user_directory",
    RegistrationRepo: "registration_repo",
    PasswordResetRepo: "password_reset_repo",
    SessionRepo: "session_repo",
    AccountDataRepo: "account_data_repo",
    Outbox: "outbox",
    Mailer: "mailer",
    DeliveryNotifier: "notifier",
    PasswordHasher: "hasher",
    AccessTokens: "tokens",
    AddressSyntax: "address_syntax",
    UsernameSyntax: "username_syntax",
    PasswordStrength: "password_strength",
    RateLimiter: "rate_limiter",
    RatingStore: "ratings",
    EventStore: "events",
    Analytics: "analytics",
    TrendStore: "trend_store",
    PersonalOrderStore: "orders",
    AuditLog: "audit_log",
    Recommender: "recommender",
    MovieSource: "source",
}
"""Each port with the name of its adapter in a `Deployment`."""


def adapter(name: str) -> Callable[[Deployment], object]:
    def get(deployment: Deployment) -> object:
        return getattr(deployment, name)

    return get


class InMemory(Provider):
    """Replaces every adapter that does I/O by that of a deployment in memory."""

    scope = Scope.APP

    def __init__(
        self,
        source: MovieSource | None = None,
        readiness: Readiness | None = None,
        movies: Sequence[Movie] = SAMPLE,
        clock: Clock = utc_now,
    ) -> None:
        """`clock` is that of routes and services."""
        super().__init__()
        self._clock = clock
        self._movies = movies
        self._source = source
        self._readiness = readiness or Readiness([])
        self.mailer = MemoryMailer()
        for port, name in PORTS.items():
            self.provide(adapter(name), provides=port, override=True)

    @provide
    def deployment(self, settings: Settings, rules: MailRules) -> Deployment:
        deployment = memory.deployment(
            self._movies, source=self._source, secret=settings.secret_key[0], mail_rules=rules, clock=self._clock
        )
        self.mailer = deployment.mailer
        return deployment

    @provide(override=True)
    def clock(self) -> Clock:
        return self._clock

    @provide(override=True)
    def seen(self, deployment: Deployment) -> SeenMovies:
        return deployment.seen or MemorySeenMovies(deployment.catalogue)

    @provide(override=True)
    def readiness(self) -> Readiness:
        return self._readiness


class Api(httpx.AsyncClient):
    """A client of the API with access to the emails it sent."""

    def __init__(
        self,
        app: Application,
        memory: InMemory,
        client: tuple[str, int] = ("192.0.2.1", 1234),
        handler: Any = None,
    ) -> None:
        """`handler` replaces the application's own handling of HTTP requests."""

        async def handle(scope: Any, receive: Any, send: Any) -> None:
            app.contexts.of(scope)
            await handler(scope, receive, send)

        transport: Any = httpx.ASGITransport(app if handler is None else handle, client=client)
        super().__init__(transport=transport, base_url="http://127.0.0.1:8000")
        self.application, self.app = app, app.litestar
        self.memory = memory

    async def emails(self) -> list[OutgoingEmail]:
        """All emails so far, including those that are due now."""
        dispatcher = await self.app.state.dishka_container.get(OutboxDispatcher)
        await dispatcher.deliver_due()
        return list(self.memory.mailer.emails)

    async def newest_link(self) -> str:
        """The path of the first link in the newest email."""
        url = (await self.emails())[-1].links[0]
        return url.removeprefix("http://127.0.0.1:8000")

    async def registered(self, **changed: str) -> str:
        """Register Ann; returns the path of her activation link."""
        answer = await self.post(f"{AUTHENTICATION}register/", json=ANN | changed)
        assert answer.status_code == 201, answer.text
        return await self.newest_link()

    async def activated(self, **changed: str) -> dict[str, str]:
        """Register and activate Ann; returns her `Authorization` header."""
        answer = await self.post(await self.registered(**changed))
        assert answer.status_code == 200, answer.text
        return bearer(answer.json()["access"])

    def through(self, handler: Any) -> "Api":
        """A client of another chain of layers around the same application."""
        return Api(self.application, self.memory, handler=handler)

    def from_address(self, client: str) -> "Api":
        """Another client of the same API, from another address."""
        return Api(self.application, self.memory, (client, 1234))


def with_layers(app: Any, *layers: Layer) -> Any:
    """An ASGI application in some layers of the middleware, with the request context on the scope."""
    contexts, handle = RequestContexts(PUBLIC_URL), compose(app, layers)

    async def composed(scope: Any, receive: Any, send: Any) -> None:
        contexts.of(scope)
        await handle(scope, receive, send)

    return composed


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


OpenApi = Callable[..., AbstractAsyncContextManager[Api]]

MOVIES = "/api/v1/movies/"


def assert_problem(response: httpx.Response, status: int, code: str) -> dict[str, object]:
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    body: dict[str, object] = response.json()
    assert set(body) == {"type", "title", "status", "detail", "code", "request_id", "errors"}
    assert (body["status"], body["code"]) == (status, code)
    assert body["type"] == f"http://127.0.0.1:8000/errors/{code}"
    assert body["request_id"] == response.headers["x-request-id"]
    assert len(response.content) < 4096
    return body


def assert_as_documented(served: dict[str, Any], response: httpx.Response, path: str) -> None:
    from jsonschema import Draft202012Validator  # type: ignore[import-untyped]  # comes with openapi-spec-validator

    operation = served["paths"][path][response.request.method.lower()]
    documented = operation["responses"][str(response.status_code)]
    optional = {"Age", "Content-Disposition"} | (
        {"RateLimit", "RateLimit-Policy"} if response.status_code in (413, 415) else set()
    )
    assert {name.lower() for name in set(documented["headers"]) - optional} <= set(response.headers), path
    if response.content:
        schema = documented["content"][response.headers["content-type"].partition(";")[0]]["schema"]
        if "html" not in response.headers["content-type"]:
            Draft202012Validator(schema | {"components": served["components"]}).validate(response.json())
    if response.request.content and response.is_success:
        request_schema = operation["requestBody"]["content"]["application/json"]["schema"]
        Draft202012Validator(request_schema | {"components": served["components"]}).validate(
            json.loads(response.request.content)
        )


async def management_of(api: Api) -> UserManagement:
    management: UserManagement = await api.app.state.dishka_container.get(UserManagement)
    return management


async def staff(api: Api) -> dict[str, str]:
    """Register Ann as staff; returns her `Authorization` header."""
    header = await api.activated()
    await (await management_of(api)).set_staff(ANN["email"], True)
    return header


async def user_id_of(api: Api, header: Mapping[str, str]) -> str:
    return str((await api.get("/api/v1/users/me/", headers=header)).json()["id"])


REGISTER = f"{AUTHENTICATION}register/"
LOGIN = f"{AUTHENTICATION}login/"
REFRESH = f"{AUTHENTICATION}jwt/token/refresh/"
LOGOUT = f"{AUTHENTICATION}logout/"
RESEND = f"{AUTHENTICATION}verify-email/resend/"
FORGOT = f"{AUTHENTICATION}password/forgot/"
RESET = f"{AUTHENTICATION}password/reset/"
CHANGE = f"{AUTHENTICATION}password/change/"
REAUTHENTICATE = f"{AUTHENTICATION}reauthenticate/"
SESSIONS = f"{AUTHENTICATION}sessions/"
CREDENTIALS = {"email": ANN["email"], "password": ANN["password"]}
OTHER_PASSWORD = "granite lantern mosaic ferry"


def comparable(response: httpx.Response) -> tuple[int, dict[str, str], bytes]:
    """A response without the parts that differ in every response."""
    headers = {name: value for name, value in response.headers.items() if name != "x-request-id"}
    return response.status_code, headers, re.sub(rb'"request_id":"[^"]*"', b"", response.content)


async def logged_in(api: Api, **changed: str) -> dict[str, str]:
    return bearer((await api.post(LOGIN, json=CREDENTIALS | changed)).json()["access"])


class Page(HTMLParser):
    """The elements of a page with their attributes."""

    def __init__(self, response: httpx.Response) -> None:
        super().__init__()
        assert response.headers["content-type"] == "text/html; charset=utf-8"
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.feed(response.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]
