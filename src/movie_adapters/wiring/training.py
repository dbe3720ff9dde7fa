"""Training of the recommendation model in a subprocess."""

import asyncio
import contextlib
import logging
import multiprocessing
import os
import signal

from movie_adapters.settings.settings import Settings
from movie_adapters.wiring.providers import create_container
from movie_core.errors import StoreUnavailable
from movie_core.ports import Recommender

_log = logging.getLogger(__name__)


async def train_in_subprocess(settings: Settings) -> None:
    """Train in a subprocess, so that requests do not wait and the memory for training is released afterwards."""
    process = multiprocessing.get_context("spawn").Process(target=_train, args=(settings,), daemon=True)
    process.start()
    try:
        await asyncio.to_thread(process.join)
    finally:
        process.kill()  # also ends the thread that waits for it
    if process.exitcode:
        _log.error("training failed with exit code %s", process.exitcode)


def _train(settings: Settings) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # sent to the whole process group; the parent process ends this one
    with contextlib.suppress(OSError):
        os.nice(10)

    async def run() -> None:
        container = create_container(settings)
        try:
            with contextlib.suppress(StoreUnavailable):  # training stays due and is started again later
                await (await container.get(Recommender)).train()
        finally:
            await container.close()

    asyncio.run(run())
