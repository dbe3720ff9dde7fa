"""Repositories and stores in a SQL database (SQLite or PostgreSQL), and its schema migrations."""
