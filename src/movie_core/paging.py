"""Pagination by offset and limit: bounds, parsing, and links. Defines every limit of pagination.

Following `next` from offset 0 visits each of the first `MAX_OFFSET + limit` items exactly once.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

from movie_core.errors import InvalidOffsetOrLimit, PageOutOfRange

DEFAULT_LIMIT = 10
MAX_LIMIT = 100
MAX_OFFSET = 10_000

_NUMBER = re.compile(r"0|[1-9][0-9]{0,8}", re.ASCII)


def parse_number(text: str, field: str) -> int:
    """Parses `0|[1-9][0-9]*` in ASCII digits, at most 9 of them; anything else raises `InvalidOffsetOrLimit`."""
    if not _NUMBER.fullmatch(text):
        raise InvalidOffsetOrLimit(f"{field} must be a whole number in plain digits", field=field)
    return int(text)


@dataclass(frozen=True, slots=True)
class Window:
    """A section of a result: `limit` items from `offset`. Values out of bounds raise `InvalidOffsetOrLimit`."""

    offset: int = 0
    """0 to `MAX_OFFSET`."""
    limit: int = DEFAULT_LIMIT
    """1 to `MAX_LIMIT`."""

    def __post_init__(self) -> None:
        if not 0 <= self.offset <= MAX_OFFSET:
            raise InvalidOffsetOrLimit(f"offset must be between 0 and {MAX_OFFSET}", field="offset")
        if not 1 <= self.limit <= MAX_LIMIT:
            raise InvalidOffsetOrLimit(f"limit must be between 1 and {MAX_LIMIT}", field="limit")

    @classmethod
    def parse(cls, offset: str | None = None, limit: str | None = None) -> "Window":
        """Parses request parameters; None stands for a missing one."""
        return cls(
            offset=0 if offset is None else parse_number(offset, "offset"),
            limit=DEFAULT_LIMIT if limit is None else parse_number(limit, "limit"),
        )

    @property
    def current_page(self) -> int:
        return self.offset // self.limit + 1

    def total_pages(self, total: int) -> int:
        return -(-total // self.limit)

    def check(self, total: int) -> None:
        """Raises `PageOutOfRange` if the window starts at or past `total`."""
        if self.offset >= total:
            raise PageOutOfRange(offset=self.offset, total=total, total_pages=self.total_pages(total))

    def previous_offset(self) -> int | None:
        """Returns None only at offset 0. The previous page may overlap this one if `limit` does not divide `offset`."""
        return max(0, self.offset - self.limit) if self.offset else None

    def next_offset(self, total: int) -> int | None:
        following = self.offset + self.limit
        return following if following < total and following <= MAX_OFFSET else None

    def last_offset(self, total: int) -> int:
        """Returns the greatest offset reached by `next`: at most `MAX_OFFSET`, below `total`, and a multiple of
        `limit` away from `offset`; 0 for an empty list."""
        top = max(0, min(MAX_OFFSET, total - 1))
        return max(0, top - (top - self.offset) % self.limit)


@dataclass(frozen=True, slots=True)
class PageInfo:
    """The `page_info` of a list, with absolute links."""

    current_page: int
    total_pages: int
    previous: str | None
    next: str | None


@dataclass(frozen=True, slots=True)
class PageLinks:
    """The absolute links of one page, for the body and the `Link` header."""

    first: str
    previous: str | None
    next: str | None
    last: str

    @classmethod
    def of(cls, url: str, window: Window, total: int, parameters: Sequence[tuple[str, str]] = ()) -> "PageLinks":
        """`url` is absolute without a query string. `parameters` are added to every link in the given order."""
        suffix = "".join(f"&{encode(name)}={encode(value)}" for name, value in parameters)

        def link(offset: int) -> str:
            return f"{url}?offset={offset}&limit={window.limit}{suffix}"

        previous, following = window.previous_offset(), window.next_offset(total)
        return cls(
            first=link(0),
            previous=None if previous is None else link(previous),
            next=None if following is None else link(following),
            last=link(window.last_offset(total)),
        )

    def info(self, window: Window, total: int) -> PageInfo:
        return PageInfo(window.current_page, window.total_pages(total), self.previous, self.next)

    def header(self) -> str:
        """Returns the value of the `Link` header (RFC 8288)."""
        relations = (("first", self.first), ("prev", self.previous), ("next", self.next), ("last", self.last))
        return ", ".join(f'<{url}>; rel="{rel}"' for rel, url in relations if url is not None)


def encode(value: str) -> str:
    """Percent-encodes a value for a query string: a space becomes `%20`; only unreserved characters are unchanged."""
    return quote(value, safe="")
