"""Tables in files as people upload them: archives, encodings, separators, quotes."""

import csv
import io
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import PurePosixPath
from typing import TypeVar

from movie_core.errors import InvalidBody, UnclosedQuote

MAX_UNPACKED = 2 * 1024 * 1024
"""Maximum bytes of a file in an archive."""
SEPARATORS = (",", ";", "\t")
MAX_CAPTION = 10
"""Lines before the names of the columns, blank ones included."""

_ARCHIVE_FILES = ("ratings.csv", "ratings-movies.json", "ratings_movies.json", "ratings.json")
"""The files of an archive that have ratings, the first that exists."""
_NOT_OWN_FILES = frozenset(("__macosx", "deleted", "orphaned"))
"""Folders of an archive with data that its owner has deleted, or with metadata of the operating system."""
_TABLE_SUFFIXES = frozenset((".csv", ".json", ".tsv", ".txt"))
_DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, OSError, OverflowError, RuntimeError, ValueError)
"""What reading an archive raises, some of it undocumented."""
_ENCODING_BY_MARK = {b"\xef\xbb\xbf": "utf-8", b"\xff\xfe": "utf-16-le", b"\xfe\xff": "utf-16-be"}
_SEPARATOR_LINE = re.compile(r'"?sep=([,;\t])"?[,;\t]*', re.IGNORECASE)
_LINE_ENDS = ("\n", "\r")
_PADDING = "\0\x1a"
"""Characters at the end of a file that old programs add."""

Layout = TypeVar("Layout")


def unpack(body: bytes) -> bytes:
    """The file of ratings in a ZIP archive, recognised by its first bytes; any other body unchanged.

    Raises `InvalidBody` for an archive that is damaged, has no such file, or one of more than `MAX_UNPACKED` bytes.
    """
    if not body.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return body
    try:
        with zipfile.ZipFile(io.BytesIO(body)) as archive:
            member = _ratings_member(archive.infolist())
            # Other methods need memory of a size that the file determines.
            if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise InvalidBody("the ZIP file must be compressed by deflate")
            with archive.open(member) as file:
                content = file.read(MAX_UNPACKED + 1)
    except _DAMAGED:
        raise InvalidBody("the ZIP file is damaged, truncated or encrypted") from None
    if len(content) > MAX_UNPACKED:
        raise InvalidBody(f"the file in the ZIP file must have at most {MAX_UNPACKED} bytes")
    return content


def _ratings_member(members: list[zipfile.ZipInfo]) -> zipfile.ZipInfo:
    """The file with the ratings: nearest to the root, of the first of these names; or the only table of all."""
    by_depth: dict[tuple[int, int], list[zipfile.ZipInfo]] = {}
    tables = []
    for member in members:
        path = PurePosixPath(member.filename.casefold())
        if member.is_dir() or _NOT_OWN_FILES & set(path.parts) or path.suffix not in _TABLE_SUFFIXES:
            continue
        tables.append(member)
        if path.name in _ARCHIVE_FILES:
            by_depth.setdefault((_ARCHIVE_FILES.index(path.name), len(path.parts)), []).append(member)
    found = by_depth[min(by_depth)] if by_depth else tables
    if len(found) != 1:
        raise InvalidBody("the ZIP file must have one file ratings.csv; save a workbook as CSV")
    return found[0]


def decode(body: bytes) -> str:
    """Decode UTF-8 and UTF-16, with or without byte order mark, and Windows-1252, which may differ by line: programs
    append to files in their own encoding.

    Raises `InvalidBody` for other encodings, and `UnclosedQuote` if the body ends within a character.
    """
    for mark, encoding in _ENCODING_BY_MARK.items():
        if body.startswith(mark):
            return _decode(body[len(mark) :], encoding)
    if body[:1] == b"\x00":
        return _decode(body, "utf-16-be")
    if body[1:2] == b"\x00":
        return _decode(body, "utf-16-le")
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        # A file in which other characters are valid UTF-8 is no Windows-1252.
        if error.reason == "unexpected end of data" and not body[: error.start].isascii():
            raise _truncated(body.count(b"\n") + 1) from None
    return "".join(map(_decode_line, body.splitlines(keepends=True)))


def _decode_line(line: bytes) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError:
        return _decode(line, "cp1252")


def _decode(body: bytes, encoding: str) -> str:
    try:
        return body.decode(encoding)
    except UnicodeDecodeError as error:
        if error.reason in {"truncated data", "unexpected end of data"}:
            raise _truncated(body.decode(encoding, "ignore").count("\n") + 1) from None
        raise InvalidBody("the file must be encoded in UTF-8, UTF-16 or Windows-1252") from None


def read_table(
    text: str, layout_of: Callable[[list[str]], Layout | None]
) -> tuple[Layout, list[str], Iterator[list[str]]]:
    """The layout of a table, the names of its columns, stripped and case-folded, and its rows; blank lines are omitted.

    `layout_of` returns the layout for the names of columns, None for unknown ones; it decides which separator is used,
    unless a first line such as `sep=;` states it, and whether `_` in names stands for a blank. The names may follow
    after a caption. Raises `InvalidBody` for an unknown layout. Reading the rows raises `UnclosedQuote` for an unclosed
    quote, and for a file that ends within a row.
    """
    stream = io.StringIO(text.removeprefix("\N{BYTE ORDER MARK}").rstrip(_PADDING), newline="")
    separators: tuple[str, ...] = SEPARATORS
    for number, line in enumerate(islice(stream, MAX_CAPTION), 1):
        if (declared := _SEPARATOR_LINE.fullmatch(line.strip("\r\n \N{BYTE ORDER MARK}"))) is not None:
            separators = (declared[1],)
            continue
        for separator in separators:
            names = _names(line, separator)
            for variant in (names, [name.replace("_", " ") for name in names]):
                if (layout := layout_of(variant)) is not None:
                    return layout, variant, _rows(stream, separator, number, variant)
        if sum(map(bool, _names(line, separators[0]))) > 1:
            break
    raise InvalidBody("the first line must contain the column names of a supported export of ratings")


def _names(line: str, separator: str) -> list[str]:
    try:
        cells = _split_again(next(csv.reader([line], delimiter=separator), []), separator)
    except csv.Error:
        return []
    names = [" ".join(plain_cell(name).split()).casefold() for name in cells]
    while names and not names[-1]:
        names.pop()
    return names


def plain_cell(text: str) -> str:
    """A cell without blanks around it, and without the formula by which programs keep spreadsheets from taking a text
    for a number.

    >>> plain_cell(' ="0133093"')
    '0133093'
    """
    text = text.strip()
    return text[2:-1].strip() if len(text) > 2 and text.startswith('="') and text.endswith('"') else text


def _split_again(cells: list[str], separator: str) -> list[str]:
    """The cells of a line that a spreadsheet with another separator took for a single cell, and quoted."""
    if len(cells) != 1 or separator not in cells[0]:
        return cells
    try:
        return next(csv.reader(cells, delimiter=separator))
    except csv.Error:
        return cells


def _rows(stream: io.StringIO, separator: str, header_line: int, names: list[str]) -> Iterator[list[str]]:
    record: list[str] = []

    def lines() -> Iterator[str]:
        for line in stream:
            record.append(line)
            yield line

    reader = csv.reader(lines(), delimiter=separator, strict=True)
    is_short = False
    while True:
        record.clear()
        first_line = header_line + reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            cells = _without_strict_quotes(error, record, separator, first_line)
        if not any(map(str.strip, cells)):
            continue
        if len(names) > 1:
            cells = _split_again(cells, separator)
        if len(cells) < len(names):
            # Spreadsheets omit empty cells at the end of rows, of all of them.
            if not is_short and not record[-1].endswith(_LINE_ENDS):
                raise _truncated(first_line)
            is_short = True
        yield cells


def _without_strict_quotes(error: csv.Error, record: list[str], separator: str, line: int) -> list[str]:
    """The cells of a row in which quotes are not doubled. Raises `UnclosedQuote` if the row may contain others."""
    quotes = sum(text.count('"') for text in record)
    is_open = str(error) == "unexpected end of data" or len(record) > 1 or quotes % 2
    if is_open:
        raise UnclosedQuote(f"a quote in line {line} is not closed", field=str(line)) from None
    try:
        return next(csv.reader(record, delimiter=separator))
    except csv.Error:
        raise InvalidBody(f"line {line} is not valid CSV") from None


def _truncated(line: int) -> UnclosedQuote:
    return UnclosedQuote(f"the file ends within line {line}", field=str(line))
