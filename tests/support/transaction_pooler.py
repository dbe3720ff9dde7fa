"""A stand-in for PgBouncer in transaction mode: each transaction runs on another connection to the server.

It supports no prepared statements beyond a transaction, and rejects startup parameters that PgBouncer does not know.
"""

import asyncio
import struct
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from urllib.parse import parse_qs, urlsplit

SERVER_CONNECTIONS = 3
_SSL_REQUEST = 80877103
_CANCEL_REQUEST = 80877102
_KNOWN_PARAMETERS = {b"user", b"database", b"application_name", b"client_encoding", b"datestyle", b"timezone"}

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@contextmanager
def transaction_pooler(server_url: str, *, delay: float = 0.0) -> Iterator[str]:
    """Yields the URL of a pooler before a server with a Unix socket. `delay` are the seconds before it responds to a
    new client, like a suspended database that has to start."""
    parts = urlsplit(server_url)
    pooler = _Pooler(f"{parse_qs(parts.query)['host'][0]}/.s.PGSQL.5432", parts.path[1:], delay)
    started: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event, int]] = Future()

    async def serve() -> None:
        stopped = asyncio.Event()
        server = await asyncio.start_server(pooler.serve, "127.0.0.1", 0)
        started.set_result((asyncio.get_running_loop(), stopped, server.sockets[0].getsockname()[1]))
        await stopped.wait()
        server.close()
        await pooler.close()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    loop, stopped, port = started.result(10)
    try:
        yield f"postgresql+asyncpg://postgres@127.0.0.1:{port}{parts.path}?ssl=disable"
    finally:
        loop.call_soon_threadsafe(stopped.set)
        thread.join(10)


async def _read_message(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readexactly(5)
    return head + await reader.readexactly(struct.unpack("!i", head[1:])[0] - 4)


class _Pooler:
    def __init__(self, socket: str, database: str, delay: float) -> None:
        self._socket = socket
        self._database = database
        self._delay = delay
        self._idle: asyncio.Queue[Connection] = asyncio.Queue()
        """First in, first out, so that consecutive transactions of a client run on different connections."""
        self._opening: asyncio.Task[None] | None = None
        self._clients: set[asyncio.Task[None]] = set()
        self._greeting = b""
        self._writers: list[asyncio.StreamWriter] = []

    async def close(self) -> None:
        for client in self._clients:
            client.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)
        for writer in self._writers:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    async def _open_all(self) -> None:
        for _ in range(SERVER_CONNECTIONS):
            await self._open()

    async def _open(self) -> None:
        reader, writer = await asyncio.open_unix_connection(self._socket)
        self._writers.append(writer)
        parameters = b"user\0postgres\0database\0" + self._database.encode() + b"\0\0"
        writer.write(struct.pack("!ii", 8 + len(parameters), 196608) + parameters)
        greeting = b""
        while not greeting.endswith(b"Z\0\0\0\5I"):
            greeting += await _read_message(reader)
        self._greeting = greeting
        self._idle.put_nowait((reader, writer))

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._clients.add(task)
        self._writers.append(writer)
        with suppress(EOFError, OSError, asyncio.CancelledError):
            await asyncio.sleep(self._delay)
            if self._opening is None:
                self._opening = asyncio.create_task(self._open_all())
            await self._opening
            await self._serve(reader, writer)
        writer.close()
        self._clients.discard(task)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        length, code = struct.unpack("!ii", await reader.readexactly(8))
        if code == _SSL_REQUEST:
            writer.write(b"N")
            length, code = struct.unpack("!ii", await reader.readexactly(8))
        if code == _CANCEL_REQUEST:
            return
        words = (await reader.readexactly(length - 8)).split(b"\0")
        unknown = {name.lower() for name in words[::2] if name} - _KNOWN_PARAMETERS
        if unknown:
            fields = b"SFATAL\0C08P01\0Munsupported startup parameter: " + unknown.pop() + b"\0\0"
            writer.write(b"E" + struct.pack("!i", 4 + len(fields)) + fields)
            return
        writer.write(self._greeting)
        replies: asyncio.Task[None] | None = None
        server: Connection | None = None
        try:
            while (message := await _read_message(reader))[:1] != b"X":
                if server is None or replies is None or replies.done():
                    server = await self._idle.get()
                    replies = asyncio.create_task(self._reply(server, writer))
                server[1].write(message)
        finally:
            if server is not None and replies is not None and not replies.done():  # left within a transaction
                replies.cancel()
                server[1].close()
                await self._open()

    async def _reply(self, server: Connection, writer: asyncio.StreamWriter) -> None:
        """Forwards replies until the end of the transaction."""
        while (reply := await _read_message(server[0])) != b"Z\0\0\0\5I":
            writer.write(reply)
        self._idle.put_nowait(server)
        writer.write(reply)
