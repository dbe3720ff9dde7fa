"""Backup and restore of `MOVIE_ENV=single`, and its files in deploy/single."""

import re
import subprocess
from pathlib import Path

from tests.support.deployment import Run, listed

from movie_adapters.settings.settings import Settings

FILES = Path(__file__).parents[2] / "deploy" / "single"


def script(name: str, *arguments: str | Path) -> str:
    done = subprocess.run(["sh", FILES / name, *arguments], capture_output=True, text=True, timeout=180, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.strip()


def test_a_backup_is_taken_and_restored(run: Run, folder: Path) -> None:
    run("migrate")
    (folder / "films.csv").write_text("title,year\nBackup Story,1999\n")
    run("catalogue", "import", "films.csv")
    backup = Path(script("backup.sh", folder / "var", folder / "backups"))
    assert backup.stat().st_mode & 0o077 == 0
    (folder / "films.csv").write_text("title,year\nLater Story,2001\n")
    run("catalogue", "import", "films.csv", "--replace")
    script("restore.sh", backup, folder / "var")
    assert "Backup Story" in run("search", "backup story").stdout
    assert run("search", "later story 2001").stdout.count("Later Story") == 0
    assert listed(run("users", "list")) == []
    assert (folder / "var" / "movies.db.before-restore").exists()


def test_the_newest_backups_are_kept(run: Run, folder: Path) -> None:
    run("users", "list")
    backups = folder / "backups"
    backups.mkdir()
    for day in range(10, 30):
        (backups / f"movies-201901{day}T000000Z.db").touch()
    newest = Path(script("backup.sh", folder / "var", backups))
    kept = sorted(path.name for path in backups.iterdir())
    assert (len(kept), kept[-1], kept[0]) == (14, newest.name, "movies-20190117T000000Z.db")


def test_the_settings_of_the_guide_are_accepted() -> None:
    text = (FILES / "movie-search.env").read_text(encoding="utf-8")
    environ = dict(re.findall(r"^(MOVIE_\w+)=(.*)$", text, re.MULTILINE)) | {"MOVIE_SECRET_KEY": "0123456789abcdef" * 4}
    settings = Settings.load(environ, dotenv=None)
    assert (settings.env, settings.unknown) == ("single", {})
    assert "EnvironmentFile=/etc/movie-search.env" in (FILES / "movie-search.service").read_text(encoding="utf-8")
    assert "reverse_proxy 127.0.0.1:8000" in (FILES / "Caddyfile").read_text(encoding="utf-8")
