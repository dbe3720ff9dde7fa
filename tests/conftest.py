"""Configuration of all tests: repeatable property tests, and fast garbage collection in long runs.

Property tests use the same cases every time; `HYPOTHESIS_PROFILE=explore` searches for new ones.
"""

import gc
import os

import pytest
from hypothesis import Phase, settings

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # like `movie-search`

pytest.register_assert_rewrite("tests.support")

gc.disable()  # until all tests are collected: nearly all objects created until then live on

settings.register_profile("repeatable", derandomize=True, deadline=None)
# For `make mutation`: most mutants fail a property, and its smallest counterexample is of no interest.
settings.register_profile("mutation", derandomize=True, deadline=None, phases=[Phase.explicit, Phase.generate])
settings.register_profile("explore", max_examples=1000, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))


def pytest_collection_finish() -> None:
    """Excludes thousands of collected tests from garbage collection, which would take about 0.1 s each time."""
    gc.collect()
    gc.freeze()
    gc.enable()
