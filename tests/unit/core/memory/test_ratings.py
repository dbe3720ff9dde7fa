"""The store of ratings in memory keeps the contract that every other one keeps."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from movie_core.accounts.keyring import Keyring
from movie_core.memory import MemoryBook, MemoryOutbox, MemoryRatings, MemorySessions, MemoryUsers
from movie_core.testing import UNLIMITED, RatingStoreContract, RatingStores, Stores


class TestMemoryRatings(RatingStoreContract):
    @asynccontextmanager
    async def open(self) -> AsyncIterator[RatingStores]:
        keys = Keyring(["a secret of the tests, 32 bytes or more"])
        book = MemoryBook(UNLIMITED, keys)
        accounts = Stores(MemoryUsers(book), MemorySessions(book), MemoryOutbox(book), keys)
        yield RatingStores(MemoryRatings(book), accounts)
