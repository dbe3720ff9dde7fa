"""Periodic work, in virtual time."""

import asyncio
import logging

import pytest

from movie_core.errors import StoreUnavailable
from movie_core.periodic import run_periodically


async def starts(errors: list[Exception | None], *, retry_interval: float | None = None) -> list[float]:
    """When work that takes a second is started within 100 seconds; its first runs end with these errors."""
    loop = asyncio.get_running_loop()
    began, started = loop.time(), list[float]()

    async def work() -> None:
        started.append(loop.time() - began)
        await asyncio.sleep(1)
        error = errors.pop(0) if errors else None
        if error is not None:
            raise error

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(100):
            await run_periodically(work, 30, retry_interval=retry_interval)
    return started


async def test_work_runs_at_once_and_again_an_interval_after_each_end() -> None:
    assert await starts([]) == pytest.approx([0, 31, 62, 93])


async def test_an_unavailable_store_is_retried_without_a_log_message(caplog: pytest.LogCaptureFixture) -> None:
    errors: list[Exception | None] = [StoreUnavailable("unavailable"), StoreUnavailable("unavailable")]
    assert await starts([*errors], retry_interval=5) == pytest.approx([0, 6, 12, 43, 74])
    assert await starts([*errors]) == pytest.approx([0, 31, 62, 93])
    assert caplog.records == []


async def test_a_bug_is_logged_and_does_not_end_the_loop(caplog: pytest.LogCaptureFixture) -> None:
    assert await starts([ZeroDivisionError()], retry_interval=5) == pytest.approx([0, 31, 62, 93])
    (record,) = caplog.records
    assert (record.levelno, record.exc_info is not None) == (logging.ERROR, True)
