"""Work that many callers ask for at the same time is done once."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

T = TypeVar("T")


class SingleFlight(Generic[T]):
    """At most one call per key under way: who comes meanwhile gets the same answer or error. A call outlives whoever
    started it. Must be used within a running event loop.
    """

    def __init__(self) -> None:
        self._tasks: dict[Hashable, asyncio.Task[T]] = {}

    def __contains__(self, key: Hashable) -> bool:
        task = self._tasks.get(key)
        return task is not None and not task.done()

    def start(self, key: Hashable, call: Callable[[], Awaitable[T]], *, ttl: float = 0.0) -> asyncio.Task[T]:
        """The call under way, or one that begins now. What it ended with counts as under way for `ttl` seconds."""
        task = self._tasks.get(key)
        # One that has just ended may still be here: who waited for it without waiting would come back for ever.
        if task is None or (task.done() and not ttl):
            task = self._tasks[key] = asyncio.ensure_future(_run(call))
            task.add_done_callback(lambda done: self._landed(key, done, ttl))
        return task

    async def join(self, key: Hashable, call: Callable[[], Awaitable[T]], *, ttl: float = 0.0) -> T:
        return await asyncio.shield(self.start(key, call, ttl=ttl))

    async def close(self) -> None:
        """Cancel what is under way, and wait until it has ended."""
        tasks = list(self._tasks.values())
        self._tasks.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _landed(self, key: Hashable, task: "asyncio.Task[T]", ttl: float) -> None:
        if not task.cancelled():
            task.exception()  # all who wait may have left: asyncio would complain of an error that nobody saw
        if ttl:
            task.get_loop().call_later(ttl, self._forget, key, task)
        else:
            self._forget(key, task)

    def _forget(self, key: Hashable, task: "asyncio.Task[T]") -> None:
        if self._tasks.get(key) is task:
            del self._tasks[key]


async def _run(call: Callable[[], Awaitable[T]]) -> T:
    return await call()
