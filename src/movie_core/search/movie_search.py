"""The movie search service: it checks queries, calls the source, and stores the movies of results as a fallback."""

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from difflib import SequenceMatcher

from movie_core.errors import FilterUnsupported, MovieNotFound, SourceUnavailable, StoreUnavailable
from movie_core.paging import Window
from movie_core.ports import MovieSource, SeenMovies
from movie_core.provenance import CacheStatus
from movie_core.search.movies import Capability, FoundMovie, Genre, Movie, MoviePage, MovieQuery, NoMatch, Order
from movie_core.single_flight import SingleFlight
from movie_core.text import normalise_query

MAX_SUGGESTIONS = 10
SEEN_DELAY = 0.35
"""Seconds that another process may need to store the movies of its latest results."""
LOCAL = "local"
"""Value of `meta.source` for movies stored from earlier results."""
FALLBACK_TIMEOUT = 0.1
"""Timeout in seconds of a fallback search; short, as the deadline of the request has passed by then."""
FALLBACK_TTL = 1.0
"""Seconds for which equal requests share the result of a fallback search; the stored movies hardly change meanwhile."""

MAX_TITLES = 5
"""Maximum number of titles that are suggested for a search without matches."""
TITLES_PER_WORD = 2
"""Titles that are suggested for one word of such a search."""
MAX_WORDS = 2
"""Words of such a search for which titles are suggested, the longest ones."""
MIN_WORD = 4
"""Characters of the shortest of these words."""
MIN_SIMILARITY = 0.7
"""Similarity to a word of the title, from 0 to 1."""
TITLES_TIMEOUT = 0.15
"""Timeout in seconds of these suggestions; short, as the search may have used up the deadline of the request."""


class MovieSearch:
    """Search, details, suggestions and genres over one source.

    `seen` stores the movies of search results. It provides details, suggestions and genres where the source lacks the
    capability, and search results and details while the source is unavailable. A source that stores its movies itself
    needs none.
    """

    def __init__(self, source: MovieSource, seen: SeenMovies | None = None) -> None:
        self._source = source
        self._seen = seen
        self._fallbacks: SingleFlight[MoviePage] = SingleFlight()

    async def search(self, query: MovieQuery, window: Window) -> MoviePage:
        """Return one page of matches.

        Raises `NoMatch`, `PageOutOfRange` for a window past the end, `FilterUnsupported`,
        `SourceUnavailable` or `StoreUnavailable`.
        """
        if query.order is Order.PERSONAL:
            raise FilterUnsupported("order=personal requires authentication", field="order")
        self.require(query.required_capabilities)
        try:
            page = await self._source.search(query, window)
        except SourceUnavailable as error:
            return await self._search_seen(query, window, error)
        if page.total == 0:
            raise NoMatch(page)
        window.check(page.total)
        if self._seen is not None and page.cache_status is CacheStatus.LIVE:
            self._seen.remember(page.items)
        return page

    def require(self, capabilities: Iterable[Capability]) -> None:
        """Raise `FilterUnsupported` for a capability that the source lacks."""
        for capability in sorted(set(capabilities) - self._source.capabilities):
            raise FilterUnsupported(f"the source {self._source.name} does not support {capability}", field=capability)

    async def _search_seen(self, query: MovieQuery, window: Window, error: SourceUnavailable) -> MoviePage:
        """Search the stored movies; raises `error` where they have no match.

        The real total is unknown, so a page past the end of the stored movies is not out of range.
        """
        if self._seen is None:
            raise error
        movies = self._seen.movies

        async def search() -> MoviePage:
            async with asyncio.timeout(FALLBACK_TIMEOUT):
                return await movies.search(query, window)

        try:
            page = await self._fallbacks.join((query, window), search, ttl=FALLBACK_TTL)
        except (TimeoutError, StoreUnavailable):
            raise error from None
        if not page.items:
            raise error
        return replace(page, source=LOCAL, cache_status=CacheStatus.FALLBACK)

    async def get(self, movie_id: str) -> FoundMovie:
        """Return the details of one movie; raises `MovieNotFound`."""
        if Capability.DETAILS not in self._source.capabilities:
            return replace(await self._get_seen(movie_id), source=LOCAL)
        try:
            return await self._source.get(movie_id)
        except SourceUnavailable as error:
            if self._seen is None:
                raise
            try:
                return replace(await self._seen.movies.get(movie_id), source=LOCAL, cache_status=CacheStatus.FALLBACK)
            except MovieNotFound:
                raise error from None

    async def _get_seen(self, movie_id: str) -> FoundMovie:
        """Return a stored movie; waits for one of a very recent result, of this process or another one."""
        seen = self._require_seen()
        with suppress(MovieNotFound):
            return await seen.movies.get(movie_id)
        await seen.flush()
        with suppress(MovieNotFound):
            return await seen.movies.get(movie_id)
        await asyncio.sleep(SEEN_DELAY)
        return await seen.movies.get(movie_id)

    async def suggest(self, text: str) -> Sequence[Movie]:
        """Return at most `MAX_SUGGESTIONS` movies for a partial title; raises `InvalidQuery`."""
        text = normalise_query(text)
        source = self._source if Capability.SUGGEST in self._source.capabilities else self._require_seen().movies
        return await source.suggest(text, MAX_SUGGESTIONS) if text else ()

    async def closest_titles(self, query: MovieQuery) -> Sequence[str]:
        """Return at most `MAX_TITLES` titles that resemble a query without matches, best first; never raises an error
        of a source or store.

        They match the whole text without the filters or, if nothing does, one of its longest words. Stored movies are
        preferred, because a source that has to be asked over the network has found nothing.
        """
        if self._seen is not None:
            source: MovieSource = self._seen.movies
        elif Capability.SUGGEST in self._source.capabilities:
            source = self._source
        else:
            return ()
        titles: dict[str, None] = {}
        with suppress(TimeoutError, SourceUnavailable, StoreUnavailable):
            async with asyncio.timeout(TITLES_TIMEOUT):
                has_filters = bool(query.years or query.genre or query.exclude_ids)
                if query.text and (has_filters or self._seen is not None):  # otherwise the search would be repeated
                    titles |= dict.fromkeys(movie.title for movie in await source.suggest(query.text, MAX_TITLES + 1))
                words = sorted(dict.fromkeys(query.text.casefold().split()), key=len, reverse=True)
                for word in words[:MAX_WORDS] if not titles and len(words) > 1 else ():
                    similar = [movie.title for movie in await source.suggest(word, MAX_TITLES)]
                    titles |= dict.fromkeys([title for title in similar if _resembles(word, title)][:TITLES_PER_WORD])
        return [title for title in titles if title.casefold() != query.text.casefold()][:MAX_TITLES]

    async def genres(self) -> Sequence[Genre]:
        """Return all genres, ordered by name."""
        source = self._source if Capability.GENRES in self._source.capabilities else self._require_seen().movies
        return await source.genres()

    def _require_seen(self) -> SeenMovies:
        if self._seen is None:
            raise MovieNotFound("the source supports only search, and no movies are stored")
        return self._seen


def _resembles(word: str, title: str) -> bool:
    """Whether a word of the title is spelled like `word`; a source also finds persons and distant spellings."""
    return len(word) >= MIN_WORD and any(
        SequenceMatcher(None, word, part).ratio() >= MIN_SIMILARITY for part in title.casefold().split()
    )
