"""Delivery of the outbox for every reaction of the mail server."""

import asyncio
from datetime import UTC, datetime, timedelta

from movie_core import memory
from movie_core.accounts.keyring import Keyring, token_hash
from movie_core.accounts.outbox import (
    BATCH,
    LEASE,
    MAX_ATTEMPTS,
    RETRY_SECONDS,
    UNAVAILABLE_SECONDS,
    Mail,
    MailRejected,
    MailState,
    MailUnavailable,
    OutgoingEmail,
)
from movie_core.accounts.outbox_dispatcher import OutboxDispatcher
from movie_core.accounts.users import Address, PendingRegistration, Username
from movie_core.memory import MemoryMailer
from movie_core.paging import Window


class Deployment:
    """A dispatcher with its stores and mailer in memory; tests set the time."""

    def __init__(self, keys: Keyring | None = None) -> None:
        """`keys` are those of the dispatcher, unless it has those that encrypt the tokens."""
        self.now = datetime(2030, 1, 1, tzinfo=UTC)
        deployment = memory.deployment()
        self.registrations, self.outbox, self.mailer = (
            deployment.registration_repo,
            deployment.outbox,
            deployment.mailer,
        )
        self.keyring = keys or deployment.keyring
        self.dispatcher = self.another_dispatcher("first")

    def another_dispatcher(self, owner: str) -> OutboxDispatcher:
        return OutboxDispatcher(
            self.outbox, self.mailer, self.keyring, public_url="https://x.test", owner=owner, clock=lambda: self.now
        )

    async def register(self, name: str) -> None:
        address = Address(f"{name}@example.org", f"{name}@example.org")
        await self.registrations.register(
            PendingRegistration(name, address, Username(name, name), "hash", self.now), self.now
        )

    async def mails(self) -> list[Mail]:
        return list((await self.outbox.list_page(Window(limit=100)))[1])

    def later(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


class HookedMailer(MemoryMailer):
    """Calls a hook before it sends each email."""

    def __init__(self, deployment: Deployment, before: object) -> None:
        super().__init__()
        self.before = before

    async def send(self, email: OutgoingEmail) -> None:
        await self.before(email)  # type: ignore[operator]
        await super().send(email)


def hook(deployment: Deployment, before: object) -> HookedMailer:
    deployment.mailer = HookedMailer(deployment, before)
    deployment.dispatcher = deployment.another_dispatcher("first")
    return deployment.mailer


async def test_an_email_is_sent_once_with_a_valid_link() -> None:
    deployment = Deployment()
    await deployment.register("anna")
    assert await deployment.dispatcher.deliver_due() == 1
    assert await deployment.dispatcher.deliver_due() == 0
    [email] = deployment.mailer.emails
    [mail] = await deployment.mails()
    assert (mail.state, mail.attempts, mail.sent_at) == (MailState.SENT, 1, deployment.now)
    assert (email.mail_id, email.recipient) == (mail.id, "anna@example.org")
    [url] = email.links
    start, _, token = url.rstrip("/").rpartition("/")
    assert start == "https://x.test/api/v1/authentication/verify-email/anna"
    assert (await deployment.registrations.activate("anna", token_hash(token), deployment.now)).is_new


async def test_a_temporarily_rejected_email_is_retried_after_each_delay_and_then_dead() -> None:
    deployment = Deployment()
    await deployment.register("anna")
    deployment.mailer.failure = MailRejected("451 later", is_final=False)
    for attempts, wait in enumerate(RETRY_SECONDS, 1):
        assert await deployment.dispatcher.deliver_due() == 1
        [mail] = await deployment.mails()
        assert (mail.state, mail.attempts, mail.last_error) == (MailState.PENDING, attempts, "451 later")
        assert mail.due_at == deployment.now + timedelta(seconds=wait)
        deployment.later(wait - 0.001)
        assert await deployment.dispatcher.deliver_due() == 0
        deployment.later(0.001)
    assert await deployment.dispatcher.deliver_due() == 1
    [mail] = await deployment.mails()
    assert (mail.state, mail.attempts) == (MailState.DEAD, MAX_ATTEMPTS)
    deployment.later(86_400)
    assert await deployment.dispatcher.deliver_due() == 0


async def test_a_temporarily_rejected_email_is_sent_once_the_server_accepts_it() -> None:
    deployment = Deployment()
    await deployment.register("anna")
    deployment.mailer.failure = MailRejected("451 later", is_final=False)
    await deployment.dispatcher.deliver_due()
    deployment.mailer.failure = None
    deployment.later(RETRY_SECONDS[0])
    assert await deployment.dispatcher.deliver_due() == 1
    [mail] = await deployment.mails()
    assert (mail.state, mail.attempts) == (MailState.SENT, 2)


async def test_a_permanently_rejected_email_is_dead_immediately_and_others_are_sent() -> None:
    deployment = Deployment()

    async def refuse_anna(email: OutgoingEmail) -> None:
        if email.recipient.startswith("anna"):
            raise MailRejected("550 no such user", is_final=True)

    mailer = hook(deployment, refuse_anna)
    for name in ("anna", "bert"):
        await deployment.register(name)
    assert await deployment.dispatcher.deliver_due() == 2
    states = {mail.recipient: mail.state for mail in await deployment.mails()}
    assert states == {"anna@example.org": MailState.DEAD, "bert@example.org": MailState.SENT}
    assert [email.recipient for email in mailer.emails] == ["bert@example.org"]


async def test_retrying_a_dead_email_resets_it() -> None:
    deployment = Deployment()
    await deployment.register("anna")
    deployment.mailer.failure = MailRejected("550 no", is_final=True)
    await deployment.dispatcher.deliver_due()
    deployment.mailer.failure = None
    assert len(await deployment.outbox.retry(None, deployment.now)) == 1
    assert await deployment.dispatcher.deliver_due() == 1
    assert len(deployment.mailer.emails) == 1


async def test_an_email_encrypted_with_a_lost_secret_is_dead_with_that_error() -> None:
    deployment = Deployment(keys=Keyring(("another secret that encrypted no token",)))
    await deployment.register("anna")
    assert await deployment.dispatcher.deliver_due() == 1
    [mail] = await deployment.mails()
    assert mail.state is MailState.DEAD
    assert "secret" in mail.last_error
    assert deployment.mailer.emails == []


async def test_while_no_server_is_reachable_delays_grow_and_attempts_do_not_count() -> None:
    deployment = Deployment()
    for name in ("anna", "bert"):
        await deployment.register(name)
    attempts = 0

    async def unavailable(_email: OutgoingEmail) -> None:
        nonlocal attempts
        attempts += 1
        raise MailUnavailable("connection refused")

    mailer = hook(deployment, unavailable)
    for attempt, wait in enumerate((*UNAVAILABLE_SECONDS, UNAVAILABLE_SECONDS[-1], UNAVAILABLE_SECONDS[-1]), 1):
        assert await deployment.dispatcher.deliver_due() == 0
        assert attempts == attempt
        deployment.later(wait - 0.001)
        assert await deployment.dispatcher.deliver_due() == 0
        assert attempts == attempt, "retried before the end of the delay"
        deployment.later(0.001)
    assert {(mail.state, mail.attempts) for mail in await deployment.mails()} == {(MailState.PENDING, 0)}

    async def available(_email: OutgoingEmail) -> None:
        pass

    mailer.before = available
    assert await deployment.dispatcher.deliver_due() == 2
    mailer.before = unavailable
    await deployment.register("carl")
    await deployment.dispatcher.deliver_due()
    deployment.later(UNAVAILABLE_SECONDS[0])
    attempts = 0
    await deployment.dispatcher.deliver_due()
    assert attempts == 1, "the first delay of a new outage is short again"


async def test_a_recipient_that_makes_the_server_hang_delays_no_other_email() -> None:
    deployment = Deployment()
    await deployment.register("anna")
    deployment.later(1)
    await deployment.register("bert")

    async def hang_on_anna(email: OutgoingEmail) -> None:
        if email.recipient.startswith("anna"):
            raise MailUnavailable("no answer in time")

    hook(deployment, hang_on_anna)
    deployment.later(1)
    assert await deployment.dispatcher.deliver_due() == 0
    deployment.later(UNAVAILABLE_SECONDS[0])
    assert await deployment.dispatcher.deliver_due() == 1
    assert {mail.recipient[:4]: mail.state for mail in await deployment.mails()} == {
        "anna": MailState.PENDING,
        "bert": MailState.SENT,
    }


async def test_emails_of_a_dispatcher_without_a_server_are_released_immediately() -> None:
    deployment = Deployment()
    await deployment.register("anna")
    deployment.mailer.failure = MailUnavailable("connection refused")
    await deployment.dispatcher.deliver_due()
    deployment.mailer.failure = None
    assert await deployment.another_dispatcher("second").deliver_due() == 1


async def test_a_leased_email_is_not_sent_by_others_until_the_lease_expires() -> None:
    deployment = Deployment()
    await deployment.register("anna")
    assert len(await deployment.outbox.claim("killed", deployment.now, BATCH, LEASE)) == 1
    deployment.later(LEASE.total_seconds() - 0.001)
    assert await deployment.dispatcher.deliver_due() == 0
    deployment.later(0.001)
    assert await deployment.dispatcher.deliver_due() == 1


async def test_a_dispatcher_that_lost_the_lease_changes_nothing() -> None:
    deployment = Deployment()
    await deployment.register("anna")

    async def stall(_email: OutgoingEmail) -> None:
        deployment.later(LEASE.total_seconds())
        await deployment.outbox.claim("second", deployment.now, BATCH, LEASE)

    hook(deployment, stall)
    await deployment.dispatcher.deliver_due()
    [mail] = await deployment.mails()
    assert (mail.state, mail.attempts) == (MailState.PENDING, 0)


async def test_no_email_is_sent_if_its_lease_may_expire_meanwhile() -> None:
    deployment = Deployment()
    names = ("anna", "bert", "carl")
    for name in names:
        await deployment.register(name)
    started: list[tuple[str, datetime]] = []

    async def slow(email: OutgoingEmail) -> None:
        started.append((email.recipient, deployment.now))
        deployment.later(8)

    mailer = hook(deployment, slow)
    claimed: list[datetime] = []
    claim = deployment.outbox.claim

    async def recorded(owner: str, now: datetime, limit: int, lease: timedelta) -> object:
        claimed.append(now)
        return await claim(owner, now, limit, lease)

    deployment.outbox.claim = recorded  # type: ignore[assignment,method-assign]
    assert await deployment.dispatcher.deliver_due() == 3
    assert len(mailer.emails) == 3
    for _, at in started:
        assert at - max(one for one in claimed if one <= at) <= timedelta(seconds=7)


async def test_stopping_finishes_the_current_email_and_releases_the_others() -> None:
    deployment = Deployment()
    for name in ("anna", "bert", "carl"):
        await deployment.register(name)
    is_stopping = False

    async def stop(_email: OutgoingEmail) -> None:
        nonlocal is_stopping
        is_stopping = True

    hook(deployment, stop)
    assert await deployment.dispatcher.deliver_due(lambda: is_stopping) == 1
    assert sorted(mail.state for mail in await deployment.mails()) == [
        MailState.PENDING,
        MailState.PENDING,
        MailState.SENT,
    ]
    assert len(await deployment.outbox.claim("second", deployment.now, BATCH, LEASE)) == 2


async def test_a_call_during_delivery_returns_immediately_and_triggers_another_check() -> None:
    deployment = Deployment()
    await deployment.register("anna")
    sending, go_on = asyncio.Event(), asyncio.Event()

    async def wait(_email: OutgoingEmail) -> None:
        sending.set()
        await go_on.wait()

    mailer = hook(deployment, wait)
    first = asyncio.create_task(deployment.dispatcher.deliver_due())
    await sending.wait()
    await deployment.register("bert")
    assert await deployment.dispatcher.deliver_due() == 0
    assert mailer.emails == []
    go_on.set()
    assert await first == 2


async def test_more_than_one_batch_is_sent_in_one_call() -> None:
    deployment = Deployment()
    for number in range(BATCH * 2 + 1):
        await deployment.register(f"n{number}")
    assert await deployment.dispatcher.deliver_due() == BATCH * 2 + 1
