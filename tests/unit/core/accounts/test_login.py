"""Login, over in-memory ports."""

import asyncio
import contextlib
import logging
from datetime import timedelta

import pytest
from tests.support.accounts import ANN, PASSWORD, AccountDeployment

from movie_core.errors import (
    InvalidCredentials,
    InvalidPassword,
    InvalidToken,
)


async def test_two_concurrent_logins_that_store_a_stronger_hash_both_succeed() -> None:
    deployment = AccountDeployment()
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
    await asyncio.gather(*(deployment.login.log_in(ANN, PASSWORD, "d") for _ in range(2)))


async def test_login_errors_are_the_same_for_unknown_wrong_and_inactive() -> None:
    deployment = AccountDeployment()
    await deployment.join()
    await deployment.registration.register("ben@example.com", "ben", PASSWORD)
    await deployment.join("cleo@example.com", "cleo")
    await deployment.management.set_active("cleo@example.com", False)
    attempts = [(ANN, "wrong"), ("ben@example.com", PASSWORD), ("cleo@example.com", PASSWORD), ("x@example.com", "y")]
    attempts += [("no address", ""), (ANN, ""), (ANN, "p" * 1025), ("\ud800@x.y", "\ud800")]
    details = set()
    for address, password in attempts:
        with pytest.raises(InvalidCredentials) as error:
            await deployment.login.log_in(address, password, "d")
        details.add(error.value.detail)
    assert len(details) == 1


async def test_a_password_is_the_same_in_any_unicode_form() -> None:
    deployment = AccountDeployment()
    await deployment.registration.register(ANN, "ann", "Zürich über alles morgen")
    await deployment.registration.activate(*(await deployment.links())[0], None)
    await deployment.login.log_in("ANN@Example.COM", "Zu\u0308rich u\u0308ber alles morgen", "d")


async def test_a_login_in_progress_starts_no_session_after_a_password_change() -> None:
    deployment = AccountDeployment()
    caller = await deployment.tokens.authenticate((await deployment.join()).access)
    verify = deployment.hasher.verify

    async def slow(password: str, password_hash: str | None, *, queue: str = "") -> bool:
        is_correct = await verify(password, password_hash)
        if password == PASSWORD and queue == ANN:
            deployment.hasher.verify = verify  # type: ignore[method-assign]
            await deployment.passwords.change(caller, PASSWORD, "amber kites over quarry")
        return is_correct

    deployment.hasher.verify = slow  # type: ignore[method-assign]
    with pytest.raises(InvalidCredentials) as in_progress:
        await deployment.login.log_in(ANN, PASSWORD, "d")
    with pytest.raises(InvalidCredentials) as afterwards:
        await deployment.login.log_in(ANN, PASSWORD, "d")
    assert in_progress.value.detail == afterwards.value.detail
    assert len(await deployment.sessions.list_for_user(caller.user_id)) == 1


async def test_login_outcomes_are_logged_with_the_account(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "movie_core.accounts")
    deployment = AccountDeployment()
    caller = await deployment.tokens.authenticate((await deployment.join()).access)
    for email, password in ((ANN, PASSWORD), (ANN, "wrong"), ("nobody@example.com", PASSWORD)):
        with contextlib.suppress(InvalidCredentials):
            await deployment.login.log_in(email, password, "d")
    assert [record.getMessage() for record in caplog.records] == [
        f"account activated: account {caller.user_id}",
        f"login succeeded: account {caller.user_id}",
        f"login failed: wrong password, account {caller.user_id}",
        "login failed: unknown address, account none",
    ]
    assert ANN not in caplog.text
    assert PASSWORD not in caplog.text


async def test_reauthentication_replaces_the_current_session() -> None:
    deployment = AccountDeployment()
    tokens = await deployment.join()
    caller = await deployment.tokens.authenticate(tokens.access)
    fresh = await deployment.tokens.authenticate((await deployment.login.reauthenticate(caller, PASSWORD, "d")).access)
    assert [session.id for session in await deployment.sessions.list_for_user(fresh.user_id)] == [fresh.session_id]
    with pytest.raises(InvalidToken):
        await deployment.tokens.authenticate(tokens.access)
    with pytest.raises(InvalidToken):
        await deployment.tokens.refresh(tokens.refresh)


async def test_a_password_does_not_expire() -> None:
    deployment = AccountDeployment()
    await deployment.join()
    deployment.now += timedelta(days=3650)
    await deployment.login.log_in(ANN, PASSWORD, "d")


async def test_the_networks_of_logins_are_remembered_by_address() -> None:
    deployment = AccountDeployment()
    await deployment.join()
    for network in ("192.0.2.1", "192.0.2.2"):
        await deployment.login.log_in(ANN, PASSWORD, "d", network=network)
    networks = await deployment.login.login_networks(deployment.login.address_key("ANN@Example.com"))
    assert sorted(networks) == ["192.0.2.1", "192.0.2.2"]
    assert await deployment.login.login_networks(deployment.login.address_key("no address")) == []


async def test_a_reauthentication_in_progress_fails_after_a_password_change() -> None:
    deployment = AccountDeployment()
    tokens = await deployment.join()
    caller = await deployment.tokens.authenticate(tokens.access)
    verify = deployment.hasher.verify

    async def slow(password: str, password_hash: str | None, *, queue: str = "") -> bool:
        deployment.hasher.verify = verify  # type: ignore[method-assign]
        await deployment.passwords.change(caller, PASSWORD, "amber kites over quarry")
        return await verify(password, password_hash)

    deployment.hasher.verify = slow  # type: ignore[method-assign]
    with pytest.raises(InvalidPassword):
        await deployment.login.reauthenticate(caller, PASSWORD, "d")
    assert [session.id for session in await deployment.sessions.list_for_user(caller.user_id)] == [caller.session_id]
