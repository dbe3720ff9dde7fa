"""Errors on the wire: one table from code to status, and problem documents (RFC 9457) for every 4xx and 5xx."""

import logging
import math
from dataclasses import dataclass
from typing import Any

import msgspec
from litestar import Request, Response
from litestar.exceptions import HTTPException

from movie_core.errors import Invalid, InvalidLink, MovieError, RateLimited, Unavailable

AnyRequest = Request[Any, Any, Any]

MEDIA_TYPE = "application/problem+json"
MAX_ECHO = 200
"""Characters of any text in a problem document, so that no answer echoes long input."""
LINK_DETAIL = (
    "the link is invalid, expired or superseded by a newer one; verify-email/resend/ and password/forgot/ send a new one"
)
"""The detail of every `InvalidLink`, so that a response does not disclose why the link is invalid."""

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
    "invalid_email": Kind(
        400, "Invalid address", "An address is one plain mailbox of at most 254 bytes, such as name@example.com."
    ),
    "invalid_username": Kind(
        400,
        "Invalid username",
        "A username has 1 to 30 characters: letters of one script, digits, dots, underscores, hyphens, and single "
        "blanks inside. It must not look like a web or email address.",
    ),
    "invalid_link": Kind(
        400,
        "Invalid link",
        "The activation or password reset link is malformed, expired, used or superseded by a newer one. Request a new "
        "link.",
    ),
    "weak_password": Kind(
        400,
        "Weak password",
        "The password is too short, too long, like the address or username, common, or easily guessed; the detail says "
        "which.",
    ),
    "invalid_password": Kind(
        400, "Invalid password", "The current password, or the password of the registration to activate, is wrong."
    ),
    "invalid_body": Kind(
        400,
        "Invalid body",
        "The body isn't JSON in UTF-8 with just the fields that the route takes, each once and of its type; `errors` "
        "names those at fault.",
    ),
    "invalid_rating": Kind(400, "Invalid rating", "A rating is a number from 0.5 to 10 in steps of a half."),
    "invalid_event": Kind(
        400,
        "Invalid event",
        "One of the events can't be one, so that none was kept; `errors` names the field at fault.",
    ),
    "too_many_rows": Kind(
        400,
        "Too many rows",
        "The list is longer than may be given at once, so that nothing of it was kept; the detail says how long it may "
        "be.",
    ),
    "several_users": Kind(
        400,
        "Ratings of several users",
        "The file has ratings of more than one user. Send those of one user alone.",
    ),
    "invalid_host": Kind(
        400,
        "Invalid host",
        "The request's Host header is missing, repeated, malformed, or names a host that this deployment doesn't serve "
        "(`MOVIE_ALLOWED_HOSTS`).",
    ),
    "bad_request": Kind(400, "Bad request", "The request can't be read."),
    "not_authenticated": Kind(401, "Not authenticated", "The request needs a token: `Authorization: Bearer …`."),
    "invalid_token": Kind(
        401,
        "Invalid token",
        "The access or refresh token is malformed, expired, revoked or unknown. Log in again.",
    ),
    "invalid_credentials": Kind(
        401,
        "Invalid credentials",
        "Address and password don't belong together, or the account isn't active; nobody is told which.",
    ),
    "reauthentication_required": Kind(
        403,
        "Reauthentication required",
        "This request requires a recent login. Send the password to `authentication/reauthenticate/`, or log in again, "
        "and repeat the request with the new access token.",
    ),
    "not_allowed": Kind(403, "Not allowed", "The token is good, but the route is for staff alone."),
    "movie_not_found": Kind(404, "Movie not found", "No movie matches the query, or none has this id."),
    "rating_not_found": Kind(404, "Rating not found", "You haven't rated this movie."),
    "user_not_found": Kind(404, "User not found", "There is no account like that, or it is gone."),
    "session_not_found": Kind(404, "Session not found", "The account has no such session, or it has ended."),
    "mail_not_found": Kind(404, "Mail not found", "There is no such mail; sent ones are removed after a while."),
    "not_found": Kind(404, "Not found", "There is nothing at this path; /docs lists what there is."),
    "method_not_allowed": Kind(
        405, "Method not allowed", "The path exists but not with this method; the `Allow` header lists its methods."
    ),
    "request_timeout": Kind(
        408, "Request timeout", "The body did not arrive in time; a stalled connection is closed within 15 seconds."
    ),
    "username_taken": Kind(409, "Username taken", "Somebody has this username. Choose another."),
    "password_required": Kind(
        409,
        "Password required",
        "Several registrations are pending for this address. Send the `password` of the one to activate, or a "
        "`new_password`.",
    ),
    "own_account": Kind(
        409,
        "Own account",
        "Nobody deactivates their own account or takes their own right as staff: there might be nobody left who could "
        "undo it. Others of staff and the command line can.",
    ),
    "mail_not_dead": Kind(409, "Mail not dead", "The mail waits or was sent; only dead ones are tried again."),
    "too_many_ratings": Kind(
        409, "Too many ratings", "You have as many ratings as can be kept. Remove some before you add others."
    ),
    "content_too_large": Kind(
        413, "Content too large", "The body is larger than 64 KiB, or than 2 MiB where it is an import."
    ),
    "uri_too_long": Kind(414, "URI too long", "Path and query string together are longer than 8 KiB."),
    "unsupported_media_type": Kind(
        415,
        "Unsupported media type",
        "`Content-Type` must be `application/json`, for the import of a file `text/csv`, for a form of our pages "
        "`application/x-www-form-urlencoded`; in UTF-8, not compressed.",
    ),
    "headers_too_large": Kind(431, "Headers too large", "The request has more than 100 headers or 16 KiB of them."),
    "rate_limited": Kind(
        429,
        "Rate limited",
        "Too many tries in too short a time. Try again after the seconds that `Retry-After` tells; `RateLimit` and "
        "`RateLimit-Policy` tell the limit.",
    ),
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
    "busy": Kind(
        503, "Busy", "There is more to do than this process takes on. Try again after the seconds of `Retry-After`."
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


def describe(
    public_url: str,
    request_id: str,
    code: str,
    detail: str = "",
    *,
    errors: tuple[FieldProblem, ...] = (),
    retry_after: float = 1.0,
) -> tuple[dict[str, str], Problem]:
    """Headers and document of a problem; `retry_after` (seconds) is told with 429 and 503."""
    kind = PROBLEMS[code]
    status = kind.status
    body = Problem(
        type=f"{public_url}/errors/{code}",
        title=kind.title,
        status=status,
        detail=(detail or kind.explanation)[:MAX_ECHO],
        code=code,
        request_id=request_id,
        errors=errors,
    )
    headers = {"content-type": MEDIA_TYPE}
    if status == 401:
        headers["www-authenticate"] = f'Bearer error="{code}"' if code == "invalid_token" else "Bearer"
    if status == 413:
        headers["connection"] = "close"  # or the server would go on swallowing a body that nobody reads
    if status in (429, 503):
        headers["retry-after"] = str(max(1, math.ceil(retry_after)))
    return headers, body


def problem(public_url: str, request_id: str, code: str, detail: str = "") -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of a problem that no route has met."""
    headers, body = describe(public_url, request_id, code, detail)
    return body.status, headers, msgspec.json.encode(body)


def describe_error(request: AnyRequest, error: Exception) -> tuple[dict[str, str], Problem]:
    """Headers and document of the problem that an error comes to."""
    state = request.scope["state"]
    told: dict[str, Any] = {}
    extra: dict[str, str] = {}
    match error:
        case InvalidLink():
            code, told = error.code, {"detail": LINK_DETAIL}
        case RateLimited():
            code, told = error.code, {"detail": error.detail, "retry_after": error.quota.reset}
            state["quota"] = error.quota
        case Unavailable():
            code, told = error.code, {"detail": error.detail, "retry_after": error.retry_after}
        case MovieError():
            code, told = error.code, {"detail": error.detail, "errors": _rows(error)}
        case HTTPException() if error.status_code in _FOR_STATUS:
            code = _FOR_STATUS[error.status_code]
            extra = {name.lower(): value for name, value in (error.headers or {}).items() if name.lower() == "allow"}
        case HTTPException() if error.status_code < 500:
            code = "bad_request"
        case _:
            _log.error("request %s failed", state["request_id"], exc_info=error)
            code = "internal_error"
    headers, body = describe(state["public_url"], state["request_id"], code, **told)
    return headers | extra, body


def _rows(error: MovieError) -> tuple[FieldProblem, ...]:
    found = (error, *(error.others if isinstance(error, Invalid) else ()))
    return tuple(
        FieldProblem(one.field[:MAX_ECHO], one.code, one.detail[:MAX_ECHO]) for one in found if one.field is not None
    )


def answer(request: AnyRequest, error: Exception) -> Response[bytes]:
    """The exception handler of the whole application."""
    headers, body = describe_error(request, error)
    return Response(msgspec.json.encode(body), status_code=body.status, headers=headers, media_type=MEDIA_TYPE)
