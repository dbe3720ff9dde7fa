"""The Redis client with a scripted server; tests/integration uses real ones."""

import asyncio
import gc
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from redis.exceptions import (
    BusyLoadingError,
    ConnectionError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
)
from tests.support.virtual_time import settle, stall, takes

from movie_adapters.redis.client import CALL_TIMEOUT, CONNECTIONS, PROBE_INTERVAL, QUEUE_SECONDS, RedisClient
from movie_core.errors import StoreUnavailable

ROUND_TRIP = 0.001
"""Seconds in which the server responds."""


class Server:
    """Replaces redis-py: returns each command, or fails or hangs."""

    def __init__(self) -> None:
        self.failure: Exception | None = None
        self.is_frozen = False
        self.commands: list[tuple[Any, ...]] = []
        self.probes = 0
        self.cancelled = 0

    async def __call__(self, *command: Any) -> Any:
        if command[0] == "SET":
            self.probes += 1
        else:
            self.commands.append(command)
        try:
            await asyncio.sleep(3600 if self.is_frozen else ROUND_TRIP)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.failure is not None:
            raise self.failure
        return command


@asynccontextmanager
async def client_and_server(*, call_timeout: float = CALL_TIMEOUT) -> AsyncIterator[tuple[RedisClient, Server]]:
    server = Server()
    client = RedisClient("redis://nowhere.invalid", timeout=call_timeout, wrap_send=lambda _: server)
    try:
        yield client, server
    finally:
        await client.close()


async def test_a_result_is_returned() -> None:
    async with client_and_server() as (client, server):
        assert await client.call("GET", "a") == ("GET", "a")
        assert not client.is_unavailable
        assert server.commands == [("GET", "a")]


async def test_a_script_is_sent_in_full_only_if_the_server_does_not_know_it() -> None:
    async with client_and_server() as (client, server):
        known = "return 1"
        answer = await client.run(known, ["key"], 7)
        assert answer == ("EVALSHA", "e0e1f9fabfc9d4800c877a703b823ac0578ff8db", 1, "key", 7)
        server.failure = NoScriptError()
        with pytest.raises(StoreUnavailable):
            await client.run(known, ["key"], 7)
        assert server.commands[-1] == ("EVAL", known, 1, "key", 7)


@pytest.mark.parametrize(
    "failure",
    [
        ConnectionError(),
        ConnectionRefusedError(),
        ReadOnlyError(),
        OutOfMemoryError(),
        BusyLoadingError(),
        ResponseError("NOREPLICAS Not enough good replicas to write."),
        ResponseError("Error running script: @user_script:1: -READONLY You can't write against a read only replica."),
    ],
)
async def test_after_a_failure_redis_is_not_called_until_a_write_succeeds(
    failure: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with client_and_server() as (client, server):
        server.failure = failure
        for _ in range(20):
            with pytest.raises(StoreUnavailable):
                await client.call("GET", "a")
        assert len(server.commands) == 1
        await asyncio.sleep(3.5 * PROBE_INTERVAL)
        assert (server.probes, client.is_unavailable) == (3, True)
        server.failure = None
        await asyncio.sleep(PROBE_INTERVAL)
        assert (server.probes, client.is_unavailable) == (4, False)
        assert await client.call("GET", "b") == ("GET", "b")
        assert [record.levelno for record in caplog.records] == [logging.WARNING, logging.INFO]


async def test_no_call_waits_for_a_probe() -> None:
    async with client_and_server() as (client, server):
        server.is_frozen = True
        with pytest.raises(StoreUnavailable):
            await client.call("GET", "a")
        await asyncio.sleep(1.01 * PROBE_INTERVAL)
        assert server.probes == 1
        async with takes(0.0):
            with pytest.raises(StoreUnavailable):
                await client.call("GET", "a")
        assert len(server.commands) == 1


async def test_an_error_of_a_single_command_is_no_outage() -> None:
    async with client_and_server() as (client, server):
        server.failure = ResponseError("WRONGTYPE Operation against a key holding the wrong kind of value")
        with pytest.raises(StoreUnavailable):
            await client.call("GET", "a")
        assert not client.is_unavailable


async def test_a_command_to_a_frozen_redis_is_cancelled_after_the_timeout() -> None:
    async with client_and_server() as (client, server):
        server.is_frozen = True
        async with takes(CALL_TIMEOUT):
            with pytest.raises(StoreUnavailable):
                await client.call("GET", "a")
        assert server.cancelled == 1
        assert client.is_unavailable


async def test_a_stalled_process_does_not_treat_redis_as_unavailable() -> None:
    async with client_and_server() as (client, _):
        call = asyncio.create_task(client.call("GET", "a"))
        await settle()
        stall(4 * CALL_TIMEOUT)
        assert await call == ("GET", "a")
        assert not client.is_unavailable


async def test_calls_that_wait_for_a_connection_fail_when_redis_becomes_unavailable() -> None:
    async with client_and_server() as (client, server):
        server.failure = ConnectionError()
        outcomes = await asyncio.gather(*(client.call("GET", n) for n in range(200)), return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {StoreUnavailable}
        assert len(server.commands) == CONNECTIONS


async def test_waiting_for_a_connection_has_a_timeout() -> None:
    async with client_and_server(call_timeout=10 * QUEUE_SECONDS) as (client, server):
        server.is_frozen = True
        stuck = [asyncio.create_task(client.call("GET", n)) for n in range(CONNECTIONS)]
        await settle()
        assert len(server.commands) == CONNECTIONS
        async with takes(QUEUE_SECONDS):
            with pytest.raises(StoreUnavailable, match="too many"):
                await client.call("GET", "one more")
        assert not client.is_unavailable
        await client.close()
        await asyncio.gather(*stuck, return_exceptions=True)


async def test_the_command_of_a_cancelled_call_completes_and_frees_its_connection() -> None:
    async with client_and_server() as (client, server):
        for _ in range(50):
            calls = [asyncio.create_task(client.call("GET", n)) for n in range(2 * CONNECTIONS)]
            await settle()
            for call in calls:
                call.cancel()
            outcomes = await asyncio.gather(*calls, return_exceptions=True)
            assert {type(outcome) for outcome in outcomes} == {asyncio.CancelledError}
        assert server.cancelled == 0
        assert await asyncio.gather(*(client.call("GET", n) for n in range(20))) == [("GET", n) for n in range(20)]


async def test_asyncio_does_not_report_the_error_of_a_cancelled_call(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with client_and_server() as (client, server):
        server.failure = ConnectionError()
        call = asyncio.create_task(client.call("GET", "a"))
        await settle()
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        await asyncio.sleep(2 * ROUND_TRIP)
        gc.collect()
        assert client.is_unavailable, "the failure was not recorded"
        assert [record.levelno for record in caplog.records] == [logging.WARNING]


async def test_closing_cancels_running_calls_and_rejects_later_ones() -> None:
    async with client_and_server() as (client, server):
        server.is_frozen = True
        call = asyncio.create_task(client.call("GET", "a"))
        await settle()
        await client.close()
        with pytest.raises(StoreUnavailable):
            await call
        with pytest.raises(StoreUnavailable):
            await client.call("GET", "a")
        assert not client.is_unavailable
        assert len(server.commands) == 1
