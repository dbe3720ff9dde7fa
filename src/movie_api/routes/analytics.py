"""`/api/v1/analytics/…`: reports for staff, as JSON or CSV."""

import csv
import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import date
from functools import partial
from io import StringIO
from typing import Annotated, Any

import msgspec
from dishka import FromDishka
from litestar import Response, get

from movie_api.accept import parse_accept, preference
from movie_api.auth import require_staff
from movie_api.operations import STORE_ERRORS, Access, Operation
from movie_api.parameters import parse_parameters
from movie_api.problems import AnyRequest
from movie_api.request_body import CSV, JSON
from movie_api.responses import json_response
from movie_api.schemas import Count, JsonObject, documented
from movie_core.clock import Clock
from movie_core.discovery.analytics import DEFAULT_DAYS, MAX_DAYS, MAX_QUERIES, Days
from movie_core.ports import Analytics

ANALYTICS = "/api/v1/analytics/"

_FORMULA = re.compile(
    r"^(?=[\t\r])"
    r"|(^|[\s:;,|\"'\u3001\uff0c\uff1a\uff1b])([\s\u200b\ufeff]*)"
    r"([=+\-@\u2212\ufe62\ufe63\ufe66\ufe6b\uff0b\uff0d\uff1d\uff20])"
)
"""The start of a spreadsheet formula, including full-width signs: at the start of a cell, or after a character at which
some spreadsheets split cells. Queries are untrusted text (CSV injection)."""


class DaysParameters(msgspec.Struct, rename={"first": "from", "last": "to"}):
    """The parameters of a report."""

    first: (
        Annotated[
            str,
            documented(
                f"First day (UTC), included; by default the range has {DEFAULT_DAYS} days, at most {MAX_DAYS}.",
                format="date",
            ),
        ]
        | msgspec.UnsetType
    ) = msgspec.UNSET
    last: (
        Annotated[str, documented("Last day (UTC), included; today by default.", format="date")] | msgspec.UnsetType
    ) = msgspec.UNSET


_Day = Annotated[date, documented("UTC day, included.")]


class DaysMeta(JsonObject, rename={"first": "from", "last": "to"}):
    """The days of a report."""

    first: _Day
    last: _Day


class Summary(JsonObject):
    """Totals of the days."""

    searches: Count
    users: Annotated[Count, documented("Authenticated users who searched, clicked or rated.")]
    ratings: Count
    clicks: Count
    zero_result_searches: Count
    meta: DaysMeta


class QueryCount(JsonObject):
    """A query and how often it was searched."""

    query: str
    count: Count
    users: Count


class QueryCounts(JsonObject):
    """Queries, most frequent first."""

    items: Annotated[list[QueryCount], documented(maxItems=MAX_QUERIES)]
    meta: DaysMeta


class Clicks(JsonObject):
    """Clicks on the results of searches."""

    searches: Annotated[Count, documented("Searches for the first page, with or without matches.")]
    clicks: Count
    click_through_rate: Annotated[
        float,
        documented(
            "Share of searches followed by a click of the same user on that query within 30 minutes.",
            minimum=0,
            maximum=1,
        ),
    ]
    mean_position: Annotated[float | None, documented("Mean position of the clicked results; 1 is the first result.")]
    meta: DaysMeta


class Funnel(JsonObject):
    """Numbers of users by step."""

    searched: Annotated[Count, documented("Number of users, as in the other steps.")]
    clicked: Annotated[Count, documented("Number of these users who then clicked.")]
    rated: Annotated[Count, documented("Number of these users who then rated.")]
    meta: DaysMeta


class Cohort(JsonObject):
    """Users who activated their account in the same week."""

    cohort: Annotated[str, documented("ISO week of the activation.", examples=["2026-W47"])]
    size: Count
    returned: Annotated[
        tuple[Count, ...],
        documented("Number of users who searched in that week, the next week, and so on."),
    ]


class Retention(JsonObject):
    """Cohorts, oldest first."""

    items: list[Cohort]
    meta: DaysMeta


class SourceDay(JsonObject):
    """Calls to the movie source on one day, and states of responses."""

    day: date
    attempts: Annotated[Count, documented("Calls to the movie source.")]
    failures: Annotated[Count, documented("Calls without a usable response.")]
    live: Count
    fresh: Count
    stale: Count
    fallback: Count


class SourceDays(JsonObject):
    """Days of the movie source."""

    items: list[SourceDay]
    meta: DaysMeta


def prefers_csv(accepted: Iterable[str]) -> bool:
    """Whether these values of `Accept` prefer CSV to JSON, which is the default."""
    ranges = parse_accept(accepted)
    return preference(ranges, CSV) > preference(ranges, JSON)


async def _report(
    request: AnyRequest,
    clock: Clock,
    name: str,
    report_type: type[JsonObject],
    query: Callable[[Days], Awaitable[Any]],
    row_type: type[JsonObject] | None = None,
) -> Response[bytes]:
    """Respond with the result of `query` as JSON or CSV.

    Without a `row_type`, the result has the fields of `report_type`; otherwise it is a list of rows with the fields of
    `row_type`, the items of the report. These fields are the columns of CSV. `name` begins the name of the CSV file.
    """
    parameters = parse_parameters(request.scope["query_string"], DaysParameters)
    days = Days.parse(parameters.get("from"), parameters.get("to"), clock().date())
    result = await query(days)
    meta = DaysMeta(days.first, days.last)
    if row_type is None:
        report = report_type.of(result, meta=meta)
        rows = [report]
    else:
        rows = [row_type.of(row) for row in result]
        report = report_type(items=rows, meta=meta)
    headers = {"cache-control": "no-store", "vary": "Accept"}
    if prefers_csv(request.headers.getall("accept", [])):
        headers["content-disposition"] = f'attachment; filename="{name}-{days.first}-{days.last}.csv"'
        columns = [column for column in (row_type or report_type).__struct_fields__ if column != "meta"]
        return Response(_csv(columns, rows), headers=headers, media_type="text/csv; header=present")
    return json_response(report, headers=headers)


def _csv(columns: Sequence[str], rows: Iterable[JsonObject]) -> bytes:
    """CSV as in RFC 4180, with every cell quoted."""
    buffer = StringIO(newline="")
    writer = csv.writer(buffer, quoting=csv.QUOTE_ALL)
    writer.writerow(columns)
    writer.writerows([_cell(getattr(row, column)) for column in columns] for row in rows)
    return buffer.getvalue().encode()


def _cell(value: Any) -> Any:
    match value:
        case str():
            return _FORMULA.sub(r"\1\2'\3", value)
        case tuple():
            return "|".join(map(str, value))
        case _:
            return value


def _operation(id: str, summary: str, description: str, report_type: type[JsonObject]) -> Operation:
    return Operation(
        id=id,
        tag="analytics",
        summary=summary,
        description=f"{description} The columns of CSV have the same names; the values of a list are joined by `|`.",
        access=Access.STAFF,
        parameters=DaysParameters,
        response={JSON: report_type, CSV: str},
        headers=("Cache-Control", "Vary", "Content-Disposition"),
        errors=("invalid_parameter", *STORE_ERRORS),
    )


@get(
    ANALYTICS + "summary/",
    guards=[require_staff],
    operation=_operation(
        "getSummary",
        "Numbers of searches, users, ratings and clicks",
        "Returns totals of the days, among them the searches without results.",
        Summary,
    ),
)
async def summary(request: AnyRequest, analytics: FromDishka[Analytics], clock: FromDishka[Clock]) -> Response[bytes]:
    return await _report(request, clock, "summary", Summary, analytics.summary)


@get(
    ANALYTICS + "searches/top/",
    guards=[require_staff],
    operation=_operation(
        "listTopSearches",
        "The most frequent searches",
        "Returns queries with their number of searches and of users, most frequent first.",
        QueryCounts,
    ),
)
async def top_searches(
    request: AnyRequest, analytics: FromDishka[Analytics], clock: FromDishka[Clock]
) -> Response[bytes]:
    return await _report(request, clock, "searches-top", QueryCounts, analytics.top_searches, QueryCount)


@get(
    ANALYTICS + "searches/zero-results/",
    guards=[require_staff],
    operation=_operation(
        "listZeroResultSearches",
        "The most frequent searches without results",
        "Returns queries that matched no movie, most frequent first.",
        QueryCounts,
    ),
)
async def zero_result_searches(
    request: AnyRequest, analytics: FromDishka[Analytics], clock: FromDishka[Clock]
) -> Response[bytes]:
    query = partial(analytics.top_searches, zero_results=True)
    return await _report(request, clock, "searches-zero-results", QueryCounts, query, QueryCount)


@get(
    ANALYTICS + "clicks/",
    guards=[require_staff],
    operation=_operation(
        "getClicks",
        "Click-through rate of searches",
        "Returns which share of searches led to a click, and the mean position of the clicked results.",
        Clicks,
    ),
)
async def clicks(request: AnyRequest, analytics: FromDishka[Analytics], clock: FromDishka[Clock]) -> Response[bytes]:
    return await _report(request, clock, "clicks", Clicks, analytics.clicks)


@get(
    ANALYTICS + "funnel/",
    guards=[require_staff],
    operation=_operation(
        "getFunnel",
        "Conversion funnel: users who searched, clicked and rated",
        "Returns how many users searched, how many of these then clicked, and how many of these then rated.",
        Funnel,
    ),
)
async def funnel(request: AnyRequest, analytics: FromDishka[Analytics], clock: FromDishka[Clock]) -> Response[bytes]:
    return await _report(request, clock, "funnel", Funnel, analytics.funnel)


@get(
    ANALYTICS + "retention/",
    guards=[require_staff],
    operation=_operation(
        "listRetention",
        "Retention by week of activation",
        "Returns, for the users who activated their account in one week, how many searched in each week since.",
        Retention,
    ),
)
async def retention(request: AnyRequest, analytics: FromDishka[Analytics], clock: FromDishka[Clock]) -> Response[bytes]:
    return await _report(request, clock, "retention", Retention, analytics.retention, Cohort)


@get(
    ANALYTICS + "source/",
    guards=[require_staff],
    operation=_operation(
        "listSourceDays",
        "Calls to the movie source and states of responses, by day",
        "Returns the calls to the movie source with their failures, and the responses by state of the cache.",
        SourceDays,
    ),
)
async def source(request: AnyRequest, analytics: FromDishka[Analytics], clock: FromDishka[Clock]) -> Response[bytes]:
    return await _report(request, clock, "source", SourceDays, analytics.source, SourceDay)


ANALYTICS_ROUTES = (summary, top_searches, zero_result_searches, clicks, funnel, retention, source)
