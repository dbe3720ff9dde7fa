"""Trending: what people do with movies, decaying exponentially, in the forward form.

The score of a movie is T(now) = sum of w * 2^(-(now - t)/H) over what was done at times t with weights w, H being the
half-life. We keep S = log2(sum of w * 2^(t/H)) instead, t counted from `LANDMARK`: one more deed is one `log2_add`, no
score ever has to be brought up to date, order by S is order by T at any moment, nothing overflows, and deeds may come
late or in any order. (Cormode et al., Forward Decay, ICDE 2009.)
"""

import logging
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum

from movie_core.discovery.ratings import LIKED

MAX_TREND = 100
"""Movies that a list of trends shows."""
KEPT_MOVIES = 10_000
"""Movies whose scores a window keeps, about; the lowest give way."""
LANDMARK = datetime(2026, 1, 1, tzinfo=UTC)
"""Any time would do; near ones leave more digits of S to what comes after the point."""
LEAD = timedelta(seconds=1)
"""How far ahead a life of a store begins: longer than it takes to say so, and than clocks differ."""
SETTLE = timedelta(seconds=4)
"""How long after that what was kept before may still be on its way into the event store, different clocks included."""
FILL = timedelta(minutes=5)
"""How long filling may take; then another process begins anew."""
PORTION = 1_000
"""Deeds that are summed up before others get their turn, in some milliseconds."""
FRESH = timedelta(seconds=1)
"""How long a process tells the same trends again."""

_log = logging.getLogger(__name__)


class InteractionKind(StrEnum):
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

    def strength(self, interaction: "Interaction") -> float:
        """What one deed adds to a movie's S, in the form in which `log2_add` adds it."""
        return self._half_lives(interaction.at) + math.log2(interaction.weight)

    def score(self, strength: float, now: datetime) -> float:
        """T from S."""
        return float(2.0 ** (strength - self._half_lives(now)))

    def _half_lives(self, at: datetime) -> float:
        return (at - LANDMARK) / timedelta(seconds=self.half_life)


def log2_add(a: float, b: float) -> float:
    """log2(2^a + 2^b), without leaving the range of floats on the way."""
    high, low = (a, b) if a >= b else (b, a)
    return high if low == -math.inf else high + math.log1p(2.0 ** (low - high)) / math.log(2)


@dataclass(frozen=True, slots=True)
class Interaction:
    """Something that counts: the first of its user, movie, kind and UTC day."""

    movie_id: str
    kind: InteractionKind
    weight: float
    at: datetime
    kept_at: datetime
    """When the event store was given it: `now` of `EventStore.append`."""


def weight_of(kind: InteractionKind, rating: float | None = None) -> float:
    return WEIGHTS["liked" if kind is InteractionKind.RATING and rating is not None and rating >= LIKED else kind.value]


def utc_day(at: datetime) -> date:
    return at.astimezone(UTC).date()


@dataclass(frozen=True, slots=True)
class Trend:
    """A movie that people turn to."""

    movie_id: str
    score: float
    """T at the moment of the answer."""
    counts: Mapping[InteractionKind, int] = field(default_factory=dict)
    """How many deeds of each kind counted within the window's buckets; kinds with none are left out."""


class Totals:
    """What deeds come to, for each window."""

    def __init__(self, now: datetime) -> None:
        """Counts are of the buckets that windows look at from `now` on."""
        self.now = now
        self._since = {window: window.bucket(now) - window.buckets for window in TrendWindow}
        self.strengths: dict[TrendWindow, dict[str, float]] = {window: {} for window in TrendWindow}
        """S by movie."""
        self.counts: dict[TrendWindow, Counter[tuple[int, str, InteractionKind]]] = {w: Counter() for w in TrendWindow}
        """Deeds by bucket, movie and kind."""

    def add(self, interactions: Iterable[Interaction]) -> None:
        for interaction in interactions:
            for window, strengths in self.strengths.items():
                known = strengths.get(interaction.movie_id, -math.inf)
                strengths[interaction.movie_id] = log2_add(known, window.strength(interaction))
                if (bucket := window.bucket(interaction.at)) > self._since[window]:
                    self.counts[window][bucket, interaction.movie_id, interaction.kind] += 1

    def parts(self, size: int, kept: int) -> Iterator["TotalsBatch"]:
        """The `kept` strongest movies of each window, in parts of at most `size` strengths and counts; at least one."""
        strengths: list[tuple[TrendWindow, str, float]] = []
        counts: list[tuple[TrendWindow, int, str, InteractionKind, int]] = []
        for window, known in self.strengths.items():
            chosen = dict(strongest(known, kept))
            strengths += ((window, movie_id, strength) for movie_id, strength in chosen.items())
            counts += ((window, *key, count) for key, count in self.counts[window].items() if key[1] in chosen)
        for start in range(0, max(len(strengths), len(counts), 1), size):
            end = start + size
            yield TotalsBatch(strengths[start:end], counts[start:end], is_last=end >= max(len(strengths), len(counts)))


@dataclass(frozen=True, slots=True)
class TotalsBatch:
    """A part of some totals, as stores take them."""

    strengths: Sequence[tuple[TrendWindow, str, float]]
    """Window, movie and S."""
    counts: Sequence[tuple[TrendWindow, int, str, InteractionKind, int]]
    """Window, bucket, movie, kind and how many."""
    is_last: bool


def strongest(strengths: Mapping[str, float], limit: int) -> list[tuple[str, float]]:
    """At most so many movies by falling strength, then by id."""
    return sorted(strengths.items(), key=lambda pair: (-pair[1], pair[0]))[:limit]


@dataclass(frozen=True, slots=True)
class Epoch:
    """A store's time between losing everything and losing it again."""

    since: datetime
    """What was kept before comes from the events by `TrendStore.finish_rebuild`, the rest by `TrendStore.add`."""
    is_claimed: bool = False
    """Whether somebody fills it."""
    is_filled: bool = False
    newest: datetime | None = None
    """The latest `kept_at` of what `TrendStore.add` has added."""


@dataclass(frozen=True, slots=True)
class Trending:
    """What people turn to, as of a moment."""

    window: TrendWindow
    items: tuple[Trend, ...]
    """Best first."""
    as_of: datetime
    is_stale: bool = False
    """True where the store is away or being filled, and this is what it told last, if anything."""
