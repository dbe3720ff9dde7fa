"""Fixtures: clients of the API with in-memory adapters."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from litestar import Litestar
from tests.support.api import SECRET, Api, InMemory, OpenApi

from movie_adapters.settings.settings import Settings
from movie_api.app import create_app, create_litestar
from movie_core.clock import Clock, utc_now
from movie_core.operations.health import Readiness
from movie_core.ports import (
    MovieSource,
)

_unused_routes: dict[frozenset[tuple[str, str]], list[Litestar]] = {}
"""Routes by environment, because creating them takes longer than most tests. They have no state, but belong to one
application at a time."""


@pytest.fixture(scope="session")
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
        settings, memory = Settings.load(environ, dotenv=None), InMemory(source, readiness, clock=clock)
        unused = _unused_routes.setdefault(frozenset(environ.items()), [])
        routes = unused.pop() if unused else create_litestar(settings)
        handler = routes.asgi_handler
        async with Api(create_app(settings, memory, litestar=routes), memory) as client:
            yield client
        routes.asgi_handler = handler  # without the container of this application
        unused.append(routes)

    return opened


@pytest.fixture
async def api(open_api: OpenApi) -> AsyncIterator[Api]:
    async with open_api() as api:
        yield api
