"""Fuzzes the whole API from its OpenAPI document with Schemathesis: `make fuzz FUZZ_CASES=100000`.

Schemathesis runs with all checks against a real server with the embedded adapters and without rate limits, once per
condition of the movie source: the embedded catalogue, and the third-party stand-in with failure rates of 0, 50 and
100 %. `hooks.py` provides authentication and the list of expected rejections.
"""

import argparse
import itertools
import json
import random
import re
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.support.programs import PROGRAM, WITHOUT_LIMITS, environment, running
from tests.support.servers import free_port

ROOT = Path(__file__).parents[1]
SCHEMATHESIS = ROOT / ".venv-fuzz" / "bin" / "schemathesis"
CONDITIONS: dict[str, float | None] = {"films": None, "source 0 %": 0.0, "source 50 %": 0.5, "source 100 %": 1.0}
"""Failure rate of the third-party stand-in; None: the embedded catalogue is the source."""
PARALLEL_CONDITIONS = 2
"""Conditions tested in parallel; within one, server and Schemathesis mostly wait for each other."""
MAX_EXAMPLES = 250
"""Per operation and round. Limited because cases are counted only when a round has ended."""


def fuzz(fail_rate: float | None, cases: int, seed: int) -> tuple[int, list[str]]:
    """Run at least `cases` test cases. Returns the number of executed cases and the failures."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fuzz-")))
        server_environ = environment() | WITHOUT_LIMITS | {"MOVIE_ACCESS_TTL": "1d"}
        if fail_rate is not None:
            source = free_port()
            options = ("--fail-rate", str(fail_rate), "--latency-ms", "0", "--seed", str(seed))
            stack.enter_context(running(folder, environment(), source, "upstream", *options))
            server_environ["MOVIE_SOURCE_URL"] = f"http://127.0.0.1:{source}"
            if fail_rate:  # short timeouts: waiting for a failing source only costs time
                server_environ |= {"MOVIE_SOURCE_DEADLINE": "300ms", "MOVIE_SOURCE_TIMEOUT": "200ms"}
        port = free_port()
        log = stack.enter_context(running(folder, server_environ, port, "serve"))
        client_environ = environment() | {
            "FUZZ_URL": f"http://127.0.0.1:{port}",
            "FUZZ_FOLDER": str(folder),
            "FUZZ_PROGRAM": str(PROGRAM),
            "FUZZ_SOURCE_FAILS": "yes" if fail_rate else "no",
            "PYTHONPATH": str(ROOT),
            "SCHEMATHESIS_HOOKS": "fuzz.hooks",
        }
        done, operations, failures = 0, 0, list[str]()
        for round_seed in itertools.count(seed):
            # The phases `examples` and `coverage` do not depend on the seed, so they run only once.
            phases = "fuzzing,stateful" if done else "examples,coverage,fuzzing,stateful"
            examples = min(MAX_EXAMPLES, -(-(cases - done) // operations)) if done else 1
            report, output = one_round(folder, client_environ, round_seed, phases, examples)
            done += report["test_cases"]["generated"]
            operations = report["operations"]["total"]
            if report["exit_code"]:
                failures.append(output)
            if done >= cases or failures:
                break
        failures += re.findall(r"^.*(?:Traceback|ERROR).*$", log.read_text(), re.MULTILINE)
        return done, failures


def one_round(
    folder: Path, environ: dict[str, str], seed: int, phases: str, examples: int
) -> tuple[dict[str, Any], str]:
    """Run Schemathesis once. Returns its JSON report and its output."""
    report = folder / "report.json"
    report.unlink(missing_ok=True)
    command: list[str | Path] = [
        SCHEMATHESIS,
        *("--config-file", ROOT / "fuzz" / "schemathesis.toml"),
        *("run", f"{environ['FUZZ_URL']}/openapi.json", "--checks", "all", "--phases", phases),
        *("--max-examples", str(examples), "--seed", str(seed), "--generation-database", "none"),
        *("--report", "json", "--report-json-path", report, "--no-color", "--warnings", "off"),
    ]
    completed = subprocess.run(
        command, cwd=folder, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if not report.exists():
        raise RuntimeError(f"schemathesis wrote no report: {completed.stdout}")
    result: dict[str, Any] = json.loads(report.read_text())
    return result, completed.stdout


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--cases", type=int, default=100_000, help="minimum number of test cases, over all conditions")
    parser.add_argument(
        "--seed", type=int, default=random.randrange(10**6), help="seed, to repeat a run (default: random)"
    )
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}", flush=True)
    each = -(-arguments.cases // len(CONDITIONS))

    def run(name: str) -> bool:
        began = time.monotonic()
        done, failures = fuzz(CONDITIONS[name], each, arguments.seed)
        result = "failed" if failures else "0 failures"
        print(f"{name}: {done:,} cases in {time.monotonic() - began:.0f} s, {result}", *failures, sep="\n", flush=True)
        return not failures

    with ThreadPoolExecutor(PARALLEL_CONDITIONS) as pool:
        return 0 if all(list(pool.map(run, CONDITIONS))) else 1


sys.exit(main())
