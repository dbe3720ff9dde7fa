"""`/api/v1/events/`: what clients tell of their users. Searches and ratings are recorded by themselves."""

from datetime import datetime
from typing import Annotated

import msgspec
from dishka import FromDishka
from litestar import Response, post

from movie_api.problems import AnyRequest
from movie_api.request_body import given_or_none, read_rows
from movie_api.routes.movies import require_teller
from movie_core.clock import utc_now
from movie_core.discovery.events import MAX_EVENTS, check_event
from movie_core.discovery.services import Discovery
from movie_core.errors import Invalid, InvalidEvent

EVENTS = "/api/v1/events/"


class GivenEvent(msgspec.Struct, forbid_unknown_fields=True):
    type: str
    movie_id: str
    query: str | msgspec.UnsetType = msgspec.UNSET
    position: int | msgspec.UnsetType = msgspec.UNSET
    at: Annotated[datetime, msgspec.Meta(tz=True)] | msgspec.UnsetType = msgspec.UNSET


@post(EVENTS, guards=[require_teller])
async def tell_events(request: AnyRequest, discovery: FromDishka[Discovery]) -> Response[bytes]:
    given = await read_rows(request, GivenEvent, least=1, most=MAX_EVENTS)
    user_id, now = request.scope["state"]["caller"].user_id, utc_now()
    events = []
    for row, one in enumerate(given, 1):
        query, position, at = given_or_none(one.query), given_or_none(one.position), given_or_none(one.at)
        try:
            events.append(check_event(one.type, user_id, one.movie_id, query, position, at, now))
        except Invalid as wrong:
            raise InvalidEvent(f"row {row}: {wrong.detail}", field=f"{row}.{wrong.field}") from None
    taken = await discovery.take_events(events)
    return Response(
        msgspec.json.encode(taken), status_code=202, media_type="application/json", headers={"cache-control": "private"}
    )


EVENT_ROUTES = (tell_events,)
