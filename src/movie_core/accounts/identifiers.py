"""Parsing of email addresses and usernames, with the keys that make them unique."""

import re
import unicodedata

from movie_core.accounts.users import MAX_ADDRESS, MAX_USERNAME, Address, Username, address_key
from movie_core.errors import InvalidEmail, InvalidUsername
from movie_core.ports import AddressSyntax, UsernameSyntax
from movie_core.text import NFC_MAX_RATIO

_INVISIBLE = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]")
"""Invisible letters and marks (Unicode's `Default_Ignorable_Code_Point`)."""
_USERNAME = re.compile(r"[^ ]+(?: [^ ]+)*")
_TOP_LEVEL_DOMAINS = frozenset(
    re.findall(
        r"\S+",
        """academy adult aero africa agency amazon amsterdam android app apple arpa art asia attorney auto azure baby
        bank bar bargains bayern beauty beer berlin bet bid bing biz black blog blue boats bond boston builders
        business cafe camera capital car care careers cars cash casino cat center centre cfd charity chat chrome
        city click clinic clothing cloud club codes coffee college com community company computer construction
        consulting coop coupons credit creditcard cruises crypto cyou date dating deals democrat dental design dev
        diamonds digital discount doctor dog download earth eco edu education email energy engineering estate
        events example exchange expert fan farm fashion film finance fit fitness flights food football foundation
        fun fund funds gallery games garden gift gifts gle global gmbh goog google gov green group guru hair
        hamburg health healthcare help holdings holiday homes horse hospital host hosting hotel hotels house icu
        inc industries info institute insurance insure int internal international invalid invest investments
        jewelry jobs kids kitchen koeln land lawyer legal life limited link live llc loan loans local localhost
        lol london lotto love ltd makeup market marketing markets media miami microsoft mil mobi money monster
        mortgage moscow motorcycles mov movie museum music name net network networks new news ngo ninja now nyc
        observer one ong onion online org page paris partners parts party pet pets pharmacy photo photos pics
        pictures pink pizza plus poker porn post press pro promo properties property pub quebec quest recipes red
        rent rentals repair republican rest restaurant review reviews run sale sbs school security service
        services sex shoes shop show singles site skin social software solar solutions space srl store stream
        studio studios supplies supply support systems tax taxi team tech technology tel test theater tickets
        today tokyo tools top tours toys trade trading training travel university vacations vegas ventures video
        vip vote web website wien wiki win wine work works world wtf xxx xyz yachts youtube zip zone
        рф рус москва онлайн сайт дети орг ком укр срб мкд бел бг ею ελ ευ
        中国 中國 公司 网络 网址 在线 中文网 香港 台湾 台灣 みんな コム 한국 닷컴 닷넷 भारत ไทย ישראל مصر موقع""",  # noqa: RUF001
    )
)
"""Common top-level domains; any two letters count as a country code."""


def parse_address(text: str, syntax: AddressSyntax, *, field: str = "email") -> Address:
    """Parses one plain mailbox, ignoring leading and trailing spaces. Raises `InvalidEmail` for `field`."""
    text = compose(text.strip(" "), MAX_ADDRESS)
    if utf8_size(text) > MAX_ADDRESS:
        raise InvalidEmail(f"an address must have at most {MAX_ADDRESS} bytes", field=field)
    if any(c in '"(),:;<>[]\\' or c.isspace() or unicodedata.category(c)[0] == "C" for c in text):
        raise InvalidEmail("the address must be one plain mailbox, such as name@example.com", field=field)
    try:
        local, domain = syntax.split(text)
    except InvalidEmail as error:
        raise InvalidEmail(error.detail, field=field) from None
    return Address(text, address_key(local, domain))


def parse_username(text: str, syntax: UsernameSyntax) -> Username:
    """Parses a username: letters and digits of one script, `. _ -`, and single inner spaces. No part may look like a
    URL that email clients turn into a link. Raises `InvalidUsername`."""
    shown = compose(text, 4 * MAX_USERNAME)
    if not 1 <= len(shown) <= MAX_USERNAME:
        raise InvalidUsername(f"a username must have 1 to {MAX_USERNAME} characters", field="username")
    # Combining marks belong to the letter before them; many scripts need them.
    legal = all(
        c in "._- " or unicodedata.category(c)[0] == "L" or unicodedata.category(c) == "Nd"
        for c in _without_marks(shown)
    )
    if (
        not legal
        or _INVISIBLE.search(shown)
        or not _USERNAME.fullmatch(shown)
        or unicodedata.category(shown[0])[0] == "M"
    ):
        raise InvalidUsername(
            "a username must consist of letters, digits, dots, underscores, hyphens and single inner spaces",
            field="username",
        )
    if any(map(_looks_like_link, shown.split(" "))):
        raise InvalidUsername("a username must not look like a web or email address", field="username")
    if not syntax.is_of_one_script(shown):
        raise InvalidUsername(
            "the letters of a username must be of one script, such as Latin or Cyrillic", field="username"
        )
    return Username(shown, unicodedata.normalize("NFC", shown.casefold()), syntax.skeleton(shown))


class IdentifierParser:
    """`parse_address` and `parse_username` with the syntax rules of a deployment."""

    def __init__(self, address_syntax: AddressSyntax, username_syntax: UsernameSyntax) -> None:
        self._address_syntax = address_syntax
        self._username_syntax = username_syntax

    def address(self, text: str) -> Address:
        """Raises `InvalidEmail`."""
        return parse_address(text, self._address_syntax)

    def username(self, text: str) -> Username:
        """Raises `InvalidUsername`."""
        return parse_username(text, self._username_syntax)


def _looks_like_link(word: str) -> bool:
    *labels, last = unicodedata.normalize("NFKC", word).casefold().strip("._-").split(".")
    is_country = len(last) == 2 and last.isascii() and last.isalpha()
    is_domain = is_country or last in _TOP_LEVEL_DOMAINS or last.startswith("xn--")
    return "www" in labels or (any(labels) and is_domain)


def _without_marks(text: str) -> str:
    return "".join(c for c in text if unicodedata.category(c) not in ("Mn", "Mc"))


def compose(text: str, max_bytes: int) -> str:
    """Normalises to NFC; returns texts that would exceed `max_bytes` even in NFC unchanged."""
    return unicodedata.normalize("NFC", text) if utf8_size(text) <= NFC_MAX_RATIO * max_bytes else text


def utf8_size(text: str) -> int:
    """Returns the bytes of a text in UTF-8, also with lone surrogates."""
    return len(text.encode("utf-8", "surrogatepass"))
