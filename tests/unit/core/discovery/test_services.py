"""The discovery service over in-memory ports."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta

import pytest

from movie_core import Movie, MovieQuery, Window, memory
from movie_core.discovery.event_recorder import EventRecorder
from movie_core.discovery.events import Event, EventKind
from movie_core.discovery.movie_matching import MatchedBy, MovieIdentity
from movie_core.discovery.ratings import ImportRow, NearMatch, Rating, Rejection
from movie_core.discovery.recommendations import Recommendation, RecommendationPage, Tier
from movie_core.discovery.services import MAX_KNOWN_IDS, Discovery
from movie_core.discovery.trending import TrendWindow
from movie_core.errors import (
    Busy,
    FilterUnsupported,
    InvalidRating,
    MovieNotFound,
    PageOutOfRange,
    RatingNotFound,
    SourceUnavailable,
)
from movie_core.search.movies import Capability, FoundMovie, MoviePage, Order
from movie_core.testing import NOW, create_user, memory_account_stores

RIVERS = [Movie(id=str(n), title=f"River {n:03}", year=1900 + n % 100, popularity=1000.0 - n) for n in range(250)]
EXACT = Movie(id="exact", title="River", year=1951, popularity=5000.0)
OTHER = Movie(id="lake", title="The Lake", year=2006, imdb_id="tt0410297", popularity=9.0)
PERSONAL = MovieQuery("river", order=Order.PERSONAL)


class FixedRecommender:
    """A recommender with affinities set by the test."""

    def __init__(self, scores: Mapping[str, float]) -> None:
        self.scores = scores
        self.histories: list[list[str]] = []

    async def recommend(self, history: Sequence[Rating], window: Window, now: datetime) -> RecommendationPage:
        self.histories.append([rating.movie_id for rating in history])
        ids = sorted(self.scores, key=lambda one: -self.scores[one])
        items = tuple(
            Recommendation(one, self.scores[one]) for one in ids[window.offset : window.offset + window.limit]
        )
        return RecommendationPage(len(ids), items, Tier.PERSONAL if history else Tier.POPULAR)

    async def affinities(self, history: Sequence[Rating], movie_ids: Collection[str]) -> Mapping[str, float]:
        self.histories.append([rating.movie_id for rating in history])
        return {one: self.scores[one] for one in movie_ids if one in self.scores}

    async def similar(self, movie: Movie, window: Window) -> RecommendationPage:
        return RecommendationPage(1, (Recommendation(OTHER.id, 1.0),), Tier.PERSONAL)


class Deployment:
    """A deployment in memory with a clock that only tests advance."""

    def __init__(
        self,
        movies: Iterable[Movie] = (EXACT, *RIVERS, OTHER),
        scores: Mapping[str, float] | None = None,
        *,
        source: "ThirdParty | None" = None,
    ) -> None:
        self.now = NOW
        self.recommender = FixedRecommender(scores or {})
        deployment = memory.deployment(
            movies,
            clock=self.clock,
            source=source,
            recommender=self.recommender,  # type: ignore[arg-type]
        )
        self.deployment = deployment
        self.movies, self.seen, self.movie_search = deployment.catalogue, deployment.seen, deployment.movie_search
        self.ratings, self.events, self.orders = deployment.ratings, deployment.events, deployment.orders
        self.trends, self.recorder, self.discovery = deployment.trends, deployment.recorder, deployment.discovery

    def clock(self) -> datetime:
        return self.now

    async def ann(self, name: str = "Ann") -> str:
        stores = memory_account_stores(self.deployment)
        user, _ = await create_user(stores, f"{name}@example.com", name, at=self.now)
        return user.id

    async def recorded(self) -> list[Event]:
        await self.recorder.flush()
        return self.events._events


class ThirdParty:
    """A source without optional capabilities that can be down."""

    name = "third_party"
    capabilities: frozenset[Capability] = frozenset()
    is_down = False

    async def search(self, query: MovieQuery, window: Window) -> MoviePage:
        if self.is_down:
            raise SourceUnavailable("it is down")
        items = [EXACT, *RIVERS[:5]][window.offset : window.offset + window.limit]
        return MoviePage(total=6, items=tuple(items), source=self.name)

    async def get(self, movie_id: str) -> FoundMovie:
        raise AssertionError("it has no details")

    suggest = genres = get


async def all_pages(deployment: Deployment, user_id: str, query: MovieQuery, limit: int) -> list[str]:
    found: list[str] = []
    offset: int | None = 0
    while offset is not None:
        window = Window(offset, limit)
        page = await deployment.discovery.search(query, window, user_id)
        found += [movie.id for movie in page.items]
        offset = window.next_offset(page.total)
    return found


# --- ratings


async def test_a_rating_is_stored_and_recorded_as_an_event() -> None:
    deployment = Deployment()
    ann = await deployment.ann()
    rating = await deployment.discovery.rate(ann, "3", 8.5)
    assert rating == Rating("3", "River 003", 1903, 8.5, NOW)
    assert await deployment.discovery.get_rating(ann, "3") == rating
    [event] = await deployment.recorded()
    assert (event.kind, event.user_id, event.movie_id, event.rating) == (EventKind.RATING, ann, "3", 8.5)


async def test_repeating_a_rating_is_no_event() -> None:
    deployment = Deployment()
    ann = await deployment.ann()
    await deployment.discovery.rate(ann, "3", 8.5)
    deployment.now += timedelta(hours=1)
    assert (await deployment.discovery.rate(ann, "3", 8.5)).rated_at == NOW
    assert len(await deployment.recorded()) == 1


@pytest.mark.parametrize("rating", [0, 10.5, 5.3, float("nan"), -1, 1e300])
async def test_a_rating_off_the_scale_is_rejected(rating: float) -> None:
    deployment = Deployment()
    ann = await deployment.ann()
    with pytest.raises(InvalidRating):
        await deployment.discovery.rate(ann, "3", rating)
    with pytest.raises(RatingNotFound):
        await deployment.discovery.get_rating(ann, "3")


@pytest.mark.parametrize("movie_id", ["nothing", "", "\x00", "../", "a" * 10_240])
async def test_an_unknown_movie_cannot_be_rated(movie_id: str) -> None:
    deployment = Deployment()
    with pytest.raises(MovieNotFound):
        await deployment.discovery.rate(await deployment.ann(), movie_id, 5)


async def test_deleting_a_rating_is_idempotent() -> None:
    deployment = Deployment()
    ann = await deployment.ann()
    await deployment.discovery.rate(ann, "3", 5)
    await deployment.discovery.delete_rating(ann, "3")
    await deployment.discovery.delete_rating(ann, "3")
    with pytest.raises(RatingNotFound):
        await deployment.discovery.get_rating(ann, "3")


async def test_rated_movies_are_newest_first_and_include_deleted_movies() -> None:
    deployment = Deployment()
    ann = await deployment.ann()
    for number in range(3):
        await deployment.discovery.rate(ann, str(number), 6)
        deployment.now += timedelta(seconds=1)
    await deployment.movies.load([OTHER], replace=True)
    page = await deployment.discovery.list_ratings(ann, Window(0, 2))
    assert page.total == 3
    assert [(one.movie.id, one.movie.title, one.movie.year) for one in page.items] == [
        ("2", "River 002", 1902),
        ("1", "River 001", 1901),
    ]
    with pytest.raises(PageOutOfRange):
        await deployment.discovery.list_ratings(ann, Window(3, 2))


async def test_any_page_of_an_empty_list_is_empty() -> None:
    deployment = Deployment()
    assert (await deployment.discovery.list_ratings(await deployment.ann(), Window(10, 2))).total == 0


async def test_movies_of_earlier_results_can_be_rated_while_the_third_party_is_down() -> None:
    source = ThirdParty()
    deployment = Deployment([], source=source)
    ann = await deployment.ann()
    await deployment.discovery.search(MovieQuery("river"), Window(0, 3), ann)
    source.is_down = True
    assert (await deployment.discovery.rate(ann, "1", 7)).title == "River 001"
    with pytest.raises(MovieNotFound):
        await deployment.discovery.rate(ann, "4", 7)


# --- imports


def row(number: int, rating: float = 7, at: datetime | None = None, **identity: object) -> ImportRow:
    return ImportRow(number, MovieIdentity(**identity), rating, at)  # type: ignore[arg-type]


async def test_an_import_reports_every_rejected_row() -> None:
    deployment = Deployment()
    ann = await deployment.ann()
    result = await deployment.discovery.import_ratings(
        ann,
        [
            row(1, imdb_id="tt0410297"),
            row(3, title="River 007", year=1907),
            row(4, title="River 007", year=1950),
            row(5, movie_id="nothing"),
            row(6, 3.5, movie_id="lake"),
        ],
        [Rejection(2, "invalid_rating", "unreadable")],
    )
    assert result.accepted == 3
    assert [(one.row, one.code) for one in result.rejected] == [
        (2, "invalid_rating"),
        (4, "unknown_movie"),
        (5, "unknown_movie"),
    ]
    assert [one.detail for one in result.rejected[1:]] == [
        "the movie of this title is of another year: 'River 007' (1950)",
        "no movie matches: 'nothing'",
    ]
    assert result.matched_by == {MatchedBy.IMDB_ID: 1, MatchedBy.TITLE_YEAR: 1, MatchedBy.MOVIE_ID: 1}
    assert (result.superseded, result.near_matches) == ((1,), ())
    assert (await deployment.discovery.get_rating(ann, "lake")).rating == 3.5
    assert (await deployment.discovery.get_rating(ann, "7")).rating == 7


async def test_an_import_lists_the_matches_of_a_near_year() -> None:
    deployment = Deployment()
    ann = await deployment.ann()
    result = await deployment.discovery.import_ratings(ann, [row(7, title="River 007", year=1908)])
    assert result.near_matches == (NearMatch(7, "River 007", 1908, RIVERS[7]),)
    exact = MovieIdentity(title="River 007", year=1907)
    for rows, rejected in (
        ([row(1, title="River 007", year=1908), ImportRow(2, exact, 3.0, None)], []),
        ([row(1, title="River 007", year=1908)], [Rejection(2, "invalid_rating", "no rating", exact)]),
    ):
        result = await deployment.discovery.import_ratings(ann, rows, rejected)
        assert (result.near_matches, result.rejected[0].code) == ((), "unknown_movie")
        assert "another row" in result.rejected[0].detail


async def test_of_several_rows_about_a_movie_the_newest_counts() -> None:
    deployment = Deployment()
    ann = await deployment.ann()
    day = timedelta(days=1)
    for ages, newest in (((3, 9), 1), ((9, 3), 2), ((3, 3), 2), ((0, None), 2), ((None, 0), 2), ((None, 1), 1)):
        rows = [
            row(number, float(number), None if age is None else NOW - age * day, movie_id="1")
            for number, age in enumerate(ages, 1)
        ]
        result = await deployment.discovery.import_ratings(ann, rows, overwrite=True)
        assert (result.accepted, result.superseded) == (2, (3 - newest,)), ages
        assert (await deployment.discovery.get_rating(ann, "1")).rating == newest, ages


async def test_an_import_keeps_newer_ratings_unless_it_overwrites() -> None:
    deployment = Deployment()
    ann = await deployment.ann()
    await deployment.discovery.rate(ann, "1", 9)
    old = [row(1, 2.0, NOW - timedelta(days=400), movie_id="1"), row(2, 3.0, movie_id="2")]
    result = await deployment.discovery.import_ratings(ann, old)
    assert (result.accepted, result.superseded) == (2, (1,))
    assert [(await deployment.discovery.get_rating(ann, movie)).rating for movie in "12"] == [9, 3]
    assert [event.movie_id for event in await deployment.recorded()] == ["1"]
    assert (await deployment.discovery.import_ratings(ann, old, overwrite=True)).superseded == ()
    assert (await deployment.discovery.get_rating(ann, "1")).rating == 2
    undated = [row(1, 4.0, movie_id="1")]
    deployment.now += timedelta(days=1)
    assert (await deployment.discovery.import_ratings(ann, undated)).superseded == ()
    assert (await deployment.discovery.get_rating(ann, "1")).rated_at == deployment.now
    deployment.now += timedelta(days=1)
    await deployment.discovery.import_ratings(ann, undated)
    assert (await deployment.discovery.get_rating(ann, "1")).rated_at == deployment.now - timedelta(days=1)


async def test_movie_ids_of_another_source_are_not_used() -> None:
    deployment = Deployment()
    ann = await deployment.ann()
    result = await deployment.discovery.import_ratings(
        ann,
        [
            row(1, source="tmdb", movie_id="lake", title="River 007", year=1907),
            row(2, source="catalogue", movie_id="8", title="River 008", year=1908),
            row(3, source="tmdb", movie_id="lake"),
        ],
    )
    assert [one.row for one in result.rejected] == [3]
    assert {one.movie_id for one in await deployment.ratings.history(ann)} == {"7", "8"}


async def test_an_import_records_only_recent_ratings_as_events() -> None:
    deployment = Deployment()
    ann = await deployment.ann()
    day = timedelta(days=1)
    await deployment.discovery.import_ratings(
        ann, [row(1, at=NOW - 8 * day, movie_id="1"), row(2, at=NOW - 2 * day, movie_id="2"), row(3, movie_id="3")]
    )
    assert [(event.movie_id, event.at) for event in await deployment.recorded()] == [("2", NOW - 2 * day)]


async def test_imported_ratings_from_the_future_are_dated_now() -> None:
    deployment = Deployment()
    ann = await deployment.ann()
    await deployment.discovery.import_ratings(ann, [row(1, at=NOW + timedelta(days=400), movie_id="1")])
    assert (await deployment.discovery.get_rating(ann, "1")).rated_at == NOW


async def test_an_import_without_rows_is_valid() -> None:
    deployment = Deployment()
    assert await deployment.discovery.import_ratings(
        await deployment.ann(), []
    ) == await deployment.discovery.import_ratings("x", [])


# --- recommendations and personal order


async def test_recommendations_use_the_current_ratings() -> None:
    deployment = Deployment(scores={"1": 1.0, "2": 3.0, "gone": 2.0})
    ann = await deployment.ann()
    page = await deployment.discovery.recommendations(ann, Window())
    assert [one.movie.id for one in page.items] == ["2", "1"]
    assert page.tier is Tier.POPULAR
    await deployment.discovery.rate(ann, "3", 9)
    assert (await deployment.discovery.recommendations(ann, Window())).tier is Tier.PERSONAL
    assert deployment.recommender.histories == [[], ["3"]]
    with pytest.raises(PageOutOfRange):
        await deployment.discovery.recommendations(ann, Window(3))


async def test_similar_movies_require_an_existing_movie() -> None:
    deployment = Deployment()
    assert [one.movie for one in (await deployment.discovery.similar("3", Window())).items] == [OTHER]
    with pytest.raises(MovieNotFound):
        await deployment.discovery.similar("nothing", Window())


async def test_personal_order_reorders_only_the_first_hundred_results() -> None:
    deployment = Deployment(scores={str(n): float(n) for n in range(250)})
    ann = await deployment.ann()
    for movie_id in ("200", "201", "202", "203", "204", "205", "206", "207"):
        await deployment.discovery.rate(ann, movie_id, 9)
    plain = [movie.id for page in (0, 100, 200) for movie in (await _plain(deployment, page)).items]
    found = await all_pages(deployment, ann, PERSONAL, 30)
    assert found[0] == "exact"
    assert sorted(found[:100]) == sorted(plain[:100])
    assert found[:100] != plain[:100]
    assert found[100:] == plain[100:]
    # Movies with higher affinity move up.
    assert sum(map(int, found[1:20])) > sum(map(int, plain[1:20]))


async def _plain(deployment: Deployment, offset: int) -> MoviePage:
    return await deployment.movie_search.search(MovieQuery("river"), Window(offset, 100))


async def test_pages_of_a_personal_order_are_consistent_while_the_user_rates() -> None:
    deployment = Deployment(scores={str(n): float(n * 7 % 250) for n in range(250)})
    ann = await deployment.ann()
    await deployment.discovery.rate(ann, "9", 9)
    found = []
    for offset in range(0, 251, 30):
        page = await deployment.discovery.search(PERSONAL, Window(offset, 30), ann)
        found += [movie.id for movie in page.items]
        await deployment.discovery.rate(ann, found[-1], 1)
        deployment.recommender.scores = {str(n): float(n * (offset + 3) % 250) for n in range(250)}
    assert page.total == 251
    assert sorted(found) == sorted(movie.id for movie in [EXACT, *RIVERS])


async def test_a_personal_order_expires() -> None:
    deployment = Deployment(scores={"90": 100.0})
    ann = await deployment.ann()
    await deployment.discovery.rate(ann, "200", 9)
    before = await all_pages(deployment, ann, PERSONAL, 100)
    deployment.recommender.scores = {"91": 100.0}
    assert await all_pages(deployment, ann, PERSONAL, 100) == before
    deployment.now += timedelta(minutes=11)
    assert await all_pages(deployment, ann, PERSONAL, 100) != before


async def test_personal_orders_of_different_queries_and_users_are_separate() -> None:
    deployment = Deployment(scores={"90": 100.0})
    ann, bob = await deployment.ann(), await deployment.ann("Bob")
    await deployment.discovery.rate(ann, "200", 9)
    await deployment.discovery.rate(bob, "200", 9)
    of_ann = await all_pages(deployment, ann, PERSONAL, 100)
    deployment.recommender.scores = {"91": 100.0}
    assert await all_pages(deployment, bob, PERSONAL, 100) != of_ann
    narrower = MovieQuery.parse("river", year="1950..1999", order="personal")
    assert len(await all_pages(deployment, ann, narrower, 100)) == 101


async def test_a_text_that_looks_like_a_filter_has_a_separate_order() -> None:
    deployment = Deployment([Movie(id="1", title="River&year=1999", year=1999)])
    ann = await deployment.ann()
    for query in (
        MovieQuery.parse("river&year=1999", order="personal"),
        MovieQuery.parse("river", year="1999", order="personal"),
    ):
        assert await all_pages(deployment, ann, query, 10) == ["1"]
    assert len((await deployment.orders.export(ann)).orders) == 2


async def test_a_personal_order_follows_changes_of_the_source() -> None:
    deployment = Deployment(RIVERS[:10], scores={"9": 10.0})
    ann = await deployment.ann()
    await all_pages(deployment, ann, PERSONAL, 100)
    await deployment.movies.load([*RIVERS[5:12]], replace=True)
    assert sorted(await all_pages(deployment, ann, PERSONAL, 3)) == sorted(movie.id for movie in RIVERS[5:12])


async def test_a_page_past_the_end_of_a_personal_order_is_rejected() -> None:
    deployment = Deployment(RIVERS[:10])
    with pytest.raises(PageOutOfRange):
        await deployment.discovery.search(PERSONAL, Window(10, 5), await deployment.ann())
    with pytest.raises(PageOutOfRange):
        await deployment.discovery.search(PERSONAL, Window(110, 5), await deployment.ann("Bob"))


async def test_a_personal_order_requires_a_user() -> None:
    with pytest.raises(FilterUnsupported):
        await Deployment().discovery.search(PERSONAL, Window())


async def test_rated_movies_can_be_excluded_from_results_and_total() -> None:
    deployment = Deployment()
    ann = await deployment.ann()
    for movie_id in ("0", "1", "exact"):
        await deployment.discovery.rate(ann, movie_id, 5)
    page = await deployment.discovery.search(MovieQuery("river"), Window(0, 2), ann, exclude_rated=True)
    assert (page.total, [movie.id for movie in page.items]) == (248, ["2", "3"])
    page = await deployment.discovery.search(PERSONAL, Window(0, 100), ann, exclude_rated=True)
    assert page.total == 248
    assert not {"0", "1", "exact"} & {movie.id for movie in page.items}


async def test_a_source_without_the_exclude_capability_rejects_it_even_without_ratings() -> None:
    deployment = Deployment([], source=ThirdParty())
    with pytest.raises(FilterUnsupported) as caught:
        await deployment.discovery.search(MovieQuery("river"), Window(), await deployment.ann(), exclude_rated=True)
    assert caught.value.field == "exclude"


# --- trends and events


def view(user_id: str, movie_id: str, at: datetime = NOW) -> Event:
    return Event(EventKind.VIEW, at, user_id, movie_id)


async def test_events_of_unknown_movies_are_rejected_individually() -> None:
    deployment = Deployment()
    ann = await deployment.ann()
    result = await deployment.discovery.submit_events(
        [view(ann, "1"), view(ann, "nothing"), view(ann, "2", NOW - timedelta(days=8)), view(ann, "a" * 300)]
    )
    assert result.accepted == 1
    assert [(one.row, one.code) for one in result.rejected] == [
        (2, "unknown_movie"),
        (3, "too_old"),
        (4, "unknown_movie"),
    ]
    assert [event.movie_id for event in await deployment.recorded()] == ["1"]


async def test_the_number_of_cached_movie_ids_is_bounded() -> None:
    lookups: list[int] = []

    class Catalogue(memory.MemoryMovieCatalogue):
        """Has a movie for any id."""

        async def get_many(self, movie_ids: Collection[str]) -> Mapping[str, Movie]:
            lookups.append(len(movie_ids))
            return dict.fromkeys(movie_ids, OTHER)

    ports = Deployment().deployment
    discovery = Discovery(
        ports.movie_search, Catalogue(), ports.ratings, ports.recommender, ports.orders, ports.trends, ports.recorder
    )
    await discovery.submit_events([view("ann", "first")])
    await discovery.submit_events([view("ann", "first")])
    assert lookups == [1]
    too_old = NOW - timedelta(days=8)  # not recorded, but the movies are looked up
    await discovery.submit_events([view("ann", str(number), too_old) for number in range(MAX_KNOWN_IDS)])
    await discovery.submit_events([view("ann", "first")])
    assert lookups == [1, MAX_KNOWN_IDS, 1]


async def test_a_full_buffer_rejects_all_events_and_counts_them() -> None:
    deployment = Deployment()
    ann, ports = await deployment.ann(), deployment.deployment
    recorder = EventRecorder(ports.events, ports.trends, clock=deployment.clock, max_pending=250)
    discovery = Discovery(
        ports.movie_search, ports.catalogue, ports.ratings, ports.recommender, ports.orders, ports.trends, recorder
    )
    batches = [[view(ann, "1", NOW - timedelta(minutes=100 * number + n)) for n in range(100)] for number in range(3)]
    for batch in batches[:2]:
        await discovery.submit_events(batch)
    with pytest.raises(Busy):
        await discovery.submit_events(batches[2])
    assert (recorder.pending, recorder.dropped) == (200, 100)


async def test_trends_contain_movies_with_their_scores() -> None:
    deployment = Deployment()
    ann = await deployment.ann()
    for _ in range(3):  # an epoch starts and is rebuilt
        await deployment.trends.rebuild()
        deployment.now += timedelta(minutes=1)
    await deployment.discovery.rate(ann, "5", 9)
    await deployment.discovery.submit_events([view(ann, "6", deployment.now), view(ann, "6", deployment.now)])
    await deployment.recorder.flush()
    found = await deployment.discovery.trending(TrendWindow.DAY, Window(0, 10))
    assert [(movie.id, round(trend.score, 6)) for movie, trend in found.items] == [("5", 4.0), ("6", 1.0)]
    assert not found.trending.is_stale
    one = await deployment.discovery.trending(TrendWindow.DAY, Window(0, 1))
    assert [movie.id for movie, _ in one.items] == ["5"]


async def test_without_any_movie_recommendations_are_empty_at_any_offset() -> None:
    deployment = Deployment(scores={})
    found = await deployment.discovery.recommendations(await deployment.ann(), Window(10, 10))
    assert (found.total, found.items) == (0, ())


async def test_an_imported_row_that_identifies_no_movie_is_rejected() -> None:
    deployment = Deployment()
    rows = [ImportRow(1, MovieIdentity(), 8.0, None)]
    result = await deployment.discovery.import_ratings(await deployment.ann(), rows)
    assert result.accepted == 0
    assert result.rejected == (Rejection(1, "unknown_movie", "the row identifies no movie"),)


async def test_events_of_movies_that_a_search_has_just_shown_are_accepted() -> None:
    deployment = Deployment((), source=ThirdParty())
    await deployment.discovery.search(MovieQuery("river"), Window())
    assert (await deployment.discovery.submit_events([view("ann", EXACT.id)])).accepted == 1
    result = await deployment.discovery.submit_events([view("ann", "0"), view("ann", "nothing")])
    assert (result.accepted, [one.row for one in result.rejected]) == (1, [2])
