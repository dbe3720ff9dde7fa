"""Rating exports of other services: parsed row by row, or rejected with a reason."""

import csv
import io
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.support.catalogues import files
from tests.support.pace import cpu_growth

from movie_core.discovery.movie_matching import MovieIdentity, MovieIndex, MovieMatch, reconcile
from movie_core.discovery.rating_files import MAX_TITLE, parse_ratings
from movie_core.discovery.ratings import MAX_IMPORT, ImportRow, Rejection, check_rating
from movie_core.errors import InvalidBody, SeveralUsers, TooManyRows, UnclosedQuote
from movie_core.search.movies import Movie
from movie_core.text import normalise_title

IMDB = """\
Const,Your Rating,Date Rated,Title,Original Title,URL,Title Type,IMDb Rating,Runtime (mins),Year,Genres,Num Votes,Release Date,Directors
tt0133093,9,2024-02-29,The Matrix,The Matrix,https://www.imdb.com/title/tt0133093,Movie,8.7,136,1999,"Action, Sci-Fi",2100000,1999-03-31,"Lana Wachowski, Lilly Wachowski"
tt10872600,6,2022-01-05,"Spider-Man: No ""Way"" Home",,https://www.imdb.com/title/tt10872600,Movie,8.2,148,2021,"Action, Adventure",900000,2021-12-13,Jon Watts
tt0095765,,,Nuovo Cinema Paradiso,,https://www.imdb.com/title/tt0095765,Movie,8.5,155,1988,Drama,290000,1988-11-17,Giuseppe Tornatore
"""  # noqa: E501
LETTERBOXD = """\
Date,Name,Year,Letterboxd URI,Rating
2023-07-21,"Crouching Tiger, Hidden Dragon",2000,https://boxd.it/2b0k,4.5
2023-07-22,Barbie,2023,https://boxd.it/bCLK,0.5
2023-07-22,"Night
Train",1959,https://boxd.it/1abc,5
2023-13-22,Barbie,2023,https://boxd.it/bCLK,3
"""
MOVIELENS = """\
movie_id,imdb_id,tmdb_id,rating,average_rating,title
2571,0133093,603,5.0,4.15,"Matrix, The (1999)"
1,114709,862,0.5,3.89,Toy Story (1995)
29,,902,3.5,3.9,"City of Lost Children, The (Cité des enfants perdus, La) (1995)"
7,,,2,3.0,"Misérables, Les (1995)"
8,,,2,3.0,
"""
DATA_SET = """\
userId,movieId,rating,timestamp
1,1,4.0,964982703
1,3,7.0,964981247
"""


def row(number: int, rating: float, at: tuple[int, int, int] | None = None, **identity: object) -> ImportRow:
    movie = MovieIdentity(**identity)  # type: ignore[arg-type]
    return ImportRow(number, movie, rating, None if at is None else datetime(*at, tzinfo=UTC))


def codes(text: str) -> dict[int, str]:
    return {rejection.row: rejection.code for rejection in parse_ratings(text.encode())[1]}


def test_an_export_of_imdb() -> None:
    rows, rejected = parse_ratings(IMDB.encode())
    assert rows == [
        row(
            1,
            9.0,
            (2024, 2, 29),
            imdb_id="tt0133093",
            title="The Matrix",
            original_title="The Matrix",
            year=1999,
            directors=("Lana Wachowski", "Lilly Wachowski"),
            runtime_minutes=136,
        ),
        row(
            2,
            6.0,
            (2022, 1, 5),
            imdb_id="tt10872600",
            title='Spider-Man: No "Way" Home',
            year=2021,
            directors=("Jon Watts",),
            runtime_minutes=148,
        ),
    ]
    assert rejected == [Rejection(3, "invalid_rating", "the row has no rating")]


def test_an_older_export_of_imdb_has_fewer_columns() -> None:
    text = "Const,Your Rating,Title,Year\ntt133093,10,The Matrix,1999\ntt0000001,1,,\n"
    assert parse_ratings(text.encode()) == (
        [row(1, 10.0, imdb_id="tt0133093", title="The Matrix", year=1999), row(2, 1.0, imdb_id="tt0000001")],
        [],
    )


def test_an_export_of_letterboxd() -> None:
    rows, rejected = parse_ratings(LETTERBOXD.encode())
    assert rows == [
        row(1, 9.0, (2023, 7, 21), title="Crouching Tiger, Hidden Dragon", year=2000, page="https://boxd.it/2b0k"),
        row(2, 1.0, (2023, 7, 22), title="Barbie", year=2023, page="https://boxd.it/bCLK"),
        row(3, 10.0, (2023, 7, 22), title="Night Train", year=1959, page="https://boxd.it/1abc"),
    ]
    assert rejected == [
        Rejection(4, "invalid_row", "'2023-13-22' is not a valid date or time, or has more than one reading")
    ]


def test_an_export_of_the_movielens_site() -> None:
    rows, rejected = parse_ratings(MOVIELENS.encode())
    assert rows == [
        row(1, 10.0, imdb_id="tt0133093", tmdb_id="603", title="Matrix, The", year=1999),
        row(2, 1.0, imdb_id="tt0114709", tmdb_id="862", title="Toy Story", year=1995),
        row(
            3,
            7.0,
            tmdb_id="902",
            title="City of Lost Children, The (Cité des enfants perdus, La)",
            alt_titles=("City of Lost Children, The", "Cité des enfants perdus, La"),
            year=1995,
        ),
        row(4, 4.0, title="Misérables, Les", year=1995),
    ]
    assert [(one.row, one.code) for one in rejected] == [(5, "unknown_movie")]


def test_the_movielens_data_set_identifies_movies_only_by_titles() -> None:
    rows, rejected = parse_ratings(DATA_SET.encode())
    assert rows == []
    assert [(one.row, one.code) for one in rejected] == [(1, "unknown_movie"), (2, "invalid_rating")]
    assert "MovieLens" in rejected[0].detail
    titled = "userId,movieId,rating,timestamp,title\n1,1,4.0,964982703,Toy Story (1995)\n"
    (only,), none = parse_ratings(titled.encode())
    assert (only.identity, none) == (MovieIdentity(title="Toy Story", year=1995), [])
    assert only.rated_at == datetime(2000, 7, 30, 18, 45, 3, tzinfo=UTC)


def test_ratings_of_several_users_are_rejected_even_in_a_file_that_is_too_long() -> None:
    rows = [f"{1 + number // 300},{number},4.0,964982703" for number in range(MAX_IMPORT + 1)]
    with pytest.raises(SeveralUsers):
        parse_ratings("\n".join(["userId,movieId,rating,timestamp", *rows]).encode())


def test_a_file_with_too_many_rows_is_rejected() -> None:
    head, line = "Const,Your Rating\n", "tt0133093,9\n\n"
    assert len(parse_ratings((head + line * MAX_IMPORT).encode())[0]) == MAX_IMPORT
    with pytest.raises(TooManyRows):
        parse_ratings((head + line * (MAX_IMPORT + 1)).encode())


def test_byte_order_mark_line_ends_blank_lines_and_the_order_of_columns_make_no_difference() -> None:
    lines = ["YEAR, your rating ,Title,Const,", "1999,9,The Matrix, tt0133093 ,", "", " , ", "2000,8,Other,tt0000001,"]
    expected = [
        row(1, 9.0, imdb_id="tt0133093", title="The Matrix", year=1999),
        row(2, 8.0, imdb_id="tt0000001", title="Other", year=2000),
    ]
    for end in ("\n", "\r\n", "\r"):
        for mark in (b"", b"\xef\xbb\xbf"):
            assert parse_ratings(mark + end.join(lines).encode()) == (expected, [])


@pytest.mark.parametrize("rating", ["0", "0.5", "7.5", "11", "-1", "nan", "inf", "1e1", "ten", "٥", "1_0", "9" * 500])
def test_a_rating_off_the_scale_of_ten_is_reported(rating: str) -> None:
    assert codes(f"Const,Your Rating\ntt0133093,{rating}\n") == {1: "invalid_rating"}


@pytest.mark.parametrize("rating", ["0", "0.25", "3.25", "5.5", "10", "-0.5", "four", ""])
def test_a_rating_off_the_scale_of_stars_is_reported(rating: str) -> None:
    assert codes(f"Name,Year,Letterboxd URI,Rating\nHeat,1995,,{rating}\n") == {1: "invalid_rating"}


def test_rejected_rows_are_reported_with_their_numbers() -> None:
    text = (
        "Date,Name,Year,Letterboxd URI,Rating\n"
        "2020-01-01,Heat,1995,u,4\n"  # valid
        ",Heat,,,4\n"  # valid without date and year
        "2020-01-01,Heat\n"
        "2020-01-01,,1995,u,4\n"
        "2020-01-01,Heat,95,u,4\n"
        "2020-01-01,Heat,1995,u,4,more\n"
        f"2020-01-01,{'x' * (MAX_TITLE + 1)},1995,u,4\n"
        "yesterday,Heat,1995,u,4\n"
    )
    assert [one.row for one in parse_ratings(text.encode())[0]] == [1, 2]
    assert codes(text) == {
        3: "invalid_rating",
        4: "unknown_movie",
        **dict.fromkeys((5, 6, 7, 8), "invalid_row"),
    }


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\n\n",
        b"\xff\xfe",
        b"\xef\xbb\xbf\xff",
        b"Const,Your Rating\n\x81",
        b"sep=;\nConst,Your Rating\ntt0133093,9\n",
        b"sep=;",
        b'"' + b"x" * 200_000,
        b"title,year\nHeat,1995\n",
        b"Date,Name,Year,Letterboxd URI\n2020-01-01,Heat,1995,u\n",
        b"tt0133093,9\n",
        b'{"movie_id": "1"}',
        b"Const,Your Rating\n" + b"x" * 200_000,
    ],
)
def test_a_file_of_another_format_is_rejected(body: bytes) -> None:
    with pytest.raises(InvalidBody):
        parse_ratings(body)


def test_a_file_of_maximum_size_is_parsed_quickly() -> None:
    line = "tt0133093,9,2024-02-29,{title},,,,,,1999,,,,\n".format(title="x" * 370)
    bodies = [(IMDB.splitlines()[0] + "\n" + line * rows).encode() for rows in (MAX_IMPORT // 4, MAX_IMPORT)]
    assert len(bodies[1]) > 2_000_000
    assert len(parse_ratings(bodies[1])[0]) == MAX_IMPORT
    assert cpu_growth(*(partial(parse_ratings, body) for body in bodies)) < 8


@pytest.mark.parametrize("part", [" ", "()", "(", ")", "( )", ", ", ",a", "l'", "(1999)"])
def test_the_cost_of_a_title_is_linear_in_its_length(part: str) -> None:
    def read(length: int) -> None:
        title = "x" + (part * length)[:length] + "x"
        rows = "".join(f'1,,,5,3,"{title}"\n1,,,5,3,"{title[:-1]}"\n' for _ in range(100))
        found, _ = parse_ratings((MOVIELENS.splitlines()[0] + "\n" + rows).encode())
        assert len({normalise_title(row.identity.title or "") for row in found}) <= 2

    assert cpu_growth(partial(read, 100), partial(read, 400)) < 8


def test_a_title_in_parentheses_is_another_title() -> None:
    for title, expected in {
        "Seven (a.k.a. Se7en) (1995)": ("Seven (a.k.a. Se7en)", ("Seven", "Se7en"), 1995),
        "(500) Days of Summer (2009)": ("(500) Days of Summer", (), 2009),
        "Birdman: Or (The Virtue) (2014)": ("Birdman: Or (The Virtue)", ("Birdman: Or", "The Virtue"), 2014),
        "A (B) (C)": ("A (B) (C)", ("A", "B", "C"), None),
        "Che (Part Two) (2008)": ("Che (Part Two)", (), 2008),
        "Che (II) (2008)": ("Che (II)", (), 2008),
        "Che (Guerrilla) (Part 2) (2008)": ("Che (Guerrilla) (Part 2)", (), 2008),
        "(A)": ("(A)", (), None),
        "A (B (C))": ("A (B (C))", (), None),
        "A ()": ("A ()", ("A",), None),
        "Office, The (2001-)": ("Office, The", (), 2001),
        "2012 (2009)": ("2012", (), 2009),
        "M*A*S*H (MASH) (1970) ": ("M*A*S*H (MASH)", ("M*A*S*H", "MASH"), 1970),
        "A (B) (C) (D) (E) (F)": ("A (B) (C) (D) (E) (F)", ("A", "B", "C", "D"), None),
    }.items():
        ((only,), _) = parse_ratings(f'{MOVIELENS.splitlines()[0]}\n1,,,5,3,"{title}"\n'.encode())
        assert (only.identity.title, only.identity.alt_titles, only.identity.year) == expected


# --- other services, programs and encodings

THE_MATRIX: dict[str, Any] = {"title": "The Matrix", "year": 1999}
LANA = ("Lana Wachowski",)
TEN_COLUMNS = "Const,Your Rating,Date Rated,Title,Year\n"


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        (
            '"position","const","created","modified","description","Title","Title type","Directors","You rated",'
            '"IMDb Rating","Runtime (mins)","Year","Genres","Num. Votes","Release Date (month/day/year)","URL"\n'
            '"1","tt0133093","Fri Mar  4 00:00:00 2016","","","The Matrix","Feature Film","Lana Wachowski","9","8.7",'
            '"136","1999","action, sci_fi","1","1999-03-31","http://www.imdb.com/title/tt0133093/"\n',
            row(1, 9.0, (2016, 3, 4), imdb_id="tt0133093", directors=LANA, runtime_minutes=136, **THE_MATRIX),
        ),
        (
            "Position,Const,Created,Modified,Description,Title,URL,Title Type,IMDb Rating,Runtime (mins),Year,Genres,"
            "Num Votes,Release Date,Directors,Your Rating,Date Rated\n"
            "1,tt0133093,2017-11-20,2017-11-20,,The Matrix,u,movie,8.7,136,1999,Action,1,1999-03-31,"
            "Lana Wachowski,9,2016-03-04\n",
            row(1, 9.0, (2016, 3, 4), imdb_id="tt0133093", directors=LANA, runtime_minutes=136, **THE_MATRIX),
        ),
        (
            "Const,Your Rating,Date Added,Title,URL,Title Type,Year\n"
            "tt0133093,9,2016-03-04,The Matrix,u,tvMovie,1999\n",
            row(1, 9.0, (2016, 3, 4), imdb_id="tt0133093", **THE_MATRIX),
        ),
        (
            "LetterboxdURI,tmdbID,imdbID,Title,Year,Directors,Rating,Rating10,WatchedDate,Rewatch,Tags,Review\n"
            ",603,tt0133093,The Matrix,1999,Lana Wachowski,4.5,9,2016-03-04,false,,\n",
            row(1, 9.0, (2016, 3, 4), imdb_id="tt0133093", tmdb_id="603", directors=LANA, **THE_MATRIX),
        ),
        (
            "Title,Year,Rating10\nThe Matrix,1999,9\n",
            row(1, 9.0, **THE_MATRIX),
        ),
        (
            "imdbID,Title,Year,Rating\n0133093,The Matrix,1999,4.5\n",
            row(1, 9.0, imdb_id="tt0133093", **THE_MATRIX),
        ),
        (
            "Date,Name,Year,Letterboxd URI,Rating,Rewatch,Tags,Watched Date\n"
            "2016-03-04,The Matrix,1999,https://boxd.it/x,4.5,,,2016-03-03\n",
            row(1, 9.0, (2016, 3, 4), **THE_MATRIX),
        ),
        (
            "SIMKL_ID,Title,Type,Year,Watchlist,LastEpWatched,WatchedDate,Rating,Memo,TVDB,TMDB,IMDB\n"
            "1,The Matrix,movie,1999,completed,,2016-03-04,9,,,603,tt0133093\n",
            row(1, 9.0, (2016, 3, 4), imdb_id="tt0133093", tmdb_id="603", **THE_MATRIX),
        ),
        (
            '"TMDb ID","IMDb ID","Type","Name","Release Date","Season Number","Episode Number","Rating","Your Rating",'
            '"Date Rated"\n603,tt0133093,movie,"The Matrix",1999-03-30T00:00:00Z,,,8.2,8.5,2016-03-04T00:00:00Z\n',
            row(1, 8.5, (2016, 3, 4), imdb_id="tt0133093", tmdb_id="603", **THE_MATRIX),
        ),
        (
            "rated_at,type,title,year,trakt_rating,rating,trakt_id,imdb_id,tmdb_id\n"
            "2016-03-04T00:00:00.000Z,movie,The Matrix,1999,8.7,9,481,tt0133093,603\n",
            row(1, 9.0, (2016, 3, 4), imdb_id="tt0133093", tmdb_id="603", **THE_MATRIX),
        ),
    ],
    ids=lambda one: one[:40] if isinstance(one, str) else "",
)
def test_an_export_of_another_service_or_edition(file: str, expected: ImportRow) -> None:
    assert parse_ratings(file.encode()) == ([expected], [])


@pytest.mark.parametrize(
    "type_", ["TV Series", "tvSeries", "TV Mini Series", "Mini-Series", "Video Game", "tv", "anime"]
)
def test_a_row_about_no_film_is_rejected(type_: str) -> None:
    text = f"Const,Your Rating,Title,Title Type,Year\ntt0000001,eleven,Run,{type_},2010-2015\n"
    assert codes(text) == {1: "not_a_movie"}
    assert codes(f"SIMKL_ID,Title,Type,Rating\n1,Run,{type_},9\n") == {1: "not_a_movie"}


@pytest.mark.parametrize(
    "type_", ["", "Movie", "movie", "TV Movie", "tvMovie", "Short", "Video", "Documentary", "Film"]
)
def test_a_row_about_a_film_of_any_kind_is_used(type_: str) -> None:
    assert codes(f"Const,Your Rating,Title,Title Type\ntt0000001,9,Run,{type_}\n") == {}


def test_ratings_from_one_to_ten_are_not_taken_for_stars() -> None:
    head = "imdbID,Title,Year,Rating\n"
    with pytest.raises(InvalidBody, match="Rating10"):
        parse_ratings(f"{head}tt0133093,The Matrix,1999,4\ntt0078748,Alien,1979,8\n".encode())
    assert codes(f"{head}tt0133093,The Matrix,1999,4\ntt0078748,Alien,1979,x\n") == {2: "invalid_rating"}
    assert codes("Title,Rating,Rating10\nAlien,,8\nHeat,4,\nJaws,,11\n") == {3: "invalid_rating"}


@pytest.mark.parametrize(
    ("text", "ten", "stars"),
    [
        *(("9/10", 9, 9), ("9 / 10", 9, 9), ("10/10", 10, 10), ("4.5/5", 9, 9), ("4,5/5", 9, 9), ("4/5.0", 8, 8)),
        *(("8.0", 8, None), ("8,00", 8, None), ("8.", 8, None), ("08", 8, None), ("4.0", 4, 8), ("4,5", None, 9)),
        *(("4\u00bd", None, 9), ("\u00bd", None, 1), ("5\u00bd", None, None)),
        *(
            ("\u2605" * 4 + "\u00bd", None, 9),
            ("\u2605", None, 2),
            ("\u2605" * 4 + "\u2606", None, 8),
            ("***", None, 6),
        ),
        *((stars, None, None) for stars in ("\u2605" * 6, "\u2605" * 5 + "\u00bd", "\u2606" * 5, "\u2606\u2605")),
        *((other, None, None) for other in ("8/7", "11/10", "4.25/5", "/10", "8/", "0/5", "85%", "8 stars", "1e1")),
    ],
)
def test_ratings_are_written_in_many_ways(text: str, ten: float | None, stars: float | None) -> None:
    for header, expected in ((TEN_COLUMNS, ten), ("Letterboxd URI,Rating,Date,Name,Year\n", stars)):
        rows, rejected = parse_ratings(f'{header}tt0133093,"{text}",,The Matrix,1999\n'.encode())
        assert [row.rating for row in rows] == ([] if expected is None else [expected]), header
        assert [one.code for one in rejected] == (["invalid_rating"] if expected is None else [])


@pytest.mark.parametrize("nothing", ["", "-", "N/A", "NaN", "None", "null", r"\N", "<NA>", "????"])
def test_programs_write_in_many_ways_that_there_is_no_value(nothing: str) -> None:
    ((found,), ()) = parse_ratings(f"{TEN_COLUMNS}{nothing},9,{nothing},Alien,{nothing}\n".encode())
    assert found == row(1, 9.0, title="Alien")
    ((), (rejected,)) = parse_ratings(f"{TEN_COLUMNS}tt0133093,{nothing},,Alien,1979\n".encode())
    assert rejected.detail == "the row has no rating"
    assert parse_ratings(f"{TEN_COLUMNS}x,9,0000-00-00,Alien,0\n".encode())[0] == [found]


@pytest.mark.parametrize(
    "year", ["1999.0", "1999,00", "1999-03-31", "(1999)", "1999\u2013", "31.03.1999", "'1999", "c. 1999"]
)
def test_a_year_may_be_part_of_other_text(year: str) -> None:
    assert parse_ratings(f'{TEN_COLUMNS}x,9,,The Matrix,"{year}"\n'.encode()) == ([row(1, 9.0, **THE_MATRIX)], [])


@pytest.mark.parametrize("year", ["99", "1999-2003", "soon", "19990331", "1999" + " " * 40 + "x"])
def test_other_text_is_not_a_year(year: str) -> None:
    assert codes(f"{TEN_COLUMNS}x,9,,The Matrix,{year}\n") == {1: "invalid_row"}


def test_the_year_may_follow_the_title_in_parentheses() -> None:
    head = "rated_at,title,rating"
    found = [row(1, 9.0, title="The Matrix", alt_titles=("The Matrix (1999)",), year=1999)]
    assert parse_ratings(f"{head}\n,The Matrix (1999),9\n".encode())[0] == found
    assert parse_ratings(f"{head},year\n,The Matrix (1999),9,1999\n".encode())[0] == found
    for title, year in (("Alien (1979)", "2003"), ("(1999)", ""), ("Run (II)", "2020")):
        (other,) = parse_ratings(f"{head},year\n,{title},9,{year}\n".encode())[0]
        assert (other.identity.title, other.identity.alt_titles) == (title, ())


def test_an_imdb_id_may_be_a_url_or_stand_in_the_column_of_urls() -> None:
    url = "https://www.imdb.com/title/tt0133093/"
    for text in (
        f"{TEN_COLUMNS}{url},9,,,\n",
        f"Const,URL,Your Rating\n,{url},9\n",
        f"URL,You rated\n{url},9\n",
        f"your_rating,url\n9,{url}\n",
        'Const,Your Rating\n="tt0133093","=""9"""\n',
    ):
        assert parse_ratings(text.encode()) == ([row(1, 9.0, imdb_id="tt0133093")], []), text


def test_a_list_without_ratings_is_rejected_with_this_reason() -> None:
    for header in ("Date,Name,Year,Letterboxd URI", "Position,Const,Title", "movieId,title,genres"):
        with pytest.raises(InvalidBody, match="without your ratings"):
            parse_ratings(f"{header}\n1,2,3,4\n".encode())


def test_a_letterboxd_file_without_addresses_has_stars() -> None:
    head = "Date,Name,Year,Rating\n2016-03-04,"
    assert parse_ratings(f"{head}The Matrix,1999,4.5\n".encode())[0] == [row(1, 9.0, (2016, 3, 4), **THE_MATRIX)]
    with pytest.raises(InvalidBody, match="Rating10"):
        parse_ratings(f"{head}The Matrix,1999,9\n".encode())
    assert codes(f"{head}The Matrix,1999,9/10\n") == {}


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252", "utf-8-sig twice"]
)
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_spreadsheets_write_other_encodings_and_separators(encoding: str, separator: str) -> None:
    lines = [["Const", "Your Rating", "Date Rated", "Title", "Year", "IMDb Rating"]]
    lines.append(["tt0211915", "9", "04.03.2016", "Am\u00e9lie", "2001", '"8,3"'])
    text = "\r\n".join(map(separator.join, lines)) + "\r\n"
    mark, encoding = ("\N{BYTE ORDER MARK}", "utf-8-sig") if "twice" in encoding else ("", encoding)
    expected = [row(1, 9.0, (2016, 3, 4), imdb_id="tt0211915", title="Am\u00e9lie", year=2001)]
    for head in ("", f"sep={separator}\r\n", f'"SEP={separator}"{separator * 5}\r\n', "\r\n", f"{separator * 5}\r\n"):
        assert parse_ratings((mark + head + text).encode(encoding)) == (expected, []), head


def test_spreadsheets_write_decimal_commas() -> None:
    text = "Date;Name;Year;Letterboxd URI;Rating\n2016-03-04;Heat;1995,0;u;4,5\n"
    assert parse_ratings(text.encode())[0] == [row(1, 9.0, (2016, 3, 4), title="Heat", year=1995, page="u")]


def test_spreadsheets_take_ids_for_numbers() -> None:
    rows = '5,34583,289.0,4,3,"Casablanca (1942)"\n5,"34583,0",0,4,3,"Casablanca (1942)"\n5,x,1.5,4,3,Heat (1995)\n'
    identities = [one.identity for one in parse_ratings((MOVIELENS.splitlines()[0] + "\n" + rows).encode())[0]]
    assert [(one.imdb_id, one.tmdb_id) for one in identities] == [
        ("tt0034583", "289"),
        ("tt0034583", None),
        (None, None),
    ]


def test_days_and_months_are_told_apart_by_their_column() -> None:
    rows = "tt0133093,9,3/4/2016,The Matrix,1999\n", "tt0078748,8,3/24/2016,Alien,1979\n"
    assert [one.rated_at for one in parse_ratings((TEN_COLUMNS + rows[0] + rows[1]).encode())[0]] == [
        datetime(2016, 3, 4, tzinfo=UTC),
        datetime(2016, 3, 24, tzinfo=UTC),
    ]
    assert codes(TEN_COLUMNS + rows[0]) == {1: "invalid_row"}


def test_a_row_with_an_unusable_rating_still_names_its_movie() -> None:
    text = TEN_COLUMNS + "tt0133093,,2016-03-04,The Matrix,1999\ntt0078748,8,never,Alien,1979\nx,9,2016-03-04,,\n"
    rejected = parse_ratings(text.encode())[1]
    assert [one.identity and one.identity.imdb_id for one in rejected] == ["tt0133093", "tt0078748", None]


@given(st.sampled_from([IMDB, LETTERBOXD, MOVIELENS, DATA_SET]), st.data())
def test_columns_may_be_in_any_order(file: str, data: st.DataObject) -> None:
    header, first = (next(csv.reader([line])) for line in file.splitlines()[:2])
    order = data.draw(st.permutations(range(len(header))))
    output = io.StringIO()
    csv.writer(output).writerows([[cells[position] for position in order] for cells in (header, first)])
    original = f"{file.splitlines()[0]}\n{file.splitlines()[1]}\n"
    assert parse_ratings(output.getvalue().encode()) == parse_ratings(original.encode())


@given(
    files(),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le"]),
    st.sampled_from([",", ";", "\t"]),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
)
def test_every_row_of_any_file_about_movies_of_the_catalogue_is_matched(
    file: tuple[list[Movie], list[MovieIdentity]], encoding: str, separator: str, end: str, quoting: Any
) -> None:
    movies, identities = file
    output = io.StringIO()
    writer = csv.writer(output, delimiter=separator, lineterminator=end, quoting=quoting)
    writer.writerow(["Const", "Your Rating", "Title", "Original Title", "Year", "Title Type"])
    for identity in identities:
        titles = identity.title, identity.original_title or ""
        writer.writerow([identity.imdb_id or "", "8", *titles, f"{identity.year}.0", "Movie"])
    rows, rejected = parse_ratings(output.getvalue().encode(encoding))
    index = MovieIndex(movies)
    matches = reconcile([row.identity for row in rows], [index.match(row.identity) for row in rows])
    assert [match.movie.id for match in matches if isinstance(match, MovieMatch)] == [movie.id for movie in movies]
    assert rejected == []


HEADERS = [text.splitlines()[0] for text in (IMDB, LETTERBOXD, MOVIELENS, DATA_SET)]
CELLS = st.one_of(
    st.text(max_size=20),
    st.sampled_from(
        ["", "5", "4.5", "1999", "tt0133093", "2024-02-29", "964982703", "1e400", "9" * 30, '"', "\n", "("]
    ),
)


@given(st.sampled_from(HEADERS), st.lists(st.lists(CELLS, max_size=15), max_size=8), st.binary(max_size=20))
@example(HEADERS[3], [["1", "1", "4", "9" * 30]], b"")
@example(HEADERS[2], [["1", "", "", "5", "", "(" * 500]], b"")
@example(HEADERS[1], [["0001-01-01", "x", "0000", "", "5"]], b"")
def test_any_file_is_parsed_or_rejected(header: str, rows: list[list[str]], tail: bytes) -> None:
    text = "\n".join([header, *(",".join(cells) for cells in rows)]) + "\n"
    try:
        read, rejected = parse_ratings(text.encode("utf-8", "replace") + tail)
    except (InvalidBody, SeveralUsers, UnclosedQuote):
        return
    numbers = sorted([one.row for one in read] + [one.row for one in rejected])
    assert numbers == list(range(1, len(numbers) + 1))
    assert all(check_rating(one.rating) for one in read)
    assert all(one.identity.imdb_id or one.identity.tmdb_id or one.identity.titles for one in read)
    assert all(len(one.detail) <= 200 for one in rejected)


@given(st.binary())
def test_any_bytes_are_parsed_or_rejected(body: bytes) -> None:
    try:
        parse_ratings(body)
    except (InvalidBody, UnclosedQuote):
        return
