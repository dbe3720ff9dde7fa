"""Static security analysis of the source code with Bandit."""

import json
import subprocess
from pathlib import Path
from typing import Any

from scan.findings import DIST, ROOT, Finding, ScanError, report, tool

CONSTANTS = "only constants of the code are formatted into SQL, values are bound; sqlmap finds nothing"
ACCEPTED = {
    "B101": "ruff's S101 is enabled as well and requires a comment at each assert",
    "B105": "names of emails and settings, no passwords; ruff's S105 requires a comment at each",
    "B106": "names of redacted fields, no passwords; ruff's S106 requires a comment at each",
    "B311": "simulated faults of the stand-in, and request ids, which are not secret; tokens come from `secrets`",
    "B608 src/movie_adapters/catalogue/postgres.py": CONSTANTS,
    "B608 src/movie_adapters/catalogue/sqlite.py": CONSTANTS,
}
"""Accepted rules, or rules in one file, with the reason why they are safe."""
PLANTED = "import subprocess\nsubprocess.run(input(), shell=True)\n"


def read_report(data: dict[str, Any]) -> list[Finding]:
    """The findings of a JSON report; raises `ScanError` if a file could not be read."""
    if data["errors"]:
        raise ScanError(f"bandit could not read all files: {data['errors']}")
    return [
        Finding(one["test_id"], one["filename"].removeprefix("./"), f"line {one['line_number']}: {one['issue_text']}")
        for one in data["results"]
    ]


def bandit(*arguments: str, text: str = "") -> dict[str, Any]:
    """Run Bandit and return its JSON report."""
    program = tool("bandit", ROOT / ".venv-scan" / "bin" / "bandit", "make .venv-scan/.synced")
    command: tuple[str | Path, ...] = (program, "--quiet", "--format", "json", *arguments)
    ran = subprocess.run(command, cwd=ROOT, input=text, capture_output=True, text=True, check=False)
    try:
        data: dict[str, Any] = json.loads(ran.stdout)
    except ValueError:
        raise ScanError(f"bandit wrote no report: {ran.stdout}{ran.stderr}") from None
    return data


def scan() -> bool:
    """Returns True if all findings are accepted."""
    if "B602" not in {one.rule for one in read_report(bandit("-", text=PLANTED))}:
        raise ScanError("bandit does not find the planted shell command")
    # The contract suites consist of assertions and are used in tests only.
    data = bandit("--recursive", "src", "--exclude", "src/movie_core/testing")
    DIST.mkdir(parents=True, exist_ok=True)
    (DIST / "bandit.json").write_text(json.dumps(data, indent=1))
    lines = data["metrics"]["_totals"]["loc"]
    return report("bandit", f"{lines:,} lines", read_report(data), ACCEPTED)
