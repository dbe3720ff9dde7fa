"""`serve`, `worker` and `scheduler`."""

import asyncio
import functools
import multiprocessing
import signal
import socket
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from movie_adapters.observability.logs import announce, configure_logging
from movie_adapters.settings.settings import Settings
from movie_cli.app import PROCESSES, app
from movie_cli.output import CommandError, UsageError, exit_code_of, say
from movie_cli.services import open_container, prepare_search
from movie_core.errors import StoreUnavailable

if TYPE_CHECKING:
    from litestar import Litestar


@app.command(group=PROCESSES)
def serve(
    *,
    host: str = "127.0.0.1",
    port: Annotated[int, Parameter(validator=Number(gte=1, lte=65_535))] = 8000,
    workers: Annotated[int, Parameter(validator=Number(gte=1, lte=64))] = 1,
) -> None:
    """Serve the API until SIGTERM or SIGINT.

    Parameters
    ----------
    host
        Address to listen on.
    port
        Port to listen on.
    workers
        Processes; more than one needs MOVIE_REDIS_URL.
    """
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(0))  # until the server has its own handlers
    settings = Settings.load(port=port)
    if workers > 1 and settings.redis_url is None:
        raise UsageError("--workers: more than one needs MOVIE_REDIS_URL")
    try:
        listening = _bind(host, port)
    except OSError as error:
        raise CommandError(f"--port: can't listen on {host}:{port}: {(error.strerror or str(error)).lower()}") from None

    def tell() -> None:
        form = settings.log_format
        announce(
            form, f"serving {settings.source} at {settings.public_url}, documentation at {settings.public_url}/docs"
        )
        if settings.public_search:
            announce(form, "search is public: MOVIE_PUBLIC_SEARCH is on, so nobody needs a token")
        if settings.redis_url is None:
            _say_where_mails_go(settings)

    # In a process of its own, beside the import of the framework: a first start takes a second less, and what loading
    # needs of memory doesn't stay.
    if "fork" in multiprocessing.get_all_start_methods():
        multiprocessing.set_start_method("fork")
    preparing = multiprocessing.Process(target=_prepare_alone, args=(settings,), daemon=True)
    preparing.start()
    from movie_api.server.protocol import serve_many, serve_one

    preparing.join()
    if preparing.exitcode:
        sys.exit(preparing.exitcode)
    if workers == 1:
        code = serve_one(functools.partial(served_app, settings), listening, tell)
    else:
        with TemporaryDirectory(prefix="movie-search-") as peers:
            make = functools.partial(served_app, settings, Path(peers))
            code = serve_many(make, listening, workers, tell)
    if code:
        raise CommandError("serving ended because a process could not go on; its log says why")


@app.command(group=PROCESSES)
def worker() -> None:
    """Deliver mail and do what else `serve` leaves to a queue, until SIGTERM or SIGINT; needs MOVIE_REDIS_URL."""
    settings = _settings_of_a_queue()
    from movie_worker.app import run_worker

    _end_well(run_worker(settings, lambda: _announce_worker(settings)))


@app.command(group=PROCESSES)
def scheduler() -> None:
    """Queue what is due from time to time, until SIGTERM or SIGINT; needs MOVIE_REDIS_URL. One is enough."""
    settings = _settings_of_a_queue()
    from movie_worker.app import run_scheduler

    _end_well(run_scheduler(settings, lambda: announce(settings.log_format, "scheduling")))


def _settings_of_a_queue() -> Settings:
    """What the worker and the scheduler begin with."""
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(0))  # until they have their own handlers
    settings = Settings.load()
    if settings.redis_url is None:
        raise UsageError("MOVIE_REDIS_URL must be set; without it `serve` does this work itself")
    configure_logging(settings.log_format)
    return settings


def _announce_worker(settings: Settings) -> None:
    announce(settings.log_format, "working")
    _say_where_mails_go(settings)


def _end_well(code: int) -> None:
    if code:
        raise CommandError("the process could not go on; its log says why")


def _say_where_mails_go(settings: Settings) -> None:
    if settings.shows_links:
        say(f"no MOVIE_SMTP_URL: mails are kept in {settings.data_dir / 'mail'} and their links are shown here")


def _prepare_alone(settings: Settings) -> None:
    """What a process that only prepares does. It tells what went wrong itself, and ends with the exit code of that."""

    async def run() -> None:
        async with open_container(settings) as container:
            try:
                if await prepare_search(settings, container):
                    announce(settings.log_format, "the bundled films are searchable")
            except StoreUnavailable as away:
                announce(settings.log_format, f"starting without the database: {away.detail}")

    sys.exit(exit_code_of(lambda: asyncio.run(run())))


def _bind(host: str, port: int) -> socket.socket:
    """A listening socket; OSError when the address is taken or wrong."""
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


def served_app(settings: Settings, peers: Path | None = None) -> "Litestar":
    """The application as a serving process runs it, beside those that share the folder."""
    from movie_api.app import create_app

    configure_logging(settings.log_format)
    return create_app(settings, peers=peers)
