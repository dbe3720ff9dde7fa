"""The JSON of an export."""

import asyncio
import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

from movie_api.user_export import ROWS_PER_STEP, encode_export
from movie_core.accounts.exports import AccountExport, ExportedAccount, LoginNetwork, UserExport
from movie_core.discovery.events import Event, EventExport, EventKind, ExportedEvent
from movie_core.discovery.ratings import Rating, RatingExport, exported
from movie_core.testing import NOW


async def test_all_stores_are_encoded_as_one_object() -> None:
    account = ExportedAccount("a", "ann@example.com", "ann", NOW, True, False, True, None)
    event = Event(EventKind.CLICK, NOW, "a", "7", position=3).exported("catalogue")
    rating = exported("catalogue", Rating("7", "Seven", None, 9.5, NOW))
    stored = AccountExport(account, login_networks=[LoginNetwork("192.0.2.1", NOW)])
    at = "2026-11-24T09:00:00Z"
    export = UserExport(stored, (RatingExport([rating]), EventExport([event])))
    assert json.loads(await encode_export(export)) == {
        "account": {"id": "a", "email": "ann@example.com", "username": "ann", "created_at": at, "is_active": True}
        | {"is_staff": False, "record_events": True, "last_login": None},
        "registrations": [],
        "sessions": [],
        "login_networks": [{"network": "192.0.2.1", "last_used_at": at}],
        "mails": [],
        "ratings": [
            {"source": "catalogue", "movie_id": "7", "title": "Seven", "year": None, "rating": 9.5, "rated_at": at}
        ],
        "events": [
            {"source": "catalogue", "type": "click", "at": at, "movie_id": "7", "position": 3, "times": 1},
        ],
        "event_days": [],
    }


class CountedEvents(Sequence[ExportedEvent]):
    """Many equal events, which count how many of them are read in each turn of the event loop."""

    def __init__(self, number: int) -> None:
        self.turn = 0
        self.read_by_turn: Counter[int] = Counter()
        self._number = number
        self._event = Event(EventKind.VIEW, NOW, "a", "7").exported("catalogue")

    def __len__(self) -> int:
        return self._number

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            events = [self._event for _ in range(*index.indices(self._number))]
            self.read_by_turn[self.turn] += len(events)
            return events
        if index >= self._number:
            raise IndexError(index)
        self.read_by_turn[self.turn] += 1
        return self._event

    def count_turn(self) -> None:
        """Counts this turn of the event loop, and each later one until the last event was read."""
        self.turn += 1
        if self.read_by_turn.total() < self._number:
            asyncio.get_running_loop().call_soon(self.count_turn)


async def test_other_tasks_get_a_turn_while_a_long_history_is_encoded() -> None:
    events = CountedEvents(20 * ROWS_PER_STEP + 1)
    events.count_turn()
    encoded = await encode_export(UserExport(AccountExport(None), (EventExport(events),)))
    assert len(json.loads(encoded)["events"]) == sum(events.read_by_turn.values()) == len(events)
    assert max(events.read_by_turn.values()) <= ROWS_PER_STEP
