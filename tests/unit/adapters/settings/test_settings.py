"""Parsing, defaults and checks of settings."""

import ssl
from pathlib import Path

import pytest
from redis.asyncio import Redis

from movie_adapters.settings.parsers import redact_url
from movie_adapters.settings.settings import SettingError, Settings, reference
from movie_core.quotas import Rate


def load(**environ: str) -> Settings:
    return Settings.load(environ, dotenv=None)


def test_the_defaults_are_for_one_local_process() -> None:
    settings = load()
    assert (settings.source, settings.public_url, settings.public_search) == (
        "catalogue",
        "http://127.0.0.1:8000",
        False,
    )
    assert (settings.smtp_url, settings.secret_key, settings.password_min) == (None, (), 8)
    assert (settings.access_ttl, settings.refresh_ttl, settings.link_ttl) == (900, 432_000, 86_400)
    assert (settings.limit_login, settings.limit_register) == (Rate(10, 60), Rate(20, 60))
    assert settings.sqlite_path == Path("var/movies.db").absolute()
    assert settings.allowed_hosts == ("127.0.0.1", "localhost", "[::1]")
    assert (settings.source_deadline, settings.source_timeout) == (3.0, 0.7)


def test_a_source_url_selects_the_third_party() -> None:
    settings = load(MOVIE_SOURCE_URL="http://127.0.0.1:9000/")
    assert (settings.source, settings.source_url) == ("third_party", "http://127.0.0.1:9000")
    assert 404 in settings.source_retry_status
    assert 404 not in load(MOVIE_SOURCE="tmdb", MOVIE_SOURCE_TOKEN="t").source_retry_status


def test_the_default_public_url_has_the_served_port() -> None:
    assert Settings.load({}, dotenv=None, port=9001).public_url == "http://127.0.0.1:9001"


def test_the_environment_overrides_the_file_and_empty_means_unset(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("MOVIE_SOURCE_DEADLINE=5s\nMOVIE_SOURCE_TIMEOUT=1s\nMOVIE_DATA_DIR=\n")
    settings = Settings.load({"MOVIE_SOURCE_TIMEOUT": "2s", "MOVIE_PUBLIC_URL": ""}, dotenv=file)
    assert (settings.source_deadline, settings.source_timeout) == (5.0, 2.0)
    origins = settings.origins
    assert origins["MOVIE_SOURCE_DEADLINE"] == ".env"
    assert origins["MOVIE_SOURCE_TIMEOUT"] == "environment"
    assert origins["MOVIE_DATA_DIR"] == origins["MOVIE_PUBLIC_URL"] == "default"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MOVIE_ENV", "staging"),
        ("MOVIE_SOURCE", "imdb"),
        ("MOVIE_SOURCE_DEADLINE", "3"),
        ("MOVIE_SOURCE_DEADLINE", "-3s"),
        ("MOVIE_SOURCE_DEADLINE", "0s"),
        ("MOVIE_SOURCE_TIMEOUT", "fast"),
        ("MOVIE_SOURCE_RETRY_STATUS", "4xy"),
        ("MOVIE_SOURCE_URL", "ftp://x.test"),
        ("MOVIE_SOURCE_URL", "127.0.0.1:9000"),
        ("MOVIE_SOURCE_URL", "http://user:secret@x.test"),
        ("MOVIE_PUBLIC_URL", "http://x.test:99999999"),
        ("MOVIE_METRICS_TOKEN", "short"),
        ("MOVIE_METRICS_TOKEN", "with spaces in between"),
        ("MOVIE_METRICS_LISTEN", "9101"),
        ("MOVIE_METRICS_LISTEN", "0.0.0.0:0"),
        ("MOVIE_METRICS_LISTEN", "0.0.0.0:65536"),
        ("MOVIE_OTLP_URL", "127.0.0.1:4318"),
        ("MOVIE_PUBLIC_URL", "http://"),
        ("MOVIE_PUBLIC_URL", "https://x.test\nX: y"),
        ("MOVIE_PUBLIC_URL", "https://x test"),
        ("MOVIE_PUBLIC_URL", 'https://x.test/"'),
        ("MOVIE_PUBLIC_SEARCH", "maybe"),
        ("MOVIE_ALLOWED_HOSTS", "http://x.test"),
        ("MOVIE_ALLOWED_HOSTS", "x.test:80"),
        ("MOVIE_ALLOWED_HOSTS", ","),
        ("MOVIE_CORS_ORIGINS", "x.test"),
        ("MOVIE_CORS_ORIGINS", "https://x.test/"),
        ("MOVIE_CORS_ORIGINS", "https://x.test/app"),
        ("MOVIE_CORS_ORIGINS", "https://x.test//"),
        ("MOVIE_CORS_ORIGINS", "https://x.test:99999"),
        ("MOVIE_CORS_ORIGINS", "https://[::1"),
        ("MOVIE_DATABASE_URL", "sqlite+aiosqlite://"),
        ("MOVIE_DATABASE_URL", "sqlite+aiosqlite:///x.db?mode=ro"),
        ("MOVIE_DATABASE_URL", "postgresql+asyncpg://u:secret@x.test:port/db"),
        ("MOVIE_DATABASE_URL", "postgresql+asyncpg://u:secret@x.test/db?sslmode=require&ssl=require"),
        ("MOVIE_DATABASE_URL", "postgresql+asyncpg://u:secret@x.test/db?sslmode=secret"),
        ("MOVIE_DATABASE_URL", "postgres://"),
        ("MOVIE_DATABASE_URL", "mysql://u:secret@x.test/db"),
        ("MOVIE_DATABASE_POOLER", "session"),
        ("MOVIE_APP_URL", "app"),
        ("MOVIE_APP_URL", "//evil.test"),
        ("MOVIE_APP_URL", "javascript:alert(1)"),
        ("MOVIE_APP_URL", "https://u:secret@x.test/"),
        ("MOVIE_APP_URL", 'https://x.test/"'),
        ("MOVIE_DATABASE_CONNECT_TIMEOUT", "3"),
        ("MOVIE_REDIS_URL", "redis://:secret@x.test/0?ssl_cert_reqs=none"),
        ("MOVIE_REDIS_URL", "rediss://:secret@x.test/0?ssl_cert_reqs=secret"),
        ("MOVIE_REDIS_URL", "rediss://:secret@x.test/0?ssl_cert_reqs="),
        ("MOVIE_REDIS_URL", "rediss://:secret@x.test/0?ssl_check_hostname=secret"),
        ("MOVIE_REDIS_URL", "rediss://:secret@x.test/0?ssl_cert_reqs=none&ssl_check_hostname=true"),
        ("MOVIE_REDIS_URL", "rediss://:secret@x.test/0?ssl_ca_certs=/nowhere/secret.pem"),
        ("MOVIE_REDIS_URL", f"rediss://:secret@x.test/0?ssl_keyfile={__file__}"),
        ("MOVIE_CACHE_REDIS_URL", "rediss://:secret@x.test/0?ssl_cert_reqs=maybe"),
        ("MOVIE_DATABASE_URL", "postgresql+asyncpg://u:secret@/db?host=x.test&port=secret"),
        ("MOVIE_REDIS_URL", "http://x.test"),
        ("MOVIE_REDIS_URL", "redis://:secret@x.test:99999/0"),
        ("MOVIE_REDIS_URL", "redis://:secret@x.test/movies"),
        ("MOVIE_REDIS_URL", "redis://:secret@x.test/0?timeout=1"),
        ("MOVIE_REDIS_URL", "unix:///socket?db=movies"),
        ("MOVIE_REDIS_URL", "redis://[::1"),
        ("MOVIE_LOG_FORMAT", "xml"),
        ("MOVIE_SECRET_KEY", "secret"),
        ("MOVIE_SECRET_KEY", "k" * 40 + ",secret"),
        ("MOVIE_SMTP_URL", "smtp.gmail.com:587"),
        ("MOVIE_SMTP_URL", "smtp://u:secret@mail.test:587?tls=maybe"),
        ("MOVIE_SMTP_URL", "smtps://u:secret@mail.test?tls=starttls"),
        ("MOVIE_SMTP_URL", "smtp://u:secret@mail.test:99999999"),
        ("MOVIE_MAIL_FROM", "Movies <noreply@example.com>"),
        ("MOVIE_MAIL_FROM", "noreply@example..com"),
        ("MOVIE_PASSWORD_MIN", "7"),
        ("MOVIE_PASSWORD_MIN", "eight"),
        ("MOVIE_LIMIT_LOGIN", "10"),
        ("MOVIE_LIMIT_MAIL", "0/hour"),
        ("MOVIE_LINK_TTL", "a day"),
        ("MOVIE_TRUSTED_PROXIES", "proxy.test"),
        ("MOVIE_TRUSTED_PROXIES", "10.0.0.1/8"),
    ],
)
def test_an_invalid_value_is_rejected_with_its_name_and_without_the_value(name: str, value: str) -> None:
    with pytest.raises(SettingError) as error:
        load(**{name: value})
    assert str(error.value).startswith(f"{name}: ")
    assert "secret" not in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MOVIE_DATABASE_URL", "postgresql+asyncpg://u:p%2F@x.test:5432/db?ssl=require"),
        ("MOVIE_DATABASE_URL", "postgresql+asyncpg://u:p#/?@x.test/db"),
        ("MOVIE_DATABASE_URL", "postgresql+asyncpg:///db?host=/run/postgresql&user=u&password=p"),
        ("MOVIE_DATABASE_URL", "postgresql+asyncpg://postgres@/db?host=/run/postgresql"),
        ("MOVIE_REDIS_URL", "redis://127.0.0.1"),
        ("MOVIE_REDIS_URL", "rediss://:p@x.test:6380/15?ssl_cert_reqs=none"),
        ("MOVIE_REDIS_URL", "unix:///run/redis/socket?db=3"),
        ("MOVIE_CORS_ORIGINS", "https://x.test,http://[::1]:3000,*"),
        ("MOVIE_PUBLIC_URL", "https://x.test:8443/movies"),
        ("MOVIE_APP_URL", "https://x.test/#/login?from=mail"),
        ("MOVIE_APP_URL", "/app/login?from=mail"),
        ("MOVIE_SOURCE_URL", "http://source_1:9000/v1;x=%C3%A4/"),
    ],
)
def test_unusual_but_valid_values_are_accepted(name: str, value: str) -> None:
    load(**{name: value})


@pytest.mark.parametrize("origin", ["https://x.test/", "https://x.test/app", "https://x.test//", "http://[::1]:3000/"])
def test_an_origin_with_a_slash_is_rejected_for_that_reason(origin: str) -> None:
    with pytest.raises(SettingError, match="an origin has no path, not even a slash at its end"):
        load(MOVIE_CORS_ORIGINS=f"https://y.test,{origin}")


def test_origins_are_compared_as_browsers_send_them() -> None:
    origins = load(MOVIE_CORS_ORIGINS="https://App.Example.com:443, HTTP://x.test:80,http://y.test:443").cors_origins
    assert origins == ("https://app.example.com", "http://x.test", "http://y.test:443")


@pytest.mark.parametrize(
    ("url", "stored"),
    [
        ("postgres://u:p@x.test/db", "postgresql+asyncpg://u:p@x.test/db"),
        ("postgresql://u:p@x.test/db?sslmode=require", "postgresql+asyncpg://u:p@x.test/db?ssl=require"),
        ("postgresql+asyncpg://u:p@x.test/db?ssl=verify-full", "postgresql+asyncpg://u:p@x.test/db?ssl=verify-full"),
        ("postgres://u@x.test/db?port=1&sslmode=disable", "postgresql+asyncpg://u@x.test/db?port=1&ssl=disable"),
        ("postgres://u:p@ss@x.test/db", "postgresql+asyncpg://u:p%40ss@x.test/db"),
        ("postgres://u:@@@x.test/db?user=a@b", "postgresql+asyncpg://u:%40%40@x.test/db?user=a@b"),
        ("postgres://u:p%40ss@x.test/db", "postgresql+asyncpg://u:p%40ss@x.test/db"),
        ("postgresql:///db?host=/run/postgresql", "postgresql+asyncpg:///db?host=/run/postgresql"),
    ],
)
def test_the_forms_of_a_postgresql_url_are_those_of_other_programs(url: str, stored: str) -> None:
    assert load(MOVIE_DATABASE_URL=url).database_url == stored


def test_no_part_of_a_password_with_an_at_sign_is_shown() -> None:
    for url in ("postgres://u:p@ss@x.test/db", "postgresql+asyncpg://u:p@ss@x.test:5432/db?ssl=require"):
        shown = {name: value for name, value, _ in load(MOVIE_DATABASE_URL=url).explain()}["MOVIE_DATABASE_URL"]
        assert shown.startswith("postgresql+asyncpg://u:***@x.test"), shown


@pytest.mark.parametrize(
    ("options", "checks", "checks_name"),
    [
        ("", ssl.CERT_REQUIRED, True),
        ("?ssl_cert_reqs=CERT_NONE", ssl.CERT_NONE, False),
        ("?ssl_cert_reqs=none", ssl.CERT_NONE, False),
        ("?ssl_cert_reqs=NONE&ssl_check_hostname=False", ssl.CERT_NONE, False),
        ("?ssl_cert_reqs=CERT_OPTIONAL", ssl.CERT_OPTIONAL, True),
        ("?ssl_cert_reqs=CERT_REQUIRED&db=3", ssl.CERT_REQUIRED, True),
        ("?ssl_check_hostname=FALSE", ssl.CERT_REQUIRED, False),
        ("?ssl_check_hostname=True", ssl.CERT_REQUIRED, True),
    ],
)
async def test_the_tls_options_of_redis_are_honoured(options: str, checks: ssl.VerifyMode, checks_name: bool) -> None:
    url = load(MOVIE_REDIS_URL=f"rediss://x.test:6379/{options}").redis_url
    assert url is not None
    client = Redis.from_url(url)
    context = client.connection_pool.make_connection().ssl_context.get()
    assert (context.verify_mode, context.check_hostname) == (checks, checks_name)
    await client.aclose()


def test_a_malformed_file_is_rejected_with_its_line_number(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    for content, expected in (
        (b"MOVIE_ENV=local\nMOVIE_SECRET_KEY='unshut\n", ", line 2: "),
        (b"MOVIE_ENV=\xff", "UTF-8"),
    ):
        file.write_bytes(content)
        with pytest.raises(SettingError) as error:
            Settings.load({}, dotenv=file)
        assert str(error.value).startswith(str(file))
        assert expected in str(error.value)
        assert "unshut" not in str(error.value)


def test_other_variables_are_ignored() -> None:
    """Kubernetes sets `MOVIE_API_PORT` for a service named movie-api; variables of a later version may remain set."""
    assert load(MOVIE_API_PORT="tcp://10.0.0.1:80", MOVIE_NOT_YET="?") == load()


@pytest.mark.parametrize(
    ("name", "environ"),
    [
        ("MOVIE_SOURCE_URL", {"MOVIE_SOURCE": "third_party"}),
        ("MOVIE_SOURCE_TOKEN", {"MOVIE_SOURCE": "tmdb"}),
    ],
)
def test_a_source_without_its_required_settings_is_rejected(name: str, environ: dict[str, str]) -> None:
    with pytest.raises(SettingError, match=name):
        load(**environ)


PRODUCTION = {
    "MOVIE_ENV": "production",
    "MOVIE_PUBLIC_URL": "https://movies.example.com",
    "MOVIE_DATABASE_URL": "postgresql+asyncpg://movies:canary@db.example.com/movies",
    "MOVIE_REDIS_URL": "redis://:canary@redis.example.com/0",
    "MOVIE_SECRET_KEY": "canary-0123456789-0123456789-0123456789",
    "MOVIE_SMTP_URL": "smtp://movies:canary@smtp.example.com:587?tls=starttls",
}


def test_production_accepts_safe_settings() -> None:
    settings = load(**PRODUCTION)
    assert settings.allowed_hosts == ("movies.example.com",)
    assert settings.log_format == "json"
    assert settings.sqlite_path is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MOVIE_PUBLIC_URL", "http://movies.example.com"),
        ("MOVIE_DATABASE_URL", ""),
        ("MOVIE_DATABASE_URL", "sqlite+aiosqlite:///x.db"),
        ("MOVIE_REDIS_URL", ""),
        ("MOVIE_SECRET_KEY", ""),
        ("MOVIE_SECRET_KEY", "a" * 64),
        ("MOVIE_SECRET_KEY", "please-change-me-please-change-me-please"),
        ("MOVIE_SMTP_URL", ""),
        ("MOVIE_SMTP_URL", "smtp://movies:secret@smtp.example.com:25"),
        ("MOVIE_ALLOWED_HOSTS", "*"),
        ("MOVIE_CORS_ORIGINS", "https://a.test,*"),
    ],
)
def test_production_rejects_unsafe_settings(name: str, value: str) -> None:
    with pytest.raises(SettingError, match=name):
        load(**(PRODUCTION | {name: value}))


SINGLE = {name: value for name, value in PRODUCTION.items() if name not in {"MOVIE_DATABASE_URL", "MOVIE_REDIS_URL"}}
SINGLE["MOVIE_ENV"] = "single"


def test_production_on_one_machine_needs_neither_postgresql_nor_redis() -> None:
    settings = load(**SINGLE)
    assert settings.sqlite_path is not None
    assert (settings.log_format, settings.allowed_hosts) == ("json", ("movies.example.com",))
    assert not settings.shows_links


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MOVIE_PUBLIC_URL", "http://movies.example.com"),
        ("MOVIE_SECRET_KEY", ""),
        ("MOVIE_SECRET_KEY", "a" * 64),
        ("MOVIE_SMTP_URL", ""),
        ("MOVIE_SMTP_URL", "smtp://movies:secret@smtp.example.com:25"),
        ("MOVIE_ALLOWED_HOSTS", "*"),
        ("MOVIE_CORS_ORIGINS", "*"),
    ],
)
def test_production_on_one_machine_is_as_strict_otherwise(name: str, value: str) -> None:
    with pytest.raises(SettingError, match=name):
        load(**(SINGLE | {name: value}))


def test_all_problems_are_reported_at_once_and_no_value_is_shown() -> None:
    environ = {
        "MOVIE_ENV": "production",
        "MOVIE_SECRET_KEY": "k" * 40,
        "MOVIE_CACHE_FRESH": "canary",
        "MOVIE_EVENTS": "canary",
        "MOVIE_CORS_ORIGINS": "*",
    }
    with pytest.raises(SettingError) as caught:
        load(**environ)
    names = [
        "PUBLIC_URL",
        "DATABASE_URL",
        "REDIS_URL",
        "SECRET_KEY",
        "SMTP_URL",
        "CACHE_FRESH",
        "EVENTS",
        "CORS_ORIGINS",
    ]
    for name in [*names, "CORS_ORIGINS"]:
        assert str(caught.value).count(f"MOVIE_{name}: ") == 1, name
    assert "canary" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_production_rejects_an_application_at_a_plain_http_url() -> None:
    for environ in (PRODUCTION, SINGLE):
        with pytest.raises(SettingError, match="MOVIE_APP_URL: must be an https URL in production"):
            load(**(environ | {"MOVIE_APP_URL": "http://app.example.org/start"}))
        for url in ("https://app.example.org/start", "/app/"):
            assert load(**(environ | {"MOVIE_APP_URL": url})).app_url == url
    assert load(MOVIE_APP_URL="http://127.0.0.1:5173/").app_url == "http://127.0.0.1:5173/"


def test_an_invalid_value_is_reported_once_although_it_violates_a_rule_too() -> None:
    with pytest.raises(SettingError) as caught:
        load(**(PRODUCTION | {"MOVIE_PUBLIC_URL": "movies"}))
    assert str(caught.value).count("MOVIE_PUBLIC_URL") == 1


def test_unknown_variables_are_listed_with_the_closest_setting(tmp_path: Path) -> None:
    dotenv = tmp_path / ".env"
    dotenv.write_text("MOVIE_SMPT_URL=smtp://h\nOTHER=1\n")
    settings = Settings.load({"MOVIE_PUBLIC_SERACH": "true", "MOVIEX": "1", "MOVIE_ENV": "local"}, dotenv=dotenv)
    assert settings.unknown == {"MOVIE_PUBLIC_SERACH": "MOVIE_PUBLIC_SEARCH", "MOVIE_SMPT_URL": "MOVIE_SMTP_URL"}
    assert settings.public_search is False


def test_production_rejects_a_source_token_with_a_plain_http_url() -> None:
    environ = PRODUCTION | {"MOVIE_SOURCE_TOKEN": "canary", "MOVIE_SOURCE_URL": "http://third-party.example.com"}
    with pytest.raises(SettingError, match="MOVIE_SOURCE_URL"):
        load(**environ)
    load(**environ | {"MOVIE_SOURCE_URL": "https://third-party.example.com"})
    load(**{name: value for name, value in environ.items() if name != "MOVIE_SOURCE_TOKEN"})


def test_durations_are_shown_in_the_form_that_is_accepted() -> None:
    environ = {
        "MOVIE_EVENTS_KEEP": "90d",
        "MOVIE_CACHE_STALE": "36h",
        "MOVIE_CACHE_FRESH": "10m",
        "MOVIE_SOURCE_DEADLINE": "3s",
        "MOVIE_SOURCE_TIMEOUT": "700ms",
        "MOVIE_LINK_TTL": "1.5ms",
    }
    shown = {name: value for name, value, _ in load(**environ).explain()}
    assert {name: shown[name] for name in environ} == environ
    assert load(**{name: shown[name] for name in environ}) == load(**environ)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://:pass@h:1/0", "redis://:***@h:1/0"),
        ("redis://u:pa/ss@h/0", "redis://u:***@h/0"),
        ("redis://u:pa:ss@h/0", "redis://u:***@h/0"),
        ("redis://u:p:a@ss@h/0", "redis://u:***@h/0"),
        ("redis://u:p?a#s@h/0", "redis://u:***@h/0"),
        ("redis://u:pa\nss@h/0", "redis://u:***@h/0"),
        (
            "smtp://you@example.com:pass@smtp.example.com:587?tls=starttls",
            "smtp://you@example.com:***@smtp.example.com:587?tls=starttls",
        ),
        ("postgresql+asyncpg://app@srv:pa@ss@h/db", "postgresql+asyncpg://app@srv:***@h/db"),
        ("redis://h:1/0?password=pass&db=1", "redis://h:1/0?password=***&db=1"),
        ("redis://h:1/0?db=1&password=pa@ss", "redis://***"),
        ("redis://h/0?password=pa:s&&s", "redis://h/0?password=***"),
        ("redis://u:pa?password=ss@h/0", "redis://***"),
        ("redis://h:1/0", "redis://h:1/0"),
        ("https://h:1/a:b", "https://h:1/a:b"),
    ],
)
def test_a_password_in_a_url_is_not_shown(url: str, shown: str) -> None:
    assert redact_url(url) == shown


@pytest.mark.parametrize("text", ["0", "-1", "off", "1e3", "٣", "1000000", ""])
def test_the_number_of_connections_must_be_a_positive_number(text: str) -> None:
    if text:
        with pytest.raises(SettingError, match="MOVIE_CONNECTIONS_PER_NETWORK"):
            load(MOVIE_CONNECTIONS_PER_NETWORK=text)
    else:
        assert load(MOVIE_CONNECTIONS_PER_NETWORK=text).connections_per_network == 512


@pytest.mark.parametrize(
    "text", ["security@example.com", "http://example.com", "mailto:a", "https://a b", "https://a\nb"]
)
def test_a_security_contact_must_be_a_url(text: str) -> None:
    with pytest.raises(SettingError, match="MOVIE_SECURITY_CONTACT"):
        load(MOVIE_SECURITY_CONTACT=text)


def test_secrets_are_not_shown() -> None:
    settings = load(**PRODUCTION, MOVIE_SOURCE="tmdb", MOVIE_SOURCE_TOKEN="canary")
    shown = {name: value for name, value, _ in settings.explain()}
    assert shown["MOVIE_DATABASE_URL"] == "postgresql+asyncpg://movies:***@db.example.com/movies"
    assert "canary" not in str(shown)
    assert "canary" not in repr(settings)
    assert set(shown) == {name for name, _, _ in reference()}
