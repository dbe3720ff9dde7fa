"""The ports in memory keep the contracts that every other adapter keeps."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from movie_core import MemoryCatalogue, MemorySeenMovies, Movie
from movie_core.keys import Keys
from movie_core.limits import Rate
from movie_core.mails import MailerAway, MailRefused, MailRules
from movie_core.memory import (
    MemoryBook,
    MemoryDoorbell,
    MemoryHasher,
    MemoryMailer,
    MemoryOutbox,
    MemoryRateLimiter,
    MemorySessions,
    MemoryTokens,
    MemoryUsers,
    PlainAddressSyntax,
    PlainStrength,
)
from movie_core.ports import Mailer
from movie_core.testing import (
    AccessTokensContract,
    AddressSyntaxContract,
    CatalogueContract,
    Delivered,
    DoorbellContract,
    MailerContract,
    OutboxContract,
    PasswordHasherContract,
    PasswordStrengthContract,
    RateLimiterContract,
    SeenMoviesContract,
    SessionStoreContract,
    Stores,
    UserStoreContract,
)

KEYS = Keys(["a secret of the tests, 32 bytes or more"])


class TestMemoryCatalogue(CatalogueContract):
    @asynccontextmanager
    async def open(self, movies: Sequence[Movie]) -> AsyncIterator[MemoryCatalogue]:
        yield MemoryCatalogue(movies)

    @asynccontextmanager
    async def open_two(self) -> AsyncIterator[tuple[MemoryCatalogue, MemoryCatalogue]]:
        yield MemoryCatalogue(source="one"), MemoryCatalogue(source="other")


class TestMemorySeenMovies(SeenMoviesContract):
    @asynccontextmanager
    async def open(self) -> AsyncIterator[MemorySeenMovies]:
        yield MemorySeenMovies(MemoryCatalogue(source="third_party"))


class OverMemory:
    @asynccontextmanager
    async def open(self, rules: MailRules) -> AsyncIterator[Stores]:
        book = MemoryBook(rules, KEYS)
        yield Stores(MemoryUsers(book), MemorySessions(book), MemoryOutbox(book), KEYS)


class TestMemoryUsers(OverMemory, UserStoreContract):
    pass


class TestMemorySessions(OverMemory, SessionStoreContract):
    pass


class TestMemoryOutbox(OverMemory, OutboxContract):
    pass


class TestMemoryMailer(MailerContract):
    @asynccontextmanager
    async def open(self, failure: MailRefused | MailerAway | None = None) -> AsyncIterator[MemoryMailer]:
        mailer = MemoryMailer()
        mailer.failure = failure
        yield mailer

    async def delivered(self, mailer: Mailer) -> Sequence[Delivered]:
        assert isinstance(mailer, MemoryMailer)
        return [
            Delivered((one.recipient,), one.mail_id, frozenset(), " ".join(map(" ".join, one.links)))
            for one in mailer.letters
        ]


class TestMemoryDoorbell(DoorbellContract):
    @asynccontextmanager
    async def open(self, *, is_away: bool = False) -> AsyncIterator[MemoryDoorbell]:
        yield MemoryDoorbell()


class TestMemoryHasher(PasswordHasherContract):
    @asynccontextmanager
    async def open(self) -> AsyncIterator[MemoryHasher]:
        yield MemoryHasher()

    def outdated_hash(self) -> str:
        return "md5$1234"


class TestMemoryTokens(AccessTokensContract):
    @asynccontextmanager
    async def open(self, keys: Keys) -> AsyncIterator[MemoryTokens]:
        yield MemoryTokens(keys)


class TestPlainAddressSyntax(AddressSyntaxContract):
    @asynccontextmanager
    async def open(self) -> AsyncIterator[PlainAddressSyntax]:
        yield PlainAddressSyntax()


class TestPlainStrength(PasswordStrengthContract):
    @asynccontextmanager
    async def open(self) -> AsyncIterator[PlainStrength]:
        yield PlainStrength()


class TestMemoryRateLimiter(RateLimiterContract):
    now = 1000.0

    @asynccontextmanager
    async def open(self) -> AsyncIterator[MemoryRateLimiter]:
        yield MemoryRateLimiter(lambda: self.now)

    async def pass_time(self, seconds: float) -> None:
        self.now += seconds


async def test_a_limiter_forgets_keys_whose_window_is_empty() -> None:
    now = [0.0]
    limiter = MemoryRateLimiter(lambda: now[0])
    for number in range(20_000):
        now[0] += 1.0
        await limiter.hit("login", str(number), Rate(1, 60))
    assert len(limiter._hits) < 2_000
