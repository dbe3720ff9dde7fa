"""Files of ratings of many people: both formats, their companions, and the reason of each unused row."""

import gzip
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from movie_adapters.catalogue.training_files import INCOMPLETE, INVALID_TIME, WRONG_COLUMNS, TrainingFile
from movie_core.discovery.movie_matching import MovieIdentity
from movie_core.discovery.training_ratings import FileRating
from movie_core.errors import InvalidParameter

HEADER = "userId,movieId,rating,timestamp\n"
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a file into the folder of the test, with a links.csv next to it."""
    (tmp_path / "links.csv").write_text("movieId,imdbId,tmdbId\n")

    def write_file(content: str | bytes, name: str = "ratings.csv") -> Path:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write_file


def test_ratings_of_movielens_are_doubled(write: Write) -> None:
    file = TrainingFile(write(HEADER + "1,296,5.0,1147880044\n1,306,0.5,1147868817\n7,296,3.5,0\n"))
    assert list(file) == [
        FileRating("1", "296", 10.0, 1147880044),
        FileRating("1", "306", 1.0, 1147868817),
        FileRating("7", "296", 7.0, 0),
    ]
    assert file.bytes_read == file.bytes_total
    assert list(file) == list(file)


@pytest.mark.parametrize("user", ["user", "userId"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_ratings_by_imdb_id_are_from_1_to_10(write: Write, user: str, separator: str) -> None:
    rows = (user, "imdb_id", "rating", "timestamp"), ("ann", "tt0133093", "9.5", "5"), ("bob", "133093", "1", "5")
    file = TrainingFile(write("".join(f"{separator.join(row)}\n" for row in rows)))
    assert list(file) == [FileRating("ann", "tt0133093", 9.5, 5), FileRating("bob", "133093", 1.0, 5)]
    identity = MovieIdentity(imdb_id="tt0133093")
    assert file.identities({"tt0133093": 1, "133093": 1, "0": 1, "x": 1}) == {
        "tt0133093": identity,
        "133093": identity,
    }


def test_a_file_with_imdb_ids_and_stars_is_rejected(write: Write) -> None:
    rows = TrainingFile(write("user,imdb_id,rating,timestamp\nann,tt0133093,4.5,5\nbob,tt0133093,5,5\n"))
    with pytest.raises(InvalidParameter, match="from 1 to 10, but none is above 5"):
        list(rows)


@pytest.mark.parametrize(
    ("time", "seconds"),
    [
        ("1147880044", 1147880044),
        ("1147880044.25", 1147880044),
        ("2006-05-17T15:34:04Z", 1147880044),
        ("2006-05-17T17:34:04+02:00", 1147880044),
        ("2006-05-17 15:34:04", 1147880044),
        ("2006-05-17", 1147824000),
        ("", None),
        ("yesterday", None),
        ("-1", None),
        ("nan", None),
        ("inf", None),
        ("1147880044000000", None),
        ("0001-01-01T00:00:00+14:00", None),
        ("1950-01-01", None),
    ],
)
def test_times_are_seconds_or_iso_8601(write: Write, time: str, seconds: int | None) -> None:
    (row,) = TrainingFile(write(f"{HEADER}1,2,3,{time}\n"))
    assert row == (INVALID_TIME if seconds is None else FileRating("1", "2", 6.0, seconds))


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("1,2,6,5", "the rating is not 0.5 to 5 in steps of 0.5"),
        ("1,2,0,5", "the rating is not 0.5 to 5 in steps of 0.5"),
        ("1,2,3.3,5", "the rating is not 0.5 to 5 in steps of 0.5"),
        ("1,2,,5", "the rating is not 0.5 to 5 in steps of 0.5"),
        ("1,2,3", WRONG_COLUMNS),
        ("1,2,3,4,5", WRONG_COLUMNS),
        (",2,3,5", INCOMPLETE),
        ("1, ,3,5", INCOMPLETE),
        ('1,"2,3,5', "a quote is not closed"),
    ],
)
def test_a_row_that_cannot_be_used_has_a_reason(write: Write, row: str, reason: str) -> None:
    assert list(TrainingFile(write(f"{HEADER}{row}\n\n9,2,3,5\n"))) == [reason, FileRating("9", "2", 6.0, 5)]


def test_bytes_that_are_not_utf_8_have_a_reason(write: Write) -> None:
    assert list(TrainingFile(write(HEADER.encode() + b"1,\xff,3,5\n"))) == ["the row is not UTF-8"]


def test_columns_may_be_in_any_order_and_files_compressed(write: Write) -> None:
    content = '\ufefftimestamp,"rating",comment,movieId,userId\r\n5,4.0,"a, b",296,1\r\n'
    path = write(gzip.compress(content.encode()), "ratings.csv.gz")
    assert list(TrainingFile(path)) == [FileRating("1", "296", 8.0, 5)]


def test_companions_identify_the_movies(write: Write) -> None:
    write("movieId,imdbId,tmdbId\n1,0114709,862\n2,1,\n3,,\n4,0,0\nbroken\n6,133093,603.0\n", "links.csv")
    write(
        "movieId,title,genres\n"
        "1,Toy Story (1995),Comedy\n"
        '3,"City of Lost Children, The (Cité des enfants perdus, La) (1995)",Drama\n'
        f"5,{'x' * 1001} (1995),Drama\n"
        "7,Babylon 5,Drama\n8,,Drama\n9,Unrated (1990),Drama\n",
        "movies.csv",
    )
    assert TrainingFile(write(HEADER)).identities(list("12345678")) == {
        "1": MovieIdentity(imdb_id="tt0114709", tmdb_id="862", title="Toy Story", year=1995),
        "2": MovieIdentity(imdb_id="tt0000001"),
        "3": MovieIdentity(
            title="City of Lost Children, The (Cité des enfants perdus, La)",
            alt_titles=("City of Lost Children, The", "Cité des enfants perdus, La"),
            year=1995,
        ),
        "6": MovieIdentity(imdb_id="tt0133093", tmdb_id="603"),
        "7": MovieIdentity(title="Babylon 5"),
    }


@pytest.mark.parametrize("name", ["links.csv", "movies.csv.gz"])
def test_one_companion_is_sufficient(write: Write, tmp_path: Path, name: str) -> None:
    (tmp_path / "links.csv").unlink()
    if name == "links.csv":
        write("movieId,imdbId,tmdbId\n1,0114709,862\n", name)
        expected = MovieIdentity(imdb_id="tt0114709", tmdb_id="862")
    else:
        write(gzip.compress(b"movieId,title,genres\n1,Toy Story (1995),Comedy\n"), name)
        expected = MovieIdentity(title="Toy Story", year=1995)
    assert TrainingFile(write(HEADER)).identities(["1"]) == {"1": expected}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "must be a table with the columns"),
        ("userId,movieId\rrating,timestamp\n", "must be a table with the columns"),
        ("userId,movieId,rating\n1,2,3\n", "must be a table with the columns"),
        (b"PK\x03\x04\xff", "must be a table with the columns"),
        ('"' + "x" * 200_000, "must be a table with the columns"),
        (HEADER, "its links.csv or movies.csv must be in the same directory"),
    ],
)
def test_another_file_is_rejected(write: Write, tmp_path: Path, content: str | bytes, message: str) -> None:
    (tmp_path / "links.csv").unlink()
    with pytest.raises(InvalidParameter, match=message):
        TrainingFile(write(content))


def test_a_missing_file_or_a_folder_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(InvalidParameter, match="does not exist"):
        TrainingFile(tmp_path / "ratings.csv")
    with pytest.raises(InvalidParameter, match="is not a file"):
        TrainingFile(tmp_path)


def test_a_companion_without_its_columns_is_rejected(write: Write) -> None:
    write("movieId,imdbId\n1,5\n", "links.csv")
    with pytest.raises(InvalidParameter, match="lacks one of the columns movieid, imdbid, tmdbid"):
        TrainingFile(write(HEADER)).identities(["1"])


def test_memory_does_not_grow_with_the_file(write: Write) -> None:
    file = TrainingFile(write(HEADER + "".join(f"{n // 100},{n % 1000},{n}.7,{n}\n" for n in range(50_000))))
    tracemalloc.start()
    count = sum(isinstance(row, str) for row in file)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 50_000
    assert peak < 8_000_000
