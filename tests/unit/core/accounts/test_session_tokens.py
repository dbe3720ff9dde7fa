"""The tokens of sessions, over in-memory ports."""

from datetime import timedelta

import pytest
from tests.support.accounts import ANN, PASSWORD, AccountDeployment

from movie_core import memory
from movie_core.accounts.session_tokens import MAX_CALLERS
from movie_core.accounts.sessions import GRACE, AccessClaims
from movie_core.errors import (
    InvalidToken,
)
from movie_core.testing import NOW


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


async def test_a_token_is_verified_without_a_query_once_its_session_is_cached() -> None:
    deployment = AccountDeployment()
    tokens = await deployment.join()
    assert deployment.tokens.authenticate_cached("no token") is None
    assert deployment.tokens.authenticate_cached(tokens.access) is None
    caller = await deployment.tokens.authenticate(tokens.access)
    assert deployment.tokens.authenticate_cached(tokens.access) == caller
    await deployment.sessions.log_out(caller)
    assert deployment.tokens.authenticate_cached(tokens.access) is None


async def test_the_number_of_cached_tokens_is_bounded() -> None:
    deployment = memory.deployment(clock=lambda: NOW)
    for number in range(MAX_CALLERS + 1):
        claims = AccessClaims("user", "session", str(number), NOW, NOW + timedelta(minutes=15))
        deployment.session_tokens.authenticate_cached(deployment.tokens.issue(claims))
    assert len(deployment.session_tokens._callers) == MAX_CALLERS


async def test_the_owner_of_a_refresh_token_is_found_while_its_session_lasts() -> None:
    deployment = AccountDeployment()
    tokens = await deployment.join()
    caller = await deployment.tokens.authenticate(tokens.access)
    assert await deployment.tokens.find_owner(tokens.refresh) == caller.user_id
    await deployment.sessions.log_out(caller)
    assert await deployment.tokens.find_owner(tokens.refresh) is None
