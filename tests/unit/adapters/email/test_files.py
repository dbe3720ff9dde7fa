import email
import errno
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.policy import SMTPUTF8
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from movie_adapters.email import files as file_mail
from movie_adapters.email.files import FileMailer, key_of
from movie_adapters.email.syntax import EmailValidatorSyntax
from movie_core.accounts.identifiers import parse_address
from movie_core.accounts.outbox import MailKind, MailRejected, MailUnavailable, OutgoingEmail
from movie_core.ports import Mailer
from movie_core.testing import DeliveredEmail, MailerContract

SENDER = "noreply@example.com"
CREATED = datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC)
URL = "http://127.0.0.1:8000/api/v1/x/"
EMAIL = OutgoingEmail("ab" * 16, MailKind.ACTIVATION, "ann@example.com", CREATED, (URL,))


class TestFileMailer(MailerContract):
    can_fail = False

    @asynccontextmanager
    async def open(self, failure: MailRejected | MailUnavailable | None = None) -> AsyncIterator[Mailer]:
        with TemporaryDirectory() as folder:
            self.folder = Path(folder) / "mail"
            yield FileMailer(self.folder, SENDER, None)

    async def delivered(self, mailer: Mailer) -> Sequence[DeliveredEmail]:
        emails = []
        for path in sorted(self.folder.glob("*.eml")):
            message = email.message_from_bytes(path.read_bytes(), policy=SMTPUTF8)
            body = message.get_body(("plain",))
            recipients = tuple(mailbox.addr_spec for mailbox in message["To"].addresses)
            headers = frozenset(map(str.lower, message.keys()))
            emails.append(DeliveredEmail(recipients, message["Message-ID"], headers, body.get_content()))
        return emails


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "var" / "mail"


@pytest.fixture
def mailer(folder):
    return FileMailer(folder, SENDER, None)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


async def test_an_email_is_a_file_that_only_the_owner_can_read(mailer, folder):
    await mailer.send(EMAIL)
    (path,) = folder.iterdir()
    assert path.name.startswith("20260203T040506Z-")
    assert path.name.endswith("-" + "ab" * 16 + ".eml")
    assert "ann" not in path.name
    assert path.stat().st_mode & 0o777 == 0o600
    assert folder.stat().st_mode & 0o777 == 0o700


async def test_the_same_email_sent_twice_is_one_file(mailer, folder):
    await mailer.send(EMAIL)
    await mailer.send(EMAIL)
    assert len(names(folder)) == 1


async def test_the_oldest_files_beyond_the_limit_are_deleted(folder):
    mailer = FileMailer(folder, SENDER, None, max_files=3)
    for number in (2, 0, 1, 3, 4):
        await mailer.send(replace(EMAIL, created_at=CREATED + timedelta(seconds=number)))
    assert [name[:16] for name in names(folder)] == ["20260203T040508Z", "20260203T040509Z", "20260203T040510Z"]


async def test_files_of_other_programs_are_not_deleted(folder):
    mailer = FileMailer(folder, SENDER, None, max_files=1)
    folder.mkdir(parents=True)
    (folder / "0-mine.eml").touch()
    for number in range(3):
        await mailer.send(replace(EMAIL, created_at=CREATED + timedelta(seconds=number)))
    assert len(names(folder)) == 2
    assert "0-mine.eml" in names(folder)


async def test_erasing_deletes_every_spelling_and_unfinished_files(mailer, folder):
    for number, recipient in enumerate(("Ann@Bücher.example", "ann@xn--bcher-kva.EXAMPLE", "bob@example.com")):
        await mailer.send(replace(EMAIL, mail_id=f"{number:032x}", recipient=recipient))
    finished = next(path for path in folder.iterdir() if path.name.endswith("0.eml"))
    finished.with_name(f".{finished.name.removesuffix('.eml')}.0123abcd.tmp").touch()
    await mailer.erase(parse_address("ANN@bücher.example", EmailValidatorSyntax()))
    (left,) = names(folder)
    assert left.endswith("2.eml")


async def test_erasing_without_any_sent_email_does_nothing(mailer, folder):
    await mailer.erase(parse_address("ann@example.com", EmailValidatorSyntax()))
    assert not folder.exists()


@pytest.mark.parametrize(
    "spelling",
    [
        "ann@example.com",
        "ANN.Lee+x@EXAMPLE.Com",
        "ann@bücher.example",
        "Ann@BÜCHER.example",
        "ann@xn--bcher-kva.example",
        "ann@straße.example",
        "Straße@example.com",
        "ZOË@example.com",
        "Ὀδυσσεύς@παράδειγμα.example",
        "用户@例子.example",
        "ann@ｅｘａｍｐｌｅ.com",
    ],
)
def test_address_key_equals_the_key_of_the_parsed_address(spelling):
    address = parse_address(spelling, EmailValidatorSyntax())
    assert key_of(address.spelling) == address.key


async def test_links_are_announced_one_per_line(folder):
    lines: list[str] = []
    mailer = FileMailer(folder, SENDER, lines.append)
    await mailer.send(replace(EMAIL, links=(URL + "1", URL + "2")))
    await mailer.send(replace(EMAIL, kind=MailKind.ADDRESS_TAKEN, links=()))
    assert lines == [
        f"email to ann@example.com (activation): {URL}1",
        f"email to ann@example.com (activation): {URL}2",
        "email to ann@example.com (address_taken)",
    ]


async def test_an_email_that_was_not_written_is_not_announced(tmp_path):
    (tmp_path / "mail").touch()
    lines: list[str] = []
    with pytest.raises(MailUnavailable) as caught:
        await FileMailer(tmp_path / "mail", SENDER, lines.append).send(EMAIL)
    assert "MOVIE_DATA_DIR" in caught.value.detail
    assert str(tmp_path) not in caught.value.detail
    assert lines == []


async def test_a_full_disk_leaves_no_file(mailer, folder, monkeypatch):
    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(file_mail.os, "fsync", full)
    with pytest.raises(MailUnavailable, match="MOVIE_DATA_DIR: No space left on device"):
        await mailer.send(EMAIL)
    assert names(folder) == []


async def test_an_invalid_recipient_is_a_final_rejection(mailer, folder):
    with pytest.raises(MailRejected) as caught:
        await mailer.send(replace(EMAIL, recipient="ann@example.com\r\nBcc: eve@example.com"))
    assert caught.value.is_final
    assert not folder.exists()
