"""Offline evaluation of recommendations on a file of ratings, compared with baselines: `recommend evaluate`.

Protocols: `temporal` holds out the last fifth of each user's ratings. `newuser` excludes a fifth of the users from
training; the first four fifths of their ratings are their history. `history` uses only the first five ratings of such
users as their history. A held-out movie is relevant if the user rates it `LIKED` or better; every movie that is not in
the history can be recommended. A request is evaluated at the time of the last rating of its history: popularity ignores
later likes. Later ratings of other users are in the training data, as in most published figures.

Users with fewer than `MIN_RATINGS` ratings are excluded. Of more than `MAX_USERS` users, a random sample is evaluated.
"""

import csv
import re
import time
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from movie_adapters.recommender.baselines import MAX_SHOWN, DecayedPopular, ItemNeighbours, Method, Popular, Request
from movie_adapters.recommender.ease_model import EaseModel, Ints, RatingColumns
from movie_core.discovery.ratings import HIGHEST, LIKED, LOWEST
from movie_core.discovery.recommendations import MAX_MODEL_MOVIES, Progress
from movie_core.errors import InvalidParameter
from movie_core.search.movies import Movie

SEED = 20260101
MIN_RATINGS = 10
MIN_USERS = 50
MAX_USERS = 2_000
HISTORY_LENGTH = 5
"""Length of the history in the protocol `history`."""
PROTOCOL_DESCRIPTIONS = {
    "temporal": "the last fifth of each user's ratings is held out",
    "newuser": "a fifth of the users is not in the training data; four fifths of their ratings come with the request",
    "history": f"the same users, with only their first {HISTORY_LENGTH} ratings",
}
"""Names and descriptions of the protocols."""
PROTOCOLS = tuple(PROTOCOL_DESCRIPTIONS)

_TITLE = re.compile(r"(.*?)(?:\s*\((\d{4})\))?\s*")


class TooFewRatings(Exception):
    """There are not enough ratings for an evaluation."""


@dataclass(frozen=True, slots=True)
class EvaluationRow:
    """Result of one method under one protocol; means over users."""

    protocol: str
    method: str
    users: int
    ndcg: float
    """nDCG@10."""
    recall: float
    """Recall@20, relative to the relevant movies that 20 positions can hold."""
    coverage: float
    """Coverage@10: share of all movies that are in the first ten positions of any user."""
    fit_seconds: float
    p50_ms: float
    p99_ms: float


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Results for a file of ratings."""

    ratings: int
    users: int
    movies: int
    skipped: int
    """Invalid rows."""
    rows: tuple[EvaluationRow, ...]


def evaluate(
    path: Path, progress: Progress = lambda _step, _fraction: None, *, max_users: int = MAX_USERS
) -> Evaluation:
    """Evaluate on a file in the MovieLens format `userId,movieId,rating,timestamp`.

    Years and genres are read from a `movies.csv` in the same directory, if there is one. Raises `TooFewRatings`, and
    `InvalidParameter` for a file in another format.
    """
    progress("reading", 0.0)
    data, ids, user_count, skipped = _read(path)
    films = [Movie(id=movie_id, title="") if film is None else film for movie_id, film in _films(path, ids)]
    methods: dict[str, Callable[[], Method]] = {
        "most popular": Popular,
        "popular, halved each year": DecayedPopular,
        "item-kNN, cosine": ItemNeighbours,
        "ours": _EaseMethod,
    }
    rows: list[EvaluationRow] = []
    steps = len(PROTOCOLS) * len(methods)
    for protocol in PROTOCOLS:
        training, requests = _split(data, protocol, max_users)
        for name, method in methods.items():
            progress(f"{protocol}: {name}", len(rows) / steps)
            rows.append(_measure(protocol, name, method(), films, training, requests))
    progress("done", 1.0)
    return Evaluation(len(data.users), user_count, len(films), skipped, tuple(rows))


# --- metrics


def ndcg(hits: Sequence[bool], relevant: int) -> float:
    """nDCG@10: the gain of the first ten positions, discounted by log2(position + 1), relative to the ideal gain."""
    gain = sum(1 / np.log2(index + 2) for index, hit in enumerate(hits[:10]) if hit)
    return float(gain / sum(1 / np.log2(index + 2) for index in range(min(10, relevant))))


def recall(hits: Sequence[bool], relevant: int) -> float:
    """Recall@20: hits in the first twenty positions, relative to the hits that are possible there."""
    return sum(hits[:20]) / min(20, relevant)


def _measure(
    protocol: str,
    name: str,
    method: Method,
    films: Sequence[Movie],
    training: RatingColumns,
    requests: Sequence[Request],
) -> EvaluationRow:
    started_at = time.perf_counter()
    method.fit(films, training)
    fit_seconds = time.perf_counter() - started_at
    gains, recalls, seconds, shown = [], [], [], set()
    for request in requests:
        started_at = time.perf_counter()
        recommended = method.top(request)
        seconds.append(time.perf_counter() - started_at)
        hits = [movie in request.relevant for movie in recommended]
        gains.append(ndcg(hits, len(request.relevant)))
        recalls.append(recall(hits, len(request.relevant)))
        shown.update(recommended[:10])
    p50, p99 = np.percentile(seconds, (50, 99)) * 1000
    means = float(np.mean(gains)), float(np.mean(recalls)), len(shown) / len(films)
    return EvaluationRow(protocol, name, len(requests), *means, fit_seconds, float(p50), float(p99))


# --- data


def _read(path: Path) -> tuple[RatingColumns, list[str], int, int]:
    """Read ratings, sorted by user, time and movie, on our scale up to 10.

    Returns them with the movie ids in order, the number of users, and the number of skipped rows.
    """
    users, movies, ratings, times = array("q"), array("q"), array("d"), array("d")
    user_numbers: dict[str, int] = {}
    movie_numbers: dict[str, int] = {}
    skipped = 0
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = csv.DictReader(file)
            if not {"userId", "movieId", "rating", "timestamp"} <= set(rows.fieldnames or ()):
                raise InvalidParameter(f"{path.name} must have the columns userId, movieId, rating and timestamp")
            for row in rows:
                try:
                    rating, at = 2 * float(row["rating"]), float(row["timestamp"])
                    datetime.fromtimestamp(at, UTC)
                except (TypeError, ValueError, OverflowError, OSError):
                    rating, at = 0.0, 0.0
                if not LOWEST <= rating <= HIGHEST or not row["userId"] or not row["movieId"]:
                    skipped += 1
                    continue
                users.append(user_numbers.setdefault(row["userId"], len(user_numbers)))
                movies.append(movie_numbers.setdefault(row["movieId"], len(movie_numbers)))
                ratings.append(rating)
                times.append(at)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or "not CSV in UTF-8"
        raise InvalidParameter(f"{path.name} cannot be read: {reason}") from None
    counts = np.bincount(np.asarray(users, np.int64), minlength=1)
    if (counts >= MIN_RATINGS).sum() < MIN_USERS:
        enough = int((counts >= MIN_RATINGS).sum())
        raise TooFewRatings(
            f"not enough ratings to evaluate: users with {MIN_RATINGS} ratings or more: {enough}, needed: {MIN_USERS}"
        )
    # Numbered in the order of their ids, so that the random sample does not depend on the order of rows.
    user_ranks, movie_ranks = _ranks(list(user_numbers)), _ranks(list(movie_numbers))
    user_column, movie_column = user_ranks[np.asarray(users, np.int64)], movie_ranks[np.asarray(movies, np.int64)]
    stamps = np.asarray(times, np.float64)
    data = RatingColumns(user_column, movie_column, np.asarray(ratings, np.float32), stamps)
    order = np.lexsort((movie_column, stamps, user_column))
    columns = data.select(order[np.bincount(user_column)[user_column[order]] >= MIN_RATINGS])
    return columns, sorted(movie_numbers, key=_numeric_key), len(user_numbers), skipped


def _numeric_key(text: str) -> tuple[int, str]:
    """Sort key that orders decimal numbers by value."""
    return len(text), text


def _ranks(ids: Sequence[str]) -> Ints:
    ranks = np.empty(len(ids), np.int64)
    ranks[sorted(range(len(ids)), key=lambda number: _numeric_key(ids[number]))] = np.arange(len(ids))
    return ranks


def _films(path: Path, ids: Sequence[str]) -> Iterator[tuple[str, Movie | None]]:
    films: dict[str, Movie] = {}
    movies_file = path.with_name("movies.csv")
    if movies_file.is_file():
        with movies_file.open(encoding="utf-8", errors="replace", newline="") as file:
            for row in csv.DictReader(file):
                match = _TITLE.fullmatch(row.get("title") or "")
                genres = tuple(genre for genre in (row.get("genres") or "").split("|") if genre and genre[0] != "(")
                movie_id, title = row.get("movieId") or "", match[1] if match else ""
                year = int(match[2]) if match and match[2] else None
                films[movie_id] = Movie(id=movie_id, title=title, year=year, genres=genres)
    for movie_id in ids:
        yield movie_id, films.get(movie_id)


def _split(data: RatingColumns, protocol: str, max_users: int) -> tuple[RatingColumns, list[Request]]:
    starts = np.flatnonzero(np.diff(data.users, prepend=-1))
    ends = np.append(starts[1:], len(data.users))
    rng = np.random.default_rng(SEED)
    new_users = (
        set(rng.choice(len(starts), len(starts) // 5, replace=False).tolist()) if protocol != "temporal" else None
    )
    is_training = np.ones(len(data.users), bool)
    requests = []
    for user, (start, end) in enumerate(zip(starts.tolist(), ends.tolist(), strict=True)):
        if new_users is not None and user not in new_users:
            continue
        cut = start + HISTORY_LENGTH if protocol == "history" else end - max(1, (end - start) // 5)
        is_training[start if new_users is not None else cut : end] = False
        relevant = frozenset(data.movies[cut:end][data.ratings[cut:end] >= LIKED].tolist())
        if relevant:
            requests.append(Request(data.movies[start:cut], data.ratings[start:cut], data.times[cut - 1], relevant))
    if len(requests) > max_users:
        requests = [requests[index] for index in sorted(rng.choice(len(requests), max_users, replace=False).tolist())]
    return data.select(is_training), requests


# --- methods


class _EaseMethod:
    def fit(self, films: Sequence[Movie], data: RatingColumns) -> None:
        most_rated = np.argsort(-np.bincount(data.movies, minlength=len(films)), kind="stable")[:MAX_MODEL_MOVIES]
        self._numbers = np.sort(most_rated)
        index = np.full(len(films), -1, np.int64)
        index[self._numbers] = np.arange(len(self._numbers))
        numbers = index[data.movies]
        used = RatingColumns(data.users, numbers, data.ratings, data.times).select(numbers >= 0)
        newest = datetime.fromtimestamp(float(data.times.max()), UTC)
        self._ids = [film.id for film in films]
        self._model = EaseModel.fit([films[number] for number in self._numbers], used, newest)

    def top(self, request: Request) -> list[int]:
        rated = zip((self._ids[number] for number in request.movies), request.ratings.tolist(), strict=True)
        profile = self._model.profile(list(rated))
        top = self._model.top(profile, datetime.fromtimestamp(request.now, UTC), limit=MAX_SHOWN)
        return [int(self._numbers[number]) for number, _ in top]
