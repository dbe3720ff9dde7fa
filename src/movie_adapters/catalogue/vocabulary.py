"""A cache of the vocabulary of a catalogue. Misspelled words are compared with long lists of terms; reading these from
the database for each search would cost many times as much as an ordinary search."""

import threading
from collections import OrderedDict
from typing import Generic, TypeVar

from movie_adapters.catalogue.ranking import Vocabulary

MAX_COUNTS = 1000
"""Counts of matches that are remembered."""
MAX_TERMS = 250_000
"""Terms that are remembered, some 80 bytes each. Searches choose which are read, so that nothing else bounds them."""
LIST_WEIGHT = 10
"""What an empty list of terms counts as."""
LAST = "\U0010ffff"
"""Sorts after every character of a term."""

K = TypeVar("K")
V = TypeVar("V")


class Recent(Generic[K, V]):
    """Values by their keys, for any threads; those used longest ago go when all together are heavier than allowed."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._values: OrderedDict[K, tuple[V, int]] = OrderedDict()
        self.weight = 0

    def __len__(self) -> int:
        return len(self._values)

    def get(self, key: K) -> V | None:
        with self._lock:
            found = self._values.get(key)
            if found is None:
                return None
            self._values.move_to_end(key)
            return found[0]

    def put(self, key: K, value: V, weight: int = 1) -> None:
        with self._lock:
            self.weight += weight - self._values.pop(key, (value, 0))[1]
            self._values[key] = value, weight
            while self.weight > self._most and len(self._values) > 1:
                self.weight -= self._values.popitem(last=False)[1][1]


class Remembered:
    """What has been read of one revision of a catalogue."""

    def __init__(self, revision: int) -> None:
        self.revision = revision
        self.best: tuple[float | None] | None = None
        """The popularity of the best known movie, where it has been looked up."""
        self.counts: Recent[str, int] = Recent(MAX_COUNTS)
        self.terms: Recent[tuple[str, ...], Vocabulary] = Recent(MAX_TERMS)

    def keep_terms(self, key: tuple[str, ...], terms: Vocabulary) -> Vocabulary:
        self.terms.put(key, terms, len(terms[0]) + LIST_WEIGHT)
        return terms


def begun_ranges(term: str) -> list[tuple[str, str]]:
    """First and last of the terms that begin as `term`, or as it would with its first two letters swapped or the first
    one too many."""
    kind, word = _kind(term)
    return [(first, first + LAST) for first in dict.fromkeys(kind + letter for letter in word[:2])]


def ended_range(term: str) -> tuple[str, str, str]:
    """The last two letters of `term`, and the first and last of the terms of its kind: for another or a missing first
    letter."""
    kind, word = _kind(term)
    return word[-2:], kind or "A", kind + LAST


def _kind(term: str) -> tuple[str, str]:
    return ("@", term[1:]) if term[0] == "@" else ("", term)
