"""Settings: read from the environment and `.env`, checked once at start, told by `movie-search config`.

The fields of `Settings` are the one list of settings; the tables in the documentation are tested against it.
"""

import ipaddress
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qsl, urlsplit

from dotenv.parser import parse_stream

from movie_core.accounts.keyring import MIN_SECRET
from movie_core.quotas import Rate
from movie_core.search.retry_policy import StatusSet

PREFIX = "MOVIE_"
EMBEDDED_SOURCE = "catalogue"
"""The source whose movies are in the database of this service."""
SOURCES = (EMBEDDED_SOURCE, "third_party", "tmdb")
LOOPBACK_HOSTS = ("localhost", "127.0.0.1", "[::1]")

_BYTES = re.compile(r"([1-9][0-9]{0,12})(KiB|MiB|GiB|TiB)", re.ASCII)
_UNITS = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
_MILLISECONDS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)", re.ASCII)
_HOST = re.compile(r"\*|\[[0-9a-f:]+\]|[a-z0-9]([a-z0-9.-]*[a-z0-9])?", re.ASCII)
_URL_CHARACTERS = re.compile(r"[!#-;=?-\[\]_a-z~]+", re.ASCII)
_DATABASE_OPTIONS = (
    "host", "port", "user", "password", "passfile", "ssl", "target_session_attrs", "prepared_statement_cache_size"
)  # fmt: skip
_REDIS_OPTIONS = (
    "db", "username", "password", "ssl_ca_certs", "ssl_cert_reqs", "ssl_certfile", "ssl_keyfile", "ssl_check_hostname"
)  # fmt: skip
# A password may hold any character, also unescaped ones: before the host it ends at the last @.
_PASSWORD_OPTION = re.compile(r"(?<=[?&]password=).*?(?=&\w+=|$)", re.DOTALL)
_PASSWORD_BEFORE_HOST = re.compile(r"(?<=://)([^:]*):.*(?=@)", re.DOTALL)
_REDIS_PREFIX = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)


class SettingError(Exception):
    """A setting can't be used; the message names it and says what it should be, never its value."""

    def __init__(self, name: str, expected: str) -> None:
        super().__init__(f"{name}: {expected}")
        self.name = name


def redact_url(url: str) -> str:
    """The URL without the passwords in it."""
    if _PASSWORD_OPTION.search(url) and _PASSWORD_BEFORE_HOST.search(url):  # either may be a part of the other
        return f"{url.partition('://')[0]}://***"
    return _PASSWORD_BEFORE_HOST.sub(r"\1:***", _PASSWORD_OPTION.sub("***", url))


def _choice(*values: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in values:
            raise ValueError(f"must be one of {', '.join(values)}")
        return text

    return parse


def _flag(text: str) -> bool:
    known = {"true": True, "on": True, "yes": True, "1": True, "false": False, "off": False, "no": False, "0": False}
    try:
        return known[text.lower()]
    except KeyError:
        raise ValueError("must be on or off, or true or false") from None


def _duration(text: str) -> float:
    match = _DURATION.fullmatch(text)
    seconds = float(match[1]) * _MILLISECONDS[match[2]] / 1000 if match else 0.0
    if not 0.001 <= seconds <= 366 * 86400:
        raise ValueError("must be a duration such as 700ms, 3s, 10m, 24h or 5d, from 1ms to 366d")
    return seconds


def _told_duration(seconds: float) -> str:
    """As `_duration` takes it, in the largest unit that leaves a whole number."""
    milliseconds = round(seconds * 1000, 3)
    for unit, factor in reversed(_MILLISECONDS.items()):
        if milliseconds % factor == 0:
            return f"{milliseconds // factor:.0f}{unit}"
    return f"{milliseconds:g}ms"


class Size(int):
    """Bytes."""

    def __str__(self) -> str:
        unit, factor = next(pair for pair in reversed(_UNITS.items()) if self % pair[1] == 0)
        return f"{self // factor}{unit}"


def _bytes(text: str) -> Size:
    match = _BYTES.fullmatch(text)
    size = Size(int(match[1]) * _UNITS[match[2]] if match else 0)
    if not 1 << 20 <= size <= 1 << 40:
        raise ValueError("must be a size such as 64MiB, from 1MiB to 1TiB")
    return size


def _statuses(text: str) -> StatusSet:
    try:
        return StatusSet.parse(text)
    except ValueError:
        raise ValueError("must be a list of HTTP statuses such as 400-409,425,429,5xx") from None


def _web_url(text: str) -> str:
    try:
        parts = urlsplit(text)
        parts.port  # noqa: B018  (reading it checks it)
    except ValueError:
        parts = urlsplit("")
    is_absolute = parts.scheme in ("http", "https") and parts.hostname and _URL_CHARACTERS.fullmatch(text)
    if not is_absolute or parts.query or parts.fragment or parts.username:
        raise ValueError("must be an absolute http or https URL without user, query and fragment")
    return text.rstrip("/")


def _database_url(text: str) -> str:
    if not re.match(r"(sqlite\+aiosqlite:///[^?]+$|postgresql\+asyncpg://.)", text):
        raise ValueError("must begin with sqlite+aiosqlite:/// and a file, or with postgresql+asyncpg://")
    if text.startswith("postgresql"):
        before, at, server = text.partition("@")
        options = _check_server(f"//{server if at else before.partition('//')[2]}", _DATABASE_OPTIONS)
        for name in ("port", "prepared_statement_cache_size"):
            if not re.fullmatch(r"[0-9]{1,9}", options.get(name, "0")):
                raise ValueError(f"must have a number as its option {name}")
    return text


def _redis_url(text: str) -> str:
    if not re.match(r"(rediss?|unix)://.", text):
        raise ValueError("must begin with redis://, rediss:// or unix://")
    number = _check_server(text, _REDIS_OPTIONS).get("db", "")
    path = "" if text.startswith("unix") else urlsplit(text).path
    if not re.fullmatch(r"[0-9]*/?[0-9]*", number + path):
        raise ValueError("must have the number of a database, as redis://127.0.0.1:6379/0 or unix:///socket?db=0")
    return text


def _check_server(url: str, options: Sequence[str]) -> dict[str, str]:
    """The options in a URL; `ValueError` where others than these are."""
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018  (reading it checks it)
    except ValueError:
        raise ValueError(
            "must have a port from 0 to 65535, and what is odd in a password as %2F and the like"
        ) from None
    given = dict(parse_qsl(parts.query, keep_blank_values=True))
    if not set(given) <= set(options):
        raise ValueError(f"can have these options alone: {', '.join(options)}")
    return given


def _redis_prefix(text: str) -> str:
    if not _REDIS_PREFIX.fullmatch(text):
        raise ValueError("must be 1 to 64 letters, digits, dots, underscores or hyphens")
    return text


def _contact(text: str) -> str:
    if not re.fullmatch(r"(?:mailto:[^\s@]+@[^\s@]+|https://[!-~]+)", text):
        raise ValueError("must be a URL that begins with https:// or mailto:")
    return text


def _list(item: Callable[[str], str]) -> Callable[[str], tuple[str, ...]]:
    def parse(text: str) -> tuple[str, ...]:
        return tuple(item(part.strip()) for part in text.split(",") if part.strip())

    return parse


def _host(text: str) -> str:
    if not _HOST.fullmatch(text.lower()):
        raise ValueError("must be host names without scheme and port, separated by commas")
    return text.lower()


def _origin(text: str) -> str:
    try:
        is_origin = text == "*" or (_web_url(text) == text and not urlsplit(text).path)
    except ValueError:
        is_origin = False
    if not is_origin:
        raise ValueError("must be origins such as https://app.example.com, separated by commas")
    return text


def _network(text: str) -> str:
    try:
        return str(ipaddress.ip_network(text))
    except ValueError:
        raise ValueError("must be addresses or networks such as 10.0.0.0/8, separated by commas") from None


def _secrets(text: str) -> tuple[str, ...]:
    parsed = tuple(part.strip() for part in text.split(","))
    if min(len(part.encode()) for part in parsed) < MIN_SECRET:
        raise ValueError(f"must have at least {MIN_SECRET} bytes (each, where there are several between commas)")
    return parsed


def _smtp_url(text: str) -> str:
    from movie_adapters.email.smtp import parse_smtp_url  # brings the client along, which most processes do without

    parse_smtp_url(text)
    return text


def _listen(text: str) -> str:
    match = re.fullmatch(r"(\[[0-9a-f:]+\]|[a-z0-9.-]+):([0-9]{1,5})", text, re.ASCII)
    if match is None or not 1 <= int(match[2]) <= 65_535:
        raise ValueError("must be an address and a port such as 127.0.0.1:9101 or 0.0.0.0:9101")
    return text


def _token(text: str) -> str:
    if not re.fullmatch(r"[!-~]{16,256}", text):
        raise ValueError("must be 16 to 256 printable ASCII characters without blanks")
    return text


def _address(text: str) -> str:
    if not re.fullmatch(r"[^@\s<>\"(),:;]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*", text):
        raise ValueError("must be a plain address such as noreply@example.com")
    return text


def _password_min(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,3}", text) or not 8 <= int(text) <= 128:
        raise ValueError("must be a number of characters from 8 to 128")
    return int(text)


def _connections(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= len(text) <= 6 or int(text) < 1:
        raise ValueError("must be a whole number from 1 to 999999")
    return int(text)


def _default_database(known: Mapping[str, Any]) -> str:
    return f"sqlite+aiosqlite:///{(known['data_dir'] / 'movies.db').absolute()}"


def _default_source(known: Mapping[str, Any]) -> str:
    return "third_party" if known["source_url"] else EMBEDDED_SOURCE


def _default_retry_status(known: Mapping[str, Any]) -> StatusSet:
    return StatusSet.parse("408,425,429,5xx" if known["source"] == "tmdb" else "400-409,425,429,5xx")


def _default_hosts(known: Mapping[str, Any]) -> tuple[str, ...]:
    public = urlsplit(known["public_url"]).hostname or ""
    own = f"[{public}]" if ":" in public else public
    return tuple(dict.fromkeys((own, *(LOOPBACK_HOSTS if known["env"] == "local" else ()))))


def _default_writes(known: Mapping[str, Any]) -> Rate | None:
    return None if known["limit_events"] is None else Rate(300, 60)


def _default_imports(known: Mapping[str, Any]) -> Rate | None:
    return None if known["limit_events"] is None else Rate(30, 3600)


def _default_exports(known: Mapping[str, Any]) -> Rate | None:
    return None if known["limit_events"] is None else Rate(10, 3600)


def _default_log_format(known: Mapping[str, Any]) -> str:
    return "json" if known["env"] == "production" else "console"


def _setting(
    default: str | Callable[[Mapping[str, Any]], Any] | None,
    parse: Callable[[str], Any],
    meaning: str,
    *,
    shown: str = "",
    secret: Literal["whole", "password", ""] = "",
) -> Any:
    """A field of `Settings`: `default` is spelled as in the environment, or made from the settings above it."""
    shown = shown or (default if isinstance(default, str) else "unset")
    return field(
        metadata={"default": default, "parse": parse, "meaning": meaning, "shown": shown, "secret": secret},
        kw_only=True,
        repr=not secret,
    )


@dataclass(frozen=True)
class Settings:
    """What a process runs with. Durations are seconds."""

    env: str = _setting("local", _choice("local", "production"), "`production` refuses to start with unsafe settings")
    data_dir: Path = _setting("./var", Path, "SQLite file, generated secret, local mailbox")
    database_url: str = _setting(
        _default_database,
        _database_url,
        "`postgresql+asyncpg://…` in production",
        shown="SQLite in the data dir",
        secret="password",  # noqa: S106  (which part to redact)
    )
    redis_url: str | None = _setting(
        None,
        _redis_url,
        "cache, limits, broker of the worker; more than one API process needs it",
        secret="password",  # noqa: S106
    )
    cache_redis_url: str | None = _setting(
        lambda known: known["redis_url"],
        _redis_url,
        "a Redis that may forget: what the source answered goes there instead",
        shown="`MOVIE_REDIS_URL`",
        secret="password",  # noqa: S106
    )
    redis_prefix: str = _setting(
        "movie",
        _redis_prefix,
        "first part of every key in Redis; each deployment that shares a Redis needs its own",
    )
    source_url: str | None = _setting(None, _web_url, "base URL of the third party (of TMDB, where that is the source)")
    source: str = _setting(
        _default_source,
        _choice(*SOURCES),
        "`catalogue` embedded, `third_party` the original's endpoint, `tmdb`",
        shown="`catalogue` (`third_party` when a source URL is set)",
    )
    source_token: str | None = _setting(None, str, "TMDB token", secret="whole")  # noqa: S106
    source_deadline: float = _setting("3s", _duration, "whole time that a request may spend on the source")
    source_timeout: float = _setting("700ms", _duration, "one try")
    source_retry_status: StatusSet = _setting(
        _default_retry_status,
        _statuses,
        "worth another try",
        shown="`400-409,425,429,5xx` (tmdb: `408,425,429,5xx`)",
    )
    cache_fresh: float = _setting(
        "10m", _duration, "how long an answer of the source is fresh; jitter only shortens it"
    )
    cache_stale: float = _setting(
        "24h", _duration, "how much longer it may be served, while it is fetched anew or the source is away"
    )
    cache_bytes: Size = _setting("64MiB", _bytes, "memory of each process for answers")
    events: bool = _setting("on", _flag, "record what users search, click, view and rate")
    events_keep: float = _setting("90d", _duration, "how long events are kept one by one; daily figures stay longer")
    public_url: str = _setting(
        lambda known: f"http://127.0.0.1:{known['port']}",
        _web_url,
        "base of every link",
        shown="`http://127.0.0.1:8000` (the served port, locally)",
    )
    secret_key: tuple[str, ...] = _setting(
        "",
        lambda text: _secrets(text) if text else (),
        "signs tokens and seals links: at least 32 bytes; comma-separated for rotation, the first signs",
        shown="generated once into the data dir",
        secret="whole",  # noqa: S106
    )
    smtp_url: str | None = _setting(
        None,
        _smtp_url,
        "`smtp://user:pass@smtp.gmail.com:587?tls=starttls` or `smtps://…`; unset: mails become files in "
        "`<data dir>/mail/*.eml` and, locally on the console only, their links are printed",
        secret="password",  # noqa: S106
    )
    mail_from: str = _setting("noreply@example.com", _address, "sender of mails")
    password_min: int = _setting("8", _password_min, "characters of a password, at least")
    access_ttl: float = _setting("15m", _duration, "how long an access token is good")
    refresh_ttl: float = _setting("5d", _duration, "how long a refresh token is good")
    session_ttl: float = _setting(
        "30d", _duration, "how long after a login its session ends, however often its tokens are refreshed"
    )
    reauthenticate_after: float = _setting(
        "15m",
        _duration,
        "how long after a login the account can be erased or renamed and other sessions ended without the password",
    )
    link_ttl: float = _setting("24h", _duration, "how long a mailed link is good")
    public_search: bool = _setting("false", _flag, "search without a token")
    limit_search: Rate | None = _setting(
        "600/minute",
        Rate.parse,
        "searches, details and lists of genres, per user, without a token per network; `off` disables",
    )
    limit_suggest: Rate | None = _setting(
        "1200/minute", Rate.parse, "suggestions, per user, without a token per network; `off` disables"
    )
    limit_events: Rate | None = _setting("600/minute", Rate.parse, "calls that tell events, per user; `off` disables")
    limit_login: Rate | None = _setting(
        "10/minute",
        Rate.parse,
        "failed logins per account and network together; ten times that per account, and per network whether failed or "
        "not; `off` disables",
    )
    limit_register: Rate | None = _setting(
        "20/minute",
        Rate.parse,
        "registrations per network; as many requests for activation and reset mail, counted apart; `off` disables",
    )
    limit_mail: Rate | None = _setting(
        "3/hour",
        Rate.parse,
        "mails per address and requesting network, four times that from all networks; further mails wait; "
        "`off` disables",
    )
    limit_writes: Rate | None = _setting(
        _default_writes,
        Rate.parse,
        "changes of ratings, profile and sessions per user, ten times that per network; `off` disables",
        shown="`300/minute`, or `off` if `MOVIE_LIMIT_EVENTS` is `off`",
    )
    limit_imports: Rate | None = _setting(
        _default_imports,
        Rate.parse,
        "imports of ratings per user, ten times that per network; `off` disables",
        shown="`30/hour`, or `off` if `MOVIE_LIMIT_EVENTS` is `off`",
    )
    limit_exports: Rate | None = _setting(
        _default_exports,
        Rate.parse,
        "exports of an account's data per user, ten times that per network; `off` disables",
        shown="`10/hour`, or `off` if `MOVIE_LIMIT_EVENTS` is `off`",
    )
    allowed_hosts: tuple[str, ...] = _setting(
        _default_hosts,
        _list(_host),
        "names without port that a request may be addressed to",
        shown="from the public URL, and loopback locally",
    )
    cors_origins: tuple[str, ...] = _setting("", _list(_origin), "origins whose pages may call the API", shown="none")
    trusted_proxies: tuple[str, ...] = _setting(
        "",
        _list(_network),
        "addresses or networks whose `X-Forwarded-For` is believed",
        shown="none",
    )
    connections_per_network: int = _setting(
        "512",
        _connections,
        "open connections of one IPv4 address or IPv6 /64, in each process; a further one closes the one that has been "
        "idle longest; trusted proxies are exempt",
    )
    log_format: str = _setting(
        _default_log_format,
        _choice("console", "json"),
        "one request, one line",
        shown="`console` (`json` in production)",
    )
    security_contact: str | None = _setting(
        None,
        _contact,
        "where to report vulnerabilities, `mailto:…` or `https://…`, published at `/.well-known/security.txt`",
    )
    metrics_token: str | None = _setting(
        None,
        _token,
        "who sends `Authorization: Bearer` with it sees `/metrics` in production; unset: nobody does",
        secret="whole",  # noqa: S106
    )
    metrics_listen: str | None = _setting(
        None, _listen, "address and port where `worker` answers `/metrics`, such as `0.0.0.0:9101`; unset: nowhere"
    )
    tasks_url: str | None = _setting(
        None, _web_url, "base URL of taskiq-dashboard, a page on which `worker` shows its tasks; unset: nowhere"
    )
    tasks_token: str | None = _setting(None, _token, "the token that this page asks for", secret="whole")  # noqa: S106
    otlp_url: str | None = _setting(
        None,
        _web_url,
        "base URL of an OpenTelemetry collector (OTLP, HTTP), such as `http://127.0.0.1:4318`; needs the extra `otel`",
    )
    origins: Mapping[str, str] = field(default_factory=dict, kw_only=True, compare=False)
    """Where each setting comes from, by its variable: `default`, `environment` or `.env`."""

    @classmethod
    def load(
        cls, environ: Mapping[str, str] | None = None, *, dotenv: Path | None = Path(".env"), port: int = 8000
    ) -> "Settings":
        """From the environment, then `.env`, then defaults; an empty value means unset. Raises `SettingError`."""
        environ = os.environ if environ is None else environ
        file = _read(dotenv) if dotenv is not None and dotenv.is_file() else {}
        known: dict[str, Any] = {"port": port}
        origins = {}
        for one in _listed():
            name = variable(one.name)
            given = (("environment", environ.get(name)), (".env", file.get(name)))
            origin, text = next(((origin, text) for origin, text in given if text), ("default", None))
            try:
                known[one.name] = _value(one.metadata, text, known)
            except ValueError as error:
                raise SettingError(name, str(error)) from None
            origins[name] = origin
        del known["port"]
        settings = cls(**known, origins=origins)
        settings._check()
        return settings

    def _check(self) -> None:
        """What no setting can say by itself."""
        if not self.allowed_hosts:
            raise SettingError("MOVIE_ALLOWED_HOSTS", "must name a host")
        if self.source == "third_party" and self.source_url is None:
            raise SettingError("MOVIE_SOURCE_URL", "must be set when MOVIE_SOURCE is third_party")
        if self.source == "tmdb" and self.source_token is None:
            raise SettingError("MOVIE_SOURCE_TOKEN", "must be set when MOVIE_SOURCE is tmdb")
        if self.env != "production":
            return
        if not self.public_url.startswith("https://"):
            raise SettingError("MOVIE_PUBLIC_URL", "must be an https URL in production")
        if not self.database_url.startswith("postgresql"):
            raise SettingError("MOVIE_DATABASE_URL", "must be PostgreSQL in production")
        if self.redis_url is None:
            raise SettingError("MOVIE_REDIS_URL", "must be set in production")
        if not self.secret_key:
            raise SettingError("MOVIE_SECRET_KEY", "must be set in production")
        for secret in self.secret_key:
            if len(set(secret)) == 1 or any(word in secret.lower() for word in ("changeme", "change-me", "example")):
                raise SettingError("MOVIE_SECRET_KEY", "must be random in production, not an example")
        if self.source_token is not None and (self.source_url or "").startswith("http://"):
            raise SettingError("MOVIE_SOURCE_URL", "must be an https URL in production where MOVIE_SOURCE_TOKEN is set")
        if not self._is_smtp_encrypted():
            raise SettingError("MOVIE_SMTP_URL", "must be set in production, with tls=starttls or smtps://")
        for name, values in (("MOVIE_ALLOWED_HOSTS", self.allowed_hosts), ("MOVIE_CORS_ORIGINS", self.cors_origins)):
            if "*" in values:
                raise SettingError(name, "must not contain * in production")

    def _is_smtp_encrypted(self) -> bool:
        from movie_adapters.email.smtp import parse_smtp_url

        return self.smtp_url is not None and parse_smtp_url(self.smtp_url).is_encrypted

    def explain(self) -> list[tuple[str, str, str]]:
        """(variable, value with secrets redacted, origin) of every setting."""
        return [(variable(one.name), self._shown(one), self.origins[variable(one.name)]) for one in _listed()]

    def _shown(self, one: Any) -> str:
        value = getattr(self, one.name)
        if one.metadata["secret"] == "whole" and value:  # noqa: S105
            return "***"
        if value == ():
            return ""
        if isinstance(value, tuple):
            return ",".join(value)
        if value is None:
            return "off" if one.name.startswith("limit_") else ""
        if isinstance(value, bool):
            return str(value).lower()
        if isinstance(value, float):
            return _told_duration(value)
        return redact_url(str(value)) if one.metadata["secret"] else str(value)

    @property
    def shows_links(self) -> bool:
        """Whether links of mails that are kept as files are shown on the console: never among lines for programs."""
        return self.smtp_url is None and self.env == "local" and self.log_format == "console"

    @property
    def key_prefix(self) -> str:
        """What every key in Redis begins with."""
        return f"{self.redis_prefix}:"

    @property
    def sqlite_path(self) -> Path | None:
        """The file of an SQLite database; None on PostgreSQL."""
        prefix = "sqlite+aiosqlite:///"
        return Path(self.database_url.removeprefix(prefix)) if self.database_url.startswith(prefix) else None


def _read(dotenv: Path) -> dict[str, str | None]:
    try:
        with dotenv.open(encoding="utf-8-sig") as lines:
            bindings = list(parse_stream(lines))
    except UnicodeDecodeError:
        raise SettingError(str(dotenv), "must be text in UTF-8") from None
    for binding in bindings:
        if binding.error:
            raise SettingError(f"{dotenv}, line {binding.original.line}", "must be a name, = and a value")
    return {binding.key: binding.value for binding in bindings if binding.key is not None}


def variable(name: str) -> str:
    """The environment variable of a field of `Settings`."""
    return PREFIX + name.upper()


def _listed() -> list[Any]:
    return [one for one in fields(Settings) if "meaning" in one.metadata]


def _value(metadata: Mapping[str, Any], text: str | None, known: Mapping[str, Any]) -> Any:
    default = metadata["default"]
    if text is not None:
        return metadata["parse"](text)
    if callable(default):
        return default(known)
    return None if default is None else metadata["parse"](default)


def reference() -> list[tuple[str, str, str]]:
    """(variable, default, meaning) of every setting, as the documentation shows them."""
    return [(variable(one.name), one.metadata["shown"], one.metadata["meaning"]) for one in _listed()]
