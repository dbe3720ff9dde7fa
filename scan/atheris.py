"""Coverage-guided fuzzing of the parsers in `scan/parsers.py` by atheris."""

import os
import re
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from scan.findings import DIST, ROOT, ScanError, tool
from scan.seeds import SEEDS, WORDS

TARGETS = ("movie-file", "query", "rating-file", "token", "body")
"""The slowest targets first."""
MAX_LENGTH = 2048
"""Maximum size of an input in bytes. Length limits have tests of their own."""
INPUT_SECONDS = 5
"""An input that takes longer is a finding."""
MEMORY_MIB = 2048
PLANTED_RUNS = 200_000
AT_ONCE = 2
"""Targets fuzzed in parallel; each uses one core."""


@dataclass(frozen=True, slots=True)
class Result:
    """Statistics of a libFuzzer run."""

    runs: int
    seconds: int
    coverage: int
    """Edges of our code that were executed."""
    corpus: int
    """Inputs that reached new coverage."""


def read_result(output: str) -> Result | None:
    """Parse the output of libFuzzer; None if the run did not finish."""
    ended = re.search(r"^#(\d+)\s+DONE\s+cov: (\d+) .*?corp: (\d+)/", output, re.MULTILINE)
    done = re.search(r"^Done (\d+) runs in (\d+) second", output, re.MULTILINE)
    if ended is None or done is None:
        return None
    return Result(int(done[1]), int(done[2]), int(ended[2]), int(ended[3]))


def fuzz(target: str, runs: int, seed: int) -> tuple[int, str]:
    """Returns the exit code and output of libFuzzer. An input that fails is stored in `dist/scan`."""
    python = tool("atheris", ROOT / ".venv-atheris" / "bin" / "python", "make .venv-atheris/.synced")
    artifact_prefix = DIST / f"atheris-{target}-"
    artifact_prefix.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="scan-") as folder:
        corpus, words = Path(folder) / "corpus", Path(folder) / "words"
        corpus.mkdir()
        for number, text in enumerate(SEEDS[target]):
            (corpus / f"seed-{number}").write_bytes(text)
        words.write_text("".join(f'"{"".join(f"{chr(92)}x{byte:02x}" for byte in word)}"\n' for word in WORDS[target]))
        options = (
            *(
                f"-runs={runs}",
                f"-seed={seed}",
                f"-max_len={MAX_LENGTH}",
                f"-dict={words}",
                f"-artifact_prefix={artifact_prefix}",
            ),
            *(f"-timeout={INPUT_SECONDS}", f"-rss_limit_mb={MEMORY_MIB}", "-print_final_stats=0", corpus),
        )
        environ = {name: value for name, value in os.environ.items() if not name.startswith("MOVIE_")}
        ran = subprocess.run(
            (python, "-m", "scan.parsers", target, *options),
            cwd=ROOT,
            env=environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'src'}"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
        )
    return ran.returncode, ran.stdout


def check_fuzzer(seed: int) -> None:
    """Self-check: raises `ScanError` if the fuzzer does not find a planted error."""
    status, output = fuzz("planted", PLANTED_RUNS, seed)
    if status == 0 or "AssertionError: planted" not in output:
        raise ScanError(f"atheris does not find a planted error:\n{output[-2000:]}")
    for path in DIST.glob("atheris-planted-*"):
        path.unlink()


def scan(runs: int, seed: int, targets: tuple[str, ...] = TARGETS) -> bool:
    """Returns True if there are no findings."""
    check_fuzzer(seed)

    def run(target: str) -> bool:
        began = time.monotonic()
        status, output = fuzz(target, runs, seed)
        result = read_result(output)
        if status == 0 and result is not None and result.runs >= runs:
            print(
                f"atheris {target}: {result.runs:,} executions in {time.monotonic() - began:.0f} s, "
                f"{result.coverage} edges, {result.corpus} inputs, 0 findings",
                flush=True,
            )
            return True
        messages = re.sub(r"^(?:INFO|WARNING|#\d+).*\n", "", output, flags=re.MULTILINE)
        print(f"atheris {target}: FAILED, see the input in {DIST.relative_to(ROOT)}\n{messages[-3000:]}", flush=True)
        return False

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return all(list(pool.map(run, targets)))
