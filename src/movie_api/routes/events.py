"""`/api/v1/events/`: events that clients send. Searches and ratings are recorded by their own routes."""

from datetime import datetime
from typing import Annotated

import msgspec
from dishka import FromDishka
from litestar import Response, post

from movie_api.auth import require_event_access
from movie_api.operations import SOURCE_ERRORS, Operation
from movie_api.problems import AnyRequest
from movie_api.request_body import read_rows, value_or_none
from movie_api.responses import PRIVATE, json_response
from movie_api.routes.ratings import BatchResult
from movie_api.schemas import NO_CONTROLS, JsonObject, documented
from movie_core.accounts.sessions import Caller
from movie_core.clock import Clock
from movie_core.discovery.events import CLIENT_EVENT_KINDS, MAX_EVENTS, MAX_POSITION, check_event
from movie_core.discovery.services import Discovery
from movie_core.errors import Invalid, InvalidEvent
from movie_core.text import MAX_QUERY

EVENTS = "/api/v1/events/"


class Event(JsonObject):
    """An interaction of the user with a movie."""

    type: Annotated[str, documented(enum=sorted(CLIENT_EVENT_KINDS))]
    movie_id: str
    query: (
        Annotated[
            str,
            documented("The query of the search that showed the movie.", maxLength=MAX_QUERY, pattern=NO_CONTROLS),
        ]
        | msgspec.UnsetType
    ) = msgspec.UNSET
    position: (
        Annotated[
            int,
            documented("Position among all matches of that search, from 1.", minimum=1, maximum=MAX_POSITION),
        ]
        | msgspec.UnsetType
    ) = msgspec.UNSET
    at: (
        Annotated[datetime, msgspec.Meta(tz=True, description="Defaults to now; a future time becomes now.")]
        | msgspec.UnsetType
    ) = msgspec.UNSET


Events = Annotated[list[Event], msgspec.Meta(title="Events", extra_json_schema={"minItems": 1, "maxItems": MAX_EVENTS})]


@post(
    EVENTS,
    guards=[require_event_access],
    operation=Operation(
        id="recordEvents",
        tag="ratings",
        summary="Record impressions, clicks and views of the user",
        description=(
            "Queues events for trending movies and reports. Searches and ratings are recorded automatically. A "
            "malformed event rejects the whole list; an event that is too old, or of an unknown movie, is a rejected "
            "row. No event is stored for a user whose `record_events` is off."
        ),
        is_limited=True,
        request=Events,
        response=BatchResult,
        status=202,
        headers=("Cache-Control",),
        errors=("invalid_event", "too_many_rows", "busy", *SOURCE_ERRORS),
    ),
)
async def record_events(
    request: AnyRequest, caller: FromDishka[Caller], discovery: FromDishka[Discovery], clock: FromDishka[Clock]
) -> Response[bytes]:
    rows = await read_rows(request, Event, least=1, most=MAX_EVENTS)
    user_id, now = caller.user_id, clock()
    events = []
    for number, row in enumerate(rows, 1):
        query, position, at = value_or_none(row.query), value_or_none(row.position), value_or_none(row.at)
        try:
            events.append(check_event(row.type, user_id, row.movie_id, query, position, at, now))
        except Invalid as error:
            raise InvalidEvent(f"row {number}: {error.detail}", field=f"{number}.{error.field}") from None
    result = await discovery.submit_events(events)
    return json_response(BatchResult.of_result(result), status_code=202, headers=PRIVATE)


EVENT_ROUTES = (record_events,)
