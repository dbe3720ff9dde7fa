"""Adapters that the container selects by the settings, and validation of the container."""

import re
from pathlib import Path
from typing import Any

import pytest
from dishka import Provider, Scope, provide
from dishka.exceptions import ImplicitOverrideDetectedError, NothingOverriddenError
from tests.support.documents import ROOT

from movie_adapters.settings.settings import Settings
from movie_adapters.wiring.connections import SharedRedis
from movie_adapters.wiring.providers import create_container
from movie_core.accounts.account_data import AccountData
from movie_core.accounts.outbox_dispatcher import OutboxDispatcher
from movie_core.accounts.passwords import Passwords
from movie_core.accounts.registration import Registration
from movie_core.accounts.session_registry import SessionRegistry
from movie_core.accounts.session_tokens import SessionTokens
from movie_core.clock import Clock
from movie_core.discovery.event_recorder import EventRecorder
from movie_core.discovery.trending_service import TrendingService
from movie_core.errors import InvalidEmail
from movie_core.operations.administration import MailAdministration
from movie_core.operations.health import Readiness
from movie_core.operations.maintenance import Maintenance
from movie_core.ports import AccessTokens, AddressSyntax, Recommender
from movie_core.testing import NOW

SRC = ROOT / "src"


async def shared(**environ: str) -> tuple[SharedRedis, list[str]]:
    """The Redis clients, and the names of the dependencies that the readiness probe checks."""
    container = create_container(Settings.load(environ, dotenv=None))
    try:
        return await container.get(SharedRedis), [
            result.dependency.name for result in await (await container.get(Readiness)).results()
        ]
    finally:
        await container.close()


async def test_without_a_redis_url_there_is_no_client(tmp_path: Path) -> None:
    redis, names = await shared(MOVIE_DATA_DIR=str(tmp_path))
    assert (redis.client, redis.cache_store()) == (None, None)
    assert names == ["database"]


async def test_one_redis_has_one_client(tmp_path: Path) -> None:
    redis, names = await shared(MOVIE_DATA_DIR=str(tmp_path), MOVIE_REDIS_URL=f"unix://{tmp_path}/absent")
    assert redis.client is redis.cache_client is not None
    assert names == ["database", "redis"]


async def test_the_cache_redis_has_a_client_of_its_own(tmp_path: Path) -> None:
    redis, names = await shared(
        MOVIE_DATA_DIR=str(tmp_path),
        MOVIE_REDIS_URL=f"unix://{tmp_path}/absent",
        MOVIE_CACHE_REDIS_URL=f"unix://{tmp_path}/cache",
    )
    assert redis.client is not redis.cache_client
    assert redis.cache_store() is not None
    assert names == ["database", "redis", "cache"]


async def test_the_cache_redis_alone_is_not_the_broker(tmp_path: Path) -> None:
    redis, _ = await shared(MOVIE_DATA_DIR=str(tmp_path), MOVIE_CACHE_REDIS_URL=f"unix://{tmp_path}/cache")
    assert redis.client is None
    assert redis.cache_store() is not None


class FixedClock(Provider):
    scope = Scope.APP

    @provide(override=True)
    def clock(self) -> Clock:
        return lambda: NOW


class SecondClock(Provider):
    scope = Scope.APP

    @provide
    def clock(self) -> Clock:
        return lambda: NOW


class AnotherType(Provider):
    scope = Scope.APP

    @provide(override=True)
    def number(self) -> int:
        return 1


WITH_CLOCK = (
    AccessTokens,
    AccountData,
    EventRecorder,
    MailAdministration,
    Maintenance,
    OutboxDispatcher,
    Passwords,
    Recommender,
    Registration,
    SessionRegistry,
    SessionTokens,
    TrendingService,
)


async def test_services_get_the_provided_clock(tmp_path: Path) -> None:
    container = create_container(Settings.load({"MOVIE_DATA_DIR": str(tmp_path)}, dotenv=None), FixedClock())
    try:
        services: list[Any] = [await container.get(service) for service in WITH_CLOCK]
        assert [service._clock() for service in services] == [NOW] * len(WITH_CLOCK)
    finally:
        await container.close()


@pytest.mark.parametrize(
    ("provider", "error"), [(SecondClock(), ImplicitOverrideDetectedError), (AnotherType(), NothingOverriddenError)]
)
def test_overrides_must_be_declared_and_override_something(provider: Provider, error: type[Exception]) -> None:
    with pytest.raises(error):
        create_container(Settings.load({}, dotenv=None), provider)


def test_no_provider_decorates_because_an_override_would_drop_the_decorator() -> None:
    """Strict validation does not detect that. Decorated ports are composed by hand in their factory."""
    providers = [text for path in SRC.rglob("*.py") if "from dishka import" in (text := path.read_text())]
    assert len(providers) > 5
    assert not [text for text in providers if re.search(r"\bdecorate\b", text)]


async def test_special_use_domains_are_rejected_in_production_only(tmp_path: Path) -> None:
    production = {
        "MOVIE_ENV": "production",
        "MOVIE_PUBLIC_URL": "https://movies.example.com",
        "MOVIE_DATABASE_URL": "postgresql+asyncpg://movies@db.example.com/movies",
        "MOVIE_REDIS_URL": "redis://redis.example.com/0",
        "MOVIE_SECRET_KEY": "0123456789-0123456789-0123456789",
        "MOVIE_SMTP_URL": "smtps://smtp.example.com",
    }
    for environ in ({}, production):
        container = create_container(Settings.load({"MOVIE_DATA_DIR": str(tmp_path)} | environ, dotenv=None))
        syntax = await container.get(AddressSyntax)
        await container.close()
        assert syntax.split("ann@example.com") == ("ann", "example.com")
        if environ:
            with pytest.raises(InvalidEmail, match="special use"):
                syntax.split("ann@corp.local")
        else:
            assert syntax.split("ann@corp.local") == ("ann", "corp.local")
