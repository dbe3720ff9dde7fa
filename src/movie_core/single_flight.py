"""Single-flight: concurrent calls for the same key share one execution."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

T = TypeVar("T")


class SingleFlight(Generic[T]):
    """Runs at most one call per key at a time; concurrent callers get the same result or error.

    A call runs in a task of its own: it continues when the caller that started it is cancelled. Must be used within a
    running event loop.
    """

    def __init__(self) -> None:
        self._tasks: dict[Hashable, asyncio.Task[T]] = {}

    def __contains__(self, key: Hashable) -> bool:
        """Whether a call for this key is running."""
        task = self._tasks.get(key)
        return task is not None and not task.done()

    def start(self, key: Hashable, call: Callable[[], Awaitable[T]], *, ttl: float = 0.0) -> asyncio.Task[T]:
        """Return the running task for this key, or start one. Its result is shared for `ttl` more seconds after it
        ends. Unless `join` is called, asyncio reports an unretrieved error of the
        task.
        """
        task = self._tasks.get(key)
        # A task that has just ended may still be stored: a caller in a loop would get its result again and again.
        if task is None or (task.done() and not ttl):
            task = self._tasks[key] = asyncio.ensure_future(_run(call))
            task.add_done_callback(lambda done: self._ended(key, done, ttl))
        return task

    async def join(self, key: Hashable, call: Callable[[], Awaitable[T]], *, ttl: float = 0.0) -> T:
        """Wait for the result of `start`. Cancelling the caller does not cancel the call."""
        task = self.start(key, call, ttl=ttl)
        task.add_done_callback(_retrieve)
        return await asyncio.shield(task)

    async def close(self) -> None:
        """Cancel the running calls and wait until they have ended."""
        tasks = list(self._tasks.values())
        self._tasks.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _ended(self, key: Hashable, task: "asyncio.Task[T]", ttl: float) -> None:
        if ttl:
            task.get_loop().call_later(ttl, self._remove, key, task)
        else:
            self._remove(key, task)

    def _remove(self, key: Hashable, task: "asyncio.Task[T]") -> None:
        if self._tasks.get(key) is task:
            del self._tasks[key]


async def _run(call: Callable[[], Awaitable[T]]) -> T:
    return await call()


def _retrieve(task: "asyncio.Task[T]") -> None:
    # All callers may have been cancelled: asyncio would report the error as never retrieved.
    if not task.cancelled():
        task.exception()
