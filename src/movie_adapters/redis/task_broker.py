"""The taskiq broker of the worker and the scheduler, on the stream of `task_queue`.

The API does not import this module: taskiq takes 0.3 s of processor time and 11 MiB in each process.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError
from taskiq import AckableMessage
from taskiq.acks import parse_acknowledge_type
from taskiq_redis import RedisStreamBroker

from movie_adapters.redis.task_queue import GROUP, MAX_ENTRIES, RETRY_INTERVAL, connection_options, stream_of
from movie_core.outage_log import OutageLog

IDLE_TIMEOUT = 600.0
"""Seconds after which an unacknowledged task is delivered again; tasks must end long before."""
READ_BLOCK = 2.0
"""Seconds that one read waits for entries."""
READ_TIMEOUT = 5.0
"""Seconds without a response after which Redis is considered unavailable; longer than `READ_BLOCK`."""
MAX_BATCH = 100
"""Entries per read."""
MAX_EXCERPT = 200
"""Characters of a malformed entry that are logged."""

_log = logging.getLogger(__name__)


class TaskBroker(RedisStreamBroker):
    """A stream broker whose `listen` survives outages of Redis and acknowledges malformed entries."""

    def __init__(self, redis_url: str, prefix: str, *, on_malformed: Callable[[], None] = lambda: None) -> None:
        """`on_malformed` is called for each entry that is acknowledged without running a task."""
        super().__init__(
            redis_url,
            queue_name=stream_of(prefix),
            consumer_group_name=GROUP,
            consumer_id="0",  # a new consumer group starts with the entries that the stream already has
            maxlen=MAX_ENTRIES,
            **connection_options() | {"socket_timeout": READ_TIMEOUT},
        )
        self._on_malformed = on_malformed
        self._outage = OutageLog(
            _log,
            unavailable="Redis unavailable, not consuming tasks; mail delivery continues: %s",
            recovered="Redis available again, consuming tasks",
        )
        self._malformed = OutageLog(
            _log,
            unavailable="malformed entries in the task queue are discarded; the first: %s: %s",
            recovered="no more malformed entries in the task queue",
        )

    async def startup(self) -> None:
        """Does not require Redis, unlike the base class: `listen` creates the consumer group."""
        await super(RedisStreamBroker, self).startup()

    async def listen(self) -> AsyncGenerator[AckableMessage, None]:
        """Yield well-formed entries for ever; reconnect after an outage, even if Redis has lost its data."""
        has_group = False
        while True:
            try:
                if not has_group:
                    await self._declare_consumer_group()
                    has_group = True
                entries = await self._read()
            except Exception as error:  # noqa: BLE001  (redis raises many types of errors while Redis is unavailable)
                has_group = False
                self._outage.failed(f"{type(error).__name__}: {error}")
                await asyncio.sleep(RETRY_INTERVAL)
                continue
            self._outage.recovered()
            problems = [self._problem(fields) for _, fields in entries]
            for (entry_id, fields), problem in zip(entries, problems, strict=True):
                acknowledge = self._acknowledgement(entry_id)
                if problem is None:
                    yield AckableMessage(data=fields[b"data"], ack=acknowledge)
                else:
                    self._malformed.failed(problem, _excerpt(fields))
                    self._on_malformed()
                    await acknowledge()
            if not any(problems):
                self._malformed.recovered()

    async def _read(self) -> list[tuple[bytes, dict[bytes, bytes]]]:
        """Entries that are new, and entries that a worker has received and not acknowledged for `IDLE_TIMEOUT`."""
        redis: Any  # typed for all protocols and decodings at once
        async with Redis(connection_pool=self.connection_pool) as redis:
            stream, group, consumer = self.queue_name, self.consumer_group_name, self.consumer_name
            streams = await redis.xreadgroup(
                group, consumer, {stream: ">"}, count=MAX_BATCH, block=round(READ_BLOCK * 1000)
            )
            # redis-py loses a cancellation that coincides with the response; without this check the worker would
            # continue to read instead of stopping.
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise asyncio.CancelledError
            _, idle, *_ = await redis.xautoclaim(
                stream, group, consumer, min_idle_time=round(IDLE_TIMEOUT * 1000), count=MAX_BATCH
            )
        return [*(entry for _, entries in streams or () for entry in entries), *idle]

    def _problem(self, fields: Mapping[bytes, bytes]) -> str | None:
        """Why no task can be run for an entry; None for a well-formed one."""
        if b"data" not in fields:
            return "no field `data`"
        try:
            message = self.formatter.loads(fields[b"data"])
            message.parse_labels()
            if "ack_type" in message.labels:
                parse_acknowledge_type(message.labels["ack_type"])
        except Exception:  # noqa: BLE001  (an entry may have any content)
            return "not a message of taskiq"
        return "unknown task" if self.find_task(message.task_name) is None else None

    def _acknowledgement(self, entry_id: bytes) -> Callable[[], Awaitable[None]]:
        async def acknowledge() -> None:
            async with Redis(connection_pool=self.connection_pool) as redis:
                # An entry that is not acknowledged is delivered again.
                with contextlib.suppress(RedisError, OSError):
                    await redis.xack(self.queue_name, self.consumer_group_name, entry_id)

        return acknowledge


def _excerpt(fields: Mapping[bytes, bytes]) -> str:
    """The beginning of an entry's data, or of the names of its fields, without control characters."""
    content = fields.get(b"data", b" ".join(fields))
    return repr(content[:MAX_EXCERPT])[:MAX_EXCERPT]
