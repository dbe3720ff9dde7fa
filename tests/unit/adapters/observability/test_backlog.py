"""Values from the database for metrics."""

import asyncio
import logging

import pytest
from tests.support.backlog import Outbox, backlog_of
from tests.support.skipping_loop import SkippingLoop

from movie_adapters.observability import backlog as module


def test_database_values_are_cached() -> None:
    async def scrapes() -> None:
        outbox = Outbox()
        backlog = backlog_of(outbox)
        await asyncio.gather(*(backlog.read() for _ in range(20)))
        await asyncio.sleep(module.BACKLOG_TTL - 0.1)
        await backlog.read()
        assert outbox.queries == 1
        await asyncio.sleep(0.2)
        await backlog.read()
        assert outbox.queries == 2

    with asyncio.Runner(loop_factory=SkippingLoop) as runner:
        runner.run(scrapes())


@pytest.fixture
def short_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BACKLOG_TIMEOUT", 0.01)
    monkeypatch.setattr(module, "BACKLOG_TTL", 0.01)


@pytest.mark.usefixtures("short_wait")
async def test_a_hanging_database_delays_no_scrape_and_gets_no_second_query(
    caplog: pytest.LogCaptureFixture,
) -> None:
    outbox = Outbox()
    outbox.gate.clear()
    backlog = backlog_of(outbox)
    assert await backlog.read() is None
    await asyncio.sleep(0.05)
    assert await backlog.read() is None
    assert outbox.queries == 1
    outbox.gate.set()
    assert await backlog.read() is not None
    await backlog.close()
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
