"""A cache around any movie source, with single-flight fetches and stale-while-revalidate."""

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
from movie_core.search.caching import BLOCK_SIZES, CacheEntry, CacheInvalidation, CachePolicy, Lease, blocks_of
from movie_core.search.decorator import MovieSourceDecorator
from movie_core.search.movies import MAX_ID, Capability, FoundMovie, Movie, MoviePage, MovieQuery
from movie_core.single_flight import SingleFlight

LEASE_SECONDS = 1.5
"""How long a lease lasts without a heartbeat; other processes do not call the source meanwhile."""
HEARTBEAT_INTERVAL = 0.3
"""Seconds between two renewals of the lease during a fetch."""
POLL_INTERVAL = 0.02
"""Seconds between two checks whether another process has finished the fetch; jitter doubles it at most."""
REFRESH_BACKOFF = 1.0
"""Seconds until a failed refresh of a stale entry is retried."""
DEADLINE_MARGIN = 0.05
"""Seconds beyond the deadline, so that the source's own timeout error, which has more details, is raised first."""
MAX_BLOCK_SIZES = 1000
"""Queries whose reduced block size is stored."""
BLOCK_SIZE_TTL = 600.0
"""Seconds for which a reduced block size is stored."""

_log = logging.getLogger(__name__)

Fetch = Callable[[], Awaitable[MoviePage]]
EntryWithStatus = tuple[CacheEntry, CacheStatus]


class _LocalLease(Lease):
    """A lease within this process, used without a store or while the store is unavailable."""


class _CachedPage(msgspec.Struct, array_like=True, frozen=True):
    """The stored form of one block of movies; empty fields of movies are left out."""

    source: str
    total: int
    skipped: tuple[int, ...]
    movies: tuple[Movie, ...]

    @property
    def item_count(self) -> int:
        """Items that the source returned, including unusable ones."""
        return len(self.movies) + len(self.skipped)

    def slice(self, first: int, end: int) -> Iterator[Movie]:
        """Return the movies at these positions; unusable items count as positions."""
        movies = iter(self.movies)
        for position in range(min(end, self.item_count)):
            movie = None if position in self.skipped else next(movies, None)
            if movie is not None and position >= first:
                yield movie


_FIELDS = tuple((field.name, field.default) for field in fields(Movie))
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_CachedPage)


class CachedMovieSource(MovieSourceDecorator):
    """A `MovieSource` that caches the results of `inner`, block by block, according to `policy`.

    `memory` is the cache of this process, `store` is shared by all processes; without a store, or while it is
    unavailable, each process caches for itself. A search takes at most `deadline` seconds (and `DEADLINE_MARGIN`).
    `namespace` separates the entries of different deployments or source settings. `remember` is called with all movies
    that the source returned. Must be used within a running event loop.
    """

    def __init__(
        self,
        inner: MovieSource,
        *,
        memory: MemoryCacheStore,
        store: CacheStore | None = None,
        policy: CachePolicy | None = None,
        deadline: float = 3.0,
        block_size: int = BLOCK_SIZES[0],
        namespace: str = "",
        remember: Callable[[Sequence[Movie]], None] = lambda _: None,
        invalidation: CacheInvalidation | None = None,
        clock: Callable[[], float] = time.time,
        chance: Callable[[], float] = random.random,
    ) -> None:
        super().__init__(inner)
        self._memory = memory
        self._store = store
        self._policy = policy or CachePolicy()
        self._deadline = deadline
        self._namespace = namespace
        self._remember = remember
        self._invalidation = invalidation or CacheInvalidation()
        self._clock = clock
        self._chance = chance
        self._default_block_size = block_size
        self._block_sizes: OrderedDict[Hashable, tuple[int, float]] = OrderedDict()
        """By query: the reduced block size, and until when it applies."""
        self._lookups: SingleFlight[EntryWithStatus] = SingleFlight()
        self._refreshes: SingleFlight[None] = SingleFlight()
        self._generation: str | None = None
        self._has_read_generation = False

    async def search(self, query: MovieQuery, window: Window) -> MoviePage:
        self._require(*query.required_capabilities)
        try:
            # Covers the whole search: it may need several calls to the source, and the store may be slow too.
            async with asyncio.timeout(self._deadline + DEADLINE_MARGIN):
                return await self._search(query, window)
        except TimeoutError:
            raise SourceUnavailable("the movie source did not answer in time") from None

    async def get(self, movie_id: str) -> FoundMovie:
        self._require(Capability.DETAILS)
        if len(movie_id) > MAX_ID:
            return await self._inner.get(movie_id)

        async def fetch() -> MoviePage:
            """Fetch the movie as a page with one item, or with none if it does not exist."""
            try:
                found = await self._inner.get(movie_id)
            except MovieNotFound:
                return MoviePage(0, (), self.name)
            return MoviePage(1, (found.movie,), found.source)

        entry, status = await self._entry(self._key("details", movie_id), fetch)
        movies = _decoder.decode(entry.value).movies
        if not movies:
            raise MovieNotFound("no such movie")
        return FoundMovie(movies[0], self.name, datetime.fromtimestamp(entry.fetched_at, UTC), status)

    async def suggest(self, text: str, limit: int) -> Sequence[Movie]:
        self._require(Capability.SUGGEST)

        async def fetch() -> MoviePage:
            movies = tuple(await self._inner.suggest(text, limit))
            return MoviePage(len(movies), movies, self.name)

        entry, _ = await self._entry(self._key("suggestions", text, limit), fetch)
        return _decoder.decode(entry.value).movies

    async def check_generation(self) -> None:
        """Flush this process's cache if the store was flushed since the last call; call it about once a second."""
        if self._store is None:
            return
        with contextlib.suppress(StoreUnavailable):
            generation = await self._store.generation()
            # A store that lost its data has no generation. Local entries stay: they can bridge an outage.
            if generation is not None and self._has_read_generation and generation != self._generation:
                self._memory.clear_now()
                self._invalidation.publish()
            self._generation = generation or self._generation
            self._has_read_generation = True

    async def close(self) -> None:
        """Cancel running fetches. The inner source and the store stay open."""
        await self._lookups.close()
        await self._refreshes.close()

    async def _search(self, query: MovieQuery, window: Window) -> MoviePage:
        parameters = query.parameters()
        size, until = self._block_sizes.get(parameters, (self._default_block_size, 0.0))
        is_reduced = self._clock() < until
        windows = blocks_of(window, size if is_reduced else self._default_block_size)
        blocks, status = await self._blocks(query, windows)
        short = None if is_reduced else _find_short_block(window, windows, blocks)
        if short is not None:
            smaller, end = short
            # A short block may also mean that the reported total is too large: then the source has no further items.
            if not await self._has_more(query, smaller, end):
                smaller = self._default_block_size
            self._block_sizes[parameters] = smaller, self._clock() + BLOCK_SIZE_TTL
            if len(self._block_sizes) > MAX_BLOCK_SIZES:
                self._block_sizes.popitem(last=False)
            if smaller != self._default_block_size:
                windows = blocks_of(window, smaller)
                blocks, second_status = await self._blocks(query, windows)
                status = _combine(status, second_status)
        return _assemble(window, windows, blocks, status)

    async def _has_more(self, query: MovieQuery, size: int, end: int) -> bool:
        """Whether the source has items from position `end` on."""
        window = Window(end - end % size, size)
        try:
            entry, _ = await self._block(query, window)
        except SourceUnavailable:
            return False
        return window.offset + _decoder.decode(entry.value).item_count > end

    async def _blocks(
        self, query: MovieQuery, windows: Sequence[Window]
    ) -> tuple[list[tuple[CacheEntry, _CachedPage]], CacheStatus]:
        """Get the first block, which has the total, and those of the others that have any matches."""
        entry, status = await self._block(query, windows[0])
        first = _decoder.decode(entry.value)
        blocks = [(entry, first)]
        needed = [window for window in windows[1:] if window.offset < first.total]
        for entry, block_status in await asyncio.gather(*(self._block(query, window) for window in needed)):
            blocks.append((entry, _decoder.decode(entry.value)))
            status = _combine(status, block_status)
        return blocks, status

    async def _block(self, query: MovieQuery, window: Window) -> EntryWithStatus:
        key = self._key("search", query.parameters(), window.offset, window.limit)
        return await self._entry(key, functools.partial(self._inner.search, query, window))

    async def _entry(self, key: str, fetch: Fetch) -> EntryWithStatus:
        entry = self._memory.peek(key)
        status = None if entry is None else entry.status(self._clock())
        if entry is None or status is None:
            entry, status = await self._lookups.join(key, functools.partial(self._look_up, key, fetch))
        if status is CacheStatus.STALE:
            self._refreshes.start(key, functools.partial(self._refresh, key, fetch, entry))
        return entry, status

    def _require(self, *capabilities: Capability) -> None:
        for capability in sorted(set(capabilities) - self.capabilities):
            raise FilterUnsupported(f"the source {self.name} does not support {capability}", field=capability)

    def _key(self, *parts: Any) -> str:
        parts = (self._namespace, self.name, *parts)
        return hashlib.blake2b(_encoder.encode(parts), digest_size=20).hexdigest()

    async def _look_up(self, key: str, fetch: Fetch) -> EntryWithStatus:
        """Return the store's entry, else fetch it from the source."""
        cached = await self._read_store(key)
        if cached is not None:
            return cached
        try:
            async with asyncio.timeout(self._deadline + DEADLINE_MARGIN):
                return await self._fetch(key, fetch), CacheStatus.LIVE
        except (TimeoutError, SourceUnavailable) as error:
            # Another process may have succeeded meanwhile, for example while this one was suspended.
            cached = await self._read_store(key)
            if cached is not None:
                return cached
            if isinstance(error, SourceUnavailable):
                raise
            raise SourceUnavailable("the movie source did not answer in time") from None

    async def _read_store(self, key: str) -> EntryWithStatus | None:
        entry = await self._read(key)
        status = None if entry is None else entry.status(self._clock())
        if entry is None or status is None:
            return None
        self._memory.put(key, entry)
        return entry, status

    async def _fetch(self, key: str, fetch: Fetch) -> CacheEntry:
        """Call the source, or wait for the process that does; return the first result."""
        while True:
            # Many processes may wait, so each check is one call: the lease is released only after the entry is written.
            lease = await self._lease(key)
            if lease is not None:
                entry = await self._read(key)
                if entry is not None and entry.status(self._clock()) is CacheStatus.FRESH:
                    await self._adopt(entry, lease)
                    return entry
                entry = await self._call_source(lease, fetch)
                if entry is not None:
                    return entry
            await asyncio.sleep(POLL_INTERVAL * (1 + self._chance()))

    async def _refresh(self, key: str, fetch: Fetch, stale: CacheEntry) -> None:
        """Refresh a stale entry. One process calls the source; the others wait for its result.

        After a failure the stale entry stays in use, and this task sleeps for `REFRESH_BACKOFF`, during which no other
        refresh starts.
        """
        wait, is_first = POLL_INTERVAL, True
        try:
            async with asyncio.timeout(self._deadline + DEADLINE_MARGIN):
                while (lease := await self._lease(key)) is None:
                    is_first = False
                    await asyncio.sleep(wait * (1 + self._chance()))
                    wait *= 1.5
                entry = await self._read(key)
                is_newer = entry is not None and entry.fetched_at > stale.fetched_at
                if is_first and not is_newer:
                    await self._call_source(lease, fetch)
                else:
                    await self._adopt(entry if is_newer else None, lease)
        except (TimeoutError, SourceUnavailable):
            await asyncio.sleep(REFRESH_BACKOFF)
        except Exception:  # noqa: BLE001  (no caller awaits this task, so a bug would not be reported)
            _log.exception("refreshing a stale cache entry failed")
            await asyncio.sleep(REFRESH_BACKOFF)

    async def _adopt(self, entry: CacheEntry | None, lease: Lease) -> None:
        if entry is not None:
            self._memory.put(lease.key, entry)
        await self._release(lease)

    async def _call_source(self, lease: Lease, fetch: Fetch) -> CacheEntry | None:
        """Fetch from the source and store the entry; None if another process has taken the lease."""
        call = asyncio.ensure_future(fetch())
        heartbeat = None if isinstance(lease, _LocalLease) else asyncio.ensure_future(self._heartbeat(lease, call))
        try:
            page = await call
            value = _encode(page)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            await self._release(lease)
            if heartbeat is not None and heartbeat.done() and task is not None and not task.cancelling():
                return None
            raise
        except Exception:
            await self._release(lease)
            raise
        finally:
            if heartbeat is not None:
                heartbeat.cancel()
        self._remember(page.items)
        entry = self._policy.entry(
            value, fence=lease.fence, now=self._clock(), chance=self._chance(), is_match=page.total > 0
        )
        present = self._memory.peek(lease.key)
        # A local lease's fence comes from this process's clock, which may be ahead of the store's.
        fence = entry.fence if present is None else max(entry.fence, present.fence)
        self._memory.put(lease.key, replace(entry, fence=fence))
        if not await self._write(lease.key, entry):
            # This process was suspended, and another one has fetched a newer entry meanwhile.
            newer = await self._read(lease.key)
            if newer is not None:
                self._memory.put(lease.key, newer)
                entry = newer
        await self._release(lease)
        return entry

    async def _heartbeat(self, lease: Lease, call: "asyncio.Future[MoviePage]") -> None:
        """Renew the lease while `call` runs; cancel `call` when the lease is lost."""
        is_held = True
        while is_held and self._store is not None:
            await asyncio.sleep(HEARTBEAT_INTERVAL)
            with contextlib.suppress(StoreUnavailable):
                is_held = await self._store.renew(lease, LEASE_SECONDS)
        call.cancel()

    # The store is an optimisation: while it is unavailable, this process works without it.

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
        # Microseconds, like the store's fences, so that local entries and stored ones are ordered by age.
        present = self._memory.peek(key)
        return _LocalLease(key, max(0 if present is None else present.fence + 1, int(self._clock() * 1e6)))

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
        raise SourceUnavailable("the movie source sent values that cannot be stored") from None


def _is_readable(entry: CacheEntry) -> bool:
    try:
        _decoder.decode(entry.value)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
    return True


def _combine(first: CacheStatus, second: CacheStatus) -> CacheStatus:
    """The status of a page of several blocks: stale if any block is stale, else live if any was just fetched."""
    return next(
        status for status in (CacheStatus.STALE, CacheStatus.LIVE, CacheStatus.FRESH) if status in {first, second}
    )


def _find_short_block(
    window: Window, windows: Sequence[Window], blocks: Sequence[tuple[CacheEntry, _CachedPage]]
) -> tuple[int, int] | None:
    """Find a block with fewer items than its total and the window require, as some sources limit the page size.

    Returns the block size that the source fills, and the position at which its result ended.
    """
    for block, (_, page) in zip(windows, blocks, strict=False):
        expected = min(window.offset + window.limit, block.offset + block.limit, page.total) - block.offset
        if 0 < page.item_count < expected and block.offset + page.item_count < MAX_OFFSET:
            return next(size for size in BLOCK_SIZES if size <= page.item_count), block.offset + page.item_count
    return None


def _assemble(
    window: Window, windows: Sequence[Window], blocks: Sequence[tuple[CacheEntry, _CachedPage]], status: CacheStatus
) -> MoviePage:
    items: dict[str, Movie] = {}
    for block, (_, page) in zip(windows, blocks, strict=False):
        for movie in page.slice(window.offset - block.offset, window.offset + window.limit - block.offset):
            items.setdefault(movie.id, movie)
    _, newest = max(blocks, key=lambda pair: pair[0].fetched_at)
    oldest = min(entry.fetched_at for entry, _ in blocks)
    total = newest.total
    # The source may have changed between two blocks.
    movies = tuple(items.values())[: max(0, total - window.offset)]
    if window.offset < total and not movies:
        raise SourceUnavailable("the movie source sent a page without a usable movie")
    fresh_until = min(entry.fresh_until for entry, _ in blocks)
    return MoviePage(
        total=total,
        items=movies,
        source=newest.source,
        fetched_at=datetime.fromtimestamp(oldest, UTC),
        cache_status=status,
        fresh_until=datetime.fromtimestamp(fresh_until, UTC),
    )
