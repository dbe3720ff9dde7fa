"""One session of cosmic-ray: chooses mutants of a module, runs its tests on each, and prints the results.

`python -m mutation.session REQUEST` runs in `.venv-mutation`, in a copy of the source tree. `REQUEST` is a `Request` in
JSON. Each line of output is a `Result` in JSON; the last one has the number of mutants from which the sample was taken,
and that of the excluded ones.
"""

import json
import random
import shlex
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cosmic_ray.commands import execute, init
from cosmic_ray.config import ConfigDict
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator
from cosmic_ray.work_db import WorkDB, use_db
from cosmic_ray.work_item import MutationSpec, WorkerOutcome

from mutation.behaviour import behaviour

TEST_SECONDS = 3600
"""Not the timeout of a test run, which the test server has; only if that hangs."""


@dataclass(frozen=True, slots=True)
class Request:
    module: str
    sample: int | None
    """Maximum number of mutants; None: all."""
    seed: str
    socket: str


@dataclass(frozen=True, slots=True)
class Result:
    is_killed: bool
    is_timeout: bool
    operator: str
    line: int
    change: str
    """The removed and the added line."""


def select(database: WorkDB, request: Request) -> tuple[int, int]:
    """Remove all mutants but those of the sample. Returns the number of mutants, and how many of the drawn ones were
    excluded because they do not compile or do not change the behaviour."""
    source = Path(request.module).read_text()
    original = behaviour(source)
    items = sorted(database.work_items, key=lambda item: (_spec(item).operator_name, _spec(item).occurrence))
    random.Random(request.seed).shuffle(items)
    chosen, excluded = list[Any](), 0
    for item in items:
        if request.sample is not None and len(chosen) == request.sample:
            break
        spec = _spec(item)
        mutant = mutate_code(source, get_operator(spec.operator_name)(**spec.operator_args), spec.occurrence)
        if mutant is None or behaviour(mutant) in {None, original}:
            excluded += 1
        else:
            chosen.append(item)
    database.clear()
    database.add_work_items(chosen)
    return len(items), excluded


def _spec(item: Any) -> MutationSpec:
    return item.mutations[0]


def results(database: WorkDB) -> list[Result]:
    found = []
    for item, result in database.completed_work_items:
        if result.worker_outcome is not WorkerOutcome.NORMAL:
            raise RuntimeError(f"cosmic-ray could not test a mutant: {result.output}")
        changes = [line for line in (result.diff or "").splitlines() if line[:1] in "+-" and line[:3] not in _HEADERS]
        found.append(
            Result(
                result.is_killed,
                result.output == "timeout",
                _spec(item).operator_name.removeprefix("core/"),
                _spec(item).start_pos[0],
                "\n".join(changes),
            )
        )
    return sorted(found, key=lambda result: (result.line, result.operator, result.change))


_HEADERS = ("---", "+++")


def main(request: Request) -> None:
    command = shlex.join([sys.executable, "-I", "-S", str(Path(__file__).with_name("request.py")), request.socket])
    config = ConfigDict(
        {"test-command": command, "timeout": TEST_SECONDS, "distributor": ConfigDict({"name": "local"})}
    )
    with use_db(Path(request.socket).with_name("session.sqlite")) as database:
        init([Path(request.module)], database, {})
        candidates, excluded = select(database, request)
        execute(database, config)
        for result in results(database):
            print(json.dumps(asdict(result)))
    print(json.dumps({"candidates": candidates, "excluded": excluded}))


if __name__ == "__main__":
    main(Request(**json.loads(sys.argv[1])))
