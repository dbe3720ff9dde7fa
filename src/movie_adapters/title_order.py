"""How titles match and in which order they come, for every store of movies; without I/O.

A store keeps with each movie its `index_terms`, in an order of `movie_rank`, and the words of its titles as a
vocabulary. `search` then says step by step what to look up (`Find`, `Count`, `Similar`, …) and is told the answers;
SQLite and PostgreSQL differ in how they look things up and in nothing else.

A match belongs to the first tier that has it: the exact title, the n-th film of a series, the beginning of a title,
all words in any order, people among the words, and only when there is none of these, words that are spelled nearly
so. Within a tier the best known `HEAD` movies are ordered by likeness and popularity; those behind them by popularity
alone, so that deep pages are as cheap as the first, and every page of a query sees the same order.
"""

import math
import re
import struct
import unicodedata
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from rapidfuzz import fuzz
from rapidfuzz.distance import OSA

from movie_core.movies import Movie, MovieQuery, Order, Years

HEAD = 120
"""Movies of a tier that are ordered by likeness."""
MAX_WORDS = 12
"""Words of a query that are looked up; further ones only count for the order."""
MAX_KEY = 60
"""Characters of a title without spaces that are kept as its key."""

_APOSTROPHES = dict.fromkeys(map(ord, "'`\N{LEFT SINGLE QUOTATION MARK}\N{RIGHT SINGLE QUOTATION MARK}\N{ACUTE ACCENT}\N{PRIME}"))
_LETTERS = str.maketrans(
    {
        **{"ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "æ": "ae", "œ": "oe", "\N{LATIN SMALL LETTER DOTLESS I}": "i", "ħ": "h", "ŋ": "n"},
        **{"½": " half ", "¼": " quarter ", "¹": " 1 ", "²": " 2 ", "³": " 3 ", "&": " and "},
    }
)
_POSSESSIVE = re.compile(r"(\w{2,})['\N{RIGHT SINGLE QUOTATION MARK}]s\b")
_HALF = re.compile(r"(?<!\d)1/2(?!\d)")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_WORD = re.compile(r"[^\W_]+")
_ORDINAL = re.compile(r"(\d+)(?:st|nd|rd|th)")
_YEAR = re.compile(r"(?:18[89]|19\d|20\d)\d")

_STOP = frozenset(("the", "a", "an", "of", "and", "part", "episode", "vol", "volume", "chapter"))
_ROMAN = {
    tens + ones: str(10 * (tens == "x") + number)
    for tens in ("", "x")
    for number, ones in enumerate(("i", "ii", "iii", "iv", "v", "vi", "vii", "viii", "ix", "x"), start=1)
}
_UNITS = {
    word: number
    for number, words in enumerate(
        (
            *("one first", "two second", "three third", "four fourth", "five fifth", "six sixth", "seven seventh"),
            *("eight eighth", "nine ninth", "ten tenth", "eleven eleventh", "twelve twelfth", "thirteen thirteenth"),
            *("fourteen fourteenth", "fifteen fifteenth", "sixteen sixteenth", "seventeen seventeenth"),
            *("eighteen eighteenth", "nineteen nineteenth"),
        ),
        start=1,
    )
    for word in words.split()
}
_TENS = {
    word: 10 * number
    for number, words in enumerate(
        (
            *("twenty twentieth", "thirty thirtieth", "forty fortieth", "fifty fiftieth"),
            *("sixty sixtieth", "seventy seventieth", "eighty eightieth", "ninety ninetieth"),
        ),
        start=2,
    )
    for word in words.split()
}
_SCALES = {"hundred": 100, "thousand": 1000}
_NUMBERS = frozenset((*_ROMAN, *_UNITS, *_TENS))


# --- the forms of a text ---------------------------------------------------------------------------------------------


def fold(text: str) -> str:
    """Lower case without accents and apostrophes; signs that are read as words are spelled out."""
    text = text.lower()
    if not text.isascii():
        text = unicodedata.normalize("NFKD", text.translate(_APOSTROPHES).translate(_LETTERS).casefold())
        text = "".join(c for c in text if unicodedata.category(c)[0] != "M").translate(_LETTERS)
    if "'" in text or "`" in text:
        text = text.translate(_APOSTROPHES)
    if "&" in text:
        text = text.replace("&", " and ")
    if "1/2" in text:
        text = _HALF.sub(" half", text)
    return _THOUSANDS.sub("", text) if "," in text else text


def split_words(text: str) -> list[str]:
    """The folded words of a text; a text without any letter or digit is one word made of its characters' numbers."""
    return _WORD.findall(fold(text)) or ["".join(f"_{ord(c):x}" for c in text if not c.isspace()) or "_"]


def plain_words(words: Sequence[str]) -> list[str]:
    """The words that tell titles apart: numbers as digits, articles and the like dropped unless there is no other."""
    return [word for word in _digits(words) if word not in _STOP] or list(words)


def _digits(words: Sequence[str]) -> Sequence[str]:
    """Roman numerals, number words and ordinals as digits; `i`, `v` and `x` at the start are left alone."""
    if _NUMBERS.isdisjoint(words) and not any(word[0].isdigit() and not word.isdigit() for word in words):
        return words
    out: list[str] = []
    at = 0
    while at < len(words):
        word = words[at]
        value, used = _spelled_number(words, at)
        if used:
            out.append(str(value))
            at += used
            continue
        if word in _ROMAN and (at > 0 or len(word) > 1):
            word = _ROMAN[word]
        elif ordinal := _ORDINAL.fullmatch(word):
            word = ordinal[1]
        out.append(word)
        at += 1
    return out


def _spelled_number(words: Sequence[str], at: int) -> tuple[int, int]:
    """The value of the number spelled from here, and how many words it takes; 0 words when there is none."""
    total = used = 0
    value, taken = _below_hundred(words, at)
    while taken:
        used += taken
        following = at + used
        if following < len(words) and words[following] in _SCALES:
            total += value * _SCALES[words[following]]
            used += 1
            joined = at + used < len(words) and words[at + used] == "and"
            value, taken = _below_hundred(words, at + used + joined)
            used += joined if taken else 0
            if not taken:
                return total, used
        else:
            return total + value, used
    return total, used


def _below_hundred(words: Sequence[str], at: int) -> tuple[int, int]:
    if at >= len(words):
        return 0, 0
    word = words[at]
    if word in _UNITS:
        return _UNITS[word], 1
    if word in _TENS:
        unit = _UNITS.get(words[at + 1], 0) if at + 1 < len(words) else 0
        return (_TENS[word] + unit, 2) if 0 < unit < 10 else (_TENS[word], 1)
    return 0, 0


def title_names(movie: Movie) -> list[str]:
    """The titles that a movie is found by, the main one first."""
    if movie.original_title is None and not movie.alt_titles:
        return [movie.title]
    return list(dict.fromkeys((movie.title, *filter(None, (movie.original_title, *movie.alt_titles)))))


# --- what a store keeps ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Entry:
    """What a store's index keeps of a movie."""

    names: str
    """A line per title, the main one first: its words, a tab, its plain words."""
    terms: tuple[str, ...]
    """Each once: words of titles; `=` and a title without spaces; `@` and a word of a person's name; `#` and the year;
    `%` and a genre."""

    @property
    def words(self) -> list[str]:
        """The terms that belong into the vocabulary."""
        return [term for term in self.terms if len(term) > 2 and (term.isalpha() or term[0] == "@")]


def index_entry(movie: Movie) -> Entry:
    names: list[str] = []
    terms: dict[str, None] = {}
    for title in title_names(movie):
        words = split_words(title)
        plain = plain_words(words)
        names.append(f"{' '.join(words)}\t{' '.join(plain)}")
        terms[_key(words)] = None
        terms[_key(plain)] = None
        for word in plain:
            terms[word] = None
        if plain != words:
            for word in words:
                if word not in _STOP:
                    terms[word] = None
        for word in _compounds(title):
            terms[word] = None
    for person in (*movie.directors, *movie.cast):
        for word in _WORD.findall(fold(person)):
            terms["@" + word] = None
    if movie.year is not None:
        terms[_year_term(movie.year)] = None
    for genre in movie.genres:
        terms[_genre_term(genre)] = None
    return Entry("\n".join(names), tuple(terms))


def movie_rank(catalogue: int, popularity: float | None, sequence: int) -> int:
    """A key that is unique for its sequence number and sorts the best known movies first.

    15 bits of the catalogue's number, 16 of popularity on a logarithmic scale (steps of about 5 %, unknown last), 32
    of the sequence number. A change of popularity within its step leaves the key alone.
    """
    fame = 0
    if popularity is not None and not math.isnan(popularity):
        bits: int = struct.unpack(">Q", struct.pack(">d", popularity + 0.0))[0]
        # The order of doubles as the order of whole numbers: flip all bits of negative ones, the sign of the others.
        fame = (bits ^ (0xFFFF_FFFF_FFFF_FFFF if bits >> 63 else 1 << 63)) >> 48
    return catalogue << 48 | (0xFFFF - fame) << 32 | sequence & 0xFFFF_FFFF


def rank_range(catalogue: int) -> tuple[int, int]:
    """The first and the last rank that a catalogue's movies may have."""
    return catalogue << 48, (catalogue + 1 << 48) - 1


def _key(words: Iterable[str]) -> str:
    return "=" + "".join(words)[:MAX_KEY]


def _compounds(title: str) -> list[str]:
    """Words of a title written as one: `spiderman` for Spider-Man; and the owner in `Bean's`."""
    found = []
    if any(not c.isalnum() and c != " " for c in title):
        for chunk in fold(title).split():
            parts = _WORD.findall(chunk)
            if len(parts) > 1:
                found.append("".join(parts))
        found += [_WORD.findall(fold(owner))[0] for owner in _POSSESSIVE.findall(title) if _WORD.findall(fold(owner))]
    return found


def _year_term(year: int) -> str:
    return f"#{year:04}"


def _genre_term(genre: str) -> str:
    return "%" + "".join(c if c.isalnum() else f"_{ord(c):x}" for c in genre.casefold())


# --- expressions -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Term:
    text: str
    begun: bool = False
    """Also every term that begins so."""


@dataclass(frozen=True, slots=True)
class AllOf:
    parts: tuple["Expression", ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    parts: tuple["Expression", ...]


@dataclass(frozen=True, slots=True)
class Without:
    base: "Expression"
    other: "Expression"


Expression = Term | AllOf | AnyOf | Without


def both(*parts: Expression | None) -> Expression | None:
    """All of the parts that there are."""
    some = tuple(dict.fromkeys(part for part in parts if part is not None))
    return (some[0] if len(some) == 1 else AllOf(some)) if some else None


def either(*parts: Expression | None) -> Expression | None:
    """Any of the parts that there are."""
    some = tuple(dict.fromkeys(part for part in parts if part is not None))
    return (some[0] if len(some) == 1 else AnyOf(some)) if some else None


# --- what a store is asked -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Candidate:
    """What the order needs to know of a movie."""

    rank: int
    names: str
    year: int | None
    popularity: float | None


@dataclass(frozen=True, slots=True)
class Find:
    """The `Candidate`s that match, by rank."""

    expression: Expression
    limit: int
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Count:
    """How many movies match, all for None: an int."""

    expression: Expression | None


@dataclass(frozen=True, slots=True)
class Listing:
    """Part of what matches, all for None, in an order of its own, ties by rank: a list of ranks."""

    expression: Expression | None
    order: Order
    limit: int
    offset: int


@dataclass(frozen=True, slots=True)
class BestKnown:
    """The popularity of the movie of the lowest rank: a float or None."""


@dataclass(frozen=True, slots=True)
class Similar:
    """For each term a list of terms of the vocabulary that may be meant by it, of the same kind (titles or people),
    as pairs (term, number of movies)."""

    terms: tuple[str, ...]


Ask = Find | Count | Listing | BestKnown | Similar
Steps = Generator[Ask, Any, "Found"]


@dataclass(frozen=True, slots=True)
class Found:
    """The movies of the window, by their ranks, and how many there are in all."""

    total: int
    ranks: list[int]


# --- the query as it may be meant ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Reading:
    """One way to read a query."""

    words: tuple[str, ...]
    plain: tuple[str, ...]
    year: int | None = None
    """A year that was taken out of the words."""

    @classmethod
    def of(cls, text: str) -> "Reading":
        words = split_words(text)
        return cls(tuple(words), tuple(plain_words(words)))

    def without_year(self) -> "Reading | None":
        """A year at either end read as the year of the film."""
        if len(self.words) > 1:
            for year, rest in ((self.words[-1], self.words[:-1]), (self.words[0], self.words[1:])):
                if _YEAR.fullmatch(year):
                    return Reading(rest, tuple(plain_words(rest)), int(year))
        return None

    @property
    def forms(self) -> tuple[tuple[str, ...], ...]:
        """The words as typed and, where they differ, as plain words."""
        return (self.words,) if self.words == self.plain else (self.words, self.plain)

    def equals(self, form: Sequence[str]) -> Expression:
        return Term(_key(form))

    def begins(self, form: Sequence[str]) -> Expression:
        return Term(_key(form), begun=True)

    def has_words(self, people: bool = False) -> Expression | None:
        """Every word, the last one begun or whole; with `people`, each word may also be one of a person's name."""
        return either(*(self._all_of(form, people) for form in ((w for w in self.words if w not in _STOP), self.plain)))

    @staticmethod
    def _all_of(form: Iterable[str], people: bool) -> Expression | None:
        words = list(form)[:MAX_WORDS]
        # A single letter alone would find half of the catalogue by a word somewhere in its titles.
        begun = len(words) > 1 or len("".join(words)) > 1
        parts: list[Expression | None] = []
        for at, word in enumerate(words):
            last = begun and at == len(words) - 1
            person = Term("@" + word, last) if people else None
            parts.append(either(Term(word, last), person))
        return both(*parts)

    def near_year(self) -> Expression | None:
        """The year, or the one before or after: release dates differ by country."""
        return None if self.year is None else either(*(Term(_year_term(self.year + by)) for by in (0, -1, 1)))


# --- the search ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Tier:
    expression: Expression
    total: int
    head: list[int]


def search(query: MovieQuery, limit: int, offset: int = 0) -> Steps:
    """The window of the matches of a query, `total` counting all of them."""
    filters = both(
        None if query.years is None else _years(query.years),
        None if query.genre is None else Term(_genre_term(query.genre)),
    )
    if not query.text:
        total = yield Count(filters)
        ranks = (yield Listing(filters, _by(query.order), limit, offset)) if offset < total else []
        return Found(total, ranks)
    scorer = _Scorer(Reading.of(query.text), (yield BestKnown()))
    tiers = yield from _literal(scorer, filters)
    if not tiers:
        nearly = [] if filters and (yield from _literal(scorer, None)) else (yield from _nearly(scorer, filters))
        nearly = _in_order(nearly, query.order)
        return Found(len(nearly), [one.rank for one in nearly[offset : offset + limit]])
    total = sum(tier.total for tier in tiers)
    if query.order is not Order.RELEVANCE:
        everything = both(either(*(tier.expression for tier in tiers)), filters)
        return Found(total, (yield Listing(everything, query.order, limit, offset)) if offset < total else [])
    ranks = []
    for tier in tiers:
        if offset < tier.total and limit > 0:
            part = tier.head[offset : offset + limit]
            if len(part) < limit and offset + len(part) < tier.total:
                tail = yield Find(tier.expression, limit - len(part), max(offset, HEAD))
                part = part + [one.rank for one in tail]
            ranks += part
            limit -= len(part)
        offset = max(0, offset - tier.total)
    return Found(total, ranks)


def _by(order: Order) -> Order:
    return Order.POPULARITY if order is Order.RELEVANCE else order


def _in_order(candidates: list[Candidate], order: Order) -> list[Candidate]:
    if order is Order.YEAR:
        return sorted(candidates, key=lambda one: (one.year is None, -(one.year or 0), one.rank))
    if order is Order.POPULARITY:
        return sorted(candidates, key=lambda one: (one.popularity is None, -(one.popularity or 0.0), one.rank))
    return candidates


def _years(years: Years) -> Expression:
    """The range as few beginnings of years: 1987..2004 is 1987, 1988, 1989, 199?, 2000, ... 2004."""
    terms: list[Expression] = []
    year = years.first
    while year <= years.last:
        span = next(span for span in (1000, 100, 10, 1) if year % span == 0 and year + span - 1 <= years.last)
        begun = f"{year:04}"[: 4 - len(str(span)) + 1]
        terms.append(Term("#" + begun, begun=span > 1))
        year += span
    return AnyOf(tuple(terms))


def _literal(scorer: "_Scorer", filters: Expression | None) -> Generator[Ask, Any, list[_Tier]]:
    """The tiers that have the words as they are typed, those without a movie left out."""
    reading, dated = scorer.reading, scorer.dated
    tiers: list[_Tier] = []
    earlier: list[Expression] = []

    def add(expression: Expression | None, score: "_Score") -> Generator[Ask, Any, None]:
        if expression is None or expression in earlier:
            return
        other = either(*earlier)
        only = both(expression if other is None else Without(expression, other), filters)
        assert only is not None
        earlier.append(expression)
        candidates: list[Candidate] = yield Find(only, HEAD)
        if candidates:
            total = len(candidates) if len(candidates) < HEAD else (yield Count(only))
            tiers.append(_Tier(only, total, [one.rank for one in scorer.sorted(candidates, score)]))

    # "three a" is being typed on; "blue lagoon the" isn't, but then no title begins so.
    typing = len(reading.words) > 1 and reading.words[-1] in _STOP
    if typing:
        yield from add(reading.equals(reading.words), scorer.exact)
        yield from add(reading.begins(reading.words), scorer.begun)
    for form in reading.forms:
        yield from add(reading.equals(form), scorer.exact)
    if dated:
        same = either(*(dated.equals(form) for form in dated.forms))
        yield from add(both(same, dated.near_year()), scorer.exact)
    if not tiers:
        yield from add((yield from _series(scorer)), scorer.exact)
    for form in reading.forms:
        yield from add(reading.begins(form), scorer.begun)
    if dated:
        begun = either(*(dated.begins(form) for form in dated.forms))
        yield from add(both(begun, dated.near_year()), scorer.begun)
    yield from add(reading.has_words(), scorer.worded)
    if dated:
        yield from add(both(dated.has_words(), dated.near_year()), scorer.worded)
        yield from add(either(*(dated.begins(form) for form in dated.forms), dated.has_words()), scorer.worded)
    people = reading.has_words(people=True)
    if dated:
        people = either(people, both(dated.has_words(people=True), dated.near_year()))
    yield from add(people, scorer.known)
    return tiers


def _series(scorer: "_Scorer") -> Generator[Ask, Any, Expression | None]:
    """The n-th film of a series by year, for `bourne 2`, unless a title that is about as well known has the number.

    The series are the films whose titles begin so and that are at least a quarter as well known as the best known of
    them; a film of just that title is the first of them, those before it are of another series.
    """
    *base, number = scorer.reading.plain
    if not base or not number.isdecimal() or not 2 <= int(number[:3]) <= 20:
        return None
    stem = " ".join(base)
    candidates: list[Candidate] = yield Find(Term(_key(base), begun=True), HEAD)
    series = [one for one in candidates if any(_begins(plain, stem) for _, plain in _names(one))]
    fame = max((one.popularity or 0.0 for one in series), default=0.0)
    series = [one for one in series if (one.popularity or 0.0) >= fame / 4 and one.year is not None]
    series.sort(key=lambda one: (one.year or 0, one.rank))
    firsts = [at for at, one in enumerate(series) if any(plain == stem for _, plain in _names(one))]
    if firsts:
        series = series[max(firsts, key=lambda at: series[at].popularity or 0.0) :]
    if len(series) < int(number):
        return None
    pick = series[int(number) - 1]
    numbered: list[Candidate] = yield Find(Term(_key(scorer.reading.plain), begun=True), 1)
    if numbered and (numbered[0].popularity or 0.0) >= (pick.popularity or 0.0) / 10:
        return None
    assert pick.year is not None
    return AllOf((Term(_key(_names(pick)[0][0].split())), Term(_year_term(pick.year))))


def _names(candidate: Candidate) -> list[tuple[str, str]]:
    """Words and plain words of each title."""
    pairs = []
    for line in candidate.names.split("\n"):
        words, _, plain = line.partition("\t")
        pairs.append((words, plain))
    return pairs


def _begins(name: str, begun: str) -> bool:
    """Whether the name begins so, at whole words."""
    return name.startswith(begun) and (len(name) == len(begun) or name[len(begun)] == " ")


# --- nearly ----------------------------------------------------------------------------------------------------------

_REPAIRS = 12
"""Words of the vocabulary that are tried for a word."""
_ROUNDS = 5
"""Words of a query of which some may be wrong altogether."""
_CUTOFF = 68.0
"""Likeness in percent below which a title isn't meant."""
_SURE = 88.0
"""Likeness in percent above which no freer search is tried."""


def _nearly(scorer: "_Scorer", filters: Expression | None) -> Generator[Ask, Any, list[Candidate]]:
    """Movies whose titles, or people, are spelled nearly as the query; best first, at most a few hundred."""
    reading = scorer.dated or scorer.reading
    words = [word for word in reading.words if word not in _STOP] or list(reading.words)
    words = list(dict.fromkeys(words))[:MAX_WORDS]
    asked = [word for word in words if len(word) > 2 and word.isalpha()]
    similar: dict[str, list[tuple[str, int]]] = yield Similar(tuple(asked))
    choices: list[Expression] = []
    for word in words:
        last = word == words[-1]
        parts: list[Expression | None] = [Term(word, begun=last and len(word) > 1)]
        for repair in _repairs(word, similar.get(word, ()), last):
            parts.append(Term(repair))
            parts += [Term(digit) for digit in _digits(("", repair))[1:] if digit != repair] if repair in _NUMBERS else []
        parts += [Term(plain) for plain in plain_words((word, word))[:1] if plain != word]
        if len(word) > 5:
            parts += [AllOf((Term(word[:at]), Term(word[at:]))) for at in range(2, len(word) - 1)]
        choice = either(*parts)
        assert choice is not None
        choices.append(choice)
    joined = [
        both(*choices[:at], Term(words[at] + words[at + 1], begun=at + 2 == len(words)), *choices[at + 2 :])
        for at in range(len(words) - 1)
    ]
    found: dict[int, tuple[float, Candidate]] = {}

    def look(expression: Expression | None) -> Generator[Ask, Any, None]:
        wanted = both(expression, filters)
        if expression is None or wanted is None:
            return
        candidates: list[Candidate] = yield Find(wanted, HEAD)
        for one in candidates:
            if one.rank not in found and (likeness := scorer.likeness(one)) >= _CUTOFF:
                found[one.rank] = (likeness, one)

    def sure() -> bool:
        return any(likeness >= _SURE for likeness, _ in found.values())

    yield from look(either(both(*choices), *joined))
    if not sure() and len(choices) > 1:
        # The longest words tell most; one of them, then all but two, may be wrong beyond repair.
        kept = sorted(sorted(range(len(words)), key=lambda at: -len(words[at]))[:_ROUNDS])
        yield from look(either(*(both(*(choices[at] for at in kept if at != wrong)) for wrong in kept)))
        if not sure() and len(kept) > 3:
            pairs = [AllOf((choices[a], choices[b])) for a in kept for b in kept if a < b]
            yield from look(either(*pairs))
    ordered = [one for _, one in sorted(found.values(), key=lambda pair: (-scorer.near(*pair), pair[1].rank))]
    if not sure():
        people: dict[str, list[tuple[str, int]]] = yield Similar(tuple("@" + word for word in asked))
        parts = []
        for word in words:
            repairs = _repairs("@" + word, people.get("@" + word, ()), False)
            parts.append(either(Term("@" + word, begun=word == words[-1]), *(Term(repair) for repair in repairs)))
        wanted = both(*parts, filters)
        if wanted is not None:
            of_people: list[Candidate] = yield Find(wanted, HEAD)
            ordered += [one for one in of_people if one.rank not in found]
    return ordered


def _repairs(word: str, similar: Iterable[tuple[str, int]], last: bool) -> list[str]:
    """The words that may be meant, by edits (OSA: a swap of neighbours is one), then by how common they are."""
    length = len(word)
    most = 1 if length < 4 else 2 if length < 9 else 3
    found: list[tuple[float, str]] = []
    for term, movies in similar:
        edits = float(OSA.distance(word, term, score_cutoff=most))
        if last and length > 3 and len(term) > length and edits > 1:
            edits = min(edits, 0.5 + OSA.distance(word, term[:length], score_cutoff=most - 1))
        if edits <= most and term != word:
            found.append((edits - 0.1 * math.log(movies), term))
    found.sort()
    return [term for _, term in found[:_REPAIRS]]


# --- scores ----------------------------------------------------------------------------------------------------------

_Score = Callable[[Candidate], float]
_FAME = 2.0
"""Percent of likeness that a movie e times as well known makes up for."""
_KNOWN = 300.0
"""The popularity of the best known movie on the scale that scores use, whatever the source's own is."""


class _Scorer:
    """How well movies fit one query; scores are in percent of likeness, and only compare within a tier."""

    def __init__(self, reading: Reading, best_known: float | None) -> None:
        self.reading = reading
        self.dated = reading.without_year()
        self._scale = _KNOWN / best_known if best_known and 0 < best_known < math.inf else 0.0
        self._text = " ".join(reading.words)
        self._plain = " ".join(reading.plain)
        self._year = self.dated.year if self.dated else None
        self._near = " ".join(self.dated.plain) if self.dated else self._plain

    def sorted(self, candidates: list[Candidate], score: _Score) -> list[Candidate]:
        return sorted(candidates, key=lambda one: (-score(one), one.rank))

    def known(self, one: Candidate) -> float:
        """Popularity: its logarithm, so that the source's scale hardly counts."""
        if not one.popularity or one.popularity < 0:
            return 0.0
        return _FAME * math.log1p(min(one.popularity * self._scale, 1e9))

    def exact(self, one: Candidate) -> float:
        names = _names(one)
        literal = any(words == self._text for words, _ in names)
        return 100.0 * literal + self._dated(one) + self.known(one)

    def begun(self, one: Candidate) -> float:
        whole = any(words.startswith(self._text) or plain.startswith(self._plain) for words, plain in _names(one))
        return 8.0 * whole + self._dated(one) + self.known(one)

    def worded(self, one: Candidate) -> float:
        near = max(fuzz.ratio(self._plain, plain) for _, plain in _names(one))
        return 0.2 * near + self._dated(one) + self.known(one)

    def likeness(self, one: Candidate) -> float:
        """0 to 100: of the closest title, whole, as far as it is typed, in another order, or a part of it."""
        best = 0.0
        query = self._near
        length = len(query)
        for _, plain in _names(one):
            best = max(best, fuzz.ratio(query, plain))
            if len(plain) > length:
                best = max(best, 0.98 * fuzz.ratio(query, plain[:length]), 0.9 * fuzz.partial_ratio(query, plain))
            if " " in query:
                best = max(best, 0.97 * fuzz.token_sort_ratio(query, plain))
        return best

    def near(self, likeness: float, one: Candidate) -> float:
        return likeness + self._dated(one) + self.known(one)

    def _dated(self, one: Candidate) -> float:
        if self._year is None or one.year is None:
            return 0.0
        return {0: 12.0, 1: 4.0}.get(abs(self._year - one.year), 0.0)
