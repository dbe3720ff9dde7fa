"""Mails by SMTP, over one connection that is kept between them."""

import asyncio
import ssl
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from urllib.parse import parse_qs, unquote, urlsplit

from aiosmtplib import SMTP, SMTPAuthenticationError, SMTPException, SMTPResponseException

from movie_adapters.email.messages import build_message, needs_utf8, split_mailbox
from movie_core.accounts import outbox
from movie_core.accounts.outbox import MailRejected, MailUnavailable, OutgoingEmail
from movie_core.accounts.users import Address
from movie_core.ports import Mailer

CHECK_SECONDS = 2.0
"""How long a kept connection has to show that it is alive; then a new one is opened."""
CLOSE_SECONDS = 1.0
"""How long the server has to answer our good-bye."""
_FOR_ALL = (421, 530, 535)
"""Answers that would be the same to any mail: the server closes, or wants another login."""
_EXPECTED = "must look like smtp://user:pass@host:587?tls=starttls or smtps://user:pass@host:465"


class Tls(StrEnum):
    NONE = "none"
    STARTTLS = "starttls"
    IMPLICIT = "implicit"


@dataclass(frozen=True, slots=True)
class SmtpServer:
    """A server to hand mails to. Without a username there is no login."""

    host: str
    port: int
    tls: Tls
    username: str | None = None
    password: str | None = field(default=None, repr=False)

    @property
    def is_encrypted(self) -> bool:
        return self.tls is not Tls.NONE


def parse_smtp_url(text: str) -> SmtpServer:
    """`smtp://user:pass@host:587?tls=starttls`, `smtps://user:pass@host:465`, or `smtp://host:25` without encryption;
    user and password percent-encoded, both or neither. Raises `ValueError`, whose text has nothing of the URL."""
    try:
        parts = urlsplit(text)
        port = parts.port
        options = parse_qs(parts.query, strict_parsing=bool(parts.query), keep_blank_values=True)
    except ValueError:
        raise ValueError(_EXPECTED) from None
    forms = {
        ("smtp", ()): (Tls.NONE, 25),
        ("smtp", ("none",)): (Tls.NONE, 25),
        ("smtp", ("starttls",)): (Tls.STARTTLS, 587),
        ("smtps", ()): (Tls.IMPLICIT, 465),
    }
    tls, usual_port = forms.get((parts.scheme, tuple(options.pop("tls", ()))), (None, 0))
    has_login = bool(parts.username and parts.password)
    is_whole = parts.hostname and parts.path in ("", "/") and not parts.fragment and not options and port != 0
    if tls is None or not is_whole or ("@" in parts.netloc and not has_login):
        raise ValueError(_EXPECTED)
    return SmtpServer(
        host=parts.hostname or "",
        port=port or usual_port,
        tls=tls,
        username=unquote(parts.username or "") if has_login else None,
        password=unquote(parts.password or "") if has_login else None,
    )


class SmtpMailer(Mailer):
    """Hands mails to a server, one at a time. Its certificate has to be valid where there is encryption."""

    def __init__(self, url: str, sender: str, *, tls_context: ssl.SSLContext | None = None) -> None:
        """Raises `ValueError` for a URL that `parse_smtp_url` doesn't take, or a sender that isn't one plain mailbox.
        The context tells whom to trust in place of the system's authorities."""
        self._server = parse_smtp_url(url)
        self._sender = "@".join(split_mailbox(sender))
        self._tls_context = tls_context
        self._turn = asyncio.Lock()
        self._client: SMTP | None = None

    async def send(self, email: OutgoingEmail) -> None:
        try:
            message = build_message(email, self._sender).as_bytes()
            recipient = "@".join(split_mailbox(email.recipient))
        except ValueError as error:
            raise MailRejected(str(error), is_final=True) from None
        attempt = _Attempt(self._sender, recipient, message, needs_utf8(self._sender, recipient))
        try:
            async with asyncio.timeout(outbox.SEND_SECONDS), self._turn:
                await self._make(attempt)
        except (SMTPException, OSError) as error:
            raise attempt.verdict(error) from None

    async def erase(self, address: Address) -> None:
        """Nothing is kept here."""

    async def close(self) -> None:
        """Say good-bye to the server, if it is still there. Sending again opens a new connection."""
        async with self._turn:
            if self._client is not None:
                with suppress(SMTPException, OSError):
                    async with asyncio.timeout(CLOSE_SECONDS):
                        await self._client.quit()
                self._drop()

    async def _make(self, attempt: "_Attempt") -> None:
        try:
            await attempt.make(await self._connected())
        except BaseException as error:
            # Only after a plain answer to a command it is known what the server expects next.
            if not (isinstance(error, SMTPResponseException) and _is_refusal(error.code)):
                self._drop()
            raise

    async def _connected(self) -> SMTP:
        if self._client is not None:
            # Servers close idle connections; and the last mail may have ended between RCPT and DATA.
            with suppress(SMTPException, OSError):
                async with asyncio.timeout(CHECK_SECONDS):
                    await self._client.rset()
                    return self._client
            self._drop()
        server = self._server
        client = SMTP(
            hostname=server.host,
            port=server.port,
            username=server.username,
            password=server.password,
            # The machine's own name takes a look-up that may be slow, and tells what nobody needs to know.
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

    def _drop(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None


class _Attempt:
    """One try to hand over a mail, which knows how far it came."""

    def __init__(self, sender: str, recipient: str, message: bytes, is_utf8: bool) -> None:
        self._sender = sender
        self._recipient = recipient
        self._message = message
        self._is_utf8 = is_utf8
        self._stage = "connecting"

    async def make(self, client: SMTP) -> None:
        if self._is_utf8 and not client.supports_extension("smtputf8"):
            raise MailRejected("the server takes no address with letters beyond ASCII before the @", is_final=True)
        self._stage = "MAIL"
        await client.mail(self._sender, options=["SMTPUTF8"] if self._is_utf8 else [], encoding="utf-8")
        self._stage = "RCPT"
        await client.rcpt(self._recipient, encoding="utf-8")
        self._stage = "DATA"
        await client.data(self._message)

    def verdict(self, error: Exception) -> MailRejected | MailUnavailable:
        """What an error of this try means."""
        if isinstance(error, SMTPAuthenticationError):
            return MailUnavailable(f"the login was refused: {self._told(error)}")
        if isinstance(error, SMTPResponseException) and error.code in _FOR_ALL:
            return MailUnavailable(self._told(error))
        if isinstance(error, SMTPResponseException) and _is_refusal(error.code) and self._stage != "connecting":
            if self._stage == "MAIL" and error.code >= 500:
                # It concerns the sender, who is the same for all; unless it is about what this mail alone asked for.
                told = f"the sender was refused: {self._told(error)}"
                return MailRejected(told, is_final=False) if self._is_utf8 else MailUnavailable(told)
            return MailRejected(self._told(error), is_final=error.code >= 500)
        if self._stage == "DATA":
            return MailRejected("the answer to the message was lost", is_final=False)
        if isinstance(error, TimeoutError):
            return MailUnavailable(f"no answer in time ({self._stage})")
        return MailUnavailable(self._told(error))

    def _told(self, error: Exception) -> str:
        answer = str(error.args[0]) if len(error.args) == 1 else " ".join(map(str, error.args[:2]))
        # What servers send needn't be text that can be stored.
        told = "".join(c if c.isprintable() else " " for c in answer.replace(self._recipient, "the recipient"))
        return " ".join(told.split())[: outbox.MAX_ERROR] or type(error).__name__


def _is_refusal(code: int) -> bool:
    return 400 <= code < 600 and code not in _FOR_ALL
