"""Pagination: the parameters of lists, and responses with one page and its links."""

from collections.abc import Mapping, Sequence
from typing import Any

from litestar import Response

from movie_api.context import context_of
from movie_api.parameters import parse_parameters
from movie_api.problems import AnyRequest
from movie_api.responses import json_response
from movie_core.errors import Invalid, InvalidOffsetOrLimit
from movie_core.paging import PageLinks, Window

PAGING_PARAMETERS: Mapping[str, type[Invalid]] = {"offset": InvalidOffsetOrLimit, "limit": InvalidOffsetOrLimit}
"""The parameters of every list, for `movie_api.parameters.parse_parameters`."""


def parse_window(parameters: Mapping[str, str]) -> Window:
    return Window.parse(parameters.get("offset"), parameters.get("limit"))


def page_response(
    request: AnyRequest,
    path: str,
    window: Window,
    total: int,
    items: Sequence[Mapping[str, Any]],
    headers: Mapping[str, str],
    parameters: Sequence[tuple[str, str]] = (),
    **extra: Any,
) -> Response[bytes]:
    """A page of a list; its links repeat `parameters`, and `extra` are further members of the JSON object."""
    links = PageLinks.of(context_of(request.scope).public_url + path, window, total, parameters)
    content = {"total": total, "items": items, "page_info": links.info(window, total), **extra}
    return json_response(content, headers={**headers, "link": links.header()})


def request_window(request: AnyRequest) -> Window:
    """Returns the window that the parameters `offset` and `limit` of a request state, where it takes no others."""
    return parse_window(parse_parameters(request.scope["query_string"], PAGING_PARAMETERS))
