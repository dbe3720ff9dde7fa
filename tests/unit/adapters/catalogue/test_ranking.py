"""The number and size of the lookups of a search; its results are tested on SQLite and PostgreSQL."""

from movie_adapters.catalogue.lookups import (
    AllOf,
    AnyOf,
    Difference,
    ExistingTerms,
    FindCandidates,
    PrefixTerms,
    RankedPage,
    SimilarTerms,
)
from movie_adapters.catalogue.ranking import search
from movie_core.search.movies import MovieQuery


def test_the_number_of_lookups_is_bounded_for_every_query() -> None:
    results: dict[type, object] = {ExistingTerms: frozenset(), FindCandidates: [], SimilarTerms: {}, PrefixTerms: []}
    for text in (
        "a " * 100,
        "word" * 50,
        " ".join(f"w{n}ord" for n in range(40))[:200],
        "1999 2000 2001",
        "di ca films " * 16,
    ):
        steps = search(MovieQuery(text), 10)
        lookups = 0
        page = None
        result: object = None
        while page is None:
            try:
                result = results.get(type(steps.send(result)))
                lookups += 1
            except StopIteration as stop:
                page = stop.value
        assert page == RankedPage(0, [])
        assert lookups <= 30


def count_terms(expression: object) -> int:
    if isinstance(expression, AllOf | AnyOf):
        return sum(map(count_terms, expression.parts))
    if isinstance(expression, Difference):
        return count_terms(expression.base) + count_terms(expression.other)
    return 1


def test_the_size_of_an_expression_is_bounded_for_every_query_and_vocabulary() -> None:
    """A large expression for a meaningless query would overload a database."""
    largest = 0
    for text in ("word" * 50, " ".join(f"w{chr(97 + n)}ord" for n in range(26))[:200], "lantern copper harbour wolves"):
        steps = search(MovieQuery(text), 10)
        result: object = None
        while True:
            try:
                step = steps.send(result)
            except StopIteration:
                break
            result = frozenset() if isinstance(step, ExistingTerms) else []
            if isinstance(step, SimilarTerms):  # every word is one edit away from hundreds of others
                letters = "abcdefghijklmnopqrstuvwxyz"
                result = {
                    term: [([term[:at] + one + term[at + 1 :] for one in letters], [1] * 26) for at in range(len(term))]
                    for term in step.terms
                }
            elif isinstance(step, FindCandidates):
                largest = max(largest, count_terms(step.expression))
    assert 20 < largest <= 100
