"""Index terms and rank of a movie: the form in which databases store the search index."""

import functools
import math
import re
import struct
from collections.abc import Iterable
from dataclasses import dataclass

from movie_core.canonical_words import STOP_WORDS, canonical_words, has_number, numbers_as_digits
from movie_core.search.movies import Movie
from movie_core.text import OPTIONAL_ARTICLES, fold, split_folded, split_words, title_spellings

MAX_KEY = 60
"""Characters of a title key."""

_POSSESSIVE = re.compile(r"(\w{2,})['\N{RIGHT SINGLE QUOTATION MARK}]s\b")


@dataclass(frozen=True, slots=True)
class IndexEntry:
    """The indexed form of a movie."""

    names: str
    """One line per title, the main one first, with tabs between its words, its canonical words, and its case-folded
    spelling if that differs from its words."""
    terms: tuple[str, ...]
    """Distinct terms: the words of titles; `=` and a title key; `@` and a word of a person's name; `#` and the year;
    `%` and a genre; `__` and a word of the overview."""


def index_entry(movie: Movie) -> IndexEntry:
    """Build the index entry of a movie."""
    names: list[str] = []
    terms: list[str] = []
    for title in _titles(movie):
        words = split_words(title)
        canonical = canonical_words(words)
        if len(canonical) == 1 and len(words) > 1 + (words[0] in OPTIONAL_ARTICLES):
            # A single remaining word is not selective enough: drop articles only.
            canonical = [word for word in numbers_as_digits(words) if word not in OPTIONAL_ARTICLES] or words
        text = " ".join(words)
        terms.append(title_key(words))
        terms += canonical
        spelling = " ".join(title.casefold().split())
        names.append(f"{text}\t{' '.join(canonical)}\t{'' if spelling == text else spelling}")
        if canonical != words:
            terms.append(title_key(canonical))
            terms += [word for word in words if word not in STOP_WORDS]
            if words[0] in OPTIONAL_ARTICLES:
                terms.append(title_key(words[1:] or words))
        if not title.replace(" ", "").isalnum():
            terms += _compounds(title)
    if movie.directors or movie.cast:
        people = fold(" ".join((*movie.directors, *movie.cast)))
        terms += ["@" + word for word in split_folded(people)]
    if movie.year is not None:
        terms.append(year_term(movie.year))
    terms += map(genre_term, movie.genres)
    if movie.overview:
        terms += [overview_term(word) for word in split_words(movie.overview) if word not in STOP_WORDS]
    return IndexEntry("\n".join(names), tuple(dict.fromkeys(terms)))


def is_word(term: str) -> bool:
    """Whether a term belongs to the vocabulary, from which spelling corrections are chosen."""
    return len(term) > 2 and (term[0] == "@" or term.isalpha())


def title_key(words: Iterable[str]) -> str:
    """The term for a whole title: `=` and its words without spaces."""
    return "=" + "".join(words)[:MAX_KEY]


def title_terms(titles: Iterable[str]) -> list[str]:
    """Terms that find every movie with one of these titles by `movie_core.text.normalise_title`, or with one that
    differs in the spelling of its number, and few others."""
    terms: list[str] = []
    for spelling in dict.fromkeys(spelling for title in titles for spelling in title_spellings(title)):
        words = split_words(spelling)
        terms.append(title_key(words))
        if has_number(words):
            without_articles = [word for word in numbers_as_digits(words) if word not in OPTIONAL_ARTICLES]
            terms += title_key(canonical_words(words)), title_key(without_articles or words)
    return list(dict.fromkeys(terms))


def overview_term(word: str) -> str:
    return "__" + word


def year_term(year: int) -> str:
    return f"#{year:04}"


@functools.lru_cache(maxsize=4096)
def genre_term(genre: str) -> str:
    return "%" + "".join(c if c.isalnum() else f"_{ord(c):x}" for c in genre.casefold())[: 2 * MAX_KEY]


def movie_rank(catalogue: int, popularity: float | None, sequence: int) -> int:
    """A sort key, unique per sequence number, that puts the most popular movies first.

    15 bits for the number of the catalogue, 16 for the popularity on a logarithmic scale (steps of about 5 %, unknown
    last), 32 for the sequence number. A change of popularity within a step does not change the key.
    """
    return catalogue << 48 | (0xFFFF - _popularity_rank(popularity)) << 32 | sequence & 0xFFFF_FFFF


def rank_range(catalogue: int) -> tuple[int, int]:
    """The lowest and highest possible rank of a catalogue's movies."""
    return catalogue << 48, (catalogue + 1 << 48) - 1


@functools.lru_cache(maxsize=4096)
def _popularity_rank(popularity: float | None) -> int:
    if popularity is None or math.isnan(popularity):
        return 0
    bits: int = struct.unpack(">Q", struct.pack(">d", popularity + 0.0))[0]
    # Map the order of doubles to that of unsigned integers: flip all bits of negative ones, the sign bit of the others.
    return (bits ^ (0xFFFF_FFFF_FFFF_FFFF if bits >> 63 else 1 << 63)) >> 48


def _titles(movie: Movie) -> list[str]:
    """The distinct titles of a movie, the main one first."""
    if not (movie.original_title or movie.alt_titles):
        return [movie.title]
    return list(dict.fromkeys((movie.title, *filter(None, (movie.original_title, *movie.alt_titles)))))


def _compounds(title: str) -> list[str]:
    """Words joined by punctuation as one word (`spiderman` for `Spider-Man`), and possessives without `s` (`bean` for
    `Bean's`)."""
    groups = map(split_folded, fold(title).split())
    owners = (split_folded(fold(owner)) for owner in _POSSESSIVE.findall(title))
    compounds = [*("".join(words) for words in groups if len(words) > 1), *(owner[0] for owner in owners if owner)]
    return [word[:MAX_KEY] for word in compounds]
