"""The recommendation model: EASE^R (Steck, "Embarrassingly Shallow Autoencoders for Sparse Data", 2019) on a thin
singular value decomposition, combined with content and popularity. Numpy only, without I/O.

The matrix X of users and movies contains a rating r as v = (r - 5) / 3; its columns are scaled by
(ratings above 5)^-0.1. Of X = U S V' only V and the gains s^2 / (s^2 + lambda) are stored, because EASE's matrix
P = (X'X + lambda I)^-1 is (I - V diag(gains) V') / lambda. So the model contains no data of a single user, and folding
in is exact for any user. The score of a movie for a user with n ratings above 5 is, with f = (16 / (n + 16))^3,

    (1 - f) * (prediction - 0.05 * popularity) + 1.5 * content + 1.5 * f * popularity

`prediction` is the prediction of EASE for the user's vector, normalised to unit length; `popularity` is the number of
likes, each halved every year; `content` is the cosine similarity of genres and decades. Prediction and popularity are
scaled to a mean square of 1 over the movies that have factors, which makes them comparable for any size of catalogue.
"""

import json
import struct
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from movie_core.discovery.ratings import LIKED
from movie_core.discovery.recommendations import MAX_REASONS, MAX_RECOMMENDED, Progress, ReasonKind
from movie_core.search.movies import Movie

RANK = 300
"""Maximum number of factors of a movie."""
LAMBDA = 100.0
"""Regularisation of EASE."""
COLUMN_POWER = 0.1
"""Exponent of the column scaling."""
MIN_LIKES = 3
"""Likes that a movie needs to get factors: with fewer, the factors would disclose ratings of single users."""
NEUTRAL, SPREAD = 5.0, 3.0
"""Ratings are centred by the first and divided by the second."""
RECENCY_HALF_LIFE = 30
"""The newest rating counts twice; the additional weight is halved every so many ratings."""
POPULARITY_PRIOR = 16
"""The constant in f, the share of popularity in a score: with so many ratings above neutral, f is 1/8."""
POPULARITY_PENALTY = 0.05
POPULARITY_WEIGHT = 1.5
CONTENT_WEIGHT = 1.5
CATALOGUE_WEIGHT = 1.0
"""Weight of the catalogue's own popularity while there are few likes."""
CATALOGUE_PRIOR = 1000
"""Number of likes at which that weight is halved."""
SIMILAR_YEARS = 10
"""Maximum difference in years of similar movies."""
SIMILAR_CONTENT_WEIGHT, SIMILAR_POPULARITY_WEIGHT = 4.0, 1.0
"""Weights of content and of the catalogue's own popularity in the score of similar movies."""
SIMILAR_PRIOR = 10
"""Number of ratings above neutral at which the prediction has half of its weight for similar movies."""
HALF_LIFE = 365 * 86400.0
"""Seconds in which a like loses half of its weight."""
WEEK = 7 * 86400.0
"""Likes are dated by the end of their week: sufficient for popularity, and users cannot be identified by it."""
MAX_GENRES = 200
MAX_EXACT_SIDE = 4000
"""The decomposition is exact up to so many users or movies, and uses subspace iteration beyond."""
BLOCK_SIZE = 16_000_000
"""Numbers in one dense block of X."""
MIN_CONTRIBUTION = 1e-4
"""Minimum contribution of a reason to a score; larger than any rounding error."""

_FORMAT = b"movie-ease-1\n"
_HEADER_LENGTH = struct.Struct("<I")

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
SimilarMovies = list[tuple[int, float, list[ReasonKind]]]


@dataclass(frozen=True, slots=True)
class RatingColumns:
    """Ratings as columns; users and movies are numbers from 0, times are seconds since 1970."""

    users: Ints
    movies: Ints
    ratings: Floats
    times: NDArray[np.float64]

    def select(self, rows: NDArray[Any]) -> "RatingColumns":
        """The rows selected by a mask or by indices."""
        return RatingColumns(self.users[rows], self.movies[rows], self.ratings[rows], self.times[rows])


def rating_columns(
    users: Sequence[int],
    movies: Sequence[int],
    ratings: Sequence[float],
    times: Sequence[float],
    movie_ids: Sequence[str],
    films: Sequence[Movie],
) -> RatingColumns:
    """Map movie numbers from indices of `movie_ids` to indices of `films`; ratings of other movies are dropped."""
    index = {film.id: number for number, film in enumerate(films)}
    film_numbers = np.array([index.get(movie_id, -1) for movie_id in movie_ids], np.int64)
    numbers = film_numbers[np.asarray(movies, np.int64)]
    columns = np.asarray(users, np.int64), numbers, np.asarray(ratings, np.float32), np.asarray(times, np.float64)
    return RatingColumns(*columns).select(numbers >= 0)


@dataclass(slots=True)
class Profile:
    """The centred ratings of a user for movies of the model, oldest first."""

    movies: Ints
    values: Floats

    @property
    def positive(self) -> int:
        """Number of ratings above neutral."""
        return int((self.values > 0).sum())

    def weights(self, without: Ints | None = None) -> Floats:
        """Weighted ratings: one row with all of them or, for each index in `without`, a row that omits that rating."""
        ages = np.arange(len(self.values) - 1, -1, -1, dtype=np.float32)
        all_weights = (self.values * (1 + 2 ** (-ages / RECENCY_HALF_LIFE))).astype(np.float32)
        if without is None:
            return all_weights[None, :]
        younger_weights = self.values * (1 + 2 ** (-(ages - 1) / RECENCY_HALF_LIFE))
        positions = np.arange(len(self.values))[None, :]
        omitted = without[:, None]
        return np.where(positions < omitted, younger_weights, np.where(positions > omitted, all_weights, 0)).astype(
            np.float32
        )


class EaseModel:
    """A trained model; immutable."""

    def __init__(
        self,
        ids: Sequence[str],
        years: NDArray[np.int16],
        genre_names: Sequence[str],
        genres: NDArray[np.int32],
        factor_movies: NDArray[np.int32],
        factors: Floats,
        gains: Floats,
        scales: Floats,
        likes: Sequence[NDArray[Any]],
        catalogue_popularity: Floats,
    ) -> None:
        """`ids` are sorted; `genres` are pairs of movie and genre; `factor_movies` are the movies that have a row in
        `factors`; `likes` are the columns movie, time and count, sorted by time."""
        self.ids = ids
        self.index = {movie_id: number for number, movie_id in enumerate(ids)}
        self.years = years
        self._genre_names = genre_names
        self._genres = genres
        self._factor_movies = factor_movies
        self._factors = factors
        self._gains = gains
        self._scales = scales
        self._likes = likes
        self._catalogue_popularity = catalogue_popularity
        self._like_total = float(likes[2].sum())
        rows = np.full(len(ids), len(factor_movies), np.int64)
        rows[factor_movies] = np.arange(len(factor_movies))
        self._factor_rows = rows
        zeros = np.zeros((1, len(gains)), np.float32)  # the row of all movies without factors
        self._input_vectors = np.vstack([factors * scales[:, None] * gains, zeros])
        diagonal = np.maximum(1 - np.square(factors) @ gains, 0.05)  # lambda * P_jj
        self._output_vectors = np.vstack([factors / diagonal[:, None], zeros])
        self._positive_counts = np.append(scales ** (-1 / COLUMN_POWER), 0)
        self._scale = np.float32(max(1, len(factor_movies)) ** 0.5)
        self._idf, self._content = self._content_vectors()
        self._cached_popularity: tuple[float, Floats] | None = None

    # --- training

    @classmethod
    def fit(
        cls,
        films: Sequence[Movie],
        data: RatingColumns,
        made_at: datetime,
        progress: Progress = lambda _s, _f: None,
        *,
        max_exact_side: int = MAX_EXACT_SIDE,
        block_size: int = BLOCK_SIZE,
    ) -> "EaseModel":
        """Train on ratings whose movies are indices of `films`, which are sorted by id."""
        count = len(films)
        liked = data.ratings >= LIKED
        like_counts = np.bincount(data.movies[liked], minlength=count)
        factor_movies = np.flatnonzero(like_counts >= MIN_LIKES).astype(np.int32)
        column = np.full(count, -1, np.int64)
        column[factor_movies] = np.arange(len(factor_movies))
        used = column[data.movies] >= 0
        users, columns = data.users[used], column[data.movies[used]]
        positive = np.bincount(columns[data.ratings[used] > NEUTRAL], minlength=len(factor_movies))
        scales = (np.maximum(positive, 1.0) ** -COLUMN_POWER).astype(np.float32)
        values = _centred(data.ratings[used]) * scales[columns]
        squares, factors = _decompose(
            users,
            columns,
            values,
            len(factor_movies),
            progress,
            max_exact_side=max_exact_side,
            block_size=block_size,
        )
        gains = (squares / (squares + LAMBDA)).astype(np.float32)
        progress("popularity", 0.0)
        ends = np.minimum((data.times[liked] // WEEK + 1) * WEEK, made_at.timestamp())
        order = np.argsort(ends, kind="stable")
        likes = (data.movies[liked][order].astype(np.int32), ends[order], np.ones(len(order), np.float32))
        names, pairs = _genre_pairs(films)
        years = np.array([film.year if film.year and 0 < film.year < 9999 else 0 for film in films], np.int16)
        model = cls(
            [film.id for film in films],
            years,
            names,
            pairs,
            factor_movies,
            factors,
            gains,
            scales,
            likes,
            _catalogue_popularity(films),
        )
        progress("popularity", 1.0)
        return model

    # --- serialisation

    def dump(self, made_at: datetime) -> bytes:
        """Serialise for `load`. Likes are summed to one number per movie, which suffices for all later times."""
        popularity = np.round(self._decayed_likes(made_at.timestamp()), 3)
        movies = np.flatnonzero(popularity).astype(np.int32)
        columns: dict[str, NDArray[Any]] = {
            "years": self.years,
            "genres": self._genres,
            "known": self._factor_movies,
            "factors": self._factors.astype(np.float16),
            "gains": self._gains,
            "scales": self._scales,
            "fame": self._catalogue_popularity,
            "liked": movies,
            "liked_at": np.full(len(movies), made_at.timestamp()),
            "likes": popularity[movies].astype(np.float32),
        }
        header = {
            "ids": list(self.ids),
            "genre_names": list(self._genre_names),
            "like_total": self._like_total,
            "columns": [(name, column.dtype.str, column.shape) for name, column in columns.items()],
        }
        encoded_header = json.dumps(header).encode("ascii")
        bodies = [np.ascontiguousarray(column).tobytes() for column in columns.values()]
        return b"".join([_FORMAT, _HEADER_LENGTH.pack(len(encoded_header)), encoded_header, *bodies])

    @classmethod
    def load(cls, body: bytes) -> "EaseModel":
        """Raises `ValueError` for bytes of another format."""
        start = len(_FORMAT) + _HEADER_LENGTH.size
        if not body.startswith(_FORMAT) or len(body) < start:
            raise ValueError("not a model of this format")
        (length,) = _HEADER_LENGTH.unpack_from(body, len(_FORMAT))
        header = json.loads(body[start : start + length])
        offset, columns = start + length, {}
        for name, kind, shape in header["columns"]:
            dtype, size = np.dtype(kind), int(np.prod(shape))
            columns[name] = np.frombuffer(body, dtype, size, offset).reshape(shape)
            offset += size * dtype.itemsize
        model = cls(
            header["ids"],
            columns["years"],
            header["genre_names"],
            columns["genres"],
            columns["known"],
            columns["factors"].astype(np.float32),
            columns["gains"],
            columns["scales"],
            (columns["liked"], columns["liked_at"], columns["likes"]),
            columns["fame"],
        )
        model._like_total = header["like_total"]
        return model

    # --- prediction

    def profile(self, rated: Sequence[tuple[str, float]]) -> Profile:
        """A profile of movie ids and ratings, oldest first; movies that are not in the model are dropped."""
        pairs = [(self.index[movie_id], rating) for movie_id, rating in rated if movie_id in self.index]
        movies, ratings = (zip(*pairs, strict=True)) if pairs else ((), ())
        return Profile(np.array(movies, np.int64), _centred(np.array(ratings, np.float32)))

    def top(self, profile: Profile, now: datetime, limit: int = MAX_RECOMMENDED) -> list[tuple[int, float]]:
        """The movies with the highest scores, ties by id; without movies of the profile or of later years."""
        scores = self._scores(profile, now)[0]
        scores[profile.movies] = -np.inf
        scores[self.years > now.year] = -np.inf
        return best(scores, limit)

    def reasons(self, profile: Profile, now: datetime, shown: Sequence[int]) -> list[list[int]]:
        """For each movie in `shown`, the positions in the profile of the ratings that contribute most to its score.

        Candidates are selected by their linear contribution, then verified by scoring without them. Only ratings above
        neutral are reasons.
        """
        wanted = np.array(shown, np.int64)
        if not len(profile.movies) or not len(wanted):
            return [[] for _ in shown]
        weights = profile.weights()
        latent, contents = self._profile_vectors(profile, weights)
        prediction_share = 1 - _popularity_share(profile.positive)
        inputs = self._input_vectors[self._factor_rows[profile.movies]]
        contributions = (inputs @ self._output_vectors[self._factor_rows[wanted]].T) * (prediction_share * self._scale)
        contributions /= max(float(np.linalg.norm(latent)), 1e-9)
        shared = self._content[profile.movies] @ self._content[wanted].T
        contributions += shared * (CONTENT_WEIGHT / max(float(np.linalg.norm(contents)), 1e-9))
        contributions *= np.maximum(weights.T, 0)
        largest = np.argsort(-contributions, axis=0, kind="stable")[: MAX_REASONS + 2]
        candidates = np.unique(largest[np.take_along_axis(contributions, largest, 0) > 0])
        if not len(candidates):
            return [[] for _ in shown]
        scores = self._scores(profile, now, wanted)[0]
        losses = np.vstack(
            [
                scores - self._scores(profile, now, wanted, batch)
                for batch in np.array_split(candidates, len(candidates) // 64 + 1)
            ]
        )
        reasons = []
        for column in range(len(wanted)):
            order = np.argsort(-losses[:, column], kind="stable")[:MAX_REASONS]
            reasons.append([int(candidates[row]) for row in order if losses[row, column] > MIN_CONTRIBUTION])
        return reasons

    def affinities(self, profile: Profile, movie_ids: Collection[str]) -> dict[str, float]:
        """Prediction and content as in the score, without popularity, for those movies that are in the model."""
        wanted = [movie_id for movie_id in movie_ids if movie_id in self.index]
        movies = np.array([self.index[movie_id] for movie_id in wanted], np.int64)
        latent, contents = self._profile_vectors(profile, profile.weights())
        values = self._predictions(latent, movies) + CONTENT_WEIGHT * self._content_similarities(contents, movies)
        return dict(zip(wanted, np.round(values[0].astype(float), 6).tolist(), strict=True))

    def has_content(self, movie_ids: Iterable[str]) -> bool:
        """Whether genres or years distinguish one of these movies from others."""
        movies = [self.index[movie_id] for movie_id in movie_ids if movie_id in self.index]
        return bool(self._content[movies].any())

    def similar(self, movie: Movie, limit: int = MAX_RECOMMENDED) -> SimilarMovies:
        """Movies similar to this one, which need not be in the model, with the kinds of similarity."""
        own = self.index.get(movie.id)
        content = self._content_vector(movie) if own is None else self._content[own]
        latent = self._input_vectors[[len(self._factor_movies)] if own is None else [self._factor_rows[own]]]
        predictions = self._predictions(latent)[0]
        similarities = self._content_similarities(content[None, :])[0]
        is_alike = np.zeros(len(self.ids), bool)
        if movie.year:
            is_alike[self._genres[np.isin(self._genres[:, 1], self._genre_numbers(movie)), 0]] = True
            is_alike &= (np.abs(self.years.astype(int) - movie.year) <= SIMILAR_YEARS) & (self.years > 0)
        likes = 0.0 if own is None else self._positive_counts[self._factor_rows[own]]
        scores = predictions * (likes / (likes + SIMILAR_PRIOR)) + SIMILAR_CONTENT_WEIGHT * similarities
        scores = scores + SIMILAR_POPULARITY_WEIGHT * self._catalogue_popularity
        scores[(predictions <= MIN_CONTRIBUTION) & ~is_alike] = -np.inf
        if own is not None:
            scores[own] = -np.inf
        similar: SimilarMovies = []
        for number, score in best(scores, limit):
            is_liked_together = bool(predictions[number] > MIN_CONTRIBUTION)
            kinds = [ReasonKind.LIKED_TOGETHER] * is_liked_together + [ReasonKind.ALIKE] * bool(is_alike[number])
            similar.append((number, score, kinds))
        return similar

    # --- terms of the score

    def _scores(
        self, profile: Profile, now: datetime, movies: Ints | None = None, without: Ints | None = None
    ) -> NDArray[np.float64]:
        """One row of scores or, for each position in `without`, a row without that rating, which is above neutral."""
        latent, contents = self._profile_vectors(profile, profile.weights(without))
        share = _popularity_share(profile.positive - (without is not None))
        popularity = self._popularity_at(now)
        scores = (1 - share) * self._predictions(latent, movies)
        scores = scores + CONTENT_WEIGHT * self._content_similarities(contents, movies)
        weight = POPULARITY_WEIGHT * share - POPULARITY_PENALTY * (1 - share)
        catalogue_weight = CATALOGUE_WEIGHT * CATALOGUE_PRIOR / (CATALOGUE_PRIOR + self._like_total)
        common = weight * popularity + catalogue_weight * self._catalogue_popularity  # the same for all users
        return np.asarray(scores + (common if movies is None else common[movies]), np.float64)

    def _profile_vectors(self, profile: Profile, weights: Floats) -> tuple[Floats, Floats]:
        """The user's latent vector and content vector, one row for each row of weights."""
        latent = _weighted_sums(weights, self._input_vectors[self._factor_rows[profile.movies]])
        return latent, _weighted_sums(weights, self._content[profile.movies])

    def _predictions(self, latent: Floats, movies: Ints | None = None) -> Floats:
        lengths = np.linalg.norm(latent, axis=1, keepdims=True)
        unit = latent * (self._scale / np.maximum(lengths, 1e-9))
        if movies is not None:
            return _products(unit, self._output_vectors[self._factor_rows[movies]])
        predictions = np.zeros((len(latent), len(self.ids)), np.float32)
        predictions[:, self._factor_movies] = _products(unit, self._output_vectors[:-1])
        return predictions

    def _content_similarities(self, contents: Floats, movies: Ints | None = None) -> Floats:
        lengths = np.linalg.norm(contents, axis=1, keepdims=True)
        rows = self._content if movies is None else self._content[movies]
        return _products(contents / np.maximum(lengths, 1e-9), rows)

    def _popularity_at(self, now: datetime) -> Floats:
        """Popularity at a time, scaled like predictions. The last result is cached."""
        timestamp = now.timestamp()
        cached = self._cached_popularity
        if cached is None or cached[0] != timestamp:
            decayed = self._decayed_likes(timestamp)
            cached = timestamp, decayed * (self._scale / max(float(np.linalg.norm(decayed)), 1e-9))
            self._cached_popularity = cached
        return cached[1]

    def _decayed_likes(self, timestamp: float) -> Floats:
        """Likes up to a time, with exponential decay by `HALF_LIFE`."""
        movies, times, counts = self._likes
        past = int(np.searchsorted(times, timestamp, side="right"))
        weights = counts[:past] * 2.0 ** ((times[:past] - timestamp) / HALF_LIFE)
        return np.bincount(movies[:past], weights, len(self.ids)).astype(np.float32)

    def _content_vectors(self) -> tuple[Floats, Floats]:
        """The weights of genres and decades by inverse document frequency, and the unit vector of each movie."""
        features = np.zeros((len(self.ids), len(self._genre_names) + _DECADES), np.float32)
        features[self._genres[:, 0], self._genres[:, 1]] = 1
        dated = np.flatnonzero(self.years)
        features[dated, len(self._genre_names) + _decade(self.years[dated])] = 1
        idf = np.log(max(1, len(self.ids)) / np.maximum(features.sum(0), 1)).astype(np.float32)
        return idf, _unit_rows(features * idf)

    def _genre_numbers(self, movie: Movie) -> list[int]:
        names = {genre.casefold() for genre in movie.genres}
        return [number for number, name in enumerate(self._genre_names) if name in names]

    def _content_vector(self, movie: Movie) -> Floats:
        features = np.zeros(len(self._idf), np.float32)
        features[self._genre_numbers(movie)] = 1
        if movie.year:
            features[len(self._genre_names) + _decade(np.array([movie.year]))] = 1
        return np.asarray(_unit_rows((features * self._idf)[None, :])[0])


_DECADES = 32  # 1800 to 2110; other years count as the nearest decade


def _decade(years: NDArray[Any]) -> Ints:
    return np.asarray(np.clip((years.astype(np.int64) - 1800) // 10, 0, _DECADES - 1))


def _centred(ratings: Floats) -> Floats:
    return ((ratings - NEUTRAL) / SPREAD).astype(np.float32)


def _popularity_share(positive: int) -> float:
    return float((POPULARITY_PRIOR / (positive + POPULARITY_PRIOR)) ** 3)


# A single row is computed in one thread: with the BLAS thread pool, concurrent requests would wait for each other, and
# a busy machine for its idle threads.


def _products(few: Floats, many: Floats) -> Floats:
    """Dot products of each row of `few` with each row of `many`."""
    return np.asarray(np.einsum("ij,j->i", many, few[0])[None, :] if len(few) == 1 else few @ many.T)


def _weighted_sums(weights: Floats, rows: Floats) -> Floats:
    """The weighted sums of rows, one for each row of weights."""
    return np.asarray(np.einsum("i,ij->j", weights[0], rows)[None, :] if len(weights) == 1 else weights @ rows)


def _unit_rows(rows: Floats) -> Floats:
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9), np.float32)


def best(scores: NDArray[Any], limit: int) -> list[tuple[int, float]]:
    """Indices and scores, sorted by descending score, then index. Scores are rounded to six decimals, so that rounding
    errors do not decide ties."""
    rounded = np.round(scores.astype(np.float64), 6)
    candidates = np.flatnonzero(rounded > -np.inf)
    if len(candidates) > limit:
        threshold = np.partition(rounded[candidates], len(candidates) - limit)[len(candidates) - limit]
        candidates = candidates[rounded[candidates] >= threshold]
    order = candidates[np.lexsort((candidates, -rounded[candidates]))][:limit]
    return [(int(number), float(rounded[number])) for number in order]


def _catalogue_popularity(films: Sequence[Movie]) -> Floats:
    """The catalogue's own popularity by rank: 1 for the most popular movie, halved every 2,000 ranks; 0 if unknown."""
    ranked = [number for number, film in enumerate(films) if film.popularity is not None]
    ranked.sort(key=lambda number: (-(films[number].popularity or 0.0), number))
    popularity = np.zeros(len(films), np.float32)
    popularity[ranked] = 2.0 ** (-np.arange(len(ranked)) / 2000)
    return popularity


def _genre_pairs(films: Sequence[Movie]) -> tuple[list[str], NDArray[np.int32]]:
    """The most frequent genres, and pairs of movie and genre."""
    counts: dict[str, int] = {}
    for film in films:
        for name in {genre.casefold() for genre in film.genres}:
            counts[name] = counts.get(name, 0) + 1
    names = sorted(sorted(counts, key=lambda name: (-counts[name], name))[:MAX_GENRES])
    number = {name: index for index, name in enumerate(names)}
    pairs = sorted(
        (row, number[name])
        for row, film in enumerate(films)
        for name in {genre.casefold() for genre in film.genres}
        if name in number
    )
    return names, np.array(pairs, np.int32).reshape(-1, 2)


# --- the decomposition


def _decompose(
    users: Ints,
    columns: Ints,
    values: Floats,
    width: int,
    progress: Progress,
    *,
    max_exact_side: int,
    block_size: int,
) -> tuple[NDArray[np.float64], Floats]:
    """The largest squared singular values of X, at most `RANK`, and their right singular vectors."""
    raters, rows = np.unique(users, return_inverse=True)
    height = len(raters)
    progress("factors", 0.0)
    if not width or not height:
        return np.zeros(0), np.zeros((width, 0), np.float32)
    if height < width and height <= max_exact_side:
        # X' has the same squared singular values, and its left singular vectors are the right ones of X.
        transposed = _Blocks(columns, rows, values, (width, height), block_size)
        squares, vectors = _eigen(transposed.gram())
        return squares, transposed.times((vectors / np.sqrt(squares)).astype(np.float32))
    blocks = _Blocks(rows, columns, values, (height, width), block_size)
    if width <= max_exact_side:
        squares, vectors = _eigen(blocks.gram())
        return squares, vectors.astype(np.float32)
    # Halko, Martinsson, Tropp, "Finding structure with randomness", 2011: algorithms 4.4 and 5.3.
    basis = np.random.default_rng(0).standard_normal((width, RANK + 20)).astype(np.float32)
    for step in range(4):
        basis = np.linalg.qr(blocks.square_times(basis))[0]
        progress("factors", (step + 1) / 5)
    squares, vectors = _eigen((basis.T @ blocks.square_times(basis)).astype(np.float64))
    return squares, basis @ vectors.astype(np.float32)


def _eigen(gram: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The largest eigenvalues, at most `RANK`, in descending order; without those that are rounding errors."""
    values, vectors = np.linalg.eigh((gram + gram.T) / 2)
    values, vectors = values[::-1][:RANK], vectors[:, ::-1][:, :RANK]
    is_significant = values > 1e-6 * max(float(values[0]), 1e-9)
    return values[is_significant], vectors[:, is_significant]


class _Blocks:
    """A sparse matrix, converted to dense blocks of rows with at most `block_size` numbers."""

    def __init__(self, rows: Ints, columns: Ints, values: Floats, shape: tuple[int, int], block_size: int) -> None:
        order = np.argsort(rows, kind="stable")
        self._rows, self._columns, self._values = rows[order], columns[order], values[order]
        self._shape = shape
        self._block_size = block_size

    def __iter__(self) -> Any:
        height, width = self._shape
        step = max(1, self._block_size // width)
        for start in range(0, height, step):
            first, last = np.searchsorted(self._rows, (start, start + step))
            block = np.zeros((min(step, height - start), width), np.float32)
            block[self._rows[first:last] - start, self._columns[first:last]] = self._values[first:last]
            yield block

    def gram(self) -> NDArray[np.float64]:
        """The Gram matrix: the products of all columns with each other."""
        total = np.zeros((self._shape[1], self._shape[1]))
        for block in self:
            total += block.T @ block
        return total

    def times(self, right: Floats) -> Floats:
        return np.vstack([block @ right for block in self])

    def square_times(self, right: Floats) -> Floats:
        """The Gram matrix times `right`, without computing the Gram matrix."""
        total = np.zeros_like(right)
        for block in self:
            total += block.T @ (block @ right)
        return total
