import re

import httpx
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator
from tests.unit.api.conftest import InMemory, OpenApi
from tests.unit.api.test_search import MOVIES, assert_problem

from movie_adapters.settings import Settings
from movie_api.app import create_app
from movie_api.errors import PROBLEMS
from movie_api.openapi import PATHS, document
from movie_core.errors import MovieError, Unavailable
from movie_core.health import Part, Readiness

FAMILIES = {"Invalid", "Denied", "NotFound", "Conflict", "Unavailable"}


def leaves(error: type[MovieError]) -> set[type[MovieError]]:
    below = error.__subclasses__()
    return {error}.union(*(leaves(one) for one in below)) if below else {error}


def test_every_error_of_the_core_has_a_status() -> None:
    codes = {leaf.code for leaf in leaves(MovieError) if hasattr(leaf, "code")}
    assert {"invalid_query", "movie_not_found", "source_unavailable"} <= codes
    assert codes <= PROBLEMS.keys()
    assert all(hasattr(leaf, "code") or leaf.__name__ in FAMILIES | {"MovieError"} for leaf in leaves(MovieError))


def test_the_document_is_valid_openapi_3_1() -> None:
    OpenAPIV31SpecValidator(document("http://127.0.0.1:8000", version="1", public_search=False)).validate()  # type: ignore[arg-type]


def test_the_document_lists_the_routes_there_are() -> None:
    app = create_app(Settings.load({}, dotenv=None), InMemory())
    reading = {"/", "/style.css", "/docs", "/docs/start.js", "/openapi.json"}
    routes = {
        re.sub(r"\{(\w+):\w+\}", r"{\1}", route.path)
        for route in app.routes
        if not route.path.startswith("/docs/assets") and route.path not in reading
    }
    assert routes == {path.rstrip("/") for path in PATHS}


async def test_the_document_is_served(api: httpx.AsyncClient) -> None:
    served = (await api.get("/openapi.json")).json()
    assert served["openapi"].startswith("3.1")
    assert served["servers"] == [{"url": "http://127.0.0.1:8000"}]


async def test_answers_are_as_the_document_says(api: httpx.AsyncClient) -> None:
    from jsonschema import Draft202012Validator  # comes with openapi-spec-validator

    served = (await api.get("/openapi.json")).json()
    for path, asked in (
        (MOVIES, f"{MOVIES}?query=river&offset=3"),
        ("/api/v1/movies/suggest/", "/api/v1/movies/suggest/?query=ri"),
        ("/api/v1/movies/{movie_id}/", "/api/v1/movies/201/"),
        ("/api/v1/genres/", "/api/v1/genres/"),
        ("/health/ready", "/health/ready"),
        ("/health/live", "/health/live"),
        (MOVIES, f"{MOVIES}?limit=0"),
        ("/api/v1/movies/{movie_id}/", "/api/v1/movies/999/"),
    ):
        answer = await api.get(asked)
        told = served["paths"][path]["get"]["responses"][str(answer.status_code)]
        schema = told["content"][answer.headers["content-type"]]["schema"]
        Draft202012Validator(schema | {"components": served["components"]}).validate(answer.json())
        assert {name.lower() for name in told["headers"]} <= set(answer.headers), asked


async def test_the_docs_come_from_here_alone(api: httpx.AsyncClient) -> None:
    page = await api.get("/docs")
    assert page.status_code == 200
    linked = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert linked
    for url in linked:
        assert url.startswith(("/", "data:"))
        if url.startswith("/"):
            assert (await api.get(url)).status_code == 200, url
    assert "unsafe-inline" not in page.headers["content-security-policy"].split("script-src")[1].split(";")[0]


async def test_the_start_page_leads_on(api: httpx.AsyncClient) -> None:
    page = await api.get("/")
    assert page.headers["content-type"].startswith("text/html")
    for url in re.findall(r'href="([^"]+)"', page.text):
        assert (await api.get(url.replace("matrix", "river"))).status_code == 200, url


async def test_every_code_is_explained(api: httpx.AsyncClient) -> None:
    for code, kind in PROBLEMS.items():
        page = await api.get(f"/errors/{code}")
        assert page.status_code == 200
        assert str(kind.status) in page.text
        assert code in page.text
    assert_problem(await api.get("/errors/nonsense"), 404, "not_found")


async def _away() -> str:
    raise Unavailable("it can't be reached")


async def _fine() -> str:
    return "fine"


@pytest.mark.parametrize(("is_vital", "status_code", "status"), [(False, 200, "degraded"), (True, 503, "unavailable")])
async def test_a_part_that_is_away_is_told(open_api: OpenApi, is_vital: bool, status_code: int, status: str) -> None:
    readiness = Readiness([Part("database", _fine, ""), Part("source", _away, "", is_vital)])
    async with open_api(readiness=readiness) as api:
        answer = await api.get("/health/ready")
        assert answer.status_code == status_code
        assert answer.json() == {
            "status": status,
            "database": {"status": "up", "detail": "fine"},
            "source": {"status": "down", "detail": "it can't be reached"},
        }
        assert (await api.get("/health/live")).json() == {"status": "live"}


async def test_the_source_is_credited_where_it_asks_for_it(open_api: OpenApi) -> None:
    async with open_api(MOVIE_SOURCE="tmdb", MOVIE_SOURCE_TOKEN="token") as api:
        for path in ("/", "/openapi.json"):
            assert "TMDB" in (await api.get(path)).text
    async with open_api() as api:
        assert "TMDB" not in (await api.get("/")).text


async def test_a_process_that_ends_is_not_ready() -> None:
    app = create_app(Settings.load({}, dotenv=None), InMemory())
    app.state.is_draining = True
    transport = httpx.ASGITransport(app=app)  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as client:
        answer = await client.get("/health/ready")
        assert (answer.status_code, answer.json()["status"]) == (503, "unavailable")
        assert int(answer.headers["retry-after"]) > 0
