"""HTML pages: the start page, `/docs` and `/errors/{code}`; also `/openapi.json` and `security.txt`."""

import asyncio
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
from dishka import FromDishka
from dishka.integrations.litestar import inject
from litestar import Response, get
from litestar.exceptions import NotFoundException
from litestar.params import FromPath
from litestar.response import Template
from litestar.router import Router
from swagger_ui_bundle import swagger_ui_path

from movie_api.operations import HTML, Access, Operation
from movie_api.problems import PROBLEMS
from movie_api.web.rendering import html_page
from movie_core.clock import Clock, iso_time

_ASSETS = {"swagger-ui.css": "text/css", "swagger-ui-bundle.js": "text/javascript"}
"""The files of Swagger UI that the page loads, with their media types; the others, such as HTML, are not served."""
# Swagger UI uses inline styles and icons in data URLs; it loads nothing from other origins.
_POLICY = "default-src 'none'; connect-src 'self'; img-src 'self' data:; script-src 'self'; frame-ancestors 'none'; "
_DOCS_POLICY = _POLICY + "style-src 'self' 'unsafe-inline'; base-uri 'none'; form-action 'none'"
SECURITY_TXT_LIFETIME = timedelta(days=180)
"""Validity of `security.txt` from the day on which it is requested; RFC 9116 recommends less than a year."""
PAGE_POLICY = _POLICY + "style-src 'self'; base-uri 'none'; form-action 'none'"


@get(
    "/errors/{code:str}",
    operation=Operation(
        id="explainError",
        tag="operation",
        summary="What an error code means",
        description="Returns a page for people. The `type` of every problem document is the URL of such a page.",
        access=Access.ANYONE,
        response={HTML: str},
        errors=("not_found",),
    ),
)
async def error_page(code: FromPath[str]) -> Template:
    problem_type = PROBLEMS.get(code)
    if problem_type is None:
        raise NotFoundException
    return html_page("error.html", PAGE_POLICY, code=code, problem_type=problem_type)


@cache
def _asset(name: str) -> bytes:
    """Cached, because the file has 1.4 MB and each slow client would otherwise hold its own copy in memory."""
    return (Path(swagger_ui_path) / name).read_bytes()


def pages_router(
    document: dict[str, Any], notice: str, *, public_search: bool, public_url: str, security_contact: str | None
) -> Router:
    """The pages whose content depends on the settings. `notice` is the attribution that the movie source requires;
    `security_contact` is the URL for reporting vulnerabilities, published as in RFC 9116."""
    encoded = msgspec.json.encode(document)
    version = document["info"]["version"]
    style, docs_script = (
        (Path(__file__).parent / "static" / name).read_text(encoding="utf-8") for name in ("style.css", "docs.js")
    )

    @get("/")
    async def start_page() -> Template:
        return html_page("start.html", PAGE_POLICY, version=version, public_search=public_search, notice=notice)

    @get("/style.css")
    async def style_sheet() -> Response[str]:
        return Response(style, media_type="text/css", headers={"cache-control": "public, max-age=3600"})

    @get("/docs")
    async def docs() -> Template:
        return html_page("docs.html", _DOCS_POLICY)

    @get("/docs/start.js")
    async def docs_start() -> Response[str]:
        return Response(docs_script, media_type="text/javascript", headers={"cache-control": "public, max-age=3600"})

    @get("/openapi.json")
    async def openapi() -> Response[bytes]:
        return Response(encoded, media_type="application/json", headers={"cache-control": "public, max-age=60"})

    @get("/docs/assets/{name:str}")
    async def docs_asset(name: FromPath[str]) -> Response[bytes]:
        if name not in _ASSETS:
            raise NotFoundException
        content = await asyncio.to_thread(_asset, name)
        return Response(content, media_type=_ASSETS[name], headers={"cache-control": "public, max-age=3600"})

    @get("/.well-known/security.txt")
    @inject
    async def security_txt(clock: FromDishka[Clock]) -> Response[str]:
        if security_contact is None:
            raise NotFoundException
        expires = clock().replace(hour=0, minute=0, second=0, microsecond=0) + SECURITY_TXT_LIFETIME
        lines = (
            f"Contact: {security_contact}",
            f"Expires: {iso_time(expires)}",
            "Preferred-Languages: en",
            f"Canonical: {public_url}/.well-known/security.txt",
        )
        content = "".join(f"{line}\n" for line in lines)
        return Response(content, media_type="text/plain", headers={"cache-control": "public, max-age=3600"})

    return Router("/", route_handlers=[start_page, style_sheet, docs, docs_start, openapi, docs_asset, security_txt])
