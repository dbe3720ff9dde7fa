"""The context of a request: one object on its ASGI scope, read and completed by layers, guards and handlers."""

import re
from collections.abc import Sequence
from random import getrandbits

from litestar.types import HTTPScope, Scope

from movie_api.middleware.proxy import TrustedProxies
from movie_core.accounts.sessions import Caller
from movie_core.quotas import Quota

MAX_HEADERS = 100
"""Header lines that are read; `SizeLimits` rejects a request with more."""

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_RELEVANT_HEADERS = frozenset(
    (
        b"host",
        b"authorization",
        b"if-none-match",
        b"x-request-id",
        b"x-forwarded-for",
        b"origin",
        b"transfer-encoding",
        b"content-length",
        b"expect",
    )
)
"""Headers that `RequestHead` reads. A request with one of the last three is not simple (`RequestHead.is_simple`)."""


class RequestHead:
    """The headers that the layers need, read in one pass over the header lines."""

    __slots__ = (
        "authorization",
        "forwarded",
        "host",
        "hosts",
        "if_none_match",
        "is_simple",
        "lines",
        "origin",
        "request_id",
        "size",
        "transfer_encoding",
    )

    def __init__(self, headers: Sequence[tuple[bytes, bytes]]) -> None:
        self.lines = len(headers)
        self.host = self.forwarded = sent_id = b""
        self.authorization: bytes | None = None
        self.if_none_match: bytes | None = None
        self.origin: bytes | None = None
        """The values of all `Origin` lines, joined by commas."""
        self.transfer_encoding: bytes | None = None
        """The values of all `Transfer-Encoding` lines, joined by commas."""
        self.is_simple = True
        """False for a request with a body, or a repeated `Authorization` or `If-None-Match`."""
        self.hosts = ids = size = 0
        for name, value in headers if self.lines <= MAX_HEADERS else headers[:MAX_HEADERS]:
            size += len(name) + len(value) + 4
            if name not in _RELEVANT_HEADERS:
                continue
            if name == b"host":
                self.hosts += 1
                self.host = value
            elif name == b"authorization":
                self.is_simple = self.is_simple and self.authorization is None
                self.authorization = value
            elif name == b"if-none-match":
                self.is_simple = self.is_simple and self.if_none_match is None
                self.if_none_match = value
            elif name == b"x-request-id":
                ids += 1
                sent_id = value
            elif name == b"x-forwarded-for":
                self.forwarded += b"," + value
            elif name == b"origin":
                self.origin = value if self.origin is None else self.origin + b", " + value
            else:
                self.is_simple = False
                if name == b"transfer-encoding":
                    self.transfer_encoding = (
                        value if self.transfer_encoding is None else self.transfer_encoding + b", " + value
                    )
        self.size = size
        is_valid = ids == 1 and _REQUEST_ID.fullmatch(sent_id)
        self.request_id = sent_id.decode() if is_valid else getrandbits(128).to_bytes(16, "big").hex()


class RequestContext:
    """The attributes of a request. `head`, `request_id`, `public_url` and `client` are fixed; the others are set while
    the request is handled.

    It refers to nothing that leads back to the scope, such as `send`: only the garbage collector could free the cycle.
    """

    __slots__ = (
        "caller",
        "client",
        "head",
        "is_complete",
        "public_url",
        "quota",
        "rejected_status",
        "request_id",
        "status",
    )

    def __init__(self, head: RequestHead, public_url: str, client: str) -> None:
        self.head = head
        self.request_id = head.request_id
        self.public_url = public_url
        """The base of all links (`MOVIE_PUBLIC_URL`)."""
        self.client = client
        """The client's address, as `TrustedProxies.client_of` returns it."""

        self.caller: Caller | None = None
        """The authenticated user; set by the guard of a route."""
        self.quota: Quota | None = None
        """The rate limit that counted the request, for the `RateLimit` headers."""
        self.status = 0
        """The status of the response; 0 until its first part is sent."""
        self.is_complete = False
        """Whether the whole response was sent."""
        self.rejected_status = 0
        """The status with which the server rejected a malformed or stalled body, else 0."""


class RequestContexts:
    """Creates the context of each request."""

    def __init__(self, public_url: str, trusted_proxies: Sequence[str] = ()) -> None:
        self.public_url = public_url
        self._proxies = TrustedProxies(trusted_proxies)

    def of(self, scope: HTTPScope) -> RequestContext:
        """The context on the scope of a request; created if there is none."""
        state = scope.setdefault("state", {})
        if "context" in state:
            return context_of(scope)
        headers = scope["headers"]
        head = RequestHead(headers if isinstance(headers, list) else list(headers))
        address = scope.get("client")
        client = "" if address is None else address[0]
        if head.forwarded:
            client = self._proxies.client_of(client, head.forwarded)
        context = state["context"] = RequestContext(head, self.public_url, client)
        return context


def context_of(scope: Scope) -> RequestContext:
    context: RequestContext = scope["state"]["context"]
    return context
