"""An SMTP server that stores the emails it receives and injects faults on demand, for tests and benchmarks.

As a program, it appends a line of JSON for each email to a file before it accepts the email:
`python tests/support/smtp_sink.py --port 1025 --record mails.jsonl`. It prints its port once it listens.
"""

import argparse
import asyncio
import contextlib
import email
import email.policy
import json
import re
import ssl
import sys
from collections.abc import Callable
from dataclasses import dataclass
from email.message import EmailMessage
from pathlib import Path
from typing import Literal, cast

from aiosmtpd.smtp import SMTP, Envelope, Session

AfterData = Literal["answer", "hang", "drop"]


@dataclass(frozen=True, slots=True)
class Received:
    """A received email."""

    sender: str
    recipients: tuple[str, ...]
    raw: bytes

    @property
    def message(self) -> EmailMessage:
        return email.message_from_bytes(self.raw, policy=email.policy.SMTPUTF8)

    @property
    def text(self) -> str:
        """The text/plain part."""
        body = self.message.get_body(("plain",))
        return "" if body is None else str(body.get_content())

    @property
    def links(self) -> list[str]:
        return re.findall(r"https?://\S+", self.text)


class SmtpSink:
    """An async context manager that listens on a local port."""

    def __init__(
        self,
        *,
        port: int = 0,
        tls: Literal["none", "starttls", "implicit"] = "none",
        tls_context: ssl.SSLContext | None = None,
        login: tuple[str, str] | None = None,
        knows_utf8: bool = True,
        on_mail: Callable[[Received], None] = lambda _: None,
    ) -> None:
        """TLS and login are required if configured. Port 0 selects a free one."""
        self.port = port
        self.mails: list[Received] = []
        self.connections = 0
        """Connections accepted so far."""
        self.commands: list[str] = []
        """Commands received, without arguments."""
        self.answers: dict[str, str] = {}
        """Replies that replace the usual ones, by stage (`greeting`, `MAIL`, `RCPT`, `DATA` after the email) or
        recipient. A reply with 421 closes the connection."""
        self.after_data: AfterData = "answer"
        """With `hang` and `drop`, the email is stored but not acknowledged."""
        self._tls = tls
        self._tls_context = tls_context
        self._login = login
        self._knows_utf8 = knows_utf8
        self.on_mail = on_mail
        self._open: set[_Connection] = set()

    async def __aenter__(self) -> "SmtpSink":
        await self.listen()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def listen(self) -> None:
        """Starts listening, on the same port after a stop."""
        context = self._tls_context if self._tls == "implicit" else None
        self._server = await asyncio.get_running_loop().create_server(
            lambda: _Connection(self), "127.0.0.1", self.port, ssl=context
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Refuses new connections and closes open ones."""
        self._server.close()
        tasks = [connection.task() for connection in self._open]
        self.disconnect()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._server.wait_closed()

    def disconnect(self) -> None:
        """Aborts open connections without a reply."""
        for connection in self._open:
            connection.task().cancel()  # after a failed handshake, nothing else ends it
            if connection.transport is not None:
                with contextlib.suppress(AttributeError):  # some Python versions raise this after the end of TLS
                    cast(asyncio.Transport, connection.transport).abort()

    # Called by the protocol.

    async def handle_MAIL(  # noqa: N802
        self, _server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if self._login is not None and not session.authenticated:
            return "530 5.7.0 Authentication required"
        if answer := self.answers.get("MAIL"):
            return answer
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 2.1.0 OK"

    async def handle_RCPT(  # noqa: N802
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        if answer := self.answers.get(address) or self.answers.get("RCPT"):
            return answer
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 OK"

    async def handle_DATA(self, server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802
        if answer := self.answers.get("DATA"):
            return answer
        assert envelope.original_content is not None
        mail = Received(envelope.mail_from or "", tuple(envelope.rcpt_tos), envelope.original_content)
        self.mails.append(mail)
        self.on_mail(mail)
        if self.after_data == "drop":
            cast(asyncio.Transport, server.transport).abort()
        if self.after_data != "answer":
            await asyncio.Event().wait()  # until the connection is closed
        return "250 2.0.0 OK"


class _Connection(SMTP):
    def __init__(self, sink: SmtpSink) -> None:
        super().__init__(
            sink,
            enable_SMTPUTF8=sink._knows_utf8,
            hostname="sink.example.com",
            ident="sink",
            tls_context=sink._tls_context if sink._tls == "starttls" else None,
            require_starttls=sink._tls == "starttls",
            auth_require_tls=False,
            auth_callback=lambda _, user, word: (user.decode(), word.decode()) == sink._login,
            loop=asyncio.get_running_loop(),
        )
        self._sink = sink
        self._is_greeted = False

    def task(self) -> "asyncio.Task[None]":
        assert self._handler_coroutine is not None
        return self._handler_coroutine

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._sink.connections += not self._is_greeted  # once more after STARTTLS
        self._sink._open.add(self)
        super().connection_made(transport)

    def connection_lost(self, error: Exception | None) -> None:
        self._sink._open.discard(self)
        super().connection_lost(error)

    async def _call_handler_hook(self, command: str, *args: object) -> object:
        self._sink.commands.append(command)
        return await super()._call_handler_hook(command, *args)

    async def push(self, status: str | bytes) -> None:
        if not self._is_greeted:
            self._is_greeted = True
            status = self._sink.answers.get("greeting", status)
        text = status if isinstance(status, str) else status.decode()
        await super().push(text)
        if text.startswith("421") and self.transport is not None:
            cast(asyncio.Transport, self.transport).close()


async def _serve(port: int, record: Path) -> None:
    with record.open("a", encoding="utf-8") as file:

        def keep(mail: Received) -> None:
            row = {"message_id": mail.message["Message-ID"], "to": mail.recipients, "links": mail.links}
            file.write(json.dumps(row) + "\n")
            file.flush()

        async with SmtpSink(port=port, on_mail=keep) as sink:
            sys.stdout.write(f"{sink.port}\n")
            sys.stdout.flush()
            await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Take mails and note them.")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--record", type=Path, required=True)
    arguments = parser.parse_args()
    asyncio.run(_serve(arguments.port, arguments.record))
