"""The page that shows tasks is told of them, and nothing depends on it."""

import asyncio
import json

import httpx
import pytest
from taskiq import TaskiqMessage, TaskiqResult

from movie_worker.task_page import WAITING, ShowTasks


def message(task_id: str = "a1") -> TaskiqMessage:
    return TaskiqMessage(task_id=task_id, task_name="train", labels={}, args=[], kwargs={})


def result(error: Exception | None = None) -> TaskiqResult[bool]:
    return TaskiqResult(is_err=error is not None, return_value=True, execution_time=0.5, error=error)


class Page:
    """Answers in place of the page, slower for what comes first, and keeps what it was told."""

    def __init__(self, status: int = 204) -> None:
        self.told: list[tuple[str, dict[str, object]]] = []
        self.status = status
        self.shown = ShowTasks("http://page.test", "a token of some length")
        self.shown._client = httpx.AsyncClient(
            base_url="http://page.test", headers=self.shown._client.headers, transport=httpx.MockTransport(self.answer)
        )

    async def answer(self, request: httpx.Request) -> httpx.Response:
        await asyncio.sleep(0.01 if request.url.path.endswith("queued") else 0)
        assert request.headers["access-token"] == "a token of some length"
        self.told.append((request.url.path, json.loads(request.content)))
        return httpx.Response(self.status)


async def test_a_task_is_told_in_order_however_short_it_was() -> None:
    page = Page()
    page.shown.pre_execute(message())
    page.shown.post_execute(message(), result())
    await page.shown.shutdown()
    assert [path for path, _ in page.told] == [f"/api/tasks/a1/{event}" for event in ("queued", "started", "executed")]
    assert page.told[0][1]["taskName"] == "train"
    assert page.told[2][1]["returnValue"] == {"return_value": {"value": True}}


async def test_the_page_learns_which_error_it_was_and_not_what_it_said() -> None:
    page = Page()
    page.shown.pre_execute(message())
    page.shown.post_execute(message(), result(RuntimeError("ann@example.com")))
    await page.shown.shutdown()
    assert page.told[2][1]["error"] == "RuntimeError"


async def test_a_page_that_refuses_is_complained_about_once(caplog: pytest.LogCaptureFixture) -> None:
    page = Page(status=401)
    for task_id in ("a1", "a2"):
        page.shown.pre_execute(message(task_id))
        page.shown.post_execute(message(task_id), result())
    await page.shown.shutdown()
    assert len(caplog.records) == 1


async def test_what_waits_for_the_page_is_bounded_and_forgotten_once_told() -> None:
    page = Page()
    for n in range(WAITING + 5):
        page.shown.pre_execute(message(f"a{n}"))
    for n in range(WAITING + 5):
        page.shown.post_execute(message(f"a{n}"), result())
    await page.shown.shutdown()
    assert len({path.split("/")[3] for path, _ in page.told}) == WAITING
    assert page.shown._telling == {}
