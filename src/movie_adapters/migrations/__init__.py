"""The history of the database, the same for SQLite and PostgreSQL; `movie_adapters.sql_database.migrate` runs it."""
