"""Patience around any movie source: one deadline, retries with back-off, and a circuit breaker."""

import asyncio
import contextlib
import functools
import logging
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import TypeVar

import stamina

from movie_adapters.sources.http import SourceFault
from movie_core.errors import FilterUnsupported, MovieNotFound, SourceUnavailable
from movie_core.paging import Window
from movie_core.ports import MovieSource
from movie_core.search.movies import Capability, FoundMovie, Genre, Movie, MoviePage, MovieQuery
from movie_core.search.retry_policy import (
    Admission,
    BreakerState,
    CircuitBreaker,
    Clock,
    LatencyTracker,
    RetryPolicy,
    Snapshot,
)

PROBE_WAIT = 0.03
"""Seconds that a request waits for news while the source is down; a probe that it sent goes on without it."""
MAX_PARALLEL = 3
"""Tries of one request at the same time, all but the last of them hanging."""

_Answer = TypeVar("_Answer")
_log = logging.getLogger(__name__)


class _StillWaiting(Exception):
    """A try seems to hang; another may start beside it."""


class ResilientMovieSource:
    """A `MovieSource` that asks `inner` until it answers, at most `retry_policy.deadline` seconds.

    Faults that are worth it are tried again after a jittered wait, or after the wait that the source asked for; one
    that lies beyond the deadline is answered at once. Once the breaker is open, requests fail at once, and a few calls
    a second look whether the source is back. A call that hangs where others are quick gets company.
    Must be used within a running event loop.
    """

    def __init__(
        self,
        inner: MovieSource,
        retry_policy: RetryPolicy | None = None,
        *,
        clock: Clock = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._inner = inner
        self._retry_policy = retry_policy or RetryPolicy()
        self._clock = clock
        self._chance = chance
        self._breaker = CircuitBreaker(self._retry_policy, clock)
        self._latency = LatencyTracker(clock)
        self._passing = asyncio.Event()
        """Set while the breaker isn't open."""
        self._passing.set()
        self._probes: set[asyncio.Task[object]] = set()
        self.outcomes: Counter[str] = Counter()
        """Calls to the source by how they ended: `answered`, or the kind of the fault."""

    @property
    def name(self) -> str:
        return self._inner.name

    @property
    def capabilities(self) -> frozenset[Capability]:
        return self._inner.capabilities

    async def search(self, query: MovieQuery, window: Window) -> MoviePage:
        return await self._ask(query.needs, functools.partial(self._inner.search, query, window))

    async def get(self, movie_id: str) -> FoundMovie:
        return await self._ask({Capability.DETAILS}, functools.partial(self._inner.get, movie_id))

    async def suggest(self, text: str, limit: int) -> Sequence[Movie]:
        return await self._ask({Capability.SUGGEST}, functools.partial(self._inner.suggest, text, limit))

    async def genres(self) -> Sequence[Genre]:
        return await self._ask({Capability.GENRES}, self._inner.genres)

    def state(self) -> Snapshot:
        """How the source is doing, without asking it."""
        return self._breaker.snapshot()

    async def close(self) -> None:
        """End the probes under way. The inner source stays open."""
        await _end(self._probes)

    async def _ask(
        self, needs: frozenset[Capability] | set[Capability], call: Callable[[], Awaitable[_Answer]]
    ) -> _Answer:
        for ability in sorted(needs - self.capabilities):
            raise FilterUnsupported(f"the source {self.name} can't do {ability}", field=ability)
        until = self._clock() + self._retry_policy.deadline
        match self._breaker.arrive():
            case Admission.ALLOWED:
                return await self._persist(call, until)
            case Admission.TRIAL:
                return await self._try(call, until)
            case Admission.PROBE:
                return await self._probe(call, until)
            case Admission.REJECTED:
                await self._glance()
                return await self._persist(call, until)

    async def _persist(self, call: Callable[[], Awaitable[_Answer]], until: float) -> _Answer:
        """Try until an answer comes, the deadline is near, or the tries are used up."""
        pending: list[asyncio.Task[_Answer]] = []
        failures = 0

        def wait_before_next(error: Exception) -> bool | float:
            nonlocal failures
            if isinstance(error, _StillWaiting):
                self._latency.hung()
                return 0.0
            if not is_worth_another_try(error):
                return False
            failures += 1
            wait = self._retry_policy.wait_after(failures, self._chance())
            if isinstance(error, SourceFault):
                # Who ran into a timeout has waited already.
                wait = max(
                    self._retry_policy.shortest_wait if error.kind == "timeout" else wait, error.asked_wait or 0.0
                )
            return wait if self._clock() + wait < until else False

        try:
            # The deadline is kept by `wait_before_next` and `_try`: stamina's own would be by another clock.
            async for attempt in stamina.retry_context(
                on=wait_before_next, attempts=self._retry_policy.tries, timeout=None
            ):
                with attempt:
                    if attempt.num > 1:
                        await self._turn(until)
                    if not any(_has_answered(task) for task in pending):
                        pending.append(asyncio.create_task(self._try(call, until)))
                    return await _first(pending, self._hangs_after(until) if len(pending) < MAX_PARALLEL else None)
        except _StillWaiting:  # there are no more tries, but those under way may still answer
            return await _first(pending, None)
        finally:
            await _end(pending)
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _hangs_after(self, until: float) -> float | None:
        seconds = self._latency.is_hanging_after()
        return seconds if seconds is not None and self._clock() + 2 * seconds < until else None

    async def _glance(self) -> None:
        """Raises unless the breaker lets requests pass a moment later. A source that may just be unlucky is given that
        moment: a lone client that asks again at once would otherwise be refused hundreds of times until a probe.
        """
        if not self._breaker.is_sure:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PROBE_WAIT):
                    await self._passing.wait()
        if self._breaker.state is BreakerState.OPEN:
            raise _resting()

    async def _turn(self, until: float) -> None:
        """Wait until the breaker lets another try go; raises `SourceUnavailable` when that won't be in time."""
        while (wait := self._breaker.retry()) != 0:
            if wait is None or self._clock() + wait >= until:
                raise _resting()
            await asyncio.sleep(wait)

    async def _try(self, call: Callable[[], Awaitable[_Answer]], until: float) -> _Answer:
        """One call; tells the breaker how it went."""
        began = self._clock()
        try:
            async with asyncio.timeout(max(0.0, min(self._retry_policy.timeout, until - began))):
                answer = await call()
        except TimeoutError:
            self._failed("timeout")
            raise SourceFault("timeout", "did not answer in time") from None
        except MovieNotFound:
            self._answered(began)
            raise
        except SourceUnavailable as error:
            if is_refusal(error):
                self._answered(began)
            else:
                self._failed(error.kind if isinstance(error, SourceFault) else "unknown")
            raise
        self._answered(began)
        return answer

    async def _probe(self, call: Callable[[], Awaitable[_Answer]], until: float) -> _Answer:
        """See whether the source is back; its answer, where it comes at once."""
        probe = asyncio.create_task(self._try(call, until))
        try:
            done, _ = await asyncio.wait({probe}, timeout=PROBE_WAIT)
        except asyncio.CancelledError:
            await _end({probe})
            raise
        if done:
            return probe.result()
        self._probes.add(probe)
        probe.add_done_callback(self._forget)
        raise _resting()

    def _forget(self, probe: "asyncio.Task[object]") -> None:
        self._probes.discard(probe)
        if not probe.cancelled():
            probe.exception()  # the breaker knows already; asyncio would complain of an error that nobody saw

    def _answered(self, began: float) -> None:
        self.outcomes["answered"] += 1
        self._latency.answered(self._clock() - began)
        self._tell(self._breaker.succeeded)

    def _failed(self, kind: str) -> None:
        self.outcomes[kind] += 1
        if kind == "timeout":
            self._latency.hung()
        self._tell(functools.partial(self._breaker.failed, kind))

    def _tell(self, news: Callable[[], None]) -> None:
        before = self._breaker.state
        news()
        now = self._breaker.snapshot()
        if now.state is before:
            return
        if now.state is BreakerState.OPEN:
            self._passing.clear()
            _log.warning(
                "the movie source %s is down: %d failures in a row, the last one %s",
                self.name,
                now.failures,
                now.last_fault,
            )
            return
        self._passing.set()
        if now.state is BreakerState.CLOSED:
            _log.info("the movie source %s is back", self.name)


def is_worth_another_try(error: Exception) -> bool:
    """Whether the same call may succeed a moment later."""
    return error.retryable if isinstance(error, SourceFault) else isinstance(error, SourceUnavailable)


def is_refusal(error: Exception) -> bool:
    """Whether the source is well and just won't answer this call: a status that isn't worth another try."""
    return isinstance(error, SourceFault) and error.kind == "status" and not error.retryable


def _resting() -> SourceFault:
    return SourceFault("resting", "is failing and is given a rest", retryable=False)


async def _first(pending: "list[asyncio.Task[_Answer]]", seconds: float | None) -> _Answer:
    """The first answer of the tries under way, or the error of the newest; what ended leaves the list.

    Raises `_StillWaiting` when there is neither within `seconds`.
    """
    newest, loop = pending[-1], asyncio.get_running_loop()
    end = None if seconds is None else loop.time() + seconds
    while newest in pending:
        left = None if end is None else max(0.0, end - loop.time())
        done, _ = await asyncio.wait(pending, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        if not done:
            raise _StillWaiting
        pending[:] = [task for task in pending if task not in done]
        answered = [task for task in done if _has_answered(task)]
        if answered:
            return answered[0].result()
    return newest.result()


def _has_answered(task: "asyncio.Task[_Answer]") -> bool:
    return task.done() and not task.cancelled() and task.exception() is None


async def _end(tasks: "Collection[asyncio.Task[_Answer]]") -> None:
    """Cancel what still runs, and wait until it is gone."""
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.gather(*tasks, return_exceptions=True)
