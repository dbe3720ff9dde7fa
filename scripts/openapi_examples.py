"""Generates src/movie_api/examples.json: an example of each successful response body, for the OpenAPI document.

    make examples

The examples are responses of the API with in-memory adapters and a part of the bundled films. A unit test repeats the
requests and compares the structure of the responses with the file.
"""

import asyncio
import gzip
import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import msgspec
from dishka import Provider, Scope, provide
from tests.support.api import ANN, AUTHENTICATION, ME, MOVIES, OTHER_PASSWORD, SECRET, Api, InMemory, bearer

from movie_adapters.security.jwt import JwtAccessTokens
from movie_adapters.settings.settings import Settings
from movie_api.app import create_app
from movie_core.accounts.keyring import Keyring
from movie_core.accounts.outbox import MailState
from movie_core.accounts.user_management import UserManagement
from movie_core.clock import utc_now
from movie_core.discovery.event_recorder import EventRecorder
from movie_core.discovery.trending import Totals
from movie_core.operations.health import Dependency, Readiness
from movie_core.ports import AccessTokens, EventStore, Outbox, Recommender, TrendStore
from movie_core.search.movies import Movie

SOURCE = Path(__file__).parents[1] / "src"
FILE = SOURCE / "movie_api" / "examples.json"
FILMS = SOURCE / "movie_adapters" / "catalogue" / "films.jsonl.gz"
PUBLIC_URL = "http://127.0.0.1:8000"
ACTOR = "Humphrey Bogart"
CASABLANCA = "tt0034583"
BOB = {"email": "bob@example.com", "username": "bob", "password": ANN["password"]}
HTML = {"accept": "text/html"}
CSV = {"accept": "text/csv"}
MAX_LINES = 8
"""Lines of a text that its example has."""

Examples = dict[str, dict[str, Any]]


def films() -> tuple[Movie, ...]:
    """The bundled films with one actor."""
    with gzip.open(FILMS, "rt", encoding="utf-8") as lines:
        return tuple(msgspec.json.decode(line, type=Movie) for line in lines if f'"{ACTOR}"' in line)


class Journey:
    """Sends at least one request to each operation, and collects the bodies of the responses by operation id and media
    type."""

    def __init__(self, api: Api) -> None:
        self.examples: Examples = {}
        self._api = api
        self._users: dict[str, dict[str, str]] = {}

    async def run(self) -> Examples:
        await self._accounts()
        await self._movies()
        await self._staff()
        await self._operation()
        return self.examples

    async def _ask(self, operation: str, method: str, path: str, **sent: Any) -> httpx.Response:
        response = await self._api.request(method, path, **sent)
        if not response.is_success:
            raise RuntimeError(f"{operation}: {response.status_code} {response.text}")
        media_type = response.headers.get("content-type", "").partition(";")[0]
        if media_type == "application/json":
            self.examples.setdefault(operation, {})[media_type] = response.json()
        elif media_type:
            excerpt = "".join(response.text.splitlines(keepends=True)[:MAX_LINES])
            self.examples.setdefault(operation, {})[media_type] = excerpt
        return response

    async def _get(self, service: type[Any]) -> Any:
        return await self._api.app.state.dishka_container.get(service)

    async def _accounts(self) -> None:
        api = self._api
        await self._ask("register", "POST", f"{AUTHENTICATION}register/", json=ANN)
        link = await api.newest_link()
        await self._ask("showActivation", "GET", link)
        await self._ask("showActivation", "GET", link, headers=HTML)
        activated = await self._ask("activate", "POST", link, json={"password": ANN["password"]})
        ann = self._users["ann"] = bearer(activated.json()["access"])
        link = await api.registered(**BOB)
        await self._ask("activate", "POST", link, data={"password": BOB["password"]}, headers=HTML)

        address = {"email": "carol@example.com"}
        await api.post(f"{AUTHENTICATION}register/", json=ANN | address | {"username": "carol"})
        await self._ask("resendActivation", "POST", f"{AUTHENTICATION}verify-email/resend/", json=address)
        await api.emails()  # so that the next link is the newest

        await self._ask("forgotPassword", "POST", f"{AUTHENTICATION}password/forgot/", json={"email": BOB["email"]})
        link = await api.newest_link()
        await self._ask("showReset", "GET", link)
        await self._ask("showReset", "GET", link, headers=HTML)
        await self._ask("resetPasswordByForm", "POST", link, data={"password": OTHER_PASSWORD}, headers=HTML)

        credentials = {"email": BOB["email"], "password": OTHER_PASSWORD}
        pair = (await self._ask("createToken", "POST", f"{AUTHENTICATION}jwt/token/", json=credentials)).json()
        refresh = {"refresh": pair["refresh"]}
        await self._ask("refreshToken", "POST", f"{AUTHENTICATION}jwt/token/refresh/", json=refresh)
        pair = (await self._ask("logIn", "POST", f"{AUTHENTICATION}login/", json=credentials)).json()
        password = {"password": OTHER_PASSWORD}
        pair = (
            await self._ask(
                "reauthenticate",
                "POST",
                f"{AUTHENTICATION}reauthenticate/",
                json=password,
                headers=bearer(pair["access"]),
            )
        ).json()
        await self._ask("logOut", "POST", f"{AUTHENTICATION}logout/", headers=bearer(pair["access"]))
        pair = (await self._ask("logIn", "POST", f"{AUTHENTICATION}login/", json=credentials)).json()
        self._users["bob"] = bearer(pair["access"])
        await self._ask("listSessions", "GET", f"{AUTHENTICATION}sessions/", headers=ann)
        await self._ask("getProfile", "GET", ME, headers=ann)
        await self._ask("changeProfile", "PATCH", ME, json={"record_events": True}, headers=ann)

    async def _movies(self) -> None:
        api, ann, bob = self._api, self._users["ann"], self._users["bob"]
        page = await self._ask("searchMovies", "GET", MOVIES, params={"limit": 2}, headers=ann)
        others = [movie["id"] for movie in page.json()["items"] if movie["id"] != CASABLANCA]
        for query in ("casablanca", "casablanka 2049"):  # the second one matches nothing
            await api.get(MOVIES, params={"query": query}, headers=ann)
        await self._ask("suggestMovies", "GET", f"{MOVIES}suggest/", params={"query": "casa"}, headers=ann)
        await self._ask("getMovie", "GET", f"{MOVIES}{CASABLANCA}/", headers=ann)
        await self._ask("listGenres", "GET", "/api/v1/genres/", headers=ann)
        rating = f"{MOVIES}{CASABLANCA}/rating/"
        await self._ask("rateMovie", "PUT", rating, json={"rating": 9.5}, headers=ann)
        await self._ask("getRating", "GET", rating, headers=ann)
        rows = [{"movie_id": movie_id, "rating": 9} for movie_id in (CASABLANCA, others[0], "tt0000000")]
        await self._ask("importRatings", "PUT", f"{ME}ratings/", json=rows, headers=bob)
        await self._ask("listRatings", "GET", f"{ME}ratings/", headers=ann)
        await (await self._get(Recommender)).train()
        limit = {"limit": 2}
        await self._ask("recommendMovies", "GET", "/api/v1/recommendations/", params=limit, headers=ann)
        await self._ask("listSimilarMovies", "GET", f"{MOVIES}{CASABLANCA}/similar/", params=limit, headers=ann)
        await self._fill_trends()
        click = {"type": "click", "movie_id": CASABLANCA, "query": "casablanca", "position": 1}
        old = click | {"at": "2026-01-01T00:00:00Z"}
        await self._ask("recordEvents", "POST", "/api/v1/events/", json=[click, old], headers=ann)
        await (await self._get(EventRecorder)).flush()
        await self._ask("listTrendingMovies", "GET", f"{MOVIES}trending/", params=limit, headers=ann)
        await self._ask("exportProfile", "GET", f"{ME}export/", headers=ann)

    async def _fill_trends(self) -> None:
        """Completes the first epoch of the trend store at once, as there are no earlier interactions."""
        store, now = await self._get(TrendStore), utc_now()
        await store.start_epoch(now, None)
        await store.claim_rebuild(now)
        await store.finish_rebuild(Totals(now), now)

    async def _staff(self) -> None:
        api, ann = self._api, self._users["ann"]
        await (await self._get(UserManagement)).set_staff(ANN["email"], True)
        await (await self._get(EventStore)).count(
            utc_now().date(), {"attempts": 5, "failures": 1, "live": 3, "fresh": 9}
        )
        for operation, path in (
            ("getSummary", "summary/"),
            ("listTopSearches", "searches/top/"),
            ("listZeroResultSearches", "searches/zero-results/"),
            ("getClicks", "clicks/"),
            ("getFunnel", "funnel/"),
            ("listRetention", "retention/"),
            ("listSourceDays", "source/"),
        ):
            for headers in (ann, ann | CSV):
                await self._ask(operation, "GET", f"/api/v1/analytics/{path}", headers=headers)

        await api.post(f"{AUTHENTICATION}register/", json=ANN | {"email": "dave@example.com", "username": "dave"})
        outbox = await self._get(Outbox)
        for mail in await outbox.claim("examples", utc_now(), 20, timedelta(seconds=20)):
            error = "550 no such mailbox"
            await outbox.complete("examples", replace(mail, state=MailState.DEAD, attempts=8, last_error=error))
        mails = await self._ask("listMails", "GET", "/api/v1/admin/mail/", params={"state": "dead"}, headers=ann)
        mail_id = mails.json()["items"][0]["id"]
        await self._ask("retryMail", "POST", f"/api/v1/admin/mail/{mail_id}/retry/", headers=ann)
        users = await self._ask("listUsers", "GET", "/api/v1/admin/users/", params={"search": "bob"}, headers=ann)
        user_id = users.json()["items"][0]["id"]
        await self._ask(
            "changeUser", "PATCH", f"/api/v1/admin/users/{user_id}/", json={"is_active": False}, headers=ann
        )
        await self._ask("listAudit", "GET", "/api/v1/admin/audit/", headers=ann)

    async def _operation(self) -> None:
        await self._ask("isLive", "GET", "/health/live")
        await self._ask("isReady", "GET", "/health/ready")
        await self._ask("showMetrics", "GET", "/metrics")
        await self._ask("explainError", "GET", "/errors/movie_not_found")


class JwtProvider(Provider):
    """Replaces the access tokens in memory by JWTs."""

    scope = Scope.APP

    @provide(override=True)
    def tokens(self, keys: Keyring) -> AccessTokens:
        return JwtAccessTokens(keys, issuer=PUBLIC_URL)


async def _connected() -> str:
    return "connected"


async def collect() -> Examples:
    """The bodies of the responses by operation id and media type."""
    settings = Settings.load({"MOVIE_SECRET_KEY": SECRET, "MOVIE_PUBLIC_URL": PUBLIC_URL}, dotenv=None)
    readiness = Readiness([Dependency(name, _connected, "") for name in ("database", "redis")])
    memory = InMemory(readiness=readiness, movies=films())
    async with Api(create_app(settings, memory, JwtProvider()), memory) as api:
        return await Journey(api).run()


if __name__ == "__main__":
    FILE.write_text(json.dumps(asyncio.run(collect()), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
