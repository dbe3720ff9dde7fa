"""Matching of imported rows with movies.

A row matches a movie only if nothing contradicts it: a rating of the wrong movie is worse than a rejected row.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from movie_core.canonical_words import numbered_key
from movie_core.search.movies import Movie
from movie_core.text import MAX_TITLE, article_first, normalise_title, split_words

SHORTER = 3
"""Factor between the runtimes of different movies; cuts of one movie differ less."""
SAME_LETTERS = 4
"""First letters that two spellings of a word of a name have in common."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MovieIdentity:
    """Identification of a movie in an imported row; every field is optional. External ids that are empty or zero become
    None: other services export them for unknown ids."""

    movie_id: str | None = None
    """Id in the catalogue of `source`. If the row has a title too, it must be the movie's."""
    source: str | None = None
    """None: the source in use."""
    imdb_id: str | None = None
    """`tt` and at least seven digits."""
    tmdb_id: str | None = None
    title: str | None = None
    original_title: str | None = None
    alt_titles: tuple[str, ...] = ()
    year: int | None = None
    page: str | None = None
    """Address of the movie at the service that exported the row. It matches no movie, but rows with different
    addresses are about different movies."""
    directors: tuple[str, ...] = ()
    runtime_minutes: int | None = None
    """Directors and runtime identify no movie, but exclude others of the same title."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "imdb_id", known_id(self.imdb_id))
        object.__setattr__(self, "tmdb_id", known_id(self.tmdb_id))

    @property
    def titles(self) -> tuple[str, ...]:
        """All titles of the row, the main one first."""
        return tuple(title for title in (self.title, self.original_title, *self.alt_titles) if title)


def known_id(external_id: str | None) -> str | None:
    """The IMDb or TMDB id; None if it is empty or zero.

    >>> known_id("tt0133093"), known_id("tt0000000"), known_id("0"), known_id("")
    ('tt0133093', None, None, None)
    """
    return external_id if external_id and external_id.removeprefix("tt").strip("0") else None


class MatchedBy(StrEnum):
    """What identified the movie."""

    MOVIE_ID = "movie_id"
    IMDB_ID = "imdb_id"
    TMDB_ID = "tmdb_id"
    TITLE_YEAR = "title_year"
    NEAR_YEAR = "near_year"
    """The title, with a year that differs by one, or that is missing in the row or in the catalogue."""


_BY_TITLE = frozenset((MatchedBy.TITLE_YEAR, MatchedBy.NEAR_YEAR))


class MismatchReason(StrEnum):
    """Why no movie matches a row."""

    UNKNOWN = "no movie matches"
    AMBIGUOUS = "more than one movie matches"
    OTHER_ID = "the movie of this title has another IMDb or TMDB id"
    OTHER_FILM = "the movie of this title has another director or a very different runtime"
    OTHER_YEAR = "the movie of this title is of another year"
    OTHER_ROW = "the only movie of about this year is that of another row"
    CONFLICT = "rows about different movies match the same movie"


@dataclass(frozen=True, slots=True)
class MovieMatch:
    """The movie of a row."""

    movie: Movie
    by: MatchedBy


@dataclass(frozen=True, slots=True)
class Mismatch:
    """No movie matches the row."""

    reason: MismatchReason


class MovieIndex:
    """Index of movies by id, IMDb id, TMDB id and normalised title."""

    def __init__(self, movies: Iterable[Movie] = ()) -> None:
        self._ids: dict[str, Movie] = {}
        self._imdb: dict[str, list[Movie]] = {}
        self._tmdb: dict[str, list[Movie]] = {}
        self._titles: dict[str, list[Movie]] = {}
        self._numbered: dict[str, list[Movie]] = {}
        for movie in movies:
            self.add(movie)

    def add(self, movie: Movie) -> None:
        """Add a movie; a no-op if its id is indexed already."""
        if movie.id in self._ids:
            return
        self._ids[movie.id] = movie
        for index, external_id in ((self._imdb, known_id(movie.imdb_id)), (self._tmdb, known_id(movie.tmdb_id))):
            if external_id:
                index.setdefault(external_id, []).append(movie)
        for key in _title_keys(movie):
            self._titles.setdefault(key, []).append(movie)
        for key in _numbered_keys((movie.title, movie.original_title or movie.title, *movie.alt_titles)):
            self._numbered.setdefault(key, []).append(movie)

    def match(self, identity: MovieIdentity) -> MovieMatch | Mismatch:
        """The match by the rules of `MovieCatalogue.match`."""
        return self.match_by_id(identity) or self._match_by_title(identity)

    def match_by_id(self, identity: MovieIdentity) -> MovieMatch | Mismatch | None:
        """The match by the first of our id, IMDb id and TMDB id that identifies a movie; None if none does."""
        own = self._ids.get(identity.movie_id or "")
        if own and not _has_other_id(own, identity) and (not identity.titles or _is_of_title(own, identity)):
            return MovieMatch(own, MatchedBy.MOVIE_ID)
        for index, external_id, by in (
            (self._imdb, identity.imdb_id, MatchedBy.IMDB_ID),
            (self._tmdb, identity.tmdb_id, MatchedBy.TMDB_ID),
        ):
            movies = [movie for movie in index.get(external_id or "", ()) if not _has_other_id(movie, identity)]
            if movies:
                return _only(movies, by)
        return None

    def _match_by_title(self, identity: MovieIdentity) -> MovieMatch | Mismatch:
        same_title = _found(self._titles, map(normalise_title, identity.titles))
        same_id = [movie for movie in same_title if not _has_other_id(movie, identity)]
        movies = [movie for movie in same_id if not _is_other_film(movie, identity)]
        exact = [movie for movie in movies if _is_exact(movie, identity)]
        if len(exact) > 1:  # a main title takes precedence over the alternative title of another movie
            by_main_title = [movie for movie in exact if _has_main_titles(movie, identity)]
            exact = [movie for movie in by_main_title if _has_same_spelling(movie, identity)] or by_main_title or exact
        if exact:
            return _only(exact, MatchedBy.TITLE_YEAR)
        if near := [movie for movie in movies if _is_near(movie.year, identity.year)]:
            return _only(near, MatchedBy.NEAR_YEAR)
        for others, reason in ((same_id, MismatchReason.OTHER_FILM), (same_title, MismatchReason.OTHER_ID)):
            if any(_is_near(movie.year, identity.year) for movie in others):
                return Mismatch(reason)
        same_number = _found(self._numbered, _numbered_keys(identity.titles))
        numbered = [
            one
            for one in same_number
            if _is_exact(one, identity) and not _has_other_id(one, identity) and not _is_other_film(one, identity)
        ]
        if numbered:
            return _only(numbered, MatchedBy.TITLE_YEAR)
        return Mismatch(MismatchReason.OTHER_YEAR if same_title else MismatchReason.UNKNOWN)


def reconcile(
    identities: Sequence[MovieIdentity], matches: Sequence[MovieMatch | Mismatch]
) -> list[MovieMatch | Mismatch]:
    """Withdraw the matches that other rows of the file contradict.

    1. A movie that a row matches exactly is not the movie of a row with a near year.
    2. Rows that differ in a near year, an id, a page or the director are about different movies. If they match one
       movie by title, at most one of them is right: that which an id identifies, otherwise none is used.
    3. Movies with the same IMDb id count as one: their rows get the same movie.
    """
    rows_by_movie: dict[str, dict[int, MovieMatch]] = {}
    for number, match in enumerate(matches):
        if isinstance(match, MovieMatch):
            rows_by_movie.setdefault(_identity_of(match.movie), {})[number] = match
    result = list(matches)
    for rows in rows_by_movie.values():
        movie = min((match.movie for match in rows.values()), key=_preference)
        for number, match in rows.items():
            result[number] = replace(match, movie=movie)
        near = [number for number, match in rows.items() if match.by is MatchedBy.NEAR_YEAR]
        if len(near) < len(rows):
            _withdraw(result, near, MismatchReason.OTHER_ROW)
        elif len({identities[number].year for number in near}) > 1:
            _withdraw(result, near, MismatchReason.CONFLICT)
        rest = [number for number in rows if isinstance(result[number], MovieMatch)]
        if _are_different([identities[number] for number in rest]):
            _withdraw(result, [number for number in rest if rows[number].by in _BY_TITLE], MismatchReason.CONFLICT)
    return result


def _withdraw(result: list[MovieMatch | Mismatch], numbers: Iterable[int], reason: MismatchReason) -> None:
    for number in numbers:
        result[number] = Mismatch(reason)


def _are_different(identities: Sequence[MovieIdentity]) -> bool:
    """Whether ids, pages or directors show that the rows are about different movies."""
    ids = (
        {identity.imdb_id for identity in identities},
        {identity.tmdb_id for identity in identities},
        {identity.page for identity in identities},
    )
    first, *others = dict.fromkeys(identity.directors for identity in identities if identity.directors) or [()]
    return any(len(values - {None}) > 1 for values in ids) or any(_are_other_people(first, names) for names in others)


def _only(movies: Sequence[Movie], by: MatchedBy) -> MovieMatch | Mismatch:
    """The match with the only one of these movies."""
    if len({_identity_of(movie) for movie in movies}) > 1:
        return Mismatch(MismatchReason.AMBIGUOUS)
    return MovieMatch(min(movies, key=_preference), by)


def _identity_of(movie: Movie) -> str:
    """Equal for entries of the catalogue that are the same movie."""
    return known_id(movie.imdb_id) or f"id {movie.id}"


def _preference(movie: Movie) -> tuple[bool, float, str]:
    """The order in which an entry represents others of the same movie: the most popular first."""
    return movie.popularity is None, -(movie.popularity or 0.0), movie.id


def _has_other_id(movie: Movie, identity: MovieIdentity) -> bool:
    """Whether an IMDb or TMDB id excludes the movie."""
    return any(
        given and known and given != known
        for given, known in (
            (identity.imdb_id, known_id(movie.imdb_id)),
            (identity.tmdb_id, known_id(movie.tmdb_id)),
        )
    )


def _is_other_film(movie: Movie, identity: MovieIdentity) -> bool:
    """Whether the director, or a runtime as different as that of a short and a feature, excludes the movie."""
    shorter, longer = sorted((movie.runtime_minutes or 0, identity.runtime_minutes or 0))
    return 0 < SHORTER * shorter <= longer or _are_other_people(movie.directors, identity.directors)


def _are_other_people(names: Sequence[str], others: Sequence[str]) -> bool:
    """Whether nobody can be in both lists, which are not empty. A name may be in another order or spelling; initials,
    pseudonyms of one word and other scripts cannot be compared."""
    pairs = [(split_words(name), split_words(other)) for name in names for other in others]
    return bool(pairs) and all(
        _is_full_name(one) and _is_full_name(other) and not _may_be_same_name(one, other) for one, other in pairs
    )


def _is_full_name(words: Sequence[str]) -> bool:
    return len(words) > 1 and max(map(len, words)) > 2 and "".join(words).isascii()


def _may_be_same_name(words: Sequence[str], others: Sequence[str]) -> bool:
    """Whether the names share a word or its beginning, other than that of both first names."""
    return any(
        word == other or (len(word) > SAME_LETTERS and word[:SAME_LETTERS] == other[:SAME_LETTERS])
        for number, word in enumerate(words)
        for other_number, other in enumerate(others)
        if number or other_number
    )


def _title_keys(movie: Movie) -> dict[str, None]:
    titles = (movie.title, movie.original_title or movie.title, *movie.alt_titles)
    return dict.fromkeys(map(normalise_title, titles))


def _numbered_keys(titles: Iterable[str]) -> list[str]:
    keys = (numbered_key(split_words(article_first(title[:MAX_TITLE]))) for title in dict.fromkeys(titles))
    return [key for key in keys if key is not None]


def _found(index: dict[str, list[Movie]], keys: Iterable[str]) -> list[Movie]:
    """The distinct movies with one of these keys."""
    return list({movie.id: movie for key in keys for movie in index.get(key, ())}.values())


def _is_exact(movie: Movie, identity: MovieIdentity) -> bool:
    return movie.year is not None and movie.year == identity.year


def _is_of_title(movie: Movie, identity: MovieIdentity) -> bool:
    known = _title_keys(movie)
    return _is_near(movie.year, identity.year) and any(normalise_title(title) in known for title in identity.titles)


def _has_main_titles(movie: Movie, identity: MovieIdentity) -> bool:
    """Whether the main title, and the original title if the row has one, are those of the movie."""
    pairs = [(movie.title, identity.title or "")]
    if identity.original_title:
        pairs.append((movie.original_title or movie.title, identity.original_title))
    return all(normalise_title(one) == normalise_title(other) for one, other in pairs)


def _has_same_spelling(movie: Movie, identity: MovieIdentity) -> bool:
    """Whether the titles differ only in case: `Nightlife` and `Night Life` may be different movies of one year."""
    spellings = (article_first(title).casefold() for title in (movie.title, identity.title or ""))
    return next(spellings) == next(spellings)


def _is_near(year: int | None, other: int | None) -> bool:
    return year is None or other is None or abs(year - other) <= 1
