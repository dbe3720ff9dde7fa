"""Keys of titles that are equal however the number of the title is written."""

import pytest

from movie_core.canonical_words import numbered_key
from movie_core.text import split_words


def test_titles_that_differ_only_in_how_their_number_is_written_have_one_key() -> None:
    for titles in (
        ("Kill Bill: Vol. 1", "Kill Bill: Volume 1", "Kill Bill, Volume One", "Kill Bill I"),
        ("The Godfather Part II", "The Godfather: Part 2", "The Godfather 2"),
        ("Rocky IV", "Rocky 4", "Rocky Four"),
        ("Room Two Hundred", "room 200"),
    ):
        assert len({numbered_key(split_words(title)) for title in titles} - {None}) == 1
    keys = [numbered_key(split_words(title)) for title in ("Rocky II", "The Rocky 2", "Rocky 3", "Rocky III Part 1")]
    assert len(set(keys)) == 4


@pytest.mark.parametrize("title", ["Three", "3", "Part One", "Heat", "Volume", "Se7en", "!!!"])
def test_a_number_alone_and_a_title_without_one_have_no_such_key(title: str) -> None:
    assert numbered_key(split_words(title)) is None
