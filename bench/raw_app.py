"""An ASGI application that only sends bytes it was given, on the server that `movie-search serve` runs on.

    python -m bench.raw_app --port 9100 --answer answer.json

What a search costs beyond this is ours. The file holds `{"headers": [[name, value], …], "body": text}`; every path is
answered with it, and nothing is logged.
"""

import argparse
import json
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from litestar import Litestar

from movie_adapters.settings.settings import Settings
from movie_api.server.protocol import serve_one


class RawApp:
    """Answers everything alike; `state` has what the server asks of its application."""

    def __init__(self, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        self.state = SimpleNamespace(settings=Settings.load(), is_draining=False)
        self._start = {"type": "http.response.start", "status": 200, "headers": headers}
        self._body = {"type": "http.response.body", "body": body, "more_body": False}

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
    listening = socket.create_server(("127.0.0.1", arguments.port), backlog=2048)
    raise SystemExit(serve_one(lambda: cast("Litestar", app), listening, lambda: None))


if __name__ == "__main__":
    main()
