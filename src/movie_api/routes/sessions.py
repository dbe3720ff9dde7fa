"""`/api/v1/authentication/…`: login, tokens, logout and the sessions of a user."""

import contextlib
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Annotated

from dishka import FromDishka
from litestar import Response, delete, get, post
from litestar.params import FromPath

from movie_api.auth import require_writer
from movie_api.context import context_of
from movie_api.operations import STORE_ERRORS, Access, Operation
from movie_api.problems import AnyRequest
from movie_api.request_body import read_body, read_json
from movie_api.responses import json_response, no_content, timestamp
from movie_api.schemas import CurrentPassword, EmailAddress, JsonObject, Timestamp, documented
from movie_core.accounts.login import Login
from movie_core.accounts.profiles import Profiles
from movie_core.accounts.session_service import Sessions as CoreSessions
from movie_core.accounts.session_tokens import SessionTokens
from movie_core.accounts.sessions import MAX_DEVICE, MAX_SESSIONS, Caller
from movie_core.accounts.sessions import TokenPair as CoreTokenPair
from movie_core.errors import InvalidCredentials, InvalidPassword, SessionNotFound
from movie_core.operations.rate_limits import LoginAttempt, RateLimits, networks_of
from movie_core.quotas import Quota

AUTHENTICATION = "/api/v1/authentication/"
SESSIONS = AUTHENTICATION + "sessions/"

ID_OR_TOKEN = re.compile(r"[A-Za-z0-9_-]{1,128}")
"""The format of ids and tokens of this service; other strings are rejected without a query."""


class Credentials(JsonObject):
    """The email address and password of a login."""

    email: EmailAddress
    password: CurrentPassword


class Reauthentication(JsonObject):
    """The password of the user."""

    password: CurrentPassword


class RefreshToken(JsonObject):
    """A refresh token."""

    refresh: str


class TokenPair(JsonObject):
    """The tokens of a session."""

    access: Annotated[str, documented("A JWT for `Authorization: Bearer <token>`; valid for minutes.")]
    refresh: Annotated[str, documented("For one use with `jwt/token/refresh/`; valid for days.")]


class Message(JsonObject):
    """A message for people."""

    message: str


class Session(JsonObject):
    """A login on one device."""

    id: str
    device: Annotated[str, documented("The `User-Agent` of the login.", maxLength=MAX_DEVICE)]
    created_at: Timestamp
    last_used_at: Annotated[str, documented("Time of the last login or refresh.", format="date-time")]
    current: Annotated[bool, documented("Whether this request belongs to the session.")]


class Sessions(JsonObject):
    """All sessions of a user."""

    items: Annotated[list[Session], documented(maxItems=MAX_SESSIONS)]


def _tokens_response(pair: CoreTokenPair) -> Response[bytes]:
    return json_response(TokenPair(pair.access, pair.refresh))


def device_of(request: AnyRequest) -> str:
    """The `User-Agent`, by which users recognise a session."""
    return request.headers.get("user-agent", "")


def client_networks(request: AnyRequest) -> tuple[str, ...]:
    """The networks of the client, narrowest first, against which attempts are counted."""
    return networks_of(context_of(request.scope).client)


async def count_login(request: AnyRequest, address_key: str, login: Login, limits: RateLimits) -> LoginAttempt:
    """Count a login attempt, before the password is checked; raises `RateLimited`."""
    networks = client_networks(request)
    await limits.login_work(networks)
    attempt = await limits.login(address_key, networks, await login.login_networks(address_key))
    set_quota(request, attempt.quota)
    return attempt


@contextlib.asynccontextmanager
async def refund_unless_wrong(limits: RateLimits, attempt: LoginAttempt) -> AsyncIterator[None]:
    """Refund a login attempt to the rate limit of the user unless the password was wrong: only wrong passwords count
    there."""
    try:
        yield
    except (InvalidCredentials, InvalidPassword):
        raise
    except Exception:
        await limits.succeeded(attempt)
        raise
    await limits.succeeded(attempt)


def set_quota(request: AnyRequest, quota: Quota | None) -> None:
    """Add the `RateLimit` headers to the response, also if it is an error."""
    context_of(request.scope).quota = quota


async def _log_in(request: AnyRequest, login: FromDishka[Login], limits: FromDishka[RateLimits]) -> Response[bytes]:
    body = await read_json(request, Credentials)
    attempt = await count_login(request, login.address_key(body.email), login, limits)
    async with refund_unless_wrong(limits, attempt):
        pair = await login.log_in(body.email, body.password, device_of(request), network=client_networks(request)[0])
    return _tokens_response(pair)


_LOGIN = Operation(
    id="logIn",
    tag="accounts",
    summary="Log in",
    description=(
        "Starts a session and returns its tokens. An unknown address, a wrong password and an account that is not "
        "active get the same response, `invalid_credentials`."
    ),
    access=Access.ANYONE,
    is_limited=True,
    request=Credentials,
    response=TokenPair,
    errors=("invalid_credentials", "busy", *STORE_ERRORS),
)
log_in = post(AUTHENTICATION + "login/", operation=_LOGIN)(_log_in)
create_token = post(
    AUTHENTICATION + "jwt/token/", operation=replace(_LOGIN, id="createToken", summary="Log in (same as `login/`)")
)(_log_in)


@post(
    AUTHENTICATION + "reauthenticate/",
    operation=Operation(
        id="reauthenticate",
        tag="accounts",
        summary="Confirm the password, which counts as a recent login",
        description=(
            "Returns tokens of a new session and ends the session of the request. Operations that returned "
            "`reauthentication_required` accept the new access token."
        ),
        is_limited=True,
        request=Reauthentication,
        response=TokenPair,
        errors=("invalid_password", "busy", *STORE_ERRORS),
    ),
)
async def reauthenticate(
    request: AnyRequest,
    caller: FromDishka[Caller],
    profiles: FromDishka[Profiles],
    login: FromDishka[Login],
    limits: FromDishka[RateLimits],
) -> Response[bytes]:
    body = await read_json(request, Reauthentication)
    user = await profiles.get(caller)
    attempt = await count_login(request, user.address.key, login, limits)
    async with refund_unless_wrong(limits, attempt):
        pair = await login.reauthenticate(
            caller, body.password, device_of(request), network=client_networks(request)[0]
        )
    return _tokens_response(pair)


@post(
    AUTHENTICATION + "jwt/token/refresh/",
    operation=Operation(
        id="refreshToken",
        tag="accounts",
        summary="Exchange a refresh token for new tokens",
        description=(
            "Replaces the refresh token. A repeat within 60 seconds returns the same successor, so a lost response "
            "can be requested again; a later reuse ends the session."
        ),
        access=Access.ANYONE,
        is_limited=True,
        request=RefreshToken,
        response=TokenPair,
        errors=("invalid_token", *STORE_ERRORS),
    ),
)
async def refresh(
    request: AnyRequest, tokens: FromDishka[SessionTokens], limits: FromDishka[RateLimits]
) -> Response[bytes]:
    await read_body(request)
    set_quota(request, await limits.refresh_work(client_networks(request)))
    body = await read_json(request, RefreshToken)
    owner = await tokens.find_owner(body.refresh)
    if owner is not None:
        await limits.refresh(owner)
    return _tokens_response(await tokens.refresh(body.refresh))


@post(
    AUTHENTICATION + "logout/",
    operation=Operation(
        id="logOut",
        tag="accounts",
        summary="End this session",
        description="Ends the session of the request: every process rejects its tokens within a second.",
        response=Message,
        errors=STORE_ERRORS,
    ),
)
async def log_out(caller: FromDishka[Caller], sessions: FromDishka[CoreSessions]) -> Response[bytes]:
    await sessions.log_out(caller)
    return json_response(Message("Logged out successfully."))


@get(
    SESSIONS,
    operation=Operation(
        id="listSessions",
        tag="accounts",
        summary="The sessions of the user, most recently used first",
        description="Returns every login that has not ended, with its device. `current` marks that of the request.",
        response=Sessions,
        errors=STORE_ERRORS,
    ),
)
async def list_sessions(caller: FromDishka[Caller], sessions: FromDishka[CoreSessions]) -> Response[bytes]:
    items = [
        Session(
            id=session.id,
            device=session.device,
            created_at=timestamp(session.created_at),
            last_used_at=timestamp(session.last_used_at),
            current=session.id == caller.session_id,
        )
        for session in await sessions.list_for_user(caller.user_id)
    ]
    return json_response(Sessions(items))


@delete(
    SESSIONS,
    guards=[require_writer],
    operation=Operation(
        id="endOtherSessions",
        tag="accounts",
        summary="End all other sessions; requires a recent login",
        description="Logs out all other devices of the user. The session of the request continues.",
        is_limited=True,
        status=204,
        errors=("reauthentication_required", *STORE_ERRORS),
    ),
)
async def end_other_sessions(caller: FromDishka[Caller], sessions: FromDishka[CoreSessions]) -> Response[None]:
    await sessions.end_others(caller)
    return no_content()


@delete(
    SESSIONS + "{session_id:str}/",
    guards=[require_writer],
    operation=Operation(
        id="endSession",
        tag="accounts",
        summary="End one session; requires a recent login, except for the current session",
        description="Logs out one device of the user.",
        is_limited=True,
        status=204,
        errors=("session_not_found", "reauthentication_required", *STORE_ERRORS),
    ),
)
async def end_session(
    session_id: FromPath[str], caller: FromDishka[Caller], sessions: FromDishka[CoreSessions]
) -> Response[None]:
    if not ID_OR_TOKEN.fullmatch(session_id):
        raise SessionNotFound("session not found")
    await sessions.end(caller, session_id)
    return no_content()


SESSION_ROUTES = (
    log_in,
    create_token,
    reauthenticate,
    refresh,
    log_out,
    list_sessions,
    end_other_sessions,
    end_session,
)
