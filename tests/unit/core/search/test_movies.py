import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from movie_core import Capability, MovieQuery, Order, Years
from movie_core.errors import InvalidParameter, InvalidQuery
from movie_core.text import MAX_QUERY, normalise_query

legal = st.text(st.characters(exclude_categories=("Cc", "Cs")), max_size=MAX_QUERY // 4)


@given(text=legal)
def test_a_normal_query_is_unchanged(text: str) -> None:
    normal = normalise_query(text)
    assert normalise_query(normal) == normal
    assert unicodedata.is_normalized("NFC", normal)
    assert normal == normal.strip()
    assert "  " not in normal


@given(text=legal, blanks=st.text("  \u2003\u3000\u2028", min_size=1, max_size=5))
def test_whitespace_is_normalised(text: str, blanks: str) -> None:
    assert normalise_query(blanks + blanks.join(text.split()) + blanks) == normalise_query(text)


@given(text=legal)
def test_composed_and_decomposed_unicode_is_the_same_query(text: str) -> None:
    assert normalise_query(unicodedata.normalize("NFD", text)) == normalise_query(unicodedata.normalize("NFC", text))


@given(text=st.text(st.characters(categories=("L", "N", "P", "S")), max_size=50))
def test_other_characters_than_whitespace_reach_the_source_unchanged(text: str) -> None:
    assert normalise_query(text) == " ".join(unicodedata.normalize("NFC", text).split())


@pytest.mark.parametrize("character", ["\x00", "\t", "\n", "\r", "\x1f", "\x7f", "\x85", "\ud800"])
@pytest.mark.parametrize("form", ["{}", "a{}b", " {} ", "a{}"])
def test_control_characters_and_invalid_unicode_are_rejected(character: str, form: str) -> None:
    with pytest.raises(InvalidQuery):
        normalise_query(form.format(character))


def test_200_characters_are_allowed_once_normalised() -> None:
    assert len(normalise_query("𝔸" * 200)) == 200
    assert len(normalise_query("  " + "e\u0301" * 200 + "  ")) == 200
    for text in ("a" * 201, "a" * 100_000):
        with pytest.raises(InvalidQuery):
            normalise_query(text)


@pytest.mark.parametrize(
    "text", ["", "99", "19999", "1999..", "..1999", "1999-2001", "1999..1990", "abcd", "١٩٩٩", "1999 "]
)
def test_a_malformed_year_is_rejected(text: str) -> None:
    with pytest.raises(InvalidParameter):
        Years.parse(text)


@pytest.mark.parametrize(("text", "years"), [("1999", Years(1999, 1999)), ("1990..1999", Years(1990, 1999))])
def test_a_year_or_a_range_is_parsed(text: str, years: Years) -> None:
    assert Years.parse(text) == years
    assert str(years) == text
    assert 1999 in years
    assert None not in years


@pytest.mark.parametrize("order", ["", "Relevance", "title"])
def test_an_unknown_order_is_rejected(order: str) -> None:
    with pytest.raises(InvalidParameter):
        MovieQuery.parse(order=order)


@pytest.mark.parametrize("genre", ["", "  ", "a" * 61, "a\x00"])
def test_a_malformed_genre_is_rejected(genre: str) -> None:
    with pytest.raises(InvalidParameter):
        MovieQuery.parse(genre=genre)


def test_a_query_has_its_required_capabilities_and_parameters() -> None:
    query = MovieQuery.parse("  the   matrix ", year="1990..1999", genre="Drama", order="popularity")
    assert query == MovieQuery("the matrix", Years(1990, 1999), "Drama", Order.POPULARITY)
    assert query.required_capabilities == {Capability.YEAR, Capability.GENRE, Capability.ORDER}
    assert query.parameters() == (
        ("query", "the matrix"),
        ("year", "1990..1999"),
        ("genre", "Drama"),
        ("order", "popularity"),
    )
    assert MovieQuery.parse().parameters() == ()
    assert MovieQuery.parse().required_capabilities == frozenset()


@pytest.mark.parametrize("length", [MAX_QUERY + 1, 4 * MAX_QUERY, 4 * MAX_QUERY + 1, 16 * MAX_QUERY + 1])
def test_a_long_query_is_rejected_whatever_its_length(length: int) -> None:
    with pytest.raises(InvalidQuery, match="at most 200 characters"):
        normalise_query("a" * length)
