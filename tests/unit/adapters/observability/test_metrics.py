"""Metrics of a process, with components in memory."""

import asyncio
import platform
from collections import Counter
from importlib.metadata import version
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.support.backlog import Outbox, Recommender, backlog_of

from movie_adapters.observability import metrics as module
from movie_adapters.observability.metrics import (
    BOUNDS,
    METRICS,
    Metrics,
    MetricsPeers,
    RequestCounts,
    TaskCounts,
    is_scrape_authorized,
)
from movie_adapters.settings.settings import Settings
from movie_core.discovery.event_recorder import EventRecorder
from movie_core.provenance import CacheStatus
from movie_core.search.retry_policy import BreakerState, CircuitBreakerSnapshot

SECRET = "a token for metrics alone"


class Source:
    def __init__(self) -> None:
        self.outcomes = Counter({"success": 7, "timeout": 2})

    def state(self) -> CircuitBreakerSnapshot:
        return CircuitBreakerSnapshot(BreakerState.OPEN, 12.5, 50, "timeout")


def full_metrics(outbox: Outbox) -> Metrics:
    """Metrics of a process that has every component."""
    requests, tasks = RequestCounts(), TaskCounts(["train", "purge"])
    requests.count("/api/v1/movies", "GET", 200, 0.004)
    tasks.count("train", 1.5, is_failed=True)
    recorder = EventRecorder(None)
    recorder.record_search(None, "heat", CacheStatus.STALE)
    recorder.dropped = 3
    return Metrics(
        backlog_of(outbox),
        source_name="third_party",
        requests=requests,
        recorder=recorder,
        source=Source(),
        redis={"redis": lambda: True},
        tasks=tasks,
    )


async def scrape(metrics: Metrics | MetricsPeers) -> dict[str, dict[tuple[str, ...], float]]:
    """Values by metric name and label values; label values are sorted by label name."""
    body, media_type = await metrics.text()
    assert media_type.startswith("text/plain; version=")
    values: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(body.decode()):
        for sample in family.samples:
            labels = tuple(value for _, value in sorted(sample.labels.items()))
            values.setdefault(sample.name, {})[labels] = sample.value
    return values


async def test_a_process_with_every_component_exports_every_metric() -> None:
    values = await scrape(full_metrics(Outbox()))
    names = {f"{metric.name}_count" if metric.kind == "histogram" else metric.name for metric in METRICS}
    assert names <= set(values)
    assert {name.removesuffix("_bucket").removesuffix("_sum").removesuffix("_count") for name in values} == {
        metric.name for metric in METRICS
    }
    assert values["movie_searches_total"] == {("live",): 0, ("fresh",): 0, ("stale",): 1, ("fallback",): 0}
    assert values["movie_source_attempts_total"] == {("success",): 7, ("timeout",): 2}
    assert values["movie_circuit_breaker_state"] == {("closed",): 0, ("open",): 1, ("half_open",): 0}
    assert values["movie_circuit_breaker_state_seconds"] == {(): 12.5}
    assert values["movie_dependency_up"] == {("database",): 1, ("redis",): 0}
    assert values["movie_events_dropped_total"] == {(): 3}
    assert values["movie_mails"] == {("pending",): 2, ("sent",): 5, ("dead",): 1}
    assert values["movie_oldest_pending_mail_seconds"] == {(): 90}
    assert values["movie_model_age_seconds"] == {(): 3600}
    assert values["movie_tasks_total"][("failed", "train")] == 1
    assert values["movie_tasks_total"][("failed", "purge")] == 0
    assert values["movie_task_duration_seconds_sum"][("train",)] == 1.5
    assert values["movie_task_duration_seconds_bucket"]["1.0", "train"] == 0
    assert values["movie_task_duration_seconds_bucket"]["2.5", "train"] == 1
    assert values["movie_task_duration_seconds_count"][("purge",)] == 0
    assert values["process_resident_memory_bytes"][()] > 1 << 20


async def test_metrics_of_missing_components_are_omitted() -> None:
    values = await scrape(Metrics(backlog_of(Outbox()), source_name="catalogue"))
    assert "movie_mails" in values
    assert not any("request" in name or "search" in name or "task" in name or "breaker" in name for name in values)


async def test_request_durations_are_counted_in_cumulative_buckets() -> None:
    requests = RequestCounts()
    for seconds in (0.0001, 0.001, 0.0011, 0.3, 60.0):
        requests.count("/a", "GET", 204, seconds)
    requests.count(None, "BREW", 404, 0.1)
    requests.count(None, "MAKE UP", 404, 0.1)
    values = await scrape(Metrics(backlog_of(Outbox()), source_name="catalogue", requests=requests))
    buckets = {
        labels[0]: value
        for labels, value in values["movie_request_duration_seconds_bucket"].items()
        if labels[2] == "/a"
    }
    assert list(map(float, buckets)) == [*BOUNDS, float("inf")]
    assert (buckets["0.001"], buckets["0.0025"], buckets["0.5"], buckets["5.0"], buckets["+Inf"]) == (2, 3, 4, 4, 5)
    counts = values["movie_request_duration_seconds_count"]
    assert counts == {("GET", "/a", "2xx"): 5, ("other", "none", "4xx"): 2}
    assert values["movie_request_duration_seconds_sum"][("GET", "/a", "2xx")] == pytest.approx(60.3022)


async def test_an_unavailable_database_is_reported_and_does_not_fail_the_scrape() -> None:
    outbox = Outbox()
    outbox.is_unavailable = True
    values = await scrape(full_metrics(outbox))
    assert values["movie_dependency_up"][("database",)] == 0
    assert "movie_mails" not in values
    assert "movie_searches_total" in values


async def test_the_model_age_is_omitted_before_the_first_model() -> None:
    recommender = Recommender()
    recommender.made = None
    values = await scrape(Metrics(backlog_of(Outbox(), recommender=recommender), source_name="catalogue"))
    assert "movie_model_age_seconds" not in values


def settings(**environ: str) -> Settings:
    return Settings.load(environ, dotenv=None)


PRODUCTION = {
    "MOVIE_ENV": "production",
    "MOVIE_PUBLIC_URL": "https://movies.test",
    "MOVIE_DATABASE_URL": "postgresql+asyncpg://db/movies",
    "MOVIE_REDIS_URL": "redis://redis",
    "MOVIE_SECRET_KEY": "kX9mB2vQ7wL4nR8tY3pF6sD1gH5jC0zA",
    "MOVIE_SMTP_URL": "smtps://mail.test",
}


@pytest.mark.parametrize(
    ("token", "authorization", "expected"),
    [
        (SECRET.replace(" ", "-"), [f"Bearer {SECRET.replace(' ', '-')}"], True),
        (SECRET.replace(" ", "-"), [f"bearer {SECRET.replace(' ', '-')}"], False),
        (SECRET.replace(" ", "-"), [f"Bearer {SECRET.replace(' ', '-')}x"], False),
        (SECRET.replace(" ", "-"), [f"Bearer {SECRET.replace(' ', '-')}"] * 2, False),
        (SECRET.replace(" ", "-"), ["Bearer \udcff"], False),
        (SECRET.replace(" ", "-"), [], False),
        ("", ["Bearer "], False),
        ("", [], False),
    ],
)
def test_production_requires_the_metrics_token(token: str, authorization: list[str], expected: bool) -> None:
    assert is_scrape_authorized(settings(**PRODUCTION, MOVIE_METRICS_TOKEN=token), authorization) is expected


def test_locally_metrics_need_no_token() -> None:
    assert is_scrape_authorized(settings(), [])


async def test_a_scrape_returns_the_metrics_of_all_processes_on_the_port(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    peers = []
    for number, times in ((1, 3), (2, 4)):
        requests = RequestCounts()
        for _ in range(times):
            requests.count("/a", "GET", 200, 0.1)
        monkeypatch.setattr(module.os, "getpid", lambda number=number: number)
        peers.append(MetricsPeers(tmp_path, Metrics(backlog_of(Outbox()), source_name="catalogue", requests=requests)))
        await peers[-1].open()
    (tmp_path / "3.metrics").touch()  # left by a process that was killed
    for peer in peers:
        values = await scrape(peer)
        assert values["movie_request_duration_seconds_count"] == {
            ("GET", "1", "/a", "2xx"): 3,
            ("GET", "2", "/a", "2xx"): 4,
        }
        assert set(values["process_resident_memory_bytes"]) == {("1",), ("2",)}
        assert values["movie_mails"]["1", "dead"] == 1
    peers[0].close()
    assert set((await scrape(peers[1]))["movie_build_info"]) == {
        ("2", platform.python_version(), "catalogue", version("movie-search-backend"))
    }
    peers[1].close()


async def test_a_hanging_peer_is_omitted(tmp_path: Path) -> None:
    connected = asyncio.Event()

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connected.set()
        await reader.read()
        writer.close()

    server = await asyncio.start_unix_server(hang, str(tmp_path / "9.metrics"))
    peer = MetricsPeers(tmp_path, Metrics(backlog_of(Outbox()), source_name="catalogue"), peer_timeout=0.05)
    assert len((await scrape(peer))["movie_dependency_up"]) == 1
    assert connected.is_set()
    server.close()
