"""Trending: scores of movies from interactions with exponential time decay.

The score of a movie is T(now) = sum of w * 2^(-(now - t)/H) over its interactions at times t with weights w, where H is
the half-life. Stores hold the strength S = log2(sum of w * 2^(t/H)) instead, with t relative to `LANDMARK`. Adding an
interaction is one `log2_add`; stored values never need an update as time passes; the order by S equals the order by T
at any time; nothing overflows; and interactions may arrive late and in any order. (Forward decay: Cormode et al., ICDE
2009.)
"""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum

from movie_core.discovery.ratings import LIKED

MAX_TREND = 100
"""Maximum length of a list of trends."""
MAX_TREND_MOVIES = 10_000
"""Approximate number of movies stored per window; those with the lowest scores are deleted."""
LANDMARK = datetime(2026, 1, 1, tzinfo=UTC)
"""The origin of t. Any time works; a recent one gives the fraction of S more precision."""
EPOCH_LEAD = timedelta(seconds=1)
"""Time from the request for an epoch to its start: longer than the request takes, and than clocks differ."""
REBUILD_DELAY = timedelta(seconds=4)
"""Time from the start of an epoch to its rebuild: longer than a write to the event store takes, clock differences
included, so that the rebuild reads every interaction stored before the epoch."""
REBUILD_TIMEOUT = timedelta(minutes=5)
"""Timeout of a rebuild; then another process starts a new epoch."""
REBUILD_BATCH = 1_000
"""Interactions summed, within some milliseconds, before the event loop runs other tasks."""
CACHE_TTL = timedelta(seconds=1)
"""Time for which a process caches trends."""


class InteractionKind(StrEnum):
    """The kinds of interactions that count. Searches and impressions do not: they show what was searched and displayed,
    not what was wanted."""

    VIEW = "view"
    CLICK = "click"
    RATING = "rating"


WEIGHTS: Mapping[str, float] = {"view": 1.0, "click": 1.0, "rating": 2.0, "liked": 4.0}
"""Weight w by kind; `liked` is a rating of `LIKED` or more."""


class TrendWindow(StrEnum):
    """A trending window: its half-life, and the time buckets in which interactions are counted."""

    DAY = "day"
    WEEK = "week"

    @property
    def half_life(self) -> int:
        """H in seconds."""
        return 6 * 3600 if self is TrendWindow.DAY else 2 * 86_400

    @property
    def bucket_seconds(self) -> int:
        """The length of a bucket in seconds: an hour for `day`, a UTC day for `week`."""
        return 3600 if self is TrendWindow.DAY else 86_400

    @property
    def buckets(self) -> int:
        """Number of buckets that the counts of a trend cover, including the current one."""
        return 24 if self is TrendWindow.DAY else 7

    def bucket(self, at: datetime) -> int:
        """Returns the number of the bucket that contains a time."""
        return int(at.timestamp()) // self.bucket_seconds

    def strength(self, interaction: "Interaction") -> float:
        """Returns log2(w * 2^(t/H)) of one interaction, to be added to S by `log2_add`."""
        return self._half_lives(interaction.at) + math.log2(interaction.weight)

    def score(self, strength: float, now: datetime) -> float:
        """Converts S to T."""
        return float(2.0 ** (strength - self._half_lives(now)))

    def _half_lives(self, at: datetime) -> float:
        return (at - LANDMARK) / timedelta(seconds=self.half_life)


def log2_add(a: float, b: float) -> float:
    """Returns log2(2^a + 2^b) without overflow."""
    high, low = (a, b) if a >= b else (b, a)
    return high if low == -math.inf else high + math.log1p(2.0 ** (low - high)) / math.log(2)


@dataclass(frozen=True, slots=True)
class Interaction:
    """An interaction of a user with a movie: the first of its user, movie, kind and UTC day."""

    movie_id: str
    kind: InteractionKind
    weight: float
    at: datetime
    stored_at: datetime
    """When it was stored: `now` of `EventStore.append`."""


def weight_of(kind: InteractionKind, rating: float | None = None) -> float:
    """Returns the weight w of an interaction; `rating` is that of a `RATING`."""
    return WEIGHTS["liked" if kind is InteractionKind.RATING and rating is not None and rating >= LIKED else kind.value]


def utc_day(at: datetime) -> date:
    """Returns the UTC day of a time."""
    return at.astimezone(UTC).date()


@dataclass(frozen=True, slots=True)
class Trend:
    """A trending movie."""

    movie_id: str
    score: float
    """T at the time of the query."""
    counts: Mapping[InteractionKind, int] = field(default_factory=dict)
    """Number of interactions by kind within the window's buckets; kinds without any are left out."""


class Totals:
    """Strengths and counts of a set of interactions, per window."""

    def __init__(self, now: datetime) -> None:
        """Counts cover the buckets that windows read at or after `now`."""
        self.now = now
        self._since = {window: window.bucket(now) - window.buckets for window in TrendWindow}
        self.strengths: dict[TrendWindow, dict[str, float]] = {window: {} for window in TrendWindow}
        """S by movie."""
        self.counts: dict[TrendWindow, Counter[tuple[int, str, InteractionKind]]] = {w: Counter() for w in TrendWindow}
        """Number of interactions by bucket, movie and kind."""

    def add(self, interactions: Iterable[Interaction]) -> None:
        """Adds interactions, in any order."""
        for interaction in interactions:
            for window, strengths in self.strengths.items():
                strength = strengths.get(interaction.movie_id, -math.inf)
                strengths[interaction.movie_id] = log2_add(strength, window.strength(interaction))
                if (bucket := window.bucket(interaction.at)) > self._since[window]:
                    self.counts[window][bucket, interaction.movie_id, interaction.kind] += 1

    def batches(self, size: int, limit: int) -> Iterator["TotalsBatch"]:
        """Yields the `limit` strongest movies of each window in batches of at most `size` strengths and counts; at
        least one batch."""
        strengths: list[tuple[TrendWindow, str, float]] = []
        counts: list[tuple[TrendWindow, int, str, InteractionKind, int]] = []
        for window, all_strengths in self.strengths.items():
            chosen = dict(strongest(all_strengths, limit))
            strengths += ((window, movie_id, strength) for movie_id, strength in chosen.items())
            counts += ((window, *key, count) for key, count in self.counts[window].items() if key[1] in chosen)
        for start in range(0, max(len(strengths), len(counts), 1), size):
            end = start + size
            yield TotalsBatch(strengths[start:end], counts[start:end], is_last=end >= max(len(strengths), len(counts)))


@dataclass(frozen=True, slots=True)
class TotalsBatch:
    """A batch of `Totals` for a store."""

    strengths: Sequence[tuple[TrendWindow, str, float]]
    """Tuples of window, movie id and S."""
    counts: Sequence[tuple[TrendWindow, int, str, InteractionKind, int]]
    """Tuples of window, bucket, movie id, kind and number."""
    is_last: bool


def strongest(strengths: Mapping[str, float], limit: int) -> list[tuple[str, float]]:
    """Returns at most `limit` movies by descending strength, then by id."""
    return sorted(strengths.items(), key=lambda pair: (-pair[1], pair[0]))[:limit]


@dataclass(frozen=True, slots=True)
class Epoch:
    """An epoch of the store: from one reset to the next."""

    since: datetime
    """Interactions stored earlier are added by `TrendStore.finish_rebuild`, later ones by `TrendStore.add`."""
    is_claimed: bool = False
    """Whether a process has claimed the rebuild."""
    is_filled: bool = False
    """Whether the rebuild is complete."""
    newest: datetime | None = None
    """The latest `stored_at` of the interactions added by `TrendStore.add`."""


@dataclass(frozen=True, slots=True)
class Trending:
    """A list of trends at a point in time."""

    window: TrendWindow
    items: tuple[Trend, ...]
    """Best first."""
    as_of: datetime
    is_stale: bool = False
    """True if the store is unavailable or being rebuilt, and `items` is its last known list, or empty."""
