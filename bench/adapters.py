"""The catalogue as `eval_search.py` of the data set judges it: `bench.adapters:title_search`."""

import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from movie_adapters.sql_database import migrate
from movie_adapters.sqlite_movies import MovieFile
from movie_core.movies import Movie, MovieQuery
from movie_core.paging import Window


def movie_of(doc: Mapping[str, Any]) -> Movie:
    """A movie of the evaluation's documents."""
    return Movie(
        id=str(doc["movie_id"]),
        title=doc["title"],
        year=doc["year"],
        genres=tuple(doc["genres"]),
        alt_titles=tuple(doc["alt_titles"]),
        imdb_id=doc["imdb_id"] or None,
        popularity=float(doc["popularity"]),
    )


class TitleSearch:
    """SQLite in a temporary folder, in process, with the whole page that the API would show."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="movie-bench-")
        self._path = Path(self._folder.name) / "movies.db"
        migrate(f"sqlite+aiosqlite:///{self._path}")
        self._file = MovieFile(self._path, "catalogue")

    def index(self, docs: Iterable[Mapping[str, Any]]) -> None:
        self._file.load(map(movie_of, docs))

    def search(self, query: str, k: int) -> list[int]:
        _, movies = self._file.search(MovieQuery(query), Window(0, k))
        return [int(movie.id) for movie in movies]

    def size_mb(self) -> float:
        return self._path.stat().st_size / 1e6


def title_search() -> TitleSearch:
    return TitleSearch()
