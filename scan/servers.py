"""The scanned server: a real one with the embedded adapters and without rate limits, with a user and a staff user."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.programs import WITHOUT_LIMITS, environment, make_staff, running, signed_up
from tests.support.servers import free_port, postgres_database, postgres_server


@dataclass(frozen=True, slots=True)
class Server:
    """A running server."""

    url: str
    log: Path
    user_token: str
    staff_token: str


@contextmanager
def serving(database: str = "SQLite", **settings: str) -> Iterator[Server]:
    """Start a server on `SQLite` or `PostgreSQL`; `settings` are environment variables."""
    if database == "PostgreSQL":
        with postgres_server() as server, postgres_database(server) as url, serving(MOVIE_DATABASE_URL=url) as found:
            yield found
        return
    with tempfile.TemporaryDirectory(prefix="scan-") as name:
        folder, port = Path(name), free_port()
        environ = environment() | WITHOUT_LIMITS | {"MOVIE_ACCESS_TTL": "1d"} | settings
        with running(folder, environ, port, "serve") as log:
            url = f"http://127.0.0.1:{port}"
            _, user = signed_up(url, folder)
            address, staff = signed_up(url, folder)
            make_staff(address, folder, environ)
            yield Server(url, log, user["access"], staff["access"])
