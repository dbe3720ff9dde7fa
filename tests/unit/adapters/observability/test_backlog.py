"""Values from the database for metrics."""

import asyncio
import logging

import pytest
from tests.support.backlog import Outbox, backlog_of

from movie_adapters.observability import backlog as module


async def test_database_values_are_cached() -> None:
    outbox = Outbox()
    backlog = backlog_of(outbox)
    await asyncio.gather(*(backlog.read() for _ in range(20)))
    await asyncio.sleep(module.BACKLOG_TTL - 0.1)
    await backlog.read()
    assert outbox.queries == 1
    await asyncio.sleep(0.2)
    await backlog.read()
    assert outbox.queries == 2


async def test_a_hanging_database_delays_no_scrape_and_gets_no_second_query(
    caplog: pytest.LogCaptureFixture,
) -> None:
    outbox = Outbox()
    outbox.gate.clear()
    backlog = backlog_of(outbox)
    assert await backlog.read() is None
    await asyncio.sleep(2 * module.BACKLOG_TTL)
    assert await backlog.read() is None
    assert outbox.queries == 1
    outbox.gate.set()
    assert await backlog.read() is not None
    await backlog.close()
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
