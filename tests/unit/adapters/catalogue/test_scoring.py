"""Scores of candidates."""

import math
from dataclasses import replace

import pytest

from movie_adapters.catalogue.lookups import Candidate
from movie_adapters.catalogue.scoring import Scorer
from movie_adapters.catalogue.terms import index_entry
from movie_core.search.movies import Movie


def scorer(text: str) -> Scorer:
    return Scorer(text, 300.0)


def candidate(title: str, rank: int = 1, popularity: float = 1.0, year: int | None = None) -> Candidate:
    return Candidate(rank, index_entry(Movie(id="1", title=title)).names, year, popularity)


def test_similarity_is_100_for_the_title_and_falls_with_each_error() -> None:
    query = scorer("silver harbour")
    similarities = [
        query.similarity(candidate(title))
        for title in ("Silver Harbour", "Silver Harbor", "Sliver Harbor", "Iron Gate")
    ]
    assert similarities[0] == 100
    assert similarities == sorted(similarities, reverse=True)
    assert similarities[2] > 80 > similarities[3]


def test_canonical_words_are_compared_if_only_the_query_differs_from_its_words() -> None:
    assert scorer("silver iv").similarity(candidate("Silver")) == scorer("silver 4").similarity(candidate("Silver"))


def test_words_in_one_name_score_higher_than_words_in_several() -> None:
    one, several = (
        replace(candidate("Heather"), people=people) for people in (("Orla Quist", "Bo Lee"), ("Orla Lee", "Bo Quist"))
    )
    for text in ("orla quist", "quist orla", "heather orla quist", "orla qui 1990"):
        assert scorer(text).person(one) > scorer(text).person(several) + 5
    assert scorer("quist").person(one) == scorer("quist").person(several)
    assert scorer("orla qvist").name_similarity(one) > scorer("orla qvist").name_similarity(candidate("Orla")) > 0


def test_the_same_spelling_comes_before_a_more_popular_variant() -> None:
    popular, same = candidate("The Lagoon", 1, 300.0), candidate("Lagoon", 2, 1.0)
    query = scorer("lagoon")
    assert query.sorted([popular, same], query.exact) == [same, popular]


def test_the_scale_of_popularity_has_no_influence() -> None:
    for scale in (1e-6, 1.0, 1e6):
        query = Scorer("x", 300.0 * scale)
        assert query.popularity(candidate("x", popularity=30.0 * scale)) == pytest.approx(2 * math.log(31))
    assert Scorer("x", None).popularity(candidate("x", popularity=5.0)) == 0
