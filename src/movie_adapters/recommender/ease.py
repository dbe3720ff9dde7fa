"""Recommendations by `ease_model`, which is trained in one process and answers in all of them."""

import asyncio
import logging
import os
import time
from array import array
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import ModuleType
from typing import TYPE_CHECKING

from movie_core.clock import utc_now
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
from movie_core.ports import ModelStore, MovieCatalogue, RatingStore
from movie_core.search.movies import Movie

if TYPE_CHECKING:  # at run time it comes with numpy, which a start should not have to wait for
    from movie_adapters.recommender.ease_model import EaseModel

LOOK_SECONDS = 20.0
"""How old may be what is known of the present model."""
LOOKED_UP = 500
"""Movies that are looked up together."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Loaded:
    made_at: datetime
    model: "EaseModel"


class EaseRecommender:
    """A `Recommender` whose model lives in a `ModelStore`. Threads do the counting, so that the event loop goes on.

    A newer model is looked for in the background while the one at hand answers; `close` ends that.
    """

    def __init__(
        self,
        ratings: RatingStore,
        catalogue: MovieCatalogue,
        models: ModelStore,
        *,
        clock: Callable[[], datetime] = utc_now,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ratings = ratings
        self._catalogue = catalogue
        self._models = models
        self._clock = clock
        self._monotonic = monotonic
        self._loaded: _Loaded | None = None
        self._looked_at: float | None = None
        self._look: asyncio.Task[None] | None = None
        self._unreadable: datetime | None = None

    async def close(self) -> None:
        """Wait for a look that is under way, a second or two at most: a driver's thread takes a cancellation badly when
        its loop ends."""
        if self._look is not None:
            await asyncio.gather(self._look, return_exceptions=True)

    # --- learning

    async def train(self, progress: Progress = lambda _step, _part: None) -> ModelInfo:
        present, version = await self._models.present(), await self._version()
        made_at = self._clock()
        # A training that begins after another has ended makes a later model, whatever the clocks of the machines say.
        if present is not None:
            made_at = max(made_at, present[0].made_at + timedelta(microseconds=1))
        users, movies, ratings, times = array("q"), array("q"), array("f"), array("d")
        people: dict[str, int] = {}
        rated: dict[str, int] = {}
        progress("ratings", 0.0)
        async for batch in self._ratings.iter_all():
            for user_id, rating in batch:
                users.append(people.setdefault(user_id, len(people)))
                movies.append(rated.setdefault(rating.movie_id, len(rated)))
                ratings.append(rating.rating)
                times.append(rating.rated_at.timestamp())
        progress("ratings", 1.0)
        films = await self._films(rated, movies, progress)
        loop = asyncio.get_running_loop()

        def tell(step: str, part: float) -> None:
            loop.call_soon_threadsafe(progress, step, part)

        def learn() -> tuple["EaseModel", bytes]:
            ease_model = _ease_model()
            told = ease_model.rating_columns(users, movies, ratings, times, list(rated), films)
            body = ease_model.EaseModel.fit(films, told, made_at, tell).dump(made_at)
            return ease_model.EaseModel.load(body), body  # answering as every other process will

        model, body = await asyncio.to_thread(learn)
        info = ModelInfo(made_at, len(ratings), len(people), len(films))
        if await self._models.save(info, version, body):
            self._loaded = _Loaded(made_at, model)
            self._looked_at = self._monotonic()
        return info

    async def _films(self, rated: Mapping[str, int], movies: "array[int]", progress: Progress) -> list[Movie]:
        """Those of the catalogue that the model will know: the most rated, then the best known; by id."""
        counts = [0] * len(rated)
        for number in movies:
            counts[number] += 1
        ids = sorted(rated, key=lambda movie_id: (-counts[rated[movie_id]], movie_id))
        films: dict[str, Movie] = {}
        for start in range(0, len(ids), LOOKED_UP):
            progress("movies", start / len(ids))
            films.update(await self._catalogue.get_many(ids[start : start + LOOKED_UP]))
            if len(films) >= MAX_MODEL_MOVIES:
                break
        if len(films) < MAX_MODEL_MOVIES:
            for movie in await self._catalogue.most_popular(MAX_MODEL_MOVIES):
                films.setdefault(movie.id, movie)
        progress("movies", 1.0)
        return sorted(list(films.values())[:MAX_MODEL_MOVIES], key=lambda movie: movie.id)

    async def model(self) -> ModelInfo | None:
        present = await self._models.present()
        return None if present is None else present[0]

    async def is_outdated(self) -> bool:
        present = await self._models.present()
        return present is None or present[1] != await self._version()

    async def _version(self) -> str:
        ratings, count = await self._ratings.version(), await self._catalogue.count()
        return f"{ratings} {count} {await self._catalogue.edition()}"

    # --- answering

    async def recommend(self, history: Sequence[Rating], window: Window, now: datetime) -> RecommendationPage:
        loaded = await self._present()
        # A model of a time when no search had shown a movie yet knows none.
        if loaded is None or not loaded.model.ids:
            return await self._most_popular(history, window, now)
        moment = max(now.replace(second=0, microsecond=0), loaded.made_at)
        return await asyncio.to_thread(_recommend, loaded.model, history, window, moment)

    async def affinities(
        self, history: Sequence[Rating], movie_ids: Collection[str], now: datetime
    ) -> Mapping[str, float]:
        loaded = await self._present()
        if loaded is None:
            return {}
        model = loaded.model
        return await asyncio.to_thread(lambda: model.affinities(model.profile(_pairs(history)), movie_ids))

    async def similar(self, movie: Movie, window: Window) -> RecommendationPage:
        loaded = await self._present()
        if loaded is None:
            return RecommendationPage(0, (), Tier.PERSONAL)
        found = await asyncio.to_thread(loaded.model.similar, movie, MAX_RECOMMENDED)
        items = tuple(
            Recommendation(
                loaded.model.ids[number], score, tuple(Reason(kind, movie.id, movie.title) for kind in kinds)
            )
            for number, score, kinds in found[window.offset : window.offset + window.limit]
        )
        return RecommendationPage(len(found), items, Tier.PERSONAL)

    async def _most_popular(self, history: Sequence[Rating], window: Window, now: datetime) -> RecommendationPage:
        rated = {rating.movie_id for rating in history}
        known = [
            movie
            for movie in await self._catalogue.most_popular(MAX_RECOMMENDED + len(rated))
            if movie.id not in rated and (movie.year or 0) <= now.year
        ][:MAX_RECOMMENDED]
        items = tuple(
            Recommendation(movie.id, 1 - place / len(known))
            for place, movie in enumerate(known)
            if window.offset <= place < window.offset + window.limit
        )
        return RecommendationPage(len(known), items, Tier.POPULAR)

    # --- the present model

    async def _present(self) -> _Loaded | None:
        """The model at hand, if any. Only the very first look is waited for."""
        is_first = self._looked_at is None
        if self._look is None and (is_first or self._monotonic() - (self._looked_at or 0.0) >= LOOK_SECONDS):
            self._look = asyncio.create_task(self._look_for_newer())
        if is_first and self._look is not None:
            await asyncio.shield(self._look)
        return self._loaded

    async def _look_for_newer(self) -> None:
        try:
            await self._load_present()
            self._looked_at = self._monotonic()
        except StoreUnavailable:
            if self._looked_at is None:
                raise
            self._looked_at = self._monotonic()  # what is at hand goes on answering
        finally:
            self._look = None

    async def _load_present(self) -> None:
        present = await self._models.present()
        made_at = None if present is None else present[0].made_at
        if made_at is None or made_at in (self._unreadable, None if self._loaded is None else self._loaded.made_at):
            return
        body = await self._models.body(made_at)
        if body is None:  # a newer one is there already; the next look finds it
            return
        try:
            self._loaded = _Loaded(made_at, await asyncio.to_thread(_load, body))
        except (ValueError, KeyError, IndexError, TypeError) as error:
            self._unreadable = made_at
            _log.warning("the present model can't be read: %s; `recommend train` makes another", error)


def _load(body: bytes) -> "EaseModel":
    model: EaseModel = _ease_model().EaseModel.load(body)
    return model


def _ease_model() -> ModuleType:
    # A pool of threads for each calculation would make requests wait for each other; read when numpy is loaded.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from movie_adapters.recommender import ease_model

    return ease_model


def _pairs(history: Sequence[Rating]) -> list[tuple[str, float]]:
    return [(rating.movie_id, rating.rating) for rating in history]


def _recommend(model: "EaseModel", history: Sequence[Rating], window: Window, now: datetime) -> RecommendationPage:
    profile = model.profile(_pairs(history))
    found = model.top(profile, now)
    shown = found[window.offset : window.offset + window.limit]
    titles = {rating.movie_id: rating.title for rating in history}
    items = []
    for (number, score), places in zip(shown, model.reasons(profile, now, [one for one, _ in shown]), strict=True):
        ids = [model.ids[profile.movies[place]] for place in places]
        reasons = tuple(Reason(ReasonKind.BECAUSE_YOU_RATED, movie_id, titles[movie_id]) for movie_id in ids)
        items.append(Recommendation(model.ids[number], score, reasons))
    return RecommendationPage(len(found), tuple(items), Tier.PERSONAL if len(profile.movies) else Tier.POPULAR)
