"""The `Recommender` port in memory: item-based collaborative filtering."""

import math
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from movie_core.clock import Clock, utc_now
from movie_core.discovery.ratings import LIKED, Rating
from movie_core.discovery.recommendations import (
    MAX_MODEL_MOVIES,
    MAX_REASONS,
    MAX_RECOMMENDED,
    ModelInfo,
    Progress,
    Reason,
    ReasonKind,
    Recommendation,
    RecommendationPage,
    Tier,
)
from movie_core.paging import Window
from movie_core.ports import MovieCatalogue, RatingStore, TrainingRatingStore
from movie_core.search.movies import Movie

NEUTRAL = 5.0
"""The rating that expresses neither liking nor disliking."""


class MemoryRecommender:
    """A `Recommender` for one process.

    The similarity of two movies is the cosine of the sets of users who liked them. The score of a movie is the sum over
    the history of similarity times (rating - `NEUTRAL`). Ties are broken by the number of users who liked the movie.
    Before the first training, the similarity of two movies is the fraction of their genres that they share.
    """

    def __init__(
        self,
        ratings: RatingStore,
        training_ratings: TrainingRatingStore,
        catalogue: MovieCatalogue,
        clock: Clock = utc_now,
    ) -> None:
        self._ratings = ratings
        self._training_ratings = training_ratings
        self._catalogue = catalogue
        self._clock = clock
        self._model: tuple[ModelInfo, str] | None = None
        self._movies: dict[str, Movie] = {}
        """The movies of the model, most liked first."""
        self._likers: dict[str, set[str | int]] = {}

    async def train(self, progress: Progress = lambda _step, _part: None) -> ModelInfo:
        made_at, version = self._clock(), await self._version()
        progress("ratings", 0.0)
        rows: list[tuple[str | int, str, float]] = [
            (user_id, rating.movie_id, rating.rating)
            async for batch in self._ratings.iter_all()
            for user_id, rating in batch
        ]
        rows += [row[:3] async for imported in self._training_ratings.iter_all() for row in imported]
        likers: dict[str, set[str | int]] = {}
        for user, movie_id, rating in rows:
            movie_likers = likers.setdefault(movie_id, set())
            if rating >= LIKED:
                movie_likers.add(user)
        progress("movies", 0.5)
        rated = await self._catalogue.get_many(likers)
        movies = [
            rated[movie_id] for movie_id in sorted(rated, key=lambda movie_id: (-len(likers[movie_id]), movie_id))
        ]
        movies += [movie for movie in await self._catalogue.most_popular(MAX_MODEL_MOVIES) if movie.id not in rated]
        self._movies = {movie.id: movie for movie in movies[:MAX_MODEL_MOVIES]}
        self._likers = likers
        info = ModelInfo(made_at, len(rows), len({user for user, _, _ in rows}), len(self._movies))
        self._model = info, version
        progress("movies", 1.0)
        return info

    async def model(self) -> ModelInfo | None:
        return None if self._model is None else self._model[0]

    async def is_outdated(self) -> bool:
        return self._model is None or self._model[1] != await self._version()

    async def recommend(self, history: Sequence[Rating], window: Window, now: datetime) -> RecommendationPage:
        movies = await self._known_movies()
        rated = {rating.movie_id for rating in history}
        ranks = {movie_id: rank for rank, movie_id in enumerate(movies)}
        scores = {
            movie_id: self._affinity(history, movie_id) - rank / (1000 * len(ranks))
            for movie_id, rank in ranks.items()
            if movie_id not in rated
        }
        ranked = sorted(scores, key=lambda movie_id: (-scores[movie_id], ranks[movie_id]))[:MAX_RECOMMENDED]
        items = tuple(
            Recommendation(movie_id, scores[movie_id], self._reasons(history, movie_id))
            for movie_id in ranked[window.offset : window.offset + window.limit]
        )
        return RecommendationPage(len(ranked), items, Tier.PERSONAL if history else Tier.POPULAR)

    async def affinities(self, history: Sequence[Rating], movie_ids: Collection[str]) -> Mapping[str, float]:
        movies = await self._known_movies()
        return {movie_id: self._affinity(history, movie_id) for movie_id in movie_ids if movie_id in movies}

    async def similar(self, movie: Movie, window: Window) -> RecommendationPage:
        similarities = {other: self._similarity(movie.id, other) for other in await self._known_movies()}
        ranks = {movie_id: rank for rank, movie_id in enumerate(similarities)}
        ranked = sorted(
            (other for other in similarities if similarities[other] > 0 and other != movie.id),
            key=lambda other: (-similarities[other], ranks[other]),
        )[:MAX_RECOMMENDED]
        kind = ReasonKind.ALIKE if self._model is None else ReasonKind.LIKED_TOGETHER
        reason = Reason(kind, movie.id, movie.title)
        items = tuple(
            Recommendation(other, similarities[other], (reason,))
            for other in ranked[window.offset : window.offset + window.limit]
        )
        return RecommendationPage(len(ranked), items, Tier.PERSONAL)

    async def _known_movies(self) -> Mapping[str, Movie]:
        """The movies of the model or, before the first training, of the catalogue."""
        if self._model is None:
            self._movies = {movie.id: movie for movie in await self._catalogue.most_popular(MAX_MODEL_MOVIES)}
        return self._movies

    def _reasons(self, history: Sequence[Rating], movie_id: str) -> tuple[Reason, ...]:
        terms = [(self._term(rating, movie_id), rating) for rating in history if rating.rating > NEUTRAL]
        terms = sorted((pair for pair in terms if pair[0] > 0), key=lambda pair: -pair[0])[:MAX_REASONS]
        return tuple(Reason(ReasonKind.BECAUSE_YOU_RATED, rating.movie_id, rating.title) for _, rating in terms)

    def _affinity(self, history: Sequence[Rating], movie_id: str) -> float:
        return math.fsum(self._term(rating, movie_id) for rating in history)

    def _term(self, rating: Rating, movie_id: str) -> float:
        return (rating.rating - NEUTRAL) * self._similarity(rating.movie_id, movie_id)

    def _similarity(self, movie_id: str, other_id: str) -> float:
        if self._model is None:
            genres, other_genres = (
                set(self._movies[one].genres) if one in self._movies else set() for one in (movie_id, other_id)
            )
            return len(genres & other_genres) / len(genres | other_genres) if genres and other_genres else 0.0
        likers, others = self._likers.get(movie_id), self._likers.get(other_id)
        return len(likers & others) / math.sqrt(len(likers) * len(others)) if likers and others else 0.0

    async def _version(self) -> str:
        ratings, imported = await self._ratings.version(), await self._training_ratings.version()
        return f"{ratings} {imported} {await self._catalogue.count()} {await self._catalogue.edition()}"
