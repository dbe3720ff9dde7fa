"""Strict parsing of query strings."""

import re
from collections.abc import Mapping
from urllib.parse import unquote_to_bytes

from movie_core.errors import Invalid

_BROKEN_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")


def parse_parameters(query_string: bytes, known: Mapping[str, type[Invalid]]) -> dict[str, str]:
    """Decode the `known` parameters strictly; raises the error type of a parameter that is malformed or repeated.
    Unknown parameters are ignored."""
    parameters: dict[str, str] = {}
    for pair in query_string.split(b"&"):
        raw_name, _, raw_value = pair.partition(b"=")
        name = _decoded(raw_name)
        error = known.get(name or "")
        if error is None:
            continue
        value = _decoded(raw_value)
        if value is None:
            raise error(f"{name} must be percent-encoded UTF-8", field=name)
        if name in parameters:
            raise error(f"{name} must be given once", field=name)
        parameters[str(name)] = value
    return parameters


def _decoded(raw: bytes) -> str | None:
    """None if the bytes are not percent-encoded UTF-8."""
    if _BROKEN_ESCAPE.search(raw):
        return None
    try:
        return unquote_to_bytes(raw.replace(b"+", b" ")).decode()
    except UnicodeDecodeError:
        return None
