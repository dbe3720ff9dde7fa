"""Files of ratings in the shapes that people bring, over films of the bundled catalogue."""

import io
import zipfile
from typing import Any

import pytest
from tests.support.api import ME, Api

from movie_core.discovery.event_recorder import EventRecorder
from movie_core.ports import EventStore, MovieCatalogue
from movie_core.search.movies import Movie

RATINGS = ME + "ratings/"
FILMS = (
    Movie(id="matrix", title="The Matrix", year=1999),
    Movie(id="casablanca", title="Casablanca", year=1942, imdb_id="tt0034583"),
    Movie(id="scissorhands", title="Edward Scissorhands", year=1990),
    Movie(id="whiplash-1948", title="Whiplash", year=1948),
    Movie(id="whiplash", title="Whiplash", year=2014),
    Movie(id="lion-king", title="The Lion King", year=1994),
    Movie(id="tt6105098", title="The Lion King", year=2019, imdb_id="tt6105098"),
    Movie(id="kill-bill", title="Kill Bill: Volume 1", year=2003),
    Movie(id="tt29623480", title="The Wild Robot", year=2024, imdb_id="tt29623480"),
    Movie(id="tt0983946", title="Fantasy Island", year=2020, imdb_id="tt0983946"),
    Movie(id="tt8633478", title="Run", year=2020, imdb_id="tt8633478"),
    Movie(id="monster-2003", title="Monster", year=2003),
    Movie(id="hercules-2014", title="Hercules", year=2014),
    Movie(id="tt4593060", title="Pinocchio", year=2022, imdb_id="tt4593060"),
    Movie(id="amelie", title="Amélie", year=2001),
    Movie(id="unlinked", title="Unlinked Home Movie", year=2003, tmdb_id="0"),
)
IMDB = (
    "Const,Your Rating,Date Rated,Title,Original Title,URL,Title Type,IMDb Rating,Runtime (mins),Year,Genres,"
    "Num Votes,Release Date,Directors\n"
)
LETTERBOXD = "Date,Name,Year,Letterboxd URI,Rating\n"
MOVIELENS = "movie_id,imdb_id,tmdb_id,rating,average_rating,title\n"


def imdb_row(imdb_id: str, rating: int, title: str, year: int, type_: str = "Movie", original: str = "") -> str:
    return (
        f"{imdb_id},{rating},2024-01-01,{title},{original or title},u,{type_},7.0,100,{year},Drama,1,{year}-01-01,X\n"
    )


class Ann:
    """A user who imports files."""

    def __init__(self, api: Api, header: dict[str, str]) -> None:
        self.api = api
        self._header = header

    async def put(self, file: str | bytes, query: str = "", media_type: str = "text/csv") -> dict[str, Any]:
        headers = self._header | {"content-type": media_type}
        response = await self.api.put(RATINGS + query, content=file, headers=headers)
        result: dict[str, Any] = response.json()
        return {"status": response.status_code} | result

    async def ratings(self) -> dict[str, tuple[float, str]]:
        """The stored ratings with their days, by movie id."""
        items = (await self.api.get(RATINGS, params={"limit": 100}, headers=self._header)).json()["items"]
        return {item["id"]: (item["rating"], item["rated_at"][:10]) for item in items}

    async def rate(self, movie_id: str, rating: float) -> None:
        response = await self.api.put(
            f"/api/v1/movies/{movie_id}/rating/", json={"rating": rating}, headers=self._header
        )
        assert response.status_code == 200


@pytest.fixture
async def ann(api: Api) -> Ann:
    catalogue = await api.app.state.dishka_container.get(MovieCatalogue)
    await catalogue.load(FILMS, replace=True)
    return Ann(api, await api.activated())


async def test_series_and_games_are_not_the_films_of_their_names(ann: Ann) -> None:
    result = await ann.put(
        IMDB
        + imdb_row("tt9900001", 3, "Fantasy Island", 2021, "TV Series")
        + imdb_row("tt9900002", 2, "Run", 2020, "TV Mini Series")
        + imdb_row("tt9900003", 10, "Monster", 2004, "TV Series")
        + imdb_row("tt9900004", 1, "Hercules", 2014, "Video Game")
        + imdb_row("tt9900005", 9, "Pinocchio", 2022)
    )
    assert result["accepted"] == 0
    assert [row["code"] for row in result["rejected"]] == ["not_a_movie"] * 4 + ["unknown_movie"]
    assert "another IMDb or TMDB id" in result["rejected"][-1]["detail"]
    assert await ann.ratings() == {}


@pytest.mark.parametrize("rating_of_the_film", ["5", ""])
async def test_a_short_of_the_year_before_is_not_the_film(ann: Ann, rating_of_the_film: str) -> None:
    film = f"2024-10-19,Whiplash,2014,https://boxd.it/aaaa,{rating_of_the_film}\n"
    short = "2024-10-27,Whiplash,2013,https://boxd.it/bbbb,4\n"
    for rows in (film + short, short + film):
        result = await ann.put(LETTERBOXD + rows)
        assert result["accepted"] == bool(rating_of_the_film)
        assert "another row" in str(result["rejected"])
    assert await ann.ratings() == ({"whiplash": (10.0, "2024-10-19")} if rating_of_the_film else {})


async def test_two_films_of_one_name_and_year_do_not_share_a_rating(ann: Ann) -> None:
    rows = "2024-10-19,The Matrix,1999,https://boxd.it/a,5\n2024-10-19,The Matrix,1999,https://boxd.it/b,1\n"
    result = await ann.put(LETTERBOXD + rows)
    assert (result["accepted"], len(result["rejected"])) == (0, 2)
    diary = "Date,Name,Year,Letterboxd URI,Rating,Rewatch,Tags,Watched Date\n"
    rows = "2023-01-01,The Matrix,1999,https://boxd.it/a,5,,,\n2024-01-01,The Matrix,1999,https://boxd.it/b,1,Yes,,\n"
    result = await ann.put(diary + rows)
    assert (result["accepted"], result["superseded"]) == (2, [1])
    assert await ann.ratings() == {"matrix": (2.0, "2024-01-01")}


async def test_no_row_vanishes_behind_an_open_quote(ann: Ann) -> None:
    file = (
        "Date,Name,Year,Letterboxd URI,Rating,Rewatch,Review,Tags,Watched Date\n"
        "2020-01-01,Casablanca,1942,u,5,,fine,,2020-01-01\n"
        '2020-01-01,The Matrix,1999,u,4,,"a review whose quote is open,,2020-01-01\n'
        "2020-01-02,Whiplash,2014,u,3,,ok,,2020-01-02\n"
    )
    for more in ("", '2020-01-03,Amélie,2001,u,4,,"closed, but too late",,2020-01-03\n'):
        result = await ann.put(file + more)
        assert (result["status"], result["code"]) == (400, "unclosed_quote")
        assert "line 3" in result["detail"]
    assert await ann.ratings() == {}


async def test_an_old_import_does_not_replace_a_newer_rating(ann: Ann) -> None:
    await ann.rate("matrix", 9)
    file = LETTERBOXD + "2014-05-01,The Matrix,1999,u,3\n"
    result = await ann.put(file)
    assert (result["accepted"], result["superseded"]) == (1, [1])
    assert (await ann.ratings())["matrix"][0] == 9
    await ann.put(file, "?overwrite=true")
    assert await ann.ratings() == {"matrix": (6.0, "2014-05-01")}


async def test_the_newest_row_counts_wherever_it_stands(ann: Ann) -> None:
    head = "Const,Your Rating,Date Rated,Title,Year\n"
    rows = ["x,9,2024-03-01,The Matrix,1999\n", "x,4,2010-01-01,The Matrix,1999\n"]
    for file in (rows, rows[::-1]):
        assert (await ann.put(head + "".join(file), "?overwrite=true"))["accepted"] == 2
        assert await ann.ratings() == {"matrix": (9.0, "2024-03-01")}


async def test_original_titles_match_too(ann: Ann) -> None:
    result = await ann.put(
        IMDB
        + imdb_row("tt9900011", 9, "Den vilda roboten", 2024, original="The Wild Robot")
        + imdb_row("tt9900012", 9, "Lejonkungen", 1994, original="The Lion King")
        + imdb_row("tt9900013", 8, "Matrix", 1999, original="The Matrix")
        + imdb_row("tt9900014", 8, "Kill Bill: Vol. 1", 2003)
    )
    assert (result["accepted"], [row["row"] for row in result["rejected"]]) == (3, [1])
    assert result["matched_by"] == {"imdb_id": 0, "tmdb_id": 0, "title_year": 3, "near_year": 0}
    assert (await ann.ratings()).keys() == {"lion-king", "matrix", "kill-bill"}


async def test_zero_is_no_id(ann: Ann) -> None:
    rows = '5,,0,4.5,3.5,"Some Other Film (2010)"\n6,0000000,0,0.5,3.5,"A Third Film (2011)"\n'
    result = await ann.put(MOVIELENS + rows)
    assert (result["accepted"], len(result["rejected"])) == (0, 2)
    result = await ann.put(MOVIELENS + '7,0,0,4.5,3.5,"Unlinked Home Movie (2003)"\n')
    assert result["matched_by"]["title_year"] == 1


async def test_undated_ratings_are_of_now_and_no_events(ann: Ann) -> None:
    result = await ann.put(
        MOVIELENS
        + '912,0034583,289,5.0,4.2,Casablanca (1942)\n2571,0133093,603,4.5,4.1,"Matrix, The (1999)"\n'
        + "2291,0099487,162,4.0,3.8,Edward Scissorhands (1990)\n"
    )
    assert (result["accepted"], result["matched_by"]["imdb_id"], result["matched_by"]["title_year"]) == (3, 1, 2)
    container = ann.api.app.state.dishka_container
    await (await container.get(EventRecorder)).flush()
    assert [batch async for batch in (await container.get(EventStore)).interactions() if batch] == []


MATRIX = {"matrix": (9.0, "2020-01-01")}
TABLES = {
    "spreadsheet with semicolons": (
        "\N{BYTE ORDER MARK}Const;Your Rating;Date Rated;Title;Title Type;IMDb Rating;Year\n"
        "tt0133093;9;2020-01-01;The Matrix;movie;8,7;1999\r\n"
    ).encode(),
    "spreadsheet in UTF-16": (
        "Const\tYour Rating\tDate Rated\tTitle\tTitle Type\tIMDb Rating\tYear\n"
        "tt0133093\t9\t01.01.2020\tThe Matrix\tmovie\t8.7\t1999\r\n"
    ).encode("utf-16"),
    "sep= line": b"sep=;\r\nConst;Your Rating;Date Rated;Title;Year\r\ntt0133093;9;2020-01-01;The Matrix;1999\r\n",
    "Windows-1252": IMDB.encode()
    + imdb_row("tt0133093", 9, "The Matrix", 1999)
    .replace("2024-01-01", "2020-01-01")
    .replace("Drama", "Com\u00e9die")
    .encode("cp1252"),
    "Letterboxd's import format": (
        b"LetterboxdURI,tmdbID,imdbID,Title,Year,Directors,Rating,Rating10,WatchedDate,Rewatch,Tags,Review\n"
        b",603,tt0133093,The Matrix,1999,Lana Wachowski,4.5,9,2020-01-01,false,,\n"
    ),
    "SIMKL": (
        b"SIMKL_ID,Title,Type,Year,Watchlist,LastEpWatched,WatchedDate,Rating,Memo,TVDB,TMDB,IMDB\n"
        b"1,The Matrix,movie,1999,completed,,2020-01-01,9,,,603,tt0133093\n"
    ),
    "TMDB": (
        b'"TMDb ID","IMDb ID","Type","Name","Release Date","Season Number","Episode Number","Rating","Your Rating",'
        b'"Date Rated"\n603,tt0133093,movie,"The Matrix",1999-03-30T00:00:00Z,,,8.2,9,2020-01-01T10:00:00Z\n'
    ),
    "Trakt": (
        b'[{"rated_at": "2020-01-01T10:00:00.000Z", "rating": 9, "type": "movie", "movie": {"title": "The Matrix", '
        b'"year": 1999, "ids": {"trakt": 481, "slug": "the-matrix-1999", "imdb": "tt0133093", "tmdb": 603}}}]'
    ),
    "spreadsheet that took lines for cells": (
        b"Table 1\r\nDate,Name,Year,Letterboxd URI,Rating,Review\r\n"
        b'"2020-01-01,The Matrix,1999,https://boxd.it/x,""4,5"",""good, really"""\r\n'
    ),
    "Trakt in UTF-16": (
        '[{"rated_at": "2020-01-01T10:00:00Z", "rating": 9, "title": "The Matrix", "year": "1999", "ids": {}}]'
    ).encode("utf-16"),
}


@pytest.mark.parametrize("name", TABLES)
async def test_files_of_other_programs_are_read(ann: Ann, name: str) -> None:
    types = ("text/csv", "application/vnd.ms-excel", *(("application/json",) if name == "Trakt" else ()))
    for media_type in types:
        result = await ann.put(TABLES[name], media_type=media_type)
        assert (result["accepted"], result["rejected"]) == (1, [])
    assert await ann.ratings() == MATRIX


async def test_an_id_written_as_a_url_contradicts_the_film_of_the_same_title(ann: Ann) -> None:
    url = "https://www.imdb.com/title/tt9900005/"
    result = await ann.put(IMDB + imdb_row(url, 9, "Pinocchio", 2022) + imdb_row("TT4593060", 8, "Other", 2022))
    assert [row["row"] for row in result["rejected"]] == [1]
    assert result["matched_by"]["imdb_id"] == 1


async def test_the_archive_of_letterboxd_is_read(ann: Ann) -> None:
    body = io.BytesIO()
    with zipfile.ZipFile(body, "w") as archive:
        archive.writestr("watched.csv", "Date,Name,Year,Letterboxd URI\n2020-01-01,Whiplash,2014,u\n")
        archive.writestr("ratings.csv", LETTERBOXD + "2020-01-01,The Matrix,1999,u,4.5\n")
    for media_type in ("text/csv", "application/zip"):
        assert (await ann.put(body.getvalue(), media_type=media_type))["accepted"] == 1
        damaged = await ann.put(body.getvalue()[:46], media_type=media_type)
        assert (damaged["status"], damaged["code"]) == (400, "invalid_body")
    assert await ann.ratings() == MATRIX


async def test_every_rejected_row_of_a_long_file_has_a_reason(ann: Ann) -> None:
    rows = "".join(f"2020-01-01,Nothing Like It {number},1999,u{number},4\n" for number in range(4_999))
    result = await ann.put(LETTERBOXD + rows + "2020-01-01,The Matrix,1999,v,4.5\n")
    assert (result["accepted"], len(result["rejected"])) == (1, 4_999)
    assert all(row["code"] == "unknown_movie" and "Nothing Like It" in row["detail"] for row in result["rejected"])
