"""Single-flight, in virtual time."""

import asyncio
import gc
from collections.abc import AsyncIterator

import pytest
from tests.support.virtual_time import settle

from movie_core.single_flight import SingleFlight

pytestmark = pytest.mark.usefixtures("no_task_left")


@pytest.fixture(autouse=True)
async def reports() -> AsyncIterator[list[str]]:
    """What asyncio reports about tasks; a test that expects a report clears the list."""
    messages: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: messages.append(context["message"]))
    yield messages
    await asyncio.sleep(5)
    gc.collect()
    assert messages == []


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


async def test_concurrent_callers_of_a_key_share_one_call() -> None:
    flights: SingleFlight[int] = SingleFlight()
    call, other = Call(), Call()
    first = await asyncio.gather(*(flights.join("key", call) for _ in range(100)), flights.join("other", other))
    second = await asyncio.gather(*(flights.join("key", call) for _ in range(100)))
    assert (first, second) == ([1] * 101, [2] * 100)


async def test_concurrent_callers_share_an_error_and_the_next_one_starts_a_new_call() -> None:
    flights: SingleFlight[int] = SingleFlight()
    call = Call(KeyError("missing"))
    results = await asyncio.gather(*(flights.join("key", call) for _ in range(3)), return_exceptions=True)
    assert [type(result) for result in results] == [KeyError] * 3
    assert call.started == 1
    call.error = None
    assert await flights.join("key", call) == 2


async def test_a_call_continues_when_its_first_caller_is_cancelled() -> None:
    flights: SingleFlight[int] = SingleFlight()
    call = Call()
    first = asyncio.ensure_future(flights.join("key", call))
    await settle()
    second = asyncio.ensure_future(flights.join("key", call))
    await settle()
    first.cancel()
    assert await second == 1


@pytest.mark.parametrize(("is_joined", "count"), [(True, 0), (False, 1)])
async def test_asyncio_reports_the_error_of_a_call_only_if_nobody_ever_joined_it(
    is_joined: bool, count: int, reports: list[str]
) -> None:
    flights: SingleFlight[int] = SingleFlight()
    call = Call(KeyError("missing"))
    if is_joined:
        caller = asyncio.ensure_future(flights.join("key", call))
        await settle()
        caller.cancel()
    else:
        flights.start("key", call)
    await asyncio.sleep(2)
    gc.collect()
    assert len(reports) == count
    reports.clear()


async def test_a_key_is_contained_while_its_call_runs() -> None:
    flights: SingleFlight[int] = SingleFlight()
    assert "key" not in flights
    task = flights.start("key", Call())
    assert "key" in flights
    await task
    assert "key" not in flights


async def test_a_call_that_has_just_ended_is_not_shared() -> None:
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
    await settle()
    assert flights._tasks == {}
    assert seen == [(True, False, False)]


async def test_a_result_is_shared_for_its_ttl() -> None:
    flights: SingleFlight[int] = SingleFlight()
    call, results = Call(), []
    for _ in range(2):
        results.append(await flights.join("key", call, ttl=3))
        await asyncio.sleep(2.9)
        results.append(await flights.join("key", call, ttl=3))
        await asyncio.sleep(0.2)
    assert results == [1, 1, 2, 2]


async def test_closing_cancels_running_calls_and_waits_for_their_end() -> None:
    flights: SingleFlight[int] = SingleFlight()
    call = Call()
    callers = [asyncio.ensure_future(flights.join(key, call)) for key in "ab"]
    await settle()
    await flights.close()
    results = await asyncio.gather(*callers, return_exceptions=True)
    assert call.cancelled == 2
    assert [type(result) for result in results] == [asyncio.CancelledError] * 2
