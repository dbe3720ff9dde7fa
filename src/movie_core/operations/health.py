"""Readiness: whether the dependencies of a process are reachable, and what the process can serve without them."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from movie_core.errors import Unavailable
from movie_core.single_flight import SingleFlight

CHECK_SECONDS = 4.0
"""Timeout of one check."""
CACHE_SECONDS = 0.5
"""Time for which results are cached, so that frequent probes put no load on the dependencies."""


@dataclass(frozen=True, slots=True)
class Dependency:
    """A dependency of a process, such as a database."""

    name: str
    check: Callable[[], Awaitable[str]]
    """Connects to the dependency and returns a short description of its state; raises `Unavailable` if it fails."""
    advice: str
    """What an operator can do if the dependency is unreachable."""
    is_required: bool = False
    """Whether nothing can be served without it."""


@dataclass(frozen=True, slots=True)
class CheckResult:
    """Result of a check. `detail` contains no address and no secret."""

    dependency: Dependency
    is_reachable: bool
    detail: str


class Status(StrEnum):
    """The readiness of a process."""

    READY = "ready"
    DEGRADED = "degraded"
    """A dependency is unavailable, and requests are served without it."""
    UNAVAILABLE = "unavailable"
    """Nothing can be served."""


class Readiness:
    """A readiness probe: checks all dependencies concurrently. Concurrent callers share one round of checks."""

    def __init__(self, dependencies: Sequence[Dependency], clock: Callable[[], float] = time.monotonic) -> None:
        self.dependencies = tuple(dependencies)
        self._clock = clock
        self._rounds: SingleFlight[tuple[CheckResult, ...]] = SingleFlight()
        self._results: tuple[CheckResult, ...] | None = None
        self._checked_at = float("-inf")

    async def results(self) -> tuple[CheckResult, ...]:
        """Returns one result per dependency, at most `CHECK_SECONDS` + `CACHE_SECONDS` old."""
        if self._results is not None and self._clock() - self._checked_at <= CACHE_SECONDS:
            return self._results
        return await self._rounds.join("checks", self._check_all)

    async def status(self) -> tuple[Status, tuple[CheckResult, ...]]:
        """Returns the readiness of the process and the results on which it is based."""
        results = await self.results()
        unavailable = [result for result in results if not result.is_reachable]
        if any(result.dependency.is_required for result in unavailable):
            return Status.UNAVAILABLE, results
        return (Status.DEGRADED if unavailable else Status.READY), results

    async def _check_all(self) -> tuple[CheckResult, ...]:
        self._results = tuple(await asyncio.gather(*(_check(dependency) for dependency in self.dependencies)))
        self._checked_at = self._clock()
        return self._results


async def _check(dependency: Dependency) -> CheckResult:
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            return CheckResult(dependency, True, await dependency.check())
    except TimeoutError:
        return CheckResult(dependency, False, f"no response within {CHECK_SECONDS:g} s")
    except Unavailable as error:
        return CheckResult(dependency, False, error.detail)
