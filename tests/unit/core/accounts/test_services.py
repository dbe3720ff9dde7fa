"""The service over every port in memory."""

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


class World:
    """A deployment in memory whose clock stands until a test moves it."""

    def __init__(self, limit: Rate | None = None) -> None:
        self.now = datetime.now(UTC).replace(microsecond=0)
        deployment = memory.deployment(clock=self.clock, mail_rules=MailRules(timedelta(hours=24), limit))
        self.accounts, self.registry, self.dispatcher = deployment.accounts, deployment.registry, deployment.dispatcher
        self.mailer, self.notifier, self.hasher = deployment.mailer, deployment.notifier, deployment.hasher

    def clock(self) -> datetime:
        return self.now

    async def links(self) -> list[tuple[str, str]]:
        """(uid, token) of every mailed link, oldest first, after delivering what is due."""
        await self.dispatcher.deliver_due()
        urls = [url for email in self.mailer.emails for url in email.links]
        return [(url.rstrip("/").split("/")[-2], url.rstrip("/").split("/")[-1]) for url in urls]

    async def join(self, email: str = ANN, username: str = "ann"):  # type: ignore[no-untyped-def]
        await self.accounts.register(email, username, PASSWORD)
        tokens = await self.accounts.activate(*(await self.links())[-1], "a device")
        assert tokens is not None
        return tokens


async def test_everything_that_is_wrong_with_a_registration_is_told_at_once() -> None:
    world = World()
    with pytest.raises(InvalidEmail) as told:
        await world.accounts.register("nobody", "a\nb", "12345678")
    assert [type(other) for other in told.value.others] == [InvalidUsername]
    with pytest.raises(WeakPassword):
        await world.accounts.register(ANN, "ann", "12345678")
    assert world.notifier.notifications == 0


async def test_whose_link_is_used_gets_the_account() -> None:
    world = World()
    await world.accounts.register(ANN, "stranger", "not the owner's choice at all")
    world.now += timedelta(minutes=1)
    await world.accounts.register(ANN, "ann", PASSWORD)
    foreign, own = await world.links()
    await world.accounts.activate(*own, None, password=PASSWORD)
    with pytest.raises(InvalidLink):
        await world.accounts.activate(*foreign, None, password=PASSWORD)
    await world.accounts.log_in(ANN, PASSWORD, "d")
    with pytest.raises(InvalidCredentials):
        await world.accounts.log_in(ANN, "not the owner's choice at all", "d")


async def test_of_two_logins_that_store_a_stronger_hash_at_once_both_succeed() -> None:
    world = World()
    await world.join()
    together = asyncio.Barrier(2)
    hashing = world.hasher.hash

    async def hashed(password: str, *, salt: bytes | None = None, queue: str = "") -> str:
        if salt is None:
            await together.wait()
        return await hashing(password, salt=salt, queue=queue)

    outdated = [True, True]
    world.hasher.hash = hashed  # type: ignore[method-assign]
    world.hasher.is_outdated = lambda _: bool(outdated) and outdated.pop()  # type: ignore[method-assign]
    await asyncio.gather(*(world.accounts.log_in(ANN, PASSWORD, "d") for _ in range(2)))


async def test_a_strangers_link_leaves_no_strangers_password_in_force() -> None:
    strange = "not the owner's choice at all"
    for given in ({"password": PASSWORD}, {}):
        world = World()
        await world.accounts.register(ANN, "ann", strange)
        world.now += timedelta(minutes=1)
        await world.accounts.register(ANN, "ann", PASSWORD)
        foreign, _ = await world.links()
        with pytest.raises(InvalidPassword if given else PasswordRequired):
            await world.accounts.activate(*foreign, "d", **given)
        with pytest.raises(WeakPassword):
            await world.accounts.activate(*foreign, "d", new_password="12345678")
        assert await world.accounts.activate(*foreign, "d", new_password="amber kites over quarry") is not None
        await world.accounts.log_in(ANN, "amber kites over quarry", "d")
        for other in (strange, PASSWORD):
            with pytest.raises(InvalidCredentials):
                await world.accounts.log_in(ANN, other, "d")


async def test_a_link_ends_after_its_time_and_looking_changes_nothing() -> None:
    world = World()
    await world.accounts.register(ANN, "ann", PASSWORD)
    (link,) = await world.links()
    for _ in range(3):
        assert not await world.accounts.is_activated(*link)
    world.now += timedelta(hours=24, seconds=1)
    with pytest.raises(InvalidLink):
        await world.accounts.activate(*link, None)


async def test_unknown_wrong_and_inactive_are_the_same() -> None:
    world = World()
    await world.join()
    await world.accounts.register("ben@example.com", "ben", PASSWORD)
    await world.join("cleo@example.com", "cleo")
    await world.accounts.set_active("cleo@example.com", False)
    tries = [(ANN, "wrong"), ("ben@example.com", PASSWORD), ("cleo@example.com", PASSWORD), ("x@example.com", "y")]
    tries += [("no address", ""), (ANN, ""), (ANN, "p" * 1025), ("\ud800@x.y", "\ud800")]
    told = set()
    for address, password in tries:
        with pytest.raises(InvalidCredentials) as error:
            await world.accounts.log_in(address, password, "d")
        told.add(error.value.detail)
    assert len(told) == 1


async def test_a_password_is_the_same_however_it_is_composed() -> None:
    world = World()
    await world.accounts.register(ANN, "ann", "Zürich über alles morgen")
    await world.accounts.activate(*(await world.links())[0], None)
    await world.accounts.log_in("ANN@Example.COM", "Zu\u0308rich u\u0308ber alles morgen", "d")


async def test_refresh_repeats_within_the_grace_and_ends_the_session_later() -> None:
    world = World()
    first = await world.join()
    second = await world.accounts.refresh(first.refresh)
    assert (await world.accounts.refresh(first.refresh)).refresh == second.refresh
    caller = await world.accounts.authenticate(second.access)
    world.now += GRACE + timedelta(seconds=1)
    with pytest.raises(InvalidToken):
        await world.accounts.refresh(first.refresh)
    with pytest.raises(InvalidToken):
        await world.accounts.refresh(second.refresh)
    await world.registry.poll()
    with pytest.raises(InvalidToken):
        await world.accounts.authenticate(second.access)
    assert await world.accounts.sessions(caller) == []


async def test_a_reset_ends_all_sessions_and_a_change_the_others() -> None:
    world = World()
    one = await world.join()
    other = await world.accounts.log_in(ANN, PASSWORD, "d")
    caller = await world.accounts.authenticate(one.access)
    with pytest.raises(InvalidPassword):
        await world.accounts.change_password(caller, "wrong", "amber kites over quarry")
    await world.accounts.change_password(caller, PASSWORD, "amber kites over quarry")
    await world.accounts.authenticate(one.access)
    with pytest.raises(InvalidToken):
        await world.accounts.authenticate(other.access)
    await world.accounts.forgot_password(ANN)
    reset = (await world.links())[-1]
    with pytest.raises(WeakPassword):
        await world.accounts.reset_password(*reset, "12345678")
    await world.accounts.reset_password(*reset, PASSWORD)
    with pytest.raises(InvalidToken):
        await world.accounts.authenticate(one.access)
    with pytest.raises(InvalidLink):
        await world.accounts.check_reset(*reset)


async def test_a_login_in_progress_starts_no_session_once_the_password_is_another() -> None:
    world = World()
    caller = await world.accounts.authenticate((await world.join()).access)
    verify = world.hasher.verify

    async def slow(password: str, hashed: str | None, *, queue: str = "") -> bool:
        is_right = await verify(password, hashed)
        if password == PASSWORD and queue == ANN:
            world.hasher.verify = verify  # type: ignore[method-assign]
            await world.accounts.change_password(caller, PASSWORD, "amber kites over quarry")
        return is_right

    world.hasher.verify = slow  # type: ignore[method-assign]
    with pytest.raises(InvalidCredentials) as in_progress:
        await world.accounts.log_in(ANN, PASSWORD, "d")
    with pytest.raises(InvalidCredentials) as afterwards:
        await world.accounts.log_in(ANN, PASSWORD, "d")
    assert in_progress.value.detail == afterwards.value.detail
    assert len(await world.accounts.sessions(caller)) == 1


async def test_a_session_ends_after_its_time_however_often_it_is_refreshed() -> None:
    world = World()
    tokens = await world.join()
    for _ in range(10):
        world.now += timedelta(days=3) - timedelta(minutes=1)
        tokens = await world.accounts.refresh(tokens.refresh)
    world.now += timedelta(minutes=9)
    caller = await world.accounts.authenticate(tokens.access)
    assert caller.expires_at - world.now == timedelta(minutes=1), "no access token lasts longer than its session"
    world.now += timedelta(minutes=1)
    with pytest.raises(InvalidToken):
        await world.accounts.authenticate(tokens.access)
    with pytest.raises(InvalidToken):
        await world.accounts.refresh(tokens.refresh)


async def test_what_harms_an_account_needs_a_recent_login() -> None:
    world = World()
    caller = await world.accounts.authenticate((await world.join()).access)
    other = await world.accounts.authenticate((await world.accounts.log_in(ANN, PASSWORD, "d")).access)

    def harmful() -> list[Awaitable[object]]:
        return [
            world.accounts.end_session(caller, other.session_id),
            world.accounts.end_other_sessions(caller),
            world.accounts.change_profile(caller, username="anna"),
            world.accounts.erase(caller),
        ]

    world.now += timedelta(minutes=15, seconds=1)
    for call in harmful():
        with pytest.raises(ReauthenticationRequired):
            await call
    await world.accounts.change_profile(caller, record_events=False)
    with pytest.raises(InvalidPassword):
        await world.accounts.reauthenticate(caller, "wrong", "d")
    caller = await world.accounts.authenticate((await world.accounts.reauthenticate(caller, PASSWORD, "d")).access)
    world.now += timedelta(minutes=14)
    for call in harmful():
        await call


async def test_the_password_given_again_starts_a_session_in_place_of_the_present_one() -> None:
    world = World()
    tokens = await world.join()
    caller = await world.accounts.authenticate(tokens.access)
    fresh = await world.accounts.authenticate((await world.accounts.reauthenticate(caller, PASSWORD, "d")).access)
    assert [session.id for session in await world.accounts.sessions(fresh)] == [fresh.session_id]
    with pytest.raises(InvalidToken):
        await world.accounts.authenticate(tokens.access)
    with pytest.raises(InvalidToken):
        await world.accounts.refresh(tokens.refresh)


async def test_the_present_session_may_always_end() -> None:
    world = World()
    caller = await world.accounts.authenticate((await world.join()).access)
    world.now += timedelta(hours=1)
    await world.accounts.end_session(caller, caller.session_id)


async def test_the_owner_is_notified_of_what_happens_to_the_account() -> None:
    world = World()
    caller = await world.accounts.authenticate((await world.join()).access)

    async def notices() -> list[MailKind]:
        world.mailer.emails.clear()
        await world.dispatcher.deliver_due()
        return [email.kind for email in world.mailer.emails if email.recipient == ANN and not email.links]

    await notices()
    await world.accounts.change_password(caller, PASSWORD, "amber kites over quarry")
    assert await notices() == [MailKind.PASSWORD_CHANGED]
    await world.accounts.log_in(ANN, "amber kites over quarry", "d")
    await world.accounts.end_other_sessions(caller)
    assert await notices() == [MailKind.SESSIONS_ENDED]
    await world.accounts.end_other_sessions(caller)
    assert await notices() == [], "there was nothing to end"
    await world.accounts.erase(caller)
    assert await notices() == [MailKind.ACCOUNT_ERASED]


async def test_login_outcomes_are_logged_with_the_account(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "movie_core.accounts.services")
    world = World()
    caller = await world.accounts.authenticate((await world.join()).access)
    for email, password in ((ANN, PASSWORD), (ANN, "wrong"), ("nobody@example.com", PASSWORD)):
        with contextlib.suppress(InvalidCredentials):
            await world.accounts.log_in(email, password, "d")
    assert [record.getMessage() for record in caplog.records] == [
        f"account activated: account {caller.user_id}",
        f"login succeeded: account {caller.user_id}",
        f"login failed: wrong password, account {caller.user_id}",
        "login failed: unknown address, account none",
    ]
    assert ANN not in caplog.text
    assert PASSWORD not in caplog.text


async def test_a_taken_address_is_told_its_owner_and_nobody_else() -> None:
    world = World()
    await world.join()
    answer = await world.accounts.register("ANN@example.com", "somebody", PASSWORD)
    assert (answer.address.spelling, answer.username.shown) == ("ANN@example.com", "somebody")
    await world.dispatcher.deliver_due()
    assert (world.mailer.emails[-1].kind, world.mailer.emails[-1].links) == (MailKind.ADDRESS_TAKEN, ())
    with pytest.raises(UsernameTaken):
        await world.accounts.register("new@example.com", "ANN", PASSWORD)
    for ask in (world.accounts.resend, world.accounts.forgot_password):
        await ask("nobody@example.com")
    count = len(world.mailer.emails)
    await world.dispatcher.deliver_due()
    assert len(world.mailer.emails) == count


async def test_nobody_ends_a_session_of_somebody_else() -> None:
    world = World()
    ann = await world.accounts.authenticate((await world.join()).access)
    ben = await world.accounts.authenticate((await world.join("ben@example.com", "ben")).access)
    with pytest.raises(SessionNotFound):
        await world.accounts.end_session(ben, ann.session_id)
    await world.accounts.erase(ben)
    with pytest.raises(UserNotFound):
        await world.accounts.sessions_of("ben@example.com")
    assert len(await world.accounts.sessions(ann)) == 1


async def test_a_password_stays_good_for_years() -> None:
    world = World()
    await world.join()
    world.now += timedelta(days=3650)
    await world.accounts.log_in(ANN, PASSWORD, "d")


async def test_every_login_has_tokens_and_a_session_of_its_own() -> None:
    world = World()
    first = await world.join()
    others = [await world.accounts.log_in(ANN, PASSWORD, "d") for _ in range(3)]
    pairs = [first, *others, await world.accounts.refresh(first.refresh)]
    assert len({pair.access for pair in pairs}) == len({pair.refresh for pair in pairs}) == 5
    callers = [await world.accounts.authenticate(pair.access) for pair in pairs]
    assert len({caller.session_id for caller in callers}) == 4, "what was refreshed is the session that it was"


async def test_a_session_that_is_not_used_ends() -> None:
    world = World()
    tokens = await world.join()
    await world.accounts.authenticate(tokens.access)
    world.now += timedelta(days=5)
    with pytest.raises(InvalidToken):
        await world.accounts.refresh(tokens.refresh)
    with pytest.raises(InvalidToken):
        await world.accounts.authenticate(tokens.access)
