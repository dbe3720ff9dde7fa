"""Scores of candidates for one query: similarity of titles, release year and popularity."""

import functools
import math
from collections.abc import Callable, Sequence
from itertools import pairwise

from rapidfuzz import fuzz

from movie_adapters.catalogue.lookups import Candidate
from movie_adapters.catalogue.query import Interpretation
from movie_adapters.catalogue.terms import name_words
from movie_core.canonical_words import has_number
from movie_core.text import OPTIONAL_ARTICLES, fold, split_folded

Score = Callable[[Candidate], float]

_POPULARITY_WEIGHT = 2.0
"""Percent of similarity that a popularity e times as high is worth."""
_DISTANCE_WEIGHT = 0.5
"""Percent of similarity that a year of distance costs."""
_MAX_DISTANCE = 20
"""Distance in years beyond which a greater one makes no difference."""
_CONTAINED = 68.0
"""Similarity in percent of a title of several words that is a part of the query, in addition to its share of it."""
_NAME_WEIGHT = 24.0
"""Percent of similarity that words of the query in one name are worth, in contrast to several names."""
_NAME_HANDICAP = 4.0
"""Percent of similarity by which a fuzzy match of names must exceed that of a title."""
_POPULARITY_SCALE = 300.0
"""The popularity of the most popular movie is scaled to this value, so that scores do not depend on the source."""


class Scorer:
    """Scores candidates for one query, in percent of similarity. Scores are comparable only within a tier."""

    def __init__(self, text: str, top_popularity: float | None, dated: Interpretation | None = None) -> None:
        self.typed = typed = Interpretation.of(text)
        self.dated = dated
        """The interpretation of a year in the text as the release year."""
        self._scale = _POPULARITY_SCALE / top_popularity if top_popularity and 0 < top_popularity < math.inf else 0.0
        interpretations = (typed, self.dated) if self.dated else (typed,)
        self._spellings = frozenset(interpretation.spelling for interpretation in interpretations)
        self._typed_words = frozenset(" ".join(interpretation.words) for interpretation in interpretations)
        self._words = " ".join(typed.words)
        self._has_number = has_number(typed.words)
        self._canonical = " ".join(typed.canonical)
        self._year = self.dated.year if self.dated else None
        undated = self.dated or typed
        self._undated = (" ".join(undated.words), " ".join(undated.canonical))
        self._significant = undated.significant_words

    def sorted(self, candidates: list[Candidate], score: Score) -> list[Candidate]:
        """Sort by descending score, then by rank."""
        return sorted(candidates, key=lambda candidate: (-score(candidate), candidate.rank))

    def exact(self, candidate: Candidate) -> float:
        """Score within the tiers of exact titles: the same words and the same spelling first."""
        same_words = any(words in self._typed_words for words, _ in candidate.titles())
        same_spelling = not self._spellings.isdisjoint(candidate.spellings())
        return 100.0 * same_words + 100.0 * same_spelling + self._year_bonus(candidate) + self.popularity(candidate)

    def prefix(self, candidate: Candidate) -> float:
        """Score within the tiers of title prefixes: titles that start with the whole query first, the more so if they
        have its numbers as typed, and the last of several words as a whole word."""
        titles = candidate.titles()
        is_whole = any(words.startswith(self._words) or form.startswith(self._canonical) for words, form in titles)
        has_typed_number = self._has_number and any(
            f"{words} ".startswith((f"{self._words} ", *(f"{article} {self._words} " for article in OPTIONAL_ARTICLES)))
            for words, _ in titles
        )
        has_last = " " in self._words and any(
            f"{words} ".startswith(f"{self._words} ") or f"{form} ".startswith(f"{self._canonical} ")
            for words, form in titles
        )
        return (
            8.0 * is_whole
            + 4.0 * has_typed_number
            + 4.0 * has_last
            + self._year_bonus(candidate)
            + self.popularity(candidate)
        )

    def words(self, candidate: Candidate) -> float:
        """Score within the tiers of words in any order."""
        similarity = max(fuzz.ratio(self._canonical, canonical) for _, canonical in candidate.titles())
        return 0.2 * similarity + self._year_bonus(candidate) + self.popularity(candidate)

    def person(self, candidate: Candidate) -> float:
        """Score within the tiers of people's names: movies that have adjacent words of the query in one name first."""
        pairs = list(pairwise(self._significant))
        names = list(map(name_words, candidate.people)) if pairs else []
        joined = sum(any(_has_words(name, pair) for name in names) for pair in pairs)
        score = _NAME_WEIGHT * joined / len(pairs) if pairs else 0.0
        return score + self._year_bonus(candidate) + self.popularity(candidate)

    def fuzzy_person(self, similarity: float, candidate: Candidate) -> float:
        """Score of a fuzzy match of names."""
        return self.fuzzy(similarity - _NAME_HANDICAP, candidate)

    def name_similarity(self, candidate: Candidate) -> float:
        """0 to 100: the similarity of the query to a part of a name without spaces, or of each word to the closest word
        of a name or title."""
        query = "".join(self._significant)
        parts = (part for name in candidate.people for part in _name_parts(name))
        best = max((fuzz.ratio(query, part) for part in parts), default=0.0)
        words = {word for name in candidate.people for word in name_words(name)}
        words.update(*(title.split() for title, _ in candidate.titles()))
        by_word = [max(fuzz.ratio(word, other) for other in words) for word in self._significant]
        return max(best, 0.97 * sum(by_word) / len(by_word))

    def near_year(self, candidate: Candidate) -> float:
        """Score of a match of another year than the one in the query: the nearer, the better."""
        distance = _MAX_DISTANCE
        if self._year is not None and candidate.year is not None:
            distance = min(distance, abs(self._year - candidate.year))
        return self.popularity(candidate) - _DISTANCE_WEIGHT * distance

    def fuzzy(self, similarity: float, candidate: Candidate) -> float:
        """Score of a fuzzy match."""
        return similarity + self._year_bonus(candidate) + self.popularity(candidate)

    def popularity(self, candidate: Candidate) -> float:
        """Logarithm of the popularity, so that the scale of the source has little influence."""
        if not candidate.popularity or candidate.popularity < 0:
            return 0.0
        return _POPULARITY_WEIGHT * math.log1p(min(candidate.popularity * self._scale, 1e9))

    def similarity(self, candidate: Candidate) -> float:
        """0 to 100: the similarity of the closest title, compared as a whole, as a prefix, in another order of words,
        or in part."""
        best = 0.0
        for title in candidate.titles():
            for form, query in zip(title, self._undated, strict=True):
                length = len(query)
                best = max(best, fuzz.ratio(query, form))
                if len(form) > length:
                    as_prefix = max(fuzz.ratio(query, form[:length]), fuzz.ratio(query, form[: length + 1]))
                    best = max(best, 0.98 * as_prefix, 0.9 * fuzz.partial_ratio(query, form))
                elif " " in form and f" {form} " in f" {query} ":
                    best = max(best, _CONTAINED + (100.0 - _CONTAINED) * len(form) / length)
                if " " in query:
                    best = max(best, 0.97 * fuzz.token_sort_ratio(query, form))
                if title[0] == title[1] and self._undated[0] == self._undated[1]:
                    break
        return best

    def _year_bonus(self, candidate: Candidate) -> float:
        if self._year is None or candidate.year is None:
            return 0.0
        return {0: 12.0, 1: 4.0}.get(abs(self._year - candidate.year), 0.0)


def _has_words(name: Sequence[str], words: Sequence[str]) -> bool:
    return all(any(part.startswith(word) for part in name) for word in words)


@functools.lru_cache(maxsize=50_000)
def _name_parts(name: str) -> tuple[str, ...]:
    """The name without spaces, and its endings: `robertdeniro`, `deniro`, `niro`."""
    words = split_folded(fold(name))
    return tuple("".join(words[start:]) for start in range(len(words)))
