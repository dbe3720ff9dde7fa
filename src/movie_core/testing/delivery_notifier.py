"""Contract of the `DeliveryNotifier` port."""

import asyncio
from contextlib import AbstractAsyncContextManager

from movie_core.ports import DeliveryNotifier
from movie_core.testing.shared import clause


class DeliveryNotifierContract:
    """Contract of every `DeliveryNotifier`. The numbers in test names are the clauses of the port."""

    def open(self, *, is_unavailable: bool = False) -> AbstractAsyncContextManager[DeliveryNotifier]:
        """The adapter under test; with `is_unavailable`, one whose server cannot be reached."""
        raise NotImplementedError

    @clause
    async def test_1_it_never_raises_and_returns_within_0_3_seconds(self) -> None:
        for is_unavailable in (False, True):
            async with self.open(is_unavailable=is_unavailable) as notifier:
                for _ in range(3):
                    async with asyncio.timeout(0.3):
                        await notifier.notify()
