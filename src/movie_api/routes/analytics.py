"""`/api/v1/analytics/…`: reports for staff, as JSON or CSV."""

import csv
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import fields
from functools import partial
from io import StringIO
from typing import Any

from dishka import FromDishka
from litestar import Response, get

from movie_api.auth import require_staff
from movie_api.parameters import parse_parameters
from movie_api.problems import AnyRequest
from movie_api.responses import json_response
from movie_core.clock import utc_now
from movie_core.discovery.analytics import Clicks, Cohort, Days, Funnel, QueryCount, SourceDay, Summary
from movie_core.errors import InvalidParameter
from movie_core.ports import Analytics

ANALYTICS = "/api/v1/analytics/"

_PARAMETERS = {"from": InvalidParameter, "to": InvalidParameter}
_FORMULA = re.compile(
    r"^(?=[\t\r])"
    r"|(^|[\s:;,|\"'\u3001\uff0c\uff1a\uff1b])([\s\u200b\ufeff]*)"
    r"([=+\-@\u2212\ufe62\ufe63\ufe66\ufe6b\uff0b\uff0d\uff1d\uff20])"
)
"""The start of a spreadsheet formula, including full-width signs: at the start of a cell, or after a character at which
some spreadsheets split cells. Queries are untrusted text (CSV injection)."""
MAX_RANGES = 64
"""Maximum number of media ranges of `Accept` that are parsed; further ones are ignored."""
_QUALITY = re.compile(r"[01](?:\.[0-9]{0,3})?")


def prefers_csv(accepted: Iterable[str]) -> bool:
    """Whether these values of `Accept` prefer CSV to JSON, which is the default (RFC 9110, 12.5.1)."""
    ranges: dict[str, float] = {}
    for element in ",".join(accepted).split(",", MAX_RANGES)[:MAX_RANGES]:
        media_range, *parameters = (part.strip().lower() for part in element.split(";"))
        quality = next((parameter[2:].strip() for parameter in parameters if parameter.startswith("q=")), "1")
        ranges[media_range] = min(1.0, float(quality)) if _QUALITY.fullmatch(quality) else 0.0
    return _preference(ranges, "text/csv") > _preference(ranges, "application/json")


def _preference(ranges: Mapping[str, float], media_type: str) -> tuple[float, int]:
    """The quality of a media type, from its most specific range, and the specificity of that range."""
    candidates = ("*/*", f"{media_type.partition('/')[0]}/*", media_type)
    specificity = max((index for index, candidate in enumerate(candidates) if candidate in ranges), default=0)
    quality = ranges.get(candidates[specificity], 0.0)
    return quality, specificity if quality else 0


async def _report(
    request: AnyRequest, name: str, row_type: type, query: Callable[[Days], Awaitable[Any]]
) -> Response[bytes]:
    """`query` returns one `row_type` or a sequence of them, whose field names are those of the response. `name` is used
    for the name of a CSV file."""
    parameters = parse_parameters(request.scope["query_string"], _PARAMETERS)
    days = Days.parse(parameters.get("from"), parameters.get("to"), utc_now().date())
    result = await query(days)
    names = [field.name for field in fields(row_type)]
    is_list = isinstance(result, Sequence)
    rows = [{name: getattr(row, name) for name in names} for row in (result if is_list else (result,))]
    headers = {"cache-control": "no-store", "vary": "Accept"}
    if prefers_csv(request.headers.getall("accept", [])):
        headers["content-disposition"] = f'attachment; filename="{name}-{days.first}-{days.last}.csv"'
        return Response(_csv(names, rows), headers=headers, media_type="text/csv; header=present")
    content = {"items": rows} if is_list else rows[0]
    meta = {"from": days.first, "to": days.last}
    return json_response(content | {"meta": meta}, headers=headers)


def _csv(names: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> bytes:
    """CSV as in RFC 4180, with every cell quoted."""
    buffer = StringIO(newline="")
    writer = csv.writer(buffer, quoting=csv.QUOTE_ALL)
    writer.writerow(names)
    writer.writerows([_cell(value) for value in row.values()] for row in rows)
    return buffer.getvalue().encode()


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
    return await _report(request, "summary", Summary, analytics.summary)


@get(ANALYTICS + "searches/top/", guards=[require_staff])
async def top_searches(request: AnyRequest, analytics: FromDishka[Analytics]) -> Response[bytes]:
    return await _report(request, "searches-top", QueryCount, analytics.top_searches)


@get(ANALYTICS + "searches/zero-results/", guards=[require_staff])
async def zero_result_searches(request: AnyRequest, analytics: FromDishka[Analytics]) -> Response[bytes]:
    query = partial(analytics.top_searches, zero_results=True)
    return await _report(request, "searches-zero-results", QueryCount, query)


@get(ANALYTICS + "clicks/", guards=[require_staff])
async def clicks(request: AnyRequest, analytics: FromDishka[Analytics]) -> Response[bytes]:
    return await _report(request, "clicks", Clicks, analytics.clicks)


@get(ANALYTICS + "funnel/", guards=[require_staff])
async def funnel(request: AnyRequest, analytics: FromDishka[Analytics]) -> Response[bytes]:
    return await _report(request, "funnel", Funnel, analytics.funnel)


@get(ANALYTICS + "retention/", guards=[require_staff])
async def retention(request: AnyRequest, analytics: FromDishka[Analytics]) -> Response[bytes]:
    return await _report(request, "retention", Cohort, analytics.retention)


@get(ANALYTICS + "source/", guards=[require_staff])
async def source(request: AnyRequest, analytics: FromDishka[Analytics]) -> Response[bytes]:
    return await _report(request, "source", SourceDay, analytics.source)


ANALYTICS_ROUTES = (summary, top_searches, zero_result_searches, clicks, funnel, retention, source)
