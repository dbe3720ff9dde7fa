"""Ports of discovery: ratings, events, analytics, trends, personal orders and the recommender."""

from abc import abstractmethod
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import Protocol

from movie_core.discovery.analytics import Clicks, Cohort, Days, Funnel, QueryCount, SourceDay, Summary
from movie_core.discovery.events import Event, EventExport
from movie_core.discovery.personal_ranking import OrderExport
from movie_core.discovery.ratings import NewRating, Rating, RatingChange, RatingExport
from movie_core.discovery.recommendations import ModelInfo, Progress, RecommendationPage
from movie_core.discovery.training_ratings import TrainingRating
from movie_core.discovery.trending import Epoch, Interaction, Totals, Trend, TrendWindow
from movie_core.paging import Window
from movie_core.personal_data import PersonalData
from movie_core.search.movies import Movie


class RatingStore(PersonalData[RatingExport], Protocol):
    """A store of users' ratings of the movies of one source. Every method raises `StoreUnavailable` if the store is
    unavailable.
    """

    @abstractmethod
    async def put(
        self, user_id: str, ratings: Sequence[NewRating], now: datetime, *, keep_newer: bool = False
    ) -> Sequence[RatingChange]:
        """3. Stores all ratings in the given order or, if it raises, none, and returns one result per rating. A user
        has one rating per movie; the last one counts, also under concurrent calls and if `ratings` contains a movie
        twice. `keep_newer`: a stored rating stays if its time is after that of the new one.
        4. Nothing changes if the rating has no `rated_at` and equals the stored one.
        5. Raises `TooManyRatings` if the user would have more than `ratings.MAX_RATINGS`, and `UserNotFound`.
        """

    @abstractmethod
    async def remove(self, user_id: str, movie_id: str) -> bool:
        """6. Deletes the rating; False if there was none."""

    @abstractmethod
    async def get(self, user_id: str, movie_id: str) -> Rating | None:
        """7. Returns the user's rating of the movie."""

    @abstractmethod
    async def list_page(self, user_id: str, window: Window) -> tuple[int, Sequence[Rating]]:
        """8. Returns the number of ratings and those in the window: newest first, then by movie id."""

    @abstractmethod
    async def history(self, user_id: str) -> Sequence[Rating]:
        """9. Returns all ratings of the user, oldest first, then by movie id."""

    @abstractmethod
    def iter_all(self) -> AsyncIterator[Sequence[tuple[str, Rating]]]:
        """10. Yields every rating of active users with the user's id, once, in batches of bounded size and in no
        particular order. A rating that changes during the iteration may have its old or its new value."""

    @abstractmethod
    async def version(self) -> str:
        """11. Returns a value that changes with every change of any rating, including deletions."""

    @abstractmethod
    async def move(self, movie_ids: Mapping[str, str]) -> int:
        """12. Moves the ratings of movies to others, by the ids of the former, and returns how many there were. Of two
        ratings of one user the newest remains.
        """


class TrainingRatingStore(Protocol):
    """A store of imported ratings of the movies of one source, by people without accounts. Every method raises
    `StoreUnavailable` if the store is unavailable.
    """

    @abstractmethod
    async def replace(self, batches: Iterable[Sequence[TrainingRating]]) -> int | None:
        """1. Replaces all ratings by those of the batches, and returns their number. A person has one rating per movie:
        the newest, of several with the same time the last. `batches` is iterated once, in a thread.
        2. The other methods return the previous ratings until all batches are stored; if it raises, nothing changes.
        3. None, changing nothing, if another call of `replace` has started in the meantime.
        """

    @abstractmethod
    def iter_all(self) -> AsyncIterator[Sequence[TrainingRating]]:
        """4. Yields every rating once, in batches of bounded size and in no particular order. If the ratings are
        replaced during the iteration, some may be missing."""

    @abstractmethod
    async def version(self) -> str:
        """5. Returns a value that changes whenever the ratings are replaced."""


class EventStore(PersonalData[EventExport], Protocol):
    """A store of users' actions and of the interactions that count towards trends. Every method raises
    `StoreUnavailable` if the store is unavailable.
    """

    @abstractmethod
    async def append(self, events: Sequence[Event], now: datetime) -> Sequence[Interaction]:
        """3. Stores all events or none, except those of users who are deleted, inactive, or have disabled recording.
        4. Returns the interactions (views, clicks, ratings) among the events: the first of its user, movie, kind and
           UTC day, in the order of `events`, exactly once under concurrent calls. Events without a user never count.
           `stored_at` of each is `now`.
        """

    @abstractmethod
    async def count(self, day: date, counts: Mapping[str, int]) -> None:
        """5. Adds to the counters of `analytics.SourceDay`, by field name; callers pass no other names."""

    @abstractmethod
    def interactions(self) -> AsyncIterator[Sequence[Interaction]]:
        """6. Yields every stored interaction once, as `append` returned it, in batches of bounded size and in no
        particular order."""

    @abstractmethod
    async def purge(self, before: date) -> int:
        """7. Deletes the events and interactions of earlier days and returns the number of deleted events. Events of
        these days that arrive later are not stored. For a further `analytics.FIGURES_RETENTION`, `Analytics` reports
        the same figures as before, except `QueryCount.users`.
        """


class Analytics(Protocol):
    """Reports computed from events. Every method raises `StoreUnavailable` if the store is unavailable.

    An event with `times` n counts n times. Erased or unrecorded events count nowhere. Exception: searches of purged
    days still count in `top_searches`, but not their users.
    """

    @abstractmethod
    async def summary(self, days: Days) -> Summary:
        """1. Returns the totals of all users' events in these days."""

    @abstractmethod
    async def top_searches(self, days: Days, *, zero_results: bool = False) -> Sequence[QueryCount]:
        """2. Returns at most `analytics.MAX_QUERIES` queries by descending count, then by query. `zero_results` counts
        only searches without results. The empty query, which matches all movies, is excluded.
        """

    @abstractmethod
    async def clicks(self, days: Days) -> Clicks:
        """3. Returns click figures; the click that follows a search in these days may be after them."""

    @abstractmethod
    async def funnel(self, days: Days) -> Funnel:
        """4. Returns the `Funnel`, all three steps within these days."""

    @abstractmethod
    async def retention(self, days: Days) -> Sequence[Cohort]:
        """5. Returns one row per ISO week, of the existing users who were created in these days; weeks without any are
        left out."""

    @abstractmethod
    async def source(self, days: Days) -> Sequence[SourceDay]:
        """6. Returns the days that have any figures, in order."""


class TrendStore(Protocol):
    """A store of movie strengths (S of `movie_core.discovery.trending`) and of interaction counts, per window. It may
    lose all data.

    Every method raises `StoreUnavailable` if the store is unavailable; then the call may have been applied fully,
    partly, or not at all.
    """

    @abstractmethod
    async def epoch(self) -> Epoch | None:
        """1. Returns the epoch started by `start_epoch` and its progress; None before the first and after a loss of
        data. A store may also revert to an earlier state.
        """

    @abstractmethod
    async def start_epoch(self, since: datetime, expected: datetime | None) -> bool:
        """2. Deletes all data and starts an epoch by compare-and-swap; False, changing nothing, unless the current
        epoch is `expected` (None: no epoch)."""

    @abstractmethod
    async def claim_rebuild(self, since: datetime) -> bool:
        """3. Returns True to exactly one caller, who may rebuild the epoch; False if the current epoch did not start at
        `since`."""

    @abstractmethod
    async def finish_rebuild(self, totals: Totals, since: datetime) -> bool:
        """4. Adds the totals to those of `add` and marks the epoch as filled. False, without further additions, if the
        epoch is already filled, is not claimed, or did not start at `since`.
        """

    @abstractmethod
    async def add(self, interactions: Sequence[Interaction]) -> None:
        """5. Adds interactions stored within this epoch, each once, in any order and under concurrent calls, with an
        error of at most 1e-9 per score. Does nothing without an epoch.
        """

    @abstractmethod
    async def top(self, window: TrendWindow, limit: int, now: datetime) -> Sequence[Trend] | None:
        """6. Returns trends by descending score, then by id; None unless the epoch is filled. Counts cover the window's
        `buckets`: the current one and those before it. The store holds about `trending.MAX_TREND_MOVIES` movies, the
        strongest.
        """


class PersonalOrderStore(PersonalData[OrderExport], Protocol):
    """A store of personal orders of search results; a stored order makes consecutive pages consistent.

    Every method raises `StoreUnavailable` if the store is unavailable.
    """

    @abstractmethod
    async def find(self, user_id: str, key: str) -> Sequence[str] | None:
        """3. Returns the ids stored under this key, for `personal_ranking.ORDER_SECONDS` after `save`; None without
        any."""

    @abstractmethod
    async def save(self, user_id: str, key: str, movie_ids: Sequence[str]) -> Sequence[str]:
        """4. Stores the ids unless the key has stored ids, also under concurrent calls, and returns the stored ids. A
        user has at most `personal_ranking.MAX_ORDERS`; the oldest are deleted.
        """


class Recommender(Protocol):
    """A recommender that is trained on all ratings, those of users and imported ones, and recommends from the current
    ratings of one user.

    Every method raises `StoreUnavailable` if a required store is unavailable.
    """

    @abstractmethod
    async def train(self, progress: Progress = lambda _step, _part: None) -> ModelInfo:
        """1. Trains a model on all ratings and the most popular movies. Every process uses it within a minute."""

    @abstractmethod
    async def model(self) -> ModelInfo | None:
        """2. Returns the data on which the current model was trained; None before the first model."""

    @abstractmethod
    async def is_outdated(self) -> bool:
        """3. Returns whether ratings or movies have changed since the current model was trained; True without one."""

    @abstractmethod
    async def recommend(self, history: Sequence[Rating], window: Window, now: datetime) -> RecommendationPage:
        """4. Returns recommendations, best first, without duplicates and without movies of the history. The order is
        total and the same for the same model, history and minute, independent of the window.
        5. Each rating of the history counts immediately, without training. With an empty history, returns popular
           movies; `tier` states which. Before the first model, movies are compared by their content.
        6. A reason is a movie of the history whose rating raises the score.
        """

    @abstractmethod
    async def affinities(self, history: Sequence[Rating], movie_ids: Collection[str]) -> Mapping[str, float]:
        """7. Returns the user's affinity to each movie, as shown by the history; movies unknown to the model are left
        out. Greater is stronger, on a scale of the recommender's own where 0 is neutral."""

    @abstractmethod
    async def similar(self, movie: Movie, window: Window) -> RecommendationPage:
        """8. Returns movies similar to this one, best first, without the movie itself; before the first model, those
        with similar content."""


class ModelStore(Protocol):
    """A store of trained models. Every method raises `StoreUnavailable` if the store is unavailable."""

    @abstractmethod
    async def save(self, info: ModelInfo, version: str, body: bytes) -> bool:
        """1. Makes this the current model. `version` identifies the training data in the recommender's own format.

        False, storing nothing, if the current model was made later: of two concurrent trainings the one that read older
        ratings may end last.
        """

    @abstractmethod
    async def current(self) -> tuple[ModelInfo, str] | None:
        """2. Returns the info and the version of the current model; None before the first."""

    @abstractmethod
    async def body(self, made_at: datetime) -> bytes | None:
        """3. Returns the model made at that time; None if another model is current by now."""
