# Replaces the database by the base backup; PostgreSQL replays the archived WAL at its next start. PostgreSQL must be stopped:
#   docker compose run --rm --no-deps -T --entrypoint sh postgres -s < deploy/postgres/restore.sh
set -eu
backup=${BACKUP:-/backup}
data=${PGDATA:?the data directory of PostgreSQL}
test -f "$backup/base/PG_VERSION" || { echo "there is no backup in $backup" >&2; exit 1; }
test ! -f "$data/postmaster.pid" || { echo "stop PostgreSQL first, or remove $data/postmaster.pid after a crash" >&2; exit 1; }
mkdir -p "$data"
find "$data" -mindepth 1 -delete
cp -R "$backup/base/." "$data/"
chmod 700 "$data"
echo "restore_command = 'cp $backup/wal/%f %p'" >> "$data/postgresql.auto.conf"
touch "$data/recovery.signal"
