"""The documentation matches the code: tables are compared with it, and examples run."""

import importlib
import re
import sys
import tomllib
from pathlib import Path

import pytest
from tests.support.documents import ROOT, example, table, write_adapter_guide
from tests.support.openapi import PATHS, SCHEMAS

from movie_adapters.settings.settings import reference
from movie_api.problems import PROBLEMS
from movie_standin.faults import RESPONSE_KINDS

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def test_the_errors_are_those_of_the_code() -> None:
    documented = {row[0].strip("`"): (int(row[1]), row[2]) for row in table("docs/errors.md", "code")}
    assert documented == {code: (kind.status, kind.explanation) for code, kind in PROBLEMS.items()}


def test_the_requests_of_accounts_are_those_of_the_code() -> None:
    rows = table("docs/accounts.md", "task")
    assert len(rows) == 15
    for _, request, body in rows:
        if request == "`POST` to the mailed link":
            request = "`POST authentication/verify-email/{uid}/{token}/`"
        method, path = request.strip("`").split()
        operation = PATHS[f"/api/v1/{path}"][method.lower()]
        fields = set(re.findall(r'"(\w+)"', body))
        if not fields:
            assert "requestBody" not in operation, request
            continue
        schema = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
        assert fields == set(SCHEMAS[schema]["properties"]), request


def test_the_settings_are_those_of_the_code() -> None:
    documented = [[cell.strip("`") for cell in row] for row in table("docs/settings.md", "setting")]
    assert documented == [[cell.strip("`") for cell in row] for row in reference()]


def test_the_example_environment_lists_every_setting() -> None:
    documented = re.findall(r"^# (MOVIE_\w+)=", (ROOT / ".env.example").read_text(), re.MULTILINE)
    assert documented == [name for name, _, _ in reference()]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_documentation_links_have_existing_targets(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
        if not target.startswith(("http:", "https:")):
            assert (page.parent / target).exists(), target


def test_the_library_example_of_the_readme_runs(capsys: pytest.CaptureFixture[str]) -> None:
    exec(example("README.md", "python library"), {})
    assert capsys.readouterr().out == "The Third Man\n"


def test_the_adapter_guide_passes_its_contract_and_is_wired(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_adapter_guide(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    for name in ("text_file_movies", "test_text_file_movies", "my_movies"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    suite = importlib.import_module("test_text_file_movies").TestTextFileMovies()
    clauses = [clause for clause in dir(suite) if clause.startswith("test_")]
    assert len(clauses) > 10
    for clause in clauses:
        getattr(suite, clause)()
    assert importlib.import_module("my_movies").app().litestar.routes


def test_the_faults_of_the_stand_in_are_those_of_the_code() -> None:
    listed = [name for _, names in table("docs/movie-sources.md", "group") for name in names.replace("`", "").split()]
    assert sorted([*listed, "400"]) == sorted(RESPONSE_KINDS)  # "400" represents every status


def test_the_changelog_has_the_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert f"## {version}" in (ROOT / "CHANGELOG.md").read_text()
