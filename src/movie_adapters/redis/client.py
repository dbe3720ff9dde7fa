"""Redis as an optional dependency: calls have a short timeout, and fail at once while Redis is unavailable.

A process has one `RedisClient`, shared by all components that can work without Redis: after one of them has detected an
outage, the others do not wait for a timeout.
"""

import asyncio
import contextlib
import hashlib
import logging
from collections.abc import Callable, Coroutine, Sequence
from functools import cache
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError, ResponseError

from movie_core.errors import StoreUnavailable
from movie_core.outage_log import OutageLog
from movie_core.single_flight import SingleFlight

CALL_TIMEOUT = 0.07
"""Timeout of a call in seconds, including the connect."""
PROBE_INTERVAL = 1.0
"""Seconds between two probes while Redis is unavailable."""
CONNECTIONS = 8
"""Maximum number of concurrent calls."""
QUEUE_SECONDS = 0.1
"""How long a call waits for a connection of the pool while Redis responds to others."""

PREFIX = "movie:"
"""The default key prefix of a deployment."""

_SLICES = 10
"""Number of short timers into which each timeout is divided, see `_cancel_after`."""
_OUTAGE_ERRORS = ("READONLY", "OOM", "NOREPLICAS", "MISCONF", "MASTERDOWN", "CLUSTERDOWN", "BUSY", "LOADING")
"""Errors that mean Redis cannot serve any write; other errors concern a single command. Old servers put them into the
middle of a script's error."""

_log = logging.getLogger(__name__)

Argument = str | bytes | int | float


Send = Callable[..., Coroutine[Any, Any, Any]]


class RedisClient:
    """Calls Redis with a timeout; every call raises `StoreUnavailable` when Redis does not respond in time.

    After a failure, calls fail at once, and a background task probes Redis with a write, so that a full or read-only
    Redis counts as unavailable too. Nothing connects before the first call. Must be used within a running event loop.
    """

    def __init__(
        self,
        url: str,
        *,
        prefix: str = PREFIX,
        timeout: float = CALL_TIMEOUT,
        probe_interval: float = PROBE_INTERVAL,
        queue_timeout: float = QUEUE_SECONDS,
        wrap_send: Callable[[Send], Send] = lambda send: send,
    ) -> None:
        """`url` begins with redis://, rediss:// or unix://. `probe_interval` is in seconds, and so is
        `queue_timeout`, the time to wait for a free connection. `wrap_send` may wrap the function that sends a command.
        Callers must prepend `prefix` to their keys."""
        self.prefix = prefix
        self._timeout = timeout
        self._probe_interval = probe_interval
        self._queue_timeout = queue_timeout
        # redis-py's own timeouts are off: they would mistake a busy process for an unavailable Redis.
        # Protocol 2 without driver info: a connection needs no round trip before its first command.
        self._client = Redis.from_url(
            url,
            socket_timeout=None,
            socket_connect_timeout=None,
            retry=Retry(NoBackoff(), 0),
            protocol=2,
            driver_info=None,
        )
        self._send: Send = wrap_send(self._client.execute_command)
        # Limited here instead of by the pool: calls that wait for a connection must notice an outage.
        self._free_connections = asyncio.Semaphore(CONNECTIONS)
        self._running: set[asyncio.Task[Any]] = set()
        self._outage = OutageLog(
            _log,
            unavailable="Redis unavailable, each process works without it: %s",
            recovered="Redis available again",
        )
        self._probes: SingleFlight[None] = SingleFlight()
        self._is_closed = False

    @property
    def is_unavailable(self) -> bool:
        """Whether Redis is unavailable."""
        return self._outage.is_unavailable

    async def call(self, *command: Argument) -> Any:
        """Run one command; returns redis-py's result, not decoded."""
        return await self._bounded(self._send, *command)

    async def run(self, script: str, keys: Sequence[str | bytes], *arguments: Argument) -> Any:
        """Run a Lua script; its text is sent only to a server that has not cached it yet."""
        return await self._bounded(self._run, script, keys, *arguments)

    async def close(self) -> None:
        """Cancel running calls; later ones raise `StoreUnavailable`."""
        self._is_closed = True
        await self._probes.close()
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        with contextlib.suppress(RedisError, OSError):
            await self._client.aclose()

    async def _run(self, script: str, keys: Sequence[str | bytes], *arguments: Argument) -> Any:
        parameters = (len(keys), *keys, *arguments)
        try:
            return await self._send("EVALSHA", _digest(script), *parameters)
        except NoScriptError:
            return await self._send("EVAL", script, *parameters)

    async def _bounded(self, command: Callable[..., Coroutine[Any, Any, Any]], *arguments: Any) -> Any:
        self._fail_if_unavailable()
        await self._acquire_connection()
        try:
            self._fail_if_unavailable()
            # A separate task: cancelling the caller must not abort a command half way.
            task = self._start(command(*arguments))
        except BaseException:
            self._free_connections.release()
            raise
        task.add_done_callback(lambda _: self._free_connections.release())
        await asyncio.wait({task})
        if task.cancelled():
            raise StoreUnavailable("Redis did not answer in time")
        error = task.exception()
        if isinstance(error, (RedisError, OSError)):
            raise StoreUnavailable(f"Redis failed: {type(error).__name__}") from error
        return task.result()

    async def _acquire_connection(self) -> None:
        """Wait for a free connection. In slices, so that a stall of this process does not use up the whole time."""
        if not self._free_connections.locked():
            await self._free_connections.acquire()
            return
        waiting = asyncio.ensure_future(self._free_connections.acquire())
        try:
            for _ in range(_SLICES):
                await asyncio.wait({waiting}, timeout=self._queue_timeout / _SLICES)
                if waiting.done():
                    return
        except asyncio.CancelledError:
            if waiting.done():
                self._free_connections.release()
            raise
        finally:
            waiting.cancel()
        raise StoreUnavailable("too many concurrent calls to Redis")

    def _fail_if_unavailable(self) -> None:
        if self.is_unavailable or self._is_closed:
            raise StoreUnavailable("Redis is unavailable")

    def _start(self, call: Coroutine[Any, Any, Any]) -> "asyncio.Task[Any]":
        task = asyncio.get_running_loop().create_task(call)
        self._running.add(task)
        task.add_done_callback(self._ended)
        self._cancel_after(task, _SLICES)
        return task

    def _cancel_after(self, task: "asyncio.Task[Any]", slices: int) -> None:
        """Cancel a call after its timeout.

        redis-py then closes the connection, so that no late response is read as that of another call. In slices, so
        that after a stall of this process a response that has arrived meanwhile is read first.
        """
        if task.done():
            return
        if slices:
            task.get_loop().call_later(self._timeout / _SLICES, self._cancel_after, task, slices - 1)
        else:
            task.cancel()

    def _ended(self, task: "asyncio.Task[Any]") -> None:
        # The error is retrieved even if the caller was cancelled: asyncio would report it as never retrieved.
        self._running.discard(task)
        if task.cancelled():
            self._failed("timeout")
        elif _is_outage(error := task.exception()):
            self._failed(type(error).__name__)

    def _failed(self, reason: str) -> None:
        if not self._is_closed:
            self._outage.failed(reason)
            self._probes.start("probe", self._probe_until_available)

    async def _probe_until_available(self) -> None:
        while True:
            await asyncio.sleep(self._probe_interval)
            probe = self._start(self._send("SET", f"{self.prefix}probe", "1", "PX", 10_000))
            await asyncio.wait({probe})
            if not probe.cancelled() and probe.exception() is None:
                self._outage.recovered()
                return


@cache
def _digest(script: str) -> str:
    """The SHA-1 by which the server identifies a script."""
    return hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest()


def _is_outage(error: BaseException | None) -> bool:
    if type(error) is ResponseError:
        return any(word in str(error) for word in _OUTAGE_ERRORS)
    return isinstance(error, (RedisError, OSError))
