"""The account services in memory, with a clock that only tests advance."""

from datetime import UTC, datetime, timedelta

from movie_core import memory
from movie_core.accounts.outbox import MailRules
from movie_core.accounts.sessions import TokenPair

PASSWORD = "copper lantern walks home"
ANN = "ann@example.com"


class AccountDeployment:
    def __init__(self) -> None:
        self.now = datetime(2026, 11, 1, tzinfo=UTC)
        deployment = memory.deployment(clock=self.clock, mail_rules=MailRules(timedelta(hours=24), None))
        self.registration, self.login, self.passwords = deployment.registration, deployment.login, deployment.passwords
        self.profiles, self.management = deployment.profiles, deployment.user_management
        self.sessions, self.tokens = deployment.sessions, deployment.session_tokens
        self.registry, self.dispatcher = deployment.registry, deployment.dispatcher
        self.mailer, self.notifier, self.hasher = deployment.mailer, deployment.notifier, deployment.hasher

    def clock(self) -> datetime:
        return self.now

    async def links(self) -> list[tuple[str, str]]:
        """Delivers due emails; returns (uid, token) of every emailed link, oldest first."""
        await self.dispatcher.deliver_due()
        urls = [url for email in self.mailer.emails for url in email.links]
        return [(url.rstrip("/").split("/")[-2], url.rstrip("/").split("/")[-1]) for url in urls]

    async def join(self, email: str = ANN, username: str = "ann") -> TokenPair:
        """Registers and activates a user; returns the tokens of the first session."""
        await self.registration.register(email, username, PASSWORD)
        tokens = await self.registration.activate(*(await self.links())[-1], "a device")
        assert tokens is not None
        return tokens
