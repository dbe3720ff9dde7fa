import asyncio
import logging
from collections.abc import Iterator
from functools import partial
from typing import Any

import httpx
import pytest
from dishka import Provider, Scope, provide
from litestar.types import Message, Receive, Send
from tests.support.api import MOVIES, PUBLIC_URL, SECRET, InMemory, assert_problem, with_layers
from tests.support.virtual_time import settle

from movie_adapters.settings.settings import Settings
from movie_api.app import create_app
from movie_api.middleware.cors import CorsPolicy
from movie_api.middleware.last_resort import LastResort
from movie_api.middleware.response_headers import ResponseHeaders
from movie_core.discovery.services import Discovery


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


def layered(app: Any) -> Any:
    """The application in the layers that complete its responses."""
    return with_layers(app, partial(ResponseHeaders, public_url=PUBLIC_URL, cors=CorsPolicy()), LastResort)


def client_of(*messages: Message | BaseException) -> httpx.AsyncClient:
    """A client of an application that sends these messages, and then raises or returns."""

    async def app(scope: Any, receive: Receive, send: Send) -> None:
        for one in messages:
            if isinstance(one, BaseException):
                raise one
            await send(one)

    return httpx.AsyncClient(transport=httpx.ASGITransport(layered(app)), base_url="http://127.0.0.1")


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

    scope = {"type": "http", "method": "GET", "path": "/", "query_string": b"", "headers": []}
    running = asyncio.create_task(layered(app)(scope, None, send))
    await settle()
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
