"""Contract of the `RateLimiter` port."""

import asyncio
from contextlib import AbstractAsyncContextManager

from movie_core.ports import RateLimiter
from movie_core.quotas import Permits, Rate
from movie_core.testing.shared import clause


class RateLimiterContract:
    """Contract of every `RateLimiter`. The numbers in test names are the clauses of the port."""

    def open(self) -> AbstractAsyncContextManager[RateLimiter]:
        raise NotImplementedError

    async def pass_time(self, seconds: float) -> None:
        """Let time pass for the limiter. Override this if it does not use the system clock."""
        await asyncio.sleep(seconds)

    @clause
    async def test_5_a_refunded_hit_does_not_count(self) -> None:
        async with self.open() as limiter:
            rate = Rate(2, 60)
            for _ in range(5):
                assert (await limiter.hit("login", "ada", rate))[0]
                await limiter.refund("login", "ada", rate)
            await limiter.refund("login", "ada", rate)
            await limiter.refund("login", "nobody", rate)
            assert [(await limiter.hit("login", "ada", rate))[0] for _ in range(3)] == [True, True, False]
            assert [(await limiter.hit("login", "nobody", rate))[1].remaining for _ in range(2)] == [1, 0]

    @clause
    async def test_1_concurrent_hits_never_exceed_the_rate(self) -> None:
        async with self.open() as limiter:
            rate = Rate(5, 60)
            results = await asyncio.gather(*(limiter.hit("login", "ada", rate) for _ in range(50)))
            assert [is_allowed for is_allowed, _ in results].count(True) == 5
            assert all(0 <= quota.remaining < 5 for _, quota in results)
            assert {quota.remaining for is_allowed, quota in results if not is_allowed} == {0}
            for _, quota in results:
                assert (quota.name, quota.rate) == ("login", rate)
                assert 0 < quota.reset <= 60

    @clause
    async def test_1_each_name_and_key_has_a_separate_window(self) -> None:
        async with self.open() as limiter:
            pairs = [
                ("a", "b:c"),
                ("a:b", "c"),
                ("a", "b"),
                ("a", "B"),
                ("b", "a"),
                ("a", ""),
                ("a", "\x00"),
                ("a", "💡"),
            ]
            for name, key in [*pairs, ("a", "x" * 1000)]:
                assert (await limiter.hit(name, key, Rate(1, 60)))[0], (name, key)
                assert not (await limiter.hit(name, key, Rate(1, 60)))[0], (name, key)

    @clause
    async def test_1_the_window_slides_and_rejected_hits_do_not_count(self) -> None:
        async with self.open() as limiter:
            rate = Rate(2, 1)
            assert (await limiter.hit("login", "ada", rate))[0]
            await self.pass_time(0.6)
            assert (await limiter.hit("login", "ada", rate))[0]
            assert not (await limiter.hit("login", "ada", rate))[0]
            await self.pass_time(0.55)
            assert (await limiter.hit("login", "ada", rate))[0]
            is_allowed, quota = await limiter.hit("login", "ada", rate)
            assert not is_allowed
            assert quota.remaining == 0
            await self.pass_time(quota.reset + 0.05)
            assert (await limiter.hit("login", "ada", rate))[0]

    @clause
    async def test_2_concurrent_leases_never_exceed_the_rate(self) -> None:
        async with self.open() as limiter:
            rate = Rate(50, 60)
            results = await asyncio.gather(
                *(
                    limiter.lease("search", "ada", rate, prefetch=prefetch % 7, seconds=3, returned=None)
                    for prefetch in range(40)
                )
            )
            granted = [is_allowed + permits.count for is_allowed, _, permits in results]
            assert sum(granted) == 50
            assert sorted(quota.remaining for _, quota, _ in results)[0] == 0
            for prefetch, (is_allowed, quota, permits) in enumerate(results):
                assert (quota.name, quota.rate) == ("search", rate)
                assert 0 < quota.reset <= 60
                assert 0 <= permits.count <= (prefetch % 7) * is_allowed
                assert permits.count == prefetch % 7 or quota.remaining == 0
            assert len({permits.id for _, _, permits in results if permits.count}) == len([n for n in granted if n > 1])

    @clause
    async def test_2_leased_permits_count_as_used_at_the_end_of_the_lease(self) -> None:
        async with self.open() as limiter:
            rate = Rate(4, 2)

            async def lease(prefetch: int) -> tuple[int, int]:
                is_allowed, quota, permits = await limiter.lease(
                    "search", "ada", rate, prefetch=prefetch, seconds=1, returned=None
                )
                return is_allowed + permits.count, quota.remaining

            assert await lease(2) == (3, 1)
            await self.pass_time(2.2)  # the permit of the call itself has expired; the others may be 1.2 s old
            assert await lease(9) == (2, 0)
            assert await lease(9) == (0, 0)
            await self.pass_time(1)
            assert await lease(0) == (1, 1)

    @clause
    async def test_2_a_permit_is_available_after_the_reported_reset(self) -> None:
        async with self.open() as limiter:
            rate = Rate(3, 1)
            await limiter.lease("search", "ada", rate, prefetch=2, seconds=0.1, returned=None)
            is_allowed, quota, permits = await limiter.lease(
                "search", "ada", rate, prefetch=2, seconds=0.1, returned=None
            )
            assert (is_allowed, quota.remaining, permits.count) == (False, 0, 0)
            await self.pass_time(quota.reset + 0.02)
            assert (await limiter.lease("search", "ada", rate, prefetch=0, seconds=0.1, returned=None))[0]

    @clause
    async def test_3_returned_permits_do_not_count_and_used_ones_count_from_now(self) -> None:
        async with self.open() as limiter:
            rate = Rate(10, 2)
            _, _, permits = await limiter.lease("search", "ada", rate, prefetch=9, seconds=1.9, returned=None)
            assert permits.count == 9
            returned = Permits(permits.id, 7)
            is_allowed, quota, second = await limiter.lease(
                "search", "ada", rate, prefetch=0, seconds=1, returned=returned
            )
            assert (is_allowed, quota.remaining, second.count) == (True, 6, 0)
            for again in (returned, Permits("unknown", 3), Permits(second.id, 3)):
                _, quota, _ = await limiter.lease("search", "ada", rate, prefetch=0, seconds=1, returned=again)
            assert quota.remaining == 3, "permits are returned only once"
            await self.pass_time(2.1)
            _, quota, _ = await limiter.lease("search", "ada", rate, prefetch=0, seconds=1, returned=None)
            assert quota.remaining == 9, "the two used permits no longer count until the end of the lease"

    @clause
    async def test_3_permits_can_be_returned_after_the_lease(self) -> None:
        async with self.open() as limiter:
            rate = Rate(5, 60)
            _, _, permits = await limiter.lease("search", "ada", rate, prefetch=4, seconds=0.1, returned=None)
            await self.pass_time(0.2)
            is_allowed, _, _ = await limiter.lease("search", "ada", rate, prefetch=0, seconds=1, returned=None)
            assert not is_allowed
            returned = Permits(permits.id, 3)
            is_allowed, quota, _ = await limiter.lease("search", "ada", rate, prefetch=0, seconds=1, returned=returned)
            assert is_allowed
            assert quota.remaining == 2

    @clause
    async def test_4_leases_and_hits_have_separate_windows_per_name_and_key(self) -> None:
        async with self.open() as limiter:
            rate = Rate(1, 60)
            for name, key in (("a", "b:c"), ("a:b", "c"), ("a", "b"), ("a", "B"), ("b", "a"), ("a", ""), ("a", "💡")):
                assert (await limiter.lease(name, key, rate, prefetch=0, seconds=1, returned=None))[0], (name, key)
                assert not (await limiter.lease(name, key, rate, prefetch=0, seconds=1, returned=None))[0], (name, key)
                assert (await limiter.hit(name, key, rate))[0], (name, key)
                assert (await limiter.lease(name, key, Rate(2, 60), prefetch=0, seconds=1, returned=None))[0], (
                    name,
                    key,
                )
