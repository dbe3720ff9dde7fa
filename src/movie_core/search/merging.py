"""Merging of a list of movies into a catalogue: which stored movie each of them is, and what it changes there."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from itertools import pairwise
from statistics import median

from movie_core.search.movies import MAX_ID, ListedMovie, Movie
from movie_core.text import fold, normalise_title, split_folded

MAX_RELEASE_YEARS = 2
"""Years between the releases of one movie in different countries. A greater difference is another movie."""
MAX_CANDIDATES = 50
"""Stored movies of one title with which a listed movie is compared."""
SAME_NAME = 0.85
"""Similarity of two spellings of a person's name."""
SAME_SCALE = 5.0
"""Factor between the popularities of the same movie, in the median, beyond which their scales differ."""
HIGHER_SCALE = 3.0
"""Factor by which the popularities of a list exceed those of the catalogue if their scales differ."""


class ListMerger:
    """Merges the movies of one list, batch by batch.

    A listed movie is the stored movie with the same IMDb id, whatever else differs; otherwise the one with its own id,
    then the one with the same TMDB id. A movie without an id of its own is also the stored one with the same title, a
    close year and a common director or cast member, unless their IMDb or TMDB ids differ; without people on either
    side, the year must be equal or the title unique. An IMDb id is taken for corrected if the only stored movie of the
    title has the same year and people, and its id is no longer in the list.
    """

    def __init__(self, *, clear: bool = False) -> None:
        """`clear`: an empty value of a listed movie clears the stored one, instead of being ignored as unknown."""
        self._clear = clear
        self._taken: set[str] = set()
        """Ids of the movies of the catalogue that are in the list."""

    def titles(self, batch: Sequence[ListedMovie], by_ids: Iterable[Movie]) -> list[str]:
        """The titles by which stored movies must be looked up, besides those found `by_ids`."""
        index = _Index(by_ids)
        movies = [
            listed.movie for listed in batch if not listed.has_own_id and not index.imdb.get(listed.movie.imdb_id or "")
        ]
        return list(dict.fromkeys(title for movie in movies for title in _titles(movie)))

    def merge(self, batch: Sequence[ListedMovie], stored: Iterable[Movie]) -> list[Movie]:
        """The movies to be stored, with distinct ids.

        `stored` are the movies of the catalogue that share an id or, if `titles` has it, a title with a listed one.
        """
        index = _Index(stored)
        merged: dict[str, Movie] = {}

        def store(movie: Movie) -> None:
            merged[movie.id] = movie
            index.add(movie)
            self._taken.add(movie.id)

        rest: list[ListedMovie] = []
        for listed in batch:
            same = self._by_ids(listed, index)
            if same is None:
                rest.append(listed)
            else:
                store(self._merged(listed, same))
        matches = self._by_titles([listed for listed in rest if not listed.has_own_id], index)
        for listed in rest:
            same = matches.get(id(listed)) or self._by_ids(listed, index)  # of an earlier row of this batch
            store(self._new(listed.movie, index) if same is None else self._merged(listed, same))
        return list(merged.values())

    def _merged(self, listed: ListedMovie, stored: Movie) -> Movie:
        values = {name: getattr(listed.movie, name) for name in listed.fields if name != "id"}
        return replace(stored, **{name: value for name, value in values.items() if self._clear or value not in _EMPTY})

    def _new(self, movie: Movie, index: "_Index") -> Movie:
        """The movie with an id that no other movie has."""
        if movie.id in index.ids or movie.id in self._taken:
            base = movie.imdb_id or f"{movie.id[: MAX_ID - 9]}-{_checksum(movie)}"
            movie_id, number = base, 1
            while movie_id in self._taken:
                number += 1
                movie_id = f"{base}-{number}"
            movie = replace(movie, id=movie_id)
        return movie

    @staticmethod
    def _by_ids(listed: ListedMovie, index: "_Index") -> Movie | None:
        movie = listed.movie
        holder = index.imdb_holder(movie)
        own = index.ids.get(movie.id) if listed.has_own_id else None
        if own is not None and own is not holder and _same_title(movie, own):
            # An IMDb id that was corrected, or that the file gives to the wrong movie.
            return own if holder is None or not _same_title(movie, holder) else holder
        if holder is not None:
            return holder
        if own is not None and not _differ(own.imdb_id, movie.imdb_id):
            return own
        same_tmdb = index.tmdb.get(movie.tmdb_id or "", {}).values()
        return next((other for other in same_tmdb if not _differ(other.imdb_id, movie.imdb_id)), None)

    def _by_titles(self, rows: Sequence[ListedMovie], index: "_Index") -> dict[int, Movie]:
        """The stored movie of each listed one, by `id()` of the latter."""
        matches: dict[int, Movie] = {}
        taken = set(self._taken)
        for listed in rows:
            same_id = index.ids.get(listed.movie.id)
            if same_id is not None and same_id.id not in taken and _is_unchanged(listed.movie, same_id):
                matches[id(listed)] = same_id
                taken.add(same_id.id)
        listed_ids = {listed.movie.imdb_id for listed in rows}
        # Movies with people or an overview in common first, so that they are not taken by others of the same title.
        for accepts in (_is_certain, _is_probable, _has_corrected_id):
            rest = [listed for listed in rows if id(listed) not in matches]
            namesakes = Counter(normalise_title(listed.movie.title) for listed in rest)
            pairs: list[tuple[int, int, str]] = []
            for number, listed in enumerate(rest):
                movie = listed.movie
                candidates = [other for other in index.same_title(movie) if other.id not in taken][:MAX_CANDIDATES]
                is_alone = len(candidates) == 1 and namesakes[normalise_title(movie.title)] == 1
                scores = {
                    other.id: comparison.score
                    for other in candidates
                    if (comparison := _compare(movie, other)) is not None
                    and comparison.other_imdb_id == (accepts is _has_corrected_id)
                    and not (comparison.other_imdb_id and other.imdb_id in listed_ids)
                    and accepts(comparison, is_alone)
                }
                best = max(scores.values(), default=0)
                is_ambiguous = bool(movie.imdb_id or movie.tmdb_id) and list(scores.values()).count(best) > 1
                if not is_ambiguous:
                    pairs += [(-score, number, other_id) for other_id, score in scores.items()]
            for _, number, other_id in sorted(pairs):
                if other_id not in taken and id(rest[number]) not in matches:
                    matches[id(rest[number])] = index.ids[other_id]
                    taken.add(other_id)
        return matches


class _Index:
    """Movies by id, IMDb id, TMDB id and normalised title."""

    def __init__(self, movies: Iterable[Movie]) -> None:
        self.ids: dict[str, Movie] = {}
        self.imdb: dict[str, dict[str, Movie]] = defaultdict(dict)
        self.tmdb: dict[str, dict[str, Movie]] = defaultdict(dict)
        self._titles: dict[str, dict[str, Movie]] = defaultdict(dict)
        self._untitled: list[Movie] = []
        """Movies that are not in `_titles` yet: most lists need no look-up by title."""
        for movie in movies:
            self.add(movie)

    def add(self, movie: Movie) -> None:
        """Add a movie, or update it; a former title or external id still leads to it."""
        self.ids[movie.id] = movie
        if movie.imdb_id:
            self.imdb[movie.imdb_id][movie.id] = movie
        if movie.tmdb_id:
            self.tmdb[movie.tmdb_id][movie.id] = movie
        self._untitled.append(movie)

    def imdb_holder(self, movie: Movie) -> Movie | None:
        """The movie with the same IMDb id; of several, the one that also has the same id, or the first."""
        holders = self.imdb.get(movie.imdb_id or "", {})
        return holders.get(movie.id) or (holders[min(holders)] if holders else None)

    def same_title(self, movie: Movie) -> list[Movie]:
        for added in self._untitled:
            for title in _titles(added):
                self._titles[normalise_title(title)][added.id] = added
        self._untitled.clear()
        found: dict[str, Movie] = {}
        for title in _titles(movie):
            found |= self._titles.get(normalise_title(title), {})
        return [found[movie_id] for movie_id in sorted(found)]


_EMPTY = (None, (), "")


def _titles(movie: Movie) -> list[str]:
    return [title for title in (movie.title, movie.original_title, *movie.alt_titles) if title]


def _same_title(movie: Movie, other: Movie) -> bool:
    return not set(map(normalise_title, _titles(movie))).isdisjoint(map(normalise_title, _titles(other)))


def _differ(value: object, other: object) -> bool:
    """Whether both are known and differ."""
    return bool(value and other and value != other)


def _is_unchanged(movie: Movie, stored: Movie) -> bool:
    """Whether nothing known of the movie differs from the stored one with the same generated id."""
    names = ("year", "imdb_id", "tmdb_id", "directors", "cast", "overview")
    is_known_to_differ = any(_differ(getattr(movie, name), getattr(stored, name)) for name in names)
    return _same_title(movie, stored) and not is_known_to_differ


@dataclass(frozen=True, slots=True)
class _Comparison:
    """What two movies of the same title have in common."""

    years_apart: int | None
    """None if the year of one is unknown."""
    shares_people: bool
    same_overview: bool
    other_overview: bool
    same_id: bool
    other_imdb_id: bool

    @property
    def score(self) -> int:
        same_year = 2 if self.years_apart is None else 4 * (not self.years_apart)
        return 1 + same_year + 8 * self.shares_people + 8 * self.same_overview + self.same_id


def _compare(movie: Movie, stored: Movie) -> _Comparison | None:
    """None for different movies."""
    if _differ(movie.tmdb_id, stored.tmdb_id):
        return None
    is_comparable = (movie.directors and stored.directors) or (movie.cast and stored.cast)
    shares_people = _share_a_name((*movie.directors, *movie.cast), (*stored.directors, *stored.cast))
    years_apart = abs(movie.year - stored.year) if movie.year and stored.year else None
    if (is_comparable and not shares_people) or (years_apart or 0) > MAX_RELEASE_YEARS:
        return None
    same_overview = bool(movie.overview) and movie.overview == stored.overview
    other_overview = _differ(movie.overview, stored.overview)
    return _Comparison(
        years_apart,
        shares_people,
        same_overview,
        other_overview,
        same_id=movie.id == stored.id,
        other_imdb_id=_differ(movie.imdb_id, stored.imdb_id),
    )


def _is_certain(comparison: _Comparison, _is_alone: bool) -> bool:
    return comparison.shares_people or comparison.same_overview


def _is_probable(comparison: _Comparison, is_alone: bool) -> bool:
    """`is_alone`: no other movie has this title, neither in the rest of the list nor in that of the catalogue."""
    if comparison.years_apart:
        return is_alone and comparison.years_apart == 1
    return is_alone or not comparison.other_overview


def _has_corrected_id(comparison: _Comparison, is_alone: bool) -> bool:
    """Whether a movie with another IMDb id is the only one of its title, of the same year and with the same people."""
    return is_alone and comparison.shares_people and comparison.years_apart == 0


def _share_a_name(names: Sequence[str], others: Sequence[str]) -> bool:
    """Whether a person is in both, possibly in another spelling or order of words, or with additional words."""
    folded, other_folded = set(map(fold, names)), set(map(fold, others))
    return not folded.isdisjoint(other_folded) or any(
        _is_part_of(*sorted((set(split_folded(name)), set(split_folded(other))), key=len))
        or SequenceMatcher(None, name, other).ratio() >= SAME_NAME
        for name in folded
        for other in other_folded
    )


def _is_part_of(words: set[str], others: set[str]) -> bool:
    return len(words) > 1 and words <= others


def _checksum(movie: Movie) -> str:
    """Of everything that distinguishes movies of one title; independent of their order in a list."""
    facts = (movie.imdb_id, movie.tmdb_id, movie.directors, movie.cast, movie.overview, movie.runtime_minutes)
    return hashlib.blake2b(repr(facts).encode("utf-8", "replace"), digest_size=4).hexdigest()


def popularity_scale(
    pairs: Sequence[tuple[float, float]], highest: float, highest_stored: float
) -> Callable[[float], float] | None:
    """The function from the popularities of a list to those of a catalogue; None if their scales are the same.

    `pairs` are the popularities, in the list and in the catalogue, of the movies that are in both; `highest` and
    `highest_stored` are the greatest of each. Movies are aligned by rank: the most popular one of the pairs in the list
    gets the greatest popularity of the pairs in the catalogue, and so on; other movies are interpolated.
    """
    if highest <= 0 or highest_stored <= 0:
        return None
    ratios = [listed / stored for listed, stored in pairs if listed > 0 and stored > 0]
    typical = median(ratios) if len(ratios) > 1 else 1.0
    if highest <= HIGHER_SCALE * highest_stored and 1 / SAME_SCALE <= typical <= SAME_SCALE:
        return None
    by_rank = zip(sorted(listed for listed, _ in pairs), sorted(stored for _, stored in pairs), strict=True)
    points = [(0.0, 0.0)]
    for listed, stored in by_rank:
        if listed > points[-1][0]:
            points.append((listed, stored))
        else:  # equal popularities in the list: the greatest of the catalogue
            points[-1] = (points[-1][0], stored)
    if len(points) == 1:
        points.append((highest, highest_stored))
    segments = list(pairwise(points))

    def align(popularity: float) -> float:
        for (start, low), (end, high) in segments:
            if popularity <= end:
                return low + (high - low) * (popularity - start) / (end - start)
        end, high = points[-1]
        return max(high, min(highest_stored, high * popularity / end))

    return align
