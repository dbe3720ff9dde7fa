"""Canonical words: spellings of one title are equal, different titles stay different."""

import pytest

from movie_core.canonical_words import canonical_words
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
