import re

import pytest
from tests.support.api import ANN, CREDENTIALS, LOGIN, ME, MOVIES, REGISTER, SESSIONS, Api, OpenApi, assert_problem


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
