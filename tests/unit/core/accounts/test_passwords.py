"""Reset and change of passwords, over in-memory ports."""

import pytest
from tests.support.accounts import ANN, PASSWORD, AccountDeployment

from movie_core.errors import (
    InvalidLink,
    InvalidPassword,
    InvalidToken,
    WeakPassword,
)


async def test_a_password_reset_ends_all_sessions_and_a_password_change_the_others() -> None:
    deployment = AccountDeployment()
    one = await deployment.join()
    other = await deployment.login.log_in(ANN, PASSWORD, "d")
    caller = await deployment.tokens.authenticate(one.access)
    with pytest.raises(InvalidPassword):
        await deployment.passwords.change(caller, "wrong", "amber kites over quarry")
    await deployment.passwords.change(caller, PASSWORD, "amber kites over quarry")
    await deployment.tokens.authenticate(one.access)
    with pytest.raises(InvalidToken):
        await deployment.tokens.authenticate(other.access)
    await deployment.passwords.request_reset(ANN)
    reset = (await deployment.links())[-1]
    with pytest.raises(WeakPassword):
        await deployment.passwords.reset(*reset, "12345678")
    await deployment.passwords.reset(*reset, PASSWORD)
    with pytest.raises(InvalidToken):
        await deployment.tokens.authenticate(one.access)
    with pytest.raises(InvalidLink):
        await deployment.passwords.check_reset_link(*reset)


async def test_of_two_concurrent_password_changes_one_succeeds() -> None:
    deployment = AccountDeployment()
    caller = await deployment.tokens.authenticate((await deployment.join()).access)
    hash_password = deployment.hasher.hash

    async def slow(password: str, *, salt: bytes | None = None, queue: str = "") -> str:
        deployment.hasher.hash = hash_password  # type: ignore[method-assign]
        await deployment.passwords.change(caller, PASSWORD, "amber kites over quarry")
        return await hash_password(password, salt=salt, queue=queue)

    deployment.hasher.hash = slow  # type: ignore[method-assign]
    with pytest.raises(InvalidPassword):
        await deployment.passwords.change(caller, PASSWORD, "violet harbour under snow")
    await deployment.login.log_in(ANN, "amber kites over quarry", "d")
