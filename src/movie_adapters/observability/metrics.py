"""Metrics of a process in Prometheus' text form, from a registry of our own.

Whatever happens often counts in plain numbers; Prometheus' library, which takes 40 ms to import, comes with the first
look at them. No label holds what a client makes up. `METRICS` is the one list; documentation, alerts and dashboard are
tested against it.
"""

import asyncio
import contextlib
import hmac
import os
import platform
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from movie_adapters.settings.settings import Settings
from movie_core.accounts.outbox import OutboxStats
from movie_core.clock import utc_now
from movie_core.discovery.event_recorder import EventRecorder
from movie_core.discovery.recommendations import ModelInfo
from movie_core.ports import Outbox, Recommender
from movie_core.provenance import CacheStatus
from movie_core.search.retry_policy import BreakerState, Snapshot

if TYPE_CHECKING:
    from prometheus_client.core import Metric as Family

BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
"""Seconds: the upper bounds of a duration's buckets."""
LOOK_SECONDS = 5.0
"""How long what the database said is told again, so that looking often costs it nothing."""
WAIT_SECONDS = 0.7
"""How long a look at the metrics waits for the database; then it is told as away."""
SIBLING_SECONDS = 0.9
"""How long another process may take to tell its metrics."""
_SOCKET = ".metrics"
METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
NO_ROUTE = "none"
"""Where no route matched, or the request was refused before one was looked for."""


@dataclass(frozen=True, slots=True)
class Metric:
    """A name, and what it means."""

    name: str
    """As it is asked for; of a histogram without `_bucket`, `_sum` and `_count`."""
    kind: Literal["counter", "gauge", "histogram"]
    labels: tuple[str, ...]
    meaning: str


METRICS = (
    Metric(
        "movie_request_duration_seconds",
        "histogram",
        ("route", "method", "status"),
        "requests and how long they took, by the route's template (`none`: no route matched), method, class of status",
    ),
    Metric("movie_searches_total", "counter", ("state",), "searches answered, by the state of the answer"),
    Metric(
        "movie_source_attempts_total",
        "counter",
        ("outcome",),
        "calls of the movie source, by how they ended: `answered`, or the kind of failure",
    ),
    Metric("movie_breaker_state", "gauge", ("state",), "1 for the state that the source's circuit breaker is in"),
    Metric("movie_breaker_state_seconds", "gauge", (), "for how long it has been in that state"),
    Metric(
        "movie_part_away",
        "gauge",
        ("part",),
        "1 while this process goes on without `database`, `redis` or `cache_redis`; only of parts that it uses",
    ),
    Metric("movie_events_waiting", "gauge", (), "events that wait in memory to be written"),
    Metric("movie_events_dropped_total", "counter", (), "events that found memory full and are lost"),
    Metric(
        "movie_mails",
        "gauge",
        ("state",),
        "mails: `pending`, `sent` (kept for 30 days), `dead` (given up)",
    ),
    Metric(
        "movie_oldest_unsent_mail_seconds",
        "gauge",
        (),
        "for how long the oldest mail waits that could have gone out; 0 where none does",
    ),
    Metric("movie_model_age_seconds", "gauge", (), "age of the model that recommends; missing before the first"),
    Metric("movie_tasks_total", "counter", ("task", "outcome"), "tasks that a worker ran, `done` or `failed`"),
    Metric("movie_task_seconds_total", "counter", ("task",), "time that they took"),
    Metric("movie_build_info", "gauge", ("version", "python", "source"), "always 1; its labels say what runs"),
    Metric("process_cpu_seconds_total", "counter", (), "processor time used"),
    Metric("process_resident_memory_bytes", "gauge", (), "memory in use"),
    Metric("process_virtual_memory_bytes", "gauge", (), "address space in use"),
    Metric("process_open_fds", "gauge", (), "open files and connections"),
    Metric("process_max_fds", "gauge", (), "how many there may be"),
    Metric("process_start_time_seconds", "gauge", (), "when the process began, in seconds since 1970"),
)

Reading = tuple[str, tuple[str, ...], float]
"""Name, values of its labels, value."""
Duration = tuple[tuple[str, ...], Sequence[float], float]
"""Values of labels, how many in each bucket, seconds in all."""


def is_admitted(settings: Settings, authorization: Sequence[str]) -> bool:
    """Whether metrics are shown to who sends these `Authorization` headers: locally to everybody."""
    if settings.env == "local":
        return True
    expected = None if settings.metrics_token is None else f"Bearer {settings.metrics_token}".encode()
    given = authorization[0].encode("utf-8", "surrogateescape") if len(authorization) == 1 else b""
    return expected is not None and hmac.compare_digest(given, expected)


class RequestCounts:
    """How many requests there were, and how long they took."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str | None, str, int], list[float]] = {}

    def count(self, route: str | None, method: str, status: int, seconds: float) -> None:
        """`route` is a template, one of those there are."""
        key = (route, method, status // 100)
        numbers = self._kept.get(key)
        if numbers is None:
            if method not in METHODS:  # whatever a client makes up
                key = (route, "other", status // 100)
            numbers = self._kept.setdefault(key, [0] * (len(BOUNDS) + 1) + [0.0])
        numbers[bisect_left(BOUNDS, seconds)] += 1
        numbers[-1] += seconds

    def told(self) -> Iterator[Duration]:
        for (route, method, status), numbers in list(self._kept.items()):
            shown = f"{status}xx" if status else "none"
            yield (route or NO_ROUTE, method, shown), numbers[:-1], numbers[-1]


class TaskCounts:
    """What became of tasks, by their names."""

    def __init__(self, names: Iterable[str]) -> None:
        self.ended = Counter({(name, outcome): 0 for name in names for outcome in ("done", "failed")})
        self.seconds = dict.fromkeys((name for name, _ in self.ended), 0.0)

    def count(self, name: str, seconds: float, *, is_failed: bool) -> None:
        """Of a name that isn't known nothing is kept."""
        if name in self.seconds:
            self.ended[name, "failed" if is_failed else "done"] += 1
            self.seconds[name] += seconds


class SourceMetrics(Protocol):
    """What a source with patience says of itself."""

    outcomes: Counter[str]

    def state(self) -> Snapshot: ...


class BacklogGauges:
    """What only the database knows: looked up when asked for, one look at a time, and remembered for a moment."""

    def __init__(
        self,
        outbox: Outbox,
        recommender: Recommender,
        *,
        clock: Callable[[], datetime] = utc_now,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._outbox = outbox
        self._recommender = recommender
        self._clock = clock
        self._monotonic = monotonic
        self._look: asyncio.Task[tuple[OutboxStats, ModelInfo | None]] | None = None
        self._began = 0.0

    async def look(self) -> tuple[OutboxStats, ModelInfo | None] | None:
        """None where the database is away or slow."""
        is_over = self._look is None or self._look.done()
        if self._look is None or (is_over and self._monotonic() - self._began >= LOOK_SECONDS):
            self._began = self._monotonic()
            self._look = asyncio.create_task(self._read())
        # It may go on behind our back: a driver takes it badly to be broken off.
        await asyncio.wait({self._look}, timeout=WAIT_SECONDS)
        is_answered = self._look.done() and not self._look.cancelled() and self._look.exception() is None
        return self._look.result() if is_answered else None

    async def _read(self) -> tuple[OutboxStats, ModelInfo | None]:
        return await self._outbox.stats(self._clock()), await self._recommender.model()

    async def close(self) -> None:
        """Wait for a look under way; the database ends it within seconds."""
        if self._look is not None:
            await asyncio.gather(self._look, return_exceptions=True)

    def readings(self, found: tuple[OutboxStats, ModelInfo | None] | None) -> Iterator[Reading]:
        yield "movie_part_away", ("database",), float(found is None)
        if found is None:
            return
        stats, model = found
        now = self._clock()
        for state, amount in stats.counts.items():
            yield "movie_mails", (state.value,), amount
        waits = 0.0 if stats.waiting_since is None else (now - stats.waiting_since).total_seconds()
        yield "movie_oldest_unsent_mail_seconds", (), max(0.0, waits)
        if model is not None:
            yield "movie_model_age_seconds", (), max(0.0, (now - model.made_at).total_seconds())


class Metrics:
    """What a process tells of itself; of parts that it has not, nothing."""

    def __init__(
        self,
        backlog: BacklogGauges,
        *,
        source_name: str,
        requests: RequestCounts | None = None,
        recorder: EventRecorder | None = None,
        source: SourceMetrics | None = None,
        redis: Mapping[str, Callable[[], bool]] | None = None,
        tasks: TaskCounts | None = None,
    ) -> None:
        """`redis` says of each Redis in use whether it is away."""
        self._backlog = backlog
        self._source_name = source_name
        self._requests = requests
        self._recorder = recorder
        self._source = source
        self._redis = redis or {}
        self._tasks = tasks

    async def text(self) -> tuple[bytes, str]:
        """All of it, and its media type; within a second, whatever is away."""
        found = await self._backlog.look()
        readings = [*self._readings(), *self._backlog.readings(found)]
        durations = [] if self._requests is None else [*self._requests.told()]
        # Hundreds of routes and buckets take milliseconds to write, in which requests shouldn't wait.
        return await asyncio.to_thread(_written, readings, durations)

    def _readings(self) -> Iterator[Reading]:
        if self._recorder is not None:
            for state in CacheStatus:
                yield "movie_searches_total", (state.value,), self._recorder.answered[state.value]
            yield "movie_events_waiting", (), self._recorder.waiting
            yield "movie_events_dropped_total", (), self._recorder.dropped
        if self._source is not None:
            for outcome, times in ({"answered": 0} | self._source.outcomes).items():
                yield "movie_source_attempts_total", (outcome,), times
            breaker = self._source.state()
            for one in BreakerState:
                yield "movie_breaker_state", (one.value,), float(one is breaker.state)
            yield "movie_breaker_state_seconds", (), breaker.seconds
        for part, is_away in self._redis.items():
            yield "movie_part_away", (part,), float(is_away())
        if self._tasks is not None:
            for task_and_outcome, times in self._tasks.ended.items():
                yield "movie_tasks_total", task_and_outcome, times
            for task, seconds in self._tasks.seconds.items():
                yield "movie_task_seconds_total", (task,), seconds
        yield "movie_build_info", (version("movie-search-backend"), platform.python_version(), self._source_name), 1.0


def _written(readings: Sequence[Reading], durations: Sequence[Duration]) -> tuple[bytes, str]:
    from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
    from prometheus_client.exposition import CONTENT_TYPE_LATEST

    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Told(list(_families(readings, durations))))
    ProcessCollector(registry=registry)
    return generate_latest(registry), CONTENT_TYPE_LATEST


def _families(readings: Sequence[Reading], durations: Sequence[Duration]) -> "Iterator[Family]":
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

    told: dict[str, list[tuple[tuple[str, ...], float]]] = {}
    for name, labels, value in readings:
        told.setdefault(name, []).append((labels, value))
    for metric in METRICS:
        if metric.kind == "histogram":
            histogram = HistogramMetricFamily(metric.name, metric.meaning, labels=metric.labels)
            for labels, counts, seconds in durations:
                histogram.add_metric(labels, _cumulated(counts), seconds)
            if durations:
                yield histogram
        elif metric.name in told:
            make = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
            family = make(metric.name, metric.meaning, labels=metric.labels)
            for labels, value in told[metric.name]:
                family.add_metric(labels, value)
            yield family


class MetricsPeers:
    """Processes that share one port, so that nobody can ask a certain one: each tells the others its metrics by a
    socket in `folder`, which must be theirs alone, and whoever is asked answers for all, by the label `process`.
    Without a folder a process is alone.
    """

    def __init__(self, folder: Path | None, metrics: Metrics) -> None:
        self._own = None if folder is None else folder / f"{os.getpid()}{_SOCKET}"
        self._metrics = metrics
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        if self._own is None:
            return

        async def tell(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.closing(writer), contextlib.suppress(OSError):
                writer.write((await self._metrics.text())[0])
                await writer.drain()

        self._server = await asyncio.start_unix_server(tell, str(self._own))

    async def text(self) -> tuple[bytes, str]:
        """As `Metrics.text`, of all of them that answer."""
        if self._own is None:
            return await self._metrics.text()
        others = [path for path in self._own.parent.glob(f"*{_SOCKET}") if path != self._own]
        asked = asyncio.gather(*map(_ask, others))
        (own, media_type), told = await self._metrics.text(), await asked
        texts = {self._own.stem: own} | {path.stem: text for path, text in zip(others, told, strict=True)}
        return await asyncio.to_thread(_merged, texts), media_type

    def close(self) -> None:
        if self._server is not None and self._own is not None:
            self._server.close()
            self._own.unlink(missing_ok=True)


async def _ask(path: Path) -> bytes:
    """What a sibling tells; nothing where it is busy or was killed."""
    try:
        async with asyncio.timeout(SIBLING_SECONDS):
            reader, writer = await asyncio.open_unix_connection(str(path))
            with contextlib.closing(writer):
                return await reader.read()
    except (OSError, TimeoutError):
        return b""


def _merged(texts: Mapping[str, bytes]) -> bytes:
    """One text of many, by process. A tenth of the work of reading them as Prometheus would."""
    families: dict[str, list[str]] = {}
    for process, text in texts.items():
        label, known, name = f'process="{process}"', set(families), ""
        for line in text.decode().split("\n"):
            if line.startswith("# HELP "):
                name = line.split(" ", 3)[2]
            lines = families.setdefault(name, [])
            if line.startswith("#"):
                if name not in known:
                    lines.append(line)
            elif "{" in line:
                lines.append(line.replace("{", f"{{{label},", 1))
            elif line:
                lines.append(line.replace(" ", f"{{{label}}} ", 1))
    return "".join(f"{line}\n" for lines in families.values() for line in lines).encode()


class _Told:
    """A collector, as Prometheus' library calls what it asks."""

    def __init__(self, families: "Sequence[Family]") -> None:
        self._families = families

    def collect(self) -> "Iterable[Family]":
        return self._families


def _cumulated(counts: Sequence[float]) -> list[tuple[str, float]]:
    buckets: list[tuple[str, float]] = []
    total = 0.0
    for bound, count in zip((*map(str, BOUNDS), "+Inf"), counts, strict=True):
        total += count
        buckets.append((bound, total))
    return buckets
