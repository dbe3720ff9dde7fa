"""The loops of a process that has no worker beside it, in a time of its own: nothing here waits for real."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest
from tests.support.skipping_loop import SkippingLoop

from movie_adapters.wiring.background import FINISH_SECONDS, EventNotifier, keep_delivering, keep_up, run_in_process
from movie_core.errors import StoreUnavailable

T = TypeVar("T")


def run(work: Awaitable[T]) -> T:
    async def awaited() -> T:
        return await work

    with asyncio.Runner(loop_factory=SkippingLoop) as runner:
        return runner.run(awaited())


def now() -> float:
    return round(asyncio.get_running_loop().time(), 3)


class Room:
    """A mail room that notes when it was asked to deliver."""

    def __init__(self) -> None:
        self.asked: list[float] = []
        self.failure: Exception | None = None
        self.work: Callable[[Callable[[], bool]], Awaitable[None]] | None = None

    async def deliver_due(self, is_stopping: Callable[[], bool] = lambda: False) -> int:
        self.asked.append(now())
        if self.failure is not None:
            raise self.failure
        if self.work is not None:
            await self.work(is_stopping)
        return 0


class Work:
    """Upkeep that notes when it was done."""

    def __init__(self) -> None:
        self.purged: list[float] = []
        self.trained: list[float] = []
        self.failure: Exception | None = None

    async def purge(self) -> int:
        self.purged.append(now())
        if self.failure is not None:
            raise self.failure
        return 0

    async def train(self) -> bool:
        self.trained.append(now())
        return True


async def stop(task: "asyncio.Task[None]") -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_mail_is_delivered_at_start_when_rung_and_every_five_seconds() -> None:
    dispatcher, notifier = Room(), EventNotifier()

    async def work() -> None:
        task = asyncio.create_task(keep_delivering(dispatcher, notifier))
        await asyncio.sleep(11)
        await notifier.notify()
        await notifier.notify()
        await asyncio.sleep(6)
        await stop(task)

    run(work())
    assert dispatcher.asked == [0, 5, 10, 11, 16]


def test_a_ring_during_a_delivery_is_followed_by_another_one() -> None:
    dispatcher, notifier = Room(), EventNotifier()

    async def slow(_is_stopping: Callable[[], bool]) -> None:
        await asyncio.sleep(2)

    async def work() -> None:
        dispatcher.work = slow
        task = asyncio.create_task(keep_delivering(dispatcher, notifier))
        await asyncio.sleep(1)
        await notifier.notify()
        await asyncio.sleep(2)
        await stop(task)

    run(work())
    assert dispatcher.asked == [0, 2]


@pytest.mark.parametrize("failure", [StoreUnavailable("gone"), RuntimeError("a bug")])
def test_delivery_goes_on_after_an_error(failure: Exception) -> None:
    dispatcher = Room()

    async def work() -> None:
        dispatcher.failure = failure
        task = asyncio.create_task(keep_delivering(dispatcher, EventNotifier()))
        await asyncio.sleep(11)
        await stop(task)

    run(work())
    assert dispatcher.asked == [0, 5, 10]


def test_a_database_that_is_away_is_told_once_each_time(caplog: pytest.LogCaptureFixture) -> None:
    dispatcher = Room()

    async def work() -> None:
        task = asyncio.create_task(keep_delivering(dispatcher, EventNotifier()))
        for failure in (StoreUnavailable("gone"), None, StoreUnavailable("gone"), None):
            dispatcher.failure = failure
            await asyncio.sleep(20)
        await stop(task)

    with caplog.at_level(logging.WARNING, "movie_adapters.wiring.background"):
        run(work())
    assert [record.message for record in caplog.records] == [
        "no mail can be delivered until the database is back: gone"
    ] * 2


def test_cancelled_it_finishes_the_mail_in_hand() -> None:
    dispatcher, finished = Room(), []

    async def send(is_stopping: Callable[[], bool]) -> None:
        await asyncio.sleep(2)
        finished.append((now(), is_stopping()))

    async def work() -> float:
        dispatcher.work = send
        task = asyncio.create_task(keep_delivering(dispatcher, EventNotifier()))
        await asyncio.sleep(1)
        await stop(task)
        return now()

    assert run(work()) == 2
    assert finished == [(2, True)]


def test_a_mail_that_hangs_does_not_hold_up_the_end() -> None:
    dispatcher = Room()

    async def hang(_is_stopping: Callable[[], bool]) -> None:
        await asyncio.sleep(1000)

    async def work() -> float:
        dispatcher.work = hang
        task = asyncio.create_task(keep_delivering(dispatcher, EventNotifier()))
        await asyncio.sleep(1)
        await stop(task)
        return now()

    assert run(work()) == 1 + FINISH_SECONDS


def test_a_cancellation_that_comes_with_a_ring_is_not_lost() -> None:
    async def work() -> None:
        notifier = EventNotifier()
        task = asyncio.create_task(keep_delivering(Room(), notifier))
        await asyncio.sleep(1)
        await notifier.notify()
        await stop(task)

    run(work())


def test_upkeep_is_done_at_once_and_regularly() -> None:
    upkeep = Work()

    async def work() -> None:
        task = asyncio.create_task(keep_up(upkeep.purge, 3600))
        await asyncio.sleep(2 * 3600 + 1)
        await stop(task)

    run(work())
    assert upkeep.purged == [0, 3600, 7200]


@pytest.mark.parametrize(("failure", "again"), [(StoreUnavailable("gone"), 60), (RuntimeError("a bug"), 3600)])
def test_upkeep_that_met_no_store_is_tried_again_after_a_minute(failure: Exception, again: int) -> None:
    upkeep = Work()

    async def work() -> None:
        upkeep.failure = failure
        task = asyncio.create_task(keep_up(upkeep.purge, 3600))
        await asyncio.sleep(again + 1)
        upkeep.failure = None
        await asyncio.sleep(3600)
        await stop(task)

    run(work())
    assert upkeep.purged == [0, again, 2 * again]


def test_all_loops_run_and_end_together() -> None:
    dispatcher, upkeep = Room(), Work()

    async def work() -> None:
        task = asyncio.create_task(run_in_process(dispatcher, upkeep.purge, upkeep.train, EventNotifier()))
        await asyncio.sleep(601)
        await stop(task)

    run(work())
    assert (dispatcher.asked[0], upkeep.purged, upkeep.trained) == (0, [0], [0, 600])
