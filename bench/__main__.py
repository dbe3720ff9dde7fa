"""Benchmarks: measure the promised figures and print each beside its goal: `make bench`, or `python -m bench`.

    python -m bench [--data FOLDER] [--full] [--only start,search,source,accounts,fast,processes,…] [--before REVISION]

`start`   the first start of `movie-search serve`, until the first response to a search
`search`  title search, evaluated by the protocol and queries in FOLDER (`eval/eval_search.py`, `data/`), on SQLite and
          PostgreSQL; with --full also a million titles
`source`  a failing third party: success rate, response times, calls, probes, recovery
`accounts` registrations while SMTP, Redis and workers are killed (1,000; with --full 10,000), logins and their timing,
          sessions over two processes
`fast`    throughput of cached searches relative to a raw ASGI response on the same server, and the cache under
          stampedes, expiry, frozen and killed processes, and floods of queries (docs/performance.md)
`processes` start-up with a filled database, memory of an API process, requests lost in a rolling restart
`recommendations` recommendations and personal order, evaluated by the protocols in FOLDER
`events`  write throughput of the event stores on SQLite and PostgreSQL; with --full a million events, and the duration
          of the analytics queries on them
`event_ingestion` `POST /events/`: a burst, and sustained load
`migrating` each migration beside concurrent writers, the newest also beside the previous version, at 100,000 ratings,
          with --full a million; the previous version's own tests on the new schema
`restoring` dump, restore, and a lost disk, at as many ratings: lost data and downtime
`restarting` rolling restarts of each role under load: 3 of each, with --full 20
`soaking` a deployment under mixed faults: growth of its processes in 2 minutes, with --full 30
`trends`  interactions per second and the error compared with brute force, in Redis and SQL

Machines differ and other work runs on them: compare ratios, and times only within one run. The exit code is 0 whatever
the figures are; a row that misses its goal begins with MISS.
"""

import argparse
import asyncio
import csv
import json
import logging
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bench import upstream_faults
from bench.accounts import accounts
from bench.database import migrating, restoring
from bench.event_ingestion import event_ingestion
from bench.events import events
from bench.fast import fast
from bench.operations import restarting, soaking
from bench.processes import processes
from bench.recommendations import recommendations
from bench.rows import Row
from bench.trends import trends

ROOT = Path(__file__).parents[1]
PROGRAM = Path(sys.executable).with_name("movie-search")
MILLION = 1_000_000


def start(_: argparse.Namespace) -> Iterator[Row]:
    with served() as (url, began):
        while not _is_found(f"{url}/api/v1/movies/?query=casablanca"):
            time.sleep(0.02)
        seconds = time.perf_counter() - began
        yield Row("first start until the first search response", f"{seconds:.2f} s", "≤ 5 s", seconds <= 5)


def search(arguments: argparse.Namespace) -> Iterator[Row]:
    data: Path | None = arguments.data
    if data is None or not (data / "eval" / "eval_search.py").is_file():
        print("     search: skipped; it requires --data FOLDER (make bench DATA=…) with the evaluation data")
        return
    yield from _search_rows(data, "SQLite, 9,742 titles", "title_search", (0.98, 0.997, 0.988), (1, 10))
    yield from _search_rows(data, "PostgreSQL, 9,742 titles", "title_search_postgres", (0.97, 0.987, 0.978), None)
    if arguments.full:
        scale = ("--scale", str(MILLION))
        yield from _search_rows(data, "SQLite, 1,000,000 titles", "title_search", (0.95, None, None), (5, 50), *scale)
        yield _import_row(data)


def _search_rows(
    data: Path,
    name: str,
    factory: str,
    goals: tuple[float | None, float | None, float | None],
    times: tuple[float, float] | None,
    *options: str,
) -> Iterator[Row]:
    command: list[str | Path] = [
        sys.executable,
        data / "eval" / "eval_search.py",
        f"bench.adapters:{factory}",
        *options,
    ]
    environ = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environ, stdout=subprocess.PIPE, text=True, check=True)
    result = json.loads(done.stdout.splitlines()[0])
    for key, label, goal in zip(("s1", "s10", "mrr"), ("success@1", "success@10", "MRR"), goals, strict=True):
        if goal is not None:
            yield Row(f"{name}: {label}", f"{result[key]:.4f}", f"≥ {goal}", result[key] >= goal)
    for key, label, limit in zip(("p50_ms", "p99_ms"), ("p50", "p99"), times or (), strict=False):
        yield Row(f"{name}: {label}", f"{result[key]:.2f} ms", f"≤ {limit} ms", result[key] <= limit)


def _import_row(data: Path) -> Row:
    """Measures `catalogue import` of a million generated titles."""
    sys.path.insert(0, str(data / "eval"))
    from eval_search import synthetic  # type: ignore[import-not-found]  # located in the evaluation folder

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "million.tsv")
        with file.open("w", encoding="utf-8", newline="") as stream:
            rows = csv.writer(stream, delimiter="\t")
            rows.writerow(("id", "title", "year", "genres", "popularity"))
            for doc in synthetic(MILLION):
                rows.writerow((doc["movie_id"], doc["title"], doc["year"], doc["genres"][0], doc["popularity"]))
        began = time.perf_counter()
        command: list[str | Path] = [PROGRAM, "catalogue", "import", file, "--replace"]
        subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        seconds = time.perf_counter() - began
    return Row("catalogue import of 1,000,000 titles", f"{seconds:.0f} s", "≤ 90 s", seconds <= 90)


def source(arguments: argparse.Namespace) -> Iterator[Row]:
    logging.getLogger("movie_adapters").setLevel(logging.ERROR)
    yield from asyncio.run(upstream_faults.run(quick=not arguments.full))


@contextmanager
def served() -> Iterator[tuple[str, float]]:
    """Yields the URL of a new `movie-search serve` in an empty folder, and its start time."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environ = {name: value for name, value in os.environ.items() if not name.startswith("MOVIE_")}
    environ["MOVIE_PUBLIC_SEARCH"] = "true"
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        command: list[str | Path] = [PROGRAM, "serve", "--port", str(port)]
        process = subprocess.Popen(
            command, cwd=folder, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            yield f"http://127.0.0.1:{port}", began
        finally:
            process.terminate()
            process.wait(20)


def _is_found(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=60) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, ConnectionError):
        return False


SECTIONS: dict[str, Callable[[argparse.Namespace], Iterator[Row]]] = {
    "start": start,
    "search": search,
    "source": source,
    "accounts": lambda arguments: accounts(is_full=arguments.full),
    "fast": lambda arguments: fast(is_full=arguments.full),
    "processes": lambda arguments: processes(is_full=arguments.full),
    "recommendations": lambda arguments: recommendations(arguments.data),
    "events": lambda arguments: events(is_full=arguments.full),
    "event_ingestion": lambda arguments: event_ingestion(is_full=arguments.full),
    "trends": lambda arguments: trends(is_full=arguments.full),
    "migrating": lambda arguments: migrating(arguments.before, is_full=arguments.full),
    "restoring": lambda arguments: restoring(is_full=arguments.full),
    "restarting": lambda arguments: restarting(is_full=arguments.full),
    "soaking": lambda arguments: soaking(is_full=arguments.full),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with the evaluation's eval/ and data/")
    parser.add_argument("--full", action="store_true", help="longer runs and larger amounts of data")
    parser.add_argument("--before", help="revision of the previous version (the commit before the newest migration)")
    parser.add_argument("--only", default=",".join(SECTIONS), help="comma-separated sections")
    arguments = parser.parse_args()
    names = arguments.only.split(",")
    if not set(names) <= set(SECTIONS):
        parser.error(f"--only takes {', '.join(SECTIONS)}")
    if arguments.data is not None:
        arguments.data = arguments.data.resolve()
    for name in names:
        for row in SECTIONS[name](arguments):
            print(row, flush=True)


if __name__ == "__main__":
    main()
