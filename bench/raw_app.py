"""A minimal ASGI application on the server of `movie-search serve`: it sends a constant response.

    python -m bench.raw_app --port 9100 --answer answer.json

It is the baseline for the cost of a search. The file contains `{"headers": [[name, value], …], "body": text}`, the
response for every path; nothing is logged.
"""

import argparse
import json
import socket
from pathlib import Path
from typing import Any

from movie_adapters.settings.settings import Settings
from movie_api.context import RequestContexts
from movie_api.server.protocol import serve_one


class RawApp:
    """Sends the same response to every request."""

    def __init__(self, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        self.settings = Settings.load()
        self.contexts = RequestContexts(self.settings.public_url)
        self._start = {"type": "http.response.start", "status": 200, "headers": headers}
        self._body = {"type": "http.response.body", "body": body, "more_body": False}

    def begin_draining(self) -> None:
        pass

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            for step in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{step}.complete"})
            return
        await send(self._start)
        await send(self._body)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--answer", type=Path, required=True)
    arguments = parser.parse_args()
    answer = json.loads(arguments.answer.read_text(encoding="utf-8"))
    app = RawApp([(name.encode(), value.encode()) for name, value in answer["headers"]], answer["body"].encode())
    listener = socket.create_server(("127.0.0.1", arguments.port), backlog=2048)
    raise SystemExit(serve_one(lambda: app, listener, lambda: None))


if __name__ == "__main__":
    main()
