"""Index terms and ranks."""

import math
import unicodedata
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from movie_adapters.catalogue.terms import index_entry, is_word, movie_rank, rank_range, title_terms
from movie_core.search.movies import Movie
from movie_core.text import split_words


@pytest.mark.parametrize("text", ["!!!", "...", "💡", "$", "-"])
def test_a_title_without_letters_and_digits_has_a_term_of_its_own(text: str) -> None:
    (word,) = split_words(text)
    assert word.startswith("_")
    assert split_words(f" {text} ") == [word]
    assert f"={word}" in index_entry(Movie(id="1", title=text)).terms


@pytest.mark.parametrize("text", ["千と千尋", "π", "Ωμέγα", "Москва"])
def test_words_of_other_scripts_are_not_encoded(text: str) -> None:
    assert not any(word.startswith("_") for word in split_words(text))


@given(st.text(max_size=300))
def test_terms_contain_no_query_syntax(title: str) -> None:
    movie = Movie(id="1", title=title or "x", genres=(title,), cast=(title,), year=1999)
    for term in index_entry(movie).terms:
        assert term
        assert not set(term) & set(" '\"*:&|!()\\\n\t\x00")
        assert len(term.encode("utf-8", "replace")) < 2000


def test_an_entry_has_words_title_keys_people_year_and_genres() -> None:
    movie = Movie(
        id="1",
        title="The Spider-Crab II",
        alt_titles=("Krabbe",),
        year=1999,
        genres=("Sci-Fi",),
        directors=("Ann Øst",),
        cast=("Bo Lee",),
    )
    terms = set(index_entry(movie).terms)
    assert {"spider", "crab", "spidercrab", "2", "ii", "krabbe"} <= terms
    assert {"=thespidercrabii", "=spidercrabii", "=spidercrab2", "=krabbe"} <= terms
    assert {"@ann", "@ost", "@bo", "@lee", "#1999", "%sci_2dfi"} <= terms
    assert "the" not in terms


def test_joined_names_initials_and_inner_parts_have_terms() -> None:
    movie = Movie(
        id="1",
        title="A.I. 千と千",
        alt_titles=("Lamp, Das", "기생충"),
        cast=("Bo Joon-ho", "J. J. Øst", "O'Lee", "Ann de la Cruz Jr."),
    )
    terms = set(index_entry(movie).terms)
    assert {"@joon", "@ho", "@joonho", "@j", "@jj", "@ost", "@olee"} <= terms
    assert {"@cruz", "@delacruz", "@lacruz", "@jr", "@junior"} <= terms
    assert {"ai", "=ai", "千と千", "と千", "千", "=lampdas", "=daslamp"} <= terms
    korean = unicodedata.normalize("NFKD", "기생충")
    assert {korean, korean[2:], korean[5:]} <= terms
    assert not {korean[1:], korean[3:], korean[4:]} & terms


def test_the_vocabulary_has_no_numbers_title_keys_years_or_genres() -> None:
    terms = ("word", "2", "x2", "=word", "@name", "#1999", "%drama", "ab")
    assert [term for term in terms if is_word(term)] == ["word", "@name"]


def test_ranks_order_movies_by_popularity_with_unknown_last() -> None:
    popularities = [math.inf, 1e9, 300.0, 2.0, 0.5, 1e-9, 0.0, -1.0, -1e9, None]
    ranks = [movie_rank(3, popularity, 7) for popularity in popularities]
    assert all(one < other for one, other in pairwise(ranks))
    first, last = rank_range(3)
    assert all(first <= rank <= last for rank in ranks)
    assert movie_rank(3, math.nan, 7) == ranks[-1]
    assert movie_rank(32767, None, 0xFFFF_FFFF) < 2**63


@given(st.floats(allow_nan=False), st.floats(allow_nan=False))
def test_a_more_popular_movie_never_ranks_lower(one: float, other: float) -> None:
    if one > other:
        assert movie_rank(1, one, 0) <= movie_rank(1, other, 0)


@pytest.mark.parametrize("title", ["Strada, La", "la strada", "LA STRADA!"])
def test_a_title_is_found_with_its_article_at_either_end(title: str) -> None:
    for stored in ("La Strada", "Strada, La"):
        assert set(title_terms([title])) & set(index_entry(Movie(id="1", title=stored)).terms)
