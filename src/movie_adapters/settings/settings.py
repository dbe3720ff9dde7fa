"""Settings, read once at startup from the environment and from `.env`, validated, and shown by `movie-search config`.

The fields of `Settings` are the only list of settings; tests compare the tables in the documentation with it.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from dotenv.parser import parse_stream

from movie_adapters.settings import parsers
from movie_adapters.settings.parsers import Size
from movie_adapters.smtp_url import parse_smtp_url
from movie_core.quotas import Rate
from movie_core.search.retry_policy import StatusSet

PREFIX = "MOVIE_"
EMBEDDED_SOURCE = "catalogue"
"""The source whose movies are in the database of this service."""
SOURCES = (EMBEDDED_SOURCE, "third_party", "tmdb")
LOOPBACK_HOSTS = ("localhost", "127.0.0.1", "[::1]")


Problem = tuple[str, str]
"""The name of an invalid setting, and the expected form; never its value."""


class SettingError(Exception):
    """One or several invalid settings. The message has the name and the expected form of each, never its value."""

    def __init__(self, name: str, expected: str, *others: Problem) -> None:
        super().__init__("; ".join(f"{name}: {expected}" for name, expected in ((name, expected), *others)))
        self.name = name


def _default_database(values: Mapping[str, Any]) -> str:
    return f"sqlite+aiosqlite:///{(values['data_dir'] / 'movies.db').absolute()}"


def _default_source(values: Mapping[str, Any]) -> str:
    return "third_party" if values["source_url"] else EMBEDDED_SOURCE


def _default_retry_status(values: Mapping[str, Any]) -> StatusSet:
    return StatusSet.parse("408,425,429,5xx" if values["source"] == "tmdb" else "400-409,425,429,5xx")


def _default_hosts(values: Mapping[str, Any]) -> tuple[str, ...]:
    hostname = urlsplit(values["public_url"]).hostname or ""
    host = f"[{hostname}]" if ":" in hostname else hostname
    return tuple(dict.fromkeys((host, *(LOOPBACK_HOSTS if values["env"] == "local" else ()))))


def _default_limit(rate: Rate) -> Callable[[Mapping[str, Any]], Rate | None]:
    return lambda values: None if values["limit_events"] is None else rate


def _default_log_format(values: Mapping[str, Any]) -> str:
    return "console" if values["env"] == "local" else "json"


def _setting(
    default: str | Callable[[Mapping[str, Any]], Any] | None,
    parse: Callable[[str], Any],
    meaning: str,
    *,
    shown: str = "",
    secret: Literal["whole", "password", ""] = "",
) -> Any:
    """A field of `Settings`.

    `default` is text as in the environment, or computed from the values of the fields above it. `shown` is the default
    in the documentation. `secret` selects what is redacted: the whole value, or the password in a URL.
    """
    shown = shown or (default if isinstance(default, str) else "unset")
    return field(
        metadata={"default": default, "parse": parse, "meaning": meaning, "shown": shown, "secret": secret},
        kw_only=True,
        repr=not secret,
    )


@dataclass(frozen=True)
class Settings:
    """The settings of a process. Durations are in seconds."""

    env: str = _setting(
        "local",
        parsers.choice("local", "production", "single"),
        "environment: `local`; `production`, which refuses to start with unsafe settings; `single`, production on one "
        "machine with SQLite and one process",
    )
    data_dir: Path = _setting(
        "./var", Path, "directory of the SQLite database, the generated secret key and the local mailbox"
    )
    database_url: str = _setting(
        _default_database,
        parsers.database_url,
        "database: `postgresql+asyncpg://…` (required in production) or `sqlite+aiosqlite:///…`",
        shown="SQLite in the data dir",
        secret="password",  # noqa: S106  (the kind of secret)
    )
    database_pooler: str | None = _setting(
        None,
        parsers.pooler,
        "`transaction` for PostgreSQL behind PgBouncer or a similar pooler in transaction mode",
    )
    database_connect_timeout: float = _setting(
        "3s", parsers.duration, "timeout of connecting to PostgreSQL; longer than a suspended database needs to start"
    )
    redis_url: str | None = _setting(
        None,
        parsers.redis_url,
        "Redis for cache, rate limits, trends and the task queue of the worker; required for more than one API process",
        secret="password",  # noqa: S106
    )
    cache_redis_url: str | None = _setting(
        lambda values: values["redis_url"],
        parsers.redis_url,
        "separate Redis for the cache of the movie source; it may evict keys",
        shown="`MOVIE_REDIS_URL`",
        secret="password",  # noqa: S106
    )
    redis_prefix: str = _setting(
        "movie",
        parsers.redis_prefix,
        "prefix of every key in Redis; must be unique for each deployment that shares a Redis",
    )
    source_url: str | None = _setting(None, parsers.web_url, "base URL of the third party, or of TMDB")
    source: str = _setting(
        _default_source,
        parsers.choice(*SOURCES),
        "movie source: `catalogue` (embedded), `third_party` (the original's endpoint) or `tmdb`",
        shown="`catalogue` (`third_party` when a source URL is set)",
    )
    source_token: str | None = _setting(None, str, "API token for TMDB", secret="whole")  # noqa: S106
    source_deadline: float = _setting(
        "3s", parsers.duration, "deadline of a request to the movie source, including all retries"
    )
    source_timeout: float = _setting("700ms", parsers.duration, "timeout of one attempt")
    source_retry_status: StatusSet = _setting(
        _default_retry_status,
        parsers.statuses,
        "HTTP statuses of the movie source that are retried",
        shown="`400-409,425,429,5xx` (tmdb: `408,425,429,5xx`)",
    )
    cache_fresh: float = _setting(
        "10m", parsers.duration, "how long a cache entry of the movie source is fresh; jitter can only shorten it"
    )
    cache_stale: float = _setting(
        "24h",
        parsers.duration,
        "how much longer an entry may be served stale, while it is refreshed or the source is unavailable",
    )
    cache_bytes: Size = _setting("64MiB", parsers.size, "size of the in-memory cache of each process")
    events: bool = _setting("on", parsers.boolean, "record searches, clicks, views and ratings of users as events")
    events_keep: float = _setting(
        "90d", parsers.duration, "retention of events; daily statistics are stored for longer"
    )
    public_url: str = _setting(
        lambda values: f"http://127.0.0.1:{values['port']}",
        parsers.web_url,
        "base URL of all links to this service",
        shown="`http://127.0.0.1:8000` (the served port, locally)",
    )
    app_url: str = _setting(
        "/",
        parsers.app_url,
        "where account pages send users next: the URL of an application, or a path of this service",
    )
    secret_key: tuple[str, ...] = _setting(
        "",
        lambda text: parsers.secrets(text) if text else (),
        "key that signs tokens and encrypts link tokens, at least 32 bytes; for key rotation several keys separated by "
        "commas, of which the first one signs",
        shown="generated once into the data dir",
        secret="whole",  # noqa: S106
    )
    smtp_url: str | None = _setting(
        None,
        parsers.smtp_url,
        "SMTP server: `smtp://user:pass@smtp.gmail.com:587?tls=starttls` or `smtps://…`; if unset, emails are written "
        "to `<data dir>/mail/*.eml` and their links printed to the console (only locally, with log format "
        "`console`)",
        secret="password",  # noqa: S106
    )
    mail_from: str = _setting("noreply@example.com", parsers.email_address, "sender address of emails")
    password_min: int = _setting("8", parsers.password_length, "minimum length of passwords, in characters")
    access_ttl: float = _setting("15m", parsers.duration, "lifetime of an access token")
    refresh_ttl: float = _setting("5d", parsers.duration, "lifetime of a refresh token")
    session_ttl: float = _setting(
        "30d", parsers.duration, "maximum lifetime of a session after its login, regardless of token refreshes"
    )
    reauthenticate_after: float = _setting(
        "15m",
        parsers.duration,
        "time after a login in which the account can be erased or renamed and other sessions ended without the "
        "password",
    )
    link_ttl: float = _setting("24h", parsers.duration, "lifetime of a link in an email")
    public_search: bool = _setting("false", parsers.boolean, "allow searches without authentication")
    empty_search: str = _setting(
        "404",
        parsers.choice("404", "200"),
        "status of a search without matches: `404` with suggestions, or `200` with an empty page",
    )
    limit_search: Rate | None = _setting(
        "600/minute",
        Rate.parse,
        "rate limit of searches, movie details and genre lists, per user, or per network without authentication; `off` "
        "disables",
    )
    limit_suggest: Rate | None = _setting(
        "1200/minute",
        Rate.parse,
        "rate limit of suggestions, per user, or per network without authentication; `off` disables",
    )
    limit_events: Rate | None = _setting(
        "600/minute", Rate.parse, "rate limit of requests that send events, per user; `off` disables"
    )
    limit_login: Rate | None = _setting(
        "10/minute",
        Rate.parse,
        "rate limit of failed logins per account and network together; ten times that per account, and, counting "
        "successful logins too, per network; `off` disables",
    )
    limit_register: Rate | None = _setting(
        "20/minute",
        Rate.parse,
        "rate limit of registrations per network; the same limit, counted separately, for requests for activation and "
        "reset emails; `off` disables",
    )
    limit_mail: Rate | None = _setting(
        "3/hour",
        Rate.parse,
        "rate limit of emails per address and requesting network, and four times that per address over all networks; "
        "further emails are delayed; `off` disables",
    )
    limit_writes: Rate | None = _setting(
        _default_limit(Rate(300, 60)),
        Rate.parse,
        "rate limit of changes of ratings, profile and sessions per user, ten times that per network; `off` disables",
        shown="`300/minute`, or `off` if `MOVIE_LIMIT_EVENTS` is `off`",
    )
    limit_imports: Rate | None = _setting(
        _default_limit(Rate(30, 3600)),
        Rate.parse,
        "rate limit of imports of ratings per user, ten times that per network; `off` disables",
        shown="`30/hour`, or `off` if `MOVIE_LIMIT_EVENTS` is `off`",
    )
    limit_exports: Rate | None = _setting(
        _default_limit(Rate(10, 3600)),
        Rate.parse,
        "rate limit of exports of an account's data per user, ten times that per network; `off` disables",
        shown="`10/hour`, or `off` if `MOVIE_LIMIT_EVENTS` is `off`",
    )
    allowed_hosts: tuple[str, ...] = _setting(
        _default_hosts,
        parsers.list_of(parsers.host),
        "accepted host names of requests (header `Host`), without port",
        shown="from the public URL, and loopback locally",
    )
    cors_origins: tuple[str, ...] = _setting(
        "", parsers.list_of(parsers.origin), "origins whose web pages may call the API (CORS)", shown="none"
    )
    trusted_proxies: tuple[str, ...] = _setting(
        "",
        parsers.list_of(parsers.network),
        "addresses or networks of reverse proxies whose `X-Forwarded-For` is trusted",
        shown="none",
    )
    connections_per_network: int = _setting(
        "512",
        parsers.positive_number,
        "maximum open connections of one IPv4 address or IPv6 /64 in each process; a further one closes the connection "
        "that has been idle longest; trusted proxies are exempt",
    )
    log_format: str = _setting(
        _default_log_format,
        parsers.choice("console", "json"),
        "`console`, or `json`: one JSON object per line",
        shown="`console` (`json` in production)",
    )
    security_contact: str | None = _setting(
        None,
        parsers.contact_url,
        "contact for vulnerability reports, `mailto:…` or `https://…`, published at `/.well-known/security.txt`",
    )
    metrics_token: str | None = _setting(
        None,
        parsers.token,
        "bearer token for `/metrics` in production; if unset, `/metrics` is not available there",
        secret="whole",  # noqa: S106
    )
    metrics_listen: str | None = _setting(
        None,
        parsers.bind_address,
        "bind address for `/metrics` of the worker, such as `0.0.0.0:9101`; if unset, the worker serves no metrics",
    )
    tasks_url: str | None = _setting(
        None, parsers.web_url, "base URL of a taskiq-dashboard to which the worker reports its tasks"
    )
    tasks_token: str | None = _setting(None, parsers.token, "token for the taskiq-dashboard", secret="whole")  # noqa: S106
    otlp_url: str | None = _setting(
        None,
        parsers.web_url,
        "base URL of an OpenTelemetry collector (OTLP over HTTP), such as `http://127.0.0.1:4318`; requires the extra "
        "`otel`",
    )
    unknown: Mapping[str, str] = field(default_factory=dict, kw_only=True, compare=False)
    """Variables that look like settings but are none, and the setting with the closest name."""
    origins: Mapping[str, str] = field(default_factory=dict, kw_only=True, compare=False)
    """Origin of each setting, by its variable: `default`, `environment` or `.env`."""

    @classmethod
    def load(
        cls, environ: Mapping[str, str] | None = None, *, dotenv: Path | None = Path(".env"), port: int = 8000
    ) -> "Settings":
        """Read the environment, then `.env`, then defaults; an empty value means unset. Raises `SettingError`."""
        environ = os.environ if environ is None else environ
        file = _read(dotenv) if dotenv is not None and dotenv.is_file() else {}
        values: dict[str, Any] = {"port": port}
        origins = {}
        problems: list[Problem] = []
        for setting in _setting_fields():
            name = variable(setting.name)
            candidates = (("environment", environ.get(name)), (".env", file.get(name)))
            origin, text = next(((origin, text) for origin, text in candidates if text), ("default", None))
            try:
                values[setting.name] = _value(setting.metadata, text, values)
            except ValueError as error:
                problems.append((name, str(error)))
                values[setting.name] = _value(setting.metadata, None, values)
            origins[name] = origin
        del values["port"]
        settings = cls(**values, origins=origins, unknown=_unknown({*environ, *file}))
        invalid = {name for name, _ in problems}
        problems += [problem for problem in settings._problems() if problem[0] not in invalid]
        if problems:
            (name, expected), *others = problems
            raise SettingError(name, expected, *others)
        return settings

    def _problems(self) -> Iterator[Problem]:
        """Violations of the rules that concern several settings."""
        if not self.allowed_hosts:
            yield "MOVIE_ALLOWED_HOSTS", "must contain a host"
        if self.source == "third_party" and self.source_url is None:
            yield "MOVIE_SOURCE_URL", "must be set when MOVIE_SOURCE is third_party"
        if self.source == "tmdb" and self.source_token is None:
            yield "MOVIE_SOURCE_TOKEN", "must be set when MOVIE_SOURCE is tmdb"
        if self.env == "local":
            return
        if not self.public_url.startswith("https://"):
            yield "MOVIE_PUBLIC_URL", "must be an https URL in production"
        if self.app_url.startswith("http://"):
            yield "MOVIE_APP_URL", "must be an https URL in production, or a path of this service"
        if self.env == "production":
            if not self.database_url.startswith("postgresql"):
                yield "MOVIE_DATABASE_URL", "must be PostgreSQL in production"
            if self.redis_url is None:
                yield "MOVIE_REDIS_URL", "must be set in production"
        if not self.secret_key:
            yield "MOVIE_SECRET_KEY", "must be set in production"
        elif any(_is_example(secret) for secret in self.secret_key):
            yield "MOVIE_SECRET_KEY", "must be random in production, not an example"
        if self.source_token is not None and (self.source_url or "").startswith("http://"):
            yield "MOVIE_SOURCE_URL", "must be an https URL in production if MOVIE_SOURCE_TOKEN is set"
        if self.smtp_url is None or not parse_smtp_url(self.smtp_url).is_encrypted:
            yield "MOVIE_SMTP_URL", "must be set in production, with tls=starttls or smtps://"
        for name, values in (("MOVIE_ALLOWED_HOSTS", self.allowed_hosts), ("MOVIE_CORS_ORIGINS", self.cors_origins)):
            if "*" in values:
                yield name, "must not contain * in production"

    def explain(self) -> list[tuple[str, str, str]]:
        """(variable, value with secrets redacted, origin) of every setting."""
        return [
            (variable(setting.name), self._format(setting), self.origins[variable(setting.name)])
            for setting in _setting_fields()
        ]

    def _format(self, setting: Any) -> str:
        value = getattr(self, setting.name)
        if setting.metadata["secret"] == "whole" and value:  # noqa: S105
            return "***"
        if value == ():
            return ""
        if isinstance(value, tuple):
            return ",".join(value)
        if value is None:
            return "off" if setting.name.startswith("limit_") else ""
        if isinstance(value, bool):
            return str(value).lower()
        if isinstance(value, float):
            return parsers.format_duration(value)
        return parsers.redact_url(str(value)) if setting.metadata["secret"] else str(value)

    @property
    def shows_links(self) -> bool:
        """Whether links in emails are printed to the console: never among JSON log lines."""
        return self.smtp_url is None and self.env == "local" and self.log_format == "console"

    @property
    def key_prefix(self) -> str:
        """The prefix of every key in Redis, with its separator."""
        return f"{self.redis_prefix}:"

    @property
    def sqlite_path(self) -> Path | None:
        """The file of an SQLite database; None for PostgreSQL."""
        prefix = "sqlite+aiosqlite:///"
        return Path(self.database_url.removeprefix(prefix)) if self.database_url.startswith(prefix) else None


def _is_example(secret: str) -> bool:
    return len(set(secret)) == 1 or any(word in secret.lower() for word in ("changeme", "change-me", "example"))


def _unknown(names: Iterable[str]) -> dict[str, str]:
    settings = [variable(setting.name) for setting in _setting_fields()]
    unknown = sorted(name for name in names if name.startswith(PREFIX) and name not in settings)
    return {name: next(iter(get_close_matches(name, settings, 1, 0.0)), "") for name in unknown}


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


def _setting_fields() -> list[Any]:
    return [setting for setting in fields(Settings) if "meaning" in setting.metadata]


def _value(metadata: Mapping[str, Any], text: str | None, values: Mapping[str, Any]) -> Any:
    default = metadata["default"]
    if text is not None:
        return metadata["parse"](text)
    if callable(default):
        return default(values)
    return None if default is None else metadata["parse"](default)


def reference() -> list[tuple[str, str, str]]:
    """(variable, default, meaning) of every setting, as in the documentation."""
    return [
        (variable(setting.name), setting.metadata["shown"], setting.metadata["meaning"])
        for setting in _setting_fields()
    ]
