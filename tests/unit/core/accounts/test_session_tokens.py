"""The tokens of sessions, over in-memory ports."""

from datetime import timedelta

import pytest
from tests.support.accounts import ANN, PASSWORD, AccountDeployment

from movie_core.accounts.sessions import GRACE
from movie_core.errors import (
    InvalidToken,
)


async def test_reuse_of_a_refresh_token_repeats_within_the_grace_period_and_later_ends_the_session() -> None:
    deployment = AccountDeployment()
    first = await deployment.join()
    second = await deployment.tokens.refresh(first.refresh)
    assert (await deployment.tokens.refresh(first.refresh)).refresh == second.refresh
    caller = await deployment.tokens.authenticate(second.access)
    deployment.now += GRACE + timedelta(seconds=1)
    with pytest.raises(InvalidToken):
        await deployment.tokens.refresh(first.refresh)
    with pytest.raises(InvalidToken):
        await deployment.tokens.refresh(second.refresh)
    await deployment.registry.poll()
    with pytest.raises(InvalidToken):
        await deployment.tokens.authenticate(second.access)
    assert await deployment.sessions.list_for_user(caller.user_id) == []


async def test_a_session_ends_after_its_maximum_lifetime_however_often_it_is_refreshed() -> None:
    deployment = AccountDeployment()
    tokens = await deployment.join()
    for _ in range(10):
        deployment.now += timedelta(days=3) - timedelta(minutes=1)
        tokens = await deployment.tokens.refresh(tokens.refresh)
    deployment.now += timedelta(minutes=9)
    caller = await deployment.tokens.authenticate(tokens.access)
    assert caller.expires_at - deployment.now == timedelta(minutes=1), "no access token outlives its session"
    deployment.now += timedelta(minutes=1)
    with pytest.raises(InvalidToken):
        await deployment.tokens.authenticate(tokens.access)
    with pytest.raises(InvalidToken):
        await deployment.tokens.refresh(tokens.refresh)


async def test_every_login_has_separate_tokens_and_a_separate_session() -> None:
    deployment = AccountDeployment()
    first = await deployment.join()
    others = [await deployment.login.log_in(ANN, PASSWORD, "d") for _ in range(3)]
    pairs = [first, *others, await deployment.tokens.refresh(first.refresh)]
    assert len({pair.access for pair in pairs}) == len({pair.refresh for pair in pairs}) == 5
    callers = [await deployment.tokens.authenticate(pair.access) for pair in pairs]
    assert len({caller.session_id for caller in callers}) == 4, "a refresh stays in the same session"


async def test_an_unused_session_expires() -> None:
    deployment = AccountDeployment()
    tokens = await deployment.join()
    await deployment.tokens.authenticate(tokens.access)
    deployment.now += timedelta(days=5)
    with pytest.raises(InvalidToken):
        await deployment.tokens.refresh(tokens.refresh)
    with pytest.raises(InvalidToken):
        await deployment.tokens.authenticate(tokens.access)
