import os
import stat
import sys
from pathlib import Path

import pytest

from movie_adapters.private_files import make_private_file, make_private_folder, restrict_to_owner
from movie_adapters.sql.engine import migrate

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="files have no such modes there")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture(autouse=True)
def _open_umask() -> None:
    os.umask(0o022)


def test_a_new_folder_and_file_are_private(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "var"
    make_private_folder(folder)
    make_private_file(folder / "file")
    make_private_folder(folder)
    assert (mode(folder), mode(folder / "file"), mode(folder.parent)) == (0o700, 0o600, 0o755)


def test_permissions_left_by_an_earlier_version_are_restricted(tmp_path: Path) -> None:
    folder = tmp_path / "var"
    folder.mkdir(mode=0o755)
    (folder / "movies.db").touch(0o644)
    (folder / "secret_key").touch(0o600)
    make_private_folder(folder)
    make_private_file(folder / "movies.db")
    assert (mode(folder), mode(folder / "movies.db")) == (0o700, 0o600)


@pytest.mark.parametrize("names", [(), ("movies.db", "notes.txt"), ("else",)])
def test_a_folder_with_other_files_is_unchanged(tmp_path: Path, names: tuple[str, ...]) -> None:
    folder = tmp_path / "shared"
    folder.mkdir(mode=0o755)
    for name in names:
        (folder / name).touch()
    make_private_folder(folder)
    assert mode(folder) == 0o755
    restrict_to_owner(folder / "nothing")


def test_a_file_in_place_of_the_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "var").touch()
    with pytest.raises(OSError, match="Not a directory"):
        make_private_folder(tmp_path / "var")


def test_the_database_and_its_wal_files_are_private(tmp_path: Path) -> None:
    path = tmp_path / "var" / "movies.db"
    migrate(f"sqlite+aiosqlite:///{path}")
    import sqlite3

    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE some (x)")
    modes = {one.name: mode(one) for one in path.parent.iterdir()}
    assert modes == {"movies.db": 0o600, "movies.db-wal": 0o600, "movies.db-shm": 0o600}
    assert mode(path.parent) == 0o700
    connection.close()
