"""Tables as people upload them: archives, encodings, separators and quotes."""

import io
import tracemalloc
import zipfile
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from movie_core.discovery.tables import MAX_UNPACKED, decode, read_table, unpack
from movie_core.errors import InvalidBody, UnclosedQuote

RATINGS = b"Date,Name,Year,Letterboxd URI,Rating\n,Heat,1995,u,4\n"


def zipped(files: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    body = io.BytesIO()
    with zipfile.ZipFile(body, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return body.getvalue()


def table(text: str) -> list[list[str]]:
    """The rows of a table with the columns a, b and c."""
    return list(read_table(text, lambda names: names == ["a", "b", "c"] or None)[2])


# --- archives


@pytest.mark.parametrize(
    "files",
    [
        {"ratings.csv": RATINGS},
        {"profile.csv": b"x", "diary.csv": b"x", "ratings.csv": RATINGS, "likes/films.csv": b"x"},
        {"deleted/ratings.csv": b"x", "orphaned/ratings.csv": b"x", "Ratings.CSV": RATINGS},
        {"letterboxd-ann/": b"", "letterboxd-ann/ratings.csv": RATINGS, "letterboxd-ann/lists/ratings.csv": b"x"},
        {"ratings-shows.json": b"x", "ratings-movies.json": RATINGS, "watched-movies.json": b"x"},
        {"__MACOSX/._export.csv": b"x", "export.csv": RATINGS, "readme.md": b"x"},
    ],
)
def test_the_ratings_of_an_archive_are_found(files: Mapping[str, bytes]) -> None:
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        assert unpack(zipped(files, method)) == RATINGS


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"watched.csv": b"x", "diary.csv": b"x"},
        {"deleted/ratings.csv": b"x"},
        {"ann/ratings.csv": b"x", "bob/ratings.csv": b"x"},
        {"[Content_Types].xml": b"x", "xl/workbook.xml": b"x"},
        {"ratings.csv": b"x" * (MAX_UNPACKED + 1)},
    ],
)
def test_an_archive_without_one_file_of_ratings_is_rejected(files: Mapping[str, bytes]) -> None:
    with pytest.raises(InvalidBody):
        unpack(zipped(files))


def test_a_damaged_archive_is_rejected() -> None:
    body = zipped({"ratings.csv": RATINGS}, zipfile.ZIP_STORED)
    encrypted = bytearray(zipped({"ratings.csv": RATINGS}))
    for signature, flags in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
        encrypted[encrypted.index(signature) + flags] |= 1
    for damaged in (
        b"PK\x03\x04\x14" + bytes(41),
        body[: len(body) // 2],
        body[:-1],
        body.replace(b"Heat", b"Ears"),
        bytes(encrypted),
        *(zipped({"ratings.csv": RATINGS}, method) for method in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)),
    ):
        with pytest.raises(InvalidBody):
            unpack(damaged)


@given(st.data())
def test_any_archive_is_read_or_rejected(data: st.DataObject) -> None:
    body = bytearray(zipped({"ratings.csv": RATINGS, "diary.csv": b"x"}))
    for position in data.draw(st.lists(st.integers(4, len(body) - 1), max_size=4)):
        body[position] = data.draw(st.integers(0, 255))
    try:
        unpack(bytes(body))
    except InvalidBody:
        return


def test_an_archive_that_unpacks_to_much_more_takes_no_more_memory() -> None:
    bomb = zipped({"ratings.csv": bytes(200_000_000)})
    assert len(bomb) < 250_000
    tracemalloc.start()
    try:
        with pytest.raises(InvalidBody):
            unpack(bomb)
        assert tracemalloc.get_traced_memory()[1] < 5 * MAX_UNPACKED
    finally:
        tracemalloc.stop()


def test_other_bodies_are_not_archives() -> None:
    for body in (b"", b"PK", RATINGS):
        assert unpack(body) is body


# --- encodings


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252"])
@pytest.mark.parametrize("text", ["a,b\nAm\u00e9lie,1", "a,\u201eb\u201c\n"])
def test_the_encoding_is_recognised(encoding: str, text: str) -> None:
    assert decode(text.encode(encoding)) == text


def test_lines_may_be_in_different_encodings() -> None:
    text = "title\nAm\u00e9lie\r\nL\u00e9on\n"
    assert (
        decode(
            b"".join(
                line.encode(code)
                for line, code in zip(text.splitlines(True), ("utf-8", "cp1252", "utf-8"), strict=True)
            )
        )
        == text
    )


def test_a_file_that_ends_within_a_character_is_truncated() -> None:
    text = "title\nAm\u00e9lie\nL\u00e9on"
    for body in (text.encode()[:-3], text.encode("utf-16")[:-1], text.encode("utf-8-sig")[:-3]):
        with pytest.raises(UnclosedQuote, match="line 3"):
            decode(body)
    assert decode("title\nL\u00e9".encode("cp1252")) == "title\nL\u00e9"


@pytest.mark.parametrize("body", [b"\x81", b"\xef\xbb\xbf\xff", b"\xff\xfe\x00\xdc\x00\xdc"])
def test_another_encoding_is_rejected(body: bytes) -> None:
    with pytest.raises(InvalidBody):
        decode(body)


# --- quotes


@pytest.mark.parametrize(
    ("rows", "line"),
    [
        ('1,2,"3\n4,5,6\n7,8,9\n', 2),
        ('1,2,3\n4,"5,6\n7,8,9\n', 3),
        ('1,2,"3"\n\n4,"5\n6",7\n8,9,"10\n11,12,13\n', 6),
        ('1,2,3\n4,5,"6\n7,"8",9\n10,11,12\n', 3),  # the quote of the next line closes it
        ('1,2,3\n4,5,"6""\n', 3),
        ('1,2,"', 2),
        ('1,2,"' + "3" * 200_000 + "\n4,5,6\n", 2),
        ('1,a"b,"c\n', 2),
        ('1,"2" "3\n', 2),
    ],
)
def test_an_unclosed_quote_is_rejected_with_its_line(rows: str, line: int) -> None:
    for end in ("\n", "\r\n", "\r"):
        with pytest.raises(UnclosedQuote, match=f"line {line} ") as caught:
            table(f"a,b,c\n{rows}".replace("\n", end))
        assert caught.value.field == str(line)
    with pytest.raises(UnclosedQuote, match=f"line {line + 2} "):
        table(f"sep=,\n\na,b,c\n{rows}")


def test_quotes_within_a_line_that_are_not_doubled_lose_no_row() -> None:
    assert table('a,b,c\n1,"2 "x" 3",4\n5,6" tall,\n"7" ,8,9\n8,9,10\n') == [
        ["1", '2 x" 3"', "4"],
        ["5", '6" tall', ""],
        ["7 ", "8", "9"],
        ["8", "9", "10"],
    ]


@pytest.mark.parametrize("rows", ["1,2,3\n4,5", "1", "1,2,3\n4,5,6\n7", "1,2,3\n\n4"])
def test_a_file_that_ends_within_a_row_is_truncated(rows: str) -> None:
    with pytest.raises(UnclosedQuote, match="the file ends within line"):
        table(f"a,b,c\n{rows}")
    assert len(table(f"a,b,c\n{rows}\n")) == len(rows.split())


def test_programs_may_omit_empty_cells_of_all_rows() -> None:
    assert table("a,b,c,\n1,2\n3,4,5\n6,7") == [["1", "2"], ["3", "4", "5"], ["6", "7"]]
    assert table("a,b,c,,\n1,2,3") == [["1", "2", "3"]]


def test_a_caption_may_precede_the_names_of_columns() -> None:
    for caption in ("Table 1\n", "Table 1,,\n\n", "\n\n\n"):
        assert table(f"{caption}a,b,c\n1,2,3\n") == [["1", "2", "3"]]
    with pytest.raises(InvalidBody):
        table("1,2,3\na,b,c\n1,2,3\n")
    with pytest.raises(InvalidBody):
        table("x\n" * 10 + "a,b,c\n1,2,3\n")


def test_lines_that_a_spreadsheet_took_for_single_cells_are_split_again() -> None:
    rows = '1,2,3\n"4,""5, x"",6"\n"7,8,9"\n'
    expected = [["1", "2", "3"], ["4", "5, x", "6"], ["7", "8", "9"]]
    assert table(f"a,b,c\n{rows}") == table(f'"a,b,c"\n{rows}') == expected
    assert table('a,b,c\n"1,\n2"\n') == [["1,\n2"]]
    only = read_table('a\n"1,2"\n', lambda names: names == ["a"] or None)[2]
    assert list(only) == [["1,2"]]


def test_padding_at_the_end_is_ignored() -> None:
    assert table("a,b,c\n1,2,3\n\x1a") == table("a,b,c\n1,2,3\n\0\0") == [["1", "2", "3"]]


def test_a_blank_in_a_name_may_be_an_underscore() -> None:
    layout, names, rows = read_table("my_name,b_c\n1,2\n", lambda names: "x" if "my name" in names else None)
    assert (layout, names, list(rows)) == ("x", ["my name", "b c"], [["1", "2"]])


@pytest.mark.parametrize("text", ["", "\n\n", "a,b\n", "x" * 200_000, "sep=;\na,b,c\n1,2,3\n", "sep=;", "\n" + "x" * 9])
def test_an_unknown_header_is_rejected(text: str) -> None:
    with pytest.raises(InvalidBody):
        table(text)


def test_a_cell_that_is_too_long_is_rejected() -> None:
    for cell in ("x" * 200_000, '"x" ' + "x" * 200_000):
        with pytest.raises(InvalidBody, match="line 2 "):
            table(f"a,b,c\n1,2,{cell}\n")


@given(st.lists(st.lists(st.text(max_size=5), min_size=3, max_size=3), max_size=5), st.sampled_from(",;\t"))
def test_a_table_is_read_as_it_was_written(rows: list[list[str]], separator: str) -> None:
    def quoted(cells: list[str]) -> str:
        return separator.join('"' + cell.replace('"', '""') + '"' for cell in cells)

    text = "\n".join(map(quoted, [["a", "B", " c "], *rows]))
    assert table(text) == [row for row in rows if any(map(str.strip, row))]
