"""`/health/…`: liveness and readiness probes."""

from typing import Annotated, Any, ClassVar

import msgspec
from dishka import FromDishka
from litestar import Response, get

from movie_api.operations import Access, Operation, OtherResponse
from movie_api.responses import NO_STORE, json_response
from movie_api.schemas import JsonObject, documented
from movie_core.operations.health import Readiness, Status


class Draining:
    """Whether this process is shutting down: it completes its requests, and reports that it is not ready for others."""

    __slots__ = ("has_begun",)

    def __init__(self) -> None:
        self.has_begun = False


class Live(JsonObject):
    """The result of the liveness probe."""

    status: Annotated[str, documented(const="live")]


class DependencyHealth(msgspec.Struct):
    """The state of a dependency. Later versions may add fields."""

    status: Annotated[str, documented(enum=["up", "down"])]
    detail: str


class Health(msgspec.Struct):
    """The readiness of the process, and one member for each dependency. Later versions may add dependencies."""

    SCHEMA: ClassVar[dict[str, Any]] = {"additionalProperties": DependencyHealth}

    status: Status


@get(
    "/health/live",
    operation=Operation(
        id="isLive",
        tag="operation",
        summary="Liveness probe; checks no dependency",
        description="Succeeds while the process handles requests; an orchestrator restarts a process that fails it.",
        access=Access.ANYONE,
        response=Live,
    ),
)
async def show_liveness() -> Response[bytes]:
    return json_response(Live("live"), headers=NO_STORE)


@get(
    "/health/ready",
    operation=Operation(
        id="isReady",
        tag="operation",
        summary="Readiness probe, with the status of every dependency",
        description=(
            "States whether the process can serve requests: `ready`, `degraded` if it serves without a dependency that "
            "is down, or `unavailable`. A load balancer sends no requests to a process that returns 503."
        ),
        access=Access.ANYONE,
        response=Health,
        other_responses={
            503: OtherResponse(
                description="Not ready: a required dependency is down, or the process is shutting down.",
                headers=("Retry-After",),
                content=Health,
            )
        },
    ),
)
async def show_readiness(readiness: FromDishka[Readiness], draining: FromDishka[Draining]) -> Response[bytes]:
    status, results = await readiness.status()
    if draining.has_begun:
        status = Status.UNAVAILABLE
    dependencies = {
        result.dependency.name: DependencyHealth("up" if result.is_reachable else "down", result.detail)
        for result in results
    }
    content = {"status": status, **dependencies}
    if status is Status.UNAVAILABLE:
        return json_response(content, status_code=503, headers={**NO_STORE, "retry-after": "5"})
    return json_response(content, headers=NO_STORE)


HEALTH_ROUTES = (show_liveness, show_readiness)
