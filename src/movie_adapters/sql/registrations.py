"""Registrations in a SQL database, and their activation. The caller owns the transaction and holds the address lock."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Delete, Select, case, delete, exists, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from movie_adapters.sql.tables import links, mails, registrations, users
from movie_adapters.sql.user_rows import user_from_row, username_columns
from movie_core.accounts.outbox import ACTIVATION_KINDS, Purpose
from movie_core.accounts.users import MAX_PENDING, Address, PendingRegistration, User, Username
from movie_core.errors import UsernameTaken


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


async def activate_registration(
    connection: AsyncConnection,
    registration_id: str,
    address_key: str,
    now: datetime,
    *,
    used_link: str | None,
    password_hash: str | None = None,
) -> User:
    """Turn a registration into a user, with another password if `password_hash` is given.

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
    """Conditions of which a user with the same or a confusable username meets at least one."""
    same = [users.c.username_key == username.key]
    return same if username.skeleton is None else [*same, users.c.username_skeleton == username.skeleton]


def username_taken() -> UsernameTaken:
    return UsernameTaken("this username is taken", field="username")
