import asyncio
import logging
import re
from typing import Any

import httpx
import pytest
from tests.unit.api.conftest import ANN, AUTHENTICATION, ME, Api, OpenApi, bearer
from tests.unit.api.routes.test_movies import MOVIES, assert_problem

from movie_core.accounts.services import Accounts
from movie_core.errors import StoreUnavailable

REGISTER = f"{AUTHENTICATION}register/"
LOGIN = f"{AUTHENTICATION}login/"
REFRESH = f"{AUTHENTICATION}jwt/token/refresh/"
LOGOUT = f"{AUTHENTICATION}logout/"
RESEND = f"{AUTHENTICATION}verify-email/resend/"
FORGOT = f"{AUTHENTICATION}password/forgot/"
RESET = f"{AUTHENTICATION}password/reset/"
CHANGE = f"{AUTHENTICATION}password/change/"
REAUTHENTICATE = f"{AUTHENTICATION}reauthenticate/"
SESSIONS = f"{AUTHENTICATION}sessions/"
CREDENTIALS = {"email": ANN["email"], "password": ANN["password"]}
OTHER_PASSWORD = "granite lantern mosaic ferry"
FORM = {"content-type": "application/x-www-form-urlencoded"}
HTML = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


def comparable(response: httpx.Response) -> tuple[int, dict[str, str], bytes]:
    """A response without the parts that differ in every response."""
    headers = {name: value for name, value in response.headers.items() if name != "x-request-id"}
    return response.status_code, headers, re.sub(rb'"request_id":"[^"]*"', b"", response.content)


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


async def test_all_errors_of_a_registration_are_reported(api: Api) -> None:
    body = assert_problem(
        await api.post(REGISTER, json={"email": "no address", "username": "a\nb", "password": "x"}),
        400,
        "invalid_email",
    )
    assert [(row["field"], row["code"]) for row in body["errors"]] == [  # type: ignore[attr-defined]
        ("email", "invalid_email"),
        ("username", "invalid_username"),
    ]
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
    for method in ("GET", "HEAD", "OPTIONS"):
        for headers in ({}, HTML):
            response = await api.request(method, link, headers=headers)
            assert response.status_code in (200, 204), method
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


async def logged_in(api: Api, **changed: str) -> dict[str, str]:
    return bearer((await api.post(LOGIN, json=CREDENTIALS | changed)).json()["access"])


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


# --- tokens


async def test_every_failed_login_gets_the_same_response(api: Api) -> None:
    await api.activated()
    await api.registered(email="bob@example.com", username="bob")
    attempts = [
        CREDENTIALS | {"password": "wrong"},
        CREDENTIALS | {"email": "nobody@example.com"},
        CREDENTIALS | {"email": "bob@example.com"},
        CREDENTIALS | {"email": ""},
        CREDENTIALS | {"email": "not an address\x00"},
        CREDENTIALS | {"password": ""},
        CREDENTIALS | {"password": "a" * 1025},
    ]
    responses = [await api.from_address(f"192.0.2.{10 + at}").post(LOGIN, json=one) for at, one in enumerate(attempts)]
    for response in responses:
        assert_problem(response, 401, "invalid_credentials")
        assert response.headers["www-authenticate"] == "Bearer"
    assert len({str(comparable(response)) for response in responses}) == 1


async def test_both_logins_share_their_limit(open_api: OpenApi) -> None:
    async with open_api(MOVIE_LIMIT_LOGIN="4/minute") as api:
        await api.activated()
        for left, path in ((3, LOGIN), (2, f"{AUTHENTICATION}jwt/token/"), (1, LOGIN), (0, f"{AUTHENTICATION}login")):
            response = await api.post(path, json=CREDENTIALS | {"password": "wrong"})
            assert response.status_code == 401
            assert re.fullmatch(rf'"login";r={left};t=\d+', response.headers["ratelimit"])
            assert response.headers["ratelimit-policy"] == '"login";q=4;w=60'
        response = await api.post(f"{AUTHENTICATION}jwt/token/", json=CREDENTIALS)
        assert_problem(response, 429, "rate_limited")
        assert 1 <= int(response.headers["retry-after"]) <= 60
        assert re.fullmatch(r'"login";r=0;t=\d+', response.headers["ratelimit"])
        assert response.headers["cache-control"] == "no-store"
        owner = await api.from_address("198.51.100.1").post(LOGIN, json=CREDENTIALS)
        assert owner.status_code == 200
        assert "ratelimit" in owner.headers


async def test_only_wrong_passwords_count_for_an_account(open_api: OpenApi, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_api(MOVIE_LIMIT_LOGIN="2/minute") as api:
        await api.activated()

        async def fail(*_: Any, **__: Any) -> None:
            raise StoreUnavailable("the database is unavailable")

        with monkeypatch.context() as failing:
            failing.setattr(Accounts, "log_in", fail)
            for _ in range(5):
                assert_problem(await api.post(LOGIN, json=CREDENTIALS), 503, "store_unavailable")
        for _ in range(5):
            assert (await api.post(LOGIN, json=CREDENTIALS)).status_code == 200
        for expected in (401, 401, 429):
            assert (await api.post(LOGIN, json=CREDENTIALS | {"password": "wrong"})).status_code == expected


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


async def test_a_refresh_token_is_replaced(api: Api) -> None:
    await api.activated()
    refresh = (await api.post(LOGIN, json=CREDENTIALS)).json()["refresh"]
    pair = (await api.post(REFRESH, json={"refresh": refresh})).json()
    assert set(pair) == {"access", "refresh"}
    assert (await api.post(REFRESH, json={"refresh": refresh})).json()["refresh"] == pair["refresh"]
    assert (await api.post(REFRESH, json={"refresh": pair["refresh"]})).status_code == 200
    assert_problem(await api.post(REFRESH, json={"refresh": refresh}), 401, "invalid_token")
    assert_problem(await api.get(ME, headers=bearer(pair["access"])), 401, "invalid_token")
    for invalid in ("", "\x00", pair["access"], "a" * 5000):
        response = await api.post(REFRESH, json={"refresh": invalid})
        assert_problem(response, 401, "invalid_token")
        assert response.headers["www-authenticate"] == 'Bearer error="invalid_token"'


async def test_logging_out_ends_one_session(api: Api) -> None:
    other = await api.activated()
    pair = (await api.post(LOGIN, json=CREDENTIALS)).json()
    response = await api.post(LOGOUT, headers=bearer(pair["access"]), json={"refresh": pair["refresh"]})
    assert (response.status_code, response.json()) == (200, {"message": "Logged out successfully."})
    assert_problem(await api.post(LOGOUT, headers=bearer(pair["access"])), 401, "invalid_token")
    assert_problem(await api.post(REFRESH, json={"refresh": pair["refresh"]}), 401, "invalid_token")
    assert (await api.get(ME, headers=other)).status_code == 200


@pytest.mark.parametrize("public", ["false", "true"])
async def test_only_a_single_well_formed_header_authenticates(open_api: OpenApi, public: str) -> None:
    async with open_api(MOVIE_PUBLIC_SEARCH=public) as api:
        token = (await api.activated())["authorization"].removeprefix("Bearer ")
        searches = (MOVIES, f"{MOVIES}201/", f"{MOVIES}suggest/?query=a", "/api/v1/genres/")
        for path in (ME, *searches):
            is_open = public == "true" and path != ME
            assert (await api.get(path, headers=bearer(token))).status_code == 200
            invalid = [form.format(token) for form in ("bearer {}", "Bearer  {}", "Bearer\t{}", "{}", "Bearer {}x")]
            for value in (*invalid, "Bearer", "Bearer ", "Basic YTpi", "", f"Bearer {token},Bearer {token}"):
                response = await api.get(path, headers={"authorization": value})
                if is_open:
                    assert response.status_code == 200
                else:
                    assert_problem(response, 401, "invalid_token")
            twice = await api.get(path, headers=[("authorization", f"Bearer {token}")] * 2)
            in_query = await api.get(path, params={"token": token, "access_token": token, "query": "a"})
            if not is_open:
                assert_problem(twice, 401, "invalid_token")
                assert_problem(in_query, 401, "not_authenticated")
                assert in_query.headers["www-authenticate"] == "Bearer"


async def test_a_link_or_refresh_token_is_not_an_access_token(api: Api) -> None:
    link = await api.registered()
    pair = (await api.post(link)).json()
    for token in (link.rstrip("/").split("/")[-1], pair["refresh"]):
        assert_problem(await api.get(ME, headers=bearer(token)), 401, "invalid_token")


# --- sessions


async def test_sessions_are_listed_and_ended(api: Api) -> None:
    first = await api.activated()
    second = bearer((await api.post(LOGIN, json=CREDENTIALS, headers={"user-agent": "A phone"})).json()["access"])
    third = await logged_in(api)
    items = (await api.get(SESSIONS, headers=second)).json()["items"]
    assert len(items) == 3
    assert all(set(item) == {"id", "device", "created_at", "last_used_at", "current"} for item in items)
    assert [item["device"] for item in items if item["current"]] == ["A phone"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", items[0]["created_at"])
    current = next(item["id"] for item in items if item["current"])
    response = await api.delete(f"{SESSIONS}{current}/", headers=first)
    assert (response.status_code, response.content) == (204, b"")
    assert_problem(await api.get(ME, headers=second), 401, "invalid_token")
    for unknown in (current, "nope", "%00", "%E2%80%A8"):
        assert_problem(await api.delete(f"{SESSIONS}{unknown}/", headers=first), 404, "session_not_found")
    assert (await api.delete(SESSIONS, headers=first)).status_code == 204
    assert_problem(await api.get(ME, headers=third), 401, "invalid_token")
    assert (await api.get(ME, headers=first)).status_code == 200


async def test_sensitive_changes_require_a_recent_login(open_api: OpenApi) -> None:
    async with open_api(MOVIE_REAUTHENTICATE_AFTER="1ms") as api:
        session = await api.activated()
        other = await logged_in(api)
        other_id = next(
            item["id"] for item in (await api.get(SESSIONS, headers=session)).json()["items"] if not item["current"]
        )
        for method, path, json in (
            ("DELETE", SESSIONS, None),
            ("DELETE", f"{SESSIONS}{other_id}/", None),
            ("PATCH", ME, {"username": "anna"}),
            ("DELETE", ME, None),
        ):
            response = await api.request(method, path, json=json, headers=session)
            assert_problem(response, 403, "reauthentication_required")
        assert (await api.patch(ME, json={"record_events": False}, headers=session)).status_code == 200
        assert (await api.get(ME, headers=other)).status_code == 200


async def test_reauthentication_counts_as_a_login(open_api: OpenApi) -> None:
    async with open_api(MOVIE_REAUTHENTICATE_AFTER="1h", MOVIE_LIMIT_LOGIN="3/minute") as api:
        session = await api.activated()
        body = assert_problem(
            await api.post(REAUTHENTICATE, json={"password": "wrong"}, headers=session), 400, "invalid_password"
        )
        assert body["errors"][0]["field"] == "password"  # type: ignore[index]
        for _ in range(5):
            body = {"password": ANN["password"]}
            response = await api.post(REAUTHENTICATE, json=body, headers=session)
            assert response.status_code == 200
            assert_problem(await api.get(ME, headers=session), 401, "invalid_token")
            session = {"authorization": f"Bearer {response.json()['access']}"}
        assert_problem(await api.post(REAUTHENTICATE, json=body), 401, "not_authenticated")
        for _ in range(2):
            await api.post(REAUTHENTICATE, json={"password": "wrong"}, headers=session)
        assert_problem(await api.post(REAUTHENTICATE, json=body, headers=session), 429, "rate_limited")


async def test_a_session_can_not_be_ended_by_another_user(api: Api) -> None:
    ann = await api.activated()
    eve = await api.activated(email="eve@example.com", username="eve")
    mine = (await api.get(SESSIONS, headers=ann)).json()["items"][0]["id"]
    assert_problem(await api.delete(f"{SESSIONS}{mine}/", headers=eve), 404, "session_not_found")
    assert (await api.get(ME, headers=ann)).status_code == 200


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


async def test_refreshes_are_limited_per_account_and_network(open_api: OpenApi) -> None:
    async with open_api(MOVIE_LIMIT_LOGIN="1/minute") as api:
        await api.activated()
        refresh = (await api.post(LOGIN, json=CREDENTIALS)).json()["refresh"]
        responses = [await api.post(REFRESH, json={"refresh": refresh}) for _ in range(11)]
        assert [response.status_code for response in responses] == [200] * 10 + [429]
        for _ in range(89):
            assert (await api.post(REFRESH, json={"refresh": "unknown"})).status_code == 401
        assert_problem(await api.post(REFRESH, json={"refresh": "unknown"}), 429, "rate_limited")


async def test_uses_of_a_link_are_limited(open_api: OpenApi) -> None:
    async with open_api(MOVIE_LIMIT_LOGIN="1/minute") as api:
        link = await api.registered()
        for n in range(10):
            response = await api.from_address(f"192.0.{n}.1").post(link, json={"password": "wrong"})
            assert_problem(response, 400, "invalid_password")
        assert_problem(await api.post(link, json={"password": ANN["password"]}), 429, "rate_limited")


async def test_changes_are_limited_per_user(open_api: OpenApi) -> None:
    limits = {"MOVIE_LIMIT_WRITES": "3/minute", "MOVIE_LIMIT_EXPORTS": "2/hour", "MOVIE_LIMIT_IMPORTS": "1/hour"}
    async with open_api(**limits) as api:
        session = await api.activated()
        rating = f"{MOVIES}201/rating/"
        assert (await api.put(rating, json={"rating": 8}, headers=session)).status_code == 200
        assert (await api.patch(ME, json={"record_events": True}, headers=session)).status_code == 200
        response = await api.delete(rating, headers=session)
        assert response.headers["ratelimit"].startswith('"writes";r=0;')
        for method, path in (("PUT", rating), ("DELETE", rating), ("PATCH", ME), ("DELETE", SESSIONS), ("DELETE", ME)):
            assert_problem(await api.request(method, path, headers=session), 429, "rate_limited")
        assert (await api.get(rating, headers=session)).status_code == 404
        exports = [(await api.get(f"{ME}export/", headers=session)).status_code for _ in range(3)]
        assert exports == [200, 200, 429]
        imports = [(await api.put(f"{ME}ratings/", json=[], headers=session)).status_code for _ in range(2)]
        assert imports == [200, 429]


# --- the profile


async def test_a_profile_is_shown_and_changed(api: Api) -> None:
    session = await api.activated()
    profile = (await api.get(ME, headers=session)).json()
    assert set(profile) == {"id", "email", "username", "is_staff", "record_events", "created_at", "last_login"}
    assert (profile["email"], profile["username"], profile["is_staff"]) == ("ann@example.com", "ann", False)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", profile["created_at"])
    assert (await api.patch(ME, json={}, headers=session)).json() == profile
    changed = (await api.patch(ME, json={"username": "Änn", "record_events": False}, headers=session)).json()
    assert changed == profile | {"username": "Änn", "record_events": False}
    assert (await api.get(ME, headers=session)).json() == changed


@pytest.mark.parametrize(
    "change", [{"email": "eve@example.com"}, {"is_staff": True}, {"id": "1"}, {"username": None}, {"record_events": 0}]
)
async def test_other_profile_fields_can_not_be_changed(api: Api, change: dict[str, object]) -> None:
    session = await api.activated()
    before = (await api.get(ME, headers=session)).json()
    body = assert_problem(await api.patch(ME, json=change, headers=session), 400, "invalid_body")
    assert [row["field"] for row in body["errors"]] == list(change)  # type: ignore[attr-defined]
    assert (await api.get(ME, headers=session)).json() == before


async def test_a_username_of_another_user_can_not_be_taken(api: Api) -> None:
    await api.activated()
    eve = await api.activated(email="eve@example.com", username="eve")
    assert_problem(await api.patch(ME, json={"username": "ANN"}, headers=eve), 409, "username_taken")
    assert_problem(await api.patch(ME, json={"username": ""}, headers=eve), 400, "invalid_username")


async def test_all_data_of_a_user_can_be_exported_and_erased(api: Api) -> None:
    session = await api.activated()
    export = (await api.get(f"{ME}export/", headers=session)).json()
    assert {"account", "registrations", "sessions", "mails"} <= set(export)
    assert "ann@example.com" in str(export["account"])
    response = await api.request("DELETE", ME, headers=session, json={"sure": True})
    assert (response.status_code, response.content) == (204, b"")
    assert_problem(await api.get(ME, headers=session), 401, "invalid_token")
    assert_problem(await api.post(LOGIN, json=CREDENTIALS), 401, "invalid_credentials")
    assert (await api.post(REGISTER, json=ANN)).status_code == 201


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
    assert token not in caplog.text
    lines = [record.getMessage() for record in caplog.records if record.name == "movie_api.access"]
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
