"""The `Transfer-Encoding` of requests."""

from collections.abc import Awaitable

from litestar.types import HTTPScope, Receive, Send

from movie_api.context import context_of
from movie_api.middleware import HttpApp
from movie_api.problems import send_problem


def is_supported(transfer_encoding: bytes) -> bool:
    """Whether the value is exactly `chunked`, ignoring case (RFC 9112, 7)."""
    return transfer_encoding.strip(b" \t").lower() == b"chunked"


class TransferEncoding:
    """Rejects codings other than `chunked`, because a proxy may delimit such a body differently (request smuggling).
    Our own server rejects them too; this layer is for other servers."""

    def __init__(self, app: HttpApp) -> None:
        self._app = app

    def __call__(self, scope: HTTPScope, receive: Receive, send: Send) -> Awaitable[None]:
        context = context_of(scope)
        value = context.head.transfer_encoding
        if value is not None and not is_supported(value):
            return send_problem(send, context, "unsupported_transfer_encoding")
        return self._app(scope, receive, send)
