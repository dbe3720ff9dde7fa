"""Interpretations of a query, and the expressions that each of them looks up."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from movie_adapters.catalogue.lookups import AllOf, AnyOf, Expression, Term, all_of, any_of
from movie_adapters.catalogue.terms import overview_term, title_key, year_term
from movie_core.canonical_words import STOP_WORDS, canonical_words
from movie_core.search.movies import Years
from movie_core.text import split_words

MAX_WORDS = 12
"""Words of a query that are looked up; further words affect only the order."""

_YEAR = re.compile(r"(?:18[89]|19\d|20\d)\d")


@dataclass(frozen=True, slots=True)
class Interpretation:
    """One interpretation of a query."""

    words: tuple[str, ...]
    canonical: tuple[str, ...]
    year: int | None = None
    """A year that was removed from the words."""

    @classmethod
    def of(cls, text: str) -> "Interpretation":
        """The text as typed."""
        words = split_words(text)
        return cls(tuple(words), tuple(canonical_words(words)))

    def without_year(self) -> "Interpretation | None":
        """The interpretation of a leading or trailing year as the release year; None if there is none."""
        if len(self.words) > 1:
            for year, words in ((self.words[-1], self.words[:-1]), (self.words[0], self.words[1:])):
                if _YEAR.fullmatch(year):
                    return Interpretation(words, tuple(canonical_words(words)), int(year))
        return None

    @property
    def forms(self) -> tuple[tuple[str, ...], ...]:
        """The words as typed and, if different, the canonical words."""
        return (self.words,) if self.words == self.canonical else (self.words, self.canonical)

    @property
    def significant_words(self) -> tuple[str, ...]:
        """The words as typed without stop words; all words if there are no others."""
        return tuple(word for word in self.words if word not in STOP_WORDS) or self.words

    def equals(self, form: Sequence[str]) -> Expression:
        """Titles equal to these words."""
        return Term(title_key(form))

    def starts_with(self, form: Sequence[str]) -> Expression:
        """Titles that start with these words. Title keys contain no spaces, so the words are required as terms too:
        `momento` must not match `Moment of Truth`."""
        terms = [Term(word) for word in form[:-1][:MAX_WORDS] if word not in STOP_WORDS]
        if len(form) == 1 and not any(stop_word.startswith(form[0]) for stop_word in STOP_WORDS):
            terms = [Term(form[0], prefix=True)]
        return AllOf((Term(title_key(form), prefix=True), *terms))

    def has_words(self) -> Expression:
        """Titles with every word in any order, the last one as a prefix."""
        significant = self.significant_words
        forms = (self.canonical,) if significant == self.canonical else (significant, self.canonical)
        return AnyOf(tuple(AllOf(tuple(_terms(form))) for form in forms))

    def person_terms(self) -> tuple[Term, ...]:
        """The significant words as words of people's names."""
        return tuple(map(_person_term, _terms(self.significant_words)))

    def has_people(self, existing: frozenset[Term]) -> Expression | None:
        """Movies with every word in a title or a person's name, at least one of them in a name; None without names.

        `existing` are those of `person_terms` that occur in the vocabulary.
        """
        terms = _terms(self.significant_words)
        names = [name if (name := _person_term(term)) in existing else None for term in terms]
        return all_of(*(any_of(*pair) for pair in zip(terms, names, strict=True))) if any(names) else None

    def in_overview(self) -> Expression:
        """Movies with every significant word in the overview, the last one as a prefix."""
        return AllOf(tuple(Term(overview_term(term.text), term.prefix) for term in _terms(self.significant_words)))

    def near_year(self) -> Expression | None:
        """Movies of the year or of an adjacent one, because release dates differ by country; None without a year."""
        return None if self.year is None else any_of(*(Term(year_term(self.year + by)) for by in (0, -1, 1)))


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


def _terms(words: Sequence[str]) -> list[Term]:
    """Terms for the words, the last one a prefix.

    A single letter is looked up as a whole word: as a prefix it would match half of all titles.
    """
    words = words[:MAX_WORDS]
    is_prefix = len(words) > 1 or len(words[0]) > 1
    return [*map(Term, words[:-1]), Term(words[-1], is_prefix)]


def _person_term(term: Term) -> Term:
    return Term("@" + term.text, term.prefix)
