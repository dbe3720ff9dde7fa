"""The doorbells keep their contract, with Redis there and away."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from movie_adapters.redis.task_queue import TaskDoorbell
from movie_adapters.wiring.background import EventDoorbell
from movie_core.ports import Doorbell
from movie_core.testing import DoorbellContract


class TestEventDoorbell(DoorbellContract):
    @asynccontextmanager
    async def open(self, *, is_away: bool = False) -> AsyncIterator[Doorbell]:
        del is_away  # there is nothing that could be
        yield EventDoorbell()


class TestTaskDoorbell(DoorbellContract):
    @pytest.fixture(autouse=True)
    def _redis(self, redis_url: str) -> None:
        self.url = redis_url

    @asynccontextmanager
    async def open(self, *, is_away: bool = False) -> AsyncIterator[Doorbell]:
        bell = TaskDoorbell("unix:///nowhere/socket" if is_away else self.url)
        yield bell
        await bell.close()
