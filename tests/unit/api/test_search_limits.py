"""The rate limits of searches: per user, or per network if search is public."""

import re
from typing import Any

import httpx
import pytest
from tests.support.api import ANN, OpenApi, assert_as_documented

from movie_api.middleware import compose

MOVIES = "/api/v1/movies/"
SUGGEST = "/api/v1/movies/suggest/"
BOB = {"email": "bob@example.com", "username": "bob", "password": ANN["password"]}


def remaining(response: httpx.Response) -> int:
    """The remaining requests according to the response."""
    match = re.fullmatch(r'"(?:search|suggest)";r=(\d+);t=\d+', response.headers["ratelimit"])
    assert match, response.headers
    return int(match[1])


def assert_rate_limited(response: httpx.Response, name: str, amount: int) -> None:
    assert response.status_code == 429, response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["code"] == "rate_limited"
    assert 1 <= int(response.headers["retry-after"]) <= 60
    assert re.fullmatch(rf'"{name}";r=0;t=\d+', response.headers["ratelimit"])
    assert response.headers["ratelimit-policy"] == f'"{name}";q={amount};w=60'


async def test_each_search_reports_the_remaining_requests_until_the_limit(open_api: OpenApi) -> None:
    async with open_api(MOVIE_LIMIT_SEARCH="45/minute") as api:
        for n in range(45):
            response = await api.get(f"{MOVIES}?query=river")
            assert response.status_code == 200
            assert remaining(response) == 44 - n
            assert response.headers["ratelimit-policy"] == '"search";q=45;w=60'
        for _ in range(3):
            assert_rate_limited(await api.get(f"{MOVIES}?query=river"), "search", 45)


async def test_details_and_genres_count_as_searches_whatever_their_status(open_api: OpenApi) -> None:
    async with open_api(MOVIE_LIMIT_SEARCH="9/minute") as api:
        etag = (await api.get(f"{MOVIES}?query=river")).headers["etag"]
        requests: list[tuple[str, dict[str, str], int]] = [
            (f"{MOVIES}201/", {}, 200),
            (f"{MOVIES}999/", {}, 404),
            ("/api/v1/genres/", {}, 200),
            (f"{MOVIES}?limit=0", {}, 400),
            (f"{MOVIES}?query=nothing like that", {}, 404),
            (f"{MOVIES}?query=river", {"if-none-match": etag}, 304),
        ]
        for n, (path, headers, status) in enumerate(requests):
            response = await api.get(path, headers=headers)
            assert response.status_code == status
            assert remaining(response) == 7 - n
        assert remaining(await api.head(MOVIES)) == 1
        assert (await api.post(MOVIES)).status_code == 405
        assert remaining(await api.get(MOVIES.rstrip("/"))) == 0
        for path in (f"{MOVIES}201/", "/api/v1/genres/", MOVIES):
            assert_rate_limited(await api.get(path), "search", 9)


async def test_suggestions_have_their_own_limit(open_api: OpenApi) -> None:
    async with open_api(MOVIE_LIMIT_SEARCH="1/minute", MOVIE_LIMIT_SUGGEST="2/minute") as api:
        assert remaining(await api.get(f"{SUGGEST}?query=ri")) == 1
        assert remaining(await api.get(f"{MOVIES}?query=river")) == 0
        assert remaining(await api.get(f"{SUGGEST}?query=riv")) == 0
        assert_rate_limited(await api.get(f"{SUGGEST}?query=rive"), "suggest", 2)
        assert_rate_limited(await api.get(f"{MOVIES}?query=river"), "search", 1)


async def test_public_searches_count_per_network(open_api: OpenApi) -> None:
    environ = {"MOVIE_LIMIT_SEARCH": "2/minute", "MOVIE_TRUSTED_PROXIES": "10.0.0.0/8"}
    async with open_api(**environ) as api:
        for _ in range(2):
            assert (await api.get(MOVIES)).status_code == 200
        assert_rate_limited(await api.get(MOVIES), "search", 2)
        assert_rate_limited(await api.get(MOVIES, headers={"x-forwarded-for": "192.0.2.99"}), "search", 2)
        assert (await api.from_address("192.0.2.2").get(MOVIES)).status_code == 200
        for host in (1, 2):
            assert remaining(await api.from_address(f"2001:db8:1:2::{host}").get(MOVIES)) == 2 - host
        proxy = api.from_address("10.0.0.1")
        assert remaining(await proxy.get(MOVIES, headers={"x-forwarded-for": "192.0.2.2"})) == 0


async def test_searches_count_per_user_from_any_network(open_api: OpenApi) -> None:
    async with open_api(MOVIE_PUBLIC_SEARCH="false", MOVIE_LIMIT_SEARCH="3/minute") as api:
        ann = await api.activated()
        bob = await api.activated(**BOB)
        credentials = {"email": ANN["email"], "password": ANN["password"]}
        again = await api.post("/api/v1/authentication/login/", json=credentials)
        ann_elsewhere = {"authorization": f"Bearer {again.json()['access']}"}
        assert remaining(await api.get(MOVIES, headers=ann)) == 2
        assert remaining(await api.from_address("198.51.100.7").get(MOVIES, headers=ann_elsewhere)) == 1
        assert remaining(await api.get(MOVIES, headers=ann)) == 0
        assert_rate_limited(await api.from_address("198.51.100.7").get(MOVIES, headers=ann_elsewhere), "search", 3)
        assert remaining(await api.get(MOVIES, headers=bob)) == 2


async def test_unauthenticated_requests_are_not_counted(open_api: OpenApi) -> None:
    async with open_api(MOVIE_PUBLIC_SEARCH="false", MOVIE_LIMIT_SEARCH="1/minute") as api:
        for headers in ({}, {"authorization": "Bearer x"}):
            for _ in range(3):
                response = await api.get(MOVIES, headers=headers)
                assert response.status_code == 401
                assert "ratelimit" not in response.headers
        assert (await api.get(MOVIES, headers=await api.activated())).status_code == 200


@pytest.mark.parametrize("path", [MOVIES, SUGGEST])
async def test_without_limits_nothing_is_counted(open_api: OpenApi, path: str) -> None:
    async with open_api(MOVIE_LIMIT_SEARCH="off", MOVIE_LIMIT_SUGGEST="off") as api:
        for _ in range(50):
            response = await api.get(path)
            assert response.status_code == 200
            assert "ratelimit" not in response.headers


async def test_responses_conform_to_the_document(open_api: OpenApi) -> None:
    async with open_api(MOVIE_LIMIT_SEARCH="4/minute", MOVIE_LIMIT_SUGGEST="1/minute") as api:
        served: dict[str, Any] = (await api.get("/openapi.json")).json()

        async def ask(path: str, requests: str, status: int) -> None:
            response = await api.get(requests)
            assert response.status_code == status
            assert_as_documented(served, response, path)

        await ask(MOVIES, f"{MOVIES}?query=river", 200)
        await ask(MOVIES, f"{MOVIES}?limit=0", 400)
        await ask("/api/v1/movies/{movie_id}/", f"{MOVIES}999/", 404)
        await ask("/api/v1/genres/", "/api/v1/genres/", 200)
        for path, requests in (
            (MOVIES, MOVIES),
            ("/api/v1/movies/{movie_id}/", f"{MOVIES}201/"),
            ("/api/v1/genres/", "/api/v1/genres/"),
        ):
            await ask(path, requests, 429)
        await ask(SUGGEST, SUGGEST, 200)
        await ask(SUGGEST, SUGGEST, 429)


async def test_the_cached_search_middleware_counts_searches(open_api: OpenApi) -> None:
    async with open_api(MOVIE_LIMIT_SEARCH="600/minute") as api:
        routed = 0

        async def count_and_route(*call: Any) -> None:
            nonlocal routed
            routed += 1
            await api.app(*call)

        counted = api.through(compose(count_and_route, api.application.layers))
        counts = [remaining(await counted.get(f"{MOVIES}?query=river")) for _ in range(100)]
        assert counts == list(range(599, 499, -1))
        assert routed < 50, "most of them need neither routing nor a call to the rate limiter"
