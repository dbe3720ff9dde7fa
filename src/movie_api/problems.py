"""Problem documents (RFC 9457) for every 4xx and 5xx response, and the table from error code to status."""

import logging
import math
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
from litestar import Request, Response
from litestar.exceptions import HTTPException
from litestar.types import Send

from movie_api.context import RequestContext, context_of
from movie_api.middleware import send_response
from movie_api.schemas import JsonObject, documented
from movie_core.errors import Invalid, InvalidLink, MovieError, RateLimited, Unavailable
from movie_core.search.movies import NoMatch

AnyRequest = Request[Any, Any, Any]

MEDIA_TYPE = "application/problem+json"
MAX_ECHO = 200
"""Maximum characters of each text in a problem document, so that no response repeats long input."""
LINK_DETAIL = "the link is invalid, expired or superseded; verify-email/resend/ and password/forgot/ send a new one"
"""The detail of every `InvalidLink`, so that a response does not disclose why the link is invalid."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ProblemType:
    """A type of problem: its status, its title, and an explanation for users."""

    status: int
    title: str
    explanation: str


PROBLEMS: dict[str, ProblemType] = {
    "invalid_offset_or_limit": ProblemType(
        400,
        "Invalid offset or limit",
        "`offset` must be an integer from 0 to 10000 and `limit` one from 1 to 100, each given once, in decimal digits "
        "without sign, spaces or leading zeros.",
    ),
    "invalid_query": ProblemType(
        400,
        "Invalid query",
        "`query` must be given once, in percent-encoded UTF-8, with at most 200 characters and no control characters.",
    ),
    "invalid_parameter": ProblemType(
        400,
        "Invalid parameter",
        "A parameter is malformed, repeated, or not supported by this deployment; `errors` names it.",
    ),
    "unknown_parameter": ProblemType(
        400,
        "Unknown parameter",
        "The operation has no query parameter of this name; the detail states the closest one. `_` and names that "
        "begin with `utm_` are ignored.",
    ),
    "filter_unsupported": ProblemType(
        400,
        "Filter not supported by the source",
        "The movie source does not support this filter or order. Omit it, or omit the query where the detail says so.",
    ),
    "page_out_of_range": ProblemType(
        400,
        "Page out of range",
        "`offset` is not less than the number of matches, which the detail states.",
    ),
    "invalid_email": ProblemType(
        400,
        "Invalid email address",
        "An email address must be one plain mailbox of at most 254 bytes, such as name@example.com.",
    ),
    "invalid_username": ProblemType(
        400,
        "Invalid username",
        "A username has 1 to 30 characters: letters of one script, digits, dots, underscores, hyphens, and single "
        "spaces inside. It must not look like a web or email address.",
    ),
    "invalid_link": ProblemType(
        400,
        "Invalid link",
        "The activation or password reset link is malformed, expired, used, or superseded by a newer one. Request a "
        "new link.",
    ),
    "weak_password": ProblemType(
        400,
        "Weak password",
        "The password is too short, too long, similar to the email address or username, common, or easily guessed; the "
        "detail states which.",
    ),
    "invalid_password": ProblemType(
        400, "Invalid password", "The current password, or the password of the registration to activate, is wrong."
    ),
    "invalid_body": ProblemType(
        400,
        "Invalid body",
        "The body must be JSON in UTF-8 with the fields of this route only, each given once and of its type; `errors` "
        "names the invalid fields.",
    ),
    "invalid_rating": ProblemType(
        400, "Invalid rating", "A rating must be a number from 0.5 to 10, in multiples of 0.5."
    ),
    "invalid_event": ProblemType(
        400, "Invalid event", "An event is invalid, so none was stored; `errors` names the invalid field."
    ),
    "too_many_rows": ProblemType(
        400, "Too many rows", "The list has too many rows, so none was stored; the detail states the limit."
    ),
    "unclosed_quote": ProblemType(
        400,
        "Unclosed quote",
        "The file has an unclosed quote or is truncated, so none of it was stored; the detail names the line.",
    ),
    "several_users": ProblemType(
        400,
        "Ratings of several users",
        "The file has ratings of more than one user. Send the ratings of one user only.",
    ),
    "invalid_host": ProblemType(
        400,
        "Invalid host",
        "The Host header is missing, repeated or malformed, or its host is not one of `MOVIE_ALLOWED_HOSTS`.",
    ),
    "bad_request": ProblemType(400, "Bad request", "The request is malformed."),
    "not_authenticated": ProblemType(
        401, "Not authenticated", "Authentication is required: send `Authorization: Bearer <token>`."
    ),
    "invalid_token": ProblemType(
        401, "Invalid token", "The access or refresh token is malformed, expired, revoked or unknown. Log in again."
    ),
    "invalid_credentials": ProblemType(
        401,
        "Invalid credentials",
        "The email address or password is wrong, or the account is not active; the response does not disclose which.",
    ),
    "reauthentication_required": ProblemType(
        403,
        "Reauthentication required",
        "This request requires a recent login. Send the password to `authentication/reauthenticate/`, or log in again, "
        "and repeat the request with the new access token.",
    ),
    "not_allowed": ProblemType(403, "Not allowed", "The token is valid, but this route is for staff only."),
    "origin_not_allowed": ProblemType(
        403,
        "Origin not allowed",
        "The origin of the page that sent the request is not one of `MOVIE_CORS_ORIGINS`, so its scripts cannot use "
        "the API.",
    ),
    "movie_not_found": ProblemType(404, "Movie not found", "No movie matches the query or has this id."),
    "rating_not_found": ProblemType(404, "Rating not found", "You have not rated this movie."),
    "user_not_found": ProblemType(404, "User not found", "The user does not exist or was deleted."),
    "session_not_found": ProblemType(404, "Session not found", "The session does not exist or has ended."),
    "mail_not_found": ProblemType(
        404, "Email not found", "The email does not exist, or was sent and has since been deleted."
    ),
    "not_found": ProblemType(404, "Not found", "No resource has this path; see /docs for all paths."),
    "method_not_allowed": ProblemType(
        405, "Method not allowed", "This path does not support the method; the `Allow` header lists those it supports."
    ),
    "request_timeout": ProblemType(
        408, "Request timeout", "The body did not arrive in time; stalled connections are closed within 15 seconds."
    ),
    "username_taken": ProblemType(409, "Username taken", "The username is taken. Choose another one."),
    "password_required": ProblemType(
        409,
        "Password required",
        "Several registrations are pending for this address. Send the `password` of the one to activate, or a "
        "`new_password`.",
    ),
    "own_account": ProblemType(
        409,
        "Own account",
        "Staff users cannot deactivate themselves or revoke their own staff rights, as no staff user might remain. "
        "Another member of staff or the command line can.",
    ),
    "mail_not_dead": ProblemType(
        409, "Email not dead", "The email is pending or was sent; only dead emails can be retried."
    ),
    "too_many_ratings": ProblemType(
        409, "Too many ratings", "You have reached the maximum number of ratings. Delete some before you add others."
    ),
    "content_too_large": ProblemType(
        413, "Content too large", "The body is larger than 64 KiB, or than 2 MiB for an import."
    ),
    "uri_too_long": ProblemType(414, "URI too long", "Path and query string together are longer than 8 KiB."),
    "unsupported_media_type": ProblemType(
        415,
        "Unsupported media type",
        "`Content-Type` must be `application/json`, `text/csv` for the import of a file, or "
        "`application/x-www-form-urlencoded` for an HTML form; the body must be UTF-8 and not compressed.",
    ),
    "headers_too_large": ProblemType(
        431, "Headers too large", "The request has more than 100 headers, or headers of more than 16 KiB."
    ),
    "rate_limited": ProblemType(
        429,
        "Rate limited",
        "Too many requests. Retry after `Retry-After` seconds; `RateLimit` and `RateLimit-Policy` state the limit.",
    ),
    "internal_error": ProblemType(
        500,
        "Internal error",
        "An unexpected error, which is a bug. The log has its stack trace under the `request_id` of the response.",
    ),
    "unsupported_transfer_encoding": ProblemType(
        501,
        "Unsupported transfer encoding",
        "The only supported `Transfer-Encoding` is `chunked`, given once and alone. The connection is closed.",
    ),
    "source_unavailable": ProblemType(
        503,
        "Movie source unavailable",
        "The movie source returned no usable response in time. Retry after `Retry-After` seconds.",
    ),
    "store_unavailable": ProblemType(
        503, "Database unavailable", "The database is unavailable. Retry after `Retry-After` seconds."
    ),
    "busy": ProblemType(503, "Busy", "The process is at capacity. Retry after `Retry-After` seconds."),
}
"""Every error code, with its one status. A test checks that every error of the core is in this table."""

_CODE_OF_STATUS = {
    400: "bad_request",
    404: "not_found",
    405: "method_not_allowed",
    413: "content_too_large",
    414: "uri_too_long",
    415: "unsupported_media_type",
    431: "headers_too_large",
}


class FieldProblem(JsonObject):
    """The error of one parameter or field."""

    field: str
    code: str
    detail: str


class Problem(JsonObject, omit_defaults=True):
    """A problem document (RFC 9457)."""

    type: Annotated[str, documented(format="uri")]
    title: str
    status: Annotated[int, documented(minimum=400, maximum=599)]
    detail: str
    code: Annotated[str, documented("Stable. Later versions may add codes.", examples=sorted(PROBLEMS))]
    request_id: str
    errors: tuple[FieldProblem, ...]
    suggestions: Annotated[
        tuple[str, ...],
        documented("For a search without matches: titles that resemble the query. Left out if there are none."),
    ] = ()


def describe(
    public_url: str,
    request_id: str,
    code: str,
    detail: str = "",
    *,
    errors: tuple[FieldProblem, ...] = (),
    suggestions: Sequence[str] = (),
    retry_after: float = 1.0,
) -> tuple[dict[str, str], Problem]:
    """Headers and document of a problem; `retry_after` (seconds) is sent with 429 and 503 only."""
    problem_type = PROBLEMS[code]
    status = problem_type.status
    body = Problem(
        type=f"{public_url}/errors/{code}",
        title=problem_type.title,
        status=status,
        detail=(detail or problem_type.explanation)[:MAX_ECHO],
        code=code,
        request_id=request_id,
        errors=errors,
        suggestions=tuple(text[:MAX_ECHO] for text in suggestions),
    )
    headers = {"content-type": MEDIA_TYPE}
    if status == 401:
        headers["www-authenticate"] = f'Bearer error="{code}"' if code == "invalid_token" else "Bearer"
    if status in (413, 501):
        headers["connection"] = "close"  # otherwise the server would read the rest of the unused body
    if status in (429, 503):
        headers["retry-after"] = str(max(1, math.ceil(retry_after)))
    return headers, body


def problem(public_url: str, request_id: str, code: str, detail: str = "") -> tuple[int, dict[str, str], bytes]:
    """Status, headers and encoded body of a problem that a layer or the server detects."""
    headers, body = describe(public_url, request_id, code, detail)
    return body.status, headers, msgspec.json.encode(body)


def send_problem(send: Send, context: RequestContext, code: str, detail: str = "") -> Awaitable[None]:
    """Send the response to a request that a layer rejects."""
    status, headers, body = problem(context.public_url, context.request_id, code, detail)
    pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
    pairs.append((b"content-length", b"%d" % len(body)))
    return send_response(send, status, pairs, body)


def describe_error(request: AnyRequest, error: Exception) -> tuple[dict[str, str], Problem]:
    """Headers and document of the problem that an exception maps to; logs an unexpected exception."""
    context = context_of(request.scope)
    arguments: dict[str, Any] = {}
    extra: dict[str, str] = {}
    match error:
        case InvalidLink():
            code, arguments = error.code, {"detail": LINK_DETAIL}
        case RateLimited():
            code, arguments = error.code, {"detail": error.detail, "retry_after": error.quota.reset}
            context.quota = error.quota
        case Unavailable():
            code, arguments = error.code, {"detail": error.detail, "retry_after": error.retry_after}
        case NoMatch():
            code, arguments = error.code, {"detail": error.detail, "suggestions": error.suggestions}
        case MovieError():
            code, arguments = error.code, {"detail": error.detail, "errors": _field_problems(error)}
        case HTTPException() if error.status_code in _CODE_OF_STATUS:
            code = _CODE_OF_STATUS[error.status_code]
            extra = {name.lower(): value for name, value in (error.headers or {}).items() if name.lower() == "allow"}
        case HTTPException() if error.status_code < 500:
            code = "bad_request"
        case _:
            _log.error("request %s failed", context.request_id, exc_info=error)
            code = "internal_error"
    headers, body = describe(context.public_url, context.request_id, code, **arguments)
    return headers | extra, body


def _field_problems(error: MovieError) -> tuple[FieldProblem, ...]:
    errors = (error, *(error.others if isinstance(error, Invalid) else ()))
    return tuple(
        FieldProblem(each.field[:MAX_ECHO], each.code, each.detail[:MAX_ECHO])
        for each in errors
        if each.field is not None
    )


def problem_response(headers: Mapping[str, str], body: Problem) -> Response[bytes]:
    return Response(msgspec.json.encode(body), status_code=body.status, headers=dict(headers), media_type=MEDIA_TYPE)


def handle_error(request: AnyRequest, error: Exception) -> Response[bytes]:
    """The exception handler of the whole application."""
    return problem_response(*describe_error(request, error))
