"""`MemoryRecommender` follows the contract of its port."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from movie_core.memory import MemoryRecommender
from movie_core.ports import MovieCatalogue, RatingStore, TrainingRatingStore
from movie_core.testing import RecommenderContract


class TestMemoryRecommender(RecommenderContract):
    @asynccontextmanager
    async def open(
        self, ratings: RatingStore, imported: TrainingRatingStore, movies: MovieCatalogue
    ) -> AsyncIterator[MemoryRecommender]:
        yield MemoryRecommender(ratings, imported, movies)
