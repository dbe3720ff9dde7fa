"""The `RateLimiter` port in memory."""

import time
from collections.abc import Callable

from movie_core.accounts.keyring import new_id
from movie_core.operations.rate_limits import HitWindow, PermitWindow
from movie_core.quotas import Permits, Quota, Rate


class MemoryRateLimiter:
    """A `RateLimiter` for one process: an exact sliding window. Keys with an empty window are deleted."""

    _SWEEP = 1000
    """Calls between two deletions of empty windows, at least."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._hits: dict[tuple[str, str, Rate], HitWindow] = {}
        self._leases: dict[tuple[str, str, Rate], PermitWindow] = {}
        self._until_sweep = self._SWEEP

    async def hit(self, name: str, key: str, rate: Rate) -> tuple[bool, Quota]:
        now = self._clock()
        self._sweep(now)
        is_allowed, remaining, reset = self._hits.setdefault((name, key, rate), HitWindow(rate)).hit(now)
        return is_allowed, Quota(name, rate, remaining, reset)

    async def refund(self, name: str, key: str, rate: Rate) -> None:
        if window := self._hits.get((name, key, rate)):
            window.refund()

    async def lease(
        self, name: str, key: str, rate: Rate, *, prefetch: int, seconds: float, returned: Permits | None
    ) -> tuple[bool, Quota, Permits]:
        now = self._clock()
        self._sweep(now)
        window = self._leases.setdefault((name, key, rate), PermitWindow(rate))
        is_allowed, remaining, reset, permits = window.take(
            now, new_id(), prefetch=prefetch, seconds=seconds, returned=returned
        )
        return is_allowed, Quota(name, rate, remaining, reset), permits

    def _sweep(self, now: float) -> None:
        self._until_sweep -= 1
        if self._until_sweep <= 0:
            self._until_sweep = max(self._SWEEP, len(self._hits) + len(self._leases))
            self._hits = {counter: window for counter, window in self._hits.items() if not window.is_over(now)}
            self._leases = {counter: window for counter, window in self._leases.items() if not window.is_over(now)}
