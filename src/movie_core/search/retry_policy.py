"""The retry policy, exponential backoff and the circuit breaker of movie sources.

Pure arithmetic over an injected clock (seconds, monotonic).
"""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, StrEnum

MonotonicClock = Callable[[], float]
FAILURE_MAX_AGE = 1.5
"""Seconds after which a failure says nothing about the current state of the source."""


@dataclass(frozen=True, slots=True)
class StatusSet:
    """A set of HTTP statuses, written as `400-409,425,429,5xx`."""

    ranges: tuple[tuple[int, int], ...] = ()
    """Inclusive ranges."""

    @classmethod
    def parse(cls, text: str) -> "StatusSet":
        """Parse single statuses, ranges and classes, separated by commas. Raises `ValueError`."""
        return cls(tuple(_parse_range(part.strip()) for part in text.split(",")))

    def __contains__(self, status: object) -> bool:
        return isinstance(status, int) and any(first <= status <= last for first, last in self.ranges)

    def __str__(self) -> str:
        return ",".join(_format_range(first, last) for first, last in self.ranges)


def _parse_range(text: str) -> tuple[int, int]:
    if len(text) == 3 and text[0] in "12345" and text[1:] == "xx":
        return int(text[0]) * 100, int(text[0]) * 100 + 99
    first, dash, last = text.partition("-")
    numbers = (first, last) if dash else (first, first)
    if not all(len(number) == 3 and number.isascii() and number.isdigit() for number in numbers):
        raise ValueError(f"statuses must be written like 400-409,425,5xx, not {text[:20]!r}")
    low, high = int(numbers[0]), int(numbers[1])
    if not 100 <= low <= high <= 599:
        raise ValueError(f"statuses must be between 100 and 599, the smaller one first, not {text!r}")
    return low, high


def _format_range(first: int, last: int) -> str:
    if first % 100 == 0 and last == first + 99:
        return f"{first // 100}xx"
    return str(first) if first == last else f"{first}-{last}"


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Deadline, timeouts, retries and circuit breaker thresholds of calls to a movie source. Times are seconds.

    With the defaults, 14 attempts that fail within 60 ms each fit the deadline: their backoff takes 1.3 s on average.
    """

    deadline: float = 3.0
    """For a whole request."""
    timeout: float = 0.7
    """For one attempt; the rest of the deadline where that is less."""
    max_attempts: int = 14
    min_backoff: float = 0.025
    max_backoff: float = 0.25
    failures_to_open: int = 50
    """Consecutive failures that open the circuit breaker."""
    seconds_to_open: float = 1.0
    """Seconds of failures without a success that open the circuit breaker."""
    probes_per_second: float = 5.0
    """Calls allowed while the circuit breaker is open; several processes share the rate by dividing it."""
    successes_to_close: int = 5
    """Successes that close a half-open circuit breaker."""
    retry_ratio: float = 0.2
    """Retries per request while the circuit breaker is half open; twice `probes_per_second` are allowed in addition."""

    def backoff(self, failures: int, chance: float) -> float:
        """Seconds to wait after that many failures of one request, from 1; `chance` is a random number from 0 to 1.

        Uniform between `min_backoff` and a ceiling that starts at twice that and grows by a quarter with each failure.
        """
        ceiling = min(self.max_backoff, 2 * self.min_backoff * 1.25 ** min(failures - 1, 50))
        return self.min_backoff + chance * max(0.0, ceiling - self.min_backoff)


class BreakerState(StrEnum):
    CLOSED = "closed"
    """All calls pass. The share of failures does not matter as long as some calls succeed."""
    OPEN = "open"
    """Only probes pass."""
    HALF_OPEN = "half_open"
    """A probe succeeded: requests pass, and retries within a budget."""


class Admission(Enum):
    """Decision of the circuit breaker on a new request."""

    ALLOWED = "allowed"
    PROBE = "probe"
    """One call may be made, but the source failed recently: the request should not wait for its result."""
    TRIAL = "trial"
    """One call may be made, and the source has not failed recently: the request may wait for its result."""
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True)
class CircuitBreakerSnapshot:
    """The state of a circuit breaker, for health checks and metrics."""

    state: BreakerState
    seconds: float
    """Seconds since the state was entered."""
    failures: int
    """Consecutive failures until now."""
    last_fault: str | None
    """The kind of the last failure, even if successes followed."""


class CircuitBreaker:
    """Opens after `failures_to_open` consecutive failures, or after `seconds_to_open` of failures without a success.

    It never opens by the share of failures: half of the calls to this kind of source fail in normal operation. Call
    `admit` for a new request and `retry` before a retry; report the end of each call with `succeeded` or `failed`. A
    cancelled call is not reported, because it says nothing about the source; probes are limited by time and reserve
    nothing, so it has nothing to release either.
    """

    def __init__(self, retry_policy: RetryPolicy, clock: MonotonicClock = time.monotonic) -> None:
        self._retry_policy = retry_policy
        self._clock = clock
        self._state = BreakerState.CLOSED
        self._since = clock()
        self._failures = 0
        self._first_failure_at = 0.0
        self._failed_at = float("-inf")
        self._trial_at = float("-inf")
        self._next_probe = 0.0
        self._successes = 0
        self._budget = 0.0
        self._next_retry = 0.0
        self._last_fault: str | None = None

    @property
    def state(self) -> BreakerState:
        return self._state

    @property
    def is_outage_confirmed(self) -> bool:
        """Whether so many consecutive calls have failed that it cannot be chance."""
        return self._failures >= self._retry_policy.failures_to_open

    def snapshot(self) -> CircuitBreakerSnapshot:
        return CircuitBreakerSnapshot(self._state, self._clock() - self._since, self._failures, self._last_fault)

    def admit(self) -> Admission:
        """Decide on the first attempt of a request."""
        if self._state is BreakerState.OPEN:
            return self._admit_while_open()
        if self._state is BreakerState.HALF_OPEN:
            self._budget = min(self._budget + self._retry_policy.retry_ratio, self._retry_policy.failures_to_open)
        return Admission.ALLOWED

    def _admit_while_open(self) -> Admission:
        if not self._take_probe():
            return Admission.REJECTED
        now = self._clock()
        # Without a recent failure the state of the source is unknown: one request may wait for the result.
        is_unknown = now - max(self._failed_at, self._trial_at) > FAILURE_MAX_AGE
        if is_unknown:
            self._trial_at = now
        return Admission.TRIAL if is_unknown else Admission.PROBE

    def retry(self) -> float | None:
        """Return 0 if a retry is allowed now, the seconds after which to ask again, or None if no retry is allowed."""
        now = self._clock()
        if self._state is BreakerState.CLOSED:
            return 0.0
        if self._state is BreakerState.OPEN:
            if self.is_outage_confirmed:
                return None
            return 0.0 if self._take_probe() else max(self._next_probe - now, 0.001)
        if self._budget >= 1:
            self._budget -= 1
            return 0.0
        if now >= self._next_retry:
            self._next_retry = now + 0.5 / self._retry_policy.probes_per_second
            return 0.0
        return self._next_retry - now

    def succeeded(self) -> None:
        self._failures = 0
        if self._state is BreakerState.OPEN:
            self._successes = 0
            self._budget = 0.0
            self._enter(BreakerState.HALF_OPEN)
        if self._state is BreakerState.HALF_OPEN:
            self._successes += 1
            if self._successes >= self._retry_policy.successes_to_close:
                self._enter(BreakerState.CLOSED)

    def failed(self, fault: str) -> None:
        """Record a failure; `fault` is its kind, for the snapshot."""
        now = self._clock()
        # Two failures with a long gap between them do not prove an outage in between.
        max_gap = self._retry_policy.seconds_to_open + self._retry_policy.timeout
        if self._failures == 0 or now - self._failed_at > max_gap:
            self._first_failure_at = now
        self._failures += 1
        self._failed_at = now
        self._last_fault = fault
        is_down = (
            self._failures >= self._retry_policy.failures_to_open
            or now - self._first_failure_at >= self._retry_policy.seconds_to_open
        )
        if is_down and self._state is not BreakerState.OPEN:
            self._enter(BreakerState.OPEN)
            self._next_probe = now + 1 / self._retry_policy.probes_per_second

    def _take_probe(self) -> bool:
        now = self._clock()
        if now < self._next_probe:
            return False
        self._next_probe = now + 1 / self._retry_policy.probes_per_second
        return True

    def _enter(self, state: BreakerState) -> None:
        self._state = state
        self._since = self._clock()


class LatencyTracker:
    """Tracks recent latencies, to detect calls that hang while others are quick.

    It reports nothing unless the last `WINDOW` seconds contain both `MIN_SAMPLES` successful calls and `MIN_HANGS`
    hanging ones. So a source that became slow as a whole gets no hedged requests.
    """

    WINDOW = 5.0
    MIN_SAMPLES = 50
    MIN_HANGS = 3
    MIN_HEDGE_DELAY = 0.15
    """Seconds: a quicker call never counts as hanging."""

    def __init__(self, clock: MonotonicClock = time.monotonic) -> None:
        self._clock = clock
        self._samples: deque[tuple[float, float]] = deque(maxlen=self.MIN_SAMPLES)
        self._hangs: deque[float] = deque(maxlen=self.MIN_HANGS)

    def succeeded(self, seconds: float) -> None:
        """Record the latency of a successful call."""
        self._samples.append((self._clock(), seconds))

    def hung(self) -> None:
        """Record a call that timed out or needed a hedged request."""
        self._hangs.append(self._clock())

    def hedge_delay(self) -> float | None:
        """Seconds after which a call counts as hanging: 2.5 times the 90th percentile of recent latencies."""
        if len(self._samples) < self.MIN_SAMPLES or len(self._hangs) < self.MIN_HANGS:
            return None
        if min(self._samples[0][0], self._hangs[0]) < self._clock() - self.WINDOW:
            return None
        latencies = sorted(seconds for _, seconds in self._samples)
        return max(self.MIN_HEDGE_DELAY, 2.5 * latencies[self.MIN_SAMPLES * 9 // 10])
