"""The bundled films: complete, clean, and with plausible popularity."""

import gzip
import itertools
import zlib
from collections import Counter

import pytest

from movie_adapters.catalogue.bundled import (
    BUNDLED_EDITION,
    BUNDLED_FILMS,
    BUNDLED_NAME,
    MOVED_IDS,
    bundled_films,
    bundled_path,
)
from movie_adapters.catalogue.files import MovieFile
from movie_core.search.movies import Movie
from movie_core.text import OPTIONAL_ARTICLES, article_first, fold, normalise_title, split_words


@pytest.fixture(scope="module")
def films() -> list[Movie]:
    return list(bundled_films())


def test_number_and_edition_match_the_file(films: list[Movie]) -> None:
    assert len(films) == BUNDLED_FILMS
    assert f"{BUNDLED_NAME}-{zlib.crc32(gzip.decompress(bundled_path().read_bytes())):08x}" == BUNDLED_EDITION


def test_no_row_is_rejected_and_ids_are_distinct(films: list[Movie]) -> None:
    file = MovieFile(bundled_path())
    assert list(file) == films
    assert file.rows == len(films)
    assert not file.reasons
    assert len({film.id for film in films}) == len(films)


def test_the_file_is_small_and_contains_no_timestamp() -> None:
    packed = bundled_path().read_bytes()
    assert len(packed) < 2_000_000
    assert packed[4:8] == bytes(4)


def test_titles_and_names_are_clean(films: list[Movie]) -> None:
    for film in films:
        for text in (film.title, *film.cast, *film.directors, *film.genres, *film.countries):
            assert text == " ".join(text.split())
            assert not set(text) & set("[]{}<>|\\")
            assert not any(entity in text for entity in ("&amp;", "&quot;", "&#", "mw-parser"))
        assert not any("(" in name or ":" in name or "://" in name for name in film.cast)
        assert film.year is not None
        assert 1900 <= film.year <= 2030


def test_genres_come_from_one_small_vocabulary(films: list[Movie]) -> None:
    genres = Counter(genre for film in films for genre in film.genres)
    assert len(genres) < 45
    assert genres["Science Fiction"] > 1000
    assert genres["Animation"] > 1000
    assert not any("film" in genre.casefold() and genre != "Film Noir" for genre in genres)
    assert all(genre == "LGBT" or genre.istitle() for genre in genres)


@pytest.mark.parametrize(
    ("title", "year"),
    [
        ("Titanic", 1997),
        ("The Matrix", 1999),
        ("Star Wars", 1977),
        ("Batman", 1989),
        ("Casablanca", 1942),
        ("Psycho", 1960),
        ("Halloween", 1978),
        ("Gladiator", 2000),
        ("The Avengers", 2012),
        ("Ben-Hur", 1959),
    ],
)
def test_the_best_known_film_of_a_title_is_the_most_popular(films: list[Movie], title: str, year: int) -> None:
    best = max((film for film in films if film.title == title), key=lambda film: film.popularity or 0)
    assert best.year == year


def test_a_film_in_both_sources_is_merged(films: list[Movie]) -> None:
    (film,) = [film for film in films if film.title == "The Dark Knight"]
    assert (film.id, film.year) == ("tt0468569", 2008)
    assert film.directors == ("Christopher Nolan",)
    assert "Christian Bale" in film.cast


def _people(film: Movie) -> set[str]:
    return {fold(name) for name in (*film.directors, *film.cast)}


def test_no_film_is_listed_twice(films: list[Movie]) -> None:
    by_title: dict[str, list[Movie]] = {}
    for film in films:
        words = split_words(article_first(film.title))
        by_title.setdefault("".join(words[words[0] in OPTIONAL_ARTICLES :]), []).append(film)
    twice = []
    for same_title in by_title.values():
        for first, second in itertools.combinations(same_title, 2):
            apart = abs((first.year or 0) - (second.year or 0))
            shared = len(_people(first) & _people(second))
            is_comparable = bool((first.cast and second.cast) or (first.directors and second.directors))
            is_same_spelling = normalise_title(first.title) == normalise_title(second.title)
            if (
                (shared and apart <= 2)
                or (shared > 1 and apart <= 5 and is_same_spelling)
                or (not apart and not is_comparable and is_same_spelling)
            ):
                twice.append((first.id, second.id))
    assert twice == []


def test_no_imdb_id_is_repeated_and_no_article_stands_at_the_end_of_a_title(films: list[Movie]) -> None:
    imdb_ids = [film.imdb_id for film in films if film.imdb_id]
    assert len(set(imdb_ids)) == len(imdb_ids)
    assert [film.title for film in films if article_first(film.title) != film.title] == []


def test_the_goonies_are_one_film_with_the_facts_of_both_lists(films: list[Movie]) -> None:
    (film,) = [film for film in films if "Goonies" in film.title]
    assert (film.id, film.title, film.year, film.directors) == ("tt0089218", "The Goonies", 1985, ("Richard Donner",))
    assert "Sean Astin" in film.cast


def test_remakes_and_sequels_with_the_same_title_are_separate_films(films: list[Movie]) -> None:
    for title, years in {
        "The Unholy Three": {1925, 1930},
        "Beauty and the Beast": {1991, 1992},
        "Dead Heat": {1987, 1988},
        "The Green Goddess": {1923, 1930},
    }.items():
        assert years <= {film.year for film in films if film.title == title}, title


def test_moved_ids_belong_to_no_film_and_lead_to_one(films: list[Movie]) -> None:
    ids = {film.id for film in films}
    assert len(MOVED_IDS) >= 20
    assert not ids & MOVED_IDS.keys()
    assert ids >= set(MOVED_IDS.values())
