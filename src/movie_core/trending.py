"""Trending: what people do with movies, decaying exponentially, in the forward form.

The score of a movie is T(now) = sum of w * 2^(-(now - t)/H) over what was done at times t with weights w, H being the
half-life. We keep S = log2(sum of w * 2^(t/H)) instead: one more deed is one `log2_add`, no score ever has to be brought
up to date, order by S is order by T at any moment, nothing overflows, and deeds may come late or in any order.
(Cormode et al., Forward Decay, ICDE 2009.)
"""

import logging
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import TYPE_CHECKING

from movie_core.errors import StoreUnavailable
from movie_core.movies import utc_now
from movie_core.ratings import LIKED

if TYPE_CHECKING:
    from movie_core.ports import EventStore, TrendStore

MAX_TREND = 100
"""Movies that a list of trends shows."""
KEPT_MOVIES = 10_000
"""Movies whose scores a window keeps, about; the lowest give way."""

_log = logging.getLogger(__name__)


class DeedKind(StrEnum):
    """What counts. Searches and impressions don't: they say what was asked and shown, not what was wanted."""

    VIEW = "view"
    CLICK = "click"
    RATING = "rating"


WEIGHTS: Mapping[str, float] = {"view": 1.0, "click": 1.0, "rating": 2.0, "liked": 4.0}
"""By kind; `liked` is a rating of `LIKED` or more."""


class TrendWindow(StrEnum):
    """How quickly the past is forgotten, and over which buckets of time deeds are counted."""

    DAY = "day"
    WEEK = "week"

    @property
    def half_life(self) -> int:
        """Seconds."""
        return 6 * 3600 if self is TrendWindow.DAY else 2 * 86_400

    @property
    def bucket_seconds(self) -> int:
        """`day` counts by the hour, `week` by the UTC day."""
        return 3600 if self is TrendWindow.DAY else 86_400

    @property
    def buckets(self) -> int:
        """How many buckets the counts of a trend cover, the present one included."""
        return 24 if self is TrendWindow.DAY else 7

    def bucket(self, at: datetime) -> int:
        return int(at.timestamp()) // self.bucket_seconds

    def strength(self, deed: "Deed") -> float:
        """What one deed adds to a movie's S, in the form in which `log2_add` adds it."""
        return deed.at.timestamp() / self.half_life + math.log2(deed.weight)

    def score(self, strength: float, now: datetime) -> float:
        """T from S."""
        return float(2.0 ** (strength - now.timestamp() / self.half_life))


def log2_add(a: float, b: float) -> float:
    """log2(2^a + 2^b), without leaving the range of floats on the way."""
    high, low = (a, b) if a >= b else (b, a)
    return high if low == -math.inf else high + math.log1p(2.0 ** (low - high)) / math.log(2)


@dataclass(frozen=True, slots=True)
class Deed:
    """Something that counts: the first of its user, movie, kind and UTC day."""

    movie_id: str
    kind: DeedKind
    weight: float
    at: datetime


def weight_of(kind: DeedKind, rating: float | None = None) -> float:
    return WEIGHTS["liked" if kind is DeedKind.RATING and rating is not None and rating >= LIKED else kind.value]


def utc_day(at: datetime) -> date:
    return at.astimezone(UTC).date()


@dataclass(frozen=True, slots=True)
class Trend:
    """A movie that people turn to."""

    movie_id: str
    score: float
    """T at the moment of the answer."""
    counts: Mapping[DeedKind, int] = field(default_factory=dict)
    """How many deeds of each kind counted within the window's buckets; kinds with none are left out."""


def summed(deeds: Iterable[Deed], window: TrendWindow) -> dict[str, float]:
    """S of each movie."""
    strengths: dict[str, float] = {}
    for deed in deeds:
        strengths[deed.movie_id] = log2_add(strengths.get(deed.movie_id, -math.inf), window.strength(deed))
    return strengths


@dataclass(frozen=True, slots=True)
class Trending:
    """What people turn to, as of a moment."""

    window: TrendWindow
    items: tuple[Trend, ...]
    """Best first."""
    as_of: datetime
    is_stale: bool = False
    """True where the store is away, and this is what it told last."""


class Trends:
    """What trends, over a store that may be away, and may lose everything: then it is filled again from the events."""

    def __init__(self, store: "TrendStore", events: "EventStore", clock: Callable[[], datetime] = utc_now) -> None:
        self._store = store
        self._events = events
        self._clock = clock
        self._last: dict[TrendWindow, Trending] = {}
        self._is_in_doubt = False
        """Whether a call failed that may have added something or not."""

    async def add(self, deeds: Sequence[Deed]) -> None:
        """Never raises: what can't be added is added when the store is filled again."""
        try:
            if not self._is_in_doubt:
                await self._store.add(deeds)
        except StoreUnavailable as away:
            self._is_in_doubt = True
            _log.warning("trends are brought up to date when their store is back: %s", away.detail)

    async def heal(self) -> None:
        """Fill the store where it is empty or in doubt; something must call this regularly. Raises `StoreUnavailable`
        where a store is still away."""
        if self._is_in_doubt:
            await self._store.clear()
            self._is_in_doubt = False
        while (missed := await self._store.missed()) is not None:
            deeds = [deed async for batch in self._events.deeds() for deed in batch]
            await self._store.fill(deeds, missed)

    async def top(self, window: TrendWindow, limit: int) -> Trending:
        """At most `limit` movies, of at most `MAX_TREND`; raises `StoreUnavailable` where the store is away and was
        never asked before."""
        try:
            items = await self._store.top(window, MAX_TREND, self._clock())
        except StoreUnavailable:
            last = self._last.get(window)
            if last is None:
                raise
            return Trending(window, last.items[:limit], last.as_of, is_stale=True)
        answer = self._last[window] = Trending(window, tuple(items), self._clock())
        return Trending(window, answer.items[:limit], answer.as_of)
