"""Profiles: export and erasure, over in-memory ports."""

import pytest
from tests.support.accounts import ANN, PASSWORD, AccountDeployment

from movie_core.errors import InvalidCredentials, InvalidToken, UserNotFound

BEN = "ben@example.com"


async def test_a_user_exports_the_data_of_every_store() -> None:
    deployment = AccountDeployment()
    caller = await deployment.tokens.authenticate((await deployment.join()).access)
    exported = await deployment.profiles.export(caller)
    account = exported.account.account
    assert account is not None
    assert (account.email, account.username, len(exported.account.sessions)) == (ANN, "ann", 1)
    assert len(exported.personal) > 0


async def test_staff_export_a_pending_registration_and_no_unknown_address() -> None:
    deployment = AccountDeployment()
    await deployment.registration.register(BEN, "ben", PASSWORD)
    exported = await deployment.profiles.export_address(BEN)
    assert exported.account.account is None
    assert [registration.email for registration in exported.account.registrations] == [BEN]
    assert exported.personal == ()
    with pytest.raises(UserNotFound):
        await deployment.profiles.export_address("nobody@example.com")


async def test_staff_erase_a_pending_registration_and_no_other_one() -> None:
    deployment = AccountDeployment()
    await deployment.registration.register(ANN, "ann", PASSWORD)
    await deployment.registration.register(BEN, "ben", PASSWORD)
    await deployment.profiles.erase_address(BEN)
    with pytest.raises(UserNotFound):
        await deployment.profiles.erase_address(BEN)
    [link] = await deployment.links()
    await deployment.registration.activate(*link, None)
    await deployment.login.log_in(ANN, PASSWORD, "d")
    with pytest.raises(InvalidCredentials):
        await deployment.login.log_in(BEN, PASSWORD, "d")


async def test_a_deactivated_user_has_no_profile() -> None:
    deployment = AccountDeployment()
    caller = await deployment.tokens.authenticate((await deployment.join()).access)
    await deployment.management.set_active(ANN, False)
    with pytest.raises(InvalidToken, match="deactivated"):
        await deployment.profiles.get(caller)
