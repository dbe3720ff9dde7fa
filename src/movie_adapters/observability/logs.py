"""Logging to stderr, rendered by structlog: plain lines for a console, or one JSON object per line."""

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

_QUIET = {
    "httpcore": logging.WARNING,
    "httpx": logging.WARNING,
    "taskiq": logging.WARNING,
    "uvicorn.error": logging.CRITICAL + 1,
}
"""Minimum levels of loggers that duplicate lines of our own or log each task; some of them log complete URLs."""

REQUESTS = "movie_api.access"
"""Name of the access logger: one line per request."""
WAIT_SECONDS = 0.1
"""Seconds that a line may be buffered, so that a busy process writes many at once. Warnings are written immediately."""
MAX_WRITE = 4096
"""Maximum characters per write to a pipe: larger writes of several processes to one pipe may be interleaved."""
MAX_WRITE_TO_FILE = 65_536
"""Maximum characters per write to a file: a write is never split, and each one costs more than to a pipe."""

Renderer = Callable[[object, str, MutableMapping[str, Any]], str]
"""The last structlog processor: renders an event dictionary as a line."""

_encode = msgspec.json.Encoder().encode


class Line(msgspec.Struct, omit_defaults=True):
    """The keys of a JSON line, in their order."""

    time: str
    level: str
    logger: str
    event: str = msgspec.field(name="message")
    request_id: str | None = None
    user_id: str | None = None
    exception: str | None = msgspec.field(name="trace", default=None)


class BatchedHandler(logging.Handler):
    """Writes lines to stderr, buffered while an event loop runs. Only a killed process loses lines."""

    def __init__(self, render: Renderer) -> None:
        # Imported here: takes about 15 ms and 2 MiB, which a command that logs nothing does not need.
        from structlog import stdlib
        from structlog.processors import add_log_level, format_exc_info

        super().__init__()
        self._lines: list[str] = []
        self._size = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        """The event loop that will flush the buffered lines."""
        self._max_write = MAX_WRITE_TO_FILE if _is_file(sys.stderr) else MAX_WRITE
        chain = (
            add_log_level,
            stdlib.add_logger_name,
            stdlib.ExtraAdder(["request_id", "user_id"]),
            format_exc_info,
            _select_keys,
            render,
        )
        self.setFormatter(stdlib.ProcessorFormatter(processors=chain))
        self._render = render

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record)
        except Exception:  # noqa: BLE001  (a record that cannot be formatted must not fail the code that logs it)
            self.handleError(record)
            return
        self._add(line)
        if record.levelno >= logging.WARNING:
            self.flush()

    def log_request(self, request_id: str, message: str, user_id: str | None = None) -> None:
        """Write the line of an INFO record of the access logger at a fraction of its cost: the result of all processors
        but the last is known in advance."""
        event = {"level": "info", "logger": REQUESTS, "event": message, "request_id": request_id, "user_id": user_id}
        self._add(self._render(None, "info", event))

    def _add(self, line: str) -> None:
        size = len(line) + 1
        self.acquire()
        try:
            if self._size + size > self._max_write:
                self.flush()
            self._lines.append(line)
            self._size += size
            loop = asyncio.get_running_loop()
            if loop is not self._loop:
                self._loop = loop
                loop.call_later(WAIT_SECONDS, self.flush)
        except RuntimeError:  # no event loop runs in this thread, so nothing would flush later
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
        except (OSError, ValueError):  # stderr is closed: there is nowhere to write
            pass
        finally:
            self.release()

    def close(self) -> None:
        self.flush()
        super().close()


def _is_file(stream: TextIO) -> bool:
    try:
        return stat.S_ISREG(os.fstat(stream.fileno()).st_mode)
    except (OSError, ValueError):  # not a file, or closed
        return False


def _select_keys(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Select the keys of `Line`: drops the record itself and the stack of `stack_info=True`."""
    return {key: event[key] for key in Line.__struct_fields__ if key in event}


def _console_line(_logger: object, _method: str, event: MutableMapping[str, Any]) -> str:
    """A line for a person: local time, level and message, without ids."""
    line = f"{_local_time(int(time.time()))} {event['level'].upper():<7} {_printable(event['event'])}"
    return "\n".join((line, *map(_printable, event["exception"].split("\n")))) if "exception" in event else line


def _json_line(_logger: object, _method: str, event: MutableMapping[str, Any]) -> str:
    line = Line(time=_utc_time(int(time.time() * 1000)), **event)
    try:
        text = _encode(line).decode()
        if text.isascii() and "\x7f" not in text:  # JSON escapes the other control characters of ASCII
            return text
    except UnicodeEncodeError:  # a lone surrogate
        pass
    # Several times slower, but escapes line separators and terminal control characters.
    return json.dumps(msgspec.to_builtins(line), separators=(",", ":"))


@lru_cache(maxsize=1)  # under load many lines have the same time
def _utc_time(milliseconds: int) -> str:
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(milliseconds // 1000))}.{milliseconds % 1000:03}+00:00"


@lru_cache(maxsize=1)
def _local_time(seconds: int) -> str:
    return time.strftime("%H:%M:%S", time.localtime(seconds))


def _printable(text: str) -> str:
    """Escape line separators and terminal control characters: parts of a message may come from clients."""
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def configure_logging(form: str) -> None:
    """Configure the root logger; `form` is `console` or `json`, as in `MOVIE_LOG_FORMAT`. Replaces earlier handlers."""
    # No line contains thread, process or caller, and looking them up takes longer than the rest of a line.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging._srcfile = None  # the way recommended by the logging HOWTO of the standard library
    handler = BatchedHandler(_json_line if form == "json" else _console_line)
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    for name, level in _QUIET.items():
        logging.getLogger(name).setLevel(level)


def announce(form: str, message: str) -> None:
    """Write a line about the program itself, whether logging is configured or not."""
    event = {"level": "info", "logger": "movie_cli", "event": message}
    line = _json_line(None, "info", event) if form == "json" else f"movie-search: {message}"
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def request_log() -> Callable[[str, str, str | None], None] | None:
    """A function that logs a request: its id, a message and the user id. None if logging was configured elsewhere."""
    handlers = logging.getLogger().handlers
    if len(handlers) == 1 and isinstance(handlers[0], BatchedHandler):
        return handlers[0].log_request
    return None
