"""Generated ids of movies without one. Ratings refer to them, so their form must not change."""

import hashlib
import re
import unicodedata
from functools import lru_cache

_NO_WORD = re.compile(r"[^a-z0-9]+")


def generate_id(title: str, year: int | None, person: str | None, uri: str = "") -> str:
    """Generate an id from title, year and first director or cast member: deterministic, readable, ASCII only.

    `uri` distinguishes movies of one title and year in a list that names no people.

    >>> generate_id("Amélie", 2001, "Audrey Tautou")
    'amelie-2001-audrey-tautou'
    """
    slug = _slug(title, 60)
    if year is not None:
        slug = f"{slug}-{year}"
    if person:
        return f"{slug}-{_person_slug(person)}"
    return f"{slug}-{_checksum(uri.strip())}" if uri.strip() else slug


def _slug(text: str, limit: int) -> str:
    """Words of ASCII letters and digits, with a checksum of the whole text if letters were lost."""
    folded = text.casefold().replace("'", "")
    suffix = ""
    if not folded.isascii():
        folded = folded.replace("\u2019", "")
        bare = "".join(c for c in unicodedata.normalize("NFKD", folded) if not unicodedata.combining(c))
        if any(not c.isascii() and c.isalnum() for c in bare):
            suffix = _checksum(folded)
        folded = bare
    words = _NO_WORD.sub("-", folded).strip("-")[:limit].rstrip("-") or _checksum(folded)
    return f"{words}-{suffix}" if suffix else words


@lru_cache(maxsize=10_000)
def _person_slug(name: str) -> str:
    return _slug(name, 30)


def _checksum(text: str) -> str:
    return hashlib.blake2b(unicodedata.normalize("NFC", text).encode(), digest_size=4).hexdigest()
