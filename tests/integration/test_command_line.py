"""Accounts, emails and processes on the command line, with a data directory shared with other processes."""

import asyncio
import json
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path

import pytest
from dishka import AsyncContainer
from redis import Redis
from tests.support.deployment import MOVIE_SEARCH, Run, Serve, Start, clean_environment, lines, listed, wait_until

from movie_adapters.redis.client import PREFIX
from movie_adapters.redis.task_queue import TaskQueue, stream_of
from movie_adapters.settings.settings import Settings
from movie_adapters.wiring.preparation import prepare_schema
from movie_adapters.wiring.providers import create_container
from movie_core.accounts.keyring import new_id
from movie_core.accounts.login import Login
from movie_core.accounts.outbox import MailState
from movie_core.accounts.registration import Registration
from movie_core.accounts.users import Address, PendingRegistration, Username
from movie_core.clock import utc_now
from movie_core.discovery.ratings import NewRating
from movie_core.ports import Outbox, RatingStore, RegistrationRepo, UserRepo

ANNA, PASSWORD = "Anna@example.org", "seven lanterns over Trieste"


@asynccontextmanager
async def container_of(folder: Path) -> AsyncIterator[AsyncContainer]:
    settings = Settings.load({"MOVIE_DATA_DIR": str(folder / "var")}, dotenv=None)
    await prepare_schema(settings)
    container = create_container(settings)
    try:
        yield container
    finally:
        await container.close()


@pytest.fixture
def anna(folder: Path) -> None:
    """Anna has registered and not activated; her email is pending."""

    async def register() -> None:
        async with container_of(folder) as container:
            await (await container.get(Registration)).register(ANNA, "Anna K", PASSWORD)

    asyncio.run(register())


def program(
    folder: Path, *arguments: str, stdin: str = "", encoding: str = "utf-8", **environ: str
) -> "subprocess.CompletedProcess[str]":
    """Runs `movie-search` in an interpreter of its own, with one line on stdin and an encoding for its output."""
    return subprocess.run(
        [MOVIE_SEARCH, *arguments],
        cwd=folder,
        env=clean_environment(**environ),
        input=f"{stdin}\n",
        capture_output=True,
        encoding=encoding,
        timeout=180,
        check=False,
    )


def log_in(folder: Path) -> None:
    async def run() -> None:
        async with container_of(folder) as container:
            await (await container.get(Login)).log_in(ANNA, PASSWORD, "a test\twith a tab")

    asyncio.run(run())


def mark_all_mails_dead(folder: Path) -> list[str]:
    async def run() -> list[str]:
        async with container_of(folder) as container:
            outbox = await container.get(Outbox)
            claimed = await outbox.claim("test", utc_now(), 20, timedelta(seconds=20))
            for mail in claimed:
                assert await outbox.complete(
                    "test", replace(mail, state=MailState.DEAD, attempts=8, last_error="550\tno \x1b[31m such\nuser")
                )
            return [mail.id for mail in claimed]

    return asyncio.run(run())


def test_the_version_is_that_of_the_distribution(run: Run) -> None:
    assert lines(run("--version")) == [[version("movie-search-backend")]]


@pytest.mark.usefixtures("anna")
def test_an_account_from_registration_to_erasure(run: Run, folder: Path) -> None:
    assert [cells[:4] for cells in listed(run("users", "list"))] == [[ANNA, "Anna K", "pending", "-"]]
    assert lines(run("users", "activate", "anna@EXAMPLE.org")) == [["anna@EXAMPLE.org is active"]]
    log_in(folder)
    [(address, _, state, staff, created, last_login)] = listed(run("users", "list", ANNA))
    assert (address, state, staff) == (ANNA, "active", "-")
    assert created <= last_login
    assert last_login.endswith("Z")

    lines(run("users", "staff", ANNA))
    assert listed(run("users", "list"))[0][3] == "staff"
    lines(run("users", "staff", ANNA, "--remove"))
    assert listed(run("users", "list"))[0][3] == "-"

    [session] = listed(run("sessions", "list", ANNA))
    assert session[1] == "a test with a tab"
    assert lines(run("sessions", "end", ANNA)) == [["sessions ended: 1"]]
    assert listed(run("sessions", "list", ANNA)) == []

    lines(run("users", "deactivate", ANNA))
    assert listed(run("users", "list"))[0][2] == "inactive"

    stored = json.loads(run("users", "export", ANNA).stdout)
    assert ANNA in json.dumps(stored["account"])
    assert "$argon2" not in json.dumps(stored)

    lines(run("users", "erase", ANNA, "--yes"))
    assert listed(run("users", "list")) == []
    gone = run("users", "list", ANNA)
    error = f"movie-search: {ANNA}: no account or registration has an address or username with this text\n"
    assert (gone.returncode, gone.stdout, gone.stderr) == (1, "", error)


def test_users_are_listed_beyond_one_page(run: Run, folder: Path) -> None:
    addresses = [f"user{number}@example.org" for number in range(101)]

    async def fill() -> None:
        async with container_of(folder) as container:
            registrations = await container.get(RegistrationRepo)
            for address in addresses:
                name = address.partition("@")[0]
                await registrations.register(
                    PendingRegistration(new_id(), Address(address, address), Username(name, name), "a hash", utc_now()),
                    utc_now(),
                )

    asyncio.run(fill())
    assert sorted(cells[0] for cells in listed(run("users", "list"))) == sorted(addresses)


@pytest.mark.usefixtures("anna")
def test_erasing_an_account_requires_confirmation(run: Run) -> None:
    refused = run("users", "erase", ANNA)
    assert (refused.returncode, refused.stderr.count("\n"), "--yes" in refused.stderr) == (2, 1, True)
    assert len(listed(run("users", "list"))) == 1


@pytest.mark.usefixtures("anna")
def test_mails_are_listed_and_dead_ones_retried(run: Run, folder: Path) -> None:
    assert [cells[1:3] for cells in listed(run("mail", "list"))] == [["pending", "0"]]
    [mail_id] = mark_all_mails_dead(folder)
    [cells] = listed(run("mail", "list", "--state", "dead"))
    assert cells[:5] == [mail_id, "dead", "8", ANNA, "activation"]
    assert cells[6] == "550 no ?[31m such user"
    assert listed(run("mail", "list", "--state", "pending")) == []

    assert lines(run("mail", "retry", mail_id)) == [["emails queued for retry: 1"]]
    assert listed(run("mail", "list", "--state", "pending"))[0][:3] == [mail_id, "pending", "0"]
    again = run("mail", "retry", mail_id, "nothing", "\udcff")
    assert (again.returncode, again.stderr.count("\n")) == (1, 1)
    assert "0 of 3" in again.stderr

    mark_all_mails_dead(folder)
    assert lines(run("mail", "retry", "--all")) == [["emails queued for retry: 1"]]
    assert lines(run("mail", "retry", "--all")) == [["emails queued for retry: 0"]]


@pytest.mark.usefixtures("anna")
def test_changes_are_in_the_audit_log(run: Run, folder: Path) -> None:
    assert listed(run("audit", "list")) == []
    for command in (
        ("users", "activate", ANNA),
        ("users", "staff", ANNA),
        ("users", "staff", ANNA, "--remove"),
        ("sessions", "end", ANNA),
        ("users", "deactivate", ANNA),
    ):
        lines(run(*command))
    account_id = json.loads(run("users", "export", ANNA).stdout)["account"]["id"]
    done = ["user_deactivated", "sessions_ended", "staff_revoked", "staff_granted", "user_activated"]
    output = listed(run("audit", "list"))
    assert [cells[1:] for cells in output] == [["command line", action, account_id] for action in done]
    assert all(cells[0].endswith("Z") for cells in output)
    assert listed(run("audit", "list", "--limit", "2", "--offset", "1")) == output[1:3]
    past = run("audit", "list", "--offset", "5")
    assert (past.returncode, past.stderr.count("\n"), "--offset" in past.stderr) == (2, 1, True)

    lines(run("users", "erase", ANNA, "--yes"))
    assert [cells[1:] for cells in listed(run("audit", "list"))] == [
        ["command line", action, "-"] for action in ["user_erased", *done]
    ]


@pytest.mark.usefixtures("anna")
def test_a_retried_mail_is_in_the_audit_log_and_failures_are_not(run: Run, folder: Path) -> None:
    assert run("users", "deactivate", ANNA).returncode == 1
    [mail_id] = mark_all_mails_dead(folder)
    lines(run("mail", "retry", "--all"))
    assert run("mail", "retry", mail_id).returncode == 1
    assert [cells[1:] for cells in listed(run("audit", "list"))] == [["command line", "mail_retried", mail_id]]


def test_a_flushed_cache_is_in_the_audit_log(run: Run, redis_url: str) -> None:
    flushed = run("cache", "flush", MOVIE_REDIS_URL=redis_url)
    assert (flushed.returncode, flushed.stdout.startswith("cache entries deleted:")) == (0, True), flushed.stderr
    assert [cells[1:] for cells in listed(run("audit", "list"))] == [["command line", "cache_flushed", "-"]]
    database_url = "postgresql+asyncpg://nobody@127.0.0.1:9/none"
    unknown = run("cache", "flush", MOVIE_REDIS_URL=redis_url, MOVIE_DATABASE_URL=database_url)
    assert (unknown.returncode, unknown.stdout) == (1, "")
    assert unknown.stderr == (
        "movie-search: the change was made but could not be written to the audit log: the database is unavailable\n"
    )


def test_tasks_are_listed_where_there_is_a_queue(run: Run, redis_url: str) -> None:
    none = run("tasks", "list")
    assert (none.returncode, none.stdout, none.stderr.count("\n")) == (1, "", 1)
    assert "there is no task queue" in none.stderr
    with Redis.from_url(redis_url) as redis:
        redis.delete(stream_of(PREFIX))
    assert listed(run("tasks", "list", MOVIE_REDIS_URL=redis_url)) == []

    async def put() -> None:
        queue = TaskQueue(redis_url)
        await queue.put("purge")
        await queue.close()

    asyncio.run(put())
    [(entry_id, name, state, age, handed_out)] = listed(run("tasks", "list", MOVIE_REDIS_URL=redis_url))
    assert (name, state, handed_out, int(age) < 30, "-" in entry_id) == ("purge", "queued", "0", True, True)
    unavailable = run("tasks", "list", MOVIE_REDIS_URL="redis://127.0.0.1:9/0")
    assert (unavailable.returncode, unavailable.stdout, unavailable.stderr.count("\n")) == (1, "", 1)
    assert "Redis unavailable" in unavailable.stderr


def test_a_test_mail_is_sent_immediately(run: Run, folder: Path) -> None:
    sent = run("mail", "test", ANNA)
    assert (sent.returncode, "var/mail" in sent.stdout) == (0, True)
    [mail] = (folder / "var" / "mail").glob("*.eml")
    assert f"To: {ANNA}" in mail.read_text()
    assert listed(run("mail", "list")) == []
    unavailable = run("mail", "test", ANNA, MOVIE_SMTP_URL="smtp://127.0.0.1:9?tls=none")
    assert (unavailable.returncode, unavailable.stdout, unavailable.stderr.count("\n")) == (1, "", 1)
    assert "the test email was not sent" in unavailable.stderr


@pytest.mark.usefixtures("anna")
def test_changes_take_effect_in_a_running_server(serve: Serve, run: Run) -> None:
    program, api = serve()
    assert "emails are stored in var/mail" in program.output()
    program.wait_for("verify-email")
    lines(run("users", "activate", ANNA))
    login = api.post("/api/v1/authentication/login/", json={"email": ANNA, "password": PASSWORD})
    assert login.status_code == 200, login.text
    mine = {"authorization": f"Bearer {login.json()['access']}"}
    profile = "/api/v1/users/me/"
    assert api.get(profile, headers=mine).status_code == 200
    lines(run("users", "deactivate", ANNA))
    wait_until(lambda: api.get(profile, headers=mine).status_code == 401)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("users", "activate", "nobody@example.org"), 1, "no"),
        (("users", "deactivate", "nobody@example.org"), 1, "no"),
        (("users", "staff", "nobody@example.org"), 1, "no"),
        (("users", "export", "nobody@example.org"), 1, "no user or pending registration"),
        (("users", "erase", "nobody@example.org", "--yes"), 1, "no user or pending registration"),
        (("sessions", "list", "nobody@example.org"), 1, "no user"),
        (("sessions", "end", "nobody@example.org"), 1, "no user"),
        (("users", "activate", "no address"), 2, "EMAIL: "),
        (("users", "list", "\udcff@example.org"), 2, "EMAIL: "),
        (("users", "export", "a@b@c"), 2, "EMAIL: "),
        (("mail", "test", "nonsense"), 2, "EMAIL: "),
        (("users", "activate"), 2, "EMAIL"),
        (("users", "activate", ANNA, "--yes"), 2, "--yes"),
        (("users", "nonsense"), 2, "nonsense"),
        (("mail", "retry"), 2, "--all"),
        (("mail", "retry", "one", "--all"), 2, "--all"),
        (("mail", "list", "--state", "lost"), 2, "--state"),
        (("mail", "list", "--limit", "101"), 2, "--limit"),
        (("recommend", "evaluate", "nowhere.csv"), 2, "No such file"),
        (("search", "river", "--order", "personal"), 2, "--order"),
        (("worker",), 2, "MOVIE_REDIS_URL"),
        (("scheduler",), 2, "MOVIE_REDIS_URL"),
    ],
)
def test_an_error_is_one_line_that_states_its_cause(
    run: Run, arguments: tuple[str, ...], code: int, message: str
) -> None:
    done = run(*arguments)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (code, "", 1), done.stderr
    assert done.stderr.startswith("movie-search: ")
    assert message in done.stderr


@pytest.mark.parametrize(("command", "message"), [("worker", "worker started"), ("scheduler", "scheduler started")])
def test_worker_and_scheduler_stop_with_exit_code_0(start: Start, redis_url: str, command: str, message: str) -> None:
    program = start(command, MOVIE_REDIS_URL=redis_url)
    program.wait_for(f"movie-search: {message}")
    assert program.stop() == 0
    assert "Traceback" not in program.output()


@pytest.mark.usefixtures("console_script")
@pytest.mark.parametrize("library", ["msgspec", "numpy"], ids=["while importing", "while training"])
def test_an_interrupted_training_prints_nothing(start: Start, library: str) -> None:
    program = start("recommend", "train")
    program.wait_for_library(library)
    assert (program.interrupt(), program.output()) == (130, "")


@pytest.mark.usefixtures("untrained")
@pytest.mark.parametrize("delay", [0, 0.5, 1])
def test_an_interrupted_server_prints_no_traceback_of_its_training_process(serve: Serve, delay: float) -> None:
    program, _ = serve()
    wait_until(lambda: any("spawn_main" in command for command in program.subprocesses()))
    time.sleep(delay)
    assert program.interrupt() == 0
    assert "Traceback" not in program.output()
    assert "training failed" not in program.output()


def test_every_command_has_help(run: Run) -> None:
    for group, commands in {
        "users": ("list", "activate", "deactivate", "staff", "export", "erase"),
        "sessions": ("list", "end"),
        "mail": ("list", "retry", "test"),
        "audit": ("list",),
        "tasks": ("list",),
        "recommend": ("train", "import", "evaluate"),
    }.items():
        output = run(group, "--help").stdout
        assert all(command in output for command in commands)
        assert run(group, commands[0], "--help").stdout.startswith(f"Usage: movie-search {group} {commands[0]}")
    output = run("--help").stdout
    assert all(command in output for command in ("worker", "scheduler", "users", "sessions", "mail"))


def ratings_file(folder: Path, users: int, name: str = "ratings.csv") -> Path:
    """Writes ratings of two groups of users without common movies, each user's in a different order."""
    rows = ["userId,movieId,rating,timestamp"]
    for user in range(users):
        first = 100 * (user % 2)
        rows += [f"{user},{first + (user + 7 * n) % 24},{4.5 if n % 3 else 2.0},{1_600_000_000 + n}" for n in range(16)]
    (folder / name).write_text("\n".join(rows) + "\n")
    return folder / name


def test_recommendations_are_evaluated_on_a_file(run: Run, folder: Path) -> None:
    done = run("recommend", "evaluate", str(ratings_file(folder, 80)))
    assert done.returncode == 0, done.stderr
    lines = [line.split("\t") for line in done.stdout.splitlines()]
    assert lines[0] == ["ratings: 1280, movies: 48, users: 80; rows skipped: 0"]
    at = lines.index(
        ["protocol", "method", "users", "nDCG@10", "Recall@20", "coverage@10", "fit s", "p50 ms", "p99 ms"]
    )
    recall = {(row[0], row[1]): float(row[4]) for row in lines[at + 1 :]}
    assert len(recall) == 12
    # A model of preferences finds the held-out movies among twenty; half of the popular ones are of the other group.
    assert recall["temporal", "ours"] > 0.9 > recall["temporal", "most popular"]


@pytest.mark.parametrize("users", [0, 49])
def test_evaluation_requires_enough_ratings(run: Run, folder: Path, users: int) -> None:
    done = run("recommend", "evaluate", *([str(ratings_file(folder, users))] if users else []))
    assert done.returncode == 1
    assert done.stderr == (
        f"movie-search: not enough ratings to evaluate: users with 10 ratings or more: {users}, needed: 50\n"
    )


def test_without_a_file_the_stored_ratings_are_evaluated(run: Run, folder: Path) -> None:
    async def rate() -> None:
        async with container_of(folder) as container:
            users, ratings = await container.get(UserRepo), await container.get(RatingStore)
            registrations = await container.get(RegistrationRepo)
            for number in range(60):
                name = f"rater{number}"
                address = Address(f"{name}@example.org", f"{name}@example.org")
                await registrations.register(
                    PendingRegistration(new_id(), address, Username(name, name), "hash", utc_now()), utc_now()
                )
                await users.set_active(address.key, True, utc_now())
                account = await users.find_by_address(address.key)
                assert account is not None
                liked = [NewRating(f"{100 * (number % 2) + n}", f"Film {n}", 1999, 9.0) for n in range(12)]
                await ratings.put(account.id, liked, utc_now())

    asyncio.run(rate())
    done = run("recommend", "evaluate")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("ratings: 720, movies: 24, users: 60; rows skipped: 0\n")
    trained = run("recommend", "train")
    assert trained.returncode == 0, trained.stderr
    assert "ratings: 720, users: 60" in trained.stdout


def test_an_account_is_created_without_an_email(run: Run, folder: Path) -> None:
    created = program(folder, "users", "create", ANNA, "Anna K", "--staff", "--password-stdin", stdin=PASSWORD)
    assert (created.returncode, created.stdout) == (0, f"{ANNA} is active and staff\n")
    assert listed(run("users", "list", "anna@ex"))[0][:4] == [ANNA, "Anna K", "active", "staff"]
    assert listed(run("mail", "list")) == []
    log_in(folder)
    again = program(folder, "users", "create", ANNA, "Other", "--password-stdin", stdin=PASSWORD)
    assert (again.returncode, again.stderr) == (1, f"movie-search: {ANNA}: an account has this address\n")
    for arguments, password, error in (
        (("bob@example.org", "Bob"), "short", "password"),
        (("bob@example.org", "anna k"), PASSWORD, "bob@example.org: "),
        (("nonsense", "Bob"), PASSWORD, "nonsense"),
    ):
        refused = program(folder, "users", "create", *arguments, "--password-stdin", stdin=password)
        assert refused.returncode in {1, 2}
        assert refused.stderr.count("\n") == 1
        assert error in refused.stderr
    assert "--password-stdin" in program(folder, "users", "create", "bob@example.org", "Bob").stderr


@pytest.mark.usefixtures("anna")
def test_lists_are_printed_as_json(run: Run) -> None:
    (user,) = json.loads(run("users", "list", "--json").stdout)
    assert (user["address"], user["state"], user["last_login"]) == (ANNA, "pending", "")
    (mail,) = json.loads(run("mail", "list", "--json").stdout)
    assert (mail["recipient"], mail["last_error"]) == (ANNA, "")
    assert json.loads(run("audit", "list", "--json").stdout) == []


def test_output_does_not_depend_on_the_locale(run: Run, folder: Path) -> None:
    films = "id,title,year\nm1,Café №1 🎬,1999\nm2,C#,2001\n"
    (folder / "films.csv").write_text(films, encoding="utf-8")
    lines(run("catalogue", "import", "films.csv", "--replace"))
    expected = {"UTF-8": "Café №1 🎬", "cp1252": "Café \\u21161 \\U0001f3ac", "ascii": "Caf\\xe9 \\u21161 \\U0001f3ac"}
    for encoding, title in expected.items():
        environ = {"PYTHONIOENCODING": encoding, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
        for query in ("cafe", "Café №1"):
            found = program(folder, "search", query, encoding=encoding, **environ)
            assert (found.returncode, found.stderr) == (0, "")
            assert found.stdout.split("\t") == [title, "1999", "-", "-", "m1\n"]
        page = json.loads(program(folder, "search", "cafe", "--json", encoding=encoding, **environ).stdout)
        assert page["items"][0]["title"] == "Café №1 🎬"


def test_a_misspelt_setting_gives_one_warning(run: Run) -> None:
    done = run("users", "list", MOVIE_PUBLIC_SERACH="true")
    assert (done.returncode, done.stderr.count("\n")) == (0, 1)
    assert "MOVIE_PUBLIC_SERACH" in done.stderr
    assert "MOVIE_PUBLIC_SEARCH" in done.stderr


def test_doctor_has_one_line_per_check(run: Run) -> None:
    done = run("doctor")
    assert done.returncode == 0
    names = [line.removeprefix("ok").strip().partition(":")[0] for line in done.stdout.splitlines()]
    assert names == ["database", "redis", "source", "smtp", "data directory", "clock"]
    failed = run("doctor", MOVIE_SMTP_URL="smtp://a:canary@127.0.0.1:9?tls=starttls")
    assert failed.returncode == 1
    assert "MOVIE_SMTP_URL" in failed.stdout
    assert "canary" not in failed.stdout
    assert failed.stderr == "movie-search: failed: smtp\n"


@pytest.mark.parametrize("name", ["nonsense", "json:loads", "no_such_module:X", "json:missing", ":X"])
def test_a_provider_that_cannot_be_loaded_is_a_usage_error(run: Run, name: str) -> None:
    done = run("serve", "--provider", name)
    assert (done.returncode, done.stderr.count("\n"), "--provider" in done.stderr) == (2, 1, True)
