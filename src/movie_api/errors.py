"""Errors on the wire: one table from code to status, and problem documents (RFC 9457) for every 4xx and 5xx."""

import logging
import math
from dataclasses import dataclass

import msgspec
from litestar import Request, Response
from litestar.exceptions import HTTPException

from movie_core.errors import MovieError, Unavailable

MEDIA_TYPE = "application/problem+json"
MAX_ECHO = 200
"""Characters of any text in a problem document, so that no answer echoes long input."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of problem: its status, its title, and what a person should know about it."""

    status: int
    title: str
    explanation: str


PROBLEMS: dict[str, Kind] = {
    "invalid_offset_or_limit": Kind(
        400,
        "Invalid offset or limit",
        "`offset` must be a whole number from 0 to 10000 and `limit` one from 1 to 100, each given once, in plain "
        "digits without sign, blanks or leading zeros.",
    ),
    "invalid_query": Kind(
        400,
        "Invalid query",
        "`query` may have up to 200 characters, in UTF-8, percent-encoded, without control characters, and is given "
        "once.",
    ),
    "invalid_parameter": Kind(
        400,
        "Invalid parameter",
        "A parameter is malformed, given twice, or not offered by this deployment; `errors` names it.",
    ),
    "filter_unsupported": Kind(
        400,
        "Filter not supported by the source",
        "The movie source in use can't apply this filter or order. Leave it out, or ask without a text where the "
        "detail says so.",
    ),
    "page_out_of_range": Kind(
        400,
        "Page out of range",
        "The offset lies at or past the end of the matches; the detail says how many there are.",
    ),
    "invalid_host": Kind(
        400,
        "Invalid host",
        "The request's Host header is missing, repeated, malformed, or names a host that this deployment doesn't serve "
        "(`MOVIE_ALLOWED_HOSTS`).",
    ),
    "bad_request": Kind(400, "Bad request", "The request can't be read."),
    "not_authenticated": Kind(401, "Not authenticated", "The request needs a token: `Authorization: Bearer …`."),
    "invalid_token": Kind(401, "Invalid token", "The token is malformed, expired, revoked or unknown."),
    "movie_not_found": Kind(404, "Movie not found", "No movie matches the query, or none has this id."),
    "not_found": Kind(404, "Not found", "There is nothing at this path; /docs lists what there is."),
    "method_not_allowed": Kind(
        405, "Method not allowed", "The path exists but not with this method; the `Allow` header lists its methods."
    ),
    "request_timeout": Kind(
        408, "Request timeout", "The body did not arrive in time; a stalled connection is closed within 15 seconds."
    ),
    "content_too_large": Kind(413, "Content too large", "The body is larger than 64 KiB."),
    "uri_too_long": Kind(414, "URI too long", "Path and query string together are longer than 8 KiB."),
    "unsupported_media_type": Kind(415, "Unsupported media type", "The body has a content type that isn't taken here."),
    "headers_too_large": Kind(431, "Headers too large", "The request has more than 100 headers or 16 KiB of them."),
    "internal_error": Kind(
        500, "Internal error", "A bug of ours. The log has its trace under the answer's `request_id`."
    ),
    "source_unavailable": Kind(
        503,
        "Movie source unavailable",
        "The movie source gave no usable answer in time. Try again after the seconds that `Retry-After` tells.",
    ),
    "store_unavailable": Kind(
        503, "Database unavailable", "The database is away. Try again after the seconds that `Retry-After` tells."
    ),
}
"""Every code that an answer can carry. A test keeps it total over the errors of the core."""

_FOR_STATUS = {
    400: "bad_request",
    404: "not_found",
    405: "method_not_allowed",
    413: "content_too_large",
    414: "uri_too_long",
    415: "unsupported_media_type",
    431: "headers_too_large",
}


@dataclass(frozen=True, slots=True)
class FieldProblem:
    """What is wrong with one parameter or field."""

    field: str
    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem document (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str
    errors: tuple[FieldProblem, ...] = ()


def problem(
    public_url: str, request_id: str, code: str, detail: str = "", *, field: str | None = None, retry_after: float = 1.0
) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of a problem; `retry_after` (seconds) is told with a 503."""
    kind = PROBLEMS[code]
    detail = (detail or kind.title)[:MAX_ECHO]
    body = Problem(
        type=f"{public_url}/errors/{code}",
        title=kind.title,
        status=kind.status,
        detail=detail,
        code=code,
        request_id=request_id,
        errors=() if field is None else (FieldProblem(field, code, detail),),
    )
    headers = {"content-type": MEDIA_TYPE}
    if kind.status == 401:
        headers["www-authenticate"] = "Bearer" if code == "not_authenticated" else f'Bearer error="{code}"'
    if kind.status == 503:
        headers["retry-after"] = str(max(1, math.ceil(retry_after)))
    return kind.status, headers, msgspec.json.encode(body)


def answer(request: Request, error: Exception) -> Response[bytes]:  # type: ignore[type-arg]
    """The exception handler of the whole application."""
    extra: dict[str, str] = {}
    match error:
        case MovieError():
            retry_after = error.retry_after if isinstance(error, Unavailable) else 1.0
            told = (error.code, error.detail, error.field, retry_after)
        case HTTPException() if error.status_code in _FOR_STATUS:
            extra = {name.lower(): value for name, value in (error.headers or {}).items() if name.lower() == "allow"}
            told = (_FOR_STATUS[error.status_code], "", None, 1.0)
        case HTTPException() if error.status_code < 500:
            told = ("bad_request", "", None, 1.0)
        case _:
            _log.error("request %s failed", request.scope["state"]["request_id"], exc_info=error)
            told = ("internal_error", "", None, 1.0)
    code, detail, field, retry_after = told
    state = request.scope["state"]
    status, headers, body = problem(
        state["public_url"], state["request_id"], code, detail, field=field, retry_after=retry_after
    )
    return Response(body, status_code=status, headers=headers | extra, media_type=MEDIA_TYPE)
