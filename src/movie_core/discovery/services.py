"""The discovery service: ratings, imports, recommendations, personal order, trends and events."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from urllib.parse import urlencode

from movie_core.clock import Clock, utc_now
from movie_core.discovery.event_recorder import EventRecorder
from movie_core.discovery.events import MAX_AGE, Event
from movie_core.discovery.movie_matching import MatchedBy, Mismatch, MismatchReason, MovieIdentity, reconcile
from movie_core.discovery.personal_ranking import MAX_REORDERED, personal_order
from movie_core.discovery.ratings import (
    BatchResult,
    ImportResult,
    ImportRow,
    NearMatch,
    NewRating,
    RatedMovie,
    RatedMovies,
    Rating,
    Rejection,
    check_rating,
)
from movie_core.discovery.recommendations import RecommendationPage, RecommendedMovie, Tier
from movie_core.discovery.trending import MAX_TREND, Trend, Trending, TrendWindow
from movie_core.discovery.trending_service import TrendingService
from movie_core.errors import MovieNotFound, RatingNotFound
from movie_core.paging import Window
from movie_core.ports import MovieCatalogue, PersonalOrderStore, RatingStore, Recommender, SeenMovies
from movie_core.search.movie_search import SEEN_DELAY, MovieSearch
from movie_core.search.movies import MAX_ID, Capability, Movie, MoviePage, MovieQuery, Order

MAX_KNOWN_IDS = 100_000
"""Ids of existing movies that a process caches, about 150 bytes each."""


@dataclass(frozen=True, slots=True)
class RecommendedMovies:
    """One page of recommendations or of similar movies, best first. `total` counts all pages."""

    total: int
    items: tuple[RecommendedMovie, ...]
    tier: Tier


@dataclass(frozen=True, slots=True)
class TrendingMovies:
    """A page of trending movies, with the whole list of trends."""

    trending: Trending
    items: tuple[tuple[Movie, Trend], ...]


class Discovery:
    """Ratings, recommendations, personal order and trends for the movies of one source.

    Every method raises `StoreUnavailable` if a required store is unavailable. Other errors are listed per method.
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
        clock: Clock = utc_now,
    ) -> None:
        """`movies` are the movies stored under the name of the search's source. `seen` writes to them if the source
        does not store its movies itself."""
        self._movie_search = movie_search
        self._movies = movies
        self._ratings = ratings
        self._recommender = recommender
        self._orders = orders
        self._trends = trends
        self._recorder = recorder
        self._seen = seen
        self._clock = clock
        self._known_ids: dict[str, None] = {}

    # --- ratings

    async def rate(self, user_id: str, movie_id: str, rating: float) -> Rating:
        """Stores a rating, 0.5 to 10 in steps of 0.5. Raises `InvalidRating`, `MovieNotFound`, `TooManyRatings`."""
        rating = check_rating(rating)
        movie = await self._movie(movie_id)
        new = NewRating(movie.id, movie.title, movie.year, rating)
        [result] = await self._ratings.put(user_id, [new], self._clock())
        if result.is_change:
            self._recorder.record_rating(user_id, movie.id, rating)
        return result.rating

    async def delete_rating(self, user_id: str, movie_id: str) -> None:
        """Deletes a rating, if there is one."""
        await self._ratings.remove(user_id, movie_id)

    async def get_rating(self, user_id: str, movie_id: str) -> Rating:
        """Returns the user's rating of the movie. Raises `RatingNotFound`."""
        rating = await self._ratings.get(user_id, movie_id)
        if rating is None:
            raise RatingNotFound("you have not rated this movie")
        return rating

    async def list_ratings(self, user_id: str, window: Window) -> RatedMovies:
        """Returns the user's rated movies, newest first. Raises `PageOutOfRange`, except for an empty list."""
        total, ratings = await self._ratings.list_page(user_id, window)
        if total:
            window.check(total)
        movies = await self._movies.get_many([rating.movie_id for rating in ratings])
        items = tuple(
            RatedMovie(movies.get(rating.movie_id) or _movie_of(rating), rating.rating, rating.rated_at)
            for rating in ratings
        )
        return RatedMovies(total, items)

    async def import_ratings(
        self,
        user_id: str,
        rows: Sequence[ImportRow],
        rejected: Sequence[Rejection] = (),
        *,
        overwrite: bool = False,
    ) -> ImportResult:
        """Stores the ratings of a file for the movies that its rows match. `rejected` are the rows that the parser has
        rejected. Raises `TooManyRatings` and then stores nothing.

        The newest rating of a movie counts; of equally new ones, the last row. A row without a time is rated now. A
        newer stored rating stays, unless `overwrite`.
        """
        now = self._clock()
        identities = [row.identity for row in rows]
        identities += [row.identity for row in rejected if row.identity is not None]
        identities = list(map(self._without_foreign_id, identities))
        matches = reconcile(identities, await self._movies.match(identities)) if rows else ()
        all_rejected, near_matches = list(rejected), []
        matched_by: dict[MatchedBy, int] = {}
        superseded: list[int] = []
        newest: dict[str, tuple[int, NewRating]] = {}
        for row, match in zip(rows, matches, strict=False):
            if isinstance(match, Mismatch):
                detail = self._mismatch_detail(row.identity, match.reason)
                all_rejected.append(Rejection(row.row, "unknown_movie", detail))
                continue
            movie = match.movie
            matched_by[match.by] = matched_by.get(match.by, 0) + 1
            if match.by is MatchedBy.NEAR_YEAR:
                near_matches.append(NearMatch(row.row, row.identity.title, row.identity.year, movie))
            at = None if row.rated_at is None else min(row.rated_at, now)
            new = row.row, NewRating(movie.id, movie.title, movie.year, row.rating, at)
            old = newest.get(movie.id, new)
            if (old[1].rated_at or now) <= (at or now):
                newest[movie.id] = new
                superseded += () if old is new else (old[0],)
            else:
                superseded.append(row.row)
        ratings = [new for _, new in newest.values()]
        changes = await self._ratings.put(user_id, ratings, now, keep_newer=not overwrite) if ratings else ()
        for (number, stored), change in zip(newest.values(), changes, strict=True):
            rating = change.rating
            if rating.rated_at > (stored.rated_at or now):
                superseded.append(number)
            # Old ratings do not show what is trending now, nor do those of unknown age.
            elif change.is_change and stored.rated_at is not None and rating.rated_at >= now - MAX_AGE:
                self._recorder.record_rating(user_id, rating.movie_id, rating.rating, rating.rated_at)
        return ImportResult(
            accepted=sum(matched_by.values()),
            rejected=tuple(sorted(all_rejected, key=lambda rejection: rejection.row)),
            superseded=tuple(sorted(superseded)),
            matched_by=matched_by,
            near_matches=tuple(near_matches),
        )

    # --- recommendations and personal order

    async def recommendations(self, user_id: str, window: Window) -> RecommendedMovies:
        """Returns recommendations from all current ratings of the user. Raises `PageOutOfRange`."""
        history = await self._ratings.history(user_id)
        return await self._with_movies(await self._recommender.recommend(history, window, self._clock()), window)

    async def similar(self, movie_id: str, window: Window) -> RecommendedMovies:
        """Returns movies similar to this one. Raises `MovieNotFound`, `PageOutOfRange`."""
        return await self._with_movies(await self._recommender.similar(await self._movie(movie_id), window), window)

    async def _with_movies(self, page: RecommendationPage, window: Window) -> RecommendedMovies:
        if page.total:
            window.check(page.total)
        movies = await self._movies.get_many([item.movie_id for item in page.items])
        items = tuple(
            RecommendedMovie(movies[item.movie_id], item.score, item.reasons)
            for item in page.items
            if item.movie_id in movies  # it may have been deleted since the model was trained
        )
        return RecommendedMovies(page.total, items, page.tier)

    async def search(
        self, query: MovieQuery, window: Window, user_id: str | None = None, *, exclude_rated: bool = False
    ) -> MoviePage:
        """Searches like `MovieSearch.search`, with the same errors. For a user it also supports `Order.PERSONAL`, and
        `exclude_rated` excludes the movies that the user has rated."""
        if user_id is not None and exclude_rated:
            self._movie_search.require([Capability.EXCLUDE])
            history = await self._ratings.history(user_id)
            query = replace(query, exclude_ids=frozenset(rating.movie_id for rating in history))
        if user_id is None or query.order is not Order.PERSONAL:
            return await self._movie_search.search(query, window)
        plain = replace(query, order=Order.RELEVANCE)
        if window.offset >= MAX_REORDERED:
            return await self._movie_search.search(plain, window)
        head = await self._movie_search.search(plain, Window(0, MAX_REORDERED))
        window.check(head.total)
        key = urlencode([*query.parameters(), *[("exclude", "rated")] * exclude_rated])
        ordered = await self._ordered(user_id, key, query.text, head.items)
        # Positions of skipped items stay empty, so that the other positions keep their numbers.
        positions = [position for position in range(MAX_REORDERED) if position not in head.skipped]
        items = [
            movie
            for position, movie in zip(positions, ordered, strict=False)
            if window.offset <= position < window.offset + window.limit
        ]
        beyond = window.offset + window.limit - MAX_REORDERED
        if beyond > 0 and head.total > MAX_REORDERED:
            items += (await self._movie_search.search(plain, Window(MAX_REORDERED, beyond))).items
        return replace(head, items=tuple(items), skipped=())

    async def _ordered(self, user_id: str, key: str, text: str, movies: Sequence[Movie]) -> list[Movie]:
        """Returns the movies in the user's order stored under this key; computes and stores it if there is none."""
        ids = await self._orders.find(user_id, key)
        if ids is None:
            history = await self._ratings.history(user_id)
            affinities = await self._recommender.affinities(history, [movie.id for movie in movies])
            rated = frozenset(rating.movie_id for rating in history)
            ordered = personal_order(text, movies, affinities, rated)
            ids = await self._orders.save(user_id, key, [movie.id for movie in ordered])
        remaining = {movie.id: movie for movie in movies}
        ordered = [remaining.pop(movie_id) for movie_id in ids if movie_id in remaining]
        return ordered + list(remaining.values())  # movies that the source has added since come last

    # --- trends and events

    async def trending(self, window: TrendWindow, page: Window) -> TrendingMovies:
        """Returns one page of the `MAX_TREND` trending movies; a page past the end is empty."""
        trending = await self._trends.top(window, MAX_TREND)
        movies = await self._movies.get_many([trend.movie_id for trend in trending.items])
        items = [(movies[trend.movie_id], trend) for trend in trending.items if trend.movie_id in movies]
        return TrendingMovies(trending, tuple(items[page.offset : page.offset + page.limit]))

    async def submit_events(self, events: Sequence[Event]) -> BatchResult:
        """Queues the events of a client for recording; rejected rows count from 1. Raises `Busy` and then records
        nothing."""
        oldest = self._clock() - MAX_AGE
        ids = {event.movie_id for event in events if event.movie_id is not None}
        unknown = {movie_id for movie_id in ids if movie_id not in self._known_ids}
        if unknown:
            movies = await self._stored_movies([movie_id for movie_id in unknown if len(movie_id) <= MAX_ID])
            self._cache_ids(movies)
            unknown -= movies.keys()
        accepted, rejected = [], []
        for row, event in enumerate(events, 1):
            if event.at < oldest:
                rejected.append(Rejection(row, "too_old", f"at must not be more than {MAX_AGE.days} days ago"))
            elif event.movie_id in unknown:
                rejected.append(Rejection(row, "unknown_movie", "no search result contained a movie with this id"))
            else:
                accepted.append(event)
        self._recorder.record_client_events(accepted)
        return BatchResult(len(accepted), tuple(rejected))

    def _cache_ids(self, movies: dict[str, Movie]) -> None:
        self._known_ids.update(dict.fromkeys(movies))
        while len(self._known_ids) > MAX_KNOWN_IDS:
            del self._known_ids[next(iter(self._known_ids))]

    # --- lookup of movies

    async def _movie(self, movie_id: str) -> Movie:
        """Returns a movie from the stored movies or from the source. Raises `MovieNotFound`."""
        if not 1 <= len(movie_id) <= MAX_ID:
            raise MovieNotFound("no such movie")
        movies = await self._movies.get_many([movie_id])
        return movies[movie_id] if movies else (await self._movie_search.get(movie_id)).movie

    def _without_foreign_id(self, identity: MovieIdentity) -> MovieIdentity:
        """The identity without the movie id of another source."""
        is_ours = identity.source is None or identity.source == self._movies.name
        return identity if is_ours else replace(identity, movie_id=None)

    def _mismatch_detail(self, identity: MovieIdentity, reason: MismatchReason) -> str:
        reference = identity.title or identity.imdb_id or identity.tmdb_id or identity.movie_id
        if not reference:
            return "the row identifies no movie"
        year = "" if identity.year is None else f" ({identity.year})"
        place = " in earlier search results" if reason is MismatchReason.UNKNOWN and self._seen is not None else ""
        return f"{reason}{place}: {reference[:100]!r}{year}"

    async def _stored_movies(self, movie_ids: Sequence[str]) -> dict[str, Movie]:
        """Returns the stored movies; waits for movies that recent searches have shown but not yet written."""
        movies = dict(await self._movies.get_many(movie_ids))
        if self._seen is None or len(movies) == len(set(movie_ids)):
            return movies
        await self._seen.flush()
        movies = dict(await self._movies.get_many(movie_ids))
        if len(movies) == len(set(movie_ids)):
            return movies
        await asyncio.sleep(SEEN_DELAY)
        return dict(await self._movies.get_many(movie_ids))


def _movie_of(rating: Rating) -> Movie:
    """Returns a movie that is no longer stored, as far as its rating describes it."""
    return Movie(id=rating.movie_id, title=rating.title, year=rating.year)
