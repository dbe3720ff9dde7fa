"""Contract of the `Mailer` port."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from unittest import SkipTest

from movie_core.accounts.keyring import new_id
from movie_core.accounts.outbox import MailKind, MailRejected, MailUnavailable, OutgoingEmail
from movie_core.ports import Mailer
from movie_core.testing.account_fixtures import make_address
from movie_core.testing.shared import NOW, assert_raises, clause


@dataclass(frozen=True, slots=True)
class DeliveredEmail:
    """An email as it arrived."""

    recipients: tuple[str, ...]
    message_id: str
    header_names: frozenset[str]
    """Names of the headers in lower case."""
    text: str


class MailerContract:
    """Contract of every `Mailer`. The numbers in test names are the clauses of the port."""

    stores_messages = True
    """Whether the mailer itself stores messages, so that `erase` deletes them."""
    can_fail = True
    """Whether messages go to a server that can reject them."""

    def open(self, failure: MailRejected | MailUnavailable | None = None) -> AbstractAsyncContextManager[Mailer]:
        """The adapter under test; with `failure`, its server fails like that."""
        raise NotImplementedError

    async def delivered(self, mailer: Mailer) -> Sequence[DeliveredEmail]:
        """The emails that have arrived so far."""
        raise NotImplementedError

    @clause
    async def test_1_an_email_arrives_with_its_links(self) -> None:
        async with self.open() as mailer:
            await mailer.send(self._email())
            (email,) = await self.delivered(mailer)
            assert email.recipients == ("ada@example.com",)
            assert "https://example.com/api/v1/x/" in email.text

    @clause
    async def test_1_sending_again_sends_the_same_message(self) -> None:
        async with self.open() as mailer:
            email = self._email()
            for _ in range(2):
                await mailer.send(email)
            delivered = await self.delivered(mailer)
            assert len({(copy.message_id, copy.text) for copy in delivered}) == 1
            await mailer.send(replace(email, mail_id=new_id()))
            assert len({copy.message_id for copy in await self.delivered(mailer)}) == 2

    @clause
    async def test_1_no_text_adds_a_header_or_a_recipient(self) -> None:
        evil = "https://example.com/x\r\nBcc: eve@example.com\r\nX-Evil: 1\r\n\r\nhello"
        async with self.open() as mailer:
            await mailer.send(replace(self._email(), links=(evil,)))
            for recipient in ("ada@example.com\r\nBcc: eve@example.com", "ada@example.com, eve@example.com"):
                try:
                    await mailer.send(replace(self._email(), recipient=recipient))
                except MailRejected as refusal:
                    assert refusal.is_final
            delivered = await self.delivered(mailer)
            assert delivered
            for email in delivered:
                assert email.recipients == ("ada@example.com",)
                assert not email.header_names & {"bcc", "x-evil"}

    @clause
    async def test_1_rejections_and_outages_are_distinguished(self) -> None:
        if not self.can_fail:
            raise SkipTest("no server can reject the messages of this mailer")
        for failure in (MailRejected("550 no", is_final=True), MailRejected("450 later", is_final=False)):
            async with self.open(failure) as mailer:
                try:
                    await mailer.send(self._email())
                except MailRejected as refusal:
                    assert refusal.is_final is failure.is_final
                else:
                    raise AssertionError("a rejected message was accepted")
        async with self.open(MailUnavailable("nobody there")) as mailer:
            await assert_raises(MailUnavailable, mailer.send(self._email()))

    @clause
    async def test_2_emails_to_an_address_are_erased(self) -> None:
        async with self.open() as mailer:
            await mailer.send(self._email())
            await mailer.send(replace(self._email(), recipient="bob@example.com"))
            await mailer.erase(make_address("ada@example.com"))
            if not self.stores_messages:
                raise SkipTest("the mailer stores no messages: erasing only must not fail")
            assert [email.recipients for email in await self.delivered(mailer)] == [("bob@example.com",)]

    @staticmethod
    def _email() -> OutgoingEmail:
        return OutgoingEmail(new_id(), MailKind.ACTIVATION, "ada@example.com", NOW, ("https://example.com/api/v1/x/",))
