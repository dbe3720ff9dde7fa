"""Email delivery by SMTP over one persistent connection."""

import asyncio
import ssl
from contextlib import suppress

from aiosmtplib import SMTP, SMTPAuthenticationError, SMTPException, SMTPResponseException

from movie_adapters.email.messages import build_message, needs_utf8
from movie_adapters.email.syntax import split_mailbox
from movie_adapters.smtp_url import Tls, parse_smtp_url
from movie_core.accounts import outbox
from movie_core.accounts.outbox import MailRejected, MailUnavailable, OutgoingEmail
from movie_core.accounts.users import Address
from movie_core.ports import Mailer

CHECK_SECONDS = 2.0
"""Timeout of the liveness check (RSET) of an idle connection; after it a new connection is opened."""
CLOSE_SECONDS = 1.0
"""Timeout of QUIT."""
_SERVER_WIDE_CODES = (421, 530, 535)
"""Reply codes that do not depend on the email: the server closes the connection, or requires authentication."""


class SmtpMailer(Mailer):
    """`Mailer` that sends emails to an SMTP server, one at a time. With encryption, the certificate must be valid."""

    def __init__(self, url: str, sender: str, *, tls_context: ssl.SSLContext | None = None) -> None:
        """Raises `ValueError` for a URL that `parse_smtp_url` rejects, or a sender that is not one plain mailbox.

        `tls_context` replaces the system's certificate authorities.
        """
        self._server = parse_smtp_url(url)
        self._sender = "@".join(split_mailbox(sender))
        self._tls_context = tls_context
        self._lock = asyncio.Lock()
        self._client: SMTP | None = None

    async def send(self, email: OutgoingEmail) -> None:
        try:
            message = build_message(email, self._sender).as_bytes()
            recipient = "@".join(split_mailbox(email.recipient))
        except ValueError as error:
            raise MailRejected(str(error), is_final=True) from None
        attempt = _Attempt(self._sender, recipient, message, needs_utf8(self._sender, recipient))
        try:
            async with asyncio.timeout(outbox.SEND_SECONDS), self._lock:
                await self._deliver(attempt)
        except (SMTPException, OSError) as error:
            raise attempt.classify(error) from None

    async def check(self) -> None:
        """Connect and authenticate without sending an email. Raises `MailUnavailable`."""
        attempt = _Attempt(self._sender, self._sender, b"", is_utf8=False)
        try:
            async with asyncio.timeout(outbox.SEND_SECONDS), self._lock:
                await self._open_connection()
        except (SMTPException, OSError) as error:
            raise MailUnavailable(attempt.classify(error).detail) from None

    async def erase(self, address: Address) -> None:
        """Does nothing: this mailer stores no emails."""

    async def close(self) -> None:
        """Close the connection with QUIT if the server responds. Sending again opens a new connection."""
        async with self._lock:
            if self._client is not None:
                with suppress(SMTPException, OSError):
                    async with asyncio.timeout(CLOSE_SECONDS):
                        await self._client.quit()
                self._discard_connection()

    async def _deliver(self, attempt: "_Attempt") -> None:
        try:
            await attempt.run(await self._open_connection())
        except BaseException as error:
            # Only after a rejection reply is the state of the SMTP session known; otherwise drop the connection.
            if not (isinstance(error, SMTPResponseException) and _is_rejection(error.code)):
                self._discard_connection()
            raise

    async def _open_connection(self) -> SMTP:
        if self._client is not None:
            # Servers close idle connections, and the previous email may have failed between RCPT and DATA.
            with suppress(SMTPException, OSError):
                async with asyncio.timeout(CHECK_SECONDS):
                    await self._client.rset()
                    return self._client
            self._discard_connection()
        server = self._server
        client = SMTP(
            hostname=server.host,
            port=server.port,
            username=server.username,
            password=server.password,
            # The default, the machine's own host name, takes a DNS look-up that may be slow, and discloses that name.
            local_hostname=self._sender.rpartition("@")[2],
            timeout=None,
            use_tls=server.tls is Tls.IMPLICIT,
            start_tls=server.tls is Tls.STARTTLS,
            tls_context=self._tls_context,
        )
        await client.connect()
        self._client = client
        if client.is_ehlo_or_helo_needed:
            await client.ehlo()
        return client

    def _discard_connection(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None


class _Attempt:
    """One delivery attempt. Records the last SMTP command, so that an error can be classified."""

    def __init__(self, sender: str, recipient: str, message: bytes, is_utf8: bool) -> None:
        self._sender = sender
        self._recipient = recipient
        self._message = message
        self._is_utf8 = is_utf8
        self._stage = "connecting"

    async def run(self, client: SMTP) -> None:
        if self._is_utf8 and not client.supports_extension("smtputf8"):
            raise MailRejected("the server does not accept non-ASCII characters before the @ (SMTPUTF8)", is_final=True)
        self._stage = "MAIL"
        await client.mail(self._sender, options=["SMTPUTF8"] if self._is_utf8 else [], encoding="utf-8")
        self._stage = "RCPT"
        await client.rcpt(self._recipient, encoding="utf-8")
        self._stage = "DATA"
        await client.data(self._message)

    def classify(self, error: Exception) -> MailRejected | MailUnavailable:
        """Classify an error of this attempt: is the email rejected, or the server unavailable?"""
        if isinstance(error, SMTPAuthenticationError):
            return MailUnavailable(f"authentication failed: {self._reply(error)}")
        if isinstance(error, SMTPResponseException) and error.code in _SERVER_WIDE_CODES:
            return MailUnavailable(self._reply(error))
        if isinstance(error, SMTPResponseException) and _is_rejection(error.code) and self._stage != "connecting":
            if self._stage == "MAIL" and error.code >= 500:
                # The sender is the same for every email, so no email can be sent; except that the server may have
                # rejected SMTPUTF8, which only this email requires.
                detail = f"the sender was rejected: {self._reply(error)}"
                return MailRejected(detail, is_final=False) if self._is_utf8 else MailUnavailable(detail)
            return MailRejected(self._reply(error), is_final=error.code >= 500)
        if self._stage == "DATA":
            return MailRejected("no reply to the message was received", is_final=False)
        if isinstance(error, TimeoutError):
            return MailUnavailable(f"timeout ({self._stage})")
        return MailUnavailable(self._reply(error))

    def _reply(self, error: Exception) -> str:
        """The server's reply as one line of at most `MAX_ERROR` characters, without the recipient's address."""
        reply = str(error.args[0]) if len(error.args) == 1 else " ".join(map(str, error.args[:2]))
        # Replies may contain control characters, which not every database can store.
        printable = "".join(c if c.isprintable() else " " for c in reply.replace(self._recipient, "the recipient"))
        return " ".join(printable.split())[: outbox.MAX_ERROR] or type(error).__name__


def _is_rejection(code: int) -> bool:
    return 400 <= code < 600 and code not in _SERVER_WIDE_CODES
