from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx
import pytest
from tests.support.api import (
    ANN,
    AUTHENTICATION,
    ME,
    Api,
    assert_as_documented,
    assert_problem,
    management_of,
    staff,
    user_id_of,
)

from movie_core.accounts.outbox import MailState
from movie_core.clock import utc_now
from movie_core.errors import StoreUnavailable
from movie_core.ports import AuditLog, Outbox

ADMIN = "/api/v1/admin/"
USERS, MAILS, AUDIT = f"{ADMIN}users/", f"{ADMIN}mail/", f"{ADMIN}audit/"
BOB = {"email": "Bob@example.com", "username": "bob"}


async def listed(api: Api, header: Mapping[str, str], url: str) -> list[dict[str, Any]]:
    response = await api.get(url, headers=header)
    assert response.status_code == 200, response.text
    items: list[dict[str, Any]] = response.json()["items"]
    assert response.json()["total"] == len(items)
    return items


async def audit_entries(api: Api, header: Mapping[str, str]) -> list[tuple[str, str, str | None]]:
    """Actor, action and user of each audit entry, newest first."""
    return [(one["actor"], one["action"], one["account_id"]) for one in await listed(api, header, AUDIT)]


async def dead_mail(api: Api) -> str:
    """The id of a dead email."""
    await api.post(f"{AUTHENTICATION}register/", json=ANN | {"email": "zoe@example.com", "username": "zoe"})
    outbox = await api.app.state.dishka_container.get(Outbox)
    (mail,) = await outbox.claim("test", utc_now(), 20, timedelta(seconds=20))
    assert await outbox.complete("test", replace(mail, state=MailState.DEAD, attempts=8, last_error="550 no"))
    return str(mail.id)


@pytest.mark.parametrize(
    ("method", "url", "status"),
    [
        ("GET", USERS, 200),
        ("PATCH", f"{USERS}x/", 404),
        ("GET", MAILS, 200),
        ("POST", f"{MAILS}x/retry/", 404),
        ("GET", AUDIT, 200),
    ],
)
async def test_administration_is_for_staff_only_and_never_cached(api: Api, method: str, url: str, status: int) -> None:
    ann = await api.activated()

    async def ask(headers: Mapping[str, str]) -> httpx.Response:
        sent = {} if method == "GET" else {"json": {}}
        response = await api.request(method, url, headers=headers, **sent)
        assert response.headers["cache-control"] == "no-store"
        return response

    assert_problem(await ask({}), 401, "not_authenticated")
    assert_problem(await ask({"authorization": "Bearer x"}), 401, "invalid_token")
    assert_problem(await ask(ann), 403, "not_allowed")
    management = await management_of(api)
    await management.set_staff(ANN["email"], True)
    assert (await ask(ann)).status_code == status
    await management.set_staff(ANN["email"], False)
    assert_problem(await ask(ann), 403, "not_allowed")


async def test_users_are_listed_with_only_the_documented_fields(api: Api) -> None:
    header = await staff(api)
    await api.registered(**BOB)
    (ann,) = await listed(api, header, USERS)
    assert ann == {
        "id": await user_id_of(api, header),
        "email": ANN["email"],
        "username": "ann",
        "is_active": True,
        "is_staff": True,
        "created_at": ann["created_at"],
        "last_login": ann["last_login"],
    }
    assert ann["created_at"] <= ann["last_login"]
    assert ann["last_login"].endswith("Z")
    (bob,) = await listed(api, header, f"{USERS}?state=pending")
    assert (bob["email"], bob["username"], bob["is_active"], bob["last_login"]) == (BOB["email"], "bob", False, None)


async def test_users_are_found_by_state_and_search(api: Api) -> None:
    header = await staff(api)
    await api.activated(**BOB)
    await (await management_of(api)).set_active(BOB["email"], False)
    await api.registered(email="eve_100%@example.com", username="eve")

    async def usernames(query: str) -> list[str]:
        return [one["username"] for one in await listed(api, header, f"{USERS}?{query}")]

    assert await usernames("") == await usernames("state=account") == ["bob", "ann"]
    assert await usernames("state=active") == ["ann"]
    assert await usernames("state=staff") == ["ann"]
    assert await usernames("state=inactive") == ["bob"]
    assert await usernames("state=pending") == ["eve"]
    assert await usernames("search=BOB@") == await usernames("search=%20bob%20") == ["bob"]
    assert await usernames("search=bob&state=active") == []
    assert await usernames("search=%25") == await usernames("search=_") == []
    assert await usernames("search=_100%25&state=pending") == ["eve"]


async def test_pagination_links_repeat_the_filters(api: Api) -> None:
    header = await staff(api)
    for number in range(4):
        await api.activated(email=f"u{number}@example.com", username=f"user {number}")
    url, seen = f"{USERS}?search=User+&state=active&limit=2&offset=0&utm_source=1", []
    while url is not None:
        response = await api.get(url, headers=header)
        page = response.json()
        assert (response.status_code, page["total"], page["page_info"]["total_pages"]) == (200, 4, 2)
        seen += [one["username"] for one in page["items"]]
        url = page["page_info"]["next"]
        assert (url or "").partition("&limit=2")[2] == ("&search=User%20&state=active" if url else "")
    assert seen == [f"user {number}" for number in (3, 2, 1, 0)]
    assert 'rel="last"' in response.headers["link"]
    assert_problem(await api.get(f"{USERS}?offset=5", headers=header), 400, "page_out_of_range")
    empty = await api.get(f"{USERS}?search=nobody&offset=5", headers=header)
    assert (empty.status_code, empty.json()["total"], empty.json()["items"]) == (200, 0, [])


@pytest.mark.parametrize(
    ("url", "code"),
    [
        (f"{USERS}?state=lost", "invalid_parameter"),
        (f"{USERS}?state=", "invalid_parameter"),
        (f"{USERS}?state=active&state=active", "invalid_parameter"),
        (f"{USERS}?search=%00", "invalid_parameter"),
        (f"{USERS}?search=%ff", "invalid_parameter"),
        (f"{USERS}?search={'x' * 255}", "invalid_parameter"),
        (f"{USERS}?limit=101", "invalid_offset_or_limit"),
        (f"{MAILS}?state=PENDING", "invalid_parameter"),
        (f"{MAILS}?offset=-1", "invalid_offset_or_limit"),
        (f"{AUDIT}?offset=10001", "invalid_offset_or_limit"),
    ],
)
async def test_invalid_parameters_are_rejected(api: Api, url: str, code: str) -> None:
    assert_problem(await api.get(url, headers=await staff(api)), 400, code)


async def test_deactivation_ends_access_at_once_and_activation_restores_it(api: Api) -> None:
    header = await staff(api)
    bob = await api.activated(**BOB)
    bob_id = await user_id_of(api, bob)
    changed = await api.patch(f"{USERS}{bob_id}/", json={"is_active": False}, headers=header)
    assert (changed.status_code, changed.json()["id"], changed.json()["is_active"]) == (200, bob_id, False)
    assert_problem(await api.get(ME, headers=bob), 401, "invalid_token")
    credentials = {"email": BOB["email"], "password": ANN["password"]}
    assert_problem(await api.post(f"{AUTHENTICATION}login/", json=credentials), 401, "invalid_credentials")
    changed = await api.patch(f"{USERS}{bob_id}/", json={"is_active": True}, headers=header)
    assert changed.json()["is_active"] is True
    assert_problem(await api.get(ME, headers=bob), 401, "invalid_token")
    assert (await api.post(f"{AUTHENTICATION}login/", json=credentials)).status_code == 200


async def test_staff_rights_are_effective_at_once(api: Api) -> None:
    header = await staff(api)
    bob = await api.activated(**BOB)
    url = f"{USERS}{await user_id_of(api, bob)}/"
    assert (await api.patch(url, json={"is_staff": True}, headers=header)).json()["is_staff"] is True
    assert (await api.get(AUDIT, headers=bob)).status_code == 200
    assert (await api.patch(url, json={"is_staff": False}, headers=header)).json()["is_staff"] is False
    assert_problem(await api.get(AUDIT, headers=bob), 403, "not_allowed")


async def test_activation_by_staff_uses_the_newest_registration(api: Api) -> None:
    header = await staff(api)
    await api.registered(**BOB)
    second = {**ANN, **BOB, "username": "bobby", "password": "seven lanterns over Trieste"}
    await api.post(f"{AUTHENTICATION}register/", json=second)
    newest, oldest = await listed(api, header, f"{USERS}?state=pending")
    activated = await api.patch(f"{USERS}{oldest['id']}/", json={"is_active": True, "is_staff": True}, headers=header)
    assert activated.status_code == 200, activated.text
    assert (activated.json()["id"], activated.json()["username"]) == (newest["id"], "bobby")
    assert (activated.json()["is_active"], activated.json()["is_staff"]) == (True, True)
    assert await listed(api, header, f"{USERS}?state=pending") == []
    assert (await api.post(f"{AUTHENTICATION}login/", json={k: second[k] for k in ("email", "password")})).is_success
    missing = await api.patch(f"{USERS}{oldest['id']}/", json={"is_active": True}, headers=header)
    assert_problem(missing, 404, "user_not_found")


async def test_a_registration_can_only_be_activated(api: Api) -> None:
    header = await staff(api)
    await api.registered(**BOB)
    (bob,) = await listed(api, header, f"{USERS}?state=pending")
    for change in (
        {"is_active": False},
        {"is_staff": True},
        {"is_staff": False},
        {"is_active": False, "is_staff": True},
    ):
        response = await api.patch(f"{USERS}{bob['id']}/", json=change, headers=header)
        assert_problem(response, 404, "user_not_found")
    assert (await api.patch(f"{USERS}{bob['id']}/", json={}, headers=header)).json() == bob
    assert await audit_entries(api, header) == []


async def test_a_taken_username_prevents_activation(api: Api) -> None:
    header = await staff(api)
    await api.registered(**BOB)
    await api.activated(email="robert@example.com", username="Bob")
    (bob,) = await listed(api, header, f"{USERS}?state=pending")
    response = await api.patch(f"{USERS}{bob['id']}/", json={"is_active": True}, headers=header)
    assert_problem(response, 409, "username_taken")
    assert await audit_entries(api, header) == []


async def test_staff_can_not_lock_themselves_out(api: Api) -> None:
    header = await staff(api)
    ann_id = await user_id_of(api, header)
    for change in ({"is_active": False}, {"is_staff": False}, {"is_active": True, "is_staff": False}):
        response = await api.patch(f"{USERS}{ann_id}/", json=change, headers=header)
        assert_problem(response, 409, "own_account")
    assert await audit_entries(api, header) == []
    response = await api.patch(f"{USERS}{ann_id}/", json={"is_active": True, "is_staff": True}, headers=header)
    assert (response.status_code, response.json()["is_staff"]) == (200, True)


@pytest.mark.parametrize("body", ['{"email": "x@example.com"}', '{"is_staff": 1}', '{"is_active": null}', "[]", ""])
async def test_a_change_accepts_only_its_two_fields(api: Api, body: str) -> None:
    header = await staff(api)
    url, sent = f"{USERS}{await user_id_of(api, header)}/", {"content-type": "application/json"}
    assert_problem(await api.patch(url, content=body, headers=header | sent), 400, "invalid_body")


@pytest.mark.parametrize("user_id", ["x", "0" * 32, "%00", "%F0%9F%92%A1", "a" * 2000])
async def test_an_unknown_user_is_not_found(api: Api, user_id: str) -> None:
    response = await api.patch(f"{USERS}{user_id}/", json={"is_staff": True}, headers=await staff(api))
    assert_problem(response, 404, "user_not_found")


async def test_emails_are_listed_by_state_without_their_links(api: Api) -> None:
    header = await staff(api)
    mail_id = await dead_mail(api)
    (dead,) = await listed(api, header, f"{MAILS}?state=dead")
    assert dead == {
        "id": mail_id,
        "to": "zoe@example.com",
        "subject": "Activate your account",
        "state": "dead",
        "attempts": 8,
        "last_error": "550 no",
        "created_at": dead["created_at"],
        "sent_at": None,
    }
    (sent,) = await listed(api, header, f"{MAILS}?state=sent")
    assert (sent["to"], sent["attempts"], sent["sent_at"] >= sent["created_at"]) == (ANN["email"], 1, True)
    assert await listed(api, header, f"{MAILS}?state=pending") == []
    assert [one["id"] for one in await listed(api, header, MAILS)] == [mail_id, sent["id"]]
    page = (await api.get(f"{MAILS}?state=dead&limit=1", headers=header)).headers["link"]
    assert "offset=0&limit=1&state=dead" in page


async def test_retrying_a_dead_email_is_audited(api: Api) -> None:
    header = await staff(api)
    mail_id = await dead_mail(api)
    response = await api.post(f"{MAILS}{mail_id}/retry/", headers=header)
    assert response.status_code == 200, response.text
    assert (response.json()["id"], response.json()["state"], response.json()["attempts"]) == (mail_id, "pending", 0)
    again = await api.post(f"{MAILS}{mail_id}/retry/", headers=header)
    assert_problem(again, 409, "mail_not_dead")
    assert (await api.emails())[-1].recipient == "zoe@example.com"
    assert_problem(await api.post(f"{MAILS}{mail_id}/retry/", headers=header), 409, "mail_not_dead")
    (entry,) = await listed(api, header, AUDIT)
    assert (entry["actor"], entry["action"]) == (await user_id_of(api, header), "mail_retried")
    assert (entry["mail_id"], entry["account_id"]) == (mail_id, None)


@pytest.mark.parametrize("mail_id", ["x", "0" * 32, "%00", "%F0%9F%92%A1"])
async def test_an_unknown_email_is_not_found(api: Api, mail_id: str) -> None:
    response = await api.post(f"{MAILS}{mail_id}/retry/", headers=await staff(api))
    assert_problem(response, 404, "mail_not_found")


async def test_the_audit_log_is_newest_first_and_has_no_addresses(api: Api) -> None:
    header = await staff(api)
    bob_id = await user_id_of(api, await api.activated(**BOB))
    for change in ({"is_staff": True}, {"is_active": False, "is_staff": False}, {"is_active": True}):
        assert (await api.patch(f"{USERS}{bob_id}/", json=change, headers=header)).status_code == 200
    ann_id = await user_id_of(api, header)
    actions = ["user_activated", "staff_revoked", "user_deactivated", "staff_granted"]
    assert await audit_entries(api, header) == [(ann_id, action, bob_id) for action in actions]
    page_body = (await api.get(f"{AUDIT}?limit=1", headers=header)).json()
    assert (page_body["total"], len(page_body["items"])) == (4, 1)
    assert set(page_body["items"][0]) == {"id", "at", "actor", "action", "account_id", "mail_id"}
    assert "@" not in (await api.get(AUDIT, headers=header)).text


async def test_audit_entries_of_an_erased_user_are_anonymous(api: Api) -> None:
    header = await staff(api)
    bob = await api.activated(**BOB)
    bob_id, ann_id = await user_id_of(api, bob), await user_id_of(api, header)
    await api.patch(f"{USERS}{bob_id}/", json={"is_staff": True}, headers=header)
    await api.patch(f"{USERS}{ann_id}/", json={"is_active": True}, headers=bob)
    exported = (await api.get(f"{ME}export/", headers=bob)).json()["audit"]
    assert sorted((one["action"], one["by_this_account"], one["about_this_account"]) for one in exported) == [
        ("staff_granted", False, True),
        ("user_activated", True, False),
    ]
    assert (await api.delete(ME, headers=bob)).status_code == 204
    assert await audit_entries(api, header) == [("", "user_activated", ann_id), (ann_id, "staff_granted", None)]
    assert bob_id not in (await api.get(AUDIT, headers=header)).text


async def test_a_failure_of_the_audit_log_is_reported_after_the_change(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    header = await staff(api)
    bob = await api.activated(**BOB)
    bob_id = await user_id_of(api, bob)
    log = await api.app.state.dishka_container.get(AuditLog)

    async def fail(_: object) -> None:
        raise StoreUnavailable("the database doesn't answer")

    with monkeypatch.context() as patched:
        patched.setattr(log, "append", fail)
        response = await api.patch(f"{USERS}{bob_id}/", json={"is_active": False}, headers=header)
        assert_problem(response, 503, "store_unavailable")
        detail = "the change was made but could not be written to the audit log: the database doesn't answer"
        assert response.json()["detail"] == detail
    assert_problem(await api.get(ME, headers=bob), 401, "invalid_token")
    assert (await api.patch(f"{USERS}{bob_id}/", json={"is_active": False}, headers=header)).status_code == 200
    assert [action for _, action, _ in await audit_entries(api, header)] == ["user_deactivated"]


async def test_responses_of_administration_conform_to_the_document(api: Api) -> None:
    header = await staff(api)
    served = (await api.get("/openapi.json")).json()
    bob_id = await user_id_of(api, await api.activated(**BOB))
    user, retry = f"{USERS}{{user_id}}/", f"{MAILS}{{mail_id}}/retry/"
    mail_id = await dead_mail(api)
    for path, method, url, sent in (
        (USERS, "GET", f"{USERS}?limit=1", {}),
        (USERS, "GET", f"{USERS}?state=pending", {}),
        (USERS, "GET", f"{USERS}?state=x", {}),
        (USERS, "GET", f"{USERS}?offset=9", {}),
        (user, "PATCH", f"{USERS}{bob_id}/", {"json": {"is_staff": True, "is_active": False}}),
        (user, "PATCH", f"{USERS}{bob_id}/", {"json": {"is_staff": "yes"}}),
        (user, "PATCH", f"{USERS}{await user_id_of(api, header)}/", {"json": {"is_staff": False}}),
        (user, "PATCH", f"{USERS}x/", {"json": {}}),
        (user, "PATCH", f"{USERS}x/", {"content": b"{}"}),
        (MAILS, "GET", MAILS, {}),
        (retry, "POST", f"{MAILS}{mail_id}/retry/", {}),
        (retry, "POST", f"{MAILS}{mail_id}/retry/", {"json": {}}),
        (retry, "POST", f"{MAILS}x/retry/", {}),
        (AUDIT, "GET", AUDIT, {}),
    ):
        response = await api.request(method, url, headers=header, **sent)
        assert_as_documented(served, response, path)
    for path, operations in served["paths"].items():
        assert all(
            (operation["tags"] == ["administration"]) is path.startswith(ADMIN) for operation in operations.values()
        )
