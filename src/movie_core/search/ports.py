"""Ports of movie search: the source, our own catalogue, the movies seen in results, and the cache."""

from abc import abstractmethod
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Protocol

from movie_core.discovery.movie_matching import Mismatch, MovieIdentity, MovieMatch
from movie_core.paging import Window
from movie_core.search.caching import CacheEntry, CacheStats, Lease
from movie_core.search.movies import (
    Capability,
    FoundMovie,
    Genre,
    ListedMovie,
    LoadResult,
    Movie,
    MoviePage,
    MovieQuery,
)


class MovieSource(Protocol):
    """A searchable source of movies.

    1. Every method raises `SourceUnavailable` or `StoreUnavailable` if it fails, and no other error of a library. It
       never returns partial data.
    2. A method raises `FilterUnsupported` if the capability that it requires is missing from `capabilities`; so does
       `search` for a query that requires a missing capability.
    """

    @property
    @abstractmethod
    def name(self) -> str:
        """The name shown in `meta.source`."""

    @property
    @abstractmethod
    def capabilities(self) -> frozenset[Capability]:
        """The supported capabilities; constant for the lifetime of the object."""

    @abstractmethod
    async def search(self, query: MovieQuery, window: Window) -> MoviePage:
        """Returns the matches within the window.

        3. `total` counts all matches, independent of the window. Without matches it is 0 and there are no items.
        4. There are at most `window.limit` items and no duplicate ids. A window past the end returns `total` and no
           items; any other window returns at least one item.
        5. The order is total and stable between calls while the movies do not change, so that consecutive windows
           return every match exactly once.
        6. Every item matches the years and the genre of the query. Genres are compared case-insensitively.
        7. Every item has an id and a title, both without control characters.
        """

    @abstractmethod
    async def get(self, movie_id: str) -> FoundMovie:
        """8. Returns the movie with this id and all its known fields. Raises `MovieNotFound` for any other string."""

    @abstractmethod
    async def suggest(self, text: str, limit: int) -> Sequence[Movie]:
        """9. Returns at most `limit` completions of a partly typed title, best first; none for an empty text."""

    @abstractmethod
    async def genres(self) -> Sequence[Genre]:
        """10. Returns every genre once, sorted by name, with its number of movies; no genre has 0."""


class MovieCatalogue(MovieSource, Protocol):
    """Movies in our own storage, stored under the name of their source; movies of different sources never mix.

    A catalogue has every capability; a search with an order or a filter may be slower than one by text alone. A search
    excludes the movies of `MovieQuery.exclude_ids` from its items and its total.
    """

    @abstractmethod
    async def load(self, movies: Iterable[Movie], *, replace: bool = False, edition: str | None = None) -> LoadResult:
        """Adds movies, or updates those whose id exists. Also updates an index that an earlier version has built, even
        without movies.

        11. Loading the same movies again changes nothing. Of several movies with one id, the last one counts.
        12. `replace` removes the movies that `movies` lacks, and only after all of `movies` was read: if the iterable
            raises, nothing is removed.
        13. `edition`, if given, is stored once everything is loaded; `edition()` returns it.
        14. Concurrent searches see each movie either before or after its update, never partly updated.
        """

    @abstractmethod
    async def count(self) -> int:
        """15. Returns the number of movies."""

    @abstractmethod
    async def edition(self) -> str | None:
        """16. Returns the name of the edition loaded last; None before the first."""

    @abstractmethod
    async def get_many(self, movie_ids: Collection[str]) -> Mapping[str, Movie]:
        """17. Returns the movies that exist, by id. Any strings are accepted."""

    @abstractmethod
    async def most_popular(self, limit: int) -> Sequence[Movie]:
        """18. Returns at most `limit` movies, most popular first, those of unknown popularity last."""

    @abstractmethod
    async def match(self, identities: Sequence[MovieIdentity]) -> Sequence[MovieMatch | Mismatch]:
        """19. Returns the matching movie for each identity, in the same order, or the reason why there is none.

        The first of these that identifies a movie decides: our own id; the IMDb id; the TMDB id; a title with exactly
        the year; a title with a year that differs by one, or that is missing on either side. Several movies that match
        equally are no match, unless they have the same IMDb id. A movie with another IMDb or TMDB id never matches, nor
        does our own id if the identity has titles or a year of another movie.

        Titles are equal by `movie_core.text.normalise_title`, which ignores case, accents, punctuation and the position
        of the article. Each title of the identity is compared with the title, the original title and the alternative
        titles; where several movies of the year have it, only those with this main title count.
        """

    @abstractmethod
    async def import_list(
        self, listed: Iterable[ListedMovie], *, replace: bool = False, edition: str | None = None
    ) -> LoadResult:
        """20. Adds the movies of a list, or updates the stored movies that they are by the rules of
        `merging.ListMerger`, which keep their ids. A field that a listed movie lacks does not change. Clauses 11 to 14
        apply; `replace` removes the movies that are not in the list, and clears the fields that are empty in it.
        """

    @abstractmethod
    async def remove(self, movie_ids: Collection[str]) -> int:
        """21. Deletes the movies with these ids, and returns how many existed. Any strings are accepted."""


class SeenMovies(Protocol):
    """A store of the movies that search results contained, so that they can be looked up later."""

    @property
    @abstractmethod
    def movies(self) -> MovieCatalogue:
        """The catalogue that stores the movies."""

    @abstractmethod
    def remember(self, movies: Sequence[Movie]) -> None:
        """1. Returns immediately and never raises: movies are written later, in batches. Memory is bounded; movies
        that do not fit are dropped and counted.
        """

    @abstractmethod
    async def flush(self) -> None:
        """2. Writes all movies remembered before the call to `movies`, unless the store is unavailable."""


class CacheStore(Protocol):
    """A cache of responses with leases for fetching them, shared by the processes of a deployment.

    1. Every method raises `StoreUnavailable` within 0.1 s if the store is unavailable or frozen, and after a write
       failed because the store is full or read-only. A cancelled caller leaves no reply behind that another call could
       read as its own.
    2. Keys are 1 to 200 ASCII characters without spaces.
    """

    @abstractmethod
    async def read(self, key: str) -> CacheEntry | None:
        """3. Returns the newest entry of the key; None if there is none, if it is past its `stale_until`, or if it
        cannot be decoded or has another format.
        """

    @abstractmethod
    async def lease(self, key: str, seconds: float) -> Lease | None:
        """4. Acquires the lease of the key; None while another caller holds it. A lease expires after `seconds`. Its
        fence is greater than that of every earlier lease and entry of the key.
        """

    @abstractmethod
    async def renew(self, lease: Lease, seconds: float) -> bool:
        """5. Extends the lease to `seconds` from now; False, changing nothing, if it has expired."""

    @abstractmethod
    async def release(self, lease: Lease) -> None:
        """6. Ends the lease. Does nothing if it has expired, even if another caller holds the key's lease by now."""

    @abstractmethod
    async def write(self, key: str, entry: CacheEntry) -> bool:
        """7. Stores the entry until its `stale_until`; False, changing nothing, if an entry with a greater fence
        exists or if the entry is past its `stale_until`.
        """

    @abstractmethod
    async def clear(self) -> int:
        """8. Deletes all entries, but not the leases, and returns the number of deleted entries. Changes
        `generation`.
        """

    @abstractmethod
    async def generation(self) -> str | None:
        """9. Returns a value that changes with each `clear`, so that holders of local copies can drop them. None if
        `clear` was never called, or if the value was lost with all other data.
        """

    @abstractmethod
    async def stats(self) -> CacheStats:
        """10. Returns the number of entries and the bytes of keys and values. May include entries past their
        `stale_until`.
        """
