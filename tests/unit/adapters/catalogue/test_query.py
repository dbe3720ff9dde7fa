"""Interpretations of a query."""

from hypothesis import given
from hypothesis import strategies as st

from movie_adapters.catalogue.lookups import AllOf, AnyOf, Term
from movie_adapters.catalogue.query import Interpretation, without_request, year_range
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


def test_words_that_describe_a_request_are_removed() -> None:
    for text in ("movies with Bo Lee", "Bo Lee films", "Films by Bo Lee", "starring Bo Lee", "a film of Bo Lee"):
        assert without_request(text).removeprefix("a ") == "Bo Lee"
    for text in ("with Bo Lee", "movie", "films by", "Moviegoers", "Filmed in Rome", ""):
        assert without_request(text) == text


def test_a_prefix_has_the_last_word_as_a_term_unless_it_may_be_a_stop_word_or_is_a_letter() -> None:
    def terms(text: str, *, whole: bool = False) -> list[Term]:
        interpretation = Interpretation.of(text)
        expression = interpretation.starts_with(interpretation.words, whole=whole)
        assert isinstance(expression, AllOf)
        return [part for part in expression.parts[1:] if isinstance(part, Term)]

    assert terms("monster inc") == [Term("monster"), Term("inc", prefix=True)]
    assert terms("the orr") == [Term("orr", prefix=True)]
    assert terms("orr", whole=True) == [Term("orr")]
    assert terms("g") == [Term("g", prefix=True)]
    assert terms("glass o") == terms("glass an") == terms("glass g") == [Term("glass")]
    assert terms("th") == terms("the", whole=True) == []


def test_a_short_word_and_the_next_one_may_be_one_word_of_a_name() -> None:
    joined = [one.words for one in Interpretation.of("leo di vale", 1990).joined_names()]
    assert joined == [("leodi", "vale"), ("leo", "divale")]
    assert Interpretation.of("leo").joined_names() == []
    assert len(Interpretation.of("a b c d e f g h").joined_names()) <= 4


def test_the_last_word_is_a_prefix() -> None:
    assert Interpretation.of("glass orr").has_words() == AnyOf((AllOf((Term("glass"), Term("orr", prefix=True))),))
    assert Interpretation.of("g").has_words() == AnyOf((AllOf((Term("g"),)),))
