"""The OpenAPI 3.1 document of the API, built once at start: every path, parameter, header and error.

It is written out here rather than derived from handlers, because handlers parse the raw query string themselves; a
test compares its paths and methods with the routes there are.
"""

from collections.abc import Iterable
from typing import Any

from movie_api.bodies import FORM, JSON
from movie_api.errors import MEDIA_TYPE, PROBLEMS
from movie_core.catalog import MAX_SUGGESTIONS
from movie_core.movies import MAX_GENRE, MAX_QUERY, Order, State
from movie_core.paging import DEFAULT_LIMIT, MAX_LIMIT, MAX_OFFSET
from movie_core.sessions import MAX_DEVICE, MAX_SESSIONS
from movie_core.users import MAX_USERNAME

Json = dict[str, Any]

_TEXT: Json = {"type": "string"}
_TEXTS: Json = {"type": "array", "items": _TEXT}
_URL: Json = {"type": "string", "format": "uri"}
_TIME: Json = {"type": "string", "format": "date-time"}
_EMAIL: Json = {
    "type": "string",
    "format": "email",
    "description": "One plain mailbox of at most 254 bytes.",
    "examples": ["ann@example.com"],
}
_USERNAME: Json = {
    "type": "string",
    "minLength": 1,
    "maxLength": MAX_USERNAME,
    "description": "Letters and digits of any script, `. _ -`, and single blanks inside.",
    "examples": ["ann"],
}
_PASSWORD: Json = {
    "type": "string",
    "format": "password",
    "description": "At most 1,024 bytes; long enough, not common or easily guessed, and unlike address and username.",
    "examples": ["velvet harbour quill tundra"],
}
_TOKEN: Json = {"type": "string"}


def _object(required: Iterable[str], **properties: Json) -> Json:
    return {"type": "object", "required": list(required), "properties": properties, "additionalProperties": False}


def _list(of: Json, **limits: int) -> Json:
    return {"type": "array", "items": of, **limits}


def _schema(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


_MOVIE_PROPERTIES: Json = {
    "id": {"type": "string", "description": "Opaque; belongs to the source.", "examples": ["tt0133093"]},
    "title": {"type": "string", "examples": ["The Matrix"]},
    "year": {"type": "integer"},
    "genres": _TEXTS,
    "original_title": _TEXT,
    "overview": _TEXT,
    "runtime_minutes": {"type": "integer"},
    "directors": _TEXTS,
    "cast": _TEXTS,
    "countries": _TEXTS,
    "poster_url": _URL,
    "imdb_id": _TEXT,
    "tmdb_id": _TEXT,
    "popularity": {"type": "number", "description": "On the source's own scale; greater is better known."},
}
_ID_AND_TITLE = ("id", "title")

_STATES = (
    "`live`: just fetched from the source. `fresh`: remembered. `stale`: remembered and past its time, as it is being "
    "fetched anew or the source fails. `fallback`: the source is away; from what it gave before."
)
SCHEMAS: Json = {
    "Movie": _object(_ID_AND_TITLE, **_MOVIE_PROPERTIES),
    "MovieDetails": _object((*_ID_AND_TITLE, "meta"), **_MOVIE_PROPERTIES, meta=_schema("Meta")),
    "Meta": _object(
        ("source", "state", "fetched_at"),
        source={"type": "string", "enum": ["third_party", "tmdb", "catalogue", "local"]},
        state={"type": "string", "enum": list(State), "description": _STATES},
        fetched_at={"type": "string", "format": "date-time"},
    ),
    "PageInfo": _object(
        ("current_page", "total_pages", "previous", "next"),
        current_page={"type": "integer", "minimum": 1},
        total_pages={"type": "integer", "minimum": 1},
        previous={"type": ["string", "null"], "format": "uri", "description": "null at offset 0 only"},
        next={"type": ["string", "null"], "format": "uri"},
    ),
    "MoviePage": _object(
        ("total", "items", "page_info", "meta"),
        total={"type": "integer", "minimum": 1, "description": "Matches in all, the source's own count."},
        items=_list(_schema("Movie"), minItems=1, maxItems=MAX_LIMIT),
        page_info=_schema("PageInfo"),
        meta=_schema("Meta"),
    ),
    "Suggestions": _object(
        ("items",),
        items=_list(_object(_ID_AND_TITLE, id=_TEXT, title=_TEXT, year={"type": "integer"}), maxItems=MAX_SUGGESTIONS),
    ),
    "Genres": _object(
        ("items",),
        items=_list(_object(("name", "movies"), name=_TEXT, movies={"type": "integer", "minimum": 1})),
    ),
    "NewAccount": _object(("email", "username", "password"), email=_EMAIL, username=_USERNAME, password=_PASSWORD),
    "Registered": _object(("email", "username"), email=_TEXT, username=_TEXT),
    "Credentials": _object(("email", "password"), email=_EMAIL, password=_PASSWORD),
    "Address": _object(("email",), email=_EMAIL),
    "TokenPair": _object(
        ("access", "refresh"),
        access=_TOKEN | {"description": "A JWT, for `Authorization: Bearer …`; good for minutes."},
        refresh=_TOKEN | {"description": "For `jwt/token/refresh/`, once; good for days."},
    ),
    "RefreshToken": _object(("refresh",), refresh=_TOKEN),
    "Activated": _object(
        ("message",),
        message=_TEXT,
        access=_TOKEN,
        refresh=_TOKEN,
        code={"const": "already_verified", "description": "The link was used before; then there are no tokens."},
    ),
    "ActivationLink": _object(("message",), message=_TEXT, code={"const": "already_verified"}),
    "Message": _object(("message",), message=_TEXT),
    "Nothing": _object(()),
    "NewPassword": _object(("uid", "token", "password"), uid=_TEXT, token=_TOKEN, password=_PASSWORD),
    "PasswordForm": _object(("password",), password=_PASSWORD),
    "PasswordChange": _object(("old_password", "new_password"), old_password=_PASSWORD, new_password=_PASSWORD),
    "Sessions": _object(
        ("items",),
        items=_list(
            _object(
                ("id", "device", "created_at", "last_used_at", "current"),
                id=_TEXT,
                device={"type": "string", "maxLength": MAX_DEVICE, "description": "The `User-Agent` that logged in."},
                created_at=_TIME,
                last_used_at=_TIME,
                current={"type": "boolean", "description": "Whether it is the one that asks."},
            ),
            maxItems=MAX_SESSIONS,
        ),
    ),
    "Profile": _object(
        ("id", "email", "username", "is_staff", "record_events", "created_at", "last_login"),
        id=_TEXT,
        email=_TEXT,
        username=_TEXT,
        is_staff={"type": "boolean"},
        record_events={"type": "boolean", "description": "Whether what the user does is recorded."},
        created_at=_TIME,
        last_login={"type": ["string", "null"], "format": "date-time"},
    ),
    "ProfileChange": _object((), username=_USERNAME, record_events={"type": "boolean"}),
    "Export": {
        "type": "object",
        "required": ["account", "registrations", "sessions", "mails"],
        "properties": {
            "account": {"type": ["object", "null"]},
            "registrations": _list({"type": "object"}),
            "sessions": _list({"type": "object"}),
            "mails": _list({"type": "object"}),
        },
    },
    "Health": {
        "type": "object",
        "required": ["status"],
        "properties": {"status": {"type": "string", "enum": ["ready", "degraded", "unavailable"]}},
        "additionalProperties": _object(
            ("status", "detail"), status={"type": "string", "enum": ["up", "down"]}, detail=_TEXT
        ),
        "description": "Beside `status`, one member for each part that the process leans on.",
    },
    "Live": _object(("status",), status={"const": "live"}),
    "Problem": _object(
        ("type", "title", "status", "detail", "code", "request_id", "errors"),
        type=_URL,
        title=_TEXT,
        status={"type": "integer", "minimum": 400, "maximum": 599},
        detail=_TEXT,
        code={"type": "string", "enum": sorted(PROBLEMS)},
        request_id=_TEXT,
        errors=_list(_object(("field", "code", "detail"), field=_TEXT, code=_TEXT, detail=_TEXT)),
    ),
}


def _parameter(name: str, description: str, schema: Json, example: Any = None, where: str = "query") -> Json:
    parameter = {"name": name, "in": where, "description": description, "required": where == "path", "schema": schema}
    return parameter if example is None else parameter | {"example": example}


_QUERY = _parameter(
    "query",
    f"What to look for; empty or left out: all movies. Up to {MAX_QUERY} characters after NFC and joining blanks, "
    "no control characters.",
    {"type": "string", "maxLength": MAX_QUERY, "pattern": r"^[^\x00-\x1f\x7f-\x9f]*$", "default": ""},
    "matrix",
)
_SEARCH_PARAMETERS = [
    _QUERY,
    _parameter(
        "offset",
        "Matches to pass over.",
        {"type": "integer", "minimum": 0, "maximum": MAX_OFFSET, "default": 0},
    ),
    _parameter(
        "limit",
        "Matches on a page.",
        {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT},
    ),
    _parameter(
        "year",
        "A year or an inclusive range of years.",
        {"type": "string", "pattern": r"^[0-9]{4}(\.\.[0-9]{4})?$"},
    ),
    _parameter(
        "genre",
        "A genre as `/api/v1/genres/` names it; case doesn't matter.",
        {"type": "string", "minLength": 1, "maxLength": MAX_GENRE, "pattern": r"^[^\x00-\x1f\x7f-\x9f]*$"},
    ),
    _parameter(
        "order",
        "Best match, best known, or newest first.",
        {"type": "string", "enum": list(Order), "default": Order.RELEVANCE.value},
    ),
]

_HEADERS: dict[str, Json] = {
    "X-Request-ID": {
        "description": "The request's own id where it sent a usable one, else a new one.",
        "schema": _TEXT,
    },
    "Link": {"description": "`first`, `prev`, `next`, `last` (RFC 8288), as in `page_info`.", "schema": _TEXT},
    "ETag": {"description": "Weak; of items, total and links.", "schema": _TEXT},
    "Cache-Control": {"description": "`private`; for accounts `no-store`", "schema": _TEXT},
    "Cache-Status": {
        "description": "RFC 9211: `movies; fwd=miss`, or of what is remembered `movies; hit; ttl=…`.",
        "schema": _TEXT,
    },
    "Age": {
        "description": "Seconds since a remembered answer was fetched.",
        "schema": {"type": "integer", "minimum": 0},
    },
    "WWW-Authenticate": {"description": "`Bearer`", "schema": _TEXT},
    "Allow": {"description": "The methods of the path.", "schema": _TEXT},
    "Retry-After": {"description": "Seconds.", "schema": {"type": "integer", "minimum": 1}},
    "RateLimit": {"description": "What is left (`r`), and in how many seconds more is (`t`).", "schema": _TEXT},
    "RateLimit-Policy": {"description": "At most `q` in any `w` seconds.", "schema": _TEXT},
}
_FOR_STATUS = {401: ("WWW-Authenticate",), 405: ("Allow",), 429: ("Retry-After",), 503: ("Retry-After",)}
_LIMITS = ("RateLimit", "RateLimit-Policy")
_BEFORE_LIMITS = (401, 405, 414, 431)
"""Statuses of answers to searches that were not counted."""


def _headers(*names: str) -> Json:
    return {name: _HEADERS[name] for name in ("X-Request-ID", *names)}


def _content(media_type: str, schema: Json) -> Json:
    return {media_type: {"schema": schema}}


_LINK = "invalid_token@400"
"""`invalid_token` as the link of a mail has it."""


def _problems(*codes: str, headers: Iterable[str] = (), is_page_too: bool = False, is_limited: bool = False) -> Json:
    """The error answers of an operation, those that every operation has included."""
    codes = (*codes, "rate_limited") if is_limited else codes
    codes = (*codes, "invalid_host", "method_not_allowed", "uri_too_long", "headers_too_large", "internal_error")
    by_status: dict[int, list[str]] = {}
    for code in codes:
        name, _, status = code.partition("@")
        by_status.setdefault(int(status or PROBLEMS[name].status), []).append(name)
    content = _content(MEDIA_TYPE, _schema("Problem")) | (_PAGE if is_page_too else {})
    return {
        str(status): {
            "description": ", ".join(f"`{code}`" for code in listed),
            "headers": _headers(
                *headers,
                *(_LIMITS if is_limited and status not in _BEFORE_LIMITS else ()),
                *_FOR_STATUS.get(status, ()),
            ),
            "content": content,
        }
        for status, listed in sorted(by_status.items())
    }


_PAGE = _content("text/html", _TEXT)


def _get(
    name: str,
    tag: str,
    summary: str,
    schema: Json,
    *errors: str,
    parameters: Iterable[Json] = (),
    headers: Iterable[str] = (),
    media_type: str = JSON,
    is_open: bool = False,
    is_limited: bool = False,
    more: Json | None = None,
) -> Json:
    told = (*headers, *(_LIMITS if is_limited else ()))
    answered = {"description": summary, "headers": _headers(*told), "content": _content(media_type, schema)}
    return {
        "get": {
            "operationId": name,
            "tags": [tag],
            "summary": summary,
            "parameters": list(parameters),
            "responses": {"200": answered, **(more or {}), **_problems(*errors, is_limited=is_limited)},
            **({"security": []} if is_open else {}),
        }
    }


_BODY = ("invalid_body", "content_too_large", "unsupported_media_type", "request_timeout")


def _account(
    method: str,
    name: str,
    summary: str,
    answered: str | None,
    *errors: str,
    status: int = 200,
    body: str | None = None,
    form: str | None = None,
    parameters: Iterable[Json] = (),
    is_open: bool = False,
    is_limited: bool = False,
    is_page_too: bool = False,
) -> Json:
    """An operation of the accounts. `answered`, `body` and `form` name schemas; `is_open` ones need no token."""
    always = ("Cache-Control", *(_LIMITS if is_limited else ()))
    told: Json = {"description": summary, "headers": _headers(*always)}
    pages = _PAGE if is_page_too else {}
    if answered is not None or pages:
        told["content"] = (_content(JSON, _schema(answered)) if answered else {}) | pages
    taken = (_content(JSON, _schema(body)) if body else {}) | (_content(FORM, _schema(form)) if form else {})
    codes = (*errors, *(_BODY if taken else ()), *(() if is_open else _ACCESS), "store_unavailable")
    if is_limited:
        codes = (*codes, "rate_limited")
    return {
        method: {
            "operationId": name,
            "tags": ["accounts"],
            "summary": summary,
            "parameters": list(parameters),
            **({"requestBody": {"required": body != "Nothing", "content": taken}} if taken else {}),
            "responses": {str(status): told, **_problems(*codes, headers=always, is_page_too=is_page_too)},
            "security": [] if is_open else [{"bearer": []}],
        }
    }


_ACCESS = ("not_authenticated", "invalid_token")
_AWAY = ("source_unavailable", "store_unavailable")
_NOT_MODIFIED = {
    "304": {
        "description": "As `If-None-Match` has it.",
        "headers": _headers("Link", "ETag", "Cache-Control", "Cache-Status", "Age", *_LIMITS),
    }
}
_LINK_PARAMETERS = [
    _parameter("uid", "As the mail has it.", _TEXT, where="path"),
    _parameter("token", "As the mail has it.", _TEXT, where="path"),
]
_LOGIN = ("invalid_credentials", "busy")
_IF_NONE_MATCH = _parameter("If-None-Match", "ETags of answers at hand.", _TEXT, where="header")

PATHS: Json = {
    "/api/v1/movies/": _get(
        "searchMovies",
        "movies",
        "Search movies, a page at a time",
        _schema("MoviePage"),
        *("invalid_offset_or_limit", "invalid_query", "invalid_parameter", "filter_unsupported", "page_out_of_range"),
        *("movie_not_found", *_ACCESS, *_AWAY),
        parameters=[*_SEARCH_PARAMETERS, _IF_NONE_MATCH],
        headers=("Link", "ETag", "Cache-Control", "Cache-Status", "Age"),
        is_limited=True,
        more=_NOT_MODIFIED,
    ),
    "/api/v1/movies/suggest/": _get(
        "suggestMovies",
        "movies",
        "Titles for a text that is being typed",
        _schema("Suggestions"),
        *("invalid_query", *_ACCESS, *_AWAY),
        parameters=[_QUERY],
        headers=("Cache-Control",),
        is_limited=True,
    ),
    "/api/v1/movies/{movie_id}/": _get(
        "getMovie",
        "movies",
        "Everything known of one movie",
        _schema("MovieDetails"),
        *("movie_not_found", *_ACCESS, *_AWAY),
        parameters=[
            _parameter("movie_id", "As a search answered it.", {"type": "string", "minLength": 1}, "tt0133093", "path")
        ],
        headers=("Cache-Control",),
        is_limited=True,
    ),
    "/api/v1/genres/": _get(
        "listGenres",
        "movies",
        "Genres, with the number of their movies",
        _schema("Genres"),
        *(*_ACCESS, *_AWAY),
        headers=("Cache-Control",),
        is_limited=True,
    ),
    "/api/v1/authentication/register/": _account(
        "post",
        "register",
        "Register; a mail with a link that activates the account follows",
        "Registered",
        *("invalid_email", "invalid_username", "weak_password", "username_taken", "busy"),
        status=201,
        body="NewAccount",
        is_open=True,
        is_limited=True,
    ),
    "/api/v1/authentication/verify-email/{uid}/{token}/": {
        **_account(
            "get",
            "showActivation",
            "What an activation link leads to; changes nothing. A page where `Accept` names `text/html`",
            "ActivationLink",
            _LINK,
            parameters=_LINK_PARAMETERS,
            is_open=True,
            is_page_too=True,
        ),
        **_account(
            "post",
            "activate",
            "Activate the account; logs a JSON client in",
            "Activated",
            *(_LINK, "username_taken"),
            body="Nothing",
            form="Nothing",
            parameters=_LINK_PARAMETERS,
            is_open=True,
            is_page_too=True,
        ),
    },
    "/api/v1/authentication/verify-email/resend/": _account(
        "post",
        "resendActivation",
        "Mail new activation links, where registrations wait",
        "Message",
        "invalid_email",
        status=202,
        body="Address",
        is_open=True,
    ),
    "/api/v1/authentication/login/": _account(
        "post", "logIn", "Log in", "TokenPair", *_LOGIN, body="Credentials", is_open=True, is_limited=True
    ),
    "/api/v1/authentication/jwt/token/": _account(
        "post",
        "createToken",
        "The same as `login/`",
        "TokenPair",
        *_LOGIN,
        body="Credentials",
        is_open=True,
        is_limited=True,
    ),
    "/api/v1/authentication/jwt/token/refresh/": _account(
        "post",
        "refreshToken",
        "Exchange a refresh token for new tokens",
        "TokenPair",
        "invalid_token",
        body="RefreshToken",
        is_open=True,
    ),
    "/api/v1/authentication/logout/": _account("post", "logOut", "End this session", "Message"),
    "/api/v1/authentication/password/forgot/": _account(
        "post",
        "forgotPassword",
        "Mail a link that resets the password, where there is an account",
        "Message",
        "invalid_email",
        status=202,
        body="Address",
        is_open=True,
    ),
    "/api/v1/authentication/password/reset/": _account(
        "post",
        "resetPassword",
        "Set a new password by a mailed link; ends all sessions",
        None,
        *(_LINK, "weak_password", "busy"),
        status=204,
        body="NewPassword",
        is_open=True,
    ),
    "/api/v1/authentication/password/reset/{uid}/{token}/": {
        **_account(
            "get",
            "showReset",
            "What a reset link leads to; changes nothing. A form where `Accept` names `text/html`",
            "Message",
            _LINK,
            parameters=_LINK_PARAMETERS,
            is_open=True,
            is_page_too=True,
        ),
        **_account(
            "post",
            "resetPasswordByForm",
            "The form's own way to set a new password; ends all sessions",
            None,
            *(_LINK, "weak_password", "busy"),
            form="PasswordForm",
            parameters=_LINK_PARAMETERS,
            is_open=True,
            is_page_too=True,
        ),
    },
    "/api/v1/authentication/password/change/": _account(
        "post",
        "changePassword",
        "Set a new password by the old one; ends the other sessions",
        None,
        *("invalid_password", "weak_password", "busy"),
        status=204,
        body="PasswordChange",
    ),
    "/api/v1/authentication/sessions/": {
        **_account("get", "listSessions", "The sessions of this account, the one used last first", "Sessions"),
        **_account("delete", "endOtherSessions", "End all other sessions", None, status=204),
    },
    "/api/v1/authentication/sessions/{session_id}/": _account(
        "delete",
        "endSession",
        "End one session",
        None,
        "session_not_found",
        status=204,
        parameters=[_parameter("session_id", "As `sessions/` lists it.", _TEXT, where="path")],
    ),
    "/api/v1/users/me/": {
        **_account("get", "getProfile", "The profile", "Profile"),
        **_account(
            "patch",
            "changeProfile",
            "Change the username, or whether events are recorded",
            "Profile",
            *("invalid_username", "username_taken", "user_not_found"),
            body="ProfileChange",
        ),
        **_account("delete", "eraseProfile", "Erase everything about this account", None, status=204),
    },
    "/api/v1/users/me/export/": _account("get", "exportProfile", "Everything stored about this account", "Export"),
    "/health/live": _get(
        "isLive", "operation", "Whether the process runs; touches nothing", _schema("Live"), is_open=True
    ),
    "/health/ready": _get(
        "isReady",
        "operation",
        "Whether the process can serve, and which parts are away",
        _schema("Health"),
        is_open=True,
        more={
            "503": {
                "description": "Nothing can be served, or the process is ending.",
                "headers": _headers("Retry-After"),
                "content": _content("application/json", _schema("Health")),
            }
        },
    ),
    "/errors/{code}": _get(
        "explainError",
        "operation",
        "What an error code means",
        _TEXT,
        "not_found",
        parameters=[
            _parameter(
                "code", "As problem documents carry it.", {"type": "string", "enum": sorted(PROBLEMS)}, None, "path"
            )
        ],
        media_type="text/html",
        is_open=True,
    ),
}


def document(public_url: str, *, version: str, public_search: bool, notice: str = "") -> Json:
    """The whole document. `notice` is what the source in use asks to be said of it."""
    description = "Searches movies held by a source that may fail, and answers in pages." + (notice and f"\n\n{notice}")
    bearer: Json = {"bearer": []}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Movie Search",
            "version": version,
            "description": description,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": public_url}],
        "security": [{}, bearer] if public_search else [bearer],
        "tags": [
            {"name": "movies", "description": "Search, details, suggestions, genres."},
            {"name": "accounts", "description": "Register, log in, sessions, passwords, profile."},
            {"name": "operation", "description": "For operators and readers."},
        ],
        "paths": PATHS,
        "components": {
            "schemas": SCHEMAS,
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
        },
    }
