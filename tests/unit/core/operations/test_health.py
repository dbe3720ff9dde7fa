import asyncio

from tests.support.virtual_time import settle

from movie_core.errors import Unavailable
from movie_core.operations.health import CACHE_SECONDS, CHECK_SECONDS, Dependency, Readiness, Status


class CountedDependency:
    """A dependency that counts its checks."""

    def __init__(self, name: str, *, is_required: bool = False) -> None:
        self.calls, self.is_unavailable = 0, False
        self.dependency = Dependency(name, self.check, "start it", is_required)

    async def check(self) -> str:
        self.calls += 1
        await asyncio.sleep(0.001)
        if self.is_unavailable:
            raise Unavailable("unavailable")
        return "fine"


async def test_an_unavailable_dependency_degrades_and_a_required_one_makes_unavailable() -> None:
    now = 0.0
    database, source = CountedDependency("database", is_required=True), CountedDependency("source")
    readiness = Readiness([database.dependency, source.dependency], clock=lambda: now)
    assert (await readiness.status())[0] is Status.READY
    source.is_unavailable = True
    now += 2 * CACHE_SECONDS
    status, results = await readiness.status()
    assert (status, [result.is_reachable for result in results]) == (Status.DEGRADED, [True, False])
    database.is_unavailable = True
    now += 2 * CACHE_SECONDS
    assert (await readiness.status())[0] is Status.UNAVAILABLE


async def test_concurrent_callers_share_one_round_of_checks() -> None:
    source = CountedDependency("source")
    readiness = Readiness([source.dependency], clock=lambda: 0.0)
    await asyncio.gather(*(readiness.status() for _ in range(50)))
    await readiness.status()
    assert source.calls == 1


async def test_a_cancelled_caller_does_not_cancel_the_round_for_others() -> None:
    source = CountedDependency("source")
    readiness = Readiness([source.dependency], clock=lambda: 0.0)
    leaving = asyncio.create_task(readiness.status())
    staying = asyncio.create_task(readiness.status())
    await settle()
    leaving.cancel()
    assert (await staying)[0] is Status.READY


async def test_a_dependency_that_does_not_respond_in_time_is_unreachable() -> None:
    async def hang() -> str:
        await asyncio.sleep(2 * CHECK_SECONDS)
        raise AssertionError("unreachable")

    status, [result] = await Readiness([Dependency("database", hang, "start it")]).status()
    assert (status, result.is_reachable, result.detail) == (Status.DEGRADED, False, "no response within 4 s")
