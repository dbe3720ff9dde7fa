import re

import httpx
import pytest
from tests.support.api import Page
from tests.support.openapi import PATHS

POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "connect-src": "'self'",
    "img-src": "'self' data:",
    "frame-ancestors": "'none'",
    "base-uri": "'none'",
    "form-action": "'none'",
}


@pytest.fixture
async def page(api: httpx.AsyncClient) -> Page:
    return Page(await api.get("/dashboard"))


@pytest.fixture
async def script(api: httpx.AsyncClient) -> str:
    return (await api.get("/dashboard/app.js")).text


async def test_the_page_is_public(api: httpx.AsyncClient) -> None:
    for path in ("/dashboard", "/dashboard/"):
        response = await api.get(path)
        assert response.status_code == 200
        headers = response.headers
        assert dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";")) == POLICY
        assert (headers["referrer-policy"], headers["cache-control"]) == ("no-referrer", "no-cache")
        assert "set-cookie" not in headers


async def test_the_page_loads_nothing_external(api: httpx.AsyncClient, page: Page) -> None:
    linked = [str(one.get("href") or one.get("src")) for one in page.all("link") + page.all("script") + page.all("a")]
    assert {"/dashboard/style.css", "/dashboard/app.js"} <= set(linked)
    for url in set(linked) - {"data:,"}:
        assert url.startswith("/")
        assert (await api.get(url)).status_code == 200, url
    types = [(await api.get(f"/dashboard/{name}")).headers["content-type"] for name in ("style.css", "app.js")]
    assert types == ["text/css; charset=utf-8", "text/javascript; charset=utf-8"]


async def test_the_page_has_no_inline_script_or_style(page: Page) -> None:
    assert [one.get("src") for one in page.all("script")] == ["/dashboard/app.js"]
    assert not page.all("style")
    assert not any(name.startswith("on") or name == "style" for _, attributes in page.elements for name in attributes)


async def test_the_page_is_accessible(page: Page) -> None:
    assert page.all("html") == [{"lang": "en"}]
    assert len(page.all("h1")) == len(page.all("main")) == 1
    labelled = {label["for"] for label in page.all("label")}
    assert labelled == {field["id"] for field in page.all("input")} == {"email", "password", "from", "to"}
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert all(section["aria-labelledby"] in ids for section in page.all("section"))
    assert {field["autocomplete"] for field in page.all("input") if "autocomplete" in field} == {
        "username",
        "current-password",
    }


async def test_the_script_matches_the_page_and_the_routes(page: Page, script: str) -> None:
    ids = {attributes["id"] for _, attributes in page.elements if "id" in attributes}
    assert set(re.findall(r'byId\("([\w-]+)"\)', script)) <= ids
    sections = set(re.findall(r"^  (\w+): \{$", script.partition("const SECTIONS")[2], re.MULTILINE))
    assert sections == {"summary", "source", "funnel", "retention", "top", "zero"} <= ids
    loaded = set(re.findall(r'fetchReport\("([^"]+)"', script))
    downloads = {str(one["data-csv"]) for one in page.all("button") if "data-csv" in one}
    routes = {path.removeprefix("/api/v1/analytics/") for path in PATHS if path.startswith("/api/v1/analytics/")}
    assert loaded == downloads == routes
    posted = re.findall(r'send\("([^"]+)", \{ method: "POST"', script)
    assert {f"/api/v1/{name}" for name in posted} <= {path for path, methods in PATHS.items() if "post" in methods}
    assert len(set(posted)) == 3


async def test_the_script_makes_no_html_of_data_and_stores_nothing(script: str) -> None:
    for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "DOMParser", "eval(", "Function("):
        assert word not in script
    for word in ("cookie", "localStorage", "sessionStorage", "indexedDB", "caches"):
        assert word not in script


async def test_the_style_supports_dark_mode_and_reduced_motion(api: httpx.AsyncClient) -> None:
    style = (await api.get("/dashboard/style.css")).text
    assert "color-scheme: light dark" in style
    assert set(re.findall(r"(?:transition|animation)\b", style.partition("@media (prefers-reduced-motion")[0])) == set()
    assert "http" not in style


async def test_the_logout_button_is_visible_while_logged_in(page: Page, script: str) -> None:
    (button,) = [one for one in page.all("button") if one.get("id") == "log-out"]
    assert "hidden" in button  # until the user has logged in
    assert 'byId("report").hidden = byId("log-out").hidden = !isLoggedIn;' in script
    assert 'byId("log-out").addEventListener("click", logOut);' in script


async def test_logout_discards_tokens_and_data(script: str) -> None:
    """Before any request, so also without a connection; a page restored from the browser's cache is reloaded."""
    leave = script.partition("function leave(message) {")[2].partition("\n}\n")[0]
    for done in ("session = null;", "loadedReports.clear();", "body.replaceChildren();", "show(false);"):
        assert done in leave
    log_out = script.partition("async function logOut() {")[2].partition("\n}\n")[0]
    assert log_out.index("leave(") < log_out.index("await ")
    assert "if (event.persisted) location.reload();" in script
    assert 'byId("login-form").reset();' in script  # the password leaves the page with the login


async def test_no_name_in_data_becomes_a_property(script: str) -> None:
    """Data of the API is stored in a Map or under constant names, so that it can't change a prototype."""
    assert re.findall(r"\w\[(?!\")[^\]]+\]\s*=[^=>]", script) == []
    assert "__proto__" not in script
    assert re.findall(r"Object\.assign\((\w+), ([^)]*)\)", script) == [
        ("this", "{ status, code, retryAfter }"),
        ("mine", "{ access, refresh }"),
    ]
    assert "new Map(" in script
