"""Recommendations in memory, by who liked what together; and models in memory."""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime

from movie_core.clock import utc_now
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
from movie_core.ports import MovieCatalogue, RatingStore
from movie_core.search.movies import Movie

NEUTRAL = 5.0
"""A rating that says neither."""


class MemoryRecommender:
    """A `Recommender` of one process. Two movies are as close as the cosine of who liked them; a movie's score is the
    sum over the history of its closeness, times how far the rating lies from `NEUTRAL`; the best liked break ties.
    """

    def __init__(
        self, ratings: RatingStore, catalogue: MovieCatalogue, clock: Callable[[], datetime] = utc_now
    ) -> None:
        self._ratings = ratings
        self._catalogue = catalogue
        self._clock = clock
        self._made: tuple[ModelInfo, str] | None = None
        self._movies: dict[str, Movie] = {}
        """The model's, best known first."""
        self._likers: dict[str, set[str]] = {}

    async def train(self, progress: Progress = lambda _step, _part: None) -> ModelInfo:
        made_at, version = self._clock(), await self._version()
        progress("ratings", 0.0)
        pairs = [pair async for batch in self._ratings.iter_all() for pair in batch]
        likers: dict[str, set[str]] = {}
        for user_id, rating in pairs:
            own = likers.setdefault(rating.movie_id, set())
            if rating.rating >= LIKED:
                own.add(user_id)
        progress("movies", 0.5)
        rated = await self._catalogue.get_many(likers)
        known = [rated[one] for one in sorted(rated, key=lambda one: (-len(likers[one]), one))]
        known += [one for one in await self._catalogue.most_popular(MAX_MODEL_MOVIES) if one.id not in rated]
        self._movies = {movie.id: movie for movie in known[:MAX_MODEL_MOVIES]}
        self._likers = likers
        info = ModelInfo(made_at, len(pairs), len({user_id for user_id, _ in pairs}), len(self._movies))
        self._made = info, version
        progress("movies", 1.0)
        return info

    async def model(self) -> ModelInfo | None:
        return None if self._made is None else self._made[0]

    async def is_outdated(self) -> bool:
        return self._made is None or self._made[1] != await self._version()

    async def recommend(self, history: Sequence[Rating], window: Window, now: datetime) -> RecommendationPage:
        movies: Collection[str] = self._movies
        if self._made is None:
            movies = [movie.id for movie in await self._catalogue.most_popular(MAX_RECOMMENDED + len(history))]
        rated = {rating.movie_id for rating in history}
        places = {movie_id: place for place, movie_id in enumerate(movies)}
        scores = {
            one: self._liking(history, one) - places[one] / (1000 * len(places)) for one in places if one not in rated
        }
        ranked = sorted(scores, key=lambda one: (-scores[one], places[one]))[:MAX_RECOMMENDED]
        items = tuple(
            Recommendation(one, scores[one], self._reasons(history, one))
            for one in ranked[window.offset : window.offset + window.limit]
        )
        return RecommendationPage(len(ranked), items, Tier.PERSONAL if history and self._made else Tier.POPULAR)

    async def affinities(
        self, history: Sequence[Rating], movie_ids: Collection[str], now: datetime
    ) -> Mapping[str, float]:
        if self._made is None:
            return {}
        return {one: self._liking(history, one) for one in movie_ids if one in self._movies}

    async def similar(self, movie: Movie, window: Window) -> RecommendationPage:
        close = {} if self._made is None else {one: self._closeness(movie.id, one) for one in self._movies}
        places = {movie_id: place for place, movie_id in enumerate(close)}
        ranked = sorted(
            (one for one in close if close[one] > 0 and one != movie.id), key=lambda one: (-close[one], places[one])
        )[:MAX_RECOMMENDED]
        reason = Reason(ReasonKind.LIKED_TOGETHER, movie.id, movie.title)
        shown = ranked[window.offset : window.offset + window.limit]
        return RecommendationPage(
            len(ranked), tuple(Recommendation(one, close[one], (reason,)) for one in shown), Tier.PERSONAL
        )

    def _reasons(self, history: Sequence[Rating], movie_id: str) -> tuple[Reason, ...]:
        parts = [(self._part(rating, movie_id), rating) for rating in history if rating.rating > NEUTRAL]
        parts = sorted((pair for pair in parts if pair[0] > 0), key=lambda pair: -pair[0])[:MAX_REASONS]
        return tuple(Reason(ReasonKind.BECAUSE_YOU_RATED, one.movie_id, one.title) for _, one in parts)

    def _liking(self, history: Sequence[Rating], movie_id: str) -> float:
        return math.fsum(self._part(rating, movie_id) for rating in history)

    def _part(self, rating: Rating, movie_id: str) -> float:
        return (rating.rating - NEUTRAL) * self._closeness(rating.movie_id, movie_id)

    def _closeness(self, one: str, other: str) -> float:
        mine, theirs = self._likers.get(one), self._likers.get(other)
        return len(mine & theirs) / math.sqrt(len(mine) * len(theirs)) if mine and theirs else 0.0

    async def _version(self) -> str:
        return f"{await self._ratings.version()} {await self._catalogue.count()} {await self._catalogue.edition()}"
