"""The recommender and the models in memory keep the contracts that every other one keeps."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from movie_core.memory import MemoryModelStore, MemoryRecommender
from movie_core.ports import MovieCatalogue, RatingStore
from movie_core.testing import ModelStoreContract, RecommenderContract


class TestMemoryRecommender(RecommenderContract):
    @asynccontextmanager
    async def open(self, ratings: RatingStore, movies: MovieCatalogue) -> AsyncIterator[MemoryRecommender]:
        yield MemoryRecommender(ratings, movies)


class TestMemoryModels(ModelStoreContract):
    @asynccontextmanager
    async def open(self) -> AsyncIterator[MemoryModelStore]:
        yield MemoryModelStore()
