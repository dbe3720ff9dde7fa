import asyncio

from movie_core.single_flight import SingleFlight


async def test_a_call_that_has_just_ended_is_not_under_way() -> None:
    flights: SingleFlight[int] = SingleFlight()
    loop = asyncio.get_running_loop()
    seen: list[tuple[bool, bool, bool]] = []

    async def answer() -> int:
        return 1

    first = flights.start("key", answer)

    def look() -> None:
        """Runs when the call has ended, and before those who wait for it are told."""
        seen.append((first.done(), "key" in flights, flights.start("key", answer) is first))

    loop.call_soon(look)
    assert await first == 1
    assert seen == [(True, False, False)]
    assert await flights.join("key", answer) == 1
    await asyncio.sleep(0)
    assert flights._tasks == {}


async def test_an_answer_lingers_where_that_is_wanted() -> None:
    flights: SingleFlight[int] = SingleFlight()
    asked = 0

    async def answer() -> int:
        nonlocal asked
        asked += 1
        return asked

    assert [await flights.join("key", answer, ttl=60) for _ in range(3)] == [1, 1, 1]
    await flights.close()
