"""Redis as an optimisation: calls that are over soon, and none at all while Redis is away.

A process has one `RedisClient`, shared by all who can do without Redis: what one of them learns of an outage spares the
others the wait.
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

CALL_TIMEOUT = 0.07
"""Seconds that Redis gets for a call, connecting included."""
PAUSE = 1.0
"""Seconds between two looks at whether Redis is back."""
CONNECTIONS = 8
QUEUE_SECONDS = 0.1
"""How long a call waits for a connection while Redis answers others."""

PREFIX = "movie:"
"""Of keys, where the deployment has set no other."""

_SLICES = 10
_REFUSALS = ("READONLY", "OOM", "NOREPLICAS", "MISCONF", "MASTERDOWN", "CLUSTERDOWN", "BUSY", "LOADING")
"""Errors by which Redis says that it can't serve us at all; others are about the one command. Old servers put them into
the middle of a script's error."""

_log = logging.getLogger(__name__)

Argument = str | bytes | int | float


Send = Callable[..., Coroutine[Any, Any, Any]]


class RedisClient:
    """Calls Redis; every call raises `StoreUnavailable` when it can't be had in time.

    After a failure Redis is left alone: calls fail at once, and a task in the background looks whether Redis can be
    written to again, so that one that is full or read-only stays away too. Nothing connects before the first call.
    Must be used within a running event loop.
    """

    def __init__(
        self,
        url: str,
        *,
        prefix: str = PREFIX,
        timeout: float = CALL_TIMEOUT,
        pause: float = PAUSE,
        around: Callable[[Send], Send] = lambda send: send,
    ) -> None:
        """`url` begins with redis://, rediss:// or unix://. `around` may wrap what sends a command. Keys begin with
        `prefix`: who makes them puts it there."""
        self.prefix = prefix
        self._timeout = timeout
        self._pause = pause
        # The client's own timeouts are off, as they would take a process that was busy for a Redis that isn't there.
        # The older protocol and no driver info: a connection needs no round trip before its first command.
        self._client = Redis.from_url(
            url,
            socket_timeout=None,
            socket_connect_timeout=None,
            retry=Retry(NoBackoff(), 0),
            protocol=2,
            driver_info=None,
        )
        self._send: Send = around(self._client.execute_command)
        # Bounded here and not by the pool, as those who wait for a place must notice that Redis has gone meanwhile.
        self._places = asyncio.Semaphore(CONNECTIONS)
        self._running: set[asyncio.Task[Any]] = set()
        self._looking: asyncio.Task[None] | None = None
        self._is_closed = False

    @property
    def is_away(self) -> bool:
        return self._looking is not None

    async def call(self, *command: Argument) -> Any:
        """The answer to one command, as redis-py gives it without decoding."""
        return await self._bounded(self._send, *command)

    async def run(self, script: str, keys: Sequence[str | bytes], *arguments: Argument) -> Any:
        """What a Lua script returns; it is sent in full only to a server that doesn't know it yet."""
        return await self._bounded(self._run, script, keys, *arguments)

    async def close(self) -> None:
        """Ends calls that are under way."""
        self._is_closed = True
        tasks = [*self._running, *([self._looking] if self._looking is not None else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        with contextlib.suppress(RedisError, OSError):
            await self._client.aclose()

    async def _run(self, script: str, keys: Sequence[str | bytes], *arguments: Argument) -> Any:
        rest = (len(keys), *keys, *arguments)
        try:
            return await self._send("EVALSHA", _digest(script), *rest)
        except NoScriptError:
            return await self._send("EVAL", script, *rest)

    async def _bounded(self, command: Callable[..., Coroutine[Any, Any, Any]], *arguments: Any) -> Any:
        self._refuse_if_away()
        await self._queue()
        try:
            self._refuse_if_away()
            # A task of its own, so that a caller who is cancelled doesn't break off a command half way.
            task = self._begin(command(*arguments))
        except BaseException:
            self._places.release()
            raise
        task.add_done_callback(lambda _: self._places.release())
        await asyncio.wait({task})
        if task.cancelled():
            raise StoreUnavailable("Redis did not answer in time")
        error = task.exception()
        if isinstance(error, (RedisError, OSError)):
            raise StoreUnavailable(f"Redis failed: {type(error).__name__}") from error
        return task.result()

    async def _queue(self) -> None:
        """Take one of the places. In slices, as calls are timed: a process that was busy isn't a queue that is long."""
        if not self._places.locked():
            await self._places.acquire()
            return
        waiting = asyncio.ensure_future(self._places.acquire())
        try:
            for _ in range(_SLICES):
                await asyncio.wait({waiting}, timeout=QUEUE_SECONDS / _SLICES)
                if waiting.done():
                    return
        except asyncio.CancelledError:
            if waiting.done():
                self._places.release()
            raise
        finally:
            waiting.cancel()
        raise StoreUnavailable("there are too many calls of Redis at once")

    def _refuse_if_away(self) -> None:
        if self.is_away or self._is_closed:
            raise StoreUnavailable("Redis is away")

    def _begin(self, call: Coroutine[Any, Any, Any]) -> "asyncio.Task[Any]":
        task = asyncio.get_running_loop().create_task(call)
        self._running.add(task)
        task.add_done_callback(self._landed)
        self._count_down(task, _SLICES)
        return task

    def _count_down(self, task: "asyncio.Task[Any]", left: int) -> None:
        """Cancel what has used up the patience; the client then closes the connection, so that no late answer is taken
        for another call's. In slices: while this process is busy an answer may lie unread for long, and is seen in the
        next turn of the event loop.
        """
        if task.done():
            return
        if left:
            task.get_loop().call_later(self._timeout / _SLICES, self._count_down, task, left - 1)
        else:
            task.cancel()

    def _landed(self, task: "asyncio.Task[Any]") -> None:
        # Also where nobody waits any more: asyncio would complain of an error that nobody saw.
        self._running.discard(task)
        if task.cancelled():
            self._leave("no answer in time")
        elif _is_outage(error := task.exception()):
            self._leave(type(error).__name__)

    def _leave(self, reason: str) -> None:
        if self._looking is None and not self._is_closed:
            _log.warning("Redis is away, so each process goes on alone: %s", reason)
            self._looking = asyncio.get_running_loop().create_task(self._look())

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(self._pause)
            probe = self._begin(self._send("SET", f"{self.prefix}probe", "1", "PX", 10_000))
            await asyncio.wait({probe})
            if not probe.cancelled() and probe.exception() is None:
                self._looking = None
                _log.info("Redis is back")
                return


@cache
def _digest(script: str) -> str:
    """As servers name scripts."""
    return hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest()


def _is_outage(error: BaseException | None) -> bool:
    if type(error) is ResponseError:
        return any(word in str(error) for word in _REFUSALS)
    return isinstance(error, (RedisError, OSError))
