"""Interpretations of a query, and the expressions that each of them looks up."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from movie_adapters.catalogue.lookups import AllOf, AnyOf, Expression, Term, all_of, any_of
from movie_adapters.catalogue.terms import UNSPACED, overview_term, title_key, year_term
from movie_core.canonical_words import STOP_WORDS, canonical_words, query_forms
from movie_core.search.movies import Years
from movie_core.text import split_years

MAX_WORDS = 12
"""Words of a query that are looked up; further words affect only the order."""
MAX_YEARS = 3
"""Years of a query of which each may be the release year."""
MAX_JOINED = 4
"""Pairs of words of a query that may be one word of a name."""

_REQUEST_WORDS = r"\b(?:movies?|films?|starring|featuring|directed|directors?|actors?|actress)\b"
_REQUEST = re.compile(_REQUEST_WORDS, re.IGNORECASE)
_REQUEST_PHRASE = re.compile(rf"{_REQUEST_WORDS}|\b(?:by|with|from|of|in)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Interpretation:
    """One interpretation of a query."""

    forms: tuple[tuple[str, ...], ...]
    """Words of the titles that match exactly: as typed first; see `movie_core.canonical_words.query_forms`."""
    canonical: tuple[str, ...]
    spelling: str
    """The case-folded text."""
    year: int | None = None
    """A year that was removed from the text."""

    @classmethod
    def of(cls, text: str, year: int | None = None) -> "Interpretation":
        """The text as typed."""
        forms = query_forms(text)
        return cls(tuple(forms), tuple(canonical_words(forms[0])), " ".join(text.casefold().split()), year)

    @classmethod
    def with_year(cls, text: str) -> "list[Interpretation]":
        """The interpretations of a year in the text as the release year, the most probable first."""
        return [cls.of(rest, year) for rest, year in split_years(text)[:MAX_YEARS]]

    @property
    def words(self) -> tuple[str, ...]:
        """The words as typed."""
        return self.forms[0]

    @property
    def significant_words(self) -> tuple[str, ...]:
        """The words as typed without stop words; all words if there are no others."""
        return tuple(word for word in self.words if word not in STOP_WORDS) or self.words

    def joined_names(self) -> list["Interpretation"]:
        """The interpretations in which a short word and the next one are one word of a name: `di caprio`."""
        words = self.significant_words[:MAX_WORDS]
        starts = [at for at, word in enumerate(words[:-1]) if len(word) <= 3][:MAX_JOINED]
        joined = (" ".join((*words[:at], words[at] + words[at + 1], *words[at + 2 :])) for at in starts)
        return [Interpretation.of(text, self.year) for text in joined]

    def equals(self, form: Sequence[str]) -> Expression:
        """Titles equal to these words."""
        return Term(title_key(form))

    def starts_with(self, form: Sequence[str], *, whole: bool = False) -> Expression:
        """Titles that start with these words, the last one as a prefix unless `whole`. Title keys contain no spaces, so
        the words are required as terms too: `momento` must not match `Moment of Truth`."""
        terms = [_term(word) for word in form[:-1][:MAX_WORDS] if word not in STOP_WORDS]
        last = form[-1]
        # Stop words have no terms, and a single letter after other words would match too many to be worth a lookup.
        is_stop_word = last in STOP_WORDS if whole else any(stop_word.startswith(last) for stop_word in STOP_WORDS)
        if not is_stop_word and (len(form) == 1 or len(last) > 1):
            terms.append(_term(last, prefix=not whole))
        return AllOf((Term(title_key(form), prefix=True), *terms))

    def has_words(self, *, whole: bool = False) -> Expression:
        """Titles with every word in any order, the last one as a prefix unless `whole`."""
        significant = self.significant_words
        forms = (self.canonical,) if significant == self.canonical else (significant, self.canonical)
        return AnyOf(tuple(AllOf(tuple(_terms(form, whole=whole))) for form in forms))

    def person_terms(self, *, whole: bool = False) -> tuple[Term, ...]:
        """The significant words as words of people's names."""
        return tuple(map(_person_term, _terms(self.significant_words, whole=whole)))

    def has_people(self, existing: frozenset[Term], *, whole: bool = False) -> Expression | None:
        """Movies with every word in a title or a person's name, at least one of them in a name; None without names.

        `existing` are those of `person_terms` that occur in the vocabulary.
        """
        terms = _terms(self.significant_words, whole=whole)
        names = [name if (name := _person_term(term)) in existing else None for term in terms]
        return all_of(*(any_of(*pair) for pair in zip(terms, names, strict=True))) if any(names) else None

    def in_overview(self) -> Expression:
        """Movies with every significant word in the overview, the last one as a prefix."""
        return AllOf(tuple(Term(overview_term(term.text), term.prefix) for term in _terms(self.significant_words)))

    def equals_near_year(self) -> Expression | None:
        """Titles equal to one of the forms, of about the year."""
        return all_of(any_of(*map(self.equals, self.forms)), self.near_year())

    def near_year(self) -> Expression | None:
        """Movies of the year or of an adjacent one, because release dates differ by country; None without a year."""
        return None if self.year is None else any_of(*(Term(year_term(self.year + by)) for by in (0, -1, 1)))

    def is_near(self, year: int | None) -> bool:
        """Whether `near_year` matches a movie of this year."""
        return self.year is not None and year is not None and abs(self.year - year) <= 1


def without_request(text: str) -> str:
    """The query without words that describe it: `Tom Hanks` for `movies with Tom Hanks`; unchanged if it has none or no
    others."""
    if not _REQUEST.search(text):
        return text
    return " ".join(_REQUEST_PHRASE.sub(" ", text).split()) or text


def year_range(years: Years) -> Expression:
    """Movies of a range of years, as few prefixes: 1987..2004 becomes 1987, 1988, 1989, 199?, 2000, ... 2004."""
    terms: list[Expression] = []
    year = years.first
    while year <= years.last:
        span = next(span for span in (1000, 100, 10, 1) if year % span == 0 and year + span - 1 <= years.last)
        digits = f"{year:04}"[: 4 - len(str(span)) + 1]
        terms.append(Term("#" + digits, prefix=span > 1))
        year += span
    return AnyOf(tuple(terms))


def _terms(words: Sequence[str], *, whole: bool = False) -> list[Term]:
    """Terms for the words, the last one a prefix unless `whole`.

    A single letter is looked up as a whole word: as a prefix it would match half of all titles.
    """
    words = words[:MAX_WORDS]
    is_prefix = not whole and (len(words) > 1 or len(words[0]) > 1)
    return [*map(_term, words[:-1]), _term(words[-1], prefix=is_prefix)]


def _term(word: str, *, prefix: bool = False) -> Term:
    """A word of a script without spaces may be any part of a title, so it is a prefix of one of its inner parts."""
    return Term(word, prefix or UNSPACED.search(word) is not None)


def _person_term(term: Term) -> Term:
    return Term("@" + term.text, term.prefix)
