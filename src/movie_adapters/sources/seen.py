"""Stores the movies of search results in a local catalogue, in batches and off the request path."""

import asyncio
import logging
from collections.abc import Sequence
from itertools import islice

from movie_core.errors import StoreUnavailable
from movie_core.outage_log import OutageLog
from movie_core.ports import MovieCatalogue
from movie_core.search.movies import Movie
from movie_core.single_flight import SingleFlight

MAX_PENDING = 10_000
"""Movies buffered in memory. Further ones are dropped and counted."""
BATCH_INTERVAL = 0.25
"""Seconds between two batches: a movie waits at most this long for others."""
RETRY_INTERVAL = 2.0
"""Seconds between two attempts to write while the catalogue is unavailable."""

_log = logging.getLogger(__name__)


class BatchedSeenMovies:
    """`SeenMovies` over any catalogue. Must be used within a running event loop."""

    def __init__(self, movies: MovieCatalogue) -> None:
        self.movies = movies
        self.dropped = 0
        """Movies lost because the buffer was full, or because the catalogue was unavailable until the process ended."""
        self._outage = OutageLog(
            _log,
            unavailable="database unavailable, buffering the movies of search results: %s",
            recovered="database available again, the buffered movies of search results are stored",
        )
        self._pending: dict[str, Movie] = {}
        self._write_lock = asyncio.Lock()
        self._writes: SingleFlight[None] = SingleFlight()

    def remember(self, movies: Sequence[Movie]) -> None:
        for movie in movies:
            if movie.id in self._pending or len(self._pending) < MAX_PENDING:
                self._pending[movie.id] = movie
            else:
                self.dropped += 1
        self._writes.start("pending", self._write_pending)

    async def flush(self) -> None:
        async with self._write_lock:
            while self._pending:
                batch, self._pending = self._pending, {}
                try:
                    await self.movies.load(batch.values())
                except StoreUnavailable as error:
                    self._outage.failed(error.detail)
                    # Movies that arrived during the attempt are newer.
                    unsaved = batch | self._pending
                    self.dropped += max(0, len(unsaved) - MAX_PENDING)
                    self._pending = dict(islice(unsaved.items(), MAX_PENDING))
                    return
                self._outage.recovered()

    async def close(self) -> None:
        """Write the buffered movies and stop."""
        await self.flush()
        self.dropped += len(self._pending)
        await self._writes.close()

    async def _write_pending(self) -> None:
        while self._pending:
            await asyncio.sleep(RETRY_INTERVAL if self._outage.is_unavailable else BATCH_INTERVAL)
            await self.flush()
