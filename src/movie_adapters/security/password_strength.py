"""Password strength estimation with zxcvbn, with bounded CPU time.

zxcvbn tries every combination of "l33t" substitutions: `4` or `@` for `a`, `1`, `!` or `|` for `i`. The number of
combinations is the product over all letters, and zxcvbn holds the GIL meanwhile: 128 characters cost 0.7 s of CPU, 24
still 53 ms. So only the first `MAX_EXAMINED` characters are examined, and substitutions that would exceed
`MAX_READINGS` combinations are masked.
"""

import math
from collections.abc import Iterator, Sequence

from zxcvbn_rs_py import zxcvbn

from movie_core.ports import PasswordStrength

MAX_EXAMINED = 32
"""Characters of a password that are examined. At worst, a longer one with a weak beginning is scored too low."""
MAX_READINGS = 16
"""Combinations of substitutions that are tried. At 16 the worst of 30,000 searched passwords cost 9 ms of CPU."""
MAX_KNOWN = 40
"""User-specific words (such as email and username) that are searched for; `MAX_EXAMINED` characters of each."""

_SUBSTITUTIONS = {
    "a": "4@",
    "b": "8",
    "c": "({[<",
    "e": "3",
    "g": "69",
    "i": "1!|",
    "l": "1|7",
    "o": "0",
    "s": "$5",
    "t": "+7",
    "x": "%",
    "z": "2",
}
"""The substitutions that zxcvbn knows, by letter."""
_LETTERS = {
    character: [letter for letter, characters in _SUBSTITUTIONS.items() if character in characters]
    for character in set("".join(_SUBSTITUTIONS.values()))
}
_NEUTRAL = "_"
"""Replaces a masked character; not part of any zxcvbn substitution."""


class ZxcvbnPasswordStrength(PasswordStrength):
    """`PasswordStrength` by zxcvbn, with its lists of common passwords, names and words."""

    def score(self, password: str, known: Sequence[str]) -> int:
        user_inputs = [_truncate(word) for word in known if word][:MAX_KNOWN]
        return int(zxcvbn("".join(_mask_substitutions(_truncate(password))), user_inputs).score)


def _truncate(text: str) -> str:
    # Rust strings cannot contain surrogates.
    return text[:MAX_EXAMINED].encode("utf-8", "replace").decode()


def _mask_substitutions(password: str) -> Iterator[str]:
    """Yield the characters, masking those that would lead to more than `MAX_READINGS` combinations."""
    used = dict.fromkeys(_SUBSTITUTIONS, 0)
    counted: set[str] = set()
    for character in password:
        if character in _LETTERS and character not in counted:
            more = used | {letter: used[letter] + 1 for letter in _LETTERS[character]}
            if math.prod(max(count, 1) for count in more.values()) > MAX_READINGS:
                yield _NEUTRAL
                continue
            used = more
            counted.add(character)
        yield character
