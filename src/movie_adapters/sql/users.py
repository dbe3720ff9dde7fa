"""Users and registrations in a SQL database."""

import unicodedata
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    ColumnElement,
    CompoundSelect,
    Table,
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
from movie_adapters.sql.mail_queue import link_row, links_json, mail_row, queue_mail, queue_notice, recent_mails
from movie_adapters.sql.registrations import (
    activate_registration,
    are_identical,
    delete_excess_registrations,
    pending_registrations,
    username_conflicts,
    username_taken,
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
from movie_adapters.sql.user_rows import registration_from_row, summary_from_row, user_from_row, username_columns
from movie_core.accounts.keyring import Keyring
from movie_core.accounts.outbox import EmailLink, MailKind, MailRules, MailState, Purpose
from movie_core.accounts.users import REPEAT, Address, PendingRegistration, User, Username, UserState
from movie_core.clock import iso_time
from movie_core.errors import InvalidLink, PasswordRequired, UserNotFound
from movie_core.paging import Window
from movie_core.ports import ActivationLink, ActivationResult, UsernameSyntax, UserSummary

LINK_RETENTION = timedelta(days=7)
"""How long registrations and links are stored after the link has expired."""
SENT_MAIL_RETENTION = timedelta(days=30)
ENDED_SESSION_RETENTION = timedelta(days=1)
LIST_SECONDS = 5.0
"""Timeout of listing users: a search scans every row, a million in about a second."""
BATCH = 500
"""Rows that a purge deletes in one transaction."""


class SqlUserRepo:
    """A `UserRepo` in tables created by `engine.migrate`. The caller disposes of the engine."""

    def __init__(self, engine: AsyncEngine, rules: MailRules, keys: Keyring, syntax: UsernameSyntax) -> None:
        self._engine = engine
        self._rules = rules
        self._keys = keys
        self._syntax = syntax

    async def register(self, registration: PendingRegistration, now: datetime) -> None:
        # Timing: the statements are the same for a taken and a free address, to prevent user enumeration.
        address, username = registration.address, registration.username
        async with transaction(self._engine) as connection:
            await acquire_address_lock(connection, address.key)
            rows = (await connection.execute(self._registration_context(registration, now))).all()
            if any(kind == "username" for kind, _, _ in rows):
                raise username_taken()
            repeated = [Address(text, address.key) for kind, text, _ in rows if kind == "repeat"]
            if any(other.mailbox == address.mailbox for other in repeated):
                return
            owner = next((text for kind, text, _ in rows if kind == "owner"), None)
            earlier = [(at, network or "") for kind, network, at in rows if kind == "mail"]
            allowed_at = self._rules.free_at(now, earlier, registration.requested_from)
            await connection.execute(delete_excess_registrations(registration))
            row = {
                "id": registration.id,
                "email": address.spelling,
                "email_key": address.key,
                **username_columns(username),
                "password_hash": registration.password_hash,
                "created_at": registration.created_at,
                "is_decoy": owner is not None,
                "requested_from": registration.requested_from,
            }
            await connection.execute(insert(registrations).values(row))
            kind = MailKind.ACTIVATION if owner is None else MailKind.ADDRESS_TAKEN
            mail = mail_row(kind, address.key, now, allowed_at, registration.requested_from)
            if allowed_at > now:
                await queue_mail(connection, mail)
                return
            link = EmailLink.create(registration.id, self._keys)
            expires_at = self._rules.link_expiry(now)
            await connection.execute(
                insert(links).values(link_row(link, Purpose.ACTIVATE, address.key, mail["id"], expires_at))
            )
            # The token of a decoy is never sent.
            email_links = [] if owner is not None else [link]
            prepared = {"recipient": owner or address.spelling, "made_at": now, "links": links_json(email_links)}
            await connection.execute(insert(mails).values(mail | prepared))

    def _registration_context(self, registration: PendingRegistration, now: datetime) -> Any:
        """Select all stored data on which `register` depends, in one statement: rows of (kind, text, time).

        Kinds: `owner` (email of the user with this address), `username` (it is taken or confusable), `repeat` (email of
        the same registration within `REPEAT`), `mail` (network and time of a recent email to the address).
        """

        def context(kind: str, text: Any, *conditions: ColumnElement[bool]) -> Any:
            return select(literal(kind, AnyText()).label("kind"), text.label("text"), _NO_TIME).where(*conditions)

        key = registration.address.key
        queries = [
            context("owner", users.c.email, users.c.email_key == key),
            *(
                context("username", users.c.username_key, conflict)
                for conflict in username_conflicts(registration.username)
            ),
            context(
                "repeat",
                registrations.c.email,
                registrations.c.email_key == key,
                registrations.c.username_key == registration.username.key,
                registrations.c.password_hash == registration.password_hash,
                registrations.c.created_at >= now - REPEAT,
            ),
        ]
        if self._rules.total is not None:
            recent = recent_mails(key, self._rules.total, now).subquery()
            queries.append(select(literal("mail", AnyText()), recent.c.requested_from, recent.c.made_at))
        return union_all(*queries)

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
            row = next((row for row in rows if row.id == uid), None)
            if row is None:  # activated by a concurrent request
                raise _invalid_link()
            return ActivationLink(registration_from_row(row), is_only=are_identical(rows))

    async def activate(
        self, uid: str, hashed: str, now: datetime, *, password_hash: str | None = None
    ) -> ActivationResult:
        async with transaction(self._engine) as connection:
            await _lock_link(connection, hashed)
            link = await _activation_link(connection, uid, hashed, now)
            if link.used_at is not None:
                return ActivationResult(await _get_user(connection, uid), is_new=False)
            if password_hash is None:
                rows = (await connection.execute(pending_registrations(link.address_key))).all()
                if not are_identical(rows):
                    raise PasswordRequired("this address has several pending registrations")
            user = await activate_registration(
                connection, uid, link.address_key, now, used_link=hashed, password_hash=password_hash
            )
            return ActivationResult(user, is_new=True)

    async def find_reset_user(self, uid: str, hashed: str, now: datetime) -> User:
        async with transaction(self._engine, read_only=True) as connection:
            return await _find_reset_user(connection, uid, hashed, now)

    async def reset_password(self, uid: str, hashed: str, password_hash: str, now: datetime) -> Sequence[str]:
        async with transaction(self._engine) as connection:
            await _lock_link(connection, hashed)
            user = await _find_reset_user(connection, uid, hashed, now)
            await connection.execute(update(users).where(users.c.id == user.id).values(password_hash=password_hash))
            await _delete_reset_links(connection, user.id)
            await queue_notice(connection, MailKind.PASSWORD_CHANGED, user.address.key, now)
            return await end_sessions(connection, sessions.c.user_id == user.id, now)

    # --- users

    async def find(self, user_id: str) -> User | None:
        return await self._find(users.c.id == user_id)

    async def find_by_address(self, address_key: str) -> User | None:
        return await self._find(users.c.email_key == address_key)

    async def change_password(
        self, user_id: str, old_hash: str, new_hash: str, *, except_session_id: str, now: datetime
    ) -> Sequence[str] | None:
        is_current = (users.c.id == user_id) & (users.c.password_hash == old_hash)
        async with transaction(self._engine) as connection:
            address_key = await acquire_user_lock(connection, user_id)
            changed = await connection.execute(update(users).where(is_current).values(password_hash=new_hash))
            if address_key is None or not changed.rowcount:
                return None
            await _delete_reset_links(connection, user_id)
            await queue_notice(connection, MailKind.PASSWORD_CHANGED, address_key, now)
            others = (sessions.c.user_id == user_id) & (sessions.c.id != except_session_id)
            return await end_sessions(connection, others, now)

    async def change_profile(
        self, user_id: str, *, username: Username | None = None, record_events: bool | None = None
    ) -> User:
        values: dict[str, Any] = {}
        if username is not None:
            values |= username_columns(username)
        if record_events is not None:
            values["record_events"] = record_events
        own = users.c.id == user_id
        async with transaction(self._engine) as connection:
            statement = update(users).where(own).values(values).returning(users) if values else select(users).where(own)
            try:
                row = (await connection.execute(statement)).one_or_none()
            except IntegrityError:
                raise username_taken() from None
        if row is None:
            raise UserNotFound("no such user")
        return user_from_row(row)

    async def set_active(self, address_key: str, is_active: bool, now: datetime) -> Sequence[str]:
        async with transaction(self._engine) as connection:
            await acquire_address_lock(connection, address_key)
            statement = update(users).where(users.c.email_key == address_key).values(is_active=is_active)
            user_id = await connection.scalar(statement.returning(users.c.id))
            if user_id is not None:
                return [] if is_active else await end_sessions(connection, sessions.c.user_id == user_id, now)
            newest = pending_registrations(address_key).order_by(registrations.c.created_at.desc(), registrations.c.id)
            registration = (await connection.execute(newest.limit(1))).one_or_none() if is_active else None
            if registration is None:
                raise UserNotFound("no user with this email address")
            await activate_registration(connection, registration.id, address_key, now, used_link=None)
            return []

    async def set_staff(self, address_key: str, is_staff: bool) -> None:
        async with transaction(self._engine) as connection:
            statement = update(users).where(users.c.email_key == address_key).values(is_staff=is_staff)
            if not (await connection.execute(statement)).rowcount:
                raise UserNotFound("no user with this email address")

    async def list_users(
        self, window: Window, address_key: str | None = None, *, search: str = "", state: UserState | None = None
    ) -> tuple[int, Sequence[UserSummary]]:
        listed = _users_and_registrations(
            lambda table: [
                *([] if address_key is None else [table.c.email_key == address_key]),
                *([_matches(table, search)] if search else []),
            ]
        ).subquery()
        condition: ColumnElement[bool] = true()
        match state:
            case UserState.PENDING:
                condition = listed.c.is_pending
            case UserState.ACCOUNT:
                condition = ~listed.c.is_pending
            case UserState.STAFF:
                condition = listed.c.is_staff
            case UserState.ACTIVE:
                condition = listed.c.is_active
            case UserState.INACTIVE:
                condition = ~listed.c.is_active & ~listed.c.is_pending
        count = select(func.count()).select_from(listed).where(condition)
        query = select(listed).where(condition).order_by(listed.c.created_at.desc(), listed.c.id)
        async with transaction(self._engine, read_only=True, seconds=LIST_SECONDS) as connection:
            total = await connection.scalar(count)
            rows = await connection.execute(query.offset(window.offset).limit(window.limit))
            return total or 0, [summary_from_row(row) for row in rows]

    async def find_summary(self, user_id: str) -> UserSummary | None:
        async with transaction(self._engine, read_only=True) as connection:
            row = (await connection.execute(_users_and_registrations(lambda table: [table.c.id == user_id]))).first()
            return None if row is None else summary_from_row(row)

    async def export(self, address_key: str) -> dict[str, Any]:
        shared = ("id", "email", "username", "created_at")
        user_columns = ("is_active", "is_staff", "record_events", "last_login")
        mail_columns = ("id", "kind", "recipient", "state", "attempts", "last_error", "created_at", "due_at", "sent_at")
        own_sessions = select(sessions).join_from(sessions, users).where(users.c.email_key == address_key)
        own_networks = select(login_networks).join_from(login_networks, users).where(users.c.email_key == address_key)
        queries = {
            "account": (select(users).where(users.c.email_key == address_key), shared + user_columns),
            "registrations": (pending_registrations(address_key), shared),
            "sessions": (own_sessions, ("id", "device", "created_at", "last_used_at", "expires_at")),
            "login_networks": (own_networks, ("network", "last_used_at")),
            "mails": (select(mails).where(mails.c.address_key == address_key), mail_columns),
        }
        export: dict[str, Any] = {}
        async with transaction(self._engine, read_only=True) as connection:
            for section, (query, names) in queries.items():
                rows = await connection.execute(query)
                export[section] = [{name: _as_json(getattr(row, name)) for name in names} for row in rows]
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
            # Emails before links: the same lock order as in leasing an email.
            await connection.execute(delete(mails).where(mails.c.address_key == address_key))
            await connection.execute(delete(links).where(links.c.address_key == address_key))
            await connection.execute(delete(registrations).where(registrations.c.email_key == address_key))
            recipient = await connection.scalar(delete(users).where(own).returning(users.c.email))
            if recipient is not None:
                notice = mail_row(MailKind.ACCOUNT_ERASED, address_key, now, now)
                await connection.execute(insert(mails).values(notice | {"recipient": recipient, "made_at": now}))
            return ended

    async def purge(self, now: datetime) -> int:
        """See `UserRepo.purge`. Uses transactions of `BATCH` rows, so that other transactions do not wait."""
        link_end = now - LINK_RETENTION
        is_pending = mails.c.state == MailState.PENDING.value
        has_link = exists().where(links.c.uid == registrations.c.id, links.c.expires_at > link_end)
        has_mail = exists().where(is_pending, mails.c.id == links.c.mail_id, links.c.uid == registrations.c.id)
        is_queued = is_pending & mails.c.made_at.is_(None)
        has_queued_mail = exists().where(is_queued, mails.c.address_key == registrations.c.email_key)
        old = registrations.c.created_at <= link_end - self._rules.link_ttl
        link_has_mail = exists().where(is_pending, mails.c.id == links.c.mail_id)
        spent = (refresh_tokens.c.expires_at <= now) & refresh_tokens.c.spent_at.is_not(None)
        expired = (
            (refresh_tokens.c.hashed, spent),
            (ended_sessions.c.id, ended_sessions.c.ended_at <= now - ENDED_SESSION_RETENTION),
            (registrations.c.id, old & ~has_link & ~has_mail & ~has_queued_mail),
            (links.c.hashed, (links.c.expires_at <= link_end) & ~link_has_mail),
            (mails.c.id, mails.c.sent_at <= now - SENT_MAIL_RETENTION),
        )
        deleted = await self._purge_sessions(now)
        for key, condition in expired:
            deleted += await self._purge(key, condition)
        await self._add_skeletons()
        return deleted

    async def _add_skeletons(self) -> None:
        """Backfill the skeletons of usernames that an earlier version stored.

        If several are confusable, one gets the skeleton, and each of the others a value that no new username can have.
        """
        missing = users.c.username_skeleton.is_(None)
        count = BATCH
        while count == BATCH:
            async with transaction(self._engine, read_only=True) as connection:
                rows = (
                    await connection.execute(select(users.c.id, users.c.username).where(missing).limit(BATCH))
                ).all()
            count = len(rows)
            skeletons = {row.id: self._syntax.skeleton(row.username) for row in rows}
            async with transaction(self._engine) as connection:
                taken = set(
                    await connection.scalars(
                        select(users.c.username_skeleton).where(users.c.username_skeleton.in_(skeletons.values()))
                    )
                )
                for user_id, skeleton in skeletons.items():
                    value = f"{skeleton}\x1f{user_id}" if skeleton in taken else skeleton
                    taken.add(skeleton)
                    statement = update(users).where(users.c.id == user_id, missing).values(username_skeleton=value)
                    try:
                        async with connection.begin_nested():
                            await connection.execute(statement)
                    except IntegrityError:  # a confusable username was activated concurrently
                        await connection.execute(statement.values(username_skeleton=f"{skeleton}\x1f{user_id}"))

    async def _purge_sessions(self, now: datetime) -> int:
        batch = select(sessions.c.id).where(sessions.c.expires_at <= now).limit(BATCH)
        count, deleted = BATCH, 0
        while count == BATCH:
            async with transaction(self._engine) as connection:
                count = len(await end_sessions(connection, sessions.c.id.in_(batch), now))
            deleted += count
        return deleted

    async def _purge(self, key: Any, condition: ColumnElement[bool]) -> int:
        count, deleted = BATCH, 0
        while count == BATCH:
            async with transaction(self._engine) as connection:
                batch = select(key).where(condition).limit(BATCH)
                count = (await connection.execute(delete(key.table).where(key.in_(batch)))).rowcount
            deleted += count
        return deleted

    async def _find(self, condition: ColumnElement[bool]) -> User | None:
        async with transaction(self._engine, read_only=True) as connection:
            row = (await connection.execute(select(users).where(condition))).one_or_none()
            return None if row is None else user_from_row(row)


_NO_TIME = literal(None, UtcTime()).label("time")


async def _lock_link(connection: AsyncConnection, hashed: str) -> None:
    """Lock the address of a link, valid or not."""
    address_key = await connection.scalar(select(links.c.address_key).where(links.c.hashed == hashed))
    if address_key is not None:
        await acquire_address_lock(connection, address_key)


async def _activation_link(connection: AsyncConnection, uid: str, hashed: str, now: datetime) -> Any:
    """Read an activation link that is valid or was used. Raises `InvalidLink`."""
    result = await connection.execute(
        select(links, registrations.c.id.label("registration_id"), users.c.id.label("user_id"))
        .join_from(links, registrations, (registrations.c.id == links.c.uid) & ~registrations.c.is_decoy, isouter=True)
        .join(users, users.c.id == links.c.uid, isouter=True)
        .where(links.c.hashed == hashed, links.c.uid == uid, links.c.purpose == Purpose.ACTIVATE.value)
    )
    row = result.one_or_none()
    was_used = row is not None and row.used_at is not None and row.user_id is not None
    is_valid = row is not None and row.used_at is None and row.registration_id is not None and row.expires_at > now
    if not (was_used or is_valid):
        raise _invalid_link()
    return row


async def _find_reset_user(connection: AsyncConnection, uid: str, hashed: str, now: datetime) -> User:
    is_valid = (links.c.hashed == hashed) & (links.c.purpose == Purpose.RESET.value) & (links.c.expires_at > now)
    result = await connection.execute(
        select(users)
        .join_from(users, links, links.c.uid == users.c.id)
        .where(users.c.id == uid, users.c.is_active, is_valid)
    )
    row = result.one_or_none()
    if row is None:
        raise _invalid_link()
    return user_from_row(row)


async def _delete_reset_links(connection: AsyncConnection, user_id: str) -> None:
    await connection.execute(delete(links).where(links.c.uid == user_id, links.c.purpose == Purpose.RESET.value))


async def _get_user(connection: AsyncConnection, user_id: str) -> User:
    return user_from_row((await connection.execute(select(users).where(users.c.id == user_id))).one())


def _users_and_registrations(conditions: Callable[[Table], Sequence[ColumnElement[bool]]]) -> CompoundSelect[Any]:
    """Select users and pending registrations for `summary_from_row`; `conditions` is called for each of the tables."""
    shared = ("id", "email", "email_key", "username", "username_key", "username_skeleton", "created_at")
    user_rows = select(
        *(users.c[name] for name in shared),
        users.c.last_login,
        users.c.is_active,
        users.c.is_staff,
        false().label("is_pending"),
    )
    registration_rows = select(*(registrations.c[name] for name in shared), null(), false(), false(), true())
    is_pending = (~registrations.c.is_decoy, *conditions(registrations))
    return union_all(user_rows.where(*conditions(users)), registration_rows.where(*is_pending))


def _matches(table: Table, search: str) -> ColumnElement[bool]:
    """The condition that `search` is a substring of the email address or username, ignoring case.

    Keys are case-folded. As the domain of an address key is in ASCII, the spelling of the address is searched too.
    """
    folded = unicodedata.normalize("NFC", search.casefold())
    return or_(
        table.c.email_key.contains(folded, autoescape=True),
        table.c.username_key.contains(folded, autoescape=True),
        table.c.email.icontains(search, autoescape=True),
    )


def _invalid_link() -> InvalidLink:
    return InvalidLink("the link is invalid or has expired")


def _as_json(value: Any) -> Any:
    return iso_time(value) if isinstance(value, datetime) else value
