import asyncio
import itertools
import logging

import pytest
from tests.support.api import (
    ANN,
    AUTHENTICATION,
    CHANGE,
    CREDENTIALS,
    FORGOT,
    LOGIN,
    LOGOUT,
    ME,
    MOVIES,
    OTHER_PASSWORD,
    REFRESH,
    REGISTER,
    RESEND,
    RESET,
    SESSIONS,
    Api,
    OpenApi,
    assert_problem,
    bearer,
    comparable,
    logged_in,
)

FORM = {"content-type": "application/x-www-form-urlencoded"}
HTML = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


# --- registration and activation


async def test_from_registration_to_search(open_api: OpenApi) -> None:
    async with open_api(MOVIE_PUBLIC_SEARCH="false") as api:
        response = await api.post(REGISTER, json=ANN)
        assert (response.status_code, response.json()) == (201, {"email": "ann@example.com", "username": "ann"})
        link = await api.newest_link()
        assert link.startswith(f"{AUTHENTICATION}verify-email/")
        assert (await api.post(LOGIN, json=CREDENTIALS)).status_code == 401
        body = (await api.post(link)).json()
        assert set(body) == {"message", "access", "refresh"}
        assert body["message"] == "Email verified successfully"
        assert (await api.get(MOVIES, headers=bearer(body["access"]))).status_code == 200
        response = await api.post(LOGIN, json=CREDENTIALS)
        assert (response.status_code, set(response.json())) == (200, {"access", "refresh"})
        assert (await api.get(MOVIES, headers=bearer(response.json()["access"]))).status_code == 200


async def test_a_taken_address_gets_the_same_response_as_a_new_one(api: Api) -> None:
    first = comparable(await api.from_address("192.0.2.7").post(REGISTER, json=ANN))
    await api.post(await api.newest_link())
    again = await api.from_address("192.0.2.8").post(REGISTER, json=ANN | {"username": "eve"})
    assert again.json() == {"email": "ann@example.com", "username": "eve"}
    assert (comparable(again)[0], set(comparable(again)[1])) == (first[0], set(first[1]))


async def test_all_invalid_fields_of_a_registration_are_reported(api: Api) -> None:
    invalid = {
        "email": ("no address", "invalid_email"),
        "username": ("a\nb", "invalid_username"),
        "password": ("x", "weak_password"),
    }
    for fields in (*itertools.combinations(invalid, 2), tuple(invalid)):
        changed = {field: invalid[field][0] for field in fields}
        codes = [(field, invalid[field][1]) for field in fields]
        body = assert_problem(await api.post(REGISTER, json=ANN | changed), 400, codes[0][1])
        assert [(row["field"], row["code"]) for row in body["errors"]] == codes  # type: ignore[attr-defined]
    body = assert_problem(await api.post(REGISTER, json=ANN | {"password": "12345678"}), 400, "weak_password")
    assert "12345678" not in str(body)


async def test_a_taken_username_is_a_conflict(api: Api) -> None:
    await api.activated()
    assert_problem(await api.post(REGISTER, json=ANN | {"email": "eve@example.com"}), 409, "username_taken")


async def test_a_username_taken_meanwhile_is_a_conflict_at_activation(api: Api) -> None:
    late = await api.registered(email="eve@example.com")
    await api.activated()
    assert_problem(await api.post(late), 409, "username_taken")
    page = await api.post(late, data={"password": ANN["password"]})
    assert page.status_code == 409
    assert "taken" in page.text
    assert page.headers["content-type"].startswith("text/html")


async def test_opening_a_link_changes_nothing(api: Api) -> None:
    link = await api.registered()
    for method, status in (("GET", 200), ("HEAD", 200), ("OPTIONS", 204)):
        for headers in ({}, HTML):
            response = await api.request(method, link, headers=headers)
            assert response.status_code == status, method
            assert response.headers["cache-control"] == "no-store"
    assert set((await api.get(link)).json()) == {"message"}
    assert (await api.post(LOGIN, json=CREDENTIALS)).status_code == 401
    assert "access" in (await api.post(link)).json()


async def test_a_used_link_returns_a_code_and_no_tokens(api: Api) -> None:
    link = await api.registered()
    responses = await asyncio.gather(*(api.post(link) for _ in range(20)))
    assert {response.status_code for response in responses} == {200}
    assert sum("access" in response.json() for response in responses) == 1
    again = (await api.post(link)).json()
    assert set(again) == {"message", "code"}
    assert again["code"] == "already_verified"
    assert (await api.get(link)).json()["code"] == "already_verified"


@pytest.mark.parametrize(
    "request_",
    [{}, {"json": {}}, {"headers": {"content-type": "application/json"}}, {"headers": {"accept": "*/*"}}],
)
async def test_a_json_client_may_omit_the_body(api: Api, request_: dict[str, dict[str, str]]) -> None:
    response = await api.post(await api.registered(), **request_)  # type: ignore[arg-type]
    assert set(response.json()) == {"message", "access", "refresh"}


@pytest.mark.parametrize(
    "request_",
    [
        {"data": {"password": ANN["password"]}},
        {"data": {"password": ANN["password"]}, "headers": {"accept": "application/json"}},
        {"json": {"password": ANN["password"]}, "headers": HTML},
    ],
)
async def test_a_browser_gets_no_tokens(api: Api, request_: dict[str, dict[str, str]]) -> None:
    link = await api.registered()
    page = await api.post(link, **request_)  # type: ignore[arg-type]
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    assert (await api.post(LOGIN, json=CREDENTIALS)).status_code == 200
    assert len((await api.get(SESSIONS, headers=await logged_in(api))).json()["items"]) == 2  # the two logins


@pytest.mark.parametrize("request_", [{"headers": FORM}, {"headers": HTML}, {"data": {"password": ""}}])
async def test_a_form_without_a_password_activates_nothing(api: Api, request_: dict[str, dict[str, str]]) -> None:
    link = await api.registered()
    page = await api.post(link, **request_)  # type: ignore[arg-type]
    assert page.status_code == 400
    assert '<p role="alert"' in page.text
    assert (await api.post(LOGIN, json=CREDENTIALS)).status_code == 401
    assert (await api.post(link, data={"password": ANN["password"]})).status_code == 200


async def test_a_password_set_by_another_person_does_not_survive_activation(api: Api) -> None:
    strange = "granite lantern mosaic ferry"
    stranger = await api.registered(password=strange)
    own = await api.registered()
    assert_problem(await api.post(stranger), 409, "password_required")
    body = assert_problem(await api.post(stranger, json={"password": ANN["password"]}), 400, "invalid_password")
    assert body["errors"][0]["field"] == "password"  # type: ignore[index]
    page = await api.post(stranger, data={"password": ANN["password"]})
    assert page.status_code == 400
    assert "not the password of this registration" in page.text
    assert_problem(await api.post(stranger, json={"new_password": "short"}), 400, "weak_password")
    assert_problem(await api.post(stranger, json={"new_password": strange, "password": strange}), 400, "invalid_body")
    page = await api.post(stranger, data={"password": "short", "new": "on"})
    assert page.status_code == 400
    assert "at least 8 characters" in page.text
    response = await api.post(stranger, json={"new_password": "amber kites over quarry"})
    assert set(response.json()) == {"message", "access", "refresh"}
    assert_problem(await api.post(own, json={"password": ANN["password"]}), 400, "invalid_link")
    for password, status in ((strange, 401), (ANN["password"], 401), ("amber kites over quarry", 200)):
        assert (await api.post(LOGIN, json=CREDENTIALS | {"password": password})).status_code == status


async def test_a_browser_may_choose_a_new_password(api: Api) -> None:
    link = await api.registered()
    page = await api.post(link, data={"password": "amber kites over quarry", "new": "on"})
    assert page.status_code == 200
    assert (await api.post(LOGIN, json=CREDENTIALS)).status_code == 401
    assert (await api.post(LOGIN, json=CREDENTIALS | {"password": "amber kites over quarry"})).status_code == 200


async def test_a_json_client_may_send_the_password(api: Api) -> None:
    response = await api.post(await api.registered(), json={"password": ANN["password"]})
    assert set(response.json()) == {"message", "access", "refresh"}


async def test_a_repeated_registration_requires_no_password(api: Api) -> None:
    await api.registered()
    link = await api.registered()
    assert (await api.post(link)).status_code == 200


async def test_every_invalid_link_gets_the_same_response(api: Api) -> None:
    uid, token = (await api.registered()).rstrip("/").split("/")[-2:]
    flipped = ("B" if token[0] == "A" else "A") + token[1:]
    bad = [(uid, flipped), ("0" * 32, token), ("%00", token), ("AA==", token), ("%E2%80%AE", token), (uid, "a" * 5000)]
    for method in ("GET", "POST"):
        responses = [await api.request(method, f"{AUTHENTICATION}verify-email/{uid}/{token}/") for uid, token in bad]
        for response in responses:
            assert_problem(response, 400, "invalid_link")
        assert len({comparable(response)[2] for response in responses}) == 1


async def test_a_resent_link_supersedes_the_first(api: Api) -> None:
    first = await api.registered()
    known = await api.post(RESEND, json={"email": "ANN@example.com"})
    second = await api.newest_link()
    assert second != first
    unknown = await api.post(RESEND, json={"email": "bob@example.com"})
    assert known.status_code == 202
    assert comparable(known) == comparable(unknown)
    assert_problem(await api.post(first), 400, "invalid_link")
    assert (await api.post(second)).status_code == 200
    assert_problem(await api.post(RESEND, json={"email": "nobody"}), 400, "invalid_email")


async def test_invalid_registrations_count_against_the_limit(open_api: OpenApi) -> None:
    async with open_api(MOVIE_LIMIT_REGISTER="3/minute") as api:
        assert (await api.post(REGISTER, json=ANN)).headers["ratelimit"].startswith('"register";r=2;')
        response = await api.post(REGISTER, content=b"{", headers={"content-type": "application/json"})
        assert_problem(response, 400, "invalid_body")
        assert response.headers["ratelimit"].startswith('"register";r=1;')
        assert (await api.post(REGISTER, json=ANN | {"is_staff": True})).status_code == 400
        for number in range(3):
            headers = {"x-forwarded-for": f"203.0.113.{number}"}
            assert_problem(await api.post(REGISTER, json=ANN, headers=headers), 429, "rate_limited")
        assert (await api.from_address("2001:db8::1").post(REGISTER, json=ANN)).status_code == 201
    async with open_api(MOVIE_LIMIT_REGISTER="off") as api:
        assert "ratelimit" not in (await api.post(REGISTER, json=ANN)).headers


# --- passwords


async def test_a_forgotten_password_is_replaced(api: Api) -> None:
    session = await api.activated()
    known, unknown = [await api.post(FORGOT, json={"email": e}) for e in ("ann@example.com", "bob@example.com")]
    assert known.status_code == 202
    assert comparable(known) == comparable(unknown)
    link = await api.newest_link()
    assert link.startswith(RESET)
    assert set((await api.get(link)).json()) == {"message"}
    uid, token = link.rstrip("/").split("/")[-2:]
    body = {"uid": uid, "token": token}
    assert_problem(await api.post(RESET, json=body | {"password": "short"}), 400, "weak_password")
    assert_problem(await api.post(RESET, json=body | {"uid": "\x00", "password": OTHER_PASSWORD}), 400, "invalid_link")
    assert (await api.post(RESET, json=body | {"password": OTHER_PASSWORD})).status_code == 204
    assert_problem(await api.post(RESET, json=body | {"password": OTHER_PASSWORD}), 400, "invalid_link")
    assert_problem(await api.get(link), 400, "invalid_link")
    assert_problem(await api.get(ME, headers=session), 401, "invalid_token")
    assert_problem(await api.post(LOGIN, json=CREDENTIALS), 401, "invalid_credentials")
    assert (await api.post(LOGIN, json=CREDENTIALS | {"password": OTHER_PASSWORD})).status_code == 200


async def test_changing_a_password_requires_the_old_one(api: Api) -> None:
    session, other = await api.activated(), await logged_in(api)
    change = {"old_password": ANN["password"], "new_password": OTHER_PASSWORD}
    body = assert_problem(
        await api.post(CHANGE, json=change | {"old_password": "x"}, headers=session), 400, "invalid_password"
    )
    assert body["errors"][0]["field"] == "old_password"  # type: ignore[index]
    body = assert_problem(
        await api.post(CHANGE, json=change | {"new_password": "short"}, headers=session), 400, "weak_password"
    )
    assert body["errors"][0]["field"] == "new_password"  # type: ignore[index]
    assert_problem(await api.post(CHANGE, json=change), 401, "not_authenticated")
    assert (await api.post(CHANGE, json=change, headers=session)).status_code == 204
    assert (await api.get(ME, headers=session)).status_code == 200
    assert_problem(await api.get(ME, headers=other), 401, "invalid_token")


async def test_a_change_of_password_counts_like_a_login(open_api: OpenApi) -> None:
    async with open_api(MOVIE_LIMIT_LOGIN="5/minute") as api:
        session = await api.activated()
        change = {"old_password": "wrong", "new_password": OTHER_PASSWORD}
        responses = await asyncio.gather(*(api.post(CHANGE, json=change, headers=session) for _ in range(20)))
        assert [response.status_code for response in responses].count(400) == 5
        assert [response.status_code for response in responses].count(429) == 15
        assert_problem(await api.post(LOGIN, json=CREDENTIALS), 429, "rate_limited")


async def test_requests_for_email_are_limited_per_network(open_api: OpenApi) -> None:
    async with open_api(MOVIE_LIMIT_REGISTER="3/minute") as api:
        for n in range(3):
            path = (RESEND, FORGOT)[n % 2]
            assert (await api.post(path, json={"email": f"nobody{n}@example.com"})).status_code == 202
        for path in (RESEND, FORGOT):
            assert_problem(await api.post(path, json={"email": "x@example.com"}), 429, "rate_limited")
        assert (await api.post(REGISTER, json=ANN)).status_code == 201, "registrations have their own limit"
        assert (await api.from_address("192.0.2.99").post(FORGOT, json={"email": "x@example.com"})).status_code == 202


async def test_uses_of_a_link_are_limited(open_api: OpenApi) -> None:
    async with open_api(MOVIE_LIMIT_LOGIN="1/minute") as api:
        link = await api.registered()
        for n in range(10):
            response = await api.from_address(f"192.0.{n}.1").post(link, json={"password": "wrong"})
            assert_problem(response, 400, "invalid_password")
        assert_problem(await api.post(link, json={"password": ANN["password"]}), 429, "rate_limited")


# --- the whole section


async def test_no_response_of_this_section_may_be_stored(api: Api) -> None:
    session = await api.activated()
    for method, path, headers in (
        ("GET", ME, session),
        ("GET", ME, {}),
        ("HEAD", ME, session),
        ("PUT", ME, session),
        ("GET", LOGIN, {}),
        ("GET", f"{AUTHENTICATION}nothing/", {}),
        ("GET", "/api/v1/users/", {}),
        ("GET", "//api/v1//users/me/", session),
        ("GET", f"{ME}export/", session),
        ("OPTIONS", REGISTER, {}),
        ("POST", REGISTER, {}),
        ("GET", ME, {"host": "evil.test"}),
    ):
        response = await api.request(method, f"http://127.0.0.1:8000{path}", headers=headers)
        assert response.headers.get_list("cache-control") == ["no-store"], (method, path)


async def test_paths_without_the_trailing_slash_work_without_a_redirect(api: Api) -> None:
    link = (await api.registered()).rstrip("/")
    assert (await api.get(link)).status_code == 200
    session = bearer((await api.post(link)).json()["access"])
    for path in (ME, f"{ME}export/", SESSIONS):
        assert (await api.get(path.rstrip("/"), headers=session)).status_code == 200, path
    for path in (REGISTER, LOGIN, REFRESH, RESEND, FORGOT, RESET):
        assert (await api.post(path.rstrip("/"), json={})).status_code == 400, path
    assert (await api.post(CHANGE.rstrip("/"), json={}, headers=session)).status_code == 400
    assert (await api.post(LOGOUT.rstrip("/"), headers=session)).status_code == 200


@pytest.mark.parametrize("path", [LOGIN, REGISTER, f"{AUTHENTICATION}jwt/token/", FORGOT])
async def test_another_method_is_not_allowed(api: Api, path: str) -> None:
    response = await api.get(path)
    assert_problem(response, 405, "method_not_allowed")
    assert set(response.headers["allow"].split(", ")) == {"POST", "OPTIONS"}


async def test_no_token_reaches_the_log(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    link = await api.registered()
    uid, token = link.rstrip("/").split("/")[-2:]
    paths = (
        link,
        link.rstrip("/"),
        f"{AUTHENTICATION}verify%2Demail/{uid}/{token}/",
        f"{AUTHENTICATION}verify-email/{uid}/{token}/verify-email/{uid}/x",
        f"/api/v1//authentication//password//reset//{uid}//{token}",
        f"{RESET}{uid}/{token}/",
    )
    with caplog.at_level(logging.INFO):
        for path in paths:
            for method in ("GET", "PUT"):
                await api.request(method, path)
        await api.post(RESEND, json={"email": "ann@example.com"})
    records = [
        record for record in caplog.records if record.name.startswith("movie_")
    ]  # not those of the test's client
    assert not [record for record in records if token in record.getMessage()]
    lines = [record.getMessage() for record in records if record.name == "movie_api.access"]
    assert len(lines) == 2 * len(paths) + 1
    assert lines[0].startswith(f"GET {AUTHENTICATION}verify-email/{uid}/… 200 ")
    assert lines[-1].startswith(f"POST {RESEND} 202 ")


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("10.0.0.1", "203.0.113.9", "203.0.113.9"),
        ("10.0.0.1", "198.51.100.1, 203.0.113.9, 10.0.0.2", "203.0.113.9"),
        ("10.0.0.1", "203.0.113.9, garbage", "10.0.0.1"),
        ("10.0.0.1", "garbage, 10.0.0.3", "10.0.0.3"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("::ffff:10.0.0.1", "2001:db8::1", "2001:db8::1"),
        ("192.0.2.1", "203.0.113.9", "192.0.2.1"),
    ],
)
async def test_only_trusted_proxies_set_the_client_address(
    open_api: OpenApi, peer: str, forwarded: str, client: str
) -> None:
    settings = {"MOVIE_TRUSTED_PROXIES": "10.0.0.0/8", "MOVIE_LIMIT_REGISTER": "1/minute"}
    async with open_api(**settings) as api:
        assert (await api.from_address(client).post(REGISTER, json=ANN)).status_code == 201
        response = await api.from_address(peer).post(REGISTER, json=ANN, headers={"x-forwarded-for": forwarded})
        assert response.status_code == 429  # it was the same client
        assert (await api.from_address("198.51.100.77").post(REGISTER, json=ANN)).status_code == 201


async def test_an_account_has_no_secret_except_its_password(api: Api) -> None:
    """Password hints and secret questions are not supported."""
    for more in ("hint", "password_hint", "question", "secret_question", "answer", "pin"):
        assert_problem(await api.post(REGISTER, json=ANN | {more: "x"}), 400, "invalid_body")
        assert_problem(await api.post(LOGIN, json=CREDENTIALS | {more: "x"}), 400, "invalid_body")
        assert_problem(await api.post(FORGOT, json={"email": ANN["email"], more: "x"}), 400, "invalid_body")
