"""`/api/v1/users/me/`: the profile of the user, its export and its erasure."""

from typing import Annotated

import msgspec
from dishka import FromDishka
from litestar import Response, delete, get, patch

from movie_api.auth import require_exporter, require_writer
from movie_api.operations import STORE_ERRORS, Operation
from movie_api.problems import AnyRequest
from movie_api.request_body import read_json, value_or_none
from movie_api.responses import json_response, no_content, optional_timestamp, timestamp
from movie_api.schemas import JsonObject, OptionalTimestamp, StoredRecord, Timestamp, Username, documented
from movie_api.user_export import encode_export
from movie_core.accounts.profiles import Profiles
from movie_core.accounts.sessions import Caller
from movie_core.accounts.users import User

ME = "/api/v1/users/me/"


class Profile(JsonObject):
    """The user of the request."""

    id: str
    email: str
    username: str
    is_staff: bool
    record_events: Annotated[bool, documented("Whether events of this user are recorded.")]
    created_at: Timestamp
    last_login: OptionalTimestamp


class ProfileChange(JsonObject):
    """New values; omitted fields keep theirs."""

    username: Username | msgspec.UnsetType = msgspec.UNSET
    record_events: bool | msgspec.UnsetType = msgspec.UNSET


class Export(msgspec.Struct):
    """Everything stored about a user, by kind. Later versions may add kinds."""

    account: StoredRecord | None
    registrations: list[StoredRecord]
    sessions: list[StoredRecord]
    login_networks: list[StoredRecord]
    mails: list[StoredRecord]
    ratings: list[StoredRecord] | msgspec.UnsetType = msgspec.UNSET
    events: list[StoredRecord] | msgspec.UnsetType = msgspec.UNSET
    event_days: list[StoredRecord] | msgspec.UnsetType = msgspec.UNSET
    orders: list[StoredRecord] | msgspec.UnsetType = msgspec.UNSET
    audit: list[StoredRecord] | msgspec.UnsetType = msgspec.UNSET


@get(
    ME,
    operation=Operation(
        id="getProfile",
        tag="accounts",
        summary="The profile",
        description="Returns the account of the user.",
        response=Profile,
        errors=STORE_ERRORS,
    ),
)
async def show_profile(caller: FromDishka[Caller], profiles: FromDishka[Profiles]) -> Response[bytes]:
    return json_response(_profile(await profiles.get(caller)))


@patch(
    ME,
    guards=[require_writer],
    operation=Operation(
        id="changeProfile",
        tag="accounts",
        summary="Change the username (requires a recent login), or whether events are recorded",
        description=(
            "Changes the given fields and returns the profile. With `record_events` off, no searches, clicks or views "
            "of the user are stored. The email address cannot be changed."
        ),
        is_limited=True,
        request=ProfileChange,
        response=Profile,
        errors=(
            *("invalid_username", "username_taken", "user_not_found", "reauthentication_required"),
            *STORE_ERRORS,
        ),
    ),
)
async def change_profile(
    request: AnyRequest, caller: FromDishka[Caller], profiles: FromDishka[Profiles]
) -> Response[bytes]:
    body = await read_json(request, ProfileChange)
    user = await profiles.change(
        caller, username=value_or_none(body.username), record_events=value_or_none(body.record_events)
    )
    return json_response(_profile(user))


@delete(
    ME,
    guards=[require_writer],
    operation=Operation(
        id="eraseProfile",
        tag="accounts",
        summary="Delete the account and all its data; requires a recent login",
        description=(
            "Erases the user from the database, Redis, pending emails and emails stored as files, and ends all "
            "sessions. It cannot be undone."
        ),
        is_limited=True,
        status=204,
        errors=("reauthentication_required", *STORE_ERRORS),
    ),
)
async def delete_profile(caller: FromDishka[Caller], profiles: FromDishka[Profiles]) -> Response[None]:
    await profiles.erase(caller)
    return no_content()


@get(
    ME + "export/",
    guards=[require_exporter],
    operation=Operation(
        id="exportProfile",
        tag="accounts",
        summary="Export everything stored about the user",
        description="Returns the account, its sessions, ratings and events, and all other records about the user.",
        is_limited=True,
        response=Export,
        errors=STORE_ERRORS,
    ),
)
async def export_profile(caller: FromDishka[Caller], profiles: FromDishka[Profiles]) -> Response[bytes]:
    return json_response(await encode_export(await profiles.export(caller)))


def _profile(user: User) -> Profile:
    return Profile(
        id=user.id,
        email=user.address.spelling,
        username=user.username.shown,
        is_staff=user.is_staff,
        record_events=user.record_events,
        created_at=timestamp(user.created_at),
        last_login=optional_timestamp(user.last_login),
    )


USER_ROUTES = (show_profile, change_profile, delete_profile, export_profile)
