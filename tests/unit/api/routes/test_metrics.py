"""`/metrics`, and the metrics of requests."""

import logging

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.support.api import AUTHENTICATION, Api, OpenApi, bearer

from movie_api import response_cache
from movie_api.middleware import compose
from movie_core.discovery.event_recorder import EventRecorder

PRODUCTION = {
    "MOVIE_ENV": "production",
    "MOVIE_PUBLIC_URL": "https://movies.test",
    "MOVIE_ALLOWED_HOSTS": "127.0.0.1",
    "MOVIE_DATABASE_URL": "postgresql+asyncpg://db/movies",
    "MOVIE_REDIS_URL": "redis://127.0.0.1:1",
    "MOVIE_SECRET_KEY": "kX9mB2vQ7wL4nR8tY3pF6sD1gH5jC0zA",
    "MOVIE_SMTP_URL": "smtps://mail.test",
}
TOKEN = "only-for-metrics-of-tests"


async def request_counts(api: Api) -> dict[tuple[str, str, str], float]:
    """Number of requests by route, method and status class."""
    response = await api.get("/metrics")
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].startswith("text/plain; version=")
    return {
        (sample.labels["route"], sample.labels["method"], sample.labels["status"]): sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
        if sample.name == "movie_request_duration_seconds_count"
    }


async def test_requests_are_counted_by_route_and_not_by_path(api: Api) -> None:
    for path in (
        "/api/v1/movies/?query=heat",
        "/api/v1/movies/tt1/",
        "/api/v1/movies/tt2/",
        "/made/up",
        "/made/up/too",
    ):
        await api.get(path)
    await api.head("/health/live")
    await api.delete("/health/live")
    await api.request("BREW", "/health/live")
    await api.get("/health/live", headers={"host": "elsewhere.test"})
    await api.get("/docs/assets/swagger-ui.css")
    await api.get("/docs/assets/none.css")
    await api.get("/", headers={"host": "elsewhere.test"})
    counts = await request_counts(api)
    assert counts == {
        ("/api/v1/movies", "GET", "4xx"): 1,
        ("/api/v1/movies/{movie_id}", "GET", "4xx"): 2,
        ("none", "GET", "4xx"): 3,
        ("/health/live", "HEAD", "2xx"): 1,
        ("/health/live", "GET", "2xx"): 1,
        ("none", "DELETE", "4xx"): 1,
        ("none", "other", "4xx"): 1,
        ("/docs/assets/{name}", "GET", "2xx"): 1,
        ("/docs/assets/{name}", "GET", "4xx"): 1,
    }


async def test_the_cached_search_middleware_counts_as_the_handler_does(
    open_api: OpenApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(response_cache, "MICRO_TTL", 60)
    async with open_api(MOVIE_LIMIT_SEARCH="off") as api:
        for _ in range(3):
            assert (await api.get("/api/v1/movies/?query=river")).status_code == 200
        counts = await request_counts(api)
        assert counts == {("/api/v1/movies", "GET", "2xx"): 3}

        async def unreachable(*_: object) -> None:
            raise AssertionError("the request reached the framework")

        await api.through(compose(unreachable, api.application.layers)).get("/api/v1/movies/?query=river")
        assert (await request_counts(api))["/api/v1/movies", "GET", "2xx"] == 4
        assert (await api.app.state.dishka_container.get(EventRecorder)).searches_by_status == {"live": 4}


async def test_in_production_metrics_require_the_token(open_api: OpenApi) -> None:
    async with open_api(**PRODUCTION, MOVIE_METRICS_TOKEN=TOKEN) as api:
        hidden = [
            await api.get("/metrics"),
            await api.get("/metrics", headers=bearer("another-token-for-metrics")),
            await api.get("/no/such/page"),
        ]
        seen = await api.get("/metrics", headers=bearer(TOKEN))
        elsewhere = await api.get("/metrics", headers=bearer(TOKEN) | {"host": "10.1.2.3:8000"})
    assert [response.status_code for response in hidden] == [404, 404, 404]
    unlike = {"request_id"}
    bodies = [{name: counts for name, counts in response.json().items() if name not in unlike} for response in hidden]
    assert bodies[0] == bodies[1] == bodies[2]
    assert (seen.status_code, elsewhere.status_code) == (200, 200)
    assert seen.headers["cache-control"] == "no-store"
    assert TOKEN not in seen.text


async def test_in_production_metrics_are_off_without_a_token_setting(open_api: OpenApi) -> None:
    async with open_api(**PRODUCTION) as api:
        for headers in ({}, bearer(""), bearer("None"), bearer(TOKEN)):
            assert (await api.get("/metrics", headers=headers)).status_code == 404


async def test_the_access_log_has_the_user_id(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    ann = await api.activated()
    me = (await api.get("/api/v1/users/me/export/", headers=ann)).json()
    with caplog.at_level(logging.INFO):
        for path, headers in (
            ("/api/v1/users/me/", ann),
            ("/api/v1/movies/?query=river", ann),
            ("/api/v1/movies/?query=river", {}),
            (f"{AUTHENTICATION}sessions/", bearer("none")),
        ):
            await api.get(path, headers=headers)
    counts = [getattr(record, "user_id", "") for record in caplog.records if record.name == "movie_api.access"]
    assert counts[0] == counts[1] is not None
    assert counts[2:] == [None, None]
    assert str(counts[0]) in str(me)
    assert "192.0.2.1" not in caplog.text
