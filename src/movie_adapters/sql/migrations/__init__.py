"""The history of the database, the same for SQLite and PostgreSQL; `movie_adapters.sql.engine.migrate` runs it."""
