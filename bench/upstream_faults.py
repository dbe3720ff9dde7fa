"""The third-party source under failures: success rate, response times, calls, probes, recovery.

    python -m bench.upstream_faults [--full]

The stand-in runs in this process with a latency of 60 ms; every query is new and nothing is cached. `--full` sends
20,000 searches per failure rate, the default is 1,500.
"""

import argparse
import asyncio
import itertools
import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass

import stamina

from bench.rows import Row
from movie_adapters.sources.http import SourceHttp
from movie_adapters.sources.resilient import ResilientMovieSource
from movie_adapters.sources.third_party import ThirdPartyMovieSource
from movie_core.errors import SourceUnavailable
from movie_core.paging import Window
from movie_core.search.movies import Movie, MovieQuery
from movie_core.search.retry_policy import BreakerState, RetryPolicy, StatusSet
from movie_standin.faults import Behaviour
from movie_standin.server import StandInServer, running_standin

CLIENTS = 24
LATENCY_MS = 60.0
STATUSES = ("400", "403", "408", "429", "500", "502", "503", "504")
MIXED = (*STATUSES, "reset", "hang")
RETRY_POLICY = RetryPolicy()
MOVIES = tuple(Movie(id=str(number), title=f"Movie {number}") for number in range(200))

_numbers = itertools.count()


@dataclass(frozen=True, slots=True)
class Run:
    """Durations of searches in seconds, successful and failed, and the number of calls."""

    succeeded: list[float]
    failed: list[float]
    calls: int

    @property
    def success_rate(self) -> float:
        return len(self.succeeded) / (len(self.succeeded) + len(self.failed))

    @property
    def slowest(self) -> float:
        return max(*self.succeeded, *self.failed, 0.0, 0.0)

    def quantile(self, fraction: float) -> float:
        times = sorted(self.succeeded + self.failed)
        return times[min(len(times) - 1, int(len(times) * fraction))]


async def run(quick: bool) -> list[Row]:
    """Returns all rows; with `quick`, takes about a minute."""
    stamina.instrumentation.set_on_retry_hooks(())
    count = 1_500 if quick else 20_000
    rows = []
    for rate, goal in ((0.3, 0.9999), (0.5, 0.9995), (0.7, 0.99)):
        rows += _rate_rows(rate, goal, await _drive(count, Behaviour(fail_rate=rate, faults=STATUSES)))
    mixed = await _drive(count, Behaviour(fail_rate=0.5, faults=MIXED))
    rows += _rate_rows(0.5, 0.9995, mixed, " mixed with resets and hangs")
    rows.append(Row("p99 at 50 % mixed", f"{mixed.quantile(0.99):.2f} s", "≤ 1.2 s", mixed.quantile(0.99) <= 1.2))
    for name, fault in (("status 500", "500"), ("hanging", "hang"), ("refusing connections", "")):
        rows += await _down_rows(name, fault)
    return rows


def _rate_rows(rate: float, goal: float, run: Run, note: str = "") -> list[Row]:
    name = f"at {rate:.0%} failures{note}"
    limit = RETRY_POLICY.deadline + 0.2
    rows = [
        Row(f"success rate {name}", f"{run.success_rate:.3%}", f"≥ {goal:.2%}", run.success_rate >= goal),
        Row(f"slowest {name}", f"{run.slowest:.2f} s", f"≤ {limit:.1f} s", run.slowest <= limit),
    ]
    if rate == 0.5:
        calls = run.calls / (len(run.succeeded) + len(run.failed))
        rows.append(Row(f"calls per query {name}", f"{calls:.2f}", "≤ 2.1", calls <= 2.1))
    return rows


class Harness:
    """The source under test, connected to a stand-in."""

    def __init__(self, upstream: StandInServer) -> None:
        statuses = StatusSet.parse("400-409,425,429,5xx")
        self.upstream = upstream
        self.http = SourceHttp(upstream.url, timeout=RETRY_POLICY.timeout, retry_status=statuses)
        self.source = ResilientMovieSource(ThirdPartyMovieSource(self.http), RETRY_POLICY)

    async def search(self, run: Run) -> bool:
        """Runs one search with a new query. Returns whether it succeeded."""
        began = time.perf_counter()
        try:
            await self.source.search(MovieQuery(f"never seen {next(_numbers)}"), Window())
        except SourceUnavailable:
            run.failed.append(time.perf_counter() - began)
            return False
        run.succeeded.append(time.perf_counter() - began)
        return True

    async def close(self) -> None:
        await self.source.close()
        await self.http.close()


async def _drive(count: int, behaviour: Behaviour, clients: int = CLIENTS) -> Run:
    behaviour = behaviour.changed({"latency_ms": LATENCY_MS})
    run = Run([], [], 0)
    async with running_standin(MOVIES, behaviour) as upstream:
        harness = Harness(upstream)
        left = iter(range(count))

        async def client() -> None:
            for _ in left:
                await harness.search(run)

        await asyncio.gather(*(client() for _ in range(clients)))
        await harness.close()
        return Run(run.succeeded, run.failed, upstream.total_calls)


async def _down_rows(name: str, fault: str, seconds: float = 4.0) -> list[Row]:
    healthy = Behaviour(fail_rate=0, latency_ms=LATENCY_MS)
    async with running_standin(MOVIES, healthy) as upstream:
        harness = Harness(upstream)
        await _steady(harness, 1.0, lambda: False)
        if fault:
            upstream.behave(Behaviour(fail_rate=1, faults=(fault,), latency_ms=LATENCY_MS))
        else:
            await upstream.refuse()
        await _steady(harness, 4.0, lambda: harness.source.state().state is BreakerState.OPEN)
        await _steady(harness, 0.8, lambda: False)  # attempts from before the circuit breaker opened end
        before = harness.source.outcomes.total()
        down = await _steady(harness, seconds, lambda: False)
        probes = (harness.source.outcomes.total() - before) / seconds
        if fault:
            upstream.behave(healthy)
        else:
            await upstream.start(port=upstream.port)
        began = time.perf_counter()
        await _steady(harness, 4.0, lambda: harness.source.state().state is BreakerState.CLOSED)
        recovery = time.perf_counter() - began
        await harness.close()
    slowest = down.slowest
    return [
        Row(f"down ({name}): slowest response", f"{slowest * 1000:.1f} ms", "≤ 50 ms", slowest <= 0.05),
        Row(f"down ({name}): calls per second", f"{probes:.1f}", "≤ 5", probes <= 5.3),
        Row(f"down ({name}): recovered after", f"{recovery:.2f} s", "≤ 2 s", recovery <= 2),
    ]


async def _steady(harness: Harness, seconds: float, is_enough: Callable[[], bool], rate: float = 200.0) -> Run:
    """Sends searches at a fixed rate, independent of their results; returns when all have ended."""
    run = Run([], [], 0)
    end = time.perf_counter() + seconds
    async with asyncio.TaskGroup() as group:
        while time.perf_counter() < end and not is_enough():
            group.create_task(harness.search(run))
            await asyncio.sleep(random.expovariate(rate))
    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="20,000 searches per rate")
    arguments = parser.parse_args()
    logging.getLogger("movie_adapters").setLevel(logging.ERROR)
    for row in asyncio.run(run(quick=not arguments.full)):
        print(row)


if __name__ == "__main__":
    main()
