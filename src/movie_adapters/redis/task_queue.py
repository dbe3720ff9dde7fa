"""The queue in front of the worker: how tasks are put into its Redis stream, and the doorbell over it.

Entries are as taskiq reads them; taskiq itself is needed by the worker alone, and costs each process that imports it
some 0.3 s.
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

MAX_ENTRIES = 10_000
"""Entries that the stream keeps, about; acknowledged ones are not removed by themselves."""
GROUP = "taskiq"
"""Of the workers that share the stream, as taskiq names it."""
DELIVER_MAIL = "deliver_mail"
PURGE = "purge"
TRAIN = "train"
SEND_SECONDS = 1.0
"""How long each step of sending may take: connecting, writing, waiting for the answer."""
QUIET_SECONDS = 2.0
"""How long a doorbell tries nothing after a failure."""

_log = logging.getLogger(__name__)


def stream_of(prefix: str) -> str:
    """The key of the stream, in a deployment whose keys begin with `prefix`."""
    return f"{prefix}tasks"


def entry(task_name: str) -> bytes:
    """A message for the task of that name, without arguments."""
    empty: dict[str, object] = {"labels": {}, "labels_types": None, "args": [], "kwargs": {}}
    return json.dumps({"task_id": uuid4().hex, "task_name": task_name} | empty).encode()


@dataclass(frozen=True, slots=True)
class QueuedTask:
    """A task that waits for a worker, or that one has taken and not finished."""

    id: str
    """Of its entry in the stream."""
    name: str
    """Empty where the entry was removed, so that nobody will do it again."""
    age: float
    """Seconds since it was queued."""
    deliveries: int
    """How often a worker has taken it; 0: it waits."""


class TaskQueue:
    """Sends tasks to the worker. Its connections are its own: those that listen must wait without limit, these must
    not. Every method raises `Unavailable` within seconds when Redis is away, frozen or full."""

    def __init__(self, redis_url: str, prefix: str = PREFIX) -> None:
        self._stream = stream_of(prefix)
        self._redis = Redis.from_url(
            redis_url,
            socket_timeout=SEND_SECONDS,
            socket_connect_timeout=SEND_SECONDS,
            retry=Retry(NoBackoff(), 0),
        )

    async def put(self, task_name: str) -> None:
        try:
            await self._redis.xadd(self._stream, {b"data": entry(task_name)}, maxlen=MAX_ENTRIES, approximate=True)
        except (RedisError, OSError) as error:
            raise Unavailable(f"no task can be queued in Redis: {type(error).__name__}") from error

    async def ping(self) -> None:
        try:
            await self._redis.ping()
        except (RedisError, OSError) as error:
            raise Unavailable(f"Redis doesn't answer: {type(error).__name__}") from error

    async def listed(self) -> list[QueuedTask]:
        """What isn't done yet, oldest first."""
        redis: Any = self._redis  # typed for all protocols and decodings at once
        try:
            seconds, micros = await redis.time()
            groups = await redis.xinfo_groups(self._stream) if await redis.exists(self._stream) else []
            delivered = [one["last-delivered-id"] for one in groups if one["name"] == GROUP.encode()]
            found = []
            if delivered:
                for one in await redis.xpending_range(self._stream, GROUP, min="-", max="+", count=MAX_ENTRIES):
                    kept = await redis.xrange(self._stream, one["message_id"], one["message_id"])
                    found.append((one["message_id"], kept[0][1] if kept else {}, one["times_delivered"]))
            waiting = await redis.xrange(self._stream, min=b"(" + delivered[0] if delivered else "-")
            found += [(entry_id, fields, 0) for entry_id, fields in waiting]
        except (RedisError, OSError) as error:
            raise Unavailable(f"Redis doesn't answer: {type(error).__name__}") from error
        now = seconds + micros / 1e6
        return [
            # The first part of an id is when its entry was made, in milliseconds by the server's clock.
            QueuedTask(entry_id.decode(), _name(fields), now - int(entry_id.partition(b"-")[0]) / 1e3, deliveries)
            for entry_id, fields, deliveries in found
        ]

    async def close(self) -> None:
        await self._redis.aclose()


def _name(fields: Mapping[bytes, bytes]) -> str:
    """Of the task in an entry; empty where the entry is none of ours."""
    try:
        return str(json.loads(fields[b"data"])["task_name"])
    except (KeyError, TypeError, ValueError):
        return ""


class TaskNotifier:
    """A `DeliveryNotifier` heard by whichever worker is free. It sends in the background, so that no caller waits or,
    when cancelled, leaves half a command on a connection. Rings while one is being sent become one more."""

    def __init__(self, redis_url: str, prefix: str = PREFIX) -> None:
        self._queue = TaskQueue(redis_url, prefix)
        self._sending: asyncio.Task[None] | None = None
        self._is_wanted = False
        self._quiet_until = 0.0

    async def notify(self) -> None:
        if time.monotonic() < self._quiet_until:
            return
        self._is_wanted = True
        if self._sending is None or self._sending.done():
            self._sending = asyncio.create_task(self._send())

    async def _send(self) -> None:
        while self._is_wanted:
            self._is_wanted = False
            try:
                await self._queue.put(DELIVER_MAIL)
            except Unavailable as away:
                self._is_wanted = False
                self._quiet_until = time.monotonic() + QUIET_SECONDS
                _log.warning("mail goes out a bit later: %s", away.detail)

    async def close(self) -> None:
        """Sends what has been rung, if that takes no longer than a second."""
        if self._sending is not None:
            await asyncio.wait([self._sending], timeout=SEND_SECONDS)
            self._sending.cancel()
        await self._queue.close()
