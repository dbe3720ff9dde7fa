"""Personal order: which results affinities move, and which keep their positions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from movie_core.discovery.personal_ranking import HALF_TRUSTED, WEIGHT, is_exact, personal_order
from movie_core.search.movies import Movie

FILMS = [Movie(id=str(n), title=f"River {n}") for n in range(6)]


def ids(movies: list[Movie]) -> list[str]:
    return [movie.id for movie in movies]


def test_without_affinities_the_order_is_by_relevance() -> None:
    assert personal_order("river", FILMS, {}, ["a", "b"]) == FILMS
    assert personal_order("river", FILMS, dict.fromkeys(ids(FILMS), 0.3), ["a", "b"]) == FILMS
    assert personal_order("river", [], {}, []) == []


def test_without_ratings_affinities_have_no_weight() -> None:
    assert personal_order("river", FILMS, {"5": 1.0, "0": -1.0}, []) == FILMS


def test_relevance_and_affinity_are_weighted_as_documented() -> None:
    # Positions 0, 1, 2 have relevance z = 1.2247, 0, -1.2247; affinities 0, 0, 3 have z = -0.7071, -0.7071, 1.4142.
    # With one rating w = 2 * 1/6: the sums are 0.989, -0.236, -0.753; with five w = 1: 0.518, -0.707, 0.189.
    films, affinities = FILMS[:3], {"0": 0.0, "1": 0.0, "2": 3.0}
    assert (WEIGHT, HALF_TRUSTED) == (2.0, 5)
    assert ids(personal_order("river", films, affinities, ["x"])) == ["0", "1", "2"]
    assert ids(personal_order("river", films, affinities, list("vwxyz"))) == ["0", "2", "1"]


def test_an_exact_title_stays_first_despite_a_low_affinity() -> None:
    films = [Movie(id="heat", title="Heat", year=1995), *FILMS]
    affinities = {movie.id: float(n) for n, movie in enumerate(films)}
    for text in ("heat", "HEAT!", "The Heat", "heat 1995"):
        assert personal_order(text, films, affinities, [str(n) for n in range(100, 200)])[0].id == "heat"
    assert personal_order("he", films, affinities, [str(n) for n in range(100, 200)])[0].id != "heat"


def test_exact_titles_keep_their_positions() -> None:
    films = [
        Movie(id="a", title="Hamlet", year=1948),
        Movie(id="b", title="Hamlet", year=1996),
        *FILMS,
        Movie(id="c", title="Hamlet", year=1900),
    ]
    ordered = ids(personal_order("hamlet", films, {"a": -1.0, "b": 9.0, "c": 99.0, "5": 50.0}, ["x"] * 50))
    assert (ordered[:2], ordered[-1]) == (["a", "b"], "c")
    assert ordered[2] == "5"


def test_rated_movies_keep_their_positions() -> None:
    affinities = {str(n): float(n) for n in range(6)}
    ordered = ids(personal_order("river", FILMS, affinities, ["0", "3", *(f"x{n}" for n in range(100))]))
    assert (ordered[0], ordered[3]) == ("0", "3")
    assert ordered != ids(FILMS)


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("amelie", "Amélie"),
        ("matrix", "The Matrix"),
        ("the matrix", "Matrix, The"),
        ("oceans eleven", "Ocean's Eleven"),
        ("WALL-E", "WALL·E"),
        ("fast and furious", "Fast & Furious"),
        ("les misérables", "Les Mise\u0301rables"),
        ("千と千尋の神隠し", "千と千尋の神隠し"),
        ("the", "The"),
        ("Strada, La", "La Strada"),
        ("la strada", "Strada, La"),
        ("Avventura, L'", "L'avventura"),
        ("Matrix, The (1995)", "The Matrix"),
        ("heat - 1995", "Heat"),
        ("ＨＥＡＴ", "Heat"),
        ("!!!", "!!!"),
        ("…", "..."),
        ("spiderman", "Spider-Man"),
        ("rocky two", "Rocky II"),
        ("godfather 3", "The Godfather: Part III"),
        ("A.I.", "A.I. Artificial Intelligence"),
        ("ai", "A.I. Artificial Intelligence"),
        ("et 1995", "E.T. the Extra-Terrestrial"),
        ("1995 heat", "Heat"),
        ("heat 1996", "Heat"),
        ("1984 1995", "1984"),
        ("1995 1984", "1984"),
        ("heat 1995", "Heat 1995"),
    ],
)
def test_spelling_variants_are_exact_matches(text: str, title: str) -> None:
    assert is_exact(text, Movie(id="1", title=title, year=1995))
    assert is_exact(text, Movie(id="1", title="Another", alt_titles=(title,), year=1995))
    assert is_exact(text, Movie(id="1", title="Another", original_title=title, year=1995))


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("", "!"),
        ("mat", "The Matrix"),
        ("heat 1997", "Heat"),
        ("alien", "Aliens"),
        ("hard", "Die Hard"),
        ("ir", "I, Robot"),
    ],
)
def test_other_titles_are_not_exact_matches(text: str, title: str) -> None:
    assert not is_exact(text, Movie(id="1", title=title, year=1995))


def test_a_year_matches_no_movie_of_unknown_year() -> None:
    assert not is_exact("heat 1995", Movie(id="1", title="Heat"))


@given(
    st.lists(st.sampled_from(["river", "The River", "river bend", "lake"]), max_size=30),
    st.dictionaries(st.integers(0, 29).map(str), st.floats(-1e6, 1e6)),
    st.sets(st.integers(0, 40).map(str)),
    st.sampled_from(["river", "lake", "", "x"]),
)
def test_an_order_is_a_permutation_that_moves_neither_rated_nor_exact_movies(
    titles: list[str], affinities: dict[str, float], rated: set[str], text: str
) -> None:
    films = [Movie(id=str(n), title=title) for n, title in enumerate(titles)]
    ordered = personal_order(text, films, affinities, rated)
    assert sorted(ids(ordered)) == sorted(ids(films))
    for before, after in zip(films, ordered, strict=True):
        assert before.id == after.id or not ({before.id, after.id} & rated)
        assert before.id == after.id or not (is_exact(text, before) or is_exact(text, after))
