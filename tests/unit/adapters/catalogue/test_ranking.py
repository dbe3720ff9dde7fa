"""The forms of titles, the terms they are found by, and the scores; the search itself is tested on real stores."""

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from movie_adapters.catalogue import ranking as title_order
from movie_adapters.catalogue.ranking import (
    AllOf,
    AnyOf,
    Begun,
    Candidate,
    Find,
    Found,
    Known,
    Reading,
    Similar,
    Term,
    Without,
)
from movie_core.search.movies import Movie, MovieQuery, Years


def plain(text: str) -> str:
    return " ".join(title_order.plain_words(title_order.split_words(text)))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Léon: The Professional", "leon professional"),
        ("Rocky II", "rocky two"),
        ("Henry V", "henry 5"),
        ("The Godfather: Part III", "godfather 3"),
        ("Kill Bill: Vol. 1", "kill bill 1"),
        ("Forty-Two Days", "42 days"),
        ("One Hundred and One Nights", "101 nights"),
        ("20,000 Fathoms", "twenty thousand fathoms"),
        ("The 13th Hour", "thirteenth hour"),
        ("8½", "8 and a half"),
        ("8 1/2", "8½"),
        ("[Rec]³", "rec 3"),
        ("Rock & Rolling", "rock and rolling"),
        ("Smith's Luck", "smiths luck"),
        ("Straße", "strasse"),
        ("Ærøskøbing", "aeroskobing"),
    ],
)
def test_spellings_of_one_title_have_one_plain_form(one: str, other: str) -> None:
    assert plain(one) == plain(other)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("X-Rays", "x rays"),
        ("V for Valley", "v for valley"),
        ("Part of the Sea", "part sea"),
        ("The The", "the the"),
        ("Mixed Civic", "mixed civic"),
        ("Twenty", "20"),
        ("Hundred Days", "hundred days"),
    ],
)
def test_words_that_tell_something_stay(text: str, expected: str) -> None:
    assert plain(text) == expected


@pytest.mark.parametrize("text", ["!!!", "...", "💡", "$", "-"])
def test_a_title_without_letters_still_has_a_form_of_its_own(text: str) -> None:
    (word,) = title_order.split_words(text)
    assert word.startswith("_")
    assert title_order.split_words(f" {text} ") == [word]


@pytest.mark.parametrize("text", ["千と千尋", "π", "Ωμέγα", "Москва"])
def test_other_scripts_are_words(text: str) -> None:
    assert not any(word.startswith("_") for word in title_order.split_words(text))


@given(st.text(max_size=300))
def test_terms_never_hold_what_a_store_would_read_as_syntax(title: str) -> None:
    movie = Movie(id="1", title=title or "x", genres=(title,), cast=(title,), year=1999)
    for term in title_order.index_entry(movie).terms:
        assert term
        assert not set(term) & set(" '\"*:&|!()\\\n\t\x00")
        assert len(term.encode("utf-8", "replace")) < 2000


@given(st.text(max_size=300))
def test_folding_again_changes_nothing_for_words(text: str) -> None:
    words = title_order.split_words(text)
    if not words[0].startswith("_"):
        assert title_order.split_words(" ".join(words)) == words


def test_an_entry_has_words_keys_people_year_and_genres() -> None:
    movie = Movie(
        id="1",
        title="The Spider-Crab II",
        alt_titles=("Krabbe",),
        year=1999,
        genres=("Sci-Fi",),
        directors=("Ann Øst",),
        cast=("Bo Lee",),
    )
    terms = set(title_order.index_entry(movie).terms)
    assert {"spider", "crab", "spidercrab", "2", "ii", "krabbe"} <= terms
    assert {"=thespidercrabii", "=spidercrabii", "=spidercrab2", "=krabbe"} <= terms
    assert {"@ann", "@ost", "@bo", "@lee", "#1999", "%sci_2dfi"} <= terms
    assert "the" not in terms


def test_the_vocabulary_has_no_numbers_keys_or_marks() -> None:
    kept = [
        term for term in ("word", "2", "x2", "=word", "@name", "#1999", "%drama", "ab") if title_order.is_word(term)
    ]
    assert kept == ["word", "@name"]


def test_ranks_put_the_best_known_first_and_the_unknown_last() -> None:
    fames = [math.inf, 1e9, 300.0, 2.0, 0.5, 1e-9, 0.0, -1.0, -1e9, None]
    ranks = [title_order.movie_rank(3, fame, 7) for fame in fames]
    assert all(one < other for one, other in pairwise(ranks))
    first, last = title_order.rank_range(3)
    assert all(first <= rank <= last for rank in ranks)
    assert title_order.movie_rank(3, math.nan, 7) == ranks[-1]
    assert title_order.movie_rank(32767, None, 0xFFFF_FFFF) < 2**63


@given(st.floats(allow_nan=False), st.floats(allow_nan=False))
def test_a_better_known_movie_never_ranks_behind(one: float, other: float) -> None:
    if one > other:
        assert title_order.movie_rank(1, one, 0) <= title_order.movie_rank(1, other, 0)


@given(st.integers(0, 9999), st.integers(0, 9999))
def test_a_range_of_years_matches_just_its_years(a: int, b: int) -> None:
    years = Years(min(a, b), max(a, b))
    expression = title_order._years(years)
    assert isinstance(expression, AnyOf)
    assert len(expression.parts) <= 62

    def matches(year: int) -> bool:
        term = f"#{year:04}"
        return any(
            term.startswith(part.text) if part.begun else term == part.text
            for part in expression.parts
            if isinstance(part, Term)
        )

    for year in {years.first - 1, years.first, (years.first + years.last) // 2, years.last, years.last + 1}:
        if 0 <= year <= 9999:
            assert matches(year) == (year in years)


def test_a_year_at_either_end_may_be_the_films() -> None:
    for text in ("heather 1994", "1994 heather", "Heather (1994)"):
        dated = Reading.of(text).without_year()
        assert dated is not None
        assert (dated.words, dated.year) == (("heather",), 1994)
    assert Reading.of("1994").without_year() is None
    assert Reading.of("heather 94").without_year() is None


def test_the_last_word_is_looked_up_as_begun() -> None:
    assert Reading.of("glass orr").has_words() == AnyOf((AllOf((Term("glass"), Term("orr", begun=True))),))
    assert Reading.of("g").has_words() == AnyOf((AllOf((Term("g"),)),))


def test_a_search_asks_no_more_than_a_few_dozen_questions_whatever_the_query() -> None:
    answers: dict[type, object] = {Known: frozenset(), Find: [], Similar: {}, Begun: []}
    for text in ("a " * 100, "word" * 50, " ".join(f"w{n}ord" for n in range(40))[:200], "1999 2000 2001"):
        steps = title_order.search(MovieQuery(text), 10)
        asked = 0
        found = None
        answer: object = None
        while found is None:
            try:
                answer = answers.get(type(steps.send(answer)))
                asked += 1
            except StopIteration as done:
                found = done.value
        assert found == Found(0, [])
        assert asked <= 30


def terms_of(expression: object) -> int:
    if isinstance(expression, AllOf | AnyOf):
        return sum(map(terms_of, expression.parts))
    if isinstance(expression, Without):
        return terms_of(expression.base) + terms_of(expression.other)
    return 1


def test_what_a_store_looks_up_at_once_is_bounded_whatever_the_query_and_the_vocabulary() -> None:
    """Long expressions are what nonsense costs a database."""
    most = 0
    for text in ("word" * 50, " ".join(f"w{chr(97 + n)}ord" for n in range(26))[:200], "lantern copper harbour wolves"):
        steps = title_order.search(MovieQuery(text), 10)
        answer: object = None
        while True:
            try:
                step = steps.send(answer)
            except StopIteration:
                break
            answer = frozenset() if isinstance(step, Known) else []
            if isinstance(step, Similar):  # every word is a slip away from hundreds of others
                letters = "abcdefghijklmnopqrstuvwxyz"
                answer = {
                    term: [([term[:at] + one + term[at + 1 :] for one in letters], [1] * 26) for at in range(len(term))]
                    for term in step.terms
                }
            elif isinstance(step, Find):
                most = max(most, terms_of(step.expression))
    assert 20 < most <= 100


def scorer(text: str) -> title_order._Scorer:
    return title_order._Scorer(text, 300.0)


def candidate(title: str, rank: int = 1, popularity: float = 1.0, year: int | None = None) -> Candidate:
    return Candidate(rank, title_order.index_entry(Movie(id="1", title=title)).names, year, popularity)


def test_likeness_is_whole_for_the_title_and_falls_with_each_slip() -> None:
    query = scorer("silver harbour")
    likes = [
        query.likeness(candidate(title)) for title in ("Silver Harbour", "Silver Harbor", "Sliver Harbor", "Iron Gate")
    ]
    assert likes[0] == 100
    assert likes == sorted(likes, reverse=True)
    assert likes[2] > 80 > likes[3]


def test_the_literal_title_comes_before_a_better_known_one_of_the_same_form() -> None:
    famous, literal = candidate("The Lagoon", 1, 300.0), candidate("Lagoon", 2, 1.0)
    query = scorer("lagoon")
    assert query.sorted([famous, literal], query.exact) == [literal, famous]


def test_the_scale_of_popularity_does_not_matter() -> None:
    for scale in (1e-6, 1.0, 1e6):
        query = title_order._Scorer("x", 300.0 * scale)
        assert query.known(candidate("x", popularity=30.0 * scale)) == pytest.approx(2 * math.log(31))
    assert title_order._Scorer("x", None).known(candidate("x", popularity=5.0)) == 0
