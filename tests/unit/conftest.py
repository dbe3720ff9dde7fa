"""Fixtures of all unit tests. Async tests run in virtual time, except those of the modules in `REAL_TIME`."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from tests.support.virtual_time import REAL_TIME, VirtualTimeLoop

UNIT = Path(__file__).parent


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    if item.path.relative_to(UNIT).as_posix() in REAL_TIME:
        return {"real time": asyncio.new_event_loop}
    return {"virtual time": VirtualTimeLoop}


@pytest.fixture
async def no_task_left() -> AsyncIterator[None]:
    """Fails if a task of the test is still running five virtual seconds after its end."""
    yield
    if isinstance(asyncio.get_running_loop(), VirtualTimeLoop):  # not in synchronous tests of the same module
        await asyncio.sleep(5)
        assert asyncio.all_tasks() == {asyncio.current_task()}, "a task was left behind"
