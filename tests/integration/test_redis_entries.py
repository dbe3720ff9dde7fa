"""The cache store with a real Redis, also a stopped, frozen, full or flushed one."""

import asyncio
import contextlib
import gc
import logging
import random
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

import msgspec
import pytest
from redis.asyncio import Redis
from tests.support.deployment import PATIENCE, eventually, redis_fault
from tests.support.servers import OwnServer, own_redis

from movie_adapters.redis.cache import FORMAT, RedisCacheStore
from movie_adapters.redis.client import CALL_TIMEOUT, CONNECTIONS, PROBE_INTERVAL, QUEUE_SECONDS, RedisClient
from movie_core.errors import StoreUnavailable
from movie_core.search.caching import CacheEntry, CacheStats, Lease
from movie_core.testing import CacheStoreContract

LONG_TIMEOUT = 10.0
"""Timeout in seconds, so that a busy machine does not look like an outage of Redis."""


@asynccontextmanager
async def client_to(
    redis_url: str,
    *,
    call_timeout: float = LONG_TIMEOUT,
    probe_interval: float = 0.1,
    queue_timeout: float = QUEUE_SECONDS,
) -> AsyncIterator[RedisClient]:
    client = RedisClient(redis_url, timeout=call_timeout, probe_interval=probe_interval, queue_timeout=queue_timeout)
    try:
        yield client
    finally:
        await client.close()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110  (there is no event to wait for)
            await asyncio.sleep(0.01)


def an_entry(value: bytes = b"an answer", *, fence: int = 1, seconds: float = 60.0) -> CacheEntry:
    now = time.time()
    return CacheEntry(value, now, now + seconds / 2, now + seconds, fence)


class TestRedisEntries(CacheStoreContract):
    fills = 10_000

    @pytest.fixture(autouse=True)
    def _on(self, redis_url: str) -> None:
        self.redis_url = redis_url

    @asynccontextmanager
    async def open(self) -> AsyncIterator[RedisCacheStore]:
        async with Redis.from_url(self.redis_url) as redis:
            await redis.flushdb()
        async with client_to(self.redis_url) as client:
            yield RedisCacheStore(client)
            assert not client.is_unavailable


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    async with Redis.from_url(redis_url) as client:
        await client.flushdb()
        yield client


async def test_entries_expire_in_redis(redis_url: str, redis: Redis) -> None:
    async with client_to(redis_url) as client:
        store = RedisCacheStore(client)
        lease = await store.lease("a", 30)
        assert lease is not None
        await store.write("a", an_entry(fence=lease.fence, seconds=3600))
        assert 3_500_000 < await redis.pttl("movie:cache:entry:a") <= 3_600_000
        assert 20_000 < await redis.pttl("movie:cache:lease:a") <= 30_000
        await store.write("a", an_entry(fence=lease.fence, seconds=60))
        assert await redis.pttl("movie:cache:entry:a") <= 60_000
        assert all([key.startswith(b"movie:cache:") async for key in redis.scan_iter()])


async def test_processes_share_entries_and_leases(redis_url: str, redis: Redis) -> None:
    async with client_to(redis_url) as one, client_to(redis_url) as other:
        stores = RedisCacheStore(one), RedisCacheStore(other)
        leases = await asyncio.gather(*(store.lease("a", 30) for _ in range(20) for store in stores))
        (lease,) = (one for one in leases if one is not None)
        entry = an_entry(fence=lease.fence)
        assert await stores[0].write("a", entry)
        assert await stores[1].read("a") == entry
        generation = await stores[1].generation()
        assert await stores[0].clear() == 1
        assert await stores[1].generation() != generation


async def test_fences_follow_the_servers_clock_and_grow_even_if_it_is_set_back(redis_url: str, redis: Redis) -> None:
    async with client_to(redis_url) as client:
        store = RedisCacheStore(client)
        lease = await store.lease("a", 30)
        assert lease is not None
        assert abs(lease.fence / 1e6 - time.time()) < 60
        await redis.set("movie:cache:fence", 2**52)
        lease = await store.lease("b", 30)
        assert lease == Lease("b", 2**52 + 1)


async def test_lost_data_has_no_generation(redis_url: str, redis: Redis) -> None:
    async with client_to(redis_url) as client:
        store = RedisCacheStore(client)
        before = await store.lease("a", 30)
        assert before is not None
        await store.clear()
        await store.write("a", an_entry(fence=before.fence))
        await redis.flushall()
        assert await store.read("a") is None
        assert await store.generation() is None
        assert not await store.renew(before, 30)
        after = await store.lease("a", 30)
        assert after is not None
        assert after.fence > before.fence
        assert await store.stats() == CacheStats(0, 0)
        assert not client.is_unavailable


TIMES = msgspec.msgpack.encode((FORMAT, 1e9, 3e9, 3e9))


@pytest.mark.parametrize(
    "fields",
    [
        {"fence": b"1", "times": TIMES},
        {"fence": b"1", "value": b"x"},
        {"times": TIMES, "value": b"x"},
        {"fence": b"", "times": TIMES, "value": b"x"},
        {"fence": b"-1", "times": TIMES, "value": b"x"},
        {"fence": b"nan", "times": TIMES, "value": b"x"},
        {"fence": b"9" * 5000, "times": TIMES, "value": b"x"},
        {"fence": b"1", "times": TIMES[:-1], "value": b"x"},
        {"fence": b"1", "times": TIMES + b"\x00", "value": b"x"},
        {"fence": b"1", "times": b"\xff" * 40, "value": b"x"},
        {"fence": b"1", "times": b"", "value": b"x"},
        {"fence": b"1", "times": msgspec.msgpack.encode({"format": 1}), "value": b"x"},
        {"fence": b"1", "times": msgspec.msgpack.encode((FORMAT + 1, 1e9, 3e9, 3e9)), "value": b"x"},
        {"fence": b"1", "times": msgspec.msgpack.encode((FORMAT, 1e9, 3e9, 3e9, 3e9)), "value": b"x"},
        {"something": b"else"},
        None,
    ],
)
async def test_an_unreadable_entry_counts_as_missing(
    redis_url: str, redis: Redis, fields: dict[str, bytes] | None
) -> None:
    if fields is None:
        await redis.lpush("movie:cache:entry:a", "of another type")
    else:
        await redis.hset("movie:cache:entry:a", mapping=fields)
    async with client_to(redis_url) as client:
        store = RedisCacheStore(client)
        assert await store.read("a") is None
        assert (await store.stats()).entries == 1
        lease = await store.lease("a", 30)
        assert lease is not None
        entry = an_entry(fence=lease.fence)
        assert await store.write("a", entry)
        assert await store.read("a") == entry
        assert not client.is_unavailable


async def test_the_entry_with_valid_times_is_readable(redis_url: str, redis: Redis) -> None:
    """Makes sure that the test above uses a readable format."""
    await redis.hset("movie:cache:entry:a", mapping={"fence": b"1", "times": TIMES, "value": b"x"})
    async with client_to(redis_url) as client:
        assert await RedisCacheStore(client).read("a") == CacheEntry(b"x", 1e9, 3e9, 3e9, 1)


async def test_after_2000_cancelled_calls_every_response_belongs_to_its_command(redis_url: str, redis: Redis) -> None:
    chance = random.Random(7)
    async with client_to(redis_url, queue_timeout=60) as client:  # on a busy machine the cancelled calls take long
        store = RedisCacheStore(client)
        for number in range(40):
            await store.write(f"key:{number}", an_entry(b"value:%d" % number))

        async def ask(number: int) -> None:
            entry, echo = await asyncio.gather(store.read(f"key:{number}"), client.call("ECHO", f"echo:{number}"))
            assert entry is not None
            assert (entry.value, echo) == (b"value:%d" % number, b"echo:%d" % number)

        cancelled = 0
        while cancelled < 2000:
            leaving = [asyncio.create_task(ask(chance.randrange(40))) for _ in range(8)]
            staying = [asyncio.create_task(ask(chance.randrange(40))) for _ in range(2)]
            if chance.random() < 0.5:
                await asyncio.sleep(chance.random() * 0.003)
            else:
                for _ in range(chance.randrange(12)):
                    await asyncio.sleep(0)
            cancelled += sum(task.cancel() for task in leaving)
            await asyncio.gather(*staying)
            for outcome in await asyncio.gather(*leaving, return_exceptions=True):
                assert outcome is None or isinstance(outcome, asyncio.CancelledError)
        await asyncio.gather(*(ask(number) for number in range(40)))
        assert not client.is_unavailable
        assert len(client._client.connection_pool._available_connections) <= CONNECTIONS


async def test_a_client_connects_on_first_use_and_has_few_connections(redis_url: str, redis: Redis) -> None:
    async def others() -> int:
        return len(await redis.client_list()) - 1

    before = await others()
    async with client_to(redis_url, queue_timeout=60) as client:  # on a busy machine 200 calls take long
        assert await others() == before
        await asyncio.gather(*(client.call("ECHO", number) for number in range(200)))
        assert before < await others() <= before + CONNECTIONS

    async def are_closed() -> bool:
        return await others() == before

    await eventually(are_closed)


@pytest.fixture
def server() -> Iterator[OwnServer]:
    """A server for one test."""
    with own_redis() as server:
        yield server


@pytest.mark.parametrize("kind", ["stopped", "frozen", "read-only", "without replicas", "full"])
async def test_an_unavailable_redis_is_not_called_until_its_recovery(
    server: OwnServer, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "movie_adapters")
    async with client_to(server.url, call_timeout=0.5, probe_interval=PROBE_INTERVAL) as client:
        store, entry = RedisCacheStore(client), an_entry()
        assert await store.write("a", entry)
        with redis_fault(server, kind):
            with pytest.raises(StoreUnavailable):
                await store.write("a", an_entry(b"newer", fence=2))
            for call in (
                lambda: store.read("a"),
                lambda: store.lease("b", 1),
                lambda: store.renew(Lease("b", 1), 1),
                lambda: store.release(Lease("b", 1)),
                lambda: store.write("b", entry),
                store.clear,
                store.generation,
                store.stats,
            ):
                with pytest.raises(StoreUnavailable):
                    await call()
            await asyncio.sleep(1.2 * PROBE_INTERVAL)
            assert client.is_unavailable, "it is looked for by writing"
        await until(lambda: not client.is_unavailable)
        # A command to the frozen Redis may have been executed, but no other call gets its response.
        found = await store.read("a")
        assert found is None if kind == "stopped" else found is not None and found.fence in {1, 2}
        lease = await store.lease("c", 30)
        assert lease is not None
        assert await store.write("c", an_entry(b"new value", fence=lease.fence))
        assert [record.levelno for record in caplog.records] == [logging.WARNING, logging.INFO]


async def test_concurrent_calls_to_a_frozen_redis_all_fail(server: OwnServer) -> None:
    async with client_to(server.url, call_timeout=CALL_TIMEOUT, probe_interval=60) as client:
        store = RedisCacheStore(client)
        with contextlib.suppress(StoreUnavailable):
            await store.read("a")  # connects
        with redis_fault(server, "frozen"):
            outcomes = await asyncio.gather(*(store.read("a") for _ in range(300)), return_exceptions=True)
            assert {type(outcome) for outcome in outcomes} == {StoreUnavailable}


async def test_calls_cancelled_while_redis_hangs_leave_no_tasks_and_connections(
    server: OwnServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with client_to(server.url, call_timeout=0.5, probe_interval=0.05, queue_timeout=60) as client:
        store = RedisCacheStore(client)
        assert await store.write("a", an_entry())
        with redis_fault(server, "frozen"):
            calls = [asyncio.create_task(store.read("a")) for _ in range(20)]
            await asyncio.sleep(0.02)
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)
            await until(lambda: client.is_unavailable)
        await until(lambda: not client.is_unavailable)
        echoes = await asyncio.gather(*(client.call("ECHO", f"echo:{n}") for n in range(50)))
        assert echoes == [b"echo:%d" % n for n in range(50)]
    gc.collect()
    assert {record.name for record in caplog.records} <= {"movie_adapters.redis.client"}
