"""Calibration of CPU time limits: the current speed of the machine compared with a reference machine."""

import gc
import time
from collections.abc import Callable

REFERENCE_SECONDS = 0.010
"""CPU seconds of `_work` on the machine where the limits were chosen."""


def _work() -> int:
    """A mixed workload: numbers, strings, dictionaries."""
    seen: dict[str, int] = {}
    for number in range(25_000):
        seen[str(number % 1000)] = seen.get(str(number % 977), 0) + number
    return len(seen)


def cpu_seconds(work: Callable[[], object]) -> float:
    """Returns the CPU seconds of a call, without garbage collection of objects from other tests."""
    gc.disable()
    try:
        began = time.thread_time()
        work()
        return time.thread_time() - began
    finally:
        gc.enable()


def slowness() -> float:
    """Returns how many times slower this machine is than the reference, at least 1."""
    return max(1.0, min(cpu_seconds(_work) for _ in range(5)) / REFERENCE_SECONDS)
