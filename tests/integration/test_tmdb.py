import asyncio
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tests.support.deployment import PATIENCE
from tests.support.tmdb_standin import KEY, TOKEN, Answer, TmdbStandin, failure, made_up_movies

from movie_adapters.sources.http import SourceFault
from movie_adapters.sources.resilient import ResilientMovieSource
from movie_adapters.sources.tmdb import TmdbMovieSource, tmdb_http
from movie_core.paging import Window
from movie_core.ports import MovieSource
from movie_core.search.movies import Genre, Movie, MovieQuery, Order
from movie_core.search.retry_policy import RetryPolicy, StatusSet
from movie_core.testing import MovieSourceContract, collect_pages

RETRY = StatusSet.parse("408,425,429,5xx")


@asynccontextmanager
async def over(standin: TmdbStandin, token: str = TOKEN) -> AsyncIterator[TmdbMovieSource]:
    http = tmdb_http(token, timeout=PATIENCE, retry_status=RETRY, base_url=standin.url)
    try:
        yield TmdbMovieSource(http)
    finally:
        await http.close()


class TestTmdbMovies(MovieSourceContract):
    @asynccontextmanager
    async def open(self, movies: Sequence[Movie]) -> AsyncIterator[MovieSource]:
        async with TmdbStandin(movies) as standin, over(standin) as source:
            yield source


class TestResilientTmdbMovies(MovieSourceContract):
    """The same source with retries; every third response is a failure."""

    @asynccontextmanager
    async def open(self, movies: Sequence[Movie]) -> AsyncIterator[MovieSource]:
        async with TmdbStandin(movies) as standin, over(standin) as source:
            standin.override = EveryThird()
            resilient = ResilientMovieSource(source, RetryPolicy(deadline=10.0))
            try:
                yield resilient
            finally:
                await resilient.close()


class EveryThird:
    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, _path: str, _params: Mapping[str, str]) -> Answer | None:
        self.calls += 1
        kinds: list[Answer] = [failure(25), failure(11), (200, {}, b'{"page": 1, "resul'), (502, {}, b"<html>")]
        return kinds[self.calls // 3 % 4] if self.calls % 3 == 0 else None


async def test_following_next_visits_the_first_ten_thousand_movies_once() -> None:
    async with TmdbStandin(made_up_movies(10_060)) as standin, over(standin) as source:
        found = [movie.id for movie in await collect_pages(source, MovieQuery(), 100)]
        assert found == [str(number) for number in range(1, 10_001)]
        assert max(int(params.get("page", 0)) for _, params in standin.calls) == 500


@pytest.mark.parametrize(("start", "limit"), [(0, 1), (3, 7), (19, 2), (5, 33)])
async def test_following_next_from_any_offset_visits_each_movie_once(start: int, limit: int) -> None:
    async with TmdbStandin(made_up_movies(47)) as standin, over(standin) as source:
        found: list[str] = []
        offset: int | None = start
        while offset is not None:
            page = await source.search(MovieQuery("reel"), Window(offset, limit))
            found += [movie.id for movie in page.items]
            offset = Window(offset, limit).next_offset(page.total)
        assert found == [str(number) for number in range(start + 1, 48)]


async def test_the_pages_of_one_result_are_fetched_concurrently() -> None:
    async with TmdbStandin(made_up_movies(200)) as standin, over(standin) as source:
        await source.search(MovieQuery("reel"), Window(10, 100))
        pages = [params["page"] for path, params in standin.calls if path == "search/movie"]
        assert pages[0] == "1"
        assert sorted(pages) == ["1", "2", "3", "4", "5", "6"]


async def test_an_api_key_authenticates_like_the_long_token_and_is_not_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    for name in ("httpx", "httpcore"):  # silenced by the container of another test
        caplog.set_level(logging.DEBUG, logger=name)
    async with TmdbStandin(made_up_movies(3)) as standin, over(standin, KEY) as source:
        with caplog.at_level(logging.DEBUG):
            assert (await source.search(MovieQuery("reel"), Window())).total == 3
        assert all(params["api_key"] == KEY for _, params in standin.calls)
    assert caplog.text, "nothing was logged at all"
    assert KEY not in caplog.text


@pytest.mark.parametrize("token", ["wrong", "f" * 32])
async def test_a_wrong_token_is_not_retried(token: str, caplog: pytest.LogCaptureFixture) -> None:
    async with TmdbStandin(made_up_movies(3)) as standin, over(standin, token) as source:
        resilient = ResilientMovieSource(source, RetryPolicy(deadline=3.0))
        with pytest.raises(SourceFault) as fault:
            await resilient.search(MovieQuery("reel"), Window())
        await resilient.close()
        assert fault.value.status == 401
        assert len(standin.calls) == 1
    assert "MOVIE_SOURCE_TOKEN" in caplog.text
    assert token not in caplog.text


async def test_the_retry_after_of_tmdb_is_returned() -> None:
    async with TmdbStandin(made_up_movies(3)) as standin, over(standin) as source:
        standin.override = lambda _path, _params: failure(25, **{"Retry-After": "7"})
        with pytest.raises(SourceFault) as fault:
            await source.search(MovieQuery("reel"), Window())
        assert (fault.value.status, fault.value.retryable, fault.value.requested_wait) == (429, True, 7.0)


async def test_concurrent_callers_share_the_list_of_genres() -> None:
    async with TmdbStandin(made_up_movies(50)) as standin, over(standin) as source:
        pages = await asyncio.gather(*(source.search(MovieQuery(f"reel {n}"), Window()) for n in range(1, 21)))
        assert all(page.items[0].genres for page in pages)
        assert standin.paths().count("genre/movie/list") == 1


async def test_a_cancelled_caller_does_not_cancel_the_genre_count_of_others() -> None:
    async with TmdbStandin(made_up_movies(8)) as standin, over(standin) as source:
        cancelled_caller = asyncio.create_task(source.genres())
        waiting_caller = asyncio.create_task(source.genres())
        await asyncio.sleep(0)
        cancelled_caller.cancel()
        assert await waiting_caller == tuple(Genre(name, 2) for name in ("Action", "Comedy", "Drama", "Horror"))
        assert len(standin.calls) == 5


async def test_an_order_and_a_genre_can_be_combined() -> None:
    async with TmdbStandin(made_up_movies(40)) as standin, over(standin) as source:
        page = await source.search(MovieQuery(genre="horror", order=Order.YEAR), Window(limit=3))
        assert [(movie.year, movie.genres) for movie in page.items] == [
            (1959, ("Horror",)),
            (1955, ("Horror",)),
            (1951, ("Horror",)),
        ]


async def test_details_have_all_fields() -> None:
    details: dict[str, Any] = {
        "imdb_id": "tt0000002",
        "runtime": 91,
        "production_countries": [{"iso_3166_1": "PE", "name": "Peru"}],
        "credits": {
            "cast": [{"name": "B. Actor", "order": 1}, {"name": "A. Actor", "order": 0}],
            "crew": [{"job": "Editor", "name": "C. Cutter"}, {"job": "Director", "name": "D. Maker"}],
        },
    }
    async with TmdbStandin(made_up_movies(3), details={2: details}) as standin, over(standin) as source:
        assert (await source.get("2")).movie == Movie(
            id="2",
            title="Reel 2",
            year=1922,
            genres=("Drama",),
            runtime_minutes=91,
            directors=("D. Maker",),
            cast=("A. Actor", "B. Actor"),
            countries=("Peru",),
            imdb_id="tt0000002",
            tmdb_id="2",
            popularity=1.0,
        )
