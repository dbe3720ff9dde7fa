"""`/api/v1/events/`: events sent by clients. Searches and ratings are recorded automatically."""

from datetime import datetime
from typing import Annotated

import msgspec
from dishka import FromDishka
from litestar import Response, post

from movie_api.auth import require_event_access
from movie_api.problems import AnyRequest
from movie_api.request_body import read_rows, value_or_none
from movie_api.responses import PRIVATE, json_response
from movie_core.accounts.sessions import Caller
from movie_core.clock import utc_now
from movie_core.discovery.events import MAX_EVENTS, check_event
from movie_core.discovery.services import Discovery
from movie_core.errors import Invalid, InvalidEvent

EVENTS = "/api/v1/events/"


class EventRequest(msgspec.Struct, forbid_unknown_fields=True):
    type: str
    movie_id: str
    query: str | msgspec.UnsetType = msgspec.UNSET
    position: int | msgspec.UnsetType = msgspec.UNSET
    at: Annotated[datetime, msgspec.Meta(tz=True)] | msgspec.UnsetType = msgspec.UNSET


@post(EVENTS, guards=[require_event_access])
async def record_events(
    request: AnyRequest, caller: FromDishka[Caller], discovery: FromDishka[Discovery]
) -> Response[bytes]:
    rows = await read_rows(request, EventRequest, least=1, most=MAX_EVENTS)
    user_id, now = caller.user_id, utc_now()
    events = []
    for number, row in enumerate(rows, 1):
        query, position, at = value_or_none(row.query), value_or_none(row.position), value_or_none(row.at)
        try:
            events.append(check_event(row.type, user_id, row.movie_id, query, position, at, now))
        except Invalid as error:
            raise InvalidEvent(f"row {number}: {error.detail}", field=f"{number}.{error.field}") from None
    return json_response(await discovery.submit_events(events), status_code=202, headers=PRIVATE)


EVENT_ROUTES = (record_events,)
