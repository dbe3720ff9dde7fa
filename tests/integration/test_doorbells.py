"""The doorbells keep their contract, with Redis there and away."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from movie_adapters.redis.task_queue import TaskNotifier
from movie_adapters.wiring.background import EventNotifier
from movie_core.ports import DeliveryNotifier
from movie_core.testing import DeliveryNotifierContract


class TestEventDoorbell(DeliveryNotifierContract):
    @asynccontextmanager
    async def open(self, *, is_unavailable: bool = False) -> AsyncIterator[DeliveryNotifier]:
        del is_unavailable  # there is nothing that could be
        yield EventNotifier()


class TestTaskDoorbell(DeliveryNotifierContract):
    @pytest.fixture(autouse=True)
    def _redis(self, redis_url: str) -> None:
        self.url = redis_url

    @asynccontextmanager
    async def open(self, *, is_unavailable: bool = False) -> AsyncIterator[DeliveryNotifier]:
        notifier = TaskNotifier("unix:///nowhere/socket" if is_unavailable else self.url)
        yield notifier
        await notifier.close()
