"""Registration and activation, over in-memory ports."""

from datetime import timedelta

import pytest
from tests.support.accounts import ANN, PASSWORD, AccountDeployment

from movie_core.accounts.outbox import MailKind
from movie_core.errors import (
    Invalid,
    InvalidCredentials,
    InvalidEmail,
    InvalidLink,
    InvalidPassword,
    InvalidUsername,
    PasswordRequired,
    UsernameTaken,
    WeakPassword,
)


@pytest.mark.parametrize(
    ("email", "username", "password", "errors"),
    [
        ("nobody", "a\nb", "12345678", [InvalidEmail, InvalidUsername, WeakPassword]),
        ("nobody", "ann", "short", [InvalidEmail, WeakPassword]),
        ("nobody", "ann", "1029384756", [InvalidEmail, WeakPassword]),
        ("nobody", "ann", "password", [InvalidEmail, WeakPassword]),
        ("nobody", "annabella", "annabella1", [InvalidEmail, WeakPassword]),
        (ANN, "a\nb", "p" * 1025, [InvalidUsername, WeakPassword]),
        (ANN, "a\nb", "ann@example.com1", [InvalidUsername, WeakPassword]),
        ("nobody", "a\nb", PASSWORD, [InvalidEmail, InvalidUsername]),
        (ANN, "ann", "12345678", [WeakPassword]),
    ],
)
async def test_all_invalid_fields_of_a_registration_are_reported_together(
    email: str, username: str, password: str, errors: list[type[Invalid]]
) -> None:
    deployment = AccountDeployment()
    with pytest.raises(Invalid) as caught:
        await deployment.registration.register(email, username, password)
    reported = [caught.value, *caught.value.others]
    assert [type(error) for error in reported] == errors
    fields = {InvalidEmail: "email", InvalidUsername: "username", WeakPassword: "password"}
    assert [error.field for error in reported] == [fields[kind] for kind in errors]
    assert deployment.notifier.notifications == 0


async def test_the_registration_whose_link_is_used_becomes_the_user() -> None:
    deployment = AccountDeployment()
    await deployment.registration.register(ANN, "stranger", "not the owner's choice at all")
    deployment.now += timedelta(minutes=1)
    await deployment.registration.register(ANN, "ann", PASSWORD)
    foreign, own = await deployment.links()
    await deployment.registration.activate(*own, None, password=PASSWORD)
    with pytest.raises(InvalidLink):
        await deployment.registration.activate(*foreign, None, password=PASSWORD)
    await deployment.login.log_in(ANN, PASSWORD, "d")
    with pytest.raises(InvalidCredentials):
        await deployment.login.log_in(ANN, "not the owner's choice at all", "d")


async def test_the_link_of_a_strangers_registration_never_activates_the_strangers_password() -> None:
    strange = "not the owner's choice at all"
    for passwords in ({"password": PASSWORD}, {}):
        deployment = AccountDeployment()
        await deployment.registration.register(ANN, "ann", strange)
        deployment.now += timedelta(minutes=1)
        await deployment.registration.register(ANN, "ann", PASSWORD)
        foreign, _ = await deployment.links()
        with pytest.raises(InvalidPassword if passwords else PasswordRequired):
            await deployment.registration.activate(*foreign, "d", **passwords)
        with pytest.raises(WeakPassword):
            await deployment.registration.activate(*foreign, "d", new_password="12345678")
        assert await deployment.registration.activate(*foreign, "d", new_password="amber kites over quarry") is not None
        await deployment.login.log_in(ANN, "amber kites over quarry", "d")
        for other in (strange, PASSWORD):
            with pytest.raises(InvalidCredentials):
                await deployment.login.log_in(ANN, other, "d")


async def test_a_link_expires_and_checking_it_changes_nothing() -> None:
    deployment = AccountDeployment()
    await deployment.registration.register(ANN, "ann", PASSWORD)
    (link,) = await deployment.links()
    for _ in range(3):
        assert not await deployment.registration.is_activated(*link)
    deployment.now += timedelta(hours=24, seconds=1)
    with pytest.raises(InvalidLink):
        await deployment.registration.activate(*link, None)


async def test_a_taken_address_is_reported_only_to_its_user() -> None:
    deployment = AccountDeployment()
    await deployment.join()
    answer = await deployment.registration.register("ANN@example.com", "somebody", PASSWORD)
    assert (answer.address.spelling, answer.username.shown) == ("ANN@example.com", "somebody")
    await deployment.dispatcher.deliver_due()
    assert (deployment.mailer.emails[-1].kind, deployment.mailer.emails[-1].links) == (MailKind.ADDRESS_TAKEN, ())
    with pytest.raises(UsernameTaken):
        await deployment.registration.register("new@example.com", "ANN", PASSWORD)
    for request in (deployment.registration.resend_activation, deployment.passwords.request_reset):
        await request("nobody@example.com")
    count = len(deployment.mailer.emails)
    await deployment.dispatcher.deliver_due()
    assert len(deployment.mailer.emails) == count


async def test_a_used_link_activates_nothing_and_starts_no_session() -> None:
    deployment = AccountDeployment()
    await deployment.registration.register(ANN, "ann", PASSWORD)
    [link] = await deployment.links()
    assert await deployment.registration.activate(*link, "a device") is not None
    assert await deployment.registration.activate(*link, "a device") is None


async def test_of_two_concurrent_activations_the_first_decides() -> None:
    deployment = AccountDeployment()
    await deployment.registration.register(ANN, "ann", PASSWORD)
    [link] = await deployment.links()
    hash_password = deployment.hasher.hash

    async def slow(password: str, *, salt: bytes | None = None, queue: str = "") -> str:
        deployment.hasher.hash = hash_password  # type: ignore[method-assign]
        assert await deployment.registration.activate(*link, "a device") is not None
        return await hash_password(password, salt=salt, queue=queue)

    deployment.hasher.hash = slow  # type: ignore[method-assign]
    new_password = "amber kites over quarry"
    assert await deployment.registration.activate(*link, "a device", new_password=new_password) is None
    await deployment.login.log_in(ANN, PASSWORD, "d")


async def test_an_operator_creates_a_user_without_an_email() -> None:
    deployment = AccountDeployment()
    user = await deployment.registration.create_user(ANN, "ann", PASSWORD)
    assert user is not None
    assert user.is_active
    assert deployment.notifier.notifications == 0
    await deployment.login.log_in(ANN, PASSWORD, "d")
    assert await deployment.registration.create_user(ANN, "other", PASSWORD) is None
    with pytest.raises(UsernameTaken):
        await deployment.registration.create_user("bob@example.com", "Ann", PASSWORD)
    with pytest.raises(WeakPassword):
        await deployment.registration.create_user("bob@example.com", "bob", "short")
