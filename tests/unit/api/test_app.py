import re

import httpx
import pytest
from tests.support.api import MOVIES, Api, OpenApi, assert_problem


async def test_a_path_that_does_not_exist_is_a_problem_document(api: httpx.AsyncClient) -> None:
    for path in (
        "/nothing",
        "/api/v1/nothing/",
        "/admin/",
        "/.env",
        "/%FF",
        "/docs/assets/../../etc/passwd",
        "/docs/assets/no.js",
        "/api/v1/authentication/password/reset/a%2Fb/c/",
    ):
        assert_problem(await api.get(path), 404, "not_found")


ORIGIN = "https://app.example.com"


OTHER_ORIGINS = [
    "https://evil.test",
    "null",
    "https://app.example.com.evil.test",
    "https://evil-app.example.com",
    "https://evilapp.example.com",
    "https://evil.test/https://app.example.com",
    "https://app.example.com@evil.test",
    "https://app.example.com:8443",
    "https://app.example.com/",
    "https://app-example.com",
    "https://appxexample.com",
    "http://app.example.com",
    "https://app.example.com, https://evil.test",
    "https://app.example.com\thttps://evil.test",
    "https://example.com",
    "*",
    "",
]


PREFLIGHT = {"access-control-request-method": "PUT", "access-control-request-headers": "authorization,content-type"}


async def test_cors_is_off_unless_origins_are_set(open_api: OpenApi) -> None:
    async with open_api() as api:
        for origin in (ORIGIN, *OTHER_ORIGINS):
            for response in (
                await api.get(MOVIES, headers={"origin": origin}),
                await api.options(MOVIES, headers={"origin": origin} | PREFLIGHT),
            ):
                assert not [name for name in response.headers if name.startswith("access-control-")], origin


async def test_an_allowed_origin_may_send_a_token_and_read_errors(open_api: OpenApi) -> None:
    async with open_api(MOVIE_CORS_ORIGINS=f"https://other.example.com,{ORIGIN}", MOVIE_PUBLIC_SEARCH="false") as api:
        preflight = await api.options(MOVIES, headers={"origin": ORIGIN} | PREFLIGHT)
        assert (preflight.status_code, preflight.headers["access-control-allow-origin"]) == (204, ORIGIN)
        assert "authorization" in preflight.headers["access-control-allow-headers"].lower()
        rejected = await api.get(MOVIES, headers={"origin": ORIGIN})
        assert_problem(rejected, 401, "not_authenticated")
        for response in (preflight, rejected):
            assert response.headers["access-control-allow-origin"] == ORIGIN
            assert "origin" in response.headers["vary"].lower()
            assert "access-control-allow-credentials" not in response.headers


@pytest.mark.parametrize("origin", OTHER_ORIGINS)
async def test_no_similar_origin_is_allowed(open_api: OpenApi, origin: str) -> None:
    async with open_api(MOVIE_CORS_ORIGINS=ORIGIN) as api:
        for response in (
            await api.get(MOVIES, headers={"origin": origin}),
            await api.get(f"{MOVIES}?limit=0", headers={"origin": origin}),
            await api.get("/nothing", headers={"origin": origin}),
            await api.options(MOVIES, headers={"origin": origin} | PREFLIGHT),
        ):
            assert "access-control-allow-origin" not in response.headers
            assert "access-control-allow-credentials" not in response.headers


async def test_only_the_assets_that_the_docs_load_are_served(api: Api) -> None:
    page = (await api.get("/docs")).text
    loaded = set(re.findall(r"/docs/assets/([\w.-]+)", page))
    for name in (*loaded, "index.html", "oauth2-redirect.html", "swagger-ui.js", "index.j2", "swagger-ui.css.map"):
        assert (await api.get(f"/docs/assets/{name}")).status_code == (200 if name in loaded else 404), name
