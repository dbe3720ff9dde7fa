"""Recommender with the EASE model: trained in one process, used by all processes."""

import asyncio
import contextlib
import logging
import threading
import time
from array import array
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import ModuleType
from typing import TYPE_CHECKING

from movie_core.clock import Clock, utc_now
from movie_core.discovery.ratings import Rating
from movie_core.discovery.recommendations import (
    MAX_MODEL_MOVIES,
    MAX_RECOMMENDED,
    ModelInfo,
    Progress,
    Reason,
    ReasonKind,
    Recommendation,
    RecommendationPage,
    Tier,
)
from movie_core.errors import StoreUnavailable
from movie_core.paging import Window
from movie_core.ports import ModelStore, MovieCatalogue, RatingStore, TrainingRatingStore
from movie_core.search.movies import Movie
from movie_core.single_flight import SingleFlight

if TYPE_CHECKING:  # at run time imported at first use: importing numpy would delay startup
    from movie_adapters.recommender.ease_model import EaseModel

RELOAD_INTERVAL = 20.0
"""Seconds between checks for a newer model."""
LOOKUP_BATCH = 500
"""Movies per lookup in the catalogue."""
_RELOAD, _CONTENT = "reload", "content"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Loaded:
    made_at: datetime
    model: "EaseModel"


class EaseRecommender:
    """A `Recommender` whose model is in a `ModelStore`. Computation runs in threads and does not block the event loop.

    The loaded model is used while a newer one is loaded in the background. Before the first training, a model without
    ratings is built from the catalogue; it knows content and popularity only.
    """

    def __init__(
        self,
        ratings: RatingStore,
        training_ratings: TrainingRatingStore,
        catalogue: MovieCatalogue,
        models: ModelStore,
        *,
        clock: Clock = utc_now,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ratings = ratings
        self._training_ratings = training_ratings
        self._catalogue = catalogue
        self._models = models
        self._clock = clock
        self._monotonic = monotonic
        self._loaded: _Loaded | None = None
        self._checked_at: float | None = None
        self._reloads: SingleFlight[None] = SingleFlight()
        self._content: _Loaded | None = None
        """The model without ratings."""
        self._content_version = ""
        self._content_checked_at = 0.0
        self._unreadable: datetime | None = None
        """`made_at` of a stored model that cannot be loaded; loading it is not retried."""

    async def close(self) -> None:
        """Wait for a reload in progress, a second or two at most.

        It is not cancelled, because the thread of a database driver does not handle that well when its loop ends.
        """
        for key, work in ((_RELOAD, self._reload), (_CONTENT, self._build_content)):
            if key in self._reloads:
                with contextlib.suppress(StoreUnavailable):
                    await self._reloads.join(key, work)

    # --- training

    async def train(self, progress: Progress = lambda _step, _fraction: None) -> ModelInfo:
        stored, version = await self._models.current(), await self._version()
        made_at = self._clock()
        # A training that starts after the end of another one must produce a later model, even if clocks differ.
        if stored is not None:
            made_at = max(made_at, stored[0].made_at + timedelta(microseconds=1))
        users, movies, ratings, times = array("q"), array("q"), array("f"), array("d")
        user_numbers: dict[str, int] = {}
        movie_numbers: dict[str, int] = {}
        progress("ratings", 0.0)
        async for batch in self._ratings.iter_all():
            for user_id, rating in batch:
                users.append(user_numbers.setdefault(user_id, len(user_numbers)))
                movies.append(movie_numbers.setdefault(rating.movie_id, len(movie_numbers)))
                ratings.append(rating.rating)
                times.append(rating.rated_at.timestamp())
        imported_numbers: dict[int, int] = {}
        async for imported in self._training_ratings.iter_all():
            for user, movie_id, value, rated_at in imported:
                users.append(len(user_numbers) + imported_numbers.setdefault(user, len(imported_numbers)))
                movies.append(movie_numbers.setdefault(movie_id, len(movie_numbers)))
                ratings.append(value)
                times.append(rated_at)
        progress("ratings", 1.0)
        films = await self._select_movies(movie_numbers, movies, progress)
        loop = asyncio.get_running_loop()
        cancelled = threading.Event()

        def report(step: str, fraction: float) -> None:
            if cancelled.is_set():
                raise asyncio.CancelledError  # a thread can only end itself, and the process would wait for it
            loop.call_soon_threadsafe(progress, step, fraction)

        def fit() -> tuple["EaseModel", bytes]:
            ease_model = _ease_model()
            columns = ease_model.rating_columns(users, movies, ratings, times, list(movie_numbers), films)
            body = ease_model.EaseModel.fit(films, columns, made_at, report).dump(made_at)
            # Serialising rounds the factors: loaded from the bytes, so that all processes return the same results.
            return ease_model.EaseModel.load(body), body

        try:
            model, body = await asyncio.to_thread(fit)
        except asyncio.CancelledError:
            cancelled.set()
            raise
        info = ModelInfo(made_at, len(ratings), len(user_numbers) + len(imported_numbers), len(films))
        if await self._models.save(info, version, body):
            self._loaded = _Loaded(made_at, model)
            self._checked_at = self._monotonic()
        return info

    async def _select_movies(
        self, movie_numbers: Mapping[str, int], movies: "array[int]", progress: Progress
    ) -> list[Movie]:
        """The movies of the catalogue for the model: the most rated, then the most popular; sorted by id."""
        counts = [0] * len(movie_numbers)
        for number in movies:
            counts[number] += 1
        ids = sorted(movie_numbers, key=lambda movie_id: (-counts[movie_numbers[movie_id]], movie_id))
        films: dict[str, Movie] = {}
        for start in range(0, len(ids), LOOKUP_BATCH):
            progress("movies", start / len(ids))
            films.update(await self._catalogue.get_many(ids[start : start + LOOKUP_BATCH]))
            if len(films) >= MAX_MODEL_MOVIES:
                break
        if len(films) < MAX_MODEL_MOVIES:
            for movie in await self._catalogue.most_popular(MAX_MODEL_MOVIES):
                films.setdefault(movie.id, movie)
        progress("movies", 1.0)
        return sorted(list(films.values())[:MAX_MODEL_MOVIES], key=lambda movie: movie.id)

    async def model(self) -> ModelInfo | None:
        stored = await self._models.current()
        return None if stored is None else stored[0]

    async def is_outdated(self) -> bool:
        stored = await self._models.current()
        return stored is None or stored[1] != await self._version()

    async def _version(self) -> str:
        ratings, imported = await self._ratings.version(), await self._training_ratings.version()
        return f"{ratings} {imported} {await self._catalogue_version()}"

    async def _catalogue_version(self) -> str:
        return f"{await self._catalogue.count()} {await self._catalogue.edition()}"

    # --- predictions

    async def recommend(self, history: Sequence[Rating], window: Window, now: datetime) -> RecommendationPage:
        loaded = await self._current()
        # A model of an empty catalogue contains no movies.
        is_unknown = loaded is not self._loaded and not loaded.model.has_content(rating.movie_id for rating in history)
        if not loaded.model.ids or is_unknown:
            return await self._most_popular(history, window, now)
        minute = max(now.replace(second=0, microsecond=0), loaded.made_at)
        return await asyncio.to_thread(_recommend, loaded.model, history, window, minute)

    async def affinities(self, history: Sequence[Rating], movie_ids: Collection[str]) -> Mapping[str, float]:
        loaded = await self._current()
        model = loaded.model
        return await asyncio.to_thread(lambda: model.affinities(model.profile(_pairs(history)), movie_ids))

    async def similar(self, movie: Movie, window: Window) -> RecommendationPage:
        loaded = await self._current()
        if not loaded.model.ids:
            return RecommendationPage(0, (), Tier.PERSONAL)
        similar = await asyncio.to_thread(loaded.model.similar, movie, MAX_RECOMMENDED)
        items = tuple(
            Recommendation(
                loaded.model.ids[number], score, tuple(Reason(kind, movie.id, movie.title) for kind in kinds)
            )
            for number, score, kinds in similar[window.offset : window.offset + window.limit]
        )
        return RecommendationPage(len(similar), items, Tier.PERSONAL)

    async def _most_popular(self, history: Sequence[Rating], window: Window, now: datetime) -> RecommendationPage:
        rated = {rating.movie_id for rating in history}
        popular = [
            movie
            for movie in await self._catalogue.most_popular(MAX_RECOMMENDED + len(rated))
            if movie.id not in rated and (movie.year or 0) <= now.year
        ][:MAX_RECOMMENDED]
        items = tuple(
            Recommendation(movie.id, 1 - rank / len(popular))
            for rank, movie in enumerate(popular)
            if window.offset <= rank < window.offset + window.limit
        )
        return RecommendationPage(len(popular), items, Tier.POPULAR)

    # --- the current model

    async def _current(self) -> _Loaded:
        """The loaded model or, before the first training, the one without ratings. Only the very first check for a
        model is awaited, and the first model without ratings."""
        is_first = self._checked_at is None
        if is_first:
            await self._reloads.join(_RELOAD, self._reload)
        elif self._monotonic() - (self._checked_at or 0.0) >= RELOAD_INTERVAL:
            self._reloads.start(_RELOAD, self._reload)
        if self._loaded is not None:
            return self._loaded
        content = self._content
        while content is None:
            await self._reloads.join(_CONTENT, self._build_content)
            content = self._content or self._loaded
        if self._monotonic() - self._content_checked_at >= RELOAD_INTERVAL:
            self._reloads.start(_CONTENT, self._build_content)
        return content

    async def _build_content(self) -> None:
        """Build the model without ratings, unless the catalogue has not changed since."""
        try:
            version = await self._catalogue_version()
            if self._content is None or version != self._content_version:
                films = await self._catalogue.most_popular(MAX_MODEL_MOVIES)
                made_at = self._clock()
                self._content = _Loaded(made_at, await asyncio.to_thread(_content_model, films, made_at))
                self._content_version = version
        except StoreUnavailable:
            if self._content is None:
                raise
            # The present one remains in use.
        self._content_checked_at = self._monotonic()

    async def _reload(self) -> None:
        try:
            await self._load_newer()
        except StoreUnavailable:
            if self._checked_at is None:
                raise
            # The loaded model remains in use.
        self._checked_at = self._monotonic()

    async def _load_newer(self) -> None:
        stored = await self._models.current()
        made_at = None if stored is None else stored[0].made_at
        if made_at is None or made_at in (self._unreadable, None if self._loaded is None else self._loaded.made_at):
            return
        body = await self._models.body(made_at)
        if body is None:  # replaced by a newer one, which the next check finds
            return
        try:
            self._loaded = _Loaded(made_at, await asyncio.to_thread(_load, body))
            self._content = None
        except (ValueError, KeyError, IndexError, TypeError) as error:
            self._unreadable = made_at
            _log.warning("the stored model cannot be loaded: %s; create another with `recommend train`", error)


def _load(body: bytes) -> "EaseModel":
    model: EaseModel = _ease_model().EaseModel.load(body)
    return model


def _content_model(films: Sequence[Movie], made_at: datetime) -> "EaseModel":
    ease_model = _ease_model()
    by_id = sorted(films, key=lambda movie: movie.id)
    model: EaseModel = ease_model.EaseModel.fit(by_id, ease_model.rating_columns((), (), (), (), (), by_id), made_at)
    return model


def _ease_model() -> ModuleType:
    from movie_adapters.recommender import ease_model

    return ease_model


def _pairs(history: Sequence[Rating]) -> list[tuple[str, float]]:
    return [(rating.movie_id, rating.rating) for rating in history]


def _recommend(model: "EaseModel", history: Sequence[Rating], window: Window, now: datetime) -> RecommendationPage:
    profile = model.profile(_pairs(history))
    top = model.top(profile, now)
    page = top[window.offset : window.offset + window.limit]
    titles = {rating.movie_id: rating.title for rating in history}
    items = []
    reasons_by_movie = model.reasons(profile, now, [number for number, _ in page])
    for (number, score), positions in zip(page, reasons_by_movie, strict=True):
        ids = [model.ids[profile.movies[position]] for position in positions]
        reasons = tuple(Reason(ReasonKind.BECAUSE_YOU_RATED, movie_id, titles[movie_id]) for movie_id in ids)
        items.append(Recommendation(model.ids[number], score, reasons))
    return RecommendationPage(len(top), tuple(items), Tier.PERSONAL if len(profile.movies) else Tier.POPULAR)
