"""An event loop with virtual time: waiting advances the clock instead of blocking."""

import asyncio
import selectors


class _SkippingSelector(selectors.DefaultSelector):
    """Never blocks; advances the clock by the timeout instead."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        events = super().select(0)
        if not events:
            assert timeout is not None, "deadlock: all tasks wait and no timer is scheduled"
            self.now += max(0.0, timeout)
        return events


class SkippingLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._skipping = _SkippingSelector()
        super().__init__(self._skipping)

    def time(self) -> float:
        return self._skipping.now
