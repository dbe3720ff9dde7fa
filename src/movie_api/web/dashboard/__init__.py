"""`/dashboard`: what `analytics/` tells, at a glance. The files beside this one, the same for everybody; whoever opens
the page logs in on it, and its script asks for the figures.
"""

from pathlib import Path

from litestar import Response, get
from litestar.router import Router

from movie_api.web.pages import html

_FILES = Path(__file__).parent


def dashboard_router() -> Router:
    """Reads the files once."""
    page, style, script = (
        (_FILES / name).read_text(encoding="utf-8") for name in ("index.html", "style.css", "app.js")
    )

    @get("/dashboard")
    async def dashboard() -> Response[str]:
        answer = html(page)
        answer.headers["x-robots-tag"] = "noindex"
        answer.headers["cache-control"] = "no-cache"
        return answer

    # Not kept without asking: page, style and script have to be of one release.
    @get("/dashboard/style.css")
    async def dashboard_style() -> Response[str]:
        return Response(style, media_type="text/css", headers={"cache-control": "no-cache"})

    @get("/dashboard/app.js")
    async def dashboard_script() -> Response[str]:
        return Response(script, media_type="text/javascript", headers={"cache-control": "no-cache"})

    return Router("/", route_handlers=[dashboard, dashboard_style, dashboard_script])
