import re
from html.parser import HTMLParser

import httpx
from tests.unit.api.conftest import ANN, AUTHENTICATION, Api, OpenApi
from tests.unit.api.routes.test_movies import assert_problem

from movie_api.web import pages
from movie_api.web.account_pages import ask_for_password, ask_to_activate

BROWSER = {"accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
FORM = BROWSER | {"content-type": "application/x-www-form-urlencoded"}
OTHER_PASSWORD = "granite lantern mosaic ferry"


class Page(HTMLParser):
    """What stands in a page: its elements with their attributes."""

    def __init__(self, answer: httpx.Response) -> None:
        super().__init__()
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.feed(answer.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def assert_page(answer: httpx.Response, status_code: int, link: str, *, buttons: int) -> Page:
    """A page of ours, with nothing in it about who it is for."""
    assert answer.status_code == status_code, answer.text
    page = Page(answer)
    assert page.all("html") == [{"lang": "en"}]
    assert (len(page.all("h1")), len(page.all("button"))) == (1, buttons)
    assert not page.all("script")
    assert not any(name.startswith("on") or name == "style" for _, attributes in page.elements for name in attributes)
    assert all(str(one["href"]).startswith("/") for one in page.all("link") + page.all("a"))
    headers = answer.headers
    assert headers["content-security-policy"] == (
        "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )
    assert (headers["referrer-policy"], headers["cache-control"]) == ("no-referrer", "no-store")
    uid, token = link.rstrip("/").split("/")[-2:]
    for private in (uid, token, ANN["email"], ">ann<", ANN["password"], OTHER_PASSWORD):
        assert private not in answer.text
    return page


async def forgotten(api: Api) -> str:
    await api.activated()
    await api.post(f"{AUTHENTICATION}password/forgot/", json={"email": ANN["email"]})
    return await api.newest_link()


async def test_an_account_is_activated_by_a_button(api: Api) -> None:
    link = await api.registered()
    for _ in range(3):
        page = assert_page(await api.get(link, headers=BROWSER), 200, link, buttons=1)
        assert page.all("form") == [{"method": "post"}]  # to its own address, which isn't repeated
        password, new = page.all("input")
        assert (password["type"], password["name"], password["autocomplete"]) == (
            "password",
            "password",
            "current-password",
        )
        assert (new["type"], new["name"]) == ("checkbox", "new")
        assert page.all("label") == [{"for": password["id"]}, {"for": new["id"]}]
    refused = await api.post(link, data={"password": "wrong"})
    page = assert_page(refused, 400, link, buttons=1)
    alert = next(attributes for _, attributes in page.elements if attributes.get("role") == "alert")
    assert str(alert["id"]) in str(page.all("input")[0]["aria-describedby"]).split()
    assert_page(await api.post(link, data={"password": ANN["password"]}), 200, link, buttons=0)
    assert_page(await api.post(link, headers=FORM), 200, link, buttons=0)
    assert_page(await api.get(link, headers=BROWSER), 200, link, buttons=0)


async def test_a_refused_new_password_is_still_a_new_one_in_the_next_form(api: Api) -> None:
    link = await api.registered()
    page = assert_page(await api.post(link, data={"password": "password", "new": "on"}), 400, link, buttons=1)
    assert "checked" in page.all("input")[1]
    page = assert_page(await api.post(link, data={"password": "wrong"}), 400, link, buttons=1)
    assert "checked" not in page.all("input")[1]


async def test_a_link_used_before_says_that_nothing_was_changed(api: Api) -> None:
    link = await api.registered()
    assert "nothing" not in (await api.post(link, data={"password": ANN["password"]})).text
    assert_page(await api.post(link, data={"password": OTHER_PASSWORD, "new": "on"}), 200, link, buttons=0)
    assert "nothing was changed" in (await api.post(link, json={"new_password": OTHER_PASSWORD})).json()["message"]
    for answer in (await api.post(link, data={"password": OTHER_PASSWORD}), await api.get(link, headers=BROWSER)):
        assert "nothing was changed" in answer.text
    credentials = {"email": ANN["email"], "password": OTHER_PASSWORD}
    assert (await api.post(f"{AUTHENTICATION}login/", json=credentials)).status_code == 401


async def test_html_goes_only_to_who_names_it(api: Api) -> None:
    link = await api.registered()
    for accept in ("*/*", "application/json", "text/*", "text/html;q=0", "text/html; q=0.0, */*", "text/htmlx", ""):
        assert (await api.get(link, headers={"accept": accept})).headers["content-type"] == "application/json", accept
    for accept in ("text/html", "TEXT/HTML;q=0.5", "application/json, text/html"):
        assert (await api.get(link, headers={"accept": accept})).headers["content-type"].startswith("text/html"), accept


async def test_a_bad_link_says_how_to_get_another(api: Api) -> None:
    for path, way in (("verify-email", "verify-email/resend/"), ("password/reset", "password/forgot/")):
        link = f"{AUTHENTICATION}{path}/{'0' * 32}/{'A' * 43}/"
        answers = [await api.get(link, headers=BROWSER), await api.post(link, headers=FORM, content=b"")]
        if path == "password/reset":
            answers[1] = await api.post(link, headers=FORM, data={"password": OTHER_PASSWORD})
        for answer in answers:
            assert_page(answer, 400, link, buttons=0)
            assert way in answer.text
        assert_problem(await api.get(link), 400, "invalid_link")


async def test_a_password_is_reset_by_a_form(open_api: OpenApi) -> None:
    async with open_api(MOVIE_PASSWORD_MIN="11") as api:
        link = await forgotten(api)
        page = assert_page(await api.get(link, headers=BROWSER), 200, link, buttons=1)
        assert page.all("form") == [{"method": "post"}]
        (field,) = page.all("input")
        assert (field["type"], field["name"], field["autocomplete"]) == ("password", "password", "new-password")
        assert page.all("label") == [{"for": field["id"]}]
        hint = await api.get(link, headers=BROWSER)
        assert "11 characters" in hint.text

        refused = await api.post(link, headers=FORM, data={"password": "short"})
        page = assert_page(refused, 400, link, buttons=1)
        alert = next(attributes for _, attributes in page.elements if attributes.get("role") == "alert")
        assert str(alert["id"]) in str(page.all("input")[0]["aria-describedby"]).split()
        assert "at least 11 characters" in refused.text

        assert_page(await api.post(link, headers=FORM, data={"password": OTHER_PASSWORD}), 200, link, buttons=0)
        assert_page(await api.post(link, headers=FORM, data={"password": OTHER_PASSWORD}), 400, link, buttons=0)
        credentials = {"email": ANN["email"], "password": OTHER_PASSWORD}
        assert (await api.post(f"{AUTHENTICATION}login/", json=credentials)).status_code == 200


async def test_a_form_is_read_as_browsers_write_it(api: Api) -> None:
    link = await forgotten(api)
    body = "password=velours+h%C3%A2vre%26+plume+toundra"
    assert (await api.post(link, headers=FORM, content=body)).status_code == 200
    credentials = {"email": ANN["email"], "password": "velours hâvre& plume toundra"}
    assert (await api.post(f"{AUTHENTICATION}login/", json=credentials)).status_code == 200


async def test_json_is_no_form(api: Api) -> None:
    link = await forgotten(api)
    assert_problem(await api.post(link, json={"password": OTHER_PASSWORD}), 415, "unsupported_media_type")


async def test_pages_are_for_light_and_dark(api: Api) -> None:
    assert re.search(r"color-scheme:\s*light dark", (await api.get("/style.css")).text)


async def test_passwords_are_masked_and_may_be_pasted_or_filled_in(api: Api) -> None:
    link = await forgotten(api)
    activation = await api.registered(email="bob@example.com", username="bob")
    shown = [Page(await api.get(path, headers=BROWSER)) for path in (link, activation, "/dashboard")]
    fields = [field for page in shown for field in page.all("input") if field.get("name") == "password"]
    assert [field["type"] for field in fields] == ["password"] * 3
    assert [field["autocomplete"] for field in fields] == ["new-password", "current-password", "current-password"]
    for page in shown:
        assert not any(name.startswith("on") for _, attributes in page.elements for name in attributes)
        assert not any("maxlength" in field or "readonly" in field for field in page.all("input"))
    script = (await api.get("/dashboard/app.js")).text
    assert not re.search(r"[\"'](?:paste|copy|beforeinput|keydown|contextmenu)[\"']", script)


async def test_text_in_a_page_is_escaped(api: Api) -> None:
    assert "<script>" not in pages.page("<script>alert(1)</script>", "")
    assert ask_for_password(8, '<b onload="x">').content.count("&lt;b onload=&quot;x&quot;&gt;") == 1
    assert ask_to_activate(8, "<i>").content.count("&lt;i&gt;") == 1
    for path in ("/errors/<script>", '/errors/"><script>', "/%3Cscript%3E", f"{AUTHENTICATION}verify-email/<b>/<b>/"):
        answer = await api.get(path, headers=BROWSER)
        assert not re.search("<(script|b)>", answer.text), path
