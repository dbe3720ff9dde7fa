import asyncio
import gc
import re
from collections.abc import Sequence
from functools import partial

import httpx
import pytest
from litestar.routes import HTTPRoute
from litestar.types import HTTPScope, Receive, Send
from tests.support.api import MOVIES, Api, OpenApi, with_layers
from tests.support.virtual_time import VirtualTimeLoop

from movie_api.middleware import send_response
from movie_api.middleware.cors import CorsPolicy
from movie_api.middleware.last_resort import LastResort
from movie_api.middleware.limits import SizeLimits
from movie_api.middleware.response_headers import ResponseHeaders


async def test_hsts_is_sent_if_the_public_url_is_https(open_api: OpenApi) -> None:
    async with open_api(MOVIE_PUBLIC_URL="https://movies.example.com") as api:
        for path in ("/", "/health/live", "/nothing", MOVIES, "/docs", "/api/v1/users/me/"):
            response = await api.get(path, headers={"host": "movies.example.com"})
            assert response.headers["strict-transport-security"] == "max-age=31536000; includeSubDomains", path
        assert "strict-transport-security" in (await api.get("/", headers={"host": "evil.test"})).headers
    async with open_api() as api:
        assert "strict-transport-security" not in (await api.get("/")).headers


async def test_no_page_can_be_framed(api: Api) -> None:
    paths = {route.path for route in api.app.routes if isinstance(route, HTTPRoute) and "{" not in route.path}
    assert {"/", "/docs", "/dashboard"} <= paths
    link = await api.registered()
    mailed = [link, link.replace("verify-email", "password/reset"), f"{link}x/"]
    assets = [f"/docs/assets/{name}" for name in ("index.html", "oauth2-redirect.html", "swagger-ui.css")]
    pages = 0
    for path in (*sorted(paths), "/errors/busy", "/errors/none", *mailed, *assets):
        for method in ("GET", "POST"):
            response = await api.request(method, path, headers={"accept": "text/html"})
            if response.headers.get("content-type", "").startswith("text/html"):
                pages += 1
                assert "frame-ancestors 'none'" in response.headers["content-security-policy"], path
    assert pages >= 8


async def all_responses(api: Api) -> list[httpx.Response]:
    """The responses to every method on every path, on unknown paths, and to rejected requests."""
    link = await api.registered()
    routes = [route for route in api.app.routes if isinstance(route, HTTPRoute)]
    paths = {re.sub(r"\{\w+:\w+\}", "0", route.path) for route in routes}
    paths |= {f"{path}/" for path in paths if path != "/"}
    paths |= {
        "/nothing",
        "/docs/assets/",
        "/docs/assets/swagger-ui.css",
        "/errors/busy",
        "/errors/",
        "/dashboard/assets/",
        "/.git/",
    }
    paths |= {link, link.replace("verify-email", "password/reset"), f"{MOVIES}201/"}
    preflight = [
        (method, path, {"accept": "text/html"} if path == link or method == "GET" else {})
        for path in sorted(paths)
        for method in ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "TRACE")
    ]
    responses = [await api.request(method, path, headers=headers) for method, path, headers in preflight]
    responses.append(await api.get("/", headers={"host": "evil.test"}))
    responses.append(await api.get(f"/{'a' * 9000}"))
    responses += [await api.get(f"{MOVIES}?query=river") for _ in range(4)]  # the last ones from the response cache
    return responses


@pytest.fixture(scope="module")
def responses(open_api: OpenApi) -> Sequence[httpx.Response]:
    """`all_responses`, which are hundreds, once for all tests of them."""

    async def request() -> Sequence[httpx.Response]:
        async with open_api(MOVIE_LIMIT_LOGIN="off", MOVIE_LIMIT_REGISTER="off", MOVIE_LIMIT_EVENTS="off") as api:
            return await all_responses(api)

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(request())


def pages(responses: Sequence[httpx.Response]) -> list[httpx.Response]:
    selected = [one for one in responses if one.headers.get("content-type", "").startswith("text/html")]
    assert len(selected) > 12
    return selected


def describe_response(response: httpx.Response) -> str:
    return f"{response.request.method} {response.request.url} {response.status_code}"


def test_no_response_can_be_sniffed_as_another_type(responses: Sequence[httpx.Response]) -> None:
    """`nosniff` is set, and every text type declares UTF-8; JSON is always UTF-8."""
    assert {200, 204, 400, 401, 404, 405, 414} <= {response.status_code for response in responses}
    for response in responses:
        assert response.headers.get_list("x-content-type-options") == ["nosniff"], describe_response(response)
        media_type = response.headers.get("content-type", "")
        assert media_type or not response.content, describe_response(response)
        if media_type.startswith("text/"):
            assert media_type.endswith("; charset=utf-8"), describe_response(response)


def test_pages_load_nothing_external_and_send_no_referrer(responses: Sequence[httpx.Response]) -> None:
    for page in pages(responses):
        policy = dict(part.strip().split(" ", 1) for part in page.headers["content-security-policy"].split(";"))
        assert (policy["default-src"], policy["base-uri"]) == ("'none'", "'none'"), describe_response(
            page
        )  # so object-src is, too
        assert policy.get("script-src", "'none'") in ("'self'", "'none'"), describe_response(page)
        assert "unsafe-eval" not in str(policy), describe_response(page)
        assert page.headers["referrer-policy"] == "no-referrer", describe_response(page)
        assert not re.search(r"<(?:object|embed|applet|iframe|frame)\b", page.text), describe_response(page)


def test_no_response_can_be_framed(responses: Sequence[httpx.Response]) -> None:
    for response in responses:
        (policy,) = response.headers.get_list("content-security-policy")
        assert "frame-ancestors 'none'" in policy, describe_response(response)


async def test_no_response_under_a_mailed_link_sends_a_referrer(api: Api) -> None:
    link = await api.registered()
    for path in (link, link.replace("verify-email", "password/reset"), f"{link}x/"):
        for accept in ("text/html", "application/json"):
            for method in ("GET", "POST", "DELETE"):
                response = await api.request(method, path, headers={"accept": accept})
                assert response.headers.get_list("referrer-policy") == ["no-referrer"], describe_response(response)


def test_no_response_redirects_sets_a_cookie_or_lists_a_folder(responses: Sequence[httpx.Response]) -> None:
    folders = {"/docs/assets/", "/errors/", "/dashboard/assets/", "/.git/"}
    listed = {response.url.path: response.status_code for response in responses if response.request.method == "GET"}
    for response in responses:
        assert not 300 <= response.status_code < 400, describe_response(response)
        assert not {"location", "refresh", "set-cookie"} & set(response.headers), describe_response(response)
        assert 'http-equiv="refresh"' not in response.text, describe_response(response)
    assert {listed[path] for path in folders} == {404}


def test_trace_is_not_supported(responses: Sequence[httpx.Response]) -> None:
    traced = [response for response in responses if response.request.method == "TRACE"]
    assert len(traced) > 40
    for response in traced:
        assert response.status_code in (404, 405), describe_response(response)
        assert "accept" not in response.text, describe_response(response)


async def test_a_request_leaves_no_reference_cycle() -> None:
    """Collecting garbage after each few requests would cost several percent of a cached search."""

    async def app(scope: HTTPScope, receive: Receive, send: Send) -> None:
        await send_response(send, 204, [], b"")

    layers = with_layers(app, partial(ResponseHeaders, public_url="", cors=CorsPolicy()), LastResort, SizeLimits)

    async def send(_scope: object, _message: object) -> None:
        pass

    gc.collect()
    gc.disable()
    try:
        for _ in range(100):
            scope = {"type": "http", "method": "GET", "path": "/", "query_string": b"", "headers": []}
            await layers(scope, None, partial(send, scope))  # refers to the scope, like that of the server
        assert gc.collect() < 100
    finally:
        gc.enable()
