"""`MemoryMailer` and `MemoryDeliveryNotifier` follow the contracts of their ports."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from movie_core.accounts.outbox import MailRejected, MailUnavailable
from movie_core.memory import MemoryDeliveryNotifier, MemoryMailer
from movie_core.ports import Mailer
from movie_core.testing import DeliveredEmail, DeliveryNotifierContract, MailerContract


class TestMemoryMailer(MailerContract):
    @asynccontextmanager
    async def open(self, failure: MailRejected | MailUnavailable | None = None) -> AsyncIterator[MemoryMailer]:
        mailer = MemoryMailer()
        mailer.failure = failure
        yield mailer

    async def delivered(self, mailer: Mailer) -> Sequence[DeliveredEmail]:
        assert isinstance(mailer, MemoryMailer)
        return [
            DeliveredEmail((email.recipient,), email.mail_id, frozenset(), " ".join(email.links))
            for email in mailer.emails
        ]


class TestMemoryDeliveryNotifier(DeliveryNotifierContract):
    @asynccontextmanager
    async def open(self, *, is_unavailable: bool = False) -> AsyncIterator[MemoryDeliveryNotifier]:
        yield MemoryDeliveryNotifier()
