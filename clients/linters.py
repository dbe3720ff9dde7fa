"""Spectral and Redocly on the OpenAPI document."""

import json
import subprocess
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scan import spectral

ROOT = Path(__file__).parents[1]
REDOCLY = ROOT / ".npm-clients" / "node_modules" / ".bin" / "redocly"


@dataclass(frozen=True, slots=True)
class LintResult:
    """A violation of a rule: an error or a warning."""

    rule: str
    place: str
    """Path within the document."""
    text: str


def lint_with_spectral(document: Path) -> list[LintResult]:
    return read_spectral(spectral.spectral(document, ROOT / "clients" / "spectral.yaml"))


def read_spectral(results: Iterable[dict[str, Any]]) -> list[LintResult]:
    return [LintResult(one["code"], "/".join(map(str, one["path"])), one["message"]) for one in results]


def lint_with_redocly(document: Path) -> list[LintResult]:
    config = ROOT / "clients" / "redocly.yaml"
    command = (REDOCLY, "lint", document, "--config", config, "--format", "json", "--max-problems", "10000")
    ran = subprocess.run(command, cwd=document.parent, capture_output=True, text=True, check=False)
    try:
        return read_redocly(json.loads(ran.stdout))
    except ValueError:
        raise RuntimeError(f"redocly wrote no report: {ran.stdout[-1000:]}{ran.stderr[-1000:]}") from None


def read_redocly(report: dict[str, Any]) -> list[LintResult]:
    return [
        LintResult(one["ruleId"], one["location"][0].get("pointer", ""), one["message"]) for one in report["problems"]
    ]


def summary(linter: str, results: Collection[LintResult]) -> str:
    """One line with the number of violations; then a line for each."""
    lines = (f"{linter}: {one.rule} at {one.place}: {one.text}" for one in results)
    return "\n".join((f"{linter}: {len(results)} errors and warnings", *lines))
