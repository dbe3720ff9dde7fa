"""JSON responses, and the format of times in them."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec
from litestar import Response

from movie_core.clock import iso_time

PRIVATE: Mapping[str, str] = {"cache-control": "private"}
NO_STORE: Mapping[str, str] = {"cache-control": "no-store"}
"""For personal data. The layer `ResponseHeaders` adds it to all responses below `authentication/`, `users/` and
`admin/`."""


def json_response(content: Any, *, status_code: int = 200, headers: Mapping[str, str] | None = None) -> Response[bytes]:
    """A response with `content` as JSON; `bytes` are JSON already."""
    body = content if isinstance(content, bytes) else msgspec.json.encode(content)
    return Response(body, status_code=status_code, headers=dict(headers or {}), media_type="application/json")


def no_content(headers: Mapping[str, str] | None = None) -> Response[None]:
    return Response(None, status_code=204, headers=dict(headers or {}))


def timestamp(at: datetime) -> str:
    """A time in whole seconds, ISO 8601 in UTC with `Z`."""
    return iso_time(at.replace(microsecond=0))


def optional_timestamp(at: datetime | None) -> str | None:
    return None if at is None else timestamp(at)
