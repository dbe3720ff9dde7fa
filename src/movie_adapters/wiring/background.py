"""Work that goes on for as long as a process lives: mail is delivered, and the upkeep done."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable

from movie_core.accounts.outbox_dispatcher import OutboxDispatcher
from movie_core.errors import StoreUnavailable

TICK_SECONDS = 5.0
"""Between looks for mail that nobody rang for: put off, left by a killed process, or rung for in vain."""
PURGE_SECONDS = 3600.0
TRAIN_SECONDS = 600.0
"""Between looks at whether there is something new to learn."""
RETRY_SECONDS = 60.0
"""Until the next try at a store that was away."""
FINISH_SECONDS = 4.0
"""How long a mail that is being sent may take to finish once its process is to end, beside requests that end too."""

_log = logging.getLogger(__name__)


class EventNotifier:
    """A `DeliveryNotifier` inside one process."""

    def __init__(self) -> None:
        self._notified = asyncio.Event()

    async def notify(self) -> None:
        self._notified.set()

    async def wait(self, seconds: float) -> None:
        """Returns when it has rung since the last time, at the latest after so many seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):  # wait_for may lose a cancellation that comes together with a ring
                await self._notified.wait()
        self._notified.clear()


async def keep_delivering(
    dispatcher: OutboxDispatcher, notifier: EventNotifier, *, finish_seconds: float = FINISH_SECONDS
) -> None:
    """Deliver what is due now, whenever the doorbell rings, and every `TICK_SECONDS`, until cancelled; a mail in hand
    is finished first, for `finish_seconds` at most. A store that is away is waited for."""
    stop = asyncio.Event()
    is_away = False
    while True:
        delivering = asyncio.create_task(dispatcher.deliver_due(stop.is_set))
        try:
            await asyncio.shield(delivering)
            is_away = False
        except asyncio.CancelledError:
            stop.set()
            await asyncio.wait([delivering], timeout=finish_seconds)
            delivering.cancel()
            await asyncio.gather(delivering, return_exceptions=True)
            raise
        except StoreUnavailable as away:
            if not is_away:
                _log.warning("no mail can be delivered until the database is back: %s", away.detail)
            is_away = True
        except Exception:  # noqa: BLE001  (one bad mail must not end the delivery of all)
            _log.exception("mail could not be delivered")
        await notifier.wait(TICK_SECONDS)


async def keep_up(work: Callable[[], Awaitable[object]], seconds: float) -> None:
    """Do it now and every so many seconds, until cancelled. A store that is away is waited for."""
    while True:
        wait = seconds
        try:
            await work()
        except StoreUnavailable:  # told by the delivery beside it
            wait = min(seconds, RETRY_SECONDS)
        except Exception:  # noqa: BLE001  (a bug must not end what keeps this process going)
            _log.exception("some upkeep has failed")
        await asyncio.sleep(wait)


async def run_in_process(
    dispatcher: OutboxDispatcher,
    purge: Callable[[], Awaitable[object]],
    train: Callable[[], Awaitable[object]],
    notifier: EventNotifier,
) -> None:
    """All that a worker and a scheduler would do, for a process that has neither beside it; until cancelled, and then
    for `FINISH_SECONDS` at most."""
    async with asyncio.TaskGroup() as work:
        work.create_task(keep_delivering(dispatcher, notifier))
        work.create_task(keep_up(purge, PURGE_SECONDS))
        work.create_task(keep_up(train, TRAIN_SECONDS))
