"""CPU time: how it grows with the size of an input, and the speed of the machine compared with a reference."""

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


def cpu_growth(small: Callable[[], object], large: Callable[[], object]) -> float:
    """Returns how many times more CPU time `large` takes than `small`, which counts as half a millisecond at least.

    For the same code with inputs of size n and 4 n, about 4 if the cost is linear and 16 if it is quadratic, on any
    machine.
    """
    pairs = [(cpu_seconds(small), cpu_seconds(large)) for _ in range(3)]
    return min(seconds for _, seconds in pairs) / max(0.0005, min(seconds for seconds, _ in pairs))


def slowness() -> float:
    """Returns how many times slower this machine is than the reference, at least 1."""
    return max(1.0, min(cpu_seconds(_work) for _ in range(5)) / REFERENCE_SECONDS)
