"""`/dashboard`: the reports of `analytics/` as charts and tables.

Page, style sheet and script are the same for everyone. Staff log in on the page, and its script requests the reports.
"""

from pathlib import Path

from litestar import Response, get
from litestar.response import Template
from litestar.router import Router

from movie_api.web.pages import PAGE_POLICY
from movie_api.web.rendering import html_page

_FILES = Path(__file__).parent


def dashboard_router() -> Router:
    """Reads the files once, at startup."""
    style, script = ((_FILES / name).read_text(encoding="utf-8") for name in ("style.css", "app.js"))

    @get("/dashboard")
    async def dashboard() -> Template:
        response = html_page("dashboard.html", PAGE_POLICY)
        response.headers["x-robots-tag"] = "noindex"
        response.headers["cache-control"] = "no-cache"
        return response

    # `no-cache` (revalidate): page, style sheet and script must be of the same release.
    @get("/dashboard/style.css")
    async def dashboard_style() -> Response[str]:
        return Response(style, media_type="text/css", headers={"cache-control": "no-cache"})

    @get("/dashboard/app.js")
    async def dashboard_script() -> Response[str]:
        return Response(script, media_type="text/javascript", headers={"cache-control": "no-cache"})

    return Router("/", route_handlers=[dashboard, dashboard_style, dashboard_script])
