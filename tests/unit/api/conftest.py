"""The API over movies in memory, called without a socket."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import httpx
import pytest
from dishka import Provider, Scope, provide

from movie_adapters.settings import Settings
from movie_api.app import create_app
from movie_core import MemoryCatalogue, MemorySeenMovies
from movie_core.health import Readiness
from movie_core.ports import Catalogue, MovieSource, SeenMovies
from movie_core.testing import SAMPLE

OpenApi = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]


class InMemory(Provider):
    """Stands in for every adapter that reaches out of the process."""

    scope = Scope.APP

    def __init__(self, source: MovieSource | None = None, readiness: Readiness | None = None) -> None:
        super().__init__()
        self._movies = MemoryCatalogue(SAMPLE)
        self._source = source or self._movies
        self._readiness = readiness or Readiness([])

    @provide(override=True)
    def catalogue(self) -> Catalogue:
        return self._movies

    @provide(override=True)
    def source(self) -> MovieSource:
        return self._source

    @provide(override=True)
    def seen(self) -> SeenMovies:
        return MemorySeenMovies(self._movies)

    @provide(override=True)
    def readiness(self) -> Readiness:
        return self._readiness


@pytest.fixture
def open_api() -> OpenApi:
    """Opens a client of the API; environment variables and stand-ins by keyword."""

    @asynccontextmanager
    async def opened(
        source: MovieSource | None = None, readiness: Readiness | None = None, **environ: str
    ) -> AsyncIterator[httpx.AsyncClient]:
        app = create_app(Settings.load(environ, dotenv=None), InMemory(source, readiness))
        transport: Any = httpx.ASGITransport(app=app)  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as client:
            yield client

    return opened


@pytest.fixture
async def api(open_api: OpenApi) -> AsyncIterator[httpx.AsyncClient]:
    async with open_api() as client:
        yield client
