import json
import re
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from tests.support.api import MOVIES, PUBLIC_URL, OpenApi, assert_problem, staff

from movie_api.routes.movies import parse_search
from movie_core import MemoryMovieCatalogue, Movie, MoviePage, MovieQuery, SourceUnavailable, StoreUnavailable, Window
from movie_core.discovery.event_recorder import EventRecorder


class FailingSource(MemoryMovieCatalogue):
    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    async def search(self, query: MovieQuery, window: Window) -> MoviePage:
        raise self.error


async def test_a_page_has_the_wire_format_of_the_original(api: httpx.AsyncClient) -> None:
    response = await api.get(MOVIES, params={"query": "river", "offset": 10})
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    body = response.json()
    assert set(body) == {"total", "items", "page_info", "meta"}
    assert body["total"] == 23
    assert len(body["items"]) == 10
    assert body["items"][0] == {
        "id": "112", "title": "Mallow River", "year": 1962, "genres": ["Drama", "Western"], "popularity": 12.0,
    }  # fmt: skip
    assert body["page_info"] == {
        "current_page": 2,
        "total_pages": 3,
        "previous": "http://127.0.0.1:8000/api/v1/movies/?offset=0&limit=10&query=river",
        "next": "http://127.0.0.1:8000/api/v1/movies/?offset=20&limit=10&query=river",
    }
    assert body["meta"]["source"] == "catalogue"
    assert body["meta"]["state"] == "live"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", body["meta"]["fetched_at"])


async def test_unknown_fields_of_a_movie_are_omitted(api: httpx.AsyncClient) -> None:
    item = (await api.get(MOVIES, params={"query": "undated"})).json()["items"][0]
    assert item == {"id": "203", "title": "Undated", "genres": ["Comedy"], "popularity": 1.0}


async def test_the_defaults_are_those_of_the_original(api: httpx.AsyncClient) -> None:
    body = (await api.get(MOVIES)).json()
    assert (body["total"], len(body["items"]), body["page_info"]["previous"]) == (26, 10, None)


async def test_the_path_without_the_trailing_slash_works_without_a_redirect(api: httpx.AsyncClient) -> None:
    for path in ("/api/v1/movies", "/api/v1/movies/201", "/api/v1/movies/suggest", "/api/v1/genres"):
        assert (await api.get(path)).status_code == 200, path


@pytest.mark.parametrize(
    "limit", ["0", "-1", "101", "abc", "", "1.0", "1e2", "0x10", "%2B5", "+5", "%205", "5%20", "٣", "１０", "1_000"]
)
async def test_an_invalid_limit_is_rejected(api: httpx.AsyncClient, limit: str) -> None:
    body = assert_problem(await api.get(f"{MOVIES}?limit={limit}"), 400, "invalid_offset_or_limit")
    assert body["errors"] == [{"field": "limit", "code": "invalid_offset_or_limit", "detail": body["detail"]}]


@pytest.mark.parametrize(
    "offset", ["-1", "1000000", "10001", str(2**31), str(2**63), str(2**64), "9" * 5000, "00", "x"]
)
async def test_an_invalid_offset_is_rejected(api: httpx.AsyncClient, offset: str) -> None:
    assert_problem(await api.get(f"{MOVIES}?offset={offset}"), 400, "invalid_offset_or_limit")


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("offset=1&offset=1", "invalid_offset_or_limit"),
        ("limit=1&offset=0&limit=2", "invalid_offset_or_limit"),
        ("query=a&query=a", "invalid_query"),
        ("query=a&%71uery=a", "invalid_query"),
        ("year=1999&year=1999", "invalid_parameter"),
        ("query=%00", "invalid_query"),
        ("query=a%00b", "invalid_query"),
        ("query=%09a", "invalid_query"),
        ("query=%FF", "invalid_query"),
        ("query=%ED%A0%80", "invalid_query"),
        ("query=%C0%AF", "invalid_query"),
        ("query=%", "invalid_query"),
        ("query=%2", "invalid_query"),
        ("query=%zz", "invalid_query"),
        ("query=" + "a" * 201, "invalid_query"),
        ("offset=%FF", "invalid_offset_or_limit"),
        ("year=199", "invalid_parameter"),
        ("year=1999..1990", "invalid_parameter"),
        ("genre=", "invalid_parameter"),
        ("order=taste", "invalid_parameter"),
        ("order=", "invalid_parameter"),
        ("exclude=seen", "invalid_parameter"),
    ],
)
async def test_invalid_input_is_rejected_with_its_code(api: httpx.AsyncClient, query: str, code: str) -> None:
    assert_problem(await api.get(f"{MOVIES}?{query}"), 400, code)


@pytest.mark.parametrize("query", ["a" * 200, "𝔸" * 200])
async def test_200_characters_are_valid(api: httpx.AsyncClient, query: str) -> None:
    assert_problem(await api.get(MOVIES, params={"query": query}), 404, "movie_not_found")


async def test_ignored_parameters_are_not_kept_in_links(api: httpx.AsyncClient) -> None:
    body = (await api.get(f"{MOVIES}?_=1&_=%FF&query=river&utm_source=%zz")).json()
    assert parse_qs(urlsplit(body["page_info"]["next"]).query) == {
        "offset": ["10"],
        "limit": ["10"],
        "query": ["river"],
    }


async def test_a_search_without_matches_suggests_titles(api: httpx.AsyncClient) -> None:
    response = await api.get(MOVIES, params={"query": "orrery online free"})
    assert (response.status_code, response.headers["content-type"]) == (404, "application/problem+json")
    assert response.json()["suggestions"] == ["The Glass Orrery"]
    assert response.headers.get_list("cache-control") == ["private"]
    assert "suggestions" not in (await api.get(MOVIES, params={"query": "zzqxj"})).json()
    assert "suggestions" not in (await api.get(f"{MOVIES}no-such-id/")).json()


async def test_errors_are_not_stored_by_shared_caches(api: httpx.AsyncClient) -> None:
    for path in (f"{MOVIES}?query=zzqxj", f"{MOVIES}no-such-id/", "/api/v1/nothing/", f"{MOVIES}?limit=0"):
        assert (await api.get(path)).headers.get_list("cache-control") == ["private"], path
    assert (await api.get("/api/v1/users/me/")).headers.get_list("cache-control") == ["no-store"]


@pytest.mark.parametrize("offset", ["", "&offset=0", "&offset=7", "&offset=500"])
async def test_a_search_without_matches_can_be_an_empty_page(open_api: OpenApi, offset: str) -> None:
    async with open_api(MOVIE_EMPTY_SEARCH="200") as api:
        for _ in range(2):
            response = await api.get(f"{MOVIES}?query=zzqxj{offset}")
            body = response.json()
            assert (response.status_code, body["total"], body["items"]) == (200, 0, [])
            assert body["page_info"] == {"current_page": 1, "total_pages": 0, "previous": None, "next": None}
            assert body["meta"]["source"] == "catalogue"
            first = f"{PUBLIC_URL}{MOVIES}?offset=0&limit=10&query=zzqxj"
            assert response.headers["link"] == f'<{first}>; rel="first", <{first}>; rel="last"'
            assert response.headers["cache-control"] == "private"
        etag = {"if-none-match": response.headers["etag"]}
        assert (await api.get(f"{MOVIES}?query=zzqxj{offset}", headers=etag)).status_code == 304
        assert_problem(await api.get(f"{MOVIES}?query=river&offset=100"), 400, "page_out_of_range")
        assert_problem(await api.get(f"{MOVIES}no-such-id/"), 404, "movie_not_found")


@pytest.mark.parametrize("status", ["404", "200"])
async def test_every_search_without_matches_is_recorded_as_such(open_api: OpenApi, status: str) -> None:
    async with open_api(MOVIE_EMPTY_SEARCH=status) as api:
        header = await staff(api)
        for _ in range(3):
            assert (await api.get(f"{MOVIES}?query=zzqxj", headers=header)).status_code == int(status)
        await (await api.app.state.dishka_container.get(EventRecorder)).flush()
        report = await api.get("/api/v1/analytics/searches/zero-results/", headers=header)
        assert [(item["query"], item["count"]) for item in report.json()["items"]] == [("zzqxj", 3)]


@pytest.mark.parametrize("accept", ["application/xml", "text/html", "*/*"])
async def test_the_response_is_json_whatever_accept_says(api: httpx.AsyncClient, accept: str) -> None:
    response = await api.get(MOVIES, headers={"accept": accept})
    assert (response.status_code, response.headers["content-type"]) == (200, "application/json")


@pytest.mark.parametrize("offset", [0, 3, 7])
@pytest.mark.parametrize("limit", [1, 4, 10, 23, 100])
async def test_following_next_visits_every_item_once(api: httpx.AsyncClient, offset: int, limit: int) -> None:
    url: str | None = f"{MOVIES}?query=river&offset={offset}&limit={limit}"
    seen: list[str] = []
    while url is not None:
        body = (await api.get(url)).json()
        seen += [item["id"] for item in body["items"]]
        url = body["page_info"]["next"]
    assert len(seen) == len(set(seen)) == 23 - offset


async def test_a_link_leads_back_to_the_same_query(open_api: OpenApi) -> None:
    text = "x y&z=1/ä"
    movies = [Movie(id=str(number), title=f"{text} {number}") for number in range(25)]
    async with open_api(MemoryMovieCatalogue(movies)) as api:
        body = (await api.get(MOVIES, params={"query": text})).json()
        assert "query=x%20y%26z%3D1%2F%C3%A4" in body["page_info"]["next"]
        assert parse_qs(urlsplit(body["page_info"]["next"]).query)["query"] == [text]
        assert (await api.get(body["page_info"]["next"])).json()["page_info"]["current_page"] == 2


async def test_a_plus_is_decoded_as_a_space(api: httpx.AsyncClient) -> None:
    assert (await api.get(f"{MOVIES}?query=glass+orrery")).json()["total"] == 1


async def test_a_page_past_the_end_reports_the_number_of_pages(api: httpx.AsyncClient) -> None:
    body = assert_problem(await api.get(f"{MOVIES}?query=river&offset=23"), 400, "page_out_of_range")
    assert "3 pages" in str(body["detail"])


async def test_no_match_is_not_found_whatever_the_offset(api: httpx.AsyncClient) -> None:
    for offset in (0, 9999):
        assert_problem(await api.get(f"{MOVIES}?query=zzqxj&offset={offset}"), 404, "movie_not_found")


async def test_filters_are_applied_and_kept_in_links(api: httpx.AsyncClient) -> None:
    body = (await api.get(f"{MOVIES}?year=1950..1969&genre=western&order=year&limit=2")).json()
    assert [item["year"] for item in body["items"]] == [1968, 1965]
    assert body["page_info"]["next"].endswith("?offset=2&limit=2&year=1950..1969&genre=western&order=year")


async def test_the_link_header_matches_the_body(api: httpx.AsyncClient) -> None:
    response = await api.get(f"{MOVIES}?query=river&offset=3&limit=10")
    links = {rel: url for url, rel in re.findall(r'<([^>]+)>; rel="(\w+)"', response.headers["link"])}
    info = response.json()["page_info"]
    assert (links["prev"], links["next"]) == (info["previous"], info["next"])
    assert "offset=0&" in links["first"]
    assert "offset=13&" in links["last"]


async def test_a_matching_etag_gets_304(api: httpx.AsyncClient) -> None:
    first = await api.get(f"{MOVIES}?query=river")
    etag = first.headers["etag"]
    assert etag.startswith('W/"')
    again = await api.get(f"{MOVIES}?query=river", headers={"if-none-match": f'"other", {etag}'})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)
    assert (await api.get(f"{MOVIES}?query=river&limit=9", headers={"if-none-match": etag})).status_code == 200


async def test_head_has_the_headers_of_get(api: httpx.AsyncClient) -> None:
    head, get = await api.head(f"{MOVIES}?query=river"), await api.get(f"{MOVIES}?query=river")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["etag"] == get.headers["etag"]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "TRACE"])
async def test_another_method_is_not_allowed(api: httpx.AsyncClient, method: str) -> None:
    response = await api.request(method, MOVIES)
    assert_problem(response, 405, "method_not_allowed")
    assert {"GET", "HEAD", "OPTIONS"} == set(response.headers["allow"].split(", "))


async def test_an_unavailable_source_is_reported_with_retry_after(open_api: OpenApi) -> None:
    async with open_api(FailingSource(SourceUnavailable("the source is unavailable", retry_after=7.2))) as api:
        response = await api.get(MOVIES)
        assert_problem(response, 503, "source_unavailable")
        assert response.headers["retry-after"] == "8"


async def test_an_unavailable_database_is_reported(open_api: OpenApi) -> None:
    async with open_api(FailingSource(StoreUnavailable("the database is unavailable"))) as api:
        assert_problem(await api.get(MOVIES), 503, "store_unavailable")


async def test_an_internal_error_has_no_stack_trace(open_api: OpenApi, caplog: pytest.LogCaptureFixture) -> None:
    async with open_api(FailingSource(RuntimeError("secret /etc/path"))) as api:
        response = await api.get(MOVIES, headers={"x-request-id": "abc.1"})
        body = assert_problem(response, 500, "internal_error")
        assert "secret" not in json.dumps(body)
    assert "abc.1" in caplog.text
    assert "secret /etc/path" in caplog.text


async def test_details_have_their_source(api: httpx.AsyncClient) -> None:
    body = (await api.get(f"{MOVIES}202/")).json()
    assert body["title"] == "Café Münchhausen"
    assert body["meta"]["source"] == "catalogue"
    assert_problem(await api.get(f"{MOVIES}nope/"), 404, "movie_not_found")


@pytest.mark.parametrize("movie_id", ["%00", "%FF", "..%2F", "a" * 5000, "%E2%80%A8"])
async def test_an_invalid_id_is_not_found(api: httpx.AsyncClient, movie_id: str) -> None:
    response = await api.get(f"{MOVIES}{movie_id}/")
    assert response.status_code == 404


async def test_suggestions_are_short(api: httpx.AsyncClient) -> None:
    body = (await api.get(f"{MOVIES}suggest/?query=gla")).json()
    assert body == {"items": [{"id": "201", "title": "The Glass Orrery", "year": 1999}]}
    assert (await api.get(f"{MOVIES}suggest/?query=undat")).json() == {"items": [{"id": "203", "title": "Undated"}]}
    assert (await api.get(f"{MOVIES}suggest/")).json() == {"items": []}
    assert len((await api.get(f"{MOVIES}suggest/?query=river")).json()["items"]) == 10
    assert_problem(await api.get(f"{MOVIES}suggest/?query=%00"), 400, "invalid_query")


async def test_genres_are_listed_with_their_movies(api: httpx.AsyncClient) -> None:
    body = (await api.get("/api/v1/genres/")).json()
    assert body["items"][0] == {"name": "Comedy", "movies": 2}


async def test_a_private_search_requires_a_token(open_api: OpenApi) -> None:
    async with open_api(MOVIE_PUBLIC_SEARCH="false") as api:
        for path in (MOVIES, f"{MOVIES}201/", f"{MOVIES}suggest/?query=a", "/api/v1/genres/"):
            response = await api.get(path)
            assert_problem(response, 401, "not_authenticated")
            assert response.headers["www-authenticate"] == "Bearer"
        response = await api.get(MOVIES, headers={"authorization": "Bearer abc"})
        assert_problem(response, 401, "invalid_token")
        assert response.headers["www-authenticate"].startswith("Bearer ")
        assert (await api.get("/health/live")).status_code == 200


async def test_a_parameter_is_decoded_once(api: httpx.AsyncClient) -> None:
    assert parse_search(b"query=%2541%2500").query.text == "%41%00"
    assert parse_search(b"query=a%2Bb").query.text == "a+b"
    assert_problem(await api.get(f"{MOVIES}?query=%2500"), 404, "movie_not_found")


async def test_no_text_changes_the_structure_of_a_response(open_api: OpenApi) -> None:
    odd = '"}],"total":0,"x":[{"y":"</script><script>&quot;\\u0022 >; rel="next'
    movies = [Movie(id=str(at), title=f"{odd} {at}", genres=(odd,)) for at in range(3)]
    async with open_api(MemoryMovieCatalogue(movies)) as api:
        response = await api.get(MOVIES, params={"query": odd, "limit": 2})
        body = json.loads(response.text)
        assert (body["total"], [item["title"] for item in body["items"]]) == (3, [f"{odd} 0", f"{odd} 1"])
        assert set(body) == {"total", "items", "page_info", "meta"}
        links = re.findall(r'<([^<>]*)>; rel="(\w+)"', response.headers["link"])
        assert [rel for _, rel in links] == ["first", "next", "last"]
        assert parse_qs(urlsplit(links[1][0]).query)["query"] == [odd]
        refused = await api.get(MOVIES, params={"query": "x", "order": odd})
        assert json.loads(refused.text)["code"] == "invalid_parameter"
