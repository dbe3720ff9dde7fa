"""What a worker tells taskiq-dashboard, a page that shows tasks: of each one that it began, and how it ended."""

import asyncio
import contextlib
import logging
from datetime import UTC, datetime
from typing import Any

import httpx
from taskiq import TaskiqMessage, TaskiqMiddleware, TaskiqResult

TELL_SECONDS = 2.0
"""How long the page may take for each of three calls."""
WAITING = 100
"""Tasks that it is still to be told of; what is beyond isn't shown."""

_log = logging.getLogger(__name__)


class ShowTasks(TaskiqMiddleware):
    """Tells the page beside the tasks: nobody waits for it, and one that is away shows nothing."""

    def __init__(self, url: str, token: str) -> None:
        super().__init__()
        self._client = httpx.AsyncClient(base_url=url, headers={"access-token": token}, timeout=TELL_SECONDS)
        self._telling: dict[str, asyncio.Task[None]] = {}
        self._is_away = False

    def pre_execute(self, message: TaskiqMessage) -> TaskiqMessage:
        if len(self._telling) < WAITING:
            known = {"taskName": message.task_name, "worker": "movie-search", "args": message.args}
            # The queue tells the page nothing, and it knows no task that wasn't queued.
            calls = {"queued": known | {"queuedAt": _now()}, "started": known | {"startedAt": _now()}}
            self._telling[message.task_id] = asyncio.create_task(self._tell(message.task_id, calls))
        return message

    def post_execute(self, message: TaskiqMessage, result: TaskiqResult[Any]) -> None:
        before = self._telling.get(message.task_id)
        if before is None:
            return
        end = {
            "finishedAt": _now(),
            "executionTime": result.execution_time,
            "error": None if result.error is None else type(result.error).__name__,
            "returnValue": {"return_value": {"value": result.return_value}},  # it fails to show what is no object
        }
        ending = asyncio.create_task(self._tell(message.task_id, {"executed": end}, before))
        self._telling[message.task_id] = ending
        ending.add_done_callback(lambda _: self._telling.pop(message.task_id))

    async def _tell(self, task_id: str, calls: dict[str, Any], before: "asyncio.Task[None] | None" = None) -> None:
        if before is not None:
            await before
        try:
            for event, body in calls.items():
                (await self._client.post(f"/api/tasks/{task_id}/{event}", json=body)).raise_for_status()
        except (httpx.HTTPError, ValueError, TypeError) as error:
            if not self._is_away:
                _log.warning("tasks are not shown: %s", type(error).__name__)
            self._is_away = True
        else:
            self._is_away = False

    async def shutdown(self) -> None:
        """The worker gives it two seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(TELL_SECONDS / 2):
                await asyncio.gather(*self._telling.values())
        await self._client.aclose()


def _now() -> str:
    return datetime.now(UTC).replace(tzinfo=None).isoformat()  # the page takes no zone
