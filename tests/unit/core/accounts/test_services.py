"""The accounts service over in-memory ports."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable
from datetime import UTC, datetime, timedelta

import pytest

from movie_core import memory
from movie_core.accounts.outbox import MailKind, MailRules
from movie_core.accounts.sessions import GRACE
from movie_core.errors import (
    InvalidCredentials,
    InvalidEmail,
    InvalidLink,
    InvalidPassword,
    InvalidToken,
    InvalidUsername,
    PasswordRequired,
    ReauthenticationRequired,
    SessionNotFound,
    UsernameTaken,
    UserNotFound,
    WeakPassword,
)
from movie_core.quotas import Rate

PASSWORD = "copper lantern walks home"
ANN = "ann@example.com"


class Deployment:
    """A deployment in memory with a clock that only tests advance."""

    def __init__(self, limit: Rate | None = None) -> None:
        self.now = datetime.now(UTC).replace(microsecond=0)
        deployment = memory.deployment(clock=self.clock, mail_rules=MailRules(timedelta(hours=24), limit))
        self.accounts, self.registry, self.dispatcher = deployment.accounts, deployment.registry, deployment.dispatcher
        self.mailer, self.notifier, self.hasher = deployment.mailer, deployment.notifier, deployment.hasher

    def clock(self) -> datetime:
        return self.now

    async def links(self) -> list[tuple[str, str]]:
        """Delivers due emails; returns (uid, token) of every emailed link, oldest first."""
        await self.dispatcher.deliver_due()
        urls = [url for email in self.mailer.emails for url in email.links]
        return [(url.rstrip("/").split("/")[-2], url.rstrip("/").split("/")[-1]) for url in urls]

    async def join(self, email: str = ANN, username: str = "ann"):  # type: ignore[no-untyped-def]
        await self.accounts.register(email, username, PASSWORD)
        tokens = await self.accounts.activate(*(await self.links())[-1], "a device")
        assert tokens is not None
        return tokens


async def test_all_errors_of_a_registration_are_reported_together() -> None:
    deployment = Deployment()
    with pytest.raises(InvalidEmail) as error:
        await deployment.accounts.register("nobody", "a\nb", "12345678")
    assert [type(other) for other in error.value.others] == [InvalidUsername]
    with pytest.raises(WeakPassword):
        await deployment.accounts.register(ANN, "ann", "12345678")
    assert deployment.notifier.notifications == 0


async def test_the_registration_whose_link_is_used_becomes_the_user() -> None:
    deployment = Deployment()
    await deployment.accounts.register(ANN, "stranger", "not the owner's choice at all")
    deployment.now += timedelta(minutes=1)
    await deployment.accounts.register(ANN, "ann", PASSWORD)
    foreign, own = await deployment.links()
    await deployment.accounts.activate(*own, None, password=PASSWORD)
    with pytest.raises(InvalidLink):
        await deployment.accounts.activate(*foreign, None, password=PASSWORD)
    await deployment.accounts.log_in(ANN, PASSWORD, "d")
    with pytest.raises(InvalidCredentials):
        await deployment.accounts.log_in(ANN, "not the owner's choice at all", "d")


async def test_two_concurrent_logins_that_store_a_stronger_hash_both_succeed() -> None:
    deployment = Deployment()
    await deployment.join()
    together = asyncio.Barrier(2)
    original_hash = deployment.hasher.hash

    async def hash_together(password: str, *, salt: bytes | None = None, queue: str = "") -> str:
        if salt is None:
            await together.wait()
        return await original_hash(password, salt=salt, queue=queue)

    outdated = [True, True]
    deployment.hasher.hash = hash_together  # type: ignore[method-assign]
    deployment.hasher.is_outdated = lambda _: bool(outdated) and outdated.pop()  # type: ignore[method-assign]
    await asyncio.gather(*(deployment.accounts.log_in(ANN, PASSWORD, "d") for _ in range(2)))


async def test_the_link_of_a_strangers_registration_never_activates_the_strangers_password() -> None:
    strange = "not the owner's choice at all"
    for passwords in ({"password": PASSWORD}, {}):
        deployment = Deployment()
        await deployment.accounts.register(ANN, "ann", strange)
        deployment.now += timedelta(minutes=1)
        await deployment.accounts.register(ANN, "ann", PASSWORD)
        foreign, _ = await deployment.links()
        with pytest.raises(InvalidPassword if passwords else PasswordRequired):
            await deployment.accounts.activate(*foreign, "d", **passwords)
        with pytest.raises(WeakPassword):
            await deployment.accounts.activate(*foreign, "d", new_password="12345678")
        assert await deployment.accounts.activate(*foreign, "d", new_password="amber kites over quarry") is not None
        await deployment.accounts.log_in(ANN, "amber kites over quarry", "d")
        for other in (strange, PASSWORD):
            with pytest.raises(InvalidCredentials):
                await deployment.accounts.log_in(ANN, other, "d")


async def test_a_link_expires_and_checking_it_changes_nothing() -> None:
    deployment = Deployment()
    await deployment.accounts.register(ANN, "ann", PASSWORD)
    (link,) = await deployment.links()
    for _ in range(3):
        assert not await deployment.accounts.is_activated(*link)
    deployment.now += timedelta(hours=24, seconds=1)
    with pytest.raises(InvalidLink):
        await deployment.accounts.activate(*link, None)


async def test_login_errors_are_the_same_for_unknown_wrong_and_inactive() -> None:
    deployment = Deployment()
    await deployment.join()
    await deployment.accounts.register("ben@example.com", "ben", PASSWORD)
    await deployment.join("cleo@example.com", "cleo")
    await deployment.accounts.set_active("cleo@example.com", False)
    attempts = [(ANN, "wrong"), ("ben@example.com", PASSWORD), ("cleo@example.com", PASSWORD), ("x@example.com", "y")]
    attempts += [("no address", ""), (ANN, ""), (ANN, "p" * 1025), ("\ud800@x.y", "\ud800")]
    details = set()
    for address, password in attempts:
        with pytest.raises(InvalidCredentials) as error:
            await deployment.accounts.log_in(address, password, "d")
        details.add(error.value.detail)
    assert len(details) == 1


async def test_a_password_is_the_same_in_any_unicode_form() -> None:
    deployment = Deployment()
    await deployment.accounts.register(ANN, "ann", "Zürich über alles morgen")
    await deployment.accounts.activate(*(await deployment.links())[0], None)
    await deployment.accounts.log_in("ANN@Example.COM", "Zu\u0308rich u\u0308ber alles morgen", "d")


async def test_reuse_of_a_refresh_token_repeats_within_the_grace_period_and_later_ends_the_session() -> None:
    deployment = Deployment()
    first = await deployment.join()
    second = await deployment.accounts.refresh(first.refresh)
    assert (await deployment.accounts.refresh(first.refresh)).refresh == second.refresh
    caller = await deployment.accounts.authenticate(second.access)
    deployment.now += GRACE + timedelta(seconds=1)
    with pytest.raises(InvalidToken):
        await deployment.accounts.refresh(first.refresh)
    with pytest.raises(InvalidToken):
        await deployment.accounts.refresh(second.refresh)
    await deployment.registry.poll()
    with pytest.raises(InvalidToken):
        await deployment.accounts.authenticate(second.access)
    assert await deployment.accounts.list_sessions(caller) == []


async def test_a_password_reset_ends_all_sessions_and_a_password_change_the_others() -> None:
    deployment = Deployment()
    one = await deployment.join()
    other = await deployment.accounts.log_in(ANN, PASSWORD, "d")
    caller = await deployment.accounts.authenticate(one.access)
    with pytest.raises(InvalidPassword):
        await deployment.accounts.change_password(caller, "wrong", "amber kites over quarry")
    await deployment.accounts.change_password(caller, PASSWORD, "amber kites over quarry")
    await deployment.accounts.authenticate(one.access)
    with pytest.raises(InvalidToken):
        await deployment.accounts.authenticate(other.access)
    await deployment.accounts.forgot_password(ANN)
    reset = (await deployment.links())[-1]
    with pytest.raises(WeakPassword):
        await deployment.accounts.reset_password(*reset, "12345678")
    await deployment.accounts.reset_password(*reset, PASSWORD)
    with pytest.raises(InvalidToken):
        await deployment.accounts.authenticate(one.access)
    with pytest.raises(InvalidLink):
        await deployment.accounts.check_reset_link(*reset)


async def test_a_login_in_progress_starts_no_session_after_a_password_change() -> None:
    deployment = Deployment()
    caller = await deployment.accounts.authenticate((await deployment.join()).access)
    verify = deployment.hasher.verify

    async def slow(password: str, password_hash: str | None, *, queue: str = "") -> bool:
        is_correct = await verify(password, password_hash)
        if password == PASSWORD and queue == ANN:
            deployment.hasher.verify = verify  # type: ignore[method-assign]
            await deployment.accounts.change_password(caller, PASSWORD, "amber kites over quarry")
        return is_correct

    deployment.hasher.verify = slow  # type: ignore[method-assign]
    with pytest.raises(InvalidCredentials) as in_progress:
        await deployment.accounts.log_in(ANN, PASSWORD, "d")
    with pytest.raises(InvalidCredentials) as afterwards:
        await deployment.accounts.log_in(ANN, PASSWORD, "d")
    assert in_progress.value.detail == afterwards.value.detail
    assert len(await deployment.accounts.list_sessions(caller)) == 1


async def test_a_session_ends_after_its_maximum_lifetime_however_often_it_is_refreshed() -> None:
    deployment = Deployment()
    tokens = await deployment.join()
    for _ in range(10):
        deployment.now += timedelta(days=3) - timedelta(minutes=1)
        tokens = await deployment.accounts.refresh(tokens.refresh)
    deployment.now += timedelta(minutes=9)
    caller = await deployment.accounts.authenticate(tokens.access)
    assert caller.expires_at - deployment.now == timedelta(minutes=1), "no access token outlives its session"
    deployment.now += timedelta(minutes=1)
    with pytest.raises(InvalidToken):
        await deployment.accounts.authenticate(tokens.access)
    with pytest.raises(InvalidToken):
        await deployment.accounts.refresh(tokens.refresh)


async def test_sensitive_operations_require_a_recent_login() -> None:
    deployment = Deployment()
    caller = await deployment.accounts.authenticate((await deployment.join()).access)
    other = await deployment.accounts.authenticate((await deployment.accounts.log_in(ANN, PASSWORD, "d")).access)

    def sensitive_calls() -> list[Awaitable[object]]:
        return [
            deployment.accounts.end_session(caller, other.session_id),
            deployment.accounts.end_other_sessions(caller),
            deployment.accounts.change_profile(caller, username="anna"),
            deployment.accounts.erase(caller),
        ]

    deployment.now += timedelta(minutes=15, seconds=1)
    for call in sensitive_calls():
        with pytest.raises(ReauthenticationRequired):
            await call
    await deployment.accounts.change_profile(caller, record_events=False)
    with pytest.raises(InvalidPassword):
        await deployment.accounts.reauthenticate(caller, "wrong", "d")
    caller = await deployment.accounts.authenticate(
        (await deployment.accounts.reauthenticate(caller, PASSWORD, "d")).access
    )
    deployment.now += timedelta(minutes=14)
    for call in sensitive_calls():
        await call


async def test_reauthentication_replaces_the_current_session() -> None:
    deployment = Deployment()
    tokens = await deployment.join()
    caller = await deployment.accounts.authenticate(tokens.access)
    fresh = await deployment.accounts.authenticate(
        (await deployment.accounts.reauthenticate(caller, PASSWORD, "d")).access
    )
    assert [session.id for session in await deployment.accounts.list_sessions(fresh)] == [fresh.session_id]
    with pytest.raises(InvalidToken):
        await deployment.accounts.authenticate(tokens.access)
    with pytest.raises(InvalidToken):
        await deployment.accounts.refresh(tokens.refresh)


async def test_the_current_session_can_always_be_ended() -> None:
    deployment = Deployment()
    caller = await deployment.accounts.authenticate((await deployment.join()).access)
    deployment.now += timedelta(hours=1)
    await deployment.accounts.end_session(caller, caller.session_id)


async def test_the_user_is_notified_of_changes_of_the_account() -> None:
    deployment = Deployment()
    caller = await deployment.accounts.authenticate((await deployment.join()).access)

    async def notices() -> list[MailKind]:
        deployment.mailer.emails.clear()
        await deployment.dispatcher.deliver_due()
        return [email.kind for email in deployment.mailer.emails if email.recipient == ANN and not email.links]

    await notices()
    await deployment.accounts.change_password(caller, PASSWORD, "amber kites over quarry")
    assert await notices() == [MailKind.PASSWORD_CHANGED]
    await deployment.accounts.log_in(ANN, "amber kites over quarry", "d")
    await deployment.accounts.end_other_sessions(caller)
    assert await notices() == [MailKind.SESSIONS_ENDED]
    await deployment.accounts.end_other_sessions(caller)
    assert await notices() == [], "no session was left to end"
    await deployment.accounts.erase(caller)
    assert await notices() == [MailKind.ACCOUNT_ERASED]


async def test_login_outcomes_are_logged_with_the_account(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "movie_core.accounts.services")
    deployment = Deployment()
    caller = await deployment.accounts.authenticate((await deployment.join()).access)
    for email, password in ((ANN, PASSWORD), (ANN, "wrong"), ("nobody@example.com", PASSWORD)):
        with contextlib.suppress(InvalidCredentials):
            await deployment.accounts.log_in(email, password, "d")
    assert [record.getMessage() for record in caplog.records] == [
        f"account activated: account {caller.user_id}",
        f"login succeeded: account {caller.user_id}",
        f"login failed: wrong password, account {caller.user_id}",
        "login failed: unknown address, account none",
    ]
    assert ANN not in caplog.text
    assert PASSWORD not in caplog.text


async def test_a_taken_address_is_reported_only_to_its_user() -> None:
    deployment = Deployment()
    await deployment.join()
    answer = await deployment.accounts.register("ANN@example.com", "somebody", PASSWORD)
    assert (answer.address.spelling, answer.username.shown) == ("ANN@example.com", "somebody")
    await deployment.dispatcher.deliver_due()
    assert (deployment.mailer.emails[-1].kind, deployment.mailer.emails[-1].links) == (MailKind.ADDRESS_TAKEN, ())
    with pytest.raises(UsernameTaken):
        await deployment.accounts.register("new@example.com", "ANN", PASSWORD)
    for request in (deployment.accounts.resend_activation, deployment.accounts.forgot_password):
        await request("nobody@example.com")
    count = len(deployment.mailer.emails)
    await deployment.dispatcher.deliver_due()
    assert len(deployment.mailer.emails) == count


async def test_a_user_cannot_end_the_session_of_another_user() -> None:
    deployment = Deployment()
    ann = await deployment.accounts.authenticate((await deployment.join()).access)
    ben = await deployment.accounts.authenticate((await deployment.join("ben@example.com", "ben")).access)
    with pytest.raises(SessionNotFound):
        await deployment.accounts.end_session(ben, ann.session_id)
    await deployment.accounts.erase(ben)
    with pytest.raises(UserNotFound):
        await deployment.accounts.list_sessions_of("ben@example.com")
    assert len(await deployment.accounts.list_sessions(ann)) == 1


async def test_a_password_does_not_expire() -> None:
    deployment = Deployment()
    await deployment.join()
    deployment.now += timedelta(days=3650)
    await deployment.accounts.log_in(ANN, PASSWORD, "d")


async def test_every_login_has_separate_tokens_and_a_separate_session() -> None:
    deployment = Deployment()
    first = await deployment.join()
    others = [await deployment.accounts.log_in(ANN, PASSWORD, "d") for _ in range(3)]
    pairs = [first, *others, await deployment.accounts.refresh(first.refresh)]
    assert len({pair.access for pair in pairs}) == len({pair.refresh for pair in pairs}) == 5
    callers = [await deployment.accounts.authenticate(pair.access) for pair in pairs]
    assert len({caller.session_id for caller in callers}) == 4, "a refresh stays in the same session"


async def test_an_unused_session_expires() -> None:
    deployment = Deployment()
    tokens = await deployment.join()
    await deployment.accounts.authenticate(tokens.access)
    deployment.now += timedelta(days=5)
    with pytest.raises(InvalidToken):
        await deployment.accounts.refresh(tokens.refresh)
    with pytest.raises(InvalidToken):
        await deployment.accounts.authenticate(tokens.access)
