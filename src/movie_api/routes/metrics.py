"""`/metrics`: the metrics of this process, for Prometheus."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

from dishka import FromDishka, Provider, Scope, provide
from litestar import Response, get
from litestar.exceptions import NotFoundException

from movie_adapters.observability.backlog import BacklogGauges
from movie_adapters.observability.metrics import (
    Metrics,
    MetricsPeers,
    RequestCounts,
    SourceMetrics,
    is_scrape_authorized,
)
from movie_adapters.settings.settings import Settings
from movie_adapters.wiring.connections import SharedRedis, UpstreamSource
from movie_api.operations import Access, Operation
from movie_api.problems import AnyRequest
from movie_core.discovery.event_recorder import EventRecorder

METRICS_PATH = "/metrics"


class MetricsProvider(Provider):
    """Provides the metrics of a server process and of its peers, which share `folder`."""

    scope = Scope.APP

    def __init__(self, requests: RequestCounts, folder: Path | None = None) -> None:
        super().__init__()
        self._requests = requests
        self._folder = folder

    @provide
    def metrics(
        self,
        settings: Settings,
        backlog: BacklogGauges,
        recorder: EventRecorder,
        upstream: UpstreamSource,
        redis: SharedRedis,
    ) -> Metrics:
        source = upstream.movie_source
        return Metrics(
            backlog,
            source_name=settings.source,
            requests=self._requests,
            recorder=recorder,
            source=cast(SourceMetrics, source) if hasattr(source, "outcomes") else None,
            redis=redis.outage_checks(),
        )

    @provide
    async def peers(self, metrics: Metrics) -> AsyncIterator[MetricsPeers]:
        peers = MetricsPeers(self._folder, metrics)
        await peers.open()
        yield peers
        peers.close()


@get(
    METRICS_PATH,
    operation=Operation(
        id="showMetrics",
        tag="operation",
        summary="Prometheus metrics; in production only with the metrics token",
        description=(
            "Returns the metrics of all processes of this server in the text format of Prometheus. With "
            "`MOVIE_METRICS_TOKEN`, it requires that token as a bearer token; without it, production returns "
            "`not_found`."
        ),
        access=Access.ANYONE,
        response={"text/plain": str},
        errors=("not_found",),
    ),
)
async def show_metrics(
    request: AnyRequest, settings: FromDishka[Settings], peers: FromDishka[MetricsPeers]
) -> Response[bytes]:
    if not is_scrape_authorized(settings, request.headers.getall("authorization", [])):
        raise NotFoundException
    body, media_type = await peers.text()
    return Response(body, media_type=media_type, headers={"cache-control": "no-store"})
