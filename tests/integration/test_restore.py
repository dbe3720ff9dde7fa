"""Backup and restore as documented in docs/deployment.md."""

import asyncio
import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import asyncpg
import httpx
import pytest
import yaml
from tests.support.deployment import AUTH, LIMITS_OFF, PATIENCE, Deployment, Program, bearer, run_program, wait_until
from tests.support.servers import (
    free_port,
    own_postgres,
    own_redis,
    postgres_database,
    postgres_programs,
    run_as_server,
)

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with own_postgres() as postgres:
        yield postgres.url


def libpq(url: str) -> str:
    return url.replace("postgresql+asyncpg", "postgresql")


@pytest.fixture(scope="module")
def tool(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., None]:
    """Runs a PostgreSQL client program of the server's version."""
    programs = postgres_programs(tmp_path_factory.mktemp("programs"))

    def run(name: str, *arguments: str | Path) -> None:
        done = subprocess.run([programs / name, *arguments], check=False, capture_output=True, text=True, timeout=180)
        assert done.returncode == 0, done.stderr

    return run


def test_a_restored_database_is_complete_but_revives_no_token_and_sends_no_old_email(
    server: str, tool: Callable[..., None], tmp_path: Path
) -> None:
    port = str(free_port())
    with own_redis() as redis, postgres_database(server) as before, postgres_database(server) as after:
        environ = LIMITS_OFF | {
            "MOVIE_PUBLIC_URL": f"http://127.0.0.1:{port}",
            "MOVIE_SECRET_KEY": "of these tests and long enough for anybody",
            "MOVIE_DATABASE_URL": before,
            "MOVIE_REDIS_URL": redis.url,  # with Redis, only a worker sends emails
        }

        def serve() -> Program:
            api = Program(("serve", "--port", port), tmp_path, environ)
            api.wait_for("serving")
            return api

        films = tmp_path / "films.csv"
        films.write_text("id,title,year\ntt0034583,Casablanca,1942\n")
        done = run_program(("catalogue", "import", str(films), "--replace"), tmp_path, environ)
        assert done.returncode == 0, done.stderr
        with httpx.Client(base_url=environ["MOVIE_PUBLIC_URL"], timeout=PATIENCE, trust_env=False) as client:
            deployment = Deployment(client, tmp_path, environ)
            api, worker = serve(), Program(("worker",), tmp_path, environ)
            worker.wait_for("worker started")
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
            after_restore = (
                "--single-transaction",
                "--set=ON_ERROR_STOP=1",
                "--file",
                ROOT / "deploy/postgres/after_restore.sql",
            )
            tool("psql", *after_restore, libpq(after))

            environ["MOVIE_DATABASE_URL"] = after
            api, worker = serve(), Program(("worker",), tmp_path, environ)
            worker.wait_for("worker started")
            again = client.post(AUTH + "jwt/token/refresh/", json={"refresh": tokens["refresh"]})
            assert (again.status_code, again.json()["code"]) == (401, "invalid_token")
            assert client.get(path, headers=bearer(tokens)).status_code == 401
            assert client.post(link).status_code == 400
            fresh = deployment.log_in("ann@example.com").json()
            assert client.get(path, headers=bearer(fresh)).json()["rating"] == 9.5
            resend = client.post(AUTH + "verify-email/resend/", json={"email": "bob@example.com"})
            assert resend.status_code == 202
            wait_until(lambda: len(deployment.mails("bob@example.com")) == 2)  # the old one only once, and the new one
            assert worker.stop() == 0
            newest = deployment.mails("bob@example.com")[1][1]
            assert client.post(re.findall(r"http://\S+", newest)[0]).status_code == 200
            assert api.stop() == 0


def test_recovery_after_a_lost_disk_restores_all_archived_data(tmp_path_factory: pytest.TempPathFactory) -> None:
    command = yaml.safe_load((ROOT / "deploy/compose/backup.yaml").read_text())["services"]["postgres"]["command"]
    assert command[:2] == ["postgres", "-c"]
    programs = postgres_programs(tmp_path_factory.mktemp("programs"))

    async def run(url: str, statement: str) -> list[tuple[int]]:
        connection = await asyncpg.connect(url.replace("+asyncpg", ""))
        try:
            return [tuple(row) for row in await connection.fetch(statement)]
        finally:
            await connection.close()

    with tempfile.TemporaryDirectory(dir="/tmp") as place:
        Path(place).chmod(0o777)  # writable by the user that runs the server
        with own_postgres(*(setting.replace("/backup", place) for setting in command[2::2])) as postgres:
            folder = Path(postgres.url.partition("?host=")[2])
            environ = {"PATH": f"{programs}:{os.environ['PATH']}", "BACKUP": place, "PGHOST": str(folder)}
            environ |= {"PGDATA": str(folder / "data"), "PGDATABASE": "postgres"}
            restore = ("sh", ROOT / "deploy/postgres/restore.sh")

            with pytest.raises(RuntimeError, match="there is no backup"):
                run_as_server(restore, environ)
            asyncio.run(run(postgres.url, "CREATE TABLE numbers (id int)"))
            for number in (1, 2):
                asyncio.run(run(postgres.url, f"INSERT INTO numbers VALUES ({number})"))
                run_as_server(("sh", ROOT / "deploy/postgres/backup.sh"), environ)
            with pytest.raises(RuntimeError, match="stop PostgreSQL first"):
                run_as_server(restore, environ)
            asyncio.run(run(postgres.url, "INSERT INTO numbers VALUES (3)"))
            asyncio.run(run(postgres.url, "SELECT pg_switch_wal()::text"))
            wait_until(lambda: not list((folder / "data/pg_wal/archive_status").glob("*.ready")))
            asyncio.run(run(postgres.url, "INSERT INTO numbers VALUES (4)"))

            postgres.signal(signal.SIGKILL)
            postgres.stop()
            shutil.rmtree(folder / "data")
            run_as_server(restore, environ)
            postgres.start()
            wait_until(lambda: asyncio.run(run(postgres.url, "SELECT pg_is_in_recovery()::int")) == [(0,)])
            assert asyncio.run(run(postgres.url, "SELECT id FROM numbers ORDER BY id")) == [(1,), (2,), (3,)]
            asyncio.run(run(postgres.url, "INSERT INTO numbers VALUES (5)"))
            run_as_server(("sh", ROOT / "deploy/postgres/backup.sh"), environ)
