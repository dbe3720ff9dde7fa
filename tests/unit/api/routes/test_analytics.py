import csv
import io
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

import httpx
import pytest
from tests.support.api import (
    ANN,
    Api,
    OpenApi,
    assert_as_documented,
    assert_problem,
    management_of,
    staff,
    user_id_of,
)
from tests.support.openapi import PATHS

from movie_api.routes.analytics import prefers_csv
from movie_core.discovery.analytics import Days
from movie_core.discovery.events import Event, EventKind
from movie_core.errors import StoreUnavailable
from movie_core.ports import Analytics, EventStore, UserRepo

ANALYTICS = "/api/v1/analytics/"
ROUTES = [
    "summary/", "searches/top/", "searches/zero-results/", "clicks/", "funnel/", "retention/", "source/",
]  # fmt: skip
CSV = {"accept": "text/csv"}
NOVEMBER = {"from": "2026-11-01", "to": "2026-11-30"}
NOON = datetime(2026, 11, 10, 12, tzinfo=UTC)


async def store_events(api: Api, *events: Event) -> None:
    await (await api.app.state.dishka_container.get(EventStore)).append(events, NOON)


def search_event(user_id: str | None, query: str, at: datetime = NOON, *, found: bool = True, times: int = 1) -> Event:
    return Event(EventKind.SEARCH, at, user_id, query=query, found=found, times=times)


async def store_month(api: Api) -> dict[str, str]:
    """Store events of Ann and Bob; returns Ann's `Authorization` header."""
    header = await staff(api)
    bob = await api.activated(email="bob@example.com", username="bob")
    ann_id, bob_id = await user_id_of(api, header), await user_id_of(api, bob)
    minute = timedelta(minutes=1)
    await store_events(
        api,
        search_event(ann_id, "river", times=2),
        search_event(bob_id, "river", NOON + minute),
        search_event(None, "river", NOON + minute),
        search_event(bob_id, "rivr", NOON - minute, found=False),
        search_event(ann_id, "", NOON),
        Event(EventKind.CLICK, NOON + 5 * minute, ann_id, "201", "river", 3),
        Event(EventKind.CLICK, NOON + 40 * minute, bob_id, "201", "river", 6),
        Event(EventKind.RATING, NOON + 9 * minute, ann_id, "201", rating=8.0),
        Event(EventKind.VIEW, NOON, ann_id, "201"),
        search_event(ann_id, "later", datetime(2026, 12, 1, tzinfo=UTC)),
        search_event(ann_id, "before", datetime(2026, 10, 31, 23, 59, tzinfo=UTC)),
    )
    events = await api.app.state.dishka_container.get(EventStore)
    await events.count(NOON.date(), {"attempts": 5, "failures": 2, "live": 3})
    await events.count(NOON.date() + timedelta(days=2), {"fresh": 7, "stale": 1, "fallback": 1})
    return header


async def cohort_of(api: Api, header: Mapping[str, str]) -> tuple[str, str]:
    """The week and the day of Ann's activation."""
    started = datetime.fromisoformat((await api.get("/api/v1/users/me/", headers=header)).json()["created_at"])
    return f"{started:%G-W%V}", f"{started:%Y-%m-%d}"


@pytest.mark.parametrize("route", ROUTES)
async def test_reports_are_for_staff_only(api: Api, route: str) -> None:
    url = ANALYTICS + route
    assert_problem(await api.get(url), 401, "not_authenticated")
    assert_problem(await api.get(url, headers={"authorization": "Bearer x"}), 401, "invalid_token")
    header = await api.activated()
    for response in (await api.get(url, headers=header), await api.get(f"{url}?from=x", headers=header | CSV)):
        assert_problem(response, 403, "not_allowed")
    await (await management_of(api)).set_staff(ANN["email"], True)
    for path in (url, url.rstrip("/")):
        assert (await api.get(path, headers=header)).status_code == 200


async def test_revoked_rights_are_effective_at_once(api: Api) -> None:
    header = await staff(api)
    assert (await api.get(f"{ANALYTICS}summary/", headers=header)).status_code == 200
    await (await management_of(api)).set_staff(ANN["email"], False)
    assert_problem(await api.get(f"{ANALYTICS}summary/", headers=header), 403, "not_allowed")
    await (await management_of(api)).set_staff(ANN["email"], True)
    assert (await api.get(f"{ANALYTICS}summary/", headers=header)).status_code == 200
    # Changed by another process: this one does not know yet that the sessions have ended.
    users = await api.app.state.dishka_container.get(UserRepo)
    await users.set_active(ANN["email"], False, NOON)
    assert_problem(await api.get(f"{ANALYTICS}summary/", headers=header), 401, "invalid_token")


async def test_reports_match_the_events(api: Api) -> None:
    header = await store_month(api)

    async def fetch(route: str) -> dict[str, Any]:
        response = await api.get(ANALYTICS + route, params=NOVEMBER, headers=header)
        assert response.headers["content-type"] == "application/json"
        content: dict[str, Any] = response.json()
        assert content.pop("meta") == NOVEMBER
        return content

    assert await fetch("summary/") == {
        "searches": 6, "users": 2, "ratings": 1, "clicks": 2, "zero_result_searches": 1,
    }  # fmt: skip
    assert await fetch("searches/top/") == {
        "items": [{"query": "river", "count": 4, "users": 2}, {"query": "rivr", "count": 1, "users": 1}]
    }
    assert await fetch("searches/zero-results/") == {"items": [{"query": "rivr", "count": 1, "users": 1}]}
    # Of six searches, Ann's two are followed by a click within 30 minutes; Bob's click is too late.
    assert await fetch("clicks/") == {
        "searches": 6, "clicks": 2, "click_through_rate": pytest.approx(2 / 6), "mean_position": 4.5,
    }  # fmt: skip
    assert await fetch("funnel/") == {"searched": 2, "clicked": 2, "rated": 1}
    assert await fetch("source/") == {
        "items": [
            {"day": "2026-11-10", "attempts": 5, "failures": 2, "live": 3, "fresh": 0, "stale": 0, "fallback": 0},
            {"day": "2026-11-12", "attempts": 0, "failures": 0, "live": 0, "fresh": 7, "stale": 1, "fallback": 1},
        ]
    }


async def test_retention_is_reported_by_week(api: Api) -> None:
    header = await staff(api)
    week, day = await cohort_of(api, header)
    url, days = f"{ANALYTICS}retention/", {"from": day, "to": f"{date.fromisoformat(day) + timedelta(days=7)}"}
    started = datetime.fromisoformat(f"{day}T00:00:00Z")
    await store_events(api, search_event(await user_id_of(api, header), "river", started + timedelta(days=7)))
    items = (await api.get(url, params=days, headers=header)).json()["items"]
    assert items == [{"cohort": week, "size": 1, "returned": [0, 1]}]
    table = (await api.get(url, params=days, headers=header | CSV)).text
    assert table == f'"cohort","size","returned"\r\n"{week}","1","0|1"\r\n'


async def test_reports_without_events_have_zeros(api: Api) -> None:
    header = await staff(api)
    for route in ROUTES:
        response = await api.get(
            ANALYTICS + route, params=NOVEMBER | {"from": "2020-01-01", "to": "2020-01-01"}, headers=header
        )
        content = {name: value for name, value in response.json().items() if name != "meta"}
        assert all(value in (0, None, []) for value in content.values()), route
    response = await api.get(f"{ANALYTICS}searches/top/", headers=header | CSV)
    assert response.text == '"query","count","users"\r\n'


@pytest.mark.parametrize("route", ROUTES)
async def test_csv_has_the_same_values_and_names_as_json(api: Api, route: str) -> None:
    header = await store_month(api)
    plain = await api.get(ANALYTICS + route, params=NOVEMBER, headers=header)
    response = await api.get(ANALYTICS + route, params=NOVEMBER, headers=header | CSV)
    assert response.headers["content-type"] == "text/csv; header=present; charset=utf-8"
    name = route.rstrip("/").replace("/", "-")
    assert response.headers["content-disposition"] == f'attachment; filename="{name}-2026-11-01-2026-11-30.csv"'
    content = plain.json()
    del content["meta"]
    expected = [
        {key: "|".join(map(str, value)) if isinstance(value, list) else str(value) for key, value in row.items()}
        for row in content.get("items", [content])
    ]
    assert list(csv.DictReader(io.StringIO(response.text, newline=""))) == expected
    assert response.text.count("\r\n") == response.text.count("\n") == len(expected) + 1
    for one in (plain, response):
        assert (one.headers["cache-control"], one.headers["vary"]) == ("no-store", "Accept")
    assert "content-disposition" not in plain.headers


async def test_an_unknown_value_is_an_empty_cell(api: Api) -> None:
    response = await api.get(f"{ANALYTICS}clicks/", headers=await staff(api) | CSV)
    assert response.text == '"searches","clicks","click_through_rate","mean_position"\r\n"0","0","0.0",""\r\n'


@pytest.mark.parametrize(
    ("query", "cell"),
    [
        ("x;=HYPERLINK(A1)", "x;'=HYPERLINK(A1)"),
        ("x,+1", "x,'+1"),
        ("x\t-1", "x\t'-1"),
        ("x\n@SUM(A1)", "x\n'@SUM(A1)"),
        ("x|=1", "x|'=1"),
        ('x"=1', "x\"'=1"),
        ("  =1", "  '=1"),
        ("; =1;=2", "; '=1;'=2"),
        ("\uff1d1+1", "'\uff1d1+1"),
        ("\uff0b1", "'\uff0b1"),
        ("\uff0d1", "'\uff0d1"),
        ("\uff20x", "'\uff20x"),
        ("x;\uff1d1", "x;'\uff1d1"),
        ("x :=1", "x :'=1"),
        ("x =1", "x '=1"),
        ("x\uff1b=1", "x\uff1b'=1"),
        ("\u200b=1", "\u200b'=1"),
        ("\ufe661", "'\ufe661"),
        ("\u22121", "'\u22121"),
        ("spider-man ann@example.com 2+2=4", "spider-man ann@example.com 2+2=4"),
    ],
)
async def test_formulas_are_escaped_wherever_a_spreadsheet_may_split_a_cell(api: Api, query: str, cell: str) -> None:
    header = await staff(api)
    await store_events(api, search_event(None, query))
    response = await api.get(f"{ANALYTICS}searches/top/", params=NOVEMBER, headers=header | CSV)
    assert list(csv.reader(io.StringIO(response.content.decode(), newline="")))[1] == [cell, "1", "0"]
    for line in response.text.split("\r\n")[:-1]:
        assert line.startswith('"')
        assert line.endswith('"')


async def test_queries_are_not_formulas_in_csv(api: Api) -> None:
    header = await staff(api)
    queries = [
        "=1+1",
        "+1",
        "-1",
        "@SUM(A1)",
        "\tx",
        "\rx",
        'say "hi", twice',
        "two\nlines",
        "amélie 七人",
        "a=b",
        "'x",
    ]
    await store_events(api, *(search_event(None, query, times=99 - place) for place, query in enumerate(queries)))
    response = await api.get(f"{ANALYTICS}searches/top/", params=NOVEMBER, headers=header | CSV)
    rows = list(csv.reader(io.StringIO(response.content.decode(), newline="")))[1:]
    assert [row[0] for row in rows] == [f"'{query}" for query in queries[:6]] + queries[6:]
    assert b'"say ""hi"", twice","93","0"\r\n' in response.content
    plain = (await api.get(f"{ANALYTICS}searches/top/", params=NOVEMBER, headers=header)).json()["items"]
    assert [item["query"] for item in plain] == queries


@pytest.mark.parametrize(
    ("accept", "is_csv"),
    [
        ("text/csv", True),
        ("TEXT/CSV; header=present; charset=utf-8", True),
        ("text/csv, */*;q=0.1", True),
        ("text/csv, */*", True),
        ("application/json;q=0.5, text/csv;q=0.6", True),
        ("text/csv;q=0.001", True),
        ("application/json, text/csv", False),
        ("application/json;q=0.6, text/csv;q=0.5", False),
        ("application/*, text/csv;q=0.9", False),
        ("text/csv;q=0, */*", False),
        ("text/csv;q=0", False),
        ("text/csv;q=nonsense", False),
        ("text/csv;q=0.5, */*", False),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", False),
        ("*/*", False),
        ("application/json", False),
        ("text/csvx", False),
        (",;=,", False),
        ("", False),
    ],
)
def test_csv_is_sent_only_if_preferred(accept: str, is_csv: bool) -> None:
    assert prefers_csv([accept]) is is_csv
    assert prefers_csv(accept.split(",")) is is_csv


async def test_the_default_range_is_the_last_thirty_days(open_api: OpenApi) -> None:
    async with open_api(clock=lambda: NOON) as api:
        header = await staff(api)

        async def meta(**params: str) -> dict[str, str]:
            response = await api.get(f"{ANALYTICS}summary/", params=params, headers=header)
            assert response.status_code == 200, response.text
            fetch: dict[str, str] = response.json()["meta"]
            return fetch

        assert await meta() == {"from": "2026-10-12", "to": "2026-11-10"}
        assert await meta(to="2026-03-01") == {"from": "2026-01-31", "to": "2026-03-01"}
        assert await meta(**{"from": "2026-11-09"}) == {"from": "2026-11-09", "to": "2026-11-10"}
        assert await meta(**NOVEMBER, _="x", utm_source="y") == NOVEMBER


async def test_both_days_are_included(api: Api) -> None:
    header = await staff(api)
    first, last = datetime(2026, 11, 3, tzinfo=UTC), datetime(2026, 11, 4, 23, 59, 59, 999_999, tzinfo=UTC)
    moment = timedelta(microseconds=1)
    await store_events(api, *(search_event(None, f"{at}", at) for at in (first - moment, first, last, last + moment)))
    response = await api.get(f"{ANALYTICS}summary/?from=2026-11-03&to=2026-11-04", headers=header)
    assert response.json()["searches"] == 2


@pytest.mark.parametrize(
    ("query_string", "field"),
    [
        ("from=yesterday", "from"),
        ("from=", "from"),
        ("from=2026-11-1&to=2026-11-02", "from"),
        ("from=20261101&to=2026-11-02", "from"),
        ("from=2026-W45-1&to=2026-11-30", "from"),
        ("to=2026-02-30", "to"),
        ("to=9999-12-31", "to"),
        ("to=2026-11-01T00:00:00Z", "to"),
        ("from=2026-11-02&to=2026-11-01", "from"),
        ("from=2020-01-01&to=2026-11-01", "from"),
        ("from=2026-11-01&from=2026-11-01", "from"),
        ("to=2026-11-01&%74o=2026-11-01", "to"),
        ("from=%ff", "from"),
        ("to=2026-11-0%", "to"),
        ("to=%00", "to"),
    ],
)
async def test_invalid_days_are_rejected(api: Api, query_string: str, field: str) -> None:
    header = await staff(api)
    for route in ROUTES:
        response = await api.get(f"{ANALYTICS}{route}?{query_string}", headers=header | CSV)
        assert [row["field"] for row in assert_problem(response, 400, "invalid_parameter")["errors"]] == [field]  # type: ignore[attr-defined]


async def test_an_unavailable_database_is_reported(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(_: Days) -> None:
        raise StoreUnavailable("the database can't be reached", retry_after=7)

    header = await staff(api)
    monkeypatch.setattr(await api.app.state.dishka_container.get(Analytics), "summary", fail)
    response = await api.get(f"{ANALYTICS}summary/", headers=header | CSV)
    assert_problem(response, 503, "store_unavailable")
    assert response.headers["retry-after"] == "7"


async def test_responses_conform_to_the_document(api: Api) -> None:
    served = (await api.get("/openapi.json")).json()
    header = await store_month(api)
    bob = await api.post(
        "/api/v1/authentication/login/", json={"email": "bob@example.com", "password": ANN["password"]}
    )
    others: list[dict[str, str]] = [{}, {"authorization": f"Bearer {bob.json()['access']}"}, header]
    for route in ROUTES:
        path = ANALYTICS + route
        assert PATHS[path]["get"]["security"] == [{"bearer": []}]
        responses: list[httpx.Response] = [await api.get(path, headers=one) for one in others]
        responses.append(await api.get(path, headers=header | CSV))
        responses.append(await api.get(f"{path}?from=x", headers=header))
        assert [response.status_code for response in responses] == [401, 403, 200, 200, 400]
        for response in responses:
            if "csv" in response.headers["content-type"]:
                assert set(served["paths"][path]["get"]["responses"]["200"]["content"]) == {
                    "application/json",
                    "text/csv",
                }
            else:
                assert_as_documented(served, response, path)
