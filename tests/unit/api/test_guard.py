import logging
import re

import httpx
import pytest
from tests.unit.api.conftest import OpenApi
from tests.unit.api.test_search import MOVIES, assert_problem


async def test_a_request_id_is_taken_over_or_made(api: httpx.AsyncClient) -> None:
    assert (await api.get(MOVIES, headers={"x-request-id": "a-B_1."})).headers["x-request-id"] == "a-B_1."
    for odd in ("", "a b", "a" * 65, "ä".encode(), "<x>"):
        made = (await api.get(MOVIES, headers={"x-request-id": odd})).headers["x-request-id"]
        assert re.fullmatch(r"[0-9a-f]{32}", made), odd


@pytest.mark.parametrize("path", [MOVIES, "/nothing", "/", "/docs"])
async def test_a_host_that_is_not_served_is_refused(api: httpx.AsyncClient, path: str) -> None:
    for host in ("evil.test", "127.0.0.1.evil.test", "evil.test:8000"):
        assert_problem(await api.get(path, headers={"host": host}), 400, "invalid_host")


@pytest.mark.parametrize("host", ["", "a/b", "user@127.0.0.1", "127.0.0.1:99999", "127.0.0.1:x", "127.0.0.1:", "a b"])
async def test_a_malformed_host_is_refused(api: httpx.AsyncClient, host: str) -> None:
    for path in (MOVIES, "/health/live"):
        assert_problem(await api.get(path, headers={"host": host}), 400, "invalid_host")


async def test_two_hosts_are_refused(api: httpx.AsyncClient) -> None:
    answer = await api.get(MOVIES, headers=[("host", "127.0.0.1"), ("host", "127.0.0.1")])
    assert_problem(answer, 400, "invalid_host")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:9", "LOCALHOST:8000", "[::1]:8000"])
async def test_loopback_is_served_locally(api: httpx.AsyncClient, host: str) -> None:
    assert (await api.get(MOVIES, headers={"host": host})).status_code == 200


async def test_links_never_follow_the_host(open_api: OpenApi) -> None:
    async with open_api(MOVIE_PUBLIC_URL="https://movies.example.com", MOVIE_ALLOWED_HOSTS="*") as api:
        answer = await api.get(MOVIES, headers={"host": "evil.test", "x-forwarded-host": "evil.test"})
        assert answer.json()["page_info"]["next"].startswith("https://movies.example.com/api/v1/movies/?")
        assert "evil" not in answer.text + str(answer.headers)


async def test_a_probe_may_use_any_name(api: httpx.AsyncClient) -> None:
    assert (await api.get("/health/live", headers={"host": "10.1.2.3:8000"})).status_code == 200


async def test_a_target_of_8_kib_is_the_limit(api: httpx.AsyncClient) -> None:
    fits = f"{MOVIES}?x={'a' * (8192 - len(MOVIES) - 3)}"
    assert len(fits) == 8192
    assert (await api.get(fits)).status_code == 200
    assert_problem(await api.get(fits + "a"), 414, "uri_too_long")


async def test_100_headers_and_16_kib_of_them_are_the_limit(api: httpx.AsyncClient) -> None:
    few = [(f"x-{number}", "1") for number in range(100 - 5)]  # httpx sends five of its own
    assert (await api.get(MOVIES, headers=few)).status_code == 200
    assert_problem(await api.get(MOVIES, headers=[*few, ("x-more", "1")]), 431, "headers_too_large")
    assert_problem(await api.get(MOVIES, headers={"x-long": "a" * 16 * 1024}), 431, "headers_too_large")
    assert (await api.get(MOVIES, headers={"x-long": "a" * 15 * 1024})).status_code == 200


async def test_a_path_that_does_not_exist_is_a_problem_document(api: httpx.AsyncClient) -> None:
    for path in (
        "/nothing",
        "/api/v1/nothing/",
        "/admin/",
        "/.env",
        "/%FF",
        "/docs/assets/../../etc/passwd",
        "/docs/assets/no.js",
    ):
        assert_problem(await api.get(path), 404, "not_found")


async def test_one_request_is_one_line_without_what_was_looked_for(
    api: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "movie_api.access"):
        await api.get(f"{MOVIES}?query=secret", headers={"authorization": "Bearer canary"})
        await api.get("/a%0Ab%1B%5B0m")
    lines = [record.getMessage() for record in caplog.records if record.name == "movie_api.access"]
    assert len(lines) == 2
    assert re.fullmatch(rf"GET {MOVIES} 404 \d+\.\d ms", lines[0])
    assert "\n" not in lines[1]
    assert "\x1b" not in lines[1]
    assert "canary" not in caplog.text
    assert "secret" not in " ".join(lines)


async def test_cors_is_off_unless_origins_are_set(open_api: OpenApi) -> None:
    async with open_api() as api:
        answer = await api.get(MOVIES, headers={"origin": "https://app.example.com"})
        assert "access-control-allow-origin" not in answer.headers
    async with open_api(MOVIE_CORS_ORIGINS="https://app.example.com") as api:
        for origin, is_allowed in (("https://app.example.com", True), ("https://app.example.com.evil.test", False)):
            answer = await api.get(MOVIES, headers={"origin": origin})
            assert ("access-control-allow-origin" in answer.headers) is is_allowed, origin
