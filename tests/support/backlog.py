"""The components that `BacklogGauges` reads, in memory."""

import asyncio
from datetime import datetime, timedelta

from movie_adapters.observability.backlog import BacklogGauges
from movie_core.accounts.outbox import MailState, OutboxStats
from movie_core.discovery.recommendations import ModelInfo
from movie_core.errors import StoreUnavailable
from movie_core.testing import NOW


class Outbox:
    """An outbox with eight emails; `gate` delays its answers."""

    def __init__(self) -> None:
        self.queries = 0
        self.is_unavailable = False
        self.gate = asyncio.Event()
        self.gate.set()

    async def stats(self, now: datetime) -> OutboxStats:
        self.queries += 1
        await self.gate.wait()
        if self.is_unavailable:
            raise StoreUnavailable("no database")
        return OutboxStats({MailState.PENDING: 2, MailState.SENT: 5, MailState.DEAD: 1}, NOW - timedelta(seconds=90))


class Recommender:
    """A recommender whose model is an hour old."""

    made: ModelInfo | None = ModelInfo(NOW - timedelta(hours=1), 10, 2, 5)

    async def model(self) -> ModelInfo | None:
        return self.made


def backlog_of(outbox: Outbox, recommender: Recommender | None = None) -> BacklogGauges:
    return BacklogGauges(outbox, recommender or Recommender(), clock=lambda: NOW)  # type: ignore[arg-type]
