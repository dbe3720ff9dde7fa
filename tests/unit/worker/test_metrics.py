"""Metrics of a worker."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from prometheus_client import CollectorRegistry
from taskiq import InMemoryBroker

from movie_adapters.observability.metrics import TaskCounts
from movie_adapters.settings.settings import Settings
from movie_worker.metrics import REQUEST_TIMEOUT, TaskCountingMiddleware, serve_metrics

TOKEN = "only-for-metrics-of-tests"


async def text() -> tuple[bytes, str]:
    return b"movie_build_info 1.0\n", "text/plain; version=1.0.0"


@asynccontextmanager
async def serving(
    request_timeout: float = REQUEST_TIMEOUT, **environ: str
) -> AsyncIterator[Callable[[bytes], "asyncio.Future[bytes]"]]:
    """Yields a function that sends bytes to the metrics port and returns the response."""
    settings = Settings.load({"MOVIE_METRICS_LISTEN": "127.0.0.1:1", **environ}, dotenv=None)
    object.__setattr__(settings, "metrics_listen", "127.0.0.1:0")
    server = await serve_metrics(settings, text, request_timeout=request_timeout)
    assert server is not None
    port = server.sockets[0].getsockname()[1]

    async def send(data: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(data)
        try:
            return await reader.read()
        except ConnectionError:
            return b""
        finally:
            writer.close()

    try:
        yield lambda data: asyncio.ensure_future(send(data))
    finally:
        server.close()


async def test_metrics_are_served_on_a_separate_port() -> None:
    async with serving() as send:
        head, _, body = (await send(b"GET /metrics HTTP/1.1\r\nHost: worker:9101\r\n\r\n")).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 OK\r\ncontent-type: text/plain; version=1.0.0\r\ncontent-length: 21\r\n")
        assert body == b"movie_build_info 1.0\n"
        for other in (b"GET / HTTP/1.1\r\n\r\n", b"POST /metrics HTTP/1.1\r\n\r\n", b"nonsense\r\n\r\n"):
            assert (await send(other)).startswith(b"HTTP/1.1 404 ")


async def test_production_requires_the_metrics_token() -> None:
    production = {
        "MOVIE_ENV": "production",
        "MOVIE_PUBLIC_URL": "https://movies.test",
        "MOVIE_DATABASE_URL": "postgresql+asyncpg://db/movies",
        "MOVIE_REDIS_URL": "redis://redis",
        "MOVIE_SECRET_KEY": "kX9mB2vQ7wL4nR8tY3pF6sD1gH5jC0zA",
        "MOVIE_SMTP_URL": "smtps://mail.test",
        "MOVIE_METRICS_TOKEN": TOKEN,
    }
    async with serving(**production) as send:
        request = b"GET /metrics HTTP/1.1\r\nAuthorization: Bearer %b\r\n\r\n"
        assert (await send(request % TOKEN.encode())).startswith(b"HTTP/1.1 200 ")
        assert (await send(request % b"another")).startswith(b"HTTP/1.1 404 ")
        assert (await send(b"GET /metrics HTTP/1.1\r\n\r\n")).startswith(b"HTTP/1.1 404 ")


async def test_oversized_and_stalled_requests_are_closed() -> None:
    async with serving(request_timeout=0.05) as send:
        assert await send(b"GET /metrics HTTP/1.1\r\nX: " + b"x" * 100_000) == b""
        assert await asyncio.wait_for(send(b"GET /metr"), 5) == b""
        assert (await send(b"GET /metrics HTTP/1.1\r\n\r\n")).startswith(b"HTTP/1.1 200 ")


async def test_metrics_are_not_served_unless_configured() -> None:
    assert await serve_metrics(Settings.load({}, dotenv=None), text) is None


async def test_tasks_are_counted_by_outcome() -> None:
    counts = TaskCounts(["good", "bad"])
    broker = InMemoryBroker().with_middlewares(TaskCountingMiddleware(counts))

    async def good() -> int:
        return 1

    async def bad() -> int:
        raise ValueError

    tasks = [broker.register_task(task, task_name=name) for task, name in ((good, "good"), (bad, "bad"), (good, "new"))]
    for task in (*tasks, tasks[0]):
        await (await task.kiq()).wait_result(timeout=5)
    await broker.shutdown()
    registry = CollectorRegistry()
    registry.register(counts.outcomes)
    registry.register(counts.durations)
    numbers = {
        (task, outcome): registry.get_sample_value("movie_tasks_total", {"task": task, "outcome": outcome})
        for task in ("good", "bad", "new")
        for outcome in ("succeeded", "failed")
    }
    assert numbers == {
        ("good", "succeeded"): 2,
        ("good", "failed"): 0,
        ("bad", "succeeded"): 0,
        ("bad", "failed"): 1,
        ("new", "succeeded"): None,
        ("new", "failed"): None,
    }
    assert registry.get_sample_value("movie_tasks_total", {"task": "none", "outcome": "malformed"}) == 0
    assert registry.get_sample_value("movie_task_duration_seconds_count", {"task": "good"}) == 2
    assert registry.get_sample_value("movie_task_duration_seconds_count", {"task": "new"}) is None
