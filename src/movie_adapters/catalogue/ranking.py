"""Title search: the tiers of matches and their order, without I/O; SQLite and PostgreSQL differ only in the lookups.

A store saves the `index_entry` of each movie, sorted by `movie_rank`, and a vocabulary of the words of titles and
names. `search` yields the lookups to execute (`FindCandidates`, `CountMatches`, `SimilarTerms`, …) and receives their
results.

A match belongs to the first tier that contains it: exact title, n-th film of a series, title that starts with the
query, all words in any order, words of people's names; if all of these are empty, all words in the overview; otherwise
fuzzy matches. The last word may be the beginning of a word, but for a query of one word there are tiers of whole words
before those of beginnings. A year in the query is a word of the title or the release year; it is ignored only if no
movie matches all parts of the query.

Within a tier, the `HEAD` most popular movies are ordered by similarity and popularity, the others by popularity alone.
Deep pages therefore cost as little as the first, and the order is the same for every page of a query.
"""

import re
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any

from movie_adapters.catalogue.fuzzy import fuzzy_search
from movie_adapters.catalogue.lookups import (
    AllOf,
    AnyOf,
    Candidate,
    CountExcluded,
    CountMatches,
    Difference,
    ExistingTerms,
    Expression,
    FindCandidates,
    FindIdentified,
    ListRanks,
    Lookup,
    RankedPage,
    Steps,
    Term,
    TopPopularity,
    all_of,
    any_of,
)
from movie_adapters.catalogue.query import Interpretation, without_request, year_range
from movie_adapters.catalogue.scoring import Score, Scorer
from movie_adapters.catalogue.terms import genre_term, is_word, title_key, year_term
from movie_core.canonical_words import SERIES_WORDS, STOP_WORDS
from movie_core.search.movies import MovieQuery, Order
from movie_core.text import external_id

HEAD = 120
"""Number of movies of a tier that are ordered by similarity."""

_FindTiers = Callable[[Scorer, Expression | None], Generator[Lookup, Any, "list[_Tier]"]]


@dataclass(frozen=True, slots=True)
class _Tier:
    """The matches of an expression that are in no earlier tier."""

    expression: Expression
    total: int
    head: list[int]
    """Ranks of the first movies."""


def search(query: MovieQuery, limit: int, offset: int = 0, excluded: frozenset[int] = frozenset()) -> Steps:
    """Find one page of the matches of a query, and the number of all matches.

    `excluded` are the ranks of the movies that the query excludes. They are removed after matching, so that they are
    not replaced by weaker matches and the order of the others does not change.
    """
    excluding = bool(excluded)
    filters = all_of(
        None if query.years is None else year_range(query.years),
        None if query.genre is None else Term(genre_term(query.genre)),
    )
    if not query.text:
        total = yield CountMatches(filters)
        if excluding:
            total -= yield CountExcluded(filters)
        order = Order.POPULARITY if query.order is Order.RELEVANCE else query.order
        ranks = (yield ListRanks(filters, order, limit, offset, excluding)) if offset < total else []
        return RankedPage(total, ranks)
    if identified := external_id(query.text):
        candidates: list[Candidate] = yield FindIdentified(*identified, filters)
        return _loaded_page(candidates, query.order, excluded, limit, offset)
    top_popularity = yield TopPopularity()
    scorer = Scorer(query.text, top_popularity, (yield from _dated(query.text)))
    steps: list[tuple[_FindTiers, Scorer]] = [(_exact_tiers, scorer), (_joined_names_tiers, scorer)]
    scorers = [scorer]
    if (request := without_request(query.text)) != query.text:
        scorers.append(Scorer(request, top_popularity, (yield from _dated(request))))
        steps.append((_exact_tiers, scorers[1]))
    steps += (_other_years_tiers, scorer), (_overview_tiers, scorer)
    tiers: list[_Tier] = []
    for find_tiers, of_scorer in steps:
        tiers = tiers or (yield from find_tiers(of_scorer, filters))
        # If the query has matches without the filters, its year is not wrong and its words are not misspelled.
        if not tiers and filters and (yield from find_tiers(of_scorer, None)):
            return RankedPage(0, [])
    if not tiers:
        fuzzy: list[Candidate] = []
        for of_scorer in scorers:
            fuzzy = fuzzy or (yield from fuzzy_search(of_scorer, filters))
        return _loaded_page(fuzzy, query.order, excluded, limit, offset)
    if excluded:
        tiers = yield from _without_excluded(tiers, excluded)
    total = sum(tier.total for tier in tiers)
    if query.order is not Order.RELEVANCE:
        every_tier = all_of(any_of(*(tier.expression for tier in tiers)), filters)
        listing = ListRanks(every_tier, query.order, limit, offset, excluding)
        return RankedPage(total, (yield listing) if offset < total else [])
    ranks = []
    for tier in tiers:
        if offset < tier.total and limit > 0:
            ranks_of_tier = tier.head[offset : offset + limit]
            if len(ranks_of_tier) < limit and offset + len(ranks_of_tier) < tier.total:
                # The head has the lowest ranks of the tier, with and without the excluded movies.
                tail = yield FindCandidates(
                    tier.expression, limit - len(ranks_of_tier), max(offset, len(tier.head)), excluding
                )
                ranks_of_tier = ranks_of_tier + [candidate.rank for candidate in tail]
            ranks += ranks_of_tier
            limit -= len(ranks_of_tier)
        offset = max(0, offset - tier.total)
    return RankedPage(total, ranks)


def suggest(query: MovieQuery, limit: int) -> Steps:
    """Find the first matches of an incomplete query; the `total` of the page is not meaningful."""
    return search(query, limit)


def _without_excluded(tiers: Sequence[_Tier], excluded: frozenset[int]) -> Generator[Lookup, Any, list[_Tier]]:
    remaining: list[_Tier] = []
    for tier in tiers:
        head = [rank for rank in tier.head if rank not in excluded]
        has_tail = tier.total > len(tier.head)
        total = tier.total - (yield CountExcluded(tier.expression)) if has_tail else len(head)
        remaining.append(_Tier(tier.expression, total, head))
    return remaining


def _loaded_page(
    candidates: Sequence[Candidate], order: Order, excluded: frozenset[int], limit: int, offset: int
) -> RankedPage:
    """A page of matches that have all been loaded."""
    remaining = _in_order([candidate for candidate in candidates if candidate.rank not in excluded], order)
    return RankedPage(len(remaining), [candidate.rank for candidate in remaining[offset : offset + limit]])


def _in_order(candidates: list[Candidate], order: Order) -> list[Candidate]:
    if order is Order.YEAR:
        return sorted(candidates, key=lambda movie: (movie.year is None, -(movie.year or 0), movie.rank))
    if order is Order.POPULARITY:
        return sorted(candidates, key=lambda movie: (movie.popularity is None, -(movie.popularity or 0.0), movie.rank))
    return candidates


class _TierList:
    """The non-empty tiers of a query, each without the matches of the earlier ones."""

    def __init__(self, scorer: Scorer, filters: Expression | None) -> None:
        self.tiers: list[_Tier] = []
        self._scorer = scorer
        self._filters = filters
        self._earlier: list[Expression] = []
        self._tried: set[Expression] = set()
        self._seen: set[int] = set()

    def add(
        self, expression: Expression | None, score: Score, *, with_people: bool = False
    ) -> Generator[Lookup, Any, None]:
        filtered = all_of(expression, self._filters)
        if expression is None or filtered is None or expression in self._tried:
            return
        self._tried.add(expression)
        # Matches of earlier tiers are removed here if all of them have been loaded, and by the store otherwise.
        is_complete = all(tier.total == len(tier.head) for tier in self.tiers)
        candidates: list[Candidate] = []
        if is_complete:
            candidates = yield FindCandidates(filtered, HEAD, with_people=with_people)
        if self._earlier and (not is_complete or len(candidates) == HEAD):
            filtered = Difference(filtered, AnyOf(tuple(self._earlier)))
            candidates = yield FindCandidates(filtered, HEAD, with_people=with_people)
        total = (yield CountMatches(filtered)) if len(candidates) == HEAD else None
        candidates = [candidate for candidate in candidates if candidate.rank not in self._seen]
        if candidates:
            self._seen.update(candidate.rank for candidate in candidates)
            self._earlier.append(expression)
            head = [candidate.rank for candidate in self._scorer.sorted(candidates, score)]
            self.tiers.append(_Tier(filtered, total or len(head), head))


def _exact_tiers(scorer: Scorer, filters: Expression | None) -> Generator[Lookup, Any, list[_Tier]]:
    """The non-empty tiers that match all parts of the query as typed, without corrections."""
    typed, dated = scorer.typed, scorer.dated
    tier_list = _TierList(scorer, filters)
    tiers, add = tier_list.tiers, tier_list.add
    if dated:
        # Few titles contain the year; one lookup then saves those of the tiers with it.
        in_title = (*(typed.starts_with(form) for form in typed.forms), typed.has_words())
        matches_typed = bool((yield FindCandidates(AnyOf(in_title), 1)))
    else:
        matches_typed = True
    if dated and dated.words[0].startswith("_"):  # without letters and digits: "$ 1971" is not the title "1971"
        yield from add(dated.equals_near_year(), scorer.exact)
    if matches_typed:
        # "three a" may be incomplete; "blue lagoon the" is not, but no title starts with it.
        if len(typed.words) > 1 and typed.words[-1] in STOP_WORDS:
            yield from add(typed.equals(typed.words), scorer.exact)
            yield from add(typed.starts_with(typed.words), scorer.prefix)
        for form in typed.forms:
            yield from add(typed.equals(form), scorer.exact)
    if dated:
        yield from add(dated.equals_near_year(), scorer.exact)
    nth = None if tiers else (yield from _nth_of_series(scorer))
    yield from add(nth, scorer.exact)
    people = typed.person_terms() + (dated.person_terms() if dated else ())
    if len(typed.words) == 1:
        (word,) = typed.words
        whole = typed.person_terms(whole=True)
        existing: frozenset[Term] = yield ExistingTerms((*people, *whole, Term(word)))
        if Term(word) in existing or not is_word(word):  # the vocabulary lacks short words and numbers
            yield from add(typed.starts_with(typed.words, whole=True), scorer.prefix)
            yield from add(typed.has_words(whole=True), scorer.words)
        if word not in STOP_WORDS:
            yield from add(typed.has_people(existing, whole=True), scorer.person)
    else:
        existing = yield ExistingTerms(people)
    if matches_typed:
        for form in typed.forms:
            yield from add(typed.starts_with(form), scorer.prefix)
    if dated:
        yield from add(all_of(_starts(dated), dated.near_year()), scorer.prefix)
    if matches_typed:
        yield from add(typed.has_words(), scorer.words)
    if dated:
        yield from add(all_of(dated.has_words(), dated.near_year()), scorer.words)
    named = typed.has_people(existing)
    if dated and (named_near := dated.has_people(existing)):
        named = any_of(named, all_of(named_near, dated.near_year()))
    yield from add(named, scorer.person, with_people=True)
    if nth:
        yield from add(typed.starts_with(typed.canonical[:-1]), scorer.words)  # the other films of the series
    return tiers


def _joined_names_tiers(scorer: Scorer, filters: Expression | None) -> Generator[Lookup, Any, list[_Tier]]:
    """The tier of people's names that the query splits into words: `di caprio` for `DiCaprio`."""
    tier_list = _TierList(scorer, filters)
    interpretations = (scorer.dated or scorer.typed).joined_names()
    if interpretations:
        terms = dict.fromkeys(term for one in interpretations for term in one.person_terms())
        existing: frozenset[Term] = yield ExistingTerms(tuple(terms))
        for near in (True, False) if scorer.dated else (False,):
            named = any_of(*(one.has_people(existing) for one in interpretations))
            if named and not tier_list.tiers:
                near_year = interpretations[0].near_year() if near else None
                yield from tier_list.add(all_of(named, near_year), scorer.person, with_people=True)
    return tier_list.tiers


def _other_years_tiers(scorer: Scorer, filters: Expression | None) -> Generator[Lookup, Any, list[_Tier]]:
    """The non-empty tiers that match all parts of the query except the year."""
    tier_list = _TierList(scorer, filters)
    if dated := scorer.dated:
        existing: frozenset[Term] = yield ExistingTerms(dated.person_terms())
        yield from tier_list.add(any_of(*map(dated.equals, dated.forms)), scorer.near_year)
        yield from tier_list.add(any_of(_starts(dated), dated.has_words()), scorer.words)
        yield from tier_list.add(dated.has_people(existing), scorer.near_year)
    return tier_list.tiers


def _overview_tiers(scorer: Scorer, filters: Expression | None) -> Generator[Lookup, Any, list[_Tier]]:
    """The tier of movies with all words of the query in the overview."""
    tier_list = _TierList(scorer, filters)
    yield from tier_list.add(scorer.typed.in_overview(), scorer.popularity)
    return tier_list.tiers


def _dated(text: str) -> Generator[Lookup, Any, Interpretation | None]:
    """The interpretation of a year in the text as the release year; of several, the first one that is exact."""
    interpretations = Interpretation.with_year(text)
    if len(interpretations) > 1:
        for dated in interpretations:
            exact = dated.equals_near_year()
            if exact and (yield FindCandidates(exact, 1)):
                return dated
    return interpretations[0] if interpretations else None


def _starts(interpretation: Interpretation) -> Expression | None:
    return any_of(*(interpretation.starts_with(form) for form in interpretation.forms))


def _nth_of_series(scorer: Scorer) -> Generator[Lookup, Any, Expression | None]:
    """The n-th film of a series by year, for `bourne 2`; None if a title of similar popularity has the number.

    A series consists of the films whose titles start with the words before the number, and that have at least a fifth
    of the popularity of the most popular of them. It starts with the film of exactly that title, if there is one;
    earlier films belong to another series.
    """
    *base, number = scorer.typed.canonical
    if not base or base[0] in SERIES_WORDS or not number.isdecimal() or not 1 <= int(number[:3]) <= 20:
        return None
    stem = " ".join(base)
    candidates: list[Candidate] = yield FindCandidates(Term(title_key(base), prefix=True), HEAD)
    series = [film for film in candidates if any(_starts_with(canonical, stem) for _, canonical in film.titles())]
    top = max((film.popularity or 0.0 for film in series), default=0.0)
    series = [film for film in series if (film.popularity or 0.0) >= top / 5 and film.year is not None]
    series.sort(key=lambda film: (film.year or 0, film.rank))
    firsts = [at for at, film in enumerate(series) if any(canonical == stem for _, canonical in film.titles())]
    if firsts:
        series = series[max(firsts, key=lambda at: series[at].popularity or 0.0) :]
    if len(series) < int(number):
        return None
    nth = series[int(number) - 1]
    if any(re.match(rf"{re.escape(stem)} (?!{number}\b)\d", canonical) for _, canonical in nth.titles()):
        return None
    with_number = AllOf((Term(title_key(scorer.typed.canonical), prefix=True), Term(number)))
    numbered: list[Candidate] = yield FindCandidates(with_number, 1)
    if numbered and (numbered[0].popularity or 0.0) >= (nth.popularity or 0.0) / 10:
        return None
    return AllOf((Term(title_key(nth.titles()[0][0].split())), Term(year_term(nth.year or 0))))


def _starts_with(title: str, words: str) -> bool:
    """Whether the title starts with these whole words."""
    return title.startswith(words) and (len(title) == len(words) or title[len(words)] == " ")
