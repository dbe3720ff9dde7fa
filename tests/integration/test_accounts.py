"""Accounts on running processes: one with SQLite, or two API processes and a worker with PostgreSQL and Redis."""

import json
import os
import re
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
from tests.support.deployment import (
    AUTH,
    LIMITS_OFF,
    ME,
    PASSWORD,
    Deployment,
    Program,
    Serve,
    Start,
    bearer,
    wait_until,
)
from tests.support.servers import free_port, postgres_database, postgres_server


def is_logged_in(client: httpx.Client, tokens: dict[str, Any]) -> bool:
    response = client.get("/api/v1/movies/?query=casablanca", headers=bearer(tokens))
    assert response.status_code in (200, 401), response.text
    return response.status_code == 200


def test_register_activate_log_in_search_log_out(deployment: Deployment) -> None:
    client = deployment.client
    assert client.get("/api/v1/movies/?query=casablanca").status_code == 401
    response = deployment.register("Ann@Example.com", "ann")
    assert (response.status_code, response.json()) == (201, {"email": "Ann@Example.com", "username": "ann"})
    assert response.headers["cache-control"] == "no-store"
    assert deployment.log_in("ann@example.com").status_code == 401
    link = deployment.links("Ann@Example.com")[0]
    assert link.startswith(str(client.base_url).rstrip("/") + AUTH + "verify-email/")

    for _ in range(5):  # scanners follow links
        seen = client.get(link)
        assert seen.status_code == 200
        assert "access" not in seen.text
    page = client.get(link, headers={"Accept": "text/html"})
    assert page.text.count("<button") == page.text.count("<h1") == 1
    assert deployment.log_in("ann@example.com").status_code == 401

    activated = client.post(link)
    assert activated.json()["message"] == "Email verified successfully"
    assert is_logged_in(client, activated.json())
    again = client.post(link)
    assert (again.status_code, again.json()["code"]) == (200, "already_verified")
    assert "access" not in again.json()

    tokens = deployment.log_in("ANN@EXAMPLE.COM").json()
    assert set(tokens) == {"access", "refresh"}
    assert is_logged_in(client, tokens)
    logged_out = client.post(AUTH + "logout/", headers=bearer(tokens))
    assert (logged_out.status_code, logged_out.json()) == (200, {"message": "Logged out successfully."})
    assert not is_logged_in(client, tokens)
    for other in deployment.others:
        wait_until(lambda other=other: not is_logged_in(other, tokens))  # type: ignore[misc]
    rejected = client.post(AUTH + "jwt/token/refresh/", json={"refresh": tokens["refresh"]})
    assert (rejected.status_code, rejected.json()["code"]) == (401, "invalid_token")
    assert is_logged_in(client, activated.json())  # another session


def test_activation_and_reset_in_a_browser(deployment: Deployment) -> None:
    client, html = deployment.client, {"Accept": "text/html,*/*;q=0.8"}
    deployment.register("ben@example.com", "ben")
    link = deployment.links("ben@example.com")[0]
    form = {"Content-Type": "application/x-www-form-urlencoded", **html}
    assert 'name="password"' in client.get(link, headers=html).text
    rejected = client.post(link, headers=form, content="password=somebody+elses+lantern")
    assert (rejected.status_code, 'role="alert"' in rejected.text) == (400, True)
    response = client.post(link, headers=form, content="password=copper+lantern+walks+home")
    assert response.status_code == 200
    assert "eyJ" not in response.text
    tokens = deployment.log_in("ben@example.com").json()

    assert client.post(AUTH + "password/forgot/", json={"email": "ben@example.com"}).status_code == 202
    reset = deployment.links("ben@example.com", 2)[-1]
    assert "/password/reset/" in reset
    assert 'name="password"' in client.get(reset, headers=html).text
    assert client.post(reset, headers=form, content="password=12345678").status_code == 400
    assert client.post(reset, headers=form, content="password=amber+kites+over+quarry").status_code in (200, 204)
    assert client.post(reset, headers=form, content="password=another+amber+kite+quarry").status_code == 400
    assert not is_logged_in(client, tokens)
    assert deployment.log_in("ben@example.com").status_code == 401
    assert deployment.log_in("ben@example.com", "amber kites over quarry").status_code == 200


def test_concurrent_refreshes_rotate_once(deployment: Deployment) -> None:
    first = deployment.account("cleo")
    clients = [deployment.client, *deployment.others]

    def refresh(number: int) -> httpx.Response:
        client = clients[number % len(clients)]
        return client.post(AUTH + "jwt/token/refresh/", json={"refresh": first["refresh"]})

    with ThreadPoolExecutor(20) as threads:
        responses = list(threads.map(refresh, range(100)))
    assert {response.status_code for response in responses} == {200}
    (successor,) = {response.json()["refresh"] for response in responses}
    second = deployment.client.post(AUTH + "jwt/token/refresh/", json={"refresh": successor})
    assert second.status_code == 200
    # The successor was used, so a reuse of the first token means that it was stolen.
    assert refresh(0).status_code == 401
    third = deployment.client.post(AUTH + "jwt/token/refresh/", json={"refresh": second.json()["refresh"]})
    assert third.status_code == 401
    for client in clients:
        wait_until(lambda client=client: not is_logged_in(client, second.json()))  # type: ignore[misc]


def test_fifty_identical_registrations_are_one(deployment: Deployment) -> None:
    with ThreadPoolExecutor(25) as threads:
        responses = list(threads.map(lambda _: deployment.register("dora@example.com", "dora"), range(50)))
    assert {(response.status_code, response.text) for response in responses} == {
        (201, '{"email":"dora@example.com","username":"dora"}')
    }
    deployment.register("flag@example.com", "flag")
    deployment.links("flag@example.com")  # emails are written in order
    (link,) = deployment.links("dora@example.com")
    with ThreadPoolExecutor(20) as threads:
        used = list(threads.map(lambda _: deployment.client.post(link), range(20)))
    assert sum("access" in response.json() for response in used) == 1
    assert {response.status_code for response in used} == {200}


def test_a_taken_address_gets_the_same_response_and_its_owner_an_email(deployment: Deployment) -> None:
    deployment.account("eve")
    fresh = deployment.register("unknown@example.com", "somebody")
    taken = deployment.register("eve@example.com", "someone")
    assert (taken.status_code, set(taken.headers)) == (fresh.status_code, set(fresh.headers))
    assert taken.json() == {"email": "eve@example.com", "username": "someone"}
    wait_until(lambda: len(deployment.mails("eve@example.com")) == 2)
    assert not re.findall(r"/verify-email/", deployment.mails("eve@example.com")[1][1])
    assert deployment.register("new@example.com", "EVE").json()["code"] == "username_taken"


def test_resend_supersedes_the_earlier_link(deployment: Deployment) -> None:
    deployment.register("finn@example.com", "finn")
    first = deployment.links("finn@example.com")[0]
    for address in ("finn@example.com", "nobody@example.com"):
        response = deployment.client.post(AUTH + "verify-email/resend/", json={"email": address})
        assert response.status_code == 202
    second = deployment.links("finn@example.com", 2)[-1]
    rejected = deployment.client.post(first)
    assert (rejected.status_code, rejected.json()["code"]) == (400, "invalid_link")
    assert deployment.client.post(second).status_code == 200
    assert deployment.mails("nobody@example.com") == []


def test_sessions_and_profile(deployment: Deployment) -> None:
    client = deployment.client
    tokens = deployment.account("gus")
    other = deployment.log_in("gus@example.com").json()
    sessions = client.get(AUTH + "sessions/", headers=bearer(tokens)).json()["items"]
    assert [one["current"] for one in sessions].count(True) == 1
    assert len(sessions) == 2
    (other_id,) = [one["id"] for one in sessions if not one["current"]]
    assert client.delete(AUTH + f"sessions/{other_id}/", headers=bearer(tokens)).status_code == 204
    assert not is_logged_in(client, other)
    assert client.delete(AUTH + f"sessions/{other_id}/", headers=bearer(tokens)).status_code == 404

    changed = client.patch(ME, headers=bearer(tokens), json={"username": "Gustav", "record_events": False})
    assert (changed.json()["username"], changed.json()["record_events"]) == ("Gustav", False)
    wrong = client.post(
        AUTH + "password/change/", headers=bearer(tokens), json={"old_password": "no", "new_password": PASSWORD + "!"}
    )
    assert (wrong.status_code, wrong.json()["code"]) == (400, "invalid_password")
    exported = client.get(ME + "export/", headers=bearer(tokens)).json()
    assert "gus@example.com" in json.dumps(exported)
    assert "argon2" not in json.dumps(exported)
    assert client.delete(ME, headers=bearer(tokens)).status_code == 204
    assert not is_logged_in(client, tokens)
    assert deployment.log_in("gus@example.com").status_code == 401
    wait_until(lambda: [subject for subject, _ in deployment.mails("gus@example.com")] == ["Your account was deleted"])
    assert deployment.register("gus@example.com", "gustav").status_code == 201


def test_administration_from_the_command_line(deployment: Deployment, run: Any) -> None:
    tokens = deployment.account("hal")
    assert run("users", "staff", "hal@example.com", **deployment.environ).returncode == 0
    assert deployment.client.get(ME, headers=bearer(tokens)).json()["is_staff"] is True
    response = run("users", "deactivate", "hal@example.com", **deployment.environ)
    assert response.returncode == 0, response.stderr
    for client in (deployment.client, *deployment.others):
        wait_until(lambda client=client: not is_logged_in(client, tokens))  # type: ignore[misc]
    assert deployment.log_in("hal@example.com").status_code == 401
    deployment.register("ida@example.com", "ida")
    assert run("users", "activate", "IDA@example.com", **deployment.environ).returncode == 0
    assert deployment.log_in("ida@example.com").status_code == 200
    sessions = run("users", "list", **deployment.environ).stdout
    assert "hal@example.com" in sessions
    assert "ida@example.com" in sessions


def test_no_default_account_or_admin_page_exists(deployment: Deployment) -> None:
    for path in ("/admin/", "/.env", "/api/v1/admin/"):
        assert deployment.client.get(path).status_code in (401, 404), path
    for name in ("admin@example.com", "root@localhost.test", "admin"):
        assert deployment.log_in(name, "admin").status_code == 401


def test_flushing_redis_restores_no_revoked_token(
    serve: Serve, start: Start, database_url: str, redis_url: str, folder: Path
) -> None:
    from redis import Redis

    _, client = serve(MOVIE_DATABASE_URL=database_url, MOVIE_REDIS_URL=redis_url, **LIMITS_OFF)
    environ = {
        "MOVIE_DATABASE_URL": database_url,
        "MOVIE_REDIS_URL": redis_url,
        "MOVIE_PUBLIC_URL": str(client.base_url),
    }
    start("worker", **environ).wait_for("worker started")
    deployment = Deployment(client, folder, environ)
    tokens = deployment.account("jo")
    client.post(AUTH + "logout/", headers=bearer(tokens))
    with Redis.from_url(redis_url) as redis:
        redis.flushall()
    assert not is_logged_in(client, tokens)
    assert client.post(AUTH + "jwt/token/refresh/", json={"refresh": tokens["refresh"]}).status_code == 401
    assert is_logged_in(client, deployment.account("kit"))  # email is delivered without the stream's consumer group


def test_search_continues_without_the_database(serve: Serve, folder: Path) -> None:
    """With a third-party source, while PostgreSQL is frozen and after it resumes."""
    upstream = Program(("upstream", "--port", str(port := free_port()), "--fail-rate", "0"), folder, {})
    upstream.wait_for(str(port))
    try:
        with postgres_server() as server, postgres_database(server) as url:
            environ = {"MOVIE_DATABASE_URL": url, "MOVIE_SOURCE_URL": f"http://127.0.0.1:{port}", **LIMITS_OFF}
            _, client = serve(**environ)
            deployment = Deployment(client, folder, environ)
            revoked, tokens = deployment.account("lea"), deployment.log_in("lea@example.com").json()
            client.post(AUTH + "logout/", headers=bearer(revoked))
            pid = int((Path(url.partition("host=")[2]) / "data" / "postmaster.pid").read_text().split()[0])
            os.kill(pid, signal.SIGSTOP)
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            for child in children:
                os.kill(int(child), signal.SIGSTOP)
            try:
                for _ in range(20):
                    assert is_logged_in(client, tokens)
                assert not is_logged_in(client, revoked)
                response = deployment.log_in("lea@example.com")
                assert (response.status_code, response.json()["code"]) == (503, "store_unavailable")
                assert "retry-after" in response.headers
            finally:
                for child in (pid, *map(int, children)):
                    os.kill(child, signal.SIGCONT)
            wait_until(lambda: deployment.log_in("lea@example.com").status_code == 200)
            client.close()
    finally:
        upstream.stop()
