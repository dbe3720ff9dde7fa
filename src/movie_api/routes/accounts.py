"""`/api/v1/authentication/…` and `/api/v1/users/me/`: registration, login, sessions, passwords and the profile."""

import contextlib
import re
from collections.abc import AsyncIterator
from typing import Any

import msgspec
from dishka import FromDishka
from litestar import Response, delete, get, patch, post
from litestar.params import FromPath

from movie_api.auth import require_exporter, require_writer
from movie_api.problems import AnyRequest
from movie_api.request_body import is_form, read_body, read_form, read_json, read_optional_json, value_or_none
from movie_api.responses import json_response, no_content, timestamp
from movie_api.web import account_pages
from movie_api.web.account_pages import handle_link_error, wants_html
from movie_core.accounts.services import Accounts, Caller, TokenPair
from movie_core.accounts.users import User
from movie_core.errors import (
    InvalidBody,
    InvalidCredentials,
    InvalidLink,
    InvalidPassword,
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

_ID_OR_TOKEN = re.compile(r"[A-Za-z0-9_-]{1,128}")
"""The format of our ids and tokens; nothing else is looked up in a store."""
_EMAIL_SENT = "If an account or registration exists for this address, an email is on its way."


class RegistrationRequest(msgspec.Struct):
    email: str
    username: str
    password: str


class LoginRequest(msgspec.Struct):
    email: str
    password: str


class AddressRequest(msgspec.Struct):
    email: str


class ActivationRequest(msgspec.Struct):
    """At most one of the two; neither is required if the address has a single pending registration."""

    password: str | msgspec.UnsetType = msgspec.UNSET
    new_password: str | msgspec.UnsetType = msgspec.UNSET


class ReauthenticationRequest(msgspec.Struct):
    password: str


class RefreshRequest(msgspec.Struct):
    refresh: str


class PasswordResetRequest(msgspec.Struct):
    uid: str
    token: str
    password: str


class PasswordChangeRequest(msgspec.Struct):
    old_password: str
    new_password: str


class ProfileUpdateRequest(msgspec.Struct):
    username: str | msgspec.UnsetType = msgspec.UNSET
    record_events: bool | msgspec.UnsetType = msgspec.UNSET


def _message(text: str, *, status_code: int = 200, **extra: str) -> Response[bytes]:
    return json_response({"message": text, **extra}, status_code=status_code)


def _pair(pair: TokenPair) -> dict[str, str]:
    return {"access": pair.access, "refresh": pair.refresh}


def _device(request: AnyRequest) -> str:
    return request.headers.get("user-agent", "")


def _networks(request: AnyRequest) -> tuple[str, ...]:
    return networks_of(request.scope["state"]["client"])


async def _count_login(request: AnyRequest, address_key: str, accounts: Accounts, limits: RateLimits) -> LoginAttempt:
    """Count a login attempt, before the password is checked; raises `RateLimited`."""
    networks = _networks(request)
    await limits.login_work(networks)
    attempt = await limits.login(address_key, networks, await accounts.networks_of(address_key))
    _set_quota(request, attempt.quota)
    return attempt


@contextlib.asynccontextmanager
async def _refund_unless_wrong(limits: RateLimits, attempt: LoginAttempt) -> AsyncIterator[None]:
    """Undo the count of a login attempt against its account's limit unless the password was wrong: only wrong passwords
    count there."""
    try:
        yield
    except (InvalidCredentials, InvalidPassword):
        raise
    except Exception:
        await limits.succeeded(attempt)
        raise
    await limits.succeeded(attempt)


def _set_quota(request: AnyRequest, quota: Quota | None) -> None:
    """Add the `RateLimit` headers to the response, also if it is an error."""
    request.scope["state"]["quota"] = quota


def _link(uid: str, token: str) -> tuple[str, str]:
    if not _ID_OR_TOKEN.fullmatch(uid) or not _ID_OR_TOKEN.fullmatch(token):
        raise InvalidLink("the link is malformed")
    return uid, token


# --- registration and activation


@post(AUTHENTICATION + "register/")
async def register(
    request: AnyRequest, accounts: FromDishka[Accounts], limits: FromDishka[RateLimits]
) -> Response[bytes]:
    await read_body(request)
    # Counted before the body is parsed: invalid requests count too.
    networks = _networks(request)
    _set_quota(request, await limits.register(networks))
    body = await read_json(request, RegistrationRequest)
    registration = await accounts.register(body.email, body.username, body.password, requested_from=networks[-1])
    content = {"email": registration.address.spelling, "username": registration.username.shown}
    return json_response(content, status_code=201)


@get(ACTIVATION_LINK, exception_handlers={Exception: handle_link_error})
async def show_activation(
    request: AnyRequest, uid: FromPath[str], token: FromPath[str], accounts: FromDishka[Accounts]
) -> Response[Any]:
    is_activated = await accounts.is_activated(*_link(uid, token))
    if wants_html(request):
        if is_activated:
            return account_pages.already_activated()
        return account_pages.activation_form(request.app.state.settings.password_min)
    if is_activated:
        return _already_verified()
    return _message('POST {"password": "…"} or {"new_password": "…"} to this URL to activate the account')


def _already_verified() -> Response[bytes]:
    return _message("The account was already active; nothing was changed", code="already_verified")


@post(ACTIVATION_LINK, exception_handlers={Exception: handle_link_error})
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
        password = form.get("password")
        passwords = {"new_password" if "new" in form else "password": password} if password else {}
    else:
        body = await read_optional_json(request, ActivationRequest)
        fields = {"password": value_or_none(body.password), "new_password": value_or_none(body.new_password)}
        passwords = {name: value for name, value in fields.items() if value is not None}
    if len(passwords) > 1:
        raise InvalidBody("send password or new_password, not both", field="new_password")
    _set_quota(request, await limits.link(uid, networks))
    if not wants_html(request):
        pair = await accounts.activate(*_link(uid, token), _device(request), **passwords, network=networks[0])
        if pair is None:
            return _already_verified()
        return _message("Email verified successfully", access=pair.access, refresh=pair.refresh)
    rejection = ""
    try:
        if await accounts.is_activated(*_link(uid, token)):
            return account_pages.already_activated()
        # The owner of the address may not have registered it, so the page never activates without a password.
        if passwords:
            await accounts.activate(*_link(uid, token), None, **passwords)
            return account_pages.activated()
        rejection = "enter the password of your registration, or a new one"
    except InvalidPassword:
        rejection = "this is not the password of this registration; to set a new one, tick the box"
    except WeakPassword as error:
        rejection = error.detail
    minimum = request.app.state.settings.password_min
    return account_pages.activation_form(minimum, rejection, is_new="new_password" in passwords)


@post(AUTHENTICATION + "verify-email/resend/")
async def resend(
    request: AnyRequest, accounts: FromDishka[Accounts], limits: FromDishka[RateLimits]
) -> Response[bytes]:
    await read_body(request)
    networks = _networks(request)
    await limits.mail(networks)  # no RateLimit headers, so that responses do not disclose whether the address is known
    await accounts.resend((await read_json(request, AddressRequest)).email, requested_from=networks[-1])
    return _message(_EMAIL_SENT, status_code=202)


# --- tokens and sessions


@post([AUTHENTICATION + "login/", AUTHENTICATION + "jwt/token/"])
async def log_in(
    request: AnyRequest, accounts: FromDishka[Accounts], limits: FromDishka[RateLimits]
) -> Response[bytes]:
    body = await read_json(request, LoginRequest)
    attempt = await _count_login(request, accounts.address_key(body.email), accounts, limits)
    async with _refund_unless_wrong(limits, attempt):
        pair = await accounts.log_in(body.email, body.password, _device(request), network=_networks(request)[0])
    return json_response(_pair(pair))


@post(AUTHENTICATION + "reauthenticate/")
async def reauthenticate(
    request: AnyRequest, caller: FromDishka[Caller], accounts: FromDishka[Accounts], limits: FromDishka[RateLimits]
) -> Response[bytes]:
    body = await read_json(request, ReauthenticationRequest)
    user = await accounts.profile(caller)
    attempt = await _count_login(request, user.address.key, accounts, limits)
    async with _refund_unless_wrong(limits, attempt):
        pair = await accounts.reauthenticate(caller, body.password, _device(request), network=_networks(request)[0])
    return json_response(_pair(pair))


@post(AUTHENTICATION + "jwt/token/refresh/")
async def refresh(
    request: AnyRequest, accounts: FromDishka[Accounts], limits: FromDishka[RateLimits]
) -> Response[bytes]:
    await read_body(request)
    _set_quota(request, await limits.refresh_work(_networks(request)))
    body = await read_json(request, RefreshRequest)
    owner = await accounts.find_owner(body.refresh)
    if owner is not None:
        await limits.refresh(owner)
    return json_response(_pair(await accounts.refresh(body.refresh)))


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
            "created_at": timestamp(session.created_at),
            "last_used_at": timestamp(session.last_used_at),
            "current": session.id == caller.session_id,
        }
        for session in await accounts.sessions(caller)
    ]
    return json_response({"items": items})


@delete(SESSIONS, guards=[require_writer])
async def end_other_sessions(caller: FromDishka[Caller], accounts: FromDishka[Accounts]) -> Response[None]:
    await accounts.end_other_sessions(caller)
    return no_content()


@delete(SESSIONS + "{session_id:str}/", guards=[require_writer])
async def end_session(
    session_id: FromPath[str], caller: FromDishka[Caller], accounts: FromDishka[Accounts]
) -> Response[None]:
    if not _ID_OR_TOKEN.fullmatch(session_id):
        raise SessionNotFound("session not found")
    await accounts.end_session(caller, session_id)
    return no_content()


# --- passwords


@post(AUTHENTICATION + "password/forgot/")
async def forgot_password(
    request: AnyRequest, accounts: FromDishka[Accounts], limits: FromDishka[RateLimits]
) -> Response[bytes]:
    await read_body(request)
    networks = _networks(request)
    await limits.mail(networks)  # no RateLimit headers, so that responses do not disclose whether the address is known
    await accounts.forgot_password((await read_json(request, AddressRequest)).email, requested_from=networks[-1])
    return _message(_EMAIL_SENT, status_code=202)


@post(AUTHENTICATION + "password/reset/")
async def reset_password(
    request: AnyRequest, accounts: FromDishka[Accounts], limits: FromDishka[RateLimits]
) -> Response[None]:
    body = await read_json(request, PasswordResetRequest)
    _set_quota(request, await limits.link(body.uid, _networks(request)))
    await accounts.reset_password(*_link(body.uid, body.token), body.password)
    return no_content()


@get(RESET_LINK, exception_handlers={Exception: handle_link_error})
async def show_reset(
    request: AnyRequest, uid: FromPath[str], token: FromPath[str], accounts: FromDishka[Accounts]
) -> Response[Any]:
    await accounts.check_reset(*_link(uid, token))
    if wants_html(request):
        return account_pages.password_form(request.app.state.settings.password_min)
    return _message("POST uid, token and password to password/reset/ to set a new password")


@post(RESET_LINK, exception_handlers={Exception: handle_link_error})
async def reset_by_form(
    request: AnyRequest,
    uid: FromPath[str],
    token: FromPath[str],
    accounts: FromDishka[Accounts],
    limits: FromDishka[RateLimits],
) -> Response[str]:
    given = await read_form(request, ("password",))
    _set_quota(request, await limits.link(uid, _networks(request)))
    try:
        await accounts.reset_password(*_link(uid, token), given["password"])
    except WeakPassword as error:
        return account_pages.password_form(request.app.state.settings.password_min, error.detail)
    return account_pages.password_changed()


@post(AUTHENTICATION + "password/change/")
async def change_password(
    request: AnyRequest, caller: FromDishka[Caller], accounts: FromDishka[Accounts], limits: FromDishka[RateLimits]
) -> Response[None]:
    body = await read_json(request, PasswordChangeRequest)
    user = await accounts.profile(caller)
    attempt = await _count_login(request, user.address.key, accounts, limits)
    async with _refund_unless_wrong(limits, attempt):
        await accounts.change_password(caller, body.old_password, body.new_password)
    return no_content()


# --- the profile


@get(ME)
async def show_profile(caller: FromDishka[Caller], accounts: FromDishka[Accounts]) -> Response[bytes]:
    return json_response(_profile(await accounts.profile(caller)))


@patch(ME, guards=[require_writer])
async def change_profile(
    request: AnyRequest, caller: FromDishka[Caller], accounts: FromDishka[Accounts]
) -> Response[bytes]:
    body = await read_json(request, ProfileUpdateRequest)
    user = await accounts.change_profile(
        caller, username=value_or_none(body.username), record_events=value_or_none(body.record_events)
    )
    return json_response(_profile(user))


@delete(ME, guards=[require_writer])
async def delete_profile(caller: FromDishka[Caller], accounts: FromDishka[Accounts]) -> Response[None]:
    await accounts.erase(caller)
    return no_content()


@get(ME + "export/", guards=[require_exporter])
async def export_profile(caller: FromDishka[Caller], accounts: FromDishka[Accounts]) -> Response[bytes]:
    return json_response(await accounts.export(caller))


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
    delete_profile,
    export_profile,
)
