"""Rows of queued emails and their links, which the repositories of accounts and the outbox write."""

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Select, delete, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from movie_adapters.sql.tables import acquire_address_lock, mails, transaction
from movie_core.accounts.keyring import new_id
from movie_core.accounts.outbox import NOTICES, EmailLink, MailKind, MailState, Purpose
from movie_core.quotas import Rate


def mail_row(
    kind: MailKind, address_key: str, created_at: datetime, due_at: datetime, requested_from: str = ""
) -> dict[str, Any]:
    """Build the row of a queued email. It has neither recipient nor links yet."""
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


async def queue_mail(connection: AsyncConnection, row: dict[str, Any]) -> None:
    """Queue an email; it replaces a queued one of the same kind and network. The caller holds the address lock."""
    same = mails.c.made_at.is_(None)
    for name in ("address_key", "kind", "requested_from"):
        same &= mails.c[name] == row[name]
    await connection.execute(delete(mails).where(same))
    await connection.execute(insert(mails).values(row))


async def request_mail(
    engine: AsyncEngine, kind: MailKind, address_key: str, now: datetime, requested_from: str
) -> None:
    """Queue an email that is due now, in a transaction of its own."""
    async with transaction(engine) as connection:
        await acquire_address_lock(connection, address_key)
        await queue_mail(connection, mail_row(kind, address_key, now, now, requested_from))


async def queue_notice(connection: AsyncConnection, kind: MailKind, address_key: str, now: datetime) -> None:
    """Queue a security notice to the user of an address. The caller holds the address lock."""
    await queue_mail(connection, mail_row(kind, address_key, now, now))


def recent_mails(address_key: str, limit: Rate, now: datetime) -> Select[Any]:
    """Select time and requesting network of the newest emails to an address that count for a rate limit.

    Covers the window of the limit, and at most as many emails as it allows.
    """
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


def link_row(link: EmailLink, purpose: Purpose, address_key: str, mail_id: str, expires_at: datetime) -> dict[str, Any]:
    return {
        "hashed": link.token_hash,
        "uid": link.uid,
        "purpose": purpose.value,
        "address_key": address_key,
        "mail_id": mail_id,
        "expires_at": expires_at,
    }


def links_json(email_links: Sequence[EmailLink]) -> str:
    return json.dumps(
        [
            # The previous version of the application requires the key `username`.
            {"uid": link.uid, "hashed": link.token_hash, "sealed": link.encrypted_token, "username": ""}
            for link in email_links
        ]
    )
