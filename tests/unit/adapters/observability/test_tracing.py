"""Spans of requests, tasks and their calls, exported to memory."""

import builtins
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from movie_adapters.observability.tracing import Tracing
from movie_adapters.sources.http import SourceFault
from movie_adapters.sql.engine import create_engine
from movie_core import MemoryMovieCatalogue, MoviePage, MovieQuery, Window

CANARY = "canary-that-must-not-be-exported"


class Traced:
    """A `Tracing` and its finished spans."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracing = Tracing(provider)

    @property
    def spans(self) -> dict[str, ReadableSpan]:
        return {span.name: span for span in self._exporter.get_finished_spans()}


@pytest.fixture
async def traced() -> AsyncIterator[Traced]:
    traced = Traced()
    yield traced
    await traced.tracing.close()


def scope_of(path: str, headers: list[tuple[bytes, bytes]] | None = None) -> dict[str, Any]:
    return {
        "type": "http",
        "method": "GET",
        "path": path,
        "query_string": CANARY.encode(),
        "headers": headers or [],
        "client": ("192.0.2.7", 1),
    }


def request_id(_scope: Any) -> str:
    return "r-1"


async def request(app: Any, scope: dict[str, Any]) -> None:
    async def nothing(*_: Any) -> None:
        pass

    await app(scope, nothing, nothing)


async def test_a_request_span_has_the_route_as_its_name_and_its_calls_as_children(
    traced: Traced, tmp_path: Path
) -> None:
    tracing = traced.tracing
    engine = create_engine(f"sqlite+aiosqlite:///{tmp_path}/traced.db")
    tracing.instrument(engine)

    async def send(*_: object) -> str:
        return "PONG"

    async def routes(scope: dict[str, Any], _receive: Any, send_message: Any) -> None:
        await tracing.source(MemoryMovieCatalogue()).search(MovieQuery(CANARY), Window())
        await tracing.redis(send)("GET", CANARY)
        async with engine.connect() as connection:
            await connection.execute(text("SELECT name FROM sqlite_master WHERE name = :name"), {"name": CANARY})
        scope["path_template"] = "/movies/{movie_id}"
        await send_message({"type": "http.response.start", "status": 200, "headers": []})

    await request(tracing.app(routes, request_id=request_id), scope_of(f"/movies/{CANARY}"))
    await engine.dispose()
    spans = traced.spans
    names = {"GET /movies/{movie_id}", "source search", "redis GET", "SELECT sqlite_master"}
    assert names <= set(spans)
    server_span = spans["GET /movies/{movie_id}"]
    assert dict(server_span.attributes or {}) == {
        "http.request.method": "GET",
        "http.route": "/movies/{movie_id}",
        "http.response.status_code": 200,
        "movie.request_id": "r-1",
    }
    for name in names - {server_span.name}:
        assert spans[name].parent == server_span.context
    exported = "".join(span.to_json() for span in spans.values())
    assert CANARY not in exported
    assert "192.0.2.7" not in exported


async def test_a_request_continues_the_trace_of_its_traceparent_header(traced: Traced) -> None:
    async def routes(*_: object) -> None:
        pass

    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    await request(traced.tracing.app(routes, request_id=request_id), scope_of("/", [(b"traceparent", parent.encode())]))
    (span,) = traced.spans.values()
    assert span.context is not None
    assert f"{span.context.trace_id:032x}" == parent.split("-")[1]


async def test_error_spans_have_the_kind_of_the_error_and_not_its_message(traced: Traced, tmp_path: Path) -> None:
    tracing = traced.tracing
    engine = create_engine(f"sqlite+aiosqlite:///{tmp_path}/traced.db")
    tracing.instrument(engine)

    class Failing(MemoryMovieCatalogue):
        async def search(self, query: MovieQuery, window: Window) -> MoviePage:
            raise SourceFault("timeout", CANARY)

    async def routes(_scope: Any, _receive: Any, _send: Any) -> None:
        with pytest.raises(SourceFault):
            await tracing.source(Failing()).search(MovieQuery(), Window())
        async with engine.connect() as connection:
            with pytest.raises(SQLAlchemyError):
                await connection.execute(text("SELECT * FROM none_such WHERE name = :name"), {"name": CANARY})
        raise ValueError(CANARY)

    with pytest.raises(ValueError):
        await request(tracing.app(routes, request_id=request_id), scope_of("/"))
    await engine.dispose()
    kinds = {name: (span.attributes or {}).get("error.type") for name, span in traced.spans.items()}
    assert kinds["source search"] == "timeout"
    assert kinds["SELECT none_such"] == "OperationalError"
    assert kinds["GET"] == "ValueError"
    assert {traced.spans[name].status.status_code for name in ("source search", "GET")} == {StatusCode.ERROR}
    assert CANARY not in "".join(span.to_json() for span in traced.spans.values())


async def test_background_work_is_not_traced(traced: Traced, tmp_path: Path) -> None:
    tracing = traced.tracing
    engine = create_engine(f"sqlite+aiosqlite:///{tmp_path}/traced.db")
    tracing.instrument(engine)

    async def send(*_: object) -> None:
        pass

    await tracing.redis(send)("PING")
    await tracing.source(MemoryMovieCatalogue()).genres()
    async with engine.connect() as connection:
        await connection.execute(text("SELECT 1"))
    await engine.dispose()
    assert traced.spans == {}
    with tracing.task("train"):
        await tracing.redis(send)("PING")
    assert set(traced.spans) == {"task train", "redis PING"}


async def test_without_a_collector_every_object_is_returned_unchanged() -> None:
    tracing = Tracing.for_collector(None)
    source = MemoryMovieCatalogue()

    async def app(*_: object) -> None:
        pass

    assert tracing.source(source) is source
    assert tracing.app(app, request_id=request_id) is app
    assert tracing.redis(app) is app
    with tracing.task("train"):
        pass
    await tracing.close()


async def test_without_the_extra_one_warning_names_it(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real = builtins.__import__

    def absent(name: str, *rest: Any) -> Any:
        if name.startswith("opentelemetry"):
            raise ModuleNotFoundError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", absent)
    with caplog.at_level(logging.WARNING):
        tracing = Tracing.for_collector("http://127.0.0.1:4318")
    monkeypatch.undo()
    assert [record.getMessage() for record in caplog.records] == [
        "MOVIE_OTLP_URL is set, but tracing needs the extra: install movie-search-backend[otel]"
    ]
    assert tracing.source(source := MemoryMovieCatalogue()) is source
