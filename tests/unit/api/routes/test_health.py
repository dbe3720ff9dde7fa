import httpx
import pytest
from tests.support.api import SECRET, InMemory, OpenApi

from movie_adapters.settings.settings import Settings
from movie_api.app import create_app
from movie_core.errors import Unavailable
from movie_core.operations.health import Dependency, Readiness


async def _unavailable() -> str:
    raise Unavailable("connection refused")


async def _up() -> str:
    return "ok"


@pytest.mark.parametrize(
    ("is_required", "status_code", "status"), [(False, 200, "degraded"), (True, 503, "unavailable")]
)
async def test_an_unavailable_dependency_is_reported(
    open_api: OpenApi, is_required: bool, status_code: int, status: str
) -> None:
    readiness = Readiness([Dependency("database", _up, ""), Dependency("source", _unavailable, "", is_required)])
    async with open_api(readiness=readiness) as api:
        response = await api.get("/health/ready")
        assert response.status_code == status_code
        assert response.json() == {
            "status": status,
            "database": {"status": "up", "detail": "ok"},
            "source": {"status": "down", "detail": "connection refused"},
        }
        assert (await api.get("/health/live")).json() == {"status": "live"}


async def test_a_process_that_shuts_down_is_not_ready() -> None:
    app = create_app(Settings.load({"MOVIE_SECRET_KEY": SECRET}, dotenv=None), InMemory())
    app.begin_draining()
    transport = httpx.ASGITransport(app=app)  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as client:
        response = await client.get("/health/ready")
        assert (response.status_code, response.json()["status"]) == (503, "unavailable")
        assert int(response.headers["retry-after"]) > 0
