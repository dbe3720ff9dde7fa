"""Scripts and look-alike characters of usernames, by the Unicode tables in the package confusable-homoglyphs."""

import functools
import json
import unicodedata
from collections.abc import Mapping
from importlib.resources import files

from confusable_homoglyphs.categories import alias

from movie_core.ports import UsernameSyntax

_EVERY_SCRIPT = frozenset(("COMMON", "INHERITED"))
_MIXED = (
    frozenset(("HAN", "HIRAGANA", "KATAKANA")),
    frozenset(("HAN", "HANGUL")),
    frozenset(("HAN", "BOPOMOFO")),
)
"""Scripts that one language writes together (UTS 39, section 5.1)."""


class UnicodeUsernameSyntax(UsernameSyntax):
    """`UsernameSyntax` by Unicode's tables. That of look-alikes, 6,000 characters, is read when it is first needed."""

    def is_of_one_script(self, text: str) -> bool:
        scripts = frozenset(alias(character) for character in text) - _EVERY_SCRIPT
        return len(scripts) <= 1 or any(scripts <= mixed for mixed in _MIXED)

    def skeleton(self, text: str) -> str:
        # A capital I looks like l, so that names which differ in case only are one with those that have an l for an i.
        return _replaced(_replaced(unicodedata.normalize("NFKC", text)).casefold()).replace("i", "l")


def _replaced(text: str) -> str:
    """Each character replaced by the one that stands for all that look like it (UTS 39, section 4)."""
    table = _prototypes()
    replaced = "".join(table.get(character, character) for character in unicodedata.normalize("NFD", text))
    return unicodedata.normalize("NFD", replaced)


@functools.cache
def _prototypes() -> Mapping[str, str]:
    """By each character that looks like another: which one or ones it looks like.

    The package's API only lists look-alikes, and keeps 10 MB for that; its table has each pair in both directions.
    """
    text = files("confusable_homoglyphs").joinpath("confusables.json").read_text(encoding="utf-8")
    # Without direction marks, and of each look-alike, {"c": character, "n": name}, the character alone.
    table = json.loads(text.replace(r"\u200e", ""), object_hook=lambda one: one["c"] if len(one) == 2 else one)
    found = {}
    for character, others in table.items():
        if len(character) == 1 and len(others) == 1:
            [other] = others
            # Of a pair without others either could stand for both: several characters, else the first.
            is_prototype = len(other) == 1 and len(table[other]) == 1 and character < other
            if other and not is_prototype:
                found[character] = other
    return found
