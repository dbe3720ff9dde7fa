"""Log lines of a process, on stderr: for people, or one JSON object a line."""

import asyncio
import json
import logging
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime

_QUIET = {"httpcore": logging.WARNING, "httpx": logging.WARNING, "uvicorn.error": logging.CRITICAL + 1}
"""Loggers that say what we say ourselves, some of them with whole URLs, and the level from which they are heard."""

REQUESTS = "movie_api.access"
"""The logger of one line per request."""
WAIT_SECONDS = 0.1
"""How long a line may wait for others, so that a busy process writes many at once. Warnings never wait."""
MAX_WRITE = 4096
"""Characters written at once: as much as a pipe keeps in one piece when several processes share it."""


class BatchedHandler(logging.Handler):
    """Writes lines to stderr, several at once where an event loop runs; only a kill loses what still waits."""

    def __init__(self, lines_of: "ConsoleFormatter | JsonFormatter") -> None:
        super().__init__()
        self.setFormatter(lines_of)
        self._lines_of = lines_of
        self._lines: list[str] = []
        self._size = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        """Which will flush what waits."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record)
        except Exception:  # noqa: BLE001  (what can't be told must not end what it is about)
            self.handleError(record)
            return
        self._add(line)
        if record.levelno >= logging.WARNING:
            self.flush()

    def tell_request(self, request_id: str, message: str, user_id: str | None = None) -> None:
        """As a record at level INFO of the requests' logger would be told, for a tenth of its cost: making one takes
        longer than everything else that is done for a request."""
        line = self._lines_of.line(time.time(), "INFO", REQUESTS, message, request_id, user_id)
        self.acquire()  # as the library does for `emit`
        try:
            self._add(line)
        finally:
            self.release()

    def _add(self, line: str) -> None:
        size = len(line) + 1
        if self._size + size > MAX_WRITE:
            self.flush()
        self._lines.append(line)
        self._size += size
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # nothing would come back to this thread
            self.flush()
            return
        if loop is not self._loop:
            self._loop = loop
            loop.call_later(WAIT_SECONDS, self.flush)

    def flush(self) -> None:
        self.acquire()
        try:
            lines, self._lines, self._size, self._loop = self._lines, [], 0, None
            if lines:
                sys.stderr.write("\n".join(lines) + "\n")
                sys.stderr.flush()
        except (OSError, ValueError):  # stderr is closed: nobody is left to tell
            pass
        finally:
            self.release()

    def close(self) -> None:
        self.flush()
        super().close()


class ConsoleFormatter(logging.Formatter):
    """A line for people, without ids; the time is made once a second."""

    def __init__(self) -> None:
        super().__init__()
        self._second, self._shown = 0, ""

    def format(self, record: logging.LogRecord) -> str:
        told = self.line(record.created, record.levelname, record.name, record.getMessage())
        if not record.exc_info:
            return told
        trace = self.formatException(record.exc_info).split("\n")
        return "\n".join((told, *map(_printable, trace)))

    def line(
        self,
        created: float,
        level: str,
        name: str,
        message: str,
        request_id: str | None = None,
        user_id: str | None = None,
    ) -> str:
        if int(created) != self._second:
            self._second, self._shown = int(created), time.strftime("%H:%M:%S", time.localtime(created))
        return f"{self._shown} {level:<7} {_printable(message)}"


class JsonFormatter(logging.Formatter):
    """One JSON object, always on one line."""

    def format(self, record: logging.LogRecord) -> str:
        trace = self.formatException(record.exc_info) if record.exc_info else None
        request_id, user_id = getattr(record, "request_id", None), getattr(record, "user_id", None)
        return self.line(record.created, record.levelname, record.name, record.getMessage(), request_id, user_id, trace)

    def line(
        self,
        created: float,
        level: str,
        name: str,
        message: str,
        request_id: str | None = None,
        user_id: str | None = None,
        trace: str | None = None,
    ) -> str:
        told = {
            "time": datetime.fromtimestamp(created, UTC).isoformat(timespec="milliseconds"),
            "level": level.lower(),
            "logger": name,
            "message": message,
        }
        if request_id is not None:
            told["request_id"] = request_id
        if user_id is not None:
            told["user_id"] = user_id
        if trace is not None:
            told["trace"] = trace
        return json.dumps(told)


def _printable(text: str) -> str:
    """Without what ends a line or commands a terminal: some of it was written by strangers."""
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def configure_logging(form: str) -> None:
    """`console` or `json`, as in `MOVIE_LOG_FORMAT`; replaces what was configured before."""
    # No line tells these, and looking them up costs a request more than the rest of its line.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging._srcfile = None  # the way that the standard library's logging guide names
    handler = BatchedHandler(JsonFormatter() if form == "json" else ConsoleFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    for name, level in _QUIET.items():
        logging.getLogger(name).setLevel(level)


def announce(form: str, message: str) -> None:
    """Tell what a program has to say of itself, whether logging is set up or not."""
    is_json = form == "json"
    line = JsonFormatter().line(time.time(), "INFO", "movie_cli", message) if is_json else f"movie-search: {message}"
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def request_log() -> Callable[[str, str, str | None], None] | None:
    """What writes a request's id, message and user as configured here; None where logging was configured elsewhere."""
    handlers = logging.getLogger().handlers
    if len(handlers) == 1 and isinstance(handlers[0], BatchedHandler):
        return handlers[0].tell_request
    return None
