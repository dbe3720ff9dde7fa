"""Metrics of a process in the Prometheus text format, with a registry separate from the global one.

Frequent events are counted in plain numbers: `prometheus_client` takes 40 ms to import and is loaded at the first
scrape. No label has a value that a client can choose. `METRICS` is the only list of metrics; tests compare
documentation, alerts and dashboard with it.
"""

import asyncio
import contextlib
import hmac
import os
import platform
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from movie_core.accounts.outbox import OutboxStats
from movie_core.clock import utc_now
from movie_core.discovery.event_recorder import EventRecorder
from movie_core.discovery.recommendations import ModelInfo
from movie_core.ports import Outbox, Recommender
from movie_core.provenance import CacheStatus
from movie_core.search.retry_policy import BreakerState, CircuitBreakerSnapshot
from movie_core.single_flight import SingleFlight

if TYPE_CHECKING:
    from prometheus_client.core import Metric as Family

BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
"""Upper bounds of the buckets of every histogram, in seconds."""
BACKLOG_TTL = 5.0
"""Seconds for which values from the database are cached, so that frequent scrapes do not load it."""
BACKLOG_TIMEOUT = 0.7
"""Seconds that a scrape waits for the database; after that the database is reported as unavailable."""
PEER_TIMEOUT = 0.9
"""Seconds that a scrape waits for the metrics of another process."""
_SOCKET = ".metrics"
_QUERY = "backlog"
METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
NO_ROUTE = "none"
"""Value of the label `route` if no route matched, or if the request was rejected before routing."""
NO_TASK = "none"
"""Value of the label `task` of queue entries that name no known task."""


@dataclass(frozen=True, slots=True)
class Metric:
    """Name and description of a metric."""

    name: str
    """As used in queries; for a histogram without `_bucket`, `_sum` and `_count`."""
    kind: Literal["counter", "gauge", "histogram"]
    labels: tuple[str, ...]
    meaning: str


METRICS = (
    Metric(
        "movie_request_duration_seconds",
        "histogram",
        ("route", "method", "status"),
        "number and duration of requests, by route template (`none`: no route matched), method and status class",
    ),
    Metric("movie_searches_total", "counter", ("state",), "searches answered, by cache status"),
    Metric(
        "movie_source_attempts_total",
        "counter",
        ("outcome",),
        "calls of the movie source by outcome: `success`, or the kind of failure",
    ),
    Metric(
        "movie_circuit_breaker_state",
        "gauge",
        ("state",),
        "1 for the current state of the movie source's circuit breaker",
    ),
    Metric(
        "movie_circuit_breaker_state_seconds",
        "gauge",
        (),
        "time since the circuit breaker entered its current state",
    ),
    Metric(
        "movie_dependency_up",
        "gauge",
        ("dependency",),
        "1 if this process can use `database`, `redis` or `cache_redis`, 0 while it runs without; only dependencies "
        "that it uses",
    ),
    Metric("movie_events_pending", "gauge", (), "events in memory that wait to be written"),
    Metric("movie_events_dropped_total", "counter", (), "events lost because the buffer was full"),
    Metric(
        "movie_mails",
        "gauge",
        ("state",),
        "emails: `pending`, `sent` (stored for 30 days), `dead` (no more attempts)",
    ),
    Metric(
        "movie_oldest_pending_mail_seconds",
        "gauge",
        (),
        "age of the oldest email that is due and not sent; 0 if there is none",
    ),
    Metric("movie_model_age_seconds", "gauge", (), "age of the recommendation model; missing before the first"),
    Metric(
        "movie_tasks_total",
        "counter",
        ("task", "outcome"),
        "tasks run by a worker: `succeeded` or `failed`; `malformed`: discarded queue entries (task `none`)",
    ),
    Metric("movie_task_duration_seconds", "histogram", ("task",), "duration of tasks"),
    Metric(
        "movie_build_info",
        "gauge",
        ("version", "python", "source"),
        "always 1; the labels identify the running version",
    ),
    Metric("process_cpu_seconds_total", "counter", (), "processor time used"),
    Metric("process_resident_memory_bytes", "gauge", (), "resident memory"),
    Metric("process_virtual_memory_bytes", "gauge", (), "virtual memory"),
    Metric("process_open_fds", "gauge", (), "open files and connections"),
    Metric("process_max_fds", "gauge", (), "limit of open files and connections"),
    Metric("process_start_time_seconds", "gauge", (), "start time of the process, in seconds since 1970"),
)

Sample = tuple[str, tuple[str, ...], float]
"""Name of a counter or gauge, values of its labels, value."""
HistogramSample = tuple[str, tuple[str, ...], Sequence[float], float]
"""Name of a histogram, values of its labels, observations in each bucket, sum of all observations in seconds."""


class ScrapeSettings(Protocol):
    """The settings that control access to `/metrics`."""

    @property
    def env(self) -> str: ...

    @property
    def metrics_token(self) -> str | None: ...


def is_scrape_authorized(settings: ScrapeSettings, authorization: Sequence[str]) -> bool:
    """Whether a request with these `Authorization` headers may read the metrics. Locally every request may."""
    if settings.env == "local":
        return True
    expected = None if settings.metrics_token is None else f"Bearer {settings.metrics_token}".encode()
    received = authorization[0].encode("utf-8", "surrogateescape") if len(authorization) == 1 else b""
    return expected is not None and hmac.compare_digest(received, expected)


class _Durations:
    """Observations of one histogram for one set of labels."""

    __slots__ = ("buckets", "seconds")

    def __init__(self) -> None:
        self.buckets = [0] * (len(BOUNDS) + 1)
        self.seconds = 0.0

    def observe(self, seconds: float) -> None:
        self.buckets[bisect_left(BOUNDS, seconds)] += 1
        self.seconds += seconds


class RequestCounts:
    """Number and duration of requests."""

    def __init__(self) -> None:
        self._durations: dict[tuple[str | None, str, int], _Durations] = {}

    def count(self, route: str | None, method: str, status: int, seconds: float) -> None:
        """`route` is the template of an existing route."""
        key = (route, method, status // 100)
        durations = self._durations.get(key)
        if durations is None:
            if method not in METHODS:  # a client may send any method; each would become another time series
                key = (route, "other", status // 100)
            durations = self._durations.setdefault(key, _Durations())
        durations.observe(seconds)

    def samples(self) -> Iterator[HistogramSample]:
        for (route, method, status), durations in list(self._durations.items()):
            labels = (route or NO_ROUTE, method, f"{status}xx" if status else "none")
            yield "movie_request_duration_seconds", labels, durations.buckets, durations.seconds


class TaskCounts:
    """Outcomes and durations of tasks, by task name."""

    def __init__(self, names: Iterable[str]) -> None:
        self.outcomes = Counter({(name, outcome): 0 for name in names for outcome in ("succeeded", "failed")})
        self._durations = {name: _Durations() for name, _ in self.outcomes}
        self.outcomes[NO_TASK, "malformed"] = 0

    def count(self, name: str, seconds: float, *, is_failed: bool) -> None:
        """Tasks with an unknown name are not counted."""
        if name in self._durations:
            self.outcomes[name, "failed" if is_failed else "succeeded"] += 1
            self._durations[name].observe(seconds)

    def count_malformed(self) -> None:
        """Counts a queue entry that names no known task."""
        self.outcomes[NO_TASK, "malformed"] += 1

    def samples(self) -> Iterator[HistogramSample]:
        for name, durations in self._durations.items():
            yield "movie_task_duration_seconds", (name,), durations.buckets, durations.seconds


class SourceMetrics(Protocol):
    """Metrics of a movie source with retries and a circuit breaker."""

    outcomes: Counter[str]

    def state(self) -> CircuitBreakerSnapshot: ...


class BacklogGauges:
    """Values from the database: at most one query at a time (single-flight), cached for `BACKLOG_TTL` seconds."""

    def __init__(self, outbox: Outbox, recommender: Recommender, *, clock: Callable[[], datetime] = utc_now) -> None:
        self._outbox = outbox
        self._recommender = recommender
        self._clock = clock
        self._queries: SingleFlight[tuple[OutboxStats, ModelInfo | None]] = SingleFlight()

    async def read(self) -> tuple[OutboxStats, ModelInfo | None] | None:
        """None if the database is unavailable or slow. A failure is cached like a result."""
        # On a timeout the query continues in the background: drivers do not handle cancellation well.
        try:
            async with asyncio.timeout(BACKLOG_TIMEOUT):
                return await self._queries.join(_QUERY, self._query, ttl=BACKLOG_TTL)
        except Exception:  # noqa: BLE001  (a failed query must not fail the scrape)
            return None

    async def _query(self) -> tuple[OutboxStats, ModelInfo | None]:
        return await self._outbox.stats(self._clock()), await self._recommender.model()

    async def close(self) -> None:
        """Wait for a running query; the timeout of the database limits it to seconds."""
        if _QUERY in self._queries:
            with contextlib.suppress(Exception):
                await self._queries.join(_QUERY, self._query)

    def samples(self, backlog: tuple[OutboxStats, ModelInfo | None] | None) -> Iterator[Sample]:
        yield "movie_dependency_up", ("database",), float(backlog is not None)
        if backlog is None:
            return
        stats, model = backlog
        now = self._clock()
        for state, count in stats.counts.items():
            yield "movie_mails", (state.value,), count
        age = 0.0 if stats.oldest_pending_since is None else (now - stats.oldest_pending_since).total_seconds()
        yield "movie_oldest_pending_mail_seconds", (), max(0.0, age)
        if model is not None:
            yield "movie_model_age_seconds", (), max(0.0, (now - model.made_at).total_seconds())


class Metrics:
    """All metrics of one process; metrics of components that the process does not run are omitted."""

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
        """`redis` has, for each Redis in use, a function that returns whether it is unavailable."""
        self._backlog = backlog
        self._source_name = source_name
        self._requests = requests
        self._recorder = recorder
        self._source = source
        self._redis = redis or {}
        self._tasks = tasks

    async def text(self) -> tuple[bytes, str]:
        """All metrics and their media type; takes less than a second even if dependencies are unavailable."""
        backlog = await self._backlog.read()
        samples = [*self._samples(), *self._backlog.samples(backlog)]
        histograms = [] if self._requests is None else [*self._requests.samples()]
        if self._tasks is not None:
            histograms += self._tasks.samples()
        # Rendering hundreds of routes and buckets takes milliseconds, during which requests should not wait.
        return await asyncio.to_thread(_render, samples, histograms)

    def _samples(self) -> Iterator[Sample]:
        if self._recorder is not None:
            for status in CacheStatus:
                yield "movie_searches_total", (status.value,), self._recorder.searches_by_status[status.value]
            yield "movie_events_pending", (), self._recorder.pending
            yield "movie_events_dropped_total", (), self._recorder.dropped
        if self._source is not None:
            for outcome, count in ({"success": 0} | self._source.outcomes).items():
                yield "movie_source_attempts_total", (outcome,), count
            breaker = self._source.state()
            for state in BreakerState:
                yield "movie_circuit_breaker_state", (state.value,), float(state is breaker.state)
            yield "movie_circuit_breaker_state_seconds", (), breaker.seconds
        for dependency, is_unavailable in self._redis.items():
            yield "movie_dependency_up", (dependency,), float(not is_unavailable())
        if self._tasks is not None:
            for task_and_outcome, count in self._tasks.outcomes.items():
                yield "movie_tasks_total", task_and_outcome, count
        yield "movie_build_info", (version("movie-search-backend"), platform.python_version(), self._source_name), 1.0


def _render(samples: Sequence[Sample], histograms: Sequence[HistogramSample]) -> tuple[bytes, str]:
    from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
    from prometheus_client.exposition import CONTENT_TYPE_LATEST

    registry = CollectorRegistry(auto_describe=False)
    registry.register(_FamilyCollector(list(_families(samples, histograms))))
    ProcessCollector(registry=registry)
    return generate_latest(registry), CONTENT_TYPE_LATEST


def _families(samples: Sequence[Sample], histograms: Sequence[HistogramSample]) -> "Iterator[Family]":
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

    values: dict[str, list[tuple[tuple[str, ...], float]]] = {}
    for name, labels, value in samples:
        values.setdefault(name, []).append((labels, value))
    observations: dict[str, list[tuple[tuple[str, ...], Sequence[float], float]]] = {}
    for name, labels, buckets, seconds in histograms:
        observations.setdefault(name, []).append((labels, buckets, seconds))
    for metric in METRICS:
        if metric.name in observations:
            histogram = HistogramMetricFamily(metric.name, metric.meaning, labels=metric.labels)
            for labels, buckets, seconds in observations[metric.name]:
                histogram.add_metric(labels, _cumulative(buckets), seconds)
            yield histogram
        elif metric.name in values:
            make = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
            family = make(metric.name, metric.meaning, labels=metric.labels)
            for labels, value in values[metric.name]:
                family.add_metric(labels, value)
            yield family


class MetricsPeers:
    """Merges the metrics of all processes that share one port, because a scrape reaches any one of them.

    Each process serves its metrics on a Unix socket in `folder`, which only these processes may use. The process that
    is scraped returns the metrics of all, with the label `process`. Without a folder a process has no peers.
    """

    def __init__(self, folder: Path | None, metrics: Metrics) -> None:
        self._socket_path = None if folder is None else folder / f"{os.getpid()}{_SOCKET}"
        self._metrics = metrics
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        if self._socket_path is None:
            return

        async def send_metrics(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.closing(writer), contextlib.suppress(OSError):
                writer.write((await self._metrics.text())[0])
                await writer.drain()

        self._server = await asyncio.start_unix_server(send_metrics, str(self._socket_path))

    async def text(self) -> tuple[bytes, str]:
        """Like `Metrics.text`, for all processes that respond."""
        if self._socket_path is None:
            return await self._metrics.text()
        peers = [path for path in self._socket_path.parent.glob(f"*{_SOCKET}") if path != self._socket_path]
        requests = asyncio.gather(*map(_read_peer, peers))
        (own_text, media_type), peer_texts = await self._metrics.text(), await requests
        texts = {self._socket_path.stem: own_text}
        texts |= {path.stem: text for path, text in zip(peers, peer_texts, strict=True)}
        return await asyncio.to_thread(_merge, texts), media_type

    def close(self) -> None:
        if self._server is not None and self._socket_path is not None:
            self._server.close()
            self._socket_path.unlink(missing_ok=True)


async def _read_peer(path: Path) -> bytes:
    """The metrics of another process; empty if it is busy or was killed."""
    try:
        async with asyncio.timeout(PEER_TIMEOUT):
            reader, writer = await asyncio.open_unix_connection(str(path))
            with contextlib.closing(writer):
                return await reader.read()
    except (OSError, TimeoutError):
        return b""


def _merge(texts: Mapping[str, bytes]) -> bytes:
    """Merge metrics by process into one text. Ten times faster than parsing them with `prometheus_client`."""
    families: dict[str, list[str]] = {}
    for process, text in texts.items():
        label, known_names, name = f'process="{process}"', set(families), ""
        for line in text.decode().split("\n"):
            if line.startswith("# HELP "):
                name = line.split(" ", 3)[2]
            lines = families.setdefault(name, [])
            if line.startswith("#"):
                if name not in known_names:
                    lines.append(line)
            elif "{" in line:
                lines.append(line.replace("{", f"{{{label},", 1))
            elif line:
                lines.append(line.replace(" ", f"{{{label}}} ", 1))
    return "".join(f"{line}\n" for lines in families.values() for line in lines).encode()


class _FamilyCollector:
    """A `prometheus_client` collector of finished metric families."""

    def __init__(self, families: "Sequence[Family]") -> None:
        self._families = families

    def collect(self) -> "Iterable[Family]":
        return self._families


def _cumulative(buckets: Sequence[float]) -> list[tuple[str, float]]:
    """Upper bounds and cumulative counts, as the text format requires."""
    cumulative: list[tuple[str, float]] = []
    total = 0.0
    for bound, count in zip((*map(str, BOUNDS), "+Inf"), buckets, strict=True):
        total += count
        cumulative.append((bound, total))
    return cumulative
