"""The commands `serve`, `worker` and `scheduler`."""

import asyncio
import functools
import importlib
import multiprocessing
import signal
import socket
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from cyclopts.validators import Number
from dishka import Provider

from movie_adapters.observability.logs import announce
from movie_adapters.settings.settings import Settings
from movie_adapters.wiring.preparation import check_database_host
from movie_cli.app import PROCESSES, app
from movie_cli.output import CommandError, UsageError, exit_code_of, print_message
from movie_cli.services import configure_process, load_settings, open_container, prepare_search
from movie_core.errors import StoreUnavailable

if TYPE_CHECKING:
    from movie_api.app import Application


@app.command(group=PROCESSES)
def serve(
    *,
    host: str = "127.0.0.1",
    port: Annotated[int, Parameter(validator=Number(gte=1, lte=65_535))] = 8000,
    workers: Annotated[int, Parameter(validator=Number(gte=1, lte=64))] = 1,
    provider: str | None = None,
) -> None:
    """Serve the API until SIGTERM or SIGINT.

    Parameters
    ----------
    host
        Bind address.
    port
        Port to listen on.
    workers
        Number of processes; more than one requires MOVIE_REDIS_URL.
    provider
        A dishka provider, as module:Class, that replaces adapters (docs/adapters.md).
    """
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(0))  # until the server installs its own handlers
    settings = load_settings(port=port)
    if workers > 1 and settings.env == "single":
        raise UsageError("--workers: MOVIE_ENV=single is for one process")
    if workers > 1 and settings.redis_url is None:
        raise UsageError("--workers: more than one process requires MOVIE_REDIS_URL")
    _load_providers(provider)
    try:
        listener = _bind(host, port)
    except OSError as error:
        raise CommandError(
            f"--port: cannot listen on {host}:{port}: {(error.strerror or str(error)).lower()}"
        ) from None

    def announce_server() -> None:
        log_format, url = settings.log_format, settings.public_url
        announce(log_format, f"serving {settings.source} at {url}, documentation at {url}/docs")
        if settings.public_search:
            announce(log_format, "search is public: MOVIE_PUBLIC_SEARCH is on, so search requires no token")
        if settings.redis_url is None:
            _announce_mail_folder(settings)

    # Preparation runs in a child process while this one imports the framework: the first start is a second faster, and
    # the memory used for loading is released.
    can_fork = "fork" in multiprocessing.get_all_start_methods()
    new_process = multiprocessing.get_context("fork").Process if can_fork else multiprocessing.Process
    preparation = new_process(target=_prepare_and_exit, args=(settings, provider), daemon=True)
    preparation.start()
    from movie_api.server.protocol import serve_many, serve_one

    preparation.join()
    if preparation.exitcode:
        sys.exit(preparation.exitcode)
    if workers == 1:
        code = serve_one(functools.partial(served_app, settings, None, provider), listener, announce_server)
    else:
        with TemporaryDirectory(prefix="movie-search-") as peers:
            app_factory = functools.partial(served_app, settings, Path(peers), provider)
            code = serve_many(app_factory, listener, workers, announce_server)
    if code:
        raise CommandError("the server stopped because a process failed; see its log")


@app.command(group=PROCESSES)
async def worker() -> None:
    """Deliver email and run queued tasks until SIGTERM or SIGINT; requires MOVIE_REDIS_URL."""
    settings = _load_queue_settings()
    from movie_worker.app import run_worker

    _check_exit_code(await run_worker(settings, lambda: _announce_worker(settings)))


@app.command(group=PROCESSES)
async def scheduler() -> None:
    """Queue periodic tasks until SIGTERM or SIGINT; requires MOVIE_REDIS_URL. One instance is enough."""
    settings = _load_queue_settings()
    from movie_worker.schedule import run_scheduler

    _check_exit_code(await run_scheduler(settings, lambda: announce(settings.log_format, "scheduler started")))


def _load_queue_settings() -> Settings:
    """Loads the settings of the worker or scheduler and configures logging."""
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(0))  # until the process installs its own handlers
    settings = load_settings()
    if settings.redis_url is None:
        raise UsageError("MOVIE_REDIS_URL must be set; without it, `serve` does this work itself")
    check_database_host(settings)
    configure_process(settings)
    return settings


def _announce_worker(settings: Settings) -> None:
    announce(settings.log_format, "worker started")
    _announce_mail_folder(settings)


def _check_exit_code(code: int) -> None:
    if code:
        raise CommandError("the process failed; see its log")


def _announce_mail_folder(settings: Settings) -> None:
    if settings.shows_links:
        folder = settings.data_dir / "mail"
        print_message(f"MOVIE_SMTP_URL is not set: emails are stored in {folder} and their links are printed here")


def _load_providers(name: str | None) -> list[Provider]:
    """The provider of this name, in a list that is empty without one. Raises `UsageError`."""
    if name is None:
        return []
    module, _, attribute = name.partition(":")
    sys.path.insert(0, "")  # the working directory
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise UsageError(f"--provider: {name}: {error}") from None
    if not (isinstance(found, type) and issubclass(found, Provider)):
        raise UsageError(f"--provider: {name} is not a subclass of dishka.Provider")
    return [found()]


def _prepare_and_exit(settings: Settings, provider: str | None) -> None:
    """Entry point of the preparation process. Prints its own errors and exits with their exit code."""

    async def run() -> None:
        async with open_container(settings, *_load_providers(provider)) as container:
            try:
                if await prepare_search(settings, container):
                    announce(settings.log_format, "the bundled films are loaded")
            except StoreUnavailable as error:
                announce(settings.log_format, f"starting without the database: {error.detail}")

    sys.exit(exit_code_of(lambda: asyncio.run(run())))


def _bind(host: str, port: int) -> socket.socket:
    """Returns a listening socket. Raises `OSError` if the address is in use or invalid."""
    family, kind, proto, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[
        0
    ]
    sock = socket.socket(family, kind, proto)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen(2048)
    except OSError:
        sock.close()
        raise
    sock.setblocking(False)
    return sock


def served_app(settings: Settings, peers: Path | None = None, provider: str | None = None) -> "Application":
    """Returns the application of one server process; processes with the same `peers` directory share their metrics."""
    from movie_api.app import create_app

    configure_process(settings)
    return create_app(settings, *_load_providers(provider), peers=peers)
