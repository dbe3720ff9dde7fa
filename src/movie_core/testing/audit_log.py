"""Contract of the `AuditLog` port."""

import asyncio
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace

from movie_core.accounts.keyring import new_id
from movie_core.operations.audit import COMMAND_LINE, Action, AuditEntry, ExportedAuditEntry
from movie_core.paging import Window
from movie_core.ports import AuditLog
from movie_core.testing.account_fixtures import AccountStores, create_user
from movie_core.testing.rating_store import check_personal_data
from movie_core.testing.shared import DAY, NOW, ODD_STRINGS, clause


@dataclass(frozen=True, slots=True)
class AuditStores:
    """The audit log, and the stores of the users that it names."""

    log: AuditLog
    accounts: AccountStores


async def _all(log: AuditLog) -> list[AuditEntry]:
    return list((await log.list_page(Window(limit=100)))[1])


class AuditLogContract:
    """Contract of every `AuditLog`. The numbers in test names are the clauses of the port."""

    def open(self) -> AbstractAsyncContextManager[AuditStores]:
        """The log under test and the stores of its users, over one empty database."""
        raise NotImplementedError

    @clause
    async def test_1_and_2_all_data_of_a_user_is_exported_and_erased(self) -> None:
        async with self.open() as stores:
            ada, _ = await create_user(stores.accounts)
            bob, _ = await create_user(stores.accounts, "bob@example.com", "Bob")
            by_ada = AuditEntry(NOW, ada.id, Action.USER_DEACTIVATED, bob.id)
            about_ada = AuditEntry(NOW + DAY, bob.id, Action.STAFF_REVOKED, ada.id)
            by_nobody = AuditEntry(NOW + 2 * DAY, COMMAND_LINE, Action.SESSIONS_ENDED, ada.id)
            await stores.log.append([by_ada, about_ada, by_nobody])
            assert (await stores.log.export(ada.id)).audit == [
                ExportedAuditEntry(Action.USER_DEACTIVATED, NOW, True, False),
                ExportedAuditEntry(Action.STAFF_REVOKED, NOW + DAY, False, True),
                ExportedAuditEntry(Action.SESSIONS_ENDED, NOW + 2 * DAY, False, True),
            ]
            await stores.log.erase(COMMAND_LINE)
            assert await _all(stores.log) == [by_nobody, about_ada, by_ada]
            await stores.log.erase(ada.id)
            assert await _all(stores.log) == [
                replace(by_nobody, account_id=None),
                replace(about_ada, account_id=None),
                replace(by_ada, actor=""),
            ]

    @clause
    async def test_1_and_2_export_and_erase_affect_one_user_only(self) -> None:
        async with self.open() as stores:
            ada, _ = await create_user(stores.accounts)
            bob, _ = await create_user(stores.accounts, "bob@example.com", "Bob")
            await stores.log.append([AuditEntry(NOW, entry.id, Action.CACHE_FLUSHED) for entry in (ada, bob)])
            await check_personal_data(stores.log, ada.id, bob.id)

    @clause
    async def test_2_an_erased_user_is_no_longer_named(self) -> None:
        async with self.open() as stores:
            ada, _ = await create_user(stores.accounts)
            bob, _ = await create_user(stores.accounts, "bob@example.com", "Bob")
            entry = AuditEntry(NOW, ada.id, Action.STAFF_GRANTED, bob.id)
            await stores.log.append([entry])
            await stores.accounts.data.erase(ada.address.key, NOW)
            assert await _all(stores.log) == [replace(entry, actor="")]
            await stores.accounts.data.erase(bob.address.key, NOW)
            assert await _all(stores.log) == [replace(entry, actor="", account_id=None)]

    @clause
    async def test_3_an_entry_is_stored_unchanged(self) -> None:
        async with self.open() as stores:
            ada, _ = await create_user(stores.accounts)
            entries = [AuditEntry(NOW, ada.id, action, ada.id) for action in Action]
            entries += [AuditEntry(NOW, COMMAND_LINE, Action.MAIL_RETRIED, mail_id=new_id())]
            await stores.log.append(entries)
            await stores.log.append([])
            assert sorted(await _all(stores.log), key=lambda entry: entry.id) == sorted(
                entries, key=lambda entry: entry.id
            )

    @clause
    async def test_3_a_deleted_user_is_not_named(self) -> None:
        async with self.open() as stores:
            for odd in (*ODD_STRINGS, new_id()):
                await stores.log.append([AuditEntry(NOW, odd, Action.SESSIONS_ENDED, odd)])
            assert {(entry.actor, entry.account_id) for entry in await _all(stores.log)} == {("", None)}

    @clause
    async def test_3_users_deleted_concurrently_are_not_named(self) -> None:
        async with self.open() as stores:
            users = [(await create_user(stores.accounts, f"u{n}@example.com", f"User {n}"))[0] for n in range(10)]

            async def append(number: int) -> None:
                subject_id = users[number].id
                await stores.log.append([AuditEntry(NOW, users[-number].id, Action.USER_ACTIVATED, subject_id)])

            erasing = [stores.accounts.data.erase(entry.address.key, NOW) for entry in users]
            await asyncio.gather(*(work for n in range(10) for work in (append(n), erasing[n], append(n))))
            assert {(entry.actor, entry.account_id) for entry in await _all(stores.log)} == {("", None)}
            assert len(await _all(stores.log)) == 20

    @clause
    async def test_4_entries_are_listed_newest_first(self) -> None:
        async with self.open() as stores:
            assert await stores.log.list_page(Window()) == (0, [])
            entries = [AuditEntry(NOW + n // 2 * DAY, COMMAND_LINE, Action.CACHE_FLUSHED) for n in range(6)]
            await stores.log.append(entries)
            ordered = sorted(sorted(entries, key=lambda entry: entry.id), key=lambda entry: entry.at, reverse=True)
            assert await _all(stores.log) == ordered
            assert await stores.log.list_page(Window(1, 3)) == (6, ordered[1:4])
            assert await stores.log.list_page(Window(6, 3)) == (6, [])

    @clause
    async def test_5_a_purge_deletes_older_entries_only(self) -> None:
        async with self.open() as stores:
            entries = [AuditEntry(NOW + n * DAY, COMMAND_LINE, Action.CACHE_FLUSHED) for n in range(4)]
            await stores.log.append(entries)
            assert await stores.log.purge(NOW + 2 * DAY) == 2
            assert await _all(stores.log) == [entries[3], entries[2]]
            assert await stores.log.purge(NOW + 2 * DAY) == 0
