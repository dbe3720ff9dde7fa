"""Sessions, over in-memory ports."""

from collections.abc import Awaitable
from datetime import timedelta

import pytest
from tests.support.accounts import ANN, PASSWORD, AccountDeployment

from movie_core.accounts.outbox import MailKind
from movie_core.errors import (
    InvalidPassword,
    ReauthenticationRequired,
    SessionNotFound,
    UserNotFound,
)


async def test_sensitive_operations_require_a_recent_login() -> None:
    deployment = AccountDeployment()
    caller = await deployment.tokens.authenticate((await deployment.join()).access)
    other = await deployment.tokens.authenticate((await deployment.login.log_in(ANN, PASSWORD, "d")).access)

    def sensitive_calls() -> list[Awaitable[object]]:
        return [
            deployment.sessions.end(caller, other.session_id),
            deployment.sessions.end_others(caller),
            deployment.profiles.change(caller, username="anna"),
            deployment.profiles.erase(caller),
        ]

    deployment.now += timedelta(minutes=15, seconds=1)
    for call in sensitive_calls():
        with pytest.raises(ReauthenticationRequired):
            await call
    await deployment.profiles.change(caller, record_events=False)
    with pytest.raises(InvalidPassword):
        await deployment.login.reauthenticate(caller, "wrong", "d")
    caller = await deployment.tokens.authenticate((await deployment.login.reauthenticate(caller, PASSWORD, "d")).access)
    deployment.now += timedelta(minutes=14)
    for call in sensitive_calls():
        await call


async def test_the_current_session_can_always_be_ended() -> None:
    deployment = AccountDeployment()
    caller = await deployment.tokens.authenticate((await deployment.join()).access)
    deployment.now += timedelta(hours=1)
    await deployment.sessions.end(caller, caller.session_id)


async def test_a_user_cannot_end_the_session_of_another_user() -> None:
    deployment = AccountDeployment()
    ann = await deployment.tokens.authenticate((await deployment.join()).access)
    ben = await deployment.tokens.authenticate((await deployment.join("ben@example.com", "ben")).access)
    with pytest.raises(SessionNotFound):
        await deployment.sessions.end(ben, ann.session_id)
    await deployment.profiles.erase(ben)
    with pytest.raises(UserNotFound):
        await deployment.management.list_sessions("ben@example.com")
    assert len(await deployment.sessions.list_for_user(ann.user_id)) == 1


async def test_the_user_is_notified_of_changes_of_the_account() -> None:
    deployment = AccountDeployment()
    caller = await deployment.tokens.authenticate((await deployment.join()).access)

    async def notices() -> list[MailKind]:
        deployment.mailer.emails.clear()
        await deployment.dispatcher.deliver_due()
        return [email.kind for email in deployment.mailer.emails if email.recipient == ANN and not email.links]

    await notices()
    await deployment.passwords.change(caller, PASSWORD, "amber kites over quarry")
    assert await notices() == [MailKind.PASSWORD_CHANGED]
    await deployment.login.log_in(ANN, "amber kites over quarry", "d")
    await deployment.sessions.end_others(caller)
    assert await notices() == [MailKind.SESSIONS_ENDED]
    await deployment.sessions.end_others(caller)
    assert await notices() == [], "no session was left to end"
    await deployment.profiles.erase(caller)
    assert await notices() == [MailKind.ACCOUNT_ERASED]
