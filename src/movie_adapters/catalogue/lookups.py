"""Boolean expressions over index terms, and the lookups that a search requests from a store.

A search is a generator: it yields a `Lookup`, receives the result, and returns a `RankedPage`. It performs no I/O;
SQLite and PostgreSQL execute the lookups.
"""

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

from movie_core.search.movies import Order


@dataclass(frozen=True, slots=True)
class Term:
    """Matches movies that have this term."""

    text: str
    prefix: bool = False
    """Also match every term that starts with it."""


@dataclass(frozen=True, slots=True)
class AllOf:
    """Conjunction."""

    parts: tuple["Expression", ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """Disjunction."""

    parts: tuple["Expression", ...]


@dataclass(frozen=True, slots=True)
class Difference:
    """Matches of `base` that are not matches of `other`."""

    base: "Expression"
    other: "Expression"


Expression = Term | AllOf | AnyOf | Difference


def all_of(*parts: Expression | None) -> Expression | None:
    """Conjunction of the parts that are not None; None if there are none."""
    present = tuple(part for part in parts if part is not None)
    return (present[0] if len(present) == 1 else AllOf(present)) if present else None


def any_of(*parts: Expression | None) -> Expression | None:
    """Disjunction of the parts that are not None; None if there are none."""
    present = tuple(part for part in parts if part is not None)
    return (present[0] if len(present) == 1 else AnyOf(present)) if present else None


@dataclass(frozen=True, slots=True)
class Candidate:
    """The fields of a movie on which its position depends."""

    rank: int
    names: str
    """As in `IndexEntry`."""
    year: int | None
    popularity: float | None

    def titles(self) -> list[tuple[str, str]]:
        """Words and canonical words of each title."""
        pairs = []
        for line in self.names.split("\n"):
            words, canonical, _ = line.split("\t")
            pairs.append((words, canonical))
        return pairs

    def spellings(self) -> list[str]:
        """The case-folded spelling of each title."""
        lines = (line.split("\t") for line in self.names.split("\n"))
        return [spelling or words for words, _, spelling in lines]


@dataclass(frozen=True, slots=True)
class FindCandidates:
    """The matching `Candidate`s, ordered by rank: a list."""

    expression: Expression
    limit: int
    offset: int = 0
    excluding: bool = False
    """Without the movies that the query excludes."""


@dataclass(frozen=True, slots=True)
class CountMatches:
    """The number of matching movies, of all movies for None: an int."""

    expression: Expression | None


@dataclass(frozen=True, slots=True)
class CountExcluded:
    """The number of matching movies that the query excludes, all of these for None: an int."""

    expression: Expression | None


@dataclass(frozen=True, slots=True)
class ListRanks:
    """The ranks of one page of the matches, of all movies for None, ordered by `order`, then rank: a list."""

    expression: Expression | None
    order: Order
    limit: int
    offset: int
    excluding: bool = False
    """Without the movies that the query excludes."""


@dataclass(frozen=True, slots=True)
class TopPopularity:
    """The popularity of the movie with the lowest rank: a float or None."""


@dataclass(frozen=True, slots=True)
class ExistingTerms:
    """Those of the terms that occur in the vocabulary: a frozenset."""

    terms: tuple[Term, ...]


@dataclass(frozen=True, slots=True)
class SimilarTerms:
    """Candidates for the correction of each term, of the same kind (title words or people): lists of `TermCounts`."""

    terms: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PrefixTerms:
    """Candidates for the correction of the beginning of a term: a list of `TermCounts`."""

    term: str


TermCounts = tuple[list[str], list[int]]
"""Terms of the vocabulary, and the number of movies that have each."""

Lookup = (
    FindCandidates
    | CountMatches
    | CountExcluded
    | ListRanks
    | TopPopularity
    | ExistingTerms
    | SimilarTerms
    | PrefixTerms
)


@dataclass(frozen=True, slots=True)
class RankedPage:
    """Ranks of one page of the results, and the total number of results."""

    total: int
    ranks: list[int]


Steps = Generator[Lookup, Any, RankedPage]
"""A search: yields lookups, receives their results, returns the page."""
