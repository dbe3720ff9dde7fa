"""A backup is taken, life goes on, the backup is restored: what docs/deployment.md says about it."""

import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from tests.integration.conftest import AUTH, LIMITS_OFF, Deployment, Program, bearer, wait_until
from tests.servers import free_port, own_postgres, own_redis, postgres_database, postgres_programs

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with own_postgres() as postgres:
        yield postgres.url


def libpq(url: str) -> str:
    return url.replace("postgresql+asyncpg", "postgresql")


@pytest.fixture(scope="module")
def tool(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., None]:
    """Runs a program of PostgreSQL's, of the server's version."""
    programs = postgres_programs(tmp_path_factory.mktemp("programs"))

    def run(name: str, *arguments: str | Path) -> None:
        done = subprocess.run([programs / name, *arguments], check=False, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr

    return run


def test_a_restored_database_has_everything_but_revives_no_token_and_sends_no_old_mail(
    server: str, tool: Callable[..., None], tmp_path: Path
) -> None:
    port = str(free_port())
    with own_redis() as redis, postgres_database(server) as before, postgres_database(server) as after:
        environ = LIMITS_OFF | {
            "MOVIE_PUBLIC_URL": f"http://127.0.0.1:{port}",
            "MOVIE_SECRET_KEY": "of these tests and long enough for anybody",
            "MOVIE_DATABASE_URL": before,
            "MOVIE_REDIS_URL": redis.url,  # nothing is mailed but by a worker
        }

        def serve() -> Program:
            api = Program(("serve", "--port", port), tmp_path, environ)
            api.wait_for("serving")
            return api

        with httpx.Client(base_url=environ["MOVIE_PUBLIC_URL"], timeout=10, trust_env=False) as client:
            deployment = Deployment(client, tmp_path, environ)
            api, worker = serve(), Program(("worker",), tmp_path, environ)
            worker.wait_for("working")
            tokens = deployment.account("ann")
            rating = {"rating": 9.5}
            path = "/api/v1/movies/tt0034583/rating/"
            assert client.put(path, json=rating, headers=bearer(tokens)).status_code == 200
            assert worker.stop() == 0
            assert deployment.register("bob@example.com", "bob").status_code == 201

            tool("pg_dump", "--format=custom", f"--file={tmp_path / 'movies.dump'}", libpq(before))

            assert client.post(AUTH + "logout/", headers=bearer(tokens)).status_code == 200
            worker = Program(("worker",), tmp_path, environ)
            (link,) = deployment.links("bob@example.com")
            assert client.post(link).status_code == 200
            assert worker.stop() == 0
            assert api.stop() == 0

            restore = ("--no-owner", "--exit-on-error", "--single-transaction")
            tool("pg_restore", *restore, f"--dbname={libpq(after)}", tmp_path / "movies.dump")
            settle = ("--single-transaction", "--set=ON_ERROR_STOP=1", "--file", ROOT / "deploy/after_restore.sql")
            tool("psql", *settle, libpq(after))

            environ["MOVIE_DATABASE_URL"] = after
            api, worker = serve(), Program(("worker",), tmp_path, environ)
            worker.wait_for("working")
            again = client.post(AUTH + "jwt/token/refresh/", json={"refresh": tokens["refresh"]})
            assert (again.status_code, again.json()["code"]) == (401, "invalid_token")
            assert client.get(path, headers=bearer(tokens)).status_code == 401
            assert client.post(link).status_code == 400
            fresh = deployment.log_in("ann@example.com").json()
            assert client.get(path, headers=bearer(fresh)).json()["rating"] == 9.5
            resend = client.post(AUTH + "verify-email/resend/", json={"email": "bob@example.com"})
            assert resend.status_code == 202
            wait_until(lambda: len(deployment.mails("bob@example.com")) == 2)  # the old one once, and the new one
            assert worker.stop() == 0
            newest = deployment.mails("bob@example.com")[1][1]
            assert client.post(re.findall(r"http://\S+", newest)[0]).status_code == 200
            assert api.stop() == 0
