"""The headers that every response has: security headers, request id and rate limit."""

import math
import re
from collections.abc import Awaitable, Generator, Sequence
from functools import lru_cache

from litestar.types import HTTPResponseStartEvent, HTTPScope, Message, Receive, Send

from movie_api.context import RequestContext, context_of
from movie_api.middleware import HttpApp
from movie_api.middleware.cors import CorsPolicy
from movie_core.quotas import Quota

Header = tuple[bytes, bytes]

LINK_PATH = re.compile(r"(.*?/(?:verify-email|password/+reset)/+[^/]+/+).+", re.DOTALL)
"""Paths of mailed links, which have a token after a user's id."""
# Slashes repeat, because the router treats several as one.
_NO_STORE_PATH = re.compile(r"/+api/+v1/+(?:authentication|users|admin)(?:/|$)")
"""Paths whose responses must not be stored by any cache."""
_MAX_CACHED_PATH = 100
"""Maximum characters of a path whose rules are cached."""

_NOSNIFF = (b"x-content-type-options", b"nosniff")
_NO_STORE = (b"cache-control", b"no-store")
_PRIVATE = (b"cache-control", b"private")
"""For errors, some of which shared caches may store by default (RFC 9110, 15.1), though they depend on the user."""
_NO_REFERRER = (b"referrer-policy", b"no-referrer")
_DEFAULT_POLICY = (b"content-security-policy", b"default-src 'none'; base-uri 'none'; frame-ancestors 'none'")
"""The Content-Security-Policy of responses without one; the pages set their own."""


def transport_security(public_url: str) -> tuple[Header, ...]:
    """`Strict-Transport-Security` for one year if the public URL is https, else no header."""
    header = (b"strict-transport-security", b"max-age=31536000; includeSubDomains")
    return (header,) if public_url.startswith("https://") else ()


class ResponseHeaders:
    """Completes the headers of each response, and tracks how much of it was sent."""

    def __init__(self, app: HttpApp, *, public_url: str, cors: CorsPolicy) -> None:
        self._app = app
        self._cors = cors
        self._common = (_NOSNIFF, *transport_security(public_url), *cors.common_headers)

    def __call__(self, scope: HTTPScope, receive: Receive, send: Send) -> Awaitable[None]:
        context = context_of(scope)
        origin, common = context.head.origin, self._common
        if origin is not None:
            common = (*common, *self._cors.headers(origin))
        sender = _ResponseSender(send, scope["path"], context, common)
        return self._app(scope, receive, sender.send)


class _Done:
    """The result of `send` for a message that is not sent yet: costs less than a coroutine."""

    def __await__(self) -> Generator[None, None, None]:
        return
        yield


_DONE = _Done()


class _ResponseSender:
    """Sends the response to one request."""

    __slots__ = ("_common", "_context", "_path", "_send", "_start")

    def __init__(self, send: Send, path: str, context: RequestContext, common: Sequence[Header]) -> None:
        """`common` are the headers that every response has."""
        self._send = send
        self._path = path
        self._context = context
        self._common = common
        self._start: HTTPResponseStartEvent | None = None

    def send(self, message: Message) -> Awaitable[None]:
        if message["type"] == "http.response.start":
            # Sent with the first part of the body, so that an error before that still gets a problem document.
            self._start = message
            return _DONE
        return self._send_part(message)

    async def _send_part(self, message: Message) -> None:
        if self._start is not None and not self._context.status:
            status = self._context.status = self._start["status"]
            # A new list: the one of the message may be an iterator, or cached.
            headers = self._completed(status, list(self._start["headers"]))
            await self._send({"type": "http.response.start", "status": status, "headers": headers})
        await self._send(message)
        self._context.is_complete = not message.get("more_body", False)

    def _completed(self, status: int, headers: list[Header]) -> list[Header]:
        """Add what is missing to `headers`."""
        context, path = self._context, self._path
        names = {name for name, _ in headers}
        headers += ((b"x-request-id", context.request_id.encode()), *self._common)
        if context.quota is not None:
            headers += _quota_headers(context.quota)
        never_stored, is_link = _path_rules_cached(path) if len(path) <= _MAX_CACHED_PATH else _path_rules(path)
        if never_stored:
            headers.append(_NO_STORE)
        elif status >= 400 and _PRIVATE[0] not in names:
            headers.append(_PRIVATE)
        if _DEFAULT_POLICY[0] not in names:
            headers.append(_DEFAULT_POLICY)
        if is_link and _NO_REFERRER[0] not in names:
            headers.append(_NO_REFERRER)
        return headers


def is_never_stored(path: str) -> bool:
    """Whether responses of this path have `Cache-Control: no-store`."""
    return _NO_STORE_PATH.match(path) is not None


def _path_rules(path: str) -> tuple[bool, bool]:
    """Whether responses must not be stored, and whether the path is a mailed link."""
    return is_never_stored(path), LINK_PATH.match(path) is not None


_path_rules_cached = lru_cache(maxsize=256)(_path_rules)


def _quota_headers(quota: Quota) -> list[Header]:
    """`RateLimit` and `RateLimit-Policy` as in the IETF draft."""
    rate = quota.rate
    state = f'"{quota.name}";r={quota.remaining};t={max(0, math.ceil(quota.reset))}'
    return [(b"ratelimit", state.encode()), _policy_header(quota.name, rate.amount, rate.seconds)]


@lru_cache(maxsize=16)
def _policy_header(name: str, amount: int, seconds: int) -> Header:
    return b"ratelimit-policy", f'"{name}";q={amount};w={seconds}'.encode()
