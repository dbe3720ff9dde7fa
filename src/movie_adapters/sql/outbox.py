"""The transactional outbox in a SQL database.

A queued email has no recipient, links or `made_at` (the time of preparation). Preparing it sets all three; then it is
leased and sent.
Its links expire `MailRules.link_ttl` after it was last leased, that is, after the last attempt to send it.
"""

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, case, delete, exists, func, insert, or_, select, true, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from movie_adapters.sql.mail_queue import link_row, links_json, mail_row, recent_mails
from movie_adapters.sql.registrations import pending_registrations
from movie_adapters.sql.tables import (
    acquire_address_lock,
    links,
    login_networks,
    mails,
    registrations,
    transaction,
    users,
)
from movie_core.accounts.keyring import Keyring
from movie_core.accounts.outbox import (
    ACTIVATION_KINDS,
    MAX_COUNT,
    MAX_LINKS,
    NOTICES,
    USER_KINDS,
    EmailLink,
    Mail,
    MailKind,
    MailRules,
    MailState,
    OutboxStats,
    Purpose,
)
from movie_core.accounts.users import Address
from movie_core.operations.rate_limits import widest_network_of
from movie_core.paging import Window

UNDELIVERABLE_BATCH = 2_000
"""Emails without a recipient that are deleted in one transaction."""

_PENDING = mails.c.state == MailState.PENDING.value
_IS_ACTIVATION = mails.c.kind.in_([kind.value for kind in ACTIVATION_KINDS])
_IS_FOR_USER = mails.c.kind.in_([kind.value for kind in USER_KINDS])
_HAS_RECIPIENT = or_(
    _IS_ACTIVATION & exists().where(registrations.c.email_key == mails.c.address_key, ~registrations.c.is_decoy),
    ~_IS_ACTIVATION & exists().where(users.c.email_key == mails.c.address_key, users.c.is_active),
)
"""Whether a queued email has a recipient: a pending registration, or an active user."""


class SqlOutbox:
    """An `Outbox` in tables created by `engine.migrate`. The caller disposes of the engine."""

    def __init__(self, engine: AsyncEngine, rules: MailRules, keyring: Keyring) -> None:
        self._engine = engine
        self._rules = rules
        self._keyring = keyring

    async def claim(self, owner: str, now: datetime, limit: int, lease: timedelta) -> Sequence[Mail]:
        await self._delete_undeliverable(now)
        while due := await self._find_due(now, limit):
            unprepared = [row for row in due if row.made_at is None]
            for row in unprepared:
                await self._prepare(row.id, row.address_key, now)
            claimed = await self._lease(owner, now, limit, lease)
            if claimed or not unprepared:
                return claimed
        return ()

    async def complete(self, owner: str, mail: Mail) -> bool:
        values: dict[str, Any] = {
            "state": mail.state.value,
            "attempts": mail.attempts,
            "last_error": mail.last_error,
            "due_at": mail.due_at,
            "sent_at": mail.sent_at,
            "lease_owner": None,
            "leased_until": None,
        }
        if mail.state is MailState.SENT:
            values["links"] = "[]"
        own = (mails.c.id == mail.id) & (mails.c.lease_owner == owner) & _PENDING
        is_deleted = mail.kind is MailKind.ACCOUNT_ERASED and mail.state is not MailState.PENDING
        async with transaction(self._engine) as connection:
            result = await connection.execute(
                delete(mails).where(own) if is_deleted else update(mails).where(own).values(values)
            )
            return bool(result.rowcount)

    async def release(self, owner: str, mail_ids: Sequence[str]) -> None:
        async with transaction(self._engine) as connection:
            await connection.execute(
                update(mails)
                .where(mails.c.id.in_(mail_ids), mails.c.lease_owner == owner)
                .values(lease_owner=None, leased_until=None)
            )

    async def list_page(self, window: Window, state: MailState | None = None) -> tuple[int, Sequence[Mail]]:
        condition = true() if state is None else mails.c.state == state.value
        query = select(mails).where(condition).order_by(mails.c.created_at.desc(), mails.c.id)
        async with transaction(self._engine, read_only=True) as connection:
            total = await connection.scalar(select(func.count()).select_from(mails).where(condition))
            rows = await connection.execute(query.offset(window.offset).limit(window.limit))
            return total or 0, [_mail(row) for row in rows]

    async def find(self, mail_id: str) -> Mail | None:
        async with transaction(self._engine, read_only=True) as connection:
            row = (await connection.execute(select(mails).where(mails.c.id == mail_id))).one_or_none()
            return None if row is None else _mail(row)

    async def retry(self, mail_ids: Sequence[str] | None, now: datetime) -> Sequence[str]:
        condition = mails.c.state == MailState.DEAD.value
        if mail_ids is not None:
            condition &= mails.c.id.in_(mail_ids)
        async with transaction(self._engine) as connection:
            await connection.execute(
                update(links)
                .where(links.c.mail_id.in_(select(mails.c.id).where(condition)))
                .values(expires_at=self._rules.link_expiry(now))
            )
            retried = update(mails).where(condition).values(state=MailState.PENDING.value, attempts=0, due_at=now)
            return (await connection.scalars(retried.returning(mails.c.id))).all()

    async def stats(self, now: datetime) -> OutboxStats:
        counts = [
            select(func.count())
            .select_from(select(mails.c.id).where(mails.c.state == state.value).limit(MAX_COUNT).subquery())
            .scalar_subquery()
            for state in MailState
        ]
        oldest_prepared = select(func.min(mails.c.made_at)).where(_PENDING).scalar_subquery()
        oldest_due = select(func.min(mails.c.due_at)).where(_PENDING, mails.c.made_at.is_(None), mails.c.due_at <= now)
        async with transaction(self._engine, read_only=True) as connection:
            *numbers, prepared_at, due_at = (
                await connection.execute(select(*counts, oldest_prepared, oldest_due.scalar_subquery()))
            ).one()
        oldest_pending = min((at for at in (prepared_at, due_at) if at is not None), default=None)
        return OutboxStats(dict(zip(MailState, numbers, strict=True)), oldest_pending)

    async def _delete_undeliverable(self, now: datetime) -> None:
        """Delete queued emails to addresses without a registration or user.

        Anyone can request any number of them, and they must not delay other emails.
        """
        undeliverable = (
            select(mails.c.id)
            .where(_PENDING, mails.c.made_at.is_(None), mails.c.due_at <= now, ~_HAS_RECIPIENT)
            .limit(UNDELIVERABLE_BATCH)
        )
        async with transaction(self._engine, read_only=True) as connection:
            ids = (await connection.scalars(undeliverable)).all()
        if ids:
            async with transaction(self._engine) as connection:
                await connection.execute(
                    delete(mails).where(mails.c.id.in_(ids), mails.c.made_at.is_(None), ~_HAS_RECIPIENT)
                )

    async def _find_due(self, now: datetime, limit: int) -> Sequence[Any]:
        """Find emails to prepare or to lease. Read-only, as there are none most of the time."""
        async with transaction(self._engine, read_only=True) as connection:
            rows = await connection.execute(
                select(mails.c.id, mails.c.address_key, mails.c.made_at)
                .where(
                    _PENDING, mails.c.due_at <= now, _is_unleased(now), mails.c.made_at.is_not(None) | _HAS_RECIPIENT
                )
                .order_by(*_BY_PRIORITY)
                .limit(limit)
            )
            return rows.all()

    async def _lease(self, owner: str, now: datetime, limit: int, lease: timedelta) -> Sequence[Mail]:
        async with transaction(self._engine) as connection:
            result = await connection.execute(
                select(mails)
                .where(_PENDING, mails.c.due_at <= now, mails.c.made_at.is_not(None), _is_unleased(now))
                .order_by(*_BY_PRIORITY, mails.c.created_at, mails.c.id)
                .limit(limit)
                .with_for_update(skip_locked=True)
            )
            rows = result.all()
            ids = [row.id for row in rows]
            if ids:
                leased = update(mails).where(mails.c.id.in_(ids))
                await connection.execute(leased.values(lease_owner=owner, leased_until=now + lease))
                renewed = update(links).where(links.c.mail_id.in_(ids))
                await connection.execute(renewed.values(expires_at=self._rules.link_expiry(now)))
            return [_mail(row, with_links=True) for row in rows]

    # --- preparing emails

    async def _prepare(self, mail_id: str, address_key: str, now: datetime) -> None:
        """Set recipient and links of a queued email, or one email for each mailbox of the address.

        Deletes it if there is no recipient. Postpones emails that the rate limit does not allow yet.
        """
        async with transaction(self._engine) as connection:
            await acquire_address_lock(connection, address_key)
            rows = await connection.execute(select(mails).where(mails.c.id == mail_id, mails.c.made_at.is_(None)))
            mail = rows.one_or_none()
            if mail is None:
                return
            requested_from = mail.requested_from or ""
            served: list[str] = json.loads(mail.served)
            recipients = [
                (recipient, uids)
                for recipient, uids in await self._find_recipients(connection, mail)
                if Address(recipient, address_key).mailbox not in served
            ]
            await connection.execute(delete(mails).where(mails.c.id == mail_id))
            earlier = await self._recent_mails(connection, address_key, now)
            is_known = requested_from in await _login_networks(connection, address_key)
            kind = MailKind(mail.kind)
            for index, (recipient, uids) in enumerate(recipients):
                allowed_at = now
                if kind not in NOTICES:
                    allowed_at = self._rules.free_at(now, earlier, requested_from, is_known=is_known)
                row = mail_row(kind, address_key, mail.created_at, allowed_at, requested_from)
                if index == 0:
                    row["id"] = mail_id
                if allowed_at > now:
                    await connection.execute(insert(mails).values(row | {"served": json.dumps(served)}))
                    return
                new_links = [EmailLink.create(uid, self._keyring) for uid in uids]
                row |= {"recipient": recipient, "made_at": now, "links": links_json(new_links)}
                await connection.execute(insert(mails).values(row))
                if new_links:
                    purpose = Purpose.RESET if mail.kind == MailKind.PASSWORD_RESET.value else Purpose.ACTIVATE
                    if mail.kind == MailKind.ACTIVATION_RENEWAL.value:
                        replaced = links.c.uid.in_(uids) & (links.c.purpose == purpose.value)
                        await connection.execute(delete(links).where(replaced))
                    expires_at = self._rules.link_expiry(now)
                    await connection.execute(
                        insert(links),
                        [link_row(link, purpose, address_key, row["id"], expires_at) for link in new_links],
                    )
                earlier.append((now, requested_from))
                served.append(Address(recipient, address_key).mailbox)

    async def _recent_mails(
        self, connection: AsyncConnection, address_key: str, now: datetime
    ) -> list[tuple[datetime, str]]:
        if self._rules.total is None:
            return []
        rows = await connection.execute(recent_mails(address_key, self._rules.total, now))
        return [(at, requested_from or "") for at, requested_from in rows]

    async def _find_recipients(self, connection: AsyncConnection, mail: Any) -> list[tuple[str, list[str]]]:
        """Return the recipient addresses of an email, one per mailbox, each with the uids of its links."""
        if mail.kind in ACTIVATION_KINDS:
            query = pending_registrations(mail.address_key)
            is_own = func.coalesce(registrations.c.requested_from, "") == (mail.requested_from or "")
            if mail.kind == MailKind.ACTIVATION.value:
                query = query.where(is_own, ~exists().where(links.c.uid == registrations.c.id))
            own_first = (case((is_own, 0), else_=1), registrations.c.created_at.desc(), registrations.c.id)
            newest = query.order_by(*own_first).limit(MAX_LINKS)
            recipients: dict[str, tuple[str, list[str]]] = {}
            for row in await connection.execute(newest):
                mailbox = Address(row.email, mail.address_key).mailbox
                recipients.setdefault(mailbox, (row.email, []))[1].append(row.id)
            return list(recipients.values())
        result = await connection.execute(select(users).where(users.c.email_key == mail.address_key, users.c.is_active))
        user = result.one_or_none()
        if user is None:
            return []
        return [(user.email, [user.id] if mail.kind == MailKind.PASSWORD_RESET.value else [])]


async def _login_networks(connection: AsyncConnection, address_key: str) -> set[str]:
    """Return the widest networks from which the user has logged in."""
    own = select(login_networks.c.network).join(users).where(users.c.email_key == address_key)
    return set(map(widest_network_of, (await connection.scalars(own)).all()))


_BY_PRIORITY: tuple[ColumnElement[Any], ...] = (case((_IS_FOR_USER, 0), else_=1), mails.c.due_at)


def _is_unleased(now: datetime) -> Any:
    return or_(mails.c.leased_until.is_(None), mails.c.leased_until <= now)


def _mail(row: Any, *, with_links: bool = False) -> Mail:
    return Mail(
        id=row.id,
        kind=MailKind(row.kind),
        recipient=row.recipient,
        state=MailState(row.state),
        attempts=row.attempts,
        last_error=row.last_error,
        created_at=row.created_at,
        due_at=row.due_at,
        sent_at=row.sent_at,
        links=tuple(
            EmailLink(link["uid"], link["hashed"], link["sealed"])
            for link in (json.loads(row.links) if with_links else ())
        ),
    )
