"""Quality and speed of recommendations and personal order, measured by the programs of the evaluation folder."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.rows import Row

ROOT = Path(__file__).parents[1]

QUALITY = {"temporal": (0.123, 0.176), "newuser": (0.134, 0.204), "history": (0.39, None), "random": (0.29, None)}
"""Goals of nDCG@10 and Recall@20."""
UPLIFT = {"genre": 1.40, "genre_decade": 1.15, "word": 1.15}


def recommendations(data: Path | None) -> Iterator[Row]:
    """`data` contains `eval/eval_recs.py` and `eval/eval_rerank.py` with their data."""
    if data is None or not (data / "eval" / "eval_recs.py").is_file():
        print("     recommendations: skipped; it requires --data FOLDER (make bench DATA=…) with the evaluation data")
        return
    lines = _run(data / "eval" / "eval_recs.py", "bench.adapters:recommender", "--json", "--protocol", *QUALITY)
    results = {row["protocol"]: row for row in map(json.loads, lines)}
    for protocol, (ndcg, recall) in QUALITY.items():
        result = results[protocol]
        yield _at_least(f"recommendations, {protocol}: nDCG@10", result["ndcg10"], ndcg)
        if recall is not None:
            yield _at_least(f"recommendations, {protocol}: Recall@20", result["recall20"], recall)
    yield _at_least("recommendations, temporal: coverage@10", results["temporal"]["coverage10"], 0.045)
    fit = max(result["fit_s"] for result in results.values())
    yield Row("recommendations: fit", f"{fit:.2f} s", "≤ 2 s", fit <= 2)
    slowest = max(result["rec_ms_p99"] for result in results.values())
    yield Row("recommendations: scoring, p99", f"{slowest:.2f} ms", "≤ 20 ms, better 5", slowest <= 20)
    yield from _personal_order(data)


def _personal_order(data: Path) -> Iterator[Row]:
    lines = _run(data / "eval" / "eval_rerank.py", "bench.adapters:reranker")[1:]
    results: dict[str, Any] = {
        name: json.loads(figures) for name, figures in (line.split(maxsplit=1) for line in lines)
    }
    for query, goal in UPLIFT.items():
        uplift = results[f"{query}/popular"]["uplift"]
        yield Row(f"personal order, {query}: MRR", f"x {uplift:.3f}", f"≥ x {goal:.2f}", uplift >= goal)
    guard = results["guard_s1"]
    yield Row("personal order: exact title matches that stay first", f"{guard:.4f}", "1", guard == 1)


def _run(program: Path, *arguments: str) -> list[str]:
    environ = os.environ | {"PYTHONPATH": str(ROOT)}
    command: list[str | Path] = [sys.executable, program, *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environ, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout.splitlines()


def _at_least(what: str, figure: float, goal: float) -> Row:
    return Row(what, f"{figure:.4f}", f"≥ {goal}", figure >= goal)
