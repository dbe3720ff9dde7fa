"""Stores in a SQL database, SQLite or PostgreSQL, and the migrations of its schema."""
