-- For a database that was restored from a backup, before anything runs on it: psql --single-transaction -f after_restore.sql
-- A backup doesn't know what was ended, used and sent after it was taken. Without this, refresh tokens of who has logged
-- out since would be good again, and so would links that have been used; mails that have gone out would go out again.

-- Everybody logs in again.
INSERT INTO ended_sessions (id, ended_at) SELECT id, now() FROM sessions ON CONFLICT DO NOTHING;
DELETE FROM sessions;
-- Who waits for a link asks for another.
DELETE FROM links;
-- Given up, not deleted: `movie-search mail list --state dead` shows them.
UPDATE mails SET state = 'dead', last_error = 'restored from a backup', lease_owner = NULL, leased_until = NULL
WHERE state = 'pending';
