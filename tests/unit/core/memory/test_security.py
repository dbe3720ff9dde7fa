"""`MemoryPasswordHasher`, `MemoryAccessTokens` and `PlainPasswordStrength` follow the contracts of their ports."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from movie_core.accounts.keyring import Keyring
from movie_core.memory import MemoryAccessTokens, MemoryPasswordHasher, PlainPasswordStrength
from movie_core.testing import AccessTokensContract, PasswordHasherContract, PasswordStrengthContract


class TestMemoryPasswordHasher(PasswordHasherContract):
    @asynccontextmanager
    async def open(self) -> AsyncIterator[MemoryPasswordHasher]:
        yield MemoryPasswordHasher()

    def outdated_hash(self) -> str:
        return "md5$1234"


class TestMemoryAccessTokens(AccessTokensContract):
    @asynccontextmanager
    async def open(self, keys: Keyring) -> AsyncIterator[MemoryAccessTokens]:
        yield MemoryAccessTokens(keys)


class TestPlainPasswordStrength(PasswordStrengthContract):
    @asynccontextmanager
    async def open(self) -> AsyncIterator[PlainPasswordStrength]:
        yield PlainPasswordStrength()
