"""A load generator that uses less CPU than the server: prepared requests, keep-alive connections, minimal parsing.

It runs in the caller's event loop, preferably uvloop on a core of its own.
"""

import asyncio
import contextlib
import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import cast

RESPONSE_TIMEOUT = 10.0
"""Seconds after which a request counts as lost."""

Done = Callable[["Connection", bytes, int], None]
"""Callback with the connection, the received bytes, and the offset of the body; no bytes if the connection was lost."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The response to one request. `status` is 0 if the connection was lost or `RESPONSE_TIMEOUT` expired."""

    port: int
    status: int
    head: bytes
    body: bytes
    seconds: float


@dataclass(frozen=True, slots=True)
class Stretch:
    """Responses and CPU time of a server in a period of time."""

    statuses: Counter[int]
    seconds: float
    cpu: float
    """CPU seconds used by the server."""

    @property
    def count(self) -> int:
        return self.statuses.total()

    @property
    def rate(self) -> float:
        """Responses per second."""
        return self.count / self.seconds


class Connection(asyncio.Protocol):
    """A keep-alive connection with one outstanding request at a time."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._transport: asyncio.Transport | None = None
        self._done: Done | None = None
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def ask(self, request: bytes, done: Done) -> None:
        self._done = done
        if self._transport is None:
            self._end(b"", 0)
        else:
            self._transport.write(request)

    async def get(self, request: bytes) -> Answer:
        """Sends a request and returns the response with its duration."""
        future: asyncio.Future[tuple[bytes, int]] = asyncio.get_running_loop().create_future()

        def done(_: Connection, data: bytes, body: int) -> None:
            if not future.done():
                future.set_result((data, body))

        began = time.perf_counter()
        self.ask(request, done)
        data, body = b"", 0
        with contextlib.suppress(TimeoutError):
            data, body = await asyncio.wait_for(future, RESPONSE_TIMEOUT)
        seconds = time.perf_counter() - began
        return Answer(self.port, int(data[9:12] or 0), data[:body], data[body:], seconds)

    def data_received(self, data: bytes) -> None:
        if self._buffer:
            data = self._buffer + data
        end = data.find(b"\r\n\r\n") + 4
        if end >= 4:
            at = data.find(b"content-length: ", 0, end) + 16
            if len(data) >= end + int(data[at : data.find(b"\r", at)]):
                self._buffer = b""
                self._end(data, end)
                return
        self._buffer = data

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._end(b"", 0)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def _end(self, data: bytes, body: int) -> None:
        done, self._done = self._done, None
        if done is not None:
            done(self, data, body)


async def connect(port: int, count: int) -> list[Connection]:
    """Opens connections to a server on this machine."""
    loop = asyncio.get_running_loop()
    return [(await loop.create_connection(lambda: Connection(port), "127.0.0.1", port))[1] for _ in range(count)]


def request_of(target: str, token: str | None = None) -> bytes:
    """Returns the bytes of a GET request."""
    authorization = f"Authorization: Bearer {token}\r\n" if token else ""
    return (
        f"GET {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: bench\r\nAccept: */*\r\n{authorization}\r\n".encode()
    )


def post_of(target: str, body: bytes, token: str, method: bytes = b"POST") -> bytes:
    """Returns the bytes of a request with a JSON body."""
    head = request_of(target, token).replace(b"GET", method, 1).removesuffix(b"\r\n")
    return head + b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body


async def hammer(
    port: int, requests: Iterator[bytes], seconds: float, cpu: Callable[[], float], connections: int = 32
) -> Stretch:
    """Sends requests as fast as they are answered, until the time or the requests end; one outstanding request per
    connection. `cpu` returns the CPU seconds used by the server."""
    finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    statuses: Counter[bytes] = Counter()

    def send_next(connection: Connection, data: bytes, _: int) -> None:
        if finished.done():
            return
        statuses[data[9:12]] += 1
        request = next(requests, None)
        if request is None or not data:
            finished.set_result(None)
        else:
            connection.ask(request, send_next)

    opened = await connect(port, connections)
    began, cpu_before = time.perf_counter(), cpu()
    for connection, request in zip(opened, requests, strict=False):
        connection.ask(request, send_next)
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(finished, seconds)
    took, used = time.perf_counter() - began, cpu() - cpu_before
    for connection in opened:
        connection.close()
    return Stretch(Counter({int(status or 0): count for status, count in statuses.items()}), took, used)


async def burst(asked: Iterable[tuple[int, bytes]]) -> list[Answer]:
    """Sends all (port, request) pairs concurrently, each over a connection opened before."""
    pairs = [((await connect(port, 1))[0], request) for port, request in asked]
    answers = await asyncio.gather(*(connection.get(request) for connection, request in pairs))
    for connection, _ in pairs:
        connection.close()
    return answers


async def steady(ports: Sequence[int], request: bytes | Iterator[bytes], rate: float, seconds: float) -> list[Answer]:
    """Sends requests at a fixed rate (open loop), to each server in turn, independent of the responses.

    `request` is one request, or an iterator of them. Latency is measured from the scheduled time of a request, so a
    request that could not be sent in time counts as late (no coordinated omission).
    """
    idle = {port: await connect(port, 32) for port in ports}
    answers: list[Answer] = []
    requests = itertools.repeat(request) if isinstance(request, bytes) else request

    async def ask(port: int, due: float) -> None:
        connection = idle[port].pop() if idle[port] else (await connect(port, 1))[0]
        answer = await connection.get(next(requests))
        latency = time.perf_counter() - due
        answers.append(Answer(port, answer.status, answer.head, answer.body, latency))
        idle[port].append(connection)

    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for number in range(round(rate * seconds)):
            due = began + number / rate
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            group.create_task(ask(ports[number % len(ports)], due))
    for connection in (one for connections in idle.values() for one in connections):
        connection.close()
    return answers
