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
_RUNTIME = re.compile(
    r"(?:PT)?(?:(\d{1,2}) ?h(?:ours?|rs?)?\.?)? ?(?:(\d{1,4})(?:\.\d*)? ?(?:m(?:in(?:ute)?s?)?\.?)?)?",
    re.ASCII | re.IGNORECASE,
)
_CLOCK = re.compile(r"(\d{1,2}):(\d{2})(?::\d{2})?", re.ASCII)
_THOUSANDS = re.compile(r"(?<=\d)[,.'\s](?=\d{3}(?:\D|$))")
_POPULARITY = re.compile(r"(\d+(?:\.\d+)?) ?([KM])", re.ASCII | re.IGNORECASE)
_MULTIPLES = {"k": 1_000, "m": 1_000_000}
_TRUE = frozenset(("1", "1.0", "true", "t", "yes", "y", "wahr", "vrai", "verdadero", "verdadeiro", "vero", "waar"))
"""Also as spreadsheets in other languages write it."""
_JSON_NAME = re.compile(r"""["']name["']\s*:\s*(?:'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)")""")
_QUOTES_WITHOUT_COMMA = re.compile(r"(['\"])\s+(['\"])")
_SEPARATORS = ("|", ";", ",", " / ")


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


def parse_people(text: str, *, commas: bool = False) -> tuple[str, ...]:
    """Like `parse_names`; a list may also be separated by commas if all its items are full names."""
    is_list = "|" not in text and text[:1] not in {"[", "{"} and are_full_names(text.split(", "))
    return parse_names(text, commas=commas or is_list)


def parse_names(text: str, *, commas: bool = False, limit: int = MAX_NAME) -> tuple[str, ...]:
    """The distinct items of a list separated by bars or, if it has none and `commas` is true, by semicolons, commas or
    slashes between blanks; or the names in a cell that contains JSON."""
    text = clean(text)
    if text[:1] in {"[", "{"} and (in_json := parse_json_names(text)) is not None:
        return tuple(dict.fromkeys(name for name in map(clean, in_json) if 0 < len(name) <= limit))[:MAX_NAMES]
    if commas and "," in text and text[0] == "[" and text[-1] == "]":
        text = text[1:-1]
    separator = next((one for one in _SEPARATORS if one in text), "|") if commas else "|"
    if separator not in text:
        return (text,) if 0 < len(text) <= limit else ()
    has_blanks = f" {separator}" in text or f"{separator} " in text
    names = dict.fromkeys([name.strip() for name in text.split(separator)] if has_blanks else text.split(separator))
    if len(text) > limit or "" in names:
        return tuple(name for name in names if 0 < len(name) <= limit)[:MAX_NAMES]
    return tuple(names)[:MAX_NAMES]


def parse_json_names(text: str) -> list[str] | None:
    """The names in a JSON array of strings or of objects with a `name`, or in one object; also as Python writes them,
    with single quotes, and from damaged JSON with objects. None for any other text, such as the title `[REC]`.

    >>> parse_json_names("[{'id': 28, 'name': 'Action'}]"), parse_json_names("[REC]")
    (['Action'], None)
    """
    value: object = None
    for parse, form in ((json.loads, text), (ast.literal_eval, _QUOTES_WITHOUT_COMMA.sub(r"\1, \2", text))):
        with suppress(ValueError, SyntaxError, RecursionError, MemoryError):
            value = parse(form)
            break
    if isinstance(value, dict) and "name" not in value:
        value = list(value.values())  # names by id
    if isinstance(value, list | dict):
        items = value if isinstance(value, list) else [value]
        names = [item.get("name") if isinstance(item, dict) else item for item in items]
        texts = [name for name in names if isinstance(name, str)]
        return texts if texts or all(item is None or isinstance(item, dict) for item in items) else None
    if "".join(text[:2].split()) in {"[{", "{'", '{"'}:  # truncated, or with a value such as nan
        return [single or double for single, double in _JSON_NAME.findall(text)]
    return None


def are_full_names(names: list[str]) -> bool:
    """Whether all of several names have several words, unlike the suffix in `Sammy Davis, Jr.`"""
    return len(names) > 1 and all(" " in name.strip() for name in names)


@lru_cache(maxsize=10_000)
def parse_genres(text: str) -> tuple[str, ...]:
    return parse_names(text, commas=True) if len(text) < MAX_OVERVIEW else ()


def parse_year(text: str) -> int | None:
    """The only number of four digits in `1999`, `1999.0`, `1999-03-31` or `Mar 31 1999`; None if it is empty or 0."""
    text = text.strip()
    if not text.strip("0."):
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
    """A number from 0 to `MAX_POPULARITY`, also as `1,234` or `1.2K`; None for an empty cell."""
    try:
        number = float(text)
    except ValueError:
        text = text.strip()
        if not text:
            return None
        number = _parse_grouped(text)
    if not 0 <= number <= MAX_POPULARITY:
        raise RowError("invalid_popularity", f"{_quoted(text)} is not a number of at least 0")
    return number


def _parse_grouped(text: str) -> float:
    """A number with separators of thousands, a decimal comma or a multiple; NaN for any other text."""
    if match := _POPULARITY.fullmatch(text):
        return float(match[1]) * _MULTIPLES[match[2].lower()]
    with suppress(ValueError):
        return float(_THOUSANDS.sub("", text).replace(",", "."))
    return math.nan


def parse_flag(text: str) -> bool:
    return text.strip(" '\"").casefold() in _TRUE


def parse_runtime(text: str) -> int | None:
    """Minutes, from `136`, `136 min`, `2h 16m` or `2:16`; None for any other text."""
    text = text.strip()
    match = _CLOCK.fullmatch(text) or _RUNTIME.fullmatch(text)
    return 60 * int(match[1] or 0) + int(match[2] or 0) or None if match else None


def parse_url(text: str) -> str | None:
    url = text.strip()
    is_safe = url.startswith(("https://", "http://")) and len(url) <= 2000 and url.isprintable() and " " not in url
    return url if is_safe else None


def _quoted(text: str) -> str:
    return ascii(text if len(text) <= 40 else f"{text[:40]}…")
