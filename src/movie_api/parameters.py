"""Strict parsing of query strings."""

import re
from collections.abc import Mapping
from urllib.parse import unquote_to_bytes

import msgspec

from movie_core.errors import Invalid, InvalidOffsetOrLimit, InvalidParameter, InvalidQuery

_BROKEN_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_ERRORS: Mapping[str, type[Invalid]] = {
    "offset": InvalidOffsetOrLimit,
    "limit": InvalidOffsetOrLimit,
    "query": InvalidQuery,
}
"""The errors of parameters that have an error code of their own."""


def parse_parameters(query_string: bytes, struct: type[msgspec.Struct]) -> dict[str, str]:
    """Decode the parameters that are fields of `struct`; others are ignored. Raises `InvalidParameter`, or the error of
    the parameter, if one is malformed or repeated."""
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
