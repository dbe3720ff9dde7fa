"""Metrics that only the database has: emails by state, and the age of the recommendation model."""

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from movie_core.accounts.outbox import MailState, OutboxStats
from movie_core.clock import Clock, utc_now
from movie_core.discovery.recommendations import ModelInfo
from movie_core.ports import Outbox, Recommender
from movie_core.single_flight import SingleFlight

BACKLOG_TTL = 5.0
"""Seconds for which values from the database are cached, so that frequent scrapes do not load it."""
BACKLOG_TIMEOUT = 0.7
"""Seconds that a scrape waits for the database; after that the database is reported as unavailable."""
_QUERY = "backlog"


@dataclass(frozen=True, slots=True)
class Backlog:
    """Emails by state, the age of the oldest one that is due, and the age of the model, if there is one."""

    mails: Mapping[MailState, int]
    oldest_pending_mail_seconds: float
    model_age_seconds: float | None


class BacklogGauges:
    """Values from the database: at most one query at a time (single-flight), cached for `BACKLOG_TTL` seconds."""

    def __init__(self, outbox: Outbox, recommender: Recommender, *, clock: Clock = utc_now) -> None:
        self._outbox = outbox
        self._recommender = recommender
        self._clock = clock
        self._queries: SingleFlight[tuple[OutboxStats, ModelInfo | None]] = SingleFlight()

    async def read(self) -> Backlog | None:
        """None if the database is unavailable or slow. A failure is cached like a result."""
        # On a timeout the query continues in the background: drivers do not handle cancellation well.
        try:
            async with asyncio.timeout(BACKLOG_TIMEOUT):
                stats, model = await self._queries.join(_QUERY, self._query, ttl=BACKLOG_TTL)
        except Exception:  # noqa: BLE001  (a failed query must not fail the scrape)
            return None
        return Backlog(
            stats.counts,
            0.0 if stats.oldest_pending_since is None else self._age(stats.oldest_pending_since),
            None if model is None else self._age(model.made_at),
        )

    async def _query(self) -> tuple[OutboxStats, ModelInfo | None]:
        return await self._outbox.stats(self._clock()), await self._recommender.model()

    def _age(self, since: datetime) -> float:
        return max(0.0, (self._clock() - since).total_seconds())

    async def close(self) -> None:
        """Wait for a running query; the timeout of the database limits it to seconds."""
        if _QUERY in self._queries:
            with contextlib.suppress(Exception):
                await self._queries.join(_QUERY, self._query)
