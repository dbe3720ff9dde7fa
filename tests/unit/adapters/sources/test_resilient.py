"""Retries and the circuit breaker around a scripted source, in virtual time."""

import asyncio
import itertools
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, TypeVar

import pytest
import stamina
from tests.support.virtual_time import VirtualTimeLoop

from movie_adapters.sources.http import SourceFault
from movie_adapters.sources.resilient import ResilientMovieSource
from movie_core.errors import FilterUnsupported, MovieNotFound, SourceUnavailable, StoreUnavailable
from movie_core.paging import Window
from movie_core.search.movies import Capability, FoundMovie, Genre, Movie, MoviePage, MovieQuery, Order
from movie_core.search.retry_policy import BreakerState, MonotonicClock, RetryPolicy

T = TypeVar("T")
PAGE = MoviePage(1, (Movie(id="1", title="One"),), "scripted")


def run(scene: Callable[[], Awaitable[T]]) -> T:
    async def act() -> T:
        answer = await scene()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left, "a task was left behind"
        return answer

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(act())


def now() -> float:
    return asyncio.get_running_loop().time()


def status(code: int, *, retryable: bool = True, wait: float | None = None) -> SourceFault:
    return SourceFault("status", f"answered with status {code}", status=code, retryable=retryable, requested_wait=wait)


Step = Exception | float | None
"""Outcome of a call: an error, a result after so many seconds, or None for a result after 60 ms."""


class Scripted:
    """A source that follows a script; `then` makes the outcomes after its end."""

    name = "scripted"

    def __init__(
        self,
        script: Iterable[Step] = (),
        then: Callable[[], Step] = lambda: None,
        able: Iterable[Capability] = Capability,
    ) -> None:
        self.capabilities = frozenset(able)
        self.script = list(script)
        self.then = then
        self.calls: list[float] = []
        self.running = 0

    async def _answer(self, value: T) -> T:
        self.calls.append(now())
        step = self.script.pop(0) if self.script else self.then()
        self.running += 1
        try:
            await asyncio.sleep(step if isinstance(step, float) else 0.06)
        finally:
            self.running -= 1
        if isinstance(step, Exception):
            raise step
        return value

    async def search(self, query: MovieQuery, window: Window) -> MoviePage:
        return await self._answer(PAGE)

    async def get(self, movie_id: str) -> FoundMovie:
        return await self._answer(FoundMovie(PAGE.items[0], self.name))

    async def suggest(self, text: str, limit: int) -> Sequence[Movie]:
        return await self._answer(PAGE.items)

    async def genres(self) -> Sequence[Genre]:
        return await self._answer((Genre("Drama", 1),))


def resilient(
    inner: Scripted, retry_policy: RetryPolicy | None = None, seed: int = 7, clock: MonotonicClock = now
) -> ResilientMovieSource:
    return ResilientMovieSource(inner, retry_policy, clock=clock, chance=random.Random(seed).random)


def search(source: ResilientMovieSource) -> Awaitable[MoviePage]:
    return source.search(MovieQuery("x"), Window())


async def is_answered(source: ResilientMovieSource) -> bool:
    try:
        await search(source)
    except SourceUnavailable:
        return False
    return True


@pytest.fixture(autouse=True)
def silent_retries() -> Iterable[None]:
    stamina.instrumentation.set_on_retry_hooks(())
    yield
    stamina.instrumentation.set_on_retry_hooks(None)


def test_five_failures_and_a_success_are_six_calls() -> None:
    async def scene() -> list[float]:
        inner = Scripted([status(500)] * 5)
        assert await search(resilient(inner)) is PAGE
        return inner.calls

    calls = run(scene)
    assert len(calls) == 6
    waits = [later - earlier - 0.06 for earlier, later in itertools.pairwise(calls)]
    assert all(0.024 <= wait <= 0.251 for wait in waits)


def test_only_the_injected_clock_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    hours = itertools.count(0, 3600)

    async def scene() -> int:
        inner = Scripted([status(500)] * 5)
        assert await search(resilient(inner)) is PAGE
        return len(inner.calls)

    monkeypatch.setattr(time, "monotonic", lambda: float(next(hours)))
    assert run(scene) == 6


def test_the_deadline_is_that_of_the_injected_clock() -> None:
    async def scene(speed: float) -> tuple[int, float]:
        inner = Scripted(then=lambda: status(500))
        source = resilient(inner, RetryPolicy(seconds_to_open=1000), clock=lambda: speed * now())
        with pytest.raises(SourceFault):
            await search(source)
        return len(inner.calls), now()

    calls, ended = run(lambda: scene(1))
    fast_calls, fast_ended = run(lambda: scene(10))
    stopped_calls, _ = run(lambda: scene(0))
    assert fast_calls < calls == stopped_calls == RetryPolicy().max_attempts
    assert fast_ended < 0.3 + RetryPolicy().max_backoff < ended


@pytest.mark.parametrize("method", ["search", "get", "suggest", "genres"])
def test_every_method_is_retried(method: str) -> None:
    async def scene() -> int:
        inner = Scripted([SourceFault("reset", "broke off"), SourceFault("not_json", "sent a page")])
        source = resilient(inner)
        arguments: dict[str, tuple[Any, ...]] = {
            "search": (MovieQuery("x"), Window()),
            "get": ("1",),
            "suggest": ("x", 5),
            "genres": (),
        }
        assert await getattr(source, method)(*arguments[method])
        return len(inner.calls)

    assert run(scene) == 3


def test_fourteen_attempts_fit_the_deadline_and_none_follows() -> None:
    async def scene() -> tuple[int, float]:
        inner = Scripted(then=lambda: status(500))
        # This test is about attempts; the circuit breaker stays closed.
        retry_policy = RetryPolicy(seconds_to_open=60)
        with pytest.raises(SourceFault) as caught:
            await search(resilient(inner, retry_policy))
        assert caught.value.status == 500
        return len(inner.calls), now()

    for _ in range(20):
        calls, ended = run(scene)
        assert calls == 14
        assert ended <= 3.0


def test_retry_after_of_the_source_is_respected() -> None:
    async def scene() -> list[float]:
        inner = Scripted([status(429, wait=1.0), status(503, wait=0.5)])
        await search(resilient(inner))
        return inner.calls

    first, second, third = run(scene)
    assert second - first >= 1.06
    assert third - second >= 0.56


def test_a_retry_after_beyond_the_deadline_fails_at_once() -> None:
    async def scene() -> tuple[int, float, float]:
        inner = Scripted(then=lambda: status(429, wait=30.0))
        with pytest.raises(SourceUnavailable) as caught:
            await search(resilient(inner))
        return len(inner.calls), now(), caught.value.retry_after

    calls, ended, retry_after = run(scene)
    assert (calls, retry_after) == (1, 30.0)
    assert ended < 0.1


def test_a_fault_that_is_not_retryable_is_raised_at_once_and_does_not_open_the_breaker() -> None:
    async def scene() -> int:
        inner = Scripted(then=lambda: status(422, retryable=False))
        source = resilient(inner)
        for _ in range(60):
            with pytest.raises(SourceFault):
                await search(source)
        assert source.state().state is BreakerState.CLOSED
        return len(inner.calls)

    assert run(scene) == 60


def test_movie_not_found_counts_as_success() -> None:
    async def scene() -> int:
        inner = Scripted(then=lambda: MovieNotFound("no such movie"))
        source = resilient(inner)
        for _ in range(60):
            with pytest.raises(MovieNotFound):
                await source.get("1")
        assert source.state().state is BreakerState.CLOSED
        return source.outcomes["success"]

    assert run(scene) == 60


def test_unsupported_methods_are_rejected_without_a_call_even_while_open() -> None:
    async def scene() -> int:
        inner = Scripted(then=lambda: status(500), able=())
        source = resilient(inner)
        await asyncio.gather(*(is_answered(source) for _ in range(60)))
        assert source.state().state is BreakerState.OPEN
        calls = len(inner.calls)
        asks = (
            source.get("1"),
            source.suggest("x", 1),
            source.genres(),
            source.search(MovieQuery(order=Order.YEAR), Window()),
        )
        for ask in asks:
            with pytest.raises(FilterUnsupported):
                await ask
        return len(inner.calls) - calls

    assert run(scene) == 0


def test_an_error_of_another_kind_passes() -> None:
    async def scene() -> int:
        inner = Scripted([StoreUnavailable("unavailable")])
        with pytest.raises(StoreUnavailable):
            await search(resilient(inner))
        return len(inner.calls)

    assert run(scene) == 1


def test_a_hanging_source_is_given_up_at_the_deadline() -> None:
    async def scene() -> tuple[float, int]:
        inner = Scripted(then=lambda: 1000.0)
        with pytest.raises(SourceUnavailable):
            await search(resilient(inner))
        return now(), inner.running

    ended, running = run(scene)
    assert 2.0 <= ended <= 3.01
    assert running == 0


def test_half_of_the_calls_fail_and_the_breaker_stays_closed_at_500_requests_a_second() -> None:
    async def scene() -> tuple[int, int]:
        rng = random.Random(1)
        inner = Scripted(then=lambda: status(503) if rng.random() < 0.5 else None)
        source = resilient(inner)
        async with asyncio.TaskGroup() as group:
            tasks = []
            for _ in range(1500):
                tasks.append(group.create_task(is_answered(source)))
                await asyncio.sleep(0.002)
                assert source.state().state is BreakerState.CLOSED
        return sum(task.result() for task in tasks), len(inner.calls)

    answered, calls = run(scene)
    assert answered >= 1499
    assert calls <= 2.1 * 1500


@pytest.mark.parametrize(("rate", "goal"), [(0.3, 0.9999), (0.5, 0.9995), (0.7, 0.99)])
@pytest.mark.parametrize("clients", [4, 32])
def test_the_success_rate_of_a_new_process(rate: float, goal: float, clients: int) -> None:
    async def scene() -> float:
        rng = random.Random(1)
        inner = Scripted(then=lambda: status(500) if rng.random() < rate else None)
        source = resilient(inner)
        left = iter(range(1000))

        async def client() -> int:
            return sum([await is_answered(source) for _ in left])

        return sum(await asyncio.gather(*(client() for _ in range(clients)))) / 1000

    assert run(scene) >= goal


async def bring_down(source: ResilientMovieSource, inner: Scripted, fault: Callable[[], Step]) -> None:
    inner.then = fault
    await asyncio.gather(*(is_answered(source) for _ in range(60)))
    assert source.state().state is BreakerState.OPEN


@pytest.mark.parametrize("fault", [lambda: status(500), lambda: 1000.0, lambda: SourceFault("connect", "refuses")])
def test_while_the_source_is_down_requests_fail_quickly_and_probes_are_few(fault: Callable[[], Step]) -> None:
    async def scene() -> tuple[float, int]:
        inner = Scripted()
        source = resilient(inner)
        await bring_down(source, inner, fault)
        calls, slowest = len(inner.calls), 0.0
        await is_answered(source)
        began = now()
        while now() < began + 10:
            asked = now()
            assert not await is_answered(source)
            slowest = max(slowest, now() - asked)
            await asyncio.sleep(0.005)
        await source.close()
        return slowest, len(inner.calls) - calls

    slowest, probes = run(scene)
    assert slowest <= 0.05
    assert 10 <= probes <= 51


def test_recovery_of_the_source_is_detected_within_two_seconds() -> None:
    async def scene() -> float:
        inner = Scripted()
        source = resilient(inner)
        await bring_down(source, inner, lambda: status(500))
        inner.then = lambda: None
        began = now()
        for _ in range(200):
            if await is_answered(source):
                break
            await asyncio.sleep(0.01)
        took = now() - began
        for _ in range(10):
            await search(source)
        assert source.state().state is BreakerState.CLOSED
        await source.close()
        return took

    assert run(scene) <= 0.5


def test_without_recent_failures_the_first_request_gets_the_result() -> None:
    async def scene() -> None:
        inner = Scripted()
        source = resilient(inner)
        await bring_down(source, inner, lambda: status(500))
        inner.then = lambda: None
        await asyncio.sleep(2)
        assert await search(source) is PAGE

    run(scene)


def test_a_lone_request_survives_a_second_of_failures() -> None:
    async def scene() -> tuple[MoviePage, int]:
        inner = Scripted([status(500)] * 11)
        source = resilient(inner)
        page = await search(source)
        return page, len(inner.calls)

    assert run(scene) == (PAGE, 12)


def test_a_cancelled_request_leaves_nothing_behind() -> None:
    async def scene() -> None:
        inner = Scripted(then=lambda: 0.6)
        source = resilient(inner)
        requests = [asyncio.ensure_future(search(source)) for _ in range(20)]
        await asyncio.sleep(0.1)
        assert inner.running == 20
        for request in requests:
            request.cancel()
        await asyncio.gather(*requests, return_exceptions=True)
        assert inner.running == 0
        assert source.state().failures == 0

    run(scene)


def test_a_cancelled_request_cancels_its_probe() -> None:
    async def scene() -> None:
        inner = Scripted()
        source = resilient(inner)
        await bring_down(source, inner, lambda: status(500))
        inner.then = lambda: 0.6
        await asyncio.sleep(0.3)
        request = asyncio.ensure_future(search(source))
        await asyncio.sleep(0.01)
        assert inner.running == 1
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
        assert inner.running == 0

    run(scene)


def test_closing_cancels_a_running_probe() -> None:
    async def scene() -> None:
        inner = Scripted()
        source = resilient(inner)
        await bring_down(source, inner, lambda: status(500))
        inner.then = lambda: 0.6
        await asyncio.sleep(0.3)
        assert not await is_answered(source)
        assert inner.running == 1
        await source.close()
        assert inner.running == 0

    run(scene)


def test_a_call_that_hangs_while_others_are_quick_gets_a_hedged_request() -> None:
    async def scene() -> tuple[float, int]:
        inner = Scripted([1000.0] * 3)
        source = resilient(inner)
        await asyncio.gather(*(search(source) for _ in range(60)))
        inner.script = [1000.0]
        calls, began = len(inner.calls), now()
        await search(source)
        return now() - began, len(inner.calls) - calls

    seconds, calls = run(scene)
    assert calls == 2
    assert seconds <= 0.15 + 0.06 + 0.01


def test_a_slow_source_gets_no_hedged_requests() -> None:
    async def scene() -> int:
        inner = Scripted()
        source = resilient(inner)
        await asyncio.gather(*(search(source) for _ in range(60)))
        inner.then = lambda: 0.5
        calls = len(inner.calls)
        await search(source)
        return len(inner.calls) - calls

    assert run(scene) == 1


def test_asyncio_reports_no_attempt_that_ended_after_another(recwarn: pytest.WarningsRecorder) -> None:
    async def scene() -> None:
        reports: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: reports.append(context))
        rng = random.Random(3)
        inner = Scripted(then=lambda: rng.choice([0.06, 0.06, 1000.0, status(500)]))
        source = resilient(inner)
        await asyncio.gather(*(is_answered(source) for _ in range(400)))
        await source.close()
        del source, inner
        assert reports == []

    run(scene)
