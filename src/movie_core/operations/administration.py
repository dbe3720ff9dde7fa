"""The service behind administration: what staff does to accounts, mails and the cache, each deed kept in the audit log.

An entry is kept once the deed is done, and before it is answered. Where the log can't be reached then, the deed stays
and `StoreUnavailable` is raised; doing it again, where there still is something to do, is harmless and kept.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TypeVar

from movie_core.accounts.outbox import Mail, MailState
from movie_core.accounts.services import Accounts
from movie_core.accounts.users import User, UserState
from movie_core.clock import utc_now
from movie_core.errors import MailNotDead, MailNotFound, OwnAccount, StoreUnavailable, UserNotFound
from movie_core.operations.audit import Action, AuditEntry
from movie_core.paging import Window
from movie_core.ports import AuditLog, CacheStore, DeliveryNotifier, Outbox, UserRepo, UserSummary

Listed = TypeVar("Listed")


class Administration:
    """Every method raises `StoreUnavailable` when a store is away. `actor` is the id of the account that does it, or
    `audit.COMMAND_LINE`. Lists raise `PageOutOfRange`, but not where they are empty."""

    def __init__(
        self,
        accounts: Accounts,
        users: UserRepo,
        outbox: Outbox,
        notifier: DeliveryNotifier,
        audit_log: AuditLog,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._accounts = accounts
        self._users = users
        self._outbox = outbox
        self._notifier = notifier
        self._audit_log = audit_log
        self._clock = clock

    # --- accounts; those that take an address raise `InvalidEmail` and `UserNotFound`

    async def list_users(self, window: Window, search: str, state: UserState) -> tuple[int, Sequence[UserSummary]]:
        """Those in that state with this text in their address or username, newest first."""
        return _checked(window, await self._users.list_users(window, search=search.strip(), state=state))

    async def change(
        self, actor: str, person_id: str, *, is_active: bool | None = None, is_staff: bool | None = None
    ) -> UserSummary:
        """Change what is given of an account, as it is afterwards. Activating a registration makes an account of the
        newest one of its address, which may have another id.

        Raises `UserNotFound`, also for what a pending registration can't be; `UsernameTaken`; and `OwnAccount`, as who
        shuts itself out by a slip may be the last who could undo it.
        """
        person = await self._users.find_summary(person_id)
        if person is None:
            raise UserNotFound("there is no such account or registration")
        if actor == person.id and False in (is_active, is_staff):
            raise OwnAccount("nobody deactivates their own account or takes their own right; others of staff may")
        email = person.address.spelling
        if is_active is not None:
            person_id = (await self.set_active(actor, email, is_active)).id
        if is_staff is not None:
            await self.set_staff(actor, email, is_staff)
        changed = await self._users.find_summary(person_id)
        if changed is None:
            raise UserNotFound("the account is gone")
        return changed

    async def set_active(self, actor: str, email: str, is_active: bool) -> User:
        """As `Accounts.set_active`."""
        user = await self._accounts.set_active(email, is_active)
        await self._keep(actor, Action.USER_ACTIVATED if is_active else Action.USER_DEACTIVATED, user)
        return user

    async def set_staff(self, actor: str, email: str, is_staff: bool) -> None:
        user = await self._accounts.set_staff(email, is_staff)
        await self._keep(actor, Action.STAFF_GRANTED if is_staff else Action.STAFF_REVOKED, user)

    async def end_sessions(self, actor: str, email: str) -> int:
        """End all sessions of an account; how many there were."""
        user = await self._accounts.account_of(email)
        ended = await self._accounts.end_sessions_of(user)
        await self._keep(actor, Action.SESSIONS_ENDED, user)
        return ended

    async def erase(self, actor: str, email: str) -> None:
        """As `Accounts.erase_of`. The log tells that somebody was erased, and not whom."""
        await self._accounts.erase_of(email)
        await self._keep(actor, Action.USER_ERASED)

    # --- mails

    async def mails(self, window: Window, state: MailState | None) -> tuple[int, Sequence[Mail]]:
        """Newest first."""
        return _checked(window, await self._outbox.list_page(window, state))

    async def retry(self, actor: str, mail_ids: Sequence[str] | None) -> Sequence[str]:
        """Try dead mails again, all of them for None; the ids of those that were dead."""
        now = self._clock()
        retried = await self._outbox.retry(mail_ids, now)
        if retried:
            await self._notifier.notify()
            entries = [AuditEntry(now, actor, Action.MAIL_RETRIED, mail_id=mail_id) for mail_id in retried]
            await self._append(entries)
        return retried

    async def retry_one(self, actor: str, mail_id: str) -> Mail:
        """Try a dead mail again; raises `MailNotFound` and `MailNotDead`."""
        retried = await self.retry(actor, [mail_id])
        mail = await self._outbox.find(mail_id)
        if mail is None:
            raise MailNotFound("there is no such mail, or it was removed")
        if not retried:
            raise MailNotDead(f"the mail is {mail.state.value}")
        return mail

    # --- the rest

    async def flush(self, actor: str, entries: CacheStore) -> int:
        """Forget the answers that are remembered; how many there were."""
        forgotten = await entries.clear()
        await self._keep(actor, Action.CACHE_FLUSHED)
        return forgotten

    async def audit(self, window: Window) -> tuple[int, Sequence[AuditEntry]]:
        """What was done, newest first."""
        return _checked(window, await self._audit_log.list_page(window))

    async def _keep(self, actor: str, action: Action, user: User | None = None) -> None:
        user_id = None if user is None else user.id
        await self._append([AuditEntry(self._clock(), actor, action, user_id)])

    async def _append(self, entries: Sequence[AuditEntry]) -> None:
        try:
            await self._audit_log.append(entries)
        except StoreUnavailable as away:
            raise StoreUnavailable(f"it is done, but the audit log can't tell so: {away.detail}") from away


def _checked(window: Window, found: tuple[int, Listed]) -> tuple[int, Listed]:
    if found[0]:
        window.check(found[0])
    return found
