"""Mailed links in a SQL database."""

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from movie_adapters.sql.tables import acquire_address_lock, links
from movie_core.errors import InvalidLink


async def lock_link(connection: AsyncConnection, token_hash: str) -> None:
    """Lock the address of a link, valid or not."""
    address_key = await connection.scalar(select(links.c.address_key).where(links.c.hashed == token_hash))
    if address_key is not None:
        await acquire_address_lock(connection, address_key)


def invalid_link() -> InvalidLink:
    return InvalidLink("the link is invalid or has expired")
