"""Contract of the `UserDirectory` port."""

from movie_core.accounts.keyring import new_id
from movie_core.accounts.users import UserState
from movie_core.paging import Window
from movie_core.testing.account_fixtures import (
    UNLIMITED,
    AccountStoresContract,
    create_user,
    list_users,
    make_registration,
    usernames_at,
)
from movie_core.testing.shared import HOUR, MINUTE, NOW, ODD_STRINGS, clause


class UserDirectoryContract(AccountStoresContract):
    """Contract of every `UserDirectory`. The numbers in test names are the clauses of the port."""

    @clause
    async def test_1_users_are_listed_newest_first_and_filtered_by_address(self) -> None:
        async with self.open(UNLIMITED) as stores:
            await create_user(stores, "ada@example.com", "Ada", at=NOW)
            for n in range(1, 6):
                at = NOW + n * MINUTE
                await stores.registrations.register(make_registration(f"u{n % 2}@example.com", f"User {n}", at=at), at)
            all_names = [user.username.shown for user in await list_users(stores, Window())]
            assert all_names == ["User 5", "User 4", "User 3", "User 2", "User 1", "Ada"]
            page = [user.username.shown for user in await list_users(stores, Window(1, 3))]
            assert page == all_names[1:4]
            assert await stores.directory.list_users(Window(6, 3)) == (6, [])
            assert await usernames_at(stores, "u1@example.com") == ["User 5", "User 3", "User 1"]
            for odd in ODD_STRINGS:
                assert await stores.directory.list_users(Window(), odd) == (0, [])

    @clause
    async def test_1_users_created_at_the_same_time_are_ordered_by_id(self) -> None:
        async with self.open(UNLIMITED) as stores:
            for n in range(4):
                await stores.registrations.register(make_registration(f"u{n}@example.com", f"User {n}"), NOW)
                await create_user(stores, f"v{n}@example.com", f"Voter {n}")
            all_ids = [user.id for user in await list_users(stores, Window())]
            assert all_ids == sorted(all_ids)
            assert [(await list_users(stores, Window(n, 1)))[0].id for n in range(8)] == all_ids

    @clause
    async def test_1_users_are_filtered_by_state(self) -> None:
        async with self.open(UNLIMITED) as stores:
            for n, name in enumerate(("plain", "staff", "gone", "gone staff")):
                user, _ = await create_user(stores, f"u{n}@example.com", name, at=NOW + n * MINUTE)
                if "staff" in name:
                    await stores.users.set_staff(user.address.key, True)
                if "gone" in name:
                    await stores.users.set_active(user.address.key, False, NOW)
            await stores.registrations.register(make_registration("u0@example.com", "decoy", at=NOW + HOUR), NOW + HOUR)
            await stores.registrations.register(make_registration("u9@example.com", "waits", at=NOW + HOUR), NOW + HOUR)
            expected = {
                None: ["waits", "gone staff", "gone", "staff", "plain"],
                UserState.ACCOUNT: ["gone staff", "gone", "staff", "plain"],
                UserState.ACTIVE: ["staff", "plain"],
                UserState.INACTIVE: ["gone staff", "gone"],
                UserState.STAFF: ["gone staff", "staff"],
                UserState.PENDING: ["waits"],
            }
            for state, names in expected.items():
                total, users = await stores.directory.list_users(Window(limit=1), state=state)
                assert (total, [summary.username.shown for summary in users]) == (len(names), names[:1])
                listed = await list_users(stores, Window(), state=state)
                assert [summary.username.shown for summary in listed] == names

    @clause
    async def test_1_a_search_matches_substrings_of_addresses_and_usernames(self) -> None:
        async with self.open(UNLIMITED) as stores:
            await create_user(stores, "Ada.L@Bücher.example", "Straße 1", at=NOW)
            await create_user(stores, "bob_1@example.com", "Éva", at=NOW + MINUTE)
            await stores.registrations.register(make_registration("bobx1@example.com", "100%"), NOW + HOUR)
            searches = {
                "ada.l@": ["Straße 1"],
                "ADA": ["Straße 1"],
                "BÜCHER": ["Straße 1"],
                "strasse": ["Straße 1"],
                "STRASSE 1": ["Straße 1"],
                "éVA": ["Éva"],
                "E\u0301va": ["Éva"],
                "example.com": ["Éva", "100%"],
                "bob_": ["Éva"],
                "0%": ["100%"],
                "b%1": [],
                "\\": [],
                "": ["Éva", "Straße 1", "100%"],
            }
            for search, names in searches.items():
                total, matches = await stores.directory.list_users(Window(), search=search)
                assert total == len(names), search
                assert sorted(user.username.shown for user in matches) == sorted(names), search
            (pending,) = await list_users(stores, Window(), search="BOB", state=UserState.PENDING)
            assert pending.username.shown == "100%"
            assert await stores.directory.list_users(Window(), "bob_1@example.com", search="ada") == (0, [])
            for odd in set(ODD_STRINGS) - {"", "%"}:
                assert await stores.directory.list_users(Window(), search=odd) == (0, [])

    @clause
    async def test_2_a_user_or_registration_is_found_by_id(self) -> None:
        async with self.open(UNLIMITED) as stores:
            user, _ = await create_user(stores)
            pending = make_registration("bob@example.com", "Bob")
            await stores.registrations.register(pending, NOW)
            decoy = make_registration("ada@example.com", "Someone")
            await stores.registrations.register(decoy, NOW)
            for summary in await list_users(stores, Window()):
                assert await stores.directory.find_summary(summary.id) == summary
            found = [await stores.directory.find_summary(one) for one in (user.id, pending.id)]
            assert [summary and summary.is_pending for summary in found] == [False, True]
            for odd in (*ODD_STRINGS, new_id(), decoy.id):
                assert await stores.directory.find_summary(odd) is None
