"""Interpretations of a query."""

from hypothesis import given
from hypothesis import strategies as st

from movie_adapters.catalogue.lookups import AllOf, AnyOf, Term
from movie_adapters.catalogue.query import Interpretation, year_range
from movie_core.search.movies import Years


@given(st.integers(0, 9999), st.integers(0, 9999))
def test_a_range_of_years_matches_exactly_its_years(a: int, b: int) -> None:
    years = Years(min(a, b), max(a, b))
    expression = year_range(years)
    assert isinstance(expression, AnyOf)
    assert len(expression.parts) <= 62

    def matches(year: int) -> bool:
        term = f"#{year:04}"
        return any(
            term.startswith(part.text) if part.prefix else term == part.text
            for part in expression.parts
            if isinstance(part, Term)
        )

    for year in {years.first - 1, years.first, (years.first + years.last) // 2, years.last, years.last + 1}:
        if 0 <= year <= 9999:
            assert matches(year) == (year in years)


def test_a_year_at_either_end_may_be_the_release_year() -> None:
    for text in ("heather 1994", "1994 heather", "Heather (1994)"):
        (dated,) = Interpretation.with_year(text)
        assert (dated.words, dated.year) == (("heather",), 1994)
    assert Interpretation.with_year("1994") == []
    assert Interpretation.with_year("heather 94") == []
    assert [dated.year for dated in Interpretation.with_year("1984 1994")] == [1994, 1984]


def test_the_last_word_is_a_prefix() -> None:
    assert Interpretation.of("glass orr").has_words() == AnyOf((AllOf((Term("glass"), Term("orr", prefix=True))),))
    assert Interpretation.of("g").has_words() == AnyOf((AllOf((Term("g"),)),))
