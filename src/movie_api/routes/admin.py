"""`/api/v1/admin/…`, for staff: users, emails and the audit log."""

import unicodedata
from typing import Any, TypeVar

import msgspec
from dishka import FromDishka
from litestar import Response, get, patch, post
from litestar.params import FromPath

from movie_api.auth import require_staff, require_writer
from movie_api.pagination import PAGING_PARAMETERS, page_response, parse_window
from movie_api.parameters import parse_parameters
from movie_api.problems import AnyRequest
from movie_api.request_body import read_empty, read_json, value_or_none
from movie_api.responses import json_response, timestamp
from movie_core.accounts.outbox import SUBJECTS, Mail, MailState
from movie_core.accounts.sessions import Caller
from movie_core.accounts.users import MAX_ADDRESS, UserState
from movie_core.errors import InvalidParameter
from movie_core.operations.administration import Administration
from movie_core.operations.audit import AuditEntry
from movie_core.ports import UserSummary

ADMIN = "/api/v1/admin/"
USERS = ADMIN + "users/"
MAILS = ADMIN + "mail/"
AUDIT = ADMIN + "audit/"

State = TypeVar("State", UserState, MailState)


class UserUpdateRequest(msgspec.Struct):
    is_active: bool | msgspec.UnsetType = msgspec.UNSET
    is_staff: bool | msgspec.UnsetType = msgspec.UNSET


@get(USERS, guards=[require_staff])
async def list_users(request: AnyRequest, administration: FromDishka[Administration]) -> Response[bytes]:
    parameters = _parameters(request, "search", "state")
    state = _parse_state(UserState, parameters.get("state", UserState.ACCOUNT))
    search = parameters.get("search", "")
    if len(search) > MAX_ADDRESS or any(unicodedata.category(character) == "Cc" for character in search):
        raise InvalidParameter(
            f"search may have at most {MAX_ADDRESS} characters and no control characters", field="search"
        )
    window = parse_window(parameters)
    total, users = await administration.list_users(window, search, state)
    filters = [(name, parameters[name]) for name in ("search", "state") if name in parameters]
    return page_response(request, USERS, window, total, [_user(user) for user in users], {}, filters)


@patch(USERS + "{person_id:str}/", guards=[require_staff, require_writer])
async def change_user(
    request: AnyRequest,
    person_id: FromPath[str],
    caller: FromDishka[Caller],
    administration: FromDishka[Administration],
) -> Response[bytes]:
    body = await read_json(request, UserUpdateRequest)
    user = await administration.change(
        caller.user_id,
        person_id,
        is_active=value_or_none(body.is_active),
        is_staff=value_or_none(body.is_staff),
    )
    return json_response(_user(user))


@get(MAILS, guards=[require_staff])
async def list_mails(request: AnyRequest, administration: FromDishka[Administration]) -> Response[bytes]:
    parameters = _parameters(request, "state")
    state = _parse_state(MailState, parameters["state"]) if "state" in parameters else None
    window = parse_window(parameters)
    total, mails = await administration.list_mails(window, state)
    filters = [("state", state.value)] if state is not None else []
    return page_response(request, MAILS, window, total, [_mail(mail) for mail in mails], {}, filters)


@post(MAILS + "{mail_id:str}/retry/", guards=[require_staff, require_writer])
async def retry_mail(
    request: AnyRequest, mail_id: FromPath[str], caller: FromDishka[Caller], administration: FromDishka[Administration]
) -> Response[bytes]:
    await read_empty(request)
    return json_response(_mail(await administration.retry_one(caller.user_id, mail_id)))


@get(AUDIT, guards=[require_staff])
async def list_audit(request: AnyRequest, administration: FromDishka[Administration]) -> Response[bytes]:
    window = parse_window(_parameters(request))
    total, entries = await administration.list_audit(window)
    return page_response(request, AUDIT, window, total, [_entry(entry) for entry in entries], {})


def _parameters(request: AnyRequest, *names: str) -> dict[str, str]:
    known = {**PAGING_PARAMETERS, **dict.fromkeys(names, InvalidParameter)}
    return parse_parameters(request.scope["query_string"], known)


def _parse_state(states: type[State], text: str) -> State:
    try:
        return states(text)
    except ValueError:
        raise InvalidParameter(f"state must be one of {', '.join(states)}", field="state") from None


def _user(user: UserSummary) -> dict[str, Any]:
    return {
        "id": user.id,
        "email": user.address.spelling,
        "username": user.username.shown,
        "is_active": user.is_active,
        "is_staff": user.is_staff,
        "created_at": timestamp(user.created_at),
        "last_login": None if user.last_login is None else timestamp(user.last_login),
    }


def _mail(mail: Mail) -> dict[str, Any]:
    return {
        "id": mail.id,
        "to": mail.recipient,
        "subject": SUBJECTS[mail.kind],
        "state": mail.state,
        "attempts": mail.attempts,
        "last_error": mail.last_error,
        "created_at": timestamp(mail.created_at),
        "sent_at": None if mail.sent_at is None else timestamp(mail.sent_at),
    }


def _entry(entry: AuditEntry) -> dict[str, Any]:
    return {
        "id": entry.id,
        "at": timestamp(entry.at),
        "actor": entry.actor,
        "action": entry.action,
        "account_id": entry.account_id,
        "mail_id": entry.mail_id,
    }


ADMIN_ROUTES = (list_users, change_user, list_mails, retry_mail, list_audit)
