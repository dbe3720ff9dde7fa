"""Strict parsing of query strings."""

import re
from collections.abc import Collection, Mapping
from difflib import SequenceMatcher
from urllib.parse import unquote_to_bytes

import msgspec

from movie_core.errors import Invalid, InvalidOffsetOrLimit, InvalidParameter, InvalidQuery, UnknownParameter

IGNORED_PARAMETER = re.compile(r"_|utm_.*", re.DOTALL)
"""Parameters that scripts add to avoid a cache, and that senders of links add to count clicks."""
MAX_REPORTED_NAME = 50
"""Maximum characters of the name of an unknown parameter in a problem document."""
MAX_REPORTED_NAMES = 10
"""Maximum number of unknown parameters in a problem document."""

_BROKEN_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_ERRORS: Mapping[str, type[Invalid]] = {
    "offset": InvalidOffsetOrLimit,
    "limit": InvalidOffsetOrLimit,
    "query": InvalidQuery,
}
"""The errors of parameters that have an error code of their own."""
_SYNONYMS: Mapping[str, Collection[str]] = {
    "query": ("q", "s", "search", "term", "text", "title", "name", "keyword", "keywords"),
    "offset": ("skip", "start", "from", "page", "cursor"),
    "limit": ("size", "count", "take", "top", "n", "first", "page_size", "pagesize", "per_page", "perpage"),
    "order": ("sort", "sort_by", "sortby", "order_by", "orderby", "ordering"),
}
"""What other services call a parameter. Similar spelling would suggest another one."""


def check_names(query_string: bytes, known: Collection[str]) -> None:
    """Raise `UnknownParameter` for names that are neither `known` nor ignored."""
    unknown: dict[str, None] = {}
    for pair in query_string.split(b"&"):
        raw_name = pair.partition(b"=")[0]
        name = _decoded(raw_name)
        if name is None:
            unknown[raw_name.decode("latin-1")] = None
        elif pair and name not in known and not IGNORED_PARAMETER.fullmatch(name):
            unknown[name] = None
    if unknown:
        first, *others = [_unknown(name[:MAX_REPORTED_NAME], known) for name in list(unknown)[:MAX_REPORTED_NAMES]]
        first.others = tuple(others)
        raise first


def _unknown(name: str, known: Collection[str]) -> UnknownParameter:
    if known:
        detail = f"{name} is not a parameter of this operation; the closest is {_closest(name.lower(), known)}"
    else:
        detail = f"{name} is not a parameter: this operation has no query parameters"
    return UnknownParameter(detail, field=name)


def _closest(name: str, known: Collection[str]) -> str:
    """The known parameter that is meant most likely by a name in lower case."""

    def similarity(candidate: str) -> tuple[bool, bool, float]:
        is_part = bool(name) and (name in candidate or candidate in name)
        return name in _SYNONYMS.get(candidate, ()), is_part, SequenceMatcher(None, name, candidate).ratio()

    return max(known, key=similarity)


def parse_parameters(query_string: bytes, struct: type[msgspec.Struct]) -> dict[str, str]:
    """Decode the parameters that are fields of `struct`; `check_names` rejects others. Raises
    `InvalidParameter`, or the error of the parameter, if one is malformed or repeated."""
    known = struct.__struct_encode_fields__
    parameters: dict[str, str] = {}
    for pair in query_string.split(b"&"):
        raw_name, _, raw_value = pair.partition(b"=")
        name = _decoded(raw_name)
        if name is None or name not in known:
            continue
        value = _decoded(raw_value)
        if value is None:
            raise _ERRORS.get(name, InvalidParameter)(f"{name} must be percent-encoded UTF-8", field=name)
        if name in parameters:
            raise _ERRORS.get(name, InvalidParameter)(f"{name} must be given once", field=name)
        parameters[name] = value
    return parameters


def _decoded(raw: bytes) -> str | None:
    """None if the bytes are not percent-encoded UTF-8."""
    if _BROKEN_ESCAPE.search(raw):
        return None
    try:
        return unquote_to_bytes(raw.replace(b"+", b" ")).decode()
    except UnicodeDecodeError:
        return None
