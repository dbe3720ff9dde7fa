"""How fast the machine is at the moment, so that bounds of processor time hold on any machine."""

import time

REFERENCE_SECONDS = 0.010
"""What `_work` takes of a processor on the machine where the bounds were chosen."""


def _work() -> int:
    """A little of everything: numbers, texts, dictionaries."""
    seen: dict[str, int] = {}
    for number in range(25_000):
        seen[str(number % 1000)] = seen.get(str(number % 977), 0) + number
    return len(seen)


def slowness() -> float:
    """How many times slower than there, 1 at least."""
    took = []
    for _ in range(5):
        began = time.thread_time()
        _work()
        took.append(time.thread_time() - began)
    return max(1.0, min(took) / REFERENCE_SECONDS)
