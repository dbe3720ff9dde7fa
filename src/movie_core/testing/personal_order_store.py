"""Contract of the `PersonalOrderStore` port."""

import asyncio
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from movie_core.clock import utc_now
from movie_core.discovery.personal_ranking import MAX_ORDERS, ORDER_SECONDS
from movie_core.ports import PersonalOrderStore
from movie_core.testing.account_fixtures import AccountStores, create_user
from movie_core.testing.rating_store import check_personal_data
from movie_core.testing.shared import DAY, ODD_STRINGS, clause


@dataclass(frozen=True, slots=True)
class OrderStores:
    """The store of personal orders, and the stores of its users."""

    orders: PersonalOrderStore
    accounts: AccountStores


class PersonalOrderStoreContract:
    """Contract of every `PersonalOrderStore`. The numbers in test names are the clauses of the port."""

    seconds: float = ORDER_SECONDS
    """TTL of an order in the adapter under test."""

    def open(self) -> AbstractAsyncContextManager[OrderStores]:
        """The store under test and the stores of its users, over one empty database."""
        raise NotImplementedError

    async def pass_time(self, seconds: float) -> None:
        """Let so much time pass for the store."""
        raise NotImplementedError

    @clause
    async def test_1_and_2_all_data_of_a_user_is_exported_and_erased(self) -> None:
        async with self.open() as stores:
            ada, bob = [
                (await create_user(stores.accounts, f"{name}@example.com", name))[0].id for name in ("ada", "bob")
            ]
            for user in (ada, bob):
                for key in ("river", "\ud800 odd"):
                    await stores.orders.save(user, key, ["1", "2"])
            (river, _) = sorted((await stores.orders.export(ada)).orders, key=lambda order: order.key)
            assert (river.key, river.movie_ids) == ("river", ["1", "2"])
            assert abs(river.kept_at - utc_now()) < 3650 * DAY
            await check_personal_data(stores.orders, ada, bob)
            assert await stores.orders.find(ada, "river") is None
            assert await stores.orders.find(bob, "river") == ["1", "2"]

    @clause
    async def test_3_an_order_is_found_by_user_and_key(self) -> None:
        async with self.open() as stores:
            ada, bob = [
                (await create_user(stores.accounts, f"{name}@example.com", name))[0].id for name in ("ada", "bob")
            ]
            assert await stores.orders.find(ada, "river") is None
            ids = [str(number) for number in range(100)]
            assert await stores.orders.save(ada, "river", ids) == ids
            assert await stores.orders.save(ada, "rivers", ids[::-1]) == ids[::-1]
            assert await stores.orders.save(ada, "none", []) == []
            assert await stores.orders.find(ada, "river") == ids
            assert await stores.orders.find(ada, "rivers") == ids[::-1]
            assert await stores.orders.find(ada, "none") == []
            assert await stores.orders.find(bob, "river") is None
            assert await stores.orders.find(ada, "River") is None

    @clause
    async def test_3_an_order_expires_after_its_ttl(self) -> None:
        async with self.open() as stores:
            ada = (await create_user(stores.accounts))[0].id
            await stores.orders.save(ada, "river", ["1"])
            await self.pass_time(0.6 * self.seconds)
            assert await stores.orders.save(ada, "river", ["2"]) == ["1"]
            await stores.orders.save(ada, "lake", ["3"])
            await self.pass_time(0.6 * self.seconds)
            assert await stores.orders.find(ada, "river") is None
            assert await stores.orders.find(ada, "lake") == ["3"]
            assert await stores.orders.save(ada, "river", ["4"]) == ["4"]
            assert await stores.orders.find(ada, "river") == ["4"]

    @clause
    async def test_4_of_concurrent_saves_the_first_wins(self) -> None:
        async with self.open() as stores:
            ada = (await create_user(stores.accounts))[0].id
            for key in ("river", "lake", "sea"):
                orders = [[str(number), "9"] for number in range(8)]
                results = await asyncio.gather(*(stores.orders.save(ada, key, ids) for ids in orders))
                assert results[0] in orders
                assert all(ids == results[0] for ids in results)
                assert await stores.orders.find(ada, key) == results[0]
                assert await stores.orders.save(ada, key, ["other"]) == results[0]

    @clause
    async def test_4_the_oldest_orders_are_evicted_at_the_limit(self) -> None:
        async with self.open() as stores:
            ada, bob = [
                (await create_user(stores.accounts, f"{name}@example.com", name))[0].id for name in ("ada", "bob")
            ]
            await stores.orders.save(bob, "river", ["1"])
            for number in range(MAX_ORDERS + 3):
                await self.pass_time(0.002)
                await stores.orders.save(ada, f"river {number}", [str(number)])
            found = [await stores.orders.find(ada, f"river {number}") for number in range(MAX_ORDERS + 3)]
            assert found == [None] * 3 + [[str(number)] for number in range(3, MAX_ORDERS + 3)]
            assert await stores.orders.find(bob, "river") == ["1"]
            more = await asyncio.gather(*(stores.orders.save(ada, f"lake {n}", [str(n)]) for n in range(MAX_ORDERS)))
            assert more == [[str(number)] for number in range(MAX_ORDERS)]
            assert len((await stores.orders.export(ada)).orders) == MAX_ORDERS

    @clause
    async def test_4_keys_and_ids_are_arbitrary_strings(self) -> None:
        async with self.open() as stores:
            ada = (await create_user(stores.accounts))[0].id
            for number, text in enumerate(ODD_STRINGS):
                await stores.orders.save(ada, text, [str(number), text])
            for number, text in enumerate(ODD_STRINGS):
                assert await stores.orders.find(ada, text) == [str(number), text]

    @clause
    async def test_4_an_order_of_an_unknown_user_may_be_discarded(self) -> None:
        async with self.open() as stores:
            assert await stores.orders.save("0" * 32, "river", ["1"]) == ["1"]
