"""Worker and scheduler processes during outages of their servers: stopped, frozen, without data, and recovered."""

import asyncio
import itertools
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import asyncpg
import httpx
import pytest
from aiosmtpd.smtp import SMTP, Envelope, Session
from prometheus_client.parser import text_string_to_metric_families
from redis import Redis
from tests.support.deployment import PATIENCE, Program, Start, eventually, wait_until
from tests.support.servers import OwnServer, free_port, own_redis
from tests.support.smtp_sink import SmtpSink

from movie_adapters.redis.client import PREFIX
from movie_adapters.redis.task_queue import (
    DELIVER_MAIL,
    GROUP,
    PURGE,
    TRAIN,
    TaskNotifier,
    TaskQueue,
    entry,
    stream_of,
)
from movie_adapters.settings.settings import Settings
from movie_adapters.wiring.background import DELIVERY_INTERVAL
from movie_adapters.wiring.preparation import prepare_schema
from movie_adapters.wiring.providers import create_container
from movie_core.accounts.keyring import new_id
from movie_core.accounts.users import Address, PendingRegistration, Username
from movie_core.clock import utc_now
from movie_core.ports import RegistrationRepo

SECRET = "of these tests and long enough for anybody"
Register = Callable[..., None]


class RedisProcess:
    """An empty Redis server that tests may freeze or kill."""

    def __init__(self, server: OwnServer) -> None:
        self._server = server
        self.url, self.start, self.signal = server.url, server.start, server.signal

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        self._server.stop()

    def entries(self) -> list[bytes]:
        with Redis.from_url(self.url) as client:
            return [fields[b"data"] for _, fields in client.xrange(stream_of(PREFIX))]  # type: ignore[union-attr]

    def is_consumed(self) -> bool:
        """Whether a worker has acknowledged all entries of the stream, and there are some."""
        with Redis.from_url(self.url) as client:
            if not client.exists(stream_of(PREFIX)):
                return False
            last: Any = client.xinfo_stream(stream_of(PREFIX))
            groups: Any = client.xinfo_groups(stream_of(PREFIX))
        return bool(last["length"]) and [(group["last-delivered-id"], group["pending"]) for group in groups] == [
            (last["last-generated-id"], 0)
        ]


class SlowSink(SmtpSink):
    """Delays the acknowledgement of an email."""

    delay = 0.0
    has_received = False

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        self.has_received = True
        await asyncio.sleep(self.delay)
        return await super().handle_DATA(server, session, envelope)


@pytest.fixture
def redis() -> Iterator[RedisProcess]:
    with own_redis() as server:
        process = RedisProcess(server)
        yield process
        process.kill()


@pytest.fixture
def sink() -> Iterator[SlowSink]:
    """An SMTP server with its own event loop in a thread."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    sink = SlowSink()
    asyncio.run_coroutine_threadsafe(sink.listen(), loop).result(PATIENCE)
    yield sink
    asyncio.run_coroutine_threadsafe(sink.stop(), loop).result(PATIENCE)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


@pytest.fixture
def environ(empty_database_url: str, redis: RedisProcess, sink: SlowSink) -> dict[str, str]:
    return {
        "MOVIE_DATABASE_URL": empty_database_url,
        "MOVIE_REDIS_URL": redis.url,
        "MOVIE_SMTP_URL": f"smtp://127.0.0.1:{sink.port}",
        "MOVIE_SECRET_KEY": SECRET,
    }


@pytest.fixture
def schema(environ: dict[str, str]) -> None:
    asyncio.run(prepare_schema(Settings.load(environ, dotenv=None)))


@pytest.fixture
def register(environ: dict[str, str]) -> Register:
    """Stores a registration and its email in the outbox, without a delivery notification."""

    async def store(name: str, domain: str) -> None:
        container = create_container(Settings.load(environ, dotenv=None))
        address = f"{name}@{domain}"
        registration = PendingRegistration(new_id(), Address(address, address), Username(name, name), "hash", utc_now())
        await (await container.get(RegistrationRepo)).register(registration, utc_now())
        await container.close()

    return lambda name, domain="example.org": asyncio.run(store(name, domain))


@pytest.fixture
def work(start: Start, environ: dict[str, str]) -> Callable[[], Program]:
    def started() -> Program:
        program = start("worker", **environ)
        program.wait_for("movie-search: worker started")
        return program

    return started


def put(redis: RedisProcess, name: str = DELIVER_MAIL) -> None:
    async def send() -> None:
        queue = TaskQueue(redis.url)
        await queue.put(name)
        await queue.close()

    asyncio.run(send())


def recipients(sink: SmtpSink) -> list[str]:
    return [recipient for mail in sink.mails for recipient in mail.recipients]


def leased_emails(environ: dict[str, str]) -> int:
    """Returns the number of emails with a lease, also an expired one."""

    async def count() -> int:
        connection = await asyncpg.connect(environ["MOVIE_DATABASE_URL"].replace("+asyncpg", ""))
        try:
            return int(await connection.fetchval("SELECT count(*) FROM mails WHERE leased_until IS NOT NULL"))
        finally:
            await connection.close()

    return asyncio.run(count())


@pytest.mark.usefixtures("schema")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_idle_worker_stops_with_exit_code_0(
    work: Callable[[], Program], redis: RedisProcess, number: signal.Signals
) -> None:
    worker = work()
    put(redis)
    wait_until(redis.is_consumed)
    assert worker.stop(number) == 0
    assert "Traceback" not in worker.output()


@pytest.mark.usefixtures("schema")
def test_a_stopped_worker_finishes_the_current_email_only(
    work: Callable[[], Program],
    redis: RedisProcess,
    sink: SlowSink,
    register: Register,
    environ: dict[str, str],
) -> None:
    sink.delay = 2
    for name in ("anna", "bert"):
        register(name)
    first = work()
    wait_until(lambda: sink.has_received)
    put(redis)
    assert first.stop() == 0
    assert recipients(sink) == ["anna@example.org"]
    assert leased_emails(environ) == 0, "its lease was not released"
    sink.delay = 0
    work()
    wait_until(lambda: len(sink.mails) == 2)
    assert recipients(sink) == ["anna@example.org", "bert@example.org"]


@pytest.mark.usefixtures("schema")
def test_a_notified_email_is_sent_immediately(
    work: Callable[[], Program], redis: RedisProcess, sink: SlowSink, register: Register
) -> None:
    work()
    put(redis)
    wait_until(redis.is_consumed)
    times: list[float] = []
    for number in range(10):  # on a busy machine, some take long
        register(f"user{number}")
        put(redis)
        wait_until(lambda number=number: len(sink.mails) == number + 1)  # type: ignore[misc]
        times.append(time.monotonic())
        if any(later - earlier < DELIVERY_INTERVAL - 1 for earlier, later in itertools.pairwise(times)):
            return
    raise AssertionError("emails are delivered at regular intervals only")


@pytest.mark.usefixtures("schema")
def test_email_from_and_to_special_use_domains_is_delivered(
    work: Callable[[], Program], environ: dict[str, str], sink: SlowSink, register: Register
) -> None:
    environ["MOVIE_MAIL_FROM"] = "films@corp.local"
    register("anna", "corp.local")
    work()
    wait_until(lambda: bool(sink.mails))
    assert (sink.mails[0].sender, recipients(sink)) == ("films@corp.local", ["anna@corp.local"])


@pytest.mark.usefixtures("schema")
def test_another_worker_sends_the_email_of_a_killed_worker(
    work: Callable[[], Program], sink: SlowSink, register: Register, environ: dict[str, str]
) -> None:
    sink.delay = 60
    register("anna")
    killed = work()
    wait_until(lambda: sink.has_received)
    killed.stop(signal.SIGKILL)
    sink.delay = 0
    assert (sink.mails, leased_emails(environ)) == ([], 1)
    work()
    wait_until(lambda: bool(sink.mails))
    assert recipients(sink) == ["anna@example.org"]


@pytest.mark.usefixtures("schema")
@pytest.mark.parametrize("fault", ["restart", "freeze"])
def test_mail_is_delivered_without_redis_and_tasks_resume_after_recovery(
    work: Callable[[], Program], redis: RedisProcess, sink: SlowSink, register: Register, fault: str
) -> None:
    worker = work()
    put(redis)
    wait_until(redis.is_consumed)
    if fault == "restart":
        redis.kill()
    else:
        redis.signal(signal.SIGSTOP)
    worker.wait_for("not consuming tasks; mail delivery continues")
    register("anna")
    wait_until(lambda: bool(sink.mails))
    if fault == "restart":
        redis.start()
    else:
        redis.signal(signal.SIGCONT)
    put(redis)
    wait_until(redis.is_consumed)
    assert worker.stop() == 0
    assert worker.output().count("not consuming tasks") == 1


@pytest.mark.usefixtures("schema")
def test_tasks_are_consumed_after_redis_has_lost_its_data(work: Callable[[], Program], redis: RedisProcess) -> None:
    work()
    put(redis)
    wait_until(redis.is_consumed)
    with Redis.from_url(redis.url) as client:
        client.flushall()
    put(redis)
    wait_until(redis.is_consumed)


@pytest.mark.usefixtures("schema")
def test_a_worker_stops_while_redis_is_frozen(work: Callable[[], Program], redis: RedisProcess) -> None:
    worker = work()
    put(redis)
    wait_until(redis.is_consumed)
    redis.signal(signal.SIGSTOP)
    assert worker.stop() == 0


@pytest.mark.usefixtures("schema")
def test_a_worker_interrupted_during_a_training_prints_no_traceback(
    work: Callable[[], Program], redis: RedisProcess
) -> None:
    worker = work()
    put(redis, TRAIN)
    worker.wait_for_library("numpy")
    assert worker.interrupt() == 0
    assert "Traceback" not in worker.output()


MALFORMED: list[dict[bytes, bytes]] = [
    {b"other": b"no task"},
    {b"data": b""},
    {b"data": b"\xff\x00"},
    {b"data": b"[" * 10_000},
    {b"data": b'{"task_name": "purge"}'},
    {b"data": entry("unknown")},
    {b"data": entry(PURGE).replace(b'"labels": {}', b'"labels": {"ack_type": "never"}')},
    {
        b"data": entry(PURGE)
        .replace(b'"labels_types": null', b'"labels_types": {"a": 99}')
        .replace(b": {}", b': {"a": 1}')
    },
]


@pytest.mark.usefixtures("schema")
def test_malformed_entries_are_acknowledged_and_counted(
    start: Start, environ: dict[str, str], redis: RedisProcess
) -> None:
    with Redis.from_url(redis.url) as client:
        for number in range(71):
            client.xadd(stream_of(PREFIX), MALFORMED[number % len(MALFORMED)])  # type: ignore[arg-type]
            if number % 10 == 0:
                client.xadd(stream_of(PREFIX), {b"data": entry(DELIVER_MAIL)})
    address = f"127.0.0.1:{free_port()}"
    worker = start("worker", **environ, MOVIE_METRICS_LISTEN=address)
    wait_until(redis.is_consumed)
    metrics = httpx.get(f"http://{address}/metrics", trust_env=False).text
    samples = [sample for family in text_string_to_metric_families(metrics) for sample in family.samples]
    counts = {
        (sample.labels["task"], sample.labels["outcome"]): sample.value
        for sample in samples
        if sample.name == "movie_tasks_total"
    }
    assert (counts["none", "malformed"], counts[DELIVER_MAIL, "succeeded"]) == (71, 8)
    messages = [line for line in worker.output().splitlines() if "malformed" in line]
    assert len(messages) <= 2, "one when they begin, one when they end"
    assert max(map(len, worker.output().splitlines())) < 400
    assert "Traceback" not in worker.output()


@pytest.mark.usefixtures("schema")
def test_an_idle_worker_takes_over_a_task_of_a_killed_one(work: Callable[[], Program], redis: RedisProcess) -> None:
    work()
    put(redis)
    wait_until(redis.is_consumed)
    stream = stream_of(PREFIX)
    with Redis.from_url(redis.url) as client:
        pipeline = client.pipeline()  # in one transaction, so that the worker does not receive the entry first
        pipeline.xadd(stream, {b"data": entry(PURGE)}, id="9999999999999-0")
        pipeline.xreadgroup(GROUP, "a killed worker", {stream: ">"})
        pipeline.xclaim(stream, GROUP, "a killed worker", 0, ["9999999999999-0"], idle=700_000)
        pipeline.execute()
    wait_until(redis.is_consumed)


def test_a_worker_waits_for_a_database_without_tables(
    work: Callable[[], Program], environ: dict[str, str], sink: SlowSink, register: Register
) -> None:
    worker = work()
    worker.wait_for("email delivery is suspended")
    asyncio.run(prepare_schema(Settings.load(environ, dotenv=None)))
    register("anna")
    wait_until(lambda: bool(sink.mails))


def test_a_scheduler_queues_due_tasks_once_redis_is_available(
    start: Start, redis: RedisProcess, environ: dict[str, str]
) -> None:
    redis.kill()
    scheduler = start("scheduler", **environ)
    scheduler.wait_for("cannot queue tasks")
    redis.start()
    wait_until(lambda: len(redis.entries()) == 3)
    due = (DELIVER_MAIL, PURGE, TRAIN)
    assert all(f'"{name}"' in entry.decode() for name, entry in zip(due, redis.entries(), strict=True))
    assert scheduler.stop() == 0


def test_a_notification_never_waits_for_redis(redis: RedisProcess) -> None:
    async def notify_repeatedly(notifier: TaskNotifier) -> None:
        for _ in range(20):
            with pytest.raises(StopIteration):  # it ends without waiting for anything
                notifier.notify().send(None)  # type: ignore[attr-defined]
            await asyncio.sleep(0)

    async def run() -> None:
        notifier = TaskNotifier(redis.url)
        await notify_repeatedly(notifier)

        async def is_sent() -> bool:
            return bool(redis.entries())

        await eventually(is_sent)
        await asyncio.sleep(0.5)
        assert len(redis.entries()) <= 3, "notifications were not combined"
        before = len(redis.entries())
        redis.signal(signal.SIGSTOP)
        await notify_repeatedly(notifier)
        await asyncio.sleep(1.3)
        await notify_repeatedly(notifier)
        redis.signal(signal.SIGCONT)
        await asyncio.sleep(2.2)
        while_quiet = len(redis.entries())
        assert while_quiet <= before + 1, "it did not pause after the failure"
        await notifier.notify()
        await notifier.close()
        assert len(redis.entries()) == while_quiet + 1

    asyncio.run(run())
