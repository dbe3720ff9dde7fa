"""The `Accept` header (RFC 9110, 12.5.1)."""

import re
from collections.abc import Iterable, Mapping

MAX_RANGES = 64
"""Maximum number of media ranges that are parsed; further ones are ignored."""
_QUALITY = re.compile(r"[01](?:\.[0-9]{0,3})?")


def parse_accept(values: Iterable[str]) -> dict[str, float]:
    """The media ranges of these header lines, in lower case, with their quality; 0 if it is malformed."""
    ranges: dict[str, float] = {}
    for element in ",".join(values).split(",", MAX_RANGES)[:MAX_RANGES]:
        media_range, *parameters = (part.strip().lower() for part in element.split(";"))
        quality = next((parameter[2:].strip() for parameter in parameters if parameter.startswith("q=")), "1")
        ranges[media_range] = min(1.0, float(quality)) if _QUALITY.fullmatch(quality) else 0.0
    return ranges


def preference(ranges: Mapping[str, float], media_type: str) -> tuple[float, int]:
    """The quality of a media type, from its most specific range, and the specificity of that range. The media type with
    the greatest tuple is preferred."""
    candidates = ("*/*", f"{media_type.partition('/')[0]}/*", media_type)
    specificity = max((index for index, candidate in enumerate(candidates) if candidate in ranges), default=0)
    quality = ranges.get(candidates[specificity], 0.0)
    return quality, specificity if quality else 0
