"""`/api/v1/analytics/…`: what everyone did, for staff, as JSON or as CSV."""

import csv
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import fields
from functools import partial
from io import StringIO
from typing import Any

import msgspec
from dishka import FromDishka
from litestar import Response, get
from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler

from movie_api.problems import AnyRequest
from movie_api.routes.movies import parse_parameters
from movie_core.accounts.services import Accounts, Caller
from movie_core.clock import utc_now
from movie_core.discovery.analytics import Clicks, Cohort, Days, Funnel, QueryCount, SourceDay, Summary
from movie_core.errors import InvalidParameter, NotAllowed
from movie_core.ports import Analytics

ANALYTICS = "/api/v1/analytics/"

_REFUSALS = {"from": InvalidParameter, "to": InvalidParameter}
_FORMULA = re.compile(
    r"^(?=[\t\r])"
    r"|(^|[\s:;,|\"'\u3001\uff0c\uff1a\uff1b])([\s\u200b\ufeff]*)"
    r"([=+\-@\u2212\ufe62\ufe63\ufe66\ufe6b\uff0b\uff0d\uff1d\uff20])"
)
"""The start of a formula, full-width signs included: at the start of a cell, or after a character at which some
spreadsheets split cells. Queries are untrusted text."""
MAX_RANGES = 64
"""Media ranges of `Accept` that are looked at."""
_QUALITY = re.compile(r"[01](?:\.[0-9]{0,3})?")


async def require_staff(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
    """Guards routes that are for staff, as the store has it at this moment."""
    container = connection.state.dishka_container
    caller = await container.get(Caller)
    account = await (await container.get(Accounts)).profile(caller)
    if not account.is_staff:
        raise NotAllowed("this is for staff alone")


def prefers_csv(accepted: Iterable[str]) -> bool:
    """Whether these values of `Accept` prefer CSV to JSON, which is answered in doubt (RFC 9110, 12.5.1)."""
    ranges: dict[str, float] = {}
    for given in ",".join(accepted).split(",", MAX_RANGES)[:MAX_RANGES]:
        media_range, *parameters = (part.strip().lower() for part in given.split(";"))
        written = next((one[2:].strip() for one in parameters if one.startswith("q=")), "1")
        ranges[media_range] = min(1.0, float(written)) if _QUALITY.fullmatch(written) else 0.0
    return _preference(ranges, "text/csv") > _preference(ranges, "application/json")


def _preference(ranges: Mapping[str, float], media_type: str) -> tuple[float, int]:
    """The quality of a type by the closest range for it, and how close that is."""
    named = ("*/*", f"{media_type.partition('/')[0]}/*", media_type)
    closeness = max((place for place, one in enumerate(named) if one in ranges), default=0)
    quality = ranges.get(named[closeness], 0.0)
    return quality, closeness if quality else 0


async def _answer(request: AnyRequest, name: str, row: type, ask: Callable[[Days], Awaitable[Any]]) -> Response[bytes]:
    """`ask` finds one `row` or a sequence of them, whose fields are the names on the wire; `name` is for a file."""
    given = parse_parameters(request.scope["query_string"], _REFUSALS)
    days = Days.parse(given.get("from"), given.get("to"), utc_now().date())
    found = await ask(days)
    names = [field.name for field in fields(row)]
    is_list = isinstance(found, Sequence)
    rows = [{name: getattr(one, name) for name in names} for one in (found if is_list else (found,))]
    headers = {"cache-control": "no-store", "vary": "Accept"}
    if prefers_csv(request.headers.getall("accept", [])):
        headers["content-disposition"] = f'attachment; filename="{name}-{days.first}-{days.last}.csv"'
        return Response(_csv(names, rows), headers=headers, media_type="text/csv; header=present")
    content = {"items": rows} if is_list else rows[0]
    meta = {"from": days.first, "to": days.last}
    return Response(msgspec.json.encode(content | {"meta": meta}), headers=headers, media_type="application/json")


def _csv(names: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> bytes:
    """CSV by RFC 4180, with every cell quoted."""
    written = StringIO(newline="")
    writer = csv.writer(written, quoting=csv.QUOTE_ALL)
    writer.writerow(names)
    writer.writerows([_cell(value) for value in row.values()] for row in rows)
    return written.getvalue().encode()


def _cell(value: Any) -> Any:
    match value:
        case str():
            return _FORMULA.sub(r"\1\2'\3", value)
        case tuple():
            return "|".join(map(str, value))
        case _:
            return value


@get(ANALYTICS + "summary/", guards=[require_staff])
async def summary(request: AnyRequest, analytics: FromDishka[Analytics]) -> Response[bytes]:
    return await _answer(request, "summary", Summary, analytics.summary)


@get(ANALYTICS + "searches/top/", guards=[require_staff])
async def top_searches(request: AnyRequest, analytics: FromDishka[Analytics]) -> Response[bytes]:
    return await _answer(request, "searches-top", QueryCount, analytics.top_searches)


@get(ANALYTICS + "searches/zero-results/", guards=[require_staff])
async def zero_result_searches(request: AnyRequest, analytics: FromDishka[Analytics]) -> Response[bytes]:
    ask = partial(analytics.top_searches, zero_results=True)
    return await _answer(request, "searches-zero-results", QueryCount, ask)


@get(ANALYTICS + "clicks/", guards=[require_staff])
async def clicks(request: AnyRequest, analytics: FromDishka[Analytics]) -> Response[bytes]:
    return await _answer(request, "clicks", Clicks, analytics.clicks)


@get(ANALYTICS + "funnel/", guards=[require_staff])
async def funnel(request: AnyRequest, analytics: FromDishka[Analytics]) -> Response[bytes]:
    return await _answer(request, "funnel", Funnel, analytics.funnel)


@get(ANALYTICS + "retention/", guards=[require_staff])
async def retention(request: AnyRequest, analytics: FromDishka[Analytics]) -> Response[bytes]:
    return await _answer(request, "retention", Cohort, analytics.retention)


@get(ANALYTICS + "source/", guards=[require_staff])
async def source(request: AnyRequest, analytics: FromDishka[Analytics]) -> Response[bytes]:
    return await _answer(request, "source", SourceDay, analytics.source)


ANALYTICS_ROUTES = (summary, top_searches, zero_result_searches, clicks, funnel, retention, source)
