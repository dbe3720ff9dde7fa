"""Ratings and what they lead to, over the ports in memory."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from tests.support.account_stores import memory_account_stores

from movie_core import Movie, MovieQuery, Window, memory
from movie_core.discovery.event_recorder import MAX_PENDING
from movie_core.discovery.events import Event, EventKind
from movie_core.discovery.ratings import ImportRow, MovieIdentity, Rating, Rejection
from movie_core.discovery.recommendations import Recommendation, RecommendationPage, Tier
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
from movie_core.testing import NOW, create_user

RIVERS = [Movie(id=str(n), title=f"River {n:03}", year=1900 + n % 100, popularity=1000.0 - n) for n in range(250)]
EXACT = Movie(id="exact", title="River", year=1951, popularity=5000.0)
OTHER = Movie(id="lake", title="The Lake", year=2006, imdb_id="tt0410297", popularity=9.0)
PERSONAL = MovieQuery("river", order=Order.PERSONAL)


class Taste:
    """A recommender that likes movies as it is told to, and lists them in that order."""

    def __init__(self, liked: Mapping[str, float]) -> None:
        self.liked = liked
        self.histories: list[list[str]] = []

    async def recommend(self, history: Sequence[Rating], window: Window, now: datetime) -> RecommendationPage:
        self.histories.append([one.movie_id for one in history])
        ids = sorted(self.liked, key=lambda one: -self.liked[one])
        items = tuple(Recommendation(one, self.liked[one]) for one in ids[window.offset : window.offset + window.limit])
        return RecommendationPage(len(ids), items, Tier.PERSONAL if history else Tier.POPULAR)

    async def affinities(
        self, history: Sequence[Rating], movie_ids: Collection[str], now: datetime
    ) -> Mapping[str, float]:
        self.histories.append([one.movie_id for one in history])
        return {one: self.liked[one] for one in movie_ids if one in self.liked}

    async def similar(self, movie: Movie, window: Window) -> RecommendationPage:
        return RecommendationPage(1, (Recommendation(OTHER.id, 1.0),), Tier.PERSONAL)


class World:
    """Ann, and all that she rates; the clock stands unless it is moved."""

    def __init__(
        self,
        movies: Iterable[Movie] = (EXACT, *RIVERS, OTHER),
        liked: Mapping[str, float] | None = None,
        *,
        source: "ThirdParty | None" = None,
    ) -> None:
        self.now = NOW
        self.affinities = Taste(liked or {})
        deployment = memory.deployment(
            movies,
            clock=self.clock,
            source=source,
            recommender=self.affinities,  # type: ignore[arg-type]
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
    """A source that can only search, and may be down."""

    name = "third_party"
    capabilities: frozenset[Capability] = frozenset()
    is_down = False

    async def search(self, query: MovieQuery, window: Window) -> MoviePage:
        if self.is_down:
            raise SourceUnavailable("it is down")
        items = [EXACT, *RIVERS[:5]][window.offset : window.offset + window.limit]
        return MoviePage(total=6, items=tuple(items), source=self.name)

    async def get(self, movie_id: str) -> FoundMovie:
        raise AssertionError("it has no details to ask for")

    suggest = genres = get


async def walk(world: World, user_id: str, query: MovieQuery, limit: int) -> list[str]:
    found: list[str] = []
    offset: int | None = 0
    while offset is not None:
        window = Window(offset, limit)
        page = await world.discovery.search(query, window, user_id)
        found += [movie.id for movie in page.items]
        offset = window.next_offset(page.total)
    return found


# --- ratings


async def test_a_rating_is_kept_and_told() -> None:
    world = World()
    ann = await world.ann()
    rating = await world.discovery.rate(ann, "3", 8.5)
    assert rating == Rating("3", "River 003", 1903, 8.5, NOW)
    assert await world.discovery.rating(ann, "3") == rating
    [event] = await world.recorded()
    assert (event.kind, event.user_id, event.movie_id, event.rating) == (EventKind.RATING, ann, "3", 8.5)


async def test_the_same_rating_again_is_no_event() -> None:
    world = World()
    ann = await world.ann()
    await world.discovery.rate(ann, "3", 8.5)
    world.now += timedelta(hours=1)
    assert (await world.discovery.rate(ann, "3", 8.5)).rated_at == NOW
    assert len(await world.recorded()) == 1


@pytest.mark.parametrize("rating", [0, 10.5, 5.3, float("nan"), -1, 1e300])
async def test_a_rating_off_the_scale_is_refused(rating: float) -> None:
    world = World()
    ann = await world.ann()
    with pytest.raises(InvalidRating):
        await world.discovery.rate(ann, "3", rating)
    with pytest.raises(RatingNotFound):
        await world.discovery.rating(ann, "3")


@pytest.mark.parametrize("movie_id", ["nothing", "", "\x00", "../", "a" * 10_240])
async def test_a_movie_that_is_not_there_is_not_rated(movie_id: str) -> None:
    world = World()
    with pytest.raises(MovieNotFound):
        await world.discovery.rate(await world.ann(), movie_id, 5)


async def test_a_rating_can_be_taken_back_twice() -> None:
    world = World()
    ann = await world.ann()
    await world.discovery.rate(ann, "3", 5)
    await world.discovery.unrate(ann, "3")
    await world.discovery.unrate(ann, "3")
    with pytest.raises(RatingNotFound):
        await world.discovery.rating(ann, "3")


async def test_the_list_is_newest_first_and_keeps_the_names_of_movies_that_have_gone() -> None:
    world = World()
    ann = await world.ann()
    for number in range(3):
        await world.discovery.rate(ann, str(number), 6)
        world.now += timedelta(seconds=1)
    await world.movies.load([OTHER], replace=True)
    page = await world.discovery.rated(ann, Window(0, 2))
    assert page.total == 3
    assert [(one.movie.id, one.movie.title, one.movie.year) for one in page.items] == [
        ("2", "River 002", 1902),
        ("1", "River 001", 1901),
    ]
    with pytest.raises(PageOutOfRange):
        await world.discovery.rated(ann, Window(3, 2))


async def test_an_empty_list_is_no_error_wherever_it_is_looked_at() -> None:
    world = World()
    assert (await world.discovery.rated(await world.ann(), Window(10, 2))).total == 0


async def test_what_a_search_of_a_third_party_has_shown_can_be_rated_also_while_it_is_down() -> None:
    source = ThirdParty()
    world = World([], source=source)
    ann = await world.ann()
    await world.discovery.search(MovieQuery("river"), Window(0, 3), ann)
    source.is_down = True
    assert (await world.discovery.rate(ann, "1", 7)).title == "River 001"
    with pytest.raises(MovieNotFound):
        await world.discovery.rate(ann, "4", 7)


# --- imports


def row(number: int, rating: float = 7, at: datetime | None = None, **identity: object) -> ImportRow:
    return ImportRow(number, MovieIdentity(**identity), rating, at)  # type: ignore[arg-type]


async def test_an_import_says_of_every_row_what_became_of_it() -> None:
    world = World()
    ann = await world.ann()
    done = await world.discovery.import_ratings(
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
    assert done.accepted == 3
    assert [(one.row, one.code) for one in done.rejected] == [
        (2, "invalid_rating"),
        (4, "unknown_movie"),
        (5, "unknown_movie"),
    ]
    assert (await world.discovery.rating(ann, "lake")).rating == 3.5
    assert (await world.discovery.rating(ann, "7")).rating == 7


async def test_an_import_is_news_only_where_it_is_new() -> None:
    world = World()
    ann = await world.ann()
    day = timedelta(days=1)
    await world.discovery.import_ratings(
        ann, [row(1, at=NOW - 8 * day, movie_id="1"), row(2, at=NOW - 2 * day, movie_id="2"), row(3, movie_id="3")]
    )
    assert {(event.movie_id, event.at) for event in await world.recorded()} == {("2", NOW - 2 * day), ("3", NOW)}


async def test_an_import_from_the_future_counts_from_now() -> None:
    world = World()
    ann = await world.ann()
    await world.discovery.import_ratings(ann, [row(1, at=NOW + timedelta(days=400), movie_id="1")])
    assert (await world.discovery.rating(ann, "1")).rated_at == NOW


async def test_an_import_without_rows_is_no_error() -> None:
    world = World()
    assert await world.discovery.import_ratings(await world.ann(), []) == await world.discovery.import_ratings("x", [])


# --- what ratings lead to


async def test_recommendations_read_the_ratings_of_that_very_moment() -> None:
    world = World(liked={"1": 1.0, "2": 3.0, "gone": 2.0})
    ann = await world.ann()
    page = await world.discovery.recommendations(ann, Window())
    assert [one.movie.id for one in page.items] == ["2", "1"]
    assert page.tier is Tier.POPULAR
    await world.discovery.rate(ann, "3", 9)
    assert (await world.discovery.recommendations(ann, Window())).tier is Tier.PERSONAL
    assert world.affinities.histories == [[], ["3"]]
    with pytest.raises(PageOutOfRange):
        await world.discovery.recommendations(ann, Window(3))


async def test_similar_movies_are_those_of_a_movie_that_is_there() -> None:
    world = World()
    assert [one.movie for one in (await world.discovery.similar("3", Window())).items] == [OTHER]
    with pytest.raises(MovieNotFound):
        await world.discovery.similar("nothing", Window())


async def test_personal_order_follows_taste_within_the_first_hundred_alone() -> None:
    world = World(liked={str(n): float(n) for n in range(250)})
    ann = await world.ann()
    for movie_id in ("200", "201", "202", "203", "204", "205", "206", "207"):
        await world.discovery.rate(ann, movie_id, 9)
    plain = [movie.id for page in (0, 100, 200) for movie in (await _plain(world, page)).items]
    found = await walk(world, ann, PERSONAL, 30)
    assert found[0] == "exact"
    assert sorted(found[:100]) == sorted(plain[:100])
    assert found[:100] != plain[:100]
    assert found[100:] == plain[100:]
    # Whom taste moves up are those that it likes most.
    assert sum(map(int, found[1:20])) > sum(map(int, plain[1:20]))


async def _plain(world: World, offset: int) -> MoviePage:
    return await world.movie_search.search(MovieQuery("river"), Window(offset, 100))


async def test_pages_of_a_personal_order_fit_together_while_the_user_rates() -> None:
    world = World(liked={str(n): float(n * 7 % 250) for n in range(250)})
    ann = await world.ann()
    await world.discovery.rate(ann, "9", 9)
    found = []
    for offset in range(0, 251, 30):
        page = await world.discovery.search(PERSONAL, Window(offset, 30), ann)
        found += [movie.id for movie in page.items]
        await world.discovery.rate(ann, found[-1], 1)
        world.affinities.liked = {str(n): float(n * (offset + 3) % 250) for n in range(250)}
    assert page.total == 251
    assert sorted(found) == sorted(movie.id for movie in [EXACT, *RIVERS])


async def test_a_personal_order_is_made_anew_after_its_time() -> None:
    world = World(liked={"90": 100.0})
    ann = await world.ann()
    await world.discovery.rate(ann, "200", 9)
    before = await walk(world, ann, PERSONAL, 100)
    world.affinities.liked = {"91": 100.0}
    assert await walk(world, ann, PERSONAL, 100) == before
    world.now += timedelta(minutes=11)
    assert await walk(world, ann, PERSONAL, 100) != before


async def test_orders_of_different_queries_and_users_never_meet() -> None:
    world = World(liked={"90": 100.0})
    ann, bob = await world.ann(), await world.ann("Bob")
    await world.discovery.rate(ann, "200", 9)
    await world.discovery.rate(bob, "200", 9)
    of_ann = await walk(world, ann, PERSONAL, 100)
    world.affinities.liked = {"91": 100.0}
    assert await walk(world, bob, PERSONAL, 100) != of_ann
    narrower = MovieQuery.parse("river", year="1950..1999", order="personal")
    assert len(await walk(world, ann, narrower, 100)) == 101


async def test_a_text_that_looks_like_a_filter_shares_no_order_with_that_filter() -> None:
    world = World([Movie(id="1", title="River&year=1999", year=1999)])
    ann = await world.ann()
    for query in (
        MovieQuery.parse("river&year=1999", order="personal"),
        MovieQuery.parse("river", year="1999", order="personal"),
    ):
        assert await walk(world, ann, query, 10) == ["1"]
    assert len((await world.orders.export(ann))["orders"]) == 2


async def test_a_personal_order_keeps_up_with_a_source_that_changes() -> None:
    world = World(RIVERS[:10], liked={"9": 10.0})
    ann = await world.ann()
    await walk(world, ann, PERSONAL, 100)
    await world.movies.load([*RIVERS[5:12]], replace=True)
    assert sorted(await walk(world, ann, PERSONAL, 3)) == sorted(movie.id for movie in RIVERS[5:12])


async def test_a_page_past_the_end_of_a_personal_order_is_refused() -> None:
    world = World(RIVERS[:10])
    with pytest.raises(PageOutOfRange):
        await world.discovery.search(PERSONAL, Window(10, 5), await world.ann())
    with pytest.raises(PageOutOfRange):
        await world.discovery.search(PERSONAL, Window(110, 5), await world.ann("Bob"))


async def test_without_a_user_there_is_no_personal_order() -> None:
    with pytest.raises(FilterUnsupported):
        await World().discovery.search(PERSONAL, Window())


async def test_what_was_rated_is_left_out_on_demand_and_out_of_the_total() -> None:
    world = World()
    ann = await world.ann()
    for movie_id in ("0", "1", "exact"):
        await world.discovery.rate(ann, movie_id, 5)
    page = await world.discovery.search(MovieQuery("river"), Window(0, 2), ann, exclude_rated=True)
    assert (page.total, [movie.id for movie in page.items]) == (248, ["2", "3"])
    page = await world.discovery.search(PERSONAL, Window(0, 100), ann, exclude_rated=True)
    assert page.total == 248
    assert not {"0", "1", "exact"} & {movie.id for movie in page.items}


async def test_a_source_that_cannot_leave_out_says_so_also_to_who_has_rated_nothing() -> None:
    world = World([], source=ThirdParty())
    with pytest.raises(FilterUnsupported) as refused:
        await world.discovery.search(MovieQuery("river"), Window(), await world.ann(), exclude_rated=True)
    assert refused.value.field == "exclude"


# --- what everyone does


def view(user_id: str, movie_id: str, at: datetime = NOW) -> Event:
    return Event(EventKind.VIEW, at, user_id, movie_id)


async def test_events_of_movies_that_nobody_has_seen_are_refused_one_by_one() -> None:
    world = World()
    ann = await world.ann()
    taken = await world.discovery.take_events(
        [view(ann, "1"), view(ann, "nothing"), view(ann, "2", NOW - timedelta(days=8)), view(ann, "a" * 300)]
    )
    assert taken.accepted == 1
    assert [(one.row, one.code) for one in taken.rejected] == [
        (2, "unknown_movie"),
        (3, "too_old"),
        (4, "unknown_movie"),
    ]
    assert [event.movie_id for event in await world.recorded()] == ["1"]


async def test_a_full_buffer_takes_nothing_and_counts_what_it_refused() -> None:
    world = World()
    ann = await world.ann()

    def full(number: int) -> list[Event]:
        return [view(ann, "1", NOW - timedelta(minutes=100 * (number % 60) + n)) for n in range(100)]

    def others(number: int) -> list[Event]:
        return [replace(event, position=1 + number // 60) for event in full(number)]

    for number in range(MAX_PENDING // 100):
        await world.discovery.take_events(others(number))
    with pytest.raises(Busy):
        await world.discovery.take_events(others(MAX_PENDING))
    assert world.recorder.dropped == 100


async def test_trends_show_movies_with_what_was_done() -> None:
    world = World()
    ann = await world.ann()
    for _ in range(3):  # one life of the store begins, settles and is filled
        await world.trends.rebuild()
        world.now += timedelta(minutes=1)
    await world.discovery.rate(ann, "5", 9)
    await world.discovery.take_events([view(ann, "6", world.now), view(ann, "6", world.now)])
    await world.recorder.flush()
    found = await world.discovery.trending(TrendWindow.DAY, Window(0, 10))
    assert [(movie.id, round(trend.score, 6)) for movie, trend in found.items] == [("5", 4.0), ("6", 1.0)]
    assert not found.trending.is_stale
    one = await world.discovery.trending(TrendWindow.DAY, Window(0, 1))
    assert [movie.id for movie, _ in one.items] == ["5"]
