"""The ports `UsernameSyntax` and `AddressSyntax` with the standard library alone."""

import re
import unicodedata

from movie_core.errors import InvalidEmail


class PlainUsernameSyntax:
    """`UsernameSyntax` by the Unicode names of characters; it knows some confusable letters of Greek and Cyrillic."""

    _CONFUSABLES = str.maketrans(
        "\u0430\u0435\u043e\u0440\u0441\u0443\u0445\u0456\u03b1\u03bf\u03c101", "aeopcyxiaopol"
    )
    _COMPATIBLE_SCRIPTS = frozenset(("CJK", "HIRAGANA", "KATAKANA", "HANGUL"))

    def is_of_one_script(self, text: str) -> bool:
        scripts = {unicodedata.name(c, "?").partition(" ")[0] for c in text if unicodedata.category(c)[0] == "L"}
        return len(scripts) <= 1 or scripts <= self._COMPATIBLE_SCRIPTS

    def skeleton(self, text: str) -> str:
        folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
        return folded.translate(self._CONFUSABLES).replace("i", "l").replace("m", "rn")


_ATEXT = re.compile(r"[^\s\x00-\x1f\x7f\"(),:;<>@\[\]\\.]+(?:\.[^\s\x00-\x1f\x7f\"(),:;<>@\[\]\\.]+)*")
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")


class PlainAddressSyntax:
    """`AddressSyntax` by structure alone, without a list of reserved domains.

    Internationalised domains are converted by IDNA 2003, which maps ß to ss.
    """

    def split(self, text: str) -> tuple[str, str]:
        local, _, domain = text.rpartition("@")
        try:
            is_local = _ATEXT.fullmatch(local) is not None and len(local.encode()) <= 64
            ascii_domain = domain.encode("idna").decode().lower()
        except UnicodeError:
            raise InvalidEmail("the address contains characters that are not allowed") from None
        labels = ascii_domain.split(".")
        is_domain = len(labels) > 1 and len(ascii_domain) <= 253 and all(map(_LABEL.fullmatch, labels))
        if not is_local or not is_domain or labels[-1].isdigit():
            raise InvalidEmail("the address must be one plain mailbox, such as name@example.com")
        return local, ascii_domain
