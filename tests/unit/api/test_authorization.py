"""Who may call which route, as the security policies say."""

import re

import httpx
from tests.unit.api.conftest import ANN, Api, OpenApi
from tests.unit.api.routes.test_analytics import accounts_of
from tests.unit.test_security_docs import POLICIES, quoted, table

from movie_api.openapi import PATHS

LIMITS_OFF = {"MOVIE_LIMIT_LOGIN": "off", "MOVIE_LIMIT_REGISTER": "off", "MOVIE_LIMIT_EVENTS": "off"}
PRODUCTION = {
    "MOVIE_ENV": "production",
    "MOVIE_PUBLIC_URL": "https://127.0.0.1",
    "MOVIE_DATABASE_URL": "postgresql+asyncpg://movies@db.invalid/movies",
    "MOVIE_REDIS_URL": "redis://redis.invalid/0",
    "MOVIE_SMTP_URL": "smtps://movies:secret@smtp.invalid",
}
ENDING = {"POST /api/v1/authentication/logout/", "DELETE /api/v1/users/me/"}
"""What ends the session that asks."""


def code(answer: httpx.Response) -> str:
    is_problem = answer.headers.get("content-type", "") == "application/problem+json"
    return str(answer.json()["code"]) if is_problem else ""


async def asked(api: Api, headers: dict[str, str] | None = None) -> dict[str, str]:
    """The code of the problem that each route answers with, empty for none; a body is missing everywhere."""
    routes = [(method.upper(), path) for path, operations in PATHS.items() for method in operations]
    routes.sort(key=lambda route: f"{route[0]} {route[1]}" in ENDING)
    return {
        f"{method} {path}": code(await api.request(method, re.sub(r"\{\w+\}", "0", path), headers=headers))
        for method, path in routes
        if not headers or f"{method} {path}" not in ENDING
    }


async def test_routes_are_for_those_whom_the_policy_names(open_api: OpenApi) -> None:
    async with open_api(MOVIE_PUBLIC_SEARCH="false", **LIMITS_OFF) as api:
        nobody = await asked(api)
        forged = await asked(api, {"authorization": "Bearer forged"})
        ann = await api.activated()
        user = await asked(api, ann)
        await (await accounts_of(api)).set_staff(ANN["email"], True)
        staff = await asked(api, ann)
    async with open_api(MOVIE_PUBLIC_SEARCH="true", **LIMITS_OFF) as api:
        public = await asked(api)
    async with open_api(MOVIE_PUBLIC_SEARCH="true", **PRODUCTION, **LIMITS_OFF) as api:
        metrics = (await api.get("/metrics")).status_code

    refused = {route for route, told in nobody.items() if told == "not_authenticated"}
    for_staff = {route for route, told in user.items() if told == "not_allowed"}
    public_search = {route for route in refused if public[route] != "not_authenticated"}
    found = {
        "anyone": nobody.keys() - refused - {"GET /metrics"},
        "users; anyone where `MOVIE_PUBLIC_SEARCH` is on": public_search,
        "users, each for themselves": refused - public_search - for_staff,
        "staff": for_staff,
        "holders of `MOVIE_METRICS_TOKEN`; anyone where `MOVIE_ENV` is `local`": {"GET /metrics"},
    }
    named = {row["who may call"]: quoted(row["routes"]) for row in table(POLICIES, "Authorization")}
    assert {who: sorted(routes) for who, routes in named.items()} == {who: sorted(one) for who, one in found.items()}
    assert {told for route, told in forged.items() if route in refused} == {"invalid_token"}
    assert not {"not_authenticated", "invalid_token", "not_allowed"} & {staff[route] for route in for_staff}
    assert metrics == 404
