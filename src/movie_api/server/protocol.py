"""uvicorn with httptools, and what it lacks: deadlines, a cap on the head, orderly refusals, a polite stop.

Everything that uvicorn does not do by itself is in this module; nothing else knows which server runs.
"""

import asyncio
import contextlib
import gc
import logging
import multiprocessing
import signal
import socket
import sys
import time
import uuid
from collections.abc import Callable
from http import HTTPStatus
from multiprocessing.connection import wait as wait_for_any
from types import FrameType
from typing import Any, Final, cast

import uvicorn
from litestar import Litestar
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from movie_api.middleware.edge import MAX_TARGET, transport_security
from movie_api.problems import problem
from movie_api.server.connections import Connections, capacity

_access = logging.getLogger("movie_api.access")
_log = logging.getLogger(__name__)

HEAD_SECONDS: Final = 10.0  # a whole request head, from its first byte (or from the connection)
BODY_SECONDS: Final = 10.0  # a body gets this long, and longer as it keeps coming at MIN_RATE
WRITE_SECONDS: Final = 10.0  # a reader must take MIN_RATE bytes in this time
LINGER_SECONDS: Final = 2.0  # how long input is swallowed after a refusal, so that the answer is not reset away
DRAIN_SECONDS: Final = 0.5  # how long a kept connection may still bring a request after SIGTERM
STOP_SECONDS: Final = 15  # how long running requests may take to finish
MIN_RATE: Final = 16 * 1024  # bytes
SEND_BUFFER: Final = 256 * 1024  # bytes that the kernel takes for a slow reader; left alone, that grows to 4 MiB
HEAD_BYTES: Final = 64 * 1024  # beyond this the server itself refuses; the application's own limits lie far below
TELL_SECONDS: Final = 60.0  # least time between two warnings that connections were closed


class _Transport:
    """The connection as uvicorn sees it: closing goes through the protocol, which may have to linger."""

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

    def __init__(self, inner: asyncio.Transport, protocol: "GuardedProtocol") -> None:
        self._inner = inner
        self._protocol = protocol
        self.abort = inner.abort
        self.get_extra_info = inner.get_extra_info
        self.pause_reading = inner.pause_reading
        self.resume_reading = inner.resume_reading
        self.set_protocol = inner.set_protocol
        self.write = inner.write

    def is_closing(self) -> bool:
        return self._protocol.ended or self._inner.is_closing()

    def close(self) -> None:
        self._protocol.end()


class GuardedProtocol(HttpToolsProtocol):
    """One connection with deadlines, a cap on the head and exactly one answer per request."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.inner = cast("asyncio.Transport", transport)
        state = cast("Litestar", self.config.app).state
        self.public_url: str = state.settings.public_url
        self.open_connections: Connections = state.connections
        self.ended = False  # no more input is parsed; the connection lingers or closes
        self.deaf = False  # nothing more is parsed, but an answer may still be due
        self.draining = False
        self.in_head = True
        self.head_bytes = 0
        self.body_bytes = 0
        self.body_since = 0.0
        self.unsent = 0
        self.active: RequestResponseCycle | None = None
        self.deadline = self.loop.time() + HEAD_SECONDS
        self.write_deadline = 0.0
        self.url = b""
        super().connection_made(cast("asyncio.Transport", _Transport(self.inner, self)))
        if not self.open_connections.add(self, self.client[0] if self.client else ""):
            self.inner.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self.open_connections.remove(self)
        # The client is gone: drop the response in progress and the pipelined requests.
        self.pipeline.clear()
        if self.active is not None and not self.active.response_complete:
            self.active.disconnected = True
            self.active.message_event.set()
        super().connection_lost(exc)

    def give_way(self) -> bool:
        """Close at once, for a newcomer, unless a request that came in full is being answered."""
        is_busy = self.active is not None and not self.active.response_complete
        if is_busy and (self.in_head or self.flow.read_paused):
            return False
        self.inner.abort()
        return True

    def data_received(self, data: bytes) -> None:
        if self.deaf or self.ended:
            return
        self.open_connections.heard(self)
        if self.in_head:
            if not self.head_bytes:
                self.deadline = self.loop.time() + HEAD_SECONDS
            self.head_bytes += len(data)
        super().data_received(data)
        if self.in_head and self.head_bytes > HEAD_BYTES and not self.deaf:
            self.refuse("uri_too_long" if len(self.url) > MAX_TARGET else "headers_too_large")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.in_head = True

    def on_headers_complete(self) -> None:
        if len(self.url) > 0xFFFF:
            raise ValueError("the URL parser takes no more than 65,535 bytes")
        if self.parser.get_http_version() == "1.0" and any(name == b"transfer-encoding" for name, _ in self.headers):
            raise ValueError("HTTP/1.0 knows no transfer coding")
        if self.url[:1] not in b"/*" and not self._same_authority():
            raise ValueError("the target names another host than the Host header")
        self.in_head = False
        self.head_bytes = self.body_bytes = 0
        self.body_since = self.loop.time()
        super().on_headers_complete()
        if self.draining:
            self.cycle.keep_alive = False

    def _same_authority(self) -> bool:
        authority = self.url.partition(b"://")[2].partition(b"/")[0].partition(b"?")[0]
        return [authority.lower()] == [value.lower() for name, value in self.headers if name == b"host"]

    def on_body(self, body: bytes) -> None:
        self.body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self.in_head = True
        self.head_bytes = 0
        self.deadline = self.loop.time() + HEAD_SECONDS

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self.active = cycle
        if self.draining:
            cycle.keep_alive = False
        super()._start_asgi_task(cycle, app)

    def send_400_response(self, msg: str) -> None:
        """uvicorn calls this for whatever its parser can't read."""
        if len(self.url) > MAX_TARGET:
            self.refuse("uri_too_long")
        else:
            self.refuse("bad_request")

    def refuse(self, code: str) -> None:
        """Answer a request that can't be served, unless that would be a second answer, and end the connection."""
        self.deaf = True
        busy = self.active if self.active is not None and not self.active.response_complete else None
        own = not self.in_head and self.active is self.cycle  # the fault lies in the body of the request being served
        if busy is not None and (busy.response_started or not own):
            busy.keep_alive = False  # an answer is due or has begun: it is this connection's last
            self.pipeline.clear()
            return
        if busy is not None:
            busy.disconnected = True
            busy.message_event.set()
        if busy is not None or not own:  # else the request has had its answer
            state = {} if busy is None else busy.scope["state"]
            request_id = state.get("request_id") or uuid.uuid4().hex
            status, headers, body = problem(self.public_url, request_id, code)
            head = b"HTTP/1.1 %d %s\r\n" % (status, HTTPStatus(status).phrase.encode())
            for name, value in (*self.server_state.default_headers, *transport_security(self.public_url)):
                head += name + b": " + value + b"\r\n"
            headers |= {"x-request-id": request_id, "content-length": str(len(body)), "connection": "close"}
            for text, value_text in headers.items():
                head += f"{text}: {value_text}\r\n".encode()
            self.inner.write(head + b"\r\n" + body)
            if busy is None:
                _access.info("broken request refused: %d %s", status, code, extra={"request_id": request_id})
            else:
                state["refused"] = status  # the line of this request comes from the guard
        self.end(ttl=True)

    def end(self, *, ttl: bool = False) -> None:
        """Close; while the client is still sending, swallow that first, or the reset would take our answer along."""
        if self.ended:
            return
        self.ended = True
        self._unset_keepalive_if_required()
        if (ttl or not self.in_head) and not self.inner.is_closing():
            self.deadline = self.loop.time() + LINGER_SECONDS
            self.flow.resume_reading()
            with contextlib.suppress(OSError, NotImplementedError, RuntimeError):
                self.inner.write_eof()
                return
        self.inner.close()

    def eof_received(self) -> None:
        if self.ended:
            self.inner.close()

    def shutdown(self) -> None:
        """Called when the server stops: from now on each answer is the connection's last."""
        if self.draining:
            if self.active is None or self.active.response_complete:
                self.end()
            return
        self.draining = True
        if self.active is not None and not self.active.response_complete:
            self.active.keep_alive = False

    def check(self, now: float) -> None:
        """Called about once a second: end what has stalled."""
        unsent = self.inner.get_write_buffer_size()
        if unsent:
            if not self.unsent or unsent <= self.unsent - MIN_RATE:
                self.unsent, self.write_deadline = unsent, now + WRITE_SECONDS
            elif now > self.write_deadline:
                self.inner.abort()
                return
            else:
                self.unsent = max(self.unsent, unsent)
            return
        self.unsent = 0
        if self.ended:
            if now > self.deadline:
                self.inner.abort()
        elif self.deaf or self.flow.read_paused:
            self.body_since = now  # we are the slow ones
        elif self.in_head:
            busy = self.active is not None and not self.active.response_complete
            if not busy and now > self.deadline and (self.head_bytes or self.active is None):
                self.end()
        elif now > self.body_since + BODY_SECONDS + self.body_bytes / MIN_RATE:
            self.refuse("request_timeout")


class GuardedServer(uvicorn.Server):
    """Leaves politely and with exit code 0, tells the application first, and watches the deadlines."""

    def __init__(
        self, config: uvicorn.Config, *, on_started: Callable[[], object], on_stop: Callable[[], None]
    ) -> None:
        super().__init__(config)
        self.on_started = on_started
        self.on_stop = on_stop
        self.watcher: asyncio.Task[None] | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        # Not remembering the signal keeps uvicorn from raising it again at the end, which would be exit code -15.
        if self.should_exit and sig == signal.SIGINT:
            self.force_exit = True
        self.should_exit = True
        self.on_stop()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        # What is there by now stays. Looking through all of it again and again, the garbage collector would keep every
        # request waiting for a tenth of a second.
        gc.collect()
        gc.freeze()
        gc.collect()  # finds nothing, and learns that: how much there was decides when it looks again
        self.watcher = asyncio.create_task(self.watch())
        self.on_started()

    async def watch(self) -> None:
        loop = asyncio.get_running_loop()
        parent = multiprocessing.parent_process()
        connections: Connections = cast("Litestar", self.config.app).state.connections
        told, tell_at = 0, 0.0
        while True:
            await asyncio.sleep(1)
            if parent is not None and not parent.is_alive():  # killed: nobody else would end this process
                self.handle_exit(signal.SIGTERM, None)
            now = loop.time()
            for connection in list(self.server_state.connections):
                connection.check(now)  # type: ignore[union-attr]
            if connections.ended > told and now >= tell_at:
                _log.warning("%d connections closed to make room for others", connections.ended - told)
                told, tell_at = connections.ended, now + TELL_SECONDS

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        loop = asyncio.get_running_loop()
        waiting = []
        for sock in sockets or []:  # take what the kernel has already accepted: closing would reset it
            with contextlib.suppress(BlockingIOError, OSError):
                while True:
                    waiting.append(sock.accept()[0])
        for server in self.servers:
            server.close()
        for sock in sockets or []:
            sock.close()
        for sock in waiting:
            sock.setblocking(False)
            await loop.connect_accepted_socket(self._protocol, sock)
        for connection in list(self.server_state.connections):
            connection.shutdown()
        end = loop.time() + DRAIN_SECONDS
        while self.server_state.connections and loop.time() < end:  # noqa: ASYNC110  (uvicorn's own set, it tells nobody)
            await asyncio.sleep(0.02)
        await super().shutdown(sockets)
        if self.watcher is not None:
            self.watcher.cancel()

    def _protocol(self) -> asyncio.Protocol:
        return GuardedProtocol(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)


def serve_one(make: Callable[[], Litestar], sock: socket.socket, started: Callable[[], object]) -> int:
    """Serve in this process until SIGTERM or SIGINT; returns the exit code."""
    app = make()
    settings = app.state.settings
    app.state.connections = Connections(capacity(), settings.connections_per_network, settings.trusted_proxies)

    def begin_draining() -> None:
        app.state.is_draining = True

    config = uvicorn.Config(
        app,
        http=GuardedProtocol,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=10,
        timeout_graceful_shutdown=STOP_SECONDS,
        interface="asgi3",
    )
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)  # connections inherit it
    server = GuardedServer(config, on_started=started, on_stop=begin_draining)
    try:
        server.run(sockets=[sock])
    except SystemExit as stopped:
        if stopped.code:
            return 1
    return 0


def _child(make: Callable[[], Litestar], sock: socket.socket, ready: Any) -> None:
    sys.exit(serve_one(make, sock, ready.release))


def serve_many(make: Callable[[], Litestar], sock: socket.socket, workers: int, started: Callable[[], object]) -> int:
    """Several processes that share one listening socket, so that none takes its queue along when it dies.

    `make` is sent to each of them, so it must be importable. One that dies is replaced; one that can't start ends all.
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
        process = context.Process(target=_child, args=(make, sock, ready), name="movie-search serve")
        process.start()
        return process, time.monotonic()

    running = [spawn() for _ in range(workers)]
    awaited = workers
    code = 0
    while not stopping:
        wait_for_any([process.sentinel for process, _ in running], timeout=0.1)
        while awaited and ready.acquire(block=False):
            awaited -= 1
            if not awaited:
                started()
        for place, (process, born) in enumerate(running):
            if process.is_alive() or stopping:
                continue
            if process.exitcode == 1 or time.monotonic() - born < 1:  # could not start: it would only die again
                stopping, code = True, 1
            else:
                running[place] = spawn()
    sock.close()  # ours would go on queueing connections that nobody takes
    for process, _ in running:
        if process.is_alive():
            process.terminate()
    end = time.monotonic() + STOP_SECONDS + 3
    for process, _ in running:
        process.join(max(0.1, end - time.monotonic()))
        if process.is_alive():
            process.kill()
            process.join()
            code = 1
        code = code or int(process.exitcode not in {0, -signal.SIGTERM, -signal.SIGINT})  # told before it listened
    return code
