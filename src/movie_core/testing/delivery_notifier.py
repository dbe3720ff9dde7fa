"""Contract of the `DeliveryNotifier` port."""

import time
from contextlib import AbstractAsyncContextManager

from movie_core.ports import (
    DeliveryNotifier,
)
from movie_core.testing.shared import clause


class DeliveryNotifierContract:
    """What every `DeliveryNotifier` keeps."""

    def open(self, *, is_away: bool = False) -> AbstractAsyncContextManager[DeliveryNotifier]:
        """The adapter under test; or one whose other end is away."""
        raise NotImplementedError

    @clause
    async def test_1_it_never_raises_and_returns_within_0_3_seconds(self) -> None:
        for is_away in (False, True):
            async with self.open(is_away=is_away) as notifier:
                for _ in range(3):
                    began = time.monotonic()
                    await notifier.notify()
                    assert time.monotonic() - began < 0.3
