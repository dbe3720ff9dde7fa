"""Fixtures: clients of the API with in-memory adapters."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from tests.support.api import SECRET, Api, InMemory, OpenApi

from movie_adapters.settings.settings import Settings
from movie_api.app import create_app
from movie_core.clock import Clock, utc_now
from movie_core.operations.health import Readiness
from movie_core.ports import (
    MovieSource,
)


@pytest.fixture
def open_api() -> OpenApi:
    """Opens a client of the API; takes settings and replacements by keyword."""

    @asynccontextmanager
    async def opened(
        source: MovieSource | None = None,
        readiness: Readiness | None = None,
        clock: Clock = utc_now,
        **environ: str,
    ) -> AsyncIterator[Api]:
        environ = {"MOVIE_SECRET_KEY": SECRET, "MOVIE_PUBLIC_SEARCH": "true"} | environ
        memory = InMemory(source, readiness, clock=clock)
        async with Api(create_app(Settings.load(environ, dotenv=None), memory), memory) as client:
            yield client

    return opened


@pytest.fixture
async def api(open_api: OpenApi) -> AsyncIterator[Api]:
    async with open_api() as api:
        yield api
