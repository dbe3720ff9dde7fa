"""`/api/v1/authentication/…`: registration, activation and passwords, with the pages of mailed links."""

from typing import Any

import msgspec
from dishka import FromDishka
from litestar import Response, get, post
from litestar.params import FromPath

from movie_api.problems import AnyRequest
from movie_api.request_body import is_form, read_body, read_form, read_json, read_optional_json, value_or_none
from movie_api.responses import json_response, message_response, no_content
from movie_api.routes.sessions import (
    AUTHENTICATION,
    ID_OR_TOKEN,
    client_networks,
    count_login,
    device_of,
    refund_unless_wrong,
    set_quota,
)
from movie_api.web import account_pages
from movie_api.web.account_pages import handle_link_error, wants_html
from movie_core.accounts.login import Login
from movie_core.accounts.passwords import Passwords
from movie_core.accounts.profiles import Profiles
from movie_core.accounts.registration import Registration
from movie_core.accounts.sessions import Caller
from movie_core.errors import InvalidBody, InvalidLink, InvalidPassword, WeakPassword
from movie_core.operations.rate_limits import RateLimits

ACTIVATION_LINK = AUTHENTICATION + "verify-email/{uid:str}/{token:str}/"
RESET_LINK = AUTHENTICATION + "password/reset/{uid:str}/{token:str}/"

_EMAIL_SENT = "If an account or registration exists for this address, an email is on its way."


class RegistrationRequest(msgspec.Struct):
    email: str
    username: str
    password: str


class AddressRequest(msgspec.Struct):
    email: str


class ActivationRequest(msgspec.Struct):
    """At most one of the two; neither is required if the address has a single pending registration."""

    password: str | msgspec.UnsetType = msgspec.UNSET
    new_password: str | msgspec.UnsetType = msgspec.UNSET


class PasswordResetRequest(msgspec.Struct):
    uid: str
    token: str
    password: str


class PasswordChangeRequest(msgspec.Struct):
    old_password: str
    new_password: str


def _link(uid: str, token: str) -> tuple[str, str]:
    if not ID_OR_TOKEN.fullmatch(uid) or not ID_OR_TOKEN.fullmatch(token):
        raise InvalidLink("the link is malformed")
    return uid, token


# --- registration and activation


@post(AUTHENTICATION + "register/")
async def register(
    request: AnyRequest, registrations: FromDishka[Registration], limits: FromDishka[RateLimits]
) -> Response[bytes]:
    await read_body(request)
    # Counted before the body is parsed: invalid requests count too.
    networks = client_networks(request)
    set_quota(request, await limits.register(networks))
    body = await read_json(request, RegistrationRequest)
    registration = await registrations.register(body.email, body.username, body.password, requested_from=networks[-1])
    content = {"email": registration.address.spelling, "username": registration.username.shown}
    return json_response(content, status_code=201)


@get(ACTIVATION_LINK, exception_handlers={Exception: handle_link_error})
async def show_activation(
    request: AnyRequest, uid: FromPath[str], token: FromPath[str], registration: FromDishka[Registration]
) -> Response[Any]:
    is_activated = await registration.is_activated(*_link(uid, token))
    if wants_html(request):
        if is_activated:
            return account_pages.already_activated()
        return account_pages.activation_form(request.app.state.settings.password_min)
    if is_activated:
        return _already_verified()
    return message_response('POST {"password": "…"} or {"new_password": "…"} to this URL to activate the account')


def _already_verified() -> Response[bytes]:
    return message_response("The account was already active; nothing was changed", code="already_verified")


@post(ACTIVATION_LINK, exception_handlers={Exception: handle_link_error})
async def activate(
    request: AnyRequest,
    uid: FromPath[str],
    token: FromPath[str],
    registration: FromDishka[Registration],
    limits: FromDishka[RateLimits],
) -> Response[Any]:
    networks = client_networks(request)
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
    set_quota(request, await limits.link(uid, networks))
    if not wants_html(request):
        pair = await registration.activate(*_link(uid, token), device_of(request), **passwords, network=networks[0])
        if pair is None:
            return _already_verified()
        return message_response("Email verified successfully", access=pair.access, refresh=pair.refresh)
    rejection = ""
    try:
        if await registration.is_activated(*_link(uid, token)):
            return account_pages.already_activated()
        # The owner of the address may not have registered it, so the page never activates without a password.
        if passwords:
            await registration.activate(*_link(uid, token), None, **passwords)
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
    request: AnyRequest, registration: FromDishka[Registration], limits: FromDishka[RateLimits]
) -> Response[bytes]:
    await read_body(request)
    networks = client_networks(request)
    await limits.mail(networks)  # no RateLimit headers, so that responses do not disclose whether the address is known
    await registration.resend_activation((await read_json(request, AddressRequest)).email, requested_from=networks[-1])
    return message_response(_EMAIL_SENT, status_code=202)


# --- passwords


@post(AUTHENTICATION + "password/forgot/")
async def forgot_password(
    request: AnyRequest, passwords: FromDishka[Passwords], limits: FromDishka[RateLimits]
) -> Response[bytes]:
    await read_body(request)
    networks = client_networks(request)
    await limits.mail(networks)  # no RateLimit headers, so that responses do not disclose whether the address is known
    await passwords.request_reset((await read_json(request, AddressRequest)).email, requested_from=networks[-1])
    return message_response(_EMAIL_SENT, status_code=202)


@post(AUTHENTICATION + "password/reset/")
async def reset_password(
    request: AnyRequest, passwords: FromDishka[Passwords], limits: FromDishka[RateLimits]
) -> Response[None]:
    body = await read_json(request, PasswordResetRequest)
    set_quota(request, await limits.link(body.uid, client_networks(request)))
    await passwords.reset(*_link(body.uid, body.token), body.password)
    return no_content()


@get(RESET_LINK, exception_handlers={Exception: handle_link_error})
async def show_reset(
    request: AnyRequest, uid: FromPath[str], token: FromPath[str], passwords: FromDishka[Passwords]
) -> Response[Any]:
    await passwords.check_reset_link(*_link(uid, token))
    if wants_html(request):
        return account_pages.password_form(request.app.state.settings.password_min)
    return message_response("POST uid, token and password to password/reset/ to set a new password")


@post(RESET_LINK, exception_handlers={Exception: handle_link_error})
async def reset_by_form(
    request: AnyRequest,
    uid: FromPath[str],
    token: FromPath[str],
    passwords: FromDishka[Passwords],
    limits: FromDishka[RateLimits],
) -> Response[bytes]:
    form = await read_form(request, ("password",))
    set_quota(request, await limits.link(uid, client_networks(request)))
    try:
        await passwords.reset(*_link(uid, token), form["password"])
    except WeakPassword as error:
        return account_pages.password_form(request.app.state.settings.password_min, error.detail)
    return account_pages.password_changed()


@post(AUTHENTICATION + "password/change/")
async def change_password(
    request: AnyRequest,
    caller: FromDishka[Caller],
    profiles: FromDishka[Profiles],
    login: FromDishka[Login],
    passwords: FromDishka[Passwords],
    limits: FromDishka[RateLimits],
) -> Response[None]:
    body = await read_json(request, PasswordChangeRequest)
    user = await profiles.get(caller)
    attempt = await count_login(request, user.address.key, login, limits)
    async with refund_unless_wrong(limits, attempt):
        await passwords.change(caller, body.old_password, body.new_password)
    return no_content()


ACCOUNT_ROUTES = (
    register,
    show_activation,
    activate,
    resend,
    forgot_password,
    reset_password,
    show_reset,
    reset_by_form,
    change_password,
)
