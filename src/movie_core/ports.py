"""The ports: what the rules need from the world outside, each with its contract in numbered clauses.

`movie_core.memory` has every port in memory, `movie_core.testing` one contract suite per port that follows the
clauses. To bring another source or store, write a class with these methods and run its suite against it.
"""

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from typing import Protocol

from movie_core.movies import Ability, Genre, Loaded, Movie, MoviePage, MovieQuery
from movie_core.paging import Window


class MovieSource(Protocol):
    """Where movies are searched.

    1. Every method raises `SourceUnavailable` or `StoreUnavailable` when it can't answer, never another error of a
       library; it never answers with half of the data.
    2. A method whose ability is missing from `abilities` raises `FilterUnsupported`, and so does a search whose query
       needs a missing one.
    """

    @property
    @abstractmethod
    def name(self) -> str:
        """As `meta.source` shows it."""

    @property
    @abstractmethod
    def abilities(self) -> frozenset[Ability]:
        """What it can do; never changes while it lives."""

    @abstractmethod
    async def search(self, query: MovieQuery, window: Window) -> MoviePage:
        """The part of the matches that the window shows.

        3. `total` counts all matches, whatever the window; 0 with no items when there are none.
        4. At most `window.limit` items, no id twice; a window past the end gives `total` and no items, and any other
           window at least one item.
        5. The order is total and does not change between calls while the movies don't, so that consecutive windows
           visit every match once.
        6. Every item fits the query's years and genre (genres are compared without regard to case).
        7. An item has an id and a title, both without control characters.
        """

    @abstractmethod
    async def get(self, movie_id: str) -> Movie:
        """8. The movie of that id with all that is known of it; raises `MovieNotFound`, for any string."""

    @abstractmethod
    async def suggest(self, text: str, limit: int) -> Sequence[Movie]:
        """9. At most `limit` movies for a text that is being typed, best first; none for an empty text."""

    @abstractmethod
    async def genres(self) -> Sequence[Genre]:
        """10. Every genre once, by name, with the number of movies that have it; none with 0."""


class Catalogue(MovieSource, Protocol):
    """Movies kept by ourselves, under the name of the source that they come from; two names never mix.

    A catalogue has every ability but may answer `order` and filters in its own time.
    """

    @abstractmethod
    async def load(self, movies: Iterable[Movie], *, replace: bool = False, edition: str | None = None) -> Loaded:
        """Add movies, or update those whose id is there.

        11. Repeating a load changes nothing; the last of several movies with one id counts.
        12. `replace` removes what `movies` lacks, and only once all of them were read: an iterable that raises leaves
            nothing removed.
        13. An `edition`, where given, is kept when all is loaded, and `edition()` tells it.
        14. Searches go on meanwhile and see each movie as it was before or after, never in between.
        """

    @abstractmethod
    async def count(self) -> int:
        """15. How many movies there are."""

    @abstractmethod
    async def edition(self) -> str | None:
        """16. The name of the edition loaded last; None before."""


class SeenMovies(Protocol):
    """The movies that searches have shown, so that they can be looked up later."""

    @property
    @abstractmethod
    def movies(self) -> Catalogue:
        """Where they are kept."""

    @abstractmethod
    def remember(self, movies: Sequence[Movie]) -> None:
        """1. Returns at once and never raises: writing happens later, in batches; memory is bounded, and what doesn't
        fit is dropped and counted.
        """

    @abstractmethod
    async def flush(self) -> None:
        """2. Afterwards everything remembered before is in `movies`, unless the store is away."""
