"""Settings with which processes refuse to start, and the result of a first start."""

import shutil
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support.deployment import Serve
from tests.support.servers import free_port

Run = Callable[..., "subprocess.CompletedProcess[str]"]

LONG = "0123456789-0123456789-0123456789"
PRODUCTION = {
    "MOVIE_ENV": "production",
    "MOVIE_PUBLIC_URL": "https://movies.example.com",
    "MOVIE_DATABASE_URL": "postgresql+asyncpg://movies:canary@db.invalid/movies",
    "MOVIE_REDIS_URL": "redis://:canary@redis.invalid/0",
    "MOVIE_SECRET_KEY": f"canary-{LONG}",
    "MOVIE_SMTP_URL": "smtp://movies:canary@smtp.invalid:587?tls=starttls",
}
LOCAL = {"MOVIE_REDIS_URL": "redis://:canary@redis.invalid/0"}

UNREADABLE = [
    ("MOVIE_ENV", "staging"),
    ("MOVIE_SOURCE", "imdb"),
    ("MOVIE_DATABASE_URL", "mysql://movies:canary@db.invalid/movies"),
    ("MOVIE_DATABASE_URL", "postgresql+asyncpg://movies:canary@db.invalid:port/movies"),
    ("MOVIE_DATABASE_URL", "postgresql+asyncpg://movies:canary@db.invalid/movies?sslmode=sometimes"),
    ("MOVIE_REDIS_URL", "redis://:canary@redis.invalid:99999/0"),
    ("MOVIE_REDIS_URL", "redis://:canary@redis.invalid/movies"),
    ("MOVIE_CACHE_REDIS_URL", "http://:canary@redis.invalid"),
    ("MOVIE_SOURCE_URL", "ftp://source.invalid"),
    ("MOVIE_SOURCE_URL", "http://user:canary@source.invalid"),
    ("MOVIE_SOURCE_DEADLINE", "-3s"),
    ("MOVIE_SOURCE_TIMEOUT", "fast"),
    ("MOVIE_SOURCE_RETRY_STATUS", "409-400"),
    ("MOVIE_CACHE_FRESH", "10"),
    ("MOVIE_CACHE_BYTES", "-64MiB"),
    ("MOVIE_CACHE_BYTES", "64MB"),
    ("MOVIE_PUBLIC_URL", "https://movies.example.com\nX: y"),
    ("MOVIE_SECRET_KEY", "canary"),
    ("MOVIE_SECRET_KEY", f"canary-{LONG},canary"),
    ("MOVIE_SMTP_URL", "smtp://movies:canary@smtp.invalid:port"),
    ("MOVIE_MAIL_FROM", "noreply@example.com\r\nBcc: everybody@example.com"),
    ("MOVIE_PASSWORD_MIN", "7"),
    ("MOVIE_PUBLIC_SEARCH", "perhaps"),
    ("MOVIE_LIMIT_LOGIN", "-10/minute"),
    ("MOVIE_LIMIT_SEARCH", "10/fortnight"),
    ("MOVIE_ALLOWED_HOSTS", "*.example.com"),
    ("MOVIE_CORS_ORIGINS", "https://app.example.com/"),
    ("MOVIE_TRUSTED_PROXIES", "everybody"),
    ("MOVIE_TRUSTED_PROXIES", "10.0.0.1/8"),
    ("MOVIE_LOG_FORMAT", "xml"),
    ("MOVIE_METRICS_TOKEN", "canary"),
    ("MOVIE_METRICS_LISTEN", "9101"),
    ("MOVIE_TASKS_TOKEN", "canary"),
    ("MOVIE_OTLP_URL", "collector:4318"),
]
LACKING = [
    ("MOVIE_SOURCE_URL", {"MOVIE_SOURCE": "third_party"}),
    ("MOVIE_SOURCE_TOKEN", {"MOVIE_SOURCE": "tmdb"}),
]
UNSAFE = [
    ("MOVIE_SECRET_KEY", ""),
    ("MOVIE_SECRET_KEY", "a" * 64),
    ("MOVIE_SECRET_KEY", f"canary-{LONG},change-me-{LONG}"),
    ("MOVIE_PUBLIC_URL", ""),
    ("MOVIE_PUBLIC_URL", "http://movies.example.com"),
    ("MOVIE_DATABASE_URL", ""),
    ("MOVIE_DATABASE_URL", "sqlite+aiosqlite:///movies.db"),
    ("MOVIE_REDIS_URL", ""),
    ("MOVIE_SMTP_URL", ""),
    ("MOVIE_SMTP_URL", "smtp://movies:canary@smtp.invalid:587"),
    ("MOVIE_ALLOWED_HOSTS", "movies.example.com,*"),
    ("MOVIE_CORS_ORIGINS", "*"),
]
BAD = [
    *((name, LOCAL | {name: value}) for name, value in UNREADABLE),
    *((name, LOCAL | environ) for name, environ in LACKING),
    *((name, PRODUCTION | {name: value}) for name, value in UNSAFE),
]


def refused(done: "subprocess.CompletedProcess[str]", name: str) -> bool:
    """Whether the command failed with one line that names the setting and does not contain its value."""
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"movie-search: {name}: "), line
    assert "canary" not in line
    return (done.returncode, done.stdout) == (2, "")


@pytest.mark.parametrize(("name", "environ"), BAD, ids=lambda part: part if isinstance(part, str) else "")
def test_the_api_does_not_start_with_an_unusable_setting(run: Run, name: str, environ: dict[str, str]) -> None:
    assert refused(run("serve", "--port", str(free_port()), **environ), name)


@pytest.mark.parametrize("command", ["worker", "scheduler", "migrate", "config"])
def test_other_commands_do_not_start_with_an_unusable_setting(run: Run, command: str) -> None:
    for name, environ in (BAD[0], BAD[-1]):
        assert refused(run(command, **environ), name)


@pytest.mark.parametrize("command", ["worker", "scheduler"])
def test_worker_and_scheduler_require_redis(run: Run, command: str) -> None:
    done = run(command)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "MOVIE_REDIS_URL" in done.stderr


def test_a_worker_does_not_start_if_its_metrics_address_cannot_be_bound(run: Run, redis_url: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as occupied:
        for listen in (f"127.0.0.1:{occupied.getsockname()[1]}", "nobody.invalid:9101"):
            done = run("worker", MOVIE_REDIS_URL=redis_url, MOVIE_METRICS_LISTEN=listen)
            assert refused(done, "MOVIE_METRICS_LISTEN")


@pytest.mark.parametrize("database", ["sqlite", "postgres"])
def test_a_first_start_creates_no_account(
    request: pytest.FixtureRequest, serve: Serve, run: Run, folder: Path, database: str
) -> None:
    shutil.rmtree(folder / "var")
    environ = {"MOVIE_SOURCE_URL": "http://127.0.0.1:9"}  # without the bundled films, which take seconds to load
    if database == "postgres":
        environ["MOVIE_DATABASE_URL"] = request.getfixturevalue("empty_database_url")
    serve(**environ)
    listed = run("users", "list", **environ)
    headings = "address\tusername\tstate\tstaff\tcreated\tlast login\n"
    assert (listed.returncode, listed.stdout, listed.stderr) == (0, headings, "")
