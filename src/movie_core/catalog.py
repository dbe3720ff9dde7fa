"""The service behind search: it checks what is asked, asks the source, and remembers what was shown."""

from collections.abc import Sequence

from movie_core.errors import FilterUnsupported, MovieNotFound, SourceUnavailable
from movie_core.movies import Ability, FoundMovie, Genre, Movie, MoviePage, MovieQuery, normalise_query
from movie_core.paging import Window
from movie_core.ports import MovieSource, SeenMovies

MAX_SUGGESTIONS = 10
LOCAL = "local"
"""As `meta.source` names the movies that searches have shown."""


class Catalog:
    """Search, details, suggestions and genres over one source.

    `seen` keeps what searches have shown; it answers where the source has no details, suggestions or genres to ask
    for, and details also when the source is away. A source that keeps its movies itself needs none.
    """

    def __init__(self, source: MovieSource, seen: SeenMovies | None = None) -> None:
        self._source = source
        self._seen = seen

    async def search(self, query: MovieQuery, window: Window) -> MoviePage:
        """One page of matches.

        Raises `MovieNotFound` when nothing matches, `PageOutOfRange` for a window past the end, `FilterUnsupported`,
        and `SourceUnavailable` or `StoreUnavailable`.
        """
        for ability in sorted(query.needs - self._source.abilities):
            raise FilterUnsupported(f"the source {self._source.name} can't apply {ability}", field=ability)
        page = await self._source.search(query, window)
        if page.total == 0:
            raise MovieNotFound("no movie matches")
        window.check(page.total)
        if self._seen is not None:
            self._seen.remember(page.items)
        return page

    async def get(self, movie_id: str) -> FoundMovie:
        """Everything known of one movie; raises `MovieNotFound`."""
        if Ability.DETAILS not in self._source.abilities:
            return FoundMovie(await self._known().get(movie_id), LOCAL)
        try:
            return FoundMovie(await self._source.get(movie_id), self._source.name)
        except SourceUnavailable as away:
            if self._seen is None:
                raise
            try:
                return FoundMovie(await self._seen.movies.get(movie_id), LOCAL)
            except MovieNotFound:
                raise away from None

    async def suggest(self, text: str) -> Sequence[Movie]:
        """At most `MAX_SUGGESTIONS` movies for a text that is being typed; raises `InvalidQuery`."""
        text = normalise_query(text)
        asked = self._source if Ability.SUGGEST in self._source.abilities else self._known()
        return await asked.suggest(text, MAX_SUGGESTIONS) if text else ()

    async def genres(self) -> Sequence[Genre]:
        """The genres there are, by name."""
        asked = self._source if Ability.GENRES in self._source.abilities else self._known()
        return await asked.genres()

    def _known(self) -> MovieSource:
        if self._seen is None:
            raise MovieNotFound("nothing is known but what searches answer")
        return self._seen.movies
