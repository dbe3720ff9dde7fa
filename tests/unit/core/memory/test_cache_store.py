"""`MemoryCacheStore` follows the contract of its port and stays within its size limit."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from movie_core.memory import ENTRY_BYTES, MemoryCacheStore
from movie_core.search.caching import CacheEntry, CacheStats
from movie_core.testing import CacheStoreContract


class TestMemoryCacheStore(CacheStoreContract):
    time = 1_700_000_000.0

    @asynccontextmanager
    async def open(self) -> AsyncIterator[MemoryCacheStore]:
        yield MemoryCacheStore(clock=self.now)

    def now(self) -> float:
        return self.time

    async def pass_time(self, seconds: float) -> None:
        self.time += seconds + 0.0005
        await asyncio.sleep(0)  # concurrent writers take turns


def make_entry(size: int, *, fence: int = 1, until: float = 100.0) -> CacheEntry:
    return CacheEntry(b"x" * size, 0.0, until / 2, until, fence)


def bounded_store(entries: int) -> MemoryCacheStore:
    """A store for so many entries of 1,000 bytes each, including a key of one character and the overhead."""
    return MemoryCacheStore(entries * 1000, clock=lambda: 0.0)


VALUE_SIZE = 1000 - ENTRY_BYTES - 1


async def test_the_least_recently_used_entry_is_evicted_at_the_size_limit() -> None:
    store = bounded_store(10)
    for key in "abcdefghij":
        assert store.put(key, make_entry(VALUE_SIZE))
    assert store.peek("a") is not None
    assert await store.read("b") is not None
    assert store.put("c", make_entry(VALUE_SIZE))
    for key in "klm":
        assert store.put(key, make_entry(VALUE_SIZE))
    assert [key for key in "abcdefghijklm" if store.peek(key) is not None] == list("abcghijklm")
    assert await store.stats() == CacheStats(10, 10 * (VALUE_SIZE + 1))


async def test_a_frequently_read_entry_is_not_evicted() -> None:
    store = MemoryCacheStore(1_000_000, clock=lambda: 0.0)
    store.put("hot", make_entry(1000))
    for number in range(20_000):
        store.put(str(number), make_entry(number % 500))
        assert store.peek("hot") is not None
    stats = await store.stats()
    assert 900_000 < stats.bytes + stats.entries * ENTRY_BYTES <= 1_000_000


async def test_an_entry_larger_than_a_tenth_of_the_limit_is_rejected_and_deletes_the_previous_one() -> None:
    store = bounded_store(10)
    assert store.put("a", make_entry(VALUE_SIZE))
    assert not store.put("b", make_entry(VALUE_SIZE + 1))
    assert store.peek("a") is not None
    assert not store.put("a", make_entry(VALUE_SIZE + 1, fence=2))
    assert store.peek("a") is None
    assert await store.stats() == CacheStats(0, 0)


async def test_the_byte_count_stays_exact_after_random_writes() -> None:
    now = [0.0]
    store, rng = MemoryCacheStore(20_000, clock=lambda: now[0]), random.Random(5)
    for number in range(5000):
        now[0] += rng.random()
        until = now[0] + rng.choice((-1, 1, 60))
        store.put(rng.choice("abcdefghijklmnop"), make_entry(rng.randrange(2000), fence=number, until=until))
        await store.read(rng.choice("abcdefghijklmnop"))
    remaining = [entry for key in "abcdefghijklmnop" if (entry := store.peek(key)) is not None]
    assert await store.stats() == CacheStats(len(remaining), sum(1 + len(entry.value) for entry in remaining))


async def test_peek_returns_an_entry_past_its_stale_until() -> None:
    now = [0.0]
    store = MemoryCacheStore(clock=lambda: now[0])
    entry = make_entry(1)
    store.put("a", entry)
    now[0] = 100.0
    assert store.peek("a") is entry
    assert await store.read("a") is None


async def test_forget_deletes_all_entries_and_starts_a_new_generation() -> None:
    store = MemoryCacheStore(clock=lambda: 0.0)
    generation = await store.generation()
    store.put("a", make_entry(1))
    assert store.clear_now() == 1
    assert store.peek("a") is None
    assert await store.generation() != generation


async def test_expired_leases_are_deleted() -> None:
    now = [0.0]
    store = MemoryCacheStore(clock=lambda: now[0])
    for number in range(20_000):
        now[0] += 1.0
        await store.lease(str(number), 60)
    assert len(store._leases) < 2_000
