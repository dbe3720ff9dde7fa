"""The mail room: what becomes of a mail, whatever its server says."""

import asyncio
from datetime import UTC, datetime, timedelta

from movie_core.accounts.keyring import Keyring, token_hash
from movie_core.accounts.outbox import (
    AWAY_SECONDS,
    BATCH,
    LEASE,
    MAX_ERROR,
    MAX_TRIES,
    RETRY_SECONDS,
    Mail,
    MailKind,
    MailRejected,
    MailRules,
    MailState,
    MailUnavailable,
    OutgoingEmail,
    after_refusal,
    link_url,
)
from movie_core.accounts.outbox_dispatcher import OutboxDispatcher
from movie_core.accounts.users import Address, Registration, Username
from movie_core.memory import MemoryDatabase, MemoryMailer, MemoryOutbox, MemoryUserRepo
from movie_core.paging import Window

KEYS = Keyring(("a secret of this test that is long enough",))


class Post:
    """A mail room with everything around it, at a time that tests set."""

    def __init__(self, keys: Keyring = KEYS) -> None:
        self.now = datetime(2030, 1, 1, tzinfo=UTC)
        database = MemoryDatabase(MailRules(timedelta(hours=24), None), KEYS)
        self.users, self.outbox, self.mailer = MemoryUserRepo(database), MemoryOutbox(database), MemoryMailer()
        self.dispatcher = self.another_room("first", keys)

    def another_room(self, owner: str, keys: Keyring = KEYS) -> OutboxDispatcher:
        return OutboxDispatcher(
            self.outbox, self.mailer, keys, public_url="https://x.test", owner=owner, clock=lambda: self.now
        )

    async def register(self, name: str) -> None:
        address = Address(f"{name}@example.org", f"{name}@example.org")
        await self.users.register(Registration(name, address, Username(name, name), "hash", self.now), self.now)

    async def mails(self) -> list[Mail]:
        return list((await self.outbox.list_page(Window(limit=100)))[1])

    def later(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


class HookedMailer(MemoryMailer):
    """Does something else before each letter."""

    def __init__(self, post: Post, before: object) -> None:
        super().__init__()
        self.before = before

    async def send(self, email: OutgoingEmail) -> None:
        await self.before(email)  # type: ignore[operator]
        await super().send(email)


def hook(post: Post, before: object) -> HookedMailer:
    post.mailer = HookedMailer(post, before)
    post.dispatcher = post.another_room("first")
    return post.mailer


async def test_a_mail_is_sent_once_with_a_link_that_is_good() -> None:
    post = Post()
    await post.register("anna")
    assert await post.dispatcher.deliver_due() == 1
    assert await post.dispatcher.deliver_due() == 0
    [email] = post.mailer.emails
    [mail] = await post.mails()
    assert (mail.state, mail.attempts, mail.sent_at) == (MailState.SENT, 1, post.now)
    assert (email.mail_id, email.recipient) == (mail.id, "anna@example.org")
    [url] = email.links
    start, _, token = url.rstrip("/").rpartition("/")
    assert start == "https://x.test/api/v1/authentication/verify-email/anna"
    assert (await post.users.activate("anna", token_hash(token), post.now)).is_new


def test_a_reset_link_leads_elsewhere_than_an_activation() -> None:
    links = {link_url("https://x.test", kind, "u", "t") for kind in (MailKind.PASSWORD_RESET, MailKind.ACTIVATION)}
    assert links == {
        "https://x.test/api/v1/authentication/password/reset/u/t/",
        "https://x.test/api/v1/authentication/verify-email/u/t/",
    }


async def test_a_mail_put_off_is_tried_after_each_wait_and_then_given_up() -> None:
    post = Post()
    await post.register("anna")
    post.mailer.failure = MailRejected("451 later", is_final=False)
    for tries, wait in enumerate(RETRY_SECONDS, 1):
        assert await post.dispatcher.deliver_due() == 1
        [mail] = await post.mails()
        assert (mail.state, mail.attempts, mail.last_error) == (MailState.PENDING, tries, "451 later")
        assert mail.due_at == post.now + timedelta(seconds=wait)
        post.later(wait - 0.001)
        assert await post.dispatcher.deliver_due() == 0
        post.later(0.001)
    assert await post.dispatcher.deliver_due() == 1
    [mail] = await post.mails()
    assert (mail.state, mail.attempts) == (MailState.DEAD, MAX_TRIES)
    post.later(86_400)
    assert await post.dispatcher.deliver_due() == 0


async def test_a_mail_put_off_goes_out_when_its_server_takes_it() -> None:
    post = Post()
    await post.register("anna")
    post.mailer.failure = MailRejected("451 later", is_final=False)
    await post.dispatcher.deliver_due()
    post.mailer.failure = None
    post.later(RETRY_SECONDS[0])
    assert await post.dispatcher.deliver_due() == 1
    [mail] = await post.mails()
    assert (mail.state, mail.attempts) == (MailState.SENT, 2)


async def test_a_mail_refused_for_good_is_dead_at_once_and_others_go_on() -> None:
    post = Post()

    async def refuse_anna(email: OutgoingEmail) -> None:
        if email.recipient.startswith("anna"):
            raise MailRejected("550 no such user", is_final=True)

    mailer = hook(post, refuse_anna)
    for name in ("anna", "bert"):
        await post.register(name)
    assert await post.dispatcher.deliver_due() == 2
    states = {mail.recipient: mail.state for mail in await post.mails()}
    assert states == {"anna@example.org": MailState.DEAD, "bert@example.org": MailState.SENT}
    assert [email.recipient for email in mailer.emails] == ["bert@example.org"]


async def test_a_dead_mail_that_is_asked_for_again_starts_anew() -> None:
    post = Post()
    await post.register("anna")
    post.mailer.failure = MailRejected("550 no", is_final=True)
    await post.dispatcher.deliver_due()
    post.mailer.failure = None
    assert len(await post.outbox.retry(None, post.now)) == 1
    assert await post.dispatcher.deliver_due() == 1
    assert len(post.mailer.emails) == 1


async def test_a_mail_sealed_with_a_lost_secret_is_dead_and_says_so() -> None:
    post = Post(keys=Keyring(("another secret that never sealed anything",)))
    await post.register("anna")
    assert await post.dispatcher.deliver_due() == 1
    [mail] = await post.mails()
    assert mail.state is MailState.DEAD
    assert "secret" in mail.last_error
    assert post.mailer.emails == []


def test_of_a_long_answer_a_part_is_kept() -> None:
    now = datetime(2030, 1, 1, tzinfo=UTC)
    mail = Mail("1", MailKind.ACTIVATION, "a@example.org", MailState.PENDING, 0, "", now, now)
    assert len(after_refusal(mail, MailRejected("x" * 9999, is_final=False), now).last_error) == MAX_ERROR


async def test_while_no_server_is_reached_no_mail_is_to_blame_and_pauses_grow() -> None:
    post = Post()
    for name in ("anna", "bert"):
        await post.register(name)
    tries = 0

    async def away(_email: OutgoingEmail) -> None:
        nonlocal tries
        tries += 1
        raise MailUnavailable("connection refused")

    mailer = hook(post, away)
    for round_, wait in enumerate((*AWAY_SECONDS, AWAY_SECONDS[-1], AWAY_SECONDS[-1]), 1):
        assert await post.dispatcher.deliver_due() == 0
        assert tries == round_
        post.later(wait - 0.001)
        assert await post.dispatcher.deliver_due() == 0
        assert tries == round_, "a pause was cut short"
        post.later(0.001)
    assert {(mail.state, mail.attempts) for mail in await post.mails()} == {(MailState.PENDING, 0)}

    async def back(_email: OutgoingEmail) -> None:
        pass

    mailer.before = back
    assert await post.dispatcher.deliver_due() == 2
    mailer.before = away
    await post.register("carl")
    await post.dispatcher.deliver_due()
    post.later(AWAY_SECONDS[0])
    tries = 0
    await post.dispatcher.deliver_due()
    assert tries == 1, "the first pause of a new failure is short again"


async def test_a_recipient_that_the_server_hangs_on_holds_up_nobody_else() -> None:
    post = Post()
    await post.register("anna")
    post.later(1)
    await post.register("bert")

    async def hang_on_anna(email: OutgoingEmail) -> None:
        if email.recipient.startswith("anna"):
            raise MailUnavailable("no answer in time")

    hook(post, hang_on_anna)
    post.later(1)
    assert await post.dispatcher.deliver_due() == 0
    post.later(AWAY_SECONDS[0])
    assert await post.dispatcher.deliver_due() == 1
    assert {mail.recipient[:4]: mail.state for mail in await post.mails()} == {
        "anna": MailState.PENDING,
        "bert": MailState.SENT,
    }


async def test_mails_of_a_room_that_meets_no_server_are_free_for_another_at_once() -> None:
    post = Post()
    await post.register("anna")
    post.mailer.failure = MailUnavailable("connection refused")
    await post.dispatcher.deliver_due()
    post.mailer.failure = None
    assert await post.another_room("second").deliver_due() == 1


async def test_what_one_room_holds_no_other_sends_until_the_lease_ends() -> None:
    post = Post()
    await post.register("anna")
    assert len(await post.outbox.claim("killed", post.now, BATCH, LEASE)) == 1
    post.later(LEASE.total_seconds() - 0.001)
    assert await post.dispatcher.deliver_due() == 0
    post.later(0.001)
    assert await post.dispatcher.deliver_due() == 1


async def test_who_lost_the_lease_changes_nothing() -> None:
    post = Post()
    await post.register("anna")

    async def stall(_email: OutgoingEmail) -> None:
        post.later(LEASE.total_seconds())
        await post.outbox.claim("second", post.now, BATCH, LEASE)

    hook(post, stall)
    await post.dispatcher.deliver_due()
    [mail] = await post.mails()
    assert (mail.state, mail.attempts) == (MailState.PENDING, 0)


async def test_no_mail_is_begun_that_its_lease_may_not_outlast() -> None:
    post = Post()
    names = ("anna", "bert", "carl")
    for name in names:
        await post.register(name)
    began: list[tuple[str, datetime]] = []

    async def slow(email: OutgoingEmail) -> None:
        began.append((email.recipient, post.now))
        post.later(8)

    mailer = hook(post, slow)
    claimed: list[datetime] = []
    claim = post.outbox.claim

    async def noted(owner: str, now: datetime, limit: int, lease: timedelta) -> object:
        claimed.append(now)
        return await claim(owner, now, limit, lease)

    post.outbox.claim = noted  # type: ignore[assignment,method-assign]
    assert await post.dispatcher.deliver_due() == 3
    assert len(mailer.emails) == 3
    for _, at in began:
        assert at - max(one for one in claimed if one <= at) <= timedelta(seconds=7)


async def test_asked_to_stop_it_finishes_the_mail_in_hand_and_frees_the_others() -> None:
    post = Post()
    for name in ("anna", "bert", "carl"):
        await post.register(name)
    is_stopping = False

    async def stop(_email: OutgoingEmail) -> None:
        nonlocal is_stopping
        is_stopping = True

    hook(post, stop)
    assert await post.dispatcher.deliver_due(lambda: is_stopping) == 1
    assert sorted(mail.state for mail in await post.mails()) == [MailState.PENDING, MailState.PENDING, MailState.SENT]
    assert len(await post.outbox.claim("second", post.now, BATCH, LEASE)) == 2


async def test_asked_while_at_work_it_looks_once_more_and_the_asker_does_not_wait() -> None:
    post = Post()
    await post.register("anna")
    sending, go_on = asyncio.Event(), asyncio.Event()

    async def wait(_email: OutgoingEmail) -> None:
        sending.set()
        await go_on.wait()

    mailer = hook(post, wait)
    first = asyncio.create_task(post.dispatcher.deliver_due())
    await sending.wait()
    await post.register("bert")
    assert await post.dispatcher.deliver_due() == 0
    assert mailer.emails == []
    go_on.set()
    assert await first == 2


async def test_more_than_a_batch_goes_out_in_one_go() -> None:
    post = Post()
    for number in range(BATCH * 2 + 1):
        await post.register(f"n{number}")
    assert await post.dispatcher.deliver_due() == BATCH * 2 + 1
