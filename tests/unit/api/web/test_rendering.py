"""The templates of all pages, rendered by the environment of the API."""

from typing import Any

import pytest
from jinja2 import Environment, UndefinedError, meta
from tests.support.html import Html

from movie_api.problems import ProblemType
from movie_api.web.rendering import template_config

HOSTILE = "\"'><script>alert(1)</script><a href='{{ 7 * 7 }}' onload=\"x"
HARMLESS = "a text"
TEMPLATES = [
    "account/activated.html",
    "account/activation_form.html",
    "account/already_activated.html",
    "account/invalid_link.html",
    "account/password_changed.html",
    "account/password_form.html",
    "account/problem.html",
    "account/username_taken.html",
    "dashboard.html",
    "docs.html",
    "error.html",
    "start.html",
]


@pytest.fixture(scope="module")
def environment() -> Environment:
    return template_config().engine_instance.engine


def variables(environment: Environment, name: str) -> set[str]:
    assert environment.loader is not None
    source, _, _ = environment.loader.get_source(environment, name)
    return meta.find_undeclared_variables(environment.parse(source)) - {"self", "password_field"}  # an imported macro


def context(names: set[str], value: str) -> dict[str, Any]:
    return {name: ProblemType(400, value, value) if name == "problem_type" else value for name in names}


def test_every_page_is_in_the_list(environment: Environment) -> None:
    assert environment.list_templates() == sorted([*TEMPLATES, "base.html", "account/password_field.html"])


@pytest.mark.parametrize("name", TEMPLATES)
def test_no_value_changes_the_structure_of_a_page(environment: Environment, name: str) -> None:
    template, names = environment.get_template(name), variables(environment, name)
    hostile = template.render(context(names, HOSTILE))
    assert Html(hostile).structure == Html(template.render(context(names, HARMLESS))).structure
    shown = names - {"is_activation", "is_new", "public_search"}
    assert ("{{ 7 * 7 }}" in hostile) == bool(shown)


@pytest.mark.parametrize("name", TEMPLATES)
def test_every_page_extends_the_base_template(environment: Environment, name: str) -> None:
    page = environment.get_template(name).render(context(variables(environment, name), HARMLESS))
    assert page.startswith('<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n')
    assert page.endswith("</body>\n</html>\n")
    assert [tag for tag, _ in Html(page).structure].count("title") == 1


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_missing_value_is_an_error(environment: Environment, name: str) -> None:
    names = variables(environment, name)
    for missing in names:
        with pytest.raises(UndefinedError):
            environment.get_template(name).render(context(names - {missing}, HARMLESS))


def test_no_template_disables_escaping(environment: Environment) -> None:
    assert environment.loader is not None
    for name in environment.list_templates():
        source, _, _ = environment.loader.get_source(environment, name)
        assert not [word for word in ("safe", "autoescape", "Markup") if word in source], name


def test_text_between_backticks_is_code(environment: Environment) -> None:
    problem_type = ProblemType(400, "Title", "`a<b` must be `c`, not d.")
    page = environment.get_template("error.html").render(code="x", problem_type=problem_type)
    assert "<p><code>a&lt;b</code> must be <code>c</code>, not d.</p>" in page
