import httpx
import pytest
from tests.support.api import MOVIES, OpenApi, assert_problem


@pytest.mark.parametrize("path", [MOVIES, "/nothing", "/", "/docs"])
async def test_an_unknown_host_is_rejected(api: httpx.AsyncClient, path: str) -> None:
    for host in ("evil.test", "127.0.0.1.evil.test", "evil.test:8000"):
        assert_problem(await api.get(path, headers={"host": host}), 400, "invalid_host")


@pytest.mark.parametrize("host", ["", "a/b", "user@127.0.0.1", "127.0.0.1:99999", "127.0.0.1:x", "127.0.0.1:", "a b"])
async def test_a_malformed_host_is_rejected(api: httpx.AsyncClient, host: str) -> None:
    for path in (MOVIES, "/health/live"):
        assert_problem(await api.get(path, headers={"host": host}), 400, "invalid_host")


async def test_two_host_headers_are_rejected(api: httpx.AsyncClient) -> None:
    response = await api.get(MOVIES, headers=[("host", "127.0.0.1"), ("host", "127.0.0.1")])
    assert_problem(response, 400, "invalid_host")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:9", "LOCALHOST:8000", "[::1]:8000"])
async def test_loopback_is_served_locally(api: httpx.AsyncClient, host: str) -> None:
    assert (await api.get(MOVIES, headers={"host": host})).status_code == 200


async def test_links_do_not_depend_on_the_host_header(open_api: OpenApi) -> None:
    async with open_api(MOVIE_PUBLIC_URL="https://movies.example.com", MOVIE_ALLOWED_HOSTS="*") as api:
        response = await api.get(MOVIES, headers={"host": "evil.test", "x-forwarded-host": "evil.test"})
        assert response.json()["page_info"]["next"].startswith("https://movies.example.com/api/v1/movies/?")
        assert "evil" not in response.text + str(response.headers)


async def test_probes_may_use_any_host(api: httpx.AsyncClient) -> None:
    assert (await api.get("/health/live", headers={"host": "10.1.2.3:8000"})).status_code == 200
