"""How hard passwords are to guess, by zxcvbn.

zxcvbn tries every way to read signs as letters: `4` or `@` as `a`, `1`, `!` or `|` as `i`. The number of combinations
is the product over all letters, and zxcvbn holds the GIL meanwhile: 128 characters cost 0.7 s of CPU, 24 still 53 ms.
So only the first `MAX_EXAMINED` characters are examined, and signs that would exceed `MAX_READINGS` combinations are
masked.
"""

import math
from collections.abc import Iterator, Sequence

from zxcvbn_rs_py import zxcvbn

from movie_core.ports import PasswordStrength

MAX_EXAMINED = 32
"""Characters of a password. A longer one whose beginning is easily guessed is scored too low at worst."""
MAX_READINGS = 16
"""Ways to read the signs of a password as letters. At 16 the worst of 30,000 searched passwords cost 9 ms of CPU."""
MAX_KNOWN = 40
"""Known words that are looked for, of at most `MAX_EXAMINED` characters each."""

_SIGNS = {
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
"""Which signs zxcvbn reads as which letter."""
_LETTERS = {
    sign: [letter for letter, signs in _SIGNS.items() if sign in signs] for sign in set("".join(_SIGNS.values()))
}
_NEUTRAL = "_"
"""Stands in for a sign that is hidden; zxcvbn knows nothing about it."""


class ZxcvbnPasswordStrength(PasswordStrength):
    """`PasswordStrength` with zxcvbn's scores and its lists of common passwords, names and words."""

    def score(self, password: str, known: Sequence[str]) -> int:
        words = [_plain(word) for word in known if word][:MAX_KNOWN]
        return int(zxcvbn("".join(_with_few_readings(_plain(password))), words).score)


def _plain(text: str) -> str:
    # Surrogates can't cross over into Rust.
    return text[:MAX_EXAMINED].encode("utf-8", "replace").decode()


def _with_few_readings(password: str) -> Iterator[str]:
    """The characters, those signs replaced that would lead to more than `MAX_READINGS` combinations."""
    used = dict.fromkeys(_SIGNS, 0)
    known: set[str] = set()
    for character in password:
        if character in _LETTERS and character not in known:
            more = used | {letter: used[letter] + 1 for letter in _LETTERS[character]}
            if math.prod(max(count, 1) for count in more.values()) > MAX_READINGS:
                yield _NEUTRAL
                continue
            used = more
            known.add(character)
        yield character
