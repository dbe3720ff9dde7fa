"""Writes docs/licences.md: what each package of an installation, all extras included, is licensed under.

    .venv/bin/python scripts/licences.py

Names come from `uv.lock`, licences from the metadata of the installed packages; a unit test runs it too.
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
"""Of packages that tell none in their metadata, or that other platforms or Pythons need; looked up by hand."""

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
"""SPDX's names for how older metadata spells them."""

GOOD = {
    "0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "CC0-1.0", "ISC", "MIT", "MIT-0", "MPL-2.0", "PSF-2.0",
    "Unlicense", "Zlib",
}  # fmt: skip
"""Licences under which a package may be used in a commercial service, unchanged."""


def needed() -> set[str]:
    """The names of all packages that the project needs, by its extras and theirs, without groups for development."""
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
    """As SPDX spells it; raises `LookupError` where it isn't known."""
    if name in KNOWN:
        return KNOWN[name]
    try:
        told = next(_told(metadata(name)), "")
    except PackageNotFoundError:
        told = ""
    if not told:
        raise LookupError(f"{name} tells no licence: look it up, and add it to KNOWN")
    return told


def _told(found: PackageMetadata) -> Iterator[str]:
    """From what is most exact to what is least."""
    told = found.json
    for text in (told.get("license_expression"), told.get("license")):
        first = str(text or "").strip().partition("\n")[0]
        if first:
            yield SPELLED.get(first, first)
    named = [one.rpartition("::")[2].strip() for one in told.get("classifier", ()) if one.startswith("License ::")]
    if named:
        yield " OR ".join(SPELLED.get(one, one) for one in named)


def is_good(licence: str) -> bool:
    """Whether all parts allow it, or one of those to choose from."""
    return any(set(re.split(r" AND ", choice)) <= GOOD for choice in re.sub(r"[()]", "", licence).split(" OR "))


def page() -> str:
    """The whole of docs/licences.md."""
    return HEAD + "".join(f"| {name} | {licence_of(name)} |\n" for name in sorted(needed()))


if __name__ == "__main__":
    PAGE.write_text(page())
    bad = [name for name in sorted(needed()) if not is_good(licence_of(name))]
    sys.exit(f"may not be used: {', '.join(bad)}" if bad else 0)
