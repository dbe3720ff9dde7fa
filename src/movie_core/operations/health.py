"""Whether the parts that a process leans on can be reached, and what that means for what it can serve."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from movie_core.errors import Unavailable

CHECK_SECONDS = 4.0
"""One check may take this long."""
REMEMBER_SECONDS = 0.5
"""A report answers for this long, so that asking often costs the parts nothing."""


@dataclass(frozen=True, slots=True)
class Dependency:
    """Something that a process leans on."""

    name: str
    check: Callable[[], Awaitable[str]]
    """Reaches it and says in a few words what it found; raises `Unavailable` otherwise."""
    advice: str
    """What a person can do when it can't be reached."""
    is_required: bool = False
    """Whether nothing can be served without it."""


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What a check found. `detail` holds no address and no secret."""

    part: Dependency
    is_reached: bool
    detail: str


class Status(StrEnum):
    READY = "ready"
    DEGRADED = "degraded"
    """Something is away, and answers go on without it."""
    UNAVAILABLE = "unavailable"
    """Nothing can be served."""


class Readiness:
    """Checks all parts at once, one round at a time, each round told to everybody who asks meanwhile."""

    def __init__(self, parts: Sequence[Dependency], clock: Callable[[], float] = time.monotonic) -> None:
        self.parts = tuple(parts)
        self._clock = clock
        self._round: asyncio.Task[tuple[CheckResult, ...]] | None = None
        self._ended = float("-inf")

    async def findings(self) -> tuple[CheckResult, ...]:
        """One finding per part, at most `CHECK_SECONDS` + `REMEMBER_SECONDS` old."""
        is_old = self._round is not None and self._round.done() and self._clock() - self._ended > REMEMBER_SECONDS
        if self._round is None or is_old:
            self._round = asyncio.get_running_loop().create_task(self._look())
        # Shielded: one caller who leaves must not end the round for the others.
        return await asyncio.shield(self._round)

    async def status(self) -> tuple[Status, tuple[CheckResult, ...]]:
        findings = await self.findings()
        away = [finding for finding in findings if not finding.is_reached]
        if any(finding.part.is_required for finding in away):
            return Status.UNAVAILABLE, findings
        return (Status.DEGRADED if away else Status.READY), findings

    async def _look(self) -> tuple[CheckResult, ...]:
        try:
            return tuple(await asyncio.gather(*(_check(part) for part in self.parts)))
        finally:
            self._ended = self._clock()


async def _check(part: Dependency) -> CheckResult:
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            return CheckResult(part, True, await part.check())
    except TimeoutError:
        return CheckResult(part, False, f"no answer within {CHECK_SECONDS:g} s")
    except Unavailable as error:
        return CheckResult(part, False, error.detail)
