"""Normalisation of text: queries, titles, articles, years and ids. Every comparison of titles uses this module."""

import re
import unicodedata
from types import MappingProxyType
from typing import Literal

from movie_core.errors import InvalidQuery

MAX_QUERY = 200
"""Characters of a normalised query."""
NFC_MAX_RATIO = 4
"""Upper bound of the factor by which NFC shortens a text, in characters and in bytes of UTF-8. A text that exceeds its
limit by a greater factor is too long in any case, and must not be composed: composition takes time quadratic in the
number of consecutive combining marks."""
MAX_TITLE = 1_000
"""Characters of a title that `normalise_title` compares; decomposition is quadratic like composition."""
MAX_SYMBOLS = 60
"""Characters that identify a title without letters and digits."""

ARTICLES = MappingProxyType(
    {
        "Dutch": ("de", "het", "een"),
        "English": ("the", "a", "an"),
        "French": ("le", "la", "les", "l'", "un", "une", "des"),
        "German": ("der", "die", "das", "den", "ein", "eine"),
        "Italian": ("il", "lo", "la", "i", "gli", "le", "l'", "un", "uno", "una"),
        "Portuguese": ("o", "a", "os", "as", "um", "uma"),
        "Scandinavian": ("den", "det", "en", "ett", "de"),
        "Spanish": ("el", "la", "los", "las", "lo", "un", "una"),
    }
)
"""Articles by language, in lower case. A title may have its article in front or, after a comma, at the end."""
OPTIONAL_ARTICLES = frozenset(ARTICLES["English"])
"""Leading articles that may be omitted: `matrix` is an exact title match for `The Matrix`. Only the English ones,
because those of other languages are words of English titles: `Die Hard`, `I, Robot`, `As Good as It Gets`."""

# Quotation marks, primes and modifier letters that resemble them: Unicode has the okina of `Kaua\u02bbi` as a letter.
_APOSTROPHES = dict.fromkeys(
    map(
        ord,
        "'`\u00b4\u02b9\u02bb\u02bc\u02bd\u02be\u02bf\u02c8\u055a\u05f3\u2018\u2019\u201a\u201b\u2032\u2035\ua78b\ua78c",
    )
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
        **{"½": " half ", "¼": " quarter ", "&": " and ", "\N{MULTIPLICATION SIGN}": " x ", "™": " ", "℠": " "},
        **{superscript: f" {digit} " for digit, superscript in enumerate("⁰¹²³⁴⁵⁶⁷⁸⁹")},
        **{"ي": "ی", "ى": "ی", "ك": "ک", "\N{ARABIC TATWEEL}": None},
    }
)
_SYMBOLS = re.compile("['`&,]|1[/\u2044][24]")
_FRACTION = re.compile(r"(?<!\d)1[/\u2044]([24])(?!\d)")
_FRACTION_WORDS = {"2": " half", "4": " quarter"}
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_MARKS = re.compile("[\u0300-\u036f]+")
_IGNORED = frozenset(("Mn", "Mc", "Me", "Cf"))
"""Unicode categories that make no difference: combining marks, variation selectors, and invisible characters such as
the soft hyphen."""
_WORD = re.compile(r"[^\W_]{1,60}")  # a longer word becomes several: stores limit the length of a term

_APOSTROPHE = "['\N{RIGHT SINGLE QUOTATION MARK}]"
_ALL_ARTICLES = frozenset(word for words in ARTICLES.values() for word in words)
_ARTICLE = "|".join(sorted(word.replace("'", _APOSTROPHE) for word in _ALL_ARTICLES))
_ARTICLE_FIRST = re.compile(rf"(?:(l{_APOSTROPHE})|({_ARTICLE})\s)\s*(.+)", re.IGNORECASE | re.DOTALL)
_END_MARKS = ".!?\N{HORIZONTAL ELLIPSIS} "
_IMDB_ID = re.compile(r"(?:tt\s?)?(\d{1,10})(?:[.,]0+)?", re.ASCII | re.IGNORECASE)
_TMDB_ID = re.compile(r"(\d{1,10})(?:[.,]0+)?", re.ASCII)
_AROUND_IDS = " \t\r\n\u00a0\"'/"
_URL_START = r"(?:^|(?<=[\s<(\[\"'\u201c\u2018]))(?:https?:)?(?://)?(?:[a-z]+\.)?"
_URL_PATH = r"(?::\d{1,5})?/+(?:[a-z\d-]{1,7}/+)?"
_IMDB_URL = re.compile(
    rf"{_URL_START}imdb\.com{_URL_PATH}title(?:/+tt|/*\?(?:tt)?)(\d{{1,10}})(?![^\W_])", re.ASCII | re.IGNORECASE
)
_TMDB_URL = re.compile(
    rf"{_URL_START}(?:themoviedb|tmdb)\.org{_URL_PATH}movie/+(\d{{1,10}})(?!\d)", re.ASCII | re.IGNORECASE
)
_NAMED_IMDB_ID = re.compile(
    r"(?:(?:imdb(?:[ _-]?id)?[ :=#/]+)(?:tt)?|tt)(\d{1,10})(?:[/?#]\S*)?", re.ASCII | re.IGNORECASE
)
_NAMED_TMDB_ID = re.compile(r"tmdb(?:[ _-]?id)?[ :=#/]+(\d{1,10})/?", re.ASCII | re.IGNORECASE)
_YEAR = re.compile(r"(?<![^\W_])(?:18[89]|19[0-9]|20[0-9])[0-9](?![^\W_])")
_YEAR_SEPARATORS = " ,;:()[]-\N{EN DASH}\N{EM DASH}"
_FULL_WIDTH = {ord(character) + 0xFEE0: character for character in "0123456789(),:;[]"}


def normalise_query(text: str) -> str:
    """Normalise to NFC, without leading and trailing blanks (any Unicode space), and with single inner spaces.

    Raises `InvalidQuery` for control characters (including tab and NUL, checked before stripping), lone surrogates, and
    more than `MAX_QUERY` characters after normalisation. Every other character is preserved. Idempotent.
    """
    if len(text) > 16 * MAX_QUERY:  # before any work on the text, blanks included
        raise InvalidQuery(f"query must have at most {MAX_QUERY} characters", field="query")
    for character in text:
        if unicodedata.category(character) in {"Cc", "Cs"}:
            raise InvalidQuery("query must not contain control characters or broken Unicode", field="query")
    normal = " ".join(text.split())
    if len(normal) <= NFC_MAX_RATIO * MAX_QUERY:
        normal = " ".join(unicodedata.normalize("NFC", normal).split())
    if len(normal) > MAX_QUERY:
        raise InvalidQuery(f"query must have at most {MAX_QUERY} characters", field="query")
    return normal


def fold(text: str) -> str:
    """Fold to lower case without accents, apostrophes and invisible characters, with full-width and typographic
    characters replaced by plain ones and with symbols that are read as words (`&`, `½`) spelled out. Other punctuation
    is preserved.

    >>> fold("Léon & Łódź: 8½")
    'leon  and  lodz: 8 half '
    """
    text = text.lower()
    if not text.isascii():
        text = text.translate(_APOSTROPHES).translate(_LETTERS)
        # Twice: mathematical bold and similar capitals have a lower case only after the first pass.
        text = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
        text = _MARKS.sub("", text)
        if not text.isascii():
            text = "".join(c for c in text if unicodedata.category(c) not in _IGNORED).translate(_LETTERS)
    if _SYMBOLS.search(text):
        text = text.translate(_APOSTROPHES).replace("&", " and ")
        text = _THOUSANDS.sub("", _FRACTION.sub(lambda match: _FRACTION_WORDS[match[1]], text))
    return text


def split_folded(folded: str) -> list[str]:
    """Split a text that `fold` returned into words: runs of at most 60 letters and digits."""
    if len(folded) <= 60 and folded.replace(" ", "").isalnum():
        return folded.split()  # the common case, several times faster
    return _WORD.findall(folded)


def split_words(text: str) -> list[str]:
    """Split a text into folded words. Never empty: a text without letters and digits becomes one word that encodes the
    code points of its first `MAX_SYMBOLS` characters, folded if anything of them remains.

    >>> split_words("Schindler's List"), split_words("?!"), split_words("…") == split_words("...")
    (['schindlers', 'list'], ['_3f_21'], True)
    """
    folded = fold(text)
    return split_folded(folded) or [_symbols(folded) or _symbols(text) or "_"]


def _symbols(text: str) -> str:
    return "".join(f"_{ord(c):x}" for c in text[:MAX_SYMBOLS] if not c.isspace())


def article_first(title: str) -> str:
    """Move an article at the end of a title to its front; punctuation after it stays at the end.

    >>> article_first("Strada, La"), article_first("Avventura, L'"), article_first("Heat"), article_first("Sting, The!")
    ('La Strada', "L'Avventura", 'Heat', 'The Sting!')
    """
    title = title.strip()
    rest, _, end = (part.strip() for part in title.rpartition(","))
    article = end.rstrip(_END_MARKS)
    plain = article.lower().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
    # `Die, Monster, Die!` begins with the word that would be its article.
    if not rest or plain not in _ALL_ARTICLES or rest.lower().startswith(f"{plain},"):
        return title
    rest += end[len(article) :]
    return f"{article}{rest}" if plain.endswith("'") else f"{article} {rest}"


def title_spellings(title: str) -> tuple[str, ...]:
    """The title with its article in front and at the end; only the title if it has no article.

    >>> title_spellings("Matrix, The")
    ('The Matrix', 'Matrix, The')
    """
    title = title.strip()
    if (moved := article_first(title)) != title:
        return moved, title
    if match := _ARTICLE_FIRST.fullmatch(title):
        return title, f"{match[3]}, {match[1] or match[2]}"
    return (title,)


def normalise_title(title: str) -> str:
    """The key by which titles of different sources are equal: the folded words with the article in front, without
    spaces. An article is part of the key.

    >>> normalise_title("Matrix, The") == normalise_title("the MATRIX") != normalise_title("Matrix")
    True
    """
    return "".join(split_words(article_first(title[:MAX_TITLE])))


def normalise_imdb_id(text: str) -> str | None:
    """An IMDb id as `tt` and at least seven digits, from the forms in which files have it: with or without `tt`, with
    the fraction of zero or the apostrophe that spreadsheets add, or as a URL. None if the text is not an IMDb id; 0 is
    not one.

    >>> normalise_imdb_id("133093"), normalise_imdb_id("nm0000206"), normalise_imdb_id("0000000")
    ('tt0133093', None, None)
    """
    text = text.strip(_AROUND_IDS)
    match = _IMDB_ID.fullmatch(text) or _IMDB_URL.search(text)
    number = "" if match is None else match[1].lstrip("0")
    return f"tt{number:0>7}" if number else None


def normalise_tmdb_id(text: str) -> str | None:
    """A TMDB id without leading zeros, from the forms in which files have it, as for `normalise_imdb_id`.

    >>> normalise_tmdb_id("603.0"), normalise_tmdb_id("https://www.themoviedb.org/movie/603-the-matrix")
    ('603', '603')
    """
    text = text.strip(_AROUND_IDS)
    match = _TMDB_ID.fullmatch(text) or _TMDB_URL.search(text)
    return (match[1].lstrip("0") or None) if match else None


def external_id(text: str) -> tuple[Literal["imdb_id", "tmdb_id"], str] | None:
    """The id in a text that is an IMDb id, a TMDB id that is named as one, or contains the URL of a movie at IMDb or
    TMDB; None for any other text.

    >>> external_id("https://m.imdb.com/title/tt0133093/?ref_=fn"), external_id("The Matrix: themoviedb.org/movie/603")
    (('imdb_id', 'tt0133093'), ('tmdb_id', '603'))
    """
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    text = text.strip()
    if match := _NAMED_IMDB_ID.fullmatch(text) or _IMDB_URL.search(text):
        imdb_id = normalise_imdb_id(match[1])
        return None if imdb_id is None else ("imdb_id", imdb_id)
    if match := _NAMED_TMDB_ID.fullmatch(text) or _TMDB_URL.search(text):
        tmdb_id = match[1].lstrip("0")
        return ("tmdb_id", tmdb_id) if tmdb_id else None
    return None


def split_years(text: str) -> list[tuple[str, int]]:
    """The text without a year that may be meant as the release year, and that year, for each year in the text: the last
    word first, then the first word, then others. Empty for a year alone.

    >>> split_years("Matrix, The (1999)"), split_years("1942 bogart"), split_years("1917")
    ([('Matrix, The', 1999)], [('bogart', 1942)], [])
    """
    text = text.translate(_FULL_WIDTH)
    splits = [
        (text[: match.start()].rstrip(_YEAR_SEPARATORS), text[match.end() :].lstrip(_YEAR_SEPARATORS), int(match[0]))
        for match in _YEAR.finditer(text)
    ]
    splits.sort(key=lambda split: (bool(split[1]), bool(split[0])))
    return [(f"{before} {after}".strip(), year) for before, after, year in splits if before or after]
