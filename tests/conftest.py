"""For all tests: property tests are repeatable, and the heap of a long run costs nothing.

The same cases come every time; `HYPOTHESIS_PROFILE=explore` looks for new ones.
"""

import gc
import os

from hypothesis import settings

settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.register_profile("explore", max_examples=1000, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))


def pytest_collection_finish() -> None:
    """Leave thousands of collected tests out of every garbage collection: each would take some 0.1 s."""
    gc.collect()
    gc.freeze()
