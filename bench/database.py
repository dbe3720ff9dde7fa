"""The database during operations: migrations beside concurrent writers, dump and restore, and a lost disk.

All start with ratings of 2,000 users, 100,000 or (with --full) a million.
"""

import asyncio
import itertools
import os
import random
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
import venv
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import yaml
from sqlalchemy.engine import make_url
from tests.support.servers import (
    OwnServer,
    own_postgres,
    own_redis,
    postgres_database,
    postgres_programs,
    run_as_server,
    upgrade_to,
)

from bench.accounts import AUTH, PASSWORD, PROGRAM
from bench.fast import run
from bench.load import Answer, post_of, steady
from bench.operations import Deployment, until_ready
from bench.rows import Row
from movie_adapters.sql.engine import create_engine, migrate, newest_revision
from movie_adapters.sql.ratings import SqlRatingStore
from movie_core.discovery.ratings import NewRating
from movie_core.errors import StoreUnavailable

ROOT = Path(__file__).parents[1]
USERS = 2_000
WRITES = 200
"""Ratings written per second during a migration."""
WRITING_SECONDS = 8.0
RATINGS_SINCE = "0003"
"""The revision that created the table of ratings."""
ARCHIVED_SECONDS = 75.0
"""Seconds of writing before the disk is lost: longer than the maximum delay of archiving the log."""
RECOVERY_POINT, RECOVERY = 300.0, 600.0
"""Recovery point and recovery time objectives (RPO, RTO), in seconds."""
MOVIES = "/api/v1/movies/"
DURABLE = ("fsync=on", "full_page_writes=on", "synchronous_commit=on")
"""Defaults of PostgreSQL that servers for tests disable."""


def _amount(is_full: bool) -> int:
    return 1_000_000 if is_full else 100_000


# --- migrations


def migrating(before: str | None, *, is_full: bool) -> Iterator[Row]:
    """Runs each migration after `RATINGS_SINCE` beside writers, then the newest beside the previous version."""
    with own_postgres(*DURABLE) as server:
        with postgres_database(server.url) as url:
            upgrade_to(url, RATINGS_SINCE)
            asyncio.run(_fill(url, _amount(is_full)))
            for number in range(int(RATINGS_SINCE) + 1, int(newest_revision()) + 1):
                yield _beside_writers(url, f"{number:04}")
        before = before or _previous_version()
        if before is None:
            print("     migrating: the previous version is skipped; it requires the project's git history", flush=True)
            return
        with tempfile.TemporaryDirectory() as folder:
            tree = Path(folder, "before")
            _git("worktree", "add", "--detach", str(tree), before)
            try:
                python = _installed(tree, Path(folder, "venv"))
                yield from _beside_previous_version(server, python, _amount(is_full))
                yield from _suite_of_previous_version(server, tree, python)
            finally:
                _git("worktree", "remove", "--force", str(tree))


def _beside_writers(url: str, revision: str) -> Row:
    """Writes ratings through our own store while another process migrates."""

    async def write() -> tuple[list[float], int]:
        engine = create_engine(url)
        store = SqlRatingStore(engine, "third_party")
        users = [str(row["id"]) for row in await _fetch(url, "SELECT id FROM users WHERE username LIKE 'load%'")]
        times: list[float] = []
        failed = 0

        async def put(number: int, due: float) -> None:
            nonlocal failed
            now = datetime.now(UTC)
            rating = NewRating(f"film{number % 700}", f"Film {number % 700}", 1990, number % 19 / 2 + 1, now)
            try:
                await store.put(random.choice(users), [rating], now)
            except StoreUnavailable:
                failed += 1
            times.append(time.perf_counter() - due)

        began = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for number in range(round(WRITES * WRITING_SECONDS)):
                due = began + number / WRITES
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
                group.create_task(put(number, due))
        await engine.dispose()
        return times, failed

    async def both() -> tuple[list[float], int, float]:
        writing = asyncio.create_task(write())
        await asyncio.sleep(WRITING_SECONDS / 3)
        began = time.perf_counter()
        code = "import sys; from tests.support.servers import upgrade_to; upgrade_to(*sys.argv[1:])"
        migrating = await asyncio.create_subprocess_exec(sys.executable, "-c", code, url, revision, cwd=ROOT)
        assert await migrating.wait() == 0
        seconds = time.perf_counter() - began
        return *await writing, seconds

    times, failed, seconds = asyncio.run(both())
    what = f"migration {revision} ({seconds:.1f} s) beside {WRITES} writes/s: slowest, failed"
    return Row(what, f"{_ms(max(times))}, {failed}", "≤ 1,000 ms, 0", max(times) <= 1 and not failed)


def _installed(tree: Path, place: Path) -> Path:
    """Creates a virtual environment with the source tree and the packages installed here. Returns its interpreter."""
    venv.create(place, symlinks=True)
    (packages,) = place.glob("lib/*/site-packages")
    (packages / "before.pth").write_text(f"{tree / 'src'}\n{sysconfig.get_path('purelib')}\n")
    python = place / "bin" / "python"
    program = python.with_name("movie-search")
    program.write_text(f"#!{python}\nfrom movie_cli import main\n\nmain()\n")
    program.chmod(0o755)
    return python


def _beside_previous_version(server: OwnServer, python: Path, amount: int) -> Iterator[Row]:
    """Runs the previous version during the newest migration, and afterwards."""
    with own_redis() as redis, postgres_database(server.url) as url, tempfile.TemporaryDirectory() as folder:
        deployment = Deployment(Path(folder), server, redis, url)
        del deployment.environ["PYTHONPATH"]
        serve = deployment.commands["api 1"]
        deployment.commands["api 1"] = [python.with_name("movie-search"), *serve[1:]]
        try:
            deployment.start("source")
            deployment.start("api 1")
            until_ready(deployment.ports[0])
            asyncio.run(_fill(url, amount))
            writes = _writes(deployment)
            answers, seconds = asyncio.run(_migrated_beside(deployment, url, writes))
        finally:
            deployment.stop()
    statuses = Counter(answer.status for answer in answers)
    slowest = max(answer.seconds for answer in answers)
    failed = len(answers) - statuses[200]
    if failed:
        print(f"     responses by status: {dict(statuses)}", flush=True)
    what = f"{len(answers):,} PUTs to the previous version during the newest migration ({seconds:.1f} s)"
    yield Row(f"{what}: slowest, failed", f"{_ms(slowest)}, {failed}", "≤ 1,000 ms, 0", slowest <= 1 and not failed)


async def _migrated_beside(deployment: Deployment, url: str, writes: Iterator[bytes]) -> tuple[list[Answer], float]:
    writing = asyncio.create_task(steady(deployment.ports[:1], writes, WRITES, 3 * WRITING_SECONDS))
    await asyncio.sleep(WRITING_SECONDS)
    began = time.perf_counter()
    environ = {"MOVIE_DATABASE_URL": url, "MOVIE_SOURCE_URL": "http://127.0.0.1:9", "PATH": os.environ["PATH"]}
    done = await asyncio.create_subprocess_exec(PROGRAM, "migrate", cwd=deployment.folder, env=environ)
    assert await done.wait() == 0
    seconds = time.perf_counter() - began
    answers = await writing
    rows = await _fetch(url, "SELECT version_num FROM alembic_version")
    assert rows[0]["version_num"] == newest_revision()
    return answers, seconds


def _suite_of_previous_version(server: OwnServer, tree: Path, python: Path) -> Iterator[Row]:
    """Runs the previous version's tests of its PostgreSQL stores on databases with the newest schema."""
    # New databases are copies of this one. Its revision is set to the newest that the previous version knows.
    template = make_url(server.url).set(database="template1").render_as_string(hide_password=False)
    migrate(template)
    versions = (tree / "src/movie_adapters").rglob("migrations/versions/[0-9]*.py")
    known = max(path.name[:4] for path in versions)
    asyncio.run(_execute(template, f"UPDATE alembic_version SET version_num = '{known}'"))
    files = sorted(str(path.relative_to(tree)) for path in (tree / "tests/integration").glob("test_*_stores.py"))
    files += ["tests/integration/test_accounts.py", "tests/integration/test_discovery.py"]
    environ = os.environ | {"TEST_DATABASE_URL": server.url}
    arguments = ("-m", "pytest", "-n", "2", "-k", "postgres or servers", "-p", "no:cacheprovider", *files)
    done = subprocess.run([python, *arguments], cwd=tree, env=environ, capture_output=True, text=True, check=False)
    output = done.stdout.strip().splitlines()
    if done.returncode:
        print("\n".join(f"     {line}" for line in output[-20:]), flush=True)
    summary = next((line for line in reversed(output) if "passed" in line or "failed" in line), "nothing")
    yield Row(
        f"tests of the previous version ({len(files)} files) on the newest schema",
        summary.split(" in ")[0],
        "all passed",
        not done.returncode,
    )


def _previous_version() -> str | None:
    """Returns the last commit without the newest migration."""
    newest = next((ROOT / "src/movie_adapters/sql/migrations/versions").glob(f"{newest_revision()}_*.py"))
    try:
        commits = _git("log", "--diff-filter=A", "--format=%H", "--", str(newest.relative_to(ROOT)))
    except (OSError, subprocess.CalledProcessError):
        return None
    return f"{commits.split()[-1]}^" if commits else None


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout


# --- a lost disk


def restoring(*, is_full: bool) -> Iterator[Row]:
    """Measures dump and restore; then recovery from a base backup and the archived log after the loss of the disk."""
    amount = _amount(is_full)
    settings = yaml.safe_load((ROOT / "deploy/compose/backup.yaml").read_text())["services"]["postgres"]["command"][
        2::2
    ]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        programs = postgres_programs(folder)
        redis = stack.enter_context(own_redis())
        backup = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="backup-", dir="/tmp")))
        for path in (folder, backup):
            path.chmod(0o777)  # accessible to the user who runs the server
        postgres = stack.enter_context(
            own_postgres(*DURABLE, *(setting.replace("/backup", str(backup)) for setting in settings))
        )
        deployment = Deployment(folder, postgres, redis)
        stack.callback(deployment.stop)
        for name in deployment.commands:
            deployment.start(name)
        for port in deployment.ports:
            until_ready(port)
        asyncio.run(_fill(postgres.url, amount))
        yield from _dumped(postgres, programs, folder, amount)
        yield from _disk_lost(deployment, programs, backup, amount)


def _dumped(postgres: OwnServer, programs: Path, folder: Path, amount: int) -> Iterator[Row]:
    url = postgres.url.replace("+asyncpg", "")
    with postgres_database(postgres.url) as copy:
        began = time.perf_counter()
        run_as_server((programs / "pg_dump", "--format=custom", f"--file={folder / 'dump'}", url))
        dumped = time.perf_counter()
        into = ("--no-owner", "--exit-on-error", "--single-transaction", f"--dbname={copy.replace('+asyncpg', '')}")
        run_as_server((programs / "pg_restore", *into, folder / "dump"))
        restored = time.perf_counter()
        same = asyncio.run(_digest(postgres.url)) == asyncio.run(_digest(copy))
    size = (folder / "dump").stat().st_size / 1e6
    figure = f"{dumped - began:.1f} + {restored - dumped:.1f} s"
    what = f"{amount:,} ratings, dump ({size:.0f} MB) and restore"
    yield Row(what, figure, f"≤ {RECOVERY:.0f} s", restored - dumped <= RECOVERY)
    yield Row("the same: checksums of all accounts, ratings and emails equal", str(same), "True", same)


def _disk_lost(deployment: Deployment, programs: Path, backup: Path, amount: int) -> Iterator[Row]:
    postgres = deployment.postgres
    socket = Path(postgres.url.partition("?host=")[2])
    environ = {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "BACKUP": str(backup),
        "PGUSER": "postgres",
        "PGHOST": str(socket),
        "PGDATABASE": "postgres",
        "PGDATA": str(socket / "data"),
    }
    began = time.perf_counter()
    run_as_server(("sh", ROOT / "deploy/postgres/backup.sh"), environ)
    seconds = time.perf_counter() - began
    yield Row(f"base backup of {amount:,} ratings under load", f"{seconds:.1f} s", "-", True)

    before = asyncio.run(_digest(postgres.url, "load"))
    with httpx.Client(base_url=f"http://127.0.0.1:{deployment.ports[0]}", timeout=20, trust_env=False) as client:
        tokens = client.post(f"{AUTH}login/", json=_account(1)).raise_for_status().json()
        answers = run(steady(deployment.ports, _writes(deployment, first=USERS - 40), 20, ARCHIVED_SECONDS))
        acknowledged = sum(answer.status == 200 for answer in answers)
        newest = datetime.now(UTC)
        # Just before the loss, so not archived: a logout, and an email that is delivered.
        bearer = {"Authorization": f"Bearer {tokens['access']}"}
        client.post(f"{AUTH}logout/", headers=bearer).raise_for_status()
        body = {"email": "late@example.com", "username": "late", "password": PASSWORD}
        client.post(f"{AUTH}register/", json=body).raise_for_status()
        end = time.monotonic() + 20
        while not deployment.mails() and time.monotonic() < end:
            time.sleep(0.1)
        mails = len(deployment.mails())
        postgres.signal(signal.SIGKILL)
        postgres.stop()
        shutil.rmtree(socket / "data")

        began = time.perf_counter()
        for name in deployment.process_names:
            deployment.stop_one(name)
        run_as_server(("sh", ROOT / "deploy/postgres/restore.sh"), environ)
        postgres.start()
        complete = (
            "--quiet",
            "--single-transaction",
            "--set=ON_ERROR_STOP=1",
            "--file",
            ROOT / "deploy/postgres/after_restore.sql",
        )
        _until_promoted(programs, environ)
        run_as_server((programs / "psql", *complete), environ)
        for name in deployment.process_names:
            deployment.start(name)
        for port in deployment.ports:
            until_ready(port)
        client.post(f"{AUTH}login/", json=_account(1)).raise_for_status()
        recovered = time.perf_counter() - began
        refreshed = client.post(f"{AUTH}jwt/token/refresh/", json={"refresh": tokens["refresh"]}).status_code
        used = client.get("/api/v1/users/me/", headers=bearer).status_code
        time.sleep(10)  # time for a worker to send pending emails
        again = len(deployment.mails()) - mails
    rows = asyncio.run(_fetch(postgres.url, "SELECT max(rated_at) AS newest FROM ratings WHERE rating = 9.5"))
    lost = (newest - rows[0]["newest"]).total_seconds()
    same = asyncio.run(_digest(postgres.url, "load")) == before
    yield Row(
        f"disk lost after {acknowledged:,} more ratings: seconds of data lost",
        f"{lost:.0f} s",
        f"≤ {RECOVERY_POINT:.0f} s",
        0 <= lost <= RECOVERY_POINT,
    )
    yield Row("the same: time until the next login", f"{recovered:.1f} s", f"≤ {RECOVERY:.0f} s", recovered <= RECOVERY)
    yield Row("the same: checksums of the earlier data equal", str(same), "True", same)
    yield Row(
        "the same: status of a refresh token and an access token of an ended session",
        f"{refreshed}, {used}",
        "401, 401",
        (refreshed, used) == (401, 401),
    )
    yield Row(f"the same: emails sent again, of {mails}", str(again), "0", again == 0 < mails)


def _until_promoted(programs: Path, environ: Mapping[str, str]) -> None:
    """Waits until PostgreSQL has replayed its log and accepts writes."""
    for _ in range(6000):
        done = subprocess.run(
            (programs / "psql", "-Atc", "SELECT pg_is_in_recovery()"),
            env=dict(environ),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.stdout.strip() == "f":
            return
        time.sleep(0.1)
    raise RuntimeError("PostgreSQL did not finish replaying its log")


# --- data and writers


async def _fill(url: str, amount: int) -> None:
    """Creates users with a password and an equal number of ratings each."""
    from argon2 import PasswordHasher

    hashed = PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1).hash(PASSWORD)
    await _execute(
        url,
        f"""
        INSERT INTO users (id, email, email_key, username, username_key, password_hash, is_active, is_staff,
                           record_events, created_at)
        SELECT md5(n::text), name || '@example.com', name || '@example.com', name, name, '{hashed}', true, false, true,
               now()
        FROM (SELECT n, 'load' || n AS name FROM generate_series(1, {USERS}) n) named
        """,
        f"""
        INSERT INTO ratings (user_id, source, movie_id, title, year, rating, rated_at)
        SELECT md5(n::text), 'third_party', 'film' || m, 'Film ' || m, 1950 + m % 70, 1 + (m * n) % 17 / 2.0,
               now() - m * interval '1 hour'
        FROM generate_series(1, {USERS}) n, generate_series(1, {amount // USERS}) m
        """,
        "ANALYZE",
    )


def _account(number: int) -> dict[str, str]:
    return {"email": f"load{number}@example.com", "password": PASSWORD}


def _writes(deployment: Deployment, first: int = 1) -> Iterator[bytes]:
    """Yields requests of 40 users to rate movies returned by a search."""
    with httpx.Client(base_url=f"http://127.0.0.1:{deployment.ports[0]}", timeout=20, trust_env=False) as client:
        deployment.behave(fail_rate=0)
        logins = (client.post(f"{AUTH}login/", json=_account(first + number)) for number in range(40))
        tokens = [answer.raise_for_status().json()["access"] for answer in logins]
        page = client.get(MOVIES, params={"query": "river", "limit": 100}).raise_for_status().json()
        time.sleep(1)  # until the movies are stored
    ids = [item["id"] for item in page["items"]]
    body = b'{"rating": 9.5}'
    wanted = itertools.cycle(itertools.product(ids, tokens))
    return (post_of(f"{MOVIES}{movie}/rating/", body, token, b"PUT") for movie, token in wanted)


async def _digest(url: str, prefix: str = "") -> list[tuple[int, int]]:
    """Returns the number of rows and a checksum of their content per table; only of usernames with that prefix."""
    whose = f"IN (SELECT id FROM users WHERE username LIKE '{prefix}%')"
    # Without the time of the last login, which changes during the measurement.
    accounts = "(SELECT id, email, username, password_hash, is_active, created_at FROM users)"
    sources = [f"{accounts} r WHERE id {whose}", f"ratings r WHERE user_id {whose} AND rating <> 9.5"]
    if not prefix:
        sources += ["mails r", "links r", "sessions r", "rating_versions r"]
    rows = [
        (
            await _fetch(
                url, f"SELECT count(*) AS rows, sum(hashtextextended(r::text, 0)::numeric) AS sum FROM {source}"
            )
        )[0]
        for source in sources
    ]
    return [(int(row["rows"]), int(row["sum"] or 0)) for row in rows]


async def _fetch(url: str, statement: str) -> Sequence[Mapping[str, Any]]:
    connection = await asyncpg.connect(url.replace("+asyncpg", ""))
    try:
        return list(await connection.fetch(statement))
    finally:
        await connection.close()


async def _execute(url: str, *statements: str) -> None:
    connection = await asyncpg.connect(url.replace("+asyncpg", ""))
    try:
        for statement in statements:
            await connection.execute(statement, timeout=600)
    finally:
        await connection.close()


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:,.0f} ms"
