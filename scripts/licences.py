"""Generates docs/licences.md: the licence of each package in an installation with all extras.

    .venv/bin/python scripts/licences.py

Package names come from `uv.lock`, licences from the metadata of the installed packages. A unit test compares the page
with the output of this script.
"""

import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import PackageMetadata, PackageNotFoundError, metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "licences.md"
PROJECT = "movie-search-backend"

HEAD = """\
# Licences of dependencies

Every package of `uv.lock` that an installation with all extras may contain, on any platform. Each of these licences
allows commercial use. `make licences` regenerates this page; a test compares it with the lock file.

| package | licence |
|---|---|
"""

KNOWN = {
    "async-timeout": "Apache-2.0",
    "colorama": "BSD-3-Clause",
    "taskiq-dependencies": "MIT",
    "tzdata": "Apache-2.0",
    "zxcvbn-rs-py": "MIT",
}
"""Licences looked up by hand: of packages without licence metadata, or installed only on other platforms or Pythons."""

SPELLED = {
    "3-Clause BSD License": "BSD-3-Clause",
    "Apache 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD-3-Clause",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
    "The Unlicense (Unlicense)": "Unlicense",
}
"""SPDX identifiers of licence names in older metadata."""

ALLOWED = {
    "0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "CC0-1.0", "ISC", "MIT", "MIT-0", "MPL-2.0", "PSF-2.0",
    "Unlicense", "Zlib",
}  # fmt: skip
"""Licences that allow unmodified use of a package in a commercial service."""


def needed() -> set[str]:
    """Names of all packages required by the project and its extras, transitively, without development groups."""
    packages: dict[str, dict[str, Any]] = {
        one["name"]: one for one in tomllib.loads((ROOT / "uv.lock").read_text())["package"]
    }
    found: set[str] = set()
    waiting = [(PROJECT, extra) for extra in packages[PROJECT]["optional-dependencies"]]
    seen = set(waiting)
    while waiting:
        name, extra = waiting.pop()
        found.add(name)
        package = packages[name]
        listed = package.get("optional-dependencies", {}).get(extra, []) if extra else package.get("dependencies", [])
        for one in listed:
            for reached in [(one["name"], ""), *((one["name"], more) for more in one.get("extra", ()))]:
                if reached not in seen:
                    seen.add(reached)
                    waiting.append(reached)
    return found - {PROJECT}


def licence_of(name: str) -> str:
    """SPDX expression of a package's licence; raises `LookupError` if unknown."""
    if name in KNOWN:
        return KNOWN[name]
    try:
        told = next(_told(metadata(name)), "")
    except PackageNotFoundError:
        told = ""
    if not told:
        raise LookupError(f"{name} has no licence metadata: look it up and add it to KNOWN")
    return told


def _told(found: PackageMetadata) -> Iterator[str]:
    """Licences in the metadata, the most precise first."""
    told = found.json
    for text in (told.get("license_expression"), told.get("license")):
        first = str(text or "").strip().partition("\n")[0]
        if first:
            yield SPELLED.get(first, first)
    named = [one.rpartition("::")[2].strip() for one in told.get("classifier", ()) if one.startswith("License ::")]
    if named:
        yield " OR ".join(SPELLED.get(one, one) for one in named)


def is_allowed(licence: str) -> bool:
    """Whether all licences of an AND expression, or one alternative of an OR expression, are allowed."""
    return any(set(re.split(r" AND ", choice)) <= ALLOWED for choice in re.sub(r"[()]", "", licence).split(" OR "))


def page() -> str:
    """Content of docs/licences.md."""
    return HEAD + "".join(f"| {name} | {licence_of(name)} |\n" for name in sorted(needed()))


if __name__ == "__main__":
    PAGE.write_text(page())
    bad = [name for name in sorted(needed()) if not is_allowed(licence_of(name))]
    sys.exit(f"licence not allowed: {', '.join(bad)}" if bad else 0)
