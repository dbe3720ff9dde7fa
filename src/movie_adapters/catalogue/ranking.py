"""How titles match and in which order they come, for every store of movies; without I/O.

A store keeps with each movie its `index_terms`, in an order of `movie_rank`, and the words of its titles as a
vocabulary. `search` then says step by step what to look up (`Find`, `Count`, `Similar`, …) and is told the answers;
SQLite and PostgreSQL differ in how they look things up and in nothing else.

A match belongs to the first tier that has it: the exact title, the n-th film of a series, the beginning of a title,
all words in any order, people among the words, and only when there is none of these, words that are spelled nearly
so. Within a tier the best known `HEAD` movies are ordered by likeness and popularity; those behind them by popularity
alone, so that deep pages are as cheap as the first, and every page of a query sees the same order.
"""

import functools
import math
import re
import struct
import unicodedata
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rapidfuzz import fuzz, process
from rapidfuzz.distance import OSA

from movie_core.search.movies import Movie, MovieQuery, Order, Years
from movie_core.text import title_spellings

HEAD = 120
"""Movies of a tier that are ordered by likeness."""
MAX_WORDS = 12
"""Words of a query that are looked up; further ones only count for the order."""
MAX_KEY = 60
"""Characters of a title without spaces that are kept as its key."""
MAX_COMPOUND = 30
"""Letters of a word that may be two written as one."""

_APOSTROPHES = dict.fromkeys(
    map(ord, "'`\N{LEFT SINGLE QUOTATION MARK}\N{RIGHT SINGLE QUOTATION MARK}\N{ACUTE ACCENT}\N{PRIME}")
)
_LETTERS = str.maketrans(
    {
        **{
            "ø": "o",
            "ł": "l",
            "đ": "d",
            "ð": "d",
            "þ": "th",
            "æ": "ae",
            "œ": "oe",
            "\N{LATIN SMALL LETTER DOTLESS I}": "i",
            "ħ": "h",
            "ŋ": "n",
        },
        **{"½": " half ", "¼": " quarter ", "¹": " 1 ", "²": " 2 ", "³": " 3 ", "&": " and "},
    }
)
_POSSESSIVE = re.compile(r"(\w{2,})['\N{RIGHT SINGLE QUOTATION MARK}]s\b")
_SIGNS = re.compile("['`&,]|1/2")
_HALF = re.compile(r"(?<!\d)1/2(?!\d)")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_MARKS = re.compile("[\u0300-\u036f]+")
_WORD = re.compile(r"[^\W_]{1,60}")  # a longer one counts as several: stores have limits
_ORDINAL = re.compile(r"(\d+)(?:st|nd|rd|th)")
_YEAR = re.compile(r"(?:18[89]|19\d|20\d)\d")

_ARTICLES = frozenset(("the", "a", "an"))
_SILENT = _ARTICLES | {"of", "and"}
"""Words that are not looked up by themselves."""
_COUNTERS = frozenset(("part", "episode", "vol", "volume", "chapter"))
"""Words that say no more than the number behind them."""
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
_CHANGING = _NUMBERS | _SILENT | _COUNTERS


# --- the forms of a text ---------------------------------------------------------------------------------------------


def fold(text: str) -> str:
    """Lower case without accents and apostrophes; signs that are read as words are spelled out."""
    text = text.lower()
    if not text.isascii():
        text = text.translate(_APOSTROPHES).translate(_LETTERS)
        # Twice: bold and other capitals only become letters with a case by the first.
        text = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
        text = _MARKS.sub("", text)
        if not text.isascii():
            text = "".join(c for c in text if unicodedata.category(c)[0] != "M").translate(_LETTERS)
    if _SIGNS.search(text):
        text = text.translate(_APOSTROPHES).replace("&", " and ")
        text = _THOUSANDS.sub("", _HALF.sub(" half", text))
    return text


def split_words(text: str) -> list[str]:
    """The folded words of a text; a text without any letter or digit is one word made of its characters' numbers."""
    return _found_words(fold(text)) or ["".join(f"_{ord(c):x}" for c in text[:MAX_KEY] if not c.isspace()) or "_"]


def _found_words(folded: str) -> list[str]:
    if len(folded) <= MAX_KEY and folded.replace(" ", "").isalnum():
        return folded.split()  # as most are, and several times faster
    return _WORD.findall(folded)


def plain_words(words: Sequence[str]) -> list[str]:
    """The words that tell titles apart: numbers as digits, articles and the like dropped unless there is no other."""
    if _CHANGING.isdisjoint(words) and "".join(words).isalpha():
        return list(words)
    words = _digits(words)
    if _COUNTERS.isdisjoint(words):
        return [word for word in words if word not in _SILENT] or list(words)
    following = (*words[1:], "")
    return [
        word
        for word, after in zip(words, following, strict=True)
        if word not in _SILENT and not (word in _COUNTERS and after.isdecimal())
    ] or list(words)


def _digits(words: Sequence[str]) -> Sequence[str]:
    """Roman numerals, number words and ordinals as digits; `i`, `v` and `x` at the start are left alone."""
    if _NUMBERS.isdisjoint(words) and all(word.isalpha() or word.isdigit() for word in words):
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
    if not (movie.original_title or movie.alt_titles):
        return [movie.title]
    return list(dict.fromkeys((movie.title, *filter(None, (movie.original_title, *movie.alt_titles)))))


# --- what a store keeps ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Entry:
    """What a store's index keeps of a movie."""

    names: str
    """A line per title, the main one first: its words, a tab, its plain words, a tab, its spelling without regard to
    case where that differs from its words."""
    terms: tuple[str, ...]
    """Each once: words of titles; `=` and a title without spaces; `@` and a word of a person's name; `#` and the year;
    `%` and a genre."""


def is_word(term: str) -> bool:
    """Whether a term belongs into the vocabulary."""
    return len(term) > 2 and (term[0] == "@" or term.isalpha())


def index_entry(movie: Movie) -> Entry:
    names: list[str] = []
    terms: list[str] = []
    for title in title_names(movie):
        words = split_words(title)
        plain = plain_words(words)
        if len(plain) == 1 and len(words) > 1 + (words[0] in _ARTICLES):
            plain = [
                word for word in _digits(words) if word not in _ARTICLES
            ] or words  # one word alone says too little
        text = " ".join(words)
        terms.append(_key(words))
        terms += plain
        spelled = " ".join(title.casefold().split())
        names.append(f"{text}\t{' '.join(plain)}\t{'' if spelled == text else spelled}")
        if plain != words:
            terms.append(_key(plain))
            terms += [word for word in words if word not in _SILENT]
            if words[0] in _ARTICLES:
                terms.append(_key(words[1:] or words))
        if not title.replace(" ", "").isalnum():
            terms += _compounds(title)
    if movie.directors or movie.cast:
        people = fold(" ".join((*movie.directors, *movie.cast)))
        terms += ["@" + word for word in _WORD.findall(people)]
    if movie.year is not None:
        terms.append(_year_term(movie.year))
    terms += map(_genre_term, movie.genres)
    return Entry("\n".join(names), tuple(dict.fromkeys(terms)))


def movie_rank(catalogue: int, popularity: float | None, sequence: int) -> int:
    """A key that is unique for its sequence number and sorts the best known movies first.

    15 bits of the catalogue's number, 16 of popularity on a logarithmic scale (steps of about 5 %, unknown last), 32
    of the sequence number. A change of popularity within its step leaves the key alone.
    """
    return catalogue << 48 | (0xFFFF - _fame(popularity)) << 32 | sequence & 0xFFFF_FFFF


@functools.lru_cache(maxsize=4096)
def _fame(popularity: float | None) -> int:
    if popularity is None or math.isnan(popularity):
        return 0
    bits: int = struct.unpack(">Q", struct.pack(">d", popularity + 0.0))[0]
    # The order of doubles as the order of whole numbers: flip all bits of negative ones, the sign of the others.
    return (bits ^ (0xFFFF_FFFF_FFFF_FFFF if bits >> 63 else 1 << 63)) >> 48


def rank_range(catalogue: int) -> tuple[int, int]:
    """The first and the last rank that a catalogue's movies may have."""
    return catalogue << 48, (catalogue + 1 << 48) - 1


def _key(words: Iterable[str]) -> str:
    return "=" + "".join(words)[:MAX_KEY]


def title_terms(titles: Iterable[str]) -> list[str]:
    """Terms of which every movie that has one of these titles has one, by
    `movie_core.discovery.ratings.normalise_title`, and few others have any."""
    spellings = (spelling for title in titles for spelling in title_spellings(title))
    return list(dict.fromkeys(_key(split_words(spelling)) for spelling in spellings))


def _compounds(title: str) -> list[str]:
    """Words of a title written as one: `spiderman` for Spider-Man; and the owner in `Bean's`."""
    parts = map(_WORD.findall, fold(title).split())
    owners = (_WORD.findall(fold(owner)) for owner in _POSSESSIVE.findall(title))
    found = [*("".join(some) for some in parts if len(some) > 1), *(owner[0] for owner in owners if owner)]
    return [word[:MAX_KEY] for word in found]


def _year_term(year: int) -> str:
    return f"#{year:04}"


@functools.lru_cache(maxsize=4096)
def _genre_term(genre: str) -> str:
    return "%" + "".join(c if c.isalnum() else f"_{ord(c):x}" for c in genre.casefold())[: 2 * MAX_KEY]


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
    some = tuple(part for part in parts if part is not None)
    return (some[0] if len(some) == 1 else AllOf(some)) if some else None


def either(*parts: Expression | None) -> Expression | None:
    """Any of the parts that there are."""
    some = tuple(part for part in parts if part is not None)
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
    lessened: bool = False
    """Without the movies that the query leaves out."""


@dataclass(frozen=True, slots=True)
class Count:
    """How many movies match, all for None: an int."""

    expression: Expression | None


@dataclass(frozen=True, slots=True)
class CountLeftOut:
    """How many of the movies that the query leaves out match, all for None: an int."""

    expression: Expression | None


@dataclass(frozen=True, slots=True)
class Listing:
    """Part of what matches, all for None, in an order of its own, ties by rank: a list of ranks."""

    expression: Expression | None
    order: Order
    limit: int
    offset: int
    lessened: bool = False


@dataclass(frozen=True, slots=True)
class BestKnown:
    """The popularity of the movie of the lowest rank: a float or None."""


@dataclass(frozen=True, slots=True)
class Known:
    """Which of these terms are in the vocabulary: a set."""

    terms: tuple[Term, ...]


@dataclass(frozen=True, slots=True)
class Similar:
    """For each term the terms of the vocabulary that may be meant by it, of the same kind (titles or people), with
    the number of their movies: a list of `Vocabulary`."""

    terms: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Begun:
    """The terms of the vocabulary that may begin as this one is meant to: a list of `Vocabulary`."""

    term: str


Vocabulary = tuple[list[str], list[int]]
"""Terms, and the number of movies that have each."""

Ask = Find | Count | CountLeftOut | Listing | BestKnown | Known | Similar | Begun
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
        """Keys know no spaces, so the words are asked for too: `momento` doesn't begin `Moment of Truth`."""
        terms = [Term(word) for word in form[:-1][:MAX_WORDS] if word not in _SILENT]
        if len(form) == 1 and not any(silent.startswith(form[0]) for silent in _SILENT):
            terms = [Term(form[0], begun=True)]
        return AllOf((Term(_key(form), begun=True), *terms))

    @property
    def telling(self) -> tuple[str, ...]:
        """The words as typed that tell something."""
        return tuple(word for word in self.words if word not in _SILENT) or self.words

    def has_words(self) -> Expression:
        """Every word, the last one begun or whole."""
        forms = (self.plain,) if self.telling == self.plain else (self.telling, self.plain)
        return AnyOf(tuple(AllOf(tuple(_terms(form))) for form in forms))

    def has_people(self, known: frozenset[Term]) -> Expression | None:
        """Every word in the title or a name, of which one at least is a name's; `known` are the names there are."""
        terms = _terms(self.telling)
        names = [term if (term := Term("@" + one.text, one.begun)) in known else None for one in terms]
        return both(*(either(*pair) for pair in zip(terms, names, strict=True))) if any(names) else None

    def near_year(self) -> Expression | None:
        """The year, or the one before or after: release dates differ by country."""
        return None if self.year is None else either(*(Term(_year_term(self.year + by)) for by in (0, -1, 1)))


def _terms(words: Sequence[str]) -> list[Term]:
    """Words to look up, the last one begun; but a single letter alone would find half of all titles somewhere."""
    words = words[:MAX_WORDS]
    begun = len(words) > 1 or len(words[0]) > 1
    return [*map(Term, words[:-1]), Term(words[-1], begun)]


# --- the search ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Tier:
    expression: Expression
    total: int
    head: list[int]


def search(query: MovieQuery, limit: int, offset: int = 0, left_out: frozenset[int] = frozenset()) -> Steps:
    """The window of the matches of a query, `total` counting all of them.

    `left_out` are the ranks of the movies that the query leaves out. They are taken away once it is known what matches,
    so that nothing else is found in their place and the others keep their order.
    """
    lessened = bool(left_out)
    filters = both(
        None if query.years is None else _years(query.years),
        None if query.genre is None else Term(_genre_term(query.genre)),
    )
    if not query.text:
        total = yield Count(filters)
        if lessened:
            total -= yield CountLeftOut(filters)
        ranks = (yield Listing(filters, _by(query.order), limit, offset, lessened)) if offset < total else []
        return Found(total, ranks)
    scorer = _Scorer(query.text, (yield BestKnown()))
    tiers = yield from _literal(scorer, filters)
    if not tiers:
        nearly = [] if filters and (yield from _literal(scorer, None)) else (yield from _nearly(scorer, filters))
        nearly = _in_order([one for one in nearly if one.rank not in left_out], query.order)
        return Found(len(nearly), [one.rank for one in nearly[offset : offset + limit]])
    if left_out:
        tiers = yield from _lessen(tiers, left_out)
    total = sum(tier.total for tier in tiers)
    if query.order is not Order.RELEVANCE:
        everything = both(either(*(tier.expression for tier in tiers)), filters)
        listing = Listing(everything, query.order, limit, offset, lessened)
        return Found(total, (yield listing) if offset < total else [])
    ranks = []
    for tier in tiers:
        if offset < tier.total and limit > 0:
            part = tier.head[offset : offset + limit]
            if len(part) < limit and offset + len(part) < tier.total:
                # The head are the first of the tier by rank, and so is what is left of it.
                tail = yield Find(tier.expression, limit - len(part), max(offset, len(tier.head)), lessened)
                part = part + [one.rank for one in tail]
            ranks += part
            limit -= len(part)
        offset = max(0, offset - tier.total)
    return Found(total, ranks)


def _lessen(tiers: Sequence[_Tier], left_out: frozenset[int]) -> Generator[Ask, Any, list[_Tier]]:
    less: list[_Tier] = []
    for tier in tiers:
        head = [rank for rank in tier.head if rank not in left_out]
        is_longer = tier.total > len(tier.head)
        total = tier.total - (yield CountLeftOut(tier.expression)) if is_longer else len(head)
        less.append(_Tier(tier.expression, total, head))
    return less


def suggest(query: MovieQuery, limit: int) -> Steps:
    """The first matches of a text that is being typed; `total` doesn't count."""
    return search(query, limit)


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
    seen: set[int] = set()

    def add(expression: Expression | None, score: _Score) -> Generator[Ask, Any, None]:
        wanted = both(expression, filters)
        if expression is None or wanted is None or expression in earlier:
            return
        # What earlier tiers have is left out here as long as all of it is at hand, and by the store otherwise.
        complete = all(tier.total == len(tier.head) for tier in tiers)
        candidates: list[Candidate] = (yield Find(wanted, HEAD)) if complete else []
        if earlier and (not complete or len(candidates) == HEAD):
            wanted = Without(wanted, AnyOf(tuple(earlier)))
            candidates = yield Find(wanted, HEAD)
        total = (yield Count(wanted)) if len(candidates) == HEAD else None
        candidates = [one for one in candidates if one.rank not in seen]
        if candidates:
            seen.update(one.rank for one in candidates)
            earlier.append(expression)
            head = [one.rank for one in scorer.sorted(candidates, score)]
            tiers.append(_Tier(wanted, total or len(head), head))

    if dated:
        # Mostly no title has the year among its words, which saves the tiers for it.
        titled = (*(reading.begins(form) for form in reading.forms), reading.has_words())
        as_typed = bool((yield Find(AnyOf(titled), 1)))
    else:
        as_typed = True
    if as_typed:
        # "three a" is being typed on; "blue lagoon the" isn't, but then no title begins so.
        if len(reading.words) > 1 and reading.words[-1] in _SILENT:
            yield from add(reading.equals(reading.words), scorer.exact)
            yield from add(reading.begins(reading.words), scorer.begun)
        for form in reading.forms:
            yield from add(reading.equals(form), scorer.exact)
    if dated:
        same = either(*(dated.equals(form) for form in dated.forms))
        yield from add(both(same, dated.near_year()), scorer.exact)
    nth = None if tiers else (yield from _series(scorer))
    yield from add(nth, scorer.exact)
    if as_typed:
        for form in reading.forms:
            yield from add(reading.begins(form), scorer.begun)
    if dated:
        begun = either(*(dated.begins(form) for form in dated.forms))
        yield from add(both(begun, dated.near_year()), scorer.begun)
    if as_typed:
        yield from add(reading.has_words(), scorer.worded)
    if dated:
        yield from add(both(dated.has_words(), dated.near_year()), scorer.worded)
        yield from add(either(*(dated.begins(form) for form in dated.forms), dated.has_words()), scorer.worded)
    if nth:
        yield from add(reading.begins(reading.plain[:-1]), scorer.worded)  # the rest of the series
    names: frozenset[Term] = yield Known(tuple(Term("@" + one.text, one.begun) for one in _terms(reading.telling)))
    if names:
        people = reading.has_people(names)
        if dated:
            people = either(people, both(dated.has_people(names), dated.near_year()))
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
    if any(re.match(rf"{re.escape(stem)} (?!{number}\b)\d", plain) for _, plain in _names(pick)):
        return None
    numbered: list[Candidate] = yield Find(Term(_key(scorer.reading.plain), begun=True), 1)
    if numbered and (numbered[0].popularity or 0.0) >= (pick.popularity or 0.0) / 10:
        return None
    return AllOf((Term(_key(_names(pick)[0][0].split())), Term(_year_term(pick.year or 0))))


def _names(candidate: Candidate) -> list[tuple[str, str]]:
    """Words and plain words of each title."""
    pairs = []
    for line in candidate.names.split("\n"):
        words, plain, _ = line.split("\t")
        pairs.append((words, plain))
    return pairs


def _spellings(candidate: Candidate) -> list[str]:
    """Each title as it is written, without regard to case."""
    lines = (line.split("\t") for line in candidate.names.split("\n"))
    return [spelled or words for words, _, spelled in lines]


def _begins(name: str, begun: str) -> bool:
    """Whether the name begins so, at whole words."""
    return name.startswith(begun) and (len(name) == len(begun) or name[len(begun)] == " ")


# --- nearly ----------------------------------------------------------------------------------------------------------

_REPAIRS = 8
"""Words of the vocabulary that are tried for a word, at most."""
_ALL_REPAIRS = 24
"""The same for all words of a query together: the cost of an expression grows with the number and frequency of its
terms."""
_MENDED = 8
"""Words of a query that are looked up with repairs, the longest ones."""
_ROUNDS = 5
"""Words of a query of which some may be wrong altogether."""
_PAIRED = 4
"""The longest words of a query, any two of which may match."""
_CUTOFF = 68.0
"""Likeness in percent below which a title isn't meant."""
_SURE = 88.0
"""Likeness in percent above which no freer search is tried."""


def _nearly(scorer: "_Scorer", filters: Expression | None) -> Generator[Ask, Any, list[Candidate]]:
    """Movies whose titles, or people, are spelled nearly as the query; best first, at most a few hundred."""
    reading = scorer.dated or scorer.reading
    words = list(dict.fromkeys(reading.telling))
    longest = sorted(words, key=len, reverse=True)[:_MENDED]
    words = [word for word in words if word in longest]
    if len(words) > 1 and any(silent.startswith(words[-1]) for silent in _SILENT):
        words.pop()  # "shadow of th"
    asked = [word for word in words if len(word) > 2 and word.isalpha()]
    similar: dict[str, list[Vocabulary]] = yield Similar(tuple(asked))
    most = min(_REPAIRS, _ALL_REPAIRS // max(1, len(words)))
    choices: list[Expression] = []
    for word in words:
        last = word == words[-1]
        meant = [word, *_repairs(word, similar.get(word, ()), most)]
        meant += [digits for one in meant if one in _NUMBERS for digits in _digits(("", one))[1:]]
        terms = dict.fromkeys(map(Term, meant))
        if last and len(word) > 1:
            begun = [word, *(_beginnings(word, (yield Begun(word)), most) if len(word) > 3 else ())]
            terms = dict.fromkeys((*(Term(one, begun=True) for one in begun), *terms))
        choices.append(AnyOf(tuple(terms)))
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

    yield from look(AnyOf((AllOf(tuple(choices)), *(Term(_key(form), begun=True) for form in reading.forms))))
    if not sure():
        yield from look(_respaced(words, choices, similar))
    if not sure() and len(choices) > 1:
        # The longest words tell most; one of them, then all but two, may be wrong beyond repair.
        kept = sorted(sorted(range(len(words)), key=lambda at: -len(words[at]))[:_ROUNDS])
        yield from look(either(*(both(*(choices[at] for at in kept if at != wrong)) for wrong in kept)))
        if not sure() and len(kept) > 3:
            few = sorted(sorted(kept, key=lambda at: -len(words[at]))[:_PAIRED])
            pairs = [AllOf((choices[a], choices[b])) for a in few for b in few if a < b]
            yield from look(either(*pairs))
    ordered = [one for _, one in sorted(found.values(), key=lambda pair: (-scorer.near(*pair), pair[1].rank))]
    if not sure():
        people: dict[str, list[Vocabulary]] = yield Similar(tuple("@" + word for word in asked))
        if any(terms for vocabularies in people.values() for terms, _ in vocabularies):
            parts: list[Expression] = []
            for word in words:
                repairs = _repairs("@" + word, people.get("@" + word, ()), most)
                parts.append(AnyOf((Term("@" + word, begun=word == words[-1]), *map(Term, repairs))))
            if filters is not None:
                parts.append(filters)
            of_people: list[Candidate] = yield Find(AllOf(tuple(parts)), HEAD)
            ordered += [one for one in of_people if one.rank not in found]
    return ordered


def _respaced(
    words: Sequence[str], choices: Sequence[Expression], similar: Mapping[str, Sequence[Vocabulary]]
) -> Expression | None:
    """Two neighbouring words written as one, or one of them as two: `bat man` and `darkknight`."""
    if len(words) > _ROUNDS:  # one slip in spacing is enough then, without other ones
        choices = [*map(Term, words[:-1]), Term(words[-1], begun=len(words[-1]) > 1)]
    ways: list[Expression | None] = []
    for at, word in enumerate(words):
        before, after = choices[:at], choices[at + 1 :]
        if at + 1 < len(words):
            ways.append(both(*before, Term((word + words[at + 1])[:MAX_KEY], begun=at + 2 == len(words)), *after[1:]))
        if 5 < len(word) <= MAX_COMPOUND:
            pairs = tuple(AllOf((Term(first), Term(second))) for first, second in _halves(word, similar.get(word, ())))
            ways.append(both(*before, AnyOf(pairs), *after) if pairs else None)
    return either(*ways)


def _halves(word: str, vocabularies: Iterable[Vocabulary]) -> Iterator[tuple[str, str]]:
    """The ways to cut the word into two words. `vocabularies` have all terms with the same beginning or ending, except
    those for which `is_word` is false; a half of that kind is accepted unseen."""
    known = {term for terms, _ in vocabularies for term in terms}
    for cut in range(2, len(word) - 1):
        halves = word[:cut], word[cut:]
        if not known or all(half in known or not is_word(half) for half in halves):
            yield halves


def _repairs(word: str, vocabularies: Iterable[Vocabulary], most_words: int) -> list[str]:
    """The words that may be meant, by edits (OSA: a swap of neighbours is one), then by how common they are."""
    most = 1 if len(word) < 4 else 2 if len(word) < 9 else 3
    found: dict[str, float] = {}
    for terms, movies in vocabularies:
        for term, edits, at in process.extract(word, terms, scorer=OSA.distance, score_cutoff=most, limit=None):
            found[term] = edits - 0.1 * math.log(movies[at])
    found.pop(word, None)
    return sorted(found, key=lambda term: (found[term], term))[:most_words]


def _beginnings(word: str, vocabularies: Iterable[Vocabulary], most_words: int) -> list[str]:
    """Beginnings of words that may be meant by a word that is being typed."""
    most = 1 if len(word) < 8 else 2
    found: dict[str, float] = {}
    for terms, _ in vocabularies:
        for length in range(len(word) - 1, len(word) + 2):
            begun = list({term[:length] for term in terms if len(term) > length})
            near = process.extract(word, begun, scorer=OSA.distance, score_cutoff=most, limit=None)
            found.update((beginning, edits) for beginning, edits, _ in near)
    found.pop(word, None)
    return sorted(found, key=lambda beginning: (found[beginning], beginning))[:most_words]


# --- scores ----------------------------------------------------------------------------------------------------------

_Score = Callable[[Candidate], float]
_FAME = 2.0
"""Percent of likeness that a movie e times as well known makes up for."""
_KNOWN = 300.0
"""The popularity of the best known movie on the scale that scores use, whatever the source's own is."""


class _Scorer:
    """How well movies fit one query; scores are in percent of likeness, and only compare within a tier."""

    def __init__(self, text: str, best_known: float | None) -> None:
        self.reading = reading = Reading.of(text)
        self.dated = reading.without_year()
        self._scale = _KNOWN / best_known if best_known and 0 < best_known < math.inf else 0.0
        self._spelled = " ".join(text.casefold().split())
        self._text = " ".join(reading.words)
        self._plain = " ".join(reading.plain)
        self._year = self.dated.year if self.dated else None
        near = self.dated or reading
        self._near = (" ".join(near.words), " ".join(near.plain))

    def sorted(self, candidates: list[Candidate], score: _Score) -> list[Candidate]:
        return sorted(candidates, key=lambda one: (-score(one), one.rank))

    def known(self, one: Candidate) -> float:
        """Popularity: its logarithm, so that the source's scale hardly counts."""
        if not one.popularity or one.popularity < 0:
            return 0.0
        return _FAME * math.log1p(min(one.popularity * self._scale, 1e9))

    def exact(self, one: Candidate) -> float:
        literal = any(words == self._text for words, _ in _names(one))
        spelled = self._spelled in _spellings(one)
        return 100.0 * literal + 100.0 * spelled + self._dated(one) + self.known(one)

    def begun(self, one: Candidate) -> float:
        whole = any(words.startswith(self._text) or plain.startswith(self._plain) for words, plain in _names(one))
        return 8.0 * whole + self._dated(one) + self.known(one)

    def worded(self, one: Candidate) -> float:
        near = max(fuzz.ratio(self._plain, plain) for _, plain in _names(one))
        return 0.2 * near + self._dated(one) + self.known(one)

    def likeness(self, one: Candidate) -> float:
        """0 to 100: of the closest title, whole, as far as it is typed, in another order, or a part of it."""
        best = 0.0
        for name in _names(one):
            for form, query in zip(name, self._near, strict=True):
                length = len(query)
                best = max(best, fuzz.ratio(query, form))
                if len(form) > length:
                    begun = max(fuzz.ratio(query, form[:length]), fuzz.ratio(query, form[: length + 1]))
                    best = max(best, 0.98 * begun, 0.9 * fuzz.partial_ratio(query, form))
                if " " in query:
                    best = max(best, 0.97 * fuzz.token_sort_ratio(query, form))
                if name[0] == name[1]:
                    break
        return best

    def near(self, likeness: float, one: Candidate) -> float:
        return likeness + self._dated(one) + self.known(one)

    def _dated(self, one: Candidate) -> float:
        if self._year is None or one.year is None:
            return 0.0
        return {0: 12.0, 1: 4.0}.get(abs(self._year - one.year), 0.0)
