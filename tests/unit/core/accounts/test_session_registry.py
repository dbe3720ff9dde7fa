"""Which sessions a process considers live."""

from datetime import UTC, datetime, timedelta

import pytest

from movie_core.accounts.session_registry import MAX_CACHED, SessionRegistry
from movie_core.accounts.sessions import Session
from movie_core.errors import InvalidToken, StoreUnavailable

NOW = datetime(2026, 11, 1, tzinfo=UTC)


class Store:
    """A session store controlled by the test; counts lookups."""

    def __init__(self, *live: str) -> None:
        self.live = set(live)
        self.ended: list[tuple[datetime, str]] = []
        self.is_unavailable = False
        self.lookups = 0

    async def find(self, session_id: str) -> Session | None:
        self.lookups += 1
        if self.is_unavailable:
            raise StoreUnavailable("unavailable")
        return Session(session_id, "user", "device", NOW, NOW) if session_id in self.live else None

    async def ended_since(self, since: datetime) -> list[str]:
        if self.is_unavailable:
            raise StoreUnavailable("unavailable")
        return [session_id for ended_at, session_id in self.ended if ended_at >= since]

    def end(self, session_id: str, at: datetime = NOW) -> None:
        self.live.discard(session_id)
        self.ended.append((at, session_id))


def registry_of(store: Store) -> SessionRegistry:
    return SessionRegistry(store, clock=lambda: NOW)  # type: ignore[arg-type]


async def test_a_session_is_looked_up_once() -> None:
    store = Store("a")
    registry = registry_of(store)
    for _ in range(5):
        await registry.check("a")
    assert store.lookups == 1


async def test_an_unknown_session_is_rejected() -> None:
    registry = registry_of(Store())
    for _ in range(2):
        with pytest.raises(InvalidToken):
            await registry.check("x")


async def test_poll_reads_sessions_ended_by_other_processes() -> None:
    store = Store("a", "b")
    registry = registry_of(store)
    await registry.check("a")
    await registry.check("b")
    store.end("a", NOW - timedelta(seconds=50))  # by a slow transaction, or a clock that lags
    await registry.check("a")
    await registry.poll()
    with pytest.raises(InvalidToken):
        await registry.check("a")
    await registry.check("b")


async def test_cached_sessions_stay_valid_while_the_store_is_unavailable() -> None:
    store = Store("a", "b", "c")
    registry = registry_of(store)
    await registry.check("a")
    registry.mark_ended(["b"])
    store.is_unavailable = True
    await registry.poll()
    await registry.check("a")
    await registry.check("c")  # not cached: its token is sufficient proof
    with pytest.raises(InvalidToken):
        await registry.check("b")
    store.end("c")
    store.is_unavailable = False
    await registry.poll()
    with pytest.raises(InvalidToken):
        await registry.check("c")


async def test_an_unavailable_store_is_not_queried_for_every_request() -> None:
    store = Store()
    store.is_unavailable = True
    registry = registry_of(store)
    for number in range(50):
        await registry.check(str(number))
    assert store.lookups == 1


async def test_the_number_of_cached_sessions_is_bounded() -> None:
    store = Store()
    registry = registry_of(store)
    registry.mark_ended([str(number) for number in range(MAX_CACHED + 1)])
    with pytest.raises(InvalidToken):
        await registry.check("1")
    assert store.lookups == 0
    with pytest.raises(InvalidToken):
        await registry.check("0")  # dropped, so the store decides
    assert store.lookups == 1
