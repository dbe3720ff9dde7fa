"""The OpenAPI document: what each operation says about itself, its examples, and the names of its schemas."""

from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from litestar import get
from scripts.openapi_examples import collect
from tests.support.openapi import DOCUMENT, PATHS, SCHEMAS

from movie_api.openapi import document
from movie_api.problems import PROBLEMS
from movie_api.routes.movies import Movie
from movie_core.search.movies import Movie as CoreMovie

OPERATIONS = {operation["operationId"]: operation for methods in PATHS.values() for operation in methods.values()}


def successes(operation: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Media type and content of each 2xx body."""
    for status, response in operation["responses"].items():
        if status.startswith("2"):
            yield from response.get("content", {}).items()


def arrays(schema: Any) -> Iterator[dict[str, Any]]:
    """All schemas of arrays within a schema."""
    if isinstance(schema, dict):
        if schema.get("type") == "array":
            yield schema
        schema = list(schema.values())
    if isinstance(schema, list):
        for part in schema:
            yield from arrays(part)


def structure(value: Any) -> Any:
    """The fields and types of a JSON value, without the values; a list is as its first item."""
    if isinstance(value, dict):
        return {name: structure(field) for name, field in value.items()}
    if isinstance(value, list):
        return [structure(item) for item in value[:1]]
    return type(value).__name__


def test_every_operation_has_a_summary_and_a_description() -> None:
    for name, operation in OPERATIONS.items():
        assert operation["summary"], name
        assert operation["description"].endswith("."), name
    assert len({operation["description"] for operation in OPERATIONS.values()}) >= len(OPERATIONS) - 2  # of two links


def test_a_handler_without_an_operation_is_rejected() -> None:
    @get("/undocumented")
    async def undocumented() -> None: ...

    with pytest.raises(KeyError):
        document((undocumented,), "http://127.0.0.1:8000", version="1", public_search=False)


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_success_has_a_valid_example(name: str) -> None:
    for media_type, content in successes(OPERATIONS[name]):
        assert "example" in content, media_type
        Draft202012Validator(content["schema"] | {"components": DOCUMENT["components"]}).validate(content["example"])


async def test_the_examples_have_the_structure_of_real_responses() -> None:
    stored = {
        name: examples
        for name, operation in OPERATIONS.items()
        if (examples := {media_type: content["example"] for media_type, content in successes(operation)})
    }
    assert structure(stored) == structure(await collect()), "run `make examples`"


def test_paths_with_parameters_document_that_a_slash_in_one_makes_another_path() -> None:
    for path, methods in PATHS.items():
        for operation in methods.values():
            not_found = operation["responses"].get("404", {}).get("description", "")
            assert ("{" not in path) or "`not_found`" in not_found, path


def test_no_response_lists_an_error_code_twice() -> None:
    for name, operation in OPERATIONS.items():
        for response in operation["responses"].values():
            codes = response["description"].split(", ")
            assert len(codes) == len(set(codes)), name


def test_the_items_of_every_list_have_a_name() -> None:
    for name, schema in SCHEMAS.items():
        for array in arrays(schema):
            assert "$ref" in array["items"] or array["items"]["type"] in {"string", "integer"}, name


def test_the_list_of_error_codes_is_open() -> None:
    code = SCHEMAS["Problem"]["properties"]["code"]
    assert code["type"] == "string"
    assert code["examples"] == sorted(PROBLEMS)
    assert "enum" not in code


def test_the_readiness_of_further_dependencies_is_valid() -> None:
    health = Draft202012Validator(SCHEMAS["Health"] | {"components": DOCUMENT["components"]})
    assert health.is_valid({"status": "ready", "search": {"status": "up", "detail": "", "since": "2026-11-30"}})
    assert not health.is_valid({"status": "ready", "search": "up"})


def test_a_movie_has_the_fields_of_the_core() -> None:
    assert Movie.__struct_fields__ == tuple(field.name for field in fields(CoreMovie) if field.name != "alt_titles")
