"""Accounts and registrations in a SQL database."""

import unicodedata
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    ColumnElement,
    CompoundSelect,
    Delete,
    Table,
    case,
    delete,
    exists,
    false,
    func,
    insert,
    literal,
    null,
    or_,
    select,
    true,
    union_all,
    update,
)
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from movie_adapters.sql.audit import anonymise_entries
from movie_adapters.sql.outbox import (
    link_row,
    links_json,
    mail_row,
    pending_registrations,
    queue_mail,
    queue_notice,
    recent_mails,
)
from movie_adapters.sql.tables import (
    AnyText,
    UtcTime,
    acquire_address_lock,
    acquire_user_lock,
    end_sessions,
    ended_sessions,
    links,
    login_networks,
    mails,
    refresh_tokens,
    registrations,
    sessions,
    transaction,
    users,
)
from movie_core.accounts.keyring import Keyring
from movie_core.accounts.outbox import ACTIVATIONS, EmailLink, MailKind, MailRules, MailState, NewLink, Purpose
from movie_core.accounts.users import MAX_PENDING, REPEAT, Address, Registration, User, Username, UserState
from movie_core.clock import iso_time
from movie_core.errors import InvalidLink, PasswordRequired, UsernameTaken, UserNotFound
from movie_core.paging import Window
from movie_core.ports import ActivationLink, ActivationResult, UsernameSyntax, UserSummary

KEPT_AFTER_LINK = timedelta(days=7)
"""How long registrations and links outlive the link's end."""
KEPT_AFTER_SENDING = timedelta(days=30)
KEPT_AFTER_SESSION = timedelta(days=1)
LIST_SECONDS = 5.0
"""How long a list may take: a search in it reads every account, a million in about a second."""
BATCH = 500
"""Rows that a purge removes in one transaction."""


class SqlUserRepo:
    """A `UserRepo` in tables that `engine.migrate` has made; the engine stays its owner's to dispose of."""

    def __init__(self, engine: AsyncEngine, rules: MailRules, keys: Keyring, syntax: UsernameSyntax) -> None:
        self._engine = engine
        self._rules = rules
        self._keys = keys
        self._syntax = syntax

    async def register(self, registration: Registration, now: datetime) -> None:
        # The same statements whether the address is taken or free: nobody should tell from the time that it takes.
        address, name = registration.address, registration.username
        async with transaction(self._engine) as connection:
            await acquire_address_lock(connection, address.key)
            found = (await connection.execute(self._facts(registration, now))).all()
            if any(what == "username" for what, _, _ in found):
                raise _taken()
            if any(
                what == "repeat" and Address(text, address.key).mailbox == address.mailbox for what, text, _ in found
            ):
                return
            owner = next((text for what, text, _ in found if what == "owner"), None)
            made = [(at, network or "") for what, network, at in found if what == "made"]
            free = self._rules.free_at(now, made, registration.requested_from)
            await connection.execute(_delete_surplus(registration))
            row = {
                "id": registration.id,
                "email": address.spelling,
                "email_key": address.key,
                **_username_columns(name),
                "password_hash": registration.password_hash,
                "created_at": registration.created_at,
                "is_decoy": owner is not None,
                "requested_from": registration.requested_from,
            }
            await connection.execute(insert(registrations).values(row))
            kind = MailKind.ACTIVATION if owner is None else MailKind.ADDRESS_TAKEN
            mail = mail_row(kind, address.key, now, free, registration.requested_from)
            if free > now:
                await queue_mail(connection, mail)
                return
            link = NewLink.make(registration.id, self._keys)
            expires_at = now + self._rules.link_ttl
            await connection.execute(
                insert(links).values(link_row(link, Purpose.ACTIVATE, address.key, mail["id"], expires_at))
            )
            # Nobody ever gets the token of a decoy.
            told = [] if owner is not None else [EmailLink(link.uid, link.hashed, link.sealed)]
            ready = {"recipient": owner or address.spelling, "made_at": now, "links": links_json(told)}
            await connection.execute(insert(mails).values(mail | ready))

    def _facts(self, registration: Registration, now: datetime) -> Any:
        """All that decides what becomes of a registration, in one statement: rows of (what, text, time)."""

        def fact(what: str, text: Any, table: Table, *which: ColumnElement[bool]) -> Any:
            return select(literal(what, AnyText()).label("what"), text.label("text"), _NO_TIME).where(*which)

        key, name = registration.address.key, registration.username.key
        facts = [
            fact("owner", users.c.email, users, users.c.email_key == key),
            *(fact("username", users.c.username_key, users, one) for one in _are_like(registration.username)),
            fact(
                "repeat",
                registrations.c.email,
                registrations,
                registrations.c.email_key == key,
                registrations.c.username_key == name,
                registrations.c.password_hash == registration.password_hash,
                registrations.c.created_at >= now - REPEAT,
            ),
        ]
        if self._rules.total is not None:
            made = recent_mails(key, self._rules.total, now).subquery()
            facts.append(select(literal("made", AnyText()), made.c.requested_from, made.c.made_at))
        return union_all(*facts)

    async def request_mail(self, kind: MailKind, address_key: str, now: datetime, *, requested_from: str = "") -> None:
        async with transaction(self._engine) as connection:
            await acquire_address_lock(connection, address_key)
            await queue_mail(connection, mail_row(kind, address_key, now, now, requested_from))

    # --- links

    async def find_activation_link(self, uid: str, hashed: str, now: datetime) -> ActivationLink:
        async with transaction(self._engine, read_only=True) as connection:
            link = await _activation_link(connection, uid, hashed, now)
            if link.used_at is not None:
                return ActivationLink(None, is_only=False)
            rows = (await connection.execute(pending_registrations(link.address_key))).all()
            asked = next((row for row in rows if row.id == uid), None)
            if asked is None:  # it was activated in between
                raise _invalid_link()
            return ActivationLink(_registration(asked), is_only=_are_alike(rows))

    async def activate(
        self, uid: str, hashed: str, now: datetime, *, password_hash: str | None = None
    ) -> ActivationResult:
        async with transaction(self._engine) as connection:
            await _lock_link(connection, hashed)
            link = await _activation_link(connection, uid, hashed, now)
            if link.used_at is not None:
                return ActivationResult(await _account_by(connection, users.c.id == uid), is_new=False)
            if password_hash is None:
                rows = (await connection.execute(pending_registrations(link.address_key))).all()
                if not _are_alike(rows):
                    raise PasswordRequired("several registrations wait under this address")
            user = await _activate(connection, uid, link.address_key, now, used=hashed, password_hash=password_hash)
            return ActivationResult(user, is_new=True)

    async def find_reset_user(self, uid: str, hashed: str, now: datetime) -> User:
        async with transaction(self._engine, read_only=True) as connection:
            return await _reset_owner(connection, uid, hashed, now)

    async def reset_password(self, uid: str, hashed: str, password_hash: str, now: datetime) -> Sequence[str]:
        async with transaction(self._engine) as connection:
            await _lock_link(connection, hashed)
            owner = await _reset_owner(connection, uid, hashed, now)
            await connection.execute(update(users).where(users.c.id == owner.id).values(password_hash=password_hash))
            await _end_reset_links(connection, owner.id)
            await queue_notice(connection, MailKind.PASSWORD_CHANGED, owner.address.key, now)
            return await end_sessions(connection, sessions.c.user_id == owner.id, now)

    # --- accounts

    async def find(self, user_id: str) -> User | None:
        return await self._find(users.c.id == user_id)

    async def find_by_address(self, address_key: str) -> User | None:
        return await self._find(users.c.email_key == address_key)

    async def change_password(
        self, user_id: str, old_hash: str, new_hash: str, *, except_session_id: str, now: datetime
    ) -> Sequence[str] | None:
        present = (users.c.id == user_id) & (users.c.password_hash == old_hash)
        async with transaction(self._engine) as connection:
            address_key = await acquire_user_lock(connection, user_id)
            changed = await connection.execute(update(users).where(present).values(password_hash=new_hash))
            if address_key is None or not changed.rowcount:
                return None
            await _end_reset_links(connection, user_id)
            await queue_notice(connection, MailKind.PASSWORD_CHANGED, address_key, now)
            others = (sessions.c.user_id == user_id) & (sessions.c.id != except_session_id)
            return await end_sessions(connection, others, now)

    async def change_profile(
        self, user_id: str, *, username: Username | None = None, record_events: bool | None = None
    ) -> User:
        new: dict[str, Any] = {}
        if username is not None:
            new |= _username_columns(username)
        if record_events is not None:
            new["record_events"] = record_events
        own = users.c.id == user_id
        async with transaction(self._engine) as connection:
            change = update(users).where(own).values(new).returning(users) if new else select(users).where(own)
            try:
                row = (await connection.execute(change)).one_or_none()
            except IntegrityError:
                raise _taken() from None
        if row is None:
            raise UserNotFound("there is no such account")
        return _account(row)

    async def set_active(self, address_key: str, is_active: bool, now: datetime) -> Sequence[str]:
        async with transaction(self._engine) as connection:
            await acquire_address_lock(connection, address_key)
            changed = update(users).where(users.c.email_key == address_key).values(is_active=is_active)
            user_id = await connection.scalar(changed.returning(users.c.id))
            if user_id is not None:
                return [] if is_active else await end_sessions(connection, sessions.c.user_id == user_id, now)
            newest = pending_registrations(address_key).order_by(registrations.c.created_at.desc(), registrations.c.id)
            registration = (await connection.execute(newest.limit(1))).one_or_none() if is_active else None
            if registration is None:
                raise UserNotFound("there is no account with this address")
            await _activate(connection, registration.id, address_key, now, used=None)
            return []

    async def set_staff(self, address_key: str, is_staff: bool) -> None:
        async with transaction(self._engine) as connection:
            changed = update(users).where(users.c.email_key == address_key).values(is_staff=is_staff)
            if not (await connection.execute(changed)).rowcount:
                raise UserNotFound("there is no account with this address")

    async def list_users(
        self, window: Window, address_key: str | None = None, *, search: str = "", state: UserState | None = None
    ) -> tuple[int, Sequence[UserSummary]]:
        everybody = _everybody(
            lambda table: [
                *([] if address_key is None else [table.c.email_key == address_key]),
                *([_has(table, search)] if search else []),
            ]
        ).subquery()
        wanted: ColumnElement[bool] = true()
        match state:
            case UserState.PENDING:
                wanted = everybody.c.is_pending
            case UserState.ACCOUNT:
                wanted = ~everybody.c.is_pending
            case UserState.STAFF:
                wanted = everybody.c.is_staff
            case UserState.ACTIVE:
                wanted = everybody.c.is_active
            case UserState.INACTIVE:
                wanted = ~everybody.c.is_active & ~everybody.c.is_pending
        count = select(func.count()).select_from(everybody).where(wanted)
        query = select(everybody).where(wanted).order_by(everybody.c.created_at.desc(), everybody.c.id)
        async with transaction(self._engine, read_only=True, seconds=LIST_SECONDS) as connection:
            total = await connection.scalar(count)
            rows = await connection.execute(query.offset(window.offset).limit(window.limit))
            return total or 0, [_person(row) for row in rows]

    async def find_summary(self, person_id: str) -> UserSummary | None:
        async with transaction(self._engine, read_only=True) as connection:
            row = (await connection.execute(_everybody(lambda table: [table.c.id == person_id]))).first()
            return None if row is None else _person(row)

    async def export(self, address_key: str) -> dict[str, Any]:
        person = ("id", "email", "username", "created_at")
        flags = ("is_active", "is_staff", "record_events", "last_login")
        mail = ("id", "kind", "recipient", "state", "attempts", "last_error", "created_at", "due_at", "sent_at")
        own_sessions = select(sessions).join_from(sessions, users).where(users.c.email_key == address_key)
        own_networks = select(login_networks).join_from(login_networks, users).where(users.c.email_key == address_key)
        queries = {
            "account": (select(users).where(users.c.email_key == address_key), person + flags),
            "registrations": (pending_registrations(address_key), person),
            "sessions": (own_sessions, ("id", "device", "created_at", "last_used_at", "expires_at")),
            "login_networks": (own_networks, ("network", "last_used_at")),
            "mails": (select(mails).where(mails.c.address_key == address_key), mail),
        }
        export: dict[str, Any] = {}
        async with transaction(self._engine, read_only=True) as connection:
            for part, (query, names) in queries.items():
                rows = await connection.execute(query)
                export[part] = [{name: _as_json(getattr(row, name)) for name in names} for row in rows]
        export["account"] = export["account"][0] if export["account"] else None
        return export

    async def erase(self, address_key: str, now: datetime) -> Sequence[str]:
        async with transaction(self._engine) as connection:
            await acquire_address_lock(connection, address_key)
            own = users.c.email_key == address_key
            user_id = await connection.scalar(select(users.c.id).where(own).with_for_update())
            ended: list[str] = []
            if user_id is not None:
                ended = await end_sessions(connection, sessions.c.user_id == user_id, now)
                await anonymise_entries(connection, user_id)
            # Mails before links, as whoever leases a mail goes.
            await connection.execute(delete(mails).where(mails.c.address_key == address_key))
            await connection.execute(delete(links).where(links.c.address_key == address_key))
            await connection.execute(delete(registrations).where(registrations.c.email_key == address_key))
            recipient = await connection.scalar(delete(users).where(own).returning(users.c.email))
            if recipient is not None:
                notice = mail_row(MailKind.ACCOUNT_ERASED, address_key, now, now)
                await connection.execute(insert(mails).values(notice | {"recipient": recipient, "made_at": now}))
            return ended

    async def purge(self, now: datetime) -> int:
        """As `UserRepo.purge`, in transactions of `BATCH` rows, so that nobody waits for it."""
        link_end = now - KEPT_AFTER_LINK
        is_pending = mails.c.state == MailState.PENDING.value
        has_link = exists().where(links.c.uid == registrations.c.id, links.c.expires_at > link_end)
        has_mail = exists().where(is_pending, mails.c.id == links.c.mail_id, links.c.uid == registrations.c.id)
        waits = exists().where(is_pending, mails.c.address_key == registrations.c.email_key, mails.c.made_at.is_(None))
        old = registrations.c.created_at <= link_end - self._rules.link_ttl
        link_has_mail = exists().where(is_pending, mails.c.id == links.c.mail_id)
        spent = (refresh_tokens.c.expires_at <= now) & refresh_tokens.c.spent_at.is_not(None)
        useless = (
            (refresh_tokens.c.hashed, spent),
            (ended_sessions.c.id, ended_sessions.c.ended_at <= now - KEPT_AFTER_SESSION),
            (registrations.c.id, old & ~has_link & ~has_mail & ~waits),
            (links.c.hashed, (links.c.expires_at <= link_end) & ~link_has_mail),
            (mails.c.id, mails.c.sent_at <= now - KEPT_AFTER_SENDING),
        )
        removed = await self._purge_sessions(now)
        for key, which in useless:
            removed += await self._purge(key, which)
        await self._add_skeletons()
        return removed

    async def _add_skeletons(self) -> None:
        """Fill in the skeletons of usernames that an earlier version stored. If several look alike, one gets the
        skeleton, and each of the others a value that no new username can have."""
        missing = users.c.username_skeleton.is_(None)
        amount = BATCH
        while amount == BATCH:
            async with transaction(self._engine, read_only=True) as connection:
                rows = (
                    await connection.execute(select(users.c.id, users.c.username).where(missing).limit(BATCH))
                ).all()
            amount = len(rows)
            wanted = {row.id: self._syntax.skeleton(row.username) for row in rows}
            async with transaction(self._engine) as connection:
                taken = set(
                    await connection.scalars(
                        select(users.c.username_skeleton).where(users.c.username_skeleton.in_(wanted.values()))
                    )
                )
                for user_id, skeleton in wanted.items():
                    kept = f"{skeleton}\x1f{user_id}" if skeleton in taken else skeleton
                    taken.add(skeleton)
                    change = update(users).where(users.c.id == user_id, missing).values(username_skeleton=kept)
                    try:
                        async with connection.begin_nested():
                            await connection.execute(change)
                    except IntegrityError:  # one like it has been activated just now
                        await connection.execute(change.values(username_skeleton=f"{skeleton}\x1f{user_id}"))

    async def _purge_sessions(self, now: datetime) -> int:
        some = select(sessions.c.id).where(sessions.c.expires_at <= now).limit(BATCH)
        amount, removed = BATCH, 0
        while amount == BATCH:
            async with transaction(self._engine) as connection:
                amount = len(await end_sessions(connection, sessions.c.id.in_(some), now))
            removed += amount
        return removed

    async def _purge(self, key: Any, which: ColumnElement[bool]) -> int:
        amount, removed = BATCH, 0
        while amount == BATCH:
            async with transaction(self._engine) as connection:
                some = select(key).where(which).limit(BATCH)
                amount = (await connection.execute(delete(key.table).where(key.in_(some)))).rowcount
            removed += amount
        return removed

    async def _find(self, which: ColumnElement[bool]) -> User | None:
        async with transaction(self._engine, read_only=True) as connection:
            row = (await connection.execute(select(users).where(which))).one_or_none()
            return None if row is None else _account(row)


_NO_TIME = literal(None, UtcTime()).label("time")


async def _lock_link(connection: AsyncConnection, hashed: str) -> None:
    """Lock the address of a link, whatever it is good for."""
    address_key = await connection.scalar(select(links.c.address_key).where(links.c.hashed == hashed))
    if address_key is not None:
        await acquire_address_lock(connection, address_key)


async def _activation_link(connection: AsyncConnection, uid: str, hashed: str, now: datetime) -> Any:
    """A link that was used, or may be; raises `InvalidLink`."""
    found = await connection.execute(
        select(links, registrations.c.id.label("registration_id"), users.c.id.label("user_id"))
        .join_from(links, registrations, (registrations.c.id == links.c.uid) & ~registrations.c.is_decoy, isouter=True)
        .join(users, users.c.id == links.c.uid, isouter=True)
        .where(links.c.hashed == hashed, links.c.uid == uid, links.c.purpose == Purpose.ACTIVATE.value)
    )
    row = found.one_or_none()
    was_used = row is not None and row.used_at is not None and row.user_id is not None
    is_good = row is not None and row.used_at is None and row.registration_id is not None and row.expires_at > now
    if not (was_used or is_good):
        raise _invalid_link()
    return row


async def _activate(
    connection: AsyncConnection,
    registration_id: str,
    address_key: str,
    now: datetime,
    *,
    used: str | None,
    password_hash: str | None = None,
) -> User:
    """Make the account of a registration, whose address is locked, with another password where a hash is given; `used`
    is the link that goes on to say so."""
    row = (await connection.execute(select(registrations).where(registrations.c.id == registration_id))).one()
    username = Username(row.username, row.username_key, row.username_skeleton)
    if await connection.scalar(select(exists().where(or_(*_are_like(username))))):
        raise _taken()
    user = {
        "id": row.id,
        "email": row.email,
        "email_key": row.email_key,
        **_username_columns(username),
        "password_hash": password_hash or row.password_hash,
        "is_active": True,
        "is_staff": False,
        "record_events": True,
        "created_at": now,
    }
    try:
        made = (await connection.execute(insert(users).values(user).returning(users))).one()
    except IntegrityError:
        raise _taken() from None
    waiting = mails.c.kind.in_([kind.value for kind in ACTIVATIONS]) & mails.c.made_at.is_(None)
    await connection.execute(delete(mails).where(mails.c.address_key == address_key, waiting))
    ending = (links.c.address_key == address_key) & (links.c.purpose == Purpose.ACTIVATE.value)
    if used is not None:
        ending &= links.c.hashed != used
        await connection.execute(update(links).where(links.c.hashed == used).values(used_at=now))
    await connection.execute(delete(links).where(ending))
    await connection.execute(delete(registrations).where(registrations.c.email_key == address_key))
    return _account(made)


async def _reset_owner(connection: AsyncConnection, uid: str, hashed: str, now: datetime) -> User:
    good = (links.c.hashed == hashed) & (links.c.purpose == Purpose.RESET.value) & (links.c.expires_at > now)
    found = await connection.execute(
        select(users)
        .join_from(users, links, links.c.uid == users.c.id)
        .where(users.c.id == uid, users.c.is_active, good)
    )
    row = found.one_or_none()
    if row is None:
        raise _invalid_link()
    return _account(row)


async def _end_reset_links(connection: AsyncConnection, user_id: str) -> None:
    await connection.execute(delete(links).where(links.c.uid == user_id, links.c.purpose == Purpose.RESET.value))


async def _account_by(connection: AsyncConnection, which: ColumnElement[bool]) -> User:
    return _account((await connection.execute(select(users).where(which))).one())


def _everybody(which: Callable[[Table], Sequence[ColumnElement[bool]]]) -> CompoundSelect[Any]:
    """Accounts and pending registrations, as `_person` reads them; `which` of each of the two tables."""
    shared = ("id", "email", "email_key", "username", "username_key", "username_skeleton", "created_at")
    accounts = select(
        *(users.c[name] for name in shared),
        users.c.last_login,
        users.c.is_active,
        users.c.is_staff,
        false().label("is_pending"),
    )
    pending = select(*(registrations.c[name] for name in shared), null(), false(), false(), true())
    return union_all(accounts.where(*which(users)), pending.where(~registrations.c.is_decoy, *which(registrations)))


def _has(table: Table, search: str) -> ColumnElement[bool]:
    """Whether a text is part of an address or username. In keys case is folded already; a domain's is ASCII there, so
    that the address as it is spelled is looked into too."""
    part = unicodedata.normalize("NFC", search.casefold())
    return or_(
        table.c.email_key.contains(part, autoescape=True),
        table.c.username_key.contains(part, autoescape=True),
        table.c.email.icontains(search, autoescape=True),
    )


def _person(row: Any) -> UserSummary:
    return UserSummary(
        id=row.id,
        address=Address(row.email, row.email_key),
        username=Username(row.username, row.username_key, row.username_skeleton),
        is_pending=row.is_pending,
        is_active=row.is_active,
        is_staff=row.is_staff,
        created_at=row.created_at,
        last_login=row.last_login,
    )


def _account(row: Any) -> User:
    return User(
        id=row.id,
        address=Address(row.email, row.email_key),
        username=Username(row.username, row.username_key, row.username_skeleton),
        password_hash=row.password_hash,
        is_active=row.is_active,
        is_staff=row.is_staff,
        record_events=row.record_events,
        created_at=row.created_at,
        last_login=row.last_login,
    )


def _registration(row: Any) -> Registration:
    return Registration(
        id=row.id,
        address=Address(row.email, row.email_key),
        username=Username(row.username, row.username_key, row.username_skeleton),
        password_hash=row.password_hash,
        created_at=row.created_at,
        requested_from=row.requested_from or "",
    )


def _are_alike(rows: Sequence[Any]) -> bool:
    """Whether registrations of one address are one, sent several times."""
    return len({(Address(row.email, row.email_key).mailbox, row.username_key, row.password_hash) for row in rows}) == 1


def _are_like(username: Username) -> list[ColumnElement[bool]]:
    """The conditions by which an account has the same username, or one that looks like it."""
    same = [users.c.username_key == username.key]
    return same if username.skeleton is None else [*same, users.c.username_skeleton == username.skeleton]


def _username_columns(username: Username) -> dict[str, str | None]:
    return {
        "username": username.shown,
        "username_key": username.key,
        "username_skeleton": username.skeleton,
    }


def _delete_surplus(registration: Registration) -> Delete:
    """Make room for a registration: order the others of its address by their rank within their network, newest first,
    then by age, and delete those beyond `MAX_PENDING`. So the network with most of them loses its oldest one."""
    same = registrations.c.email_key == registration.address.key
    # The new one counts as the newest of its network.
    own = case((registrations.c.requested_from == registration.requested_from, 1), else_=0)
    newest_first = (registrations.c.created_at.desc(), registrations.c.id)
    place = func.row_number().over(partition_by=registrations.c.requested_from, order_by=newest_first) + own
    placed = select(registrations.c.id, place.label("place"), registrations.c.created_at).where(same).subquery()
    kept = select(placed.c.id).order_by(placed.c.place, placed.c.created_at.desc()).limit(MAX_PENDING - 1)
    return delete(registrations).where(same, registrations.c.id.not_in(kept))


def _invalid_link() -> InvalidLink:
    return InvalidLink("the link is not valid any more")


def _taken() -> UsernameTaken:
    return UsernameTaken("this username is taken", field="username")


def _as_json(value: Any) -> Any:
    return iso_time(value) if isinstance(value, datetime) else value
