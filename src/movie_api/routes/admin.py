"""`/api/v1/admin/…`: accounts, mails and what staff did with them, for staff."""

import unicodedata
from datetime import datetime
from typing import Any, TypeVar

import msgspec
from dishka import FromDishka
from litestar import Response, get, patch, post
from litestar.params import FromPath

from movie_api.pagination import PAGED, listing, window_of
from movie_api.problems import AnyRequest
from movie_api.request_body import given_or_none, read_json, read_no_json
from movie_api.routes.analytics import require_staff
from movie_api.routes.movies import parse_parameters, require_writer
from movie_core.accounts.outbox import SUBJECTS, Mail, MailState
from movie_core.accounts.services import Caller
from movie_core.accounts.users import MAX_ADDRESS, UserState
from movie_core.errors import InvalidParameter
from movie_core.operations.administration import Administration
from movie_core.operations.audit import AuditEntry
from movie_core.ports import UserSummary

ADMIN = "/api/v1/admin/"
USERS = ADMIN + "users/"
MAILS = ADMIN + "mail/"
AUDIT = ADMIN + "audit/"

CacheStatus = TypeVar("CacheStatus", UserState, MailState)


class UserChange(msgspec.Struct):
    is_active: bool | msgspec.UnsetType = msgspec.UNSET
    is_staff: bool | msgspec.UnsetType = msgspec.UNSET


@get(USERS, guards=[require_staff])
async def list_users(request: AnyRequest, administration: FromDishka[Administration]) -> Response[bytes]:
    given = _given(request, "search", "state")
    state = _state(UserState, given.get("state", UserState.ACCOUNT))
    search = given.get("search", "")
    if len(search) > MAX_ADDRESS or any(unicodedata.category(c) == "Cc" for c in search):
        raise InvalidParameter(f"search has up to {MAX_ADDRESS} characters, none of control", field="search")
    window = window_of(given)
    total, people = await administration.list_users(window, search, state)
    kept = [(name, given[name]) for name in ("search", "state") if name in given]
    return listing(request, USERS, window, total, [_user(one) for one in people], {}, kept)


@patch(USERS + "{person_id:str}/", guards=[require_staff, require_writer])
async def change_user(
    request: AnyRequest,
    person_id: FromPath[str],
    caller: FromDishka[Caller],
    administration: FromDishka[Administration],
) -> Response[bytes]:
    change = await read_json(request, UserChange)
    person = await administration.change(
        caller.user_id,
        person_id,
        is_active=given_or_none(change.is_active),
        is_staff=given_or_none(change.is_staff),
    )
    return _json(_user(person))


@get(MAILS, guards=[require_staff])
async def list_mails(request: AnyRequest, administration: FromDishka[Administration]) -> Response[bytes]:
    given = _given(request, "state")
    state = _state(MailState, given["state"]) if "state" in given else None
    window = window_of(given)
    total, mails = await administration.mails(window, state)
    kept = [("state", state.value)] if state is not None else []
    return listing(request, MAILS, window, total, [_mail(one) for one in mails], {}, kept)


@post(MAILS + "{mail_id:str}/retry/", guards=[require_staff, require_writer])
async def retry_mail(
    request: AnyRequest, mail_id: FromPath[str], caller: FromDishka[Caller], administration: FromDishka[Administration]
) -> Response[bytes]:
    await read_no_json(request)
    return _json(_mail(await administration.retry_one(caller.user_id, mail_id)))


@get(AUDIT, guards=[require_staff])
async def list_audit(request: AnyRequest, administration: FromDishka[Administration]) -> Response[bytes]:
    window = window_of(_given(request))
    total, entries = await administration.audit(window)
    return listing(request, AUDIT, window, total, [_entry(one) for one in entries], {})


def _given(request: AnyRequest, *names: str) -> dict[str, str]:
    return parse_parameters(request.scope["query_string"], {**PAGED, **dict.fromkeys(names, InvalidParameter)})


def _state(states: type[CacheStatus], text: str) -> CacheStatus:
    try:
        return states(text)
    except ValueError:
        raise InvalidParameter(f"state must be one of {', '.join(states)}", field="state") from None


def _json(content: Any) -> Response[bytes]:
    return Response(msgspec.json.encode(content), status_code=200, media_type="application/json")


def _user(person: UserSummary) -> dict[str, Any]:
    return {
        "id": person.id,
        "email": person.address.spelling,
        "username": person.username.shown,
        "is_active": person.is_active,
        "is_staff": person.is_staff,
        "created_at": _time(person.created_at),
        "last_login": _time(person.last_login),
    }


def _mail(mail: Mail) -> dict[str, Any]:
    return {
        "id": mail.id,
        "to": mail.recipient,
        "subject": SUBJECTS[mail.kind],
        "state": mail.state,
        "attempts": mail.attempts,
        "last_error": mail.last_error,
        "created_at": _time(mail.created_at),
        "sent_at": _time(mail.sent_at),
    }


def _entry(entry: AuditEntry) -> dict[str, Any]:
    return {
        "id": entry.id,
        "at": _time(entry.at),
        "actor": entry.actor,
        "action": entry.action,
        "account_id": entry.account_id,
        "mail_id": entry.mail_id,
    }


def _time(at: datetime | None) -> datetime | None:
    return None if at is None else at.replace(microsecond=0)


ADMIN_ROUTES = (list_users, change_user, list_mails, retry_mail, list_audit)
