"""Administration through running processes: what staff does on one of them holds on all, and is told everywhere."""

import httpx
from tests.integration.conftest import AUTH, ME, Deployment, bearer, wait_until
from tests.integration.test_command_line import Run, lines

USERS, MAILS, AUDIT = "/api/v1/admin/users/", "/api/v1/admin/mail/", "/api/v1/admin/audit/"


def found(answer: httpx.Response) -> list[dict[str, str]]:
    assert answer.status_code == 200, answer.text
    return list(answer.json()["items"])


def test_staff_looks_after_accounts_and_mails(deployment: Deployment, run: Run) -> None:
    client, environ = deployment.client, deployment.environ
    boss, worker = deployment.account("boss"), deployment.account("worker")
    staff = bearer(boss)
    assert client.get(USERS, headers=staff).status_code == 403
    lines(run("users", "staff", "boss@example.com", **environ))

    people = found(client.get(f"{USERS}?limit=1&search=WORKER", headers=staff))
    assert [(one["username"], one["is_active"], one["is_staff"]) for one in people] == [("worker", True, False)]
    worker_url = f"{USERS}{people[0]['id']}/"
    assert client.patch(worker_url, json={"is_active": False}, headers=staff).json()["is_active"] is False
    assert client.get(ME, headers=bearer(worker)).status_code == 401
    for other in deployment.others:
        wait_until(lambda other=other: other.get(ME, headers=bearer(worker)).status_code == 401, 1)  # type: ignore[misc]
    refused = client.post(AUTH + "jwt/token/refresh/", json={"refresh": worker["refresh"]})
    assert refused.status_code == 401
    assert deployment.log_in("worker@example.com").status_code == 401
    assert client.patch(worker_url, json={"is_active": True}, headers=staff).status_code == 200
    assert deployment.log_in("worker@example.com").status_code == 200

    deployment.register("late@example.com", "late")
    (late,) = found(client.get(f"{USERS}?state=pending", headers=staff))
    made = client.patch(f"{USERS}{late['id']}/", json={"is_active": True}, headers=staff).json()
    assert (made["id"], made["username"], made["is_active"]) == (late["id"], "late", True)
    assert deployment.log_in("late@example.com").status_code == 200

    wait_until(lambda: len(found(client.get(f"{MAILS}?state=sent", headers=staff))) == 3)
    sent = found(client.get(f"{MAILS}?state=sent", headers=staff))
    assert {one["to"] for one in sent} == {f"{name}@example.com" for name in ("boss", "worker", "late")}
    again = client.post(f"{MAILS}{sent[0]['id']}/retry/", headers=staff)
    assert (again.status_code, again.json()["code"]) == (409, "mail_not_dead")

    told = found(client.get(AUDIT, headers=staff))
    boss_id = client.get(ME, headers=staff).json()["id"]
    assert [(one["actor"], one["action"], one["account_id"]) for one in told] == [
        (boss_id, "user_activated", late["id"]),
        (boss_id, "user_activated", people[0]["id"]),
        (boss_id, "user_deactivated", people[0]["id"]),
        ("command line", "staff_granted", boss_id),
    ]
    assert [cells[1:] for cells in lines(run("audit", "list", **environ))] == [
        [one["actor"], one["action"], one["account_id"]] for one in told
    ]
    assert client.delete(ME, headers=staff).status_code == 204
    told_later = lines(run("audit", "list", **environ))
    assert [cells[1:3] for cells in told_later] == [
        ["-", "user_activated"],
        ["-", "user_activated"],
        ["-", "user_deactivated"],
        ["command line", "staff_granted"],
    ]
    assert not [cells for cells in told_later if boss_id in cells]
