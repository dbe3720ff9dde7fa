"""Runs background work at a fixed interval."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from movie_core.errors import StoreUnavailable

_log = logging.getLogger(__name__)


async def run_periodically(
    work: Callable[[], Awaitable[object]], interval: float, *, retry_interval: float | None = None
) -> None:
    """Run `work` now and again `interval` seconds after each end, until the task is cancelled.

    Errors never end the loop. `StoreUnavailable` is not logged, as every store logs its own outage, and the next run
    follows after `retry_interval` seconds where that is given; any other error is a bug and is logged with its
    traceback.
    """
    while True:
        wait = interval
        try:
            await work()
        except StoreUnavailable:
            wait = interval if retry_interval is None else retry_interval
        except Exception:  # noqa: BLE001  (a bug must not end the loop)
            _log.exception("periodic work failed; next run in %g s", wait)
        await asyncio.sleep(wait)
