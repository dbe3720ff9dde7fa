import re
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]  # comes with openapi-spec-validator
from jsonschema_specifications import REGISTRY as SPECIFICATIONS
from litestar.routes import HTTPRoute
from openapi_spec_validator import OpenAPIV31SpecValidator
from openapi_spec_validator.schemas import schema_v31
from openapi_spec_validator.validation.exceptions import OpenAPIValidationError
from referencing.jsonschema import DRAFT202012
from tests.support.api import (
    ANN,
    AUTHENTICATION,
    ME,
    MOVIES,
    SECRET,
    Api,
    InMemory,
    OpenApi,
    assert_as_documented,
    assert_problem,
)
from tests.support.openapi import DOCUMENT, PATHS

from movie_adapters.settings.settings import Settings
from movie_api.app import create_app
from movie_api.problems import PROBLEMS
from movie_core.errors import Invalid, MovieError

FAMILIES = {"Invalid", "Denied", "NotFound", "Conflict", "Unavailable"}


def leaves(error: type[MovieError]) -> set[type[MovieError]]:
    below = error.__subclasses__()
    return {error}.union(*(leaves(subclass) for subclass in below)) if below else {error}


def test_every_error_of_the_core_has_a_status() -> None:
    codes = {leaf.code for leaf in leaves(MovieError) if hasattr(leaf, "code")}
    assert {"invalid_query", "movie_not_found", "source_unavailable"} <= codes
    assert codes <= PROBLEMS.keys()
    invalid = {leaf.code for leaf in leaves(Invalid) if leaf is not Invalid}
    assert {PROBLEMS[code].status for code in invalid} == {400}
    assert all(hasattr(leaf, "code") or leaf.__name__ in FAMILIES | {"MovieError"} for leaf in leaves(MovieError))


def test_an_error_code_has_exactly_one_status() -> None:
    for path, operations in PATHS.items():
        for method, operation in operations.items():
            for status, response in operation["responses"].items():
                if "application/problem+json" in response.get("content", {}):
                    codes = re.findall(r"`(\w+)`", response["description"])
                    assert codes, (method, path, status)
                    assert {PROBLEMS[code].status for code in codes} == {int(status)}, (method, path)


class Validator(OpenAPIV31SpecValidator):
    """Four times faster: the default one searches its schemas again for each of thousands of references."""

    _resource = DRAFT202012.create_resource(dict(schema_v31))
    schema_validator = Draft202012Validator(_resource.contents, registry=(_resource @ SPECIFICATIONS).crawl())


def test_the_document_is_valid_openapi_3_1() -> None:
    Validator(DOCUMENT).validate()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "response",
    [
        {},
        {"description": "x", "headers": {"X": {"schema": {"type": 5}, "required": 5}}},
        {"description": "x", "content": {"text/plain": {"schema": {"type": 5}}}},
    ],
)
def test_the_validator_rejects_an_invalid_document(response: dict[str, Any]) -> None:
    document = {"openapi": "3.1.0", "info": {"title": "x", "version": "1"}}
    with pytest.raises(OpenAPIValidationError):
        Validator(document | {"paths": {"/": {"get": {"responses": {"200": response}}}}}).validate()  # type: ignore[arg-type]


def test_the_document_lists_every_route() -> None:
    app = create_app(Settings.load({"MOVIE_SECRET_KEY": SECRET}, dotenv=None), InMemory())
    undocumented = {"/", "/style.css", "/docs", "/docs/start.js", "/openapi.json"}
    undocumented |= {"/.well-known/security.txt", "/dashboard", "/dashboard/style.css", "/dashboard/app.js"}
    routes = {
        re.sub(r"\{(\w+):\w+\}", r"{\1}", route.path): {method.lower() for method in route.methods} - {"options"}
        for route in app.litestar.routes
        if isinstance(route, HTTPRoute) and not route.path.startswith("/docs/assets") and route.path not in undocumented
    }
    assert routes == {path.rstrip("/"): set(operations) for path, operations in PATHS.items()}


def test_debug_mode_can_not_be_enabled_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LITESTAR_DEBUG", "1")
    assert not create_app(Settings.load({"MOVIE_SECRET_KEY": SECRET}, dotenv=None), InMemory()).litestar.debug


async def test_every_operation_declares_whether_it_requires_a_token(api: Api) -> None:
    for path, operations in PATHS.items():
        for method, operation in operations.items():
            if "accounts" in operation["tags"]:
                response = await api.request(method, path.format(uid="0", token="0", session_id="0"), json={})
                assert (response.status_code == 401 and response.json()["code"] == "not_authenticated") is (
                    operation["security"] == [{"bearer": []}]
                ), (method, path)


async def test_options_lists_every_method_of_a_path(api: httpx.AsyncClient) -> None:
    for path, operations in PATHS.items():
        allowed = (await api.options(re.sub(r"\{\w+\}", "0", path))).headers["allow"].split(", ")
        methods = {method.upper() for method in operations}
        assert sorted(allowed) == sorted(methods | {"OPTIONS"} | ({"HEAD"} if "GET" in methods else set())), path


async def test_the_document_is_served(api: httpx.AsyncClient) -> None:
    served = (await api.get("/openapi.json")).json()
    assert served["openapi"].startswith("3.1")
    assert served["servers"] == [{"url": "http://127.0.0.1:8000"}]


async def test_responses_conform_to_the_document(api: httpx.AsyncClient) -> None:
    served = (await api.get("/openapi.json")).json()
    for path, url in (
        (MOVIES, f"{MOVIES}?query=river&offset=3"),
        ("/api/v1/movies/suggest/", "/api/v1/movies/suggest/?query=ri"),
        ("/api/v1/movies/{movie_id}/", "/api/v1/movies/201/"),
        ("/api/v1/genres/", "/api/v1/genres/"),
        ("/health/ready", "/health/ready"),
        ("/health/live", "/health/live"),
        (MOVIES, f"{MOVIES}?limit=0"),
        ("/api/v1/movies/{movie_id}/", "/api/v1/movies/999/"),
    ):
        assert_as_documented(served, await api.get(url), path)


async def test_responses_of_accounts_conform_to_the_document(api: Api) -> None:
    served = (await api.get("/openapi.json")).json()

    async def ask(method: str, name: str, path: str | None = None, **sent: Any) -> httpx.Response:
        response = await api.request(method, name if path is None else path, **sent)
        assert_as_documented(served, response, name)
        return response

    schemas = served["components"]["schemas"]
    example = {name: field["examples"][0] for name, field in schemas["NewAccount"]["properties"].items()}
    assert example == ANN  # so that the examples in /docs work
    await ask("POST", f"{AUTHENTICATION}register/", json=example)
    await ask("POST", f"{AUTHENTICATION}register/", json={})
    await ask("POST", f"{AUTHENTICATION}register/", content=b"")
    link, name = await api.newest_link(), AUTHENTICATION + "verify-email/{uid}/{token}/"
    await ask("GET", name, link)
    await ask("GET", name, link, headers={"accept": "text/html"})
    await ask("POST", name, link, json={})
    await ask("POST", name, link)
    await ask("POST", name, f"{link[:-9]}/", headers={"accept": "text/html"})
    credentials = {"email": ANN["email"], "password": ANN["password"]}
    pair = (await ask("POST", f"{AUTHENTICATION}login/", json=credentials)).json()
    session = {"authorization": f"Bearer {pair['access']}"}
    await ask("POST", f"{AUTHENTICATION}login/", json=credentials | {"password": "x"})
    await ask("POST", f"{AUTHENTICATION}jwt/token/", json=credentials)
    await ask("POST", f"{AUTHENTICATION}jwt/token/refresh/", json={"refresh": pair["refresh"]})
    await ask("POST", f"{AUTHENTICATION}jwt/token/refresh/", json={"refresh": "x"})
    await ask("POST", f"{AUTHENTICATION}verify-email/resend/", json={"email": ANN["email"]})
    await ask("POST", f"{AUTHENTICATION}password/forgot/", json={"email": ANN["email"]})
    await ask("GET", AUTHENTICATION + "password/reset/{uid}/{token}/", await api.newest_link())
    await ask("GET", f"{AUTHENTICATION}sessions/", headers=session)
    await ask("GET", f"{AUTHENTICATION}sessions/")
    await ask("DELETE", f"{AUTHENTICATION}sessions/", headers=session)
    await ask("DELETE", AUTHENTICATION + "sessions/{session_id}/", f"{AUTHENTICATION}sessions/x/", headers=session)
    await ask("GET", ME, headers=session)
    await ask("PATCH", ME, headers=session, json={"username": "anna"})
    await ask("GET", f"{ME}export/", headers=session)
    await ask("POST", f"{AUTHENTICATION}logout/", headers=session)


async def test_the_docs_load_nothing_external(api: httpx.AsyncClient) -> None:
    page = await api.get("/docs")
    assert page.status_code == 200
    linked = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert linked
    for url in linked:
        assert url.startswith(("/", "data:"))
        if url.startswith("/"):
            assert (await api.get(url)).status_code == 200, url
    assert "unsafe-inline" not in page.headers["content-security-policy"].split("script-src")[1].split(";")[0]


async def test_security_txt_has_the_contact(open_api: OpenApi) -> None:
    path = "/.well-known/security.txt"
    environ = {"MOVIE_SECURITY_CONTACT": "mailto:security@example.com", "MOVIE_PUBLIC_URL": "https://m.test"}
    async with open_api(clock=lambda: datetime(2026, 11, 10, 12, tzinfo=UTC), **environ) as api:
        response = await api.get(path, headers={"host": "m.test"})
        assert (response.status_code, response.headers["content-type"]) == (200, "text/plain; charset=utf-8")
        assert dict(line.split(": ", 1) for line in response.text.splitlines()) == {
            "Contact": "mailto:security@example.com",
            "Expires": "2027-05-09T00:00:00Z",  # at midnight, 180 days later
            "Preferred-Languages": "en",
            "Canonical": f"https://m.test{path}",
        }
    async with open_api() as api:
        assert_problem(await api.get(path), 404, "not_found")


async def test_the_links_of_the_start_page_work(api: httpx.AsyncClient) -> None:
    page = await api.get("/")
    assert page.headers["content-type"].startswith("text/html")
    for url in re.findall(r'href="([^"]+)"', page.text):
        assert (await api.get(url.replace("matrix", "river"))).status_code == 200, url


async def test_every_error_code_has_a_page(api: httpx.AsyncClient) -> None:
    for code, problem_type in PROBLEMS.items():
        page = await api.get(f"/errors/{code}")
        assert page.status_code == 200
        assert str(problem_type.status) in page.text
        assert code in page.text
    assert_problem(await api.get("/errors/nonsense"), 404, "not_found")


async def test_the_attribution_of_the_source_is_shown(open_api: OpenApi) -> None:
    async with open_api(MOVIE_SOURCE="tmdb", MOVIE_SOURCE_TOKEN="token") as api:
        for path in ("/", "/openapi.json"):
            assert "TMDB" in (await api.get(path)).text
    async with open_api() as api:
        assert "TMDB" not in (await api.get("/")).text


async def test_the_start_page_states_whether_search_requires_an_account(open_api: OpenApi) -> None:
    async with open_api(MOVIE_PUBLIC_SEARCH="true") as api:
        assert "Search is public" in (await api.get("/")).text
    async with open_api(MOVIE_PUBLIC_SEARCH="false") as api:
        assert "Search requires an account" in (await api.get("/")).text
