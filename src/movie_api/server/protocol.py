"""uvicorn with httptools, extended by timeouts, a size limit of the request head, problem documents for requests that
can't be parsed, and graceful shutdown.

All code that depends on uvicorn is in this module.
"""

import asyncio
import contextlib
import functools
import gc
import logging
import multiprocessing
import signal
import socket
import sys
import time
import uuid
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from multiprocessing.connection import wait as wait_for_any
from types import FrameType
from typing import Any, Final, Protocol, cast

import uvicorn
from litestar.types import HTTPScope
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from movie_api.context import RequestContexts
from movie_api.middleware.limits import MAX_TARGET
from movie_api.middleware.response_headers import transport_security
from movie_api.middleware.transfer_encoding import is_supported
from movie_api.problems import problem
from movie_api.server.connections import Connections, capacity

_access = logging.getLogger("movie_api.access")
_log = logging.getLogger(__name__)

HEAD_TIMEOUT: Final = 10.0  # seconds for a complete request head, from its first byte (or from the connection)
BODY_TIMEOUT: Final = 10.0  # seconds for a body, extended while it arrives at MIN_BYTES per second
WRITE_TIMEOUT: Final = 10.0  # seconds in which a client must read MIN_BYTES of a response
LINGER_TIMEOUT: Final = 2.0  # seconds to discard input after a rejection; a TCP reset could lose the response
DRAIN_SECONDS: Final = 0.5  # seconds in which an idle connection may still send a request after SIGTERM
SHUTDOWN_TIMEOUT: Final = 15  # seconds for requests in progress to complete
MIN_BYTES: Final = 16 * 1024
SEND_BUFFER: Final = 256 * 1024  # bytes of the kernel's buffer for a slow client; by default it grows to 4 MiB
MAX_HEAD_BYTES: Final = 64 * 1024  # the server rejects more; the limits of the middleware are far lower
WARNING_INTERVAL: Final = 60.0  # minimum seconds between two warnings about closed connections


class ServerSettings(Protocol):
    """The settings of a server."""

    @property
    def connections_per_network(self) -> int: ...
    @property
    def trusted_proxies(self) -> tuple[str, ...]: ...


class ServedApplication(Protocol):
    """An ASGI application that this server can run."""

    @property
    def settings(self) -> ServerSettings: ...
    @property
    def contexts(self) -> RequestContexts: ...
    def begin_draining(self) -> None:
        """Called when graceful shutdown begins."""
        ...

    def __call__(self, scope: Any, receive: Any, send: Any) -> Awaitable[None]: ...


class _Transport:
    """The transport for uvicorn: `close` is delegated to the protocol, which may have to discard input first."""

    __slots__ = (
        "_inner",
        "_protocol",
        "abort",
        "get_extra_info",
        "pause_reading",
        "resume_reading",
        "set_protocol",
        "write",
    )

    def __init__(self, inner: asyncio.Transport, protocol: "HttpProtocol") -> None:
        self._inner = inner
        self._protocol = protocol
        self.abort = inner.abort
        self.get_extra_info = inner.get_extra_info
        self.pause_reading = inner.pause_reading
        self.resume_reading = inner.resume_reading
        self.set_protocol = inner.set_protocol
        self.write = inner.write

    def is_closing(self) -> bool:
        return self._protocol.is_closing or self._inner.is_closing()

    def close(self) -> None:
        self._protocol.close_gracefully()


class HttpProtocol(HttpToolsProtocol):
    """One connection, with timeouts, a limit of the request head and exactly one response per request."""

    def __init__(self, *, contexts: RequestContexts, connections: Connections, **arguments: Any) -> None:
        """`arguments` are those of uvicorn."""
        super().__init__(**arguments)
        self.contexts = contexts
        self.open_connections = connections

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.inner = cast("asyncio.Transport", transport)
        self.is_closing = False  # input is discarded until the connection is closed
        self.ignores_input = False  # no more input is parsed, but a response may be pending
        self.is_draining = False
        self.is_in_head = True
        self.head_bytes = 0
        self.body_bytes = 0
        self.body_since = 0.0
        self.unsent = 0
        self.active: RequestResponseCycle | None = None
        self.deadline = self.loop.time() + HEAD_TIMEOUT
        self.write_deadline = 0.0
        self.url = b""
        self.is_coding_unsupported = False
        super().connection_made(cast("asyncio.Transport", _Transport(self.inner, self)))
        if not self.open_connections.add(self, self.client[0] if self.client else ""):
            self.inner.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self.open_connections.remove(self)
        # The client has disconnected: drop the response in progress and the pipelined requests.
        self.pipeline.clear()
        if self.active is not None and not self.active.response_complete:
            self.active.disconnected = True
            self.active.message_event.set()
        super().connection_lost(exc)

    def evict(self) -> bool:
        """Close the connection for a new one, unless a completely received request is in progress."""
        is_busy = self.active is not None and not self.active.response_complete
        if is_busy and (self.is_in_head or self.flow.read_paused):
            return False
        self.inner.abort()
        return True

    def data_received(self, data: bytes) -> None:
        if self.ignores_input or self.is_closing:
            return
        self.open_connections.mark_active(self)
        if self.is_in_head:
            if not self.head_bytes:
                self.deadline = self.loop.time() + HEAD_TIMEOUT
            self.head_bytes += len(data)
        super().data_received(data)
        if self.is_in_head and self.head_bytes > MAX_HEAD_BYTES and not self.ignores_input:
            self.reject("uri_too_long" if len(self.url) > MAX_TARGET else "headers_too_large")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.is_in_head = True

    def on_headers_complete(self) -> None:
        if len(self.url) > 0xFFFF:
            raise ValueError("the URL parser accepts at most 65,535 bytes")
        codings = [value for name, value in self.headers if name == b"transfer-encoding"]
        if codings:
            self._check_coding(codings)
        if self.url[:1] not in b"/*" and not self._same_authority():
            raise ValueError("the request target and the Host header name different hosts")
        self.is_in_head = False
        self.head_bytes = self.body_bytes = 0
        self.body_since = self.loop.time()
        super().on_headers_complete()
        if self.is_draining:
            self.cycle.keep_alive = False

    def _check_coding(self, codings: list[bytes]) -> None:
        if any(name == b"content-length" for name, _ in self.headers):
            raise ValueError("a request has either a transfer coding or a length")
        if len(codings) > 1 or not is_supported(codings[0]):
            self.is_coding_unsupported = True
            raise ValueError("the only supported transfer coding is chunked")
        if self.parser.get_http_version() == "1.0":
            raise ValueError("HTTP/1.0 has no transfer codings")

    def _same_authority(self) -> bool:
        authority = self.url.partition(b"://")[2].partition(b"/")[0].partition(b"?")[0]
        return [authority.lower()] == [value.lower() for name, value in self.headers if name == b"host"]

    def on_body(self, body: bytes) -> None:
        self.body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self.is_in_head = True
        self.head_bytes = 0
        self.deadline = self.loop.time() + HEAD_TIMEOUT

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self.active = cycle
        if self.is_draining:
            cycle.keep_alive = False
        super()._start_asgi_task(cycle, app)

    def send_400_response(self, msg: str) -> None:
        """Called by uvicorn for input that its parser rejects."""
        if len(self.url) > MAX_TARGET:
            self.reject("uri_too_long")
        else:
            # The parser rejects a coding after `chunked` itself, before the head is complete.
            if "Invalid `Transfer-Encoding`" in str(sys.exc_info()[1]):
                self.is_coding_unsupported = all(name != b"content-length" for name, _ in self.headers)
            self.reject("unsupported_transfer_encoding" if self.is_coding_unsupported else "bad_request")

    def reject(self, code: str) -> None:
        """Send a problem document, unless the request has a response already, and close the connection."""
        self.ignores_input = True
        busy = self.active if self.active is not None and not self.active.response_complete else None
        is_in_body = not self.is_in_head and self.active is self.cycle  # the invalid input is the body of this request
        if busy is not None and (busy.response_started or not is_in_body):
            busy.keep_alive = False  # a response is pending or has started: it is the last of this connection
            self.pipeline.clear()
            return
        if busy is not None:
            busy.disconnected = True
            busy.message_event.set()
        if busy is not None or not is_in_body:  # otherwise the request has had its response
            context = None if busy is None else self.contexts.of(cast("HTTPScope", busy.scope))
            request_id = uuid.uuid4().hex if context is None else context.request_id
            public_url = self.contexts.public_url
            status, headers, body = problem(public_url, request_id, code)
            head = b"HTTP/1.1 %d %s\r\n" % (status, HTTPStatus(status).phrase.encode())
            for name, value in (*self.server_state.default_headers, *transport_security(public_url)):
                head += name + b": " + value + b"\r\n"
            headers |= {"x-request-id": request_id, "content-length": str(len(body)), "connection": "close"}
            for text, value_text in headers.items():
                head += f"{text}: {value_text}\r\n".encode()
            self.inner.write(head + b"\r\n" + body)
            if context is None:
                _access.info("malformed request rejected: %d %s", status, code, extra={"request_id": request_id})
            else:
                context.rejected_status = status  # for the access log
        self.close_gracefully(linger=True)

    def close_gracefully(self, *, linger: bool = False) -> None:
        """Close the connection; while the client is still sending, discard its input first, because a TCP reset could
        lose the response."""
        if self.is_closing:
            return
        self.is_closing = True
        self._unset_keepalive_if_required()
        if (linger or not self.is_in_head) and not self.inner.is_closing():
            self.deadline = self.loop.time() + LINGER_TIMEOUT
            self.flow.resume_reading()
            with contextlib.suppress(OSError, NotImplementedError, RuntimeError):
                self.inner.write_eof()
                return
        self.inner.close()

    def eof_received(self) -> None:
        if self.is_closing:
            self.inner.close()

    def shutdown(self) -> None:
        """Called when the server shuts down: the next response is the last of the connection."""
        if self.is_draining:
            if self.active is None or self.active.response_complete:
                self.close_gracefully()
            return
        self.is_draining = True
        if self.active is not None and not self.active.response_complete:
            self.active.keep_alive = False

    def check(self, now: float) -> None:
        """Close the connection if it has stalled; called about once a second."""
        unsent = self.inner.get_write_buffer_size()
        if unsent:
            if not self.unsent or unsent <= self.unsent - MIN_BYTES:
                self.unsent, self.write_deadline = unsent, now + WRITE_TIMEOUT
            elif now > self.write_deadline:
                self.inner.abort()
                return
            else:
                self.unsent = max(self.unsent, unsent)
            return
        self.unsent = 0
        if self.is_closing:
            if now > self.deadline:
                self.inner.abort()
        elif self.ignores_input or self.flow.read_paused:
            self.body_since = now  # the server is slow, not the client
        elif self.is_in_head:
            busy = self.active is not None and not self.active.response_complete
            if not busy and now > self.deadline and (self.head_bytes or self.active is None):
                self.close_gracefully()
        elif now > self.body_since + BODY_TIMEOUT + self.body_bytes / MIN_BYTES:
            self.reject("request_timeout")


class HttpServer(uvicorn.Server):
    """A server with graceful shutdown and exit code 0, which calls `on_stop` first; also enforces the timeouts."""

    def __init__(
        self,
        config: uvicorn.Config,
        connections: Connections,
        *,
        on_started: Callable[[], object],
        on_stop: Callable[[], None],
    ) -> None:
        super().__init__(config)
        self.open_connections = connections
        self.on_started = on_started
        self.on_stop = on_stop
        self.watcher: asyncio.Task[None] | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        # The signal is not recorded, so that uvicorn does not raise it again at the end, with exit code -15.
        if self.should_exit and sig == signal.SIGINT:
            self.force_exit = True
        self.should_exit = True
        self.on_stop()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        # The objects that exist now live as long as the process. Without `freeze`, every full garbage collection would
        # scan them and block all requests for a tenth of a second.
        gc.collect()
        gc.freeze()
        gc.collect()  # finds nothing; the size of the last collection decides when the next one runs
        self.watcher = asyncio.create_task(self.watch())
        self.on_started()

    async def watch(self) -> None:
        loop = asyncio.get_running_loop()
        parent = multiprocessing.parent_process()
        connections = self.open_connections
        reported, next_report = 0, 0.0
        while True:
            await asyncio.sleep(1)
            if parent is not None and not parent.is_alive():  # killed: no other process would stop this one
                self.handle_exit(signal.SIGTERM, None)
            now = loop.time()
            for connection in list(self.server_state.connections):
                connection.check(now)  # type: ignore[union-attr]
            if connections.closed > reported and now >= next_report:
                _log.warning("connection limit reached, %d connections closed", connections.closed - reported)
                reported, next_report = connections.closed, now + WARNING_INTERVAL

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        loop = asyncio.get_running_loop()
        accepted = []
        for sock in sockets or []:  # closing the socket would reset connections that the kernel has accepted
            with contextlib.suppress(BlockingIOError, OSError):
                while True:
                    accepted.append(sock.accept()[0])
        for server in self.servers:
            server.close()
        for sock in sockets or []:
            sock.close()
        for sock in accepted:
            sock.setblocking(False)
            await loop.connect_accepted_socket(self._protocol, sock)
        for connection in list(self.server_state.connections):
            connection.shutdown()
        end = loop.time() + DRAIN_SECONDS
        while self.server_state.connections and loop.time() < end:  # noqa: ASYNC110  (uvicorn's own set, without notifications)
            await asyncio.sleep(0.02)
        await super().shutdown(sockets)
        if self.watcher is not None:
            self.watcher.cancel()

    def _protocol(self) -> asyncio.Protocol:
        create: Callable[..., asyncio.Protocol] = self.config.http_protocol_class
        return create(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)


def serve_one(make_app: Callable[[], ServedApplication], sock: socket.socket, on_started: Callable[[], object]) -> int:
    """Run the server in this process until SIGTERM or SIGINT; returns the exit code."""
    app = make_app()
    settings = app.settings
    connections = Connections(capacity(), settings.connections_per_network, settings.trusted_proxies)
    protocol = functools.partial(HttpProtocol, contexts=app.contexts, connections=connections)
    config = uvicorn.Config(
        app,
        http=cast("type[asyncio.Protocol]", protocol),
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=10,
        timeout_graceful_shutdown=SHUTDOWN_TIMEOUT,
        interface="asgi3",
    )
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)  # inherited by the connections
    server = HttpServer(config, connections, on_started=on_started, on_stop=app.begin_draining)
    try:
        server.run(sockets=[sock])
    except SystemExit as stopped:
        if stopped.code:
            return 1
    return 0


def _run_worker(make_app: Callable[[], ServedApplication], sock: socket.socket, ready: Any) -> None:
    sys.exit(serve_one(make_app, sock, ready.release))


def serve_many(
    make_app: Callable[[], ServedApplication], sock: socket.socket, workers: int, on_started: Callable[[], object]
) -> int:
    """Run several worker processes that share one listening socket, so that a crash loses no queued connection.

    `make_app` is pickled for each worker, so it must be importable. `on_started` is called once all workers have
    started. A worker that dies is replaced; a worker that can't start stops all. Returns the exit code.
    """
    context = multiprocessing.get_context("spawn")
    ready = context.Semaphore(0)
    stopping = False

    def stop(_signal: int, _frame: FrameType | None) -> None:
        nonlocal stopping
        stopping = True

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)

    def spawn() -> tuple[Any, float]:
        process = context.Process(target=_run_worker, args=(make_app, sock, ready), name="movie-search serve")
        process.start()
        return process, time.monotonic()

    running = [spawn() for _ in range(workers)]
    starting = workers
    code = 0
    while not stopping:
        wait_for_any([process.sentinel for process, _ in running], timeout=0.1)
        while starting and ready.acquire(block=False):
            starting -= 1
            if not starting:
                on_started()
        for index, (process, spawned_at) in enumerate(running):
            if process.is_alive() or stopping:
                continue
            if process.exitcode == 1 or time.monotonic() - spawned_at < 1:  # a replacement would fail at startup too
                stopping, code = True, 1
            else:
                running[index] = spawn()
    sock.close()  # otherwise connections would queue on it that no process accepts
    for process, _ in running:
        if process.is_alive():
            process.terminate()
    end = time.monotonic() + SHUTDOWN_TIMEOUT + 3
    for process, _ in running:
        process.join(max(0.1, end - time.monotonic()))
        if process.is_alive():
            process.kill()
            process.join()
            code = 1
        # A process that is stopped before it has set its handlers ends by the signal.
        code = code or int(process.exitcode not in {0, -signal.SIGTERM, -signal.SIGINT})
    return code
