"""Wakes up email delivery within one process."""

import asyncio
import contextlib


class EventNotifier:
    """A `DeliveryNotifier` for delivery in the same process."""

    def __init__(self) -> None:
        self._notified = asyncio.Event()

    async def notify(self) -> None:
        self._notified.set()

    async def wait(self, seconds: float) -> None:
        """Return at the first notification since the last call, or after `seconds`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):  # wait_for may lose a cancellation that coincides with a notification
                await self._notified.wait()
        self._notified.clear()
