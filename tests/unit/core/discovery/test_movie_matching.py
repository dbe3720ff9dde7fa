"""Imported rows match their movies and no others."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import pytest
from hypothesis import given
from tests.support.catalogues import files
from tests.support.pace import cpu_growth

from movie_core.discovery.movie_matching import (
    MatchedBy,
    Mismatch,
    MismatchReason,
    MovieIdentity,
    MovieIndex,
    MovieMatch,
    reconcile,
)
from movie_core.search.movies import Movie
from movie_core.text import normalise_title

HEAT = Movie(id="1", title="Heat", original_title="Hitze", year=1995, imdb_id="tt0113277", tmdb_id="949")
ALIEN = Movie(id="2", title="Alien", year=1979, imdb_id="tt0078748", tmdb_id="348")
PLAIN = Movie(id="3", title="Plain", year=2003)
"""A movie without external ids."""


def matched(movies: Sequence[Movie], *rows: MovieIdentity) -> list[str]:
    """Of each row of a file, the id of the movie and what identified it, or the reason why none matches."""
    index = MovieIndex(movies)
    return [
        f"{match.movie.id} by {match.by}" if isinstance(match, MovieMatch) else match.reason.name
        for match in reconcile(rows, [index.match(row) for row in rows])
    ]


def test_a_movie_is_identified_by_the_first_id_that_is_known() -> None:
    for identity, expected in (
        (MovieIdentity(movie_id="1", title="Heat", year=1995), "1 by movie_id"),
        (MovieIdentity(movie_id="9", imdb_id="tt0078748", title="Heat", year=1995), "2 by imdb_id"),
        (MovieIdentity(tmdb_id="949", title="Alien"), "1 by tmdb_id"),
        (MovieIdentity(title="HITZE", year=1995), "1 by title_year"),
        (MovieIdentity(title="alien", year=1980), "2 by near_year"),
        (MovieIdentity(title="alien"), "2 by near_year"),
        (MovieIdentity(movie_id="9"), "UNKNOWN"),
        (MovieIdentity(), "UNKNOWN"),
    ):
        assert matched([HEAT, ALIEN], identity) == [expected]
    assert matched([], MovieIdentity(title="Heat")) == ["UNKNOWN"]


def test_another_id_excludes_a_movie() -> None:
    for identity, expected in (
        (MovieIdentity(imdb_id="tt0000009", title="Heat", year=1995), "OTHER_ID"),
        (MovieIdentity(tmdb_id="9", title="Heat", year=1995), "OTHER_ID"),
        (MovieIdentity(imdb_id="tt0000009", tmdb_id="949"), "UNKNOWN"),
        (MovieIdentity(imdb_id="tt0113277", tmdb_id="348"), "UNKNOWN"),
        (MovieIdentity(movie_id="1", imdb_id="tt0078748"), "2 by imdb_id"),
        (MovieIdentity(imdb_id="tt0000009", tmdb_id="9", title="Plain", year=2003), "3 by title_year"),
    ):
        assert matched([HEAT, ALIEN, PLAIN], identity) == [expected]
    later = replace(HEAT, id="4", imdb_id=None, tmdb_id=None, year=2005)
    other = MovieIdentity(imdb_id="tt0000009", title="Heat", year=1995)
    assert matched([HEAT, later], other, replace(other, year=2000)) == ["OTHER_ID", "OTHER_YEAR"]
    twin = replace(PLAIN, id="4", imdb_id="tt0000004")
    assert matched([PLAIN, twin], MovieIdentity(imdb_id="tt0000009", title="Plain", year=2003)) == ["3 by title_year"]


@pytest.mark.parametrize("nothing", ["", "0", "00", "tt0000000", "tt0"])
def test_empty_and_zero_are_not_ids(nothing: str) -> None:
    movie = replace(PLAIN, imdb_id=nothing, tmdb_id=nothing)
    none = MovieIdentity(imdb_id=nothing, tmdb_id=nothing)
    assert none == MovieIdentity()
    assert matched([movie], none) == ["UNKNOWN"]
    assert matched([movie], replace(none, title="Other", year=2010)) == ["UNKNOWN"]
    assert matched([movie], MovieIdentity(imdb_id="tt1", tmdb_id="1", title="Plain", year=2003)) == ["3 by title_year"]
    assert matched([HEAT], replace(none, title="Heat", year=1995)) == ["1 by title_year"]


def test_the_id_of_a_movie_with_another_title_or_year_is_that_of_another_catalogue() -> None:
    reused = Movie(id="1", title="Alien", year=2019)
    for movies, expected in (([reused], "OTHER_YEAR"), ([reused, ALIEN], "2 by title_year"), ([HEAT], "UNKNOWN")):
        assert matched(movies, MovieIdentity(movie_id="1", title="Alien", year=1979)) == [expected]
    assert matched([reused], MovieIdentity(movie_id="1", title="ALIEN", year=2018)) == ["1 by movie_id"]
    assert matched([reused], MovieIdentity(movie_id="1", title="alien")) == ["1 by movie_id"]


def test_movies_with_the_same_imdb_id_count_as_one() -> None:
    again = replace(HEAT, id="0", title="Heat (1995)", popularity=5.0)
    for identity, by in (
        (MovieIdentity(imdb_id="tt0113277"), "imdb_id"),
        (MovieIdentity(tmdb_id="949"), "tmdb_id"),
        (MovieIdentity(title="Hitze", year=1995), "title_year"),
        (MovieIdentity(title="Hitze", year=1994), "near_year"),
    ):
        assert matched([HEAT, again], identity) == [f"0 by {by}"]
        assert matched([replace(again, popularity=None), replace(HEAT, popularity=0.0)], identity) == [f"1 by {by}"]
    rows = MovieIdentity(title="Heat", year=1995), MovieIdentity(imdb_id="tt0113277")
    assert matched([HEAT, again], *rows) == ["0 by title_year", "0 by imdb_id"]


def test_an_id_of_two_different_movies_identifies_neither() -> None:
    movies = [replace(PLAIN, tmdb_id="7"), replace(ALIEN, tmdb_id="7")]
    assert matched(movies, MovieIdentity(tmdb_id="7", title="Plain", year=2003)) == ["AMBIGUOUS"]
    assert matched(movies, MovieIdentity(tmdb_id="7", imdb_id="tt0000009")) == ["3 by tmdb_id"]


@pytest.mark.parametrize("title", ["Strada, La", "la strada", "STRADA,LA", "Lunga Strada, La"])
def test_a_title_matches_with_its_article_at_either_end(title: str) -> None:
    movie = Movie(id="1", title="La Strada", alt_titles=("La lunga strada",), year=1954)
    assert matched([movie], MovieIdentity(title=title, year=1954)) == ["1 by title_year"]
    assert matched([movie], MovieIdentity(title="Strada", year=1954)) == ["UNKNOWN"]


def test_any_title_of_the_row_equals_any_title_of_the_movie() -> None:
    movie = Movie(id="1", title="The Wild Robot", original_title="Robot salvaje", alt_titles=("Roz",), year=2024)
    for title in ("Wild Robot, The", "robot Salvaje", "ROZ"):
        for identity in (
            MovieIdentity(title=title, year=2024),
            MovieIdentity(title="Den vilda roboten", original_title=title, year=2024),
            MovieIdentity(title="Den vilda roboten", original_title="X", alt_titles=("Y", title), year=2024),
        ):
            assert matched([movie], identity) == ["1 by title_year"]


def test_a_main_title_takes_precedence_over_an_alternative_one() -> None:
    run = Movie(id="1", title="Run", year=2020)
    lauf = Movie(id="2", title="Lauf", original_title="Run", year=2020)
    jagd = Movie(id="3", title="Jagd", alt_titles=("Run",), year=2020)
    movies = [jagd, lauf, run]
    assert matched(movies, MovieIdentity(title="run", year=2020)) == ["1 by title_year"]
    assert matched(movies, MovieIdentity(title="Run", original_title="Run", year=2020)) == ["1 by title_year"]
    assert matched(movies, MovieIdentity(title="Lauf", original_title="Run", year=2020)) == ["2 by title_year"]
    assert matched(movies, MovieIdentity(title="Jagd", original_title="Run", year=2020)) == ["AMBIGUOUS"]
    assert matched(movies, MovieIdentity(title="Run", original_title="Jagd", year=2020)) == ["AMBIGUOUS"]
    assert matched([jagd, lauf], MovieIdentity(title="Run", year=2020)) == ["AMBIGUOUS"]
    assert matched(movies, MovieIdentity(title="Run", year=2021)) == ["AMBIGUOUS"]


def test_a_number_may_be_written_in_another_way() -> None:
    bill = Movie(id="1", title="Kill Bill: Volume 1", year=2003, imdb_id="tt0266697")
    later = replace(bill, id="2", title="Kill Bill: Volume 2", year=2004, imdb_id=None)
    for title, year, expected in (
        ("Kill Bill: Vol. 1", 2003, "1 by title_year"),
        ("Kill Bill I", 2003, "1 by title_year"),
        ("Kill Bill: Vol. 2", 2004, "2 by title_year"),
        ("Kill Bill: Vol. 2", 2003, "UNKNOWN"),
        ("Kill Bill: Vol. 1", 2004, "UNKNOWN"),
        ("Kill Bill: Vol. 1", None, "UNKNOWN"),
        ("Kill Bill: Volume 2", 2003, "2 by near_year"),
    ):
        assert matched([bill, later], MovieIdentity(title=title, year=year)) == [expected]
    other = MovieIdentity(title="Kill Bill: Vol. 1", year=2003, imdb_id="tt0000009")
    assert matched([bill, later], other) == ["UNKNOWN"]
    exact = Movie(id="3", title="Kill Bill: Vol. 1", year=2003)
    assert matched([bill, exact], MovieIdentity(title="Kill Bill, Vol. 1", year=2003)) == ["3 by title_year"]
    three = Movie(id="4", title="3", year=2010)
    assert matched([three], MovieIdentity(title="Three", year=2010)) == ["UNKNOWN"]


@pytest.mark.parametrize(
    ("year", "expected"),
    [
        (1995, "1 by title_year"),
        *((year, "1 by near_year") for year in (1994, 1996, None)),
        *((year, "OTHER_YEAR") for year in (1993, 1997)),
    ],
)
def test_a_title_matches_within_a_year(year: int | None, expected: str) -> None:
    assert matched([HEAT], MovieIdentity(title="Heat", year=year)) == [expected]


def test_an_exact_year_takes_precedence_and_a_near_one_must_be_the_only_one() -> None:
    plain, next_year = PLAIN, replace(PLAIN, id="4", year=2004)
    later, undated = replace(PLAIN, id="5", year=2005), replace(PLAIN, id="6", year=None)
    for movies, year, expected in (
        ((plain, next_year), 2004, "4 by title_year"),
        ((plain, next_year), 2005, "4 by near_year"),
        ((plain, next_year), None, "AMBIGUOUS"),
        ((plain, later), 2004, "AMBIGUOUS"),
        ((plain, undated), 2003, "3 by title_year"),
        ((plain, undated), 2004, "AMBIGUOUS"),
        ((plain, undated), 1950, "6 by near_year"),
        ((undated,), None, "6 by near_year"),
        ((plain, replace(plain, id="7")), 2003, "AMBIGUOUS"),
    ):
        assert matched(movies, MovieIdentity(title="Plain", year=year)) == [expected], (movies, year)


def test_a_movie_that_a_row_matches_exactly_is_not_that_of_a_near_year() -> None:
    near = MovieIdentity(title="Heat", year=1996)
    for exact, by in (
        (MovieIdentity(title="Heat", year=1995), "title_year"),
        (MovieIdentity(imdb_id="tt0113277", title="Heat", year=1996), "imdb_id"),
        (MovieIdentity(movie_id="1"), "movie_id"),
    ):
        assert matched([HEAT], near, exact, near) == ["OTHER_ROW", f"1 by {by}", "OTHER_ROW"]
    assert matched([HEAT], near, near) == ["1 by near_year", "1 by near_year"]


def test_rows_of_different_years_are_not_about_the_same_movie() -> None:
    rows = [MovieIdentity(title="Heat", year=year) for year in (1994, 1996, None)]
    assert matched([HEAT], *rows) == ["CONFLICT"] * 3
    assert matched([HEAT], rows[0], rows[2]) == ["CONFLICT"] * 2
    assert matched([HEAT], rows[2]) == ["1 by near_year"]


def test_the_spelling_decides_between_movies_whose_titles_differ_in_blanks_or_punctuation() -> None:
    pairs = [("Night Life", "Nightlife"), ("Savage", "Savage!"), ("L\u00e9on", "Leon"), ("The Rapist", "Therapist")]
    for one, other in pairs:
        movies = [Movie(id="1", title=one, year=1989), Movie(id="2", title=other, year=1989)]
        rows = [MovieIdentity(title=title, year=1989) for title in (one.lower(), other.upper())]
        assert matched(movies, *rows) == ["1 by title_year", "2 by title_year"]
    assert matched(movies, MovieIdentity(title="Rapist, The", year=1989)) == ["1 by title_year"]
    assert matched(movies, MovieIdentity(title="Thera-pist", year=1989)) == ["AMBIGUOUS"]
    assert matched(movies, MovieIdentity(title="The Rapist", year=1990)) == ["AMBIGUOUS"]


@pytest.mark.parametrize("year", [2022, 2021])
def test_another_director_or_a_very_different_runtime_excludes_a_movie(year: int) -> None:
    zemeckis = Movie(id="1", title="Pinocchio", year=2022, directors=("Robert Zemeckis",), runtime_minutes=105)
    row = MovieIdentity(title="Pinocchio", year=year)
    found = "1 by title_year" if year == 2022 else "1 by near_year"
    for directors, runtime, expected in (
        (("Guillermo del Toro", "Mark Gustafson"), None, "OTHER_FILM"),
        (("Robert Smith",), None, "OTHER_FILM"),
        ((), 35, "OTHER_FILM"),
        ((), 400, "OTHER_FILM"),
        (("Mark Gustafson", "R. Zemeckis"), 117, found),
        (("Zemeckis, Robert",), None, found),
        (("Robert Zemekis",), 93, found),
        (("\u30ed\u30d0\u30fc\u30c8",), None, found),
        ((), 0, found),
        ((), 50, found),
    ):
        other = replace(row, directors=directors, runtime_minutes=runtime)
        assert matched([zemeckis], other) == [expected], (directors, runtime)
    by_id = replace(row, imdb_id="tt4593060", directors=("Nobody Else",))
    assert matched([replace(zemeckis, imdb_id="tt4593060")], by_id) == ["1 by imdb_id"]
    assert matched([replace(zemeckis, directors=(), runtime_minutes=None)], replace(row, directors=("X",))) == [found]
    toro = replace(zemeckis, id="2", directors=("Guillermo del Toro",), runtime_minutes=None)
    assert matched([zemeckis, toro], replace(row, directors=("Del Toro, G.",))) == [found.replace("1", "2", 1)]
    bill = Movie(id="1", title="Kill Bill: Volume 1", year=2003, directors=("Quentin Tarantino",))
    vol = MovieIdentity(title="Kill Bill: Vol. 1", year=2003, directors=("Somebody Else",))
    assert matched([bill], vol) == ["UNKNOWN"]


def test_comparing_directors_takes_time_linear_in_their_length() -> None:
    index = MovieIndex([Movie(id="1", title="Run", year=2020, directors=("Joseph Nichol", "Ann Ray"))])

    def match(words: int) -> None:
        row = MovieIdentity(title="Run", year=2020, directors=(" ".join(f"joe{number}" for number in range(words)),))
        for _ in range(20):
            index.match(row)

    assert cpu_growth(partial(match, 500), partial(match, 2_000)) < 8


@pytest.mark.parametrize("name", ["McG", "QT", "Q. T.", "x", "?", "\u9ed2\u6fa4 \u660e"])
def test_initials_pseudonyms_and_other_scripts_exclude_no_movie(name: str) -> None:
    movie = Movie(id="1", title="Run", year=2020, directors=("Joseph Nichol",))
    assert matched([movie], MovieIdentity(title="Run", year=2020, directors=(name,))) == ["1 by title_year"]
    assert matched([replace(movie, directors=(name,))], MovieIdentity(title="Run", directors=("Ann Ray",))) == [
        "1 by near_year"
    ]


def test_rows_with_different_directors_are_not_about_the_same_movie() -> None:
    rows = [MovieIdentity(title="Plain", year=2003, directors=(name,)) for name in ("Ann Ray", "Bo Fox")]
    assert matched([PLAIN], *rows) == ["CONFLICT"] * 2
    assert matched([PLAIN], rows[0], MovieIdentity(title="Plain", year=2003), rows[0]) == ["3 by title_year"] * 3


@pytest.mark.parametrize("year", [2003, 2004])
def test_rows_with_different_ids_are_not_about_the_same_movie(year: int) -> None:
    row = MovieIdentity(title="Plain", year=year)
    by = "title_year" if year == 2003 else "near_year"
    for one, other in (
        (replace(row, imdb_id="tt0000001"), replace(row, imdb_id="tt0000002")),
        (replace(row, tmdb_id="1"), replace(row, tmdb_id="2")),
        (replace(row, page="https://boxd.it/a"), replace(row, page="https://boxd.it/b")),
    ):
        assert matched([PLAIN], one, other, row) == ["CONFLICT"] * 3
        assert matched([PLAIN], one, row, one) == [f"3 by {by}"] * 3


def test_a_row_identified_by_an_id_prevails_over_one_with_another_id() -> None:
    movie = replace(PLAIN, imdb_id="tt0000001")
    by_id = MovieIdentity(imdb_id="tt0000001", tmdb_id="1", title="Plain", year=2003)
    by_title = MovieIdentity(tmdb_id="2", title="Plain", year=2003)
    assert matched([movie], by_title, by_id) == ["CONFLICT", "3 by imdb_id"]


def test_adding_a_movie_twice_has_no_effect() -> None:
    index = MovieIndex([HEAT])
    index.add(replace(HEAT, title="Changed"))
    assert index.match(MovieIdentity(title="heat", year=1995)) == MovieMatch(HEAT, MatchedBy.TITLE_YEAR)
    assert index.match(MovieIdentity(title="changed", year=1995)) == Mismatch(MismatchReason.UNKNOWN)
    assert index.match_by_id(MovieIdentity(title="Heat", year=1995)) is None


# --- any catalogue, and any file made of its movies


@given(files())
def test_every_row_about_a_movie_of_the_catalogue_matches_it(file: tuple[list[Movie], list[MovieIdentity]]) -> None:
    movies, rows = file
    assert [match.partition(" ")[0] for match in matched(movies, *rows)] == [movie.id for movie in movies]


@given(files())
def test_no_row_about_another_movie_matches(file: tuple[list[Movie], list[MovieIdentity]]) -> None:
    (missing, *movies), rows = file
    about = {normalise_title(title) for title in rows[0].titles}
    namesakes = [
        movie
        for movie in movies
        if about & {normalise_title(one) for one in (movie.title, movie.original_title or "", *movie.alt_titles)}
        and abs((movie.year or 0) - (missing.year or 0)) <= 1
    ]
    first, *others = matched(movies, *rows)
    # Without ids, the movie of the same name and about the same year may be meant.
    if all(rows[0].imdb_id and movie.imdb_id for movie in namesakes):
        assert first in MismatchReason.__members__
    assert all(match.partition(" ")[0] == movie.id for match, movie in zip(others, movies, strict=True))
