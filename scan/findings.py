"""What all scanners share: where tools and results are, and findings that are accepted with a reason."""

import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
DIST = ROOT / "dist" / "scan"
"""Complete output of the scanners."""


class ScanError(Exception):
    """A scan could not be carried out. The message is for a person."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One complaint of a scanner."""

    rule: str
    """The scanner's own name of what it complains about."""
    place: str
    """A file with its line, an operation with its parameter, a path of the document."""
    text: str = ""


def tool(name: str, program: str | Path, remedy: str) -> Path:
    """The program of a scanner; raises `ScanError` where it is missing."""
    found = shutil.which(program)
    if found is None:
        raise ScanError(f"{name} is missing: {remedy}")
    return Path(found)


def report(scanner: str, looked_at: str, found: Iterable[Finding], accepted: Mapping[str, str]) -> bool:
    """Print the findings, those of an accepted rule with their reason. Returns whether all are accepted.

    `accepted` has a reason for each rule, or for a rule at one place, spelled `rule place`. An entry that matches
    no finding is a failure, too, so that outdated entries are removed.
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
