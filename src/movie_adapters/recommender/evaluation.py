"""How good recommendations are on a file of ratings, beside simpler methods: what `recommend evaluate` tells.

Protocols: `temporal` holds back the last fifth of each user's ratings. `newuser` leaves a fifth of the users out of
training and gives the first four fifths of their ratings at request time. `history` gives of such users the first five
ratings alone. What a user rates `LIKED` or better in the part held back is relevant; every movie that isn't in the
history may be shown. A request is made at the time of the last rating of its history, and nothing later is known of
popularity; what other users rate later is known to models, as in most published figures.

Users with fewer than `MIN_RATINGS` ratings are left out; of more than `MAX_USERS`, so many are drawn and asked about.
"""

import csv
import re
import time
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from movie_adapters.recommender.ease_model import (
    HALF_LIFE,
    MAX_EXACT_SIDE,
    MIN_LIKES,
    EaseModel,
    Floats,
    Ints,
    RatingColumns,
    best,
)
from movie_core.discovery.ratings import HIGHEST, LIKED, LOWEST
from movie_core.discovery.recommendations import MAX_MODEL_MOVIES, Progress
from movie_core.errors import InvalidParameter
from movie_core.search.movies import Movie

SEED = 20260101
MIN_RATINGS = 10
MIN_USERS = 50
MAX_USERS = 2_000
SHOWN = 20
FEW = 5
"""Ratings given in the protocol `history`."""

_TITLE = re.compile(r"(.*?)(?:\s*\((\d{4})\))?\s*")


class TooFewRatings(Exception):
    """Not enough to say anything."""


@dataclass(frozen=True, slots=True)
class Evaluated:
    """One method under one protocol, means over users."""

    protocol: str
    method: str
    users: int
    ndcg: float
    """nDCG@10."""
    recall: float
    """Recall@20: found of those that 20 places can show."""
    coverage: float
    """Coverage@10: part of all movies that somebody was shown among ten."""
    fit_seconds: float
    p50_ms: float
    p99_ms: float


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What a file came to."""

    ratings: int
    users: int
    movies: int
    skipped: int
    """Rows that could not be read."""
    rows: tuple[Evaluated, ...]


@dataclass(frozen=True, slots=True)
class _Request:
    movies: Ints
    ratings: Floats
    now: float
    relevant: frozenset[int]


class _Method(Protocol):
    def fit(self, films: Sequence[Movie], told: RatingColumns) -> None: ...

    def top(self, request: _Request) -> list[int]:
        """At most `SHOWN` movies, none of the history."""


def evaluate(path: Path, progress: Progress = lambda _step, _part: None) -> Evaluation:
    """Of a file in MovieLens' form `userId,movieId,rating,timestamp`; years and genres come from a `movies.csv` beside
    it, where there is one. Raises `TooFewRatings`, and `InvalidParameter` for a file of another form.
    """
    progress("reading", 0.0)
    told, ids, user_count, skipped = _read(path)
    films = [Movie(id=movie_id, title="") if film is None else film for movie_id, film in _films(path, ids)]
    methods: dict[str, Callable[[], _Method]] = {
        "most popular": _Popular,
        "popular, halved each year": _Decayed,
        "item-kNN, cosine": _Neighbours,
        "ours": _Ours,
    }
    rows: list[Evaluated] = []
    steps = len(PROTOCOLS) * len(methods)
    for protocol in PROTOCOLS:
        training, requests = _split(told, protocol)
        for name, method in methods.items():
            progress(f"{protocol}: {name}", len(rows) / steps)
            rows.append(_judge(protocol, name, method(), films, training, requests))
    progress("done", 1.0)
    return Evaluation(len(told.users), user_count, len(films), skipped, tuple(rows))


PROTOCOLS_TOLD = {
    "temporal": "the last fifth of each user's ratings is held back",
    "newuser": "a fifth of the users is unknown to the model; four fifths of their ratings come with the request",
    "history": f"the same users, with their first {FEW} ratings alone",
}
PROTOCOLS = tuple(PROTOCOLS_TOLD)


# --- figures


def ndcg(hits: Sequence[bool], relevant: int) -> float:
    """Gain of the first ten places, discounted by log2 of the place + 1, as a part of the best that could be."""
    gain = sum(1 / np.log2(place + 2) for place, hit in enumerate(hits[:10]) if hit)
    return float(gain / sum(1 / np.log2(place + 2) for place in range(min(10, relevant))))


def recall(hits: Sequence[bool], relevant: int) -> float:
    """Hits among the first twenty, as a part of those that could be there."""
    return sum(hits[:20]) / min(20, relevant)


def _judge(
    protocol: str,
    name: str,
    method: _Method,
    films: Sequence[Movie],
    training: RatingColumns,
    requests: Sequence[_Request],
) -> Evaluated:
    began = time.perf_counter()
    method.fit(films, training)
    fitted = time.perf_counter() - began
    gains, recalls, seconds, shown = [], [], [], set()
    for request in requests:
        began = time.perf_counter()
        found = method.top(request)
        seconds.append(time.perf_counter() - began)
        hits = [movie in request.relevant for movie in found]
        gains.append(ndcg(hits, len(request.relevant)))
        recalls.append(recall(hits, len(request.relevant)))
        shown.update(found[:10])
    p50, p99 = np.percentile(seconds, (50, 99)) * 1000
    means = float(np.mean(gains)), float(np.mean(recalls)), len(shown) / len(films)
    return Evaluated(protocol, name, len(requests), *means, fitted, float(p50), float(p99))


# --- data


def _read(path: Path) -> tuple[RatingColumns, list[str], int, int]:
    """Ratings on our scale by user, time and movie; the ids of movies in their order; users; rows passed over."""
    users, movies, ratings, times = array("q"), array("q"), array("d"), array("d")
    people: dict[str, int] = {}
    places: dict[str, int] = {}
    skipped = 0
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = csv.DictReader(file)
            if not {"userId", "movieId", "rating", "timestamp"} <= set(rows.fieldnames or ()):
                raise InvalidParameter(f"{path.name} needs the columns userId, movieId, rating and timestamp")
            for row in rows:
                try:
                    rating, at = 2 * float(row["rating"]), float(row["timestamp"])
                    datetime.fromtimestamp(at, UTC)
                except (TypeError, ValueError, OverflowError, OSError):
                    rating, at = 0.0, 0.0
                if not LOWEST <= rating <= HIGHEST or not row["userId"] or not row["movieId"]:
                    skipped += 1
                    continue
                users.append(people.setdefault(row["userId"], len(people)))
                movies.append(places.setdefault(row["movieId"], len(places)))
                ratings.append(rating)
                times.append(at)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or "it is no CSV in UTF-8"
        raise InvalidParameter(f"{path.name} can't be read: {reason}") from None
    counts = np.bincount(np.asarray(users, np.int64), minlength=1)
    if (counts >= MIN_RATINGS).sum() < MIN_USERS:
        enough = int((counts >= MIN_RATINGS).sum())
        raise TooFewRatings(
            f"too little to evaluate: users with {MIN_RATINGS} ratings or more: {enough}, needed: {MIN_USERS}"
        )
    # Users in their own order, so that who is drawn depends on nothing else; likewise movies.
    user_ranks, movie_ranks = _ranks(list(people)), _ranks(list(places))
    user_column, movie_column = user_ranks[np.asarray(users, np.int64)], movie_ranks[np.asarray(movies, np.int64)]
    stamps = np.asarray(times, np.float64)
    told = RatingColumns(user_column, movie_column, np.asarray(ratings, np.float32), stamps)
    order = np.lexsort((movie_column, stamps, user_column))
    columns = told.select(order[np.bincount(user_column)[user_column[order]] >= MIN_RATINGS])
    return columns, sorted(places, key=_key), len(people), skipped


def _key(text: str) -> tuple[int, str]:
    """Numbers by size."""
    return len(text), text


def _ranks(ids: Sequence[str]) -> Ints:
    ranks = np.empty(len(ids), np.int64)
    ranks[sorted(range(len(ids)), key=lambda number: _key(ids[number]))] = np.arange(len(ids))
    return ranks


def _films(path: Path, ids: Sequence[str]) -> Iterator[tuple[str, Movie | None]]:
    told: dict[str, Movie] = {}
    beside = path.with_name("movies.csv")
    if beside.is_file():
        with beside.open(encoding="utf-8", errors="replace", newline="") as file:
            for row in csv.DictReader(file):
                match = _TITLE.fullmatch(row.get("title") or "")
                genres = tuple(one for one in (row.get("genres") or "").split("|") if one and one[0] != "(")
                movie_id, title = row.get("movieId") or "", match[1] if match else ""
                year = int(match[2]) if match and match[2] else None
                told[movie_id] = Movie(id=movie_id, title=title, year=year, genres=genres)
    for movie_id in ids:
        yield movie_id, told.get(movie_id)


def _split(told: RatingColumns, protocol: str) -> tuple[RatingColumns, list[_Request]]:
    starts = np.flatnonzero(np.diff(told.users, prepend=-1))
    ends = np.append(starts[1:], len(told.users))
    rng = np.random.default_rng(SEED)
    fresh = set(rng.choice(len(starts), len(starts) // 5, replace=False).tolist()) if protocol != "temporal" else None
    is_training = np.ones(len(told.users), bool)
    requests = []
    for user, (start, end) in enumerate(zip(starts.tolist(), ends.tolist(), strict=True)):
        if fresh is not None and user not in fresh:
            continue
        cut = start + FEW if protocol == "history" else end - max(1, (end - start) // 5)
        is_training[start if fresh is not None else cut : end] = False
        relevant = frozenset(told.movies[cut:end][told.ratings[cut:end] >= LIKED].tolist())
        if relevant:
            requests.append(_Request(told.movies[start:cut], told.ratings[start:cut], told.times[cut - 1], relevant))
    if len(requests) > MAX_USERS:
        requests = [requests[one] for one in sorted(rng.choice(len(requests), MAX_USERS, replace=False).tolist())]
    return told.select(is_training), requests


# --- methods


class _Ours:
    def fit(self, films: Sequence[Movie], told: RatingColumns) -> None:
        most = np.argsort(-np.bincount(told.movies, minlength=len(films)), kind="stable")[:MAX_MODEL_MOVIES]
        self._numbers = np.sort(most)
        place = np.full(len(films), -1, np.int64)
        place[self._numbers] = np.arange(len(self._numbers))
        used = RatingColumns(told.users, place[told.movies], told.ratings, told.times).select(place[told.movies] >= 0)
        newest = datetime.fromtimestamp(float(told.times.max()), UTC)
        self._ids = [film.id for film in films]
        self._model = EaseModel.fit([films[number] for number in self._numbers], used, newest)

    def top(self, request: _Request) -> list[int]:
        rated = zip((self._ids[number] for number in request.movies), request.ratings.tolist(), strict=True)
        found = self._model.top(self._model.profile(list(rated)), datetime.fromtimestamp(request.now, UTC), limit=SHOWN)
        return [int(self._numbers[place]) for place, _ in found]


class _Popular:
    def fit(self, films: Sequence[Movie], told: RatingColumns) -> None:
        self._likes = np.bincount(told.movies[told.ratings >= LIKED], minlength=len(films)).astype(float)

    def top(self, request: _Request) -> list[int]:
        return _unseen(self._likes, request)


class _Decayed:
    def fit(self, films: Sequence[Movie], told: RatingColumns) -> None:
        liked = told.ratings >= LIKED
        order = np.argsort(told.times[liked], kind="stable")
        self._movies, self._times = told.movies[liked][order], told.times[liked][order]
        self._count = len(films)

    def top(self, request: _Request) -> list[int]:
        past = int(np.searchsorted(self._times, request.now, side="right"))
        weights = 2.0 ** ((self._times[:past] - request.now) / HALF_LIFE)
        return _unseen(np.bincount(self._movies[:past], weights, self._count).astype(float), request)


class _Neighbours:
    """The sum of cosines of who liked a movie and who liked those of the history, over the most liked movies."""

    def fit(self, films: Sequence[Movie], told: RatingColumns) -> None:
        liked = told.ratings >= LIKED
        likes = np.bincount(told.movies[liked], minlength=len(films))
        known = np.argsort(-likes, kind="stable")[: min(MAX_EXACT_SIDE, int((likes >= MIN_LIKES).sum()))]
        self._row = np.full(len(films), -1, np.int64)
        self._row[known] = np.arange(len(known))
        used = liked & (self._row[told.movies] >= 0)
        together = np.zeros((len(known), len(known)), np.float32)
        users, columns = told.users[used], self._row[told.movies[used]]
        bounds = np.flatnonzero(np.diff(users, prepend=-1, append=-1))
        for start, end in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
            own = columns[start:end]
            together[np.ix_(own, own)] += 1
        lengths = np.sqrt(np.maximum(together.diagonal(), 1))
        self._cosines = together / lengths[:, None] / lengths[None, :]
        np.fill_diagonal(self._cosines, 0)
        self._known = known
        self._count = len(films)

    def top(self, request: _Request) -> list[int]:
        rows = self._row[request.movies[request.ratings >= LIKED]]
        scores = np.zeros(self._count)
        scores[self._known] = self._cosines[rows[rows >= 0]].sum(0)
        return _unseen(scores, request)


def _unseen(scores: NDArray[np.float64], request: _Request) -> list[int]:
    scores = scores.copy()
    scores[request.movies] = -np.inf
    return [number for number, _ in best(scores, SHOWN)]
