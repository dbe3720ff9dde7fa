"""The service behind search: it checks what is asked, asks the source, and remembers what was shown."""

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace

from movie_core.errors import FilterUnsupported, MovieNotFound, SourceUnavailable, StoreUnavailable
from movie_core.paging import Window
from movie_core.ports import MovieSource, SeenMovies
from movie_core.provenance import CacheStatus
from movie_core.search.movies import Capability, FoundMovie, Genre, Movie, MoviePage, MovieQuery, Order
from movie_core.single_flight import SingleFlight
from movie_core.text import normalise_query

MAX_SUGGESTIONS = 10
SEEN_SECONDS = 0.35
"""How long another process may need to write down what its search has just shown."""
LOCAL = "local"
"""As `meta.source` names the movies that searches have shown."""
FALLBACK_SECONDS = 0.1
"""How long the movies seen so far may take to answer for a source that is away: its own time is used up by then."""
FALLBACK_KEPT = 1.0
"""Seconds for which such an answer serves for the same question: whoever asks meanwhile would learn nothing new."""


class MovieSearch:
    """Search, details, suggestions and genres over one source.

    `seen` keeps what searches have shown; it answers where the source has no details, suggestions or genres to ask
    for, and searches and details also when the source is away. A source that keeps its movies itself needs none.
    """

    def __init__(self, source: MovieSource, seen: SeenMovies | None = None) -> None:
        self._source = source
        self._seen = seen
        self._fallbacks: SingleFlight[MoviePage] = SingleFlight()

    async def search(self, query: MovieQuery, window: Window) -> MoviePage:
        """One page of matches.

        Raises `MovieNotFound` when nothing matches, `PageOutOfRange` for a window past the end, `FilterUnsupported`,
        and `SourceUnavailable` or `StoreUnavailable`.
        """
        if query.order is Order.PERSONAL:
            raise FilterUnsupported("a personal order needs somebody whose taste it follows", field="order")
        self.require(query.needs)
        try:
            page = await self._source.search(query, window)
        except SourceUnavailable as away:
            return await self._from_seen(query, window, away)
        if page.total == 0:
            raise MovieNotFound("no movie matches", state=page.state)
        window.check(page.total)
        if self._seen is not None and page.state is CacheStatus.LIVE:
            self._seen.remember(page.items)
        return page

    def require(self, capabilities: Iterable[Capability]) -> None:
        """Raises `FilterUnsupported` for one that the source lacks."""
        for ability in sorted(set(capabilities) - self._source.capabilities):
            raise FilterUnsupported(f"the source {self._source.name} can't apply {ability}", field=ability)

    async def _from_seen(self, query: MovieQuery, window: Window, away: SourceUnavailable) -> MoviePage:
        """What is known of the matches; raises `away` when that is nothing. How many there are in truth isn't known, so
        a page past the end of what we have isn't out of range."""
        if self._seen is None:
            raise away
        movies = self._seen.movies

        async def ask() -> MoviePage:
            async with asyncio.timeout(FALLBACK_SECONDS):
                return await movies.search(query, window)

        try:
            page = await self._fallbacks.join((query, window), ask, ttl=FALLBACK_KEPT)
        except (TimeoutError, StoreUnavailable):
            raise away from None
        if not page.items:
            raise away
        return replace(page, source=LOCAL, state=CacheStatus.FALLBACK)

    async def get(self, movie_id: str) -> FoundMovie:
        """Everything known of one movie; raises `MovieNotFound`."""
        if Capability.DETAILS not in self._source.capabilities:
            return replace(await self._shown(movie_id), source=LOCAL)
        try:
            return await self._source.get(movie_id)
        except SourceUnavailable as away:
            if self._seen is None:
                raise
            try:
                return replace(await self._seen.movies.get(movie_id), source=LOCAL, state=CacheStatus.FALLBACK)
            except MovieNotFound:
                raise away from None

    async def _shown(self, movie_id: str) -> FoundMovie:
        """A movie that a search has shown; what one has shown just now, here or in another process, is waited for."""
        known = self._known()
        with suppress(MovieNotFound):
            return await known.movies.get(movie_id)
        await known.flush()
        with suppress(MovieNotFound):
            return await known.movies.get(movie_id)
        await asyncio.sleep(SEEN_SECONDS)
        return await known.movies.get(movie_id)

    async def suggest(self, text: str) -> Sequence[Movie]:
        """At most `MAX_SUGGESTIONS` movies for a text that is being typed; raises `InvalidQuery`."""
        text = normalise_query(text)
        asked = self._source if Capability.SUGGEST in self._source.capabilities else self._known().movies
        return await asked.suggest(text, MAX_SUGGESTIONS) if text else ()

    async def genres(self) -> Sequence[Genre]:
        """The genres there are, by name."""
        asked = self._source if Capability.GENRES in self._source.capabilities else self._known().movies
        return await asked.genres()

    def _known(self) -> SeenMovies:
        if self._seen is None:
            raise MovieNotFound("nothing is known but what searches answer")
        return self._seen
