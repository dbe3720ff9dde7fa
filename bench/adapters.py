"""Adapters for the evaluation programs: `bench.adapters:title_search` and `…_postgres` for `eval_search.py`,
`recommender` for `eval_recs.py`, `reranker` for `eval_rerank.py`."""

import asyncio
import atexit
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from tests.support.servers import postgres_database, postgres_server

from movie_adapters.catalogue.postgres import PostgresMovieCatalogue
from movie_adapters.catalogue.sqlite import SqliteCatalogueFile
from movie_adapters.recommender.ease_model import EaseModel, Profile, RatingColumns
from movie_adapters.sql.engine import create_engine, migrate
from movie_core.discovery.personal_ranking import MAX_REORDERED, personal_order
from movie_core.paging import Window
from movie_core.search.movies import Movie, MovieQuery


def movie_of(doc: Mapping[str, Any]) -> Movie:
    """Converts a document of the evaluation to a movie."""
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
    """In-process search on SQLite in a temporary folder; it loads the same page as the API."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="movie-bench-")
        self._path = Path(self._folder.name) / "movies.db"
        migrate(f"sqlite+aiosqlite:///{self._path}")
        self._file = SqliteCatalogueFile(self._path, "catalogue")

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
    """Search on a PostgreSQL server of its own."""

    def __init__(self) -> None:
        stack = ExitStack()
        atexit.register(stack.close)
        url = stack.enter_context(postgres_database(stack.enter_context(postgres_server())))
        migrate(url)
        self._engine = create_engine(url)
        self._movies = PostgresMovieCatalogue(self._engine, "catalogue")
        self._loop = asyncio.new_event_loop()
        stack.callback(lambda: self._loop.run_until_complete(self._engine.dispose()))

    def index(self, docs: Iterable[Mapping[str, Any]]) -> None:
        self._loop.run_until_complete(self._movies.load(map(movie_of, docs)))

    def search(self, query: str, k: int) -> list[int]:
        page = self._loop.run_until_complete(self._movies.search(MovieQuery(query), Window(0, k)))
        return [int(movie.id) for movie in page.items]


def title_search_postgres() -> PostgresTitleSearch:
    return PostgresTitleSearch()


class Recommendations:
    """The recommendation model, evaluated at the time of the last rating of the user's history."""

    def fit(self, interactions: Sequence[tuple[int, int, float, int]], items: Sequence[Mapping[str, Any]]) -> None:
        films = sorted(map(_film, items), key=lambda film: film.id)
        index = {film.id: place for place, film in enumerate(films)}
        user_index: dict[int, int] = {}
        columns = RatingColumns(
            np.array([user_index.setdefault(user, len(user_index)) for user, _, _, _ in interactions]),
            np.array([index[str(movie)] for _, movie, _, _ in interactions]),
            np.array([2 * stars for _, _, stars, _ in interactions], np.float32),
            np.array([at for _, _, _, at in interactions], np.float64),
        )
        newest = datetime.fromtimestamp(max(at for _, _, _, at in interactions), UTC)
        self._model = EaseModel.fit(films, columns, newest)
        self._films = {film.id: film for film in films}

    def recommend(self, user: int, history: Sequence[tuple[int, float, int]], k: int) -> list[int]:
        now = datetime.fromtimestamp(history[-1][2], UTC)
        scored = self._model.top(self._profile(history), now, limit=k)
        return [int(self._model.ids[place]) for place, _ in scored]

    def _profile(self, history: Sequence[tuple[int, float, int]]) -> Profile:
        return self._model.profile([(str(movie), 2 * stars) for movie, stars, _ in history])


class PersonalOrder(Recommendations):
    """Personal order: affinities reorder the first `MAX_REORDERED` results of a search; the others keep their order."""

    def rerank(
        self, user: int, history: Sequence[tuple[int, float, int]], query: str, results: Sequence[tuple[int, float]]
    ) -> list[int]:
        movies = [self._films[str(movie)] for movie, _ in results]
        head = movies[:MAX_REORDERED]
        affinities = self._model.affinities(self._profile(history), [movie.id for movie in head])
        rated = frozenset(str(movie) for movie, _, _ in history)
        return [int(movie.id) for movie in (*personal_order(query, head, affinities, rated), *movies[MAX_REORDERED:])]


def _film(item: Mapping[str, Any]) -> Movie:
    return Movie(id=str(item["movie_id"]), title=item["title"], year=item["year"], genres=tuple(item["genres"]))


def recommender() -> Recommendations:
    return Recommendations()


def reranker() -> PersonalOrder:
    return PersonalOrder()
