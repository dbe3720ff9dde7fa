"""Mutation testing with cosmic-ray: `make mutation`, or `python -m mutation --mutants all`.

Each mutant changes one operator, number, condition or decorator of a module in `modules.py`, in a temporary copy of the
source tree. It is killed if a test of the module fails or does not end. The exit code is 1 if fewer than `--minimum`
percent of the mutants are killed. By default a sample of each module is tested; the same seed draws the same mutants.

Mutants that cannot behave differently are excluded, as they would be killed by the import or could not be killed at
all: those that do not compile, and those that change only annotations, the kind of a parameter (positional or keyword)
or `slots` of a dataclass.
"""

import argparse
import json
import os
import queue
import resource
import shutil
import subprocess
import sys
import tempfile
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from mutation.modules import GROUPS, Module

ROOT = Path(__file__).parents[1]
PYTHON = ROOT / ".venv" / "bin" / "python"
COSMIC_RAY_PYTHON = ROOT / ".venv-mutation" / "bin" / "python"
COPIED = ("src", "tests", "mutation", "scripts", "docs", "pyproject.toml")
MEMORY = 4 << 30
"""Bytes of address space of one process: a mutant may allocate without end."""
PROCESSES = 2


class MutationError(Exception):
    """A session could not run."""


@dataclass(frozen=True, slots=True)
class Survivor:
    place: str
    operator: str
    change: str


@dataclass(frozen=True, slots=True)
class Score:
    """The result of one module, or of several."""

    name: str
    candidates: int
    """Mutants from which the sample was taken, before exclusion."""
    excluded: int
    killed: int
    timeouts: int
    """Killed mutants whose tests did not end."""
    survivors: tuple[Survivor, ...]
    seconds: float

    @property
    def tested(self) -> int:
        return self.killed + len(self.survivors)

    @property
    def percent(self) -> float:
        return 100 * self.killed / self.tested if self.tested else 100.0

    def __str__(self) -> str:
        return (
            f"{self.name:40} {self.candidates:9,} {self.excluded:8} {self.tested:6} {self.killed:6} {self.timeouts:8} "
            f"{len(self.survivors):8} {self.percent:6.1f} % {self.seconds:6.0f} s"
        )


HEADER = f"{'module':40} {'mutants':>9} {'excluded':>8} {'tested':>6} {'killed':>6} {'timeouts':>8} survived    score"


def total(name: str, scores: list[Score]) -> Score:
    return Score(
        name,
        sum(score.candidates for score in scores),
        sum(score.excluded for score in scores),
        sum(score.killed for score in scores),
        sum(score.timeouts for score in scores),
        tuple(survivor for score in scores for survivor in score.survivors),
        sum(score.seconds for score in scores),
    )


def copy_tree(folder: Path) -> Path:
    """Copy what the tests of the modules read."""
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, folder / name)
    return folder


def test_module(module: Module, folder: Path, sample: int | None, seed: int) -> Score:
    """Run a session in a copy of the source tree."""
    began = time.monotonic()
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("MOVIE_", "PYTEST_"))} | {
        "HYPOTHESIS_PROFILE": "mutation",
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "PYTHONHASHSEED": "0",
        "PYTHONPATH": str(folder / "src"),
    }
    with tempfile.TemporaryDirectory(prefix="mutation-") as session:
        path = Path(session) / "tests.socket"
        server = subprocess.Popen(
            [PYTHON, "-m", "mutation.server", path, *module.tests],
            cwd=folder,
            env=environ,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert server.stdout is not None
            if not server.stdout.readline():
                raise MutationError(f"{module.name}: the tests fail without a mutant")
            request = {
                "module": module.path,
                "sample": sample,
                "seed": f"{seed} {module.name}",
                "socket": str(path),
            }
            completed = subprocess.run(
                [COSMIC_RAY_PYTHON, "-m", "mutation.session", json.dumps(request)],
                cwd=folder,
                env=environ,
                stdout=subprocess.PIPE,
                text=True,
                check=False,
            )
        finally:
            server.kill()
            server.communicate()
    if completed.returncode:
        raise MutationError(f"{module.name}: cosmic-ray failed")
    *results, counts = map(json.loads, completed.stdout.splitlines())
    return Score(
        module.name,
        counts["candidates"],
        counts["excluded"],
        sum(result["is_killed"] for result in results),
        sum(result["is_timeout"] for result in results),
        tuple(
            Survivor(f"{module.path}:{result['line']}", result["operator"], result["change"])
            for result in results
            if not result["is_killed"]
        ),
        time.monotonic() - began,
    )


def sample_size(text: str) -> int | None:
    return None if text == "all" else int(text)


def main() -> int:
    modules = {module.name: module for group in GROUPS.values() for module in group}
    parser = argparse.ArgumentParser(prog="python -m mutation", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--mutants", type=sample_size, default=40, help="mutants per module, or `all` (default: 40)")
    parser.add_argument("--seed", type=int, default=1, help="seed of the samples")
    parser.add_argument("--module", choices=modules, action="append", help="only this module (default: all)")
    parser.add_argument("--minimum", type=float, default=85.0, help="required score in percent")
    parser.add_argument("--processes", type=int, default=PROCESSES, help="modules tested at the same time")
    parser.add_argument("--report", type=Path, help="also write the results to this file, as JSON")
    arguments = parser.parse_args()
    if not COSMIC_RAY_PYTHON.exists():
        print("mutation: cosmic-ray is missing: make .venv-mutation/.synced", file=sys.stderr)
        return 1
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]))
    print(f"seed {arguments.seed}", HEADER, sep="\n", flush=True)
    copies = queue.SimpleQueue[Path]()

    def run(name: str) -> Score:
        folder = copies.get()
        try:
            score = test_module(modules[name], folder, arguments.mutants, arguments.seed)
        finally:
            copies.put(folder)
        details = (f"  {one.place} {one.operator}\n{textwrap.indent(one.change, '    ')}" for one in score.survivors)
        print(score, *details, sep="\n", flush=True)
        return score

    with tempfile.TemporaryDirectory(prefix="mutation-") as folder, ThreadPoolExecutor(arguments.processes) as pool:
        for number in range(arguments.processes):
            copies.put(copy_tree(Path(folder) / str(number)))
        try:
            scores = {score.name: score for score in pool.map(run, arguments.module or modules)}
        except MutationError as error:
            print(f"mutation: {error}", file=sys.stderr)
            return 1
    result = total("total", list(scores.values()))
    print("", HEADER, sep="\n")
    for name, group in GROUPS.items():
        print(total(name, [scores[module.name] for module in group if module.name in scores]))
    print(result)
    if arguments.report:
        arguments.report.write_text(json.dumps([asdict(score) for score in scores.values()], indent=1))
    if result.percent < arguments.minimum:
        print(f"mutation: the score is below {arguments.minimum:g} %", file=sys.stderr)
        return 1
    return 0


sys.exit(main())
