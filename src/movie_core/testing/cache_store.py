"""Contract of the `CacheStore` port."""

import asyncio
import random
import time
from contextlib import AbstractAsyncContextManager

from movie_core.ports import CacheStore
from movie_core.search.caching import CacheEntry, CacheStats, Lease
from movie_core.testing.shared import clause


class CacheStoreContract:
    """Contract of every `CacheStore`. The numbers in test names are the clauses of the port."""

    fills = 1000
    """Number of writes in random order, by holders that may have lost their lease."""

    def open(self) -> AbstractAsyncContextManager[CacheStore]:
        """The store under test, without entries and leases."""
        raise NotImplementedError

    def now(self) -> float:
        """The clock of the store. Override this and `pass_time` if it is not the system clock."""
        return time.time()

    async def pass_time(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def entry(self, value: bytes = b"an answer", *, fence: int = 1, seconds: float = 60.0) -> CacheEntry:
        """An entry that expires (reaches its `stale_until`) after so many seconds."""
        now = self.now()
        return CacheEntry(value, now, now + seconds / 2, now + seconds, fence)

    @clause
    async def test_2_keys_and_values_are_arbitrary(self) -> None:
        keys = ("a", "A", "a:b", "a*", "a?", "[a]", "{a}", "\\a", "x" * 200, '"', "%", "\x7f")
        values = (b"", b"\x00", b"\xff\xfe", b"\r\n", b"x" * 200_000)
        async with self.open() as store:
            entries = {key: self.entry(key.encode(), fence=number) for number, key in enumerate(keys, 1)}
            entries |= {f"value:{number}": self.entry(value) for number, value in enumerate(values)}
            for key, entry in entries.items():
                assert await store.write(key, entry), key
            for key, entry in entries.items():
                assert await store.read(key) == entry, key
            assert await store.clear() == len(entries)

    @clause
    async def test_3_an_unknown_key_has_no_entry(self) -> None:
        async with self.open() as store:
            assert await store.read("a") is None
            await store.lease("a", 30)
            assert await store.read("a") is None

    @clause
    async def test_3_an_entry_expires_at_its_stale_until(self) -> None:
        async with self.open() as store:
            assert await store.write("a", self.entry(seconds=1))
            assert await store.write("b", self.entry())
            await self.pass_time(1.1)
            assert await store.read("a") is None
            assert await store.read("b") is not None

    @clause
    async def test_4_one_of_many_concurrent_callers_gets_the_lease(self) -> None:
        async with self.open() as store:
            leases = [lease for lease in await asyncio.gather(*(store.lease("a", 30) for _ in range(50))) if lease]
            assert [lease.key for lease in leases] == ["a"]
            assert await store.lease("b", 30) is not None

    @clause
    async def test_4_a_lease_expires_and_the_next_fencing_token_is_greater(self) -> None:
        async with self.open() as store:
            fences = []
            for _ in range(3):
                lease = await store.lease("a", 0.05)
                assert lease is not None
                fences.append(lease.fence)
                await self.pass_time(0.1)
            assert fences == sorted(set(fences))

    @clause
    async def test_4_a_fencing_token_is_greater_than_all_before_it(self) -> None:
        async with self.open() as store:
            newest = 0
            for ahead in (0, 3_600_000_000, 1):
                for is_cleared in (False, True):
                    lease = await store.lease("a", 30)
                    assert lease is not None
                    assert lease.fence > newest
                    newest = lease.fence + ahead
                    assert await store.write("a", self.entry(fence=newest))
                    await store.release(lease)
                    if is_cleared:
                        await store.clear()

    @clause
    async def test_5_a_lease_is_renewed(self) -> None:
        async with self.open() as store:
            lease = await store.lease("a", 1)
            assert lease is not None
            assert await store.renew(lease, 30)
            await self.pass_time(1.1)
            assert await store.lease("a", 30) is None
            assert await store.renew(lease, 0.05)
            await self.pass_time(0.1)
            assert await store.lease("a", 30) is not None

    @clause
    async def test_5_an_expired_lease_is_not_renewed(self) -> None:
        async with self.open() as store:
            old = await store.lease("a", 0.05)
            assert old is not None
            await self.pass_time(0.1)
            assert not await store.renew(old, 30)
            new = await store.lease("a", 1)
            assert new is not None
            assert not await store.renew(old, 30)
            assert not await store.renew(Lease("b", new.fence), 30)
            await self.pass_time(1.1)
            assert await store.lease("a", 30) is not None
            assert await store.lease("b", 30) is not None

    @clause
    async def test_6_a_released_lease_can_be_taken_again(self) -> None:
        async with self.open() as store:
            first = await store.lease("a", 30)
            assert first is not None
            await store.release(first)
            second = await store.lease("a", 30)
            assert second is not None
            assert second.fence > first.fence
            assert not await store.renew(first, 30)

    @clause
    async def test_6_a_lost_lease_cannot_release_the_lease_of_another_holder(self) -> None:
        async with self.open() as store:
            old = await store.lease("a", 0.05)
            assert old is not None
            await self.pass_time(0.1)
            new = await store.lease("a", 30)
            assert new is not None
            await store.release(old)
            await store.release(Lease("nobody's", 1))
            assert await store.lease("a", 30) is None
            assert await store.renew(new, 30)

    @clause
    async def test_7_a_write_with_a_lower_fencing_token_is_ignored(self) -> None:
        async with self.open() as store:
            newer = self.entry(b"newer", fence=1_700_000_000_000_002)
            assert await store.write("a", newer)
            assert not await store.write("a", self.entry(b"older", fence=1_700_000_000_000_001, seconds=3600))
            assert await store.read("a") == newer
            newest = self.entry(b"newest", fence=1_700_000_000_000_003)
            assert await store.write("a", newest)
            assert await store.read("a") == newest

    @clause
    async def test_7_a_write_of_an_expired_entry_is_ignored(self) -> None:
        async with self.open() as store:
            stored = self.entry(fence=1)
            assert await store.write("a", stored)
            for seconds in (0, -0.001, -3600):
                assert not await store.write("a", self.entry(b"too late", fence=2, seconds=seconds))
            assert await store.read("a") == stored

    @clause
    async def test_7_concurrent_writes_never_replace_a_newer_entry_by_an_older_one(self) -> None:
        rng = random.Random(11)
        async with self.open() as store:
            held: list[Lease] = []
            newest = 0

            async def fill() -> None:
                nonlocal newest
                for _ in range(self.fills // 8):
                    if (lease := await store.lease("a", 0.001)) is not None:
                        held.append(lease)
                    if held:
                        lease, before = rng.choice(held[-50:]), newest
                        is_written = await store.write("a", self.entry(b"%d" % lease.fence, fence=lease.fence))
                        assert not (is_written and lease.fence < before)
                        newest = max(newest, lease.fence)
                    before = newest
                    entry = await store.read("a")
                    assert entry is None or entry.value == b"%d" % entry.fence
                    assert (0 if entry is None else entry.fence) >= before
                    await self.pass_time(0.0)

            await asyncio.gather(*(fill() for _ in range(8)))
            assert newest

    @clause
    async def test_8_clear_deletes_entries_but_no_lease(self) -> None:
        async with self.open() as store:
            assert await store.clear() == 0
            lease = await store.lease("a", 30)
            assert lease is not None
            for number in range(1200):
                await store.write(f"key:{number}", self.entry())
            assert await store.clear() == 1200
            assert await store.read("key:7") is None
            assert await store.lease("a", 30) is None
            assert await store.renew(lease, 30)
            assert await store.clear() == 0

    @clause
    async def test_9_the_generation_changes_when_entries_are_cleared(self) -> None:
        async with self.open() as store:
            assert await store.generation() is None
            generations = []
            for _ in range(2):
                await store.clear()
                generations.append(await store.generation())
                await store.write("a", self.entry())
                await store.lease("a", 30)
                assert await store.generation() == generations[-1]
            assert len({None, *generations}) == 3

    @clause
    async def test_10_stats_count_entries_and_their_bytes(self) -> None:
        async with self.open() as store:
            assert await store.stats() == CacheStats(0, 0)
            for number in range(1000, 2200):
                await store.write(f"key:{number}", self.entry(b"x" * 100, fence=1))
                await store.write(f"key:{number}", self.entry(b"x" * 92, fence=2))
            await store.lease("a", 30)
            assert await store.stats() == CacheStats(1200, 120_000)
            await store.clear()
            assert await store.stats() == CacheStats(0, 0)
