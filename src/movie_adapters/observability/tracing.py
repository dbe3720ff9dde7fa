"""Traces for an OpenTelemetry collector: requests, calls of the movie source, SQL statements, Redis commands and tasks.

Spans are created by the documented API of the library, on objects of this service only; nothing is patched. They
contain names and kinds, but no path, query, parameter, address or error message. The reasons are in
`docs/decisions/0011-telemetry.md`.
"""

import asyncio
import contextlib
import logging
import re
from collections.abc import Awaitable, Callable, Coroutine, Iterator, MutableMapping, Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, TypeVar

from movie_core.paging import Window
from movie_core.ports import MovieSource
from movie_core.search.decorator import MovieSourceDecorator
from movie_core.search.movies import FoundMovie, Genre, Movie, MoviePage, MovieQuery

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span, SpanKind, Tracer
    from sqlalchemy.ext.asyncio import AsyncEngine

EXPORT_SECONDS = 2
"""Timeout of the export of one batch, also at the end of the process."""
_TABLE = re.compile(r'\b(?:FROM|INTO|UPDATE)\s+"?([a-z_]+)', re.IGNORECASE)

_Result = TypeVar("_Result")
App = Callable[..., Awaitable[None]]
_log = logging.getLogger(__name__)


class Tracing:
    """Wraps calls in spans. Without a provider, tracing is off and every object is returned unchanged."""

    def __init__(self, provider: "TracerProvider | None" = None) -> None:
        self._provider = provider
        self._tracer: Tracer | None = None if provider is None else provider.get_tracer("movie_search")

    @classmethod
    def for_collector(cls, url: str | None) -> "Tracing":
        """Export spans to the collector at this base URL (`MOVIE_OTLP_URL`); None switches tracing off.

        OpenTelemetry itself reads its standard environment variables for samplers and resources.
        """
        if url is None:
            return cls()
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
        except ModuleNotFoundError:
            _log.warning("MOVIE_OTLP_URL is set, but tracing needs the extra: install movie-search-backend[otel]")
            return cls()
        attributes = {"service.name": "movie-search", "service.version": version("movie-search-backend")}
        provider = TracerProvider(resource=Resource.create(attributes), shutdown_on_exit=False)
        exporter = OTLPSpanExporter(f"{url}/v1/traces", timeout=EXPORT_SECONDS)
        provider.add_span_processor(BatchSpanProcessor(exporter))
        return cls(provider)

    async def close(self) -> None:
        """Export the buffered spans."""
        if self._provider is not None:
            await asyncio.to_thread(self._provider.shutdown)

    def app(self, inner: App, *, request_id: Callable[[Any], str]) -> App:
        """Wrap an ASGI application: one span for each HTTP request, named by its route template. `request_id` takes
        the scope of a request."""
        if self._tracer is None:
            return inner
        from opentelemetry.trace import SpanKind
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        propagator = TraceContextTextMapPropagator()

        async def traced(scope: MutableMapping[str, Any], receive: Any, send: Callable[[Any], Awaitable[None]]) -> None:
            if scope["type"] != "http":
                await inner(scope, receive, send)
                return
            headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
            with self._span(scope["method"], SpanKind.SERVER, context=propagator.extract(headers)) as span:
                span.set_attribute("http.request.method", scope["method"])
                span.set_attribute("movie.request_id", request_id(scope))

                async def send_traced(message: Any) -> None:
                    if message["type"] == "http.response.start":
                        span.set_attribute("http.response.status_code", message["status"])
                        if message["status"] >= 500:
                            _set_error(span, str(message["status"]))
                    await send(message)

                try:
                    await inner(scope, receive, send_traced)
                finally:
                    if (route := scope.get("path_template")) is not None:
                        span.update_name(f"{scope['method']} {route}")
                        span.set_attribute("http.route", route)

        return traced

    def source(self, inner: MovieSource) -> MovieSource:
        """Wrap a remote movie source: one span for each call."""
        return inner if self._tracer is None else _TracedMovieSource(inner, self._call)

    def redis(self, send: Callable[..., Coroutine[Any, Any, Any]]) -> Callable[..., Coroutine[Any, Any, Any]]:
        """Wrap a function that sends Redis commands: one span for each command within a request or a task."""
        if self._tracer is None:
            return send

        async def traced(command: str, *arguments: Any) -> Any:
            return await self._call(f"redis {command}", lambda: send(command, *arguments), {"db.system.name": "redis"})

        return traced

    def instrument(self, engine: "AsyncEngine") -> None:
        """Add listeners to a SQLAlchemy engine: one span for each statement within a request or a task."""
        if self._tracer is None:
            return
        from opentelemetry.trace import SpanKind
        from sqlalchemy import event

        tracer, system = self._tracer, engine.dialect.name

        def begin(_connection: Any, _cursor: Any, statement: str, _parameters: Any, context: Any, _many: bool) -> None:
            if context is None or not _is_traced():
                return
            table = _TABLE.search(statement)
            name = f"{statement.split(maxsplit=1)[0].upper()[:20]} {table[1] if table else ''}".rstrip()
            context.movie_span = tracer.start_span(name, kind=SpanKind.CLIENT, attributes={"db.system.name": system})

        def end(_connection: Any, _cursor: Any, _statement: str, _parameters: Any, context: Any, _many: bool) -> None:
            if (span := getattr(context, "movie_span", None)) is not None:
                span.end()

        def fail(failure: Any) -> None:
            if (span := getattr(failure.execution_context, "movie_span", None)) is not None:
                _set_error(span, type(failure.original_exception).__name__)
                span.end()

        event.listen(engine.sync_engine, "before_cursor_execute", begin)
        event.listen(engine.sync_engine, "after_cursor_execute", end)
        event.listen(engine.sync_engine, "handle_error", fail)

    @contextlib.contextmanager
    def task(self, name: str) -> Iterator[None]:
        """A span for a task. `name` must be a task name of this service, because it is exported."""
        if self._tracer is None:
            yield
            return
        from opentelemetry.trace import SpanKind

        with self._span(f"task {name}", SpanKind.CONSUMER):
            yield

    async def _call(
        self, name: str, call: Callable[[], Awaitable[_Result]], attributes: dict[str, str] | None = None
    ) -> _Result:
        """A span for a call within a request or a task. Background work of a process is not traced."""
        from opentelemetry.trace import SpanKind

        if not _is_traced():
            return await call()
        with self._span(name, SpanKind.CLIENT) as span:
            span.set_attributes(attributes or {})
            return await call()

    @contextlib.contextmanager
    def _span(self, name: str, kind: "SpanKind", context: "Context | None" = None) -> "Iterator[Span]":
        assert self._tracer is not None  # noqa: S101  (checked by the callers)
        with self._tracer.start_as_current_span(
            name, context=context, kind=kind, record_exception=False, set_status_on_exception=False
        ) as span:
            try:
                yield span
            except BaseException as error:
                _set_error(span, getattr(error, "kind", None) or type(error).__name__)
                raise


class _TracedMovieSource(MovieSourceDecorator):
    def __init__(self, inner: MovieSource, call: Callable[..., Coroutine[Any, Any, Any]]) -> None:
        super().__init__(inner)
        self._call = call

    async def search(self, query: MovieQuery, window: Window) -> MoviePage:
        page: MoviePage = await self._call("source search", lambda: self._inner.search(query, window))
        return page

    async def get(self, movie_id: str) -> FoundMovie:
        movie: FoundMovie = await self._call("source get", lambda: self._inner.get(movie_id))
        return movie

    async def suggest(self, text: str, limit: int) -> Sequence[Movie]:
        movies: Sequence[Movie] = await self._call("source suggest", lambda: self._inner.suggest(text, limit))
        return movies

    async def genres(self) -> Sequence[Genre]:
        genres: Sequence[Genre] = await self._call("source genres", self._inner.genres)
        return genres


def _is_traced() -> bool:
    from opentelemetry.trace import get_current_span

    return get_current_span().is_recording()


def _set_error(span: "Span", kind: str) -> None:
    from opentelemetry.trace import StatusCode

    span.set_attribute("error.type", kind)
    span.set_status(StatusCode.ERROR)
