"""Contract of the `SessionRepo` port."""

import asyncio
from dataclasses import replace
from datetime import timedelta

from movie_core.accounts.keyring import new_id
from movie_core.accounts.outbox import MailKind
from movie_core.accounts.sessions import GRACE, MAX_SESSIONS, RotationResult, Session
from movie_core.errors import InvalidCredentials
from movie_core.paging import Window
from movie_core.testing.account_fixtures import (
    NEW_HASH,
    UNLIMITED,
    AccountStores,
    AccountStoresContract,
    create_user,
    deliver_due_mail,
    list_users,
    log_in,
    random_hashes,
    request_reset_link,
)
from movie_core.testing.shared import DAY, HOUR, MINUTE, NOW, ODD_STRINGS, assert_raises, clause


class SessionRepoContract(AccountStoresContract):
    """Contract of every `SessionRepo`. The numbers in test names are the clauses of the port."""

    @clause
    async def test_1_a_login_stores_session_and_last_login(self) -> None:
        async with self.open(UNLIMITED) as stores:
            user, _ = await create_user(stores)
            session = Session(new_id(), user.id, "phone ☎", NOW + HOUR, NOW + HOUR)
            start = stores.sessions.start(session, random_hashes(1)[0], NOW + DAY, password_hash=user.password_hash)
            assert list(await start) == []
            assert list(await stores.sessions.list_for_user(user.id)) == [session]
            assert await stores.sessions.find(session.id)
            assert await stores.users.find(user.id) == replace(user, last_login=NOW + HOUR)
            (summary,) = await list_users(stores, Window())
            assert summary.last_login == NOW + HOUR

    @clause
    async def test_1_the_least_recently_used_session_ends_at_the_limit(self) -> None:
        async with self.open(UNLIMITED) as stores:
            user, _ = await create_user(stores)
            started = [await log_in(stores, user, NOW + timedelta(seconds=n)) for n in range(MAX_SESSIONS)]
            first, second = started[0], started[1]
            assert await stores.sessions.rotate(first[1], random_hashes(1), NOW + HOUR, NOW + DAY) is not None
            newest = Session(new_id(), user.id, "late", NOW + 2 * HOUR, NOW + 2 * HOUR)
            start = stores.sessions.start(newest, random_hashes(1)[0], NOW + DAY, password_hash=user.password_hash)
            assert list(await start) == [second[0].id]
            listed = [session.id for session in await stores.sessions.list_for_user(user.id)]
            assert len(listed) == MAX_SESSIONS
            assert listed[:2] == [newest.id, first[0].id]
            assert second[0].id in await stores.sessions.ended_since(NOW + 2 * HOUR)
            assert await stores.sessions.rotate(second[1], random_hashes(1), NOW + 2 * HOUR, NOW + DAY) is None

    @clause
    async def test_2_a_rehashed_password_replaces_the_stored_hash(self) -> None:
        async with self.open(UNLIMITED) as stores:
            user, _ = await create_user(stores)
            session = Session(new_id(), user.id, "phone", NOW, NOW)
            await stores.sessions.start(
                session, random_hashes(1)[0], NOW + DAY, password_hash=user.password_hash, new_password_hash=NEW_HASH
            )
            found = await stores.users.find(user.id)
            assert found is not None
            assert found.password_hash == NEW_HASH

    @clause
    async def test_3_no_session_starts_for_an_inactive_user(self) -> None:
        async with self.open(UNLIMITED) as stores:
            user, _ = await create_user(stores)
            await stores.users.set_active(user.address.key, False, NOW)
            for user_id in (user.id, new_id()):
                await self._refused(stores, user_id, user.password_hash)
            found = await stores.users.find(user.id)
            assert found is not None
            assert found.last_login is None

    @clause
    async def test_3_no_session_starts_with_an_outdated_password(self) -> None:
        async with self.open(UNLIMITED) as stores:
            user, _ = await create_user(stores)
            link = await request_reset_link(stores, user, NOW)
            await stores.password_resets.reset_password(link.uid, link.token_hash, NEW_HASH, NOW)
            await self._refused(stores, user.id, user.password_hash, new_password_hash="$made-up$rehashed")  # noqa: S106
            await stores.password_resets.change_password(user.id, NEW_HASH, "$made-up$3", except_session_id="", now=NOW)
            await self._refused(stores, user.id, NEW_HASH)
            found = await stores.users.find(user.id)
            assert found is not None
            assert (found.password_hash, found.last_login) == ("$made-up$3", None)

    @clause
    async def test_3_no_login_in_progress_survives_a_password_reset(self) -> None:
        async with self.open(UNLIMITED) as stores:
            user, _ = await create_user(stores)
            link = await request_reset_link(stores, user, NOW)

            async def start() -> None:
                session = Session(new_id(), user.id, "phone", NOW, NOW)
                await stores.sessions.start(session, random_hashes(1)[0], NOW + DAY, password_hash=user.password_hash)

            starts = [start() for _ in range(20)]
            reset = stores.password_resets.reset_password(link.uid, link.token_hash, NEW_HASH, NOW)
            results = await asyncio.gather(*starts[:10], reset, *starts[10:], return_exceptions=True)
            assert all(
                result is None or isinstance(result, InvalidCredentials)
                for position, result in enumerate(results)
                if position != 10
            )
            assert not isinstance(results[10], BaseException)
            assert not await stores.sessions.list_for_user(user.id)

    @staticmethod
    async def _refused(
        stores: AccountStores, user_id: str, password_hash: str, new_password_hash: str | None = None
    ) -> None:
        session = Session(new_id(), user_id, "phone", NOW, NOW)
        start = stores.sessions.start(
            session,
            random_hashes(1)[0],
            NOW + DAY,
            password_hash=password_hash,
            new_password_hash=new_password_hash,
            network="192.0.2.1",
        )
        await assert_raises(InvalidCredentials, start)
        assert not await stores.sessions.find(session.id)

    @clause
    async def test_4_each_refresh_token_is_exchanged_for_the_next(self) -> None:
        async with self.open(UNLIMITED) as stores:
            user, _ = await create_user(stores)
            session, current = await log_in(stores, user, NOW)
            for n in range(1, 5):
                at = NOW + n * DAY
                successors = random_hashes(2)
                rotated = await stores.sessions.rotate(current, successors, at, at + 5 * DAY)
                assert rotated == RotationResult(replace(session, last_used_at=at), 0)
                current = successors[0]
            (listed,) = await stores.sessions.list_for_user(user.id)
            assert listed.last_used_at == NOW + 4 * DAY

    @clause
    async def test_4_no_token_outlives_the_lifetime_of_its_session(self) -> None:
        async with self.open(UNLIMITED) as stores:
            user, _ = await create_user(stores)
            _, current = await log_in(stores, user, NOW)
            lifetime = timedelta(days=12)
            for n in range(4, 12, 4):
                at, successors = NOW + n * DAY, random_hashes(1)
                rotated = await stores.sessions.rotate(current, successors, at, at + 5 * DAY, lifetime=lifetime)
                assert rotated is not None
                current = successors[0]
            end = NOW + lifetime
            assert await stores.sessions.rotate(current, random_hashes(1), end, end + DAY) is None, (
                "the session has reached its lifetime"
            )
            _, other = await log_in(stores, user, NOW)
            assert await stores.sessions.rotate(other, random_hashes(1), NOW + DAY, NOW + 5 * DAY, lifetime=DAY) is None

    @clause
    async def test_4_of_a_hundred_concurrent_rotations_one_succeeds(self) -> None:
        async with self.open(UNLIMITED) as stores:
            user, _ = await create_user(stores)
            session, current = await log_in(stores, user, NOW)
            hashes = random_hashes(100)
            offers = [hashes[n:] + hashes[:n] for n in range(100)]
            results = await asyncio.gather(
                *(stores.sessions.rotate(current, offer, NOW, NOW + DAY) for offer in offers)
            )
            chosen = {
                offer[result.successor] for offer, result in zip(offers, results, strict=True) if result is not None
            }
            assert all(results)
            assert len(chosen) == 1
            assert await stores.sessions.find(session.id)
            assert await stores.sessions.rotate(next(iter(chosen)), random_hashes(1), NOW, NOW + DAY) is not None
            for loser in hashes:
                if loser not in chosen:
                    assert await stores.sessions.rotate(loser, random_hashes(1), NOW, NOW + DAY) is None

    @clause
    async def test_5_a_repeat_within_the_grace_period_gets_the_same_successor(self) -> None:
        async with self.open(UNLIMITED) as stores:
            user, _ = await create_user(stores)
            session, current = await log_in(stores, user, NOW)
            successors = random_hashes(2)
            assert await stores.sessions.rotate(current, successors, NOW, NOW + DAY) is not None
            for offer, position in ((successors, 0), (random_hashes(1) + successors, 1)):
                again = await stores.sessions.rotate(current, offer, NOW + GRACE, NOW + DAY)
                assert again is not None
                assert (again.session.id, again.successor) == (session.id, position)
            assert await stores.sessions.find(session.id)

    @clause
    async def test_5_a_reuse_after_the_grace_period_ends_the_session(self) -> None:
        async with self.open(UNLIMITED) as stores:
            user, _ = await create_user(stores)
            session, current = await log_in(stores, user, NOW)
            other, _ = await log_in(stores, user, NOW)
            successors = random_hashes(1)
            await stores.sessions.rotate(current, successors, NOW, NOW + DAY)
            late = NOW + GRACE + timedelta(seconds=1)
            assert await stores.sessions.rotate(current, successors, late, NOW + DAY) is None
            assert not await stores.sessions.find(session.id)
            assert await stores.sessions.find(other.id)
            assert list(await stores.sessions.ended_since(late)) == [session.id]
            assert await stores.sessions.rotate(successors[0], random_hashes(1), late, NOW + DAY) is None

    @clause
    async def test_5_a_reuse_after_use_of_the_successor_ends_the_session(self) -> None:
        async with self.open(UNLIMITED) as stores:
            user, _ = await create_user(stores)
            session, current = await log_in(stores, user, NOW)
            successors, third = random_hashes(1), random_hashes(1)
            await stores.sessions.rotate(current, successors, NOW, NOW + DAY)
            await stores.sessions.rotate(successors[0], third, NOW, NOW + DAY)
            assert await stores.sessions.rotate(current, successors, NOW, NOW + DAY) is None
            assert not await stores.sessions.find(session.id)
            assert await stores.sessions.rotate(third[0], random_hashes(1), NOW, NOW + DAY) is None

    @clause
    async def test_6_unknown_and_expired_tokens_rotate_nothing(self) -> None:
        async with self.open(UNLIMITED) as stores:
            user, _ = await create_user(stores)
            session, current = await log_in(stores, user, NOW)
            for odd in (*ODD_STRINGS, *random_hashes(1)):
                assert await stores.sessions.rotate(odd, random_hashes(1), NOW, NOW + DAY) is None
            late = NOW + 5 * DAY + MINUTE
            assert await stores.sessions.rotate(current, random_hashes(1), late, late + DAY) is None
            assert session.last_used_at == (await stores.sessions.list_for_user(user.id))[0].last_used_at

    @clause
    async def test_7_sessions_of_a_user_are_listed_by_last_use(self) -> None:
        async with self.open(UNLIMITED) as stores:
            user, _ = await create_user(stores)
            bystander, _ = await create_user(stores, "bob@example.com", "Bob")
            await log_in(stores, bystander, NOW)
            started = [await log_in(stores, user, NOW + n * MINUTE, device=str(n)) for n in range(3)]
            await stores.sessions.rotate(started[1][1], random_hashes(1), NOW + HOUR, NOW + DAY)
            assert [session.device for session in await stores.sessions.list_for_user(user.id)] == ["1", "2", "0"]
            for odd in ODD_STRINGS:
                assert not await stores.sessions.list_for_user(odd)

    @clause
    async def test_8_one_session_or_all_but_one_or_all_are_ended(self) -> None:
        async with self.open(UNLIMITED) as stores:
            user, _ = await create_user(stores)
            bystander, _ = await create_user(stores, "bob@example.com", "Bob")
            other, _ = await log_in(stores, bystander, NOW)
            started = [await log_in(stores, user, NOW) for _ in range(5)]
            ids = [session.id for session, _ in started]
            end = stores.sessions.end
            assert list(await end(user.id, NOW, session_id=ids[0])) == [ids[0]]
            assert list(await end(user.id, NOW, session_id=ids[0])) == []
            assert list(await end(user.id, NOW, session_id=other.id)) == []
            for odd in ODD_STRINGS:
                assert list(await end(user.id, NOW, session_id=odd)) == []
                assert list(await end(odd, NOW)) == []
            assert sorted(await end(user.id, NOW, except_session_id=ids[4])) == sorted(ids[1:4])
            assert [session.id for session in await stores.sessions.list_for_user(user.id)] == [ids[4]]
            assert list(await end(user.id, NOW)) == [ids[4]]
            assert await stores.sessions.find(other.id)
            for _, refresh_hash in started:
                assert await stores.sessions.rotate(refresh_hash, random_hashes(1), NOW, NOW + DAY) is None

    @clause
    async def test_8_of_many_concurrent_calls_one_ends_the_session(self) -> None:
        async with self.open(UNLIMITED) as stores:
            user, _ = await create_user(stores)
            session, _ = await log_in(stores, user, NOW)
            results = await asyncio.gather(*(stores.sessions.end(user.id, NOW) for _ in range(10)))
            assert [list(result) for result in results if result] == [[session.id]]

    @clause
    async def test_8_the_user_is_notified_on_request(self) -> None:
        async with self.open(UNLIMITED) as stores:
            user, _ = await create_user(stores)
            for notify in (False, True):
                started = [await log_in(stores, user, NOW) for _ in range(3)]
                ended = await stores.sessions.end(user.id, NOW, except_session_id=started[0][0].id, notify=notify)
                assert len(ended) >= 2
                mails = [(mail.kind, mail.recipient) for mail in await deliver_due_mail(stores, NOW)]
                assert mails == [(MailKind.SESSIONS_ENDED, user.address.spelling)] * notify
            assert len(await stores.sessions.end(user.id, NOW, notify=True)) == 1
            assert len(await deliver_due_mail(stores, NOW)) == 1
            assert not await stores.sessions.end(user.id, NOW, notify=True)
            assert not await stores.sessions.end(new_id(), NOW, notify=True)
            assert not await deliver_due_mail(stores, NOW)

    @clause
    async def test_9_any_string_is_accepted_as_a_session_id(self) -> None:
        async with self.open(UNLIMITED) as stores:
            user, _ = await create_user(stores)
            session, _ = await log_in(stores, user, NOW)
            assert await stores.sessions.find(session.id)
            for odd in (*ODD_STRINGS, new_id()):
                assert not await stores.sessions.find(odd)
            await stores.sessions.end(user.id, NOW)
            assert not await stores.sessions.find(session.id)

    @clause
    async def test_10_ended_sessions_are_listed_by_the_time_of_their_end(self) -> None:
        async with self.open(UNLIMITED) as stores:
            user, _ = await create_user(stores)
            ids = []
            for n in range(3):
                session, _ = await log_in(stores, user, NOW)
                await stores.sessions.end(user.id, NOW + n * HOUR)
                ids.append(session.id)
            for n in range(4):
                ended = await stores.sessions.ended_since(NOW + n * HOUR)
                assert sorted(ended) == sorted(ids[n:])

    @clause
    async def test_10_sessions_ended_for_any_reason_are_listed(self) -> None:
        async with self.open(UNLIMITED) as stores:
            user, _ = await create_user(stores)
            ids = [(await log_in(stores, user, NOW))[0].id]
            await stores.password_resets.change_password(
                user.id, user.password_hash, NEW_HASH, except_session_id=new_id(), now=NOW + HOUR
            )
            ids.append((await log_in(stores, user, NOW))[0].id)
            link = await request_reset_link(stores, user, NOW)
            await stores.password_resets.reset_password(link.uid, link.token_hash, "$made-up$3", NOW + HOUR)
            ids.append((await log_in(stores, user, NOW))[0].id)
            await stores.users.set_active(user.address.key, False, NOW + HOUR)
            await stores.users.set_active(user.address.key, True, NOW + HOUR)
            ids.append((await log_in(stores, user, NOW))[0].id)
            await stores.data.erase(user.address.key, NOW + HOUR)
            assert sorted(await stores.sessions.ended_since(NOW + HOUR)) == sorted(ids)

    @clause
    async def test_9_and_11_a_session_is_found_by_id_and_its_owner_by_refresh_token(self) -> None:
        async with self.open(UNLIMITED) as stores:
            user, _ = await create_user(stores)
            session, first = await log_in(stores, user, NOW)
            assert await stores.sessions.find(session.id) == session
            (second,) = successors = random_hashes(1)
            await stores.sessions.rotate(first, successors, NOW, NOW + DAY)
            for known in (first, second):
                assert await stores.sessions.find_owner(known) == user.id
            for odd in (*ODD_STRINGS, *random_hashes(1)):
                assert await stores.sessions.find(odd) is None
                assert await stores.sessions.find_owner(odd) is None
            await stores.sessions.end(user.id, NOW)
            assert await stores.sessions.find(session.id) is None
            assert await stores.sessions.find_owner(second) is None
