import asyncio
import json
import re
import ssl
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import trustme
from tests.support import smtp_sink
from tests.support.deployment import PATIENCE
from tests.support.smtp_sink import SmtpSink

from movie_adapters.email import smtp as smtp_mail
from movie_adapters.email.smtp import SmtpMailer
from movie_adapters.smtp_url import SmtpServer, Tls, parse_smtp_url
from movie_core.accounts import outbox as mails
from movie_core.accounts.outbox import MailKind, MailRejected, MailUnavailable, OutgoingEmail
from movie_core.ports import Mailer
from movie_core.testing import DeliveredEmail, MailerContract

SENDER = "noreply@example.com"
URL = "https://example.com/api/v1/x/"
CREATED = datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC)
EMAIL = OutgoingEmail("ab" * 16, MailKind.ACTIVATION, "ann@example.com", CREATED, (URL,))
LOGIN = ("user@example.com", "p/w:@ß%")
USERINFO = "user%40example.com:p%2Fw%3A%40%C3%9F%25"


@asynccontextmanager
async def mailer_to(sink: SmtpSink, form: str = "smtp://{}", **options: ssl.SSLContext) -> AsyncIterator[SmtpMailer]:
    mailer = SmtpMailer(form.format(f"127.0.0.1:{sink.port}"), SENDER, **options)
    yield mailer
    await mailer.close()


@pytest.fixture
async def sink() -> AsyncIterator[SmtpSink]:
    async with SmtpSink() as sink:
        yield sink


@pytest.fixture
async def mailer(sink: SmtpSink) -> AsyncIterator[SmtpMailer]:
    async with mailer_to(sink) as mailer:
        yield mailer


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def server_context(authority: trustme.CA, name: str = "127.0.0.1") -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context


def client_context(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


class TestSmtpMailer(MailerContract):
    stores_messages = False

    @asynccontextmanager
    async def open(self, failure: MailRejected | MailUnavailable | None = None) -> AsyncIterator[Mailer]:
        async with SmtpSink() as self.sink, mailer_to(self.sink) as mailer:
            if isinstance(failure, MailRejected):
                self.sink.answers["RCPT"] = failure.detail
            if isinstance(failure, MailUnavailable):
                await self.sink.stop()
            yield mailer

    async def delivered(self, mailer: Mailer) -> Sequence[DeliveredEmail]:
        return [
            DeliveredEmail(
                mail.recipients,
                mail.message["Message-ID"],
                frozenset(map(str.lower, mail.message.keys())),
                mail.text,
            )
            for mail in self.sink.mails
        ]


async def rejection(mailer: SmtpMailer, email: OutgoingEmail = EMAIL) -> MailRejected:
    with pytest.raises(MailRejected) as caught:
        await mailer.send(email)
    return caught.value


async def unavailable(mailer: SmtpMailer) -> str:
    with pytest.raises(MailUnavailable) as caught:
        await mailer.send(EMAIL)
    return caught.value.detail


async def test_email_from_and_to_special_use_domains_is_sent(sink):
    mailer = SmtpMailer(f"smtp://127.0.0.1:{sink.port}", "films@corp.local")
    for recipient in ("ann@corp.local", "ann@mail.test", "root@localhost"):
        await mailer.send(replace(EMAIL, recipient=recipient))
    await mailer.close()
    assert [(mail.sender, mail.recipients) for mail in sink.mails] == [
        ("films@corp.local", (recipient,)) for recipient in ("ann@corp.local", "ann@mail.test", "root@localhost")
    ]


@pytest.mark.parametrize(("tls", "form"), [("starttls", "smtp://{}?tls=starttls"), ("implicit", "smtps://{}")])
async def test_an_email_is_sent_encrypted_after_authentication(authority, tls, form):
    form = form.replace("{}", USERINFO + "@{}")
    async with (
        SmtpSink(tls=tls, tls_context=server_context(authority), login=LOGIN) as sink,
        mailer_to(sink, form, tls_context=client_context(authority)) as mailer,
    ):
        for _ in range(2):
            await mailer.send(EMAIL)
        assert [mail.links for mail in sink.mails] == [[URL]] * 2
        assert sink.connections == 1


@pytest.mark.parametrize(("tls", "form"), [("starttls", "smtp://{}?tls=starttls"), ("implicit", "smtps://{}")])
@pytest.mark.parametrize(("name", "is_trusted"), [("127.0.0.1", False), ("mail.example.com", True)])
async def test_an_invalid_certificate_is_rejected(authority, tls, form, name, is_trusted):
    trusted = authority if is_trusted else trustme.CA()
    async with (
        SmtpSink(tls=tls, tls_context=server_context(authority, name)) as sink,
        mailer_to(sink, form, tls_context=client_context(trusted)) as mailer,
    ):
        assert "certificate verify failed" in (await unavailable(mailer)).lower()
        assert sink.mails == []


async def test_nothing_is_sent_if_the_server_does_not_offer_starttls(sink):
    async with mailer_to(sink, "smtp://{}?tls=starttls") as mailer:
        assert "STARTTLS" in await unavailable(mailer)
        assert sink.mails == []


async def test_failed_authentication_is_reported_without_the_password(authority):
    async with (
        SmtpSink(tls="starttls", tls_context=server_context(authority), login=LOGIN) as sink,
        mailer_to(sink, "smtp://me:hunter2@{}?tls=starttls", tls_context=client_context(authority)) as mailer,
    ):
        detail = await unavailable(mailer)
        assert detail.startswith("authentication failed: 535")
        assert "hunter2" not in detail


async def test_a_server_that_requires_authentication_is_unavailable(authority):
    async with (
        SmtpSink(tls="implicit", tls_context=server_context(authority), login=LOGIN) as sink,
        mailer_to(sink, "smtps://{}", tls_context=client_context(authority)) as mailer,
    ):
        assert "530" in await unavailable(mailer)


@pytest.mark.parametrize("stage", ["RCPT", "DATA", "ann@example.com"])
async def test_a_permanent_rejection_is_final(sink, mailer, stage):
    sink.answers[stage] = "550 5.1.1 <ann@example.com>: no such\x07 user " + "x" * 400
    error = await rejection(mailer)
    assert error.is_final
    assert error.detail.startswith("550 5.1.1 <the recipient>: no such user x")
    assert len(error.detail) == mails.MAX_ERROR


@pytest.mark.parametrize("stage", ["MAIL", "RCPT", "DATA", "ann@example.com"])
async def test_a_temporary_rejection_is_not_final(sink, mailer, stage):
    sink.answers[stage] = "450 4.2.0 try later"
    error = await rejection(mailer)
    assert not error.is_final
    assert error.detail == "450 4.2.0 try later"


@pytest.mark.parametrize("stage", ["greeting", "MAIL", "RCPT", "DATA"])
async def test_a_server_that_closes_the_connection_is_unavailable(sink, mailer, stage):
    sink.answers[stage] = "421 4.3.2 closing"
    assert "421 4.3.2 closing" in await unavailable(mailer)
    sink.answers.clear()
    await mailer.send(EMAIL)
    assert len(sink.mails) == 1


@pytest.mark.parametrize("stage", ["greeting", "MAIL"])
async def test_a_server_that_rejects_the_client_or_sender_is_unavailable(sink, mailer, stage):
    sink.answers[stage] = "554 5.7.1 not you"
    assert "554 5.7.1 not you" in await unavailable(mailer)


async def test_a_rejected_email_does_not_affect_the_next_one(sink, mailer):
    sink.answers["bob@example.com"] = "550 5.1.1 no such user"
    await rejection(mailer, replace(EMAIL, recipient="bob@example.com"))
    await mailer.send(EMAIL)
    assert [mail.recipients for mail in sink.mails] == [("ann@example.com",)]
    assert sink.connections == 1


async def test_a_server_that_refuses_connections_is_unavailable(sink, mailer):
    await mailer.send(EMAIL)
    await sink.stop()
    assert "Connect" in await unavailable(mailer)
    await sink.listen()
    await mailer.send(EMAIL)
    assert len(sink.mails) == 2


async def test_a_lost_reply_leads_to_a_retry_with_the_same_message_id(sink, mailer):
    sink.after_data = "drop"
    error = await rejection(mailer)
    assert not error.is_final
    assert error.detail == "no reply to the message was received"
    sink.after_data = "answer"
    await mailer.send(EMAIL)
    assert [mail.message["Message-ID"] for mail in sink.mails] == [f"<{'ab' * 16}@example.com>"] * 2


async def test_sending_times_out_if_the_server_does_not_reply(sink, mailer, monkeypatch):
    monkeypatch.setattr(mails, "SEND_SECONDS", 0.3)
    sink.after_data = "hang"
    error = await rejection(mailer)
    assert not error.is_final
    assert error.detail == "no reply to the message was received"
    sink.after_data = "answer"
    await mailer.send(EMAIL)
    assert sink.connections == 2


async def test_connecting_times_out_without_a_greeting(monkeypatch):
    monkeypatch.setattr(mails, "SEND_SECONDS", 0.3)
    ended = asyncio.Event()

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        ended.set()

    server = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    async with server:
        mailer = SmtpMailer(f"smtp://127.0.0.1:{server.sockets[0].getsockname()[1]}", SENDER)
        assert await unavailable(mailer) == "timeout (connecting)"
        async with asyncio.timeout(PATIENCE):
            await ended.wait()


async def test_a_connection_is_not_reused_after_a_cancelled_send(sink, mailer):
    sink.after_data = "hang"
    received = asyncio.Event()
    sink.on_mail = lambda _: received.set()
    sending = asyncio.create_task(mailer.send(EMAIL))
    async with asyncio.timeout(PATIENCE):
        await received.wait()
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    sink.after_data = "answer"
    await mailer.send(EMAIL)
    assert sink.connections == 2


async def test_concurrent_sends_share_one_connection(sink, mailer):
    emails = [replace(EMAIL, mail_id=f"{number:032x}") for number in range(5)]
    await asyncio.gather(*map(mailer.send, emails))
    assert len({mail.message["Message-ID"] for mail in sink.mails}) == 5
    assert sink.connections == 1


async def test_a_connection_that_the_server_closed_is_reopened(sink, mailer):
    await mailer.send(EMAIL)
    sink.disconnect()
    await mailer.send(EMAIL)
    assert len(sink.mails) == 2
    assert sink.connections == 2


async def test_an_unresponsive_connection_is_reopened(sink, mailer, monkeypatch):
    monkeypatch.setattr(smtp_mail, "CHECK_SECONDS", 0.1)
    await mailer.send(EMAIL)

    async def hang(*_: object) -> str:
        del sink.handle_RSET
        await asyncio.Event().wait()
        return ""

    # aiosmtpd collects its hooks when a connection starts, so for this open connection the hook is set directly.
    (connection,) = sink._open
    sink.handle_RSET = hang
    connection._handle_hooks["RSET"] = hang
    await mailer.send(EMAIL)
    assert len(sink.mails) == 2
    assert sink.connections == 2


async def test_a_non_ascii_domain_does_not_require_smtputf8():
    async with SmtpSink(knows_utf8=False) as sink, mailer_to(sink) as mailer:
        await mailer.send(replace(EMAIL, recipient="ann@Bücher.example"))
        assert sink.mails[0].recipients == ("ann@xn--bcher-kva.example",)


async def test_a_non_ascii_local_part_requires_smtputf8(sink, mailer):
    email = replace(EMAIL, recipient="zoë@example.com")
    await mailer.send(email)
    assert sink.mails[0].recipients == ("zoë@example.com",)
    assert sink.mails[0].message["To"] == "zoë@example.com"
    async with SmtpSink(knows_utf8=False) as old, mailer_to(old) as other:
        assert (await rejection(other, email)).is_final
        await other.send(EMAIL)


@pytest.mark.parametrize(
    "recipient", ["ann@example.com>\r\nRCPT TO:<eve@example.com", "ann@example.com> SIZE=1", "ann"]
)
async def test_a_recipient_can_not_add_a_command(sink, mailer, recipient):
    assert (await rejection(mailer, replace(EMAIL, recipient=recipient))).is_final
    assert sink.connections == 0


async def test_a_link_can_not_end_the_message_or_add_a_header(sink, mailer):
    evil = "x\r\n.\r\nMAIL FROM:<eve@example.com>\r\nBcc: eve@example.com\r\n"
    await mailer.send(replace(EMAIL, links=(evil, URL)))
    (mail,) = sink.mails
    assert mail.message["Bcc"] is None
    assert mail.links == [URL]
    assert sink.commands.count("MAIL") == 1


async def test_closing_the_mailer_sends_quit(sink):
    async with mailer_to(sink) as mailer:
        await mailer.send(EMAIL)
    assert sink.commands[-1] == "QUIT"


@pytest.mark.parametrize(
    ("url", "server"),
    [
        ("smtp://127.0.0.1:1025", SmtpServer("127.0.0.1", 1025, Tls.NONE)),
        ("smtp://[::1]?tls=none", SmtpServer("::1", 25, Tls.NONE)),
        ("smtps://mail.example.com/", SmtpServer("mail.example.com", 465, Tls.IMPLICIT)),
        (
            f"smtp://{USERINFO}@mail.example.com?tls=starttls",
            SmtpServer("mail.example.com", 587, Tls.STARTTLS, *LOGIN),
        ),
    ],
)
def test_a_url_is_parsed_into_a_server(url, server):
    assert parse_smtp_url(url) == server
    assert server.is_encrypted == (server.tls is not Tls.NONE)
    assert LOGIN[1] not in repr(server)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "mail.example.com:25",
        "http://mail.example.com",
        "smtp://",
        "smtp://u:secret@",
        "smtp://u:secret@host:99999",
        "smtp://u:secret@host:0",
        "smtp://u:secret/more@host",
        "smtp://u:[secret@host",
        "smtp://secret@host",
        "smtp://:secret@host",
        "smtp://u:secret@host?tls=maybe",
        "smtp://u:secret@host?tls=",
        "smtp://u:secret@host?tls=none&tls=starttls",
        "smtps://u:secret@host?tls=none",
        "smtps://u:secret@host?tls_ca=/x",
        "smtp://u:secret@host/path",
    ],
)
def test_an_invalid_url_is_rejected_without_showing_its_password(url):
    with pytest.raises(ValueError, match=re.escape("must look like smtp://")) as caught:
        parse_smtp_url(url)
    assert "secret" not in str(caught.value)


async def test_the_smtp_sink_program_records_emails_before_it_accepts_them(tmp_path):
    record = tmp_path / "mails.jsonl"
    program = await asyncio.create_subprocess_exec(
        sys.executable,
        Path(smtp_sink.__file__),
        *("--port", "0", "--record", record),
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert program.stdout is not None
        mailer = SmtpMailer(f"smtp://127.0.0.1:{int(await program.stdout.readline())}", SENDER)
        await mailer.send(EMAIL)
    finally:
        program.kill()
        await program.wait()
    await mailer.close()
    rows = [json.loads(line) for line in record.read_text().splitlines()]
    assert rows == [{"message_id": f"<{'ab' * 16}@example.com>", "to": ["ann@example.com"], "links": [URL]}]
