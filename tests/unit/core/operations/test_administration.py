"""What staff does, over every port in memory."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from movie_core import memory
from movie_core.accounts.outbox import MailState
from movie_core.accounts.users import User, UserState
from movie_core.errors import (
    InvalidEmail,
    InvalidToken,
    MailNotDead,
    MailNotFound,
    OwnAccount,
    PageOutOfRange,
    StoreUnavailable,
    UserNotFound,
)
from movie_core.operations.audit import COMMAND_LINE, Action, AuditEntry
from movie_core.paging import Window
from movie_core.search.caching import CacheEntry
from movie_core.testing import NOW

ANN, BOB = "ann@example.com", "bob@example.com"
PASSWORD = "copper lantern walks home"


class Office:
    """A deployment in memory whose clock stands until a test moves it, and which staff looks after."""

    def __init__(self) -> None:
        self.now = NOW
        deployment = memory.deployment(clock=self.clock)
        self.accounts, self.administration = deployment.accounts, deployment.administration
        self.outbox, self.log, self.notifier = deployment.outbox, deployment.audit_log, deployment.notifier

    def clock(self) -> datetime:
        return self.now

    async def join(self, email: str = ANN) -> User:
        """An account that nobody of staff had to do with."""
        await self.accounts.register(email, email.partition("@")[0], PASSWORD)
        return await self.accounts.set_active(email, True)

    async def interactions(self) -> Sequence[AuditEntry]:
        return (await self.administration.audit(Window(limit=100)))[1]

    async def dead_mails(self, *names: str) -> list[str]:
        for name in names:
            await self.accounts.register(f"{name}@example.com", name, PASSWORD)
        claimed = await self.outbox.claim("test", self.now, 20, timedelta(seconds=20))
        for mail in claimed:
            await self.outbox.complete("test", replace(mail, state=MailState.DEAD))
        return [mail.id for mail in claimed]


async def test_each_deed_is_kept_with_who_did_it_and_when() -> None:
    office = Office()
    ann, bob = await office.join(), await office.join(BOB)
    administration = office.administration
    for interaction in (
        administration.set_staff(COMMAND_LINE, ANN, True),
        administration.set_active(ann.id, BOB, False),
        administration.set_active(ann.id, BOB, True),
        administration.end_sessions(ann.id, BOB),
        administration.set_staff(COMMAND_LINE, ANN, False),
    ):
        office.now += timedelta(minutes=1)
        await interaction
    told = [(one.at - NOW, one.actor, one.action, one.account_id) for one in await office.interactions()]
    assert told == [
        (timedelta(minutes=5), COMMAND_LINE, Action.STAFF_REVOKED, ann.id),
        (timedelta(minutes=4), ann.id, Action.SESSIONS_ENDED, bob.id),
        (timedelta(minutes=3), ann.id, Action.USER_ACTIVATED, bob.id),
        (timedelta(minutes=2), ann.id, Action.USER_DEACTIVATED, bob.id),
        (timedelta(minutes=1), COMMAND_LINE, Action.STAFF_GRANTED, ann.id),
    ]


async def test_what_could_not_be_done_is_not_kept() -> None:
    office = Office()
    administration = office.administration
    for email, error in (("nobody@example.com", UserNotFound), ("no address", InvalidEmail)):
        for interaction in (
            administration.set_staff(COMMAND_LINE, email, True),
            administration.set_active(COMMAND_LINE, email, True),
            administration.end_sessions(COMMAND_LINE, email),
            administration.erase(COMMAND_LINE, email),
        ):
            with pytest.raises(error):
                await interaction
    assert not await office.interactions()


async def test_ended_sessions_are_counted_and_over() -> None:
    office = Office()
    await office.join()
    tokens = [await office.accounts.log_in(ANN, PASSWORD, "a device") for _ in range(2)]
    for pair in tokens:
        await office.accounts.authenticate(pair.access)
    assert await office.administration.end_sessions(COMMAND_LINE, ANN) == 2
    for pair in tokens:
        with pytest.raises(InvalidToken):
            await office.accounts.authenticate(pair.access)


async def test_a_deactivated_account_is_out_at_once() -> None:
    office = Office()
    ann, boss = await office.join(), await office.join(BOB)
    pair = await office.accounts.log_in(ANN, PASSWORD, "a device")
    await office.accounts.authenticate(pair.access)
    assert (await office.administration.change(boss.id, ann.id, is_active=False)).is_active is False
    with pytest.raises(InvalidToken):
        await office.accounts.authenticate(pair.access)


async def test_an_erasure_is_kept_and_not_whose() -> None:
    office = Office()
    ann, bob = await office.join(), await office.join(BOB)
    await office.administration.set_staff(COMMAND_LINE, ANN, True)
    await office.administration.set_staff(ann.id, BOB, True)
    await office.administration.erase(bob.id, ANN)
    told = [(one.actor, one.action, one.account_id) for one in await office.interactions()]
    assert sorted(told, key=str) == sorted(
        [
            (bob.id, Action.USER_ERASED, None),
            ("", Action.STAFF_GRANTED, bob.id),
            (COMMAND_LINE, Action.STAFF_GRANTED, None),
        ],
        key=str,
    )


async def test_nobody_shuts_themselves_out_through_a_change() -> None:
    office = Office()
    ann = await office.join()
    for is_active, is_staff in ((False, None), (None, False), (True, False), (False, True)):
        with pytest.raises(OwnAccount):
            await office.administration.change(ann.id, ann.id, is_active=is_active, is_staff=is_staff)
    assert not await office.interactions()
    assert (await office.administration.change(COMMAND_LINE, ann.id, is_active=False)).is_active is False


async def test_a_change_of_nothing_is_kept_nowhere() -> None:
    office = Office()
    ann = await office.join()
    assert (await office.administration.change(ann.id, ann.id)).id == ann.id
    assert not await office.interactions()


async def test_dead_mails_are_tried_again_at_once_and_each_is_kept() -> None:
    office = Office()
    mail_ids = await office.dead_mails("cleo", "dora")
    rings = office.notifier.notifications
    assert sorted(await office.administration.retry(COMMAND_LINE, None)) == sorted(mail_ids)
    assert office.notifier.notifications == rings + 1
    assert sorted(one.mail_id or "" for one in await office.interactions()) == sorted(mail_ids)
    assert {one.action for one in await office.interactions()} == {Action.MAIL_RETRIED}
    assert not await office.administration.retry(COMMAND_LINE, None)
    assert (office.notifier.notifications, len(await office.interactions())) == (rings + 1, 2)


async def test_one_mail_is_tried_again_where_it_is_dead() -> None:
    office = Office()
    [mail_id] = await office.dead_mails("cleo")
    assert (await office.administration.retry_one("somebody", mail_id)).state is MailState.PENDING
    with pytest.raises(MailNotDead):
        await office.administration.retry_one("somebody", mail_id)
    with pytest.raises(MailNotFound):
        await office.administration.retry_one("somebody", "another")
    assert len(await office.interactions()) == 1


async def test_a_flush_tells_how_much_it_was_and_is_kept() -> None:
    office = Office()
    entries = memory.MemoryCacheStore(1_000_000)
    lease = await entries.lease("a", 10)
    assert lease is not None
    entry = CacheEntry(b"{}", 0.0, 1e12, 1e12, lease.fence)
    assert await entries.write("a", entry)
    assert await office.administration.flush(COMMAND_LINE, entries) == 1
    assert [one.action for one in await office.interactions()] == [Action.CACHE_FLUSHED]


async def test_what_the_log_cannot_take_is_said_to_be_done(monkeypatch: pytest.MonkeyPatch) -> None:
    office = Office()
    ann = await office.join()

    async def fail(_: object) -> None:
        raise StoreUnavailable("it is away")

    monkeypatch.setattr(office.log, "append", fail)
    with pytest.raises(StoreUnavailable, match="it is done, but the audit log can't tell so: it is away"):
        await office.administration.set_staff(COMMAND_LINE, ANN, True)
    assert (await office.accounts.account_of(ANN)).is_staff
    assert ann.is_staff is False


async def test_a_page_past_the_end_is_refused_but_not_of_an_empty_list() -> None:
    office = Office()
    past = Window(5, 10)
    for empty in (
        office.administration.list_users(past, "", UserState.ACCOUNT),
        office.administration.mails(past, None),
        office.administration.audit(past),
    ):
        assert await empty == (0, [])
    await office.join()
    await office.dead_mails("cleo")
    await office.administration.set_staff(COMMAND_LINE, ANN, True)
    for full in (
        office.administration.list_users(past, " ANN ", UserState.ACCOUNT),
        office.administration.mails(past, MailState.DEAD),
        office.administration.audit(past),
    ):
        with pytest.raises(PageOutOfRange):
            await full
