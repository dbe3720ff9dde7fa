"""Which mutants count, and that the mutated modules and their tests exist."""

import pytest
from mutation.behaviour import behaviour
from mutation.modules import GROUPS, Module
from tests.support.documents import ROOT

ORIGINAL = '''
from dataclasses import dataclass

LIMIT: int | None = 3

@dataclass(frozen=True, slots=True)
class Value:
    name: str | None = None

def shorten(text: str | None, *, length: int = 10, mark: str = "…") -> str | None:
    """Shorten a text."""
    counts: dict[str | int, int] = {}
    return text if text is None or len(text) <= length else text[:length] + mark
'''


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("LIMIT: int | None", "LIMIT: int & None"),
        ("text: str | None", "text: str ^ None"),
        ("-> str | None", "-> str + None"),
        ("dict[str | int, int]", "dict[str - int, int]"),
        ("name: str | None", "name: str >> None"),
        ("text: str | None, *,", "text: str | None, /,"),
        ("slots=True", "slots=False"),
    ],
)
def test_a_mutant_of_an_annotation_or_the_kind_of_a_parameter_behaves_equally(old: str, new: str) -> None:
    assert old in ORIGINAL
    assert behaviour(ORIGINAL.replace(old, new)) == behaviour(ORIGINAL)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("= 3", "= 4"),
        ("frozen=True", "frozen=False"),
        ("@dataclass(frozen=True, slots=True)\n", ""),
        ("length: int = 10", "length: int = 11"),
        ("<= length", "< length"),
        ("is None", "is not None"),
        (" or ", " and "),
        ("+ mark", "* mark"),
    ],
)
def test_a_mutant_of_the_code_behaves_differently(old: str, new: str) -> None:
    assert old in ORIGINAL
    assert behaviour(ORIGINAL.replace(old, new)) not in {None, behaviour(ORIGINAL)}


@pytest.mark.parametrize("text", ["def", "break", "return 1", "x = y is 'a'"])
def test_a_mutant_that_does_not_compile_without_warnings_has_no_behaviour(text: str) -> None:
    assert behaviour(text) is None


@pytest.mark.parametrize("module", [module for group in GROUPS.values() for module in group], ids=lambda one: one.name)
def test_the_mutated_modules_and_their_tests_exist(module: Module) -> None:
    for path in (module.path, *(test for test in module.tests if test.startswith("tests/"))):
        file, _, test = path.partition("::")
        assert f"def {test}" in (ROOT / file).read_text(), path


def test_the_make_target_is_documented_and_its_environment_is_locked() -> None:
    assert "mutation: setup .venv-mutation/.synced ## " in (ROOT / "Makefile").read_text()
    assert "`make mutation`" in (ROOT / "CONTRIBUTING.md").read_text()
    assert 'name = "cosmic-ray"' in (ROOT / "uv.lock").read_text()
