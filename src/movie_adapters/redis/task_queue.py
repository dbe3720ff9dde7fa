"""The worker's task queue in a Redis stream, and the delivery notifier that uses it.

Entries have the format of taskiq. This module does not import taskiq, which takes 0.3 s of processor time and 11 MiB;
only the worker and the scheduler do (`task_broker`).
"""

import asyncio
import json
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from movie_adapters.redis.client import PREFIX
from movie_core.errors import Unavailable
from movie_core.outage_log import OutageLog
from movie_core.single_flight import SingleFlight

MAX_ENTRIES = 10_000
"""The approximate maximum length of the stream; Redis does not remove acknowledged entries by itself."""
GROUP = "taskiq"
"""The consumer group of the workers, as taskiq names it."""
DELIVER_MAIL = "deliver_mail"
PURGE = "purge"
TRAIN = "train"
"""Names of tasks in queue messages; `movie_worker.tasks` implements them."""
SEND_SECONDS = 1.0
"""Timeout of each step of sending: connect, write, wait for the response."""
RETRY_INTERVAL = 2.0
"""Seconds without another attempt while Redis is unavailable."""

_log = logging.getLogger(__name__)


def stream_of(prefix: str) -> str:
    """The key of the stream, for a deployment's key prefix."""
    return f"{prefix}tasks"


def connection_options() -> dict[str, Any]:
    """Options of connections that fail within seconds, without another attempt, if Redis is unavailable or frozen."""
    return {
        "socket_timeout": SEND_SECONDS,
        "socket_connect_timeout": SEND_SECONDS,
        "retry": Retry(NoBackoff(), 0),
    }


def entry(task_name: str) -> bytes:
    """A taskiq message for the task of that name, without arguments."""
    message: dict[str, object] = {"labels": {}, "labels_types": None, "args": [], "kwargs": {}}
    return json.dumps({"task_id": uuid4().hex, "task_name": task_name} | message).encode()


@dataclass(frozen=True, slots=True)
class QueuedTask:
    """A task that is queued, or delivered to a worker and not acknowledged."""

    id: str
    """The id of its stream entry."""
    name: str
    """Empty if the stream entry was removed; then the task will not run."""
    age: float
    """Seconds since it was queued."""
    deliveries: int
    """How often it was delivered to a worker; 0 while it is queued."""


class TaskQueue:
    """Sends tasks to the worker, and lists them.

    Every method raises `Unavailable` within seconds when Redis is unavailable, frozen or full.
    """

    def __init__(self, redis_url: str, prefix: str = PREFIX) -> None:
        self._stream = stream_of(prefix)
        self._redis = Redis.from_url(redis_url, **connection_options())

    async def put(self, task_name: str) -> None:
        try:
            await self._redis.xadd(self._stream, {b"data": entry(task_name)}, maxlen=MAX_ENTRIES, approximate=True)
        except (RedisError, OSError) as error:
            raise Unavailable(f"Redis unavailable, cannot queue tasks: {type(error).__name__}") from error

    async def list_tasks(self) -> list[QueuedTask]:
        """The tasks that are queued or not acknowledged, oldest first."""
        redis: Any = self._redis  # typed for all protocols and decodings at once
        try:
            seconds, micros = await redis.time()
            groups = await redis.xinfo_groups(self._stream) if await redis.exists(self._stream) else []
            delivered = [group["last-delivered-id"] for group in groups if group["name"] == GROUP.encode()]
            entries = []
            if delivered:
                for pending in await redis.xpending_range(self._stream, GROUP, min="-", max="+", count=MAX_ENTRIES):
                    entry_id = pending["message_id"]
                    stored = await redis.xrange(self._stream, entry_id, entry_id)
                    entries.append((entry_id, stored[0][1] if stored else {}, pending["times_delivered"]))
            queued = await redis.xrange(self._stream, min=b"(" + delivered[0] if delivered else "-")
            entries += [(entry_id, fields, 0) for entry_id, fields in queued]
        except (RedisError, OSError) as error:
            raise Unavailable(f"Redis unavailable: {type(error).__name__}") from error
        now = seconds + micros / 1e6
        return [
            # An id begins with the time of its entry, in milliseconds of the server's clock.
            QueuedTask(entry_id.decode(), _name(fields), now - int(entry_id.partition(b"-")[0]) / 1e3, deliveries)
            for entry_id, fields, deliveries in entries
        ]

    async def close(self) -> None:
        await self._redis.aclose()


def _name(fields: Mapping[bytes, bytes]) -> str:
    """The name of the task in an entry; empty where the entry has another format."""
    try:
        return str(json.loads(fields[b"data"])["task_name"])
    except (KeyError, TypeError, ValueError, RecursionError):
        return ""


class TaskNotifier:
    """A `DeliveryNotifier` that queues a task for any worker.

    It sends in the background: callers never wait, and a cancelled caller leaves no half command on a connection.
    Notifications during a running send are merged into one.
    """

    def __init__(self, redis_url: str, prefix: str = PREFIX) -> None:
        self._queue = TaskQueue(redis_url, prefix)
        self._outage = OutageLog(
            _log,
            unavailable="emails are delivered later: %s",
            recovered="Redis available again; emails are delivered at once",
        )
        self._sends: SingleFlight[None] = SingleFlight()
        self._is_pending = False
        self._retry_at = 0.0

    async def notify(self) -> None:
        if time.monotonic() < self._retry_at:
            return
        self._is_pending = True
        self._sends.start("pending", self._send_pending)

    async def _send_pending(self) -> None:
        while self._is_pending:
            self._is_pending = False
            try:
                await self._queue.put(DELIVER_MAIL)
            except Unavailable as error:
                self._is_pending = False
                self._retry_at = time.monotonic() + RETRY_INTERVAL
                self._outage.failed(error.detail)
            else:
                self._outage.recovered()

    async def close(self) -> None:
        """Send the pending notification, within `SEND_SECONDS`, and close the connections."""
        await asyncio.wait([self._sends.start("pending", self._send_pending)], timeout=SEND_SECONDS)
        await self._sends.close()
        await self._queue.close()
