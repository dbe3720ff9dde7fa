"""Scores of candidates for one query: similarity of titles, release year and popularity."""

import math
from collections.abc import Callable

from rapidfuzz import fuzz

from movie_adapters.catalogue.lookups import Candidate
from movie_adapters.catalogue.query import Interpretation

Score = Callable[[Candidate], float]

_POPULARITY_WEIGHT = 2.0
"""Percent of similarity that a popularity e times as high is worth."""
_DISTANCE_WEIGHT = 0.5
"""Percent of similarity that a year of distance costs."""
_MAX_DISTANCE = 20
"""Distance in years beyond which a greater one makes no difference."""
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
        self._canonical = " ".join(typed.canonical)
        self._year = self.dated.year if self.dated else None
        undated = self.dated or typed
        self._undated = (" ".join(undated.words), " ".join(undated.canonical))

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
        have the last of several words as a whole word."""
        titles = candidate.titles()
        is_whole = any(words.startswith(self._words) or form.startswith(self._canonical) for words, form in titles)
        has_last = " " in self._words and any(
            f"{words} ".startswith(f"{self._words} ") or f"{form} ".startswith(f"{self._canonical} ")
            for words, form in titles
        )
        return 8.0 * is_whole + 4.0 * has_last + self._year_bonus(candidate) + self.popularity(candidate)

    def words(self, candidate: Candidate) -> float:
        """Score within the tiers of words in any order."""
        similarity = max(fuzz.ratio(self._canonical, canonical) for _, canonical in candidate.titles())
        return 0.2 * similarity + self._year_bonus(candidate) + self.popularity(candidate)

    def person(self, candidate: Candidate) -> float:
        """Score within the tiers of people's names."""
        return self._year_bonus(candidate) + self.popularity(candidate)

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
                if " " in query:
                    best = max(best, 0.97 * fuzz.token_sort_ratio(query, form))
                if title[0] == title[1]:
                    break
        return best

    def _year_bonus(self, candidate: Candidate) -> float:
        if self._year is None or candidate.year is None:
            return 0.0
        return {0: 12.0, 1: 4.0}.get(abs(self._year - candidate.year), 0.0)
