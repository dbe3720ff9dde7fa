"""The movies that searches have shown, written to a catalogue of our own in batches, off the request path."""

import asyncio
import logging
from collections.abc import Sequence
from itertools import islice

from movie_core.errors import StoreUnavailable
from movie_core.ports import MovieCatalogue
from movie_core.search.movies import Movie

MAX_PENDING = 10_000
"""Movies that wait in memory; what comes on top is dropped and counted."""
BATCH_SECONDS = 0.25
"""How long a movie waits for others to be written with it."""
AWAY_SECONDS = 2.0
"""Between two tries to write while the store is away."""

_log = logging.getLogger(__name__)


class BatchedSeenMovies:
    """`SeenMovies` over any catalogue. Must be used within a running event loop."""

    def __init__(self, movies: MovieCatalogue) -> None:
        self.movies = movies
        self.dropped = 0
        """Movies lost because memory was full, or because the store was away to the end."""
        self._is_away = False
        self._pending: dict[str, Movie] = {}
        self._writing = asyncio.Lock()
        self._timer: asyncio.Task[None] | None = None

    def remember(self, movies: Sequence[Movie]) -> None:
        for movie in movies:
            if movie.id in self._pending or len(self._pending) < MAX_PENDING:
                self._pending[movie.id] = movie
            else:
                self.dropped += 1
        if self._timer is None or self._timer.done():
            self._timer = asyncio.get_running_loop().create_task(self._write_soon())

    async def flush(self) -> None:
        async with self._writing:
            while self._pending:
                pending, self._pending = self._pending, {}
                try:
                    await self.movies.load(pending.values())
                except StoreUnavailable as error:
                    if not self._is_away:
                        _log.warning("movies that searches have shown wait for the database: %s", error.detail)
                    self._is_away = True
                    # What came meanwhile is newer.
                    waiting = pending | self._pending
                    self.dropped += max(0, len(waiting) - MAX_PENDING)
                    self._pending = dict(islice(waiting.items(), MAX_PENDING))
                    return
                self._is_away = False

    async def close(self) -> None:
        """Write what waits, and end."""
        await self.flush()
        self.dropped += len(self._pending)
        if self._timer is not None:
            self._timer.cancel()

    async def _write_soon(self) -> None:
        while self._pending:
            await asyncio.sleep(AWAY_SECONDS if self._is_away else BATCH_SECONDS)
            await self.flush()
