"""Alembic migrations for SQLite and PostgreSQL, run by `movie_adapters.sql.engine.migrate`."""
