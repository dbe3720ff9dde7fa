"""Scripts and confusable characters of usernames, by the Unicode tables in the package confusable-homoglyphs."""

import functools
import json
import unicodedata
from collections.abc import Mapping
from importlib.resources import files

from confusable_homoglyphs.categories import alias

from movie_core.ports import UsernameSyntax

_SHARED_SCRIPTS = frozenset(("COMMON", "INHERITED"))
_SCRIPT_COMBINATIONS = (
    frozenset(("HAN", "HIRAGANA", "KATAKANA")),
    frozenset(("HAN", "HANGUL")),
    frozenset(("HAN", "BOPOMOFO")),
)
"""Combinations of scripts that one language uses together (UTS 39, section 5.1)."""


class UnicodeUsernameSyntax(UsernameSyntax):
    """`UsernameSyntax` by Unicode tables. The table of confusables, 6,000 characters, is loaded on first use."""

    def is_of_one_script(self, text: str) -> bool:
        scripts = frozenset(alias(character) for character in text) - _SHARED_SCRIPTS
        return len(scripts) <= 1 or any(scripts <= combination for combination in _SCRIPT_COMBINATIONS)

    def skeleton(self, text: str) -> str:
        # Capital I is confusable with l, and usernames are case-insensitive, so i and l have the same skeleton.
        return _replace_confusables(_replace_confusables(unicodedata.normalize("NFKC", text)).casefold()).replace(
            "i", "l"
        )


def _replace_confusables(text: str) -> str:
    """Replace each character by the prototype of its confusables (UTS 39, section 4)."""
    table = _prototypes()
    replaced = "".join(table.get(character, character) for character in unicodedata.normalize("NFD", text))
    return unicodedata.normalize("NFD", replaced)


@functools.cache
def _prototypes() -> Mapping[str, str]:
    """Load the mapping from each confusable character to its prototype, one or more characters.

    Reads the package's data file: its API only lists confusables, and holds 10 MB in memory for that. The file contains
    each pair in both directions.
    """
    text = files("confusable_homoglyphs").joinpath("confusables.json").read_text(encoding="utf-8")
    # Removes direction marks, and reduces each confusable, {"c": character, "n": name}, to the character.
    table = json.loads(text.replace(r"\u200e", ""), object_hook=lambda item: item["c"] if len(item) == 2 else item)
    prototypes = {}
    for character, others in table.items():
        if len(character) == 1 and len(others) == 1:
            [other] = others
            # In a pair that has no other confusables either could be the prototype: take the longer, else the first.
            is_prototype = len(other) == 1 and len(table[other]) == 1 and character < other
            if other and not is_prototype:
                prototypes[character] = other
    return prototypes
