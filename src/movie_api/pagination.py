"""Pagination: the parameters of lists, and responses with one page and its links."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Generic, TypeVar

import msgspec
from litestar import Response

from movie_api.context import context_of
from movie_api.parameters import parse_parameters
from movie_api.problems import AnyRequest
from movie_api.responses import json_response
from movie_api.schemas import Count, JsonObject, documented
from movie_core.paging import DEFAULT_LIMIT, MAX_LIMIT, MAX_OFFSET, PageLinks, Window

Item = TypeVar("Item")

Offset = Annotated[int, documented("Number of matches to skip.", minimum=0, maximum=MAX_OFFSET)]
Limit = Annotated[int, documented("Maximum number of matches on a page.", minimum=1, maximum=MAX_LIMIT)]


class PageParameters(msgspec.Struct):
    """The parameters of a list without filters."""

    offset: Offset = 0
    limit: Limit = DEFAULT_LIMIT


class PageInfo(JsonObject):
    """The position of a page, and links to its neighbours."""

    current_page: Annotated[int, documented(minimum=1)]
    total_pages: Count
    previous: Annotated[str | None, documented("`null` at offset 0 only.", format="uri")]
    next: Annotated[str | None, documented(format="uri")]

    @classmethod
    def of_links(cls, links: PageLinks, window: Window, total: int) -> "PageInfo":
        return cls(window.current_page, window.total_pages(total), links.previous, links.next)


class Page(JsonObject, Generic[Item]):
    """A page of a list that may be empty."""

    total: Count
    items: Annotated[list[Item], documented(maxItems=MAX_LIMIT)]
    page_info: PageInfo


def parse_window(parameters: Mapping[str, str]) -> Window:
    return Window.parse(parameters.get("offset"), parameters.get("limit"))


def page_response(
    page_type: type[Page[Item]],
    request: AnyRequest,
    path: str,
    window: Window,
    total: int,
    items: list[Item],
    headers: Mapping[str, str],
    parameters: Sequence[tuple[str, str]] = (),
    **extra: Any,
) -> Response[bytes]:
    """A page of the list at `path`. Its links repeat `parameters`; `extra` are further fields of `page_type`."""
    links = PageLinks.of(context_of(request.scope).public_url + path, window, total, parameters)
    content = page_type(total=total, items=items, page_info=PageInfo.of_links(links, window, total), **extra)
    return json_response(content, headers={**headers, "link": links.header()})


def request_window(request: AnyRequest) -> Window:
    """The window of a request whose only parameters are `offset` and `limit`."""
    return parse_window(parse_parameters(request.scope["query_string"], PageParameters))
