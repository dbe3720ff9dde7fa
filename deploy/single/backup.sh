#!/bin/sh
# Backs up the SQLite database while the service runs, and checks the copy: backup.sh DATA_DIR BACKUP_DIR
# Needs Python 3. The 14 newest backups are kept. The settings (/etc/movie-search.env) need a backup of their own.
set -eu
umask 077
mkdir -p "$2"
backup="$2/movies-$(date -u +%Y%m%dT%H%M%SZ).db"
python3 - "$1/movies.db" "$backup.partial" <<'PYTHON'
import sqlite3, sys
from pathlib import Path

source = sqlite3.connect(f"{Path(sys.argv[1]).absolute().as_uri()}?mode=ro", uri=True)
copy = sqlite3.connect(sys.argv[2])
source.backup(copy)
(result,) = copy.execute("PRAGMA quick_check").fetchone()
copy.execute("PRAGMA journal_mode = DELETE")
copy.close()
sys.exit(None if result == "ok" else f"the copy is damaged: {result}")
PYTHON
mv "$backup.partial" "$backup"
ls -1 "$2"/movies-*.db | sort -r | tail -n +15 | while read -r old; do rm -- "$old"; done
echo "$backup"
