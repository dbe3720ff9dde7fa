# Makes a base backup; deploy/compose/backup.yaml archives the WAL next to it. Runs in the PostgreSQL container:
#   docker compose exec -T postgres sh -s < deploy/postgres/backup.sh
# The previous backup and its WAL are deleted only after the new backup is complete.
set -eu
backup=${BACKUP:-/backup}
export PGUSER="${PGUSER:-${POSTGRES_USER:-postgres}}"
rm -rf "$backup/base.new"
pg_basebackup --pgdata="$backup/base.new" --checkpoint=fast
first=$(sed -n 's/^START WAL LOCATION.*(file \([0-9A-F]*\))$/\1/p' "$backup/base.new/backup_label")
rm -rf "$backup/base"
mv "$backup/base.new" "$backup/base"
mkdir -p "$backup/wal"
pg_archivecleanup --clean-backup-history "$backup/wal" "$first"
