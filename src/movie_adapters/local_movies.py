"""The movies that searches have shown, written to a catalogue of our own in batches, off the request path."""

import asyncio
import logging
from collections.abc import Sequence

from movie_core.errors import StoreUnavailable
from movie_core.movies import Movie
from movie_core.ports import Catalogue

MAX_PENDING = 10_000
"""Movies that wait in memory; what comes on top is dropped and counted."""
BATCH_SECONDS = 0.25
"""How long a movie waits for others to be written with it."""

_log = logging.getLogger(__name__)


class BatchedSeenMovies:
    """`SeenMovies` over any catalogue. Must be used within a running event loop."""

    def __init__(self, movies: Catalogue) -> None:
        self.movies = movies
        self.dropped = 0
        """Movies lost because memory was full, or the store away."""
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
                    self.dropped += len(pending)
                    _log.warning("%d movies that searches have shown were not kept: %s", len(pending), error.detail)

    async def close(self) -> None:
        """Write what waits, and end."""
        await self.flush()
        if self._timer is not None:
            self._timer.cancel()

    async def _write_soon(self) -> None:
        while self._pending:
            await asyncio.sleep(BATCH_SECONDS)
            await self.flush()
