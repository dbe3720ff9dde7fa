"""Contract of the `PasswordResetRepo` port."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime

from movie_core.accounts.keyring import new_id
from movie_core.accounts.outbox import MailKind, MailState
from movie_core.errors import InvalidLink
from movie_core.paging import Window
from movie_core.testing.account_fixtures import (
    LIMITED,
    LINK_TTL,
    NEW_HASH,
    UNLIMITED,
    AccountStores,
    AccountStoresContract,
    create_user,
    deliver_due_mail,
    due_links,
    list_mail,
    log_in,
    make_registration,
    random_hashes,
    request_mail,
    request_reset_link,
)
from movie_core.testing.shared import HOUR, MINUTE, NOW, ODD_STRINGS, assert_raises, clause


class PasswordResetRepoContract(AccountStoresContract):
    """Contract of every `PasswordResetRepo`. The numbers in test names are the clauses of the port."""

    @clause
    async def test_1_an_email_can_be_requested_for_any_address(self) -> None:
        async with self.open(UNLIMITED) as stores:
            for kind in (MailKind.ACTIVATION_RENEWAL, MailKind.PASSWORD_RESET):
                await request_mail(stores, kind, "nobody@example.com", NOW)
            pending = await list_mail(stores, Window())
            assert {mail.kind for mail in pending} == {MailKind.ACTIVATION_RENEWAL, MailKind.PASSWORD_RESET}
            assert all((mail.recipient, mail.due_at, mail.state) == ("", NOW, MailState.PENDING) for mail in pending)

    @clause
    async def test_1_a_pending_request_of_the_same_kind_is_replaced(self) -> None:
        async with self.open(UNLIMITED) as stores:
            user, _ = await create_user(stores)
            for n in range(5):
                at = NOW + n * MINUTE
                await request_mail(stores, MailKind.PASSWORD_RESET, user.address.key, at)
            pending = await list_mail(stores, Window(), MailState.PENDING)
            assert [mail.due_at for mail in pending] == [NOW + 4 * MINUTE]
            assert len(await deliver_due_mail(stores, NOW + 4 * MINUTE)) == 1

    @clause
    async def test_1_a_request_does_not_replace_that_of_another_network(self) -> None:
        async with self.open(LIMITED) as stores:
            user, _ = await create_user(stores)
            key, kind = user.address.key, MailKind.PASSWORD_RESET
            for n in range(5):
                at = NOW + n * MINUTE
                await request_mail(stores, kind, key, at, requested_from="198.51.100.0/24")
                assert len(await deliver_due_mail(stores, at)) == (n < 3)
            await request_mail(stores, kind, key, NOW + 6 * MINUTE, requested_from="192.0.2.0/24")
            await request_mail(stores, kind, key, NOW + 7 * MINUTE, requested_from="198.51.100.0/24")
            assert len(await deliver_due_mail(stores, NOW + 7 * MINUTE)) == 1
            (pending,) = await list_mail(stores, Window(), MailState.PENDING)
            assert pending.due_at == NOW + HOUR

    @clause
    async def test_1_concurrent_requests_for_an_email_send_one(self) -> None:
        async with self.open(UNLIMITED) as stores:
            user, _ = await create_user(stores)
            key = user.address.key
            await asyncio.gather(*(request_mail(stores, MailKind.PASSWORD_RESET, key, NOW) for _ in range(20)))
            assert len(await deliver_due_mail(stores, NOW)) == 1

    @clause
    async def test_2_reading_a_reset_link_returns_its_user_and_changes_nothing(self) -> None:
        async with self.open(UNLIMITED) as stores:
            user, _ = await create_user(stores)
            link = await request_reset_link(stores, user, NOW)
            assert link.uid == user.id
            for _ in range(2):
                assert await stores.password_resets.find_reset_user(link.uid, link.token_hash, NOW) == user
            late = NOW + LINK_TTL + MINUTE
            await assert_raises(InvalidLink, stores.password_resets.find_reset_user(link.uid, link.token_hash, late))
            await assert_raises(
                InvalidLink, stores.password_resets.reset_password(link.uid, link.token_hash, "$made-up$late", late)
            )
            assert await stores.users.find(user.id) == user

    @clause
    async def test_2_a_link_is_rejected_with_another_uid_or_purpose(self) -> None:
        async with self.open(UNLIMITED) as stores:
            user, used = await create_user(stores, "eve@example.com", "Eve")
            link = await request_reset_link(stores, user, NOW)
            registration = make_registration()
            await stores.registrations.register(registration, NOW)
            activation = (await due_links(stores, NOW))[registration.id]
            for call in (stores.password_resets.find_reset_user, self._reset(stores)):
                await assert_raises(InvalidLink, call(activation.uid, activation.token_hash, NOW))
                await assert_raises(InvalidLink, call(used.uid, used.token_hash, NOW))
                await assert_raises(InvalidLink, call(new_id(), link.token_hash, NOW))
                await assert_raises(InvalidLink, call(user.id, random_hashes(1)[0], NOW))

    @clause
    async def test_2_no_link_resets_the_password_of_an_inactive_user(self) -> None:
        async with self.open(UNLIMITED) as stores:
            user, _ = await create_user(stores)
            link = await request_reset_link(stores, user, NOW)
            await stores.users.set_active(user.address.key, False, NOW)
            for call in (stores.password_resets.find_reset_user, self._reset(stores)):
                await assert_raises(InvalidLink, call(link.uid, link.token_hash, NOW))

    @clause
    async def test_2_any_string_is_accepted_as_a_link(self) -> None:
        async with self.open(UNLIMITED) as stores:
            user, _ = await create_user(stores)
            link = await request_reset_link(stores, user, NOW)
            for odd in ODD_STRINGS:
                for call in (stores.password_resets.find_reset_user, self._reset(stores)):
                    await assert_raises(InvalidLink, call(odd, link.token_hash, NOW))
                    await assert_raises(InvalidLink, call(link.uid, odd, NOW))
                    await assert_raises(InvalidLink, call(odd, odd, NOW))

    @clause
    async def test_3_a_password_reset_ends_all_sessions_and_its_link(self) -> None:
        async with self.open(UNLIMITED) as stores:
            user, _ = await create_user(stores)
            bystander, _ = await create_user(stores, "bob@example.com", "Bob")
            link = await request_reset_link(stores, user, NOW)
            own = [(await log_in(stores, user, NOW))[0].id for _ in range(3)]
            other, _ = await log_in(stores, bystander, NOW)
            ended = await stores.password_resets.reset_password(link.uid, link.token_hash, NEW_HASH, NOW + MINUTE)
            assert sorted(ended) == sorted(own)
            assert not await stores.sessions.list_for_user(user.id)
            assert [session.id for session in await stores.sessions.list_for_user(bystander.id)] == [other.id]
            assert await stores.users.find(user.id) == replace(user, password_hash=NEW_HASH, last_login=NOW)
            await assert_raises(
                InvalidLink, stores.password_resets.find_reset_user(link.uid, link.token_hash, NOW + MINUTE)
            )
            await assert_raises(
                InvalidLink,
                stores.password_resets.reset_password(link.uid, link.token_hash, "$made-up$2", NOW + MINUTE),
            )
            (notice,) = await deliver_due_mail(stores, NOW + MINUTE)
            assert (notice.kind, notice.recipient) == (MailKind.PASSWORD_CHANGED, user.address.spelling)
            assert not notice.links

    @clause
    async def test_3_a_password_reset_ends_all_reset_links(self) -> None:
        async with self.open(UNLIMITED) as stores:
            user, _ = await create_user(stores)
            links = [await request_reset_link(stores, user, NOW + n * MINUTE) for n in range(3)]
            later = NOW + HOUR
            await stores.password_resets.reset_password(links[1].uid, links[1].token_hash, NEW_HASH, later)
            for link in links:
                await assert_raises(
                    InvalidLink, stores.password_resets.find_reset_user(link.uid, link.token_hash, later)
                )

    @clause
    async def test_3_of_concurrent_uses_of_a_reset_link_one_succeeds(self) -> None:
        async with self.open(UNLIMITED) as stores:
            user, _ = await create_user(stores)
            link = await request_reset_link(stores, user, NOW)
            new = [f"$made-up${n}" for n in range(10)]
            results = await asyncio.gather(
                *(stores.password_resets.reset_password(link.uid, link.token_hash, one, NOW) for one in new),
                return_exceptions=True,
            )
            assert sum(isinstance(result, InvalidLink) for result in results) == 9
            winner = next(n for n, result in enumerate(results) if not isinstance(result, BaseException))
            found = await stores.users.find(user.id)
            assert found is not None
            assert found.password_hash == new[winner]

    @clause
    async def test_4_a_changed_password_ends_the_other_sessions_and_reset_links(self) -> None:
        async with self.open(UNLIMITED) as stores:
            user, _ = await create_user(stores)
            link = await request_reset_link(stores, user, NOW)
            here, others = await log_in(stores, user, NOW), [await log_in(stores, user, NOW) for _ in range(2)]
            ended = await stores.password_resets.change_password(
                user.id, user.password_hash, NEW_HASH, except_session_id=here[0].id, now=NOW
            )
            assert sorted(ended or ()) == sorted(session.id for session, _ in others)
            assert [session.id for session in await stores.sessions.list_for_user(user.id)] == [here[0].id]
            await assert_raises(InvalidLink, stores.password_resets.find_reset_user(link.uid, link.token_hash, NOW))
            changed = await stores.users.find(user.id)
            assert changed is not None
            assert changed.password_hash == NEW_HASH
            (notice,) = await deliver_due_mail(stores, NOW)
            assert (notice.kind, notice.recipient) == (MailKind.PASSWORD_CHANGED, user.address.spelling)

    @clause
    async def test_4_a_wrong_old_hash_changes_nothing(self) -> None:
        async with self.open(UNLIMITED) as stores:
            user, _ = await create_user(stores)
            session, _ = await log_in(stores, user, NOW)
            change = stores.password_resets.change_password
            assert await change(user.id, "$made-up$wrong", NEW_HASH, except_session_id="", now=NOW) is None
            assert await change(new_id(), user.password_hash, NEW_HASH, except_session_id="", now=NOW) is None
            assert await stores.sessions.find(session.id)
            assert not await deliver_due_mail(stores, NOW)
            found = await stores.users.find(user.id)
            assert found is not None
            assert found.password_hash == user.password_hash

    @clause
    async def test_4_of_concurrent_password_changes_one_succeeds(self) -> None:
        async with self.open(UNLIMITED) as stores:
            user, _ = await create_user(stores)
            results = await asyncio.gather(
                *(
                    stores.password_resets.change_password(
                        user.id, user.password_hash, f"$made-up${n}", except_session_id="", now=NOW
                    )
                    for n in range(10)
                )
            )
            assert [result is None for result in results].count(False) == 1

    @staticmethod
    def _reset(stores: AccountStores) -> Callable[[str, str, datetime], Awaitable[object]]:
        return lambda uid, hashed, now: stores.password_resets.reset_password(uid, hashed, "$made-up$reset", now)
