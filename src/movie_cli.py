"""The command line, `movie-search`: the same services as the API, for a terminal.

Exit codes: 0 done, 1 could not (also a search without a hit), 2 misuse or a wrong setting. An error is one line on
stderr that names the option or variable.
"""

import asyncio
import csv
import functools
import json
import logging
import multiprocessing
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, NoReturn, TypeVar

try:
    from cyclopts import App, CycloptsError, Group, Parameter
    from cyclopts.validators import Number
    from dishka import AsyncContainer
    from rich.cells import cell_len, set_cell_size
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
    from rich.table import Table
    from rich.text import Text

    from movie_adapters.catalogue.files import MovieFile
    from movie_adapters.observability.logs import announce, configure_logging
    from movie_adapters.settings.settings import SettingError, Settings
    from movie_adapters.wiring.providers import SharedRedis, create_container, prepare, prepare_schema
except ModuleNotFoundError as missing:
    sys.exit(f"movie-search: {missing.name} is not installed; install movie-search-backend[all]")

from movie_core.accounts.keyring import new_id
from movie_core.accounts.outbox import Letter, MailerAway, MailKind, MailRefused, MailState
from movie_core.accounts.services import Accounts
from movie_core.accounts.users import parse_address
from movie_core.discovery.recommendations import Progress as StepProgress
from movie_core.errors import Invalid, MovieError, StoreUnavailable, UserNotFound
from movie_core.operations.administration import Administration
from movie_core.operations.audit import COMMAND_LINE
from movie_core.operations.health import Readiness
from movie_core.paging import MAX_LIMIT, MAX_OFFSET, Window
from movie_core.ports import AddressSyntax, Catalogue, EntryStore, Mailer, Outbox, Person, RatingStore, Recommender
from movie_core.search.movie_search import Catalog
from movie_core.search.movies import Movie, MovieQuery, utc_now

if TYPE_CHECKING:
    from litestar import Litestar

T = TypeVar("T")

app = App(
    name="movie-search",
    help="Search movies held by a source that fails every now and then; serve that as an API.",
    version=lambda: version("movie-search-backend"),
    version_flags=["--version"],
    help_format="plaintext",
)
_MOVIES = Group.create_ordered("Movies")
_PROCESSES = Group.create_ordered("Processes")
_ACCOUNTS = Group.create_ordered("Accounts and mail")
_UPKEEP = Group.create_ordered("Upkeep")

catalogue_app = App(name="catalogue", help="The movies that are kept here.", group=_MOVIES)
users_app = App(name="users", help="Accounts, and registrations that wait for their activation.", group=_ACCOUNTS)
sessions_app = App(name="sessions", help="Where an account is logged in.", group=_ACCOUNTS)
audit_app = App(name="audit", help="What staff did, here and through the API.", group=_ACCOUNTS)
tasks_app = App(name="tasks", help="What waits in Redis for the worker.", group=_UPKEEP)
cache_app = App(name="cache", help="Answers of the movie source that all processes remember together.", group=_UPKEEP)
recommend_app = App(name="recommend", help="What recommendations are learned from ratings.", group=_MOVIES)
mail_app = App(name="mail", help="Mails, until they are sent and for a while after.", group=_ACCOUNTS)
for _part in (catalogue_app, recommend_app, users_app, sessions_app, mail_app, audit_app, cache_app, tasks_app):
    app.command(_part)

_out = Console(markup=False, emoji=False)  # titles have brackets and colons
_err = Console(stderr=True)


class Misuse(Exception):
    """The command can't be carried out as it was given; exit 2."""


class CouldNot(Exception):
    """The command was fine but could not be carried out; exit 1."""


@asynccontextmanager
async def _container(settings: Settings) -> AsyncIterator[AsyncContainer]:
    container = create_container(settings)
    try:
        yield container
    finally:
        await container.close()


@contextmanager
def _steps() -> Iterator[StepProgress]:
    """As `_progress`, for work that says itself what it is doing, and which part of that is done."""
    with _progress("") as progress:
        yield lambda step, part: progress(round(1000 * part), 1000, step)


@contextmanager
def _progress(what: str) -> Iterator[Callable[..., None]]:
    """A bar on stderr from the first step to the end, told what is done, of how much, and if need be of what; none
    where stderr is no terminal."""
    bars = Progress(
        TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn(), console=_err
    )
    task = bars.add_task(what)

    def step(done: int, total: int, now: str = what) -> None:
        if not bars.live.is_started and _err.is_terminal:
            bars.start()
        bars.update(task, completed=done, total=total, description=now)

    try:
        yield step
    finally:
        if bars.live.is_started:
            bars.stop()


async def _prepare(settings: Settings, container: AsyncContainer) -> bool:
    """What a command needs before it can search; True when films were loaded."""
    with _progress("making the bundled films searchable") as progress:
        return await prepare(settings, await container.get(Catalogue), progress)


@app.command(group=_PROCESSES)
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
        raise Misuse("--workers: more than one needs MOVIE_REDIS_URL")
    try:
        listening = _bind(host, port)
    except OSError as error:
        raise CouldNot(f"--port: can't listen on {host}:{port}: {(error.strerror or str(error)).lower()}") from None

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
        with TemporaryDirectory(prefix="movie-search-") as siblings:
            make = functools.partial(served_app, settings, Path(siblings))
            code = serve_many(make, listening, workers, tell)
    if code:
        raise CouldNot("serving ended because a process could not go on; its log says why")


@app.command(group=_PROCESSES)
def worker() -> None:
    """Deliver mail and do what else `serve` leaves to a queue, until SIGTERM or SIGINT; needs MOVIE_REDIS_URL."""
    settings = _settings_of_a_queue()
    from movie_worker.app import run_worker

    _end_well(run_worker(settings, lambda: _announce_worker(settings)))


@app.command(group=_PROCESSES)
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
        raise Misuse("MOVIE_REDIS_URL must be set; without it `serve` does this work itself")
    configure_logging(settings.log_format)
    return settings


def _announce_worker(settings: Settings) -> None:
    announce(settings.log_format, "working")
    _say_where_mails_go(settings)


def _end_well(code: int) -> None:
    if code:
        raise CouldNot("the process could not go on; its log says why")


def _say_where_mails_go(settings: Settings) -> None:
    if settings.shows_links:
        _say(f"no MOVIE_SMTP_URL: mails are kept in {settings.data_dir / 'mail'} and their links are shown here")


def _prepare_alone(settings: Settings) -> None:
    """What a process that only prepares does. It tells what went wrong itself, and ends with the exit code of that."""

    async def run() -> None:
        async with _container(settings) as container:
            try:
                if await _prepare(settings, container):
                    announce(settings.log_format, "the bundled films are searchable")
            except StoreUnavailable as away:
                announce(settings.log_format, f"starting without the database: {away.detail}")

    sys.exit(_done(lambda: asyncio.run(run())))


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


def served_app(settings: Settings, siblings: Path | None = None) -> "Litestar":
    """The application as a serving process runs it, beside those that share the folder."""
    from movie_api.app import create_app

    configure_logging(settings.log_format)
    return create_app(settings, siblings=siblings)


def _say(line: str) -> None:
    announce("console", line)


@app.command(group=_MOVIES)
def search(
    query: str,
    *,
    limit: Annotated[int, Parameter(validator=Number(gte=1, lte=100))] = 10,
    offset: Annotated[int, Parameter(validator=Number(gte=0, lte=10_000))] = 0,
    year: str | None = None,
    genre: str | None = None,
    order: str | None = None,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Search movies and print a page of them.

    Parameters
    ----------
    query
        What to look for; an empty one finds all movies.
    limit
        Movies on the page, 1 to 100.
    offset
        Movies to pass over, 0 to 10000.
    year
        A year, or a range such as 1990..1999.
    genre
        A genre's name.
    order
        relevance, popularity or year.
    json
        Print what the API answers, for scripts.
    """
    asked = MovieQuery.parse(query, year=year, genre=genre, order=order)
    window = Window(offset, limit)

    async def run() -> None:
        settings = Settings.load()
        async with _container(settings) as container:
            await _prepare(settings, container)
            page = await (await container.get(Catalog)).search(asked, window)
        if json:
            from movie_api.routes.movies import (  # brings the whole framework, which a table does without
                Asked,
                render_page,
            )

            sys.stdout.write(render_page(page, Asked(asked, window), settings.public_url).body.decode() + "\n")
            return
        table = Table(box=None, pad_edge=False, header_style="bold")
        for heading in ("title", "year", "genres", "directors", "id"):
            table.add_column(heading, overflow="fold", justify="right" if heading == "year" else "left")
        for movie in page.items:
            year_shown = "" if movie.year is None else str(movie.year)
            table.add_row(movie.title, year_shown, ", ".join(movie.genres), ", ".join(movie.directors), movie.id)
        _out.print(table)
        _out.print(
            f"{offset + 1} to {offset + len(page.items)} of {page.total}, from {page.source}",
            style="dim",
            highlight=False,
        )

    asyncio.run(run())


@app.command(group=_PROCESSES)
def upstream(
    *,
    host: str = "127.0.0.1",
    port: Annotated[int, Parameter(validator=Number(gte=0, lte=65_535))] = 9000,
    fail_rate: Annotated[float, Parameter(validator=Number(gte=0, lte=1))] = 0.3,
    latency_ms: Annotated[float, Parameter(validator=Number(gte=0, lte=60_000))] = 50,
    faults: str | None = None,
    retry_after: str | None = None,
    seed: int | None = None,
) -> None:
    """Stand in for the third party, failing as it does.

    It answers `GET /movies/?skip=&limit=&query=` from the bundled films. `POST /_control` changes its behaviour while
    it runs, `GET /_calls` tells what it was asked.

    Parameters
    ----------
    host
        Address to listen on.
    port
        Port to listen on; 0 takes a free one.
    fail_rate
        Share of calls that fail, 0 to 1.
    latency_ms
        Milliseconds before each answer.
    faults
        How calls fail, separated by commas: statuses, and what docs/sources.md lists. Default: 400 to 409 at random.
    retry_after
        Retry-After header of each 429 and 503.
    seed
        Makes the randomness repeatable.
    """
    from movie_adapters.catalogue.files import bundled_films
    from movie_standin.server import Behaviour, serve_upstream

    changes: dict[str, object] = {
        "fail_rate": fail_rate, "latency_ms": latency_ms, "retry_after": retry_after, "seed": seed
    }  # fmt: skip
    if faults is not None:
        changes["faults"] = [fault.strip() for fault in faults.split(",")]
    try:
        behaviour = Behaviour().changed(changes)
    except ValueError as error:
        raise Misuse(f"--faults: {error}") from None
    asyncio.run(serve_upstream(bundled_films(), behaviour, host=host, port=port))


@app.command(group=_UPKEEP)
def migrate() -> None:
    """Bring the database's schema up to date; with the embedded source, make the bundled films searchable."""

    async def run() -> None:
        settings = Settings.load()
        async with _container(settings) as container:
            await _prepare(settings, container)
        _out.print("the database is up to date")

    asyncio.run(run())


@catalogue_app.command(name="import")
def import_file(file: Path, *, replace: Annotated[bool, Parameter(negative=())] = False) -> None:
    """Add the movies of a file, or update those that are there.

    Parameters
    ----------
    file
        CSV, TSV or JSON lines, gzipped or not; also IMDb's title.basics.tsv and MovieLens' movies.csv. What belongs
        to it (title.ratings.tsv, links.csv) is read from the same folder.
    replace
        Drop the movies that the file lacks.
    """

    async def run() -> None:
        settings = Settings.load()
        read = MovieFile(file)
        async with _container(settings) as container:
            catalogue = await container.get(Catalogue)
            if replace:
                await prepare_schema(settings)
            else:
                await _prepare(settings, container)
            with _progress(f"importing {file.name}") as progress:

                def counted() -> Iterator[Movie]:
                    for done, movie in enumerate(read, 1):
                        if done % 1000 == 0:
                            progress(read.bytes_read, read.bytes_total)
                        yield movie

                loaded = await catalogue.load(counted(), replace=replace, edition="imported" if replace else None)
            count = await catalogue.count()
        _out.print(
            f"{loaded.added} added, {loaded.updated} updated, {loaded.unchanged} unchanged, {loaded.removed} removed; "
            f"{read.reasons.total()} rows rejected, {read.left_out.total()} left out; {count} movies now",
            highlight=False,
        )
        for rejected in read.rejected:
            _err.print(f"row {rejected.row}: {rejected.code}: {rejected.detail}", highlight=False, markup=False)
        if read.reasons.total() > len(read.rejected):
            _err.print("rejected in all: " + ", ".join(f"{n} {code}" for code, n in read.reasons.most_common()))

    asyncio.run(run())


@catalogue_app.command
def info() -> None:
    """Tell how many movies are kept, and which edition."""

    async def run() -> None:
        settings = Settings.load()
        async with _container(settings) as container:
            await _prepare(settings, container)
            catalogue = await container.get(Catalogue)
            count, edition, genres = await catalogue.count(), await catalogue.edition(), await catalogue.genres()
        table = Table(box=None, pad_edge=False, show_header=False)
        most = sorted(genres, key=lambda genre: -genre.movies)[:5]
        for name, value in (
            ("source", settings.source),
            ("movies", str(count)),
            ("edition", edition or "none"),
            ("genres", f"{len(genres)}, most of all " + ", ".join(genre.name for genre in most) if most else "none"),
        ):
            table.add_row(name, value)
        _out.print(table)

    asyncio.run(run())


# --- recommendations


@recommend_app.command
def train() -> None:
    """Learn from all ratings now. Every running process answers by the new model within a minute."""

    async def run() -> None:
        async with _beside_serve() as container:
            with _steps() as progress:
                made = await (await container.get(Recommender)).train(progress)
        _tell_done(f"learned from ratings: {made.ratings}, of users: {made.users}; movies in the model: {made.movies}")

    asyncio.run(run())


@recommend_app.command
def evaluate(file: Path | None = None, /) -> None:
    """Tell how good recommendations are on held-back ratings, beside simpler methods.

    Parameters
    ----------
    file
        Ratings in MovieLens' form, userId,movieId,rating,timestamp; years and genres from a movies.csv beside it.
        Left out: the ratings that are kept here.
    """
    from movie_adapters.recommender.evaluation import PROTOCOLS_TOLD, TooFewRatings
    from movie_adapters.recommender.evaluation import evaluate as evaluate_file

    try:
        with TemporaryDirectory() as folder, _steps() as progress:
            told = evaluate_file(file or asyncio.run(_write_own_ratings(Path(folder))), progress)
    except TooFewRatings as few:
        raise CouldNot(str(few)) from None
    _tell_done(f"ratings: {told.ratings}, movies: {told.movies}, users: {told.users}; rows passed over: {told.skipped}")
    for protocol, meaning in PROTOCOLS_TOLD.items():
        _tell_done(f"{protocol}: {meaning}")
    _print_lines(
        ("protocol", "method", "users", "nDCG@10", "Recall@20", "coverage@10", "fit s", "p50 ms", "p99 ms"),
        [
            (
                row.protocol,
                row.method,
                str(row.users),
                *(f"{value:.4f}" for value in (row.ndcg, row.recall, row.coverage)),
                f"{row.fit_seconds:.2f}",
                f"{row.p50_ms:.2f}",
                f"{row.p99_ms:.2f}",
            )
            for row in told.rows
        ],
        is_headed=True,
    )


async def _write_own_ratings(folder: Path) -> Path:
    """The ratings that are kept here, as a file in MovieLens' form with its movies beside it."""
    async with _beside_serve() as container:
        store, catalogue = await container.get(RatingStore), await container.get(Catalogue)
        titles: dict[str, str] = {}
        with (folder / "ratings.csv").open("w", encoding="utf-8", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(("userId", "movieId", "rating", "timestamp"))
            async for batch in store.everyone():
                for user_id, rating in batch:
                    rows.writerow((user_id, rating.movie_id, rating.rating / 2, rating.rated_at.timestamp()))
                    titles[rating.movie_id] = rating.title
        known = await catalogue.of_ids(titles)
    with (folder / "movies.csv").open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("movieId", "title", "genres"))
        for movie in known.values():
            year = "" if movie.year is None else f" ({movie.year})"
            rows.writerow((movie.id, movie.title + year, "|".join(movie.genres)))
    return folder / "ratings.csv"


# --- accounts and mail: each of these works beside a running `serve`, on the same database


@asynccontextmanager
async def _beside_serve() -> AsyncIterator[AsyncContainer]:
    """A container over a database whose schema is up to date."""
    settings = Settings.load()
    await prepare_schema(settings)
    async with _container(settings) as container:
        yield container


def _with_accounts(work: Callable[[Accounts], Awaitable[T]]) -> T:
    async def run() -> T:
        async with _beside_serve() as container:
            return await work(await container.get(Accounts))

    return asyncio.run(run())


def _as_staff(work: Callable[[Administration], Awaitable[T]]) -> T:
    """What is done this way is kept in the audit log."""

    async def run() -> T:
        async with _beside_serve() as container:
            return await work(await container.get(Administration))

    return asyncio.run(run())


@users_app.command(name="list")
def list_users(email: str | None = None, /) -> None:
    """Print a line per account or waiting registration, newest first: address, username, state, staff, created, last
    login.

    Parameters
    ----------
    email
        Only those of this address.
    """

    async def work(accounts: Accounts) -> list[Person]:
        people: dict[str, Person] = {}  # who registers meanwhile moves the others on, some of them to the next page
        for offset in range(0, MAX_OFFSET + 1, MAX_LIMIT):
            _, page = await accounts.people(Window(offset, MAX_LIMIT), email)
            people |= {person.id: person for person in page}
            if len(page) < MAX_LIMIT:
                return list(people.values())
        _say(f"only the newest {len(people)} are shown; name an address to see others")
        return list(people.values())

    people = _with_accounts(work)
    if email is not None and not people:
        raise UserNotFound("nobody has this address")
    _print_lines(
        ("address", "username", "state", "staff", "created", "last login"),
        [
            (
                person.address.spelling,
                person.username.shown,
                "pending" if person.is_pending else "active" if person.is_active else "inactive",
                "staff" if person.is_staff else "",
                _time(person.created_at),
                _time(person.last_login),
            )
            for person in people
        ],
    )


@users_app.command
def activate(email: str, /) -> None:
    """Let an address log in, as the newest link mailed to it would; or an account that was deactivated.

    Parameters
    ----------
    email
        Address of the account or registration.
    """
    _as_staff(lambda administration: administration.set_active(COMMAND_LINE, email, True))
    _tell_done(f"{email} is active")


@users_app.command
def deactivate(email: str, /) -> None:
    """Let an account log in no more, and end its sessions.

    Parameters
    ----------
    email
        Address of the account.
    """
    _as_staff(lambda administration: administration.set_active(COMMAND_LINE, email, False))
    _tell_done(f"{email} is inactive")


@users_app.command
def staff(email: str, /, *, remove: Annotated[bool, Parameter(negative=())] = False) -> None:
    """Make an account staff, who may see what operators see.

    Parameters
    ----------
    email
        Address of the account.
    remove
        Take it back.
    """
    _as_staff(lambda administration: administration.set_staff(COMMAND_LINE, email, not remove))
    _tell_done(f"{email} is {'not staff any more' if remove else 'staff'}")


@users_app.command
def export(email: str, /) -> None:
    """Print everything stored about an address, as JSON.

    Parameters
    ----------
    email
        Address of the account or registration.
    """
    stored = _with_accounts(lambda accounts: accounts.export_of(email))
    sys.stdout.write(json.dumps(stored, indent=2, ensure_ascii=False) + "\n")


@users_app.command
def erase(email: str, /, *, yes: Annotated[bool, Parameter(negative=())] = False) -> None:
    """Remove everything stored about an address for good: account, registrations, sessions and mails.

    Parameters
    ----------
    email
        Address of the account or registration.
    yes
        Don't ask; needed where nobody can be asked.
    """
    if not yes:
        if not sys.stdin.isatty():
            raise Misuse("--yes: must be given where nobody can be asked")
        sys.stderr.write(f"Remove everything about {_plain(email)} for good? [y/N] ")
        sys.stderr.flush()
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            raise CouldNot("nothing was removed")
    _as_staff(lambda administration: administration.erase(COMMAND_LINE, email))
    _tell_done(f"{email} is erased")


@sessions_app.command(name="list")
def list_sessions(email: str, /) -> None:
    """Print a line per session, the one used last first: id, device, start, last use.

    Parameters
    ----------
    email
        Address of the account.
    """
    sessions = _with_accounts(lambda accounts: accounts.sessions_of(email))
    _print_lines(
        ("id", "device", "started", "last used"),
        [(one.id, one.device, _time(one.created_at), _time(one.last_used_at)) for one in sessions],
    )


@sessions_app.command(name="end")
def end_sessions(email: str, /) -> None:
    """Log an account out everywhere.

    Parameters
    ----------
    email
        Address of the account.
    """
    ended = _as_staff(lambda administration: administration.end_sessions(COMMAND_LINE, email))
    _tell_done(f"sessions ended: {ended}")


@mail_app.command(name="list")
def list_mails(
    *,
    state: MailState | None = None,
    limit: Annotated[int, Parameter(validator=Number(gte=1, lte=MAX_LIMIT))] = 20,
) -> None:
    """Print a line per mail, newest first: id, state, tries, recipient, kind, time, last error.

    Parameters
    ----------
    state
        Only mails in this state; dead ones were given up.
    limit
        Lines, 1 to 100.
    """

    async def run() -> None:
        async with _beside_serve() as container:
            _, mails = await (await container.get(Outbox)).mails(Window(limit=limit), state)
        _print_lines(
            ("id", "state", "tries", "recipient", "kind", "created", "last error"),
            [
                (
                    mail.id,
                    mail.state.value,
                    str(mail.attempts),
                    mail.recipient,
                    mail.kind.value,
                    _time(mail.created_at),
                    mail.last_error,
                )
                for mail in mails
            ],
        )

    asyncio.run(run())


@mail_app.command
def retry(*ids: str, all: Annotated[bool, Parameter(negative=())] = False) -> None:
    """Try dead mails again. Whatever delivers mail does so within seconds.

    Parameters
    ----------
    ids
        Which ones, as `mail list` shows them.
    all
        Every dead mail.
    """
    if all == bool(ids):
        raise Misuse("--all: give either this or the ids of mails")
    wanted = sorted(set(ids))
    known = None if all else [one for one in wanted if one.isascii()]  # an argument may be bytes that are no text
    due = len(_as_staff(lambda administration: administration.retry(COMMAND_LINE, known)))
    if due < len(wanted):
        raise CouldNot(f"mails to be tried again: {due} of {len(wanted)}; the others are not dead, or not there")
    _tell_done(f"mails to be tried again: {due}")


@mail_app.command
def test(email: str, /) -> None:
    """Send a test mail at once, and tell what the mail server says.

    Parameters
    ----------
    email
        Where to.
    """

    async def run() -> str:
        settings = Settings.load()
        async with _container(settings) as container:
            address = parse_address(email, await container.get(AddressSyntax))
            letter = Letter(new_id(), MailKind.TEST, address.spelling, utc_now(), ())
            try:
                await (await container.get(Mailer)).send(letter)
            except (MailRefused, MailerAway) as error:
                raise CouldNot(f"the test mail was not sent: {error.detail}") from None
        if settings.smtp_url is None:
            return f"no MOVIE_SMTP_URL: the test mail is kept in {settings.data_dir / 'mail'}"
        return f"the mail server has taken a test mail to {email}"

    _tell_done(asyncio.run(run()))


@audit_app.command(name="list")
def list_audit(
    *,
    limit: Annotated[int, Parameter(validator=Number(gte=1, lte=MAX_LIMIT))] = 20,
    offset: Annotated[int, Parameter(validator=Number(gte=0, lte=MAX_OFFSET))] = 0,
) -> None:
    """Print a line per deed of staff, newest first: time, who (id of an account, or command line), what, id of the
    account or mail that it was about.

    Parameters
    ----------
    limit
        Lines, 1 to 100.
    offset
        Deeds to pass over, 0 to 10000.
    """
    _, entries = _as_staff(lambda administration: administration.audit(Window(offset, limit)))
    _print_lines(
        ("time", "who", "what", "about"),
        [(_time(one.at), one.actor, one.action.value, one.account_id or one.mail_id or "") for one in entries],
    )


# --- upkeep


def _with_entries(work: Callable[[EntryStore, AsyncContainer], Awaitable[T]]) -> T:
    async def run() -> T:
        async with _container(Settings.load()) as container:
            entries = (await container.get(SharedRedis)).entries()
            if entries is None:
                raise CouldNot(
                    "without MOVIE_REDIS_URL or MOVIE_CACHE_REDIS_URL each process remembers for itself and can't be "
                    "reached; restarting it empties its cache"
                )
            return await work(entries, container)

    return asyncio.run(run())


@cache_app.command(name="stats")
def cache_stats() -> None:
    """Tell how many answers are remembered in Redis, and how much memory they take there."""
    told = _with_entries(lambda entries, _: entries.stats())
    _print_lines(("answers", "KiB"), [(str(told.entries), str(-(-told.bytes // 1024)))])


@cache_app.command(name="flush")
def flush_cache() -> None:
    """Forget what is remembered in Redis; every running process follows within two seconds."""

    async def flush(entries: EntryStore, container: AsyncContainer) -> int:
        with suppress(StoreUnavailable):  # the cache can be flushed without the database, and what lacks then is told
            await prepare_schema(await container.get(Settings))
        return await (await container.get(Administration)).flush(COMMAND_LINE, entries)

    _tell_done(f"answers forgotten: {_with_entries(flush)}")


@tasks_app.command(name="list")
def list_tasks() -> None:
    """Print a line per task that is queued or being done, oldest first: id, task, state, seconds since it was queued,
    times it was handed out."""
    settings = Settings.load()
    if settings.redis_url is None:
        raise CouldNot("without MOVIE_REDIS_URL there is no queue; `serve` does the work itself")
    from movie_adapters.redis.task_queue import TaskQueue

    async def run(url: str) -> None:
        queue = TaskQueue(url, settings.key_prefix)
        try:
            tasks = await queue.listed()
        finally:
            await queue.close()
        _print_lines(
            ("id", "task", "state", "age s", "handed out"),
            [
                (one.id, one.name, "taken" if one.deliveries else "queued", f"{one.age:.0f}", str(one.deliveries))
                for one in tasks
            ],
        )

    asyncio.run(run(settings.redis_url))


def _print_lines(headings: Sequence[str], rows: Sequence[Sequence[str]], *, is_headed: bool = False) -> None:
    """A line per row, never folded: columns under headings on a terminal, tabs between them for programs, with the
    headings only where `is_headed`."""
    cells = [[_plain(cell) or "-" for cell in row] for row in rows]
    if sys.stdout.isatty():
        cells = [list(headings), *cells]
        widths = [max(map(cell_len, column)) for column in zip(*cells, strict=True)]
        lines = ["  ".join(map(set_cell_size, row, widths)).rstrip() for row in cells]
    else:
        lines = ["\t".join(row) for row in ([list(headings)] if is_headed else []) + cells]
    sys.stdout.writelines(f"{line}\n" for line in lines)


def _tell_done(line: str) -> None:
    sys.stdout.write(_plain(line) + "\n")


def _time(at: datetime | None) -> str:
    return "" if at is None else f"{at:%Y-%m-%dT%H:%M:%SZ}"


def _plain(text: str) -> str:
    """On one line, without what a terminal would obey: much of it was written by strangers."""
    return "".join(c if c.isprintable() else "?" for c in " ".join(text.split()))


@app.command(group=_UPKEEP)
def config() -> None:
    """Print every setting, its value (redacted where secret), and where it comes from."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("setting", "value", "from"):
        table.add_column(heading, overflow="fold")
    for row in Settings.load().explain():
        table.add_row(*row)
    _out.print(table)


@app.command(group=_UPKEEP)
def doctor() -> None:
    """Reach each part and say what to do about those that are away."""

    async def run() -> bool:
        settings = Settings.load()
        async with _container(settings) as container:
            with suppress(StoreUnavailable):  # told below, with advice
                await _prepare(settings, container)
            findings = await (await container.get(Readiness)).findings()
        for finding in findings:
            sign = Text("ok  ", "green") if finding.is_reached else Text("away", "red")
            _out.print(sign, end="  ")
            _out.print(f"{finding.part.name}: {finding.detail}", highlight=False)
            if not finding.is_reached:
                _out.print(f"      {finding.part.advice}", highlight=False)
        return all(finding.is_reached for finding in findings)

    if not asyncio.run(run()):
        raise CouldNot("not every part can be reached")


def main() -> NoReturn:
    """Run the command that the arguments name."""
    logging.getLogger().addHandler(logging.NullHandler())  # errors say what matters; `serve` sets up logging itself
    sys.exit(_done(lambda: app(exit_on_error=False, print_error=False, result_action="return_value")))


def _done(work: Callable[[], object]) -> int:
    """The exit code of some work; an error is told in one line."""
    try:
        work()
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        return 130
    except (CycloptsError, SettingError, Misuse, Invalid) as error:
        return _tell(2, error)
    except (MovieError, CouldNot, OSError) as error:
        return _tell(1, error)
    return 0


def _tell(code: int, error: Exception) -> int:
    field = error.field if isinstance(error, Invalid) else None
    where = "" if field in (None, "query") else "EMAIL: " if field == "email" else f"--{field}: "
    _say(f"{where}{_plain(str(error))}")
    return code


if __name__ == "__main__":
    main()
