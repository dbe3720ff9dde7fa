"""Adds to `.env` the secrets that compose.yaml asks for and that aren't there yet; what is there stays as it is."""

import os
import re
import secrets
from pathlib import Path

NAMES = ("SECRET_KEY", "POSTGRES_PASSWORD", "VALKEY_PASSWORD", "TOOLS_PASSWORD")


def add_secrets(path: Path) -> list[str]:
    """The names that were added. The file can be read by its owner alone."""
    with open(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+", encoding="utf-8") as file:
        there = file.read()
        missing = [name for name in NAMES if not re.search(rf"^{name}=.", there, re.MULTILINE)]
        if missing and there and not there.endswith("\n"):
            file.write("\n")
        file.writelines(f"{name}={secrets.token_hex(32)}\n" for name in missing)  # no character that a URL would mind
        os.fchmod(file.fileno(), 0o600)
    return missing


if __name__ == "__main__":
    print(f"added to .env: {', '.join(add_secrets(Path('.env'))) or 'nothing, all secrets are there'}")
