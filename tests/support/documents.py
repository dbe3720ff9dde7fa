"""Access to the documentation: examples and tables."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def example(page: str, name: str) -> str:
    """Returns the code block that follows `<!-- test: name -->`."""
    match = re.search(rf"<!-- test: {re.escape(name)} -->\n```\w+\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)
    assert match, f"{page} has no example {name!r}"
    return match[1]


def table(page: str, first_column: str) -> list[list[str]]:
    """Returns the rows of the table whose first heading is `first_column`."""
    text = (ROOT / page).read_text()
    match = re.search(rf"^\| {first_column} \|.*?\n\|[-|]+\|\n((?:\|.*\n)+)", text, re.MULTILINE)
    assert match, f"{page} has no table {first_column!r}"
    return [[cell.strip() for cell in row.strip().strip("|").split("|")] for row in match[1].splitlines()]


def write_adapter_guide(folder: Path) -> None:
    """Writes the files of the adapter guide with the names stated there."""
    for name, block in (
        ("text_file_movies.py", "python adapter"),
        ("test_text_file_movies.py", "python proof"),
        ("my_movies.py", "python wired"),
    ):
        assert f"`{name}`" in (ROOT / "docs/adapters.md").read_text()
        (folder / name).write_text(example("docs/adapters.md", block), encoding="utf-8")
