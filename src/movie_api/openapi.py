"""Assembles the OpenAPI 3.1 document at startup: from the paths and methods of the handlers, the `Operation` of each,
and the types of requests and responses.

Litestar's own generator omits parameters that handlers parse from the raw query string, which all of them do here.
"""

import json
import re
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files
from typing import Annotated, Any

import msgspec
from litestar.handlers import HTTPRouteHandler

from movie_api.middleware.response_headers import is_never_stored
from movie_api.operations import HTML, Access, Operation, content_types
from movie_api.problems import MEDIA_TYPE, PROBLEMS, Problem
from movie_api.schemas import documented

Json = dict[str, Any]

_REFERENCE = "#/components/schemas/{name}"
_BEARER: Json = {"bearer": []}
_ID = "2a442d6caae2ca70426376f2c785c70f"
_TOKEN = "uU_YmlWYfqyeJzqdOD2TlDwwr8zHD4S7GJ6pAZqkUa0"  # noqa: S105 - a documented example


class PathParameters(msgspec.Struct):
    """The parameters in paths. A name has the same meaning in every path."""

    movie_id: Annotated[str, documented("The id of a movie in a search result.", minLength=1, examples=["tt0133093"])]
    uid: Annotated[str, documented("From the mailed link.", examples=[_ID])]
    token: Annotated[str, documented("From the mailed link.", examples=[_TOKEN])]
    session_id: Annotated[str, documented("From `sessions/`.", examples=[_ID])]
    user_id: Annotated[str, documented("From the list of users.", minLength=1, examples=[_ID])]
    mail_id: Annotated[str, documented("From the list of emails.", minLength=1, examples=[_ID])]
    code: Annotated[str, documented("The `code` of a problem document.", enum=sorted(PROBLEMS))]


_TEXT: Json = {"type": "string"}
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
_LIMIT_HEADERS = ("RateLimit", "RateLimit-Policy")
_HEADERS_OF_STATUS = {
    401: ("WWW-Authenticate",),
    405: ("Allow",),
    429: ("Retry-After", *_LIMIT_HEADERS),
    503: ("Retry-After",),
}
_UNCOUNTED_STATUSES = (405, 414, 431)
"""Statuses of responses without `RateLimit` headers, as they are sent before the request is counted."""
_BODY_ERRORS = ("invalid_body", "content_too_large", "unsupported_media_type", "request_timeout")
_COMMON_ERRORS = ("invalid_host", "method_not_allowed", "uri_too_long", "headers_too_large", "internal_error")
_SECURITY: Mapping[Access, Json] = {
    Access.ANYONE: {"security": []},
    Access.SEARCHERS: {},  # as in the whole document
    Access.USERS: {"security": [_BEARER]},
    Access.STAFF: {"security": [_BEARER]},
}
_ACCESS_ERRORS: Mapping[Access, tuple[str, ...]] = {
    Access.ANYONE: (),
    Access.SEARCHERS: ("not_authenticated", "invalid_token"),
    Access.USERS: ("not_authenticated", "invalid_token"),
    Access.STAFF: ("not_authenticated", "invalid_token", "not_allowed"),
}


def document(
    handlers: tuple[HTTPRouteHandler, ...], public_url: str, *, version: str, public_search: bool, notice: str = ""
) -> Json:
    """The complete document. `notice` is the attribution that the movie source requires.

    Raises `KeyError` for a handler without an `Operation`.
    """
    description = "Paginated movie search over a source that may fail, with accounts and recommendations."
    description += notice and f"\n\n{notice}"
    paths, schemas = _assemble(handlers)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Movie Search",
            "version": version,
            "description": description,
            "contact": {"name": "Movie Search", "url": public_url},
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": public_url}],
        "security": [{}, _BEARER] if public_search else [_BEARER],
        "tags": [
            {"name": "movies", "description": "Search, details, suggestions, genres, similar and trending movies."},
            {"name": "ratings", "description": "Ratings, recommendations, events."},
            {"name": "accounts", "description": "Registration, login, sessions, passwords, profile."},
            {"name": "analytics", "description": "Reports on usage, for staff. JSON, or CSV by `Accept`."},
            {"name": "administration", "description": "Users, emails and the audit log, for staff."},
            {"name": "operation", "description": "Health, metrics and error codes."},
        ],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
        },
    }


@cache  # tests create many applications with the same handlers
def _assemble(handlers: tuple[HTTPRouteHandler, ...]) -> tuple[Json, Json]:
    """The paths and schemas of the document."""
    assembler = _Assembler()
    for handler in handlers:
        assembler.add(handler)
    return assembler.paths, dict(sorted(assembler.schemas.items()))


class _Assembler:
    """Collects the paths of handlers, and the schemas to which they refer."""

    def __init__(self) -> None:
        self.paths: dict[str, Json] = {}
        self.schemas: dict[str, Json] = {}
        self._references: dict[type, Json] = {}
        self._examples: Json = json.loads(files("movie_api").joinpath("examples.json").read_text("utf-8"))

    def add(self, handler: HTTPRouteHandler) -> None:
        operation: Operation = handler.opt["operation"]
        (path,), (method,) = handler.paths, handler.http_methods
        path = re.sub(r"\{(\w+):\w+\}", r"{\1}", path)
        if path.startswith("/api/"):
            path += "/"  # Litestar strips it
        self.paths.setdefault(path, {})[method.lower()] = self._operation(operation, path)

    def _operation(self, operation: Operation, path: str) -> Json:
        always = ("X-Request-ID", *(("Cache-Control",) if is_never_stored(path) else ()))
        request = self._content(content_types(operation.request))
        return {
            "operationId": operation.id,
            "tags": [operation.tag],
            "summary": operation.summary,
            "description": operation.description,
            "parameters": [
                *self._parameters(PathParameters, "path", re.findall(r"\{(\w+)\}", path)),
                *self._parameters(operation.parameters, "query"),
                *self._parameters(operation.request_headers, "header"),
            ],
            **({"requestBody": {"required": operation.is_body_required, "content": request}} if request else {}),
            "responses": {**self._successes(operation, always), **self._problems(operation, always, path)},
            **_SECURITY[operation.access],
        }

    def _successes(self, operation: Operation, always: tuple[str, ...]) -> Json:
        limits = _LIMIT_HEADERS if operation.is_limited else ()
        content = self._content(content_types(operation.response), self._examples.get(operation.id, {}))
        success: Json = {
            "description": operation.summary,
            "headers": _headers(*always, *operation.headers, *limits),
            **({"content": content} if content else {}),
        }
        others = {
            str(status): {
                "description": other.description,
                "headers": _headers(*always, *other.headers, *limits),
                **({} if other.content is None else {"content": self._content(content_types(other.content))}),
            }
            for status, other in operation.other_responses.items()
        }
        return {str(operation.status): success, **others}

    def _problems(self, operation: Operation, always: tuple[str, ...], path: str) -> Json:
        """The error responses, including those that every operation has."""
        codes = (
            *operation.errors,
            # A slash in a parameter makes another path, even if it is percent-encoded.
            *(("not_found",) if "{" in path else ()),
            *(("unknown_parameter",) if path.startswith("/api/v1/") else ()),
            *(() if operation.request is None else _BODY_ERRORS),
            *_ACCESS_ERRORS[operation.access],
            *(("rate_limited",) if operation.is_limited else ()),
            *_COMMON_ERRORS,
        )
        by_status: dict[int, list[str]] = {}
        for code in dict.fromkeys(codes):
            by_status.setdefault(PROBLEMS[code].status, []).append(code)
        uncounted = _UNCOUNTED_STATUSES if operation.access is Access.ANYONE else (401, *_UNCOUNTED_STATUSES)
        content = self._content({MEDIA_TYPE: Problem} | ({HTML: str} if operation.has_error_pages else {}))
        return {
            str(status): {
                "description": ", ".join(f"`{code}`" for code in listed),
                "headers": _headers(
                    *always,
                    *(_LIMIT_HEADERS if operation.is_limited and status not in uncounted else ()),
                    *_HEADERS_OF_STATUS.get(status, ()),
                ),
                "content": content,
            }
            for status, listed in sorted(by_status.items())
        }

    def _content(self, types: Mapping[str, Any], examples: Mapping[str, Any] | None = None) -> Json:
        examples = examples or {}
        return {
            media_type: {"schema": self._schema(type_)}
            | ({"example": examples[media_type]} if media_type in examples else {})
            for media_type, type_ in types.items()
        }

    def _parameters(
        self, struct: type[msgspec.Struct] | None, place: str, names: Iterable[str] | None = None
    ) -> Iterable[Json]:
        """The parameters that are fields of `struct`, or those of these `names`."""
        properties = {} if struct is None else _components(struct)[1][struct.__name__]["properties"]
        for name in properties if names is None else names:
            schema = properties[name]
            parameter = {
                "name": name,
                "in": place,
                "description": schema.pop("description"),
                "required": place == "path",
                "schema": schema,
            }
            if "examples" in schema:
                parameter["example"] = schema.pop("examples")[0]
            yield parameter

    def _schema(self, type_: Any) -> Json:
        """A reference to the schema of a struct or of a type with a title; otherwise the schema. Raises `ValueError` if
        different types have the same name."""
        if isinstance(type_, type) and type_ in self._references:
            return self._references[type_]
        schema, components = _components(type_)
        if (name := schema.pop("title", None)) is not None:
            components[name] = schema
            schema = {"$ref": _REFERENCE.format(name=name)}
        for keyword, value in getattr(type_, "SCHEMA", {}).items():
            components[type_.__name__][keyword] = self._schema(value) if isinstance(value, type) else value
        for name, component in components.items():
            if self.schemas.setdefault(name, component) != component:
                raise ValueError(f"two schemas are named {name}")
        if isinstance(type_, type):
            self._references[type_] = schema
        return schema


def _headers(*names: str) -> Json:
    return {name: _HEADERS[name] for name in names}


def _components(type_: Any) -> tuple[Json, dict[str, Json]]:
    """The schema of a type, and the schemas to which it refers, by name."""
    (schema,), components = msgspec.json.schema_components([type_], ref_template=_REFERENCE)
    enums = {
        _REFERENCE.format(name=name): _TEXT | {"enum": component["enum"]}
        for name, component in components.items()
        if "enum" in component
    }
    structs = {name: component for name, component in components.items() if "enum" not in component}
    for struct in structs.values():
        del struct["title"]  # it repeats the name
        struct.setdefault("additionalProperties", True)
        struct["properties"] = {name: _simplified(property_, enums) for name, property_ in struct["properties"].items()}
    return schema, structs


def _simplified(schema: Json, enums: Mapping[str, Json]) -> Json:
    """The schema of a property, with enums inline. `null` is one of its types only if it can be in a response."""
    if schema.get("$ref") in enums:
        schema |= enums[schema.pop("$ref")]
    match schema:
        case {"default": None, "anyOf": [present, {"type": "null"}]}:  # left out by `omit_defaults`
            del schema["default"], schema["anyOf"]
            schema |= present
        case {"default": []}:
            del schema["default"]
        case {"anyOf": [{"type": str(kind)}, {"type": "null"}]}:
            schema |= {"type": [kind, "null"]}
            del schema["anyOf"]
    return schema
