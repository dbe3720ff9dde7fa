"""Contract of the `Outbox` port."""

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta

from movie_core.accounts.keyring import new_id
from movie_core.accounts.outbox import ALL_NETWORKS_FACTOR, MAX_LINKS, MailKind, MailRules, MailState
from movie_core.errors import InvalidLink
from movie_core.paging import Window
from movie_core.quotas import Rate
from movie_core.testing.account_fixtures import (
    LIMITED,
    LINK_TTL,
    MAIL_LEASE,
    NEW_HASH,
    UNLIMITED,
    AccountStoresContract,
    can_activate,
    create_user,
    deliver_due_mail,
    due_links,
    link_usernames,
    list_mail,
    list_users,
    log_in,
    make_address,
    make_registration,
    request_mail,
    request_reset_link,
)
from movie_core.testing.shared import DAY, HOUR, MINUTE, NOW, ODD_STRINGS, assert_raises, clause


class OutboxContract(AccountStoresContract):
    """Contract of every `Outbox`. The numbers in test names are the clauses of the port."""

    @clause
    async def test_1_an_address_gets_at_most_the_limit_in_any_window(self) -> None:
        async with self.open(LIMITED) as stores:
            sent: list[datetime] = []
            for n in range(40):
                at = NOW + n * timedelta(minutes=7)
                if n < 25:
                    registration = make_registration(("ada@example.com", "ADA@example.com")[n % 2], f"Ada {n}", at=at)
                    await stores.registrations.register(registration, at)
                    await request_mail(stores, MailKind.ACTIVATION_RENEWAL, "ada@example.com", at)
                sent += [at for _ in await deliver_due_mail(stores, at)]
            for at in sent:
                assert sum(at <= other < at + HOUR for other in sent) <= 3
            assert len(sent) >= 9
            assert not await list_mail(stores, Window(), MailState.PENDING)

    @clause
    async def test_1_all_kinds_of_email_share_one_limit(self) -> None:
        async with self.open(LIMITED) as stores:
            user, _ = await create_user(stores)
            await stores.registrations.register(make_registration(username="Eve"), NOW)
            await request_reset_link(stores, user, NOW)
            await stores.registrations.register(make_registration(username="Bob"), NOW)
            await request_mail(stores, MailKind.PASSWORD_RESET, user.address.key, NOW)
            for at in (NOW, NOW + HOUR - MINUTE):
                assert not await deliver_due_mail(stores, at)
            delayed = await deliver_due_mail(stores, NOW + HOUR)
            assert {mail.kind for mail in delayed} == {MailKind.ADDRESS_TAKEN, MailKind.PASSWORD_RESET}
            assert all(mail.recipient == user.address.spelling for mail in delayed)

    @clause
    async def test_1_each_address_has_a_separate_limit(self) -> None:
        async with self.open(LIMITED) as stores:
            for name in ("ada", "bob"):
                for n in range(4):
                    await stores.registrations.register(make_registration(f"{name}@example.com", f"{name} {n}"), NOW)
            recipients = sorted(mail.recipient for mail in await deliver_due_mail(stores, NOW))
            assert recipients == ["ada@example.com"] * 3 + ["bob@example.com"] * 3

    @clause
    async def test_1_an_email_over_the_limit_is_delayed_without_links(self) -> None:
        async with self.open(LIMITED) as stores:
            for n in range(6):
                at = NOW + n * MINUTE
                await stores.registrations.register(make_registration(username=f"Ada {n}", at=at), at)
            later = NOW + 6 * MINUTE
            first = await due_links(stores, later)
            assert await link_usernames(stores, first.values()) == ["Ada 0", "Ada 1", "Ada 2"]
            (pending,) = await list_mail(stores, Window(), MailState.PENDING)
            assert (pending.kind, pending.recipient, pending.due_at) == (MailKind.ACTIVATION, "", NOW + HOUR)
            (mail,) = await deliver_due_mail(stores, NOW + HOUR)
            assert await link_usernames(stores, mail.links) == ["Ada 3", "Ada 4", "Ada 5"]
            for link in (*first.values(), *mail.links):
                assert await can_activate(stores, link, NOW + HOUR)
            assert mail.recipient == "Ada@example.com"

    @clause
    async def test_1_a_requested_email_over_the_limit_is_delayed(self) -> None:
        async with self.open(LIMITED) as stores:
            user, _ = await create_user(stores)
            links = [await request_reset_link(stores, user, NOW + n * MINUTE) for n in (1, 2)]
            await request_mail(stores, MailKind.PASSWORD_RESET, user.address.key, NOW + 3 * MINUTE)
            assert not await deliver_due_mail(stores, NOW + 3 * MINUTE)
            (pending,) = await list_mail(stores, Window(), MailState.PENDING)
            assert (pending.recipient, pending.due_at) == ("", NOW + HOUR)
            assert (
                await stores.password_resets.find_reset_user(links[1].uid, links[1].token_hash, NOW + 3 * MINUTE)
                == user
            )
            (mail,) = await deliver_due_mail(stores, NOW + HOUR)
            assert mail.kind is MailKind.PASSWORD_RESET

    @clause
    async def test_1_each_network_has_a_separate_limit(self) -> None:
        async with self.open(LIMITED) as stores:
            for n in range(4):
                foreign = make_registration(username=f"Eve {n}", requested_from="198.51.100.0/24")
                await stores.registrations.register(foreign, NOW)
            assert len(await deliver_due_mail(stores, NOW)) == 3
            own = make_registration(username="Ada", requested_from="192.0.2.0/24")
            await stores.registrations.register(own, NOW)
            (mail,) = await deliver_due_mail(stores, NOW)
            assert [link.uid for link in mail.links] == [own.id]

    @clause
    async def test_1_all_networks_together_have_a_total_limit(self) -> None:
        async with self.open(LIMITED) as stores:
            user, _ = await create_user(stores)
            await log_in(stores, user, NOW, network="2001:db8:1:2::/64")
            for n in range(20):
                await request_mail(
                    stores, MailKind.PASSWORD_RESET, user.address.key, NOW, requested_from=f"198.51.{n}.0/24"
                )
            assert len(await deliver_due_mail(stores, NOW)) == ALL_NETWORKS_FACTOR * 3 - 1, (
                "the activation email is one of them"
            )
            known, foreign = "2001:db8:1::/48", "2001:db8:2::/48"
            for network in (foreign, known):
                await request_mail(stores, MailKind.PASSWORD_RESET, user.address.key, NOW, requested_from=network)
            (mail,) = await deliver_due_mail(stores, NOW)
            assert mail.kind is MailKind.PASSWORD_RESET

    @clause
    async def test_1_notices_neither_count_nor_wait(self) -> None:
        async with self.open(LIMITED) as stores:
            user, _ = await create_user(stores)
            for n in range(ALL_NETWORKS_FACTOR * 3):
                await request_mail(
                    stores, MailKind.PASSWORD_RESET, user.address.key, NOW, requested_from=f"198.51.{n}.0/24"
                )
            await deliver_due_mail(stores, NOW)
            for n, now in enumerate([NOW, NOW + MINUTE, NOW + 2 * MINUTE, NOW + 3 * MINUTE]):
                old = user.password_hash if n == 0 else f"hash {n - 1}"
                await stores.password_resets.change_password(user.id, old, f"hash {n}", except_session_id="", now=now)
                (notice,) = await deliver_due_mail(stores, now)
                assert notice.kind is MailKind.PASSWORD_CHANGED
            (due,) = await deliver_due_mail(stores, NOW + HOUR)
            assert due.kind is MailKind.PASSWORD_RESET, "notices do not count towards the limit"

    @clause
    async def test_1_without_a_limit_no_email_is_delayed(self) -> None:
        async with self.open(UNLIMITED) as stores:
            for n in range(30):
                await stores.registrations.register(make_registration(username=f"Ada {n}"), NOW)
            assert len(await deliver_due_mail(stores, NOW)) == 30

    @clause
    async def test_1_concurrent_registrations_stay_within_the_limit(self) -> None:
        async with self.open(LIMITED) as stores:
            registrations = [make_registration(username=f"Ada {n}") for n in range(20)]
            await asyncio.gather(*(stores.registrations.register(registration, NOW) for registration in registrations))
            assert len(await deliver_due_mail(stores, NOW)) == 3
            assert len(await list_mail(stores, Window(), MailState.PENDING)) == 1
            assert len(await list_users(stores, Window(limit=100))) == 20

    @clause
    async def test_2_a_renewal_email_has_new_links_for_the_newest_registrations(self) -> None:
        async with self.open(UNLIMITED) as stores:
            for n in range(5):
                at = NOW + n * MINUTE
                await stores.registrations.register(make_registration(username=f"Ada {n}", at=at), at)
            at = NOW + 5 * MINUTE
            before = await due_links(stores, at)
            await request_mail(stores, MailKind.ACTIVATION_RENEWAL, "ada@example.com", at)
            for link in before.values():
                assert await can_activate(stores, link, at)
            (mail,) = await deliver_due_mail(stores, at)
            assert await link_usernames(stores, mail.links) == [f"Ada {n}" for n in range(5 - MAX_LINKS, 5)]
            renewed = {link.uid for link in mail.links}
            for link in before.values():
                if link.uid in renewed:
                    await assert_raises(
                        InvalidLink, stores.registrations.find_activation_link(link.uid, link.token_hash, at)
                    )
                else:
                    assert await can_activate(stores, link, at)
            for link in mail.links:
                assert await can_activate(stores, link, at)
                token = stores.keyring.decrypt_token(link.encrypted_token, link.token_hash)
                assert token is not None

    @clause
    async def test_2_a_registration_with_an_expired_link_is_renewed(self) -> None:
        async with self.open(UNLIMITED) as stores:
            await stores.registrations.register(make_registration(), NOW)
            (old,) = (await due_links(stores, NOW)).values()
            late = NOW + LINK_TTL + HOUR
            await assert_raises(InvalidLink, stores.registrations.activate(old.uid, old.token_hash, late))
            await request_mail(stores, MailKind.ACTIVATION_RENEWAL, "ada@example.com", late)
            (new,) = (await due_links(stores, late)).values()
            assert new.uid == old.uid
            assert (await stores.registrations.activate(new.uid, new.token_hash, late)).is_new

    @clause
    async def test_2_a_delayed_activation_email_ends_no_other_links(self) -> None:
        async with self.open(MailRules(LINK_TTL, Rate(1, 3600))) as stores:
            own = make_registration(username="Ada", requested_from="192.0.2.0/24")
            await stores.registrations.register(own, NOW)
            for n in range(5):
                foreign = make_registration(username=f"Eve {n}", requested_from="198.51.100.0/24")
                await stores.registrations.register(foreign, NOW)
            links = await due_links(stores, NOW)
            assert len(links) == 2
            (delayed,) = await deliver_due_mail(stores, NOW + HOUR)
            assert len(delayed.links) == MAX_LINKS
            for link in (*links.values(), *delayed.links):
                assert await can_activate(stores, link, NOW + HOUR)

    @clause
    async def test_2_a_renewal_lists_registrations_of_its_own_network_first(self) -> None:
        async with self.open(UNLIMITED) as stores:
            own = make_registration(username="Ada", requested_from="192.0.2.0/24")
            await stores.registrations.register(own, NOW)
            for n in range(5):
                at = NOW + MINUTE
                foreign = make_registration(username=f"Eve {n}", at=at, requested_from="198.51.100.0/24")
                await stores.registrations.register(foreign, at)
            await deliver_due_mail(stores, NOW + MINUTE)
            await request_mail(
                stores, MailKind.ACTIVATION_RENEWAL, own.address.key, NOW + HOUR, requested_from=own.requested_from
            )
            (mail,) = await deliver_due_mail(stores, NOW + HOUR)
            assert mail.links[0].uid == own.id
            assert len(mail.links) == MAX_LINKS

    @clause
    async def test_2_mailboxes_with_the_same_key_get_separate_emails(self) -> None:
        async with self.open(UNLIMITED) as stores:
            sharp, plain = make_address("straße@example.com"), make_address("strasse@example.com")
            assert sharp.key == plain.key
            assert sharp.mailbox != plain.mailbox
            for address, name in ((sharp, "Sharp"), (plain, "Plain")):
                await stores.registrations.register(make_registration(address.spelling, name), NOW)
            await request_mail(stores, MailKind.ACTIVATION_RENEWAL, sharp.key, NOW + MINUTE)
            mails = await deliver_due_mail(stores, NOW + MINUTE)
            assert {mail.recipient for mail in mails} == {sharp.spelling, plain.spelling}
            for mail in mails:
                expected = "Sharp" if mail.recipient == sharp.spelling else "Plain"
                assert await link_usernames(stores, mail.links) == [expected]
            renewed = [mail for mail in mails if mail.recipient == sharp.spelling][-1].links[0]
            assert await can_activate(stores, renewed, NOW + MINUTE)

    @clause
    async def test_2_spellings_of_one_mailbox_share_an_email(self) -> None:
        async with self.open(UNLIMITED) as stores:
            for n, spelling in enumerate(("ada@example.com", "ADA@Example.com")):
                at = NOW + n * MINUTE
                await stores.registrations.register(make_registration(spelling, f"Ada {n}", at=at), at)
            await deliver_due_mail(stores, NOW + MINUTE)
            await request_mail(stores, MailKind.ACTIVATION_RENEWAL, "ada@example.com", NOW + HOUR)
            (mail,) = await deliver_due_mail(stores, NOW + HOUR)
            assert mail.recipient == "ADA@Example.com"
            assert len(mail.links) == 2

    @clause
    async def test_2_the_limit_applies_to_mailboxes_with_the_same_key(self) -> None:
        async with self.open(MailRules(LINK_TTL, Rate(1, 3600))) as stores:
            for spelling, name in (("straße@example.com", "Sharp"), ("strasse@example.com", "Plain")):
                await stores.registrations.register(make_registration(spelling, name), NOW)
            sent = [mail for n in range(4) for mail in await deliver_due_mail(stores, NOW + n * HOUR)]
            assert {mail.recipient for mail in sent} == {"straße@example.com", "strasse@example.com"}
            for mail in sent:
                assert await link_usernames(stores, mail.links) == ["Sharp" if "ß" in mail.recipient else "Plain"]
            assert not await list_mail(stores, Window(), MailState.PENDING)

    @clause
    async def test_2_a_reset_email_goes_to_the_spelling_of_the_user(self) -> None:
        async with self.open(UNLIMITED) as stores:
            user, _ = await create_user(stores, "Straße@Example.com", "Sharp")
            await request_mail(stores, MailKind.PASSWORD_RESET, "strasse@example.com", NOW)
            (mail,) = await deliver_due_mail(stores, NOW)
            assert mail.recipient == user.address.spelling
            assert [link.uid for link in mail.links] == [user.id]

    @clause
    async def test_2_a_reset_email_leaves_earlier_reset_links_valid(self) -> None:
        async with self.open(UNLIMITED) as stores:
            user, _ = await create_user(stores)
            links = [await request_reset_link(stores, user, NOW) for _ in range(2)]
            for link in links:
                assert await stores.password_resets.find_reset_user(link.uid, link.token_hash, NOW) == user

    @clause
    async def test_2_emails_without_a_recipient_are_deleted(self) -> None:
        async with self.open(UNLIMITED) as stores:
            user, _ = await create_user(stores)
            await stores.users.set_active(user.address.key, False, NOW)
            await stores.registrations.register(make_registration("bob@example.com", "Bob"), NOW)
            await deliver_due_mail(stores, NOW)
            await request_mail(stores, MailKind.PASSWORD_RESET, "bob@example.com", NOW)
            for key in (user.address.key, "nobody@example.com"):
                for kind in (MailKind.ACTIVATION_RENEWAL, MailKind.PASSWORD_RESET):
                    await request_mail(stores, kind, key, NOW)
            assert len(await list_mail(stores, Window(), MailState.PENDING)) == 5
            assert not await deliver_due_mail(stores, NOW)
            assert not await list_mail(stores, Window(), MailState.PENDING)

    @clause
    async def test_2_a_delayed_email_is_deleted_with_its_user(self) -> None:
        async with self.open(MailRules(LINK_TTL, Rate(1, 3600))) as stores:
            user, _ = await create_user(stores)
            await stores.registrations.register(make_registration("ADA@example.com", "Eve"), NOW)
            (pending,) = await list_mail(stores, Window(), MailState.PENDING)
            assert (pending.kind, pending.due_at) == (MailKind.ADDRESS_TAKEN, NOW + HOUR)
            await stores.data.erase(user.address.key, NOW)
            assert [mail.kind for mail in await deliver_due_mail(stores, NOW + HOUR)] == [MailKind.ACCOUNT_ERASED]

    @clause
    async def test_2_requests_for_unknown_addresses_delay_no_other_email(self) -> None:
        async with self.open(UNLIMITED) as stores:
            user, _ = await create_user(stores)
            for n in range(60):
                kind = (MailKind.PASSWORD_RESET, MailKind.ACTIVATION_RENEWAL)[n % 2]
                await request_mail(stores, kind, f"nobody{n}@example.com", NOW)
            await request_mail(stores, MailKind.PASSWORD_RESET, user.address.key, NOW + MINUTE)
            (mail,) = await stores.outbox.claim("dispatcher", NOW + MINUTE, 1, MAIL_LEASE)
            assert mail.recipient == user.address.spelling
            assert len(await list_mail(stores, Window(limit=100), MailState.PENDING)) == 1

    @clause
    async def test_3_emails_for_users_are_claimed_before_those_for_registrations(self) -> None:
        async with self.open(UNLIMITED) as stores:
            user, _ = await create_user(stores)
            for n in range(5):
                await stores.registrations.register(make_registration(f"u{n}@example.com", f"User {n}"), NOW)
            later = NOW + HOUR
            await request_mail(stores, MailKind.PASSWORD_RESET, user.address.key, later)
            await stores.password_resets.change_password(
                user.id, user.password_hash, NEW_HASH, except_session_id="", now=later
            )
            claimed = await stores.outbox.claim("dispatcher", later, 3, MAIL_LEASE)
            kinds = [mail.kind for mail in claimed]
            assert set(kinds[:2]) == {MailKind.PASSWORD_RESET, MailKind.PASSWORD_CHANGED}
            assert kinds[2:] == [MailKind.ACTIVATION]

    @clause
    async def test_3_emails_are_leased_oldest_first_up_to_a_limit(self) -> None:
        async with self.open(UNLIMITED) as stores:
            for n in range(5):
                at = NOW + n * MINUTE
                await stores.registrations.register(make_registration(f"u{n}@example.com", f"User {n}", at=at), at)
            at = NOW + HOUR
            claimed = [
                [mail.recipient for mail in await stores.outbox.claim(owner, at, 2, MAIL_LEASE)] for owner in "abcd"
            ]
            assert claimed == [[f"u{n}@example.com" for n in part] for part in ((0, 1), (2, 3), (4,), ())]

    @clause
    async def test_3_an_email_that_is_not_due_is_not_leased(self) -> None:
        async with self.open(UNLIMITED) as stores:
            await stores.registrations.register(make_registration(), NOW)
            (mail,) = await stores.outbox.claim("dispatcher", NOW, 10, MAIL_LEASE)
            put_off = replace(mail, attempts=1, last_error="450 later", due_at=NOW + MINUTE)
            assert await stores.outbox.complete("dispatcher", put_off)
            assert not await stores.outbox.claim("dispatcher", NOW + timedelta(seconds=59), 10, MAIL_LEASE)
            assert list(await stores.outbox.claim("dispatcher", NOW + MINUTE, 10, MAIL_LEASE)) == [put_off]

    @clause
    async def test_3_no_email_is_leased_to_two_owners(self) -> None:
        async with self.open(UNLIMITED) as stores:
            for n in range(20):
                await stores.registrations.register(make_registration(f"u{n}@example.com", f"User {n}"), NOW)
            await create_user(stores)
            await request_mail(stores, MailKind.PASSWORD_RESET, "ada@example.com", NOW)
            for n in range(20, 40):
                await stores.registrations.register(make_registration(f"u{n}@example.com", f"User {n}"), NOW)
            owners = [f"owner {n}" for n in range(4)]
            claimed: list[str] = []
            while parts := [
                mail.id
                for part in await asyncio.gather(*(stores.outbox.claim(owner, NOW, 5, MAIL_LEASE) for owner in owners))
                for mail in part
            ]:
                claimed += parts
            assert len(claimed) == len(set(claimed)) == 21

    @clause
    async def test_3_an_expired_lease_goes_to_the_next_owner(self) -> None:
        async with self.open(UNLIMITED) as stores:
            await stores.registrations.register(make_registration(), NOW)
            (mail,) = await stores.outbox.claim("killed", NOW, 10, MAIL_LEASE)
            assert not await stores.outbox.claim("next", NOW + MAIL_LEASE - timedelta(seconds=1), 10, MAIL_LEASE)
            (again,) = await stores.outbox.claim("next", NOW + MAIL_LEASE, 10, MAIL_LEASE)
            assert again == mail

    @clause
    async def test_3_the_links_of_an_email_are_valid_from_its_lease_on(self) -> None:
        async with self.open(UNLIMITED) as stores:
            await stores.registrations.register(make_registration(), NOW)
            late = NOW + 3 * DAY
            (link,) = (await due_links(stores, late)).values()
            assert await can_activate(stores, link, late + LINK_TTL - MINUTE)
            await assert_raises(
                InvalidLink,
                stores.registrations.find_activation_link(link.uid, link.token_hash, late + LINK_TTL + MINUTE),
            )

    @clause
    async def test_4_a_completed_email_stores_its_outcome(self) -> None:
        async with self.open(UNLIMITED) as stores:
            await stores.registrations.register(make_registration(), NOW)
            (mail,) = await stores.outbox.claim("dispatcher", NOW, 10, MAIL_LEASE)
            sent = replace(mail, state=MailState.SENT, attempts=1, last_error="", sent_at=NOW + MINUTE)
            assert await stores.outbox.complete("dispatcher", sent)
            assert list(await list_mail(stores, Window())) == [replace(sent, links=())]
            assert not await stores.outbox.complete("dispatcher", replace(sent, attempts=9))
            assert not await stores.outbox.claim("dispatcher", NOW + DAY, 10, MAIL_LEASE)
            assert list(await list_mail(stores, Window())) == [replace(sent, links=())]

    @clause
    async def test_4_an_owner_without_the_lease_changes_nothing(self) -> None:
        async with self.open(UNLIMITED) as stores:
            await stores.registrations.register(make_registration(), NOW)
            (mail,) = await stores.outbox.claim("slow", NOW, 10, MAIL_LEASE)
            await stores.outbox.claim("next", NOW + MAIL_LEASE, 10, MAIL_LEASE)
            assert not await stores.outbox.complete("slow", replace(mail, state=MailState.DEAD, attempts=1))
            assert not await stores.outbox.complete("other", replace(mail, state=MailState.DEAD, attempts=1))
            assert list(await list_mail(stores, Window())) == [replace(mail, links=())]
            assert await stores.outbox.complete("next", replace(mail, state=MailState.SENT, attempts=1, sent_at=NOW))

    @clause
    async def test_5_a_released_email_can_be_claimed_again(self) -> None:
        async with self.open(UNLIMITED) as stores:
            for n in range(2):
                await stores.registrations.register(make_registration(username=f"Ada {n}"), NOW)
            claimed = await stores.outbox.claim("dispatcher", NOW, 10, MAIL_LEASE)
            ids = [mail.id for mail in claimed]
            await stores.outbox.release("other", ids)
            await stores.outbox.release("dispatcher", [*ODD_STRINGS, ids[0]])
            await stores.outbox.release("dispatcher", [])
            assert [mail.id for mail in await stores.outbox.claim("next", NOW, 10, MAIL_LEASE)] == [ids[0]]
            assert not await stores.outbox.complete("dispatcher", replace(claimed[0], state=MailState.DEAD))
            assert await stores.outbox.complete("dispatcher", replace(claimed[1], state=MailState.DEAD))

    @clause
    async def test_6_emails_are_listed_newest_first_without_links(self) -> None:
        async with self.open(UNLIMITED) as stores:
            for n in range(5):
                at = NOW + n * MINUTE
                await stores.registrations.register(make_registration(f"u{n}@example.com", f"User {n}", at=at), at)
            claimed = await stores.outbox.claim("dispatcher", NOW + HOUR, 2, MAIL_LEASE)
            await stores.outbox.complete("dispatcher", replace(claimed[0], state=MailState.SENT, sent_at=NOW + HOUR))
            await stores.outbox.complete("dispatcher", replace(claimed[1], state=MailState.DEAD, last_error="550 no"))
            listed = await list_mail(stores, Window())
            assert [mail.recipient for mail in listed] == [f"u{n}@example.com" for n in (4, 3, 2, 1, 0)]
            assert not any(mail.links for mail in listed)
            assert await stores.outbox.list_page(Window(1, 2)) == (5, list(listed[1:3]))
            assert await stores.outbox.list_page(Window(5, 2)) == (5, [])
            for state, count in ((MailState.PENDING, 3), (MailState.SENT, 1), (MailState.DEAD, 1)):
                total, page = await stores.outbox.list_page(Window(limit=2), state)
                assert total == count
                assert [mail.state for mail in page] == [state] * min(count, 2)
            assert (await list_mail(stores, Window(), MailState.DEAD))[0].last_error == "550 no"

    @clause
    async def test_7_dead_emails_are_retried(self) -> None:
        async with self.open(UNLIMITED) as stores:
            for n in range(4):
                await stores.registrations.register(make_registration(f"u{n}@example.com", f"User {n}"), NOW)
            claimed = await stores.outbox.claim("dispatcher", NOW, 3, MAIL_LEASE)
            for mail in claimed:
                assert await stores.outbox.complete("dispatcher", replace(mail, state=MailState.DEAD, attempts=8))
            late = NOW + 2 * DAY
            assert not await stores.outbox.retry([*ODD_STRINGS, new_id()], late)
            assert not await stores.outbox.retry([], late)
            assert list(await stores.outbox.retry([claimed[0].id], late)) == [claimed[0].id]
            assert not await stores.outbox.retry([claimed[0].id], late)
            assert sorted(await stores.outbox.retry(None, late)) == sorted(mail.id for mail in claimed[1:])
            again = [
                mail for mail in await stores.outbox.claim("dispatcher", late, 10, MAIL_LEASE) if mail.due_at == late
            ]
            assert sorted(mail.id for mail in again) == sorted(mail.id for mail in claimed)
            for mail in again:
                assert (mail.attempts, mail.state) == (0, MailState.PENDING)
                (link,) = mail.links
                assert stores.keyring.decrypt_token(link.encrypted_token, link.token_hash) is not None
                assert await can_activate(stores, link, late)

    @clause
    async def test_8_stats_count_emails_and_report_the_oldest_waiting_one(self) -> None:
        async with self.open(UNLIMITED) as stores:
            empty = await stores.outbox.stats(NOW)
            assert (dict(empty.counts), empty.oldest_pending_since) == (dict.fromkeys(MailState, 0), None)
            for n in range(4):
                at = NOW + n * MINUTE
                await stores.registrations.register(make_registration(f"u{n}@example.com", f"User {n}", at=at), at)
            late = NOW + HOUR
            claimed = await stores.outbox.claim("dispatcher", late, 3, MAIL_LEASE)
            await stores.outbox.complete("dispatcher", replace(claimed[0], state=MailState.SENT, sent_at=late))
            await stores.outbox.complete("dispatcher", replace(claimed[1], state=MailState.DEAD))
            # A failed attempt delays the email, but it has been waiting since its creation.
            await stores.outbox.complete("dispatcher", replace(claimed[2], attempts=1, due_at=late + HOUR))
            stats = await stores.outbox.stats(late)
            assert dict(stats.counts) == {MailState.PENDING: 2, MailState.SENT: 1, MailState.DEAD: 1}
            assert stats.oldest_pending_since == NOW + 2 * MINUTE

    @clause
    async def test_8_an_email_delayed_by_a_limit_does_not_count_as_waiting(self) -> None:
        async with self.open(MailRules(LINK_TTL, Rate(1, 3600))) as stores:
            await stores.registrations.register(make_registration("ada@example.com", "Ada"), NOW)
            await deliver_due_mail(stores, NOW)
            await stores.registrations.register(
                make_registration("ada@example.com", "Eve", at=NOW + MINUTE), NOW + MINUTE
            )
            assert (await stores.outbox.stats(NOW + 2 * MINUTE)).oldest_pending_since is None
            later = NOW + 2 * HOUR
            assert (await stores.outbox.stats(later)).oldest_pending_since == NOW + HOUR

    @clause
    async def test_9_an_email_is_found_by_id(self) -> None:
        async with self.open(UNLIMITED) as stores:
            await stores.registrations.register(make_registration(), NOW)
            await request_mail(stores, MailKind.PASSWORD_RESET, "bob@example.com", NOW)
            for mail in await list_mail(stores, Window()):
                assert await stores.outbox.find(mail.id) == mail
            for odd in (*ODD_STRINGS, new_id()):
                assert await stores.outbox.find(odd) is None
