"""The response to unhandled errors."""

import asyncio
import logging

from litestar.types import HTTPScope, Receive, Send

from movie_api.context import RequestContext, context_of
from movie_api.middleware import HttpApp
from movie_api.problems import send_problem

_log = logging.getLogger(__name__)


class LastResort:
    """Sends a problem document for an unhandled error, or aborts the connection if a response has started."""

    def __init__(self, app: HttpApp) -> None:
        self._app = app

    async def __call__(self, scope: HTTPScope, receive: Receive, send: Send) -> None:
        context = context_of(scope)
        try:
            await self._app(scope, receive, send)
            if not context.status:
                await _fail(send, context, RuntimeError("the application sent no response"))
        except GeneratorExit:  # the event loop is closed, nothing can be sent
            raise
        except BaseException as error:  # noqa: BLE001  (the client gets a response to every error)
            await _fail(send, context, error)


async def _fail(send: Send, context: RequestContext, error: BaseException) -> None:
    """Respond to an unhandled error, unless a response has started; raises if the response is incomplete or the
    request was cancelled."""
    task = asyncio.current_task()
    # A task that awaits a cancelled one raises the same error, but is not itself cancelled.
    is_cancelled = isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling() > 0
    if is_cancelled:
        _log.warning("request %s cancelled by shutdown", context.request_id)
    else:
        _log.error("request %s failed", context.request_id, exc_info=error)
    if not context.status:
        await send_problem(send, context, "busy" if is_cancelled else "internal_error")
    # The server then aborts the connection, so that the client detects the incomplete response.
    if is_cancelled or not context.is_complete:
        raise error
