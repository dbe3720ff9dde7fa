"""Scores of candidates for one query: similarity of titles, release year and popularity."""

import math
from collections.abc import Callable

from rapidfuzz import fuzz

from movie_adapters.catalogue.lookups import Candidate
from movie_adapters.catalogue.query import Interpretation

Score = Callable[[Candidate], float]

_POPULARITY_WEIGHT = 2.0
"""Percent of similarity that a popularity e times as high is worth."""
_POPULARITY_SCALE = 300.0
"""The popularity of the most popular movie is scaled to this value, so that scores do not depend on the source."""


class Scorer:
    """Scores candidates for one query, in percent of similarity. Scores are comparable only within a tier."""

    def __init__(self, text: str, top_popularity: float | None) -> None:
        self.typed = typed = Interpretation.of(text)
        self.dated = typed.without_year()
        self._scale = _POPULARITY_SCALE / top_popularity if top_popularity and 0 < top_popularity < math.inf else 0.0
        self._spelling = " ".join(text.casefold().split())
        self._words = " ".join(typed.words)
        self._canonical = " ".join(typed.canonical)
        self._year = self.dated.year if self.dated else None
        undated = self.dated or typed
        self._undated = (" ".join(undated.words), " ".join(undated.canonical))

    def sorted(self, candidates: list[Candidate], score: Score) -> list[Candidate]:
        """Sort by descending score, then by rank."""
        return sorted(candidates, key=lambda candidate: (-score(candidate), candidate.rank))

    def exact(self, candidate: Candidate) -> float:
        """Score within the tiers of exact titles: the same words and the same spelling first."""
        same_words = any(words == self._words for words, _ in candidate.titles())
        same_spelling = self._spelling in candidate.spellings()
        return 100.0 * same_words + 100.0 * same_spelling + self._year_bonus(candidate) + self.popularity(candidate)

    def prefix(self, candidate: Candidate) -> float:
        """Score within the tiers of title prefixes: titles that start with the whole query first."""
        is_whole = any(
            words.startswith(self._words) or canonical.startswith(self._canonical)
            for words, canonical in candidate.titles()
        )
        return 8.0 * is_whole + self._year_bonus(candidate) + self.popularity(candidate)

    def words(self, candidate: Candidate) -> float:
        """Score within the tiers of words in any order."""
        similarity = max(fuzz.ratio(self._canonical, canonical) for _, canonical in candidate.titles())
        return 0.2 * similarity + self._year_bonus(candidate) + self.popularity(candidate)

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
                if " " in query:
                    best = max(best, 0.97 * fuzz.token_sort_ratio(query, form))
                if title[0] == title[1]:
                    break
        return best

    def _year_bonus(self, candidate: Candidate) -> float:
        if self._year is None or candidate.year is None:
            return 0.0
        return {0: 12.0, 1: 4.0}.get(abs(self._year - candidate.year), 0.0)
