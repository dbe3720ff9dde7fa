"""Canonical words and exact titles: spellings of one title are equal, different titles stay different."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from movie_core.canonical_words import (
    canonical_words,
    exact_keys,
    leading_initials,
    numbered_key,
    query_forms,
    title_forms,
)
from movie_core.text import split_words


def canonical(text: str) -> str:
    return " ".join(canonical_words(split_words(text)))


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
        ("Dr. Strangelove", "doctor strangelove"),
        ("Mr. & Mrs. Smith", "mister and missus smith"),
        ("Kramer vs. Kramer", "kramer versus kramer"),
        ("St. Elmo's Fire", "saint elmos fire"),
        ("Monsters, Inc.", "monsters incorporated"),
        ("The Super Mario Bros. Movie", "super mario brothers movie"),
        ("The Color of Theater", "colour of theatre"),
        ("Dune: Part Two", "dune pt. 2"),
        ("Star Trek: Episode IV", "star trek ep 4"),
    ],
)
def test_spellings_of_one_title_have_one_canonical_form(one: str, other: str) -> None:
    assert canonical(one) == canonical(other)


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
        ("Part Two", "part 2"),
        ("The Episode I", "episode 1"),
        ("Volume", "volume"),
        ("The First", "1"),
    ],
)
def test_significant_words_are_preserved(text: str, expected: str) -> None:
    assert canonical(text) == expected


def test_titles_that_differ_only_in_how_their_number_is_written_have_one_key() -> None:
    for titles in (
        ("Kill Bill: Vol. 1", "Kill Bill: Volume 1", "Kill Bill, Volume One", "Kill Bill I"),
        ("The Godfather Part II", "The Godfather: Part 2", "The Godfather 2"),
        ("Rocky IV", "Rocky 4", "Rocky Four"),
    ):
        assert len({numbered_key(split_words(title)) for title in titles} - {None}) == 1
    keys = [numbered_key(split_words(title)) for title in ("Rocky II", "The Rocky 2", "Rocky 3", "Rocky III Part 1")]
    assert len(set(keys)) == 4


@pytest.mark.parametrize("title", ["Three", "3", "Part One", "Heat", "Volume", "Se7en", "!!!"])
def test_a_number_alone_and_a_title_without_one_have_no_such_key(title: str) -> None:
    assert numbered_key(split_words(title)) is None


@pytest.mark.parametrize(
    ("title", "initials"),
    [
        ("A.I. Artificial Intelligence", "ai"),
        ("E.T. the Extra-Terrestrial", "et"),
        ("E. T. the Extra-Terrestrial", "et"),
        ("The F.B.I. Story", "fbi"),
        ("D.E.B.S.", "debs"),
        ("M*A*S*H", "mash"),
        ("V/H/S/2", "vhs"),
        ("J. R. R. Tolkien", "jrr"),
        ("L.A. Confidential", "la"),
        ("I, Robot", ""),
        ("X-Men", ""),
        ("T-Rex", ""),
        ("J. Edgar", ""),
        ("A Boy", ""),
        ("K-9", ""),
        ("Episode I. A New Start", ""),
        ("", ""),
        ("!!!", ""),
    ],
)
def test_initials_at_the_start_of_a_title_are_one_word(title: str, initials: str) -> None:
    assert leading_initials(title) == initials


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("A.I.", "A.I. Artificial Intelligence"),
        ("A.I", "A.I. Artificial Intelligence"),
        ("ai", "A.I. Artificial Intelligence"),
        ("AI", "A.I."),
        ("e t", "E.T. the Extra-Terrestrial"),
        ("the f.b.i.", "The F.B.I. Story"),
        ("Ｍ＊Ａ＊Ｓ＊Ｈ", "MASH"),
        ("Strada, La", "La Strada"),
        ("la strada", "Strada, La"),
        ("Matrix, The", "The Matrix"),
        ("matrix", "Matrix, The"),
        ("Godfather Part II, The", "The Godfather 2"),
        ("spiderman", "Spider-Man"),
        ("of mice", "Of Mice"),
    ],
)
def test_a_query_is_exactly_a_title(text: str, title: str) -> None:
    assert exact_keys(query_forms(text)) & exact_keys(title_forms(title))


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("A.I.", "The One"),
        ("A.I.", "1"),
        ("one", "A.I."),
        ("strada", "La Strada"),
        ("x", "X-Men"),
        ("et", "Et in Arcadia"),
        ("ab", "A B Testing"),
    ],
)
def test_a_query_is_not_exactly_another_title(text: str, title: str) -> None:
    assert not exact_keys(query_forms(text)) & exact_keys(title_forms(title))


@given(st.text("abIVX1 .,*&'-éThe", max_size=20))
def test_every_title_is_exactly_itself(title: str) -> None:
    assert exact_keys(query_forms(title)) & exact_keys(title_forms(title))
    assert exact_keys(query_forms(title.upper())) & exact_keys(title_forms(title))
