"""The syntax trees of all source files, parsed for the first test that needs them."""

import ast
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

SRC = Path(__file__).parents[2] / "src"

Node = TypeVar("Node", bound=ast.AST)


@cache
def trees() -> dict[str, ast.Module]:
    """The syntax tree of each module, by path."""
    return {str(path.relative_to(SRC)): ast.parse(path.read_text(encoding="utf-8")) for path in SRC.rglob("*.py")}


@cache
def _nodes_by_type() -> dict[type[ast.AST], list[tuple[str, Any]]]:
    by_type: dict[type[ast.AST], list[tuple[str, Any]]] = {}
    for path, tree in trees().items():
        for node in ast.walk(tree):
            by_type.setdefault(type(node), []).append((path, node))
    return by_type


def nodes(kind: type[Node]) -> Sequence[tuple[str, Node]]:
    """All syntax nodes of a type, each with the path of its module."""
    return _nodes_by_type()[kind]


@cache
def imported() -> Sequence[tuple[str, str]]:
    """All imports: path of the module and full imported name."""
    return [
        *((path, alias.name) for path, node in nodes(ast.Import) for alias in node.names),
        *((path, node.module or "") for path, node in nodes(ast.ImportFrom)),
    ]


def importers(package: str) -> set[str]:
    return {path for path, name in imported() if name.partition(".")[0] == package}


def called(node: ast.Call) -> tuple[str, str]:
    """Returns owner and name of a call: ("os", "system") for `os.system()`, ("", "eval") for `eval()`."""
    if isinstance(node.func, ast.Attribute):
        owner = node.func.value
        return owner.id if isinstance(owner, ast.Name) else ast.unparse(owner), node.func.attr
    return "", node.func.id if isinstance(node.func, ast.Name) else ""
