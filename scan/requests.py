"""Requests for sqlmap that cover each parameter of each operation in the OpenAPI document once.

sqlmap finds query parameters and fields of JSON and form bodies itself. In paths, headers and CSV it needs marks (`*`).
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode

MARK = "*"
SAMPLES: dict[str, Any] = {
    "at": "2026-11-01T00:00:00Z",
    "code": "invalid_query",
    "email": "ann@example.com",
    "exclude": "rated",
    "from": "2026-11-01",
    "genre": "Drama",
    "If-None-Match": '"abc"',
    "is_active": True,
    "is_staff": False,
    "limit": 10,
    "mail_id": "0" * 32,
    "movie_id": "tt0034583",
    "new": "1",
    "new_password": "violet anchor sings again",
    "offset": 0,
    "old_password": "not the password at all",
    "order": "popularity",
    "overwrite": "false",
    "password": "not the password at all",
    "position": 1,
    "query": "casablanca",
    "rated_at": "2026-11-01T00:00:00Z",
    "rating": 8.5,
    "record_events": True,
    "refresh": "0" * 43,
    "search": "user",
    "session_id": "0" * 32,
    "source": "catalogue",
    "title": "Casablanca",
    "to": "2026-11-30",
    "token": "0" * 43,
    "type": "view",
    "uid": "0" * 32,
    "user_id": "0" * 32,
    "username": "ann",
    "window": "day",
    "year": "1942",
}
"""A valid value for each parameter and field. Ids are unknown and passwords wrong, so that the users stay usable."""
STATES = {"listUsers": "active", "listMails": "sent"}
"""Values of `state`, by operation."""
EITHER = {"activate": {"application/json": ("password", "new_password")}}
"""Mutually exclusive fields; each is sent in a separate body."""
CSV = "Date,Name,Year,Letterboxd URI,Rating\n2024-03-03*,Casablanca*,1942*,https://boxd.it/2b0k*,4.5*\n"
HEADERS = {
    "getProfile": {"Authorization": "Bearer {token}*"},
    "logIn": {"User-Agent": "sqlmap*", "X-Forwarded-For": "127.0.0.1*"},
    "searchMovies": {"X-Request-ID": "abc*"},
}
"""Headers not listed in the OpenAPI document, each tested on one operation."""


@dataclass(frozen=True, slots=True)
class Request:
    """One run of sqlmap."""

    operation: str
    method: str
    path: str
    """Path and query string."""
    is_staff: bool
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str | None = None
    parameters: tuple[str, ...] = ()
    """Names of the tested parameters in the OpenAPI document."""


def requests_of(document: dict[str, Any]) -> Iterator[Request]:
    """Raises `KeyError` if a parameter has no sample."""
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield from _requests(document, path, method.upper(), operation)


def _requests(document: dict[str, Any], path: str, method: str, operation: dict[str, Any]) -> Iterator[Request]:
    name = operation["operationId"]
    samples = SAMPLES | {"state": STATES.get(name)}
    places: dict[str, dict[str, str]] = {"path": {}, "query": {}, "header": {}}
    for one in operation.get("parameters", ()):
        places[one["in"]][one["name"]] = str(samples[one["name"]])
    mark = MARK if places["path"] else ""  # if the path has a mark, sqlmap requires marks in the query too
    marked = path.format_map({key: value + mark for key, value in places["path"].items()})
    if places["query"]:
        marked += "?" + "&".join(f"{key}={quote(value)}{mark}" for key, value in places["query"].items())
    headers = {key: value + MARK for key, value in places["header"].items()} | HEADERS.get(name, {})
    tested = (*places["path"], *places["query"], *headers)
    is_staff = bool({"analytics", "administration"} & set(operation["tags"]))
    for media_type, body, fields in _bodies(document, operation, samples):
        if media_type:
            headers = headers | {"Content-Type": media_type}
        if tested or fields:
            yield Request(name, method, marked, is_staff, headers, body, tested + fields)
        marked, headers, tested = path.format_map(places["path"]), {}, ()


def _bodies(
    document: dict[str, Any], operation: dict[str, Any], samples: Mapping[str, Any]
) -> Iterator[tuple[str, str | None, tuple[str, ...]]]:
    """Media type, body and tested fields of each variant; one empty variant if the operation takes no body."""
    contents = operation.get("requestBody", {}).get("content", {})
    if not contents:
        yield "", None, ()
    for media_type, content in contents.items():
        if media_type == "text/csv":
            yield media_type, CSV, tuple(CSV.partition("\n")[0].split(","))
            continue
        schema = _resolved(document, content["schema"])
        is_list = schema["type"] == "array"
        properties = (_resolved(document, schema["items"]) if is_list else schema).get("properties", {})
        fields = {name: samples[name] for name in properties}
        alone = EITHER.get(operation["operationId"], {}).get(media_type, ())
        for skipped in alone[::-1] or ("",):
            sent = {name: value for name, value in fields.items() if name != skipped}
            body = json.dumps([sent] if is_list else sent) if media_type == "application/json" else urlencode(sent)
            yield media_type, body, tuple(sent)


def _resolved(document: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """The schema itself, or the one to which it refers."""
    if "$ref" not in schema:
        return schema
    referred: dict[str, Any] = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return referred
