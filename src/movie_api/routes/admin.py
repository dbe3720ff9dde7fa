"""`/api/v1/admin/…`, for staff: users, emails and the audit log."""

import unicodedata
from typing import Annotated, TypeVar

import msgspec
from dishka import FromDishka
from litestar import Response, get, patch, post
from litestar.params import FromPath

from movie_api.auth import require_staff, require_writer
from movie_api.operations import PAGE_ERRORS, STORE_ERRORS, Access, Operation
from movie_api.pagination import (
    Limit,
    Offset,
    Page,
    PageParameters,
    page_response,
    parse_window,
    request_window,
)
from movie_api.parameters import parse_parameters
from movie_api.problems import AnyRequest
from movie_api.request_body import read_json, read_optional_json, value_or_none
from movie_api.responses import json_response, optional_timestamp, timestamp
from movie_api.schemas import NO_CONTROLS, Count, JsonObject, OptionalTimestamp, Timestamp, documented
from movie_core.accounts.outbox import SUBJECTS, Mail, MailState
from movie_core.accounts.sessions import Caller
from movie_core.accounts.users import MAX_ADDRESS, UserState, UserSummary
from movie_core.errors import InvalidParameter
from movie_core.operations.administration import AuditRecorder, MailAdministration, UserAdministration
from movie_core.operations.audit import COMMAND_LINE, Action
from movie_core.paging import DEFAULT_LIMIT

ADMIN = "/api/v1/admin/"
USERS = ADMIN + "users/"
MAILS = ADMIN + "mail/"
AUDIT = ADMIN + "audit/"

State = TypeVar("State", UserState, MailState)


class UserParameters(msgspec.Struct):
    """The parameters of the list of users."""

    search: (
        Annotated[
            str,
            documented(
                "Part of the email address or username; case-insensitive.", maxLength=MAX_ADDRESS, pattern=NO_CONTROLS
            ),
        ]
        | msgspec.UnsetType
    ) = msgspec.UNSET
    state: Annotated[
        UserState,
        documented(
            "`account`: all users. `staff`: staff, active or not. `pending`: registrations that are not activated."
        ),
    ] = UserState.ACCOUNT
    offset: Offset = 0
    limit: Limit = DEFAULT_LIMIT


class User(JsonObject):
    """A user, or a pending registration."""

    id: str
    email: str
    username: str
    is_active: Annotated[bool, documented("Also false for pending registrations.")]
    is_staff: bool
    created_at: Timestamp
    last_login: OptionalTimestamp


class Users(Page[User]):
    """A page of users."""


class UserChange(JsonObject):
    """New values; omitted fields keep theirs."""

    is_active: bool | msgspec.UnsetType = msgspec.UNSET
    is_staff: bool | msgspec.UnsetType = msgspec.UNSET


class MailParameters(msgspec.Struct):
    """The parameters of the list of emails."""

    state: Annotated[MailState, documented("Only emails in this state.")] | msgspec.UnsetType = msgspec.UNSET
    offset: Offset = 0
    limit: Limit = DEFAULT_LIMIT


class Email(JsonObject):
    """An email of the outbox."""

    id: str
    to: Annotated[str, documented("Empty until the email is prepared, which a rate limit may delay.")]
    subject: str
    state: Annotated[MailState, documented("`dead`: no longer retried.")]
    attempts: Count
    last_error: Annotated[str, documented("The last response of the mail server; empty if there was none.")]
    created_at: Timestamp
    sent_at: OptionalTimestamp


class Emails(Page[Email]):
    """A page of emails."""


class EmptyObject(JsonObject):
    """An object without members."""


class AuditEntry(JsonObject):
    """An action of staff."""

    id: str
    at: Timestamp
    actor: Annotated[str, documented(f"The id of a user, or `{COMMAND_LINE}`; empty if that user was erased.")]
    action: Action
    account_id: Annotated[str | None, documented("The affected user, unless erased since.")]
    mail_id: Annotated[str | None, documented("The affected email.")]


class AuditEntries(Page[AuditEntry]):
    """A page of the audit log."""


@get(
    USERS,
    guards=[require_staff],
    operation=Operation(
        id="listUsers",
        tag="administration",
        summary="Users or pending registrations, newest first",
        description="Returns one page of the users whose email address or username contains `search`.",
        access=Access.STAFF,
        parameters=UserParameters,
        response=Users,
        headers=("Link",),
        errors=("invalid_parameter", *PAGE_ERRORS, *STORE_ERRORS),
    ),
)
async def list_users(request: AnyRequest, administration: FromDishka[UserAdministration]) -> Response[bytes]:
    parameters = parse_parameters(request.scope["query_string"], UserParameters)
    state = _parse_state(UserState, parameters.get("state", UserState.ACCOUNT))
    search = parameters.get("search", "")
    if len(search) > MAX_ADDRESS or any(unicodedata.category(character) == "Cc" for character in search):
        raise InvalidParameter(
            f"search may have at most {MAX_ADDRESS} characters and no control characters", field="search"
        )
    window = parse_window(parameters)
    total, users = await administration.list_users(window, search, state)
    filters = [(name, parameters[name]) for name in ("search", "state") if name in parameters]
    return page_response(Users, request, USERS, window, total, [_user(user) for user in users], {}, filters)


@patch(
    USERS + "{user_id:str}/",
    guards=[require_staff, require_writer],
    operation=Operation(
        id="changeUser",
        tag="administration",
        summary=(
            "Activate (also the newest registration of a pending address) or deactivate a user; change staff rights"
        ),
        description=(
            "Changes the given fields and records each change in the audit log. Deactivation ends all sessions of the "
            "user. Staff cannot deactivate themselves or give up their own rights."
        ),
        access=Access.STAFF,
        is_limited=True,
        request=UserChange,
        response=User,
        errors=("user_not_found", "username_taken", "own_account", *STORE_ERRORS),
    ),
)
async def change_user(
    request: AnyRequest,
    user_id: FromPath[str],
    caller: FromDishka[Caller],
    administration: FromDishka[UserAdministration],
) -> Response[bytes]:
    body = await read_json(request, UserChange)
    user = await administration.change(
        caller.user_id,
        user_id,
        is_active=value_or_none(body.is_active),
        is_staff=value_or_none(body.is_staff),
    )
    return json_response(_user(user))


@get(
    MAILS,
    guards=[require_staff],
    operation=Operation(
        id="listMails",
        tag="administration",
        summary="Emails, newest first",
        description="Returns one page of the emails that are pending, were sent recently, or are no longer retried.",
        access=Access.STAFF,
        parameters=MailParameters,
        response=Emails,
        headers=("Link",),
        errors=("invalid_parameter", *PAGE_ERRORS, *STORE_ERRORS),
    ),
)
async def list_mails(request: AnyRequest, administration: FromDishka[MailAdministration]) -> Response[bytes]:
    parameters = parse_parameters(request.scope["query_string"], MailParameters)
    state = _parse_state(MailState, parameters["state"]) if "state" in parameters else None
    window = parse_window(parameters)
    total, mails = await administration.list_mails(window, state)
    filters = [("state", state.value)] if state is not None else []
    return page_response(Emails, request, MAILS, window, total, [_mail(mail) for mail in mails], {}, filters)


@post(
    MAILS + "{mail_id:str}/retry/",
    guards=[require_staff, require_writer],
    operation=Operation(
        id="retryMail",
        tag="administration",
        summary="Retry a dead email",
        description="Makes an email that is no longer retried pending again, and records it in the audit log.",
        access=Access.STAFF,
        is_limited=True,
        request=EmptyObject,
        is_body_required=False,
        response=Email,
        errors=("mail_not_found", "mail_not_dead", *STORE_ERRORS),
    ),
)
async def retry_mail(
    request: AnyRequest,
    mail_id: FromPath[str],
    caller: FromDishka[Caller],
    administration: FromDishka[MailAdministration],
) -> Response[bytes]:
    await read_optional_json(request, EmptyObject)
    return json_response(_mail(await administration.retry_one(caller.user_id, mail_id)))


@get(
    AUDIT,
    guards=[require_staff],
    operation=Operation(
        id="listAudit",
        tag="administration",
        summary="Audit log, newest first",
        description="Returns one page of the changes made by staff and on the command line.",
        access=Access.STAFF,
        parameters=PageParameters,
        response=AuditEntries,
        headers=("Link",),
        errors=(*PAGE_ERRORS, *STORE_ERRORS),
    ),
)
async def list_audit(request: AnyRequest, recorder: FromDishka[AuditRecorder]) -> Response[bytes]:
    window = request_window(request)
    total, entries = await recorder.list_page(window)
    items = [AuditEntry.of(entry, at=timestamp(entry.at)) for entry in entries]
    return page_response(AuditEntries, request, AUDIT, window, total, items, {})


def _parse_state(states: type[State], text: str) -> State:
    try:
        return states(text)
    except ValueError:
        raise InvalidParameter(f"state must be one of {', '.join(states)}", field="state") from None


def _user(user: UserSummary) -> User:
    return User(
        id=user.id,
        email=user.address.spelling,
        username=user.username.shown,
        is_active=user.is_active,
        is_staff=user.is_staff,
        created_at=timestamp(user.created_at),
        last_login=optional_timestamp(user.last_login),
    )


def _mail(mail: Mail) -> Email:
    return Email(
        id=mail.id,
        to=mail.recipient,
        subject=SUBJECTS[mail.kind],
        state=mail.state,
        attempts=mail.attempts,
        last_error=mail.last_error,
        created_at=timestamp(mail.created_at),
        sent_at=optional_timestamp(mail.sent_at),
    )


ADMIN_ROUTES = (list_users, change_user, list_mails, retry_mail, list_audit)
