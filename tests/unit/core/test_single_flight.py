"""Single-flight, in virtual time."""

import asyncio
import gc
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import pytest
from tests.support.skipping_loop import SkippingLoop

from movie_core.single_flight import SingleFlight

T = TypeVar("T")


def run(scene: Callable[[], Awaitable[T]]) -> tuple[T, list[str]]:
    """The result of a scene, and what asyncio reported about its tasks."""
    reports: list[str] = []

    async def act() -> T:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: reports.append(context["message"]))
        result = await scene()
        await asyncio.sleep(5)
        assert asyncio.all_tasks() == {asyncio.current_task()}, "a task was left behind"
        gc.collect()
        return result

    with asyncio.Runner(loop_factory=SkippingLoop) as runner:
        return runner.run(act()), reports


class Call:
    """A call that takes a second; returns how often it was started, or raises."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.started = self.cancelled = 0

    async def __call__(self) -> int:
        self.started += 1
        number = self.started
        try:
            await asyncio.sleep(1)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.error is not None:
            raise self.error
        return number


def test_concurrent_callers_of_a_key_share_one_call() -> None:
    async def scene() -> tuple[list[int], list[int]]:
        flights: SingleFlight[int] = SingleFlight()
        call, other = Call(), Call()
        first = await asyncio.gather(*(flights.join("key", call) for _ in range(100)), flights.join("other", other))
        second = await asyncio.gather(*(flights.join("key", call) for _ in range(100)))
        return first, second

    assert run(scene) == (([1] * 101, [2] * 100), [])


def test_concurrent_callers_share_an_error_and_the_next_one_starts_a_new_call() -> None:
    async def scene() -> int:
        flights: SingleFlight[int] = SingleFlight()
        call = Call(KeyError("missing"))
        results = await asyncio.gather(*(flights.join("key", call) for _ in range(3)), return_exceptions=True)
        assert [type(result) for result in results] == [KeyError] * 3
        assert call.started == 1
        call.error = None
        return await flights.join("key", call)

    assert run(scene) == (2, [])


def test_a_call_continues_when_its_first_caller_is_cancelled() -> None:
    async def scene() -> int:
        flights: SingleFlight[int] = SingleFlight()
        call = Call()
        first = asyncio.ensure_future(flights.join("key", call))
        await asyncio.sleep(0.1)
        second = asyncio.ensure_future(flights.join("key", call))
        await asyncio.sleep(0.1)
        first.cancel()
        return await second

    assert run(scene) == (1, [])


@pytest.mark.parametrize(("is_joined", "reports"), [(True, 0), (False, 1)])
def test_asyncio_reports_the_error_of_a_call_only_if_nobody_ever_joined_it(is_joined: bool, reports: int) -> None:
    async def scene() -> None:
        flights: SingleFlight[int] = SingleFlight()
        call = Call(KeyError("missing"))
        if is_joined:
            caller = asyncio.ensure_future(flights.join("key", call))
            await asyncio.sleep(0.1)
            caller.cancel()
        else:
            flights.start("key", call)

    assert len(run(scene)[1]) == reports


def test_a_key_is_contained_while_its_call_runs() -> None:
    async def scene() -> list[bool]:
        flights: SingleFlight[int] = SingleFlight()
        seen = ["key" in flights]
        task = flights.start("key", Call())
        seen.append("key" in flights)
        await task
        seen.append("key" in flights)
        return seen

    assert run(scene) == ([False, True, False], [])


def test_a_call_that_has_just_ended_is_not_shared() -> None:
    async def scene() -> list[tuple[bool, bool, bool]]:
        flights: SingleFlight[int] = SingleFlight()
        seen: list[tuple[bool, bool, bool]] = []

        async def call() -> int:
            return 1

        first = flights.start("key", call)

        def check() -> None:
            """Runs after the end of the call and before its callbacks."""
            seen.append((first.done(), "key" in flights, flights.start("key", call) is first))

        asyncio.get_running_loop().call_soon(check)
        assert await first == 1
        assert await flights.join("key", call) == 1
        await asyncio.sleep(0)
        assert flights._tasks == {}
        return seen

    assert run(scene) == ([(True, False, False)], [])


def test_a_result_is_shared_for_its_ttl() -> None:
    async def scene() -> list[int]:
        flights: SingleFlight[int] = SingleFlight()
        call, results = Call(), []
        for _ in range(2):
            results.append(await flights.join("key", call, ttl=3))
            await asyncio.sleep(2.9)
            results.append(await flights.join("key", call, ttl=3))
            await asyncio.sleep(0.2)
        return results

    assert run(scene) == ([1, 1, 2, 2], [])


def test_closing_cancels_running_calls_and_waits_for_their_end() -> None:
    async def scene() -> tuple[int, Any]:
        flights: SingleFlight[int] = SingleFlight()
        call = Call()
        callers = [asyncio.ensure_future(flights.join(key, call)) for key in "ab"]
        await asyncio.sleep(0.1)
        await flights.close()
        results = await asyncio.gather(*callers, return_exceptions=True)
        return call.cancelled, {type(result) for result in results}

    assert run(scene) == ((2, {asyncio.CancelledError}), [])
