"""HTML pages: the start page, `/docs` and `/errors/{code}`; also `/openapi.json` and `security.txt`."""

import asyncio
from datetime import UTC, datetime, timedelta
from functools import cache
from html import escape
from pathlib import Path
from typing import Any

import msgspec
from litestar import Response, get
from litestar.exceptions import NotFoundException
from litestar.params import FromPath
from litestar.router import Router
from swagger_ui_bundle import swagger_ui_path

from movie_api.operations import HTML, Access, Operation
from movie_api.problems import PROBLEMS
from movie_core.clock import iso_time

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="stylesheet" href="/style.css">
</head>
<body><main>
<h1>{title}</h1>
{content}
</main></body>
</html>
"""
_STYLE = """:root { color-scheme: light dark; }
body { font: 1.05rem/1.6 system-ui, sans-serif; margin: 0; padding: 3rem 1.25rem; }
main { max-width: 42rem; margin: 0 auto; }
h1 { font-size: 1.8rem; line-height: 1.25; margin: 0 0 1rem; }
a { color: light-dark(#0b57d0, #8ab4f8); }
code { font: 0.95em ui-monospace, monospace; background: light-dark(#eef0f3, #2a2d31); padding: 0.1em 0.3em;
  border-radius: 0.25em; overflow-wrap: anywhere; }
dt { font-weight: 600; margin-top: 0.75rem; } dd { margin: 0; }
form { margin: 1.5rem 0; } label { display: block; font-weight: 600; }
input { box-sizing: border-box; width: 100%; max-width: 24rem; margin: 0.25rem 0; }
input, button { font: inherit; padding: 0.5rem 0.75rem; border: 1px solid light-dark(#6f7680, #9aa0a6);
  border-radius: 0.375rem; }
button { margin-top: 1rem; padding: 0.5rem 1.25rem; border-color: transparent; cursor: pointer;
  background: light-dark(#0b57d0, #8ab4f8); color: light-dark(#fff, #10151c); }
:focus-visible { outline: 3px solid light-dark(#0b57d0, #8ab4f8); outline-offset: 2px; }
.choice input { width: auto; margin: 0.5rem 0.25rem 0.5rem 0; } .choice label { display: inline; font-weight: 400; }
.hint { margin: 0; font-size: 0.95rem; opacity: 0.85; }
[role="alert"] { margin: 0.5rem 0; font-weight: 600; color: light-dark(#b3261e, #f2b8b5); }
footer { margin-top: 3rem; font-size: 0.9rem; opacity: 0.8; }
"""
_DOCS = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Movie Search API</title>
<link rel="stylesheet" href="/docs/assets/swagger-ui.css">
<link rel="icon" href="data:,">
</head>
<body>
<div id="swagger-ui"></div>
<script src="/docs/assets/swagger-ui-bundle.js"></script>
<script src="/docs/start.js"></script>
</body>
</html>
"""
_DOCS_START = """SwaggerUIBundle({
  url: "/openapi.json", dom_id: "#swagger-ui", deepLinking: true, tryItOutEnabled: true, validatorUrl: null,
});
"""
_ASSETS = {"swagger-ui.css": "text/css", "swagger-ui-bundle.js": "text/javascript"}
"""The files of Swagger UI that the page loads, with their media types; the others, such as HTML, are not served."""
# Swagger UI uses inline styles and icons in data URLs; it loads nothing from other origins.
_POLICY = "default-src 'none'; connect-src 'self'; img-src 'self' data:; script-src 'self'; frame-ancestors 'none'; "
_DOCS_POLICY = _POLICY + "style-src 'self' 'unsafe-inline'; base-uri 'none'; form-action 'none'"
SECURITY_TXT_LIFETIME = timedelta(days=180)
"""Validity of `security.txt` from the day on which it is requested; RFC 9116 recommends less than a year."""
_PAGE_POLICY = _POLICY + "style-src 'self'; base-uri 'none'; form-action 'none'"


def page(title: str, content: str) -> str:
    """A complete HTML page; `title` is plain text, `content` is HTML."""
    return _PAGE.format(title=escape(title), content=content)


def html_response(content: str, policy: str = _PAGE_POLICY, *, status_code: int = 200) -> Response[str]:
    headers = {"content-security-policy": policy, "referrer-policy": "no-referrer"}
    return Response(content, status_code=status_code, media_type="text/html", headers=headers)


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
async def error_page(code: FromPath[str]) -> Response[str]:
    problem_type = PROBLEMS.get(code)
    if problem_type is None:
        raise NotFoundException
    content = (
        f"<p>{_code_html(problem_type.explanation)}</p><dl><dt>Code</dt><dd><code>{code}</code></dd>"
        f'<dt>HTTP status</dt><dd>{problem_type.status}</dd></dl><p><a href="/docs">API documentation</a></p>'
    )
    return html_response(page(problem_type.title, content))


def _code_html(text: str) -> str:
    """The text as HTML; text between backticks becomes `<code>`."""
    parts = escape(text).split("`")
    return "".join(f"<code>{part}</code>" if index % 2 else part for index, part in enumerate(parts))


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
    access = (
        "Search is public; ratings and recommendations require an account"
        if public_search
        else "Search requires an account"
    )
    start = page(
        "Movie Search",
        f"""<p>Movie search backend, version {escape(version)}. {access}:</p>
<ol>
<li>Register with <code>POST /api/v1/authentication/register/</code>.</li>
<li>Open the link in the email and enter the password.</li>
<li>Log in with <code>POST /api/v1/authentication/login/</code>; the response has an access token.</li>
<li>Search with <code>GET /api/v1/movies/?query=matrix</code> and the header
<code>Authorization: Bearer &lt;token&gt;</code>.</li>
</ol>
<p>To try the API, open <a href="/docs">/docs</a> and enter the token with its Authorize button.</p>
<dl>
<dt><a href="/docs">/docs</a></dt><dd>API documentation, with forms to send requests</dd>
<dt><a href="/openapi.json">/openapi.json</a></dt><dd>The OpenAPI 3.1 document</dd>
<dt><a href="/dashboard">/dashboard</a></dt><dd>Reports on searches, clicks and ratings, for staff</dd>
<dt><a href="/health/ready">/health/ready</a></dt><dd>Readiness, with the status of every dependency</dd>
</dl>
<footer>{escape(notice)}</footer>""",
    )

    @get("/")
    async def start_page() -> Response[str]:
        return html_response(start)

    @get("/style.css")
    async def style() -> Response[str]:
        return Response(_STYLE, media_type="text/css", headers={"cache-control": "public, max-age=3600"})

    @get("/docs")
    async def docs() -> Response[str]:
        return html_response(_DOCS, _DOCS_POLICY)

    @get("/docs/start.js")
    async def docs_start() -> Response[str]:
        return Response(_DOCS_START, media_type="text/javascript", headers={"cache-control": "public, max-age=3600"})

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
    async def security_txt() -> Response[str]:
        if security_contact is None:
            raise NotFoundException
        expires = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) + SECURITY_TXT_LIFETIME
        lines = (
            f"Contact: {security_contact}",
            f"Expires: {iso_time(expires)}",
            "Preferred-Languages: en",
            f"Canonical: {public_url}/.well-known/security.txt",
        )
        content = "".join(f"{line}\n" for line in lines)
        return Response(content, media_type="text/plain", headers={"cache-control": "public, max-age=3600"})

    return Router("/", route_handlers=[start_page, style, docs, docs_start, openapi, docs_asset, security_txt])
