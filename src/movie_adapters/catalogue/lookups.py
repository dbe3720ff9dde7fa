"""Boolean expressions over index terms, and the lookups that a search requests from a store.

A search is a generator: it yields a `Lookup`, receives the result, and returns a `RankedPage`. It performs no I/O;
SQLite and PostgreSQL execute the lookups.
"""

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, Literal

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
    people: tuple[str, ...] = ()
    """Names of directors and cast, if the lookup requested them."""

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
    """Finds matches. Result: a list of `Candidate`s, ordered by rank."""

    expression: Expression
    limit: int
    offset: int = 0
    excluding: bool = False
    """Whether to omit the movies that the query excludes."""
    with_people: bool = False
    """Whether to read the names of the candidates' people."""


@dataclass(frozen=True, slots=True)
class FindIdentified:
    """Finds the movies with an id of another site. Result: a list of `Candidate`s, ordered by rank."""

    field: Literal["imdb_id", "tmdb_id"]
    external_id: str
    filters: Expression | None


@dataclass(frozen=True, slots=True)
class CountMatches:
    """Counts the matches, or all movies if `expression` is None. Result: an int."""

    expression: Expression | None


@dataclass(frozen=True, slots=True)
class CountExcluded:
    """Counts the excluded movies that match, or all excluded ones if `expression` is None. Result: an int."""

    expression: Expression | None


@dataclass(frozen=True, slots=True)
class ListRanks:
    """Lists one page of the matches, or of all movies if `expression` is None, sorted by `order`, then by rank.

    Result: a list of ranks.
    """

    expression: Expression | None
    order: Order
    limit: int
    offset: int
    excluding: bool = False
    """Whether to omit the movies that the query excludes."""


@dataclass(frozen=True, slots=True)
class TopPopularity:
    """Reads the popularity of the movie with the lowest rank. Result: a float or None."""


@dataclass(frozen=True, slots=True)
class ExistingTerms:
    """Selects the terms that occur in the vocabulary. Result: a frozenset of `Term`s."""

    terms: tuple[Term, ...]


@dataclass(frozen=True, slots=True)
class SimilarTerms:
    """Finds candidates for the correction of each term, of the same kind (title words or people).

    Result: a list of `TermCounts` by term.
    """

    terms: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PrefixTerms:
    """Finds candidates for the correction of a prefix. Result: a list of `TermCounts`."""

    term: str


TermCounts = tuple[list[str], list[int]]
"""Terms of the vocabulary, and the number of movies that have each."""

Lookup = (
    FindCandidates
    | FindIdentified
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
