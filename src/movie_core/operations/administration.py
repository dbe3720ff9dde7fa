"""Administration: actions of staff and operators on users, emails and the cache, each written to the audit log.

The entry is written after the action and before the response. If the audit log is unavailable then, the action remains
done and `StoreUnavailable` is raised; repeating the action is harmless and is logged if there is still something to do.

In every method and function, `actor` is the id of the acting user or `audit.COMMAND_LINE`. Lists raise `PageOutOfRange`
for a page past the end, except for an empty list. All of them raise `StoreUnavailable` if a store is unavailable.
"""

from collections.abc import Sequence
from typing import TypeVar

from movie_core.accounts.outbox import Mail, MailState
from movie_core.accounts.profiles import Profiles
from movie_core.accounts.user_management import UserManagement
from movie_core.accounts.users import User, UserState, UserSummary
from movie_core.clock import Clock, utc_now
from movie_core.errors import MailNotDead, MailNotFound, OwnAccount, StoreUnavailable, UserNotFound
from movie_core.operations.audit import Action, AuditEntry
from movie_core.paging import Window
from movie_core.ports import AuditLog, CacheStore, DeliveryNotifier, Outbox

Items = TypeVar("Items")


class AuditRecorder:
    """Writes actions to the audit log, and lists them."""

    def __init__(self, audit_log: AuditLog, clock: Clock = utc_now) -> None:
        self._audit_log = audit_log
        self._clock = clock

    async def record(self, actor: str, action: Action, *, user_id: str | None = None) -> None:
        """Records an action that was carried out, on this user if given."""
        await self._append([AuditEntry(self._clock(), actor, action, user_id)])

    async def record_mails(self, actor: str, action: Action, mail_ids: Sequence[str]) -> None:
        """Records an action that was carried out on each of these emails."""
        now = self._clock()
        await self._append([AuditEntry(now, actor, action, mail_id=mail_id) for mail_id in mail_ids])

    async def list_page(self, window: Window) -> tuple[int, Sequence[AuditEntry]]:
        """Returns the number of entries and those in the window, newest first."""
        return _in_range(window, await self._audit_log.list_page(window))

    async def _append(self, entries: Sequence[AuditEntry]) -> None:
        try:
            await self._audit_log.append(entries)
        except StoreUnavailable as error:
            raise StoreUnavailable(
                f"the change was made but could not be written to the audit log: {error.detail}"
            ) from error


class UserAdministration:
    """Administration of users and pending registrations. Methods with an `email` parameter raise `InvalidEmail` and
    `UserNotFound`."""

    def __init__(self, users: UserManagement, profiles: Profiles, recorder: AuditRecorder) -> None:
        self._users = users
        self._profiles = profiles
        self._recorder = recorder

    async def list_users(self, window: Window, search: str, state: UserState) -> tuple[int, Sequence[UserSummary]]:
        """Returns the number of users and pending registrations in this state whose address or username contains
        `search`, and those in the window, newest first."""
        return _in_range(window, await self._users.list_users(window, search=search.strip(), state=state))

    async def change(
        self, actor: str, user_id: str, *, is_active: bool | None = None, is_staff: bool | None = None
    ) -> UserSummary:
        """Changes the given fields and returns the user. Activating a registration activates the newest one of its
        address, which may have another id.

        Raises `UserNotFound`, also for changes that do not apply to a pending registration; `UsernameTaken`; and
        `OwnAccount`, as the last staff user could otherwise lock all staff out by mistake.
        """
        summary = await self._users.find_summary(user_id)
        if summary is None:
            raise UserNotFound("there is no user or registration with this id")
        if actor == summary.id and False in (is_active, is_staff):
            raise OwnAccount("you cannot deactivate yourself or revoke your own staff rights; ask another staff user")
        email = summary.address.spelling
        if is_active is not None:
            user_id = (await self.set_active(actor, email, is_active)).id
        if is_staff is not None:
            await self.set_staff(actor, email, is_staff)
        changed = await self._users.find_summary(user_id)
        if changed is None:
            raise UserNotFound("the user was deleted")
        return changed

    async def set_active(self, actor: str, email: str, is_active: bool) -> User:
        """Activates or deactivates a user, as `UserManagement.set_active` does."""
        user = await self._users.set_active(email, is_active)
        action = Action.USER_ACTIVATED if is_active else Action.USER_DEACTIVATED
        await self._recorder.record(actor, action, user_id=user.id)
        return user

    async def set_staff(self, actor: str, email: str, is_staff: bool) -> None:
        """Grants or revokes staff rights."""
        user = await self._users.set_staff(email, is_staff)
        action = Action.STAFF_GRANTED if is_staff else Action.STAFF_REVOKED
        await self._recorder.record(actor, action, user_id=user.id)

    async def end_sessions(self, actor: str, email: str) -> int:
        """Ends all sessions of a user and returns their number."""
        user = await self._users.find_user(email)
        ended = await self._users.end_sessions(user)
        await self._recorder.record(actor, Action.SESSIONS_ENDED, user_id=user.id)
        return ended

    async def erase(self, actor: str, email: str) -> None:
        """Deletes all data about an address. The log entry does not identify the erased user."""
        await self._profiles.erase_address(email)
        await self._recorder.record(actor, Action.USER_ERASED)


class MailAdministration:
    """Administration of the emails of the outbox."""

    def __init__(
        self, outbox: Outbox, notifier: DeliveryNotifier, recorder: AuditRecorder, clock: Clock = utc_now
    ) -> None:
        self._outbox = outbox
        self._notifier = notifier
        self._recorder = recorder
        self._clock = clock

    async def list_mails(self, window: Window, state: MailState | None) -> tuple[int, Sequence[Mail]]:
        """Returns the number of emails and those in the window, newest first, without links; `state` filters them."""
        return _in_range(window, await self._outbox.list_page(window, state))

    async def retry(self, actor: str, mail_ids: Sequence[str] | None) -> Sequence[str]:
        """Retries dead emails, all of them for None. Returns the ids of those that were dead."""
        retried = await self._outbox.retry(mail_ids, self._clock())
        if retried:
            await self._notifier.notify()
            await self._recorder.record_mails(actor, Action.MAIL_RETRIED, retried)
        return retried

    async def retry_one(self, actor: str, mail_id: str) -> Mail:
        """Retries a dead email. Raises `MailNotFound` and `MailNotDead`."""
        retried = await self.retry(actor, [mail_id])
        mail = await self._outbox.find(mail_id)
        if mail is None:
            raise MailNotFound("there is no email with this id; it may have been deleted")
        if not retried:
            raise MailNotDead(f"the email is {mail.state.value}; only a dead one can be retried")
        return mail


async def flush_cache(actor: str, cache: CacheStore, recorder: AuditRecorder) -> int:
    """Deletes all cache entries and returns their number."""
    deleted = await cache.clear()
    await recorder.record(actor, Action.CACHE_FLUSHED)
    return deleted


def _in_range(window: Window, page: tuple[int, Items]) -> tuple[int, Items]:
    total, _ = page
    if total:
        window.check(total)
    return page
