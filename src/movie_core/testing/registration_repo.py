"""Contract of the `RegistrationRepo` port."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime, timedelta

from movie_core.accounts.keyring import new_id, token_hash
from movie_core.accounts.outbox import MAX_LINKS, MailKind, MailState
from movie_core.accounts.users import MAX_PENDING, REPEAT, ActivationLink, ActivationResult, User, Username, UserSummary
from movie_core.errors import InvalidLink, PasswordRequired, UsernameTaken
from movie_core.paging import Window
from movie_core.testing.account_fixtures import (
    LIMITED,
    LINK_TTL,
    MAIL_LEASE,
    NEW_HASH,
    UNLIMITED,
    AccountStoresContract,
    activate,
    can_activate,
    create_user,
    deliver_due_mail,
    due_links,
    is_used,
    list_mail,
    list_users,
    make_address,
    make_registration,
    random_hashes,
    request_mail,
    request_reset_link,
    usernames_at,
)
from movie_core.testing.shared import HOUR, MINUTE, NOW, ODD_STRINGS, assert_raises, clause


class RegistrationRepoContract(AccountStoresContract):
    """Contract of every `RegistrationRepo`. The numbers in test names are the clauses of the port."""

    @clause
    async def test_1_of_concurrent_activations_of_a_username_one_succeeds(self) -> None:
        async with self.open(UNLIMITED) as stores:
            registrations = [make_registration(f"ada{n}@example.com", ("ADA", "ada", "Ada")[n % 3]) for n in range(9)]
            await asyncio.gather(*(stores.registrations.register(registration, NOW) for registration in registrations))
            links = await due_links(stores, NOW)
            assert len(links) == 9
            results = await asyncio.gather(
                *(stores.registrations.activate(link.uid, link.token_hash, NOW) for link in links.values()),
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
            await asyncio.gather(*(stores.registrations.register(registration, NOW) for registration in registrations))
            links = await due_links(stores, NOW)
            assert len(links) == 9
            results = await asyncio.gather(
                *(
                    stores.registrations.activate(link.uid, link.token_hash, NOW, password_hash=NEW_HASH)
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
            await stores.registrations.register(make_registration("ada@example.com", "Ada"), NOW)
            await stores.registrations.register(make_registration("bob@example.com", "ADA"), NOW)
            assert len(await list_users(stores, Window())) == 2

    @clause
    async def test_2_a_registration_is_stored_with_one_email_and_one_link(self) -> None:
        async with self.open(UNLIMITED) as stores:
            registration = make_registration("Ada@example.com", "Ada")
            await stores.registrations.register(registration, NOW)
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
            token = stores.keyring.decrypt_token(link.encrypted_token, link.token_hash)
            assert token is not None
            assert token_hash(token) == link.token_hash

    @clause
    async def test_2_another_registration_leaves_earlier_links_valid(self) -> None:
        async with self.open(UNLIMITED) as stores:
            first, second = make_registration(username="Ada"), make_registration(username="Eve")
            await stores.registrations.register(first, NOW)
            await stores.registrations.register(second, NOW + MINUTE)
            links = await due_links(stores, NOW + MINUTE)
            assert set(links) == {first.id, second.id}
            for link in links.values():
                assert await can_activate(stores, link, NOW + MINUTE)

    @clause
    async def test_2_only_the_owner_of_a_taken_address_is_notified(self) -> None:
        async with self.open(UNLIMITED) as stores:
            user, _ = await create_user(stores, "Ada@example.com", "Ada")
            decoy = make_registration("ADA@example.com", "Eve", at=NOW + MINUTE)
            await stores.registrations.register(decoy, NOW + MINUTE)
            (mail,) = await deliver_due_mail(stores, NOW + MINUTE)
            assert (mail.kind, mail.recipient, mail.links) == (MailKind.ADDRESS_TAKEN, "Ada@example.com", ())
            assert await stores.users.find_by_address(user.address.key) == user
            assert await usernames_at(stores, user.address.key) == ["Ada"]
            assert not (await stores.data.export(user.address.key)).registrations
            assert await stores.users.find(decoy.id) is None
            await request_mail(stores, MailKind.ACTIVATION_RENEWAL, user.address.key, NOW + HOUR)
            assert not await deliver_due_mail(stores, NOW + HOUR)
            await stores.data.erase(user.address.key, NOW + HOUR)
            assert not await list_users(stores, Window())

    @clause
    async def test_2_staff_cannot_activate_a_decoy(self) -> None:
        async with self.open(UNLIMITED) as stores:
            user, _ = await create_user(stores, "ada@example.com", "Ada")
            await stores.users.set_active(user.address.key, False, NOW)
            await stores.registrations.register(make_registration("ada@example.com", "Eve"), NOW + MINUTE)
            await stores.users.set_active(user.address.key, True, NOW + MINUTE)
            assert await stores.users.find_by_address(user.address.key) == user

    @clause
    async def test_3_the_username_of_a_user_is_taken_for_any_address(self) -> None:
        async with self.open(UNLIMITED) as stores:
            await create_user(stores, "ada@example.com", "Ada")
            for spelling in ("bob@example.com", "ada@example.com"):
                await assert_raises(
                    UsernameTaken, stores.registrations.register(make_registration(spelling, "ADA"), NOW + HOUR)
                )
            assert len(await list_users(stores, Window())) == 1
            assert not await deliver_due_mail(stores, NOW + HOUR)

    @clause
    async def test_3_a_username_confusable_with_that_of_a_user_is_taken(self) -> None:
        async with self.open(UNLIMITED) as stores:
            await stores.registrations.register(make_registration("bob@example.com", "paypa1", skeleton="paypal"), NOW)
            (pending_link,) = (await due_links(stores, NOW)).values()
            registration = make_registration("ada@example.com", "paypal", skeleton="paypal")
            await stores.registrations.register(registration, NOW)
            (link,) = (await due_links(stores, NOW)).values()
            user = await activate(stores, link, NOW)
            assert user.username == registration.username
            again = make_registration("eve@example.com", "PAYPAI", skeleton="paypal")
            await assert_raises(UsernameTaken, stores.registrations.register(again, NOW))
            await assert_raises(
                UsernameTaken, stores.registrations.activate(pending_link.uid, pending_link.token_hash, NOW)
            )
            other, _ = await create_user(stores, "dan@example.com", "Dan")
            alike = Username("PayPaI", "paypai", "paypal")
            await assert_raises(UsernameTaken, stores.users.change_profile(other.id, username=alike))
            renamed = await stores.users.change_profile(user.id, username=alike)
            assert renamed.username == alike

    @clause
    async def test_4_a_repeated_registration_is_stored_once(self) -> None:
        async with self.open(UNLIMITED) as stores:
            first = make_registration("Ada@example.com", "Ada")
            await stores.registrations.register(first, NOW)
            for later in (timedelta(0), REPEAT):
                again = replace(first, id=new_id(), address=make_address("ADA@Example.com"), created_at=NOW + later)
                await stores.registrations.register(again, NOW + later)
            assert len(await list_users(stores, Window())) == 1
            assert len(await deliver_due_mail(stores, NOW + REPEAT)) == 1
            late = NOW + REPEAT + timedelta(seconds=1)
            await stores.registrations.register(replace(first, id=new_id(), created_at=late), late)
            assert len(await list_users(stores, Window())) == 2

    @clause
    async def test_4_a_different_password_username_or_mailbox_makes_another_registration(self) -> None:
        async with self.open(UNLIMITED) as stores:
            first = make_registration("strasse@example.com", "Ada")
            others = (
                replace(first, id=new_id(), password_hash=NEW_HASH),
                replace(first, id=new_id(), username=Username("Eve", "eve")),
                replace(first, id=new_id(), address=make_address("straße@example.com")),
            )
            for registration in (first, *others):
                await stores.registrations.register(registration, NOW)
            assert len(await list_users(stores, Window(), first.address.key)) == 4

    @clause
    async def test_4_fifty_identical_concurrent_registrations_are_stored_once(self) -> None:
        async with self.open(UNLIMITED) as stores:
            first = make_registration()
            await asyncio.gather(*(stores.registrations.register(replace(first, id=new_id()), NOW) for _ in range(50)))
            assert len(await list_users(stores, Window(limit=100))) == 1
            assert len(await deliver_due_mail(stores, NOW)) == 1

    @clause
    async def test_4_a_repeated_decoy_notifies_the_owner_once(self) -> None:
        async with self.open(UNLIMITED) as stores:
            await create_user(stores, "ada@example.com", "Ada")
            decoy = make_registration("ada@example.com", "Eve", at=NOW + MINUTE)
            for _ in range(2):
                await stores.registrations.register(replace(decoy, id=new_id()), NOW + MINUTE)
            assert len(await deliver_due_mail(stores, NOW + MINUTE)) == 1

    @clause
    async def test_5_only_the_newest_registrations_of_an_address_are_stored(self) -> None:
        async with self.open(LIMITED) as stores:
            for n in range(MAX_PENDING + 3):
                at = NOW + timedelta(seconds=n)
                await stores.registrations.register(make_registration(username=f"Ada {n}", at=at), at)
            summaries = await list_users(stores, Window(limit=100), "ada@example.com")
            assert [summary.username.shown for summary in summaries] == [
                f"Ada {n}" for n in range(MAX_PENDING + 2, 2, -1)
            ]
            (delayed,) = [mail for mail in await deliver_due_mail(stores, NOW + 2 * HOUR) if len(mail.links) > 1]
            assert {link.uid for link in delayed.links} == {summary.id for summary in summaries[:MAX_LINKS]}

    @clause
    async def test_5_registrations_of_one_network_do_not_evict_those_of_another(self) -> None:
        async with self.open(UNLIMITED) as stores:
            own = make_registration(username="Owner", requested_from="192.0.2.0/24")
            await stores.registrations.register(own, NOW)
            for n in range(MAX_PENDING + 5):
                at = NOW + timedelta(seconds=n)
                foreign = make_registration(username=f"Eve {n}", at=at, requested_from=f"198.51.100.{n % 3}")
                await stores.registrations.register(foreign, at)
            summaries = await list_users(stores, Window(limit=100), own.address.key)
            assert len(summaries) == MAX_PENDING
            assert own.id in {summary.id for summary in summaries}
            link = (await due_links(stores, NOW + MINUTE))[own.id]
            assert (await activate(stores, link, NOW + MINUTE)).id == own.id

    @clause
    async def test_6_new_links_can_be_requested_for_any_address(self) -> None:
        async with self.open(UNLIMITED) as stores:
            await stores.registrations.request_activation("nobody@example.com", NOW)
            (pending,) = await list_mail(stores, Window())
            assert (pending.kind, pending.recipient, pending.due_at, pending.state) == (
                MailKind.ACTIVATION_RENEWAL,
                "",
                NOW,
                MailState.PENDING,
            )

    @clause
    async def test_6_a_pending_request_for_new_links_is_replaced(self) -> None:
        async with self.open(UNLIMITED) as stores:
            await stores.registrations.register(make_registration(), NOW)
            await deliver_due_mail(stores, NOW)
            key, later = "ada@example.com", NOW + MINUTE
            await asyncio.gather(*(stores.registrations.request_activation(key, NOW) for _ in range(20)))
            await stores.registrations.request_activation(key, later)
            await stores.registrations.request_activation(key, later, requested_from="192.0.2.0/24")
            pending = await list_mail(stores, Window(), MailState.PENDING)
            assert [mail.due_at for mail in pending] == [later, later]

    @clause
    async def test_7_reading_a_link_changes_nothing(self) -> None:
        async with self.open(UNLIMITED) as stores:
            await stores.registrations.register(make_registration(), NOW)
            (link,) = (await due_links(stores, NOW)).values()
            for _ in range(3):
                assert await can_activate(stores, link, NOW)
            assert await stores.users.find_by_address("ada@example.com") is None
            await stores.registrations.activate(link.uid, link.token_hash, NOW)
            assert await is_used(stores, link, NOW)

    @clause
    async def test_7_a_link_returns_its_registration_and_whether_it_is_the_only_one(self) -> None:
        async with self.open(UNLIMITED) as stores:
            registration = make_registration(requested_from="192.0.2.0/24")
            await stores.registrations.register(registration, NOW)
            (link,) = (await due_links(stores, NOW)).values()
            assert await stores.registrations.find_activation_link(link.uid, link.token_hash, NOW) == ActivationLink(
                registration, is_only=True
            )
            later = NOW + REPEAT + MINUTE
            again = replace(registration, id=new_id(), address=make_address("ADA@Example.com"), created_at=later)
            await stores.registrations.register(again, later)
            assert (await stores.registrations.find_activation_link(link.uid, link.token_hash, later)).is_only
            for other in (
                make_registration(),
                make_registration(username="Eve", password_hash=registration.password_hash),
            ):
                await stores.registrations.register(other, later)
                assert not (await stores.registrations.find_activation_link(link.uid, link.token_hash, later)).is_only

    @clause
    async def test_8_the_user_has_the_data_of_the_registration(self) -> None:
        async with self.open(UNLIMITED) as stores:
            registration = make_registration("Ada@example.com", "Ada L")
            await stores.registrations.register(registration, NOW)
            (link,) = (await due_links(stores, NOW)).values()
            activated = await stores.registrations.activate(link.uid, link.token_hash, NOW + HOUR)
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
    async def test_8_a_used_link_stays_recognisable_and_the_others_become_invalid(self) -> None:
        async with self.open(UNLIMITED) as stores:
            used, other = make_registration(username="Ada"), make_registration(username="Eve")
            for registration in (used, other):
                await stores.registrations.register(registration, NOW)
            links = await due_links(stores, NOW)
            user = await activate(stores, links[used.id], NOW)
            again = await stores.registrations.activate(used.id, links[used.id].token_hash, NOW + HOUR)
            assert (again.user, again.is_new) == (user, False)
            assert await is_used(stores, links[used.id], NOW + HOUR)
            for call in (stores.registrations.find_activation_link, stores.registrations.activate):
                await assert_raises(InvalidLink, call(other.id, links[other.id].token_hash, NOW))
            assert await usernames_at(stores, user.address.key) == ["Ada"]

    @clause
    async def test_8_a_new_password_replaces_that_of_the_registration_and_is_required_if_there_are_others(self) -> None:
        async with self.open(UNLIMITED) as stores:
            foreign, own = make_registration(username="Eve"), make_registration(username="Ada")
            for registration in (foreign, own):
                await stores.registrations.register(registration, NOW)
            link = (await due_links(stores, NOW))[foreign.id]
            await assert_raises(PasswordRequired, stores.registrations.activate(link.uid, link.token_hash, NOW))
            assert await stores.users.find_by_address("ada@example.com") is None
            result = await stores.registrations.activate(link.uid, link.token_hash, NOW, password_hash=NEW_HASH)
            assert (result.user.id, result.user.password_hash) == (foreign.id, NEW_HASH)
            assert await stores.users.find(foreign.id) == result.user

    @clause
    async def test_8_of_concurrent_uses_of_a_link_one_activates(self) -> None:
        async with self.open(UNLIMITED) as stores:
            await stores.registrations.register(make_registration(), NOW)
            (link,) = (await due_links(stores, NOW)).values()
            results = await asyncio.gather(
                *(stores.registrations.activate(link.uid, link.token_hash, NOW) for _ in range(20))
            )
            assert [result.is_new for result in results].count(True) == 1
            assert len({result.user.id for result in results}) == 1

    @clause
    async def test_8_a_delayed_activation_email_is_dropped_after_activation(self) -> None:
        async with self.open(UNLIMITED) as stores:
            await stores.registrations.register(make_registration(), NOW)
            (link,) = (await due_links(stores, NOW)).values()
            await request_mail(stores, MailKind.ACTIVATION_RENEWAL, "ada@example.com", NOW + MINUTE)
            await stores.registrations.activate(link.uid, link.token_hash, NOW + MINUTE)
            assert not await list_mail(stores, Window(), MailState.PENDING)

    @clause
    async def test_9_a_link_is_rejected_with_another_uid_or_purpose_or_after_expiry(self) -> None:
        async with self.open(UNLIMITED) as stores:
            user, _ = await create_user(stores, "eve@example.com", "Eve")
            reset = await request_reset_link(stores, user, NOW)
            first, other = make_registration(username="Ada"), make_registration(username="Bob")
            for registration in (first, other):
                await stores.registrations.register(registration, NOW)
            links = await due_links(stores, NOW)
            for call in (stores.registrations.find_activation_link, stores.registrations.activate):
                await assert_raises(InvalidLink, call(first.id, links[other.id].token_hash, NOW))
                await assert_raises(InvalidLink, call(first.id, random_hashes(1)[0], NOW))
                await assert_raises(InvalidLink, call(reset.uid, reset.token_hash, NOW))
                await assert_raises(InvalidLink, call(first.id, links[first.id].token_hash, NOW + LINK_TTL + MINUTE))
            assert await can_activate(stores, links[first.id], NOW + LINK_TTL - MINUTE)

    @clause
    async def test_9_any_string_is_accepted_as_a_link(self) -> None:
        async with self.open(UNLIMITED) as stores:
            await stores.registrations.register(make_registration(), NOW)
            (link,) = (await due_links(stores, NOW)).values()
            calls: tuple[Callable[[str, str, datetime], Awaitable[object]], ...] = (
                stores.registrations.find_activation_link,
                stores.registrations.activate,
            )
            for odd in ODD_STRINGS:
                for call in calls:
                    await assert_raises(InvalidLink, call(odd, link.token_hash, NOW))
                    await assert_raises(InvalidLink, call(link.uid, odd, NOW))
                    await assert_raises(InvalidLink, call(odd, odd, NOW))

    @clause
    async def test_9_activation_fails_without_effect_if_the_username_is_taken(self) -> None:
        async with self.open(UNLIMITED) as stores:
            registration = make_registration("bob@example.com", "Ada")
            await stores.registrations.register(registration, NOW)
            (link,) = (await due_links(stores, NOW)).values()
            rival, _ = await create_user(stores, "ada@example.com", "ADA")
            await assert_raises(UsernameTaken, stores.registrations.activate(link.uid, link.token_hash, NOW))
            assert await stores.users.find_by_address("bob@example.com") is None
            await stores.users.change_profile(rival.id, username=Username("Eve", "eve"))
            assert (await stores.registrations.activate(link.uid, link.token_hash, NOW)).is_new

    @clause
    async def test_10_a_user_is_created_without_an_email(self) -> None:
        async with self.open(UNLIMITED) as stores:
            await stores.registrations.register(make_registration("ada@example.com", "Other"), NOW)
            (link,) = (await due_links(stores, NOW)).values()
            before = await list_mail(stores, Window())
            registration = make_registration("ada@example.com", "Ada")
            user = await stores.registrations.create_user(registration, NOW)
            assert user is not None
            assert (user.id, user.is_active, user.is_staff) == (registration.id, True, False)
            assert await stores.users.find_by_address(registration.address.key) == user
            assert await list_mail(stores, Window()) == before
            await assert_raises(InvalidLink, stores.registrations.activate(link.uid, link.token_hash, NOW))
            assert await stores.registrations.create_user(make_registration("ada@example.com", "Eve"), NOW) is None
            rival = make_registration("bob@example.com", "ADA")
            await assert_raises(UsernameTaken, stores.registrations.create_user(rival, NOW))
            assert await usernames_at(stores, "bob@example.com") == []
