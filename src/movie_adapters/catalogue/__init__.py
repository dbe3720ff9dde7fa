"""The movie catalogue: files of movies, their index in SQLite or PostgreSQL, and the ranking of search results."""
