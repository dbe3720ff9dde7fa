"""Adds the secrets that compose.yaml requires to `.env`; existing values are not changed.

A setting under the name that an earlier compose.yaml gave it is copied to its present name.
"""

import os
import re
import secrets
from pathlib import Path

NAMES = ("MOVIE_SECRET_KEY", "POSTGRES_PASSWORD", "VALKEY_PASSWORD", "TOOLS_PASSWORD")
FORMER_NAMES = (
    *("SECRET_KEY", "SOURCE", "SOURCE_URL", "SOURCE_TOKEN", "SMTP_URL", "MAIL_FROM"),
    *("TASKS_URL", "OTLP_URL", "METRICS_TOKEN"),
)
"""Settings that had no prefix."""


def add_secrets(path: Path) -> list[str]:
    """Append missing secrets and renamed settings, and set the file's mode to 0600. Returns the added names."""
    with open(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+", encoding="utf-8") as file:
        content = file.read()
        values = dict(re.findall(r"^(\w+)=(.+)$", content, re.MULTILINE))
        renamed = {f"MOVIE_{name}": values[name] for name in FORMER_NAMES if name in values}
        renamed = {name: value for name, value in renamed.items() if name not in values}
        new = {name: secrets.token_hex(32) for name in NAMES if name not in values}  # hex needs no escaping in URLs
        missing = new | renamed
        if missing and content and not content.endswith("\n"):
            file.write("\n")
        file.writelines(f"{name}={value}\n" for name, value in missing.items())
        os.fchmod(file.fileno(), 0o600)
    return list(missing)


if __name__ == "__main__":
    print(f"added to .env: {', '.join(add_secrets(Path('.env'))) or 'nothing, all secrets exist'}")
