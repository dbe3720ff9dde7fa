import httpx
import pytest
from tests.support.api import AUTHENTICATION, ME, MOVIES, OpenApi, assert_problem

from movie_api.app import VERSIONED_HANDLERS
from movie_api.parameters import MAX_REPORTED_NAMES, check_names
from movie_core.errors import UnknownParameter

SEARCH = ("query", "offset", "limit", "year", "genre", "order", "exclude")


@pytest.mark.parametrize(
    ("name", "closest"),
    [
        ("q", "query"),
        ("search", "query"),
        ("Query", "query"),
        ("querry", "query"),
        ("qurey", "query"),
        ("query[]", "query"),
        ("page", "offset"),
        ("skip", "offset"),
        ("Offset", "offset"),
        ("page_size", "limit"),
        ("per_page", "limit"),
        ("limits", "limit"),
        ("sort", "order"),
        ("genres", "genre"),
        ("release_year", "year"),
        ("exclud", "exclude"),
    ],
)
async def test_an_unknown_parameter_is_rejected_with_the_closest_one(
    api: httpx.AsyncClient, name: str, closest: str
) -> None:
    problem = assert_problem(await api.get(MOVIES, params={"query": "river", name: "1"}), 400, "unknown_parameter")
    assert problem["detail"] == f"{name} is not a parameter of this operation; the closest is {closest}"
    assert problem["errors"] == [{"field": name, "code": "unknown_parameter", "detail": problem["detail"]}]


@pytest.mark.parametrize(
    "query_string", ["_=1700000000", "_", "utm_source=mail&utm_medium=%FF", "utm_", "&", "&&query=river", "_=1&_=2"]
)
async def test_parameters_against_caches_and_for_counting_clicks_are_ignored(
    api: httpx.AsyncClient, query_string: str
) -> None:
    assert (await api.get(f"{MOVIES}?{query_string}")).status_code == 200


@pytest.mark.parametrize(
    "query_string", ["__=1", "utm=1", "UTM_source=1", "=1", "%FF=1", "que%72y2=1", "a%=1", "%zz", "\u00e4=1", "%00=1"]
)
async def test_no_other_parameter_is_ignored(api: httpx.AsyncClient, query_string: str) -> None:
    assert_problem(await api.get(f"{MOVIES}?{query_string}"), 400, "unknown_parameter")


async def test_an_encoded_name_is_known(api: httpx.AsyncClient) -> None:
    assert (await api.get(f"{MOVIES}?%71uery=river")).status_code == 200


async def test_all_unknown_parameters_are_reported(api: httpx.AsyncClient) -> None:
    problem = assert_problem(await api.get(f"{MOVIES}?a=1&query=river&b=2&a=3"), 400, "unknown_parameter")
    assert [error["field"] for error in problem["errors"]] == ["a", "b"]  # type: ignore[attr-defined]
    many = await api.get(MOVIES, params={f"p{number}": "" for number in range(50)})
    assert len(many.json()["errors"]) == MAX_REPORTED_NAMES


async def test_long_names_are_not_repeated(api: httpx.AsyncClient) -> None:
    problem = assert_problem(await api.get(f"{MOVIES}?{'q' * 4000}=1"), 400, "unknown_parameter")
    assert "the closest is query" in str(problem["detail"])


async def test_a_request_without_a_token_is_rejected_as_such(open_api: OpenApi) -> None:
    async with open_api(MOVIE_PUBLIC_SEARCH="false") as api:
        assert_problem(await api.get(f"{MOVIES}?q=river"), 401, "not_authenticated")


async def test_operations_without_parameters_reject_any(api: httpx.AsyncClient) -> None:
    header = await api.activated()  # type: ignore[attr-defined]
    for method, path in (
        ("GET", f"{MOVIES}201/"),
        ("PUT", f"{MOVIES}201/rating/"),
        ("GET", "/api/v1/genres/"),
        ("GET", "/api//v1/genres"),
        ("HEAD", "/api/v1/genres/"),
        ("GET", ME),
        ("DELETE", ME),
        ("POST", f"{AUTHENTICATION}register/"),
        ("GET", f"{AUTHENTICATION}verify-email/a/b/"),
    ):
        response = await api.request(method, f"{path}?limit=1", headers=header)
        assert response.status_code == 400, path
        if method != "HEAD":
            problem = assert_problem(response, 400, "unknown_parameter")
            assert problem["detail"] == "limit is not a parameter: this operation has no query parameters"
    assert (await api.get(ME, headers=header)).status_code == 200


async def test_a_mailed_link_with_an_unknown_parameter_shows_a_page(api: httpx.AsyncClient) -> None:
    response = await api.get(f"{AUTHENTICATION}verify-email/a/b/?ref=1", headers={"accept": "text/html"})
    assert (response.status_code, response.headers["content-type"]) == (400, "text/html; charset=utf-8")
    assert "<h1>Unknown parameter</h1>" in response.text


async def test_paths_outside_the_api_ignore_parameters(api: httpx.AsyncClient) -> None:
    for path in ("/", "/docs", "/openapi.json", "/health/live", "/errors/busy"):
        assert (await api.get(f"{path}?v=1")).status_code == 200, path


async def test_an_options_request_may_have_any_parameter(api: httpx.AsyncClient) -> None:
    assert (await api.options(f"{MOVIES}?q=1")).status_code == 204


def test_every_parameter_of_every_operation_is_known() -> None:
    for handler in VERSIONED_HANDLERS:
        names = handler.opt["operation"].parameter_names
        check_names("&".join(f"{name}=1" for name in names).encode(), names)
        with pytest.raises(UnknownParameter):
            check_names(b"no_parameter=1", names)


async def test_a_path_that_does_not_exist_is_not_found_with_any_parameter(api: httpx.AsyncClient) -> None:
    assert_problem(await api.get("/api/v1/nothing/?q=1"), 404, "not_found")
