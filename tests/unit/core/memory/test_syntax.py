"""`PlainAddressSyntax` and `PlainUsernameSyntax` follow the contracts of their ports."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from movie_core.memory import PlainAddressSyntax, PlainUsernameSyntax
from movie_core.testing import AddressSyntaxContract, UsernameSyntaxContract


class TestPlainAddressSyntax(AddressSyntaxContract):
    @asynccontextmanager
    async def open(self) -> AsyncIterator[PlainAddressSyntax]:
        yield PlainAddressSyntax()


class TestPlainUsernameSyntax(UsernameSyntaxContract):
    @asynccontextmanager
    async def open(self) -> AsyncIterator[PlainUsernameSyntax]:
        yield PlainUsernameSyntax()
