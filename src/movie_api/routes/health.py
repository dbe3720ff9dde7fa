"""`/health/…`: liveness and readiness probes."""

from dishka import FromDishka
from litestar import Response, get

from movie_api.problems import AnyRequest
from movie_api.responses import NO_STORE, json_response
from movie_core.operations.health import Readiness, Status


@get("/health/live")
async def show_liveness() -> Response[bytes]:
    return json_response({"status": "live"}, headers=NO_STORE)


@get("/health/ready")
async def show_readiness(request: AnyRequest, readiness: FromDishka[Readiness]) -> Response[bytes]:
    status, results = await readiness.status()
    if request.app.state.is_draining:
        status = Status.UNAVAILABLE
    dependencies = {
        result.dependency.name: {"status": "up" if result.is_reachable else "down", "detail": result.detail}
        for result in results
    }
    content = {"status": status.value} | dependencies
    if status is Status.UNAVAILABLE:
        return json_response(content, status_code=503, headers={**NO_STORE, "retry-after": "5"})
    return json_response(content, headers=NO_STORE)


HEALTH_ROUTES = (show_liveness, show_readiness)
