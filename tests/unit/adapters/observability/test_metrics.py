"""What a process tells of itself, over parts in memory."""

import asyncio
import logging
import platform
from collections import Counter
from datetime import datetime, timedelta
from importlib.metadata import version
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from movie_adapters.observability import metrics as module
from movie_adapters.observability.metrics import (
    BOUNDS,
    METRICS,
    BacklogGauges,
    Metrics,
    MetricsPeers,
    RequestCounts,
    TaskCounts,
    is_admitted,
)
from movie_adapters.settings.settings import Settings
from movie_core.accounts.outbox import MailState, OutboxStats
from movie_core.discovery.event_recorder import EventRecorder
from movie_core.discovery.recommendations import ModelInfo
from movie_core.errors import StoreUnavailable
from movie_core.provenance import CacheStatus
from movie_core.search.retry_policy import BreakerState, Snapshot
from movie_core.testing import NOW

SECRET = "a token for metrics alone"


class Outbox:
    def __init__(self) -> None:
        self.looks = 0
        self.is_away = False
        self.gate = asyncio.Event()
        self.gate.set()

    async def stats(self, now: datetime) -> OutboxStats:
        self.looks += 1
        await self.gate.wait()
        if self.is_away:
            raise StoreUnavailable("no database")
        return OutboxStats({MailState.PENDING: 2, MailState.SENT: 5, MailState.DEAD: 1}, NOW - timedelta(seconds=90))


class Recommender:
    made: ModelInfo | None = ModelInfo(NOW - timedelta(hours=1), 10, 2, 5)

    async def model(self) -> ModelInfo | None:
        return self.made


class Source:
    def __init__(self) -> None:
        self.outcomes = Counter({"answered": 7, "timeout": 2})

    def state(self) -> Snapshot:
        return Snapshot(BreakerState.OPEN, 12.5, 50, "timeout")


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def stock_of(outbox: Outbox, clock: Clock | None = None, recommender: Recommender | None = None) -> BacklogGauges:
    return BacklogGauges(outbox, recommender or Recommender(), clock=lambda: NOW, monotonic=clock or Clock())  # type: ignore[arg-type]


def whole(outbox: Outbox) -> Metrics:
    """Of a process that has every part."""
    requests, tasks = RequestCounts(), TaskCounts(["train", "purge"])
    requests.count("/api/v1/movies", "GET", 200, 0.004)
    tasks.count("train", 1.5, is_failed=True)
    recorder = EventRecorder(None)
    recorder.search(None, "heat", CacheStatus.STALE)
    recorder.dropped = 3
    return Metrics(
        stock_of(outbox),
        source_name="third_party",
        requests=requests,
        recorder=recorder,
        source=Source(),
        redis={"redis": lambda: True},
        tasks=tasks,
    )


async def readings(metrics: Metrics | MetricsPeers) -> dict[str, dict[tuple[str, ...], float]]:
    """Values by name, and by the values of labels in the order of their names."""
    body, media_type = await metrics.text()
    assert media_type.startswith("text/plain; version=")
    told: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(body.decode()):
        for sample in family.samples:
            labels = tuple(value for _, value in sorted(sample.labels.items()))
            told.setdefault(sample.name, {})[labels] = sample.value
    return told


async def test_every_metric_is_told_by_a_process_that_has_every_part() -> None:
    told = await readings(whole(Outbox()))
    names = {name for one in METRICS for name in (f"{one.name}_count" if one.kind == "histogram" else one.name,)}
    assert names <= set(told)
    assert {name.removesuffix("_bucket").removesuffix("_sum").removesuffix("_count") for name in told} == {
        one.name for one in METRICS
    }
    assert told["movie_searches_total"] == {("live",): 0, ("fresh",): 0, ("stale",): 1, ("fallback",): 0}
    assert told["movie_source_attempts_total"] == {("answered",): 7, ("timeout",): 2}
    assert told["movie_breaker_state"] == {("closed",): 0, ("open",): 1, ("half_open",): 0}
    assert told["movie_breaker_state_seconds"] == {(): 12.5}
    assert told["movie_part_away"] == {("database",): 0, ("redis",): 1}
    assert told["movie_events_dropped_total"] == {(): 3}
    assert told["movie_mails"] == {("pending",): 2, ("sent",): 5, ("dead",): 1}
    assert told["movie_oldest_unsent_mail_seconds"] == {(): 90}
    assert told["movie_model_age_seconds"] == {(): 3600}
    assert told["movie_tasks_total"][("failed", "train")] == 1
    assert told["movie_tasks_total"][("failed", "purge")] == 0
    assert told["movie_task_seconds_total"][("train",)] == 1.5
    assert told["process_resident_memory_bytes"][()] > 1 << 20


async def test_of_parts_that_a_process_has_not_it_tells_nothing() -> None:
    told = await readings(Metrics(stock_of(Outbox()), source_name="catalogue"))
    assert "movie_mails" in told
    assert not any("request" in name or "search" in name or "task" in name or "breaker" in name for name in told)


async def test_requests_are_counted_in_buckets_that_add_up() -> None:
    requests = RequestCounts()
    for seconds in (0.0001, 0.001, 0.0011, 0.3, 60.0):
        requests.count("/a", "GET", 204, seconds)
    requests.count(None, "BREW", 404, 0.1)
    requests.count(None, "MAKE UP", 404, 0.1)
    told = await readings(Metrics(stock_of(Outbox()), source_name="catalogue", requests=requests))
    buckets = {
        labels[0]: value for labels, value in told["movie_request_duration_seconds_bucket"].items() if labels[2] == "/a"
    }
    assert list(map(float, buckets)) == [*BOUNDS, float("inf")]
    assert (buckets["0.001"], buckets["0.0025"], buckets["0.5"], buckets["5.0"], buckets["+Inf"]) == (2, 3, 4, 4, 5)
    counts = told["movie_request_duration_seconds_count"]
    assert counts == {("GET", "/a", "2xx"): 5, ("other", "none", "4xx"): 2}
    assert told["movie_request_duration_seconds_sum"][("GET", "/a", "2xx")] == pytest.approx(60.3022)


async def test_the_database_is_asked_once_in_a_while() -> None:
    outbox, clock = Outbox(), Clock()
    backlog = stock_of(outbox, clock)
    await asyncio.gather(*(backlog.look() for _ in range(20)))
    clock.now += module.LOOK_SECONDS - 0.1
    await backlog.look()
    assert outbox.looks == 1
    clock.now += 0.2
    await backlog.look()
    assert outbox.looks == 2


async def test_a_database_that_is_away_is_told_and_fails_nothing() -> None:
    outbox = Outbox()
    outbox.is_away = True
    told = await readings(whole(outbox))
    assert told["movie_part_away"][("database",)] == 1
    assert "movie_mails" not in told
    assert "movie_searches_total" in told


@pytest.fixture
def short_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAIT_SECONDS", 0.01)


@pytest.mark.usefixtures("short_wait")
async def test_a_database_that_hangs_is_not_waited_for_and_not_asked_again_meanwhile(
    caplog: pytest.LogCaptureFixture,
) -> None:
    outbox, clock = Outbox(), Clock()
    outbox.gate.clear()
    backlog = stock_of(outbox, clock)
    assert await backlog.look() is None
    clock.now += 60
    assert await backlog.look() is None
    assert outbox.looks == 1
    outbox.gate.set()
    assert await backlog.look() is not None
    await backlog.close()
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_before_the_first_model_there_is_no_age() -> None:
    recommender = Recommender()
    recommender.made = None
    told = await readings(Metrics(stock_of(Outbox(), recommender=recommender), source_name="catalogue"))
    assert "movie_model_age_seconds" not in told


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
    ("token", "given", "is_seen"),
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
def test_in_production_only_who_knows_the_token_sees_metrics(token: str, given: list[str], is_seen: bool) -> None:
    assert is_admitted(settings(**PRODUCTION, MOVIE_METRICS_TOKEN=token), given) is is_seen


def test_locally_everybody_sees_metrics() -> None:
    assert is_admitted(settings(), [])


async def test_processes_that_share_a_port_answer_for_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = []
    for number, times in ((1, 3), (2, 4)):
        requests = RequestCounts()
        for _ in range(times):
            requests.count("/a", "GET", 200, 0.1)
        monkeypatch.setattr(module.os, "getpid", lambda number=number: number)
        both.append(MetricsPeers(tmp_path, Metrics(stock_of(Outbox()), source_name="catalogue", requests=requests)))
        await both[-1].open()
    (tmp_path / "3.metrics").touch()  # of one that was killed
    for one in both:
        told = await readings(one)
        assert told["movie_request_duration_seconds_count"] == {
            ("GET", "1", "/a", "2xx"): 3,
            ("GET", "2", "/a", "2xx"): 4,
        }
        assert set(told["process_resident_memory_bytes"]) == {("1",), ("2",)}
        assert told["movie_mails"]["1", "dead"] == 1
    both[0].close()
    assert set((await readings(both[1]))["movie_build_info"]) == {
        ("2", platform.python_version(), "catalogue", version("movie-search-backend"))
    }
    both[1].close()


async def test_a_sibling_that_hangs_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SIBLING_SECONDS", 0.05)
    asked = asyncio.Event()

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.set()
        await reader.read()
        writer.close()

    server = await asyncio.start_unix_server(hang, str(tmp_path / "9.metrics"))
    one = MetricsPeers(tmp_path, Metrics(stock_of(Outbox()), source_name="catalogue"))
    assert len((await readings(one))["movie_part_away"]) == 1
    assert asked.is_set()
    server.close()
