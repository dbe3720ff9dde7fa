"""Import of movie files: every form, every reason to reject a row, and unsupported files."""

import csv
import gzip
import io
import json
import lzma
import re
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from movie_adapters.catalogue.bundled import BUNDLED_FILMS
from movie_adapters.catalogue.files import MovieFile
from movie_adapters.catalogue.ids import generate_id
from movie_adapters.catalogue.streams import MAX_LINE
from movie_core.errors import InvalidParameter
from movie_core.search.movies import Movie
from movie_core.text import normalise_query

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a file into the folder of the test."""

    def write_file(content: str | bytes, name: str = "movies.csv") -> Path:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write_file


def read(path: Path) -> list[Movie]:
    file = MovieFile(path)
    movies = list(file)
    assert not file.reasons, file.rejected
    return movies


def rejects(path: Path) -> list[tuple[int, str]]:
    file = MovieFile(path)
    list(file)
    return [(rejected.row, rejected.code) for rejected in file.rejected]


# Forms


def test_csv_columns_are_found_by_name_in_any_order_and_case(write: Write) -> None:
    path = write(
        "Genres,IMDB ID,unknown,Movie_Id,TITLE,alt_titles,n_ratings,Year,Director,cast,runtime,Countries,overview\n"
        'Crime|Drama,1234567,x,a1,"Night, Falling",Nuit|Notte,12,1999,Jo Lee,Ann Ray|Bo Fox,95 min,France,"Dark, old"\n'
    )
    assert read(path) == [
        Movie(
            id="a1",
            title="Night, Falling",
            year=1999,
            genres=("Crime", "Drama"),
            alt_titles=("Nuit", "Notte"),
            popularity=12.0,
            imdb_id="tt1234567",
            directors=("Jo Lee",),
            cast=("Ann Ray", "Bo Fox"),
            runtime_minutes=95,
            countries=("France",),
            overview="Dark, old",
        )
    ]


def test_quotes_commas_and_line_ends_within_a_csv_cell_are_preserved(write: Write) -> None:
    path = write('title,year\r\n"Say ""Yes"", now",2001\r\n"Two\r\nlines",2002\r\nThree,2003\r\n')
    assert [(movie.title, movie.year) for movie in read(path)] == [
        ('Say "Yes", now', 2001),
        ("Two lines", 2002),
        ("Three", 2003),
    ]


def test_a_semicolon_may_be_the_delimiter(write: Write) -> None:
    assert [movie.title for movie in read(write("title;year\nHello, You;1999\n"))] == ["Hello, You"]


def test_title_is_the_only_required_column(write: Write) -> None:
    assert [movie.title for movie in read(write("title\nAlone\n\nAgain\n"))] == ["Alone", "Again"]


def test_tsv_preserves_quotes_except_those_of_spreadsheets(write: Write) -> None:
    path = write('title\tyear\n"Quo" Vadis\t1999\n"Fish, Fried"\t2000\n"The ""Best"""\t2001\n5" Gun\t\n', "m.tsv")
    assert [movie.title for movie in read(path)] == ['"Quo" Vadis', "Fish, Fried", 'The "Best"', '5" Gun']


def test_json_lines_may_use_lists_numbers_and_objects_with_names(write: Write) -> None:
    lines = [
        {"id": 7, "Title": "Seven Hills", "year": 1987, "genres": ["War", "Drama"], "popularity": 3.5, "cast": None},
        {"id": "8", "title": "Nine", "release_date": "2009-12-25", "genres": [{"id": 1, "name": "Musical"}], "x": [[]]},
        {"title": "Ten", "alt_titles": "Dix|Zehn", "directors": ["Bo Derk"]},
    ]
    first, second, third = read(write("\n".join(map(json.dumps, lines)), "movies.jsonl"))
    assert first == Movie(id="7", title="Seven Hills", year=1987, genres=("War", "Drama"), popularity=3.5)
    assert (second.id, second.year, second.genres) == ("8", 2009, ("Musical",))
    assert (third.id, third.alt_titles, third.directors) == ("ten-bo-derk", ("Dix", "Zehn"), ("Bo Derk",))


@pytest.mark.parametrize("pack", [bytes, gzip.compress, lzma.compress])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_compression_and_byte_order_mark_are_optional(write: Write, pack: Callable[[bytes], bytes], mark: str) -> None:
    path = write(pack(f"{mark}title,year\nÉté,1999\n".encode()), "movies.data")
    assert [(movie.title, movie.year) for movie in read(path)] == [("Été", 1999)]


def test_several_gzip_members_are_one_file(write: Write) -> None:
    path = write(gzip.compress(b"title\nOne\n", mtime=0) + gzip.compress(b"Two\n"), "movies.csv.gz")
    assert [movie.title for movie in read(path)] == ["One", "Two"]


def test_the_examples_of_the_documentation_are_read(write: Write) -> None:
    text = (Path(__file__).parents[4] / "docs" / "catalogue.md").read_text(encoding="utf-8")
    examples = re.findall(r"```(csv|tsv|json)\n(.*?)```", text, re.DOTALL)
    assert [form for form, _ in examples] == ["csv", "tsv", "json"]
    assert [len(read(write(content, f"movies.{form}"))) for form, content in examples] == [2, 2, 2]
    assert f"{BUNDLED_FILMS:,} films" in text


# IMDb

BASICS = (
    "tconst\ttitleType\tprimaryTitle\toriginalTitle\tisAdult\tstartYear\tendYear\truntimeMinutes\tgenres\n"
    "tt0900001\tmovie\tThe Lamp\tDie Lampe\t0\t1999\t\\N\t101\tDrama,War\n"
    "tt0900002\tshort\tTiny\tTiny\t0\t1999\t\\N\t5\tShort\n"
    'tt0900003\ttvMovie\t"Quoted" Lamp\t"Quoted" Lamp\t0\t\\N\t\\N\t\\N\t\\N\n'
    "tt0900004\tmovie\tNo Child\tNo Child\t1\t2001\t\\N\t90\tAdult\n"
    "tt10900005\tmovie\tLater\tLater\t0\t2021\t\\N\t90\tDrama\n"
)
RATINGS = "tconst\taverageRating\tnumVotes\ntt10900005\t5.0\t17\ntt0900001\t7.1\t4321\ntt0900002\t6.0\t9\n"


def test_shorts_and_adult_titles_of_imdb_are_skipped(write: Write) -> None:
    file = MovieFile(write(BASICS, "title.basics.tsv"))
    lamp, quoted, later = list(file)
    assert lamp == Movie(
        id="tt0900001",
        imdb_id="tt0900001",
        title="The Lamp",
        original_title="Die Lampe",
        year=1999,
        runtime_minutes=101,
        genres=("Drama", "War"),
    )
    assert quoted == Movie(id="tt0900003", imdb_id="tt0900003", title='"Quoted" Lamp')
    assert later.original_title is None
    assert (dict(file.skipped), file.reasons.total()) == ({"title_type": 1, "adult": 1}, 0)


@pytest.mark.parametrize("is_packed", [False, True])
def test_popularity_comes_from_the_imdb_ratings_in_the_same_folder(write: Write, is_packed: bool) -> None:
    write(gzip.compress(RATINGS.encode()) if is_packed else RATINGS, f"title.ratings.tsv{'.gz' if is_packed else ''}")
    file = MovieFile(write(gzip.compress(BASICS.encode()), "title.basics.tsv.gz"))
    assert [movie.popularity for movie in file] == [4321.0, None, 17.0]
    assert file.bytes_read == file.bytes_total


def test_a_list_exported_from_imdbs_site_is_read(write: Write) -> None:
    path = write(
        "Position,Const,Title,Original Title,Title Type,IMDb Rating,Runtime (mins),Year,"
        "Genres,Num Votes,Release Date,Directors\n"
        '1,tt0900001,The Lamp,Die Lampe,Movie,7.1,101,1999,"Drama, War",4321,1999-03-01,"Jo Lee, Ann Ray"\n'
        "2,tt0900009,A Series,A Series,TV Series,7.1,45,1999,Drama,11,1999-03-01,\n"
    )
    (lamp,) = read(path)
    assert (lamp.id, lamp.imdb_id, lamp.year, lamp.popularity) == ("tt0900001", "tt0900001", 1999, 4321.0)
    assert (lamp.genres, lamp.directors) == (("Drama", "War"), ("Jo Lee", "Ann Ray"))


# MovieLens

MOVIELENS = (
    "movieId,title,genres\n"
    '901,"Lamp, The (a.k.a. Light) (Lampe, Die) (1999)",Drama|War\n'
    "902,Nothing (Something),(no genres listed)\n"
    '903,"Ombre, L\' (2001–)",Drama\n'
    "904,Babylon 5,Sci-Fi\n"
)


def test_movielens_titles_are_split_into_title_year_and_alternative_titles(write: Write) -> None:
    lamp, nothing, ombre, babylon = read(write(MOVIELENS))
    assert lamp == Movie(
        id="901", title="The Lamp", year=1999, alt_titles=("Light", "Die Lampe"), genres=("Drama", "War")
    )
    assert (nothing.title, nothing.alt_titles, nothing.genres) == ("Nothing", ("Something",), ())
    assert (ombre.title, ombre.year) == ("L'Ombre", 2001)
    assert (babylon.title, babylon.year) == ("Babylon 5", None)


def test_movielens_links_and_ratings_in_the_same_folder_are_used(write: Write) -> None:
    write("movieId,imdbId,tmdbId\n901,0900001,55\n902,,\n", "links.csv")
    write("userId,movieId,rating,timestamp\n1,901,4.0,964982703\n2,901,3.5,964982704\n2,904,3.5,9\n", "ratings.csv")
    file = MovieFile(write(MOVIELENS))
    lamp, nothing, _, babylon = list(file)
    assert (lamp.id, lamp.imdb_id, lamp.tmdb_id, lamp.popularity) == ("901", "tt0900001", "55", 2.0)
    assert (nothing.imdb_id, nothing.tmdb_id, nothing.popularity) == (None, None, 0.0)
    assert babylon.popularity == 1.0
    assert file.bytes_read == file.bytes_total > file.path.stat().st_size


def test_a_companion_file_without_its_columns_is_an_error(write: Write) -> None:
    write("a,b\n1,2\n", "links.csv")
    with pytest.raises(InvalidParameter, match=r"links\.csv lacks"):
        list(MovieFile(write(MOVIELENS)))


# Values


@pytest.mark.parametrize(
    ("cell", "year"),
    [
        ("0", None),
        ("0.0", None),
        ("1999", 1999),
        (" 1999 ", 1999),
        ("1999.0", 1999),
        ("1999-03-31", 1999),
        ("Mar 31 1999", 1999),
        ("", None),
    ],
)
def test_a_year_may_be_part_of_a_date(write: Write, cell: str, year: int | None) -> None:
    assert [movie.year for movie in read(write(f"title,year\nA,{cell}\n"))] == [year]


@pytest.mark.parametrize("cell", ["99", "soon", "1869", "2101", "19990331", "1999-2003", "-", "٢٠٠١"])
def test_an_invalid_year_is_rejected(write: Write, cell: str) -> None:
    assert rejects(write(f"title,year\nA,{cell}\n")) == [(1, "invalid_year")]


@pytest.mark.parametrize("cell", ["many", "-1", "inf", "1e300", "$5", "85%", "1.2.3"])
def test_an_invalid_popularity_is_rejected(write: Write, cell: str) -> None:
    assert rejects(write(f"title,popularity\nA,{cell}\n")) == [(1, "invalid_popularity")]


@pytest.mark.parametrize(
    ("cell", "popularity"),
    [
        *(
            ("1,234,567", 1_234_567),
            ("1.234.567", 1_234_567),
            ("1 234", 1_234),
            ("1\u00a0234", 1_234),
            ("1'234", 1_234),
        ),
        *(("21,9", 21.9), ("1.2K", 1_200), ("2.1 M", 2_100_000), ("1e5", 100_000), (" ", None)),
    ],
)
def test_popularities_are_written_in_many_ways(write: Write, cell: str, popularity: float | None) -> None:
    assert [movie.popularity for movie in read(write(f'title,popularity\nA,"{cell}"\n'))] == [popularity]


@pytest.mark.parametrize(
    ("cell", "minutes"),
    [
        *((text, 136) for text in ("136", "136.0", "136.5", "136 min", "136m", "136 Minutes", "136 mins.", "2h 16m")),
        *(
            (text, 136)
            for text in ("2h16", "2 h 16 min", "2:16", "02:16:00", "PT2H16M", "2 hours 16 minutes", "2hrs 16")
        ),
        *(("1h", 60), ("0h 45m", 45), ("PT45M", 45)),
        *((text, None) for text in ("", "0", "0 min", "h", "PT", "2 Seasons", "long", "-")),
    ],
)
def test_runtimes_are_written_in_many_ways(write: Write, cell: str, minutes: int | None) -> None:
    assert [movie.runtime_minutes for movie in read(write(f"title,runtime\nA,{cell}\n"))] == [minutes]


@pytest.mark.parametrize("nothing", ["", r"\N", "NaN", "nan", "None", "null", "NULL", "<NA>", "N/A", "NA", "NaT"])
def test_programs_write_in_many_ways_that_there_is_no_value(write: Write, nothing: str) -> None:
    columns = "id,year,genres,popularity,imdb_id,tmdb_id,director,cast,original_title,overview,runtime,country,adult"
    path = write(f"title,{columns}\nA{f',{nothing}' * 13}\n")
    assert read(path) == [Movie(id="a", title="A")]
    values = "".join(f', "{name}": {json.dumps(nothing)}' for name in columns.split(","))
    assert read(write(f'{{"title": "A"{values}}}\n', "m.jsonl")) == [Movie(id="a", title="A")]


@pytest.mark.parametrize("title", ["None", "NaN", "NULL", "N/A", "NA"])
def test_a_film_may_be_called_like_no_value(write: Write, title: str) -> None:
    assert [movie.title for movie in read(write(f"title,year\n{title},NaN\n"))] == [title]
    assert [movie.title for movie in read(write(f'{{"title": "{title}"}}\n', "m.jsonl"))] == [title]


@pytest.mark.parametrize(
    "cell", ["TT0900001", "tt 0900001", "900001.0", "https://www.imdb.com/title/tt0900001/", "'0900001"]
)
def test_an_imdb_id_has_one_form(write: Write, cell: str) -> None:
    for name in ("imdb_id", "movie_imdb_link", "imdb_title_id"):
        assert [movie.imdb_id for movie in read(write(f"title,{name}\nA,{cell}\n"))] == ["tt0900001"]


@pytest.mark.parametrize("cell", ["55", "55.0", "55.00", "https://www.themoviedb.org/movie/55-a"])
def test_a_tmdb_id_has_one_form(write: Write, cell: str) -> None:
    assert [movie.tmdb_id for movie in read(write(f"title,tmdb_id\nA,{cell}\n"))] == ["55"]


@pytest.mark.parametrize(
    "cell", ["Action|Film Noir", "Action;Film Noir", "Action, Film Noir", "Action / Film Noir", "[Action, Film Noir]"]
)
def test_genres_are_separated_in_many_ways(write: Write, cell: str) -> None:
    assert [movie.genres for movie in read(write(f'title,genres\nA,"{cell}"\n'))] == [("Action", "Film Noir")]


@pytest.mark.parametrize(
    ("cell", "names"),
    [
        ("Ann Ray, Bo Fox", ("Ann Ray", "Bo Fox")),
        ("Ann Ray, Bo Fox Senior, Cy Lee", ("Ann Ray", "Bo Fox Senior", "Cy Lee")),
        ("Sammy Davis, Jr.", ("Sammy Davis, Jr.",)),
        ("Kurosawa, Akira", ("Kurosawa, Akira",)),
        ("Ann Ray, Jr.|Bo Fox", ("Ann Ray, Jr.", "Bo Fox")),
    ],
)
def test_full_names_may_be_separated_by_commas(write: Write, cell: str, names: tuple[str, ...]) -> None:
    path = write(f'title,director,cast,alt_titles\nA,"{cell}","{cell}","The Good, the Bad and the Ugly"\n')
    (movie,) = read(path)
    assert (movie.directors, movie.cast) == (names, names)
    assert movie.alt_titles == ("The Good, the Bad and the Ugly",)


@pytest.mark.parametrize("first", ["sep=;", '"SEP=;"', "sep=;\r", "\n\nsep=;"])
def test_a_first_line_may_state_the_separator(write: Write, first: str) -> None:
    assert [movie.title for movie in read(write(f"{first}\ntitle;year\nA, B;1999\n"))] == ["A, B"]
    with pytest.raises(InvalidParameter, match="is empty"):
        MovieFile(write(f"{first}\n"))


def test_empty_cells_beyond_the_header_are_ignored(write: Write) -> None:
    assert [movie.title for movie in read(write("title,year\nA,1999,, \nB,2000\n"))] == ["A", "B"]


def test_series_in_lists_of_other_services_are_skipped(write: Write) -> None:
    rows = "".join(
        f"{type_},{title}\n"
        for type_, title in zip(("Movie", "TV Show", "tv", "Drama", "", "episode"), "ABCDEF", strict=True)
    )
    file = MovieFile(write(f"type,title\n{rows}"))
    assert [movie.title for movie in file] == ["A", "D", "E"]
    assert file.skipped == {"title_type": 3}
    assert [movie.title for movie in read(write("Title Type,title\nFeature Film,A\nDocumentary,B\nother,C\n"))] == [
        "A",
        "B",
    ]


def test_columns_of_well_known_data_sets_are_found(write: Write) -> None:
    (lamp,) = read(
        write(
            "Series_Title,Released_Year,Runtime,Genre,Overview,Director,No_of_Votes\n"
            'The Lamp,1999,81 min,Drama,A lamp.,Ann Ray,"1,234"\n'
        )
    )
    assert lamp == Movie(
        id="the-lamp-1999-ann-ray",
        title="The Lamp",
        year=1999,
        runtime_minutes=81,
        genres=("Drama",),
        overview="A lamp.",
        directors=("Ann Ray",),
        popularity=1234.0,
    )
    (series,) = read(
        write(
            "show_id,type,title,director,cast,release_year,duration,listed_in,description\n"
            's1,Movie,The Lamp,Ann Ray,"Bo Fox, Cy Lee",1999,81 min,Drama,A lamp.\n'
        )
    )
    assert series == replace(lamp, popularity=None, cast=("Bo Fox", "Cy Lee"))
    shorter = "genres,id,original_language,original_title,overview,popularity,release_date,title,vote_average\n"
    (entry,) = MovieFile(write(f"{shorter}[],7001,de,Die Lampe,x,1,1999-10-30,The Lamp,7.7\n")).listed()
    assert (entry.movie.tmdb_id, entry.has_own_id) == ("7001", False)


def test_invalid_optional_values_are_ignored(write: Write) -> None:
    path = write("title,imdb_id,tmdb_id,runtime,poster_url\nA,nm12,abc,long,javascript:alert(1)\n")
    assert read(path) == [Movie(id="a", title="A")]


def test_control_characters_and_repeated_blanks_are_removed(write: Write) -> None:
    (movie,) = read(
        write("title\tcast\tunknown\n A\x00\x07  B\u00a0\u00a0C \tX\x1b | | Y |X\t" + "-" * 200 + "\n", "m.tsv")
    )
    assert (movie.title, movie.cast) == ("A B C", ("X", "Y"))


def test_text_is_normalised_to_nfc(write: Write) -> None:
    assert [movie.title for movie in read(write("title\nE\u0301te\u0301\n"))] == ["\u00c9t\u00e9"]


def test_lists_are_bounded_and_an_overview_is_truncated(write: Write) -> None:
    cast = "|".join(f"Actor {number}" for number in range(300))
    (movie,) = read(write(f"title,cast,genres,overview\nA,{cast},{'x' * 500}|Drama,{'word ' * 2000}\n"))
    assert len(movie.cast) == 50
    assert movie.genres == ("Drama",)
    assert movie.overview is not None
    assert 4_990 < len(movie.overview) <= 5_000


# Ids


def test_an_id_is_generated_from_title_year_and_first_person(write: Write) -> None:
    path = write(
        "title,year,director,cast\n"
        "Don't Go,1999,Zoë Été,Ann Ray\nDon't Go,1999,,Ann Ray\nDon't Go,,,\nDon't Go,1999,,Ann Ray\n"
    )
    ids = ["dont-go-1999-zoe-ete", "dont-go-1999-ann-ray", "dont-go", "dont-go-1999-ann-ray-2"]
    assert [movie.id for movie in read(path)] == ids
    assert [movie.id for movie in read(path)] == ids


def test_the_imdb_id_is_the_default_id(write: Write) -> None:
    assert [movie.id for movie in read(write("title,imdb_id\nA,900001\nB,\n"))] == ["tt0900001", "b"]


def test_generated_ids_of_titles_in_other_scripts_differ() -> None:
    first, second = generate_id("七人の侍", 1954, None), generate_id("羅生門", 1954, None)
    assert first != second
    assert first.isascii()
    assert first.endswith("-1954")
    assert generate_id("!!!", None, None)


def test_thousands_of_equal_rows_get_distinct_ids(write: Write) -> None:
    movies = read(write("title\n" + "Same\n" * 20_000))
    assert len({movie.id for movie in movies}) == 20_000


# Rejected rows


def test_invalid_rows_are_counted_by_reason_and_valid_rows_are_read(write: Write) -> None:
    long = "x" * 501
    rows = [
        b"1,Good,1999",
        b"2,,1999",
        b"3,Bad Year,soon",
        b"1,Again,1999",
        b"4,Too,Many,Columns",
        b"5,Few",
        b"6,\xff\xfe,1999",
        f"7,{long},1999".encode(),
        b"\x07,Bell,1999",
        f"{'9' * 201},Long id,1999".encode(),
        b"10," + b"y" * (2 * MAX_LINE) + b",1999",
        b"11,Good Too,2000",
    ]
    file = MovieFile(write(b"id,title,year\n" + b"\n\n".join(rows) + b"\n"))
    assert [movie.title for movie in file] == ["Good", "Good Too"]
    assert [(rejected.row, rejected.code) for rejected in file.rejected] == [
        (2, "no_title"),
        (3, "invalid_year"),
        (4, "repeated_id"),
        (5, "wrong_columns"),
        (6, "wrong_columns"),
        (7, "bad_utf8"),
        (8, "too_long"),
        (9, "invalid_id"),
        (10, "invalid_id"),
        (11, "line_too_long"),
    ]
    assert (file.rows, file.movies, file.reasons["invalid_id"]) == (12, 2, 2)
    assert all(rejected.detail.isprintable() and len(rejected.detail) < 300 for rejected in file.rejected)


def test_only_the_first_rejected_rows_are_stored_but_all_are_counted(write: Write) -> None:
    file = MovieFile(write("title,year\n" + "A,soon\n" * 100), max_rejected=3)
    assert list(file) == []
    assert [rejected.row for rejected in file.rejected] == [1, 2, 3]
    assert file.reasons == {"invalid_year": 100}


def test_an_unclosed_quote_rejects_only_its_own_row(write: Write) -> None:
    rows = "".join(f"Film {number},1999\n" for number in range(500))
    file = MovieFile(write(f'title,year\nFirst,1998\n"Open,1999\n{rows}'))
    assert [movie.title for movie in file] == ["First", *(f"Film {number}" for number in range(500))]
    assert [(rejected.row, rejected.code) for rejected in file.rejected] == [(2, "unclosed_quote")]


@pytest.mark.parametrize("line", ["not json", "[1]", '{"title": ', '{"title": "A"} x', "[" * 100_000, "1" * 5_000])
def test_a_line_that_is_not_a_json_object_is_rejected(write: Write, line: str) -> None:
    file = MovieFile(write(f'{{"title": "A"}}\n{line}\n{{"title": "B"}}\n', "m.jsonl"))
    assert [movie.title for movie in file] == ["A", "B"]
    assert [(rejected.row, rejected.code) for rejected in file.rejected] == [(2, "bad_json")]


@pytest.mark.parametrize("value", ["true", "[]", "{}", "null", '""', '"\\u0000"'])
def test_an_empty_json_title_is_rejected(write: Write, value: str) -> None:
    expected = [] if value == "true" else [(1, "no_title")]  # a film may be called true
    assert rejects(write(f'{{"title": {value}}}\n', "m.jsonl")) == expected


def test_a_lone_surrogate_in_json_is_removed(write: Write) -> None:
    (movie,) = read(write('{"title": "A \\ud800 B"}\n', "m.jsonl"))
    assert movie.title == "A B"


# Unsupported files


@pytest.mark.parametrize(
    ("content", "name", "reason"),
    [
        (b"", "m.csv", "is empty"),
        (b"\n \n", "m.csv", "is empty"),
        (b"\xef\xbb\xbf", "m.csv", "is empty"),
        (gzip.compress(b"", mtime=0), "m.csv.gz", "is empty"),
        (b"name_of_film,year\nA,1999\n", "m.csv", "no column `title`"),
        (b"title,year\n", "m.csv.gz", "named as if gzipped"),
        (b"title,year\n", "m.csv.xz", "named as if xz"),
        (b"PK\x03\x04rest", "m.xlsx", "Excel"),
        (b"\x00\x01\x02binary", "m.csv", "is not text"),
        ("title,year\n".encode("utf-16"), "m.csv", "UTF-16"),
        (b"title,ann\xe9e\nA,1999\n", "m.csv", "is not UTF-8"),
        (b'[{"title": "A"}]', "m.json", "JSON array"),
        (b"title,year\rA,1999\r", "m.csv", "line ends"),
        (b"tconst\taverageRating\tnumVotes\n", "title.ratings.tsv", "has no titles"),
        (b"movieId,imdbId,tmdbId\n", "links.csv", "has no titles"),
    ],
)
def test_an_unsupported_file_is_rejected_with_one_sentence(
    write: Write, content: bytes, name: str, reason: str
) -> None:
    with pytest.raises(InvalidParameter) as caught:
        MovieFile(write(content, name))
    assert reason in caught.value.detail
    assert name in caught.value.detail
    assert caught.value.field == "FILE"
    assert "\n" not in caught.value.detail


def test_a_missing_file_and_a_directory_are_rejected(tmp_path: Path) -> None:
    with pytest.raises(InvalidParameter, match="does not exist"):
        MovieFile(tmp_path / "missing.csv")
    with pytest.raises(InvalidParameter, match="is not a file"):
        MovieFile(tmp_path)
    with pytest.raises(InvalidParameter, match="can't be read"):
        MovieFile(tmp_path / ("x" * 5_000))


@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress])
def test_a_truncated_compressed_file_is_rejected_at_its_end(write: Write, pack: Callable[[bytes], bytes]) -> None:
    rows = "".join(f"Film {number * 7919 % 100_003},1999\n" for number in range(20_000))
    file = MovieFile(write(pack(f"title,year\n{rows}".encode())[:-2_000], "m.csv"))
    with pytest.raises(InvalidParameter, match="truncated or damaged"):
        for _ in file:
            pass
    assert file.movies > 1_000


# Size


def test_a_huge_line_and_a_gzip_bomb_are_not_loaded_into_memory(write: Write) -> None:
    content = io.BytesIO()
    with gzip.open(content, "wb", compresslevel=1) as packed:
        packed.write(b"title\nA\n")
        for _ in range(64):
            packed.write(bytes(1 << 20))
        packed.write(b"\nB\n")
    path = write(content.getvalue(), "m.csv.gz")
    tracemalloc.start()
    try:
        # The header line is short; the NUL bytes of the gzip bomb are not text.
        with pytest.raises(InvalidParameter, match="is not text"):
            MovieFile(path)
        content = io.BytesIO()
        with gzip.open(content, "wb", compresslevel=1) as packed:
            packed.write(b"title\nA\n" + b"x" * (1 << 26) + b"\nB\n")
        path.write_bytes(content.getvalue())
        del content
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        file = MovieFile(path)
        assert [movie.title for movie in file] == ["A", "B"]
        assert tracemalloc.get_traced_memory()[1] - before < 8 * (1 << 20)
    finally:
        tracemalloc.stop()
    assert file.reasons == {"line_too_long": 1}


def test_progress_is_reported_in_bytes(write: Write) -> None:
    file = MovieFile(write("title\n" + "".join(f"Film {number}\n" for number in range(50_000))))
    seen = [file.bytes_read for _ in file]
    assert seen == sorted(seen)
    assert 0 < seen[0] < seen[-1] <= file.bytes_total == file.bytes_read


def test_a_file_can_be_read_again(write: Write) -> None:
    file = MovieFile(write("id,title\n1,A\n1,B\n"))
    assert list(file) == list(file)
    assert (file.rows, file.movies, len(file.rejected)) == (2, 1, 1)


# Round trip

WORDS = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zs", "Zl", "Zp"], exclude_characters="|"), min_size=1)
TEXT = st.lists(WORDS, min_size=1, max_size=4).map(" ".join).map(normalise_query)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    rows=st.lists(st.tuples(TEXT, st.integers(1870, 2100), st.lists(TEXT, max_size=3, unique=True)), min_size=1),
    form=st.sampled_from(["csv", "tsv", "jsonl"]),
)
@example(rows=[('"A" and "B"', 1999, ['"'])], form="csv")
@example(rows=[('"A', 1999, ['""'])], form="tsv")
def test_written_movies_are_read_back(tmp_path: Path, rows: list[tuple[str, int, list[str]]], form: str) -> None:
    path = tmp_path / f"movies.{form}"
    with path.open("w", encoding="utf-8", newline="") as out:
        if form == "jsonl":
            for number, (title, year, cast) in enumerate(rows):
                out.write(json.dumps({"id": f"m{number}", "title": title, "year": year, "cast": cast}) + "\n")
        else:
            writer = csv.writer(out, delimiter="\t" if form == "tsv" else ",")
            writer.writerow(["id", "title", "year", "cast"])
            writer.writerows(
                [f"m{number}", title, year, "|".join(cast)] for number, (title, year, cast) in enumerate(rows)
            )
    assert read(path) == [
        Movie(id=f"m{number}", title=title, year=year, cast=tuple(cast))
        for number, (title, year, cast) in enumerate(rows)
    ]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(body=st.binary(max_size=400), header=st.sampled_from([b"title,year\n", b"id\ttitle\n", b'{"title": "A"}\n']))
def test_any_bytes_are_read_or_rejected(tmp_path: Path, body: bytes, header: bytes) -> None:
    path = tmp_path / "movies"
    path.write_bytes(header + body)
    try:
        file = MovieFile(path)
        movies = list(file)
    except InvalidParameter:
        return
    assert len(movies) + file.reasons.total() == file.rows
    for movie in movies:
        assert movie.title.strip()
        assert normalise_query(movie.title[:200]) is not None


# Fields and identity of an import


def listed(path: Path, *, adult: bool = False) -> list[tuple[str, set[str], bool]]:
    file = MovieFile(path, adult=adult)
    entries = [(entry.movie.id, set(entry.fields), entry.has_own_id) for entry in file.listed()]
    assert not file.reasons, file.rejected
    return entries


def test_the_fields_of_a_list_are_its_columns(write: Write) -> None:
    (entry,) = listed(write("id,title,year,runtime,country,unknown\nm1,A,,90,Peru,x\n"))
    assert entry == ("m1", {"title", "year", "runtime_minutes", "countries"}, True)
    (generated,) = listed(write("id,title\n,A\n"))
    assert generated == ("a", {"title"}, False)


def test_the_fields_of_json_lines_are_those_of_each_line(write: Write) -> None:
    first, second = listed(write('{"id": 1, "title": "A", "year": null}\n{"title": "B", "plot": "C"}\n', "m.jsonl"))
    assert first == ("1", {"title", "year"}, True)
    assert second == ("b", {"title", "overview"}, False)


def test_companion_files_add_fields_and_the_ids_of_other_providers_are_not_own_ones(write: Write) -> None:
    assert listed(write(MOVIELENS))[0] == ("901", {"title", "year", "alt_titles", "genres"}, False)
    write("movieId,imdbId,tmdbId\n901,0900001,55\n902,0,0\n", "links.csv")
    write("userId,movieId,rating,timestamp\n1,901,4.0,964982703\n", "ratings.csv")
    fields = {"title", "year", "alt_titles", "genres", "imdb_id", "tmdb_id", "popularity"}
    assert listed(write(MOVIELENS))[0] == ("901", fields, False)
    imdb = listed(write(BASICS, "title.basics.tsv"))[0]
    assert imdb == ("tt0900001", {"title", "original_title", "year", "runtime_minutes", "genres", "imdb_id"}, False)


@pytest.mark.parametrize("cell", ["0", "0.0", "", "0000000", "tt0000000", "00"])
def test_zero_and_empty_are_not_ids(write: Write, cell: str) -> None:
    assert read(write(f"id,title,imdb_id,tmdb_id\nz1,A,{cell},{cell}\n")) == [Movie(id="z1", title="A")]


def test_an_imdb_id_of_an_earlier_row_is_a_repeated_id(write: Write) -> None:
    assert rejects(write("id,title,imdb_id\n1,A,tt0900001\n2,B,900001\n3,C,\n4,D,\n")) == [(2, "repeated_id")]


@pytest.mark.parametrize(
    ("cell", "names"),
    [
        ("[{'id': 28, 'name': 'Action'}, {'id': 18, 'name': 'Drama'}]", ("Action", "Drama")),
        ('[{"id": 28, "name": "Action"}]', ("Action",)),
        ('["Action", "Drama", "Action"]', ("Action", "Drama")),
        ("['Action', \"Children's\"]", ("Action", "Children's")),
        ('{"id": 28, "name": "Action"}', ("Action",)),
        ("[]", ()),
        ("[REC]", ("[REC]",)),
        ("[1]", ("[1]",)),
        ("[{'name': 'Action'}, {'id': 12, 'na", ("Action",)),
        ("[{'id': nan, 'name': 'Action'}, {'name': null}]", ("Action",)),
        ('[{"name": null}, {"name": "Drama"}]', ("Drama",)),
        ("[{'id': 28, 'name': None}]", ()),
        ("[None]", ()),
        ("[{'id': 28", ()),
        ('{"/m/1": "Drama", "/m/2": "Action"}', ("Drama", "Action")),
        ("['Action' 'Drama']", ("Action", "Drama")),
        ("[" * 150, ("[" * 150,)),
    ],
)
def test_json_in_cells_is_parsed(write: Write, cell: str, names: tuple[str, ...]) -> None:
    quoted = cell.replace('"', '""')
    (movie,) = read(write(f'title,genres,cast,country\nA,"{quoted}","{quoted}","{quoted}"\n'))
    assert (movie.genres, movie.cast, movie.countries) == (names, names, names)


TMDB = (
    "adult,belongs_to_collection,genres,id,imdb_id,original_language,original_title,overview,popularity,"
    "production_countries,release_date,runtime,title,vote_average\n"
    "False,,\"[{'id': 16, 'name': 'Animation'}]\",7001,tt0900001,de,Die Lampe,A lamp.,21.9,"
    "\"[{'iso_3166_1': 'DE', 'name': 'Germany'}]\",1999-10-30,81.0,The Lamp,7.7\n"
    "True,,[],7002,tt0900002,en,Adults,x,0.5,[],1999-10-30,81.0,Adults,7.7\n"
)


def test_a_data_set_of_tmdb_is_read(write: Write) -> None:
    file = MovieFile(write(TMDB))
    (lamp,) = file
    assert lamp == Movie(
        id="7001",
        title="The Lamp",
        original_title="Die Lampe",
        year=1999,
        genres=("Animation",),
        countries=("Germany",),
        overview="A lamp.",
        popularity=21.9,
        runtime_minutes=81,
        imdb_id="tt0900001",
        tmdb_id="7001",
    )
    assert (file.skipped, file.reasons) == ({"adult": 1}, {})
    assert [movie_id for movie_id, _, is_own in listed(write(TMDB), adult=True) if not is_own] == ["7001", "7002"]


@pytest.mark.parametrize("cell", ["1", "True", "true", "TRUE", "1.0", "yes", "'true'", "WAHR", "VRAI"])
def test_titles_for_adults_are_skipped_unless_requested(write: Write, cell: str) -> None:
    path = write(f"title,adult\nA,{cell}\nB,False\nC,0\nD,\n")
    assert [movie.title for movie in read(path)] == ["B", "C", "D"]
    assert [movie.title for movie in MovieFile(path, adult=True)] == ["A", "B", "C", "D"]
    json_lines = write('{"title": "A", "adult": true}\n{"title": "B", "adult": false}\n', "m.jsonl")
    assert [movie.title for movie in read(json_lines)] == ["B"]


def test_remarks_in_a_list_of_imdb_are_not_overviews(write: Write) -> None:
    (lamp,) = read(write("Position,Const,Description,Title\n1,tt0900001,seen twice,The Lamp\n"))
    assert lamp.overview is None


def test_films_of_the_same_name_in_a_list_of_letterboxd_have_ids_that_depend_on_the_film(write: Write) -> None:
    rows = [f"2024-01-0{day},The Night,2020,https://boxd.it/{uri},\n" for day, uri in enumerate(("aa", "bb", "aA"), 1)]
    header = "Date,Name,Year,Letterboxd URI,Description\n"
    ids = [movie.id for movie in read(write(header + "".join(rows)))]
    assert len(set(ids)) == 3
    assert [movie.id for movie in read(write(header + "".join(reversed(rows))))] == ids[::-1]
