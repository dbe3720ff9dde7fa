"""`/api/v1/users/me/`: the profile of the user, its export and its erasure."""

from typing import Any

import msgspec
from dishka import FromDishka
from litestar import Response, delete, get, patch

from movie_api.auth import require_exporter, require_writer
from movie_api.problems import AnyRequest
from movie_api.request_body import read_json, value_or_none
from movie_api.responses import json_response, no_content, timestamp
from movie_api.user_export import render_export
from movie_core.accounts.profiles import Profiles
from movie_core.accounts.sessions import Caller
from movie_core.accounts.users import User

ME = "/api/v1/users/me/"


class ProfileUpdateRequest(msgspec.Struct):
    username: str | msgspec.UnsetType = msgspec.UNSET
    record_events: bool | msgspec.UnsetType = msgspec.UNSET


@get(ME)
async def show_profile(caller: FromDishka[Caller], profiles: FromDishka[Profiles]) -> Response[bytes]:
    return json_response(_profile(await profiles.get(caller)))


@patch(ME, guards=[require_writer])
async def change_profile(
    request: AnyRequest, caller: FromDishka[Caller], profiles: FromDishka[Profiles]
) -> Response[bytes]:
    body = await read_json(request, ProfileUpdateRequest)
    user = await profiles.change(
        caller, username=value_or_none(body.username), record_events=value_or_none(body.record_events)
    )
    return json_response(_profile(user))


@delete(ME, guards=[require_writer])
async def delete_profile(caller: FromDishka[Caller], profiles: FromDishka[Profiles]) -> Response[None]:
    await profiles.erase(caller)
    return no_content()


@get(ME + "export/", guards=[require_exporter])
async def export_profile(caller: FromDishka[Caller], profiles: FromDishka[Profiles]) -> Response[bytes]:
    return json_response(render_export(await profiles.export(caller)))


def _profile(user: User) -> dict[str, Any]:
    return {
        "id": user.id,
        "email": user.address.spelling,
        "username": user.username.shown,
        "is_staff": user.is_staff,
        "record_events": user.record_events,
        "created_at": timestamp(user.created_at),
        "last_login": None if user.last_login is None else timestamp(user.last_login),
    }


USER_ROUTES = (show_profile, change_profile, delete_profile, export_profile)
