"""Fuzzy search: corrections of misspelled words, chosen from the vocabulary of a catalogue by edit distance."""

import math
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from typing import Any

from rapidfuzz import process
from rapidfuzz.distance import OSA

from movie_adapters.catalogue.lookups import (
    AllOf,
    AnyOf,
    Candidate,
    Expression,
    FindCandidates,
    Lookup,
    PrefixTerms,
    SimilarTerms,
    Term,
    TermCounts,
    all_of,
    any_of,
)
from movie_adapters.catalogue.scoring import Scorer
from movie_adapters.catalogue.terms import MAX_KEY, is_word, title_key
from movie_core.canonical_words import NUMBER_WORDS, STOP_WORDS, numbers_as_digits

MAX_CANDIDATES = 120
"""Candidates of one lookup."""
MAX_COMPOUND = 30
"""Letters of a word that may be split into two."""

_CORRECTIONS = 8
"""Maximum number of corrections of a word."""
_ALL_CORRECTIONS = 24
"""Maximum number of corrections of all words together: the cost of an expression grows with the number and frequency of
its terms."""
_CORRECTED_WORDS = 8
"""Number of words that are corrected, the longest ones."""
_OMITTABLE_WORDS = 5
"""Number of words, the longest ones, of which some may be omitted."""
_PAIRED_WORDS = 4
"""Number of words, the longest ones, of which any two may match."""
_MIN_SIMILARITY = 68.0
"""Minimum similarity of a result in percent."""
_CONFIDENT = 88.0
"""Similarity in percent of a result after which the search is not relaxed further."""


def fuzzy_search(scorer: Scorer, filters: Expression | None) -> Generator[Lookup, Any, list[Candidate]]:
    """Find movies with a title or person's name spelled similarly to the query; best first, at most a few hundred."""
    interpretation = scorer.dated or scorer.typed
    words = list(dict.fromkeys(interpretation.significant_words))
    longest = sorted(words, key=len, reverse=True)[:_CORRECTED_WORDS]
    words = [word for word in words if word in longest]
    if len(words) > 1 and any(stop_word.startswith(words[-1]) for stop_word in STOP_WORDS):
        words.pop()  # "shadow of th"
    correctable = [word for word in words if len(word) > 2 and word.isalpha()]
    similar: dict[str, list[TermCounts]] = yield SimilarTerms(tuple(correctable))
    limit = min(_CORRECTIONS, _ALL_CORRECTIONS // max(1, len(words)))
    choices: list[Expression] = []
    for word in words:
        spellings = [word, *_corrections(word, similar.get(word, ()), limit)]
        spellings += [
            digits
            for spelling in spellings
            if spelling in NUMBER_WORDS
            for digits in numbers_as_digits(("", spelling))[1:]
        ]
        terms = dict.fromkeys(map(Term, spellings))
        if word == words[-1] and len(word) > 1:
            prefixes = [word, *(_prefix_corrections(word, (yield PrefixTerms(word)), limit) if len(word) > 3 else ())]
            terms = dict.fromkeys((*(Term(prefix, prefix=True) for prefix in prefixes), *terms))
        choices.append(AnyOf(tuple(terms)))
    results: dict[int, tuple[float, Candidate]] = {}

    def collect(expression: Expression | None) -> Generator[Lookup, Any, None]:
        filtered = all_of(expression, filters)
        if expression is None or filtered is None:
            return
        candidates: list[Candidate] = yield FindCandidates(filtered, MAX_CANDIDATES)
        for candidate in candidates:
            if candidate.rank not in results and (similarity := scorer.similarity(candidate)) >= _MIN_SIMILARITY:
                results[candidate.rank] = (similarity, candidate)

    def is_confident() -> bool:
        return any(similarity >= _CONFIDENT for similarity, _ in results.values())

    yield from collect(
        AnyOf((AllOf(tuple(choices)), *(Term(title_key(form), prefix=True) for form in interpretation.forms)))
    )
    if not is_confident():
        yield from collect(_respaced(words, choices, similar))
    if not is_confident() and len(choices) > 1:
        # Long words are the most selective: omit one of them, then all but two.
        long = sorted(sorted(range(len(words)), key=lambda index: -len(words[index]))[:_OMITTABLE_WORDS])
        yield from collect(
            any_of(*(all_of(*(choices[index] for index in long if index != omitted)) for omitted in long))
        )
        if not is_confident() and len(long) > 3:
            paired = sorted(sorted(long, key=lambda index: -len(words[index]))[:_PAIRED_WORDS])
            pairs = [AllOf((choices[a], choices[b])) for a in paired for b in paired if a < b]
            yield from collect(any_of(*pairs))
    scored = [(scorer.fuzzy(similarity, candidate), candidate) for similarity, candidate in results.values()]
    if not is_confident():
        people: dict[str, list[TermCounts]] = yield SimilarTerms(tuple("@" + word for word in correctable))
        if any(terms for vocabularies in people.values() for terms, _ in vocabularies):
            parts: list[Expression] = []
            for word in words:
                names = _corrections("@" + word, people.get("@" + word, ()), limit)
                parts.append(AnyOf((Term("@" + word, prefix=word == words[-1]), *map(Term, names))))
            if filters is not None:
                parts.append(filters)
            of_people: list[Candidate] = []
            if (near_year := interpretation.near_year()) is not None:
                of_people = yield FindCandidates(AllOf((*parts, near_year)), MAX_CANDIDATES, with_people=True)
                if of_people:  # matches of all parts of the query
                    scored = [pair for pair in scored if interpretation.is_near(pair[1].year)]
            if not of_people:
                of_people = yield FindCandidates(AllOf(tuple(parts)), MAX_CANDIDATES, with_people=True)
            scored += [
                (scorer.fuzzy_person(scorer.name_similarity(candidate), candidate), candidate)
                for candidate in of_people
                if candidate.rank not in results
            ]
    return [candidate for _, candidate in sorted(scored, key=lambda pair: (-pair[0], pair[1].rank))]


def _respaced(
    words: Sequence[str], choices: Sequence[Expression], similar: Mapping[str, Sequence[TermCounts]]
) -> Expression | None:
    """Two adjacent words joined, or one word split into two: `bat man` and `darkknight`."""
    if len(words) > _OMITTABLE_WORDS:  # with many words, wrong spacing is not combined with other corrections
        choices = [*map(Term, words[:-1]), Term(words[-1], prefix=len(words[-1]) > 1)]
    alternatives: list[Expression | None] = []
    for index, word in enumerate(words):
        before, after = choices[:index], choices[index + 1 :]
        if index + 1 < len(words):
            joined = Term((word + words[index + 1])[:MAX_KEY], prefix=index + 2 == len(words))
            alternatives.append(all_of(*before, joined, *after[1:]))
        if 5 < len(word) <= MAX_COMPOUND:
            pairs = tuple(AllOf((Term(first), Term(second))) for first, second in _splits(word, similar.get(word, ())))
            alternatives.append(all_of(*before, AnyOf(pairs), *after) if pairs else None)
    return any_of(*alternatives)


def _splits(word: str, vocabularies: Iterable[TermCounts]) -> Iterator[tuple[str, str]]:
    """The ways to split a word into two existing words. `vocabularies` contain all terms with the same beginning or
    ending, except those for which `is_word` is false; such a half is accepted without a check."""
    existing = {term for terms, _ in vocabularies for term in terms}
    for cut in range(2, len(word) - 1):
        halves = word[:cut], word[cut:]
        if not existing or all(half in existing or not is_word(half) for half in halves):
            yield halves


def _corrections(word: str, vocabularies: Iterable[TermCounts], limit: int) -> list[str]:
    """Similar terms, by edit distance (optimal string alignment: a transposition counts as one edit), then by
    frequency."""
    max_edits = 1 if len(word) < 4 else 2 if len(word) < 9 else 3
    costs: dict[str, float] = {}
    for terms, movie_counts in vocabularies:
        for term, edits, index in process.extract(word, terms, scorer=OSA.distance, score_cutoff=max_edits, limit=None):
            costs[term] = edits - 0.1 * math.log(movie_counts[index])
    costs.pop(word, None)
    return sorted(costs, key=lambda term: (costs[term], term))[:limit]


def _prefix_corrections(word: str, vocabularies: Iterable[TermCounts], limit: int) -> list[str]:
    """Similar prefixes of terms, for the last word of a query, which may be incomplete."""
    max_edits = 1 if len(word) < 8 else 2
    costs: dict[str, float] = {}
    for terms, _ in vocabularies:
        for length in range(len(word) - 1, len(word) + 2):
            prefixes = list({term[:length] for term in terms if len(term) > length})
            matches = process.extract(word, prefixes, scorer=OSA.distance, score_cutoff=max_edits, limit=None)
            costs.update((prefix, edits) for prefix, edits, _ in matches)
    costs.pop(word, None)
    return sorted(costs, key=lambda prefix: (costs[prefix], prefix))[:limit]
