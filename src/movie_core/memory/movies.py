"""The ports `MovieCatalogue` and `SeenMovies` in memory."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from movie_core.discovery.movie_matching import Mismatch, MovieIdentity, MovieIndex, MovieMatch
from movie_core.errors import MovieNotFound
from movie_core.paging import Window
from movie_core.search.merging import ListMerger
from movie_core.search.movies import (
    Capability,
    FoundMovie,
    Genre,
    ListedMovie,
    LoadResult,
    Movie,
    MoviePage,
    MovieQuery,
    Order,
)
from movie_core.text import external_id, split_words

MAX_PENDING = 10_000
"""Maximum number of movies that `MemorySeenMovies` buffers between two writes."""


class MemoryMovieCatalogue:
    """A `MovieCatalogue` over a dict.

    A title matches if it contains every word of the query; the last word of the query may be a prefix. An id or URL
    of IMDb or TMDB matches the movie with that id.
    """

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
        loaded = {movie.id: movie for movie in movies}
        added = sum(movie_id not in self._movies for movie_id in loaded)
        unchanged = sum(self._movies.get(movie_id) == movie for movie_id, movie in loaded.items())
        removed = len(self._movies.keys() - loaded.keys()) if replace else 0
        self._movies = loaded if replace else self._movies | loaded
        self._edition = edition or self._edition
        return LoadResult(added, len(loaded) - added - unchanged, unchanged, removed)

    async def import_list(
        self, listed: Iterable[ListedMovie], *, replace: bool = False, edition: str | None = None
    ) -> LoadResult:
        movies = ListMerger(clear=replace).merge(list(listed), self._movies.values())
        return await self.load(movies, replace=replace, edition=edition)

    async def remove(self, movie_ids: Collection[str]) -> int:
        return sum(self._movies.pop(movie_id, None) is not None for movie_id in movie_ids)

    async def count(self) -> int:
        return len(self._movies)

    async def edition(self) -> str | None:
        return self._edition

    async def get_many(self, movie_ids: Collection[str]) -> Mapping[str, Movie]:
        return {movie_id: self._movies[movie_id] for movie_id in movie_ids if movie_id in self._movies}

    async def most_popular(self, limit: int) -> Sequence[Movie]:
        return sorted(self._movies.values(), key=_by_popularity)[:limit]

    async def match(self, identities: Sequence[MovieIdentity]) -> Sequence[MovieMatch | Mismatch]:
        index = MovieIndex(self._movies.values())
        return list(map(index.match, identities))

    @staticmethod
    def _tier(query: MovieQuery, movie: Movie) -> int | None:
        """0 exact title, 1 prefix, 2 words; None if the movie does not match."""
        if movie.id in query.exclude_ids or (query.years is not None and movie.year not in query.years):
            return None
        if query.genre is not None and query.genre.casefold() not in (genre.casefold() for genre in movie.genres):
            return None
        if not query.text:
            return 0
        if identified := external_id(query.text):
            field, value = identified
            return 0 if getattr(movie, field) == value else None
        query_words = split_words(query.text)
        tiers = []
        for title in (movie.title, *movie.alt_titles):
            words = split_words(title)
            if words == query_words:
                tiers.append(0)
            elif " ".join(words).startswith(" ".join(query_words)):
                tiers.append(1)
            elif set(query_words[:-1]) <= set(words) and any(word.startswith(query_words[-1]) for word in words):
                tiers.append(2)
        return min(tiers, default=None)


def _by_popularity(movie: Movie) -> tuple[bool, float, str]:
    """Most popular first, movies without a popularity last."""
    return movie.popularity is None, -(movie.popularity or 0.0), movie.id


def _ordering(order: Order) -> Callable[[int, Movie], tuple[float, float, float, str]]:
    def key(tier: int, movie: Movie) -> tuple[float, float, float, str]:
        popularity, year = -(movie.popularity or 0.0), -(movie.year or 0)
        if order is Order.POPULARITY:
            return popularity, tier, year, movie.id
        if order is Order.YEAR:
            return year, tier, popularity, movie.id
        return tier, popularity, year, movie.id

    return key


class MemorySeenMovies:
    """`SeenMovies` that buffers movies in memory and writes them to the catalogue when `flush` is called."""

    def __init__(self, movies: MemoryMovieCatalogue) -> None:
        self.movies = movies
        self.dropped = 0
        """Number of movies dropped because the buffer was full."""
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
