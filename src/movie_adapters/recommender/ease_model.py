"""The model behind recommendations: EASE^R (Steck, "Embarrassingly Shallow Autoencoders for Sparse Data", 2019) on a
thin singular value decomposition, with content and popularity beside it; numpy, without I/O.

A rating r is worth v = (r - 5) / 3 in the matrix X of users and movies, its columns scaled by (ratings above 5)^-0.1.
Of X = U S V' only V and the gains s^2 / (s^2 + lambda) are kept, as EASE's P = (X'X + lambda I)^-1 is
(I - V diag(gains) V') / lambda: nothing of a single user is in the model, and whoever rates is folded in exactly.
The score of a movie for a user with n ratings above 5 is, with f = (16 / (n + 16))^3,

    (1 - f) * (taste - 0.05 * popularity) + 1.5 * content + 1.5 * f * popularity

`affinities` is what EASE predicts, for a vector of tastes that is given unit length; `popularity` are likes, halved each
year; `content` is the cosine of genres and decades. The first two are scaled to a mean square of 1 over the movies that
have factors, and so compare with each other whatever the size of the collection.
"""

import json
import struct
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from movie_core.discovery.ratings import LIKED
from movie_core.discovery.recommendations import MAX_REASONS, MAX_RECOMMENDED, Progress, ReasonKind
from movie_core.search.movies import Movie

RANK = 300
"""Factors of a movie, at most."""
LAMBDA = 100.0
COLUMN_POWER = 0.1
MIN_LIKES = 3
"""Users who must have liked a movie before it has factors: fewer would tell something of a single one."""
NEUTRAL, SPREAD = 5.0, 3.0
"""The worth of a rating is its distance from the first, in units of the second."""
RECENT = 30
"""Ratings after which the extra weight of the newest is half: they count twice."""
TRUST = 16
"""Ratings above neutral in the formula of f, which says how far popularity stands in for taste."""
POPULARITY_AGAINST_TASTE = 0.05
POPULARITY = 1.5
CONTENT = 1.5
FAMILIAR = 1.0
"""Weight of the catalogue's own order by popularity, while there are few likes."""
FEW_LIKES = 1000
NEAR = 10
"""Years between movies that are of about the same time."""
ALIKE, FAME = 4.0, 1.0
"""What content, and the catalogue's own order, weigh among similar movies."""
FEW_OF_ONE = 10
"""With so many ratings above neutral, who liked a movie has half a say in what it is similar to."""
HALF_LIFE = 365 * 86400.0
WEEK = 7 * 86400.0
"""Likes are dated by the end of their week: popularity needs it no finer, and users should not be told from it."""
MAX_GENRES = 200
EXACT_SIDE = 4000
"""Up to so many users or movies the decomposition is exact; beyond, by subspace iteration."""
BLOCK = 16_000_000
"""Numbers of a dense part of X that are in memory at once."""
REAL = 1e-4
"""By how much a reason must raise a score: more than rounding could."""

_FORMAT = b"movie-ease-1\n"
_LENGTH = struct.Struct("<I")

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
Likeness = list[tuple[int, float, list[ReasonKind]]]


@dataclass(frozen=True, slots=True)
class RatingColumns:
    """Ratings as columns; users and movies are numbers from 0, times are seconds since 1970."""

    users: Ints
    movies: Ints
    ratings: Floats
    times: NDArray[np.float64]

    def where(self, which: NDArray[Any]) -> "RatingColumns":
        """Those that a mask or an order picks."""
        return RatingColumns(self.users[which], self.movies[which], self.ratings[which], self.times[which])


def rating_columns(
    users: Sequence[int],
    movies: Sequence[int],
    ratings: Sequence[float],
    times: Sequence[float],
    movie_ids: Sequence[str],
    films: Sequence[Movie],
) -> RatingColumns:
    """Of ratings whose movies are numbers of `movie_ids`, without those of movies that aren't among the films."""
    place = {film.id: number for number, film in enumerate(films)}
    numbers = np.array([place.get(movie_id, -1) for movie_id in movie_ids], np.int64)
    found = numbers[np.asarray(movies, np.int64)]
    is_film = found >= 0
    columns = np.asarray(users, np.int64), found, np.asarray(ratings, np.float32), np.asarray(times, np.float64)
    return RatingColumns(*columns).where(is_film)


@dataclass(slots=True)
class Profile:
    """What a user has rated of the movies that the model knows, oldest first."""

    movies: Ints
    worths: Floats

    @property
    def positive(self) -> int:
        """Ratings above neutral."""
        return int((self.worths > 0).sum())

    def weights(self, without: Ints | None = None) -> Floats:
        """What each rating counts: one row for all of them, or one for each that is left out."""
        ages = np.arange(len(self.worths) - 1, -1, -1, dtype=np.float32)
        whole = (self.worths * (1 + 2 ** (-ages / RECENT))).astype(np.float32)
        if without is None:
            return whole[None, :]
        younger = self.worths * (1 + 2 ** (-(ages - 1) / RECENT))
        places = np.arange(len(self.worths))[None, :]
        left_out = without[:, None]
        return np.where(places < left_out, younger, np.where(places > left_out, whole, 0)).astype(np.float32)


class EaseModel:
    """What was learned; never changes once made."""

    def __init__(
        self,
        ids: Sequence[str],
        years: NDArray[np.int16],
        genre_names: Sequence[str],
        genres: NDArray[np.int32],
        known: NDArray[np.int32],
        factors: Floats,
        gains: Floats,
        scales: Floats,
        likes: Sequence[NDArray[Any]],
        fame: Floats,
    ) -> None:
        """`ids` are sorted; `genres` are pairs of movie and genre; `known` the movies that have a row of `factors`;
        `likes` the columns movie, time, count by rising time."""
        self.ids = ids
        self.index = {movie_id: number for number, movie_id in enumerate(ids)}
        self.years = years
        self._genre_names = genre_names
        self._genres = genres
        self._known = known
        self._factors = factors
        self._gains = gains
        self._scales = scales
        self._likes = likes
        self._fame = fame
        self._like_total = float(likes[2].sum())
        row = np.full(len(ids), len(known), np.int64)
        row[known] = np.arange(len(known))
        self._row = row
        none = np.zeros((1, len(gains)), np.float32)  # the row of movies without factors
        self._into = np.vstack([factors * scales[:, None] * gains, none])
        diagonal = np.maximum(1 - np.square(factors) @ gains, 0.05)  # lambda * P_jj
        self._out = np.vstack([factors / diagonal[:, None], none])
        self._positive = np.append(scales ** (-1 / COLUMN_POWER), 0)
        self._unit = np.float32(max(1, len(known)) ** 0.5)
        self._idf, self._content = self._contents()
        self._popularity: tuple[float, Floats] | None = None

    # --- learning

    @classmethod
    def fit(
        cls, films: Sequence[Movie], told: RatingColumns, made_at: datetime, progress: Progress = lambda _s, _p: None
    ) -> "EaseModel":
        """Learn from ratings whose movies are numbers of `films`, which are sorted by id."""
        count = len(films)
        liked = told.ratings >= LIKED
        like_counts = np.bincount(told.movies[liked], minlength=count)
        known = np.flatnonzero(like_counts >= MIN_LIKES).astype(np.int32)
        column = np.full(count, -1, np.int64)
        column[known] = np.arange(len(known))
        used = column[told.movies] >= 0
        users, columns = told.users[used], column[told.movies[used]]
        positive = np.bincount(columns[told.ratings[used] > NEUTRAL], minlength=len(known))
        scales = (np.maximum(positive, 1.0) ** -COLUMN_POWER).astype(np.float32)
        worths = _worths(told.ratings[used]) * scales[columns]
        squares, factors = _decompose(users, columns, worths, len(known), progress)
        gains = (squares / (squares + LAMBDA)).astype(np.float32)
        progress("popularity", 0.0)
        moment = made_at.timestamp()
        ends = np.minimum((told.times[liked] // WEEK + 1) * WEEK, moment)
        order = np.argsort(ends, kind="stable")
        likes = (told.movies[liked][order].astype(np.int32), ends[order], np.ones(len(order), np.float32))
        names, pairs = _genre_pairs(films)
        years = np.array([film.year if film.year and 0 < film.year < 9999 else 0 for film in films], np.int16)
        model = cls(
            [film.id for film in films], years, names, pairs, known, factors, gains, scales, likes, _fame(films)
        )
        progress("popularity", 1.0)
        return model

    # --- keeping

    def dump(self, made_at: datetime) -> bytes:
        """As `load` reads it. Likes become one number for each movie, which is all that times from now on need."""
        popularity = np.round(self._decayed(made_at.timestamp()), 3)
        movies = np.flatnonzero(popularity).astype(np.int32)
        columns: dict[str, NDArray[Any]] = {
            "years": self.years,
            "genres": self._genres,
            "known": self._known,
            "factors": self._factors.astype(np.float16),
            "gains": self._gains,
            "scales": self._scales,
            "fame": self._fame,
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
        told = json.dumps(header).encode("ascii")
        parts = [np.ascontiguousarray(column).tobytes() for column in columns.values()]
        return b"".join([_FORMAT, _LENGTH.pack(len(told)), told, *parts])

    @classmethod
    def load(cls, body: bytes) -> "EaseModel":
        """Raises ValueError for bytes of another format."""
        start = len(_FORMAT) + _LENGTH.size
        if not body.startswith(_FORMAT) or len(body) < start:
            raise ValueError("no model of this format")
        (length,) = _LENGTH.unpack_from(body, len(_FORMAT))
        header = json.loads(body[start : start + length])
        at, columns = start + length, {}
        for name, kind, shape in header["columns"]:
            dtype, size = np.dtype(kind), int(np.prod(shape))
            columns[name] = np.frombuffer(body, dtype, size, at).reshape(shape)
            at += size * dtype.itemsize
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

    # --- answering

    def profile(self, rated: Sequence[tuple[str, float]]) -> Profile:
        """Of ids and ratings, oldest first; movies that the model doesn't know are left out."""
        pairs = [(self.index[movie_id], rating) for movie_id, rating in rated if movie_id in self.index]
        movies, ratings = (zip(*pairs, strict=True)) if pairs else ((), ())
        return Profile(np.array(movies, np.int64), _worths(np.array(ratings, np.float32)))

    def top(self, profile: Profile, now: datetime, limit: int = MAX_RECOMMENDED) -> list[tuple[int, float]]:
        """The best movies and their scores, ties by id; none of the profile or of a later year."""
        scores = self._scores(profile, now)[0]
        scores[profile.movies] = -np.inf
        scores[self.years > now.year] = -np.inf
        return best(scores, limit)

    def reasons(self, profile: Profile, now: datetime, shown: Sequence[int]) -> list[list[int]]:
        """For each movie shown the places in the profile whose ratings it owes most to: without any one of them its
        score would be lower, as scoring without it has shown. Only ratings that say something good."""
        wanted = np.array(shown, np.int64)
        if not len(profile.movies) or not len(wanted):
            return [[] for _ in shown]
        weights = profile.weights()
        tastes, contents = self._vectors(profile, weights)
        trust = 1 - _doubt(profile.positive)
        parts = (self._into[self._row[profile.movies]] @ self._out[self._row[wanted]].T) * (trust * self._unit)
        parts /= max(float(np.linalg.norm(tastes)), 1e-9)
        shared = self._content[profile.movies] @ self._content[wanted].T
        parts += shared * (CONTENT / max(float(np.linalg.norm(contents)), 1e-9))
        parts *= np.maximum(weights.T, 0)
        likeliest = np.argsort(-parts, axis=0, kind="stable")[: MAX_REASONS + 2]
        candidates = np.unique(likeliest[np.take_along_axis(parts, likeliest, 0) > 0])
        if not len(candidates):
            return [[] for _ in shown]
        whole = self._scores(profile, now, wanted)[0]
        lost = np.vstack(
            [
                whole - self._scores(profile, now, wanted, some)
                for some in np.array_split(candidates, len(candidates) // 64 + 1)
            ]
        )
        found = []
        for column in range(len(wanted)):
            order = np.argsort(-lost[:, column], kind="stable")[:MAX_REASONS]
            found.append([int(candidates[one]) for one in order if lost[one, column] > REAL])
        return found

    def affinities(self, profile: Profile, movie_ids: Collection[str]) -> dict[str, float]:
        """Taste and content as in the score, without popularity, of those movies that the model knows."""
        wanted = [movie_id for movie_id in movie_ids if movie_id in self.index]
        movies = np.array([self.index[movie_id] for movie_id in wanted], np.int64)
        tastes, contents = self._vectors(profile, profile.weights())
        values = self._tastes(tastes, movies) + CONTENT * self._alike(contents, movies)
        return dict(zip(wanted, np.round(values[0].astype(float), 6).tolist(), strict=True))

    def similar(self, movie: Movie, limit: int = MAX_RECOMMENDED) -> Likeness:
        """Movies like this one, whether the model knows it or not; what they have in common says why."""
        own = self.index.get(movie.id)
        content = self._content_of(movie) if own is None else self._content[own]
        tastes = self._into[[len(self._known)] if own is None else [self._row[own]]]
        together = self._tastes(tastes)[0]
        alike = self._alike(content[None, :])[0]
        shares = np.zeros(len(self.ids), bool)
        if movie.year:
            shares[self._genres[np.isin(self._genres[:, 1], self._genre_numbers(movie)), 0]] = True
            shares &= (np.abs(self.years.astype(int) - movie.year) <= NEAR) & (self.years > 0)
        likes = 0.0 if own is None else self._positive[self._row[own]]
        scores = together * (likes / (likes + FEW_OF_ONE)) + ALIKE * alike + FAME * self._fame
        scores[(together <= REAL) & ~shares] = -np.inf
        if own is not None:
            scores[own] = -np.inf
        kinds: Likeness = []
        for number, score in best(scores, limit):
            liked, near = bool(together[number] > REAL), bool(shares[number])
            reasons = [ReasonKind.LIKED_TOGETHER] * liked + [ReasonKind.ALIKE] * near
            kinds.append((number, score, reasons))
        return kinds

    # --- the parts of a score

    def _scores(
        self, profile: Profile, now: datetime, movies: Ints | None = None, without: Ints | None = None
    ) -> NDArray[np.float64]:
        """One row, or one for each place of the profile, of a rating above neutral, that is left out."""
        tastes, contents = self._vectors(profile, profile.weights(without))
        doubt = _doubt(profile.positive - (without is not None))
        popularity = self._popular(now)
        scores = (1 - doubt) * self._tastes(tastes, movies) + CONTENT * self._alike(contents, movies)
        share = POPULARITY * doubt - POPULARITY_AGAINST_TASTE * (1 - doubt)
        rest = share * popularity + FAMILIAR * FEW_LIKES / (FEW_LIKES + self._like_total) * self._fame
        return (scores + (rest if movies is None else rest[movies])).astype(np.float64)

    def _vectors(self, profile: Profile, weights: Floats) -> tuple[Floats, Floats]:
        return _sums(weights, self._into[self._row[profile.movies]]), _sums(weights, self._content[profile.movies])

    def _tastes(self, tastes: Floats, movies: Ints | None = None) -> Floats:
        lengths = np.linalg.norm(tastes, axis=1, keepdims=True)
        unit = tastes * (self._unit / np.maximum(lengths, 1e-9))
        if movies is not None:
            return _times(unit, self._out[self._row[movies]])
        found = np.zeros((len(tastes), len(self.ids)), np.float32)
        found[:, self._known] = _times(unit, self._out[:-1])
        return found

    def _alike(self, contents: Floats, movies: Ints | None = None) -> Floats:
        lengths = np.linalg.norm(contents, axis=1, keepdims=True)
        own = self._content if movies is None else self._content[movies]
        return _times(contents / np.maximum(lengths, 1e-9), own)

    def _popular(self, now: datetime) -> Floats:
        """Scaled as tastes are; the last one asked for is remembered."""
        moment = now.timestamp()
        kept = self._popularity
        if kept is None or kept[0] != moment:
            decayed = self._decayed(moment)
            kept = moment, decayed * (self._unit / max(float(np.linalg.norm(decayed)), 1e-9))
            self._popularity = kept
        return kept[1]

    def _decayed(self, moment: float) -> Floats:
        """Likes up to that time, each halved for every `HALF_LIFE` since."""
        movies, times, counts = self._likes
        past = int(np.searchsorted(times, moment, side="right"))
        weights = counts[:past] * 2.0 ** ((times[:past] - moment) / HALF_LIFE)
        return np.bincount(movies[:past], weights, len(self.ids)).astype(np.float32)

    def _contents(self) -> tuple[Floats, Floats]:
        """The weights of genres and decades, rare ones weigh more, and the unit vector of each movie."""
        has = np.zeros((len(self.ids), len(self._genre_names) + _DECADES), np.float32)
        has[self._genres[:, 0], self._genres[:, 1]] = 1
        dated = np.flatnonzero(self.years)
        has[dated, len(self._genre_names) + _decade(self.years[dated])] = 1
        idf = np.log(max(1, len(self.ids)) / np.maximum(has.sum(0), 1)).astype(np.float32)
        return idf, _unit_rows(has * idf)

    def _genre_numbers(self, movie: Movie) -> list[int]:
        own = {genre.casefold() for genre in movie.genres}
        return [number for number, name in enumerate(self._genre_names) if name in own]

    def _content_of(self, movie: Movie) -> Floats:
        has = np.zeros(len(self._idf), np.float32)
        has[self._genre_numbers(movie)] = 1
        if movie.year:
            has[len(self._genre_names) + _decade(np.array([movie.year]))] = 1
        return np.asarray(_unit_rows((has * self._idf)[None, :])[0])


_DECADES = 32  # 1800 to 2110; what lies beyond counts as the nearest


def _decade(years: NDArray[Any]) -> Ints:
    return np.asarray(np.clip((years.astype(np.int64) - 1800) // 10, 0, _DECADES - 1))


def _worths(ratings: Floats) -> Floats:
    return ((ratings - NEUTRAL) / SPREAD).astype(np.float32)


def _doubt(positive: int) -> float:
    return float((TRUST / (positive + TRUST)) ** 3)


# One row alone is left to a single thread: the pool of threads that BLAS has makes requests that are answered side by
# side wait for each other, and a busy machine wait for its idle threads.


def _times(few: Floats, many: Floats) -> Floats:
    """The products of rows with rows."""
    return np.asarray(np.einsum("ij,j->i", many, few[0])[None, :] if len(few) == 1 else few @ many.T)


def _sums(weights: Floats, rows: Floats) -> Floats:
    """Weighted sums of rows."""
    return np.asarray(np.einsum("i,ij->j", weights[0], rows)[None, :] if len(weights) == 1 else weights @ rows)


def _unit_rows(rows: Floats) -> Floats:
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9), np.float32)


def best(scores: NDArray[Any], limit: int) -> list[tuple[int, float]]:
    """By falling score, to the sixth decimal so that rounding breaks no tie, then by number."""
    rounded = np.round(scores.astype(np.float64), 6)
    candidates = np.flatnonzero(rounded > -np.inf)
    if len(candidates) > limit:
        least = np.partition(rounded[candidates], len(candidates) - limit)[len(candidates) - limit]
        candidates = candidates[rounded[candidates] >= least]
    order = candidates[np.lexsort((candidates, -rounded[candidates]))][:limit]
    return [(int(number), float(rounded[number])) for number in order]


def _fame(films: Sequence[Movie]) -> Floats:
    """The order by the catalogue's popularity: 1 for the best known, half of that 2,000 places on; 0 if unknown."""
    famous = [number for number, film in enumerate(films) if film.popularity is not None]
    famous.sort(key=lambda number: (-(films[number].popularity or 0.0), number))
    fame = np.zeros(len(films), np.float32)
    fame[famous] = 2.0 ** (-np.arange(len(famous)) / 2000)
    return fame


def _genre_pairs(films: Sequence[Movie]) -> tuple[list[str], NDArray[np.int32]]:
    """The most frequent genres, and who has them."""
    counts: dict[str, int] = {}
    for film in films:
        for name in {genre.casefold() for genre in film.genres}:
            counts[name] = counts.get(name, 0) + 1
    names = sorted(sorted(counts, key=lambda name: (-counts[name], name))[:MAX_GENRES])
    number = {name: place for place, name in enumerate(names)}
    pairs = sorted(
        (row, number[name])
        for row, film in enumerate(films)
        for name in {genre.casefold() for genre in film.genres}
        if name in number
    )
    return names, np.array(pairs, np.int32).reshape(-1, 2)


# --- the decomposition


def _decompose(
    users: Ints, columns: Ints, worths: Floats, width: int, progress: Progress
) -> tuple[NDArray[np.float64], Floats]:
    """The greatest squared singular values of X, at most `RANK`, and their right singular vectors."""
    raters, rows = np.unique(users, return_inverse=True)
    height = len(raters)
    progress("factors", 0.0)
    if not width or not height:
        return np.zeros(0), np.zeros((width, 0), np.float32)
    if height < width and height <= EXACT_SIDE:
        # X' has the same squared singular values, and its left singular vectors are the right ones of X.
        squares, vectors = _eigen(_Blocks(columns, rows, worths, (width, height)).gram())
        scaled = (vectors / np.sqrt(squares)).astype(np.float32)
        return squares, _Blocks(columns, rows, worths, (width, height)).times(scaled)
    blocks = _Blocks(rows, columns, worths, (height, width))
    if width <= EXACT_SIDE:
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
    """The greatest eigenvalues first, at most `RANK`, without those that are none but for rounding."""
    values, vectors = np.linalg.eigh((gram + gram.T) / 2)
    values, vectors = values[::-1][:RANK], vectors[:, ::-1][:, :RANK]
    real = values > 1e-6 * max(float(values[0]), 1e-9)
    return values[real], vectors[:, real]


class _Blocks:
    """A sparse matrix that is made dense by blocks of rows."""

    def __init__(self, rows: Ints, columns: Ints, values: Floats, shape: tuple[int, int]) -> None:
        order = np.argsort(rows, kind="stable")
        self._rows, self._columns, self._values = rows[order], columns[order], values[order]
        self._shape = shape

    def __iter__(self) -> Any:
        height, width = self._shape
        step = max(1, BLOCK // width)
        for start in range(0, height, step):
            first, last = np.searchsorted(self._rows, (start, start + step))
            block = np.zeros((min(step, height - start), width), np.float32)
            block[self._rows[first:last] - start, self._columns[first:last]] = self._values[first:last]
            yield block

    def gram(self) -> NDArray[np.float64]:
        """The products of columns with each other."""
        total = np.zeros((self._shape[1], self._shape[1]))
        for block in self:
            total += block.T @ block
        return total

    def times(self, right: Floats) -> Floats:
        return np.vstack([block @ right for block in self])

    def square_times(self, right: Floats) -> Floats:
        """The products of columns with each other, times `right`, without ever being there."""
        total = np.zeros_like(right)
        for block in self:
            total += block.T @ (block @ right)
        return total
