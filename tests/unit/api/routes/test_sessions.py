import re
from typing import Any

import pytest
from tests.support.api import (
    ANN,
    AUTHENTICATION,
    CREDENTIALS,
    LOGIN,
    LOGOUT,
    ME,
    MOVIES,
    REAUTHENTICATE,
    REFRESH,
    SESSIONS,
    Api,
    OpenApi,
    assert_problem,
    bearer,
    comparable,
    logged_in,
)

from movie_core.accounts.login import Login
from movie_core.errors import StoreUnavailable


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
            failing.setattr(Login, "log_in", fail)
            for _ in range(5):
                assert_problem(await api.post(LOGIN, json=CREDENTIALS), 503, "store_unavailable")
        for _ in range(5):
            assert (await api.post(LOGIN, json=CREDENTIALS)).status_code == 200
        for expected in (401, 401, 429):
            assert (await api.post(LOGIN, json=CREDENTIALS | {"password": "wrong"})).status_code == expected


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


async def test_refreshes_are_limited_per_account_and_network(open_api: OpenApi) -> None:
    async with open_api(MOVIE_LIMIT_LOGIN="1/minute") as api:
        await api.activated()
        refresh = (await api.post(LOGIN, json=CREDENTIALS)).json()["refresh"]
        responses = [await api.post(REFRESH, json={"refresh": refresh}) for _ in range(11)]
        assert [response.status_code for response in responses] == [200] * 10 + [429]
        for _ in range(89):
            assert (await api.post(REFRESH, json={"refresh": "unknown"})).status_code == 401
        assert_problem(await api.post(REFRESH, json={"refresh": "unknown"}), 429, "rate_limited")
