"""Files and folders that only their owner may read: accounts, password hashes and mailed links are in them."""

import os
import re
from pathlib import Path

OTHERS = 0o077
"""The bits by which others than the owner may do something."""
_OURS = re.compile(r"movies\.db(-wal|-shm|-journal)?|secret_key(\.[0-9a-f]+)?|mail")
"""What stands in a data directory."""


def make_private_folder(folder: Path) -> None:
    """Create the folder with mode 0700 unless it exists. An existing one that contains only files of ours may come from
    a version that left it open to others, so its mode is corrected. Raises `OSError`."""
    try:
        folder.mkdir(mode=0o700)
    except FileNotFoundError:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
    except FileExistsError:
        names = [path.name for path in folder.iterdir()]  # raises where it is a file
        if names and all(map(_OURS.fullmatch, names)):
            close_to_others(folder)


def make_private_file(path: Path) -> None:
    """Make an empty file unless it is there, and close it to others. Raises `OSError`."""
    os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    close_to_others(path)


def close_to_others(path: Path) -> None:
    """Let only the owner read and write a file or folder of ours; nothing happens where it isn't there."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return
    if hasattr(os, "geteuid") and status.st_uid == os.geteuid() and status.st_mode & OTHERS:
        path.chmod(status.st_mode & ~OTHERS & 0o7777)
