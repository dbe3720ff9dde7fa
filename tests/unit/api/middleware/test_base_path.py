"""A public URL with a path, whether the reverse proxy removes it or not."""

import re
from typing import Any

import pytest
from tests.support.api import ANN, AUTHENTICATION, MOVIES, OpenApi, Page

from movie_api.middleware.base_path import BasePath

PUBLIC_URL = "https://example.org/movies"
HOSTS = "example.org,127.0.0.1"
PAGES = ("/", "/docs", "/dashboard", "/errors/busy")


@pytest.mark.parametrize("prefix", ["", "/movies"])
async def test_every_route_works_with_and_without_the_path(open_api: OpenApi, prefix: str) -> None:
    async with open_api(MOVIE_PUBLIC_URL=PUBLIC_URL, MOVIE_ALLOWED_HOSTS=HOSTS) as api:
        for path in (
            *PAGES,
            "/openapi.json",
            "/style.css",
            MOVIES,
            MOVIES.rstrip("/"),
            f"{MOVIES}201/",
            "/health/live",
        ):
            assert (await api.get(prefix + path)).status_code == 200, path
        assert (await api.get(f"{prefix}/nothing")).status_code == 404
        page = (await api.get(f"{prefix}{MOVIES}?query=river")).json()
        assert page["page_info"]["next"].startswith(f"{PUBLIC_URL}{MOVIES}?")
        assert (await api.get("/openapi.json")).json()["servers"] == [{"url": PUBLIC_URL}]
        problem = (await api.get(f"{prefix}{MOVIES}?limit=0")).json()
        assert problem["type"] == f"{PUBLIC_URL}/errors/invalid_offset_or_limit"
        for path in ("/api/v1/users/me/", f"{AUTHENTICATION}sessions/"):
            assert (await api.get(prefix + path)).headers.get_list("cache-control") == ["no-store"]
        link = await api.get(f"{prefix}{AUTHENTICATION}verify-email/a/b/")
        assert link.headers["referrer-policy"] == "no-referrer"


async def test_the_path_alone_is_the_start_page(open_api: OpenApi) -> None:
    async with open_api(MOVIE_PUBLIC_URL=PUBLIC_URL, MOVIE_ALLOWED_HOSTS=HOSTS) as api:
        for path in ("/movies", "/movies/", "/"):
            assert "<title>Movie Search</title>" in (await api.get(path)).text
        assert (await api.get("/moviesque")).status_code == 404
        assert (await api.get("/movies/movies/docs")).status_code == 404


async def test_links_of_pages_begin_with_the_path(open_api: OpenApi) -> None:
    async with open_api(MOVIE_PUBLIC_URL=PUBLIC_URL, MOVIE_ALLOWED_HOSTS=HOSTS) as api:
        assert (await api.post(f"{AUTHENTICATION}register/", json=ANN)).status_code == 201
        link = (await api.emails())[-1].links[0]
        assert link.startswith(f"{PUBLIC_URL}{AUTHENTICATION}verify-email/")
        path = link.removeprefix("https://example.org")
        html = {"accept": "text/html"}
        activated = await api.post(path, data={"password": ANN["password"]}, headers=html)
        assert "is active" in activated.text
        invalid = await api.get(f"{AUTHENTICATION}verify-email/a/b/", headers=html)
        for response in [await api.get(page) for page in PAGES] + [activated, invalid]:
            page = Page(response)
            urls = [url for _, attributes in page.elements for name in ("href", "src") if (url := attributes.get(name))]
            assert urls, response.url
            for url in urls:
                assert url.startswith(("/movies/", "data:")), url
                if url.startswith("/movies/"):
                    assert (await api.get(url)).status_code in (200, 503), url
            assert not re.findall(r"(?:POST|GET) /api", response.text)


async def test_scripts_find_the_api_relative_to_themselves(open_api: OpenApi) -> None:
    async with open_api() as api:
        for path in ("/dashboard/app.js", "/docs/start.js"):
            assert not re.findall(r"[\"'`]/(?:api|openapi|docs)", (await api.get(path)).text), path


@pytest.mark.parametrize(
    ("setting", "link"),
    [
        ("", "/movies/"),
        ("/app/", "/movies/app/"),
        ("https://app.example.com", "https://app.example.com"),
        ("https://app.example.com/#/login?from=mail", "https://app.example.com/#/login?from=mail"),
    ],
)
async def test_account_pages_send_users_to_the_application(open_api: OpenApi, setting: str, link: str) -> None:
    environ = {"MOVIE_PUBLIC_URL": PUBLIC_URL, "MOVIE_ALLOWED_HOSTS": HOSTS, "MOVIE_APP_URL": setting}
    async with open_api(**environ) as api:
        path = (await api.registered()).removeprefix("https://example.org")
        for _ in range(2):  # activated, then already active
            response = await api.post(path, data={"password": ANN["password"]}, headers={"accept": "text/html"})
            assert link in [anchor["href"] for anchor in Page(response).all("a")]
        await api.post(f"{AUTHENTICATION}password/forgot/", json={"email": ANN["email"]})
        reset = (await api.newest_link()).removeprefix("https://example.org")
        response = await api.post(reset, data={"password": "granite lantern mosaic ferry"})
        assert link in [anchor["href"] for anchor in Page(response).all("a")]


@pytest.mark.parametrize(
    ("public_url", "path", "expected"),
    [
        ("https://x.test", "/movies/docs", "/movies/docs"),
        ("https://x.test/api", "/api/v1/movies/", "/api/v1/movies/"),
        ("https://x.test/api", "/api/api/v1/movies/", "/api/v1/movies/"),
        ("https://x.test/api", "/api/docs", "/docs"),
        ("https://x.test/api", "/api", "/"),
        ("https://x.test/a/b/", "/a/b/docs", "/docs"),
        ("https://x.test/a/b", "/a/docs", "/a/docs"),
        ("https://x.test/f%C3%BCr", "/für/docs", "/docs"),
        ("https://x.test/movies", "/movies-docs", "/movies-docs"),
    ],
)
def test_the_path_is_removed_once(public_url: str, path: str, expected: str) -> None:
    scope: Any = {"path": path, "raw_path": path.replace("ü", "%C3%BC").encode()}
    BasePath(public_url, ["/", "/api/v1/movies", "/docs"]).remove_from(scope)
    assert (scope["path"], scope["raw_path"]) == (expected, expected.encode())
    scope = {"path": path}  # a server may leave the raw path out
    BasePath(public_url, ["/", "/api/v1/movies", "/docs"]).remove_from(scope)
    assert scope == {"path": expected}
