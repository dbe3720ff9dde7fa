"""The callers of each route are those of the security policies."""

import re

import httpx
from tests.support.api import ANN, Api, OpenApi, management_of
from tests.support.openapi import PATHS
from tests.support.security_documents import POLICIES, quoted, table

LIMITS_OFF = {"MOVIE_LIMIT_LOGIN": "off", "MOVIE_LIMIT_REGISTER": "off", "MOVIE_LIMIT_EVENTS": "off"}
PRODUCTION = {
    "MOVIE_ENV": "production",
    "MOVIE_PUBLIC_URL": "https://127.0.0.1",
    "MOVIE_DATABASE_URL": "postgresql+asyncpg://movies@db.invalid/movies",
    "MOVIE_REDIS_URL": "redis://redis.invalid/0",
    "MOVIE_SMTP_URL": "smtps://movies:secret@smtp.invalid",
}
ENDING = {"POST /api/v1/authentication/logout/", "DELETE /api/v1/users/me/"}
"""Operations that end the session of the request."""


def code(response: httpx.Response) -> str:
    is_problem = response.headers.get("content-type", "") == "application/problem+json"
    return str(response.json()["code"]) if is_problem else ""


async def request_all(api: Api, headers: dict[str, str] | None = None) -> dict[str, str]:
    """The error code of each route for a request without a body; empty if there is none."""
    routes = [(method.upper(), path) for path, operations in PATHS.items() for method in operations]
    routes.sort(key=lambda route: f"{route[0]} {route[1]}" in ENDING)
    return {
        f"{method} {path}": code(await api.request(method, re.sub(r"\{\w+\}", "0", path), headers=headers))
        for method, path in routes
        if not headers or f"{method} {path}" not in ENDING
    }


async def test_routes_are_open_to_the_callers_of_the_policy(open_api: OpenApi) -> None:
    async with open_api(MOVIE_PUBLIC_SEARCH="false", **LIMITS_OFF) as api:
        anonymous = await request_all(api)
        forged = await request_all(api, {"authorization": "Bearer forged"})
        ann = await api.activated()
        user = await request_all(api, ann)
        await (await management_of(api)).set_staff(ANN["email"], True)
        staff = await request_all(api, ann)
    async with open_api(MOVIE_PUBLIC_SEARCH="true", **LIMITS_OFF) as api:
        public = await request_all(api)
    async with open_api(MOVIE_PUBLIC_SEARCH="true", **PRODUCTION, **LIMITS_OFF) as api:
        metrics = (await api.get("/metrics")).status_code

    protected = {route for route, error_code in anonymous.items() if error_code == "not_authenticated"}
    for_staff = {route for route, error_code in user.items() if error_code == "not_allowed"}
    public_search = {route for route in protected if public[route] != "not_authenticated"}
    actual = {
        "anyone": anonymous.keys() - protected - {"GET /metrics"},
        "users; anyone where `MOVIE_PUBLIC_SEARCH` is on": public_search,
        "users, each for themselves": protected - public_search - for_staff,
        "staff": for_staff,
        "holders of `MOVIE_METRICS_TOKEN`; anyone where `MOVIE_ENV` is `local`": {"GET /metrics"},
    }
    documented = {row["who may call"]: quoted(row["routes"]) for row in table(POLICIES, "Authorization")}
    assert {who: sorted(routes) for who, routes in documented.items()} == {
        who: sorted(one) for who, one in actual.items()
    }
    assert {error_code for route, error_code in forged.items() if route in protected} == {"invalid_token"}
    assert not {"not_authenticated", "invalid_token", "not_allowed"} & {staff[route] for route in for_staff}
    assert metrics == 404
