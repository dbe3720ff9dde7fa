"""Scales of popularity, and details of merging that the contract of `MovieCatalogue` does not show."""

from dataclasses import replace

import pytest

from movie_core.search.merging import ListMerger, popularity_scale
from movie_core.search.movies import ListedMovie, Movie


def listed(movie: Movie, *fields: str, has_own_id: bool = False) -> ListedMovie:
    return ListedMovie(movie, frozenset(("title", *fields)), has_own_id)


def merge(rows: list[ListedMovie], stored: list[Movie]) -> list[str]:
    return [movie.id for movie in ListMerger().merge(rows, stored)]


# Popularity


def test_popularities_on_the_same_scale_are_not_changed() -> None:
    assert popularity_scale([(10.0, 9.0), (40.0, 55.0)], 90.0, 60.0) is None
    assert popularity_scale([(1000.0, 10.0)], 150.0, 60.0) is None, "one movie says nothing about the scale"
    assert popularity_scale([], 100.0, 60.0) is None


@pytest.mark.parametrize(("highest", "stored"), [(0.0, 60.0), (60.0, 0.0)])
def test_without_popularities_there_is_nothing_to_align(highest: float, stored: float) -> None:
    assert popularity_scale([], highest, stored) is None


def test_votes_are_aligned_by_rank_to_a_small_scale() -> None:
    align = popularity_scale([(620_000.0, 60.0), (310_000.0, 80.0), (1_000.0, 5.0)], 2_000_000.0, 120.0)
    assert align is not None
    assert [align(votes) for votes in (310_000.0, 620_000.0, 1_000.0)] == [60.0, 80.0, 5.0]
    assert 0 < align(150.0) < 5
    assert 60 < align(400_000.0) < 80
    assert align(2_000_000.0) == 120.0
    assert align(0.0) == 0.0


def test_a_small_scale_is_aligned_to_votes() -> None:
    align = popularity_scale([(0.5, 1_000.0), (9.0, 700_000.0), (9.0, 900_000.0), (0.0, 0.0)], 12.0, 1_000_000.0)
    assert align is not None
    assert (align(0.5), align(9.0)) == (1_000.0, 900_000.0)
    assert align(12.0) == 1_000_000.0


def test_without_movies_in_common_the_highest_values_are_aligned() -> None:
    align = popularity_scale([], 1_000_000.0, 100.0)
    assert align is not None
    assert (align(1_000_000.0), align(10_000.0)) == (100.0, 1.0)


# Identity


def test_an_id_that_the_file_gives_to_the_wrong_movie_does_not_mix_two_movies() -> None:
    first, second = Movie(id="m1", title="Marble", imdb_id="tt0000001"), Movie(id="m2", title="Granite")
    corrected = [
        listed(Movie(id="m1", title="Marble", imdb_id="tt0000009"), "imdb_id", has_own_id=True),
        listed(Movie(id="m2", title="Granite", imdb_id="tt0000001"), "imdb_id", has_own_id=True),
    ]
    assert merge(corrected, [first, second]) == ["m1", "m2"]


def test_an_own_id_names_the_movie_also_under_a_corrected_title() -> None:
    row = listed(Movie(id="m1", title="The Third Man"), has_own_id=True)
    assert merge([row], [Movie(id="m1", title="The Thrid Man", imdb_id="tt0000001")]) == ["m1"]


def test_of_several_movies_with_the_imdb_id_the_one_with_the_id_is_updated() -> None:
    stored = [Movie(id=movie_id, title="Marble", imdb_id="tt0000001") for movie_id in ("m1", "m2")]
    row = Movie(id="m2", title="Marble", imdb_id="tt0000001")
    assert merge([listed(row, has_own_id=True)], stored) == ["m2"]
    assert merge([listed(row)], stored) == ["m2"]
    assert merge([listed(Movie(id="m3", title="Marble", imdb_id="tt0000001"))], stored) == ["m1"]


def test_a_tmdb_id_identifies_a_movie_unless_the_imdb_ids_differ() -> None:
    stored = [Movie(id="m1", title="Marble", imdb_id="tt0000001", tmdb_id="7")]
    assert merge([listed(Movie(id="x", title="Marmor", tmdb_id="7"))], stored) == ["m1"]
    assert merge([listed(Movie(id="x", title="Marble", tmdb_id="7", imdb_id="tt0000002"))], stored) == ["x"]
    assert merge([listed(Movie(id="x", title="Marble", tmdb_id="8"))], stored) == ["x"]


@pytest.mark.parametrize("name", ["Sir Carol Reed", "Reed, Carol", "Carol Read", "CAROL REED"])
def test_a_person_may_be_written_in_another_way(name: str) -> None:
    stored = [Movie(id="m1", title="Marble", year=1949, directors=("Carol Reed",))]
    assert merge([listed(Movie(id="x", title="Marble", year=1950, directors=(name,)))], stored) == ["m1"]
    for other in ("Donna Reed", "Reed", "Carol"):
        assert merge([listed(Movie(id="x", title="Marble", year=1950, directors=(other,)))], stored) == ["x"]


def test_a_corrected_imdb_id_is_that_of_the_same_movie() -> None:
    stored = Movie(id="tt0000001", title="Marble", year=1949, imdb_id="tt0000001", directors=("Carol Reed",))
    corrected = Movie(id="tt0000002", title="Marble", year=1949, imdb_id="tt0000002", directors=("Carol Reed",))
    assert merge([listed(corrected, "imdb_id")], [stored]) == ["tt0000001"]
    unchanged = listed(stored, "imdb_id", "directors")
    assert merge([unchanged, listed(corrected, "imdb_id")], [stored]) == ["tt0000001", "tt0000002"]
    for other in (
        replace(corrected, year=1950),
        replace(corrected, year=None),
        replace(corrected, directors=()),
        replace(corrected, directors=("Ann Ray",)),
        replace(corrected, title="Marbles"),
    ):
        assert merge([listed(other, "imdb_id")], [stored]) == ["tt0000002"], other
    twin = replace(stored, id="m2", imdb_id="tt0000003")
    assert merge([listed(corrected, "imdb_id")], [stored, twin]) == ["tt0000002"]


def test_rows_with_one_imdb_id_are_one_movie() -> None:
    rows = [listed(Movie(id=movie_id, title="Marble", imdb_id="tt0000001"), "imdb_id") for movie_id in "ab"]
    assert merge(rows, []) == ["a"]


def test_an_own_id_is_used_although_a_stored_movie_has_the_title() -> None:
    row = Movie(id="mine", title="Marble", year=1990)
    assert merge([listed(row, "year", has_own_id=True)], [Movie(id="m1", title="Marble", year=1990)]) == ["mine"]


def test_titles_are_looked_up_only_where_ids_do_not_decide() -> None:
    rows = [
        listed(Movie(id="a", title="Marble", imdb_id="tt0000001")),
        listed(Movie(id="b", title="Granite", original_title="Granit", alt_titles=("Sten",))),
        listed(Movie(id="c", title="Slate"), has_own_id=True),
    ]
    stored = [Movie(id="m1", title="Marble", imdb_id="tt0000001")]
    assert ListMerger().titles(rows, stored) == ["Granite", "Granit", "Sten"]


def test_clashing_generated_ids_get_a_suffix_that_does_not_depend_on_the_order() -> None:
    films = [
        Movie(id="night", title="Night", year=year, directors=(name,))
        for year, name in ((1950, "Ann Ray"), (1970, "Bo Fox"), (1990, "Cy Lee"))
    ]
    rows = [listed(film, "year", "directors") for film in films]
    suffixes = []
    for order in (rows, rows[::-1]):
        found = ListMerger().merge(order, [Movie(id="night", title="Other Night")])
        suffixes.append({movie.year: movie.id for movie in found})
    assert suffixes[0] == suffixes[1]
    assert len(set(suffixes[0].values()) - {"night"}) == 3


def test_equal_movies_of_several_batches_get_distinct_ids() -> None:
    merger = ListMerger()
    row = listed(Movie(id="night", title="Night"))
    ids = [merger.merge([row], [])[0].id for _ in range(4)]
    assert len(set(ids)) == 4


def test_thousands_of_equal_movies_are_merged_quickly() -> None:
    films = [Movie(id=f"same-{number}", title="Same") for number in range(3_000)]
    assert merge([listed(film) for film in films], films) == [film.id for film in films]
    assert len(set(merge([listed(film) for film in films], films[:1_500]))) == 3_000


def test_a_movie_without_a_year_is_the_only_stored_one_of_its_title() -> None:
    assert merge([listed(Movie(id="x", title="Marble"))], [Movie(id="m1", title="Marble", year=1990)]) == ["m1"]


def test_an_overview_in_common_distinguishes_movies_without_people() -> None:
    stored = [Movie(id=str(year), title="Night", year=year, overview=f"Of {year}.") for year in (1990, 1991)]
    row = Movie(id="x", title="Night", year=1991, overview="Of 1990.")
    assert merge([listed(row, "year", "overview")], stored) == ["1990"]


def test_two_movies_of_one_list_are_not_the_same_stored_movie() -> None:
    rows = [listed(Movie(id=movie_id, title="Night", year=1990), "year") for movie_id in ("x", "y")]
    assert merge(rows, [Movie(id="m1", title="Night", year=1990)]) == ["m1", "y"]
