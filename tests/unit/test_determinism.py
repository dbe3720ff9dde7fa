"""Unit tests give the same result on every machine: no real waiting, no wall-clock time, no patched constants."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.source_code import called
from tests.support.virtual_time import REAL_TIME

UNIT = Path(__file__).parent
FILES = {path.relative_to(UNIT).as_posix(): path for path in sorted(UNIT.rglob("*.py"))}

WALL_CLOCK = {"time.sleep", "time.time", "time.monotonic", "time.perf_counter", "datetime.now", "datetime.datetime.now"}
REAL_LOOP = {"asyncio.run", "asyncio.new_event_loop"}

ALLOWED = {
    ("core/memory/test_cache_store.py", "asyncio.sleep(0)"): "concurrent writers of a contract's clause take turns",
}
"""Uses that are meant, with the reason."""


def violations(tree: ast.AST, *, is_virtual: bool = True) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module in ("time", "asyncio"):
            yield f"from {node.module} import"  # the rules below know the qualified names only
        if not isinstance(node, ast.Call):
            continue
        name = ".".join(filter(None, called(node)))
        if name in WALL_CLOCK | REAL_LOOP or (name == "asyncio.Runner" and "VirtualTimeLoop" not in ast.unparse(node)):
            yield name
        elif name == "asyncio.sleep" and ast.unparse(node.args[0]) == "0":
            yield "asyncio.sleep(0)"  # use `settle`
        elif name == "asyncio.sleep" and not is_virtual:
            yield name
        elif name == "monkeypatch.setattr" and any(
            isinstance(part, ast.Constant) and str(part.value).rpartition(".")[2].isupper() for part in node.args[:2]
        ):
            yield "monkeypatch.setattr of a constant"  # make it an argument of the constructor


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_unit_test_depends_on_no_clock_and_on_no_patched_constant(name: str) -> None:
    found = set(violations(ast.parse(FILES[name].read_text(encoding="utf-8")), is_virtual=name not in REAL_TIME))
    assert {what for what in found if (name, what) not in ALLOWED} == set()


def test_every_exception_is_of_a_file_that_exists() -> None:
    assert REAL_TIME.keys() <= FILES.keys()
    for name, what in ALLOWED:
        assert what in set(violations(ast.parse(FILES[name].read_text(encoding="utf-8"))))


@pytest.mark.parametrize(
    ("code", "what"),
    [
        ("time.sleep(1)", "time.sleep"),
        ("began = time.monotonic()", "time.monotonic"),
        ("datetime.now(UTC)", "datetime.now"),
        ("from time import sleep", "from time import"),
        ("asyncio.run(main())", "asyncio.run"),
        ("asyncio.Runner()", "asyncio.Runner"),
        ("async def test():\n    await asyncio.sleep(0)", "asyncio.sleep(0)"),
        ("monkeypatch.setattr(module, 'MAX_KEYS', 10)", "monkeypatch.setattr of a constant"),
        ("monkeypatch.setattr('package.module.MAX_KEYS', 10)", "monkeypatch.setattr of a constant"),
        ("async def test():\n    await asyncio.sleep(1)", None),
        ("time.thread_time()", None),
        ("asyncio.Runner(loop_factory=VirtualTimeLoop)", None),
    ],
)
def test_violations_are_found(code: str, what: str | None) -> None:
    assert list(violations(ast.parse(code))) == ([] if what is None else [what])


def test_sleeping_in_an_ordinary_loop_is_a_violation() -> None:
    assert list(violations(ast.parse("asyncio.sleep(1)"), is_virtual=False)) == ["asyncio.sleep"]
