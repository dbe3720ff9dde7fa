"""Files and folders that only their owner may read, as they contain users, password hashes and links of emails."""

import os
import re
from pathlib import Path

_GROUP_AND_OTHERS = 0o077
"""Permission bits of group and others."""
_KNOWN_NAMES = re.compile(r"movies\.db(-wal|-shm|-journal)?|secret_key(\.[0-9a-f]+)?|mail")
"""Names of files and folders that a data directory contains."""


def make_private_folder(folder: Path) -> None:
    """Create the folder with mode 0700 unless it exists. Raises `OSError`.

    If an existing folder contains only files of this application, permissions of group and others are removed: an
    earlier version did not restrict them. A folder with other files, or an empty one, stays unchanged.
    """
    try:
        folder.mkdir(mode=0o700)
    except FileNotFoundError:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
    except FileExistsError:
        names = [path.name for path in folder.iterdir()]  # raises if it is a file
        if names and all(map(_KNOWN_NAMES.fullmatch, names)):
            restrict_to_owner(folder)


def make_private_file(path: Path) -> None:
    """Create an empty file unless it exists, and restrict it to its owner. Raises `OSError`."""
    os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    restrict_to_owner(path)


def restrict_to_owner(path: Path) -> None:
    """Remove permissions of group and others from a file or folder that the current user owns, if it exists."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return
    if hasattr(os, "geteuid") and status.st_uid == os.geteuid() and status.st_mode & _GROUP_AND_OTHERS:
        path.chmod(status.st_mode & ~_GROUP_AND_OTHERS & 0o7777)
