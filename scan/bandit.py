"""Dangerous constructs in our code, by bandit."""

import json
import subprocess
from pathlib import Path
from typing import Any

from scan.findings import DIST, ROOT, Finding, ScanError, report, tool

CONSTANTS = "only constants of ours become SQL, values are bound; sqlmap finds nothing"
ACCEPTED = {
    "B101": "ruff's S101 is on as well and asks for a comment at each assert",
    "B105": "names of mails and settings, none is a password; ruff's S105 asks for a comment at each",
    "B106": "names of what to redact, none is a password; ruff's S106 asks for a comment at each",
    "B311": "the stand-in's made-up faults, and request ids that are no secret; tokens are of `secrets`",
    "B608 src/movie_adapters/catalogue/postgres.py": CONSTANTS,
    "B608 src/movie_adapters/catalogue/sqlite.py": CONSTANTS,
}
"""Rules, or rules at one file, with the reason why they are no danger."""
PLANTED = "import subprocess\nsubprocess.run(input(), shell=True)\n"


def read_report(told: dict[str, Any]) -> list[Finding]:
    """The findings of a JSON report; raises `ScanError` where a file could not be read."""
    if told["errors"]:
        raise ScanError(f"bandit could not read everything: {told['errors']}")
    return [
        Finding(one["test_id"], one["filename"].removeprefix("./"), f"line {one['line_number']}: {one['issue_text']}")
        for one in told["results"]
    ]


def bandit(*arguments: str, text: str = "") -> dict[str, Any]:
    """Its report."""
    program = tool("bandit", ROOT / ".venv-scan" / "bin" / "bandit", "make .venv-scan/.synced")
    command: tuple[str | Path, ...] = (program, "--quiet", "--format", "json", *arguments)
    ran = subprocess.run(command, cwd=ROOT, input=text, capture_output=True, text=True, check=False)
    try:
        told: dict[str, Any] = json.loads(ran.stdout)
    except ValueError:
        raise ScanError(f"bandit gave no report: {ran.stdout}{ran.stderr}") from None
    return told


def scan() -> bool:
    """Whether all findings are accepted ones."""
    if "B602" not in {one.rule for one in read_report(bandit("-", text=PLANTED))}:
        raise ScanError("bandit does not find the planted shell command")
    # The contract suites consist of assertions; they are for tests alone.
    told = bandit("--recursive", "src", "--exclude", "src/movie_core/testing")
    DIST.mkdir(parents=True, exist_ok=True)
    (DIST / "bandit.json").write_text(json.dumps(told, indent=1))
    lines = told["metrics"]["_totals"]["loc"]
    return report("bandit", f"{lines:,} lines", read_report(told), ACCEPTED)
