"""Background work of a process: email delivery, maintenance, and refreshing of in-memory state."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from dishka import AsyncContainer

from movie_adapters.settings.settings import Settings
from movie_adapters.sources.cached import CachedMovieSource
from movie_adapters.wiring.event_notifier import EventNotifier
from movie_adapters.wiring.training import train_in_subprocess
from movie_core.accounts.login import Login
from movie_core.accounts.outbox_dispatcher import OutboxDispatcher
from movie_core.accounts.profiles import Profiles
from movie_core.accounts.session_registry import SessionRegistry
from movie_core.discovery.event_recorder import EventRecorder
from movie_core.discovery.trending_service import TrendingService
from movie_core.errors import StoreUnavailable
from movie_core.operations.maintenance import Maintenance
from movie_core.outage_log import OutageLog
from movie_core.periodic import run_periodically
from movie_core.ports import DeliveryNotifier, MovieSource

DELIVERY_INTERVAL = 5.0
"""Seconds between deliveries without a notification, for emails that were deferred, leased by a killed process, or
whose notification was lost."""
PURGE_INTERVAL = 3600.0
"""Seconds between purges of expired data."""
TRAIN_INTERVAL = 600.0
"""Seconds between checks whether training is due."""
RETRY_INTERVAL = 60.0
"""Seconds until maintenance is retried after its store was unavailable."""
FINISH_SECONDS = 4.0
"""Graceful shutdown: seconds for an email in progress to finish. Running requests have a separate time limit."""
INVALIDATION_INTERVAL = 1.0
"""Seconds between checks whether the shared cache was flushed."""
FLUSH_INTERVAL = 0.5
"""Seconds for which events are buffered, to be written in batches."""
REBUILD_INTERVAL = 5.0
"""Seconds between checks whether the trend store has lost data."""
POLL_INTERVAL = 0.3
"""Seconds between queries for ended sessions: a logout must reach all processes within a second."""

_log = logging.getLogger(__name__)


async def run_email_delivery(
    dispatcher: OutboxDispatcher, notifier: EventNotifier, *, finish_seconds: float = FINISH_SECONDS
) -> None:
    """Deliver due emails at each notification, and every `DELIVERY_INTERVAL` seconds, until cancelled.

    When cancelled, an email in progress has `finish_seconds` to finish. While the store is unavailable, delivery is
    retried at the same interval.
    """
    stop = asyncio.Event()
    outage = OutageLog(
        _log,
        unavailable="database unavailable, email delivery is suspended: %s",
        recovered="database available again, email delivery continues",
    )
    while True:
        delivery = asyncio.create_task(dispatcher.deliver_due(stop.is_set))
        try:
            await asyncio.shield(delivery)
            outage.recovered()
        except asyncio.CancelledError:
            stop.set()
            await asyncio.wait([delivery], timeout=finish_seconds)
            delivery.cancel()
            await asyncio.gather(delivery, return_exceptions=True)
            raise
        except StoreUnavailable as error:
            outage.failed(error.detail)
        except Exception:  # noqa: BLE001  (one invalid email must not end the delivery of all)
            _log.exception("email delivery failed")
        await notifier.wait(DELIVERY_INTERVAL)


async def run_in_process(
    dispatcher: OutboxDispatcher,
    purge: Callable[[], Awaitable[object]],
    train: Callable[[], Awaitable[object]],
    notifier: EventNotifier,
) -> None:
    """Deliver email, purge and train in this process, for deployments without worker and scheduler.

    Runs until cancelled, and then for at most `FINISH_SECONDS`.
    """
    async with asyncio.TaskGroup() as work:
        work.create_task(run_email_delivery(dispatcher, notifier))
        work.create_task(run_periodically(purge, PURGE_INTERVAL, retry_interval=RETRY_INTERVAL))
        work.create_task(run_periodically(train, TRAIN_INTERVAL, retry_interval=RETRY_INTERVAL))


@asynccontextmanager
async def run_background_work(container: AsyncContainer) -> AsyncIterator[None]:
    """Run the background work of an API process: read ended sessions, write events, rebuild trends, and detect a
    flush of the shared cache. Without Redis there is no worker, so email delivery and maintenance run here too."""
    settings = await container.get(Settings)
    for service in (Login, Profiles):  # so that the first request does not wait for imports
        await container.get(service)
    registry, source = await container.get(SessionRegistry), await container.get(MovieSource)
    recorder, trends = await container.get(EventRecorder), await container.get(TrendingService)
    jobs: list[tuple[Callable[[], Awaitable[object]], float]] = [
        (registry.poll, POLL_INTERVAL),
        (recorder.flush, FLUSH_INTERVAL),
        (trends.rebuild, REBUILD_INTERVAL),
    ]
    if isinstance(source, CachedMovieSource):
        jobs.append((source.check_generation, INVALIDATION_INTERVAL))
    tasks = [asyncio.create_task(run_periodically(work, interval)) for work, interval in jobs]
    if settings.redis_url is None:
        dispatcher, maintenance, notifier = (
            await container.get(OutboxDispatcher),
            await container.get(Maintenance),
            await container.get(DeliveryNotifier),
        )
        if isinstance(notifier, EventNotifier):

            async def train() -> None:
                if await maintenance.is_training_due():
                    await train_in_subprocess(settings)

            tasks.append(asyncio.create_task(run_in_process(dispatcher, maintenance.purge, train, notifier)))
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await recorder.flush()
