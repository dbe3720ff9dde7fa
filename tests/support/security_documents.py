"""Access to the tables of the security documents."""

import re
from functools import cache

from tests.support.documents import ROOT

POLICIES = "docs/security-policies.md"

Table = list[dict[str, str]]


@cache
def tables(page: str) -> dict[str, list[Table]]:
    """Returns the tables of a page by heading; a row maps column names to cells."""
    found: dict[str, list[Table]] = {}
    heading, rows = "", list[list[str]]()
    for line in [*(ROOT / page).read_text(encoding="utf-8").splitlines(), "#"]:
        if line.startswith("|"):
            rows.append([cell.strip() for cell in line.strip().strip("|").split("|")])
            continue
        if rows:
            names, _, *cells = rows
            assert [row for row in cells if len(row) != len(names)] == [], (page, heading)
            found.setdefault(heading, []).append([dict(zip(names, row, strict=True)) for row in cells])
            rows = []
        if line.startswith("#"):
            heading = line.lstrip("#").strip()
    return found


def table(page: str, heading: str, number: int = 0) -> Table:
    return tables(page)[heading][number]


def section(page: str, heading: str) -> str:
    """Returns the text between a heading and the next one of its level."""
    _, marks, text = re.split(rf"^(#+) {re.escape(heading)}$", (ROOT / page).read_text(encoding="utf-8"), flags=re.M)
    return re.split(rf"^{marks} ", text, flags=re.M)[0]


def quoted(text: str) -> list[str]:
    return re.findall(r"`([^`]+)`", text)
