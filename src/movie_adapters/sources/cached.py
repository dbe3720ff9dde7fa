"""Memory around any movie source: answers at once, and one call to the source for what many ask."""

import asyncio
import contextlib
import functools
import hashlib
import logging
import random
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable, Iterator, Sequence
from dataclasses import fields, replace
from datetime import UTC, datetime
from typing import Any

import msgspec

from movie_core.errors import FilterUnsupported, MovieNotFound, SourceUnavailable, StoreUnavailable
from movie_core.memory import MemoryCacheStore
from movie_core.paging import MAX_OFFSET, Window
from movie_core.ports import CacheStore, MovieSource
from movie_core.provenance import CacheStatus
from movie_core.search.caching import (
    BLOCK_SIZES,
    CacheEntry,
    CacheInvalidation,
    CachePolicy,
    Freshness,
    Lease,
    blocks_of,
)
from movie_core.search.movies import MAX_ID, Capability, FoundMovie, Genre, Movie, MoviePage, MovieQuery
from movie_core.single_flight import SingleFlight

LEASE_SECONDS = 1.5
"""For which others leave the source to one who has stopped telling that it is at it."""
HEARTBEAT_INTERVAL = 0.3
"""Between two signs of life of who fetches."""
LOOK_SECONDS = 0.02
"""Between two looks at whether another process has fetched what we wait for."""
REFRESH_BACKOFF = 1.0
"""Before a stale answer whose refreshing failed is refreshed again."""
MARGIN_SECONDS = 0.05
"""That the source's own patience may run over the deadline, so that its error, which says more, is the one told."""
MAX_SIZES = 1000
"""Queries of which is remembered that the source gave less than a block at once."""
SIZE_SECONDS = 600.0
"""How long that is remembered."""

_log = logging.getLogger(__name__)

Fetch = Callable[[], Awaitable[MoviePage]]
Found = tuple[CacheEntry, CacheStatus]


class _OwnLease(Lease):
    """Of this process alone, as there is no store or it is away."""


class _Block(msgspec.Struct, array_like=True, frozen=True):
    """A block as it is kept, the movies without what isn't known of them."""

    source: str
    total: int
    skipped: tuple[int, ...]
    movies: tuple[Movie, ...]

    @property
    def given(self) -> int:
        """Items that the source gave, usable or not."""
        return len(self.movies) + len(self.skipped)

    def part(self, first: int, end: int) -> Iterator[Movie]:
        """The movies in these places, which count those that could not be used too."""
        movies = iter(self.movies)
        for place in range(min(end, self.given)):
            movie = None if place in self.skipped else next(movies, None)
            if movie is not None and place >= first:
                yield movie


_FIELDS = tuple((one.name, one.default) for one in fields(Movie))
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Block)


class CachedMovieSource(MovieSource):
    """A `MovieSource` that remembers what `inner` answered, block by block, for as long as `policy` says.

    `memory` belongs to this process, `store` to all of them; without one, or while it is away, each process remembers
    for itself. A search waits at most `deadline` seconds (and `MARGIN_SECONDS`) for the source, whoever asks it.
    `namespace` keeps apart what different deployments or settings of a source answer. `keep` is given all movies that
    the source has answered. Must be used within a running event loop.
    """

    def __init__(
        self,
        inner: MovieSource,
        *,
        memory: MemoryCacheStore,
        store: CacheStore | None = None,
        policy: CachePolicy | None = None,
        deadline: float = 3.0,
        block: int = BLOCK_SIZES[0],
        namespace: str = "",
        keep: Callable[[Sequence[Movie]], None] = lambda _: None,
        invalidation: CacheInvalidation | None = None,
        clock: Callable[[], float] = time.time,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._inner = inner
        self._memory = memory
        self._store = store
        self._policy = policy or CachePolicy()
        self._deadline = deadline
        self._namespace = namespace
        self._keep = keep
        self._invalidation = invalidation or CacheInvalidation()
        self._clock = clock
        self._chance = chance
        self._block_size = block
        self._sizes: OrderedDict[Hashable, tuple[int, float]] = OrderedDict()
        """Sizes of the blocks of queries of which the source gave less than a block at once, and how long they hold."""
        self._finds: SingleFlight[Found] = SingleFlight()
        self._refreshes: SingleFlight[None] = SingleFlight()
        self._generation: str | None = None
        self._is_following = False

    @property
    def name(self) -> str:
        return self._inner.name

    @property
    def capabilities(self) -> frozenset[Capability]:
        return self._inner.capabilities

    async def search(self, query: MovieQuery, window: Window) -> MoviePage:
        self._need(*query.needs)
        try:
            # Around all of it: a source may have to be asked twice, and the store may be slow too.
            async with asyncio.timeout(self._deadline + MARGIN_SECONDS):
                return await self._page(query, window)
        except TimeoutError:
            raise SourceUnavailable("the movie source did not answer in time") from None

    async def get(self, movie_id: str) -> FoundMovie:
        self._need(Capability.DETAILS)
        if len(movie_id) > MAX_ID:
            return await self._inner.get(movie_id)

        async def fetch() -> MoviePage:
            """As a page of one movie, or of none."""
            try:
                found = await self._inner.get(movie_id)
            except MovieNotFound:
                return MoviePage(0, (), self.name)
            return MoviePage(1, (found.movie,), found.source)

        entry, state = await self._entry(self._key("details", movie_id), fetch)
        movies = _decoder.decode(entry.value).movies
        if not movies:
            raise MovieNotFound("no such movie")
        return FoundMovie(movies[0], self.name, datetime.fromtimestamp(entry.fetched_at, UTC), state)

    async def suggest(self, text: str, limit: int) -> Sequence[Movie]:
        self._need(Capability.SUGGEST)

        async def fetch() -> MoviePage:
            movies = tuple(await self._inner.suggest(text, limit))
            return MoviePage(len(movies), movies, self.name)

        entry, _ = await self._entry(self._key("suggestions", text, limit), fetch)
        return _decoder.decode(entry.value).movies

    async def genres(self) -> Sequence[Genre]:
        return await self._inner.genres()

    async def follow(self) -> None:
        """Forget everything if the store was cleared since the last time; to be called about once a second."""
        if self._store is None:
            return
        with contextlib.suppress(StoreUnavailable):
            generation = await self._store.generation()
            # A store that has lost everything says nothing of ours: that is what an outage may be covered with.
            if generation is not None and self._is_following and generation != self._generation:
                self._memory.forget()
                self._invalidation.publish()
            self._generation = generation or self._generation
            self._is_following = True

    async def close(self) -> None:
        """End what is under way. The inner source and the store stay open."""
        await self._finds.close()
        await self._refreshes.close()

    async def _page(self, query: MovieQuery, window: Window) -> MoviePage:
        parameters = query.parameters()
        size, until = self._sizes.get(parameters, (self._block_size, 0.0))
        is_known = self._clock() < until
        asked = blocks_of(window, size if is_known else self._block_size)
        blocks, state = await self._blocks(query, asked)
        short = None if is_known else _short(window, asked, blocks)
        if short is not None:
            smaller, end = short
            # A source may also promise more than it has: then there is nothing where the first answer ended.
            if not await self._goes_on(query, smaller, end):
                smaller = self._block_size
            self._sizes[parameters] = smaller, self._clock() + SIZE_SECONDS
            if len(self._sizes) > MAX_SIZES:
                self._sizes.popitem(last=False)
            if smaller != self._block_size:
                asked = blocks_of(window, smaller)
                blocks, again = await self._blocks(query, asked)
                state = _worse(state, again)
        return _assembled(window, asked, blocks, state)

    async def _goes_on(self, query: MovieQuery, size: int, end: int) -> bool:
        """Whether the source has more than what ended before this place."""
        block = Window(end - end % size, size)
        try:
            entry, _ = await self._block(query, block)
        except SourceUnavailable:
            return False
        return block.offset + _decoder.decode(entry.value).given > end

    async def _blocks(
        self, query: MovieQuery, asked: Sequence[Window]
    ) -> tuple[list[tuple[CacheEntry, _Block]], CacheStatus]:
        """Those that have any of the matches, and the first, which says how many there are."""
        entry, state = await self._block(query, asked[0])
        blocks = [(entry, _decoder.decode(entry.value))]
        rest = [one for one in asked[1:] if one.offset < blocks[0][1].total]
        for more, its_state in await asyncio.gather(*(self._block(query, one) for one in rest)):
            blocks.append((more, _decoder.decode(more.value)))
            state = _worse(state, its_state)
        return blocks, state

    async def _block(self, query: MovieQuery, window: Window) -> Found:
        key = self._key("search", query.parameters(), window.offset, window.limit)
        return await self._entry(key, functools.partial(self._inner.search, query, window))

    async def _entry(self, key: str, fetch: Fetch) -> Found:
        entry = self._memory.peek(key)
        freshness = Freshness.GONE if entry is None else entry.freshness(self._clock())
        if entry is None or freshness is Freshness.GONE:
            entry, state = await self._finds.join(key, functools.partial(self._find, key, fetch))
        else:
            state = CacheStatus(freshness.value)
        if state is CacheStatus.STALE:
            refresh = functools.partial(self._refresh, key, fetch, entry)
            self._refreshes.start(key, refresh)
        return entry, state

    def _need(self, *needs: Capability) -> None:
        for ability in sorted(set(needs) - self.capabilities):
            raise FilterUnsupported(f"the source {self.name} can't do {ability}", field=ability)

    def _key(self, *asked: Any) -> str:
        asked = (self._namespace, self.name, *asked)
        return hashlib.blake2b(_encoder.encode(asked), digest_size=20).hexdigest()

    async def _find(self, key: str, fetch: Fetch) -> Found:
        """What the other processes know, else what the source says."""
        known = await self._known(key)
        if known is not None:
            return known
        try:
            async with asyncio.timeout(self._deadline + MARGIN_SECONDS):
                return await self._fetch(key, fetch), CacheStatus.LIVE
        except (TimeoutError, SourceUnavailable) as error:
            # We may have been asleep, and somebody else was luckier.
            known = await self._known(key)
            if known is not None:
                return known
            if isinstance(error, SourceUnavailable):
                raise
            raise SourceUnavailable("the movie source did not answer in time") from None

    async def _known(self, key: str) -> Found | None:
        entry = await self._read(key)
        freshness = Freshness.GONE if entry is None else entry.freshness(self._clock())
        if entry is None or freshness is Freshness.GONE:
            return None
        self._memory.keep(key, entry)
        return entry, CacheStatus(freshness.value)

    async def _fetch(self, key: str, fetch: Fetch) -> CacheEntry:
        """Ask the source, or wait while another process does; whatever comes first."""
        while True:
            # One call for each look, as many may wait: whoever has the lease ends it once the answer is written.
            lease = await self._lease(key)
            if lease is not None:
                entry = await self._read(key)
                if entry is not None and entry.freshness(self._clock()) is Freshness.FRESH:
                    await self._adopt(entry, lease)
                    return entry
                entry = await self._ask(lease, fetch)
                if entry is not None:
                    return entry
            await asyncio.sleep(LOOK_SECONDS * (1 + self._chance()))

    async def _refresh(self, key: str, fetch: Fetch, stale: CacheEntry) -> None:
        """Ask the source anew. One process does; the others wait until it has ended, and learn of its answer.

        Where that fails, what is stale goes on to be served, and this stays under way a while: it isn't tried at once.
        """
        wait, is_first = LOOK_SECONDS, True
        try:
            async with asyncio.timeout(self._deadline + MARGIN_SECONDS):
                while (lease := await self._lease(key)) is None:
                    is_first = False
                    await asyncio.sleep(wait * (1 + self._chance()))
                    wait *= 1.5
                entry = await self._read(key)
                is_newer = entry is not None and entry.fetched_at > stale.fetched_at
                if is_first and not is_newer:
                    await self._ask(lease, fetch)
                else:
                    await self._adopt(entry if is_newer else None, lease)
        except (TimeoutError, SourceUnavailable):
            await asyncio.sleep(REFRESH_BACKOFF)
        except Exception:  # noqa: BLE001  (nobody waits for this, so nobody else would tell)
            _log.exception("a stale answer could not be fetched anew")
            await asyncio.sleep(REFRESH_BACKOFF)

    async def _adopt(self, entry: CacheEntry | None, lease: Lease) -> None:
        if entry is not None:
            self._memory.keep(lease.key, entry)
        await self._release(lease)

    async def _ask(self, lease: Lease, fetch: Fetch) -> CacheEntry | None:
        """The answer of the source; None where the lease was lost meanwhile, as somebody else asks now."""
        asking = asyncio.ensure_future(fetch())
        beating = None if isinstance(lease, _OwnLease) else asyncio.ensure_future(self._beat(lease, asking))
        try:
            page = await asking
            value = _encode(page)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            await self._release(lease)
            if beating is not None and beating.done() and task is not None and not task.cancelling():
                return None
            raise
        except Exception:
            await self._release(lease)
            raise
        finally:
            if beating is not None:
                beating.cancel()
        self._keep(page.items)
        entry = self._policy.entry(
            value, fence=lease.fence, now=self._clock(), chance=self._chance(), is_match=page.total > 0
        )
        known = self._memory.peek(lease.key)
        # Ours may have been numbered by this process's clock, ahead of the store's.
        self._memory.keep(lease.key, entry if known is None else replace(entry, fence=max(entry.fence, known.fence)))
        if not await self._write(lease.key, entry):
            # We were asleep, and somebody else has asked later than we did.
            newer = await self._read(lease.key)
            if newer is not None:
                self._memory.keep(lease.key, newer)
                entry = newer
        await self._release(lease)
        return entry

    async def _beat(self, lease: Lease, asking: "asyncio.Future[MoviePage]") -> None:
        """Keep the lease while the source is asked; where it was lost all the same, ask no more."""
        is_ours = True
        while is_ours and self._store is not None:
            await asyncio.sleep(HEARTBEAT_INTERVAL)
            with contextlib.suppress(StoreUnavailable):
                is_ours = await self._store.renew(lease, LEASE_SECONDS)
        asking.cancel()

    # The store is an optimisation: while it is away, this process goes on alone.

    async def _read(self, key: str) -> CacheEntry | None:
        if self._store is None:
            return None
        try:
            entry = await self._store.read(key)
        except StoreUnavailable:
            return None
        return None if entry is None or not _is_readable(entry) else entry

    async def _lease(self, key: str) -> Lease | None:
        if self._store is not None:
            with contextlib.suppress(StoreUnavailable):
                return await self._store.lease(key, LEASE_SECONDS)
        # Counted as the store counts, so that what it had before is older, and what it brings later newer.
        known = self._memory.peek(key)
        return _OwnLease(key, max(0 if known is None else known.fence + 1, int(self._clock() * 1e6)))

    async def _release(self, lease: Lease) -> None:
        if self._store is not None:
            with contextlib.suppress(StoreUnavailable):
                await self._store.release(lease)

    async def _write(self, key: str, entry: CacheEntry) -> bool:
        if self._store is None:
            return True
        try:
            return await self._store.write(key, entry)
        except StoreUnavailable:
            return True


def _encode(page: MoviePage) -> bytes:
    movies = [
        {name: value for name, default in _FIELDS if (value := getattr(movie, name)) != default} for movie in page.items
    ]
    try:
        return _encoder.encode((page.source, page.total, page.skipped, movies))
    except (OverflowError, UnicodeEncodeError):
        raise SourceUnavailable("the movie source sent what can't be kept") from None


def _is_readable(entry: CacheEntry) -> bool:
    try:
        _decoder.decode(entry.value)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
    return True


def _worse(one: CacheStatus, other: CacheStatus) -> CacheStatus:
    """A page of several blocks is stale where one of them is, and live where one of them was waited for."""
    return next(state for state in (CacheStatus.STALE, CacheStatus.LIVE, CacheStatus.FRESH) if state in {one, other})


def _short(
    window: Window, asked: Sequence[Window], blocks: Sequence[tuple[CacheEntry, _Block]]
) -> tuple[int, int] | None:
    """Where a source gave less of a block than it has and than the window needs: the size of blocks that it fills, and
    the place where its answer ended."""
    for block, (_, kept) in zip(asked, blocks, strict=False):
        wanted = min(window.offset + window.limit, block.offset + block.limit, kept.total) - block.offset
        if 0 < kept.given < wanted and block.offset + kept.given < MAX_OFFSET:
            return next(size for size in BLOCK_SIZES if size <= kept.given), block.offset + kept.given
    return None


def _assembled(
    window: Window, asked: Sequence[Window], blocks: Sequence[tuple[CacheEntry, _Block]], state: CacheStatus
) -> MoviePage:
    items: dict[str, Movie] = {}
    for block, (_, kept) in zip(asked, blocks, strict=False):
        for movie in kept.part(window.offset - block.offset, window.offset + window.limit - block.offset):
            items.setdefault(movie.id, movie)
    _, newest = max(blocks, key=lambda pair: pair[0].fetched_at)
    oldest = min(entry.fetched_at for entry, _ in blocks)
    total = newest.total
    shown = tuple(items.values())[: max(0, total - window.offset)]  # the source may have changed between two blocks
    if window.offset < total and not shown:
        raise SourceUnavailable("the movie source sent a page without a usable movie")
    until = min(entry.fresh_until for entry, _ in blocks)
    return MoviePage(
        total=total,
        items=shown,
        source=newest.source,
        fetched_at=datetime.fromtimestamp(oldest, UTC),
        state=state,
        fresh_until=datetime.fromtimestamp(until, UTC),
    )
