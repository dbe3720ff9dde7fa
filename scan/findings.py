"""Shared by all scanners: paths of tools and results, and the evaluation of findings."""

import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
DIST = ROOT / "dist" / "scan"
"""Complete output of the scanners."""


class ScanError(Exception):
    """A scan could not be run; the message is shown to the user."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A finding of a scanner."""

    rule: str
    """Name of the rule, as the scanner spells it."""
    place: str
    """A file, an operation with its parameter, or a path in the OpenAPI document."""
    text: str = ""


def tool(name: str, program: str | Path, remedy: str) -> Path:
    """Path of a scanner's executable; raises `ScanError` with the remedy if it is missing."""
    found = shutil.which(program)
    if found is None:
        raise ScanError(f"{name} is missing: {remedy}")
    return Path(found)


def report(scanner: str, looked_at: str, found: Iterable[Finding], accepted: Mapping[str, str]) -> bool:
    """Print the findings, and the reason of each accepted one. Returns whether all are accepted.

    `accepted` maps a rule, or a rule at one place (`rule place`), to the reason. An entry without a matching finding is
    a failure too, so that outdated entries are removed.
    """
    counts = dict.fromkeys(accepted, 0)
    new = []
    for one in found:
        key = next((key for key in (f"{one.rule} {one.place}", one.rule) if key in accepted), None)
        if key is None:
            new.append(one)
        else:
            counts[key] += 1
    for key, count in counts.items():
        print(f"{scanner}: accepted {count} x {key}: {accepted[key]}")
    for one in new:
        print(f"{scanner}: FOUND {one.rule} at {one.place}: {one.text}")
    unused = [key for key, count in counts.items() if not count]
    for key in unused:
        print(f"{scanner}: the accepted finding {key} no longer occurs: remove it from ACCEPTED")
    print(f"{scanner}: {looked_at}; {sum(counts.values())} accepted, {len(new)} new", flush=True)
    return not new and not unused
