"""What a worker tells of itself: tasks are counted, and a port of its own answers Prometheus."""

import asyncio
import contextlib
import os
import socket
from collections.abc import Awaitable, Callable
from typing import Any

from dishka import Provider, Scope, provide
from taskiq import TaskiqMessage, TaskiqMiddleware, TaskiqResult

from movie_adapters.observability.metrics import BacklogGauges, Metrics, TaskCounts, is_admitted
from movie_adapters.settings.settings import SettingError, Settings

MAX_HEAD = 8 * 1024
"""Bytes of a request's head."""
REQUEST_SECONDS = 5.0
"""How long a request and its answer may take."""
CONNECTIONS = 8
"""At the same time; others are closed."""

Answer = tuple[bytes, str]
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


class CountTasks(TaskiqMiddleware):
    """Counts what becomes of each task."""

    def __init__(self, counts: TaskCounts) -> None:
        super().__init__()
        self._counts = counts

    def post_execute(self, message: TaskiqMessage, result: TaskiqResult[Any]) -> None:
        self._counts.count(message.task_name, result.execution_time, is_failed=result.is_err)


async def answer_metrics(settings: Settings, text: Callable[[], Awaitable[Answer]]) -> asyncio.Server | None:
    """Answer `GET /metrics` where `MOVIE_METRICS_LISTEN` says, one request a connection, until the server is closed;
    None where it says nothing. Raises `SettingError` where nobody can listen there."""
    if settings.metrics_listen is None:
        return None
    host, _, port = settings.metrics_listen.rpartition(":")
    places = asyncio.Semaphore(CONNECTIONS)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(OSError, TimeoutError, ValueError, EOFError):
            if places.locked():
                return
            async with places, asyncio.timeout(REQUEST_SECONDS):
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                writer.write(await _answer(settings, head, text))
                await writer.drain()

    try:
        return await asyncio.start_server(serve, host.strip("[]"), int(port), limit=MAX_HEAD)
    except OSError as error:
        why = error.strerror if isinstance(error, socket.gaierror) else os.strerror(error.errno or 0)
        raise SettingError("MOVIE_METRICS_LISTEN", f"can't listen there: {(why or str(error)).lower()}") from None


async def _answer(settings: Settings, head: list[str], text: Callable[[], Awaitable[Answer]]) -> bytes:
    method, target, *_ = [*head[0].split(" "), "", ""]
    lines = (line.partition(":") for line in head[1:])
    authorization = [value.strip() for name, _, value in lines if name.lower() == "authorization"]
    if method != "GET" or target.partition("?")[0] != "/metrics" or not is_admitted(settings, authorization):
        return b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    body, media_type = await text()
    told = f"content-type: {media_type}\r\ncontent-length: {len(body)}\r\ncache-control: no-store\r\nconnection: close"
    return f"HTTP/1.1 200 OK\r\n{told}\r\n\r\n".encode() + body
