"""The store of ratings in memory keeps the contract that every other one keeps."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from movie_core.accounts.keyring import Keyring
from movie_core.memory import MemoryDatabase, MemoryOutbox, MemoryRatingStore, MemorySessionStore, MemoryUserRepo
from movie_core.testing import UNLIMITED, AccountStores, RatingStoreContract, RatingStores


class TestMemoryRatings(RatingStoreContract):
    @asynccontextmanager
    async def open(self) -> AsyncIterator[RatingStores]:
        keys = Keyring(["a secret of the tests, 32 bytes or more"])
        database = MemoryDatabase(UNLIMITED, keys)
        accounts = AccountStores(MemoryUserRepo(database), MemorySessionStore(database), MemoryOutbox(database), keys)
        yield RatingStores(MemoryRatingStore(database), accounts)
