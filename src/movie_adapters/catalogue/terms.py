"""Index terms and rank of a movie: the form in which databases store the search index."""

import functools
import math
import re
import struct
from collections.abc import Iterable
from dataclasses import dataclass

from movie_core.canonical_words import (
    ABBREVIATIONS,
    STOP_WORDS,
    canonical_title,
    canonical_words,
    has_number,
    leading_initials,
    numbers_as_digits,
    title_forms,
)
from movie_core.search.movies import Movie
from movie_core.text import OPTIONAL_ARTICLES, fold, split_folded, split_words, title_spellings

INDEX_VERSION = 2
"""Version of the index entries. Catalogues that another version has indexed are indexed again before they are changed;
increase it with every change of the terms or names of existing movies."""
MAX_KEY = 60
"""Characters of a title key."""

UNSPACED = re.compile(
    "[\u0e00-\u0fff\u1000-\u109f\u1100-\u11ff\u1780-\u17ff\u3005-\u3007\u3040-\u312f\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    "\U00020000-\U0003ffff]"
)
"""A character of a script that is written without spaces, or, for Hangul, often typed without them. `fold` decomposes
Hangul syllables and half-width kana."""
_LATER_JAMO = re.compile("[\u1160-\u11ff]")
"""A vowel or final consonant of a Hangul syllable."""

_POSSESSIVE = re.compile(r"(\w{2,})['\N{RIGHT SINGLE QUOTATION MARK}]s\b")
_ELISION = re.compile(
    r"(?<!\w)(?:[cdjlmnst]|qu|un|(?:d|n|s)?[ae]ll|dall)['\N{RIGHT SINGLE QUOTATION MARK}](\w{2,})", re.IGNORECASE
)
_PARTICLES = frozenset(
    (
        *("al", "da", "dal", "das", "de", "del", "della", "den", "der", "des", "di", "do", "dos", "du", "el", "la"),
        *("le", "lo", "mac", "mc", "san", "st", "ten", "ter", "van", "von"),
    )
)
"""Parts of family names that are written apart or joined with the next word."""


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
        canonical = canonical_title(words)
        text = " ".join(words)
        spelling = " ".join(title.casefold().split())
        names.append(f"{text}\t{' '.join(canonical)}\t{'' if spelling == text else spelling}")
        terms += map(title_key, title_forms(title))
        terms += canonical
        if canonical != words:
            terms += [word for word in words if word not in STOP_WORDS]
        if not text.isascii():
            terms += [inner for word in words for inner in _inner_parts(word)]
        if not title.replace(" ", "").isalnum():
            terms += _compounds(title)
            if initials := leading_initials(title):
                terms.append(initials)
    if movie.directors or movie.cast:
        terms += ["@" + word for name in (*movie.directors, *movie.cast) for word in name_words(name)]
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


@functools.lru_cache(maxsize=50_000)
def name_words(name: str) -> tuple[str, ...]:
    """The words by which a person is found: those of the name, parts joined by punctuation as one word (`joonho` for
    `Joon-ho`), leading initials (`jj` for `J. J.`), particles joined with the next word (`deniro`), and abbreviations
    spelled out (`junior`)."""
    folded = fold(name)
    words = split_folded(folded)
    further = [ABBREVIATIONS[word] for word in words if word in ABBREVIATIONS]
    if not _PARTICLES.isdisjoint(words):
        for at, word in enumerate(words[:-1]):
            if word in _PARTICLES:
                further.append(word + words[at + 1])
                if words[at + 1] in _PARTICLES:
                    further.append("".join(words[at : at + 3]))
    if not name.replace(" ", "").isalnum():
        further += ["".join(parts) for parts in map(split_folded, folded.split()) if len(parts) > 1]
        further.append(leading_initials(name))
    return tuple(dict.fromkeys((*words, *(word[:MAX_KEY] for word in further if word))))


def _inner_parts(word: str) -> list[str]:
    """The endings of a word that start inside it with a character of a script without spaces, so that prefixes of them
    are all substrings."""
    starts = (match.start() for match in UNSPACED.finditer(word, 1))
    return [word[start:] for start in starts if not _LATER_JAMO.match(word[start])]


def _compounds(title: str) -> list[str]:
    """Words joined by punctuation as one word (`spiderman` for `Spider-Man`), possessives without `s` (`bean` for
    `Bean's`), and words without an elided article (`avventura` for `L'avventura`)."""
    groups = map(split_folded, fold(title).split())
    parts = (split_folded(fold(part)) for part in (*_POSSESSIVE.findall(title), *_ELISION.findall(title)))
    compounds = [*("".join(words) for words in groups if len(words) > 1), *(words[0] for words in parts if words)]
    return [word[:MAX_KEY] for word in compounds]
