"""The service behind ratings and what they lead to: a user's list, recommendations, personal order, trends, events."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from urllib.parse import urlencode

from movie_core.clock import utc_now
from movie_core.discovery.event_recorder import EventRecorder
from movie_core.discovery.events import MAX_AGE, Event
from movie_core.discovery.personal_ranking import ORDERED, personal_order
from movie_core.discovery.ratings import (
    ImportResult,
    ImportRow,
    MovieIdentity,
    NewRating,
    RatedMovie,
    RatedMovies,
    Rating,
    Rejection,
    check_rating,
)
from movie_core.discovery.recommendations import RecommendationPage, SuggestedMovie, Tier
from movie_core.discovery.trending import MAX_TREND, Trend, Trending, TrendWindow
from movie_core.discovery.trending_service import TrendingService
from movie_core.errors import MovieNotFound, RatingNotFound
from movie_core.paging import Window
from movie_core.ports import MovieCatalogue, PersonalOrderStore, RatingStore, Recommender, SeenMovies
from movie_core.search.movie_search import SEEN_SECONDS, MovieSearch
from movie_core.search.movies import MAX_ID, Capability, Movie, MoviePage, MovieQuery, Order

MAX_KNOWN = 100_000
"""Ids of movies that a process remembers to be there, some 150 bytes each."""


@dataclass(frozen=True, slots=True)
class SuggestedMovies:
    """One page of recommendations, or of movies like another, best first."""

    total: int
    items: tuple[SuggestedMovie, ...]
    tier: Tier


@dataclass(frozen=True, slots=True)
class TrendingMovies:
    """What people turn to, with the movies themselves."""

    trending: Trending
    items: tuple[tuple[Movie, Trend], ...]


class Discovery:
    """Ratings, recommendations, personal order and trends over the movies of one source.

    Every method raises `StoreUnavailable` when a store that it needs is away.
    """

    def __init__(
        self,
        movie_search: MovieSearch,
        movies: MovieCatalogue,
        ratings: RatingStore,
        recommender: Recommender,
        orders: PersonalOrderStore,
        trends: TrendingService,
        recorder: EventRecorder,
        *,
        seen: SeenMovies | None = None,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        """`movies` are those kept under the name of the catalog's source; `seen` writes to them, where that source
        keeps none itself."""
        self._movie_search = movie_search
        self._movies = movies
        self._ratings = ratings
        self._recommender = recommender
        self._orders = orders
        self._trends = trends
        self._recorder = recorder
        self._seen = seen
        self._clock = clock
        self._known: dict[str, None] = {}

    # --- ratings

    async def rate(self, user_id: str, movie_id: str, rating: float) -> Rating:
        """Keep a rating; raises `InvalidRating`, `MovieNotFound`, `TooManyRatings`."""
        rating = check_rating(rating)
        movie = await self._movie(movie_id)
        [kept] = await self._ratings.put(user_id, [NewRating(movie.id, movie.title, movie.year, rating)], self._clock())
        if kept.is_change:
            self._recorder.rated(user_id, movie.id, rating)
        return kept.rating

    async def unrate(self, user_id: str, movie_id: str) -> None:
        """Remove a rating, if there is one."""
        await self._ratings.remove(user_id, movie_id)

    async def rating(self, user_id: str, movie_id: str) -> Rating:
        """What the user gave the movie; raises `RatingNotFound`."""
        found = await self._ratings.get(user_id, movie_id)
        if found is None:
            raise RatingNotFound("this movie has no rating of yours")
        return found

    async def rated(self, user_id: str, window: Window) -> RatedMovies:
        """The user's list, newest first; raises `PageOutOfRange`, but not where it is empty."""
        total, ratings = await self._ratings.list_page(user_id, window)
        if total:
            window.check(total)
        movies = await self._movies.get_many([one.movie_id for one in ratings])
        items = tuple(
            RatedMovie(movies.get(one.movie_id) or _as_rated(one), one.rating, one.rated_at) for one in ratings
        )
        return RatedMovies(total, items)

    async def import_ratings(
        self, user_id: str, rows: Sequence[ImportRow], rejected: Sequence[Rejection] = ()
    ) -> ImportResult:
        """Keep the ratings of a file, each for the movie that it names; of rows for one movie the last one counts.
        `rejected` are rows that were found unreadable already. Raises `TooManyRatings`, and nothing is kept then.
        """
        now = self._clock()
        refused = list(rejected)
        wanted: list[NewRating] = []
        movies = await self._movies.match([row.identity for row in rows]) if rows else ()
        for row, movie in zip(rows, movies, strict=True):
            if movie is None:
                refused.append(Rejection(row.row, "unknown_movie", self._unknown(row.identity)))
                continue
            at = None if row.rated_at is None else min(row.rated_at, now)
            wanted.append(NewRating(movie.id, movie.title, movie.year, row.rating, at))
        for kept in await self._ratings.put(user_id, wanted, now) if wanted else ():
            # What was rated long ago is no news about what people turn to now.
            if kept.is_change and kept.rating.rated_at >= now - MAX_AGE:
                self._recorder.rated(user_id, kept.rating.movie_id, kept.rating.rating, kept.rating.rated_at)
        return ImportResult(len(wanted), tuple(sorted(refused, key=lambda one: one.row)))

    # --- what ratings lead to

    async def recommendations(self, user_id: str, window: Window) -> SuggestedMovies:
        """Movies for the user by all ratings up to this moment; raises `PageOutOfRange`."""
        history = await self._ratings.history(user_id)
        return await self._shown(await self._recommender.recommend(history, window, self._clock()), window)

    async def similar(self, movie_id: str, window: Window) -> SuggestedMovies:
        """Movies like this one; raises `MovieNotFound`, `PageOutOfRange`."""
        return await self._shown(await self._recommender.similar(await self._movie(movie_id), window), window)

    async def _shown(self, found: RecommendationPage, window: Window) -> SuggestedMovies:
        if found.total:
            window.check(found.total)
        movies = await self._movies.get_many([one.movie_id for one in found.items])
        items = tuple(
            SuggestedMovie(movies[one.movie_id], one.score, one.reasons)
            for one in found.items
            if one.movie_id in movies  # or it has gone since the model was made
        )
        return SuggestedMovies(found.total, items, found.tier)

    async def search(
        self, query: MovieQuery, window: Window, user_id: str | None = None, *, exclude_rated: bool = False
    ) -> MoviePage:
        """As `MovieSearch.search`, and for a user also in personal order, and without what the user has rated."""
        if user_id is not None and exclude_rated:
            self._movie_search.require([Capability.EXCLUDE])
            query = replace(query, without=frozenset(one.movie_id for one in await self._ratings.history(user_id)))
        if user_id is None or query.order is not Order.PERSONAL:
            return await self._movie_search.search(query, window)
        plain = replace(query, order=Order.RELEVANCE)
        if window.offset >= ORDERED:
            return await self._movie_search.search(plain, window)
        head = await self._movie_search.search(plain, Window(0, ORDERED))
        window.check(head.total)
        key = urlencode([*query.parameters(), *[("exclude", "rated")] * exclude_rated])
        order = await self._order(user_id, key, query.text, head.items)
        # Places whose item could not be used stay empty, so that every other place keeps its number.
        places = [place for place in range(ORDERED) if place not in head.skipped]
        shown = [
            movie
            for place, movie in zip(places, order, strict=False)
            if window.offset <= place < window.offset + window.limit
        ]
        beyond = window.offset + window.limit - ORDERED
        if beyond > 0 and head.total > ORDERED:
            shown += (await self._movie_search.search(plain, Window(ORDERED, beyond))).items
        return replace(head, items=tuple(shown), skipped=())

    async def _order(self, user_id: str, key: str, text: str, movies: Sequence[Movie]) -> list[Movie]:
        """The movies in the order that is kept for the user under this key, made now where there is none."""
        ids = await self._orders.find(user_id, key)
        if ids is None:
            history = await self._ratings.history(user_id)
            taste = await self._recommender.affinities(history, [movie.id for movie in movies], self._clock())
            rated = frozenset(one.movie_id for one in history)
            ordered = personal_order(text, movies, taste, rated)
            ids = await self._orders.save(user_id, key, [movie.id for movie in ordered])
        given = {movie.id: movie for movie in movies}
        kept = [given.pop(one) for one in ids if one in given]
        return kept + list(given.values())  # what the source has added meanwhile comes last

    # --- what everyone does

    async def trending(self, window: TrendWindow, page: Window) -> TrendingMovies:
        """A part of the `MAX_TREND` movies that people turn to most."""
        trending = await self._trends.top(window, MAX_TREND)
        movies = await self._movies.get_many([one.movie_id for one in trending.items])
        items = [(movies[one.movie_id], one) for one in trending.items if one.movie_id in movies]
        return TrendingMovies(trending, tuple(items[page.offset : page.offset + page.limit]))

    async def take_events(self, events: Sequence[Event]) -> ImportResult:
        """Record what a client tells, later; raises `Busy`, and then has taken nothing. Rows count from 1."""
        oldest = self._clock() - MAX_AGE
        ids = {event.movie_id for event in events if event.movie_id is not None}
        strange = {one for one in ids if one not in self._known}
        if strange:
            found = await self._found([one for one in strange if len(one) <= MAX_ID])
            self._remember(found)
            strange -= found.keys()
        taken, rejected = [], []
        for row, event in enumerate(events, 1):
            if event.at < oldest:
                rejected.append(Rejection(row, "too_old", f"at lies more than {MAX_AGE.days} days back"))
            elif event.movie_id in strange:
                rejected.append(Rejection(row, "unknown_movie", "no search has shown a movie of this id"))
            else:
                taken.append(event)
        self._recorder.take(taken)
        return ImportResult(len(taken), tuple(rejected))

    def _remember(self, movies: dict[str, Movie]) -> None:
        self._known.update(dict.fromkeys(movies))
        while len(self._known) > MAX_KNOWN:
            del self._known[next(iter(self._known))]

    # --- movies that are known

    async def _movie(self, movie_id: str) -> Movie:
        """A movie that a search has shown, or that the source tells; raises `MovieNotFound`."""
        if not 1 <= len(movie_id) <= MAX_ID:
            raise MovieNotFound("no such movie")
        found = await self._movies.get_many([movie_id])
        return found[movie_id] if found else (await self._movie_search.get(movie_id)).movie

    def _unknown(self, identity: MovieIdentity) -> str:
        named = identity.title or identity.imdb_id or identity.tmdb_id or identity.movie_id
        if not named:
            return "the row names no movie"
        known = "is in the catalogue" if self._seen is None else "was shown by a search yet"
        return f"no movie, or more than one, {known} as {named[:100]!r}"

    async def _found(self, movie_ids: Sequence[str]) -> dict[str, Movie]:
        """Those that are kept; what a search has shown just now is waited for."""
        found = dict(await self._movies.get_many(movie_ids))
        if self._seen is None or len(found) == len(set(movie_ids)):
            return found
        await self._seen.flush()
        found = dict(await self._movies.get_many(movie_ids))
        if len(found) == len(set(movie_ids)):
            return found
        await asyncio.sleep(SEEN_SECONDS)
        return dict(await self._movies.get_many(movie_ids))


def _as_rated(rating: Rating) -> Movie:
    """What is still known of a movie that is in no catalogue any more."""
    return Movie(id=rating.movie_id, title=rating.title, year=rating.year)
