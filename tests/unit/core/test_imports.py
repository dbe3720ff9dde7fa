"""The core imports only the standard library, without `TYPE_CHECKING` blocks."""

import ast
import sys
from pathlib import Path

import pytest

CORE = Path(__file__).parents[3] / "src" / "movie_core"
ALLOWED = sys.stdlib_module_names | {"movie_core"}


@pytest.mark.parametrize("path", sorted(CORE.rglob("*.py")), ids=lambda path: str(path.relative_to(CORE)))
def test_only_the_standard_library_is_imported(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    assert not [node for node in imports if isinstance(node, ast.ImportFrom) and node.level]
    names = {alias.name for node in imports if isinstance(node, ast.Import) for alias in node.names}
    names |= {str(node.module) for node in imports if isinstance(node, ast.ImportFrom)}
    assert {name.partition(".")[0] for name in names} <= ALLOWED
    assert "TYPE_CHECKING" not in path.read_text(encoding="utf-8")
