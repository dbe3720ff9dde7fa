"""Contract of the `UserRepo` port."""

import asyncio
from dataclasses import replace

from movie_core.accounts.keyring import new_id
from movie_core.accounts.outbox import MailKind
from movie_core.accounts.sessions import MAX_NETWORKS
from movie_core.accounts.users import User, Username
from movie_core.errors import InvalidLink, UsernameTaken, UserNotFound
from movie_core.testing.account_fixtures import (
    UNLIMITED,
    AccountStoresContract,
    create_user,
    deliver_due_mail,
    due_links,
    log_in,
    make_registration,
    random_hashes,
    request_mail,
    usernames_at,
)
from movie_core.testing.shared import DAY, HOUR, MINUTE, NOW, ODD_STRINGS, assert_raises, clause


class UserRepoContract(AccountStoresContract):
    """Contract of every `UserRepo`. The numbers in test names are the clauses of the port."""

    @clause
    async def test_1_and_2_a_user_is_found_by_id_and_address(self) -> None:
        async with self.open(UNLIMITED) as stores:
            user, _ = await create_user(stores)
            await stores.users.set_active(user.address.key, False, NOW)
            inactive = replace(user, is_active=False)
            assert await stores.users.find(user.id) == inactive
            assert await stores.users.find_by_address(user.address.key) == inactive
            for odd in ODD_STRINGS:
                assert await stores.users.find(odd) is None
                assert await stores.users.find_by_address(odd) is None

    @clause
    async def test_3_login_networks_of_a_user_are_stored(self) -> None:
        async with self.open(UNLIMITED) as stores:
            user, _ = await create_user(stores)
            key = user.address.key
            await log_in(stores, user, NOW)
            assert list(await stores.users.login_networks(key)) == []
            names = [f"192.0.2.{n}" for n in range(MAX_NETWORKS + 2)]
            for n, name in enumerate(names):
                await log_in(stores, user, NOW + n * MINUTE, network=name)
            await log_in(stores, user, NOW + HOUR, network=names[2])
            expected = [names[2], *(name for name in reversed(names[2:]) if name != names[2])]
            assert list(await stores.users.login_networks(key)) == expected
            for odd in (*ODD_STRINGS, "nobody@example.com"):
                assert list(await stores.users.login_networks(odd)) == []
            await stores.data.erase(key, NOW)
            assert list(await stores.users.login_networks(key)) == []

    @clause
    async def test_4_only_the_given_fields_of_a_profile_change(self) -> None:
        async with self.open(UNLIMITED) as stores:
            user, _ = await create_user(stores)
            await create_user(stores, "bob@example.com", "Bob")
            silent = replace(user, record_events=False)
            assert await stores.users.change_profile(user.id, record_events=False) == silent
            renamed = replace(silent, username=Username("ADA", "ada"))
            assert await stores.users.change_profile(user.id, username=renamed.username) == renamed
            await assert_raises(UsernameTaken, stores.users.change_profile(user.id, username=Username("BOB", "bob")))
            assert await stores.users.change_profile(user.id) == renamed
            assert await stores.users.find(user.id) == renamed
            for odd in (*ODD_STRINGS, new_id()):
                await assert_raises(UserNotFound, stores.users.change_profile(odd, record_events=True))

    @clause
    async def test_4_of_concurrent_changes_to_a_username_one_succeeds(self) -> None:
        async with self.open(UNLIMITED) as stores:
            users = [(await create_user(stores, f"u{n}@example.com", f"User {n}"))[0] for n in range(6)]
            results = await asyncio.gather(
                *(stores.users.change_profile(user.id, username=Username("Star", "star")) for user in users),
                return_exceptions=True,
            )
            assert sum(isinstance(result, User) for result in results) == 1
            assert sum(isinstance(result, UsernameTaken) for result in results) == 5

    @clause
    async def test_5_deactivation_ends_all_sessions(self) -> None:
        async with self.open(UNLIMITED) as stores:
            user, _ = await create_user(stores)
            session, refresh_hash = await log_in(stores, user, NOW)
            assert list(await stores.users.set_active(user.address.key, False, NOW)) == [session.id]
            found = await stores.users.find(user.id)
            assert found is not None
            assert not found.is_active
            assert not await stores.sessions.find(session.id)
            assert await stores.sessions.rotate(refresh_hash, random_hashes(1), NOW, NOW + DAY) is None
            await request_mail(stores, MailKind.PASSWORD_RESET, user.address.key, NOW)
            assert not await deliver_due_mail(stores, NOW)
            assert list(await stores.users.set_active(user.address.key, True, NOW)) == []
            found = await stores.users.find(user.id)
            assert found is not None
            assert found.is_active

    @clause
    async def test_5_a_pending_address_is_activated_from_its_newest_registration(self) -> None:
        async with self.open(UNLIMITED) as stores:
            older = make_registration(username="Older")
            newer = make_registration("ADA@example.com", "Newer", at=NOW + MINUTE)
            await stores.registrations.register(newer, NOW + MINUTE)
            await stores.registrations.register(older, NOW)
            links = await due_links(stores, NOW + MINUTE)
            await assert_raises(UserNotFound, stores.users.set_active("ada@example.com", False, NOW))
            await stores.users.set_active("ada@example.com", True, NOW + HOUR)
            user = await stores.users.find_by_address("ada@example.com")
            assert user is not None
            assert (user.id, user.address, user.is_active) == (newer.id, newer.address, True)
            assert await usernames_at(stores, "ada@example.com") == ["Newer"]
            await assert_raises(
                InvalidLink, stores.registrations.activate(older.id, links[older.id].token_hash, NOW + HOUR)
            )

    @clause
    async def test_5_activation_of_an_unknown_address_or_taken_username_fails(self) -> None:
        async with self.open(UNLIMITED) as stores:
            await stores.registrations.register(make_registration("bob@example.com", "Ada"), NOW)
            await create_user(stores, "ada@example.com", "Ada")
            await assert_raises(UsernameTaken, stores.users.set_active("bob@example.com", True, NOW))
            for odd in (*ODD_STRINGS, "nobody@example.com"):
                for is_active in (True, False):
                    await assert_raises(UserNotFound, stores.users.set_active(odd, is_active, NOW))

    @clause
    async def test_6_only_users_can_be_staff(self) -> None:
        async with self.open(UNLIMITED) as stores:
            user, _ = await create_user(stores)
            for is_staff in (True, False):
                await stores.users.set_staff(user.address.key, is_staff)
                found = await stores.users.find(user.id)
                assert found is not None
                assert found.is_staff is is_staff
            await stores.registrations.register(make_registration("bob@example.com", "Bob"), NOW)
            for odd in (*ODD_STRINGS, "bob@example.com"):
                await assert_raises(UserNotFound, stores.users.set_staff(odd, True))
