"""Values of single cells of a movie file: cleaned, limited in size, or rejected."""

import ast
import json
import math
import re
import unicodedata
from contextlib import suppress
from functools import lru_cache

MAX_TITLE = 500
"""Characters of a title or original title; longer alternative titles are omitted."""
MAX_NAME = 200
"""Characters of a genre, person or country; longer ones are omitted."""
MAX_NAMES = 50
"""Genres, persons, countries or alternative titles of one movie; further ones are omitted."""
MAX_OVERVIEW = 5_000
"""Characters of an overview; longer ones are truncated."""
MAX_POPULARITY = 1e15
FIRST_YEAR = 1870
LAST_YEAR = 2100

_YEAR = re.compile(r"(?<!\d)\d{4}(?!\d)", re.ASCII)
_RUNTIME = re.compile(r"(\d{1,4})(?:\.0*)?(?: ?min(?:utes|s)?\.?)?", re.ASCII)


class RowError(Exception):
    """The reason to reject a row: a code of `RejectedRow`, and a sentence."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


def clean(text: str) -> str:
    """Normalise to NFC, without control characters, leading, trailing and repeated blanks."""
    if text.isascii() and text.isprintable() and "  " not in text:
        return text.strip()
    if not text.isprintable():
        text = "".join(" " if unicodedata.category(character) in {"Cc", "Cs"} else character for character in text)
    return " ".join(unicodedata.normalize("NFC", text).split())


def parse_title(text: str) -> str:
    """Raises `RowError` for an empty or too long title."""
    title = clean(text)
    if not title:
        raise RowError("no_title", "the row has no title")
    if len(title) > MAX_TITLE:
        raise RowError("too_long", f"the title has {len(title)} characters, more than {MAX_TITLE}")
    return title


def parse_names(text: str, *, commas: bool = False, limit: int = MAX_NAME) -> tuple[str, ...]:
    """The distinct items of a list separated by bars or, if it has none and `commas` is true, by commas; or the names
    in a cell that contains JSON."""
    text = clean(text)
    if text[:1] in {"[", "{"} and (in_json := parse_json_names(text)) is not None:
        return tuple(dict.fromkeys(name for name in map(clean, in_json) if 0 < len(name) <= limit))[:MAX_NAMES]
    separator = "|" if "|" in text or not commas else ","
    if separator not in text:
        return (text,) if 0 < len(text) <= limit else ()
    has_blanks = f" {separator}" in text or f"{separator} " in text
    names = dict.fromkeys([name.strip() for name in text.split(separator)] if has_blanks else text.split(separator))
    if len(text) > limit or "" in names:
        return tuple(name for name in names if 0 < len(name) <= limit)[:MAX_NAMES]
    return tuple(names)[:MAX_NAMES]


def parse_json_names(text: str) -> list[str] | None:
    """The names in a JSON array of strings or of objects with a `name`, or in one object; also as Python writes them,
    with single quotes. None for any other text, such as the title `[REC]`.

    >>> parse_json_names("[{'id': 28, 'name': 'Action'}]"), parse_json_names("[REC]")
    (['Action'], None)
    """
    value: object = None
    for parse in (json.loads, ast.literal_eval):
        with suppress(ValueError, SyntaxError, RecursionError, MemoryError):
            value = parse(text)
            break
    if not isinstance(value, list | dict):
        return None
    items = value if isinstance(value, list) else [value]
    names = [item.get("name") if isinstance(item, dict) else item for item in items]
    texts = [name for name in names if isinstance(name, str)]
    return texts if texts or not items else None


@lru_cache(maxsize=10_000)
def parse_genres(text: str) -> tuple[str, ...]:
    return parse_names(text, commas=True) if len(text) < MAX_OVERVIEW else ()


def parse_year(text: str) -> int | None:
    """The only number of four digits in `1999`, `1999.0`, `1999-03-31` or `Mar 31 1999`; None for an empty cell."""
    text = text.strip()
    if not text:
        return None
    if len(text) != 4 or not (text.isascii() and text.isdecimal()):
        numbers = _YEAR.findall(text) if len(text) <= 40 else []
        if len(numbers) != 1:
            raise RowError("invalid_year", f"{_quoted(text)} is not a year")
        text = numbers[0]
    year = int(text)
    if not FIRST_YEAR <= year <= LAST_YEAR:
        raise RowError("invalid_year", f"the year {year} is not between {FIRST_YEAR} and {LAST_YEAR}")
    return year


def parse_popularity(text: str) -> float | None:
    """A number from 0 to `MAX_POPULARITY`; None for an empty cell."""
    try:
        number = float(text)
    except ValueError:
        if not text.strip():
            return None
        number = math.nan
    if not 0 <= number <= MAX_POPULARITY:
        raise RowError("invalid_popularity", f"{_quoted(text)} is not a number of at least 0")
    return number


def parse_tmdb_id(text: str) -> str | None:
    """None if the cell is not a number, or 0."""
    number = text.strip().removesuffix(".0")
    is_number = number.isascii() and number.isdecimal() and len(number) <= 10
    return (number.lstrip("0") or None) if is_number else None


def parse_flag(text: str) -> bool:
    return text.strip().lower() in {"1", "1.0", "true", "t", "yes", "y"}


def parse_runtime(text: str) -> int | None:
    """Minutes; None if the cell is not a number of minutes."""
    match = _RUNTIME.fullmatch(text.strip())
    return int(match[1]) or None if match else None


def parse_url(text: str) -> str | None:
    url = text.strip()
    is_safe = url.startswith(("https://", "http://")) and len(url) <= 2000 and url.isprintable() and " " not in url
    return url if is_safe else None


def _quoted(text: str) -> str:
    return ascii(text if len(text) <= 40 else f"{text[:40]}…")
