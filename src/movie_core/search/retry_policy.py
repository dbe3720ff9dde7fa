"""How long a failing source is waited for: what is worth another try, the waits between tries, and the circuit breaker
that spares a source that is down. Pure arithmetic over an injected clock (seconds, monotonic).
"""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, StrEnum

Clock = Callable[[], float]
SILENCE = 1.5
"""Seconds after which a failure says nothing any more about the source."""


@dataclass(frozen=True, slots=True)
class StatusSet:
    """A set of HTTP statuses, spelled `400-409,425,429,5xx`."""

    ranges: tuple[tuple[int, int], ...] = ()
    """Inclusive ranges."""

    @classmethod
    def parse(cls, text: str) -> "StatusSet":
        """Single statuses, ranges and classes with commas between; `ValueError` on anything else."""
        return cls(tuple(_parse_range(part.strip()) for part in text.split(",")))

    def __contains__(self, status: object) -> bool:
        return isinstance(status, int) and any(first <= status <= last for first, last in self.ranges)

    def __str__(self) -> str:
        return ",".join(_spell(first, last) for first, last in self.ranges)


def _parse_range(text: str) -> tuple[int, int]:
    if len(text) == 3 and text[0] in "12345" and text[1:] == "xx":
        return int(text[0]) * 100, int(text[0]) * 100 + 99
    first, dash, last = text.partition("-")
    numbers = (first, last) if dash else (first, first)
    if not all(len(number) == 3 and number.isascii() and number.isdigit() for number in numbers):
        raise ValueError(f"statuses are spelled like 400-409,425,5xx, not {text[:20]!r}")
    low, high = int(numbers[0]), int(numbers[1])
    if not 100 <= low <= high <= 599:
        raise ValueError(f"statuses lie between 100 and 599, the smaller one first, unlike {text!r}")
    return low, high


def _spell(first: int, last: int) -> str:
    if first % 100 == 0 and last == first + 99:
        return f"{first // 100}xx"
    return str(first) if first == last else f"{first}-{last}"


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """What a request may spend on a source, and when the source is spared. Times are seconds.

    The defaults let 14 tries that fail within 60 ms each fit the deadline: their waits add up to 1.3 s on average.
    """

    deadline: float = 3.0
    """For a whole request."""
    timeout: float = 0.7
    """For one try; the rest of the deadline where that is less."""
    tries: int = 14
    shortest_wait: float = 0.025
    longest_wait: float = 0.25
    failures_to_open: int = 50
    """Failures in a row that open the breaker."""
    seconds_to_open: float = 1.0
    """Seconds of failures without a success that open the breaker."""
    probes_per_second: float = 5.0
    """Calls that leave while the breaker is open; a number of processes share the figure by dividing it."""
    successes_to_close: int = 5
    """Successes that close a half-open breaker."""
    retry_share: float = 0.2
    """Retries per request while the breaker is half open; twice the probes a second are granted on top."""

    def wait_after(self, failures: int, chance: float) -> float:
        """The back-off after that many failures of one request, from 1; `chance` is even between 0 and 1.

        Even between the shortest wait and a ceiling that begins at twice that and grows by a quarter with each failure.
        """
        ceiling = min(self.longest_wait, 2 * self.shortest_wait * 1.25 ** min(failures - 1, 50))
        return self.shortest_wait + chance * max(0.0, ceiling - self.shortest_wait)


class BreakerState(StrEnum):
    CLOSED = "closed"
    """All calls pass; how many of them fail doesn't matter as long as some succeed."""
    OPEN = "open"
    """Only probes pass."""
    HALF_OPEN = "half_open"
    """A probe succeeded: requests pass, and retries within a budget."""


class Admission(Enum):
    """What a request that arrives may do."""

    ALLOWED = "go"
    PROBE = "probe"
    """One call may leave, but the source failed a moment ago: who asks shouldn't wait for it."""
    TRIAL = "ask"
    """One call may leave, and nothing recent speaks against waiting for its answer."""
    REJECTED = "refused"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A breaker as doctors and health checks see it."""

    state: BreakerState
    seconds: float
    """For so long."""
    failures: int
    """In a row, until now."""
    last_fault: str | None
    """The kind of the last failure, also when successes followed."""


class CircuitBreaker:
    """Opens after `failures_to_open` failures in a row, or when failures went on for `seconds_to_open` without a
    success, never by the share of failures: this kind of source fails half the time when all is well.

    A request that arrives calls `arrive`, one that wants another try `retry`; each call that left ends in `succeeded`,
    `failed`, or, where it tells nothing of the source (cancelled), in neither. Nobody holds a place that a cancelled
    caller could forget to give back: probes are spaced in time.
    """

    def __init__(self, retry_policy: RetryPolicy, clock: Clock = time.monotonic) -> None:
        self._retry_policy = retry_policy
        self._clock = clock
        self._state = BreakerState.CLOSED
        self._since = clock()
        self._failures = 0
        self._run_began = 0.0
        self._failed_at = float("-inf")
        self._asked_at = float("-inf")
        self._next_probe = 0.0
        self._successes = 0
        self._budget = 0.0
        self._next_retry = 0.0
        self._last_fault: str | None = None

    @property
    def state(self) -> BreakerState:
        return self._state

    @property
    def is_sure(self) -> bool:
        """Whether so many calls failed in a row that bad luck is no explanation."""
        return self._failures >= self._retry_policy.failures_to_open

    def snapshot(self) -> Snapshot:
        return Snapshot(self._state, self._clock() - self._since, self._failures, self._last_fault)

    def arrive(self) -> Admission:
        """For a request's first try."""
        if self._state is BreakerState.OPEN:
            return self._arrive_at_open()
        if self._state is BreakerState.HALF_OPEN:
            self._budget = min(self._budget + self._retry_policy.retry_share, self._retry_policy.failures_to_open)
        return Admission.ALLOWED

    def _arrive_at_open(self) -> Admission:
        if not self._take_probe():
            return Admission.REJECTED
        now = self._clock()
        # After a silence nobody knows how the source is; then one request may wait and see, the others may not.
        is_stale = now - max(self._failed_at, self._asked_at) > SILENCE
        if is_stale:
            self._asked_at = now
        return Admission.TRIAL if is_stale else Admission.PROBE

    def retry(self) -> float | None:
        """For another try of a request under way: 0 means go, seconds mean ask again then, None means give up."""
        now = self._clock()
        if self._state is BreakerState.CLOSED:
            return 0.0
        if self._state is BreakerState.OPEN:
            if self.is_sure:
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
        """`fault` names the kind of failure, for the snapshot."""
        now = self._clock()
        # Two failures with silence between them don't tell that the source was down meanwhile.
        silence = self._retry_policy.seconds_to_open + self._retry_policy.timeout
        if self._failures == 0 or now - self._failed_at > silence:
            self._run_began = now
        self._failures += 1
        self._failed_at = now
        self._last_fault = fault
        is_down = (
            self._failures >= self._retry_policy.failures_to_open
            or now - self._run_began >= self._retry_policy.seconds_to_open
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
    """How quick a source is, so that a call that hangs can be told from one that is merely slow.

    Knows nothing unless both hold within the last `MEMORY` seconds: there were `ANSWERS` answers to judge by, and
    `HANGS` calls hung. A source that became slow as a whole is therefore never asked twice.
    """

    MEMORY = 5.0
    ANSWERS = 50
    HANGS = 3
    SHORTEST = 0.15
    """Seconds: a quicker call is never taken for a hanging one."""

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._answers: deque[tuple[float, float]] = deque(maxlen=self.ANSWERS)
        self._hangs: deque[float] = deque(maxlen=self.HANGS)

    def answered(self, seconds: float) -> None:
        self._answers.append((self._clock(), seconds))

    def hung(self) -> None:
        self._hangs.append(self._clock())

    def is_hanging_after(self) -> float | None:
        """Seconds after which a call is taken for hanging: two and a half times what 90 % of answers need."""
        if len(self._answers) < self.ANSWERS or len(self._hangs) < self.HANGS:
            return None
        if min(self._answers[0][0], self._hangs[0]) < self._clock() - self.MEMORY:
            return None
        durations = sorted(seconds for _, seconds in self._answers)
        return max(self.SHORTEST, 2.5 * durations[self.ANSWERS * 9 // 10])
