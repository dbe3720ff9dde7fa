"""The `PersonalOrderStore` port in memory."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from movie_core.clock import Clock, utc_now
from movie_core.discovery.personal_ranking import MAX_ORDERS, ORDER_SECONDS, ExportedOrder, OrderExport


@dataclass(frozen=True, slots=True)
class _StoredOrder:
    movie_ids: Sequence[str]
    stored_at: datetime


class MemoryPersonalOrderStore:
    """A `PersonalOrderStore` for one process."""

    def __init__(self, clock: Clock = utc_now) -> None:
        self._clock = clock
        self._orders: dict[str, dict[str, _StoredOrder]] = {}

    async def find(self, user_id: str, key: str) -> Sequence[str] | None:
        order = self._unexpired(user_id).get(key)
        return None if order is None else order.movie_ids

    async def save(self, user_id: str, key: str, movie_ids: Sequence[str]) -> Sequence[str]:
        orders = self._orders[user_id] = self._unexpired(user_id)
        stored = orders.setdefault(key, _StoredOrder(list(movie_ids), self._clock()))
        while len(orders) > MAX_ORDERS:
            del orders[next(iter(orders))]
        return stored.movie_ids

    async def export(self, user_id: str) -> OrderExport:
        return OrderExport(
            [
                ExportedOrder("catalogue", key, list(order.movie_ids), order.stored_at)
                for key, order in self._unexpired(user_id).items()
            ]
        )

    async def erase(self, user_id: str) -> None:
        self._orders.pop(user_id, None)

    def _unexpired(self, user_id: str) -> dict[str, _StoredOrder]:
        """The orders of a user that have not expired, oldest first."""
        since = self._clock() - timedelta(seconds=ORDER_SECONDS)
        return {key: order for key, order in self._orders.get(user_id, {}).items() if order.stored_at > since}
