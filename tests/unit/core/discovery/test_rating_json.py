"""JSON with ratings: rows of this service, its export, Trakt and SIMKL."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from movie_core.discovery.movie_matching import MovieIdentity
from movie_core.discovery.rating_json import is_json, parse_json_ratings
from movie_core.discovery.ratings import MAX_IMPORT, MAX_RATINGS, ImportRow
from movie_core.errors import InvalidBody, TooManyRows

IDS = {"trakt": 481, "slug": "the-matrix-1999", "imdb": "tt0133093", "tmdb": 603}
MATRIX = {"title": "The Matrix", "year": 1999, "ids": IDS}
IDENTITY = MovieIdentity(title="The Matrix", year=1999, imdb_id="tt0133093", tmdb_id="603")
DAY = datetime(2020, 1, 1, 10, tzinfo=UTC)


def codes(document: Any) -> dict[int, str]:
    return {rejection.row: rejection.code for rejection in parse_json_ratings(document)[1]}


def test_rows_of_this_service() -> None:
    rows: list[dict[str, Any]] = [
        {"movie_id": "101", "rating": 8},
        {"movie_id": "102", "rating": 0.5, "rated_at": "2020-01-01T12:00:00+02:00"},
        {
            "movie_id": "7",
            "rating": 9.5,
            "source": "tmdb",
            "title": "Heat",
            "year": 1995,
            "rated_at": "2020-01-01T10:00:00Z",
        },
        {"movie_id": "8", "rating": 9, "source": None, "title": None, "year": None},
    ]
    for document in (rows, {"account": {"id": "a"}, "ratings": rows, "events": [1]}):
        assert parse_json_ratings(document) == (
            [
                ImportRow(1, MovieIdentity(movie_id="101"), 8.0, None),
                ImportRow(2, MovieIdentity(movie_id="102"), 0.5, DAY),
                ImportRow(3, MovieIdentity(movie_id="7", source="tmdb", title="Heat", year=1995), 9.5, DAY),
                ImportRow(4, MovieIdentity(movie_id="8"), 9.0, None),
            ],
            [],
        )


@pytest.mark.parametrize(
    ("row", "code"),
    [
        *((other, "invalid_row") for other in (1, None, "x", [])),
        *((fields, "invalid_row") for fields in ({}, {"movie_id": "1"}, {"rating": 8})),
        *(({"movie_id": "1", "rating": rating}, "invalid_rating") for rating in (0, 8.3, 11, -1, 10**400)),
        *(({"movie_id": "1", "rating": rating}, "invalid_row") for rating in ("8", True, None, [8])),
        *(
            ({"movie_id": "1", "rating": 8, "rated_at": time}, "invalid_row")
            for time in ("yesterday", "2020-01-01", "2020-01-01T10:00:00", 5, None, "0001-01-01T00:00:00+05:00")
        ),
        ({"movie_id": 1, "rating": 8}, "invalid_row"),
        ({"movie_id": "1", "rating": 8, "stars": 4}, "invalid_row"),
        ({"movie_id": "1", "rating": 8, "title": 5}, "invalid_row"),
        ({"movie_id": "1", "rating": 8, "title": "x" * 1001}, "invalid_row"),
        ({"movie_id": "1", "rating": 8, "year": "1999"}, "invalid_row"),
        ({"movie_id": "1", "rating": 8, "year": True}, "invalid_row"),
        ({"movie_id": "1", "rating": 8, "year": 10_000}, "invalid_row"),
        ({"movie": "The Matrix", "rating": 8}, "invalid_row"),
        ({"movie": MATRIX | {"ids": []} | {"ids": ["tt0133093"]}, "rating": 8}, "invalid_row"),
        ({"movie": MATRIX, "rating": 8, "type": 1}, "invalid_row"),
        ({"movie": MATRIX, "rating": 8, "rated_at": "yesterday"}, "invalid_row"),
        ({"movie": MATRIX, "rating": 8, "rated_at": 5}, "invalid_row"),
        *(({"movie": MATRIX, "rating": rating}, "invalid_rating") for rating in (None, 0, 11, "x", True, 10**400)),
        ({"movie": MATRIX}, "invalid_rating"),
        ({"movie": {}, "rating": 8}, "unknown_movie"),
        ({"movie": {"title": "", "ids": {"imdb": None, "tmdb": 0}}, "rating": 8}, "unknown_movie"),
        ({"show": MATRIX, "rating": 8}, "not_a_movie"),
        ({"episode": {}, "show": MATRIX, "rating": 8}, "not_a_movie"),
        ({"movie": MATRIX, "rating": 8, "type": "show"}, "not_a_movie"),
        ({"show": MATRIX, "anime_type": "tv", "rating": 8}, "not_a_movie"),
    ],
)
def test_a_row_that_is_not_a_rating_is_rejected(row: Any, code: str) -> None:
    assert codes([{"movie_id": "1", "rating": 8}, row]) == {2: code}


def test_a_row_with_an_unusable_rating_still_names_its_movie() -> None:
    for row in ({"movie": MATRIX}, {"movie_id": "5", "rating": 99}):
        ([], [rejected]) = parse_json_ratings([row])
        assert rejected.identity in (IDENTITY, MovieIdentity(movie_id="5"))


def test_exports_of_trakt() -> None:
    row = {"rated_at": "2020-01-01T10:00:00.000Z", "rating": 9, "type": "movie", "movie": MATRIX}
    show = {"rated_at": "2020-01-01T10:00:00.000Z", "rating": 9, "type": "show", "show": MATRIX}
    assert parse_json_ratings([row]) == ([ImportRow(1, IDENTITY, 9.0, DAY)], [])
    assert codes({"shows": [show], "movies": [row], "seasons": None}) == {2: "not_a_movie"}


def test_a_film_may_be_the_row_itself_and_its_numbers_text() -> None:
    film = {
        "title": "The Matrix",
        "year": "1999",
        "ids": {"imdb": "https://www.imdb.com/title/tt0133093/", "tmdb": 603.0},
    }
    for row in (
        film | {"rating": "9", "rated_at": "2020-01-01T10:00:00.000Z"},
        {"rating": 9, "rated_at": "2020-01-01T10:00:00Z", "type": None, "movie": film, "show": None, "episode": None},
        {"rating": "9/10", "rated_at": "2020-01-01 10:00", "movie": film | {"year": 1999.0}},
    ):
        for document in ([row], {"movies": [row]}):
            assert parse_json_ratings(document) == ([ImportRow(1, IDENTITY, 9.0, DAY)], [])


def test_exports_of_simkl() -> None:
    movie = {
        "last_watched_at": "2020-01-01T10:00:00Z",
        "user_rating": 9,
        "status": "completed",
        "movie": MATRIX | {"ids": {"simkl": 1, "imdb": "tt0133093", "tmdb": "603"}},
    }
    unrated = movie | {"user_rating": None}
    film = {"user_rating": 9, "show": MATRIX, "anime_type": "movie"}
    rows, rejected = parse_json_ratings({"movies": [movie, unrated], "anime": [film], "shows": [{"show": MATRIX}]})
    assert rows == [ImportRow(1, IDENTITY, 9.0, DAY), ImportRow(4, IDENTITY, 9.0, None)]
    assert [(one.row, one.code) for one in rejected] == [(2, "invalid_rating"), (3, "not_a_movie")]


@pytest.mark.parametrize("document", [None, 1, "x", {}, {"ratings": {}}, {"movies": 5}, {"account": {}}])
def test_other_json_is_rejected(document: Any) -> None:
    with pytest.raises(InvalidBody):
        parse_json_ratings(document)


def test_the_number_of_rows_is_limited() -> None:
    row = {"movie_id": "1", "rating": 8}
    assert len(parse_json_ratings([row] * MAX_IMPORT)[0]) == MAX_IMPORT
    assert len(parse_json_ratings({"account": {}, "ratings": [row] * MAX_RATINGS})[0]) == MAX_RATINGS
    for document in (
        [row] * (MAX_IMPORT + 1),
        {"movies": [row] * MAX_IMPORT, "shows": [row]},
        {"account": {}, "ratings": [row] * (MAX_RATINGS + 1)},
    ):
        with pytest.raises(TooManyRows):
            parse_json_ratings(document)


def test_json_is_recognised_by_its_first_character() -> None:
    assert all(map(is_json, (b"[]", b" \r\n{", b"\xef\xbb\xbf\n[", "{".encode("utf-16"), "\n[".encode("utf-16-be"))))
    assert not any(map(is_json, (b"", b"Const,Your Rating", b'"TMDb ID"')))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["movie", "movie_id", "rating", "rated_at", "ids", "title", "year", "show", "type", "imdb"]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=10,
)


@given(st.lists(JSON, max_size=5))
def test_any_rows_are_parsed_or_rejected(document: list[Any]) -> None:
    rows, rejected = parse_json_ratings(document)
    assert sorted([one.row for one in rows] + [one.row for one in rejected]) == list(range(1, len(document) + 1))
    assert all(0.5 <= one.rating <= 10 for one in rows)
    assert all(len(one.detail) <= 200 for one in rejected)
