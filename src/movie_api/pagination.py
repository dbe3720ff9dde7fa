"""Lists, a page at a time: which part is asked for, and the answer with its links."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from litestar import Response

from movie_api.problems import AnyRequest
from movie_core.errors import Invalid, InvalidOffsetOrLimit
from movie_core.paging import PageLinks, Window

PAGED: Mapping[str, type[Invalid]] = {"offset": InvalidOffsetOrLimit, "limit": InvalidOffsetOrLimit}
"""The parameters of every list, as `movie_api.routes.movies.parse_parameters` takes them."""


def window_of(given: Mapping[str, str]) -> Window:
    return Window.parse(given.get("offset"), given.get("limit"))


def listing(
    request: AnyRequest,
    path: str,
    window: Window,
    total: int,
    items: Sequence[Mapping[str, Any]],
    headers: Mapping[str, str],
    parameters: Sequence[tuple[str, str]] = (),
    **more: Any,
) -> Response[bytes]:
    """A page; `parameters` are kept in its links, `more` stands beside its items."""
    links = PageLinks.of(request.scope["state"]["public_url"] + path, window, total, parameters)
    content = {"total": total, "items": items, "page_info": links.info(window, total), **more}
    return Response(
        msgspec.json.encode(content), media_type="application/json", headers={**headers, "link": links.header()}
    )
