"""`migrate`, `config`, `doctor`, `cache …` and `tasks …`."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from dishka import AsyncContainer
from rich.table import Table
from rich.text import Text

from movie_adapters.settings.settings import Settings
from movie_adapters.wiring.connections import SharedRedis
from movie_adapters.wiring.preparation import prepare_schema
from movie_cli.app import UPKEEP, app, cache_app, tasks_app
from movie_cli.output import CommandError, out, print_done, print_lines
from movie_cli.services import T, open_container, prepare_search
from movie_core.errors import StoreUnavailable
from movie_core.operations.administration import Administration
from movie_core.operations.audit import COMMAND_LINE
from movie_core.operations.health import Readiness
from movie_core.ports import CacheStore


@app.command(group=UPKEEP)
def migrate() -> None:
    """Bring the database's schema up to date; with the embedded source, make the bundled films searchable."""

    async def run() -> None:
        settings = Settings.load()
        async with open_container(settings) as container:
            await prepare_search(settings, container)
        out.print("the database is up to date")

    asyncio.run(run())


def _with_entries(work: Callable[[CacheStore, AsyncContainer], Awaitable[T]]) -> T:
    async def run() -> T:
        async with open_container(Settings.load()) as container:
            entries = (await container.get(SharedRedis)).entries()
            if entries is None:
                raise CommandError(
                    "without MOVIE_REDIS_URL or MOVIE_CACHE_REDIS_URL each process remembers for itself and can't be "
                    "reached; restarting it empties its cache"
                )
            return await work(entries, container)

    return asyncio.run(run())


@cache_app.command(name="stats")
def cache_stats() -> None:
    """Tell how many answers are remembered in Redis, and how much memory they take there."""
    told = _with_entries(lambda entries, _: entries.stats())
    print_lines(("answers", "KiB"), [(str(told.entries), str(-(-told.bytes // 1024)))])


@cache_app.command(name="flush")
def flush_cache() -> None:
    """Forget what is remembered in Redis; every running process follows within two seconds."""

    async def flush(entries: CacheStore, container: AsyncContainer) -> int:
        with suppress(StoreUnavailable):  # the cache can be flushed without the database, and what lacks then is told
            await prepare_schema(await container.get(Settings))
        return await (await container.get(Administration)).flush(COMMAND_LINE, entries)

    print_done(f"answers forgotten: {_with_entries(flush)}")


@tasks_app.command(name="list")
def list_tasks() -> None:
    """Print a line per task that is queued or being done, oldest first: id, task, state, seconds since it was queued,
    times it was handed out."""
    settings = Settings.load()
    if settings.redis_url is None:
        raise CommandError("without MOVIE_REDIS_URL there is no queue; `serve` does the work itself")
    from movie_adapters.redis.task_queue import TaskQueue

    async def run(url: str) -> None:
        queue = TaskQueue(url, settings.key_prefix)
        try:
            tasks = await queue.listed()
        finally:
            await queue.close()
        print_lines(
            ("id", "task", "state", "age s", "handed out"),
            [
                (one.id, one.name, "taken" if one.deliveries else "queued", f"{one.age:.0f}", str(one.deliveries))
                for one in tasks
            ],
        )

    asyncio.run(run(settings.redis_url))


@app.command(group=UPKEEP)
def config() -> None:
    """Print every setting, its value (redacted where secret), and where it comes from."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("setting", "value", "from"):
        table.add_column(heading, overflow="fold")
    for row in Settings.load().explain():
        table.add_row(*row)
    out.print(table)


@app.command(group=UPKEEP)
def doctor() -> None:
    """Reach each part and say what to do about those that are away."""

    async def run() -> bool:
        settings = Settings.load()
        async with open_container(settings) as container:
            with suppress(StoreUnavailable):  # told below, with advice
                await prepare_search(settings, container)
            findings = await (await container.get(Readiness)).findings()
        for finding in findings:
            sign = Text("ok  ", "green") if finding.is_reached else Text("away", "red")
            out.print(sign, end="  ")
            out.print(f"{finding.part.name}: {finding.detail}", highlight=False)
            if not finding.is_reached:
                out.print(f"      {finding.part.advice}", highlight=False)
        return all(finding.is_reached for finding in findings)

    if not asyncio.run(run()):
        raise CommandError("not every part can be reached")
