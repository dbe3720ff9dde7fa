"""`/metrics`: what this process tells of itself, for Prometheus."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

from dishka import FromDishka, Provider, Scope, provide
from litestar import Request, Response, get
from litestar.exceptions import NotFoundException

from movie_adapters.observability.metrics import (
    BacklogGauges,
    Metrics,
    MetricsPeers,
    RequestCounts,
    TellingSource,
    is_admitted,
)
from movie_adapters.settings.settings import Settings
from movie_adapters.wiring.providers import PatientSource, SharedRedis
from movie_core.discovery.event_recorder import EventRecorder

METRICS_PATH = "/metrics"


class Telling(Provider):
    """The metrics of a process that serves, and of those beside it that share `folder`."""

    scope = Scope.APP

    def __init__(self, requests: RequestCounts, folder: Path | None = None) -> None:
        super().__init__()
        self._requests = requests
        self._folder = folder

    @provide
    def metrics(
        self,
        settings: Settings,
        stock: BacklogGauges,
        recorder: EventRecorder,
        patient: PatientSource,
        redis: SharedRedis,
    ) -> Metrics:
        source = patient.source
        return Metrics(
            stock,
            source_name=settings.source,
            requests=self._requests,
            recorder=recorder,
            source=cast(TellingSource, source) if hasattr(source, "outcomes") else None,
            redis=redis.states(),
        )

    @provide
    async def siblings(self, metrics: Metrics) -> AsyncIterator[MetricsPeers]:
        siblings = MetricsPeers(self._folder, metrics)
        await siblings.open()
        yield siblings
        siblings.close()


@get(METRICS_PATH)
async def show_metrics(
    request: Request[Any, Any, Any], settings: FromDishka[Settings], siblings: FromDishka[MetricsPeers]
) -> Response[bytes]:
    if not is_admitted(settings, request.headers.getall("authorization", [])):
        raise NotFoundException
    body, media_type = await siblings.text()
    return Response(body, media_type=media_type, headers={"cache-control": "no-store"})
