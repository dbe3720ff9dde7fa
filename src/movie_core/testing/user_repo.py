"""Contract of the `UserRepo` port."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime, timedelta

from movie_core.accounts.keyring import new_id, token_hash
from movie_core.accounts.outbox import (
    MAX_LINKS,
    MailKind,
    MailState,
)
from movie_core.accounts.users import MAX_PENDING, REPEAT, User, Username, UserState
from movie_core.errors import (
    InvalidLink,
    PasswordRequired,
    UsernameTaken,
    UserNotFound,
)
from movie_core.paging import Window
from movie_core.ports import (
    ActivationLink,
    ActivationResult,
    UserSummary,
)
from movie_core.testing.account_fixtures import (
    LIMITED,
    LINK_TTL,
    MAIL_LEASE,
    NEW_HASH,
    UNLIMITED,
    AccountStores,
    AccountStoresContract,
    activate,
    can_activate,
    create_user,
    deliver_due_mail,
    due_links,
    is_used,
    list_mail,
    list_users,
    log_in,
    make_address,
    make_registration,
    random_hashes,
    request_reset_link,
    usernames_at,
)
from movie_core.testing.shared import DAY, HOUR, MINUTE, NOW, ODD_STRINGS, assert_raises, clause


class UserRepoContract(AccountStoresContract):
    """Contract of every `UserRepo`. The numbers in test names are the clauses of the port."""

    @clause
    async def test_1_of_concurrent_activations_of_a_username_one_succeeds(self) -> None:
        async with self.open(UNLIMITED) as stores:
            registrations = [make_registration(f"ada{n}@example.com", ("ADA", "ada", "Ada")[n % 3]) for n in range(9)]
            await asyncio.gather(*(stores.users.register(registration, NOW) for registration in registrations))
            links = await due_links(stores, NOW)
            assert len(links) == 9
            results = await asyncio.gather(
                *(stores.users.activate(link.uid, link.token_hash, NOW) for link in links.values()),
                return_exceptions=True,
            )
            assert sum(isinstance(result, ActivationResult) for result in results) == 1
            assert sum(isinstance(result, UsernameTaken) for result in results) == 8
            summaries = await list_users(stores, Window(limit=100))
            assert sum(not summary.is_pending for summary in summaries) == 1
            assert sum(summary.is_pending for summary in summaries) == 8

    @clause
    async def test_1_of_concurrent_activations_of_an_address_one_succeeds(self) -> None:
        async with self.open(UNLIMITED) as stores:
            registrations = [make_registration(username=f"Ada {n}") for n in range(9)]
            await asyncio.gather(*(stores.users.register(registration, NOW) for registration in registrations))
            links = await due_links(stores, NOW)
            assert len(links) == 9
            results = await asyncio.gather(
                *(
                    stores.users.activate(link.uid, link.token_hash, NOW, password_hash=NEW_HASH)
                    for link in links.values()
                ),
                return_exceptions=True,
            )
            assert sum(isinstance(result, ActivationResult) for result in results) == 1
            assert sum(isinstance(result, InvalidLink) for result in results) == 8
            assert len(await list_users(stores, Window(limit=100))) == 1

    @clause
    async def test_1_registrations_reserve_no_username(self) -> None:
        async with self.open(UNLIMITED) as stores:
            await stores.users.register(make_registration("ada@example.com", "Ada"), NOW)
            await stores.users.register(make_registration("bob@example.com", "ADA"), NOW)
            assert len(await list_users(stores, Window())) == 2

    @clause
    async def test_3_a_registration_is_stored_with_one_email_and_one_link(self) -> None:
        async with self.open(UNLIMITED) as stores:
            registration = make_registration("Ada@example.com", "Ada")
            await stores.users.register(registration, NOW)
            (summary,) = await list_users(stores, Window(), registration.address.key)
            assert summary == UserSummary(
                registration.id, registration.address, registration.username, True, False, False, NOW, None
            )
            assert await stores.users.find_by_address(registration.address.key) is None
            assert await stores.users.find(registration.id) is None
            (mail,) = await stores.outbox.claim("dispatcher", NOW, 10, MAIL_LEASE)
            assert (mail.kind, mail.recipient, mail.state) == (
                MailKind.ACTIVATION,
                registration.address.spelling,
                MailState.PENDING,
            )
            (link,) = mail.links
            assert link.uid == registration.id
            token = stores.keys.decrypt_token(link.encrypted_token, link.token_hash)
            assert token is not None
            assert token_hash(token) == link.token_hash

    @clause
    async def test_3_another_registration_leaves_earlier_links_valid(self) -> None:
        async with self.open(UNLIMITED) as stores:
            first, second = make_registration(username="Ada"), make_registration(username="Eve")
            await stores.users.register(first, NOW)
            await stores.users.register(second, NOW + MINUTE)
            links = await due_links(stores, NOW + MINUTE)
            assert set(links) == {first.id, second.id}
            for link in links.values():
                assert await can_activate(stores, link, NOW + MINUTE)

    @clause
    async def test_3_only_the_owner_of_a_taken_address_is_notified(self) -> None:
        async with self.open(UNLIMITED) as stores:
            user, _ = await create_user(stores, "Ada@example.com", "Ada")
            decoy = make_registration("ADA@example.com", "Eve", at=NOW + MINUTE)
            await stores.users.register(decoy, NOW + MINUTE)
            (mail,) = await deliver_due_mail(stores, NOW + MINUTE)
            assert (mail.kind, mail.recipient, mail.links) == (MailKind.ADDRESS_TAKEN, "Ada@example.com", ())
            assert await stores.users.find_by_address(user.address.key) == user
            assert await usernames_at(stores, user.address.key) == ["Ada"]
            assert (await stores.users.export(user.address.key))["registrations"] == []
            assert await stores.users.find(decoy.id) is None
            await stores.users.request_mail(MailKind.ACTIVATION_RENEWAL, user.address.key, NOW + HOUR)
            assert not await deliver_due_mail(stores, NOW + HOUR)
            await stores.users.erase(user.address.key, NOW + HOUR)
            assert not await list_users(stores, Window())

    @clause
    async def test_3_staff_cannot_activate_a_decoy(self) -> None:
        async with self.open(UNLIMITED) as stores:
            user, _ = await create_user(stores, "ada@example.com", "Ada")
            await stores.users.set_active(user.address.key, False, NOW)
            await stores.users.register(make_registration("ada@example.com", "Eve"), NOW + MINUTE)
            await stores.users.set_active(user.address.key, True, NOW + MINUTE)
            assert await stores.users.find_by_address(user.address.key) == user

    @clause
    async def test_4_the_username_of_a_user_is_taken_for_any_address(self) -> None:
        async with self.open(UNLIMITED) as stores:
            await create_user(stores, "ada@example.com", "Ada")
            for spelling in ("bob@example.com", "ada@example.com"):
                await assert_raises(
                    UsernameTaken, stores.users.register(make_registration(spelling, "ADA"), NOW + HOUR)
                )
            assert len(await list_users(stores, Window())) == 1
            assert not await deliver_due_mail(stores, NOW + HOUR)

    @clause
    async def test_4_a_username_confusable_with_that_of_a_user_is_taken(self) -> None:
        async with self.open(UNLIMITED) as stores:
            await stores.users.register(make_registration("bob@example.com", "paypa1", skeleton="paypal"), NOW)
            (pending_link,) = (await due_links(stores, NOW)).values()
            registration = make_registration("ada@example.com", "paypal", skeleton="paypal")
            await stores.users.register(registration, NOW)
            (link,) = (await due_links(stores, NOW)).values()
            user = await activate(stores, link, NOW)
            assert user.username == registration.username
            again = make_registration("eve@example.com", "PAYPAI", skeleton="paypal")
            await assert_raises(UsernameTaken, stores.users.register(again, NOW))
            await assert_raises(UsernameTaken, stores.users.activate(pending_link.uid, pending_link.token_hash, NOW))
            other, _ = await create_user(stores, "dan@example.com", "Dan")
            alike = Username("PayPaI", "paypai", "paypal")
            await assert_raises(UsernameTaken, stores.users.change_profile(other.id, username=alike))
            renamed = await stores.users.change_profile(user.id, username=alike)
            assert renamed.username == alike

    @clause
    async def test_5_a_repeated_registration_is_stored_once(self) -> None:
        async with self.open(UNLIMITED) as stores:
            first = make_registration("Ada@example.com", "Ada")
            await stores.users.register(first, NOW)
            for later in (timedelta(0), REPEAT):
                again = replace(first, id=new_id(), address=make_address("ADA@Example.com"), created_at=NOW + later)
                await stores.users.register(again, NOW + later)
            assert len(await list_users(stores, Window())) == 1
            assert len(await deliver_due_mail(stores, NOW + REPEAT)) == 1
            late = NOW + REPEAT + timedelta(seconds=1)
            await stores.users.register(replace(first, id=new_id(), created_at=late), late)
            assert len(await list_users(stores, Window())) == 2

    @clause
    async def test_5_a_different_password_username_or_mailbox_makes_another_registration(self) -> None:
        async with self.open(UNLIMITED) as stores:
            first = make_registration("strasse@example.com", "Ada")
            others = (
                replace(first, id=new_id(), password_hash=NEW_HASH),
                replace(first, id=new_id(), username=Username("Eve", "eve")),
                replace(first, id=new_id(), address=make_address("straße@example.com")),
            )
            for registration in (first, *others):
                await stores.users.register(registration, NOW)
            assert len(await list_users(stores, Window(), first.address.key)) == 4

    @clause
    async def test_5_fifty_identical_concurrent_registrations_are_stored_once(self) -> None:
        async with self.open(UNLIMITED) as stores:
            first = make_registration()
            await asyncio.gather(*(stores.users.register(replace(first, id=new_id()), NOW) for _ in range(50)))
            assert len(await list_users(stores, Window(limit=100))) == 1
            assert len(await deliver_due_mail(stores, NOW)) == 1

    @clause
    async def test_5_a_repeated_decoy_notifies_the_owner_once(self) -> None:
        async with self.open(UNLIMITED) as stores:
            await create_user(stores, "ada@example.com", "Ada")
            decoy = make_registration("ada@example.com", "Eve", at=NOW + MINUTE)
            for _ in range(2):
                await stores.users.register(replace(decoy, id=new_id()), NOW + MINUTE)
            assert len(await deliver_due_mail(stores, NOW + MINUTE)) == 1

    @clause
    async def test_6_only_the_newest_registrations_of_an_address_are_stored(self) -> None:
        async with self.open(LIMITED) as stores:
            for n in range(MAX_PENDING + 3):
                at = NOW + timedelta(seconds=n)
                await stores.users.register(make_registration(username=f"Ada {n}", at=at), at)
            summaries = await list_users(stores, Window(limit=100), "ada@example.com")
            assert [summary.username.shown for summary in summaries] == [
                f"Ada {n}" for n in range(MAX_PENDING + 2, 2, -1)
            ]
            (delayed,) = [mail for mail in await deliver_due_mail(stores, NOW + 2 * HOUR) if len(mail.links) > 1]
            assert {link.uid for link in delayed.links} == {summary.id for summary in summaries[:MAX_LINKS]}

    @clause
    async def test_6_registrations_of_one_network_do_not_evict_those_of_another(self) -> None:
        async with self.open(UNLIMITED) as stores:
            own = make_registration(username="Owner", requested_from="192.0.2.0/24")
            await stores.users.register(own, NOW)
            for n in range(MAX_PENDING + 5):
                at = NOW + timedelta(seconds=n)
                foreign = make_registration(username=f"Eve {n}", at=at, requested_from=f"198.51.100.{n % 3}")
                await stores.users.register(foreign, at)
            summaries = await list_users(stores, Window(limit=100), own.address.key)
            assert len(summaries) == MAX_PENDING
            assert own.id in {summary.id for summary in summaries}
            link = (await due_links(stores, NOW + MINUTE))[own.id]
            assert (await activate(stores, link, NOW + MINUTE)).id == own.id

    @clause
    async def test_7_an_email_can_be_requested_for_any_address(self) -> None:
        async with self.open(UNLIMITED) as stores:
            for kind in (MailKind.ACTIVATION_RENEWAL, MailKind.PASSWORD_RESET):
                await stores.users.request_mail(kind, "nobody@example.com", NOW)
            pending = await list_mail(stores, Window())
            assert {mail.kind for mail in pending} == {MailKind.ACTIVATION_RENEWAL, MailKind.PASSWORD_RESET}
            assert all((mail.recipient, mail.due_at, mail.state) == ("", NOW, MailState.PENDING) for mail in pending)

    @clause
    async def test_7_a_pending_request_of_the_same_kind_is_replaced(self) -> None:
        async with self.open(UNLIMITED) as stores:
            user, _ = await create_user(stores)
            for n in range(5):
                at = NOW + n * MINUTE
                await stores.users.request_mail(MailKind.PASSWORD_RESET, user.address.key, at)
            pending = await list_mail(stores, Window(), MailState.PENDING)
            assert [mail.due_at for mail in pending] == [NOW + 4 * MINUTE]
            assert len(await deliver_due_mail(stores, NOW + 4 * MINUTE)) == 1

    @clause
    async def test_7_a_request_does_not_replace_that_of_another_network(self) -> None:
        async with self.open(LIMITED) as stores:
            user, _ = await create_user(stores)
            key, kind = user.address.key, MailKind.PASSWORD_RESET
            for n in range(5):
                at = NOW + n * MINUTE
                await stores.users.request_mail(kind, key, at, requested_from="198.51.100.0/24")
                assert len(await deliver_due_mail(stores, at)) == (n < 3)
            await stores.users.request_mail(kind, key, NOW + 6 * MINUTE, requested_from="192.0.2.0/24")
            await stores.users.request_mail(kind, key, NOW + 7 * MINUTE, requested_from="198.51.100.0/24")
            assert len(await deliver_due_mail(stores, NOW + 7 * MINUTE)) == 1
            (pending,) = await list_mail(stores, Window(), MailState.PENDING)
            assert pending.due_at == NOW + HOUR

    @clause
    async def test_7_concurrent_requests_for_an_email_send_one(self) -> None:
        async with self.open(UNLIMITED) as stores:
            user, _ = await create_user(stores)
            key = user.address.key
            await asyncio.gather(*(stores.users.request_mail(MailKind.PASSWORD_RESET, key, NOW) for _ in range(20)))
            assert len(await deliver_due_mail(stores, NOW)) == 1

    @clause
    async def test_8_reading_a_link_changes_nothing(self) -> None:
        async with self.open(UNLIMITED) as stores:
            await stores.users.register(make_registration(), NOW)
            (link,) = (await due_links(stores, NOW)).values()
            for _ in range(3):
                assert await can_activate(stores, link, NOW)
            assert await stores.users.find_by_address("ada@example.com") is None
            await stores.users.activate(link.uid, link.token_hash, NOW)
            assert await is_used(stores, link, NOW)

    @clause
    async def test_8_a_link_returns_its_registration_and_whether_it_is_the_only_one(self) -> None:
        async with self.open(UNLIMITED) as stores:
            registration = make_registration(requested_from="192.0.2.0/24")
            await stores.users.register(registration, NOW)
            (link,) = (await due_links(stores, NOW)).values()
            assert await stores.users.find_activation_link(link.uid, link.token_hash, NOW) == ActivationLink(
                registration, is_only=True
            )
            later = NOW + REPEAT + MINUTE
            again = replace(registration, id=new_id(), address=make_address("ADA@Example.com"), created_at=later)
            await stores.users.register(again, later)
            assert (await stores.users.find_activation_link(link.uid, link.token_hash, later)).is_only
            for other in (
                make_registration(),
                make_registration(username="Eve", password_hash=registration.password_hash),
            ):
                await stores.users.register(other, later)
                assert not (await stores.users.find_activation_link(link.uid, link.token_hash, later)).is_only

    @clause
    async def test_9_the_user_has_the_data_of_the_registration(self) -> None:
        async with self.open(UNLIMITED) as stores:
            registration = make_registration("Ada@example.com", "Ada L")
            await stores.users.register(registration, NOW)
            (link,) = (await due_links(stores, NOW)).values()
            activated = await stores.users.activate(link.uid, link.token_hash, NOW + HOUR)
            assert activated.is_new
            user = activated.user
            assert user == User(
                id=registration.id,
                address=registration.address,
                username=registration.username,
                password_hash=registration.password_hash,
                is_active=True,
                is_staff=False,
                record_events=True,
                created_at=NOW + HOUR,
            )
            assert await stores.users.find(registration.id) == user
            assert await stores.users.find_by_address(registration.address.key) == user
            (summary,) = await list_users(stores, Window())
            assert (summary.id, summary.is_pending, summary.is_active) == (registration.id, False, True)

    @clause
    async def test_9_a_used_link_stays_recognisable_and_the_others_become_invalid(self) -> None:
        async with self.open(UNLIMITED) as stores:
            used, other = make_registration(username="Ada"), make_registration(username="Eve")
            for registration in (used, other):
                await stores.users.register(registration, NOW)
            links = await due_links(stores, NOW)
            user = await activate(stores, links[used.id], NOW)
            again = await stores.users.activate(used.id, links[used.id].token_hash, NOW + HOUR)
            assert (again.user, again.is_new) == (user, False)
            assert await is_used(stores, links[used.id], NOW + HOUR)
            for call in (stores.users.find_activation_link, stores.users.activate):
                await assert_raises(InvalidLink, call(other.id, links[other.id].token_hash, NOW))
            assert await usernames_at(stores, user.address.key) == ["Ada"]

    @clause
    async def test_9_a_new_password_replaces_that_of_the_registration_and_is_required_if_there_are_others(self) -> None:
        async with self.open(UNLIMITED) as stores:
            foreign, own = make_registration(username="Eve"), make_registration(username="Ada")
            for registration in (foreign, own):
                await stores.users.register(registration, NOW)
            link = (await due_links(stores, NOW))[foreign.id]
            await assert_raises(PasswordRequired, stores.users.activate(link.uid, link.token_hash, NOW))
            assert await stores.users.find_by_address("ada@example.com") is None
            result = await stores.users.activate(link.uid, link.token_hash, NOW, password_hash=NEW_HASH)
            assert (result.user.id, result.user.password_hash) == (foreign.id, NEW_HASH)
            assert await stores.users.find(foreign.id) == result.user

    @clause
    async def test_9_of_concurrent_uses_of_a_link_one_activates(self) -> None:
        async with self.open(UNLIMITED) as stores:
            await stores.users.register(make_registration(), NOW)
            (link,) = (await due_links(stores, NOW)).values()
            results = await asyncio.gather(*(stores.users.activate(link.uid, link.token_hash, NOW) for _ in range(20)))
            assert [result.is_new for result in results].count(True) == 1
            assert len({result.user.id for result in results}) == 1

    @clause
    async def test_9_a_delayed_activation_email_is_dropped_after_activation(self) -> None:
        async with self.open(UNLIMITED) as stores:
            await stores.users.register(make_registration(), NOW)
            (link,) = (await due_links(stores, NOW)).values()
            await stores.users.request_mail(MailKind.ACTIVATION_RENEWAL, "ada@example.com", NOW + MINUTE)
            await stores.users.activate(link.uid, link.token_hash, NOW + MINUTE)
            assert not await list_mail(stores, Window(), MailState.PENDING)

    @clause
    async def test_10_a_link_is_rejected_with_another_uid_or_purpose_or_after_expiry(self) -> None:
        async with self.open(UNLIMITED) as stores:
            user, used = await create_user(stores, "eve@example.com", "Eve")
            reset = await request_reset_link(stores, user, NOW)
            first, other = make_registration(username="Ada"), make_registration(username="Bob")
            for registration in (first, other):
                await stores.users.register(registration, NOW)
            links = await due_links(stores, NOW)
            for call in (stores.users.find_activation_link, stores.users.activate):
                await assert_raises(InvalidLink, call(first.id, links[other.id].token_hash, NOW))
                await assert_raises(InvalidLink, call(first.id, random_hashes(1)[0], NOW))
                await assert_raises(InvalidLink, call(reset.uid, reset.token_hash, NOW))
                await assert_raises(InvalidLink, call(first.id, links[first.id].token_hash, NOW + LINK_TTL + MINUTE))
            resets: tuple[Callable[[str, str, datetime], Awaitable[object]], ...] = (
                stores.users.find_reset_user,
                self._reset(stores),
            )
            for reset_by in resets:
                await assert_raises(InvalidLink, reset_by(first.id, links[first.id].token_hash, NOW))
                await assert_raises(InvalidLink, reset_by(used.uid, used.token_hash, NOW))
            assert await can_activate(stores, links[first.id], NOW + LINK_TTL - MINUTE)

    @clause
    async def test_10_any_string_is_accepted_as_a_link(self) -> None:
        async with self.open(UNLIMITED) as stores:
            await stores.users.register(make_registration(), NOW)
            (link,) = (await due_links(stores, NOW)).values()
            calls: tuple[Callable[[str, str, datetime], Awaitable[object]], ...] = (
                stores.users.find_activation_link,
                stores.users.activate,
                stores.users.find_reset_user,
                self._reset(stores),
            )
            for odd in ODD_STRINGS:
                for call in calls:
                    await assert_raises(InvalidLink, call(odd, link.token_hash, NOW))
                    await assert_raises(InvalidLink, call(link.uid, odd, NOW))
                    await assert_raises(InvalidLink, call(odd, odd, NOW))

    @clause
    async def test_10_activation_fails_without_effect_if_the_username_is_taken(self) -> None:
        async with self.open(UNLIMITED) as stores:
            registration = make_registration("bob@example.com", "Ada")
            await stores.users.register(registration, NOW)
            (link,) = (await due_links(stores, NOW)).values()
            rival, _ = await create_user(stores, "ada@example.com", "ADA")
            await assert_raises(UsernameTaken, stores.users.activate(link.uid, link.token_hash, NOW))
            assert await stores.users.find_by_address("bob@example.com") is None
            await stores.users.change_profile(rival.id, username=Username("Eve", "eve"))
            assert (await stores.users.activate(link.uid, link.token_hash, NOW)).is_new

    @clause
    async def test_11_reading_a_reset_link_returns_its_user_and_changes_nothing(self) -> None:
        async with self.open(UNLIMITED) as stores:
            user, _ = await create_user(stores)
            link = await request_reset_link(stores, user, NOW)
            assert link.uid == user.id
            for _ in range(2):
                assert await stores.users.find_reset_user(link.uid, link.token_hash, NOW) == user
            late = NOW + LINK_TTL + MINUTE
            await assert_raises(InvalidLink, stores.users.find_reset_user(link.uid, link.token_hash, late))
            await assert_raises(
                InvalidLink, stores.users.reset_password(link.uid, link.token_hash, "$made-up$late", late)
            )
            assert await stores.users.find(user.id) == user

    @clause
    async def test_12_a_password_reset_ends_all_sessions_and_its_link(self) -> None:
        async with self.open(UNLIMITED) as stores:
            user, _ = await create_user(stores)
            bystander, _ = await create_user(stores, "bob@example.com", "Bob")
            link = await request_reset_link(stores, user, NOW)
            own = [(await log_in(stores, user, NOW))[0].id for _ in range(3)]
            other, _ = await log_in(stores, bystander, NOW)
            ended = await stores.users.reset_password(link.uid, link.token_hash, NEW_HASH, NOW + MINUTE)
            assert sorted(ended) == sorted(own)
            assert not await stores.sessions.list_for_user(user.id)
            assert [session.id for session in await stores.sessions.list_for_user(bystander.id)] == [other.id]
            assert await stores.users.find(user.id) == replace(user, password_hash=NEW_HASH, last_login=NOW)
            await assert_raises(InvalidLink, stores.users.find_reset_user(link.uid, link.token_hash, NOW + MINUTE))
            await assert_raises(
                InvalidLink, stores.users.reset_password(link.uid, link.token_hash, "$made-up$2", NOW + MINUTE)
            )
            (notice,) = await deliver_due_mail(stores, NOW + MINUTE)
            assert (notice.kind, notice.recipient) == (MailKind.PASSWORD_CHANGED, user.address.spelling)
            assert not notice.links

    @clause
    async def test_12_a_password_reset_ends_all_reset_links(self) -> None:
        async with self.open(UNLIMITED) as stores:
            user, _ = await create_user(stores)
            links = [await request_reset_link(stores, user, NOW + n * MINUTE) for n in range(3)]
            later = NOW + HOUR
            await stores.users.reset_password(links[1].uid, links[1].token_hash, NEW_HASH, later)
            for link in links:
                await assert_raises(InvalidLink, stores.users.find_reset_user(link.uid, link.token_hash, later))

    @clause
    async def test_12_of_concurrent_uses_of_a_reset_link_one_succeeds(self) -> None:
        async with self.open(UNLIMITED) as stores:
            user, _ = await create_user(stores)
            link = await request_reset_link(stores, user, NOW)
            new = [f"$made-up${n}" for n in range(10)]
            results = await asyncio.gather(
                *(stores.users.reset_password(link.uid, link.token_hash, one, NOW) for one in new),
                return_exceptions=True,
            )
            assert sum(isinstance(result, InvalidLink) for result in results) == 9
            winner = next(n for n, result in enumerate(results) if not isinstance(result, BaseException))
            found = await stores.users.find(user.id)
            assert found is not None
            assert found.password_hash == new[winner]

    @clause
    async def test_13_and_14_a_user_is_found_by_id_and_address(self) -> None:
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
    async def test_15_a_changed_password_ends_the_other_sessions_and_reset_links(self) -> None:
        async with self.open(UNLIMITED) as stores:
            user, _ = await create_user(stores)
            link = await request_reset_link(stores, user, NOW)
            here, others = await log_in(stores, user, NOW), [await log_in(stores, user, NOW) for _ in range(2)]
            ended = await stores.users.change_password(
                user.id, user.password_hash, NEW_HASH, except_session_id=here[0].id, now=NOW
            )
            assert sorted(ended or ()) == sorted(session.id for session, _ in others)
            assert [session.id for session in await stores.sessions.list_for_user(user.id)] == [here[0].id]
            await assert_raises(InvalidLink, stores.users.find_reset_user(link.uid, link.token_hash, NOW))
            changed = await stores.users.find(user.id)
            assert changed is not None
            assert changed.password_hash == NEW_HASH
            (notice,) = await deliver_due_mail(stores, NOW)
            assert (notice.kind, notice.recipient) == (MailKind.PASSWORD_CHANGED, user.address.spelling)

    @clause
    async def test_15_a_wrong_old_hash_changes_nothing(self) -> None:
        async with self.open(UNLIMITED) as stores:
            user, _ = await create_user(stores)
            session, _ = await log_in(stores, user, NOW)
            change = stores.users.change_password
            assert await change(user.id, "$made-up$wrong", NEW_HASH, except_session_id="", now=NOW) is None
            assert await change(new_id(), user.password_hash, NEW_HASH, except_session_id="", now=NOW) is None
            assert await stores.sessions.is_live(session.id)
            assert not await deliver_due_mail(stores, NOW)
            found = await stores.users.find(user.id)
            assert found is not None
            assert found.password_hash == user.password_hash

    @clause
    async def test_15_of_concurrent_password_changes_one_succeeds(self) -> None:
        async with self.open(UNLIMITED) as stores:
            user, _ = await create_user(stores)
            results = await asyncio.gather(
                *(
                    stores.users.change_password(
                        user.id, user.password_hash, f"$made-up${n}", except_session_id="", now=NOW
                    )
                    for n in range(10)
                )
            )
            assert [result is None for result in results].count(False) == 1

    @clause
    async def test_16_only_the_given_fields_of_a_profile_change(self) -> None:
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
    async def test_16_of_concurrent_changes_to_a_username_one_succeeds(self) -> None:
        async with self.open(UNLIMITED) as stores:
            users = [(await create_user(stores, f"u{n}@example.com", f"User {n}"))[0] for n in range(6)]
            results = await asyncio.gather(
                *(stores.users.change_profile(user.id, username=Username("Star", "star")) for user in users),
                return_exceptions=True,
            )
            assert sum(isinstance(result, User) for result in results) == 1
            assert sum(isinstance(result, UsernameTaken) for result in results) == 5

    @clause
    async def test_17_deactivation_ends_all_sessions(self) -> None:
        async with self.open(UNLIMITED) as stores:
            user, _ = await create_user(stores)
            session, refresh_hash = await log_in(stores, user, NOW)
            assert list(await stores.users.set_active(user.address.key, False, NOW)) == [session.id]
            found = await stores.users.find(user.id)
            assert found is not None
            assert not found.is_active
            assert not await stores.sessions.is_live(session.id)
            assert await stores.sessions.rotate(refresh_hash, random_hashes(1), NOW, NOW + DAY) is None
            await stores.users.request_mail(MailKind.PASSWORD_RESET, user.address.key, NOW)
            assert not await deliver_due_mail(stores, NOW)
            assert list(await stores.users.set_active(user.address.key, True, NOW)) == []
            found = await stores.users.find(user.id)
            assert found is not None
            assert found.is_active

    @clause
    async def test_17_a_pending_address_is_activated_from_its_newest_registration(self) -> None:
        async with self.open(UNLIMITED) as stores:
            older = make_registration(username="Older")
            newer = make_registration("ADA@example.com", "Newer", at=NOW + MINUTE)
            await stores.users.register(newer, NOW + MINUTE)
            await stores.users.register(older, NOW)
            links = await due_links(stores, NOW + MINUTE)
            await assert_raises(UserNotFound, stores.users.set_active("ada@example.com", False, NOW))
            await stores.users.set_active("ada@example.com", True, NOW + HOUR)
            user = await stores.users.find_by_address("ada@example.com")
            assert user is not None
            assert (user.id, user.address, user.is_active) == (newer.id, newer.address, True)
            assert await usernames_at(stores, "ada@example.com") == ["Newer"]
            await assert_raises(InvalidLink, stores.users.activate(older.id, links[older.id].token_hash, NOW + HOUR))

    @clause
    async def test_17_activation_of_an_unknown_address_or_taken_username_fails(self) -> None:
        async with self.open(UNLIMITED) as stores:
            await stores.users.register(make_registration("bob@example.com", "Ada"), NOW)
            await create_user(stores, "ada@example.com", "Ada")
            await assert_raises(UsernameTaken, stores.users.set_active("bob@example.com", True, NOW))
            for odd in (*ODD_STRINGS, "nobody@example.com"):
                for is_active in (True, False):
                    await assert_raises(UserNotFound, stores.users.set_active(odd, is_active, NOW))

    @clause
    async def test_18_only_users_can_be_staff(self) -> None:
        async with self.open(UNLIMITED) as stores:
            user, _ = await create_user(stores)
            for is_staff in (True, False):
                await stores.users.set_staff(user.address.key, is_staff)
                found = await stores.users.find(user.id)
                assert found is not None
                assert found.is_staff is is_staff
            await stores.users.register(make_registration("bob@example.com", "Bob"), NOW)
            for odd in (*ODD_STRINGS, "bob@example.com"):
                await assert_raises(UserNotFound, stores.users.set_staff(odd, True))

    @clause
    async def test_19_users_are_listed_newest_first_and_filtered_by_address(self) -> None:
        async with self.open(UNLIMITED) as stores:
            await create_user(stores, "ada@example.com", "Ada", at=NOW)
            for n in range(1, 6):
                at = NOW + n * MINUTE
                await stores.users.register(make_registration(f"u{n % 2}@example.com", f"User {n}", at=at), at)
            all_names = [user.username.shown for user in await list_users(stores, Window())]
            assert all_names == ["User 5", "User 4", "User 3", "User 2", "User 1", "Ada"]
            page = [user.username.shown for user in await list_users(stores, Window(1, 3))]
            assert page == all_names[1:4]
            assert await stores.users.list_users(Window(6, 3)) == (6, [])
            assert await usernames_at(stores, "u1@example.com") == ["User 5", "User 3", "User 1"]
            for odd in ODD_STRINGS:
                assert await stores.users.list_users(Window(), odd) == (0, [])

    @clause
    async def test_19_users_created_at_the_same_time_are_ordered_by_id(self) -> None:
        async with self.open(UNLIMITED) as stores:
            for n in range(4):
                await stores.users.register(make_registration(f"u{n}@example.com", f"User {n}"), NOW)
                await create_user(stores, f"v{n}@example.com", f"Voter {n}")
            all_ids = [user.id for user in await list_users(stores, Window())]
            assert all_ids == sorted(all_ids)
            assert [(await list_users(stores, Window(n, 1)))[0].id for n in range(8)] == all_ids

    @clause
    async def test_19_users_are_filtered_by_state(self) -> None:
        async with self.open(UNLIMITED) as stores:
            for n, name in enumerate(("plain", "staff", "gone", "gone staff")):
                user, _ = await create_user(stores, f"u{n}@example.com", name, at=NOW + n * MINUTE)
                if "staff" in name:
                    await stores.users.set_staff(user.address.key, True)
                if "gone" in name:
                    await stores.users.set_active(user.address.key, False, NOW)
            await stores.users.register(make_registration("u0@example.com", "decoy", at=NOW + HOUR), NOW + HOUR)
            await stores.users.register(make_registration("u9@example.com", "waits", at=NOW + HOUR), NOW + HOUR)
            expected = {
                None: ["waits", "gone staff", "gone", "staff", "plain"],
                UserState.ACCOUNT: ["gone staff", "gone", "staff", "plain"],
                UserState.ACTIVE: ["staff", "plain"],
                UserState.INACTIVE: ["gone staff", "gone"],
                UserState.STAFF: ["gone staff", "staff"],
                UserState.PENDING: ["waits"],
            }
            for state, names in expected.items():
                total, users = await stores.users.list_users(Window(limit=1), state=state)
                assert (total, [summary.username.shown for summary in users]) == (len(names), names[:1])
                listed = await list_users(stores, Window(), state=state)
                assert [summary.username.shown for summary in listed] == names

    @clause
    async def test_19_a_search_matches_substrings_of_addresses_and_usernames(self) -> None:
        async with self.open(UNLIMITED) as stores:
            await create_user(stores, "Ada.L@Bücher.example", "Straße 1", at=NOW)
            await create_user(stores, "bob_1@example.com", "Éva", at=NOW + MINUTE)
            await stores.users.register(make_registration("bobx1@example.com", "100%"), NOW + HOUR)
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
                total, matches = await stores.users.list_users(Window(), search=search)
                assert total == len(names), search
                assert sorted(user.username.shown for user in matches) == sorted(names), search
            (pending,) = await list_users(stores, Window(), search="BOB", state=UserState.PENDING)
            assert pending.username.shown == "100%"
            assert await stores.users.list_users(Window(), "bob_1@example.com", search="ada") == (0, [])
            for odd in set(ODD_STRINGS) - {"", "%"}:
                assert await stores.users.list_users(Window(), search=odd) == (0, [])

    @clause
    async def test_20_an_export_contains_all_data_except_secrets(self) -> None:
        async with self.open(UNLIMITED) as stores:
            user, link = await create_user(stores)
            _, refresh_hash = await log_in(stores, user, NOW, device="Ada's phone", network="192.0.2.1")
            reset = await request_reset_link(stores, user, NOW)
            await stores.users.request_mail(MailKind.PASSWORD_RESET, user.address.key, NOW)
            pending = make_registration("bob@example.com", "Bob")
            await stores.users.register(pending, NOW)
            export = await stores.users.export(user.address.key)
            assert set(export) == {"account", "registrations", "sessions", "login_networks", "mails"}
            assert export["account"]["id"] == user.id
            assert export["account"]["email"] == user.address.spelling
            assert export["account"]["username"] == "Ada"
            assert [session["device"] for session in export["sessions"]] == ["Ada's phone"]
            assert [one["network"] for one in export["login_networks"]] == ["192.0.2.1"]
            assert len(export["mails"]) == 3
            other = await stores.users.export("bob@example.com")
            assert (other["account"], other["sessions"]) == (None, [])
            assert [one["username"] for one in other["registrations"]] == ["Bob"]
            assert len(other["mails"]) == 1
            (claimed,) = await stores.outbox.claim("dispatcher", NOW, 1, MAIL_LEASE)
            text = json.dumps([export, other], allow_nan=False)
            secrets = [user.password_hash, pending.password_hash, refresh_hash, link.token_hash, reset.token_hash]
            secrets += [
                secret
                for issued in (link, reset, *claimed.links)
                for secret in (issued.token_hash, issued.encrypted_token)
            ]
            assert not [secret for secret in secrets if secret in text]

    @clause
    async def test_20_the_export_of_an_unknown_address_is_empty(self) -> None:
        async with self.open(UNLIMITED) as stores:
            for odd in ODD_STRINGS:
                export = await stores.users.export(odd)
                assert set(export) == {"account", "registrations", "sessions", "login_networks", "mails"}
                assert not any(export.values())

    @clause
    async def test_21_erasing_an_address_deletes_all_its_data(self) -> None:
        async with self.open(UNLIMITED) as stores:
            user, link = await create_user(stores)
            bystander, _ = await create_user(stores, "bob@example.com", "Bob")
            reset = await request_reset_link(stores, user, NOW)
            session, refresh_hash = await log_in(stores, user, NOW)
            await stores.users.register(make_registration(username="Eve"), NOW)
            await stores.users.request_mail(MailKind.PASSWORD_RESET, user.address.key, NOW)
            (leased,) = [
                mail
                for mail in await stores.outbox.claim("dispatcher", NOW, 10, MAIL_LEASE)
                if mail.kind is MailKind.ADDRESS_TAKEN
            ]
            assert list(await stores.users.erase(user.address.key, NOW)) == [session.id]
            assert await stores.users.find(user.id) is None
            export = await stores.users.export(user.address.key)
            assert [export[part] for part in ("account", "registrations", "sessions")] == [None, [], []]
            assert [mail["kind"] for mail in export["mails"]] == [MailKind.ACCOUNT_ERASED]
            assert not await stores.sessions.is_live(session.id)
            assert session.id in await stores.sessions.ended_since(NOW)
            assert await stores.sessions.rotate(refresh_hash, random_hashes(1), NOW, NOW + DAY) is None
            await assert_raises(InvalidLink, stores.users.find_activation_link(link.uid, link.token_hash, NOW))
            await assert_raises(InvalidLink, stores.users.find_reset_user(reset.uid, reset.token_hash, NOW))
            assert not await stores.outbox.complete("dispatcher", replace(leased, state=MailState.SENT, sent_at=NOW))
            (notice,) = await deliver_due_mail(stores, NOW + HOUR)
            assert (notice.kind, notice.recipient) == (MailKind.ACCOUNT_ERASED, user.address.spelling)
            assert (await stores.users.export(user.address.key))["mails"] == []
            assert list(await stores.users.erase(user.address.key, NOW)) == []
            assert not await deliver_due_mail(stores, NOW + HOUR)
            assert [summary.id for summary in await list_users(stores, Window())] == [bystander.id]
            await create_user(stores, at=NOW + HOUR)

    @clause
    async def test_21_a_pending_address_can_be_erased(self) -> None:
        async with self.open(UNLIMITED) as stores:
            await stores.users.register(make_registration(), NOW)
            (link,) = (await due_links(stores, NOW)).values()
            await stores.users.register(make_registration(username="Eve"), NOW)
            assert list(await stores.users.erase("ada@example.com", NOW)) == []
            assert not await list_users(stores, Window())
            assert not await list_mail(stores, Window())
            await assert_raises(InvalidLink, stores.users.activate(link.uid, link.token_hash, NOW))
            for odd in ODD_STRINGS:
                assert list(await stores.users.erase(odd, NOW)) == []

    @clause
    async def test_22_a_purge_leaves_data_in_use(self) -> None:
        async with self.open(UNLIMITED) as stores:
            user, link = await create_user(stores)
            session, refresh_hash = await log_in(stores, user, NOW)
            await stores.users.register(make_registration("bob@example.com", "Bob"), NOW)
            await deliver_due_mail(stores, NOW)
            assert await stores.users.purge(NOW + HOUR) == 0
            assert await is_used(stores, link, NOW)
            assert await stores.sessions.rotate(refresh_hash, random_hashes(1), NOW + HOUR, NOW + 5 * DAY) is not None
            await stores.users.purge(NOW + LINK_TTL + 6 * DAY)
            assert await usernames_at(stores, "bob@example.com") == ["Bob"]
            assert not await stores.sessions.is_live(session.id)

    @clause
    async def test_22_registrations_are_purged_7_days_after_their_link_unless_an_email_is_pending(self) -> None:
        async with self.open(UNLIMITED) as stores:
            _, used = await create_user(stores)
            for name in ("sent", "stuck"):
                await stores.users.register(make_registration(f"{name}@example.com", name), NOW)
            for mail in await stores.outbox.claim("dispatcher", NOW, 10, MAIL_LEASE):
                if mail.recipient.startswith("sent"):
                    await stores.outbox.complete("dispatcher", replace(mail, state=MailState.SENT, sent_at=NOW))
                else:
                    await stores.outbox.complete("dispatcher", replace(mail, due_at=NOW + 60 * DAY))
            late = NOW + LINK_TTL + 7 * DAY + MINUTE
            assert await stores.users.purge(late) > 0
            assert await stores.users.purge(late) == 0
            assert {summary.username.shown for summary in await list_users(stores, Window())} == {"Ada", "stuck"}
            await assert_raises(InvalidLink, stores.users.find_activation_link(used.uid, used.token_hash, late))
            (mail,) = await deliver_due_mail(stores, NOW + 60 * DAY)
            assert await can_activate(stores, mail.links[0], NOW + 60 * DAY)

    @clause
    async def test_22_sent_emails_are_purged_after_30_days(self) -> None:
        async with self.open(UNLIMITED) as stores:
            user, _ = await create_user(stores)
            await stores.users.purge(NOW + 29 * DAY)
            assert len(await list_mail(stores, Window(), MailState.SENT)) == 1
            assert await stores.users.purge(NOW + 30 * DAY + MINUTE) > 0
            assert not await list_mail(stores, Window())
            assert (await stores.users.export(user.address.key))["mails"] == []

    @clause
    async def test_22_records_of_ended_sessions_are_purged_after_a_day(self) -> None:
        async with self.open(UNLIMITED) as stores:
            user, _ = await create_user(stores)
            session, _ = await log_in(stores, user, NOW)
            await stores.sessions.end(user.id, NOW)
            await stores.users.purge(NOW + DAY - MINUTE)
            assert session.id in await stores.sessions.ended_since(NOW)
            assert await stores.users.purge(NOW + DAY + MINUTE) > 0
            assert session.id not in await stores.sessions.ended_since(NOW)
            assert not await stores.sessions.is_live(session.id)

    @clause
    async def test_23_a_user_or_registration_is_found_by_id(self) -> None:
        async with self.open(UNLIMITED) as stores:
            user, _ = await create_user(stores)
            pending = make_registration("bob@example.com", "Bob")
            await stores.users.register(pending, NOW)
            decoy = make_registration("ada@example.com", "Someone")
            await stores.users.register(decoy, NOW)
            for summary in await list_users(stores, Window()):
                assert await stores.users.find_summary(summary.id) == summary
            found = [await stores.users.find_summary(one) for one in (user.id, pending.id)]
            assert [summary and summary.is_pending for summary in found] == [False, True]
            for odd in (*ODD_STRINGS, new_id(), decoy.id):
                assert await stores.users.find_summary(odd) is None

    @staticmethod
    def _reset(stores: AccountStores) -> Callable[[str, str, datetime], Awaitable[object]]:
        return lambda uid, hashed, now: stores.users.reset_password(uid, hashed, "$made-up$reset", now)
