"""The commands `migrate`, `config`, `doctor`, `cache …` and `tasks …`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from dishka import AsyncContainer
from rich.table import Table
from rich.text import Text

from movie_adapters.settings.settings import Settings
from movie_adapters.wiring.connections import SharedRedis
from movie_adapters.wiring.preparation import prepare_schema
from movie_cli.app import OPERATIONS, app, cache_app, tasks_app
from movie_cli.diagnosis import all_checks
from movie_cli.output import CommandError, JsonOption, out, print_done, print_lines
from movie_cli.services import load_settings, open_container, prepare_search
from movie_core.errors import StoreUnavailable
from movie_core.operations.administration import AuditRecorder, flush_cache
from movie_core.operations.audit import COMMAND_LINE
from movie_core.ports import CacheStore


@app.command(group=OPERATIONS)
async def migrate() -> None:
    """Migrate the database schema; with the embedded source, also load the bundled films."""
    settings = load_settings()
    async with open_container(settings) as container:
        await prepare_search(settings, container)
    out.print("the database schema is up to date")


@asynccontextmanager
async def _open_cache() -> AsyncIterator[tuple[CacheStore, AsyncContainer]]:
    async with open_container(load_settings()) as container:
        cache = (await container.get(SharedRedis)).cache_store()
        if cache is None:
            raise CommandError(
                "without MOVIE_REDIS_URL or MOVIE_CACHE_REDIS_URL each process has its own cache, which this "
                "command cannot access; restart the process to flush it"
            )
        yield cache, container


@cache_app.command(name="stats")
async def cache_stats(*, as_json: JsonOption = False) -> None:
    """Show the number of cache entries in Redis and their memory usage in KiB.

    Parameters
    ----------
    as_json
        Print JSON, for scripts.
    """
    async with _open_cache() as (cache, _):
        stats = await cache.stats()
    print_lines(("entries", "KiB"), [(str(stats.entries), str(-(-stats.bytes // 1024)))], as_json=as_json)


@cache_app.command(name="flush")
async def cache_flush() -> None:
    """Delete all cache entries in Redis; running processes flush their own caches within two seconds."""
    async with _open_cache() as (cache, container):
        with suppress(StoreUnavailable):  # flushing works without the database; the missing audit entry is reported
            await prepare_schema(await container.get(Settings))
        deleted = await flush_cache(COMMAND_LINE, cache, await container.get(AuditRecorder))
    print_done(f"cache entries deleted: {deleted}")


@tasks_app.command(name="list")
async def list_tasks(*, as_json: JsonOption = False) -> None:
    """List queued tasks, and delivered ones that are not finished, oldest first: id, task, state, seconds since it was
    queued, number of deliveries.

    Parameters
    ----------
    as_json
        Print JSON, for scripts.
    """
    settings = load_settings()
    if settings.redis_url is None:
        raise CommandError("without MOVIE_REDIS_URL there is no task queue; `serve` does the work itself")
    from movie_adapters.redis.task_queue import TaskQueue

    queue = TaskQueue(settings.redis_url, settings.key_prefix)
    try:
        tasks = await queue.list_tasks()
    finally:
        await queue.close()
    print_lines(
        ("id", "task", "state", "age s", "deliveries"),
        [
            (task.id, task.name, "delivered" if task.deliveries else "queued", f"{task.age:.0f}", str(task.deliveries))
            for task in tasks
        ],
        as_json=as_json,
    )


@app.command(group=OPERATIONS)
def config() -> None:
    """Print every setting, its value (redacted if secret), and its origin."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("setting", "value", "origin"):
        table.add_column(heading, overflow="fold")
    for row in load_settings().explain():
        table.add_row(*row)
    out.print(table)


@app.command(group=OPERATIONS)
async def doctor() -> None:
    """Check database, Redis, source, SMTP, data directory and clock, and print the remedy for each failure."""
    settings = load_settings()
    async with open_container(settings) as container:
        with suppress(StoreUnavailable):  # reported below, with the remedy
            await prepare_search(settings, container)
        results = await (await all_checks(settings, container)).results()
    for result in results:
        state = Text("ok    ", "green") if result.is_reachable else Text("failed", "red")
        remedy = "" if result.is_reachable else f"; {result.dependency.advice}"
        out.print(state, end="  ")
        out.print(f"{result.dependency.name}: {result.detail}{remedy}", highlight=False, soft_wrap=True)
    if not all(result.is_reachable for result in results):
        failed = ", ".join(result.dependency.name for result in results if not result.is_reachable)
        raise CommandError(f"failed: {failed}")
