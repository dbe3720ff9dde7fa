"""`/api/v1/authentication/…`: registration, activation and passwords, with the pages of mailed links."""

from typing import Annotated, Any, ClassVar

import msgspec
from dishka import FromDishka
from litestar import Response, get, post
from litestar.params import FromPath
from litestar.response import Template

from movie_api.operations import HTML, STORE_ERRORS, Access, Operation
from movie_api.problems import AnyRequest
from movie_api.request_body import (
    FORM,
    JSON,
    is_form,
    read_body,
    read_form,
    read_json,
    read_optional_json,
    value_or_none,
)
from movie_api.responses import json_response, no_content
from movie_api.routes.sessions import (
    AUTHENTICATION,
    ID_OR_TOKEN,
    Message,
    client_networks,
    count_login,
    device_of,
    refund_unless_wrong,
    set_quota,
)
from movie_api.schemas import (
    PASSWORD_EXAMPLE,
    CurrentPassword,
    EmailAddress,
    JsonObject,
    Password,
    Username,
    documented,
)
from movie_api.web import account_pages
from movie_api.web.account_pages import handle_link_error, wants_html
from movie_core.accounts.login import Login
from movie_core.accounts.passwords import Passwords
from movie_core.accounts.profiles import Profiles
from movie_core.accounts.registration import Registration
from movie_core.accounts.rules import AccountRules
from movie_core.accounts.sessions import Caller
from movie_core.errors import InvalidBody, InvalidLink, InvalidPassword, WeakPassword
from movie_core.operations.rate_limits import RateLimits

ACTIVATION_LINK = AUTHENTICATION + "verify-email/{uid:str}/{token:str}/"
RESET_LINK = AUTHENTICATION + "password/reset/{uid:str}/{token:str}/"

_EMAIL_SENT = "If an account or registration exists for this address, an email is on its way."


class NewAccount(JsonObject):
    """A registration."""

    email: EmailAddress
    username: Username
    password: Password


class Registered(JsonObject):
    """The normalised address and username of a registration."""

    email: str
    username: str


class Address(JsonObject):
    """The email address of an account or registration."""

    email: EmailAddress


class Activation(JsonObject):
    """The password of a registration, or a new one. Neither is required if the address has a single pending
    registration."""

    SCHEMA: ClassVar[dict[str, Any]] = {
        "maxProperties": 1,
        "examples": [{"password": PASSWORD_EXAMPLE}],
    }

    password: Annotated[CurrentPassword, documented("The password of the registration.")] | msgspec.UnsetType = (
        msgspec.UNSET
    )
    new_password: (
        Annotated[Password, documented("A new password, which replaces the password of the registration.")]
        | msgspec.UnsetType
    ) = msgspec.UNSET


class ActivationForm(JsonObject):
    """The HTML form of an activation."""

    password: Password | msgspec.UnsetType = msgspec.UNSET
    new: Annotated[str, documented("If present, `password` is a new password.")] | msgspec.UnsetType = msgspec.UNSET


class ActivationLink(JsonObject, omit_defaults=True):
    """A message about an activation link."""

    message: str
    code: Annotated[
        str | None,
        documented(
            "`already_verified`: the link was used before; no tokens are returned. Later versions may add codes.",
            examples=["already_verified"],
        ),
    ] = None


class Activated(ActivationLink):
    """The result of an activation, with the tokens of a new session."""

    access: str | None = None
    refresh: str | None = None


class NewPassword(JsonObject):
    """A new password, and the parts of the mailed link."""

    uid: str
    token: str
    password: Password


class PasswordForm(JsonObject):
    """The HTML form of a new password."""

    password: Password


class PasswordChange(JsonObject):
    """The current and the new password."""

    old_password: CurrentPassword
    new_password: Password


def _link(uid: str, token: str) -> tuple[str, str]:
    """The parts of a mailed link; raises `InvalidLink`."""
    if not ID_OR_TOKEN.fullmatch(uid) or not ID_OR_TOKEN.fullmatch(token):
        raise InvalidLink("the link is malformed")
    return uid, token


async def _read_address(request: AnyRequest, limits: RateLimits) -> tuple[str, str]:
    """Count a request for an email, and return the address and the client's widest network."""
    await read_body(request)
    networks = client_networks(request)
    await limits.mail(networks)  # no RateLimit headers, so that responses do not disclose whether the address is known
    return (await read_json(request, Address)).email, networks[-1]


# --- registration and activation


@post(
    AUTHENTICATION + "register/",
    operation=Operation(
        id="register",
        tag="accounts",
        summary="Register; an email with an activation link follows",
        description=(
            "Stores a pending registration; the account exists once the mailed link is used. A taken address gets the "
            "same response as a new one, and its owner is notified by email."
        ),
        access=Access.ANYONE,
        is_limited=True,
        request=NewAccount,
        response=Registered,
        status=201,
        errors=("invalid_email", "invalid_username", "weak_password", "username_taken", "busy", *STORE_ERRORS),
    ),
)
async def register(
    request: AnyRequest, registrations: FromDishka[Registration], limits: FromDishka[RateLimits]
) -> Response[bytes]:
    await read_body(request)
    # Counted before the body is parsed: invalid requests count too.
    networks = client_networks(request)
    set_quota(request, await limits.register(networks))
    body = await read_json(request, NewAccount)
    registration = await registrations.register(body.email, body.username, body.password, requested_from=networks[-1])
    content = Registered(registration.address.spelling, registration.username.shown)
    return json_response(content, status_code=201)


@get(
    ACTIVATION_LINK,
    exception_handlers={Exception: handle_link_error},
    operation=Operation(
        id="showActivation",
        tag="accounts",
        summary="Check an activation link without using it",
        description=(
            "Returns what `POST` to the same URL would do, or an HTML form if `Accept` has `text/html`. It changes "
            "nothing, so that a mail scanner that follows links cannot use it up."
        ),
        access=Access.ANYONE,
        response={JSON: ActivationLink, HTML: str},
        errors=("invalid_link", *STORE_ERRORS),
        has_error_pages=True,
    ),
)
async def show_activation(
    request: AnyRequest,
    uid: FromPath[str],
    token: FromPath[str],
    registration: FromDishka[Registration],
    rules: FromDishka[AccountRules],
) -> Response[Any]:
    is_activated = await registration.is_activated(*_link(uid, token))
    if wants_html(request):
        if is_activated:
            return account_pages.already_activated()
        return account_pages.activation_form(rules.password_min)
    if is_activated:
        return _already_verified()
    text = 'POST {"password": "…"} or {"new_password": "…"} to this URL to activate the account'
    return json_response(ActivationLink(text))


def _already_verified() -> Response[bytes]:
    text = "The account was already active; nothing was changed"
    return json_response(ActivationLink(text, code="already_verified"))


@post(
    ACTIVATION_LINK,
    exception_handlers={Exception: handle_link_error},
    operation=Operation(
        id="activate",
        tag="accounts",
        summary="Activate the account; a JSON client is logged in",
        description=(
            "Uses the mailed link. `password` is the password of the registration, `new_password` a new one that "
            "replaces it; without either, the address must have a single pending registration. A link that was used "
            "before returns `already_verified` and no tokens. A form returns an HTML page and no tokens."
        ),
        access=Access.ANYONE,
        is_limited=True,
        request={JSON: Activation, FORM: ActivationForm},
        is_body_required=False,
        response={JSON: Activated, HTML: str},
        errors=(
            *("invalid_link", "invalid_password", "weak_password", "username_taken", "password_required", "busy"),
            *STORE_ERRORS,
        ),
        has_error_pages=True,
    ),
)
async def activate(
    request: AnyRequest,
    uid: FromPath[str],
    token: FromPath[str],
    registration: FromDishka[Registration],
    limits: FromDishka[RateLimits],
    rules: FromDishka[AccountRules],
) -> Response[Any]:
    networks = client_networks(request)
    passwords = await _read_passwords(request)
    set_quota(request, await limits.link(uid, networks))
    link = _link(uid, token)
    if wants_html(request):
        return await _activate_by_form(registration, link, passwords, rules.password_min)
    pair = await registration.activate(*link, device_of(request), **passwords, network=networks[0])
    if pair is None:
        return _already_verified()
    return json_response(Activated("Email verified successfully", access=pair.access, refresh=pair.refresh))


async def _read_passwords(request: AnyRequest) -> dict[str, str]:
    """`password` or `new_password`, from JSON or the form; neither if both are omitted."""
    if is_form(request):
        form = await read_form(request, ActivationForm)
        password = value_or_none(form.password)
        is_new = value_or_none(form.new) is not None
        return {"new_password" if is_new else "password": password} if password else {}
    body = await read_optional_json(request, Activation)
    fields = {"password": value_or_none(body.password), "new_password": value_or_none(body.new_password)}
    passwords = {name: value for name, value in fields.items() if value is not None}
    if len(passwords) > 1:
        raise InvalidBody("send password or new_password, not both", field="new_password")
    return passwords


async def _activate_by_form(
    registration: Registration, link: tuple[str, str], passwords: dict[str, str], password_min: int
) -> Template:
    """Activate without login; a rejected password returns the form again."""
    if await registration.is_activated(*link):
        return account_pages.already_activated()
    # The owner of the address may not have registered it, so the page never activates without a password.
    rejection = "enter the password of your registration, or a new one"
    if passwords:
        try:
            await registration.activate(*link, None, **passwords)
            return account_pages.activated()
        except InvalidPassword:
            rejection = "this is not the password of this registration; to set a new one, tick the box"
        except WeakPassword as error:
            rejection = error.detail
    return account_pages.activation_form(password_min, rejection, is_new="new_password" in passwords)


@post(
    AUTHENTICATION + "verify-email/resend/",
    operation=Operation(
        id="resendActivation",
        tag="accounts",
        summary="Send new activation links if registrations are pending",
        description=(
            "Sends one email with new links for the pending registrations of an address; earlier links become invalid. "
            "The response does not disclose whether there are any."
        ),
        access=Access.ANYONE,
        request=Address,
        response=Message,
        status=202,
        errors=("invalid_email", "rate_limited", *STORE_ERRORS),
    ),
)
async def resend(
    request: AnyRequest, registration: FromDishka[Registration], limits: FromDishka[RateLimits]
) -> Response[bytes]:
    email, network = await _read_address(request, limits)
    await registration.resend_activation(email, requested_from=network)
    return json_response(Message(_EMAIL_SENT), status_code=202)


# --- passwords


@post(
    AUTHENTICATION + "password/forgot/",
    operation=Operation(
        id="forgotPassword",
        tag="accounts",
        summary="Send a password reset link if the account exists",
        description="Sends an email with a reset link. The response does not disclose whether the account exists.",
        access=Access.ANYONE,
        request=Address,
        response=Message,
        status=202,
        errors=("invalid_email", "rate_limited", *STORE_ERRORS),
    ),
)
async def forgot_password(
    request: AnyRequest, passwords: FromDishka[Passwords], limits: FromDishka[RateLimits]
) -> Response[bytes]:
    email, network = await _read_address(request, limits)
    await passwords.request_reset(email, requested_from=network)
    return json_response(Message(_EMAIL_SENT), status_code=202)


@post(
    AUTHENTICATION + "password/reset/",
    operation=Operation(
        id="resetPassword",
        tag="accounts",
        summary="Set a new password with a mailed link; ends all sessions",
        description="Uses the reset link, whose `uid` and `token` are the last two parts of its path.",
        access=Access.ANYONE,
        is_limited=True,
        request=NewPassword,
        status=204,
        errors=("invalid_link", "weak_password", "busy", *STORE_ERRORS),
    ),
)
async def reset_password(
    request: AnyRequest, passwords: FromDishka[Passwords], limits: FromDishka[RateLimits]
) -> Response[None]:
    body = await read_json(request, NewPassword)
    set_quota(request, await limits.link(body.uid, client_networks(request)))
    await passwords.reset(*_link(body.uid, body.token), body.password)
    return no_content()


@get(
    RESET_LINK,
    exception_handlers={Exception: handle_link_error},
    operation=Operation(
        id="showReset",
        tag="accounts",
        summary="Check a reset link without using it",
        description=(
            "Returns how to set a new password, or an HTML form if `Accept` has `text/html`. It changes nothing, so "
            "that a mail scanner that follows links cannot use it up."
        ),
        access=Access.ANYONE,
        response={JSON: Message, HTML: str},
        errors=("invalid_link", *STORE_ERRORS),
        has_error_pages=True,
    ),
)
async def show_reset(
    request: AnyRequest,
    uid: FromPath[str],
    token: FromPath[str],
    passwords: FromDishka[Passwords],
    rules: FromDishka[AccountRules],
) -> Response[Any]:
    await passwords.check_reset_link(*_link(uid, token))
    if wants_html(request):
        return account_pages.password_form(rules.password_min)
    return json_response(Message("POST uid, token and password to password/reset/ to set a new password"))


@post(
    RESET_LINK,
    exception_handlers={Exception: handle_link_error},
    operation=Operation(
        id="resetPasswordByForm",
        tag="accounts",
        summary="Set a new password from the HTML form; ends all sessions",
        description="For the form of the mailed link. A rejected password returns the form again, with the reason.",
        access=Access.ANYONE,
        is_limited=True,
        request={FORM: PasswordForm},
        response={HTML: str},
        errors=("invalid_link", "weak_password", "busy", *STORE_ERRORS),
        has_error_pages=True,
    ),
)
async def reset_by_form(
    request: AnyRequest,
    uid: FromPath[str],
    token: FromPath[str],
    passwords: FromDishka[Passwords],
    limits: FromDishka[RateLimits],
    rules: FromDishka[AccountRules],
) -> Template:
    form = await read_form(request, PasswordForm)
    set_quota(request, await limits.link(uid, client_networks(request)))
    try:
        await passwords.reset(*_link(uid, token), form.password)
    except WeakPassword as error:
        return account_pages.password_form(rules.password_min, error.detail)
    return account_pages.password_changed()


@post(
    AUTHENTICATION + "password/change/",
    operation=Operation(
        id="changePassword",
        tag="accounts",
        summary="Change the password; ends all other sessions",
        description="Replaces the password after a check of the current one. The session of the request continues.",
        is_limited=True,
        request=PasswordChange,
        status=204,
        errors=("invalid_password", "weak_password", "busy", *STORE_ERRORS),
    ),
)
async def change_password(
    request: AnyRequest,
    caller: FromDishka[Caller],
    profiles: FromDishka[Profiles],
    login: FromDishka[Login],
    passwords: FromDishka[Passwords],
    limits: FromDishka[RateLimits],
) -> Response[None]:
    body = await read_json(request, PasswordChange)
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
