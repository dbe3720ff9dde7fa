"""Administration on running processes: a change on one is effective on all, and every change is audited."""

import httpx
from tests.support.deployment import AUTH, ME, Deployment, Run, bearer, lines, listed, wait_until

USERS, MAILS, AUDIT = "/api/v1/admin/users/", "/api/v1/admin/mail/", "/api/v1/admin/audit/"


def items(response: httpx.Response) -> list[dict[str, str]]:
    assert response.status_code == 200, response.text
    return list(response.json()["items"])


def test_staff_manages_users_and_emails(deployment: Deployment, run: Run) -> None:
    client, environ = deployment.client, deployment.environ
    boss, worker = deployment.account("boss"), deployment.account("worker")
    staff = bearer(boss)
    assert client.get(USERS, headers=staff).status_code == 403
    lines(run("users", "staff", "boss@example.com", **environ))

    users = items(client.get(f"{USERS}?limit=1&search=WORKER", headers=staff))
    assert [(one["username"], one["is_active"], one["is_staff"]) for one in users] == [("worker", True, False)]
    worker_url = f"{USERS}{users[0]['id']}/"
    assert client.patch(worker_url, json={"is_active": False}, headers=staff).json()["is_active"] is False
    assert client.get(ME, headers=bearer(worker)).status_code == 401
    for other in deployment.others:
        wait_until(lambda other=other: other.get(ME, headers=bearer(worker)).status_code == 401)  # type: ignore[misc]
    rejected = client.post(AUTH + "jwt/token/refresh/", json={"refresh": worker["refresh"]})
    assert rejected.status_code == 401
    assert deployment.log_in("worker@example.com").status_code == 401
    assert client.patch(worker_url, json={"is_active": True}, headers=staff).status_code == 200
    assert deployment.log_in("worker@example.com").status_code == 200

    deployment.register("late@example.com", "late")
    (late,) = items(client.get(f"{USERS}?state=pending", headers=staff))
    activated = client.patch(f"{USERS}{late['id']}/", json={"is_active": True}, headers=staff).json()
    assert (activated["id"], activated["username"], activated["is_active"]) == (late["id"], "late", True)
    assert deployment.log_in("late@example.com").status_code == 200

    wait_until(lambda: len(items(client.get(f"{MAILS}?state=sent", headers=staff))) == 3)
    sent = items(client.get(f"{MAILS}?state=sent", headers=staff))
    assert {one["to"] for one in sent} == {f"{name}@example.com" for name in ("boss", "worker", "late")}
    again = client.post(f"{MAILS}{sent[0]['id']}/retry/", headers=staff)
    assert (again.status_code, again.json()["code"]) == (409, "mail_not_dead")

    entries = items(client.get(AUDIT, headers=staff))
    boss_id = client.get(ME, headers=staff).json()["id"]
    assert [(one["actor"], one["action"], one["account_id"]) for one in entries] == [
        (boss_id, "user_activated", late["id"]),
        (boss_id, "user_activated", users[0]["id"]),
        (boss_id, "user_deactivated", users[0]["id"]),
        ("command line", "staff_granted", boss_id),
    ]
    assert [cells[1:] for cells in listed(run("audit", "list", **environ))] == [
        [one["actor"], one["action"], one["account_id"]] for one in entries
    ]
    assert client.delete(ME, headers=staff).status_code == 204
    entries_after_erasure = listed(run("audit", "list", **environ))
    assert [cells[1:3] for cells in entries_after_erasure] == [
        ["-", "user_activated"],
        ["-", "user_activated"],
        ["-", "user_deactivated"],
        ["command line", "staff_granted"],
    ]
    assert not [cells for cells in entries_after_erasure if boss_id in cells]
