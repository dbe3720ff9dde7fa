import asyncio
import logging
import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from dishka import Provider, Scope, provide
from litestar.routes import HTTPRoute
from litestar.types import Message, Receive, Send
from tests.support.api import MOVIES, SECRET, Api, InMemory, OpenApi, assert_problem

from movie_adapters.settings.settings import Settings
from movie_api.app import create_app
from movie_api.middleware.edge import EdgeMiddleware
from movie_core.discovery.services import Discovery


async def test_a_valid_request_id_is_used_and_another_is_replaced(api: httpx.AsyncClient) -> None:
    assert (await api.get(MOVIES, headers={"x-request-id": "a-B_1."})).headers["x-request-id"] == "a-B_1."
    for invalid in (b"", b"a b", b"a" * 65, "ä".encode(), b"<x>"):
        generated = (await api.get(MOVIES, headers={b"x-request-id": invalid})).headers["x-request-id"]
        assert re.fullmatch(r"[0-9a-f]{32}", generated), invalid


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


async def test_a_request_has_one_log_line_without_the_query(
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


class UnexpectedError(BaseException):
    """An exception outside the `Exception` hierarchy."""


START: Message = {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]}
PARTIAL_BODY: Message = {"type": "http.response.body", "body": b"ab", "more_body": True}
BODY: Message = {"type": "http.response.body", "body": b"abcd", "more_body": False}
ERRORS = [
    ValueError("canary"),
    RecursionError("canary"),
    MemoryError("canary"),
    asyncio.CancelledError("canary"),
    BaseExceptionGroup("canary", [UnexpectedError("canary")]),
    SystemExit("canary"),
    UnexpectedError("canary"),
]


def client_of(*messages: Message | BaseException) -> httpx.AsyncClient:
    """A client of an application that sends these messages, and then raises or returns."""

    async def app(scope: Any, receive: Receive, send: Send) -> None:
        for one in messages:
            if isinstance(one, BaseException):
                raise one
            await send(one)

    edge: Any = EdgeMiddleware(app, public_url="http://127.0.0.1:8000", allowed_hosts=["127.0.0.1"])
    return httpx.AsyncClient(transport=httpx.ASGITransport(edge), base_url="http://127.0.0.1")


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("messages", [[], [START]], ids=["before the start", "after the start"])
async def test_an_unhandled_error_gets_a_response_without_details(
    messages: list[Message], error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    async with client_of(*messages, error) as client:
        response = await client.get(MOVIES, headers={"x-request-id": "r-1"})
    assert assert_problem(response, 500, "internal_error")["request_id"] == "r-1"
    assert "canary" not in response.text + str(response.headers)
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert (record.getMessage(), record.exc_info and record.exc_info[1]) == ("request r-1 failed", error)


@pytest.mark.parametrize("messages", [[], [START]], ids=["nothing", "only the start"])
async def test_an_application_without_a_response_is_an_internal_error(messages: list[Message]) -> None:
    async with client_of(*messages) as client:
        assert_problem(await client.get(MOVIES), 500, "internal_error")


async def test_an_incomplete_response_aborts_the_connection() -> None:
    async with client_of(START, PARTIAL_BODY, UnexpectedError()) as client:
        with pytest.raises(UnexpectedError):  # the server then closes the connection
            await client.get(MOVIES)


async def test_an_error_after_the_response_is_only_logged(caplog: pytest.LogCaptureFixture) -> None:
    async with client_of(START, BODY, ValueError()) as client:
        assert (await client.get(MOVIES)).text == "abcd"
    assert "failed" in caplog.text


async def test_headers_are_added_once_to_a_reused_message() -> None:
    async with client_of(START, BODY) as client:
        ids = [(await client.get(MOVIES)).headers.get_list("x-request-id") for _ in range(2)]
    assert [len(each) for each in ids] == [1, 1]
    assert ids[0] != ids[1]


async def test_a_request_cancelled_by_shutdown_gets_503_with_retry_after() -> None:
    async def app(scope: Any, receive: Receive, send: Send) -> None:
        await asyncio.Event().wait()

    sent: list[Any] = []

    async def send(message: Message) -> None:
        sent.append(message)

    edge: Any = EdgeMiddleware(app, public_url="http://127.0.0.1:8000", allowed_hosts=["127.0.0.1"])
    scope = {"type": "http", "method": "GET", "path": "/", "query_string": b"", "headers": [(b"host", b"127.0.0.1")]}
    running = asyncio.create_task(edge(scope, None, send))
    await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert sent[0]["status"] == 503
    assert b"retry-after" in dict(sent[0]["headers"])
    assert b'"code":"busy"' in sent[1]["body"]


async def test_an_error_in_the_container_gets_a_response(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Provider):
        @provide(scope=Scope.REQUEST, override=True)
        def discovery(self) -> Iterator[Discovery]:
            raise UnexpectedError("canary")
            yield

    settings = Settings.load({"MOVIE_SECRET_KEY": SECRET, "MOVIE_PUBLIC_SEARCH": "true"}, dotenv=None)
    app: Any = create_app(settings, InMemory(), Broken())
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as api:
        response = await api.get(MOVIES)
        assert_problem(response, 500, "internal_error")
        assert "canary" not in response.text
        assert "canary" in caplog.text
        assert (await api.get("/health/live")).status_code == 200


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


async def test_only_the_assets_that_the_docs_load_are_served(api: Api) -> None:
    page = (await api.get("/docs")).text
    loaded = set(re.findall(r"/docs/assets/([\w.-]+)", page))
    for name in (*loaded, "index.html", "oauth2-redirect.html", "swagger-ui.js", "index.j2", "swagger-ui.css.map"):
        assert (await api.get(f"/docs/assets/{name}")).status_code == (200 if name in loaded else 404), name


async def all_responses(api: Api) -> list[httpx.Response]:
    """The responses to every method on every path, on unknown paths, and to rejected requests."""
    link = await api.registered()
    routes = [route for route in api.app.routes if isinstance(route, HTTPRoute)]
    paths = {re.sub(r"\{\w+:\w+\}", "0", route.path) for route in routes}
    paths |= {f"{path}/" for path in paths if path != "/"}
    paths |= {"/nothing", "/docs/assets/", "/docs/assets/swagger-ui.css", "/errors/busy", "/errors/", "/.git/"}
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


def pages(responses: list[httpx.Response]) -> list[httpx.Response]:
    selected = [one for one in responses if one.headers.get("content-type", "").startswith("text/html")]
    assert len(selected) > 12
    return selected


def describe_response(response: httpx.Response) -> str:
    return f"{response.request.method} {response.request.url} {response.status_code}"


async def test_no_response_can_be_sniffed_as_another_type(open_api: OpenApi) -> None:
    """`nosniff` is set, and every text type declares UTF-8; JSON is always UTF-8."""
    async with open_api(MOVIE_LIMIT_LOGIN="off", MOVIE_LIMIT_REGISTER="off", MOVIE_LIMIT_EVENTS="off") as api:
        responses = await all_responses(api)
    assert {200, 204, 400, 401, 404, 405, 414} <= {response.status_code for response in responses}
    for response in responses:
        assert response.headers.get_list("x-content-type-options") == ["nosniff"], describe_response(response)
        media_type = response.headers.get("content-type", "")
        assert media_type or not response.content, describe_response(response)
        if media_type.startswith("text/"):
            assert media_type.endswith("; charset=utf-8"), describe_response(response)


async def test_pages_load_nothing_external_and_send_no_referrer(open_api: OpenApi) -> None:
    async with open_api(MOVIE_LIMIT_LOGIN="off", MOVIE_LIMIT_REGISTER="off", MOVIE_LIMIT_EVENTS="off") as api:
        selected = pages(await all_responses(api))
    for page in selected:
        policy = dict(part.strip().split(" ", 1) for part in page.headers["content-security-policy"].split(";"))
        assert (policy["default-src"], policy["base-uri"]) == ("'none'", "'none'"), describe_response(
            page
        )  # so object-src is, too
        assert policy.get("script-src", "'none'") in ("'self'", "'none'"), describe_response(page)
        assert "unsafe-eval" not in str(policy), describe_response(page)
        assert page.headers["referrer-policy"] == "no-referrer", describe_response(page)
        assert not re.search(r"<(?:object|embed|applet|iframe|frame)\b", page.text), describe_response(page)


async def test_no_response_can_be_framed(open_api: OpenApi) -> None:
    async with open_api(MOVIE_LIMIT_LOGIN="off", MOVIE_LIMIT_REGISTER="off", MOVIE_LIMIT_EVENTS="off") as api:
        for response in await all_responses(api):
            (policy,) = response.headers.get_list("content-security-policy")
            assert "frame-ancestors 'none'" in policy, describe_response(response)


async def test_no_response_under_a_mailed_link_sends_a_referrer(api: Api) -> None:
    link = await api.registered()
    for path in (link, link.replace("verify-email", "password/reset"), f"{link}x/"):
        for accept in ("text/html", "application/json"):
            for method in ("GET", "POST", "DELETE"):
                response = await api.request(method, path, headers={"accept": accept})
                assert response.headers.get_list("referrer-policy") == ["no-referrer"], describe_response(response)


async def test_no_response_redirects_sets_a_cookie_or_lists_a_folder(open_api: OpenApi) -> None:
    async with open_api(MOVIE_LIMIT_LOGIN="off", MOVIE_LIMIT_REGISTER="off", MOVIE_LIMIT_EVENTS="off") as api:
        responses = await all_responses(api)
        folders = [await api.get(path) for path in ("/docs/assets/", "/errors/", "/dashboard/assets/", "/.git/")]
    for response in responses:
        assert not 300 <= response.status_code < 400, describe_response(response)
        assert not {"location", "refresh", "set-cookie"} & set(response.headers), describe_response(response)
        assert 'http-equiv="refresh"' not in response.text, describe_response(response)
    assert [response.status_code for response in folders] == [404] * 4


async def test_trace_is_not_supported(open_api: OpenApi) -> None:
    async with open_api(MOVIE_LIMIT_LOGIN="off", MOVIE_LIMIT_REGISTER="off", MOVIE_LIMIT_EVENTS="off") as api:
        traced = [response for response in await all_responses(api) if response.request.method == "TRACE"]
    assert len(traced) > 40
    for response in traced:
        assert response.status_code in (404, 405), describe_response(response)
        assert "accept" not in response.text, describe_response(response)


async def test_every_rejected_request_is_logged(open_api: OpenApi, caplog: pytest.LogCaptureFixture) -> None:
    async with open_api(MOVIE_LIMIT_REGISTER="1/minute", MOVIE_PUBLIC_SEARCH="false") as api:
        register, ann = "/api/v1/authentication/register/", await api.activated()
        with caplog.at_level(logging.INFO, "movie_api.access"):
            for status, method, path, headers in (
                (400, "GET", f"{MOVIES}?limit=0", ann),
                (400, "GET", "/", {"host": "evil.test"}),
                (401, "GET", MOVIES, {}),
                (401, "GET", MOVIES, {"authorization": "Bearer forged"}),
                (403, "GET", "/api/v1/admin/users/", ann),
                (405, "PUT", "/", {}),
                (414, "GET", f"/{'a' * 9000}", {}),
                (415, "POST", "/api/v1/authentication/login/", {"content-type": "text/plain"}),
                (429, "POST", register, {"content-type": "application/json"}),
            ):
                assert (await api.request(method, path, headers=headers)).status_code == status, path
                record = caplog.records[-1]
                shown = path.partition("?")[0][:100]
                assert record.getMessage().startswith(f"{method} {shown}"), record.getMessage()
                assert f" {status} " in record.getMessage()
                assert record.user_id == (caplog.records[0].user_id if headers is ann else None)  # type: ignore[attr-defined]
        assert re.fullmatch(r"[0-9a-f]{32}", caplog.records[0].user_id)  # type: ignore[attr-defined]
