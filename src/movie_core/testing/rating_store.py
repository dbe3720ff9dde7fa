"""Contract of the `RatingStore` port, and the check that all stores of personal data share."""

import asyncio
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, fields, replace
from datetime import timedelta
from typing import Any

from movie_core.discovery.ratings import MAX_IMPORT, MAX_RATINGS, ExportedRating, NewRating, Rating, RatingChange
from movie_core.errors import TooManyRatings, UserNotFound
from movie_core.paging import Window
from movie_core.ports import PersonalData, RatingStore
from movie_core.testing.account_fixtures import AccountStores, create_user
from movie_core.testing.shared import DAY, NOW, ODD_STRINGS, assert_raises, clause


@dataclass(frozen=True, slots=True)
class RatingStores:
    """The store of ratings, and the stores of its users."""

    ratings: RatingStore
    accounts: AccountStores


async def check_personal_data(data: PersonalData[Any], user_id: str, other_id: str) -> None:
    """The clauses of `PersonalData`, for two users with stored data."""
    before = [await data.export(one) for one in (user_id, other_id)]
    assert not any(map(is_empty, before))
    for unknown_id in ("0" * 32, *ODD_STRINGS):
        assert is_empty(await data.export(unknown_id))
        await data.erase(unknown_id)
    assert [await data.export(one) for one in (user_id, other_id)] == before
    for _ in range(2):
        await data.erase(user_id)
        assert is_empty(await data.export(user_id))
    assert await data.export(other_id) == before[1]


def is_empty(export: Any) -> bool:
    """Whether an export, a dataclass, has no data in any field."""
    return not any(getattr(export, field.name) for field in fields(export))


def _new(number: int = 1, rating: float = 7.5, *, at: int | None = None) -> NewRating:
    """A rating of the movie with this number, `at` days before `NOW`."""
    when = None if at is None else NOW - at * DAY
    return NewRating(f"m{number}", f"Film {number}", 1900 + number % 100 if number % 7 else None, rating, when)


def _rating(new: NewRating) -> Rating:
    return Rating(new.movie_id, new.title, new.year, new.rating, new.rated_at or NOW)


async def _iter_all(ratings: RatingStore) -> list[tuple[str, Rating]]:
    return [pair async for batch in ratings.iter_all() for pair in batch]


class RatingStoreContract:
    """Contract of every `RatingStore`. The numbers in test names are the clauses of the port."""

    def open(self) -> AbstractAsyncContextManager[RatingStores]:
        """The store under test and the stores of its users, over one empty database."""
        raise NotImplementedError

    @clause
    async def test_1_and_2_all_data_of_a_user_is_exported_and_erased(self) -> None:
        async with self.open() as stores:
            ada, _ = await create_user(stores.accounts)
            bob, _ = await create_user(stores.accounts, "bob@example.com", "Bob")
            for user in (ada, bob):
                await stores.ratings.put(user.id, [_new(1, 3.0, at=2), _new(7, 9.5, at=1)], NOW)
            exported = (await stores.ratings.export(ada.id)).ratings
            assert [replace(row, source="") for row in exported] == [
                ExportedRating("", "m1", "Film 1", 1901, 3.0, NOW - 2 * DAY),
                ExportedRating("", "m7", "Film 7", None, 9.5, NOW - DAY),
            ]
            await check_personal_data(stores.ratings, ada.id, bob.id)
            assert await stores.ratings.history(ada.id) == []
            assert [user_id for user_id, _ in await _iter_all(stores.ratings)] == [bob.id, bob.id]

    @clause
    async def test_3_a_rating_is_stored_unchanged(self) -> None:
        async with self.open() as stores:
            ada, _ = await create_user(stores.accounts)
            odd = NewRating("x/1 ä", "Ein \u201eTitel\u201c 💡 " + "é" * 500, None, 0.5)
            assert await stores.ratings.put(ada.id, [odd], NOW) == [RatingChange(_rating(odd), is_change=True)]
            assert await stores.ratings.get(ada.id, odd.movie_id) == _rating(odd)
            exact = replace(_new(at=1), rated_at=NOW - timedelta(microseconds=1))
            await stores.ratings.put(ada.id, [exact], NOW)
            assert await stores.ratings.get(ada.id, exact.movie_id) == _rating(exact)

    @clause
    async def test_3_a_new_rating_of_a_movie_replaces_the_old_one(self) -> None:
        async with self.open() as stores:
            ada, _ = await create_user(stores.accounts)
            ratings = [_new(1, 4.0), _new(2, 5.0), _new(1, 6.0, at=3), _new(1, 6.0), _new(1, 8.5)]
            changes = await stores.ratings.put(ada.id, ratings, NOW)
            assert [(change.rating.movie_id, change.rating.rating, change.is_change) for change in changes] == [
                ("m1", 4.0, True),
                ("m2", 5.0, True),
                ("m1", 6.0, True),
                ("m1", 6.0, False),
                ("m1", 8.5, True),
            ]
            assert changes[3].rating.rated_at == NOW - 3 * DAY
            assert await stores.ratings.list_page(ada.id, Window()) == (
                2,
                [_rating(_new(1, 8.5)), _rating(_new(2, 5.0))],
            )
            later = await stores.ratings.put(ada.id, [_new(2, 1.0, at=9)], NOW + DAY)
            assert later == [RatingChange(_rating(_new(2, 1.0, at=9)), is_change=True)]
            assert await stores.ratings.get(ada.id, "m2") == later[0].rating

    @clause
    async def test_3_a_newer_stored_rating_stays_if_it_is_to_be_kept(self) -> None:
        async with self.open() as stores:
            ada, _ = await create_user(stores.accounts)
            stored = [_new(1, 4.0, at=2), _new(2, 5.0, at=2), _new(3, 6.0), _new(4, 7.0, at=2)]
            await stores.ratings.put(ada.id, stored, NOW)
            before = await stores.ratings.version()
            older = [_new(1, 8.0, at=3), replace(_new(3, 8.0), rated_at=NOW - timedelta(microseconds=1))]
            changes = await stores.ratings.put(ada.id, older, NOW + DAY, keep_newer=True)
            assert changes == [RatingChange(_rating(new), is_change=False) for new in (stored[0], stored[2])]
            assert await stores.ratings.version() == before
            newer = [_new(1, 9.0, at=1), _new(2, 9.0, at=2), _new(4, 9.0)]
            changes = await stores.ratings.put(ada.id, newer, NOW, keep_newer=True)
            assert changes == [RatingChange(_rating(new), is_change=True) for new in newer]
            assert await stores.ratings.put(ada.id, older, NOW) == [
                RatingChange(_rating(new), is_change=True) for new in older
            ]

    @clause
    async def test_3_concurrent_ratings_of_a_movie_leave_one(self) -> None:
        async with self.open() as stores:
            ada, _ = await create_user(stores.accounts)
            values = [0.5 + number % 20 / 2 for number in range(40)]
            changes = await asyncio.gather(*(stores.ratings.put(ada.id, [_new(1, value)], NOW) for value in values))
            assert sorted(change.rating.rating for (change,) in changes) == sorted(values)
            total, (stored,) = await stores.ratings.list_page(ada.id, Window())
            assert (total, stored.rating in values) == (1, True)

    @clause
    async def test_4_the_same_rating_changes_nothing_unless_it_has_a_time(self) -> None:
        async with self.open() as stores:
            ada, _ = await create_user(stores.accounts)
            await stores.ratings.put(ada.id, [_new()], NOW)
            before = await stores.ratings.version()
            again = await stores.ratings.put(ada.id, [replace(_new(), title="Another Name")], NOW + DAY)
            assert again == [RatingChange(_rating(_new()), is_change=False)]
            assert await stores.ratings.get(ada.id, "m1") == _rating(_new())
            assert await stores.ratings.version() == before
            dated = await stores.ratings.put(ada.id, [_new(at=4)], NOW + DAY)
            assert dated == [RatingChange(_rating(_new(at=4)), is_change=False)]
            assert await stores.ratings.get(ada.id, "m1") == _rating(_new(at=4))

    @clause
    async def test_5_the_number_of_ratings_per_user_is_limited(self) -> None:
        async with self.open() as stores:
            ada, _ = await create_user(stores.accounts)
            for start in range(0, MAX_RATINGS - 1, MAX_IMPORT):
                end = min(start + MAX_IMPORT, MAX_RATINGS - 1)
                await stores.ratings.put(ada.id, [_new(number) for number in range(start, end)], NOW)
            before = await stores.ratings.version()
            two = [_new(1, 1.0), _new(MAX_RATINGS), _new(MAX_RATINGS + 1)]
            await assert_raises(TooManyRatings, stores.ratings.put(ada.id, two, NOW))
            assert await stores.ratings.get(ada.id, "m1") == _rating(_new(1))
            assert await stores.ratings.version() == before
            await stores.ratings.put(ada.id, [_new(1, 1.0), _new(MAX_RATINGS)], NOW)
            await assert_raises(TooManyRatings, stores.ratings.put(ada.id, [_new(MAX_RATINGS + 1)], NOW))
            await stores.ratings.put(ada.id, [_new(2, 1.0)], NOW)
            assert len(await stores.ratings.history(ada.id)) == MAX_RATINGS
            assert (await stores.ratings.list_page(ada.id, Window(10_000, 1)))[0] == MAX_RATINGS
            assert len({rating.movie_id for _, rating in await _iter_all(stores.ratings)}) == MAX_RATINGS

    @clause
    async def test_5_an_unknown_user_cannot_rate(self) -> None:
        async with self.open() as stores:
            ada, _ = await create_user(stores.accounts)
            await stores.ratings.put(ada.id, [_new()], NOW)
            for unknown_id in ("0" * 31 + "1", *ODD_STRINGS):
                await assert_raises(UserNotFound, stores.ratings.put(unknown_id, [_new()], NOW))
                assert await stores.ratings.list_page(unknown_id, Window()) == (0, [])
            await stores.accounts.data.erase(ada.address.key, NOW)
            await assert_raises(UserNotFound, stores.ratings.put(ada.id, [_new()], NOW))
            assert await stores.ratings.history(ada.id) == []
            assert await stores.ratings.get(ada.id, "m1") is None
            assert is_empty(await stores.ratings.export(ada.id))
            assert await _iter_all(stores.ratings) == []

    @clause
    async def test_6_a_rating_is_removed_once(self) -> None:
        async with self.open() as stores:
            ada, _ = await create_user(stores.accounts)
            bob, _ = await create_user(stores.accounts, "bob@example.com", "Bob")
            for user in (ada, bob):
                await stores.ratings.put(user.id, [_new(1), _new(2)], NOW)
            removals = await asyncio.gather(*(stores.ratings.remove(ada.id, "m1") for _ in range(5)))
            assert sorted(removals) == [False] * 4 + [True]
            assert await stores.ratings.get(ada.id, "m1") is None
            assert await stores.ratings.get(ada.id, "m2") is not None
            assert await stores.ratings.get(bob.id, "m1") is not None
            for odd in ODD_STRINGS:
                assert not await stores.ratings.remove(ada.id, odd)
                assert await stores.ratings.get(ada.id, odd) is None

    @clause
    async def test_8_and_9_lists_are_ordered(self) -> None:
        async with self.open() as stores:
            ada, _ = await create_user(stores.accounts)
            ids = ("b", "B", "a", "é", "Z", "10", "9", "_", "💡", "\uffee")
            ratings = [NewRating(rating, rating, None, 5.0, NOW - (at % 3) * DAY) for at, rating in enumerate(ids)]
            await stores.ratings.put(ada.id, ratings, NOW)
            oldest = sorted(map(_rating, ratings), key=lambda rating: (rating.rated_at, rating.movie_id))
            assert await stores.ratings.history(ada.id) == oldest
            newest = sorted(oldest, key=lambda rating: (NOW - rating.rated_at, rating.movie_id))
            for window in (Window(0, 4), Window(4, 4), Window(8, 4), Window(0, 100), Window(100, 4)):
                expected: Sequence[Rating] = newest[window.offset : window.offset + window.limit]
                assert await stores.ratings.list_page(ada.id, window) == (len(ids), expected)

    @clause
    async def test_10_iter_all_returns_every_rating_of_active_users_once(self) -> None:
        async with self.open() as stores:
            users = [(await create_user(stores.accounts, f"p{n}@example.com", f"P {n}"))[0] for n in range(4)]
            numbers_by_user = {0: range(1, 3001), 1: range(2), 2: range(5, 8), 3: range(0)}
            for at, numbers in numbers_by_user.items():
                await stores.ratings.put(users[at].id, [_new(number, at=0) for number in numbers], NOW)
            await stores.accounts.users.set_active(users[1].address.key, False, NOW)
            pairs = await _iter_all(stores.ratings)
            assert len(pairs) == 3003
            assert {(user_id, rating.movie_id): rating for user_id, rating in pairs} == {
                (users[at].id, f"m{number}"): _rating(_new(number, at=0))
                for at in (0, 2)
                for number in numbers_by_user[at]
            }

    @clause
    async def test_11_every_change_changes_the_version(self) -> None:
        async with self.open() as stores:
            ada, _ = await create_user(stores.accounts)
            bob, _ = await create_user(stores.accounts, "bob@example.com", "Bob")
            versions = [await stores.ratings.version()]
            for change in (
                lambda: stores.ratings.put(ada.id, [_new(1)], NOW),
                lambda: stores.ratings.put(bob.id, [_new(1)], NOW),
                lambda: stores.ratings.put(ada.id, [_new(1, 2.0)], NOW),
                lambda: stores.ratings.put(ada.id, [_new(1, 7.5)], NOW),
                lambda: stores.ratings.put(ada.id, [_new(1, at=1)], NOW),
                lambda: stores.ratings.remove(ada.id, "m1"),
                lambda: stores.ratings.put(ada.id, [_new(1, at=1)], NOW),
                lambda: stores.ratings.erase(ada.id),
            ):
                await change()
                versions.append(await stores.ratings.version())
            assert len(set(versions)) == len(versions)
            for no_change in (
                lambda: stores.ratings.put(ada.id, [], NOW),
                lambda: stores.ratings.remove(ada.id, "m1"),
                lambda: stores.ratings.erase(ada.id),
            ):
                await no_change()
                assert await stores.ratings.version() == versions[-1]

    @clause
    async def test_12_ratings_move_to_another_movie_and_the_newest_remains(self) -> None:
        async with self.open() as stores:
            ada, _ = await create_user(stores.accounts)
            bob, _ = await create_user(stores.accounts, "bob@example.com", "Bob")
            await stores.ratings.put(ada.id, [_new(1, 3.0, at=2), _new(2, 9.0, at=5), _new(3, 1.0, at=1)], NOW)
            await stores.ratings.put(bob.id, [_new(1, 4.0, at=9), _new(2, 5.0, at=2), _new(4, 2.0, at=8)], NOW)
            before = await stores.ratings.version()
            assert await stores.ratings.move({"m1": "m2", "m4": "new", "m77": "m3"}) == 3
            assert await stores.ratings.version() != before
            for user, expected in (
                (ada, {"m2": (3.0, NOW - 2 * DAY), "m3": (1.0, NOW - DAY)}),
                (bob, {"m2": (5.0, NOW - 2 * DAY), "new": (2.0, NOW - 8 * DAY)}),
            ):
                history = await stores.ratings.history(user.id)
                assert {rating.movie_id: (rating.rating, rating.rated_at) for rating in history} == expected
            before = await stores.ratings.version()
            assert await stores.ratings.move({"m1": "m2"}) == 0
            assert await stores.ratings.version() == before
