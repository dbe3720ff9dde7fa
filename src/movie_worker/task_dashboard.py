"""Reports the start and the end of each task to taskiq-dashboard, a web page that shows tasks."""

import asyncio
import contextlib
import logging
from datetime import UTC, datetime
from typing import Any

import httpx
from taskiq import TaskiqMessage, TaskiqMiddleware, TaskiqResult

from movie_core.outage_log import OutageLog

REQUEST_TIMEOUT = 2.0
"""Timeout of each of the three requests per task, in seconds."""
MAX_PENDING = 100
"""Tasks with unfinished reports; tasks beyond that limit are not reported."""

_log = logging.getLogger(__name__)


class TaskDashboardReporter(TaskiqMiddleware):
    """Sends reports in the background: no task waits for the dashboard, or fails while it is unavailable."""

    def __init__(self, url: str, token: str) -> None:
        super().__init__()
        self._client = httpx.AsyncClient(base_url=url, headers={"access-token": token}, timeout=REQUEST_TIMEOUT)
        self._pending: dict[str, asyncio.Task[None]] = {}
        self._outage = OutageLog(
            _log,
            unavailable="task dashboard unavailable, tasks are not reported: %s",
            recovered="task dashboard available again",
        )

    def pre_execute(self, message: TaskiqMessage) -> TaskiqMessage:
        if len(self._pending) < MAX_PENDING:
            task = {"taskName": message.task_name, "worker": "movie-search", "args": message.args}
            # The processes that queue tasks do not report them, and the dashboard ignores tasks that were not queued.
            events = {"queued": task | {"queuedAt": _now()}, "started": task | {"startedAt": _now()}}
            self._pending[message.task_id] = asyncio.create_task(self._report(message.task_id, events))
        return message

    def post_execute(self, message: TaskiqMessage, result: TaskiqResult[Any]) -> None:
        start_report = self._pending.get(message.task_id)
        if start_report is None:
            return
        event = {
            "finishedAt": _now(),
            "executionTime": result.execution_time,
            "error": None if result.error is None else type(result.error).__name__,
            # The dashboard cannot show a return value that is not an object.
            "returnValue": {"return_value": {"value": result.return_value}},
        }
        end_report = asyncio.create_task(self._report(message.task_id, {"executed": event}, start_report))
        self._pending[message.task_id] = end_report
        end_report.add_done_callback(lambda _: self._pending.pop(message.task_id))

    async def _report(self, task_id: str, events: dict[str, Any], previous: "asyncio.Task[None] | None" = None) -> None:
        if previous is not None:
            await previous
        try:
            for event, body in events.items():
                (await self._client.post(f"/api/tasks/{task_id}/{event}", json=body)).raise_for_status()
        except (httpx.HTTPError, ValueError, TypeError) as error:
            self._outage.failed(type(error).__name__)
        else:
            self._outage.recovered()

    async def shutdown(self) -> None:
        """Waits for pending reports, for half of the two seconds that the worker allows for shutdown."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(REQUEST_TIMEOUT / 2):
                await asyncio.gather(*self._pending.values())
        await self._client.aclose()


def _now() -> str:
    return datetime.now(UTC).replace(tzinfo=None).isoformat()  # the dashboard rejects a time zone
