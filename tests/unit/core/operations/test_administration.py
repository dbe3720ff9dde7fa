"""Administration by staff, over in-memory ports."""

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
from movie_core.operations.administration import AuditRecorder, UserAdministration, flush_cache
from movie_core.operations.audit import COMMAND_LINE, Action, AuditEntry
from movie_core.paging import Window
from movie_core.search.caching import CacheEntry
from movie_core.testing import NOW

ANN, BOB = "ann@example.com", "bob@example.com"
PASSWORD = "copper lantern walks home"


class Deployment:
    """A deployment in memory with administration and a clock that only tests advance."""

    def __init__(self) -> None:
        self.now = NOW
        self.ports = deployment = memory.deployment(clock=self.clock)
        self.administration, self.users = deployment.user_administration, deployment.user_management
        self.mails, self.recorder = deployment.mail_administration, deployment.audit_recorder
        self.registration, self.login, self.tokens = (
            deployment.registration,
            deployment.login,
            deployment.session_tokens,
        )
        self.outbox, self.log, self.notifier = deployment.outbox, deployment.audit_log, deployment.notifier

    def clock(self) -> datetime:
        return self.now

    async def join(self, email: str = ANN) -> User:
        """Adds a user without an action of staff."""
        await self.registration.register(email, email.partition("@")[0], PASSWORD)
        return await self.users.set_active(email, True)

    async def entries(self) -> Sequence[AuditEntry]:
        return (await self.recorder.list_page(Window(limit=100)))[1]

    async def dead_mails(self, *names: str) -> list[str]:
        for name in names:
            await self.registration.register(f"{name}@example.com", name, PASSWORD)
        claimed = await self.outbox.claim("test", self.now, 20, timedelta(seconds=20))
        for mail in claimed:
            await self.outbox.complete("test", replace(mail, state=MailState.DEAD))
        return [mail.id for mail in claimed]


async def test_each_action_is_logged_with_actor_and_time() -> None:
    deployment = Deployment()
    ann, bob = await deployment.join(), await deployment.join(BOB)
    administration = deployment.administration
    for action in (
        administration.set_staff(COMMAND_LINE, ANN, True),
        administration.set_active(ann.id, BOB, False),
        administration.set_active(ann.id, BOB, True),
        administration.end_sessions(ann.id, BOB),
        administration.set_staff(COMMAND_LINE, ANN, False),
    ):
        deployment.now += timedelta(minutes=1)
        await action
    logged = [(one.at - NOW, one.actor, one.action, one.account_id) for one in await deployment.entries()]
    assert logged == [
        (timedelta(minutes=5), COMMAND_LINE, Action.STAFF_REVOKED, ann.id),
        (timedelta(minutes=4), ann.id, Action.SESSIONS_ENDED, bob.id),
        (timedelta(minutes=3), ann.id, Action.USER_ACTIVATED, bob.id),
        (timedelta(minutes=2), ann.id, Action.USER_DEACTIVATED, bob.id),
        (timedelta(minutes=1), COMMAND_LINE, Action.STAFF_GRANTED, ann.id),
    ]


async def test_a_failed_action_is_not_logged() -> None:
    deployment = Deployment()
    administration = deployment.administration
    for email, error in (("nobody@example.com", UserNotFound), ("no address", InvalidEmail)):
        for action in (
            administration.set_staff(COMMAND_LINE, email, True),
            administration.set_active(COMMAND_LINE, email, True),
            administration.end_sessions(COMMAND_LINE, email),
            administration.erase(COMMAND_LINE, email),
        ):
            with pytest.raises(error):
                await action
    assert not await deployment.entries()


async def test_ending_sessions_returns_their_number_and_revokes_their_tokens() -> None:
    deployment = Deployment()
    await deployment.join()
    tokens = [await deployment.login.log_in(ANN, PASSWORD, "a device") for _ in range(2)]
    for pair in tokens:
        await deployment.tokens.authenticate(pair.access)
    assert await deployment.administration.end_sessions(COMMAND_LINE, ANN) == 2
    for pair in tokens:
        with pytest.raises(InvalidToken):
            await deployment.tokens.authenticate(pair.access)


async def test_deactivating_a_user_revokes_tokens_immediately() -> None:
    deployment = Deployment()
    ann, boss = await deployment.join(), await deployment.join(BOB)
    pair = await deployment.login.log_in(ANN, PASSWORD, "a device")
    await deployment.tokens.authenticate(pair.access)
    assert (await deployment.administration.change(boss.id, ann.id, is_active=False)).is_active is False
    with pytest.raises(InvalidToken):
        await deployment.tokens.authenticate(pair.access)


async def test_an_erasure_is_logged_without_the_erased_user() -> None:
    deployment = Deployment()
    ann, bob = await deployment.join(), await deployment.join(BOB)
    await deployment.administration.set_staff(COMMAND_LINE, ANN, True)
    await deployment.administration.set_staff(ann.id, BOB, True)
    await deployment.administration.erase(bob.id, ANN)
    logged = [(one.actor, one.action, one.account_id) for one in await deployment.entries()]
    assert sorted(logged, key=str) == sorted(
        [
            (bob.id, Action.USER_ERASED, None),
            ("", Action.STAFF_GRANTED, bob.id),
            (COMMAND_LINE, Action.STAFF_GRANTED, None),
        ],
        key=str,
    )


async def test_staff_cannot_deactivate_or_demote_themselves() -> None:
    deployment = Deployment()
    ann = await deployment.join()
    for is_active, is_staff in ((False, None), (None, False), (True, False), (False, True)):
        with pytest.raises(OwnAccount):
            await deployment.administration.change(ann.id, ann.id, is_active=is_active, is_staff=is_staff)
    assert not await deployment.entries()
    assert (await deployment.administration.change(COMMAND_LINE, ann.id, is_active=False)).is_active is False


async def test_a_change_without_fields_is_not_logged() -> None:
    deployment = Deployment()
    ann = await deployment.join()
    assert (await deployment.administration.change(ann.id, ann.id)).id == ann.id
    assert not await deployment.entries()


async def test_dead_emails_are_retried_immediately_and_each_retry_is_logged() -> None:
    deployment = Deployment()
    mail_ids = await deployment.dead_mails("cleo", "dora")
    rings = deployment.notifier.notifications
    assert sorted(await deployment.mails.retry(COMMAND_LINE, None)) == sorted(mail_ids)
    assert deployment.notifier.notifications == rings + 1
    assert sorted(one.mail_id or "" for one in await deployment.entries()) == sorted(mail_ids)
    assert {one.action for one in await deployment.entries()} == {Action.MAIL_RETRIED}
    assert not await deployment.mails.retry(COMMAND_LINE, None)
    assert (deployment.notifier.notifications, len(await deployment.entries())) == (rings + 1, 2)


async def test_retrying_one_email_requires_that_it_is_dead() -> None:
    deployment = Deployment()
    [mail_id] = await deployment.dead_mails("cleo")
    assert (await deployment.mails.retry_one("somebody", mail_id)).state is MailState.PENDING
    with pytest.raises(MailNotDead):
        await deployment.mails.retry_one("somebody", mail_id)
    with pytest.raises(MailNotFound):
        await deployment.mails.retry_one("somebody", "another")
    assert len(await deployment.entries()) == 1


async def test_a_flush_returns_the_number_of_entries_and_is_logged() -> None:
    deployment = Deployment()
    entries = memory.MemoryCacheStore(1_000_000)
    lease = await entries.lease("a", 10)
    assert lease is not None
    entry = CacheEntry(b"{}", 0.0, 1e12, 1e12, lease.fence)
    assert await entries.write("a", entry)
    assert await flush_cache(COMMAND_LINE, entries, deployment.recorder) == 1
    assert [one.action for one in await deployment.entries()] == [Action.CACHE_FLUSHED]


class UnavailableAuditLog(memory.MemoryAuditLog):
    async def append(self, entry: AuditEntry) -> None:
        raise StoreUnavailable("it is unavailable")


async def test_an_unavailable_audit_log_is_reported_after_the_change() -> None:
    deployment = Deployment()
    ann = await deployment.join()
    ports = deployment.ports
    recorder = AuditRecorder(UnavailableAuditLog(ports.database), deployment.clock)
    administration = UserAdministration(ports.user_management, ports.profiles, recorder)
    with pytest.raises(
        StoreUnavailable, match="the change was made but could not be written to the audit log: it is unavailable"
    ):
        await administration.set_staff(COMMAND_LINE, ANN, True)
    assert (await deployment.users.find_user(ANN)).is_staff
    assert ann.is_staff is False


async def test_a_page_past_the_end_is_rejected_except_for_an_empty_list() -> None:
    deployment = Deployment()
    past = Window(5, 10)
    for empty in (
        deployment.administration.list_users(past, "", UserState.ACCOUNT),
        deployment.mails.list_mails(past, None),
        deployment.recorder.list_page(past),
    ):
        assert await empty == (0, [])
    await deployment.join()
    await deployment.dead_mails("cleo")
    await deployment.administration.set_staff(COMMAND_LINE, ANN, True)
    for full in (
        deployment.administration.list_users(past, " ANN ", UserState.ACCOUNT),
        deployment.mails.list_mails(past, MailState.DEAD),
        deployment.recorder.list_page(past),
    ):
        with pytest.raises(PageOutOfRange):
            await full


async def test_a_change_of_an_unknown_user_is_rejected() -> None:
    with pytest.raises(UserNotFound):
        await Deployment().administration.change(COMMAND_LINE, "nobody", is_active=True)


async def test_a_change_sets_staff_rights() -> None:
    deployment = Deployment()
    user = await deployment.join()
    changed = await deployment.administration.change(COMMAND_LINE, user.id, is_staff=True)
    assert (changed.id, changed.is_staff) == (user.id, True)
    assert [entry.action for entry in await deployment.entries()] == [Action.STAFF_GRANTED]


async def test_a_change_reports_that_the_user_was_deleted_meanwhile() -> None:
    deployment = Deployment()
    user = await deployment.join()
    set_staff = deployment.users.set_staff

    async def set_and_erase(email: str, is_staff: bool) -> User:
        changed = await set_staff(email, is_staff)
        await deployment.ports.profiles.erase_address(email)
        return changed

    deployment.users.set_staff = set_and_erase  # type: ignore[method-assign]
    with pytest.raises(UserNotFound, match="was deleted"):
        await deployment.administration.change(COMMAND_LINE, user.id, is_staff=True)
