"""How hard passwords are to guess, by zxcvbn."""

from collections.abc import Sequence

from zxcvbn_rs_py import zxcvbn

from movie_core.ports import PasswordStrength

MAX_LOOKED_AT = 128
"""Characters. The time grows faster than the length, and a long password with a guessable beginning
is scored too low at worst."""


class ZxcvbnStrength(PasswordStrength):
    """`PasswordStrength` with zxcvbn's scores and its lists of common passwords, names and words."""

    def score(self, password: str, known: Sequence[str]) -> int:
        return int(zxcvbn(_plain(password), [_plain(word) for word in known if word]).score)


def _plain(text: str) -> str:
    # Surrogates can't cross over into Rust.
    return text[:MAX_LOOKED_AT].encode("utf-8", "replace").decode()
