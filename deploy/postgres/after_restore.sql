-- Run on a database restored from a backup, before any process uses it: psql --single-transaction -f after_restore.sql
-- A backup lacks the logouts, used links and sent emails since it was taken. Without this script, refresh tokens of ended
-- sessions and links that were used since would be valid again, and emails that were sent since would be sent twice.

-- Ends all sessions: every user has to log in again.
INSERT INTO ended_sessions (id, ended_at) SELECT id, now() FROM sessions ON CONFLICT DO NOTHING;
DELETE FROM sessions;
-- Invalidates all activation and reset links: users request a new one.
DELETE FROM links;
-- Pending emails become dead letters instead of being deleted: `movie-search mail list --state dead` shows them.
UPDATE mails SET state = 'dead', last_error = 'restored from a backup', lease_owner = NULL, leased_until = NULL
WHERE state = 'pending';
