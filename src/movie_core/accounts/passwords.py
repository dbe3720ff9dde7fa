"""Which passwords are accepted."""

import re
from difflib import SequenceMatcher

from movie_core.accounts.identifiers import _composed, _size
from movie_core.accounts.users import MAX_PASSWORD, MIN_STRENGTH, TOO_SIMILAR, Address, Username
from movie_core.errors import WeakPassword
from movie_core.ports import PasswordStrength

_PRODUCT = ("movie", "movies", "search", "moviesearch", "film", "cinema")
"""What somebody tries first here."""


def normalise_password(text: str) -> str:
    """NFC, as keyboards differ in how they compose letters; nothing else is changed or cut."""
    return _composed(text, MAX_PASSWORD)


def is_hashable(password: str) -> bool:
    """Whether a password is of a size that any account can have."""
    return 0 < _size(password) <= MAX_PASSWORD


def check_password(
    password: str,
    strength: "PasswordStrength",
    *,
    min_length: int,
    address: Address,
    username: Username,
    field: str = "password",
) -> None:
    """Raises `WeakPassword` naming the first rule that is broken; `password` is normalised, `min_length` characters."""
    if _size(password) > MAX_PASSWORD:
        raise WeakPassword(f"a password has at most {MAX_PASSWORD} bytes", field=field)
    if len(password) < min_length:
        raise WeakPassword(f"a password has at least {min_length} characters", field=field)
    if password.isdecimal():
        raise WeakPassword("a password must not be digits alone", field=field)
    local, _, domain = address.spelling.rpartition("@")
    for own, name in ((address.spelling, "address"), (local, "address"), (domain, "address"), (username.shown, "name")):
        if _is_similar(password.casefold(), own.casefold()):
            raise WeakPassword(f"the password is too similar to your {name}", field=field)
    known = [*_PRODUCT, address.spelling, local, *re.split(r"[^\w]+", domain), username.shown]
    if strength.score(password, known) < MIN_STRENGTH:
        raise WeakPassword("this password is common or easily guessed; add a few uncommon words", field=field)


def _is_similar(password: str, own: str) -> bool:
    # A long password may well contain a short name: what counts is how much of it that is.
    if len(own) < 3 or len(password) >= 10 * len(own):
        return False
    return own == password or SequenceMatcher(a=password, b=own).quick_ratio() >= TOO_SIMILAR
