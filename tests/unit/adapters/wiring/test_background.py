"""Background work of a process without a worker, in virtual time."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

import pytest

from movie_adapters.wiring.background import FINISH_SECONDS, RETRY_INTERVAL, run_email_delivery, run_in_process
from movie_adapters.wiring.event_notifier import EventNotifier
from movie_core.errors import StoreUnavailable
from movie_core.periodic import run_periodically


def now() -> float:
    return round(asyncio.get_running_loop().time(), 3)


class Dispatcher:
    """An `OutboxDispatcher` that records the times of its calls."""

    def __init__(self) -> None:
        self.calls: list[float] = []
        self.failure: Exception | None = None
        self.work: Callable[[Callable[[], bool]], Awaitable[None]] | None = None

    async def deliver_due(self, is_stopping: Callable[[], bool] = lambda: False) -> int:
        self.calls.append(now())
        if self.failure is not None:
            raise self.failure
        if self.work is not None:
            await self.work(is_stopping)
        return 0


class Work:
    """Maintenance that records the times of its calls."""

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


async def test_email_is_delivered_at_start_when_notified_and_every_five_seconds() -> None:
    dispatcher, notifier = Dispatcher(), EventNotifier()
    task = asyncio.create_task(run_email_delivery(dispatcher, notifier))
    await asyncio.sleep(11)
    await notifier.notify()
    await notifier.notify()
    await asyncio.sleep(6)
    await stop(task)
    assert dispatcher.calls == [0, 5, 10, 11, 16]


async def test_a_notification_during_a_delivery_starts_another_one() -> None:
    dispatcher, notifier = Dispatcher(), EventNotifier()

    async def slow(_is_stopping: Callable[[], bool]) -> None:
        await asyncio.sleep(2)

    dispatcher.work = slow
    task = asyncio.create_task(run_email_delivery(dispatcher, notifier))
    await asyncio.sleep(1)
    await notifier.notify()
    await asyncio.sleep(2)
    await stop(task)
    assert dispatcher.calls == [0, 2]


@pytest.mark.parametrize("failure", [StoreUnavailable("gone"), RuntimeError("a bug")])
async def test_delivery_continues_after_an_error(failure: Exception) -> None:
    dispatcher = Dispatcher()
    dispatcher.failure = failure
    task = asyncio.create_task(run_email_delivery(dispatcher, EventNotifier()))
    await asyncio.sleep(11)
    await stop(task)
    assert dispatcher.calls == [0, 5, 10]


async def test_each_outage_of_the_database_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    dispatcher = Dispatcher()
    with caplog.at_level(logging.WARNING, "movie_adapters.wiring.background"):
        task = asyncio.create_task(run_email_delivery(dispatcher, EventNotifier()))
        for failure in (StoreUnavailable("gone"), None, StoreUnavailable("gone"), None):
            dispatcher.failure = failure
            await asyncio.sleep(20)
        await stop(task)
    assert [record.message for record in caplog.records] == [
        "database unavailable, email delivery is suspended: gone"
    ] * 2


async def test_an_email_in_progress_is_finished_after_a_cancellation() -> None:
    dispatcher, finished = Dispatcher(), []

    async def send(is_stopping: Callable[[], bool]) -> None:
        await asyncio.sleep(2)
        finished.append((now(), is_stopping()))

    dispatcher.work = send
    task = asyncio.create_task(run_email_delivery(dispatcher, EventNotifier()))
    await asyncio.sleep(1)
    await stop(task)
    assert now() == 2
    assert finished == [(2, True)]


async def test_a_hanging_email_does_not_delay_shutdown_beyond_its_limit() -> None:
    dispatcher = Dispatcher()

    async def hang(_is_stopping: Callable[[], bool]) -> None:
        await asyncio.sleep(1000)

    dispatcher.work = hang
    task = asyncio.create_task(run_email_delivery(dispatcher, EventNotifier()))
    await asyncio.sleep(1)
    await stop(task)
    assert now() == 1 + FINISH_SECONDS


async def test_a_cancellation_that_coincides_with_a_notification_is_not_lost() -> None:
    notifier = EventNotifier()
    task = asyncio.create_task(run_email_delivery(Dispatcher(), notifier))
    await asyncio.sleep(1)
    await notifier.notify()
    await stop(task)


async def test_maintenance_runs_at_start_and_periodically() -> None:
    maintenance = Work()
    task = asyncio.create_task(run_periodically(maintenance.purge, 3600, retry_interval=RETRY_INTERVAL))
    await asyncio.sleep(2 * 3600 + 1)
    await stop(task)
    assert maintenance.purged == [0, 3600, 7200]


@pytest.mark.parametrize(("failure", "interval"), [(StoreUnavailable("gone"), 60), (RuntimeError("a bug"), 3600)])
async def test_maintenance_is_retried_after_a_minute_if_the_store_is_unavailable(
    failure: Exception, interval: int
) -> None:
    maintenance = Work()
    maintenance.failure = failure
    task = asyncio.create_task(run_periodically(maintenance.purge, 3600, retry_interval=RETRY_INTERVAL))
    await asyncio.sleep(interval + 1)
    maintenance.failure = None
    await asyncio.sleep(3600)
    await stop(task)
    assert maintenance.purged == [0, interval, 2 * interval]


async def test_delivery_and_maintenance_run_and_end_together() -> None:
    dispatcher, maintenance = Dispatcher(), Work()
    task = asyncio.create_task(run_in_process(dispatcher, maintenance.purge, maintenance.train, EventNotifier()))
    await asyncio.sleep(601)
    await stop(task)
    assert (dispatcher.calls[0], maintenance.purged, maintenance.trained) == (0, [0], [0, 600])
