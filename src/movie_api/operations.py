"""Operations of the OpenAPI document, declared at their handlers: `@get(path, operation=Operation(…))`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, Self

import msgspec

from movie_api.request_body import JSON

HTML = "text/html"

PAGE_ERRORS = ("invalid_offset_or_limit", "page_out_of_range")
STORE_ERRORS = ("store_unavailable",)
"""Codes of operations that use the database."""
SOURCE_ERRORS = ("source_unavailable", *STORE_ERRORS)
"""Codes of operations that use the movie source and the database."""


class Access(Enum):
    """The callers of an operation."""

    ANYONE = auto()
    SEARCHERS = auto()
    """Users, or anyone if search is public."""
    USERS = auto()
    STAFF = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherResponse:
    """A response that is neither the success of an operation nor a problem document."""

    description: str
    headers: tuple[str, ...]
    content: type[msgspec.Struct] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """An operation. `openapi.document` takes its method and path from the handler, and adds the errors that its body
    and its access imply, those of every operation, and the headers of rate limits."""

    id: str
    tag: str
    summary: str
    description: str
    access: Access = Access.USERS
    is_limited: bool = False
    """Whether responses have `RateLimit` headers."""
    parameters: type[msgspec.Struct] | None = None
    """Query parameters."""
    request_headers: type[msgspec.Struct] | None = None
    request: Any = None
    """The type of the JSON body, or types by media type."""
    is_body_required: bool = True
    response: Any = None
    """The type of the JSON body of a success, or types by media type; None if it has no body."""
    status: int = 200
    headers: tuple[str, ...] = ()
    """Headers of a success."""
    errors: tuple[str, ...] = ()
    """Error codes."""
    has_error_pages: bool = False
    """Whether errors are HTML pages for browsers."""
    other_responses: Mapping[int, OtherResponse] = field(default_factory=dict)

    @property
    def parameter_names(self) -> tuple[str, ...]:
        """The names of the query parameters."""
        return () if self.parameters is None else self.parameters.__struct_encode_fields__

    def __deepcopy__(self, _: object) -> Self:
        return self  # immutable; Litestar copies handlers, and types with `msgspec.Meta` cannot be copied


def content_types(body: Any) -> dict[str, Any]:
    """The types of a request or response body by media type."""
    if isinstance(body, dict):
        return body
    return {} if body is None else {JSON: body}
