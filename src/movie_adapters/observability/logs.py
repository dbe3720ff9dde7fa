"""Log lines of a process, on stderr, made by structlog: for people, or one JSON object a line."""

import asyncio
import json
import logging
import os
import stat
import sys
import time
from collections.abc import Callable, MutableMapping
from functools import lru_cache
from typing import Any, TextIO

import msgspec

_QUIET = {"httpcore": logging.WARNING, "httpx": logging.WARNING, "uvicorn.error": logging.CRITICAL + 1}
"""Loggers that say what we say ourselves, some of them with whole URLs, and the level from which they are heard."""

REQUESTS = "movie_api.access"
"""The logger of one line per request."""
WAIT_SECONDS = 0.1
"""How long a line may wait for others, so that a busy process writes many at once. Warnings never wait."""
MAX_WRITE = 4096
"""Characters written at once: as much as a pipe keeps in one piece when several processes share it."""
MAX_WRITE_TO_FILE = 65_536
"""The same for a file, which keeps any write in one piece, and to which a write costs more."""

Renderer = Callable[[object, str, MutableMapping[str, Any]], str]
"""The last of structlog's processors, which makes a line of what is told."""

_encode = msgspec.json.Encoder().encode


class Line(msgspec.Struct, omit_defaults=True):
    """The keys of a line in JSON, in their order."""

    time: str
    level: str
    logger: str
    event: str = msgspec.field(name="message")
    request_id: str | None = None
    user_id: str | None = None
    exception: str | None = msgspec.field(name="trace", default=None)


class BatchedHandler(logging.Handler):
    """Writes lines to stderr, several at once where an event loop runs; only a kill loses what still waits."""

    def __init__(self, render: Renderer) -> None:
        # Some 15 ms and 2 MiB, which a command that logs nothing does without.
        from structlog import stdlib
        from structlog.processors import add_log_level, format_exc_info

        super().__init__()
        self._lines: list[str] = []
        self._size = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        """Which will flush what waits."""
        self._most = MAX_WRITE_TO_FILE if _is_file(sys.stderr) else MAX_WRITE
        chain = (
            add_log_level,
            stdlib.add_logger_name,
            stdlib.ExtraAdder(["request_id", "user_id"]),
            format_exc_info,
            _only_known,
            render,
        )
        self.setFormatter(stdlib.ProcessorFormatter(processors=chain))
        self._render = render

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record)
        except Exception:  # noqa: BLE001  (what can't be told must not end what it is about)
            self.handleError(record)
            return
        self._add(line)
        if record.levelno >= logging.WARNING:
            self.flush()

    def log_request(self, request_id: str, message: str, user_id: str | None = None) -> None:
        """As a record at level INFO of the requests' logger would be told, at a fraction of its cost: what the chain
        does before its last processor is known here."""
        told = {"level": "info", "logger": REQUESTS, "event": message, "request_id": request_id, "user_id": user_id}
        self._add(self._render(None, "info", told))

    def _add(self, line: str) -> None:
        size = len(line) + 1
        self.acquire()
        try:
            if self._size + size > self._most:
                self.flush()
            self._lines.append(line)
            self._size += size
            loop = asyncio.get_running_loop()
            if loop is not self._loop:
                self._loop = loop
                loop.call_later(WAIT_SECONDS, self.flush)
        except RuntimeError:  # no loop would come back to this thread
            self.flush()
        finally:
            self.release()

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


def _is_file(stream: TextIO) -> bool:
    try:
        return stat.S_ISREG(os.fstat(stream.fileno()).st_mode)
    except (OSError, ValueError):  # no file at all, or closed
        return False


def _only_known(_logger: object, _method: str, told: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Without the record itself, and its stack where somebody asked for that."""
    return {key: told[key] for key in Line.__struct_fields__ if key in told}


def _console_line(_logger: object, _method: str, told: MutableMapping[str, Any]) -> str:
    """For people, without ids."""
    line = f"{_clock(int(time.time()))} {told['level'].upper():<7} {_printable(told['event'])}"
    return "\n".join((line, *map(_printable, told["exception"].split("\n")))) if "exception" in told else line


def _json_line(_logger: object, _method: str, told: MutableMapping[str, Any]) -> str:
    line = Line(time=_date(int(time.time() * 1000)), **told)
    try:
        text = _encode(line).decode()
        if text.isascii() and text.isprintable():
            return text
    except UnicodeEncodeError:  # half of a character
        pass
    # Several times slower, but it escapes whatever ends a line or commands a terminal.
    return json.dumps(msgspec.to_builtins(line), separators=(",", ":"))


@lru_cache(maxsize=1)  # as many lines have the same, under load
def _date(thousandths: int) -> str:
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(thousandths // 1000))}.{thousandths % 1000:03}+00:00"


@lru_cache(maxsize=1)
def _clock(second: int) -> str:
    return time.strftime("%H:%M:%S", time.localtime(second))


def _printable(text: str) -> str:
    """Without what ends a line or commands a terminal: some of it was written by strangers."""
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def configure_logging(form: str) -> None:
    """`console` or `json`, as in `MOVIE_LOG_FORMAT`; replaces what was configured before."""
    # No line tells these, and looking them up costs a request more than the rest of its line.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging._srcfile = None  # the way that the standard library's logging guide names
    handler = BatchedHandler(_json_line if form == "json" else _console_line)
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    for name, level in _QUIET.items():
        logging.getLogger(name).setLevel(level)


def announce(form: str, message: str) -> None:
    """Tell what a program has to say of itself, whether logging is set up or not."""
    told = {"level": "info", "logger": "movie_cli", "event": message}
    line = _json_line(None, "info", told) if form == "json" else f"movie-search: {message}"
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def request_log() -> Callable[[str, str, str | None], None] | None:
    """What writes a request's id, message and user as configured here; None where logging was configured elsewhere."""
    handlers = logging.getLogger().handlers
    if len(handlers) == 1 and isinstance(handlers[0], BatchedHandler):
        return handlers[0].log_request
    return None
