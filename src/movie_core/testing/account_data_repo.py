"""Contract of the `AccountDataRepo` port."""

from dataclasses import replace

from movie_core.accounts.exports import ExportedAccount, ExportedRegistration, ExportedSession, LoginNetwork
from movie_core.accounts.outbox import MailKind, MailState
from movie_core.errors import InvalidLink
from movie_core.paging import Window
from movie_core.testing.account_fixtures import (
    LINK_TTL,
    MAIL_LEASE,
    UNLIMITED,
    AccountStoresContract,
    can_activate,
    create_user,
    deliver_due_mail,
    due_links,
    is_used,
    list_mail,
    list_users,
    log_in,
    make_registration,
    random_hashes,
    request_mail,
    request_reset_link,
    usernames_at,
)
from movie_core.testing.rating_store import is_empty
from movie_core.testing.shared import DAY, HOUR, MINUTE, NOW, ODD_STRINGS, assert_raises, clause


class AccountDataRepoContract(AccountStoresContract):
    """Contract of every `AccountDataRepo`. The numbers in test names are the clauses of the port."""

    @clause
    async def test_1_an_export_contains_all_data_except_secrets(self) -> None:
        async with self.open(UNLIMITED) as stores:
            user, link = await create_user(stores)
            session, refresh_hash = await log_in(stores, user, NOW, device="Ada's phone", network="192.0.2.1")
            reset = await request_reset_link(stores, user, NOW)
            await request_mail(stores, MailKind.PASSWORD_RESET, user.address.key, NOW)
            pending = make_registration("bob@example.com", "Bob")
            await stores.registrations.register(pending, NOW)
            export = await stores.data.export(user.address.key)
            assert export.account == ExportedAccount(
                id=user.id,
                email=user.address.spelling,
                username="Ada",
                created_at=NOW,
                is_active=True,
                is_staff=False,
                record_events=True,
                last_login=NOW,
            )
            assert list(export.sessions) == [ExportedSession(session.id, "Ada's phone", NOW, NOW, NOW + 5 * DAY)]
            assert list(export.login_networks) == [LoginNetwork("192.0.2.1", NOW)]
            assert sorted((mail.kind, mail.state, mail.recipient) for mail in export.mails) == [
                (MailKind.ACTIVATION, MailState.SENT, user.address.spelling),
                (MailKind.PASSWORD_RESET, MailState.PENDING, ""),
                (MailKind.PASSWORD_RESET, MailState.SENT, user.address.spelling),
            ]
            other = await stores.data.export("bob@example.com")
            assert (other.account, list(other.sessions)) == (None, [])
            assert list(other.registrations) == [ExportedRegistration(pending.id, "bob@example.com", "Bob", NOW)]
            assert len(other.mails) == 1
            (claimed,) = await stores.outbox.claim("dispatcher", NOW, 1, MAIL_LEASE)
            text = str([export, other])
            secrets = [user.password_hash, pending.password_hash, refresh_hash, link.token_hash, reset.token_hash]
            secrets += [
                secret
                for issued in (link, reset, *claimed.links)
                for secret in (issued.token_hash, issued.encrypted_token)
            ]
            assert not [secret for secret in secrets if secret in text]

    @clause
    async def test_1_the_export_of_an_unknown_address_is_empty(self) -> None:
        async with self.open(UNLIMITED) as stores:
            for odd in ODD_STRINGS:
                assert is_empty(await stores.data.export(odd))

    @clause
    async def test_2_erasing_an_address_deletes_all_its_data(self) -> None:
        async with self.open(UNLIMITED) as stores:
            user, link = await create_user(stores)
            bystander, _ = await create_user(stores, "bob@example.com", "Bob")
            reset = await request_reset_link(stores, user, NOW)
            session, refresh_hash = await log_in(stores, user, NOW)
            await stores.registrations.register(make_registration(username="Eve"), NOW)
            await request_mail(stores, MailKind.PASSWORD_RESET, user.address.key, NOW)
            (leased,) = [
                mail
                for mail in await stores.outbox.claim("dispatcher", NOW, 10, MAIL_LEASE)
                if mail.kind is MailKind.ADDRESS_TAKEN
            ]
            assert list(await stores.data.erase(user.address.key, NOW)) == [session.id]
            assert await stores.users.find(user.id) is None
            export = await stores.data.export(user.address.key)
            assert (export.account, list(export.registrations), list(export.sessions)) == (None, [], [])
            assert [mail.kind for mail in export.mails] == [MailKind.ACCOUNT_ERASED]
            assert not await stores.sessions.find(session.id)
            assert session.id in await stores.sessions.ended_since(NOW)
            assert await stores.sessions.rotate(refresh_hash, random_hashes(1), NOW, NOW + DAY) is None
            await assert_raises(InvalidLink, stores.registrations.find_activation_link(link.uid, link.token_hash, NOW))
            await assert_raises(InvalidLink, stores.password_resets.find_reset_user(reset.uid, reset.token_hash, NOW))
            assert not await stores.outbox.complete("dispatcher", replace(leased, state=MailState.SENT, sent_at=NOW))
            (notice,) = await deliver_due_mail(stores, NOW + HOUR)
            assert (notice.kind, notice.recipient) == (MailKind.ACCOUNT_ERASED, user.address.spelling)
            assert not (await stores.data.export(user.address.key)).mails
            assert list(await stores.data.erase(user.address.key, NOW)) == []
            assert not await deliver_due_mail(stores, NOW + HOUR)
            assert [summary.id for summary in await list_users(stores, Window())] == [bystander.id]
            await create_user(stores, at=NOW + HOUR)

    @clause
    async def test_2_a_pending_address_can_be_erased(self) -> None:
        async with self.open(UNLIMITED) as stores:
            await stores.registrations.register(make_registration(), NOW)
            (link,) = (await due_links(stores, NOW)).values()
            await stores.registrations.register(make_registration(username="Eve"), NOW)
            assert list(await stores.data.erase("ada@example.com", NOW)) == []
            assert not await list_users(stores, Window())
            assert not await list_mail(stores, Window())
            await assert_raises(InvalidLink, stores.registrations.activate(link.uid, link.token_hash, NOW))
            for odd in ODD_STRINGS:
                assert list(await stores.data.erase(odd, NOW)) == []

    @clause
    async def test_3_a_purge_leaves_data_in_use(self) -> None:
        async with self.open(UNLIMITED) as stores:
            user, link = await create_user(stores)
            session, refresh_hash = await log_in(stores, user, NOW)
            await stores.registrations.register(make_registration("bob@example.com", "Bob"), NOW)
            await deliver_due_mail(stores, NOW)
            assert await stores.data.purge(NOW + HOUR) == 0
            assert await is_used(stores, link, NOW)
            assert await stores.sessions.rotate(refresh_hash, random_hashes(1), NOW + HOUR, NOW + 5 * DAY) is not None
            await stores.data.purge(NOW + LINK_TTL + 6 * DAY)
            assert await usernames_at(stores, "bob@example.com") == ["Bob"]
            assert not await stores.sessions.find(session.id)

    @clause
    async def test_3_registrations_are_purged_7_days_after_their_link_unless_an_email_is_pending(self) -> None:
        async with self.open(UNLIMITED) as stores:
            _, used = await create_user(stores)
            for name in ("sent", "stuck"):
                await stores.registrations.register(make_registration(f"{name}@example.com", name), NOW)
            for mail in await stores.outbox.claim("dispatcher", NOW, 10, MAIL_LEASE):
                if mail.recipient.startswith("sent"):
                    await stores.outbox.complete("dispatcher", replace(mail, state=MailState.SENT, sent_at=NOW))
                else:
                    await stores.outbox.complete("dispatcher", replace(mail, due_at=NOW + 60 * DAY))
            late = NOW + LINK_TTL + 7 * DAY + MINUTE
            assert await stores.data.purge(late) > 0
            assert await stores.data.purge(late) == 0
            assert {summary.username.shown for summary in await list_users(stores, Window())} == {"Ada", "stuck"}
            await assert_raises(InvalidLink, stores.registrations.find_activation_link(used.uid, used.token_hash, late))
            (mail,) = await deliver_due_mail(stores, NOW + 60 * DAY)
            assert await can_activate(stores, mail.links[0], NOW + 60 * DAY)

    @clause
    async def test_3_sent_emails_are_purged_after_30_days(self) -> None:
        async with self.open(UNLIMITED) as stores:
            user, _ = await create_user(stores)
            await stores.data.purge(NOW + 29 * DAY)
            assert len(await list_mail(stores, Window(), MailState.SENT)) == 1
            assert await stores.data.purge(NOW + 30 * DAY + MINUTE) > 0
            assert not await list_mail(stores, Window())
            assert not (await stores.data.export(user.address.key)).mails

    @clause
    async def test_3_records_of_ended_sessions_are_purged_after_a_day(self) -> None:
        async with self.open(UNLIMITED) as stores:
            user, _ = await create_user(stores)
            session, _ = await log_in(stores, user, NOW)
            await stores.sessions.end(user.id, NOW)
            await stores.data.purge(NOW + DAY - MINUTE)
            assert session.id in await stores.sessions.ended_since(NOW)
            assert await stores.data.purge(NOW + DAY + MINUTE) > 0
            assert session.id not in await stores.sessions.ended_since(NOW)
            assert not await stores.sessions.find(session.id)
