import asyncio

from movie_core.errors import Unavailable
from movie_core.operations.health import REMEMBER_SECONDS, Dependency, Readiness, Status


class Counted:
    def __init__(self, name: str, *, is_required: bool = False) -> None:
        self.calls, self.is_away = 0, False
        self.part = Dependency(name, self.check, "start it", is_required)

    async def check(self) -> str:
        self.calls += 1
        await asyncio.sleep(0)
        if self.is_away:
            raise Unavailable("away")
        return "fine"


async def test_an_unavailable_dependency_degrades_and_a_required_one_makes_unavailable() -> None:
    now = 0.0
    database, source = Counted("database", is_required=True), Counted("source")
    readiness = Readiness([database.part, source.part], clock=lambda: now)
    assert (await readiness.status())[0] is Status.READY
    source.is_away = True
    now += 2 * REMEMBER_SECONDS
    status, findings = await readiness.status()
    assert (status, [one.is_reached for one in findings]) == (Status.DEGRADED, [True, False])
    database.is_away = True
    now += 2 * REMEMBER_SECONDS
    assert (await readiness.status())[0] is Status.UNAVAILABLE


async def test_concurrent_callers_share_one_round_of_checks() -> None:
    part = Counted("source")
    readiness = Readiness([part.part], clock=lambda: 0.0)
    await asyncio.gather(*(readiness.status() for _ in range(50)))
    await readiness.status()
    assert part.calls == 1


async def test_a_cancelled_caller_does_not_cancel_the_round_for_others() -> None:
    part = Counted("source")
    readiness = Readiness([part.part], clock=lambda: 0.0)
    leaving = asyncio.create_task(readiness.status())
    staying = asyncio.create_task(readiness.status())
    await asyncio.sleep(0)
    leaving.cancel()
    assert (await staying)[0] is Status.READY
