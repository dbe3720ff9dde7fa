"""Parsers of setting values.

Each takes the text of a setting and returns its value, or raises `ValueError` with the expected form. The message never
contains the text, which may be a secret.
"""

import ipaddress
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from movie_adapters.smtp_url import parse_smtp_url
from movie_core.accounts.keyring import MIN_SECRET
from movie_core.search.retry_policy import StatusSet

_BYTES = re.compile(r"([1-9][0-9]{0,12})(KiB|MiB|GiB|TiB)", re.ASCII)
_UNITS = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
_MILLISECONDS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)", re.ASCII)
_HOST = re.compile(r"\*|\[[0-9a-f:]+\]|[a-z0-9]([a-z0-9.-]*[a-z0-9])?", re.ASCII)
_URL_CHARACTERS = re.compile(r"[!#-;=?-\[\]_a-z~]+", re.ASCII)
_DATABASE_OPTIONS = (
    "host", "port", "user", "password", "passfile", "ssl", "sslmode", "target_session_attrs",
    "prepared_statement_cache_size",
)  # fmt: skip
_SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_REDIS_TLS_OPTIONS = ("ssl_ca_certs", "ssl_cert_reqs", "ssl_certfile", "ssl_keyfile", "ssl_check_hostname")
_REDIS_OPTIONS = ("db", "username", "password", *_REDIS_TLS_OPTIONS)
_CERTIFICATE_CHECKS = ("none", "optional", "required")
# A password may contain any character, also without percent-encoding: before the host it ends at the last @.
_PASSWORD_OPTION = re.compile(r"(?<=[?&]password=).*?(?=&\w+=|$)", re.DOTALL)
_PASSWORD_BEFORE_HOST = re.compile(r"(?<=://)([^:]*):.*(?=@)", re.DOTALL)
_REDIS_PREFIX = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)


def redact_url(url: str) -> str:
    """Replace the passwords in a URL by `***`."""
    # One password may contain text that looks like the other, so nothing of the URL can be shown.
    if _PASSWORD_OPTION.search(url) and _PASSWORD_BEFORE_HOST.search(url):
        return f"{url.partition('://')[0]}://***"
    return _PASSWORD_BEFORE_HOST.sub(r"\1:***", _PASSWORD_OPTION.sub("***", url))


def choice(*values: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in values:
            raise ValueError(f"must be one of {', '.join(values)}")
        return text

    return parse


def boolean(text: str) -> bool:
    values = {"true": True, "on": True, "yes": True, "1": True, "false": False, "off": False, "no": False, "0": False}
    try:
        return values[text.lower()]
    except KeyError:
        raise ValueError("must be on or off, or true or false") from None


def duration(text: str) -> float:
    match = _DURATION.fullmatch(text)
    seconds = float(match[1]) * _MILLISECONDS[match[2]] / 1000 if match else 0.0
    if not 0.001 <= seconds <= 366 * 86400:
        raise ValueError("must be a duration such as 700ms, 3s, 10m, 24h or 5d, from 1ms to 366d")
    return seconds


def format_duration(seconds: float) -> str:
    """The inverse of `duration`, in the largest unit that gives a whole number."""
    milliseconds = round(seconds * 1000, 3)
    for unit, factor in reversed(_MILLISECONDS.items()):
        if milliseconds % factor == 0:
            return f"{milliseconds // factor:.0f}{unit}"
    return f"{milliseconds:g}ms"


class Size(int):
    """A number of bytes, shown with its unit."""

    def __str__(self) -> str:
        unit, factor = next(pair for pair in reversed(_UNITS.items()) if self % pair[1] == 0)
        return f"{self // factor}{unit}"


def size(text: str) -> Size:
    match = _BYTES.fullmatch(text)
    value = Size(int(match[1]) * _UNITS[match[2]] if match else 0)
    if not 1 << 20 <= value <= 1 << 40:
        raise ValueError("must be a size such as 64MiB, from 1MiB to 1TiB")
    return value


def statuses(text: str) -> StatusSet:
    try:
        return StatusSet.parse(text)
    except ValueError:
        raise ValueError("must be a list of HTTP statuses such as 400-409,425,429,5xx") from None


def web_url(text: str) -> str:
    try:
        parts = urlsplit(text)
        parts.port  # noqa: B018  (reading it checks it)
    except ValueError:
        parts = urlsplit("")
    is_absolute = parts.scheme in ("http", "https") and parts.hostname and _URL_CHARACTERS.fullmatch(text)
    if not is_absolute or parts.query or parts.fragment or parts.username:
        raise ValueError("must be an absolute http or https URL without user, query and fragment")
    return text.rstrip("/")


def app_url(text: str) -> str:
    """A path of this service, or an absolute URL with any path, query and fragment."""
    address = text.partition("#")[0].partition("?")[0]
    is_path = re.fullmatch(r"/(?!/)[!#-;=?-\[\]_a-z~]*", text) is not None
    try:
        is_url = bool(_URL_CHARACTERS.fullmatch(text) and web_url(address))
    except ValueError:
        is_url = False
    if not is_path and not is_url:
        raise ValueError("must be an absolute http or https URL without user, or a path that begins with one slash")
    return text


def database_url(text: str) -> str:
    """A URL for SQLAlchemy. PostgreSQL's own form is accepted too: its schemes, `sslmode`, and `@` in the password."""
    if re.match(r"sqlite\+aiosqlite:///[^?]+$", text):
        return text
    match = re.match(r"postgres(?:ql)?(?:\+asyncpg)?://(.+)", text, re.DOTALL)
    if match is None:
        raise ValueError("must begin with sqlite+aiosqlite:/// and a file, or with postgresql+asyncpg://")
    user, at, server = _split_user(match[1])
    options = _check_server(f"//{server}", _DATABASE_OPTIONS)
    for name in ("port", "prepared_statement_cache_size"):
        if not re.fullmatch(r"[0-9]{1,9}", options.get(name, "0")):
            raise ValueError(f"must have a number as its option {name}")
    if {"ssl", "sslmode"} <= set(options):
        raise ValueError("may have the option ssl or sslmode, not both")
    mode = options.get("ssl", options.get("sslmode", "prefer"))
    if mode not in _SSL_MODES:
        raise ValueError(f"must have one of these as its option sslmode: {', '.join(_SSL_MODES)}")
    server = re.sub(r"(?<=[?&])sslmode=", "ssl=", server)
    return f"postgresql+asyncpg://{user.replace('@', '%40')}{at}{server}"


def _split_user(rest: str) -> tuple[str, str, str]:
    """User and password, `@`, and the rest of a URL; a password ends at the last `@` before the path."""
    for at in re.finditer("@", rest):
        if "@" not in re.split("[/?]", rest[at.end() :], maxsplit=1)[0]:
            return rest[: at.start()], "@", rest[at.end() :]
    return "", "", rest


def redis_url(text: str) -> str:
    if not re.match(r"(rediss?|unix)://.", text):
        raise ValueError("must begin with redis://, rediss:// or unix://")
    options = _check_server(text, _REDIS_OPTIONS)
    number = options.get("db", "")
    path = "" if text.startswith("unix") else urlsplit(text).path
    if not re.fullmatch(r"[0-9]*/?[0-9]*", number + path):
        raise ValueError("must have the number of a database, as redis://127.0.0.1:6379/0 or unix:///socket?db=0")
    given = [name for name in _REDIS_TLS_OPTIONS if name in options]
    if given and not text.startswith("rediss"):
        raise ValueError(f"must begin with rediss:// to have the option {given[0]}")
    return _checked_tls(text, options)


def _checked_tls(url: str, options: Mapping[str, str]) -> str:
    """The URL with its TLS options as redis-py reads them. It ignores some values that it does not know, and raises
    errors for others only when it connects."""
    for name in ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile"):
        if name in options and not Path(options[name]).is_file():
            raise ValueError(f"must have an existing file as its option {name}")
    if ("ssl_keyfile" in options) > ("ssl_certfile" in options):
        raise ValueError("must have the option ssl_certfile with ssl_keyfile")
    checks = options.get("ssl_cert_reqs", "required").lower().removeprefix("cert_")
    if checks not in _CERTIFICATE_CHECKS:
        raise ValueError(f"must have one of these as its option ssl_cert_reqs: {', '.join(_CERTIFICATE_CHECKS)}")
    checks_name = options.get("ssl_check_hostname", "true").lower()
    if checks_name not in ("true", "false"):
        raise ValueError("must have true or false as its option ssl_check_hostname")
    if checks == "none" and checks_name == "true" and "ssl_check_hostname" in options:
        raise ValueError("cannot check the host name (ssl_check_hostname) of a certificate that is not checked")
    url = re.sub(r"(?<=[?&]ssl_cert_reqs=)[^&]*", checks, url)
    url = re.sub(r"(?<=[?&]ssl_check_hostname=)[^&]*", checks_name, url)
    # Python rejects the combination of no certificate check and the host name check, which is redis-py's default.
    return f"{url}&ssl_check_hostname=false" if checks == "none" and "ssl_check_hostname" not in options else url


def _check_server(url: str, options: Sequence[str]) -> dict[str, str]:
    """Return the options in a URL; raises `ValueError` for options that are not in `options`."""
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018  (reading it checks it)
    except ValueError:
        raise ValueError(
            "must have a port from 0 to 65535, and special characters in a password percent-encoded, such as %2F"
        ) from None
    present = dict(parse_qsl(parts.query, keep_blank_values=True))
    if not set(present) <= set(options):
        raise ValueError(f"may only have these options: {', '.join(options)}")
    return present


def redis_prefix(text: str) -> str:
    if not _REDIS_PREFIX.fullmatch(text):
        raise ValueError("must be 1 to 64 letters, digits, dots, underscores or hyphens")
    return text


def contact_url(text: str) -> str:
    if not re.fullmatch(r"(?:mailto:[^\s@]+@[^\s@]+|https://[!-~]+)", text):
        raise ValueError("must be a URL that begins with https:// or mailto:")
    return text


def list_of(item: Callable[[str], str]) -> Callable[[str], tuple[str, ...]]:
    def parse(text: str) -> tuple[str, ...]:
        return tuple(item(value.strip()) for value in text.split(",") if value.strip())

    return parse


def host(text: str) -> str:
    if not _HOST.fullmatch(text.lower()):
        raise ValueError("must be host names without scheme and port, separated by commas")
    return text.lower()


def origin(text: str) -> str:
    """An origin as browsers send it: scheme and host in lower case, without the default port of the scheme."""
    if text == "*":
        return text
    try:
        parts = urlsplit(web_url(text).lower())
        is_origin = text.count("/") == 2
    except ValueError:
        parts, is_origin = urlsplit(""), False
    if not is_origin:
        reason = "; an origin has no path, not even a slash at its end" if text.count("/") > 2 else ""
        raise ValueError(f"must be origins such as https://app.example.com, separated by commas{reason}")
    default_port = {"http": ":80", "https": ":443"}[parts.scheme]
    return f"{parts.scheme}://{parts.netloc.removesuffix(default_port)}"


def network(text: str) -> str:
    try:
        return str(ipaddress.ip_network(text))
    except ValueError:
        raise ValueError("must be addresses or networks such as 10.0.0.0/8, separated by commas") from None


def secrets(text: str) -> tuple[str, ...]:
    values = tuple(value.strip() for value in text.split(","))
    if min(len(value.encode()) for value in values) < MIN_SECRET:
        raise ValueError(f"must have at least {MIN_SECRET} bytes; with several values, each of them")
    return values


def smtp_url(text: str) -> str:
    parse_smtp_url(text)
    return text


def bind_address(text: str) -> str:
    match = re.fullmatch(r"(\[[0-9a-f:]+\]|[a-z0-9.-]+):([0-9]{1,5})", text, re.ASCII)
    if match is None or not 1 <= int(match[2]) <= 65_535:
        raise ValueError("must be an address and a port such as 127.0.0.1:9101 or 0.0.0.0:9101")
    return text


def token(text: str) -> str:
    if not re.fullmatch(r"[!-~]{16,256}", text):
        raise ValueError("must be 16 to 256 printable ASCII characters without spaces")
    return text


def email_address(text: str) -> str:
    if not re.fullmatch(r"[^@\s<>\"(),:;]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*", text):
        raise ValueError("must be a plain address such as noreply@example.com")
    return text


def password_length(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,3}", text) or not 8 <= int(text) <= 128:
        raise ValueError("must be a number of characters from 8 to 128")
    return int(text)


def pooler(text: str) -> str:
    if text != "transaction":
        raise ValueError("must be transaction, or unset for direct connections and session pooling")
    return text


def positive_number(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= len(text) <= 6 or int(text) < 1:
        raise ValueError("must be a whole number from 1 to 999999")
    return int(text)
