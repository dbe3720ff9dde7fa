"""An event loop with virtual time: `asyncio.sleep` and timeouts advance a clock instead of blocking.

All async unit tests run in it (see `tests/unit/conftest.py`), except those of the modules in `REAL_TIME`. They take no
time and give the same result on a busy machine. Work in other threads takes no virtual time: the clock stands still
until it has ended.
"""

import asyncio
import selectors
from collections import deque
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor
from contextlib import asynccontextmanager
from typing import Any, TypeVar

T = TypeVar("T")

REAL_TIME = {
    "adapters/observability/test_metrics.py": "processes scrape each other through sockets",
    "adapters/observability/test_tracing.py": "SQLite is called in a thread that the loop does not know",
    "adapters/security/test_argon2.py": "hashes are computed in threads that the loop does not know",
    "worker/test_metrics.py": "metrics are served through a socket",
}
"""Modules of tests/unit that need an ordinary event loop, with the reason."""


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """Its `time()` starts at 0 and jumps to the next timer as soon as nothing else can run."""

    def __init__(self) -> None:
        self.now = 0.0
        self._thread_jobs = 0
        self._idle_waiters: deque[asyncio.Future[None]] = deque()
        super().__init__(_VirtualTimeSelector(self))

    def time(self) -> float:
        return self.now

    def wait_until_idle(self) -> "asyncio.Future[None]":
        """Return a future that completes when every task waits for a timer or for an event that no task will set."""
        waiter = self.create_future()
        self._idle_waiters.append(waiter)
        return waiter

    def skip(self, timeout: float | None) -> bool:
        """Called when nothing is ready. Returns False if only another thread can make progress."""
        if self._thread_jobs:
            return False
        while self._idle_waiters:
            waiter = self._idle_waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return True
        assert timeout is not None, "deadlock: every task waits, and no timer is scheduled"
        self.now += timeout
        return True

    def run_in_executor(self, executor: Executor | None, func: Callable[..., T], *args: Any) -> "asyncio.Future[T]":
        future = super().run_in_executor(executor, func, *args)
        self._thread_jobs += 1
        future.add_done_callback(self._thread_job_ended)
        return future

    async def shutdown_default_executor(self, *args: Any) -> None:
        self._thread_jobs += 1  # joins the threads in a thread of its own
        try:
            await super().shutdown_default_executor(*args)
        finally:
            self._thread_jobs -= 1

    def _thread_job_ended(self, _: "asyncio.Future[Any]") -> None:
        self._thread_jobs -= 1


class _VirtualTimeSelector(selectors.DefaultSelector):
    """Advances the clock of its loop instead of blocking."""

    def __init__(self, loop: VirtualTimeLoop) -> None:
        super().__init__()
        self._loop = loop

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        # The first one wakes up the loop for results of threads.
        if len(self.get_map()):
            raise RuntimeError("virtual time cannot wait for sockets: see `REAL_TIME`")
        return super().register(fileobj, events, data)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        events = super().select(0)
        if events or timeout == 0 or self._loop.skip(timeout):
            return events
        return super().select(None)


async def settle() -> None:
    """Wait until every other task waits for a timer or for something that only the caller will do.

    Takes no virtual time. The one way to let other tasks run first: a number of `asyncio.sleep(0)` depends on how many
    steps these happen to need.
    """
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualTimeLoop)
    await loop.wait_until_idle()


def stall(seconds: float) -> None:
    """Let virtual time pass while no task runs, as in a process that gets no CPU time."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualTimeLoop)
    loop.now += seconds


@asynccontextmanager
async def takes(seconds: float) -> AsyncIterator[None]:
    """Assert that the body takes this virtual time, to the microsecond."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualTimeLoop)
    began = loop.time()
    yield
    assert abs(loop.time() - began - seconds) < 1e-6, f"took {loop.time() - began} s instead of {seconds} s"
