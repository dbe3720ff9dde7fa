"""Export, erasure and retention of the data of accounts in a SQL database."""

from collections.abc import Sequence
from dataclasses import fields, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Column, ColumnElement, Table, delete, exists, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine

from movie_adapters.sql.audit import anonymise_entries
from movie_adapters.sql.mail_queue import mail_row
from movie_adapters.sql.registrations import pending_registrations
from movie_adapters.sql.tables import (
    acquire_address_lock,
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
from movie_core.accounts.exports import (
    AccountExport,
    ExportedAccount,
    ExportedMail,
    ExportedRegistration,
    ExportedSession,
    LoginNetwork,
)
from movie_core.accounts.outbox import MailKind, MailRules, MailState
from movie_core.ports import UsernameSyntax

LINK_RETENTION = timedelta(days=7)
"""How long registrations and links are stored after the link has expired."""
SENT_MAIL_RETENTION = timedelta(days=30)
ENDED_SESSION_RETENTION = timedelta(days=1)
BATCH = 500
"""Rows that a purge deletes in one transaction."""


class SqlAccountDataRepo:
    """An `AccountDataRepo` in tables created by `engine.migrate`. The caller disposes of the engine."""

    def __init__(self, engine: AsyncEngine, rules: MailRules, syntax: UsernameSyntax) -> None:
        self._engine = engine
        self._rules = rules
        self._syntax = syntax

    async def export(self, address_key: str) -> AccountExport:
        own_user = select(*_columns(users, ExportedAccount)).where(users.c.email_key == address_key)
        own_registrations = pending_registrations(address_key).with_only_columns(
            *_columns(registrations, ExportedRegistration)
        )
        own_sessions = select(*_columns(sessions, ExportedSession)).join_from(sessions, users)
        own_networks = select(*_columns(login_networks, LoginNetwork)).join_from(login_networks, users)
        own_mails = select(*_columns(mails, ExportedMail)).where(mails.c.address_key == address_key)
        of_user = users.c.email_key == address_key
        async with transaction(self._engine, read_only=True) as connection:
            user = (await connection.execute(own_user)).one_or_none()
            return AccountExport(
                account=None if user is None else ExportedAccount(*user),
                registrations=[ExportedRegistration(*row) for row in await connection.execute(own_registrations)],
                sessions=[ExportedSession(*row) for row in await connection.execute(own_sessions.where(of_user))],
                login_networks=[LoginNetwork(*row) for row in await connection.execute(own_networks.where(of_user))],
                mails=[_mail(row) for row in await connection.execute(own_mails)],
            )

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
        """Deletes `BATCH` rows per transaction, so that other transactions do not wait; see the port."""
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
        """Backfill the skeletons of usernames that an earlier version stored without one.

        Of several confusable usernames one gets the skeleton, and each other a value that no new username can have.
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


def _columns(table: Table, record: type[Any]) -> list[Column[Any]]:
    """The columns of a table that have the names of the fields of a dataclass, in their order."""
    return [table.c[field.name] for field in fields(record)]


def _mail(row: Any) -> ExportedMail:
    mail = ExportedMail(*row)
    return replace(mail, kind=MailKind(mail.kind), state=MailState(mail.state))
