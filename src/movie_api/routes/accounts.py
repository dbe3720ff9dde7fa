"""`/api/v1/authentication/…` and `/api/v1/users/me/`: parse, ask the service, render."""

import contextlib
import re
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

import msgspec
from dishka import FromDishka, Provider, Scope, provide
from litestar import Request, Response, delete, get, patch, post
from litestar.params import FromPath

from movie_api.problems import AnyRequest
from movie_api.request_body import given_or_none, is_form, read_body, read_form, read_json, read_json_or_nothing
from movie_api.routes.movies import require_exporter, require_writer
from movie_api.web import account_pages
from movie_api.web.account_pages import answer_either, wants_html
from movie_core.accounts.services import Accounts, Caller, TokenPair
from movie_core.accounts.users import User
from movie_core.errors import (
    InvalidBody,
    InvalidCredentials,
    InvalidLink,
    InvalidPassword,
    InvalidToken,
    NotAuthenticated,
    SessionNotFound,
    WeakPassword,
)
from movie_core.operations.rate_limits import LoginAttempt, RateLimits, networks_of
from movie_core.quotas import Quota

AUTHENTICATION = "/api/v1/authentication/"
ACTIVATION_LINK = AUTHENTICATION + "verify-email/{uid:str}/{token:str}/"
RESET_LINK = AUTHENTICATION + "password/reset/{uid:str}/{token:str}/"
SESSIONS = AUTHENTICATION + "sessions/"
ME = "/api/v1/users/me/"

_BEARER = re.compile(r"Bearer ([!-~]+)")
_OPAQUE = re.compile(r"[A-Za-z0-9_-]{1,128}")
"""What ids and tokens of ours look like; stores needn't see anything else."""
_MAIL_FOLLOWS = "If this address has something to be mailed, the mail is on its way."


class NewAccount(msgspec.Struct):
    email: str
    username: str
    password: str


class Credentials(msgspec.Struct):
    email: str
    password: str


class GivenAddress(msgspec.Struct):
    email: str


class Activation(msgspec.Struct):
    """Of a JSON client; one of the two, or neither where a single registration waits."""

    password: str | msgspec.UnsetType = msgspec.UNSET
    new_password: str | msgspec.UnsetType = msgspec.UNSET


class GivenPassword(msgspec.Struct):
    password: str


class RefreshToken(msgspec.Struct):
    refresh: str


class NewPassword(msgspec.Struct):
    uid: str
    token: str
    password: str


class PasswordChange(msgspec.Struct):
    old_password: str
    new_password: str


class ProfileChange(msgspec.Struct):
    username: str | msgspec.UnsetType = msgspec.UNSET
    record_events: bool | msgspec.UnsetType = msgspec.UNSET


class Callers(Provider):
    """Who calls: a handler that takes a `Caller` needs a valid token."""

    scope = Scope.REQUEST

    @provide
    async def caller(self, request: Request, accounts: Accounts) -> Caller:  # type: ignore[type-arg]  # dishka's key
        caller = await authenticate(request, accounts)
        request.scope["state"]["caller"] = caller  # for the line of the request
        return caller


async def authenticate(request: AnyRequest, accounts: Accounts) -> Caller:
    """Who calls, by the one `Authorization` header; raises `NotAuthenticated` without it, else `InvalidToken`."""
    given = request.headers.getall("authorization", [])
    if not given:
        raise NotAuthenticated("this needs a token: Authorization: Bearer …")
    match = _BEARER.fullmatch(given[0])
    if len(given) > 1 or match is None:
        raise InvalidToken("there must be one header of the form Authorization: Bearer …")
    return await accounts.authenticate(match[1])


def _json(content: Any, status_code: int = 200) -> Response[bytes]:
    return Response(msgspec.json.encode(content), status_code=status_code, media_type="application/json")


def _message(text: str, *, status_code: int = 200, **more: str) -> Response[bytes]:
    return _json({"message": text, **more}, status_code)


def _nothing() -> Response[None]:
    return Response(None, status_code=204)


def _pair(pair: TokenPair) -> dict[str, str]:
    return {"access": pair.access, "refresh": pair.refresh}


def _device(request: AnyRequest) -> str:
    return request.headers.get("user-agent", "")


def _networks(request: AnyRequest) -> tuple[str, ...]:
    return networks_of(request.scope["state"]["client"])


async def _count_login(request: AnyRequest, address_key: str, accounts: Accounts, limits: RateLimits) -> LoginAttempt:
    """Count a password before it is checked; raises `RateLimited`."""
    networks = _networks(request)
    await limits.login_work(networks)
    attempt = await limits.login(address_key, networks, await accounts.networks_of(address_key))
    _tell(request, attempt.quota)
    return attempt


@contextlib.asynccontextmanager
async def _unless_wrong(limits: RateLimits, attempt: LoginAttempt) -> AsyncIterator[None]:
    """Take a login back from the limits of its account unless the password was wrong: only that counts there."""
    try:
        yield
    except (InvalidCredentials, InvalidPassword):
        raise
    except Exception:
        await limits.succeeded(attempt)
        raise
    await limits.succeeded(attempt)


def _tell(request: AnyRequest, quota: Quota | None) -> None:
    """Have the answer say where the caller stands with a limit, whatever else it says."""
    request.scope["state"]["quota"] = quota


def _link(uid: str, token: str) -> tuple[str, str]:
    if not _OPAQUE.fullmatch(uid) or not _OPAQUE.fullmatch(token):
        raise InvalidLink("the link is malformed")
    return uid, token


# --- becoming a user


@post(AUTHENTICATION + "register/")
async def register(
    request: AnyRequest, accounts: FromDishka[Accounts], limits: FromDishka[RateLimits]
) -> Response[bytes]:
    await read_body(request)
    # Before the body is looked at: a try counts whatever it is worth.
    networks = _networks(request)
    _tell(request, await limits.register(networks))
    wanted = await read_json(request, NewAccount)
    registration = await accounts.register(wanted.email, wanted.username, wanted.password, requested_from=networks[-1])
    return _json({"email": registration.address.spelling, "username": registration.username.shown}, 201)


@get(ACTIVATION_LINK, exception_handlers={Exception: answer_either})
async def show_activation(
    request: AnyRequest, uid: FromPath[str], token: FromPath[str], accounts: FromDishka[Accounts]
) -> Response[Any]:
    is_done = await accounts.is_activated(*_link(uid, token))
    if wants_html(request):
        if is_done:
            return account_pages.was_active()
        return account_pages.ask_to_activate(request.app.state.settings.password_min)
    if is_done:
        return _already_verified()
    return _message('POST {"password": "…"} or {"new_password": "…"} to this URL to activate the account')


def _already_verified() -> Response[bytes]:
    return _message("This account was already active; nothing was changed", code="already_verified")


@post(ACTIVATION_LINK, exception_handlers={Exception: answer_either})
async def activate(
    request: AnyRequest,
    uid: FromPath[str],
    token: FromPath[str],
    accounts: FromDishka[Accounts],
    limits: FromDishka[RateLimits],
) -> Response[Any]:
    networks = _networks(request)
    if is_form(request):
        form = await read_form(request, ("password", "new"), optional=("password", "new"))
        typed = form.get("password")
        given = {"new_password" if "new" in form else "password": typed} if typed else {}
    else:
        body = await read_json_or_nothing(request, Activation)
        fields = {"password": given_or_none(body.password), "new_password": given_or_none(body.new_password)}
        given = {name: value for name, value in fields.items() if value is not None}
    if len(given) > 1:
        raise InvalidBody("give password or new_password, not both", field="new_password")
    _tell(request, await limits.link(uid, networks))
    if not wants_html(request):
        pair = await accounts.activate(*_link(uid, token), _device(request), **given, network=networks[0])
        if pair is None:
            return _already_verified()
        return _message("Email verified successfully", access=pair.access, refresh=pair.refresh)
    refusal = ""
    try:
        if await accounts.is_activated(*_link(uid, token)):
            return account_pages.was_active()
        # Whoever opens the page may never have registered: without a password nothing is activated.
        if given:
            await accounts.activate(*_link(uid, token), None, **given)
            return account_pages.is_active()
        refusal = "enter the password of your registration, or a new one"
    except InvalidPassword:
        refusal = "this is not the password of this registration; to set a new one, tick the box"
    except WeakPassword as refused:
        refusal = refused.detail
    minimum = request.app.state.settings.password_min
    return account_pages.ask_to_activate(minimum, refusal, is_new="new_password" in given)


@post(AUTHENTICATION + "verify-email/resend/")
async def resend(
    request: AnyRequest, accounts: FromDishka[Accounts], limits: FromDishka[RateLimits]
) -> Response[bytes]:
    await read_body(request)
    networks = _networks(request)
    await limits.mail(networks)  # not told, so that the answers for known and unknown addresses stay the same
    await accounts.resend((await read_json(request, GivenAddress)).email, requested_from=networks[-1])
    return _message(_MAIL_FOLLOWS, status_code=202)


# --- tokens and sessions


@post([AUTHENTICATION + "login/", AUTHENTICATION + "jwt/token/"])
async def log_in(
    request: AnyRequest, accounts: FromDishka[Accounts], limits: FromDishka[RateLimits]
) -> Response[bytes]:
    given = await read_json(request, Credentials)
    attempt = await _count_login(request, accounts.address_key(given.email), accounts, limits)
    async with _unless_wrong(limits, attempt):
        pair = await accounts.log_in(given.email, given.password, _device(request), network=_networks(request)[0])
    return _json(_pair(pair))


@post(AUTHENTICATION + "reauthenticate/")
async def reauthenticate(
    request: AnyRequest, caller: FromDishka[Caller], accounts: FromDishka[Accounts], limits: FromDishka[RateLimits]
) -> Response[bytes]:
    given = await read_json(request, GivenPassword)
    account = await accounts.profile(caller)
    attempt = await _count_login(request, account.address.key, accounts, limits)
    async with _unless_wrong(limits, attempt):
        pair = await accounts.reauthenticate(caller, given.password, _device(request), network=_networks(request)[0])
    return _json(_pair(pair))


@post(AUTHENTICATION + "jwt/token/refresh/")
async def refresh(
    request: AnyRequest, accounts: FromDishka[Accounts], limits: FromDishka[RateLimits]
) -> Response[bytes]:
    await read_body(request)
    _tell(request, await limits.refresh_work(_networks(request)))
    given = await read_json(request, RefreshToken)
    owner = await accounts.find_owner(given.refresh)
    if owner is not None:
        await limits.refresh(owner)
    return _json(_pair(await accounts.refresh(given.refresh)))


@post(AUTHENTICATION + "logout/")
async def log_out(caller: FromDishka[Caller], accounts: FromDishka[Accounts]) -> Response[bytes]:
    with contextlib.suppress(SessionNotFound):  # ended by another request at the same time
        await accounts.log_out(caller)
    return _message("Logged out successfully.")


@get(SESSIONS)
async def list_sessions(caller: FromDishka[Caller], accounts: FromDishka[Accounts]) -> Response[bytes]:
    items = [
        {
            "id": session.id,
            "device": session.device,
            "created_at": _time(session.created_at),
            "last_used_at": _time(session.last_used_at),
            "current": session.id == caller.session_id,
        }
        for session in await accounts.sessions(caller)
    ]
    return _json({"items": items})


@delete(SESSIONS, guards=[require_writer])
async def end_other_sessions(caller: FromDishka[Caller], accounts: FromDishka[Accounts]) -> Response[None]:
    await accounts.end_other_sessions(caller)
    return _nothing()


@delete(SESSIONS + "{session_id:str}/", guards=[require_writer])
async def end_session(
    session_id: FromPath[str], caller: FromDishka[Caller], accounts: FromDishka[Accounts]
) -> Response[None]:
    if not _OPAQUE.fullmatch(session_id):
        raise SessionNotFound("there is no such session")
    await accounts.end_session(caller, session_id)
    return _nothing()


# --- passwords


@post(AUTHENTICATION + "password/forgot/")
async def forgot_password(
    request: AnyRequest, accounts: FromDishka[Accounts], limits: FromDishka[RateLimits]
) -> Response[bytes]:
    await read_body(request)
    networks = _networks(request)
    await limits.mail(networks)  # not told, so that the answers for known and unknown addresses stay the same
    await accounts.forgot_password((await read_json(request, GivenAddress)).email, requested_from=networks[-1])
    return _message(_MAIL_FOLLOWS, status_code=202)


@post(AUTHENTICATION + "password/reset/")
async def reset_password(
    request: AnyRequest, accounts: FromDishka[Accounts], limits: FromDishka[RateLimits]
) -> Response[None]:
    given = await read_json(request, NewPassword)
    _tell(request, await limits.link(given.uid, _networks(request)))
    await accounts.reset_password(*_link(given.uid, given.token), given.password)
    return _nothing()


@get(RESET_LINK, exception_handlers={Exception: answer_either})
async def show_reset(
    request: AnyRequest, uid: FromPath[str], token: FromPath[str], accounts: FromDishka[Accounts]
) -> Response[Any]:
    await accounts.check_reset(*_link(uid, token))
    if wants_html(request):
        return account_pages.ask_for_password(request.app.state.settings.password_min)
    return _message("POST uid, token and password to password/reset/ to set a new password")


@post(RESET_LINK, exception_handlers={Exception: answer_either})
async def reset_by_form(
    request: AnyRequest,
    uid: FromPath[str],
    token: FromPath[str],
    accounts: FromDishka[Accounts],
    limits: FromDishka[RateLimits],
) -> Response[str]:
    given = await read_form(request, ("password",))
    _tell(request, await limits.link(uid, _networks(request)))
    try:
        await accounts.reset_password(*_link(uid, token), given["password"])
    except WeakPassword as refused:
        return account_pages.ask_for_password(request.app.state.settings.password_min, refused.detail)
    return account_pages.is_reset()


@post(AUTHENTICATION + "password/change/")
async def change_password(
    request: AnyRequest, caller: FromDishka[Caller], accounts: FromDishka[Accounts], limits: FromDishka[RateLimits]
) -> Response[None]:
    given = await read_json(request, PasswordChange)
    account = await accounts.profile(caller)
    attempt = await _count_login(request, account.address.key, accounts, limits)
    async with _unless_wrong(limits, attempt):
        await accounts.change_password(caller, given.old_password, given.new_password)
    return _nothing()


# --- the profile


@get(ME)
async def show_profile(caller: FromDishka[Caller], accounts: FromDishka[Accounts]) -> Response[bytes]:
    return _json(_profile(await accounts.profile(caller)))


@patch(ME, guards=[require_writer])
async def change_profile(
    request: AnyRequest, caller: FromDishka[Caller], accounts: FromDishka[Accounts]
) -> Response[bytes]:
    change = await read_json(request, ProfileChange)
    account = await accounts.change_profile(
        caller, username=given_or_none(change.username), record_events=given_or_none(change.record_events)
    )
    return _json(_profile(account))


@delete(ME, guards=[require_writer])
async def erase_me(caller: FromDishka[Caller], accounts: FromDishka[Accounts]) -> Response[None]:
    await accounts.erase(caller)
    return _nothing()


@get(ME + "export/", guards=[require_exporter])
async def export_me(caller: FromDishka[Caller], accounts: FromDishka[Accounts]) -> Response[bytes]:
    return _json(await accounts.export(caller))


def _profile(account: User) -> dict[str, Any]:
    return {
        "id": account.id,
        "email": account.address.spelling,
        "username": account.username.shown,
        "is_staff": account.is_staff,
        "record_events": account.record_events,
        "created_at": _time(account.created_at),
        "last_login": None if account.last_login is None else _time(account.last_login),
    }


def _time(at: datetime) -> datetime:
    return at.replace(microsecond=0)


ACCOUNT_ROUTES = (
    register,
    show_activation,
    activate,
    resend,
    log_in,
    reauthenticate,
    refresh,
    log_out,
    list_sessions,
    end_other_sessions,
    end_session,
    forgot_password,
    reset_password,
    show_reset,
    reset_by_form,
    change_password,
    show_profile,
    change_profile,
    erase_me,
    export_me,
)
