"""Runs background work at a fixed interval."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from movie_core.errors import StoreUnavailable

_log = logging.getLogger(__name__)


async def run_periodically(
    work: Callable[[], Awaitable[object]], interval: float, *, retry_interval: float | None = None
) -> None:
    """Run `work` immediately, and then again `interval` seconds after the end of each run, until cancelled.

    Errors do not end the loop. After `StoreUnavailable`, the next run follows in `retry_interval` seconds, if given;
    the outage is not logged here, because the component that uses the store logs it once. Any other exception is a bug
    and is logged with its traceback.
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
