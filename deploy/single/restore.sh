#!/bin/sh
# Restores a backup of backup.sh; stop the service first: restore.sh BACKUP DATA_DIR
# Needs Python 3. The present database is kept next to it, with the suffix .before-restore.
set -eu
umask 077
for suffix in "" -wal -shm; do
  if [ -e "$2/movies.db$suffix" ]; then mv "$2/movies.db$suffix" "$2/movies.db.before-restore$suffix"; fi
done
cp "$1" "$2/movies.db"
# A backup lacks the logouts, used links and sent emails since it was taken: all sessions and links end, and pending emails
# are not sent again (`movie-search mail list --state dead` shows them).
python3 - "$2/movies.db" <<'PYTHON'
import sqlite3, sys

with sqlite3.connect(sys.argv[1]) as database:
    database.execute("DELETE FROM sessions")
    database.execute("DELETE FROM links")
    database.execute(
        "UPDATE mails SET state = 'dead', last_error = 'restored from a backup', lease_owner = NULL, leased_until = NULL "
        "WHERE state = 'pending'"
    )
PYTHON
if [ "$(id -u)" = 0 ]; then chown --reference="$2" "$2/movies.db"; fi
