"""TLS of the reverse proxy, with its own configuration file, and of outgoing connections."""

import asyncio
import contextlib
import socket
import ssl
import struct
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import trustme
from tests.support.deployment import PATIENCE, running, wait_until
from tests.support.documents import ROOT
from tests.support.servers import free_port

from movie_adapters.redis.client import RedisClient
from movie_adapters.sources.http import SourceFault, SourceHttp
from movie_adapters.sql.engine import create_engine
from movie_core.errors import StoreUnavailable
from movie_core.search.retry_policy import StatusSet


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, int]]:
    """The reverse proxy as in production, with a certificate that it issues itself. Yields its HTTP and HTTPS ports."""
    folder = tmp_path_factory.mktemp("proxy")
    http, https, health, api = (free_port() for _ in range(4))
    environ = {
        "SITE": "localhost",
        "PUBLIC_URL": "https://localhost",
        "API_HOST": "127.0.0.1",
        "API_PORT": str(api),
        "HTTP_PORT": str(http),
        "HTTPS_PORT": str(https),
        "HEALTH_PORT": str(health),
        **{name: str(folder) for name in ("HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME")},
    }
    caddy = [Path(sys.executable).with_name("caddy"), "run", "--config", ROOT / "deploy/caddy/Caddyfile"]
    with running([*caddy, "--adapter", "caddyfile"], folder, **environ):
        wait_until(lambda: bool(handshake(https, ssl.TLSVersion.TLSv1_3)))
        yield http, https


def handshake(
    port: int, lowest: ssl.TLSVersion, highest: ssl.TLSVersion | None = None, ciphers: str = "ALL:@SECLEVEL=0"
) -> str:
    """Connect with any TLS version of the range, or only `lowest`, accepting any certificate.

    Returns version and cipher, or an empty string if the handshake fails.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers(ciphers)
    with warnings.catch_warnings(action="ignore"):  # deprecation of old versions
        context.minimum_version, context.maximum_version = lowest, highest or lowest
    with (
        contextlib.suppress(OSError),
        socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as encrypted,
    ):
        return f"{encrypted.version()} {(encrypted.cipher() or ('',))[0]}"
    return ""


def test_the_proxy_accepts_only_current_tls_versions(proxy: tuple[int, int]) -> None:
    _, https = proxy
    for old in (ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1):
        assert handshake(https, old) == ""
    assert handshake(https, ssl.TLSVersion.TLSv1_2).startswith("TLSv1.2 ")
    assert handshake(https, ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_3).startswith("TLSv1.3 ")


def test_the_proxy_accepts_only_authenticated_ciphers_with_forward_secrecy(proxy: tuple[int, int]) -> None:
    _, https = proxy
    assert "GCM" in handshake(https, ssl.TLSVersion.TLSv1_2)
    for weak in (
        "AES128-SHA",
        "AES256-GCM-SHA384",
        "ECDHE+AES+SHA1",
        "ECDHE+SHA256+AES:!AESGCM",
        "aNULL",
        "eNULL",
    ):
        assert handshake(https, ssl.TLSVersion.TLSv1_2, ciphers=f"{weak}:@SECLEVEL=0") == "", weak


def test_the_proxy_serves_nothing_over_plain_http(proxy: tuple[int, int]) -> None:
    http, _ = proxy
    for path in ("/", "/api/v1/movies/", "/docs"):
        response = httpx.get(f"http://127.0.0.1:{http}{path}", headers={"host": "localhost"}, trust_env=False)
        assert response.status_code in (308, 400, 403, 404, 426), path
        assert response.headers.get("location", "https://localhost").startswith("https://localhost"), path


@contextlib.asynccontextmanager
async def encrypted_server(authority: trustme.CA, name: str):  # type: ignore[no-untyped-def]
    """A server that replies once the handshake has succeeded. Yields its port and the list of received requests."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(name).configure_cert(context)
    requests: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(OSError, EOFError):
            if request := await reader.read(1000):
                requests.append(request)
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}" if b"GET" in request else b"+PONG\r\n")
                await writer.drain()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1], requests


@pytest.mark.parametrize(("name", "is_known"), [("127.0.0.1", True), ("127.0.0.1", False), ("elsewhere.test", True)])
async def test_nothing_is_sent_to_a_source_with_an_invalid_certificate(
    name: str, is_known: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = trustme.CA()
    create = ssl.create_default_context

    def trusting(*arguments: object, **options: object) -> ssl.SSLContext:
        context = create(*arguments, **options)  # type: ignore[arg-type]
        authority.configure_trust(context)
        return context

    async with encrypted_server(authority, name) as (port, requests):
        with monkeypatch.context() as patched:
            if is_known:
                patched.setattr(ssl, "create_default_context", trusting)
            source = SourceHttp(f"https://127.0.0.1:{port}", timeout=PATIENCE, retry_status=StatusSet.parse("5xx"))
        if name == "127.0.0.1" and is_known:
            assert await source.get("movies/") == {}
        else:
            with pytest.raises(SourceFault):
                await source.get("movies/")
        await source.close()
    assert len(requests) == (name == "127.0.0.1" and is_known), "nothing is sent before the certificate is verified"


@pytest.mark.parametrize("is_known", [True, False])
async def test_nothing_is_sent_to_redis_with_an_invalid_certificate(tmp_path: Path, is_known: bool) -> None:
    authority = trustme.CA()
    (authority if is_known else trustme.CA()).cert_pem.write_to_path(tmp_path / "ca.pem")
    async with encrypted_server(authority, "127.0.0.1") as (port, requests):
        client = RedisClient(f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={tmp_path / 'ca.pem'}", timeout=PATIENCE)
        if is_known:
            assert await client.call("PING") in (b"PONG", True)
        else:
            with pytest.raises(StoreUnavailable):
                await client.call("PING")
        await client.close()
    assert bool(requests) is is_known


SSL_REQUEST = struct.pack("!ii", 8, 80877103)
"""The first message of a PostgreSQL client that requests TLS."""


async def sent_after_handshake(authority: trustme.CA, url_options: str, host: str = "127.0.0.1") -> bytes:
    """Return the first message that our engine sends after the TLS handshake; empty if it disconnects before."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(host).configure_cert(context)
    message = asyncio.get_running_loop().create_future()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            assert await reader.readexactly(8) == SSL_REQUEST
            writer.write(b"S")
            await writer.start_tls(context)
            (length,) = struct.unpack("!i", await reader.readexactly(4))
            message.set_result(await reader.readexactly(length - 4))
        except (ssl.SSLError, OSError, EOFError):
            if not message.done():
                message.set_result(b"")
        finally:
            writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1") as server:
        port = server.sockets[0].getsockname()[1]
        engine = create_engine(f"postgresql+asyncpg://movies:canary@127.0.0.1:{port}/movies?{url_options}")
        with contextlib.suppress(Exception):  # the stand-in always closes the connection
            async with engine.connect():
                pass
        await engine.dispose()
        return bytes(await asyncio.wait_for(message, PATIENCE))


async def test_nothing_is_sent_to_postgresql_with_an_invalid_certificate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trusted, other = trustme.CA(), trustme.CA()
    trusted.cert_pem.write_to_path(tmp_path / "authority.pem")
    monkeypatch.setenv("PGSSLROOTCERT", str(tmp_path / "authority.pem"))
    assert b"movies" in await sent_after_handshake(trusted, "ssl=verify-full")
    assert await sent_after_handshake(other, "ssl=verify-full") == b""
    assert await sent_after_handshake(trusted, "ssl=verify-full", host="192.0.2.1") == b""
