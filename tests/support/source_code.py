"""The syntax trees of all source files."""

import ast
from pathlib import Path
from typing import Any, TypeVar

SRC = Path(__file__).parents[2] / "src"
TREES = {str(path.relative_to(SRC)): ast.parse(path.read_text(encoding="utf-8")) for path in SRC.rglob("*.py")}
"""The syntax tree of each module, by path."""

Node = TypeVar("Node", bound=ast.AST)

NODES: dict[type[ast.AST], list[tuple[str, Any]]] = {}
"""All syntax nodes by type, each with the path of its module; collected once."""

for _path, _tree in TREES.items():
    for _node in ast.walk(_tree):
        NODES.setdefault(type(_node), []).append((_path, _node))


def nodes(kind: type[Node]) -> list[tuple[str, Node]]:
    return NODES[kind]


IMPORTED = [(path, alias.name) for path, node in nodes(ast.Import) for alias in node.names]
IMPORTED += [(path, node.module or "") for path, node in nodes(ast.ImportFrom)]
"""All imports: path of the module and full imported name."""


def importers(package: str) -> set[str]:
    return {path for path, name in IMPORTED if name.partition(".")[0] == package}


def called(node: ast.Call) -> tuple[str, str]:
    """Returns owner and name of a call: ("os", "system") for `os.system()`, ("", "eval") for `eval()`."""
    if isinstance(node.func, ast.Attribute):
        owner = node.func.value
        return owner.id if isinstance(owner, ast.Name) else ast.unparse(owner), node.func.attr
    return "", node.func.id if isinstance(node.func, ast.Name) else ""
