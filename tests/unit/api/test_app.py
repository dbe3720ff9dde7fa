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
                assert "vary" not in response.headers


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
            assert response.headers["access-control-allow-credentials"] == "true"


async def test_scripts_of_an_allowed_origin_may_read_the_headers_of_every_response(open_api: OpenApi) -> None:
    exposed = "Link, ETag, Age, Cache-Status, RateLimit, RateLimit-Policy, Retry-After, X-Request-ID, Location"
    async with open_api(MOVIE_CORS_ORIGINS=ORIGIN, MOVIE_ALLOWED_HOSTS="127.0.0.1") as api:
        for response in (
            await api.get(MOVIES, headers={"origin": ORIGIN}),
            await api.get(f"{MOVIES}?query=zzqxj", headers={"origin": ORIGIN}),
            await api.get(f"{MOVIES}?q=1", headers={"origin": ORIGIN}),
            await api.get("/nothing", headers={"origin": ORIGIN}),
            await api.get(MOVIES, headers={"origin": ORIGIN, "x-long": "a" * 17_000}),
            await api.get(MOVIES, headers={"origin": ORIGIN, "host": "other.test"}),
            await api.put(MOVIES, headers={"origin": ORIGIN}),
            await api.get("/openapi.json", headers={"origin": ORIGIN}),
        ):
            assert response.headers["access-control-expose-headers"] == exposed, response.url
            assert response.headers["access-control-allow-origin"] == ORIGIN, response.url


async def test_a_cache_does_not_reuse_a_response_for_another_origin(open_api: OpenApi) -> None:
    async with open_api(MOVIE_CORS_ORIGINS=ORIGIN) as api:
        for headers in ({}, {"origin": ORIGIN}, {"origin": "https://evil.test"}):
            for path in (MOVIES, "/openapi.json", "/nothing"):
                assert "Origin" in (await api.get(path, headers=headers)).headers.get_list("vary"), path
    async with open_api(MOVIE_CORS_ORIGINS="*") as api:
        response = await api.get(MOVIES, headers={"origin": ORIGIN})
        assert response.headers["access-control-allow-origin"] == "*"
        assert "access-control-allow-credentials" not in response.headers
        assert "vary" not in response.headers


@pytest.mark.parametrize("origins", ["", ORIGIN])
async def test_a_preflight_of_another_origin_is_rejected_with_a_problem_document(
    open_api: OpenApi, origins: str
) -> None:
    async with open_api(MOVIE_CORS_ORIGINS=origins) as api:
        for path in (MOVIES, "/nothing", "/api/v1/users/me/"):
            response = await api.options(path, headers={"origin": "https://evil.test"} | PREFLIGHT)
            assert "MOVIE_CORS_ORIGINS" in str(assert_problem(response, 403, "origin_not_allowed")["detail"])
            assert not [name for name in response.headers if name.startswith("access-control-")]


async def test_a_preflight_names_the_requested_headers(open_api: OpenApi) -> None:
    async with open_api(MOVIE_CORS_ORIGINS=ORIGIN) as api:
        for requested, allowed in (
            ("authorization,content-type,if-none-match,traceparent",) * 2,
            ("authorization, x-requested-with",) * 2,
            ("", "authorization, content-type"),
            ("a b", "authorization, content-type"),
            ("x-a,\tx-b", "x-a,\tx-b"),
            ("x-a\x00", "authorization, content-type"),
        ):
            headers = {"origin": ORIGIN} | PREFLIGHT | {"access-control-request-headers": requested}
            response = await api.options(MOVIES, headers=headers)
            assert response.headers["access-control-allow-headers"] == allowed
            assert (response.status_code, response.content) == (204, b"")
            assert "PATCH" in response.headers["access-control-allow-methods"]
            assert int(response.headers["access-control-max-age"]) > 0


async def test_a_preflight_to_another_host_is_rejected_for_its_host(open_api: OpenApi) -> None:
    async with open_api(MOVIE_CORS_ORIGINS=ORIGIN) as api:
        response = await api.options(MOVIES, headers={"origin": ORIGIN, "host": "evil.test"} | PREFLIGHT)
        assert_problem(response, 400, "invalid_host")


async def test_an_options_request_without_preflight_headers_lists_the_methods(open_api: OpenApi) -> None:
    async with open_api(MOVIE_CORS_ORIGINS=ORIGIN) as api:
        for headers in ({}, {"origin": ORIGIN}, {"origin": "https://evil.test"}):
            response = await api.options(MOVIES, headers=headers)
            assert (response.status_code, response.headers["allow"]) == (204, "GET, OPTIONS, HEAD")


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
