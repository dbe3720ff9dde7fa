"""Log lines of a process, on stderr: for people, or one JSON object a line."""

import json
import logging
import sys
from datetime import UTC, datetime

_QUIET = {"httpcore": logging.WARNING, "httpx": logging.WARNING, "uvicorn.error": logging.CRITICAL + 1}
"""Loggers that say what we say ourselves, some of them with whole URLs, and the level from which they are heard."""


class JsonFormatter(logging.Formatter):
    """One JSON object, always on one line."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if (request_id := getattr(record, "request_id", None)) is not None:
            line["request_id"] = request_id
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return json.dumps(line)


def configure_logging(form: str) -> None:
    """`console` or `json`, as in `MOVIE_LOG_FORMAT`; replaces what was configured before."""
    handler = logging.StreamHandler(sys.stderr)
    console = logging.Formatter("%(asctime)s %(levelname)-7s %(message)s", datefmt="%H:%M:%S")
    handler.setFormatter(JsonFormatter() if form == "json" else console)
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    for name, level in _QUIET.items():
        logging.getLogger(name).setLevel(level)
