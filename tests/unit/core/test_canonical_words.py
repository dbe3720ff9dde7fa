"""Canonical words: spellings of one title are equal, different titles stay different."""

import pytest

from movie_core.canonical_words import canonical_words, numbered_key
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
        ("Room Two Hundred", "room 200"),
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
