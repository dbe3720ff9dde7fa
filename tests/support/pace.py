"""How fast the machine is at the moment, so that bounds of processor time hold on any machine."""

import gc
import time
from collections.abc import Callable

REFERENCE_SECONDS = 0.010
"""What `_work` takes of a processor on the machine where the bounds were chosen."""


def _work() -> int:
    """A little of everything: numbers, texts, dictionaries."""
    seen: dict[str, int] = {}
    for number in range(25_000):
        seen[str(number % 1000)] = seen.get(str(number % 977), 0) + number
    return len(seen)


def cpu_seconds(work: Callable[[], object]) -> float:
    """What a call takes of a processor, without collecting the garbage that other tests have left."""
    gc.disable()
    try:
        began = time.thread_time()
        work()
        return time.thread_time() - began
    finally:
        gc.enable()


def slowness() -> float:
    """How many times slower than there, 1 at least."""
    return max(1.0, min(cpu_seconds(_work) for _ in range(5)) / REFERENCE_SECONDS)
