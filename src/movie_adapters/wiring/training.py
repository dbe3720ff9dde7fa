"""Training of the recommendation model in a subprocess."""

import asyncio
import contextlib
import logging
import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator
from multiprocessing import resource_tracker

from movie_adapters.settings.settings import Settings
from movie_adapters.wiring.providers import create_container
from movie_core.errors import StoreUnavailable
from movie_core.ports import Recommender

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)

_log = logging.getLogger(__name__)


async def train_in_subprocess(settings: Settings) -> None:
    """Train in a subprocess, so that requests do not wait and the memory for training is released afterwards."""
    process = multiprocessing.get_context("spawn").Process(target=_train, args=(settings,), daemon=True)
    with _stop_signals_blocked():
        process.start()
    try:
        await asyncio.to_thread(process.join)
    finally:
        process.kill()  # also ends the thread that waits for it
    if process.exitcode:
        _log.error("training failed with exit code %s", process.exitcode)


@contextlib.contextmanager
def _stop_signals_blocked() -> Iterator[None]:
    """Block SIGINT and SIGTERM while a subprocess is started, which inherits this. Otherwise Ctrl-C during its imports,
    which take a second, would print a traceback of `KeyboardInterrupt`. This process gets the signals afterwards."""
    if sys.platform == "win32":
        yield
        return
    resource_tracker.ensure_running()  # otherwise `Process.start` does it, which unblocks the signals
    previous = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, previous)


def _train(settings: Settings) -> None:
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)  # Ctrl-C reaches the whole process group; the parent kills this process
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
