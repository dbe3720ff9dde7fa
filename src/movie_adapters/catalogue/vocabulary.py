"""Cache of a catalogue's vocabulary. Misspelled words are compared with long lists of terms; reading these from the
database for each search would cost many times as much as an ordinary search."""

import threading
from collections import OrderedDict
from typing import Generic, TypeVar

from movie_adapters.catalogue.lookups import TermCounts

MAX_COUNTS = 1000
"""Cached numbers of matches."""
MAX_TERMS = 250_000
"""Cached terms, about 80 bytes each. The lists to read depend on the queries, so nothing else bounds their number."""
LIST_WEIGHT = 10
"""Weight of an empty list of terms."""
LAST = "\U0010ffff"
"""Sorts after every character of a term."""

K = TypeVar("K")
V = TypeVar("V")


class WeightedLruCache(Generic[K, V]):
    """A thread-safe cache that evicts the least recently used values while the total weight exceeds `max_weight`."""

    def __init__(self, max_weight: int) -> None:
        self._max_weight = max_weight
        self._lock = threading.Lock()
        self._values: OrderedDict[K, tuple[V, int]] = OrderedDict()
        self.weight = 0

    def __len__(self) -> int:
        return len(self._values)

    def get(self, key: K) -> V | None:
        with self._lock:
            entry = self._values.get(key)
            if entry is None:
                return None
            self._values.move_to_end(key)
            return entry[0]

    def put(self, key: K, value: V, weight: int = 1) -> None:
        """Store a value. One that is heavier than `max_weight` is stored alone."""
        with self._lock:
            self.weight += weight - self._values.pop(key, (value, 0))[1]
            self._values[key] = value, weight
            while self.weight > self._max_weight and len(self._values) > 1:
                self.weight -= self._values.popitem(last=False)[1][1]


class RevisionCache:
    """Cached reads of one revision of a catalogue."""

    def __init__(self, revision: int, *, max_terms: int = MAX_TERMS) -> None:
        self.revision = revision
        self.top_popularity: tuple[float | None] | None = None
        """Popularity of the most popular movie; None before it was read."""
        self.counts: WeightedLruCache[str, int] = WeightedLruCache(MAX_COUNTS)
        self.terms: WeightedLruCache[tuple[str, ...], TermCounts] = WeightedLruCache(max_terms)

    def put_terms(self, key: tuple[str, ...], terms: TermCounts) -> TermCounts:
        self.terms.put(key, terms, len(terms[0]) + LIST_WEIGHT)
        return terms


def prefix_ranges(term: str) -> list[tuple[str, str]]:
    """First and last of the terms that start with the first letter of `term`, or with its second, for a transposition
    or a superfluous first letter."""
    kind, word = _kind(term)
    return [(first, first + LAST) for first in dict.fromkeys(kind + letter for letter in word[:2])]


def suffix_range(term: str) -> tuple[str, str, str]:
    """The last two letters of `term`, and the first and last of the terms of its kind, for a wrong or missing first
    letter."""
    kind, word = _kind(term)
    return word[-2:], kind or "A", kind + LAST


def _kind(term: str) -> tuple[str, str]:
    return ("@", term[1:]) if term[0] == "@" else ("", term)
