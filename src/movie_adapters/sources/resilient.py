"""Retries, hedged requests and a circuit breaker around any movie source, within one deadline per request."""

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
from movie_core.outage_log import OutageLog
from movie_core.paging import Window
from movie_core.ports import MovieSource
from movie_core.search.decorator import MovieSourceDecorator
from movie_core.search.movies import Capability, FoundMovie, Genre, Movie, MoviePage, MovieQuery
from movie_core.search.retry_policy import (
    Admission,
    BreakerState,
    CircuitBreaker,
    CircuitBreakerSnapshot,
    LatencyTracker,
    MonotonicClock,
    RetryPolicy,
)

PROBE_WAIT = 0.03
"""Seconds that a request waits while the circuit breaker is open; its probe continues in the background."""
MAX_PARALLEL = 3
"""Concurrent attempts of one request: the original and its hedged requests."""

_Result = TypeVar("_Result")
_log = logging.getLogger(__name__)


class _HedgeDue(Exception):
    """No result within the hedge delay: a hedged request may start."""


class ResilientMovieSource(MovieSourceDecorator):
    """A `MovieSource` that retries calls to `inner`, for at most `retry_policy.deadline` seconds per request.

    Retryable faults are retried after an exponential backoff with jitter, or after the source's `Retry-After`. If the
    retry would start after the deadline, the request fails at once. While the circuit breaker is open, requests fail at
    once, except for a few probes per second. A call that takes far longer than recent ones gets a hedged request. Must
    be used within a running event loop.
    """

    def __init__(
        self,
        inner: MovieSource,
        retry_policy: RetryPolicy | None = None,
        *,
        clock: MonotonicClock = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """`clock` returns monotonic seconds; `chance` returns random numbers from 0 to 1 for the jitter."""
        super().__init__(inner)
        self._retry_policy = retry_policy or RetryPolicy()
        self._clock = clock
        self._chance = chance
        self._breaker = CircuitBreaker(self._retry_policy, clock)
        self._latency = LatencyTracker(clock)
        self._outage = OutageLog(
            _log,
            unavailable="movie source %s unavailable: %d consecutive failures, the last one %s",
            recovered=f"movie source {inner.name} available again",
        )
        self._not_open = asyncio.Event()
        """Set while the circuit breaker is not open."""
        self._not_open.set()
        self._probes: set[asyncio.Task[object]] = set()
        self.outcomes: Counter[str] = Counter()
        """Calls to the source by outcome: `success`, or the kind of the fault."""

    async def search(self, query: MovieQuery, window: Window) -> MoviePage:
        return await self._call(query.required_capabilities, functools.partial(self._inner.search, query, window))

    async def get(self, movie_id: str) -> FoundMovie:
        return await self._call({Capability.DETAILS}, functools.partial(self._inner.get, movie_id))

    async def suggest(self, text: str, limit: int) -> Sequence[Movie]:
        return await self._call({Capability.SUGGEST}, functools.partial(self._inner.suggest, text, limit))

    async def genres(self) -> Sequence[Genre]:
        return await self._call({Capability.GENRES}, self._inner.genres)

    def state(self) -> CircuitBreakerSnapshot:
        """The state of the circuit breaker; makes no call."""
        return self._breaker.snapshot()

    async def close(self) -> None:
        """Cancel the running probes. The inner source stays open."""
        await _cancel(self._probes)

    async def _call(
        self, required: frozenset[Capability] | set[Capability], call: Callable[[], Awaitable[_Result]]
    ) -> _Result:
        for capability in sorted(required - self.capabilities):
            raise FilterUnsupported(f"the source {self.name} does not support {capability}", field=capability)
        deadline = self._clock() + self._retry_policy.deadline
        match self._breaker.admit():
            case Admission.ALLOWED:
                return await self._retry(call, deadline)
            case Admission.TRIAL:
                return await self._attempt(call, deadline)
            case Admission.PROBE:
                return await self._probe(call, deadline)
            case Admission.REJECTED:
                await self._wait_while_open()
                return await self._retry(call, deadline)

    async def _retry(self, call: Callable[[], Awaitable[_Result]], deadline: float) -> _Result:
        """Attempt the call until it succeeds, the deadline is near, or all attempts have failed."""
        pending: list[asyncio.Task[_Result]] = []
        failures = 0

        def wait_before_next(error: Exception) -> bool | float:
            nonlocal failures
            if isinstance(error, _HedgeDue):
                self._latency.hung()
                return 0.0
            if not is_retryable(error):
                return False
            failures += 1
            wait = self._retry_policy.backoff(failures, self._chance())
            if isinstance(error, SourceFault):
                # A timeout was itself a long wait, so the minimum backoff suffices.
                wait = max(
                    self._retry_policy.min_backoff if error.kind == "timeout" else wait, error.requested_wait or 0.0
                )
            return wait if self._clock() + wait < deadline else False

        try:
            # `wait_before_next` and `_attempt` enforce the deadline: stamina's own timeout uses another clock.
            async for attempt in stamina.retry_context(
                on=wait_before_next, attempts=self._retry_policy.max_attempts, timeout=None
            ):
                with attempt:
                    if attempt.num > 1:
                        await self._wait_for_retry(deadline)
                    if not any(_has_succeeded(task) for task in pending):
                        pending.append(asyncio.create_task(self._attempt(call, deadline)))
                    return await _first(pending, self._hedge_delay(deadline) if len(pending) < MAX_PARALLEL else None)
        except _HedgeDue:  # no attempts are left, but the running ones may still succeed
            return await _first(pending, None)
        finally:
            await _cancel(pending)
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _hedge_delay(self, deadline: float) -> float | None:
        """Seconds until a hedged request starts; None if too little time would remain before the deadline."""
        seconds = self._latency.hedge_delay()
        return seconds if seconds is not None and self._clock() + 2 * seconds < deadline else None

    async def _wait_while_open(self) -> None:
        """Wait briefly for the circuit breaker to leave the open state; raises `SourceFault` if it does not.

        It waits only while the outage is not confirmed, as the failures may be chance: otherwise a lone client that
        retries at once would be rejected hundreds of times before the next probe.
        """
        if not self._breaker.is_outage_confirmed:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PROBE_WAIT):
                    await self._not_open.wait()
        if self._breaker.state is BreakerState.OPEN:
            raise _circuit_open()

    async def _wait_for_retry(self, deadline: float) -> None:
        """Wait until the circuit breaker allows a retry; raises `SourceFault` if that is after the deadline."""
        while (wait := self._breaker.retry()) != 0:
            if wait is None or self._clock() + wait >= deadline:
                raise _circuit_open()
            await asyncio.sleep(wait)

    async def _attempt(self, call: Callable[[], Awaitable[_Result]], deadline: float) -> _Result:
        """One call; its outcome is reported to the circuit breaker."""
        started_at = self._clock()
        try:
            async with asyncio.timeout(max(0.0, min(self._retry_policy.timeout, deadline - started_at))):
                result = await call()
        except TimeoutError:
            self._record_failure("timeout")
            raise SourceFault("timeout", "did not answer in time") from None
        except MovieNotFound:
            self._record_success(started_at)
            raise
        except SourceUnavailable as error:
            if is_refusal(error):
                self._record_success(started_at)
            else:
                self._record_failure(error.kind if isinstance(error, SourceFault) else "unknown")
            raise
        self._record_success(started_at)
        return result

    async def _probe(self, call: Callable[[], Awaitable[_Result]], deadline: float) -> _Result:
        """Probe the source; return its result if it arrives within `PROBE_WAIT`."""
        probe = asyncio.create_task(self._attempt(call, deadline))
        try:
            done, _ = await asyncio.wait({probe}, timeout=PROBE_WAIT)
        except asyncio.CancelledError:
            await _cancel({probe})
            raise
        if done:
            return probe.result()
        self._probes.add(probe)
        probe.add_done_callback(self._probe_ended)
        raise _circuit_open()

    def _probe_ended(self, probe: "asyncio.Task[object]") -> None:
        self._probes.discard(probe)
        if not probe.cancelled():
            probe.exception()  # recorded by the circuit breaker; asyncio would report it as never retrieved

    def _record_success(self, started_at: float) -> None:
        self.outcomes["success"] += 1
        self._latency.succeeded(self._clock() - started_at)
        self._breaker.succeeded()
        self._log_transition()

    def _record_failure(self, kind: str) -> None:
        self.outcomes[kind] += 1
        if kind == "timeout":
            self._latency.hung()
        self._breaker.failed(kind)
        self._log_transition()

    def _log_transition(self) -> None:
        if self._breaker.state is BreakerState.OPEN:
            self._not_open.clear()
            if not self._outage.is_unavailable:
                snapshot = self._breaker.snapshot()
                self._outage.failed(self.name, snapshot.failures, snapshot.last_fault)
            return
        self._not_open.set()
        if self._breaker.state is BreakerState.CLOSED:
            self._outage.recovered()


def is_retryable(error: Exception) -> bool:
    """Whether a retry of the same call may succeed."""
    return error.retryable if isinstance(error, SourceFault) else isinstance(error, SourceUnavailable)


def is_refusal(error: Exception) -> bool:
    """Whether the source works but rejects this call: an HTTP status that is not retryable."""
    return isinstance(error, SourceFault) and error.kind == "status" and not error.retryable


def _circuit_open() -> SourceFault:
    return SourceFault("circuit_open", "is failing; its circuit breaker is open", retryable=False)


async def _first(pending: "list[asyncio.Task[_Result]]", hedge_delay: float | None) -> _Result:
    """Return the first result of the running attempts, or raise the error of the newest; ended ones leave the list.

    Raises `_HedgeDue` if none has ended within `hedge_delay` seconds.
    """
    newest, loop = pending[-1], asyncio.get_running_loop()
    end = None if hedge_delay is None else loop.time() + hedge_delay
    while newest in pending:
        timeout = None if end is None else max(0.0, end - loop.time())
        done, _ = await asyncio.wait(pending, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        if not done:
            raise _HedgeDue
        pending[:] = [task for task in pending if task not in done]
        succeeded = [task for task in done if _has_succeeded(task)]
        if succeeded:
            return succeeded[0].result()
    return newest.result()


def _has_succeeded(task: "asyncio.Task[_Result]") -> bool:
    return task.done() and not task.cancelled() and task.exception() is None


async def _cancel(tasks: "Collection[asyncio.Task[_Result]]") -> None:
    """Cancel the running tasks and wait until they have ended."""
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.gather(*tasks, return_exceptions=True)
