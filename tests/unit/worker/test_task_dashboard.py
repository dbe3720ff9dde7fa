"""Reports to the task dashboard: order, content, limits, and independence of its availability."""

import asyncio
import json

import httpx
import pytest
from taskiq import TaskiqMessage, TaskiqResult

from movie_worker.task_dashboard import MAX_PENDING, TaskDashboardReporter


def message(task_id: str = "a1") -> TaskiqMessage:
    return TaskiqMessage(task_id=task_id, task_name="train", labels={}, args=[], kwargs={})


def result(error: Exception | None = None) -> TaskiqResult[bool]:
    return TaskiqResult(is_err=error is not None, return_value=True, execution_time=0.5, error=error)


class Dashboard:
    """A fake dashboard that records reports and responds to the first one of a task more slowly."""

    def __init__(self, status: int = 204) -> None:
        self.reports: list[tuple[str, dict[str, object]]] = []
        self.status = status
        self.reporter = TaskDashboardReporter("http://dashboard.test", "a token of some length")
        self.reporter._client = httpx.AsyncClient(
            base_url="http://dashboard.test",
            headers=self.reporter._client.headers,
            transport=httpx.MockTransport(self.respond),
        )

    async def respond(self, request: httpx.Request) -> httpx.Response:
        await asyncio.sleep(0.01 if request.url.path.endswith("queued") else 0)
        assert request.headers["access-token"] == "a token of some length"
        self.reports.append((request.url.path, json.loads(request.content)))
        return httpx.Response(self.status)


async def test_reports_of_a_short_task_keep_their_order() -> None:
    dashboard = Dashboard()
    dashboard.reporter.pre_execute(message())
    dashboard.reporter.post_execute(message(), result())
    await dashboard.reporter.shutdown()
    assert [path for path, _ in dashboard.reports] == [
        f"/api/tasks/a1/{event}" for event in ("queued", "started", "executed")
    ]
    assert dashboard.reports[0][1]["taskName"] == "train"
    assert dashboard.reports[2][1]["returnValue"] == {"return_value": {"value": True}}


async def test_a_report_has_the_type_of_an_error_and_not_its_message() -> None:
    dashboard = Dashboard()
    dashboard.reporter.pre_execute(message())
    dashboard.reporter.post_execute(message(), result(RuntimeError("ann@example.com")))
    await dashboard.reporter.shutdown()
    assert dashboard.reports[2][1]["error"] == "RuntimeError"


async def test_an_outage_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    dashboard = Dashboard(status=401)
    for task_id in ("a1", "a2"):
        dashboard.reporter.pre_execute(message(task_id))
        dashboard.reporter.post_execute(message(task_id), result())
    await dashboard.reporter.shutdown()
    assert len(caplog.records) == 1


async def test_pending_reports_are_bounded_and_removed_once_sent() -> None:
    dashboard = Dashboard()
    for n in range(MAX_PENDING + 5):
        dashboard.reporter.pre_execute(message(f"a{n}"))
    for n in range(MAX_PENDING + 5):
        dashboard.reporter.post_execute(message(f"a{n}"), result())
    await dashboard.reporter.shutdown()
    assert len({path.split("/")[3] for path, _ in dashboard.reports}) == MAX_PENDING
    assert dashboard.reporter._pending == {}
