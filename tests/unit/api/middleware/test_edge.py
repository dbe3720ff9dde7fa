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
from tests.unit.api.conftest import SECRET, Api, InMemory, OpenApi
from tests.unit.api.routes.test_movies import MOVIES, assert_problem

from movie_adapters.settings.settings import Settings
from movie_api.app import create_app
from movie_api.middleware.edge import Guard
from movie_core.discovery.services import Discovery


async def test_a_request_id_is_taken_over_or_made(api: httpx.AsyncClient) -> None:
    assert (await api.get(MOVIES, headers={"x-request-id": "a-B_1."})).headers["x-request-id"] == "a-B_1."
    for odd in (b"", b"a b", b"a" * 65, "ä".encode(), b"<x>"):
        made = (await api.get(MOVIES, headers={b"x-request-id": odd})).headers["x-request-id"]
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


ORIGIN = "https://app.example.com"
STRANGERS = [
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
        for origin in (ORIGIN, *STRANGERS):
            for answer in (
                await api.get(MOVIES, headers={"origin": origin}),
                await api.options(MOVIES, headers={"origin": origin} | PREFLIGHT),
            ):
                assert not [name for name in answer.headers if name.startswith("access-control-")], origin


async def test_pages_of_an_allowed_origin_may_call_with_a_token_and_read_errors(open_api: OpenApi) -> None:
    async with open_api(MOVIE_CORS_ORIGINS=f"https://other.example.com,{ORIGIN}", MOVIE_PUBLIC_SEARCH="false") as api:
        asked = await api.options(MOVIES, headers={"origin": ORIGIN} | PREFLIGHT)
        assert (asked.status_code, asked.headers["access-control-allow-origin"]) == (204, ORIGIN)
        assert "authorization" in asked.headers["access-control-allow-headers"].lower()
        refused = await api.get(MOVIES, headers={"origin": ORIGIN})
        assert_problem(refused, 401, "not_authenticated")
        for answer in (asked, refused):
            assert answer.headers["access-control-allow-origin"] == ORIGIN
            assert "origin" in answer.headers["vary"].lower()
            assert "access-control-allow-credentials" not in answer.headers


@pytest.mark.parametrize("origin", STRANGERS)
async def test_no_trick_makes_another_origin_an_allowed_one(open_api: OpenApi, origin: str) -> None:
    async with open_api(MOVIE_CORS_ORIGINS=ORIGIN) as api:
        for answer in (
            await api.get(MOVIES, headers={"origin": origin}),
            await api.get(f"{MOVIES}?limit=0", headers={"origin": origin}),
            await api.get("/nothing", headers={"origin": origin}),
            await api.options(MOVIES, headers={"origin": origin} | PREFLIGHT),
        ):
            assert "access-control-allow-origin" not in answer.headers
            assert "access-control-allow-credentials" not in answer.headers


class Escape(BaseException):
    """What nobody expects."""


START: Message = {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]}
PART: Message = {"type": "http.response.body", "body": b"ab", "more_body": True}
WHOLE: Message = {"type": "http.response.body", "body": b"abcd", "more_body": False}
ESCAPES = [
    ValueError("canary"),
    RecursionError("canary"),
    MemoryError("canary"),
    asyncio.CancelledError("canary"),
    BaseExceptionGroup("canary", [Escape("canary")]),
    SystemExit("canary"),
    Escape("canary"),
]


def guarded(*said: Message | BaseException) -> httpx.AsyncClient:
    """A client of an application that says just this, and then raises or returns."""

    async def app(scope: Any, receive: Receive, send: Send) -> None:
        for one in said:
            if isinstance(one, BaseException):
                raise one
            await send(one)

    guard: Any = Guard(app, public_url="http://127.0.0.1:8000", allowed_hosts=["127.0.0.1"])
    return httpx.AsyncClient(transport=httpx.ASGITransport(guard), base_url="http://127.0.0.1")


@pytest.mark.parametrize("error", ESCAPES, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("said", [[], [START]], ids=["at once", "after the head"])
async def test_whatever_escapes_is_answered_without_details(
    said: list[Message], error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    async with guarded(*said, error) as client:
        answer = await client.get(MOVIES, headers={"x-request-id": "r-1"})
    assert assert_problem(answer, 500, "internal_error")["request_id"] == "r-1"
    assert "canary" not in answer.text + str(answer.headers)
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert (record.getMessage(), record.exc_info and record.exc_info[1]) == ("request r-1 failed", error)


@pytest.mark.parametrize("said", [[], [START]], ids=["nothing", "a head alone"])
async def test_an_application_that_gives_no_answer_is_a_bug(said: list[Message]) -> None:
    async with guarded(*said) as client:
        assert_problem(await client.get(MOVIES), 500, "internal_error")


async def test_a_part_of_an_answer_does_not_pass_for_the_whole() -> None:
    async with guarded(START, PART, Escape()) as client:
        with pytest.raises(Escape):  # the server ends the connection then
            await client.get(MOVIES)


async def test_what_fails_after_the_answer_changes_nothing_of_it(caplog: pytest.LogCaptureFixture) -> None:
    async with guarded(START, WHOLE, ValueError()) as client:
        assert (await client.get(MOVIES)).text == "abcd"
    assert "failed" in caplog.text


async def test_a_message_that_is_sent_again_is_dressed_once() -> None:
    async with guarded(START, WHOLE) as client:
        ids = [(await client.get(MOVIES)).headers.get_list("x-request-id") for _ in range(2)]
    assert [len(each) for each in ids] == [1, 1]
    assert ids[0] != ids[1]


async def test_a_request_that_has_to_end_with_the_process_is_told_to_come_back() -> None:
    async def app(scope: Any, receive: Receive, send: Send) -> None:
        await asyncio.Event().wait()

    sent: list[Any] = []

    async def send(message: Message) -> None:
        sent.append(message)

    guard: Any = Guard(app, public_url="http://127.0.0.1:8000", allowed_hosts=["127.0.0.1"])
    scope = {"type": "http", "method": "GET", "path": "/", "query_string": b"", "headers": [(b"host", b"127.0.0.1")]}
    running = asyncio.create_task(guard(scope, None, send))
    await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert sent[0]["status"] == 503
    assert b"retry-after" in dict(sent[0]["headers"])
    assert b'"code":"busy"' in sent[1]["body"]


async def test_what_escapes_the_container_is_answered(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Provider):
        @provide(scope=Scope.REQUEST, override=True)
        def discovery(self) -> Iterator[Discovery]:
            raise Escape("canary")
            yield

    settings = Settings.load({"MOVIE_SECRET_KEY": SECRET, "MOVIE_PUBLIC_SEARCH": "true"}, dotenv=None)
    app: Any = create_app(settings, InMemory(), Broken())
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as api:
        answer = await api.get(MOVIES)
        assert_problem(answer, 500, "internal_error")
        assert "canary" not in answer.text
        assert "canary" in caplog.text
        assert (await api.get("/health/live")).status_code == 200


async def test_browsers_come_by_https_alone_where_the_public_url_is_https(open_api: OpenApi) -> None:
    async with open_api(MOVIE_PUBLIC_URL="https://movies.example.com") as api:
        for path in ("/", "/health/live", "/nothing", MOVIES, "/docs", "/api/v1/users/me/"):
            answer = await api.get(path, headers={"host": "movies.example.com"})
            assert answer.headers["strict-transport-security"] == "max-age=31536000; includeSubDomains", path
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
            answer = await api.request(method, path, headers={"accept": "text/html"})
            if answer.headers.get("content-type", "").startswith("text/html"):
                pages += 1
                assert "frame-ancestors 'none'" in answer.headers["content-security-policy"], path
    assert pages >= 8


async def test_only_the_files_that_the_documentation_loads_are_served(api: Api) -> None:
    page = (await api.get("/docs")).text
    loaded = set(re.findall(r"/docs/assets/([\w.-]+)", page))
    for name in (*loaded, "index.html", "oauth2-redirect.html", "swagger-ui.js", "index.j2", "swagger-ui.css.map"):
        assert (await api.get(f"/docs/assets/{name}")).status_code == (200 if name in loaded else 404), name


async def everything(api: Api) -> list[httpx.Response]:
    """An answer of each method to each path there is, to some that there are not, and to requests that are refused."""
    link = await api.registered()
    routes = [route for route in api.app.routes if isinstance(route, HTTPRoute)]
    paths = {re.sub(r"\{\w+:\w+\}", "0", route.path) for route in routes}
    paths |= {f"{path}/" for path in paths if path != "/"}
    paths |= {"/nothing", "/docs/assets/", "/docs/assets/swagger-ui.css", "/errors/busy", "/errors/", "/.git/"}
    paths |= {link, link.replace("verify-email", "password/reset"), f"{MOVIES}201/"}
    asked = [
        (method, path, {"accept": "text/html"} if path == link or method == "GET" else {})
        for path in sorted(paths)
        for method in ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "TRACE")
    ]
    answers = [await api.request(method, path, headers=headers) for method, path, headers in asked]
    answers.append(await api.get("/", headers={"host": "evil.test"}))
    answers.append(await api.get(f"/{'a' * 9000}"))
    answers += [await api.get(f"{MOVIES}?query=river") for _ in range(4)]  # the last ones by the fast lane
    return answers


def pages(answers: list[httpx.Response]) -> list[httpx.Response]:
    found = [one for one in answers if one.headers.get("content-type", "").startswith("text/html")]
    assert len(found) > 12
    return found


def told(answer: httpx.Response) -> str:
    return f"{answer.request.method} {answer.request.url} {answer.status_code}"


async def test_no_answer_may_be_taken_for_another_type(open_api: OpenApi) -> None:
    """Nothing is sniffed, and each text says that it is UTF-8; JSON can be nothing else."""
    async with open_api(MOVIE_LIMIT_LOGIN="off", MOVIE_LIMIT_REGISTER="off", MOVIE_LIMIT_EVENTS="off") as api:
        answers = await everything(api)
    assert {200, 204, 400, 401, 404, 405, 414} <= {answer.status_code for answer in answers}
    for answer in answers:
        assert answer.headers.get_list("x-content-type-options") == ["nosniff"], told(answer)
        media_type = answer.headers.get("content-type", "")
        assert media_type or not answer.content, told(answer)
        if media_type.startswith("text/"):
            assert media_type.endswith("; charset=utf-8"), told(answer)


async def test_pages_load_nothing_but_our_own_and_tell_nobody_where_they_are(open_api: OpenApi) -> None:
    async with open_api(MOVIE_LIMIT_LOGIN="off", MOVIE_LIMIT_REGISTER="off", MOVIE_LIMIT_EVENTS="off") as api:
        found = pages(await everything(api))
    for page in found:
        policy = dict(part.strip().split(" ", 1) for part in page.headers["content-security-policy"].split(";"))
        assert (policy["default-src"], policy["base-uri"]) == ("'none'", "'none'"), told(page)  # so object-src is, too
        assert policy.get("script-src", "'none'") in ("'self'", "'none'"), told(page)
        assert "unsafe-eval" not in str(policy), told(page)
        assert page.headers["referrer-policy"] == "no-referrer", told(page)
        assert not re.search(r"<(?:object|embed|applet|iframe|frame)\b", page.text), told(page)


async def test_no_answer_can_be_framed(open_api: OpenApi) -> None:
    async with open_api(MOVIE_LIMIT_LOGIN="off", MOVIE_LIMIT_REGISTER="off", MOVIE_LIMIT_EVENTS="off") as api:
        for answer in await everything(api):
            (policy,) = answer.headers.get_list("content-security-policy")
            assert "frame-ancestors 'none'" in policy, told(answer)


async def test_no_answer_under_a_mailed_link_sends_a_referrer(api: Api) -> None:
    link = await api.registered()
    for path in (link, link.replace("verify-email", "password/reset"), f"{link}x/"):
        for accept in ("text/html", "application/json"):
            for method in ("GET", "POST", "DELETE"):
                answer = await api.request(method, path, headers={"accept": accept})
                assert answer.headers.get_list("referrer-policy") == ["no-referrer"], told(answer)


async def test_no_answer_leads_elsewhere_sets_a_cookie_or_lists_a_folder(open_api: OpenApi) -> None:
    async with open_api(MOVIE_LIMIT_LOGIN="off", MOVIE_LIMIT_REGISTER="off", MOVIE_LIMIT_EVENTS="off") as api:
        answers = await everything(api)
        folders = [await api.get(path) for path in ("/docs/assets/", "/errors/", "/dashboard/assets/", "/.git/")]
    for answer in answers:
        assert not 300 <= answer.status_code < 400, told(answer)
        assert not {"location", "refresh", "set-cookie"} & set(answer.headers), told(answer)
        assert 'http-equiv="refresh"' not in answer.text, told(answer)
    assert [answer.status_code for answer in folders] == [404] * 4


async def test_trace_is_answered_nowhere(open_api: OpenApi) -> None:
    async with open_api(MOVIE_LIMIT_LOGIN="off", MOVIE_LIMIT_REGISTER="off", MOVIE_LIMIT_EVENTS="off") as api:
        traced = [answer for answer in await everything(api) if answer.request.method == "TRACE"]
    assert len(traced) > 40
    for answer in traced:
        assert answer.status_code in (404, 405), told(answer)
        assert "accept" not in answer.text, told(answer)


async def test_what_is_refused_has_a_line_in_the_log(open_api: OpenApi, caplog: pytest.LogCaptureFixture) -> None:
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
