"""The output of the linters is parsed correctly, and the hook for openapi-python-client repairs a generated class."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import yaml
from clients.linters import ROOT, LintResult, read_redocly, read_spectral, summary

MODEL = """\
from __future__ import annotations
from typing import Any, TypeVar
from typing import Literal, cast

class Movie:
    cast: list[str]

    @classmethod
    def from_dict(cls, d: dict[str, Any]) -> Movie:
        movie = cls()
        cast = cast(list[str], d.pop("cast"))
        movie.cast = cast
        return movie
"""


def test_the_first_hook_makes_a_property_named_cast_work(tmp_path: Path) -> None:
    hook = yaml.safe_load((ROOT / "clients" / "openapi-python-client.yaml").read_text())["post_hooks"][0]
    assert shlex.split(hook)[0] == "python"
    model = tmp_path / "package" / "models" / "movie.py"
    model.parent.mkdir(parents=True)
    model.write_text(MODEL)
    (tmp_path / "types.py").write_text("raise ImportError")  # a generated package has a module with this name
    environ = {"PATH": os.pathsep.join([str(Path(sys.executable).parent), os.defpath])}
    subprocess.run(hook, shell=True, cwd=tmp_path, env=environ, check=True)
    names: dict[str, type] = {}
    exec(model.read_text(), names)
    assert names["Movie"].from_dict({"cast": ["Ingrid Bergman"]}).cast == ["Ingrid Bergman"]


def test_errors_and_warnings_of_spectral_are_read() -> None:
    results = [
        {"code": "oas3-schema", "severity": 0, "path": ["paths", "/a", "get"], "message": "wrong"},
        {"code": "info-contact", "severity": 1, "path": ["info"], "message": "absent"},
    ]
    assert read_spectral(results) == [
        LintResult("oas3-schema", "paths//a/get", "wrong"),
        LintResult("info-contact", "info", "absent"),
    ]


def test_errors_and_warnings_of_redocly_are_read() -> None:
    located = {"location": [{"pointer": "#/info"}], "message": "wrong"}
    problems = [
        {"ruleId": "struct", "severity": "error"} | located,
        {"ruleId": "info-license", "severity": "warn"} | located,
    ]
    assert read_redocly({"totals": {}, "problems": problems}) == [
        LintResult("struct", "#/info", "wrong"),
        LintResult("info-license", "#/info", "wrong"),
    ]


def test_the_summary_counts_and_lists_violations() -> None:
    assert summary("it", []) == "it: 0 errors and warnings"
    assert summary("it", [LintResult("struct", "#/info", "wrong")]).splitlines() == [
        "it: 1 errors and warnings",
        "it: struct at #/info: wrong",
    ]


def test_npm_packages_come_from_the_public_registry_with_their_hashes() -> None:
    for lock in (ROOT / "clients" / "package-lock.json", ROOT / "scan" / "spectral" / "package-lock.json"):
        packages = json.loads(lock.read_text())["packages"]
        for name, package in packages.items():
            assert package.get("resolved", "https://registry.npmjs.org/").startswith("https://registry.npmjs.org/"), (
                name
            )
            assert not name or package["integrity"].startswith("sha512-"), name
