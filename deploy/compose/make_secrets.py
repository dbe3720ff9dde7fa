"""Adds the secrets that compose.yaml requires to `.env`; existing values are not changed."""

import os
import re
import secrets
from pathlib import Path

NAMES = ("SECRET_KEY", "POSTGRES_PASSWORD", "VALKEY_PASSWORD", "TOOLS_PASSWORD")


def add_secrets(path: Path) -> list[str]:
    """Append missing secrets and set the file's mode to 0600. Returns the added names."""
    with open(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+", encoding="utf-8") as file:
        content = file.read()
        missing = [name for name in NAMES if not re.search(rf"^{name}=.", content, re.MULTILINE)]
        if missing and content and not content.endswith("\n"):
            file.write("\n")
        file.writelines(f"{name}={secrets.token_hex(32)}\n" for name in missing)  # hex needs no escaping in URLs
        os.fchmod(file.fileno(), 0o600)
    return missing


if __name__ == "__main__":
    print(f"added to .env: {', '.join(add_secrets(Path('.env'))) or 'nothing, all secrets exist'}")
