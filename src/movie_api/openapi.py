"""The OpenAPI 3.1 document of the API, built once at startup: every path, parameter, header and error.

It is written by hand rather than derived from the handlers, because they parse the raw query string themselves. A test
compares its paths and methods with the registered routes.
"""

from collections.abc import Iterable
from typing import Any

from movie_api.problems import MEDIA_TYPE, PROBLEMS
from movie_api.request_body import CSV, FORM, JSON
from movie_core.accounts.outbox import MailState
from movie_core.accounts.sessions import MAX_DEVICE, MAX_SESSIONS
from movie_core.accounts.users import MAX_ADDRESS, MAX_USERNAME, UserState
from movie_core.discovery.analytics import DEFAULT_DAYS, MAX_DAYS, MAX_QUERIES
from movie_core.discovery.events import CLIENT_EVENT_KINDS, MAX_EVENTS, MAX_POSITION
from movie_core.discovery.ratings import HIGHEST, LOWEST, MAX_IMPORT
from movie_core.discovery.recommendations import MAX_REASONS, ReasonKind, Tier
from movie_core.discovery.trending import WEIGHTS, InteractionKind, TrendWindow
from movie_core.operations.audit import COMMAND_LINE, Action
from movie_core.paging import DEFAULT_LIMIT, MAX_LIMIT, MAX_OFFSET
from movie_core.provenance import CacheStatus
from movie_core.search.movie_search import MAX_SUGGESTIONS
from movie_core.search.movies import MAX_GENRE, Order
from movie_core.text import MAX_QUERY

Json = dict[str, Any]

_NO_CONTROLS = r"^[^\x00-\x1f\x7f-\x9f]*$"

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
    "description": "Letters and digits of any script, `. _ -`, and single spaces inside.",
    "examples": ["ann"],
}
_PASSWORD: Json = {
    "type": "string",
    "format": "password",
    "description": "At most 1,024 bytes, not short, common, easily guessed, or similar to email address or username.",
    "examples": ["velvet harbour quill tundra"],
}
_EXISTING_PASSWORD: Json = {"type": "string", "format": "password", "examples": _PASSWORD["examples"]}
"""An existing password, to which the rules for new passwords do not apply."""
_TOKEN: Json = {"type": "string"}


def _object(required: Iterable[str], **properties: Json) -> Json:
    return {"type": "object", "required": list(required), "properties": properties, "additionalProperties": False}


def _list(of: Json, **limits: int) -> Json:
    return {"type": "array", "items": of, **limits}


def _schema(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def _page_of(item: Json, **more: Json) -> Json:
    """A page of a list that may be empty; `more` are further properties."""
    return _object(
        ("total", "items", "page_info", *more),
        total={"type": "integer", "minimum": 0},
        items=_list(item, maxItems=MAX_LIMIT),
        page_info=_schema("PageInfo"),
        **more,
    )


_SCORE: Json = {"type": "number", "minimum": LOWEST, "maximum": HIGHEST, "multipleOf": 0.5, "examples": [8.5]}
_TIERS = "`personal`: based on the user's ratings. `popular`: the user has no ratings yet."
_MOVIE_PROPERTIES: Json = {
    "id": {"type": "string", "description": "Opaque; assigned by the source.", "examples": ["tt0133093"]},
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
    "popularity": {"type": "number", "description": "On the source's own scale; greater means more popular."},
}
_ID_AND_TITLE = ("id", "title")

_STATES = (
    "`live`: just fetched from the source. `fresh`: from the cache. `stale`: from the cache, past its freshness, as it "
    "is being refreshed or the source is failing. `fallback`: from the local catalogue, as the source is unavailable."
)
_COUNT: Json = {"type": "integer", "minimum": 0}


def _figures(**properties: Json) -> Json:
    """Figures for the days in `meta`."""
    return _object((*properties, "meta"), **properties, meta=_schema("DaysMeta"))


def _rows(**properties: Json) -> Json:
    return _figures(items=_list(_object(properties, **properties)))


SCHEMAS: Json = {
    "Movie": _object(_ID_AND_TITLE, **_MOVIE_PROPERTIES),
    "MovieDetails": _object((*_ID_AND_TITLE, "meta"), **_MOVIE_PROPERTIES, meta=_schema("Meta")),
    "Meta": _object(
        ("source", "state", "fetched_at"),
        source={"type": "string", "enum": ["third_party", "tmdb", "catalogue", "local"]},
        state={"type": "string", "enum": list(CacheStatus), "description": _STATES},
        fetched_at={"type": "string", "format": "date-time"},
    ),
    "PageInfo": _object(
        ("current_page", "total_pages", "previous", "next"),
        current_page={"type": "integer", "minimum": 1},
        total_pages={"type": "integer", "minimum": 0},
        previous={"type": ["string", "null"], "format": "uri", "description": "`null` at offset 0 only."},
        next={"type": ["string", "null"], "format": "uri"},
    ),
    "MoviePage": _object(
        ("total", "items", "page_info", "meta"),
        total={"type": "integer", "minimum": 1, "description": "Number of all matches, as counted by the source."},
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
    "Credentials": _object(("email", "password"), email=_EMAIL, password=_EXISTING_PASSWORD),
    "Address": _object(("email",), email=_EMAIL),
    "TokenPair": _object(
        ("access", "refresh"),
        access=_TOKEN | {"description": "A JWT for `Authorization: Bearer <token>`; valid for minutes."},
        refresh=_TOKEN | {"description": "For one use with `jwt/token/refresh/`; valid for days."},
    ),
    "RefreshToken": _object(("refresh",), refresh=_TOKEN),
    "Activated": _object(
        ("message",),
        message=_TEXT,
        access=_TOKEN,
        refresh=_TOKEN,
        code={"const": "already_verified", "description": "The link was used before; no tokens are returned."},
    ),
    "ActivationLink": _object(("message",), message=_TEXT, code={"const": "already_verified"}),
    "Message": _object(("message",), message=_TEXT),
    "Activation": _object(
        (),
        password=_EXISTING_PASSWORD | {"description": "The password of the registration."},
        new_password=_PASSWORD | {"description": "A new password, which replaces the password of the registration."},
    )
    | {
        "not": {"required": ["password", "new_password"]},
        "examples": [{"password": example} for example in _PASSWORD["examples"]],
    },
    "ActivationForm": _object(
        (),
        password=_PASSWORD,
        new={"type": "string", "description": "If present, `password` is a new password."},
    ),
    "GivenPassword": _object(("password",), password=_EXISTING_PASSWORD),
    "Nothing": _object(()),
    "NewPassword": _object(("uid", "token", "password"), uid=_TEXT, token=_TOKEN, password=_PASSWORD),
    "PasswordForm": _object(("password",), password=_PASSWORD),
    "PasswordChange": _object(
        ("old_password", "new_password"), old_password=_EXISTING_PASSWORD, new_password=_PASSWORD
    ),
    "Sessions": _object(
        ("items",),
        items=_list(
            _object(
                ("id", "device", "created_at", "last_used_at", "current"),
                id=_TEXT,
                device={"type": "string", "maxLength": MAX_DEVICE, "description": "The `User-Agent` of the login."},
                created_at=_TIME,
                last_used_at=_TIME | {"description": "Time of the last login or refresh."},
                current={"type": "boolean", "description": "Whether this request belongs to the session."},
            ),
            maxItems=MAX_SESSIONS,
        ),
    ),
    "Rating": _object(("movie_id", "rating", "rated_at"), movie_id=_TEXT, rating=_SCORE, rated_at=_TIME),
    "NewRating": _object(("rating",), rating=_SCORE),
    "RatedMovies": _page_of(
        _object((*_ID_AND_TITLE, "rating", "rated_at"), **_MOVIE_PROPERTIES, rating={"type": "number"}, rated_at=_TIME),
    ),
    "RatingImport": _list(
        _object(("movie_id", "rating"), movie_id=_TEXT, rating={"type": "number"}, rated_at=_TIME), maxItems=MAX_IMPORT
    ),
    "Imported": _object(
        ("accepted", "rejected"),
        accepted={"type": "integer", "minimum": 0, "description": "Number of accepted rows."},
        rejected=_list(
            _object(
                ("row", "code", "detail"),
                row={"type": "integer", "minimum": 1, "description": "Counted from 1, without the header row."},
                code=_TEXT,
                detail=_TEXT,
            )
        ),
    ),
    "Recommendations": _page_of(
        _schema("SuggestedMovie"),
        meta=_object(("tier",), tier={"type": "string", "enum": list(Tier), "description": _TIERS}),
    ),
    "SimilarMovies": _page_of(_schema("SuggestedMovie")),
    "SuggestedMovie": _object(
        (*_ID_AND_TITLE, "score", "reasons"),
        **_MOVIE_PROPERTIES,
        score={"type": "number", "description": "Comparable within this list only."},
        reasons=_list(
            _object(
                ("kind", "movie_id", "title"),
                kind={"type": "string", "enum": list(ReasonKind)},
                movie_id=_TEXT,
                title=_TEXT,
            ),
            maxItems=MAX_REASONS,
        ),
    ),
    "Trending": _object(
        ("items", "meta"),
        items=_list(
            _object(
                (*_ID_AND_TITLE, "score", "counts"),
                **_MOVIE_PROPERTIES,
                score={"type": "number", "description": "The sum of the weights, each halved after every half-life."},
                counts=_object(
                    tuple(InteractionKind),
                    **{kind.value: {"type": "integer", "minimum": 0} for kind in InteractionKind},
                ),
            ),
            maxItems=MAX_LIMIT,
        ),
        meta=_object(
            ("window", "half_life", "weights", "state", "as_of"),
            window={"type": "string", "enum": list(TrendWindow)},
            half_life={"type": "integer", "description": "Seconds."},
            weights=_object(tuple(WEIGHTS), **{kind: {"type": "number"} for kind in WEIGHTS}),
            state={
                "type": "string",
                "enum": ["live", "stale"],
                "description": "`stale`: the result of `as_of`, as the store is unavailable or being rebuilt.",
            },
            as_of=_TIME,
        ),
    ),
    "Events": _list(
        _object(
            ("type", "movie_id"),
            type={"type": "string", "enum": sorted(CLIENT_EVENT_KINDS)},
            movie_id=_TEXT,
            query={
                "type": "string",
                "maxLength": MAX_QUERY,
                "pattern": _NO_CONTROLS,
                "description": "The query of the search that showed the movie.",
            },
            position={
                "type": "integer",
                "minimum": 1,
                "maximum": MAX_POSITION,
                "description": "Position among all matches of that search, from 1.",
            },
            at={"type": "string", "format": "date-time", "description": "Defaults to now; a future time becomes now."},
        ),
        minItems=1,
        maxItems=MAX_EVENTS,
    ),
    "Profile": _object(
        ("id", "email", "username", "is_staff", "record_events", "created_at", "last_login"),
        id=_TEXT,
        email=_TEXT,
        username=_TEXT,
        is_staff={"type": "boolean"},
        record_events={"type": "boolean", "description": "Whether events of this user are recorded."},
        created_at=_TIME,
        last_login={"type": ["string", "null"], "format": "date-time"},
    ),
    "ProfileChange": _object((), username=_USERNAME, record_events={"type": "boolean"}),
    "Export": {
        "type": "object",
        "required": ["account", "registrations", "sessions", "login_networks", "mails"],
        "properties": {
            "account": {"type": ["object", "null"]},
            "registrations": _list({"type": "object"}),
            "login_networks": _list({"type": "object"}),
            "sessions": _list({"type": "object"}),
            "mails": _list({"type": "object"}),
            "ratings": _list({"type": "object"}),
            "events": _list({"type": "object"}),
            "audit": _list({"type": "object"}),
        },
    },
    "DaysMeta": _object(
        ("from", "to"),
        **{name: {"type": "string", "format": "date", "description": "UTC day, included."} for name in ("from", "to")},
    ),
    "Summary": _figures(
        searches=_COUNT,
        users=_COUNT | {"description": "Authenticated users who searched, clicked or rated."},
        ratings=_COUNT,
        clicks=_COUNT,
        zero_result_searches=_COUNT,
    ),
    "QueryCounts": _figures(
        items=_list(_object(("query", "count", "users"), query=_TEXT, count=_COUNT, users=_COUNT), maxItems=MAX_QUERIES)
    ),
    "Clicks": _figures(
        searches=_COUNT | {"description": "Searches for the first page, with or without matches."},
        clicks=_COUNT,
        click_through_rate={
            "type": "number",
            "minimum": 0,
            "maximum": 1,
            "description": "Share of searches followed by a click of the same user on that query within 30 minutes.",
        },
        mean_position={
            "type": ["number", "null"],
            "description": "Mean position of the clicked results; 1 is the first result.",
        },
    ),
    "Funnel": _figures(
        searched=_COUNT | {"description": "Number of users, as in the other steps."},
        clicked=_COUNT | {"description": "Number of these users who then clicked."},
        rated=_COUNT | {"description": "Number of these users who then rated."},
    ),
    "Retention": _rows(
        cohort={"type": "string", "description": "ISO week of the activation.", "examples": ["2026-W47"]},
        size=_COUNT,
        returned=_list(_COUNT)
        | {"description": "Number of users who searched in that week, the next week, and so on."},
    ),
    "SourceDays": _rows(
        day={"type": "string", "format": "date"},
        attempts=_COUNT | {"description": "Calls to the movie source."},
        failures=_COUNT | {"description": "Calls without a usable response."},
        live=_COUNT,
        fresh=_COUNT,
        stale=_COUNT,
        fallback=_COUNT,
    ),
    "Person": _object(
        ("id", "email", "username", "is_active", "is_staff", "created_at", "last_login"),
        id=_TEXT,
        email=_TEXT,
        username=_TEXT,
        is_active={"type": "boolean", "description": "Also false for pending registrations."},
        is_staff={"type": "boolean"},
        created_at=_TIME,
        last_login={"type": ["string", "null"], "format": "date-time"},
    ),
    "People": _page_of(_schema("Person")),
    "PersonChange": _object((), is_active={"type": "boolean"}, is_staff={"type": "boolean"}),
    "KeptMail": _object(
        ("id", "to", "subject", "state", "attempts", "last_error", "created_at", "sent_at"),
        id=_TEXT,
        to={"type": "string", "description": "Empty until the email is prepared, which a rate limit may delay."},
        subject=_TEXT,
        state={"type": "string", "enum": list(MailState), "description": "`dead`: no longer retried."},
        attempts=_COUNT,
        last_error={"type": "string", "description": "The last response of the mail server; empty if there was none."},
        created_at=_TIME,
        sent_at={"type": ["string", "null"], "format": "date-time"},
    ),
    "KeptMails": _page_of(_schema("KeptMail")),
    "AuditEntries": _page_of(
        _object(
            ("id", "at", "actor", "action", "account_id", "mail_id"),
            id=_TEXT,
            at=_TIME,
            actor={
                "type": "string",
                "description": f"The id of a user, or `{COMMAND_LINE}`; empty if that user was erased.",
            },
            action={"type": "string", "enum": list(Action)},
            account_id={"type": ["string", "null"], "description": "The affected user, unless erased since."},
            mail_id={"type": ["string", "null"], "description": "The affected email."},
        )
    ),
    "Health": {
        "type": "object",
        "required": ["status"],
        "properties": {"status": {"type": "string", "enum": ["ready", "degraded", "unavailable"]}},
        "additionalProperties": _object(
            ("status", "detail"), status={"type": "string", "enum": ["up", "down"]}, detail=_TEXT
        ),
        "description": "Besides `status`, one member for each dependency of the process.",
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
    f"Search text; empty or omitted: all movies. At most {MAX_QUERY} characters after NFC and collapsing of spaces, "
    "no control characters.",
    {"type": "string", "maxLength": MAX_QUERY, "pattern": _NO_CONTROLS, "default": ""},
    "matrix",
)
_SEARCH_PARAMETERS = [
    _QUERY,
    _parameter(
        "offset",
        "Number of matches to skip.",
        {"type": "integer", "minimum": 0, "maximum": MAX_OFFSET, "default": 0},
    ),
    _parameter(
        "limit",
        "Maximum number of matches on a page.",
        {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT},
    ),
    _parameter(
        "year",
        "A year or an inclusive range of years.",
        {"type": "string", "pattern": r"^[0-9]{4}(\.\.[0-9]{4})?$"},
    ),
    _parameter(
        "genre",
        "A genre as listed by `/api/v1/genres/`; case-insensitive.",
        {"type": "string", "minLength": 1, "maxLength": MAX_GENRE, "pattern": _NO_CONTROLS},
    ),
    _parameter(
        "order",
        "`relevance`: best match first. `popularity`: most popular first. `year`: newest first. `personal` (requires "
        "authentication): the first 100 matches by the user's preferences.",
        {"type": "string", "enum": list(Order), "default": Order.RELEVANCE.value},
    ),
    _parameter(
        "exclude",
        "Omits movies that the user has rated; requires authentication.",
        {"type": "string", "enum": ["rated"]},
    ),
]
_PAGING = _SEARCH_PARAMETERS[1:3]
_MOVIE_ID = _parameter(
    "movie_id", "The id of a movie in a search result.", {"type": "string", "minLength": 1}, "tt0133093", "path"
)

_HEADERS: dict[str, Json] = {
    "X-Request-ID": {
        "description": "The id sent by the client if it is valid, else a generated one.",
        "schema": _TEXT,
    },
    "Link": {"description": "`first`, `prev`, `next`, `last` (RFC 8288), as in `page_info`.", "schema": _TEXT},
    "ETag": {"description": "Weak; computed from items, total and links.", "schema": _TEXT},
    "Cache-Control": {
        "description": "`private`; `no-store` for accounts, ratings, recommendations and staff routes.",
        "schema": _TEXT,
    },
    "Cache-Status": {
        "description": "RFC 9211: `movies; fwd=miss`, or `movies; hit; ttl=…` for a cached response.",
        "schema": _TEXT,
    },
    "Age": {
        "description": "Seconds since a cached response was fetched.",
        "schema": {"type": "integer", "minimum": 0},
    },
    "Vary": {"description": "`Accept`", "schema": _TEXT},
    "Content-Disposition": {"description": "For CSV: the name of the file.", "schema": _TEXT},
    "WWW-Authenticate": {"description": "`Bearer`", "schema": _TEXT},
    "Allow": {"description": "The methods that the path supports.", "schema": _TEXT},
    "Retry-After": {"description": "Seconds.", "schema": {"type": "integer", "minimum": 1}},
    "RateLimit": {
        "description": "Remaining requests (`r`), and seconds until more are available (`t`).",
        "schema": _TEXT,
    },
    "RateLimit-Policy": {"description": "At most `q` requests in any `w` seconds.", "schema": _TEXT},
}
_LIMITS = ("RateLimit", "RateLimit-Policy")
_HEADERS_OF_STATUS = {
    401: ("WWW-Authenticate",),
    405: ("Allow",),
    429: ("Retry-After", *_LIMITS),
    503: ("Retry-After",),
}
_UNCOUNTED_STATUSES = (401, 405, 414, 431)
"""Statuses of responses that are sent before the rate limit is counted, so they have no `RateLimit` headers."""


def _headers(*names: str) -> Json:
    return {name: _HEADERS[name] for name in ("X-Request-ID", *names)}


def _content(media_type: str, schema: Json) -> Json:
    return {media_type: {"schema": schema}}


def _problems(*codes: str, headers: Iterable[str] = (), is_html_too: bool = False, is_limited: bool = False) -> Json:
    """The error responses of an operation, including those that every operation has."""
    codes = (*codes, "rate_limited") if is_limited else codes
    codes = (*codes, "invalid_host", "method_not_allowed", "uri_too_long", "headers_too_large", "internal_error")
    by_status: dict[int, list[str]] = {}
    for code in codes:
        by_status.setdefault(PROBLEMS[code].status, []).append(code)
    content = _content(MEDIA_TYPE, _schema("Problem")) | (_PAGE if is_html_too else {})
    return {
        str(status): {
            "description": ", ".join(f"`{code}`" for code in listed),
            "headers": _headers(
                *headers,
                *(_LIMITS if is_limited and status not in _UNCOUNTED_STATUSES else ()),
                *_HEADERS_OF_STATUS.get(status, ()),
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
    names = (*headers, *(_LIMITS if is_limited else ()))
    success = {"description": summary, "headers": _headers(*names), "content": _content(media_type, schema)}
    return {
        "get": {
            "operationId": name,
            "tags": [tag],
            "summary": summary,
            "parameters": list(parameters),
            "responses": {"200": success, **(more or {}), **_problems(*errors, is_limited=is_limited)},
            **({"security": []} if is_open else {}),
        }
    }


_BODY = ("invalid_body", "content_too_large", "unsupported_media_type", "request_timeout")


def _account(
    method: str,
    name: str,
    summary: str,
    response: str | None,
    *errors: str,
    status: int = 200,
    body: str | None = None,
    form: str | None = None,
    parameters: Iterable[Json] = (),
    is_open: bool = False,
    is_body_required: bool = True,
    is_limited: bool = False,
    is_html_too: bool = False,
) -> Json:
    """An operation on accounts. `response`, `body` and `form` name schemas; `is_open`: no token is required."""
    always = ("Cache-Control", *(_LIMITS if is_limited else ()))
    success: Json = {"description": summary, "headers": _headers(*always)}
    pages = _PAGE if is_html_too else {}
    if response is not None or pages:
        success["content"] = (_content(JSON, _schema(response)) if response else {}) | pages
    request = (_content(JSON, _schema(body)) if body else {}) | (_content(FORM, _schema(form)) if form else {})
    codes = (*errors, *(_BODY if request else ()), *(() if is_open else _ACCESS), "store_unavailable")
    if is_limited:
        codes = (*codes, "rate_limited")
    return {
        method: {
            "operationId": name,
            "tags": ["accounts"],
            "summary": summary,
            "parameters": list(parameters),
            **({"requestBody": {"required": is_body_required, "content": request}} if request else {}),
            "responses": {str(status): success, **_problems(*codes, headers=always, is_html_too=is_html_too)},
            "security": [] if is_open else [{"bearer": []}],
        }
    }


def _analytics(name: str, summary: str, schema: str) -> Json:
    """An operation for staff. In CSV the same names are columns, and the values of a list are joined by `|`."""
    operation = _get(
        name,
        "analytics",
        summary,
        _schema(schema),
        *("invalid_parameter", *_ACCESS, "not_allowed", "store_unavailable"),
        parameters=_DAYS,
        headers=("Cache-Control", "Vary", "Content-Disposition"),
    )
    operation["get"]["responses"]["200"]["content"] |= _content("text/csv", _TEXT)
    operation["get"]["security"] = [{"bearer": []}]
    return operation


def _admin(
    method: str,
    name: str,
    summary: str,
    response: str,
    *errors: str,
    body: str | None = None,
    is_body_required: bool = True,
    parameters: Iterable[Json] = (),
) -> Json:
    """An operation for staff. `response` and `body` name schemas; an operation without a body is a list."""
    is_limited = body is not None
    headers = ("Cache-Control", *_LIMITS) if is_limited else ("Cache-Control", "Link")
    codes = (*errors, *(_BODY if body else _LIST), *_ACCESS, "not_allowed", "store_unavailable")
    content = {"content": _content(JSON, _schema(body))} if body else {}
    return {
        method: {
            "operationId": name,
            "tags": ["administration"],
            "summary": summary,
            "parameters": [*parameters, *([] if body else _PAGING)],
            **({"requestBody": {"required": is_body_required, **content}} if body else {}),
            "responses": {
                "200": {
                    "description": summary,
                    "headers": _headers(*headers),
                    "content": _content(JSON, _schema(response)),
                },
                **_problems(*codes, headers=("Cache-Control",), is_limited=is_limited),
            },
            "security": [{"bearer": []}],
        }
    }


def _personal(
    method: str,
    name: str,
    summary: str,
    response: str | None,
    *errors: str,
    status: int = 200,
    body: Json | None = None,
    parameters: Iterable[Json] = (),
    headers: Iterable[str] = (),
    is_limited: bool = False,
) -> Json:
    """An operation on data of the caller. `response` names a schema; `body` is the content by media type."""
    success: Json = {
        "description": summary,
        "headers": _headers("Cache-Control", *headers, *(_LIMITS if is_limited else ())),
        **({"content": _content(JSON, _schema(response))} if response else {}),
    }
    codes = (*errors, *(_BODY if body else ()), *_ACCESS, *_UNAVAILABLE)
    return {
        method: {
            "operationId": name,
            "tags": ["ratings"],
            "summary": summary,
            "parameters": list(parameters),
            **({"requestBody": {"required": True, "content": body}} if body else {}),
            "responses": {str(status): success, **_problems(*codes, is_limited=is_limited)},
            "security": [{"bearer": []}],
        }
    }


_ACCESS = ("not_authenticated", "invalid_token")
_LIST = ("invalid_offset_or_limit", "page_out_of_range")
_UNAVAILABLE = ("source_unavailable", "store_unavailable")
_NOT_MODIFIED = {
    "304": {
        "description": "Not modified: the ETag matches `If-None-Match`.",
        "headers": _headers("Link", "ETag", "Cache-Control", "Cache-Status", "Age", *_LIMITS),
    }
}
_DAYS = [
    _parameter(
        "from",
        f"First day (UTC), included; by default the range has {DEFAULT_DAYS} days, at most {MAX_DAYS}.",
        {"type": "string", "format": "date"},
    ),
    _parameter("to", "Last day (UTC), included; today by default.", {"type": "string", "format": "date"}),
]
_LETTERBOXD_EXAMPLE = "Date,Name,Year,Letterboxd URI,Rating\n2024-03-03,Casablanca,1942,https://boxd.it/2b0k,4.5\n"
_LINK_PARAMETERS = [
    _parameter("uid", "From the mailed link.", _TEXT, where="path"),
    _parameter("token", "From the mailed link.", _TEXT, where="path"),
]
_LOGIN = ("invalid_credentials", "busy")
_IF_NONE_MATCH = _parameter("If-None-Match", "ETags of responses that the client has stored.", _TEXT, where="header")

PATHS: Json = {
    "/api/v1/movies/": _get(
        "searchMovies",
        "movies",
        "Search movies",
        _schema("MoviePage"),
        *("invalid_offset_or_limit", "invalid_query", "invalid_parameter", "filter_unsupported", "page_out_of_range"),
        *("movie_not_found", *_ACCESS, *_UNAVAILABLE),
        parameters=[*_SEARCH_PARAMETERS, _IF_NONE_MATCH],
        headers=("Link", "ETag", "Cache-Control", "Cache-Status", "Age"),
        is_limited=True,
        more=_NOT_MODIFIED,
    ),
    "/api/v1/movies/suggest/": _get(
        "suggestMovies",
        "movies",
        "Suggest titles for a partial query",
        _schema("Suggestions"),
        *("invalid_query", *_ACCESS, *_UNAVAILABLE),
        parameters=[_QUERY],
        headers=("Cache-Control",),
        is_limited=True,
    ),
    "/api/v1/movies/{movie_id}/": _get(
        "getMovie",
        "movies",
        "Details of a movie",
        _schema("MovieDetails"),
        *("movie_not_found", *_ACCESS, *_UNAVAILABLE),
        parameters=[_MOVIE_ID],
        headers=("Cache-Control",),
        is_limited=True,
    ),
    "/api/v1/movies/{movie_id}/similar/": _get(
        "listSimilarMovies",
        "movies",
        "Similar movies, most similar first",
        _schema("SimilarMovies"),
        *(*_LIST, "movie_not_found", *_ACCESS, *_UNAVAILABLE),
        parameters=[_MOVIE_ID, *_PAGING],
        headers=("Link", "Cache-Control"),
        is_limited=True,
    ),
    "/api/v1/movies/trending/": _get(
        "listTrendingMovies",
        "movies",
        "Trending movies",
        _schema("Trending"),
        *("invalid_parameter", "invalid_offset_or_limit", *_ACCESS, *_UNAVAILABLE),
        parameters=[
            _parameter(
                "window",
                "Half-life of the weights: 6 hours for `day`, 2 days for `week`.",
                {"type": "string", "enum": list(TrendWindow), "default": TrendWindow.DAY.value},
            ),
            *_PAGING,
        ],
        headers=("Cache-Control",),
        is_limited=True,
    ),
    "/api/v1/movies/{movie_id}/rating/": {
        **_personal(
            "put",
            "rateMovie",
            "Rate a movie from a search result",
            "Rating",
            *("invalid_rating", "movie_not_found", "too_many_ratings"),
            body=_content(JSON, _schema("NewRating")),
            parameters=[_MOVIE_ID],
            is_limited=True,
        ),
        **_personal(
            "get",
            "getRating",
            "The rating that the user gave the movie",
            "Rating",
            "rating_not_found",
            parameters=[_MOVIE_ID],
        ),
        **_personal(
            "delete", "removeRating", "Delete a rating", None, status=204, parameters=[_MOVIE_ID], is_limited=True
        ),
    },
    "/api/v1/users/me/ratings/": {
        **_personal(
            "get",
            "listRatings",
            "The movies that the user has rated, newest rating first",
            "RatedMovies",
            *_LIST,
            parameters=_PAGING,
            headers=("Link",),
            is_limited=True,
        ),
        **_personal(
            "put",
            "importRatings",
            f"Import up to {MAX_IMPORT} ratings, as JSON or as a file exported by IMDb, Letterboxd or MovieLens",
            "Imported",
            *("too_many_rows", "several_users", "too_many_ratings"),
            body=_content(JSON, _schema("RatingImport")) | _content(CSV, _TEXT | {"examples": [_LETTERBOXD_EXAMPLE]}),
            is_limited=True,
        ),
    },
    "/api/v1/recommendations/": _personal(
        "get",
        "recommendMovies",
        "Recommended movies, based on all ratings so far",
        "Recommendations",
        *_LIST,
        parameters=_PAGING,
        headers=("Link",),
        is_limited=True,
    ),
    "/api/v1/events/": _personal(
        "post",
        "tellEvents",
        "Record impressions, clicks and views of the user",
        "Imported",
        *("invalid_event", "too_many_rows", "busy"),
        status=202,
        body=_content(JSON, _schema("Events")),
        is_limited=True,
    ),
    "/api/v1/genres/": _get(
        "listGenres",
        "movies",
        "Genres, with their number of movies",
        _schema("Genres"),
        *(*_ACCESS, *_UNAVAILABLE),
        headers=("Cache-Control",),
        is_limited=True,
    ),
    "/api/v1/authentication/register/": _account(
        "post",
        "register",
        "Register; an email with an activation link follows",
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
            "Show what the activation link does, without any change; an HTML page if `Accept` has `text/html`",
            "ActivationLink",
            "invalid_link",
            parameters=_LINK_PARAMETERS,
            is_open=True,
            is_html_too=True,
        ),
        **_account(
            "post",
            "activate",
            "Activate the account; a JSON client is logged in",
            "Activated",
            *("invalid_link", "invalid_password", "weak_password", "username_taken", "password_required", "busy"),
            body="Activation",
            form="ActivationForm",
            is_body_required=False,
            parameters=_LINK_PARAMETERS,
            is_open=True,
            is_limited=True,
            is_html_too=True,
        ),
    },
    "/api/v1/authentication/verify-email/resend/": _account(
        "post",
        "resendActivation",
        "Send new activation links if registrations are pending",
        "Message",
        *("invalid_email", "rate_limited"),
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
        "Log in (same as `login/`)",
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
        is_limited=True,
    ),
    "/api/v1/authentication/reauthenticate/": _account(
        "post",
        "reauthenticate",
        "Confirm the password; replaces the session by a new one, which counts as a recent login",
        "TokenPair",
        *("invalid_password", "busy"),
        body="GivenPassword",
        is_limited=True,
    ),
    "/api/v1/authentication/logout/": _account("post", "logOut", "End this session", "Message"),
    "/api/v1/authentication/password/forgot/": _account(
        "post",
        "forgotPassword",
        "Send a password reset link if the account exists",
        "Message",
        *("invalid_email", "rate_limited"),
        status=202,
        body="Address",
        is_open=True,
    ),
    "/api/v1/authentication/password/reset/": _account(
        "post",
        "resetPassword",
        "Set a new password with a mailed link; ends all sessions",
        None,
        *("invalid_link", "weak_password", "busy"),
        status=204,
        body="NewPassword",
        is_open=True,
        is_limited=True,
    ),
    "/api/v1/authentication/password/reset/{uid}/{token}/": {
        **_account(
            "get",
            "showReset",
            "Show what the reset link does, without any change; an HTML form if `Accept` has `text/html`",
            "Message",
            "invalid_link",
            parameters=_LINK_PARAMETERS,
            is_open=True,
            is_html_too=True,
        ),
        **_account(
            "post",
            "resetPasswordByForm",
            "Set a new password from the HTML form; ends all sessions",
            None,
            *("invalid_link", "weak_password", "busy"),
            form="PasswordForm",
            parameters=_LINK_PARAMETERS,
            is_open=True,
            is_limited=True,
            is_html_too=True,
        ),
    },
    "/api/v1/authentication/password/change/": _account(
        "post",
        "changePassword",
        "Change the password; ends all other sessions",
        None,
        *("invalid_password", "weak_password", "busy"),
        status=204,
        body="PasswordChange",
        is_limited=True,
    ),
    "/api/v1/authentication/sessions/": {
        **_account(
            "get",
            "listSessions",
            "The sessions of the user, most recently used first",
            "Sessions",
        ),
        **_account(
            "delete",
            "endOtherSessions",
            "End all other sessions; requires a recent login",
            None,
            "reauthentication_required",
            status=204,
            is_limited=True,
        ),
    },
    "/api/v1/authentication/sessions/{session_id}/": _account(
        "delete",
        "endSession",
        "End one session; requires a recent login, except for the current session",
        None,
        *("session_not_found", "reauthentication_required"),
        status=204,
        is_limited=True,
        parameters=[_parameter("session_id", "From `sessions/`.", _TEXT, where="path")],
    ),
    "/api/v1/users/me/": {
        **_account("get", "getProfile", "The profile", "Profile"),
        **_account(
            "patch",
            "changeProfile",
            "Change the username (requires a recent login), or whether events are recorded",
            "Profile",
            *("invalid_username", "username_taken", "user_not_found", "reauthentication_required"),
            body="ProfileChange",
            is_limited=True,
        ),
        **_account(
            "delete",
            "eraseProfile",
            "Delete the account and all its data; requires a recent login",
            None,
            "reauthentication_required",
            status=204,
            is_limited=True,
        ),
    },
    "/api/v1/users/me/export/": _account(
        "get", "exportProfile", "Export everything stored about the user", "Export", is_limited=True
    ),
    "/api/v1/analytics/summary/": _analytics("getSummary", "Numbers of searches, users, ratings and clicks", "Summary"),
    "/api/v1/analytics/searches/top/": _analytics("listTopSearches", "The most frequent searches", "QueryCounts"),
    "/api/v1/analytics/searches/zero-results/": _analytics(
        "listZeroResultSearches", "The most frequent searches without results", "QueryCounts"
    ),
    "/api/v1/analytics/clicks/": _analytics("getClicks", "Click-through rate of searches", "Clicks"),
    "/api/v1/analytics/funnel/": _analytics(
        "getFunnel", "Conversion funnel: users who searched, clicked and rated", "Funnel"
    ),
    "/api/v1/analytics/retention/": _analytics("listRetention", "Retention by week of activation", "Retention"),
    "/api/v1/analytics/source/": _analytics(
        "listSourceDays", "Calls to the movie source and states of responses, by day", "SourceDays"
    ),
    "/api/v1/admin/users/": _admin(
        "get",
        "listUsers",
        "Users or pending registrations, newest first",
        "People",
        "invalid_parameter",
        parameters=[
            _parameter(
                "search",
                "Part of the email address or username; case-insensitive.",
                {"type": "string", "maxLength": MAX_ADDRESS, "pattern": _NO_CONTROLS},
            ),
            _parameter(
                "state",
                "`account`: all users. `staff`: staff, active or not. `pending`: registrations that are not activated.",
                {"type": "string", "enum": list(UserState), "default": UserState.ACCOUNT.value},
            ),
        ],
    ),
    "/api/v1/admin/users/{person_id}/": _admin(
        "patch",
        "changeUser",
        "Activate (also the newest registration of a pending address) or deactivate a user; change staff rights",
        "Person",
        *("user_not_found", "username_taken", "own_account"),
        body="PersonChange",
        parameters=[
            _parameter("person_id", "From the list of users.", {"type": "string", "minLength": 1}, where="path")
        ],
    ),
    "/api/v1/admin/mail/": _admin(
        "get",
        "listMails",
        "Emails, newest first",
        "KeptMails",
        "invalid_parameter",
        parameters=[
            _parameter("state", "Only emails in this state.", {"type": "string", "enum": list(MailState)}),
        ],
    ),
    "/api/v1/admin/mail/{mail_id}/retry/": _admin(
        "post",
        "retryMail",
        "Retry a dead email",
        "KeptMail",
        *("mail_not_found", "mail_not_dead"),
        body="Nothing",
        is_body_required=False,
        parameters=[
            _parameter("mail_id", "From the list of emails.", {"type": "string", "minLength": 1}, where="path")
        ],
    ),
    "/api/v1/admin/audit/": _admin("get", "listAudit", "Audit log, newest first", "AuditEntries"),
    "/health/live": _get("isLive", "operation", "Liveness probe; checks no dependency", _schema("Live"), is_open=True),
    "/health/ready": _get(
        "isReady",
        "operation",
        "Readiness probe, with the status of every dependency",
        _schema("Health"),
        is_open=True,
        more={
            "503": {
                "description": "Not ready: a required dependency is down, or the process is shutting down.",
                "headers": _headers("Retry-After"),
                "content": _content("application/json", _schema("Health")),
            }
        },
    ),
    "/metrics": _get(
        "showMetrics",
        "operation",
        "Prometheus metrics; in production only with the metrics token",
        _TEXT,
        "not_found",
        media_type="text/plain",
        is_open=True,
    ),
    "/errors/{code}": _get(
        "explainError",
        "operation",
        "What an error code means",
        _TEXT,
        "not_found",
        parameters=[
            _parameter(
                "code", "The `code` of a problem document.", {"type": "string", "enum": sorted(PROBLEMS)}, None, "path"
            )
        ],
        media_type="text/html",
        is_open=True,
    ),
}


def document(public_url: str, *, version: str, public_search: bool, notice: str = "") -> Json:
    """The complete document. `notice` is the attribution that the movie source requires."""
    description = "Paginated movie search over a source that may fail, with accounts and recommendations."
    description += notice and f"\n\n{notice}"
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
            {"name": "movies", "description": "Search, details, suggestions, genres, similar and trending movies."},
            {"name": "ratings", "description": "Ratings, recommendations, events."},
            {"name": "accounts", "description": "Registration, login, sessions, passwords, profile."},
            {"name": "analytics", "description": "Reports on usage, for staff. JSON, or CSV by `Accept`."},
            {"name": "administration", "description": "Users, emails and the audit log, for staff."},
            {"name": "operation", "description": "Health, metrics and error codes."},
        ],
        "paths": PATHS,
        "components": {
            "schemas": SCHEMAS,
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
        },
    }
