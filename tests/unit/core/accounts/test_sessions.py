from datetime import UTC, datetime, timedelta

import pytest

from movie_core.accounts.session_registry import SessionRegistry
from movie_core.accounts.sessions import GRACE, Reuse, classify_reuse
from movie_core.errors import InvalidToken, StoreUnavailable

NOW = datetime(2026, 11, 1, tzinfo=UTC)


class Store:
    """Sessions that a test ends as it likes; counts what it is asked."""

    def __init__(self, *live: str) -> None:
        self.live = set(live)
        self.ended: list[tuple[datetime, str]] = []
        self.is_away = False
        self.lookups = 0

    async def is_live(self, session_id: str) -> bool:
        self.lookups += 1
        if self.is_away:
            raise StoreUnavailable("away")
        return session_id in self.live

    async def ended_since(self, at: datetime) -> list[str]:
        if self.is_away:
            raise StoreUnavailable("away")
        return [session_id for ended_at, session_id in self.ended if ended_at >= at]

    def end(self, session_id: str, at: datetime = NOW) -> None:
        self.live.discard(session_id)
        self.ended.append((at, session_id))


def watch_over(store: Store) -> SessionRegistry:
    return SessionRegistry(store, clock=lambda: NOW)  # type: ignore[arg-type]


async def test_a_session_is_looked_up_once() -> None:
    store = Store("a")
    registry = watch_over(store)
    for _ in range(5):
        await registry.check("a")
    assert store.lookups == 1


async def test_a_session_that_never_was_is_refused() -> None:
    registry = watch_over(Store())
    for _ in range(2):
        with pytest.raises(InvalidToken):
            await registry.check("x")


async def test_a_poll_tells_what_ended_elsewhere() -> None:
    store = Store("a", "b")
    registry = watch_over(store)
    await registry.check("a")
    await registry.check("b")
    store.end("a", NOW - timedelta(seconds=50))  # by a slow transaction, or a clock that lags
    await registry.check("a")
    await registry.poll()
    with pytest.raises(InvalidToken):
        await registry.check("a")
    await registry.check("b")


async def test_while_the_store_is_away_what_was_known_stays_in_force() -> None:
    store = Store("a", "b", "c")
    registry = watch_over(store)
    await registry.check("a")
    registry.forget(["b"])
    store.is_away = True
    await registry.poll()
    await registry.check("a")
    await registry.check("c")  # not seen before: its token proves enough
    with pytest.raises(InvalidToken):
        await registry.check("b")
    store.end("c")
    store.is_away = False
    await registry.poll()
    with pytest.raises(InvalidToken):
        await registry.check("c")


async def test_a_store_that_is_away_is_not_asked_for_every_request() -> None:
    store = Store()
    store.is_away = True
    registry = watch_over(store)
    for number in range(50):
        await registry.check(str(number))
    assert store.lookups == 1


@pytest.mark.parametrize(
    ("after", "is_unused", "judged"),
    [
        (timedelta(0), True, Reuse.REPEAT),
        (GRACE, True, Reuse.REPEAT),
        (GRACE + timedelta(milliseconds=1), True, Reuse.THEFT),
        (timedelta(seconds=1), False, Reuse.THEFT),
    ],
)
def test_a_used_refresh_token_is_a_repeat_or_a_theft(after: timedelta, is_unused: bool, judged: Reuse) -> None:
    assert classify_reuse(NOW + after, NOW, successor_is_unused=is_unused) is judged
