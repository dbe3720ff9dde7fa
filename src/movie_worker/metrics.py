"""Metrics of a worker: counts tasks, and serves `/metrics` for Prometheus on a separate port."""

import asyncio
import contextlib
import os
import socket
from collections.abc import Awaitable, Callable
from typing import Any

from dishka import Provider, Scope, provide
from taskiq import TaskiqMessage, TaskiqMiddleware, TaskiqResult

from movie_adapters.observability.backlog import BacklogGauges
from movie_adapters.observability.metrics import Metrics, TaskCounts, is_scrape_authorized
from movie_adapters.settings.settings import SettingError, Settings

MAX_HEAD = 8 * 1024
"""Maximum size of a request's headers, in bytes."""
REQUEST_TIMEOUT = 5.0
"""Time limit of a request and its response, in seconds."""
MAX_CONNECTIONS = 8
"""Concurrent connections; others are closed."""

Body = tuple[bytes, str]
"""Body and media type."""


class MetricsProvider(Provider):
    """The metrics of a worker."""

    scope = Scope.APP

    def __init__(self, tasks: TaskCounts) -> None:
        super().__init__()
        self._tasks = tasks

    @provide
    def metrics(self, settings: Settings, backlog: BacklogGauges) -> Metrics:
        return Metrics(backlog, source_name=settings.source, tasks=self._tasks)


class TaskCountingMiddleware(TaskiqMiddleware):
    """Counts finished tasks by outcome, and their durations."""

    def __init__(self, counts: TaskCounts) -> None:
        super().__init__()
        self._counts = counts

    def post_execute(self, message: TaskiqMessage, result: TaskiqResult[Any]) -> None:
        self._counts.count(message.task_name, result.execution_time, is_failed=result.is_err)


async def serve_metrics(
    settings: Settings, text: Callable[[], Awaitable[Body]], *, request_timeout: float = REQUEST_TIMEOUT
) -> asyncio.Server | None:
    """Serves `GET /metrics` at the bind address `MOVIE_METRICS_LISTEN`, one request per connection, until the returned
    server is closed. Returns None if the setting is unset; raises `SettingError` if the address cannot be bound."""
    if settings.metrics_listen is None:
        return None
    host, _, port = settings.metrics_listen.rpartition(":")
    slots = asyncio.Semaphore(MAX_CONNECTIONS)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(OSError, TimeoutError, ValueError, EOFError):
            if slots.locked():
                return
            async with slots, asyncio.timeout(request_timeout):
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                writer.write(await _response(settings, head, text))
                await writer.drain()

    try:
        return await asyncio.start_server(serve, host.strip("[]"), int(port), limit=MAX_HEAD)
    except OSError as error:
        reason = error.strerror if isinstance(error, socket.gaierror) else os.strerror(error.errno or 0)
        detail = (reason or str(error)).lower()
        raise SettingError("MOVIE_METRICS_LISTEN", f"cannot listen on this address: {detail}") from None


async def _response(settings: Settings, head: list[str], text: Callable[[], Awaitable[Body]]) -> bytes:
    method, target, *_ = [*head[0].split(" "), "", ""]
    lines = (line.partition(":") for line in head[1:])
    authorization = [value.strip() for name, _, value in lines if name.lower() == "authorization"]
    if method != "GET" or target.partition("?")[0] != "/metrics" or not is_scrape_authorized(settings, authorization):
        return b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    body, media_type = await text()
    headers = (
        f"content-type: {media_type}\r\ncontent-length: {len(body)}\r\ncache-control: no-store\r\nconnection: close\r\n"
    )
    return f"HTTP/1.1 200 OK\r\n{headers}\r\n".encode() + body
