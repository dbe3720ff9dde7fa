"""Movies, and answers about them, in memory."""

import math
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from movie_core.discovery.ratings import MovieIdentity, MovieIndex
from movie_core.errors import MovieNotFound
from movie_core.paging import Window
from movie_core.search.caching import CacheEntry, CacheStats, Lease
from movie_core.search.movies import Capability, FoundMovie, Genre, LoadResult, Movie, MoviePage, MovieQuery, Order
from movie_core.text import split_words

MAX_PENDING = 10_000
"""Movies that `MemorySeenMovies` holds before it writes them."""
ENTRY_BYTES = 420
"""What `MemoryCacheStore` needs for an entry beside the characters of its key and the bytes of its value, rounded up from
what CPython 3.11 takes for 100,000 of them."""


words = split_words  # exported by `movie_core.memory`


class MemoryMovieCatalogue:
    """A `MovieCatalogue` over a dict. Titles match when they have every word of the query, its last word begun or
    whole."""

    capabilities = frozenset(Capability)

    def __init__(self, movies: Iterable[Movie] = (), source: str = "catalogue") -> None:
        self.name = source
        self._movies = {movie.id: movie for movie in movies}
        self._edition: str | None = None

    async def search(self, query: MovieQuery, window: Window) -> MoviePage:
        ranked = [(tier, movie) for movie in self._movies.values() if (tier := self._tier(query, movie)) is not None]
        ranked.sort(key=lambda pair: _ordering(query.order)(*pair))
        items = tuple(movie for _, movie in ranked[window.offset : window.offset + window.limit])
        return MoviePage(total=len(ranked), items=items, source=self.name)

    async def get(self, movie_id: str) -> FoundMovie:
        try:
            return FoundMovie(self._movies[movie_id], self.name)
        except KeyError:
            raise MovieNotFound("no such movie") from None

    async def suggest(self, text: str, limit: int) -> Sequence[Movie]:
        return (await self.search(MovieQuery(text), Window(limit=limit))).items if text.strip() else ()

    async def genres(self) -> Sequence[Genre]:
        counts: dict[str, int] = {}
        for movie in self._movies.values():
            for genre in dict.fromkeys(movie.genres):
                counts[genre] = counts.get(genre, 0) + 1
        return tuple(Genre(name, counts[name]) for name in sorted(counts))

    async def load(self, movies: Iterable[Movie], *, replace: bool = False, edition: str | None = None) -> LoadResult:
        given = {movie.id: movie for movie in movies}
        added = sum(movie_id not in self._movies for movie_id in given)
        unchanged = sum(self._movies.get(movie_id) == movie for movie_id, movie in given.items())
        removed = len(self._movies.keys() - given.keys()) if replace else 0
        self._movies = given if replace else self._movies | given
        self._edition = edition or self._edition
        return LoadResult(added, len(given) - added - unchanged, unchanged, removed)

    async def count(self) -> int:
        return len(self._movies)

    async def edition(self) -> str | None:
        return self._edition

    async def get_many(self, movie_ids: Collection[str]) -> Mapping[str, Movie]:
        return {movie_id: self._movies[movie_id] for movie_id in movie_ids if movie_id in self._movies}

    async def most_popular(self, limit: int) -> Sequence[Movie]:
        return sorted(self._movies.values(), key=_fame)[:limit]

    async def match(self, wanted: Sequence[MovieIdentity]) -> Sequence[Movie | None]:
        known = MovieIndex(self._movies.values())
        return [known.find(identity) for identity in wanted]

    @staticmethod
    def _tier(query: MovieQuery, movie: Movie) -> int | None:
        """0 exact, 1 prefix, 2 words; None where the movie doesn't match."""
        if movie.id in query.without or (query.years is not None and movie.year not in query.years):
            return None
        if query.genre is not None and query.genre.casefold() not in (genre.casefold() for genre in movie.genres):
            return None
        if not query.text:
            return 0
        asked = split_words(query.text)
        tiers = []
        for title in (movie.title, *movie.alt_titles):
            own = split_words(title)
            if own == asked:
                tiers.append(0)
            elif " ".join(own).startswith(" ".join(asked)):
                tiers.append(1)
            elif set(asked[:-1]) <= set(own) and any(word.startswith(asked[-1]) for word in own):
                tiers.append(2)
        return min(tiers, default=None)


def _fame(movie: Movie) -> tuple[bool, float, str]:
    """Best known first, unknown last."""
    return movie.popularity is None, -(movie.popularity or 0.0), movie.id


def _ordering(order: Order) -> Callable[[int, Movie], tuple[float, float, float, str]]:
    def key(tier: int, movie: Movie) -> tuple[float, float, float, str]:
        fame, year = -(movie.popularity or 0.0), -(movie.year or 0)
        if order is Order.POPULARITY:
            return fame, tier, year, movie.id
        if order is Order.YEAR:
            return year, tier, fame, movie.id
        return tier, fame, year, movie.id

    return key


class MemorySeenMovies:
    """`SeenMovies` that writes when `flush` is called."""

    def __init__(self, movies: MemoryMovieCatalogue) -> None:
        self.movies = movies
        self.dropped = 0
        """Movies that didn't fit in memory."""
        self._pending: dict[str, Movie] = {}

    def remember(self, movies: Sequence[Movie]) -> None:
        for movie in movies:
            if movie.id in self._pending or len(self._pending) < MAX_PENDING:
                self._pending[movie.id] = movie
            else:
                self.dropped += 1

    async def flush(self) -> None:
        pending, self._pending = self._pending, {}
        await self.movies.load(pending.values())


class MemoryCacheStore:
    """An `CacheStore` for one process, in at most `max_bytes`; the entry used longest ago is forgotten first.

    Also the layer above a store that processes share; `peek`, `keep` and `forget` are for that, and never wait.
    """

    _SWEEP = 1000
    """Leases between looks for those that have ended."""

    def __init__(self, max_bytes: int | None = None, clock: Callable[[], float] = time.time) -> None:
        self._max_bytes = math.inf if max_bytes is None else max_bytes
        self._clock = clock
        self._entries: OrderedDict[str, CacheEntry] = OrderedDict()
        self._bytes = 0
        self._leases: dict[str, tuple[int, float]] = {}
        self._sweep_at = self._SWEEP
        self._fence = 0
        self._generation: str | None = None

    def peek(self, key: str) -> CacheEntry | None:
        """The entry of the key, also when it is past its `stale_until`; counts as used."""
        entry = self._entries.get(key)
        if entry is not None:
            self._entries.move_to_end(key)
        return entry

    def keep(self, key: str, entry: CacheEntry) -> bool:
        """As `write`. False too where the entry needs more than a tenth of `max_bytes`; an older one is forgotten."""
        known = self._entries.get(key)
        if (known is not None and known.fence > entry.fence) or entry.stale_until <= self._clock():
            return False
        self._fence = max(self._fence, entry.fence)
        self._drop(key)
        size = _size(key, entry)
        if size > self._max_bytes / 10:
            return False
        self._entries[key] = entry
        self._bytes += size
        while self._bytes > self._max_bytes:
            self._drop(next(iter(self._entries)))
        return True

    def forget(self) -> int:
        """As `clear`."""
        count = len(self._entries)
        self._entries.clear()
        self._bytes = 0
        self._generation = secrets.token_hex(8)
        return count

    async def read(self, key: str) -> CacheEntry | None:
        entry = self.peek(key)
        if entry is not None and entry.stale_until <= self._clock():
            self._drop(key)
            return None
        return entry

    async def lease(self, key: str, seconds: float) -> Lease | None:
        now = self._clock()
        if self._holder(key, now) is not None:
            return None
        if len(self._leases) >= self._sweep_at:
            self._leases = {kept: lease for kept, lease in self._leases.items() if lease[1] > now}
            self._sweep_at = max(self._SWEEP, 2 * len(self._leases))
        self._fence = max(self._fence + 1, int(now * 1e6))  # as other stores count, microseconds of their clock
        self._leases[key] = (self._fence, now + seconds)
        return Lease(key, self._fence)

    async def renew(self, lease: Lease, seconds: float) -> bool:
        now = self._clock()
        if self._holder(lease.key, now) != lease.fence:
            return False
        self._leases[lease.key] = (lease.fence, now + seconds)
        return True

    async def release(self, lease: Lease) -> None:
        if self._holder(lease.key, self._clock()) == lease.fence:
            del self._leases[lease.key]

    async def write(self, key: str, entry: CacheEntry) -> bool:
        return self.keep(key, entry)

    async def clear(self) -> int:
        return self.forget()

    async def generation(self) -> str | None:
        return self._generation

    async def stats(self) -> CacheStats:
        return CacheStats(len(self._entries), self._bytes - ENTRY_BYTES * len(self._entries))

    def _holder(self, key: str, now: float) -> int | None:
        """The fence of the lease that hasn't ended."""
        fence, until = self._leases.get(key, (0, 0.0))
        return fence if now < until else None

    def _drop(self, key: str) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._bytes -= _size(key, entry)


def _size(key: str, entry: CacheEntry) -> int:
    return len(key) + len(entry.value) + ENTRY_BYTES
