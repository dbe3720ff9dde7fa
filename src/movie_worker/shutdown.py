"""Graceful shutdown of the worker and the scheduler."""

import asyncio
import os
import signal
import threading

FORCED_EXIT_TIMEOUT = 15.0
"""Seconds after SIGTERM or SIGINT at which the process exits even if something hangs."""


def stop_on_signals() -> asyncio.Event:
    """Returns an event that SIGTERM and SIGINT set. They also start a timer that forces the exit."""
    stop = asyncio.Event()

    def handle_signal() -> None:
        if not stop.is_set():
            # A thread, because the event loop itself or one of its threads may hang. No data is lost: another process
            # takes over unfinished emails and tasks.
            timer = threading.Timer(FORCED_EXIT_TIMEOUT, os._exit, (0,))
            timer.daemon = True
            timer.start()
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, handle_signal)
    return stop
