"""For operators and readers: the start page, `/docs`, `/openapi.json`, `/errors/{code}`, `security.txt` and health."""

import asyncio
from datetime import UTC, datetime, timedelta
from functools import cache
from html import escape
from pathlib import Path
from typing import Any

import msgspec
from dishka import FromDishka
from litestar import Request, Response, get
from litestar.exceptions import NotFoundException
from litestar.params import FromPath
from litestar.router import Router
from swagger_ui_bundle import swagger_ui_path

from movie_api.problems import PROBLEMS
from movie_core.operations.health import Readiness, Status

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
"""What the page loads of Swagger UI's files, with their types; the others, HTML among them, are not served."""
# Swagger UI styles its elements in place and draws icons from data URLs; nothing comes from elsewhere.
_POLICY = "default-src 'none'; connect-src 'self'; img-src 'self' data:; script-src 'self'; frame-ancestors 'none'; "
_DOCS_POLICY = _POLICY + "style-src 'self' 'unsafe-inline'; base-uri 'none'; form-action 'none'"
SECURITY_TXT_LASTS = timedelta(days=180)
"""How long `security.txt` is good from the day on which it is fetched; RFC 9116 recommends less than a year."""
_PAGE_POLICY = _POLICY + "style-src 'self'; base-uri 'none'; form-action 'none'"


def page(title: str, content: str) -> str:
    """A whole page; `title` is text, `content` HTML."""
    return _PAGE.format(title=escape(title), content=content)


def html(content: str, policy: str = _PAGE_POLICY, *, status_code: int = 200) -> Response[str]:
    headers = {"content-security-policy": policy, "referrer-policy": "no-referrer"}
    return Response(content, status_code=status_code, media_type="text/html", headers=headers)


@get("/health/live")
async def is_live() -> Response[bytes]:
    return Response(b'{"status":"live"}', media_type="application/json", headers={"cache-control": "no-store"})


@get("/health/ready")
async def is_ready(request: Request[Any, Any, Any], readiness: FromDishka[Readiness]) -> Response[bytes]:
    status, findings = await readiness.status()
    if request.app.state.is_draining:
        status = Status.UNAVAILABLE
    parts = {one.part.name: {"status": "up" if one.is_reached else "down", "detail": one.detail} for one in findings}
    headers = {"cache-control": "no-store"}
    if status is Status.UNAVAILABLE:
        headers["retry-after"] = "5"
    return Response(
        msgspec.json.encode({"status": status.value} | parts),
        status_code=503 if status is Status.UNAVAILABLE else 200,
        media_type="application/json",
        headers=headers,
    )


@get("/errors/{code:str}")
async def explain_error(code: FromPath[str]) -> Response[str]:
    kind = PROBLEMS.get(code)
    if kind is None:
        raise NotFoundException
    content = (
        f"<p>{_code_marks(kind.explanation)}</p><dl><dt>Code</dt><dd><code>{code}</code></dd>"
        f'<dt>HTTP status</dt><dd>{kind.status}</dd></dl><p><a href="/docs">API documentation</a></p>'
    )
    return html(page(kind.title, content))


def _code_marks(text: str) -> str:
    """Escaped, with what stands between backticks as code."""
    parts = escape(text).split("`")
    return "".join(f"<code>{part}</code>" if index % 2 else part for index, part in enumerate(parts))


@cache
def _asset(name: str) -> bytes:
    """Read once: it is 1.4 MB, and each slow reader would keep a copy in memory."""
    return (Path(swagger_ui_path) / name).read_bytes()


def reading_router(
    document: dict[str, Any], notice: str, *, public_search: bool, public_url: str, security_contact: str | None
) -> Router:
    """The pages that depend on the deployment. `notice` is what the source in use asks to be said of it;
    `security_contact` is the URL where vulnerabilities are reported, published as RFC 9116 says."""
    encoded = msgspec.json.encode(document)
    version = document["info"]["version"]
    is_open = "Searching needs no account here, a profile does" if public_search else "To search you need an account"
    start = page(
        "Movie Search",
        f"""<p>A movie search backend, version {escape(version)}. {is_open}:</p>
<ol>
<li>Register with <code>POST /api/v1/authentication/register/</code>.</li>
<li>Open the link in the email and enter the password.</li>
<li>Log in with <code>POST /api/v1/authentication/login/</code>; the answer has a token.</li>
<li>Search with <code>GET /api/v1/movies/?query=matrix</code> and the header
<code>Authorization: Bearer …</code>.</li>
</ol>
<p>All of it can be tried out at <a href="/docs">/docs</a>; its Authorize button takes the token.</p>
<dl>
<dt><a href="/docs">/docs</a></dt><dd>The API, to read and to try out</dd>
<dt><a href="/openapi.json">/openapi.json</a></dt><dd>The same for programs (OpenAPI 3.1)</dd>
<dt><a href="/dashboard">/dashboard</a></dt><dd>What everyone searches for, in numbers, for staff</dd>
<dt><a href="/health/ready">/health/ready</a></dt><dd>Whether every part can be reached</dd>
</dl>
<footer>{escape(notice)}</footer>""",
    )

    @get("/")
    async def start_page() -> Response[str]:
        return html(start)

    @get("/style.css")
    async def style() -> Response[str]:
        return Response(_STYLE, media_type="text/css", headers={"cache-control": "public, max-age=3600"})

    @get("/docs")
    async def docs() -> Response[str]:
        return html(_DOCS, _DOCS_POLICY)

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
        expires = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) + SECURITY_TXT_LASTS
        lines = (
            f"Contact: {security_contact}",
            f"Expires: {expires:%Y-%m-%dT%H:%M:%SZ}",
            "Preferred-Languages: en",
            f"Canonical: {public_url}/.well-known/security.txt",
        )
        content = "".join(f"{line}\n" for line in lines)
        return Response(content, media_type="text/plain", headers={"cache-control": "public, max-age=3600"})

    return Router("/", route_handlers=[start_page, style, docs, docs_start, openapi, docs_asset, security_txt])
