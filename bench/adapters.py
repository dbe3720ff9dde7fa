"""The catalogues as `eval_search.py` beside the data judges them: `bench.adapters:title_search`, `…_postgres`."""

import asyncio
import atexit
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.servers import postgres_database, postgres_server

from movie_adapters.postgres_movies import PostgresMovies
from movie_adapters.sql_database import create_engine, migrate
from movie_adapters.sqlite_movies import SqliteMovieFile
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
        self._file = SqliteMovieFile(self._path, "catalogue")

    def index(self, docs: Iterable[Mapping[str, Any]]) -> None:
        self._file.load(map(movie_of, docs))

    def search(self, query: str, k: int) -> list[int]:
        _, movies = self._file.search(MovieQuery(query), Window(0, k))
        return [int(movie.id) for movie in movies]

    def size_mb(self) -> float:
        return sum(path.stat().st_size for path in self._path.parent.iterdir()) / 1e6


def title_search() -> TitleSearch:
    return TitleSearch()


class PostgresTitleSearch:
    """PostgreSQL on a socket, started for this."""

    def __init__(self) -> None:
        stack = ExitStack()
        atexit.register(stack.close)
        url = stack.enter_context(postgres_database(stack.enter_context(postgres_server())))
        migrate(url)
        self._engine = create_engine(url)
        self._movies = PostgresMovies(self._engine, "catalogue")
        self._loop = asyncio.new_event_loop()
        stack.callback(lambda: self._loop.run_until_complete(self._engine.dispose()))

    def index(self, docs: Iterable[Mapping[str, Any]]) -> None:
        self._loop.run_until_complete(self._movies.load(map(movie_of, docs)))

    def search(self, query: str, k: int) -> list[int]:
        page = self._loop.run_until_complete(self._movies.search(MovieQuery(query), Window(0, k)))
        return [int(movie.id) for movie in page.items]


def title_search_postgres() -> PostgresTitleSearch:
    return PostgresTitleSearch()
