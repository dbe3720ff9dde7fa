"""`/api/v1/authentication/…`: login, tokens, logout and the sessions of a user."""

import contextlib
import re
from collections.abc import AsyncIterator

import msgspec
from dishka import FromDishka
from litestar import Response, delete, get, post
from litestar.params import FromPath

from movie_api.auth import require_writer
from movie_api.context import context_of
from movie_api.problems import AnyRequest
from movie_api.request_body import read_body, read_json
from movie_api.responses import json_response, message_response, no_content, timestamp
from movie_core.accounts.login import Login
from movie_core.accounts.profiles import Profiles
from movie_core.accounts.session_service import Sessions
from movie_core.accounts.session_tokens import SessionTokens
from movie_core.accounts.sessions import Caller, TokenPair
from movie_core.errors import InvalidCredentials, InvalidPassword, SessionNotFound
from movie_core.operations.rate_limits import LoginAttempt, RateLimits, networks_of
from movie_core.quotas import Quota

AUTHENTICATION = "/api/v1/authentication/"
SESSIONS = AUTHENTICATION + "sessions/"

ID_OR_TOKEN = re.compile(r"[A-Za-z0-9_-]{1,128}")
"""The format of ids and tokens of this service; other strings are rejected without a query."""


class LoginRequest(msgspec.Struct):
    email: str
    password: str


class ReauthenticationRequest(msgspec.Struct):
    password: str


class RefreshRequest(msgspec.Struct):
    refresh: str


def _tokens(pair: TokenPair) -> dict[str, str]:
    return {"access": pair.access, "refresh": pair.refresh}


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


@post([AUTHENTICATION + "login/", AUTHENTICATION + "jwt/token/"])
async def log_in(request: AnyRequest, login: FromDishka[Login], limits: FromDishka[RateLimits]) -> Response[bytes]:
    body = await read_json(request, LoginRequest)
    attempt = await count_login(request, login.address_key(body.email), login, limits)
    async with refund_unless_wrong(limits, attempt):
        pair = await login.log_in(body.email, body.password, device_of(request), network=client_networks(request)[0])
    return json_response(_tokens(pair))


@post(AUTHENTICATION + "reauthenticate/")
async def reauthenticate(
    request: AnyRequest,
    caller: FromDishka[Caller],
    profiles: FromDishka[Profiles],
    login: FromDishka[Login],
    limits: FromDishka[RateLimits],
) -> Response[bytes]:
    body = await read_json(request, ReauthenticationRequest)
    user = await profiles.get(caller)
    attempt = await count_login(request, user.address.key, login, limits)
    async with refund_unless_wrong(limits, attempt):
        pair = await login.reauthenticate(
            caller, body.password, device_of(request), network=client_networks(request)[0]
        )
    return json_response(_tokens(pair))


@post(AUTHENTICATION + "jwt/token/refresh/")
async def refresh(
    request: AnyRequest, tokens: FromDishka[SessionTokens], limits: FromDishka[RateLimits]
) -> Response[bytes]:
    await read_body(request)
    set_quota(request, await limits.refresh_work(client_networks(request)))
    body = await read_json(request, RefreshRequest)
    owner = await tokens.find_owner(body.refresh)
    if owner is not None:
        await limits.refresh(owner)
    return json_response(_tokens(await tokens.refresh(body.refresh)))


@post(AUTHENTICATION + "logout/")
async def log_out(caller: FromDishka[Caller], sessions: FromDishka[Sessions]) -> Response[bytes]:
    await sessions.log_out(caller)
    return message_response("Logged out successfully.")


@get(SESSIONS)
async def list_sessions(caller: FromDishka[Caller], sessions: FromDishka[Sessions]) -> Response[bytes]:
    items = [
        {
            "id": session.id,
            "device": session.device,
            "created_at": timestamp(session.created_at),
            "last_used_at": timestamp(session.last_used_at),
            "current": session.id == caller.session_id,
        }
        for session in await sessions.list_for_user(caller.user_id)
    ]
    return json_response({"items": items})


@delete(SESSIONS, guards=[require_writer])
async def end_other_sessions(caller: FromDishka[Caller], sessions: FromDishka[Sessions]) -> Response[None]:
    await sessions.end_others(caller)
    return no_content()


@delete(SESSIONS + "{session_id:str}/", guards=[require_writer])
async def end_session(
    session_id: FromPath[str], caller: FromDishka[Caller], sessions: FromDishka[Sessions]
) -> Response[None]:
    if not ID_OR_TOKEN.fullmatch(session_id):
        raise SessionNotFound("session not found")
    await sessions.end(caller, session_id)
    return no_content()


SESSION_ROUTES = (
    log_in,
    reauthenticate,
    refresh,
    log_out,
    list_sessions,
    end_other_sessions,
    end_session,
)
