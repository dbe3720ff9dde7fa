"""The ports `Mailer` and `DeliveryNotifier` in memory."""

from movie_core.accounts.outbox import MailRejected, OutgoingEmail
from movie_core.accounts.users import Address


class MemoryMailer:
    """A `Mailer` that stores the emails it is given in `emails`."""

    def __init__(self) -> None:
        self.emails: list[OutgoingEmail] = []
        self.failure: Exception | None = None
        """Raised by `send` while it is set."""

    async def send(self, email: OutgoingEmail) -> None:
        if self.failure is not None:
            raise self.failure
        if not email.recipient.isprintable() or any(c in " ,;<>" for c in email.recipient):
            raise MailRejected("the recipient is not an address", is_final=True)
        self.emails.append(email)

    async def erase(self, address: Address) -> None:
        self.emails = [email for email in self.emails if email.recipient != address.spelling]


class MemoryDeliveryNotifier:
    """A `DeliveryNotifier` that counts its notifications."""

    def __init__(self) -> None:
        self.notifications = 0

    async def notify(self) -> None:
        self.notifications += 1
