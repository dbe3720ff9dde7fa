"""Spectral and Redocly on the OpenAPI document. Warnings are counted, errors are listed."""

import json
import subprocess
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scan import spectral

ROOT = Path(__file__).parents[1]
REDOCLY = ROOT / ".npm-clients" / "node_modules" / ".bin" / "redocly"


@dataclass(frozen=True, slots=True)
class LintResult:
    """A violation of a rule."""

    is_error: bool
    rule: str
    place: str
    """Path within the document."""
    text: str


def lint_with_spectral(document: Path) -> list[LintResult]:
    return read_spectral(spectral.spectral(document, ROOT / "clients" / "spectral.yaml"))


def read_spectral(results: Iterable[dict[str, Any]]) -> list[LintResult]:
    return [
        LintResult(one["severity"] == 0, one["code"], "/".join(map(str, one["path"])), one["message"])
        for one in results
    ]


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
        LintResult(one["severity"] == "error", one["ruleId"], one["location"][0].get("pointer", ""), one["message"])
        for one in report["problems"]
    ]


def summary(linter: str, results: Iterable[LintResult]) -> str:
    """One line with the number of errors, and of warnings by rule; then a line for each error."""
    errors = [one for one in results if one.is_error]
    warnings = Counter(one.rule for one in results if not one.is_error)
    counts = ", ".join(f"{count} x {rule}" for rule, count in warnings.items()) or "none"
    lines = [f"{linter}: {len(errors)} errors; warnings: {counts}"]
    return "\n".join(lines + [f"{linter}: {one.rule} at {one.place}: {one.text}" for one in errors])
