"""Registrations in a SQL database, and their activation."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Delete,
    Select,
    case,
    delete,
    exists,
    func,
    insert,
    literal,
    or_,
    select,
    union_all,
    update,
)
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from movie_adapters.sql.links import invalid_link, lock_link
from movie_adapters.sql.mail_queue import link_row, links_json, mail_row, queue_mail, recent_mails, request_mail
from movie_adapters.sql.tables import (
    AnyText,
    UtcTime,
    acquire_address_lock,
    links,
    mails,
    registrations,
    transaction,
    users,
)
from movie_adapters.sql.user_rows import registration_from_row, user_from_row, username_columns
from movie_core.accounts.keyring import Keyring
from movie_core.accounts.outbox import ACTIVATION_KINDS, EmailLink, MailKind, MailRules, Purpose
from movie_core.accounts.users import (
    MAX_PENDING,
    REPEAT,
    ActivationLink,
    ActivationResult,
    Address,
    PendingRegistration,
    User,
    Username,
)
from movie_core.errors import PasswordRequired, UsernameTaken

_NO_TIME = literal(None, UtcTime()).label("time")


class SqlRegistrationRepo:
    """A `RegistrationRepo` in tables created by `engine.migrate`. The caller disposes of the engine."""

    def __init__(self, engine: AsyncEngine, rules: MailRules, keyring: Keyring) -> None:
        self._engine = engine
        self._rules = rules
        self._keyring = keyring

    async def register(self, registration: PendingRegistration, now: datetime) -> None:
        # Timing: the statements are the same for a taken and a free address, to prevent user enumeration.
        address = registration.address
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
            row = _registration_row(registration, is_decoy=owner is not None)
            await connection.execute(insert(registrations).values(row))
            kind = MailKind.ACTIVATION if owner is None else MailKind.ADDRESS_TAKEN
            mail = mail_row(kind, address.key, now, allowed_at, registration.requested_from)
            if allowed_at > now:
                await queue_mail(connection, mail)
                return
            link = EmailLink.create(registration.id, self._keyring)
            expires_at = self._rules.link_expiry(now)
            await connection.execute(
                insert(links).values(link_row(link, Purpose.ACTIVATE, address.key, mail["id"], expires_at))
            )
            # The token of a decoy is never sent.
            email_links = [] if owner is not None else [link]
            prepared = {"recipient": owner or address.spelling, "made_at": now, "links": links_json(email_links)}
            await connection.execute(insert(mails).values(mail | prepared))

    async def create_user(self, registration: PendingRegistration, now: datetime) -> User | None:
        key = registration.address.key
        async with transaction(self._engine) as connection:
            await acquire_address_lock(connection, key)
            if await connection.scalar(select(exists().where(users.c.email_key == key))):
                return None
            await connection.execute(insert(registrations).values(_registration_row(registration, is_decoy=False)))
            return await activate_registration(connection, registration.id, key, now, used_link=None)

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

    async def request_activation(self, address_key: str, now: datetime, *, requested_from: str = "") -> None:
        await request_mail(self._engine, MailKind.ACTIVATION_RENEWAL, address_key, now, requested_from)

    async def find_activation_link(self, uid: str, token_hash: str, now: datetime) -> ActivationLink:
        async with transaction(self._engine, read_only=True) as connection:
            link = await _activation_link(connection, uid, token_hash, now)
            if link.used_at is not None:
                return ActivationLink(None, is_only=False)
            rows = (await connection.execute(pending_registrations(link.address_key))).all()
            row = next((row for row in rows if row.id == uid), None)
            if row is None:  # a concurrent request has used the link since, or ended it
                await _activation_link(connection, uid, token_hash, now)
                return ActivationLink(None, is_only=False)
            return ActivationLink(registration_from_row(row), is_only=are_identical(rows))

    async def activate(
        self, uid: str, token_hash: str, now: datetime, *, password_hash: str | None = None
    ) -> ActivationResult:
        async with transaction(self._engine) as connection:
            await lock_link(connection, token_hash)
            link = await _activation_link(connection, uid, token_hash, now)
            if link.used_at is not None:
                return ActivationResult(await _get_user(connection, uid), is_new=False)
            if password_hash is None:
                rows = (await connection.execute(pending_registrations(link.address_key))).all()
                if not are_identical(rows):
                    raise PasswordRequired("this address has several pending registrations")
            user = await activate_registration(
                connection, uid, link.address_key, now, used_link=token_hash, password_hash=password_hash
            )
            return ActivationResult(user, is_new=True)


async def _activation_link(connection: AsyncConnection, uid: str, token_hash: str, now: datetime) -> Any:
    """Read an activation link that is valid or was used. Raises `InvalidLink`."""
    result = await connection.execute(
        select(links, registrations.c.id.label("registration_id"), users.c.id.label("user_id"))
        .join_from(links, registrations, (registrations.c.id == links.c.uid) & ~registrations.c.is_decoy, isouter=True)
        .join(users, users.c.id == links.c.uid, isouter=True)
        .where(links.c.hashed == token_hash, links.c.uid == uid, links.c.purpose == Purpose.ACTIVATE.value)
    )
    row = result.one_or_none()
    was_used = row is not None and row.used_at is not None and row.user_id is not None
    is_valid = row is not None and row.used_at is None and row.registration_id is not None and row.expires_at > now
    if not (was_used or is_valid):
        raise invalid_link()
    return row


async def _get_user(connection: AsyncConnection, user_id: str) -> User:
    return user_from_row((await connection.execute(select(users).where(users.c.id == user_id))).one())


def pending_registrations(address_key: str) -> Select[Any]:
    """Select the registrations of an address that can be activated. A decoy never can."""
    return select(registrations).where(registrations.c.email_key == address_key, ~registrations.c.is_decoy)


def are_identical(rows: Sequence[Any]) -> bool:
    """Whether all registrations of an address have the same mailbox, username and password hash."""
    return len({(Address(row.email, row.email_key).mailbox, row.username_key, row.password_hash) for row in rows}) == 1


def delete_excess_registrations(registration: PendingRegistration) -> Delete:
    """Delete the registrations of the address that exceed `MAX_PENDING` once a new one is added.

    Orders them by their rank within their network, newest first, then by age. So the network with the most
    registrations loses its oldest one.
    """
    same_address = registrations.c.email_key == registration.address.key
    # The new registration has rank 1 in its network.
    offset = case((registrations.c.requested_from == registration.requested_from, 1), else_=0)
    newest_first = (registrations.c.created_at.desc(), registrations.c.id)
    rank = func.row_number().over(partition_by=registrations.c.requested_from, order_by=newest_first) + offset
    ranked = select(registrations.c.id, rank.label("rank"), registrations.c.created_at).where(same_address).subquery()
    retained = select(ranked.c.id).order_by(ranked.c.rank, ranked.c.created_at.desc()).limit(MAX_PENDING - 1)
    return delete(registrations).where(same_address, registrations.c.id.not_in(retained))


def _registration_row(registration: PendingRegistration, *, is_decoy: bool) -> dict[str, Any]:
    return {
        "id": registration.id,
        "email": registration.address.spelling,
        "email_key": registration.address.key,
        **username_columns(registration.username),
        "password_hash": registration.password_hash,
        "created_at": registration.created_at,
        "is_decoy": is_decoy,
        "requested_from": registration.requested_from,
    }


async def activate_registration(
    connection: AsyncConnection,
    registration_id: str,
    address_key: str,
    now: datetime,
    *,
    used_link: str | None,
    password_hash: str | None = None,
) -> User:
    """Turn a registration into a user, with another password if `password_hash` is given. The caller holds the lock of
    the address.

    `used_link`, the hash of the activation link, is marked as used; all other links of the address are deleted.
    """
    row = (await connection.execute(select(registrations).where(registrations.c.id == registration_id))).one()
    username = Username(row.username, row.username_key, row.username_skeleton)
    if await connection.scalar(select(exists().where(or_(*username_conflicts(username))))):
        raise username_taken()
    values = {
        "id": row.id,
        "email": row.email,
        "email_key": row.email_key,
        **username_columns(username),
        "password_hash": password_hash or row.password_hash,
        "is_active": True,
        "is_staff": False,
        "record_events": True,
        "created_at": now,
    }
    try:
        user = (await connection.execute(insert(users).values(values).returning(users))).one()
    except IntegrityError:
        raise username_taken() from None
    queued = mails.c.kind.in_([kind.value for kind in ACTIVATION_KINDS]) & mails.c.made_at.is_(None)
    await connection.execute(delete(mails).where(mails.c.address_key == address_key, queued))
    other_links = (links.c.address_key == address_key) & (links.c.purpose == Purpose.ACTIVATE.value)
    if used_link is not None:
        other_links &= links.c.hashed != used_link
        await connection.execute(update(links).where(links.c.hashed == used_link).values(used_at=now))
    await connection.execute(delete(links).where(other_links))
    await connection.execute(delete(registrations).where(registrations.c.email_key == address_key))
    return user_from_row(user)


def username_conflicts(username: Username) -> list[ColumnElement[bool]]:
    """Conditions, of which a user whose username is the same or confusable meets at least one."""
    same = [users.c.username_key == username.key]
    return same if username.skeleton is None else [*same, users.c.username_skeleton == username.skeleton]


def username_taken() -> UsernameTaken:
    return UsernameTaken("this username is taken", field="username")
