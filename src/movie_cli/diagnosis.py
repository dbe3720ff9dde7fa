"""The checks of `movie-search doctor`: the dependencies of a process, SMTP, data directory and clock."""

import asyncio
import shutil
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path

from dishka import AsyncContainer

from movie_adapters.private_files import make_private_folder
from movie_adapters.settings.settings import EMBEDDED_SOURCE, Settings
from movie_adapters.wiring.connections import Database
from movie_core.accounts.outbox import MailUnavailable
from movie_core.errors import Unavailable
from movie_core.operations.health import Dependency, Readiness

MIN_FREE = 200_000_000
"""Bytes that must be free in the data directory."""
MAX_SKEW = 5.0
"""Seconds by which clocks may differ: tokens and rate limits compare times of different machines."""


async def all_checks(settings: Settings, container: AsyncContainer) -> Readiness:
    """Every check, one line each, also for dependencies that are not configured."""
    configured = {one.name: one for one in (await container.get(Readiness)).dependencies}
    checks = {
        "database": configured.pop("database"),
        "redis": _passed("redis", "not used, as MOVIE_REDIS_URL is not set"),
        "source": _passed("source", "embedded catalogue"),
        **configured,
        "smtp": _smtp(settings),
        "data directory": _data_directory(settings.data_dir),
        "clock": _clock(settings, container),
    }
    if settings.source != EMBEDDED_SOURCE and "source" not in configured:
        del checks["source"]
    return Readiness(list(checks.values()))


def _passed(name: str, detail: str) -> Dependency:
    async def check() -> str:
        return detail

    return Dependency(name, check, "")


def _smtp(settings: Settings) -> Dependency:
    url = settings.smtp_url
    if url is None:
        return _passed(
            "smtp", f"not used, as MOVIE_SMTP_URL is not set; emails are stored in {settings.data_dir / 'mail'}"
        )

    async def check() -> str:
        from movie_adapters.email.smtp import SmtpMailer

        mailer = SmtpMailer(url, settings.mail_from)
        try:
            await mailer.check()
        except MailUnavailable as error:
            raise Unavailable(error.detail) from None
        finally:
            await mailer.close()
        return "connected" if "@" not in url else "connected and authenticated"

    return Dependency("smtp", check, "check host, port, user, password and tls of MOVIE_SMTP_URL")


def _data_directory(folder: Path) -> Dependency:
    def inspect() -> str:
        try:
            make_private_folder(folder)
            with tempfile.TemporaryFile(dir=folder):
                free = shutil.disk_usage(folder).free
        except OSError as error:
            raise Unavailable(f"not writable: {error.strerror}") from None
        if free < MIN_FREE:
            raise Unavailable(f"only {free // 1_000_000} MB free")
        return f"writable, {free / 1e9:.1f} GB free"

    advice = "set MOVIE_DATA_DIR to a directory that this user can write to, with 200 MB of free space"
    return Dependency("data directory", _in_thread(inspect), advice)


def _clock(settings: Settings, container: AsyncContainer) -> Dependency:
    async def check() -> str:
        if settings.sqlite_path is not None:
            return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
        from sqlalchemy import text
        from sqlalchemy.exc import SQLAlchemyError

        try:
            async with (await container.get(Database)).engine.connect() as connection:
                began = time.time()
                theirs = await connection.scalar(text("SELECT extract(epoch FROM clock_timestamp())"))
        except (SQLAlchemyError, OSError):
            return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}, not compared: the database is unavailable"
        skew = float(theirs) - (began + time.time()) / 2
        if abs(skew) > MAX_SKEW:
            raise Unavailable(f"differs from that of the database by {skew:+.0f} s")
        return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}, like that of the database"

    return Dependency("clock", check, "synchronise the clocks of this machine and of the database with NTP")


def _in_thread(work: Callable[[], str]) -> Callable[[], Awaitable[str]]:
    return lambda: asyncio.to_thread(work)
