"""HEAD requests. The routes declare GET only."""

from collections.abc import Awaitable
from typing import cast

from litestar.types import HTTPScope, Message, Receive, Send

from movie_api.middleware import HttpApp


class HeadRequests:
    """Handles HEAD as GET without the body, and adds HEAD to `Allow`."""

    def __init__(self, app: HttpApp) -> None:
        self._app = app

    def __call__(self, scope: HTTPScope, receive: Receive, send: Send) -> Awaitable[None]:
        if scope["method"] == "GET":
            return self._app(scope, receive, send)
        if scope["method"] == "HEAD":
            return self._get(scope, receive, send)

        def send_allow(message: Message) -> Awaitable[None]:
            if message["type"] == "http.response.start" and (message["status"] == 405 or scope["method"] == "OPTIONS"):
                message = {**message, "headers": [_with_head(*header) for header in message["headers"]]}
            return send(message)

        return self._app(scope, receive, send_allow)

    async def _get(self, scope: HTTPScope, receive: Receive, send: Send) -> None:
        def send_head(message: Message) -> Awaitable[None]:
            return send({**message, "body": b""} if message["type"] == "http.response.body" else message)

        # A copy, because the server reads the method from its own scope.
        inner = cast("HTTPScope", {**scope, "method": "GET"})
        try:
            await self._app(inner, receive, send_head)
        finally:
            if "path_template" in inner:
                scope["path_template"] = inner["path_template"]  # for the metrics


def _with_head(name: bytes, value: bytes) -> tuple[bytes, bytes]:
    methods = value.split(b", ")
    if name.lower() != b"allow" or b"GET" not in methods or b"HEAD" in methods:
        return name, value
    return name, b", ".join([*methods, b"HEAD"])
