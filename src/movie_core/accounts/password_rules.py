"""Password rules: length, similarity to address and username, and strength."""

import re
from difflib import SequenceMatcher

from movie_core.accounts.identifiers import compose, utf8_size
from movie_core.accounts.users import MAX_PASSWORD, MAX_SIMILARITY, MIN_STRENGTH, Address, Username
from movie_core.errors import WeakPassword
from movie_core.ports import PasswordStrength

_PRODUCT = ("movie", "movies", "search", "moviesearch", "film", "cinema")
"""Words about this service that an attacker would try first."""


def normalise_password(text: str) -> str:
    """Normalises to NFC, as keyboards compose letters differently. Changes and truncates nothing else."""
    return compose(text, MAX_PASSWORD)


def is_hashable(password: str) -> bool:
    """Returns whether the password has a permitted size, 1 to `MAX_PASSWORD` bytes."""
    return 0 < utf8_size(password) <= MAX_PASSWORD


def check_password(
    password: str,
    strength: PasswordStrength,
    *,
    min_length: int,
    address: Address | None,
    username: Username | None,
    field: str = "password",
) -> None:
    """Raises `WeakPassword` for the first violated rule. `password` is normalised; `min_length` is in characters. The
    password is compared with the user's address and username; None, for an invalid one, skips that comparison."""
    if utf8_size(password) > MAX_PASSWORD:
        raise WeakPassword(f"a password must have at most {MAX_PASSWORD} bytes", field=field)
    if len(password) < min_length:
        raise WeakPassword(f"a password must have at least {min_length} characters", field=field)
    if password.isdecimal():
        raise WeakPassword("a password must not consist of digits only", field=field)
    guesses = [*_PRODUCT]
    if address is not None:
        local, _, domain = address.spelling.rpartition("@")
        if any(_is_similar(password, part) for part in (address.spelling, local, domain)):
            raise WeakPassword("the password is too similar to your address", field=field)
        guesses += [address.spelling, local, *re.split(r"[^\w]+", domain)]
    if username is not None:
        if _is_similar(password, username.shown):
            raise WeakPassword("the password is too similar to your name", field=field)
        guesses.append(username.shown)
    if strength.score(password, guesses) < MIN_STRENGTH:
        raise WeakPassword("this password is common or easily guessed; add a few uncommon words", field=field)


def _is_similar(password: str, personal: str) -> bool:
    password, personal = password.casefold(), personal.casefold()
    # A long password may contain a short name: the share of common characters decides.
    if len(personal) < 3 or len(password) >= 10 * len(personal):
        return False
    return personal == password or SequenceMatcher(a=password, b=personal).quick_ratio() >= MAX_SIMILARITY
