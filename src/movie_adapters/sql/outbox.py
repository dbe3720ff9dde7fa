"""Mails in a SQL database, from being wanted to being sent."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Select, case, delete, exists, func, insert, or_, select, true, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from movie_adapters.sql.tables import (
    links,
    lock_address,
    login_networks,
    mails,
    registrations,
    transaction,
    users,
)
from movie_core.accounts.keyring import Keyring, new_id
from movie_core.accounts.outbox import (
    ACTIVATIONS,
    FOR_ACCOUNTS,
    MAX_TALLY,
    NOTICES,
    RENEWED,
    EmailLink,
    Mail,
    MailKind,
    MailRules,
    MailState,
    NewLink,
    OutboxStats,
    Purpose,
)
from movie_core.accounts.users import Address
from movie_core.operations.rate_limits import widest_network_of
from movie_core.paging import Window
from movie_core.quotas import Rate

REMOVED = 2_000
"""Mails that nobody is there for, removed at a time."""

_PENDING = mails.c.state == MailState.PENDING.value
_IS_ACTIVATION = mails.c.kind.in_([kind.value for kind in ACTIVATIONS])
_IS_FOR_ACCOUNT = mails.c.kind.in_([kind.value for kind in FOR_ACCOUNTS])
_HAS_READER = or_(
    _IS_ACTIVATION & exists().where(registrations.c.email_key == mails.c.address_key, ~registrations.c.is_decoy),
    ~_IS_ACTIVATION & exists().where(users.c.email_key == mails.c.address_key, users.c.is_active),
)
"""Whether there is somebody for a mail that waits to be made."""


class SqlOutbox:
    """An `Outbox` in tables that `engine.migrate` has made; the engine stays its owner's to dispose of."""

    def __init__(self, engine: AsyncEngine, rules: MailRules, keys: Keyring) -> None:
        self._engine = engine
        self._rules = rules
        self._keys = keys

    async def claim(self, owner: str, now: datetime, limit: int, lease: timedelta) -> Sequence[Mail]:
        await self._remove_unread(now)
        while due := await self._due(now, limit):
            unmade = [row for row in due if row.made_at is None]
            for row in unmade:
                await self._make(row.id, row.address_key, now)
            claimed = await self._lease(owner, now, limit, lease)
            if claimed or not unmade:
                return claimed
        return ()

    async def complete(self, owner: str, mail: Mail) -> bool:
        kept: dict[str, Any] = {
            "state": mail.state.value,
            "attempts": mail.attempts,
            "last_error": mail.last_error,
            "due_at": mail.due_at,
            "sent_at": mail.sent_at,
            "lease_owner": None,
            "leased_until": None,
        }
        if mail.state is MailState.SENT:
            kept["links"] = "[]"
        own = (mails.c.id == mail.id) & (mails.c.lease_owner == owner) & _PENDING
        is_forgotten = mail.kind is MailKind.ACCOUNT_ERASED and mail.state is not MailState.PENDING
        async with transaction(self._engine) as connection:
            done = await connection.execute(
                delete(mails).where(own) if is_forgotten else update(mails).where(own).values(kept)
            )
            return bool(done.rowcount)

    async def release(self, owner: str, mail_ids: Sequence[str], now: datetime) -> None:
        async with transaction(self._engine) as connection:
            await connection.execute(
                update(mails)
                .where(mails.c.id.in_(mail_ids), mails.c.lease_owner == owner)
                .values(lease_owner=None, leased_until=None)
            )

    async def list_page(self, window: Window, state: MailState | None = None) -> tuple[int, Sequence[Mail]]:
        which = true() if state is None else mails.c.state == state.value
        query = select(mails).where(which).order_by(mails.c.created_at.desc(), mails.c.id)
        async with transaction(self._engine, read_only=True) as connection:
            total = await connection.scalar(select(func.count()).select_from(mails).where(which))
            rows = await connection.execute(query.offset(window.offset).limit(window.limit))
            return total or 0, [_mail(row) for row in rows]

    async def find(self, mail_id: str) -> Mail | None:
        async with transaction(self._engine, read_only=True) as connection:
            row = (await connection.execute(select(mails).where(mails.c.id == mail_id))).one_or_none()
            return None if row is None else _mail(row)

    async def retry(self, mail_ids: Sequence[str] | None, now: datetime) -> Sequence[str]:
        which = mails.c.state == MailState.DEAD.value
        if mail_ids is not None:
            which &= mails.c.id.in_(mail_ids)
        async with transaction(self._engine) as connection:
            await connection.execute(
                update(links)
                .where(links.c.mail_id.in_(select(mails.c.id).where(which)))
                .values(expires_at=now + self._rules.link_ttl)
            )
            due = update(mails).where(which).values(state=MailState.PENDING.value, attempts=0, due_at=now)
            return (await connection.scalars(due.returning(mails.c.id))).all()

    async def stats(self, now: datetime) -> OutboxStats:
        counts = [
            select(func.count())
            .select_from(select(mails.c.id).where(mails.c.state == state.value).limit(MAX_TALLY).subquery())
            .scalar_subquery()
            for state in MailState
        ]
        oldest_made = select(func.min(mails.c.made_at)).where(_PENDING).scalar_subquery()
        oldest_due = select(func.min(mails.c.due_at)).where(_PENDING, mails.c.made_at.is_(None), mails.c.due_at <= now)
        async with transaction(self._engine, read_only=True) as connection:
            *numbers, made, due = (
                await connection.execute(select(*counts, oldest_made, oldest_due.scalar_subquery()))
            ).one()
        waiting = min((at for at in (made, due) if at is not None), default=None)
        return OutboxStats(dict(zip(MailState, numbers, strict=True)), waiting)

    async def _remove_unread(self, now: datetime) -> None:
        """Remove waiting mails to addresses without a registration or account. Strangers can request any number of
        them, and they must not delay other mails."""
        unread = (
            select(mails.c.id)
            .where(_PENDING, mails.c.made_at.is_(None), mails.c.due_at <= now, ~_HAS_READER)
            .limit(REMOVED)
        )
        async with transaction(self._engine, read_only=True) as connection:
            ids = (await connection.scalars(unread)).all()
        if ids:
            async with transaction(self._engine) as connection:
                await connection.execute(
                    delete(mails).where(mails.c.id.in_(ids), mails.c.made_at.is_(None), ~_HAS_READER)
                )

    async def _due(self, now: datetime, limit: int) -> Sequence[Any]:
        """Mails to make or to lease. Reads only, as this is all there is to do most of the time."""
        async with transaction(self._engine, read_only=True) as connection:
            rows = await connection.execute(
                select(mails.c.id, mails.c.address_key, mails.c.made_at)
                .where(_PENDING, mails.c.due_at <= now, _is_free(now), mails.c.made_at.is_not(None) | _HAS_READER)
                .order_by(*_BY_URGENCY)
                .limit(limit)
            )
            return rows.all()

    async def _lease(self, owner: str, now: datetime, limit: int, lease: timedelta) -> Sequence[Mail]:
        async with transaction(self._engine) as connection:
            found = await connection.execute(
                select(mails)
                .where(_PENDING, mails.c.due_at <= now, mails.c.made_at.is_not(None), _is_free(now))
                .order_by(*_BY_URGENCY, mails.c.created_at, mails.c.id)
                .limit(limit)
                .with_for_update(skip_locked=True)
            )
            rows = found.all()
            ids = [row.id for row in rows]
            if ids:
                leased = update(mails).where(mails.c.id.in_(ids))
                await connection.execute(leased.values(lease_owner=owner, leased_until=now + lease))
                good = update(links).where(links.c.mail_id.in_(ids))
                await connection.execute(good.values(expires_at=now + self._rules.link_ttl))
            return [_mail(row, with_links=True) for row in rows]

    # --- making mails

    async def _make(self, mail_id: str, address_key: str, now: datetime) -> None:
        """Make a mail that waits, unless it has gone, must wait longer, or nobody is there for it: then it goes."""
        async with transaction(self._engine) as connection:
            await lock_address(connection, address_key)
            rows = await connection.execute(select(mails).where(mails.c.id == mail_id, mails.c.made_at.is_(None)))
            mail = rows.one_or_none()
            if mail is None:
                return
            requested_from = mail.requested_from or ""
            served: list[str] = json.loads(mail.served)
            parts = [
                part
                for part in await self._parts(connection, mail)
                if Address(part[0], address_key).mailbox not in served
            ]
            await connection.execute(delete(mails).where(mails.c.id == mail_id))
            made_before = await self._made(connection, address_key, now)
            is_known = requested_from in await _networks(connection, address_key)
            kind = MailKind(mail.kind)
            for place, (recipient, uids) in enumerate(parts):
                free = now
                if kind not in NOTICES:
                    free = self._rules.free_at(now, made_before, requested_from, is_known=is_known)
                row = mail_row(kind, address_key, mail.created_at, free, requested_from)
                if place == 0:
                    row["id"] = mail_id
                if free > now:
                    await connection.execute(insert(mails).values(row | {"served": json.dumps(served)}))
                    return
                made = [EmailLink(**asdict(NewLink.make(uid, self._keys))) for uid in uids]
                row |= {"recipient": recipient, "made_at": now, "links": links_text(made)}
                await connection.execute(insert(mails).values(row))
                if made:
                    purpose = Purpose.RESET if mail.kind == MailKind.PASSWORD_RESET.value else Purpose.ACTIVATE
                    if mail.kind == MailKind.ACTIVATION_RENEWAL.value:
                        earlier = links.c.uid.in_(uids) & (links.c.purpose == purpose.value)
                        await connection.execute(delete(links).where(earlier))
                    expires_at = now + self._rules.link_ttl
                    await connection.execute(
                        insert(links), [link_row(one, purpose, address_key, row["id"], expires_at) for one in made]
                    )
                made_before.append((now, requested_from))
                served.append(Address(recipient, address_key).mailbox)

    async def _made(self, connection: AsyncConnection, address_key: str, now: datetime) -> list[tuple[datetime, str]]:
        if self._rules.total is None:
            return []
        rows = await connection.execute(newest_made(address_key, self._rules.total, now))
        return [(at, requested_from or "") for at, requested_from in rows]

    async def _parts(self, connection: AsyncConnection, mail: Any) -> list[tuple[str, list[str]]]:
        """Whom the mail goes to, and the uid of each of its links; one part per mailbox."""
        if mail.kind in ACTIVATIONS:
            wanted = pending_registrations(mail.address_key)
            is_own = func.coalesce(registrations.c.requested_from, "") == (mail.requested_from or "")
            if mail.kind == MailKind.ACTIVATION.value:
                wanted = wanted.where(is_own, ~exists().where(links.c.uid == registrations.c.id))
            own_first = (case((is_own, 0), else_=1), registrations.c.created_at.desc(), registrations.c.id)
            newest = wanted.order_by(*own_first).limit(RENEWED)
            parts: dict[str, tuple[str, list[str]]] = {}
            for row in await connection.execute(newest):
                mailbox = Address(row.email, mail.address_key).mailbox
                parts.setdefault(mailbox, (row.email, []))[1].append(row.id)
            return list(parts.values())
        found = await connection.execute(select(users).where(users.c.email_key == mail.address_key, users.c.is_active))
        owner = found.one_or_none()
        if owner is None:
            return []
        return [(owner.email, [owner.id] if mail.kind == MailKind.PASSWORD_RESET.value else [])]


def pending_registrations(address_key: str) -> Select[Any]:
    """Those that may become an account; a decoy never does."""
    return select(registrations).where(registrations.c.email_key == address_key, ~registrations.c.is_decoy)


def newest_made(address_key: str, limit: Rate, now: datetime) -> Select[Any]:
    """Time and requesting network of the newest mails to an address within the window of a limit, at most as many as
    the limit allows."""
    return (
        select(mails.c.made_at, mails.c.requested_from)
        .where(
            mails.c.address_key == address_key,
            mails.c.made_at > now - timedelta(seconds=limit.seconds),
            mails.c.kind.not_in([kind.value for kind in NOTICES]),
        )
        .order_by(mails.c.made_at.desc())
        .limit(limit.amount)
    )


async def _networks(connection: AsyncConnection, address_key: str) -> set[str]:
    """The widest networks from which an account has logged in."""
    own = select(login_networks.c.network).join(users).where(users.c.email_key == address_key)
    return set(map(widest_network_of, (await connection.scalars(own)).all()))


def mail_row(
    kind: MailKind, address_key: str, created_at: datetime, due_at: datetime, requested_from: str = ""
) -> dict[str, Any]:
    """A mail that waits to be made."""
    return {
        "id": new_id(),
        "kind": kind.value,
        "address_key": address_key,
        "recipient": "",
        "state": MailState.PENDING.value,
        "attempts": 0,
        "last_error": "",
        "created_at": created_at,
        "made_at": None,
        "due_at": due_at,
        "links": "[]",
        "served": "[]",
        "requested_from": requested_from,
    }


async def put_waiting(connection: AsyncConnection, row: dict[str, Any]) -> None:
    """Keep a mail that waits, in place of one of its kind from the same network. The address is locked."""
    same = mails.c.made_at.is_(None)
    for name in ("address_key", "kind", "requested_from"):
        same &= mails.c[name] == row[name]
    await connection.execute(delete(mails).where(same))
    await connection.execute(insert(mails).values(row))


async def put_notice(connection: AsyncConnection, kind: MailKind, address_key: str, now: datetime) -> None:
    """Keep a mail that says what has happened to an account, made when its turn comes. The address is locked."""
    await put_waiting(connection, mail_row(kind, address_key, now, now))


def links_text(made: Sequence[EmailLink]) -> str:
    # The previous version requires the key `username`.
    return json.dumps([asdict(link) | {"username": ""} for link in made])


def link_row(
    link: EmailLink | NewLink, purpose: Purpose, address_key: str, mail_id: str, expires_at: datetime
) -> dict[str, Any]:
    return {
        "hashed": link.hashed,
        "uid": link.uid,
        "purpose": purpose.value,
        "address_key": address_key,
        "mail_id": mail_id,
        "expires_at": expires_at,
    }


_BY_URGENCY: tuple[ColumnElement[Any], ...] = (case((_IS_FOR_ACCOUNT, 0), else_=1), mails.c.due_at)


def _is_free(now: datetime) -> Any:
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
