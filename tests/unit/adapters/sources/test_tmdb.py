import asyncio
import logging
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl

import httpx
import pytest

from movie_adapters.sources.http import SourceFault, SourceHttp
from movie_adapters.sources.tmdb import (
    DAY,
    MAX_CONCURRENT,
    PAGE_TTL,
    REFRESH_BACKOFF,
    TMDB_URL,
    TmdbMovieSource,
    page_of,
    parse_genres,
    parse_list_page,
    parse_movie,
    tmdb_http,
)
from movie_core.errors import FilterUnsupported, MovieNotFound
from movie_core.paging import Window
from movie_core.search.movies import Capability, Genre, MovieQuery, Order, Years
from movie_core.search.retry_policy import StatusSet

V3_KEY = "0123456789abcdef0123456789ABCDEF"
LONG_TOKEN = "eyJhbGciOiJIUzI1NiJ9.e30.c2VjcmV0"
RETRY = StatusSet.parse("408,425,429,5xx")
GENRES = {18: "Drama", 878: "Science Fiction"}


def row(number: int, **fields: Any) -> dict[str, Any]:
    return {"id": number, "title": f"Movie {number}", "release_date": "1999-03-30", "genre_ids": [18], **fields}


class Tmdb:
    """An in-process TMDB over `rows`; `refuse` returns the status with which a call fails."""

    def __init__(self, rows: list[Any] | None = None, total: int | None = None) -> None:
        self.rows = [row(number) for number in range(1, 101)] if rows is None else rows
        self.total = len(self.rows) if total is None else total
        self.genres: Any = {"genres": [{"id": number, "name": name} for number, name in GENRES.items()]}
        self.refuse: Callable[[str, dict[str, str]], int | None] = lambda _path, _params: None
        self.changes: dict[str, Any] = {}
        self.calls: list[tuple[str, dict[str, str]]] = []
        self.now = 0.0

    def movies(self, token: str = LONG_TOKEN) -> TmdbMovieSource:
        return TmdbMovieSource(self.http(token), clock=lambda: self.now)

    def http(self, token: str = LONG_TOKEN) -> SourceHttp:
        return tmdb_http(token, timeout=5, retry_status=RETRY, transport=httpx.MockTransport(self.answer))

    def answer(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path.removeprefix("/3/")
        params = dict(parse_qsl(request.url.query.decode(), keep_blank_values=True))
        self.calls.append((path, params))
        status = self.refuse(path, params)
        if status is not None:
            return self.json({"status_code": 11, "status_message": "…"}, status)
        if path == "genre/movie/list":
            return self.json(self.genres)
        if path.startswith("movie/"):
            found = [known for known in self.rows if str(known["id"]) == path.removeprefix("movie/")]
            return self.json({**found[0], **self.changes}) if found else self.json({"status_code": 34}, 404)
        page = int(params["page"])
        whole = {
            "page": page,
            "results": self.rows[(page - 1) * 20 : page * 20],
            "total_pages": max(1, -(-self.total // 20)),
            "total_results": self.total,
        }
        return self.json({**whole, **self.changes})

    def json(self, body: Any, status: int = 200) -> httpx.Response:
        # As a stream: SourceHttp reads raw bytes, which a response that was already read cannot provide.
        content = httpx.Response(status, json=body).content
        return httpx.Response(status, stream=_Stream(content))

    def pages(self) -> list[int]:
        return sorted(int(params["page"]) for _, params in self.calls if "page" in params)


class _Stream(httpx.AsyncByteStream):
    def __init__(self, content: bytes) -> None:
        self._content = content

    async def __aiter__(self) -> Any:
        yield self._content


@pytest.mark.parametrize(
    ("offset", "limit", "pages"),
    [
        (0, 10, [1]),
        (0, 20, [1]),
        (10, 10, [1]),
        (15, 10, [1, 2]),
        (20, 1, [2]),
        (39, 2, [2, 3]),
        (5, 100, [1, 2, 3, 4, 5]),
        (95, 100, [5]),
    ],
)
async def test_a_window_is_fetched_as_the_pages_that_cover_it(offset: int, limit: int, pages: list[int]) -> None:
    tmdb = Tmdb()
    page = await tmdb.movies().search(MovieQuery("movie"), Window(offset, limit))
    assert [movie.id for movie in page.items] == [str(n) for n in range(offset + 1, min(offset + limit, 100) + 1)]
    assert (page.total, page.source) == (100, "tmdb")
    assert tmdb.pages() == pages


async def test_a_window_past_the_end_gives_the_total_and_no_items() -> None:
    page = await Tmdb().movies().search(MovieQuery("movie"), Window(1000, 10))
    assert (page.total, page.items) == (100, ())


@pytest.mark.parametrize("offset", [9_970, 9_990, 9_999, 10_000])
async def test_no_page_past_500_is_fetched_and_the_total_ends_there(offset: int) -> None:
    tmdb = Tmdb([row(number) for number in range(1, 10_201)])
    page = await tmdb.movies().search(MovieQuery(), Window(offset, 100))
    assert page.total == 10_000
    assert [movie.id for movie in page.items] == [str(n) for n in range(offset + 1, 10_001)]
    assert max(tmdb.pages()) <= 500


async def test_the_total_is_limited_to_the_reachable_movies() -> None:
    tmdb = Tmdb([row(number) for number in range(1, 41)], total=70)
    tmdb.changes = {"total_pages": 2}
    assert (await tmdb.movies().search(MovieQuery("movie"), Window(30, 50))).total == 40


@pytest.mark.parametrize(
    ("query", "path", "params"),
    [
        (MovieQuery("é & 100%"), "search/movie", {"query": "é & 100%"}),
        (
            MovieQuery("up", years=Years(1999, 1999)),
            "search/movie",
            {"query": "up", "primary_release_year": "1999"},
        ),
        (MovieQuery(), "discover/movie", {"sort_by": "popularity.desc"}),
        (MovieQuery(order=Order.POPULARITY), "discover/movie", {"sort_by": "popularity.desc"}),
        (MovieQuery(order=Order.YEAR), "discover/movie", {"sort_by": "primary_release_date.desc"}),
        (
            MovieQuery(genre="drama", years=Years(0, 2020)),
            "discover/movie",
            {
                "sort_by": "popularity.desc",
                "primary_release_date.gte": "1800-01-01",
                "primary_release_date.lte": "2020-12-31",
                "with_genres": "18",
            },
        ),
    ],
)
async def test_a_query_is_translated_to_parameters_of_tmdb(
    query: MovieQuery, path: str, params: dict[str, str]
) -> None:
    tmdb = Tmdb()
    await tmdb.movies().search(query, Window(0, 5))
    assert tmdb.calls[-1] == (path, {**params, "include_adult": "false", "page": "1"})


@pytest.mark.parametrize(
    ("query", "field"),
    [
        (MovieQuery("up", genre="Drama"), "genre"),
        (MovieQuery("up", order=Order.YEAR), "order"),
        (MovieQuery("up", order=Order.POPULARITY), "order"),
        (MovieQuery("up", years=Years(1990, 1999)), "year"),
    ],
)
async def test_a_filter_that_tmdb_cannot_combine_with_a_text_is_rejected_without_a_call(
    query: MovieQuery, field: str
) -> None:
    tmdb = Tmdb()
    with pytest.raises(FilterUnsupported) as refused:
        await tmdb.movies().search(query, Window())
    assert refused.value.field == field
    assert tmdb.calls == []


async def test_an_unknown_genre_or_a_year_before_1800_causes_no_call() -> None:
    tmdb = Tmdb()
    movies = tmdb.movies()
    assert (await movies.search(MovieQuery(years=Years(0, 1799)), Window())).total == 0
    assert (await movies.search(MovieQuery(genre="Nonsense"), Window())).total == 0
    assert tmdb.pages() == []


async def test_duplicate_adult_and_other_years_rows_are_left_out() -> None:
    rows = [
        row(1),
        row(1),
        row(2, adult=True),
        row(3, release_date="2000-01-01"),
        row(4, title=" \x00 "),
        row(0),
        "nonsense",
        row(5),
    ]
    page = await Tmdb(rows).movies().search(MovieQuery("movie", years=Years(1999, 1999)), Window())
    assert [movie.id for movie in page.items] == ["1", "5"]
    assert page.total == len(rows)


async def test_a_row_of_another_genre_is_left_out() -> None:
    tmdb = Tmdb([row(1), row(2, genre_ids=[878]), row(3, genre_ids=[878, 18])])
    page = await tmdb.movies().search(MovieQuery(genre="dRAMA"), Window())
    assert [movie.id for movie in page.items] == ["1", "3"]


async def test_a_page_of_more_than_20_items_is_cut() -> None:
    tmdb = Tmdb()
    tmdb.changes = {"results": [row(number) for number in range(1, 31)]}
    assert len((await tmdb.movies().search(MovieQuery("movie"), Window(0, 40))).items) == 20
    assert len((await tmdb.movies().search(MovieQuery("movie"), Window(10, 10))).items) == 10


async def test_no_more_movies_than_the_total_are_returned() -> None:
    page = await Tmdb(total=7).movies().search(MovieQuery("movie"), Window(0, 20))
    assert (page.total, len(page.items)) == (7, 7)


async def test_pages_with_different_totals_lose_no_movie() -> None:
    pages = [parse_list_page(body(page, total), page) for page, total in ((1, 20), (2, 21))]
    page = page_of(MovieQuery("movie"), Window(0, 40), 1, pages, GENRES)
    assert (page.total, len(page.items)) == (21, 21)
    assert page.fetched_at == pages[0].fetched_at


def body(page: int, total: int) -> dict[str, Any]:
    rows = [row(number) for number in range((page - 1) * 20 + 1, min(page * 20, total) + 1)]
    return {"page": page, "results": rows, "total_pages": -(-total // 20), "total_results": total}


@pytest.mark.parametrize("rows", [[], [row(1, adult=True), {}, None]])
async def test_a_window_below_the_total_without_a_usable_movie_is_a_fault(rows: list[Any]) -> None:
    with pytest.raises(SourceFault) as fault:
        await Tmdb(rows, total=3).movies().search(MovieQuery("movie"), Window())
    assert (fault.value.kind, fault.value.retryable) == ("wrong_shape", True)


@pytest.mark.parametrize(
    "changes",
    [
        {"total_results": None},
        {"total_results": -1},
        {"total_results": "4"},
        {"total_results": True},
        {"total_results": 1.5},
        {"total_results": 0},
        {"total_results": 10**30},
        {"total_pages": 0},
        {"total_pages": None},
        {"results": None},
        {"results": {}},
        {"page": 2},
        {"page": None},
    ],
)
def test_a_page_of_the_wrong_shape_is_a_fault(changes: dict[str, Any]) -> None:
    good = {"page": 1, "results": [row(1)], "total_pages": 1, "total_results": 1}
    assert parse_list_page(good, 1).total == 1
    with pytest.raises(SourceFault) as fault:
        parse_list_page({**good, **changes}, 1)
    assert fault.value.kind == "wrong_shape"


@pytest.mark.parametrize("answer", [None, [], "x", 3, {}, {"success": False, "status_code": 11}])
def test_a_body_that_is_no_list_is_a_fault(answer: Any) -> None:
    for parse in (lambda: parse_list_page(answer, 1), lambda: parse_genres(answer)):
        with pytest.raises(SourceFault, match="the movie source"):
            parse()


def test_a_movie_is_mapped_field_by_field() -> None:
    movie = parse_movie(
        {
            "id": 603,
            "title": "The\tMatrix\x07",
            "original_title": "Matrix",
            "release_date": "1999-03-30",
            "overview": "A hacker.\n\nWakes.",
            "popularity": 85,
            "poster_path": "/f89U3.jpg",
            "runtime": 136,
            "imdb_id": "tt0133093",
            "genres": [{"id": 28, "name": "Action"}, {"id": 878, "name": "Science Fiction"}, {"id": 1}],
            "production_countries": [{"iso_3166_1": "US", "name": "United States of America"}],
            "credits": {
                "cast": [{"name": f"Actor {place}", "order": place} for place in reversed(range(12))] + [{"name": "?"}],
                "crew": [
                    {"job": "Director", "name": "Lana Wachowski"},
                    {"job": "Director", "name": "Lilly Wachowski"},
                    {"job": "Director", "name": "Lana Wachowski"},
                    {"job": "Director of Photography", "name": "Bill Pope"},
                ],
            },
        },
        {},
    )
    assert movie is not None
    assert (movie.id, movie.tmdb_id, movie.imdb_id) == ("603", "603", "tt0133093")
    assert (movie.title, movie.original_title, movie.year) == ("The Matrix", "Matrix", 1999)
    assert (movie.overview, movie.popularity, movie.runtime_minutes) == ("A hacker. Wakes.", 85.0, 136)
    assert movie.poster_url == "https://image.tmdb.org/t/p/w500/f89U3.jpg"
    assert movie.genres == ("Action", "Science Fiction")
    assert movie.directors == ("Lana Wachowski", "Lilly Wachowski")
    assert movie.cast == tuple(f"Actor {place}" for place in range(10))
    assert movie.countries == ("United States of America",)


def test_fields_that_tmdb_leaves_empty_stay_unknown() -> None:
    bare = parse_movie(
        row(
            7,
            original_title="Movie 7",
            release_date="",
            overview="",
            runtime=0,
            imdb_id="",
            poster_path=None,
            genre_ids=[18, 4711, "18", None],
            popularity="high",
        ),
        GENRES,
    )
    assert bare is not None
    assert bare.genres == ("Drama",)
    unknown = (bare.year, bare.original_title, bare.overview, bare.runtime_minutes, bare.imdb_id, bare.poster_url)
    assert unknown == (None,) * 6
    assert bare.popularity is None


@pytest.mark.parametrize("odd", [None, -1, 10**400, float("nan"), True, [], {}, "x", "\ud800", "../../x", 0])
def test_no_odd_value_of_any_field_raises(odd: Any) -> None:
    names = (
        *("original_title", "release_date", "overview", "popularity", "poster_path", "runtime", "imdb_id"),
        *("genre_ids", "genres", "production_countries", "credits"),
    )
    for name in names:
        movie = parse_movie(row(1, **{name: odd}), GENRES)
        assert movie is not None
        assert movie.poster_url is None
    assert parse_movie(row(1, credits={"cast": [odd, {"name": odd, "order": odd}], "crew": odd}), GENRES) is not None
    assert parse_movie(odd, GENRES) is None


def test_long_texts_are_cut() -> None:
    movie = parse_movie(row(1, title="t" * 9_999, overview="o" * 9_999), GENRES)
    assert movie is not None
    assert (len(movie.title), len(movie.overview or "")) == (500, 2000)


async def test_details_come_with_credits() -> None:
    tmdb = Tmdb([row(603)])
    assert (await tmdb.movies().get("603")).movie.title == "Movie 603"
    assert tmdb.calls == [("movie/603", {"append_to_response": "credits"})]


@pytest.mark.parametrize("movie_id", ["", "0", "007", "-1", "1.0", "x", "١", "1234567890", "603/credits", "603?a=b"])
async def test_an_id_that_is_not_a_tmdb_id_causes_no_call(movie_id: str) -> None:
    tmdb = Tmdb()
    with pytest.raises(MovieNotFound):
        await tmdb.movies().get(movie_id)
    assert tmdb.calls == []


async def test_an_unknown_or_adult_movie_is_not_found() -> None:
    tmdb = Tmdb([row(1, adult=True)])
    for movie_id in ("1", "2"):
        with pytest.raises(MovieNotFound):
            await tmdb.movies().get(movie_id)


@pytest.mark.parametrize("changes", [{"id": 2}, {"title": None}])
async def test_details_of_another_movie_are_a_fault(changes: dict[str, Any]) -> None:
    tmdb = Tmdb([row(1)])
    tmdb.changes = changes
    with pytest.raises(SourceFault) as fault:
        await tmdb.movies().get("1")
    assert fault.value.kind == "wrong_shape"


async def test_suggestions_are_the_best_of_one_page() -> None:
    tmdb = Tmdb()
    assert [movie.id for movie in await tmdb.movies().suggest("mov", 3)] == ["1", "2", "3"]
    assert tmdb.pages() == [1]
    assert await tmdb.movies().suggest("  ", 3) == ()
    assert tmdb.pages() == [1]


async def test_the_genres_are_counted_once_a_day() -> None:
    tmdb = Tmdb()
    movies = tmdb.movies()
    counted = (Genre("Drama", 100), Genre("Science Fiction", 100))
    assert await movies.genres() == counted == await movies.genres()
    assert [path for path, _ in tmdb.calls] == ["genre/movie/list", "discover/movie", "discover/movie"]
    tmdb.now += DAY
    tmdb.rows, tmdb.total = [], 0
    assert await movies.genres() == ()
    assert len(tmdb.calls) == 6


async def test_old_genres_stay_in_use_while_a_refresh_fails() -> None:
    tmdb = Tmdb()
    movies = tmdb.movies()
    await movies.search(MovieQuery("movie"), Window())
    tmdb.now += DAY
    tmdb.refuse = lambda path, _params: 503 if path == "genre/movie/list" else None
    for _ in range(3):
        page = await movies.search(MovieQuery("movie"), Window())
        assert page.items[0].genres == ("Drama",)
    assert [path for path, _ in tmdb.calls].count("genre/movie/list") == 2
    tmdb.now += REFRESH_BACKOFF
    await movies.search(MovieQuery("movie"), Window())
    assert [path for path, _ in tmdb.calls].count("genre/movie/list") == 3


async def test_a_search_fails_without_the_genres() -> None:
    tmdb = Tmdb()
    tmdb.refuse = lambda path, _params: 503 if path == "genre/movie/list" else None
    with pytest.raises(SourceFault) as fault:
        await tmdb.movies().search(MovieQuery("movie"), Window())
    assert (fault.value.status, fault.value.retryable) == (503, True)


async def test_a_retry_fetches_only_the_pages_that_failed() -> None:
    tmdb = Tmdb()
    movies = tmdb.movies()
    tmdb.refuse = lambda _path, params: 503 if params.get("page") == "3" else None
    with pytest.raises(SourceFault):
        await movies.search(MovieQuery("movie"), Window(0, 100))
    tmdb.calls.clear()
    tmdb.refuse = lambda _path, _params: None
    assert len((await movies.search(MovieQuery("movie"), Window(0, 100))).items) == 100
    assert tmdb.pages() == [3]
    assert len((await movies.search(MovieQuery("movie"), Window(0, 100))).items) == 100
    assert tmdb.pages() == [1, 2, 3, 3, 4, 5], "an answer that was given keeps no pages"


async def test_pages_are_cached_for_a_retry_for_seconds_only() -> None:
    tmdb = Tmdb()
    movies = tmdb.movies()
    tmdb.refuse = lambda _path, params: 503 if params.get("page") == "2" else None
    with pytest.raises(SourceFault):
        await movies.search(MovieQuery("movie"), Window(0, 40))
    tmdb.refuse = lambda _path, _params: None
    tmdb.calls.clear()
    tmdb.now += PAGE_TTL + 0.1
    await movies.search(MovieQuery("movie"), Window(0, 40))
    assert tmdb.pages() == [1, 2]


async def test_only_a_few_requests_run_concurrently() -> None:
    tmdb = Tmdb()
    tmdb.genres = {"genres": [{"id": number, "name": f"Genre {number}"} for number in range(1, 20)]}
    under_way, most = 0, 0

    async def slowly(request: httpx.Request) -> httpx.Response:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(1)
        under_way -= 1
        return tmdb.answer(request)

    http = tmdb_http(LONG_TOKEN, timeout=5, retry_status=RETRY, transport=httpx.MockTransport(slowly))
    assert len(await TmdbMovieSource(http).genres()) == 19
    assert most == MAX_CONCURRENT


async def test_of_several_faults_one_that_is_not_retryable_is_raised() -> None:
    tmdb = Tmdb()
    tmdb.refuse = lambda _path, params: {"2": 503, "3": 401}.get(params.get("page", ""))
    with pytest.raises(SourceFault) as fault:
        await tmdb.movies().search(MovieQuery("movie"), Window(0, 100))
    assert fault.value.status == 401


@pytest.mark.parametrize("token", [LONG_TOKEN, V3_KEY])
@pytest.mark.parametrize("status", [401, 403])
async def test_a_rejected_token_is_logged_once_with_the_name_of_its_setting(
    token: str, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    tmdb = Tmdb()
    tmdb.refuse = lambda _path, _params: status
    movies = tmdb.movies(token)
    with caplog.at_level(logging.DEBUG):
        for _ in range(2):
            with pytest.raises(SourceFault) as fault:
                await movies.search(MovieQuery("movie"), Window())
            assert not fault.value.retryable
            assert token not in str(fault.value)
    assert caplog.text.count("MOVIE_SOURCE_TOKEN") == 1
    assert token not in caplog.text
    assert str(status) in caplog.text, "nothing was logged at all"


async def test_a_long_token_goes_into_the_header_and_a_key_into_the_query() -> None:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(404)

    for token in (LONG_TOKEN, V3_KEY):
        http = tmdb_http(token, timeout=1, retry_status=RETRY, transport=httpx.MockTransport(answer))
        for params in ((), (("query", "a&b"),)):
            with pytest.raises(SourceFault):
                await http.get("search/movie", params)
    by_header, by_key = seen[:2], seen[2:]
    assert [str(request.url) for request in by_header] == [
        f"{TMDB_URL}/search/movie",
        f"{TMDB_URL}/search/movie?query=a%26b",
    ]
    assert all(request.headers["authorization"] == f"Bearer {LONG_TOKEN}" for request in by_header)
    assert [str(request.url) for request in by_key] == [
        f"{TMDB_URL}/search/movie?api_key={V3_KEY}",
        f"{TMDB_URL}/search/movie?query=a%26b&api_key={V3_KEY}",
    ]
    assert not any("authorization" in request.headers for request in by_key)


@pytest.mark.parametrize("token", ["", "two words", "line\nbreak", "schlüssel"])
def test_a_token_that_cannot_be_sent_is_rejected_without_showing_it(token: str) -> None:
    with pytest.raises(ValueError, match="a TMDB token must be one word") as error:
        tmdb_http(token, timeout=1, retry_status=RETRY)
    assert not token or token not in str(error.value)


def test_the_base_url_can_be_replaced() -> None:
    with pytest.raises(ValueError, match="URL"):
        tmdb_http(LONG_TOKEN, timeout=1, retry_status=RETRY, base_url="ftp://elsewhere")


def test_the_source_has_all_capabilities_except_exclude() -> None:
    assert Tmdb().movies().capabilities == frozenset(Capability) - {Capability.EXCLUDE}
