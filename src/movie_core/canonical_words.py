"""The canonical form of the words of a title, and the keys by which a query is an exact title.

Titles that differ in numerals (`Rocky II`, `Rocky Two`), stop words or series words have equal canonical words. The
index of a catalogue stores words and keys, so a change of either requires a new
`movie_adapters.catalogue.terms.INDEX_VERSION`.
"""

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from movie_core.text import OPTIONAL_ARTICLES, article_first, fold, split_folded, split_words

STOP_WORDS = OPTIONAL_ARTICLES | {"of", "and"}
"""Words that are not looked up."""

SERIES_WORDS = frozenset(("part", "pt", "episode", "ep", "vol", "volume", "chapter"))
"""Words without information beyond that of the number that follows."""
ABBREVIATIONS: Mapping[str, str] = MappingProxyType(
    {
        "bros": "brothers",
        "capt": "captain",
        "dr": "doctor",
        "ft": "fort",
        "inc": "incorporated",
        "jr": "junior",
        "lt": "lieutenant",
        "mr": "mister",
        "mrs": "missus",
        "mt": "mount",
        "prof": "professor",
        "sgt": "sergeant",
        "sr": "senior",
        "st": "saint",
        "vs": "versus",
        "xmas": "christmas",
    }
)
"""Abbreviations, and the words that people type for them or instead of them."""
_AMERICAN_SPELLINGS = {
    "aeroplane": "airplane",
    "armour": "armor",
    "behaviour": "behavior",
    "calibre": "caliber",
    "catalogue": "catalog",
    "centre": "center",
    "colour": "color",
    "colours": "colors",
    "defence": "defense",
    "dialogue": "dialog",
    "favour": "favor",
    "favourite": "favorite",
    "flavour": "flavor",
    "gaol": "jail",
    "grey": "gray",
    "harbour": "harbor",
    "honour": "honor",
    "honours": "honors",
    "humour": "humor",
    "jewellery": "jewelry",
    "judgement": "judgment",
    "labour": "labor",
    "licence": "license",
    "neighbour": "neighbor",
    "neighbours": "neighbors",
    "offence": "offense",
    "parlour": "parlor",
    "programme": "program",
    "pyjamas": "pajamas",
    "rumour": "rumor",
    "sabre": "saber",
    "saviour": "savior",
    "sceptre": "scepter",
    "spectre": "specter",
    "theatre": "theater",
    "traveller": "traveler",
    "travellers": "travelers",
}
_EQUIVALENT = {**ABBREVIATIONS, **_AMERICAN_SPELLINGS}
_ORDINAL = re.compile(r"(\d+)(?:st|nd|rd|th)")
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
NUMBER_WORDS = frozenset((*_ROMAN, *_UNITS, *_TENS))
"""Roman numerals and spelled-out numbers."""
_CHANGED_WORDS = NUMBER_WORDS | STOP_WORDS | SERIES_WORDS | _EQUIVALENT.keys()
_INITIALS = re.compile(r"(?:(?:the|an|a)\s+)?([^\W\d_](?:[.*·/-]\s?[^\W\d_])+)(?![^\W_])[.*]?")


def canonical_words(words: Sequence[str]) -> list[str]:
    """Numbers as digits, abbreviations spelled out and words in American spelling, without stop words and without
    series words before a number, unless only that number would remain; if nothing remains, and for initials (`A.I.`),
    all words.

    >>> canonical_words(["the", "godfather", "part", "iii"]), canonical_words(["part", "iii"])
    (['godfather', '3'], ['part', '3'])
    """
    if (_CHANGED_WORDS.isdisjoint(words) and "".join(words).isalpha()) or _are_initials(words):
        return list(words)
    words = [_EQUIVALENT.get(word, word) for word in numbers_as_digits(words)]
    significant = [word for word in words if word not in STOP_WORDS] or words
    if SERIES_WORDS.isdisjoint(significant):
        return significant
    next_words = (*significant[1:], "")
    kept = [
        word
        for word, next_word in zip(significant, next_words, strict=True)
        if not (word in SERIES_WORDS and next_word.isdecimal())
    ]
    return kept if len(kept) > 1 or not kept[0].isdecimal() else significant


def canonical_title(words: Sequence[str]) -> list[str]:
    """The canonical words of a title, which are at least as selective as the title: a single word remains only of a
    title of one word beside its article."""
    canonical = canonical_words(words)
    if len(canonical) == 1 and len(words) > 1 + (words[0] in OPTIONAL_ARTICLES):
        return [word for word in numbers_as_digits(words) if word not in OPTIONAL_ARTICLES] or list(words)
    return canonical


def title_forms(title: str) -> list[tuple[str, ...]]:
    """The forms of a title that are exact matches, each as its words: as written, canonical, without a leading English
    article, with a final article in front, and the initials with which it starts (`et` for `E.T. the Extra-…`)."""
    forms: list[Sequence[str]] = []
    for words in _spellings(title):
        canonical = canonical_title(words)
        forms += words, canonical
        if canonical != words and words[0] in OPTIONAL_ARTICLES and len(words) > 1:
            forms.append(words[1:])
    if initials := leading_initials(title):
        forms.append((initials,))
    return list(dict.fromkeys(map(tuple, forms)))


def query_forms(text: str) -> list[tuple[str, ...]]:
    """The forms of a query of which one equals a form of a title that it matches exactly, compared without spaces.

    >>> query_forms("Strada, La"), query_forms("A.I.")
    ([('strada', 'la'), ('la', 'strada')], [('ai',)])
    """
    if match := _INITIALS.fullmatch(fold(text).strip()):
        return [("".join(split_folded(match[1])),)]
    forms = (form for words in _spellings(text) for form in (words, canonical_words(words)))
    return list(dict.fromkeys(map(tuple, forms)))


def exact_keys(forms: Sequence[Sequence[str]]) -> frozenset[str]:
    """The forms without spaces: `Spider-Man` and `spiderman` are equal."""
    return frozenset(map("".join, forms))


def leading_initials(title: str) -> str:
    """The initials at the start of a title, after an English article, as one word; empty if there are none.

    >>> leading_initials("A.I. Artificial Intelligence"), leading_initials("I, Robot")
    ('ai', '')
    """
    match = _INITIALS.match(fold(title).strip())
    return "".join(split_folded(match[1])) if match else ""


def _are_initials(words: Sequence[str]) -> bool:
    return len(words) > 1 and all(len(word) == 1 and word.isalpha() for word in words)


def _spellings(title: str) -> list[list[str]]:
    words = split_words(title)
    if "," not in title or (moved := split_words(article_first(title))) == words:
        return [words]
    return [words, moved]


def numbers_as_digits(words: Sequence[str]) -> Sequence[str]:
    """Replace Roman numerals, number words and ordinals by digits, except for a leading `i`, `v` or `x`."""
    if NUMBER_WORDS.isdisjoint(words) and all(word.isalpha() or word.isdigit() for word in words):
        return words
    replaced: list[str] = []
    at = 0
    while at < len(words):
        word = words[at]
        value, length = _parse_number(words, at)
        if length:
            replaced.append(str(value))
            at += length
            continue
        if word in _ROMAN and (at > 0 or len(word) > 1):
            word = _ROMAN[word]
        elif ordinal := _ORDINAL.fullmatch(word):
            word = ordinal[1]
        replaced.append(word)
        at += 1
    return replaced


def _parse_number(words: Sequence[str], at: int) -> tuple[int, int]:
    """The value of the number spelled out at this position, and its length in words; length 0 if there is none."""
    total = length = 0
    value, taken = _parse_below_hundred(words, at)
    while taken:
        length += taken
        end = at + length
        if end < len(words) and words[end] in _SCALES:
            total += value * _SCALES[words[end]]
            length += 1
            has_and = at + length < len(words) and words[at + length] == "and"
            value, taken = _parse_below_hundred(words, at + length + has_and)
            length += has_and if taken else 0
            if not taken:
                return total, length
        else:
            return total + value, length
    return total, length


def _parse_below_hundred(words: Sequence[str], at: int) -> tuple[int, int]:
    if at >= len(words):
        return 0, 0
    word = words[at]
    if word in _UNITS:
        return _UNITS[word], 1
    if word in _TENS:
        unit = _UNITS.get(words[at + 1], 0) if at + 1 < len(words) else 0
        return (_TENS[word] + unit, 2) if 0 < unit < 10 else (_TENS[word], 1)
    return 0, 0


def has_number(words: Sequence[str]) -> bool:
    """Whether a number is among the words, in digits or spelled out."""
    return not NUMBER_WORDS.isdisjoint(words) or any(character.isdecimal() for word in words for character in word)


def numbered_key(words: Sequence[str]) -> str | None:
    """A key that is equal for titles that differ only in how their number is written (`Vol. 1`, `Volume One`, `I`).
    Articles are part of it. None for a title without a number, or of a number alone: `Three` and `3` are two films.

    >>> numbered_key(["kill", "bill", "vol", "1"]), numbered_key(["part", "one"]), numbered_key(["heat"])
    ('killbill1', None, None)
    """
    if not has_number(words):
        return None
    words = numbers_as_digits(words)
    pairs = zip(words, (*words[1:], ""), strict=True)
    kept = [word for word, next_word in pairs if not (word in SERIES_WORDS and next_word.isdecimal())]
    return "".join(kept) if len(kept) > 1 and any(map(str.isdecimal, kept)) else None
