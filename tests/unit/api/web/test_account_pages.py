import re

import httpx
from tests.support.api import ANN, AUTHENTICATION, Api, OpenApi, Page, assert_problem

BROWSER = {"accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
FORM = BROWSER | {"content-type": "application/x-www-form-urlencoded"}
OTHER_PASSWORD = "granite lantern mosaic ferry"


def assert_page(response: httpx.Response, status_code: int, link: str, *, buttons: int) -> Page:
    """An HTML page of the API, without personal data."""
    assert response.status_code == status_code, response.text
    page = Page(response)
    assert page.all("html") == [{"lang": "en"}]
    assert (len(page.all("h1")), len(page.all("button"))) == (1, buttons)
    assert not page.all("script")
    assert not any(name.startswith("on") or name == "style" for _, attributes in page.elements for name in attributes)
    assert all(str(one["href"]).startswith("/") for one in page.all("link") + page.all("a"))
    headers = response.headers
    assert headers["content-security-policy"] == (
        "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )
    assert (headers["referrer-policy"], headers["cache-control"]) == ("no-referrer", "no-store")
    uid, token = link.rstrip("/").split("/")[-2:]
    for private in (uid, token, ANN["email"], ">ann<", ANN["password"], OTHER_PASSWORD):
        assert private not in response.text
    return page


async def request_reset(api: Api) -> str:
    await api.activated()
    await api.post(f"{AUTHENTICATION}password/forgot/", json={"email": ANN["email"]})
    return await api.newest_link()


async def test_an_account_is_activated_by_a_button(api: Api) -> None:
    link = await api.registered()
    for _ in range(3):
        page = assert_page(await api.get(link, headers=BROWSER), 200, link, buttons=1)
        assert page.all("form") == [{"method": "post"}]  # posts to its own URL, which the page does not repeat
        password, new = page.all("input")
        assert (password["type"], password["name"], password["autocomplete"]) == (
            "password",
            "password",
            "current-password",
        )
        assert (new["type"], new["name"]) == ("checkbox", "new")
        assert page.all("label") == [{"for": password["id"]}, {"for": new["id"]}]
    rejected = await api.post(link, data={"password": "wrong"})
    page = assert_page(rejected, 400, link, buttons=1)
    alert = next(attributes for _, attributes in page.elements if attributes.get("role") == "alert")
    assert str(alert["id"]) in str(page.all("input")[0]["aria-describedby"]).split()
    assert_page(await api.post(link, data={"password": ANN["password"]}), 200, link, buttons=0)
    assert_page(await api.post(link, headers=FORM), 200, link, buttons=0)
    assert_page(await api.get(link, headers=BROWSER), 200, link, buttons=0)


async def test_the_form_keeps_its_checkbox_after_an_error(api: Api) -> None:
    link = await api.registered()
    page = assert_page(await api.post(link, data={"password": "password", "new": "on"}), 400, link, buttons=1)
    assert "checked" in page.all("input")[1]
    page = assert_page(await api.post(link, data={"password": "wrong"}), 400, link, buttons=1)
    assert "checked" not in page.all("input")[1]


async def test_a_used_link_reports_that_nothing_was_changed(api: Api) -> None:
    link = await api.registered()
    assert "nothing" not in (await api.post(link, data={"password": ANN["password"]})).text
    assert_page(await api.post(link, data={"password": OTHER_PASSWORD, "new": "on"}), 200, link, buttons=0)
    assert "nothing was changed" in (await api.post(link, json={"new_password": OTHER_PASSWORD})).json()["message"]
    for response in (await api.post(link, data={"password": OTHER_PASSWORD}), await api.get(link, headers=BROWSER)):
        assert "nothing was changed" in response.text
    credentials = {"email": ANN["email"], "password": OTHER_PASSWORD}
    assert (await api.post(f"{AUTHENTICATION}login/", json=credentials)).status_code == 401


async def test_html_is_sent_only_if_accept_has_text_html(api: Api) -> None:
    link = await api.registered()
    for accept in ("*/*", "application/json", "text/*", "text/html;q=0", "text/html; q=0.0, */*", "text/htmlx", ""):
        assert (await api.get(link, headers={"accept": accept})).headers["content-type"] == "application/json", accept
    for accept in ("text/html", "TEXT/HTML;q=0.5", "application/json, text/html"):
        assert (await api.get(link, headers={"accept": accept})).headers["content-type"].startswith("text/html"), accept


async def test_an_invalid_link_explains_how_to_request_a_new_one(api: Api) -> None:
    for path, route in (("verify-email", "verify-email/resend/"), ("password/reset", "password/forgot/")):
        link = f"{AUTHENTICATION}{path}/{'0' * 32}/{'A' * 43}/"
        responses = [await api.get(link, headers=BROWSER), await api.post(link, headers=FORM, content=b"")]
        if path == "password/reset":
            responses[1] = await api.post(link, headers=FORM, data={"password": OTHER_PASSWORD})
        for response in responses:
            assert_page(response, 400, link, buttons=0)
            assert route in response.text
        assert_problem(await api.get(link), 400, "invalid_link")


async def test_a_password_is_reset_by_a_form(open_api: OpenApi) -> None:
    async with open_api(MOVIE_PASSWORD_MIN="11") as api:
        link = await request_reset(api)
        page = assert_page(await api.get(link, headers=BROWSER), 200, link, buttons=1)
        assert page.all("form") == [{"method": "post"}]
        (field,) = page.all("input")
        assert (field["type"], field["name"], field["autocomplete"]) == ("password", "password", "new-password")
        assert page.all("label") == [{"for": field["id"]}]
        hint = await api.get(link, headers=BROWSER)
        assert "11 characters" in hint.text

        rejected = await api.post(link, headers=FORM, data={"password": "short"})
        page = assert_page(rejected, 400, link, buttons=1)
        alert = next(attributes for _, attributes in page.elements if attributes.get("role") == "alert")
        assert str(alert["id"]) in str(page.all("input")[0]["aria-describedby"]).split()
        assert "at least 11 characters" in rejected.text

        assert_page(await api.post(link, headers=FORM, data={"password": OTHER_PASSWORD}), 200, link, buttons=0)
        assert_page(await api.post(link, headers=FORM, data={"password": OTHER_PASSWORD}), 400, link, buttons=0)
        credentials = {"email": ANN["email"], "password": OTHER_PASSWORD}
        assert (await api.post(f"{AUTHENTICATION}login/", json=credentials)).status_code == 200


async def test_forms_are_decoded_as_browsers_encode_them(api: Api) -> None:
    link = await request_reset(api)
    body = "password=velours+h%C3%A2vre%26+plume+toundra"
    assert (await api.post(link, headers=FORM, content=body)).status_code == 200
    credentials = {"email": ANN["email"], "password": "velours hâvre& plume toundra"}
    assert (await api.post(f"{AUTHENTICATION}login/", json=credentials)).status_code == 200


async def test_json_is_not_accepted_as_a_form(api: Api) -> None:
    link = await request_reset(api)
    assert_problem(await api.post(link, json={"password": OTHER_PASSWORD}), 415, "unsupported_media_type")


async def test_pages_support_dark_mode(api: Api) -> None:
    assert re.search(r"color-scheme:\s*light dark", (await api.get("/style.css")).text)


async def test_passwords_are_masked_and_can_be_pasted_or_filled_in(api: Api) -> None:
    link = await request_reset(api)
    activation = await api.registered(email="bob@example.com", username="bob")
    opened = [Page(await api.get(path, headers=BROWSER)) for path in (link, activation, "/dashboard")]
    fields = [field for page in opened for field in page.all("input") if field.get("name") == "password"]
    assert [field["type"] for field in fields] == ["password"] * 3
    assert [field["autocomplete"] for field in fields] == ["new-password", "current-password", "current-password"]
    for page in opened:
        assert not any(name.startswith("on") for _, attributes in page.elements for name in attributes)
        assert not any("maxlength" in field or "readonly" in field for field in page.all("input"))
    script = (await api.get("/dashboard/app.js")).text
    assert not re.search(r"[\"'](?:paste|copy|beforeinput|keydown|contextmenu)[\"']", script)


async def test_text_in_a_page_is_escaped(api: Api) -> None:
    """`test_rendering.py` checks every template."""
    for path in ("/errors/<script>", '/errors/"><script>', "/%3Cscript%3E", f"{AUTHENTICATION}verify-email/<b>/<b>/"):
        response = await api.get(path, headers=BROWSER)
        assert not re.search("<(script|b)>", response.text), path
