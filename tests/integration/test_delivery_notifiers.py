"""The delivery notifiers fulfil their contract, with Redis available and unavailable."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from movie_adapters.redis.task_queue import TaskNotifier
from movie_adapters.wiring.event_notifier import EventNotifier
from movie_core.ports import DeliveryNotifier
from movie_core.testing import DeliveryNotifierContract


class TestEventNotifier(DeliveryNotifierContract):
    @asynccontextmanager
    async def open(self, *, is_unavailable: bool = False) -> AsyncIterator[DeliveryNotifier]:
        del is_unavailable  # it has no dependency
        yield EventNotifier()


class TestTaskNotifier(DeliveryNotifierContract):
    @pytest.fixture(autouse=True)
    def _redis(self, redis_url: str) -> None:
        self.url = redis_url

    @asynccontextmanager
    async def open(self, *, is_unavailable: bool = False) -> AsyncIterator[DeliveryNotifier]:
        notifier = TaskNotifier("unix:///nowhere/socket" if is_unavailable else self.url)
        yield notifier
        await notifier.close()
