"""The ports in memory keep the contracts that every other adapter keeps."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from movie_core import MemoryMovieCatalogue, MemorySeenMovies, Movie
from movie_core.accounts.keyring import Keyring
from movie_core.accounts.outbox import MailRejected, MailRules, MailUnavailable
from movie_core.memory import (
    ENTRY_BYTES,
    MemoryAccessTokens,
    MemoryCacheStore,
    MemoryDatabase,
    MemoryDeliveryNotifier,
    MemoryMailer,
    MemoryOutbox,
    MemoryPasswordHasher,
    MemoryRateLimiter,
    MemorySessionStore,
    MemoryUserRepo,
    PlainAddressSyntax,
    PlainPasswordStrength,
)
from movie_core.ports import Mailer
from movie_core.quotas import Rate
from movie_core.search.caching import CacheEntry, CacheStats
from movie_core.testing import (
    AccessTokensContract,
    AccountStores,
    AddressSyntaxContract,
    CacheStoreContract,
    DeliveredEmail,
    DeliveryNotifierContract,
    MailerContract,
    MovieCatalogueContract,
    OutboxContract,
    PasswordHasherContract,
    PasswordStrengthContract,
    RateLimiterContract,
    SeenMoviesContract,
    SessionStoreContract,
    UserRepoContract,
)

KEYS = Keyring(["a secret of the tests, 32 bytes or more"])


class TestMemoryCatalogue(MovieCatalogueContract):
    @asynccontextmanager
    async def open(self, movies: Sequence[Movie]) -> AsyncIterator[MemoryMovieCatalogue]:
        yield MemoryMovieCatalogue(movies)

    @asynccontextmanager
    async def open_two(self) -> AsyncIterator[tuple[MemoryMovieCatalogue, MemoryMovieCatalogue]]:
        yield MemoryMovieCatalogue(source="one"), MemoryMovieCatalogue(source="other")


class TestMemorySeenMovies(SeenMoviesContract):
    @asynccontextmanager
    async def open(self) -> AsyncIterator[MemorySeenMovies]:
        yield MemorySeenMovies(MemoryMovieCatalogue(source="third_party"))


class OverMemory:
    @asynccontextmanager
    async def open(self, rules: MailRules) -> AsyncIterator[AccountStores]:
        database = MemoryDatabase(rules, KEYS)
        yield AccountStores(MemoryUserRepo(database), MemorySessionStore(database), MemoryOutbox(database), KEYS)


class TestMemoryUsers(OverMemory, UserRepoContract):
    pass


class TestMemorySessions(OverMemory, SessionStoreContract):
    pass


class TestMemoryOutbox(OverMemory, OutboxContract):
    pass


class TestMemoryMailer(MailerContract):
    @asynccontextmanager
    async def open(self, failure: MailRejected | MailUnavailable | None = None) -> AsyncIterator[MemoryMailer]:
        mailer = MemoryMailer()
        mailer.failure = failure
        yield mailer

    async def delivered(self, mailer: Mailer) -> Sequence[DeliveredEmail]:
        assert isinstance(mailer, MemoryMailer)
        return [
            DeliveredEmail((one.recipient,), one.mail_id, frozenset(), " ".join(one.links)) for one in mailer.emails
        ]


class TestMemoryDoorbell(DeliveryNotifierContract):
    @asynccontextmanager
    async def open(self, *, is_away: bool = False) -> AsyncIterator[MemoryDeliveryNotifier]:
        yield MemoryDeliveryNotifier()


class TestMemoryHasher(PasswordHasherContract):
    @asynccontextmanager
    async def open(self) -> AsyncIterator[MemoryPasswordHasher]:
        yield MemoryPasswordHasher()

    def outdated_hash(self) -> str:
        return "md5$1234"


class TestMemoryTokens(AccessTokensContract):
    @asynccontextmanager
    async def open(self, keys: Keyring) -> AsyncIterator[MemoryAccessTokens]:
        yield MemoryAccessTokens(keys)


class TestPlainAddressSyntax(AddressSyntaxContract):
    @asynccontextmanager
    async def open(self) -> AsyncIterator[PlainAddressSyntax]:
        yield PlainAddressSyntax()


class TestPlainStrength(PasswordStrengthContract):
    @asynccontextmanager
    async def open(self) -> AsyncIterator[PlainPasswordStrength]:
        yield PlainPasswordStrength()


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


class TestMemoryEntries(CacheStoreContract):
    time = 1_700_000_000.0

    @asynccontextmanager
    async def open(self) -> AsyncIterator[MemoryCacheStore]:
        yield MemoryCacheStore(clock=self.now)

    def now(self) -> float:
        return self.time

    async def pass_time(self, seconds: float) -> None:
        self.time += seconds + 0.0005
        await asyncio.sleep(0)


def an_entry(size: int, *, fence: int = 1, until: float = 100.0) -> CacheEntry:
    return CacheEntry(b"x" * size, 0.0, until / 2, until, fence)


def bounded(most: int) -> MemoryCacheStore:
    """A store for `most` entries that need 1,000 bytes each with their key of one character."""
    return MemoryCacheStore(most * 1000, clock=lambda: 0.0)


ROUND = 1000 - ENTRY_BYTES - 1


async def test_entries_stay_within_their_bytes_and_the_one_used_longest_ago_goes_first() -> None:
    store = bounded(10)
    for key in "abcdefghij":
        assert store.keep(key, an_entry(ROUND))
    assert store.peek("a") is not None
    assert await store.read("b") is not None
    assert store.keep("c", an_entry(ROUND))
    for key in "klm":
        assert store.keep(key, an_entry(ROUND))
    assert [key for key in "abcdefghijklm" if store.peek(key) is not None] == list("abcghijklm")
    assert await store.stats() == CacheStats(10, 10 * (ROUND + 1))


async def test_a_hot_entry_survives_a_flood_of_others() -> None:
    store = MemoryCacheStore(1_000_000, clock=lambda: 0.0)
    store.keep("hot", an_entry(1000))
    for number in range(20_000):
        store.keep(str(number), an_entry(number % 500))
        assert store.peek("hot") is not None
    stats = await store.stats()
    assert 900_000 < stats.bytes + stats.entries * ENTRY_BYTES <= 1_000_000


async def test_an_entry_that_needs_more_than_a_tenth_is_not_kept_nor_an_older_one_instead_of_it() -> None:
    store = bounded(10)
    assert store.keep("a", an_entry(ROUND))
    assert not store.keep("b", an_entry(ROUND + 1))
    assert store.peek("a") is not None
    assert not store.keep("a", an_entry(ROUND + 1, fence=2))
    assert store.peek("a") is None
    assert await store.stats() == CacheStats(0, 0)


async def test_bytes_are_counted_right_whatever_replaces_what() -> None:
    now = [0.0]
    store, chance = MemoryCacheStore(20_000, clock=lambda: now[0]), random.Random(5)
    for number in range(5000):
        now[0] += chance.random()
        until = now[0] + chance.choice((-1, 1, 60))
        store.keep(chance.choice("abcdefghijklmnop"), an_entry(chance.randrange(2000), fence=number, until=until))
        await store.read(chance.choice("abcdefghijklmnop"))
    left = [entry for key in "abcdefghijklmnop" if (entry := store.peek(key)) is not None]
    assert await store.stats() == CacheStats(len(left), sum(1 + len(entry.value) for entry in left))


async def test_peek_shows_an_entry_past_its_stale_until_as_long_as_it_is_there() -> None:
    now = [0.0]
    store = MemoryCacheStore(clock=lambda: now[0])
    entry = an_entry(1)
    store.keep("a", entry)
    now[0] = 100.0
    assert store.peek("a") is entry
    assert await store.read("a") is None


async def test_forgetting_is_clearing() -> None:
    store = MemoryCacheStore(clock=lambda: 0.0)
    generation = await store.generation()
    store.keep("a", an_entry(1))
    assert store.forget() == 1
    assert store.peek("a") is None
    assert await store.generation() != generation


async def test_leases_that_have_ended_are_forgotten() -> None:
    now = [0.0]
    store = MemoryCacheStore(clock=lambda: now[0])
    for number in range(20_000):
        now[0] += 1.0
        await store.lease(str(number), 60)
    assert len(store._leases) < 2_000
