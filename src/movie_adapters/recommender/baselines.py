"""Simple recommenders that the evaluation compares the model with."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from movie_adapters.recommender.ease_model import (
    HALF_LIFE,
    MAX_EXACT_SIDE,
    MIN_LIKES,
    Floats,
    Ints,
    RatingColumns,
    best,
)
from movie_core.discovery.ratings import LIKED
from movie_core.search.movies import Movie

MAX_SHOWN = 20
"""Maximum number of recommendations for a request."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request of the evaluation. Movies are indices."""

    movies: Ints
    """The history, oldest first."""
    ratings: Floats
    now: float
    """Time of the request: that of the last rating in the history."""
    relevant: frozenset[int]
    """The held-out movies that the user rated `LIKED` or better."""


class Method(Protocol):
    """A recommender under evaluation."""

    def fit(self, films: Sequence[Movie], data: RatingColumns) -> None: ...

    def top(self, request: Request) -> list[int]:
        """At most `MAX_SHOWN` movies, none of the history."""


class Popular:
    """Movies by their number of likes."""

    def fit(self, films: Sequence[Movie], data: RatingColumns) -> None:
        self._likes = np.bincount(data.movies[data.ratings >= LIKED], minlength=len(films)).astype(float)

    def top(self, request: Request) -> list[int]:
        return _best_unrated(self._likes, request)


class DecayedPopular:
    """Movies by their number of likes up to the time of the request, each halved every year."""

    def fit(self, films: Sequence[Movie], data: RatingColumns) -> None:
        liked = data.ratings >= LIKED
        order = np.argsort(data.times[liked], kind="stable")
        self._movies, self._times = data.movies[liked][order], data.times[liked][order]
        self._count = len(films)

    def top(self, request: Request) -> list[int]:
        past = int(np.searchsorted(self._times, request.now, side="right"))
        weights = 2.0 ** ((self._times[:past] - request.now) / HALF_LIFE)
        return _best_unrated(np.bincount(self._movies[:past], weights, self._count).astype(float), request)


class ItemNeighbours:
    """Item-based k-nearest neighbours: the sum of cosine similarities between the users who liked a movie and those who
    liked each movie of the history. Restricted to the most liked movies."""

    def fit(self, films: Sequence[Movie], data: RatingColumns) -> None:
        liked = data.ratings >= LIKED
        likes = np.bincount(data.movies[liked], minlength=len(films))
        selected = np.argsort(-likes, kind="stable")[: min(MAX_EXACT_SIDE, int((likes >= MIN_LIKES).sum()))]
        self._row = np.full(len(films), -1, np.int64)
        self._row[selected] = np.arange(len(selected))
        used = liked & (self._row[data.movies] >= 0)
        co_likes = np.zeros((len(selected), len(selected)), np.float32)
        users, columns = data.users[used], self._row[data.movies[used]]
        bounds = np.flatnonzero(np.diff(users, prepend=-1, append=-1))
        for start, end in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
            liked_by_user = columns[start:end]
            co_likes[np.ix_(liked_by_user, liked_by_user)] += 1
        lengths = np.sqrt(np.maximum(co_likes.diagonal(), 1))
        self._cosines = co_likes / lengths[:, None] / lengths[None, :]
        np.fill_diagonal(self._cosines, 0)
        self._selected = selected
        self._count = len(films)

    def top(self, request: Request) -> list[int]:
        rows = self._row[request.movies[request.ratings >= LIKED]]
        scores = np.zeros(self._count)
        scores[self._selected] = self._cosines[rows[rows >= 0]].sum(0)
        return _best_unrated(scores, request)


def _best_unrated(scores: NDArray[np.float64], request: Request) -> list[int]:
    scores = scores.copy()
    scores[request.movies] = -np.inf
    return [number for number, _ in best(scores, MAX_SHOWN)]
