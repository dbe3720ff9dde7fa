import csv
import io
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

import httpx
import pytest
from tests.unit.api.conftest import ANN, Api
from tests.unit.api.routes.test_movies import assert_problem
from tests.unit.api.web.test_pages import assert_as_documented

from movie_api.openapi import PATHS
from movie_api.routes.analytics import prefers_csv
from movie_core.accounts.services import Accounts
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


async def accounts_of(api: Api) -> Accounts:
    accounts: Accounts = await api.app.state.dishka_container.get(Accounts)
    return accounts


async def staff(api: Api) -> dict[str, str]:
    """The header of Ann, who is staff."""
    header = await api.activated()
    await (await accounts_of(api)).set_staff(ANN["email"], True)
    return header


async def user_id_of(api: Api, header: Mapping[str, str]) -> str:
    return str((await api.get("/api/v1/users/me/", headers=header)).json()["id"])


async def happened(api: Api, *events: Event) -> None:
    await (await api.app.state.dishka_container.get(EventStore)).append(events, NOON)


def searched(user_id: str | None, query: str, at: datetime = NOON, *, found: bool = True, times: int = 1) -> Event:
    return Event(EventKind.SEARCH, at, user_id, query=query, found=found, times=times)


async def a_month(api: Api) -> dict[str, str]:
    """Some days of Ann's and Bob's; Ann's header."""
    header = await staff(api)
    bob = await api.activated(email="bob@example.com", username="bob")
    ann_id, bob_id = await user_id_of(api, header), await user_id_of(api, bob)
    minute = timedelta(minutes=1)
    await happened(
        api,
        searched(ann_id, "river", times=2),
        searched(bob_id, "river", NOON + minute),
        searched(None, "river", NOON + minute),
        searched(bob_id, "rivr", NOON - minute, found=False),
        searched(ann_id, "", NOON),
        Event(EventKind.CLICK, NOON + 5 * minute, ann_id, "201", "river", 3),
        Event(EventKind.CLICK, NOON + 40 * minute, bob_id, "201", "river", 6),
        Event(EventKind.RATING, NOON + 9 * minute, ann_id, "201", rating=8.0),
        Event(EventKind.VIEW, NOON, ann_id, "201"),
        searched(ann_id, "later", datetime(2026, 12, 1, tzinfo=UTC)),
        searched(ann_id, "before", datetime(2026, 10, 31, 23, 59, tzinfo=UTC)),
    )
    events = await api.app.state.dishka_container.get(EventStore)
    await events.count(NOON.date(), {"attempts": 5, "failures": 2, "live": 3})
    await events.count(NOON.date() + timedelta(days=2), {"fresh": 7, "stale": 1, "fallback": 1})
    return header


async def cohort_of(api: Api, header: Mapping[str, str]) -> tuple[str, str]:
    """The week in which Ann has been activated, and its day."""
    began = datetime.fromisoformat((await api.get("/api/v1/users/me/", headers=header)).json()["created_at"])
    return f"{began:%G-W%V}", f"{began:%Y-%m-%d}"


@pytest.mark.parametrize("route", ROUTES)
async def test_only_staff_sees_figures(api: Api, route: str) -> None:
    url = ANALYTICS + route
    assert_problem(await api.get(url), 401, "not_authenticated")
    assert_problem(await api.get(url, headers={"authorization": "Bearer x"}), 401, "invalid_token")
    header = await api.activated()
    for answer in (await api.get(url, headers=header), await api.get(f"{url}?from=x", headers=header | CSV)):
        assert_problem(answer, 403, "not_allowed")
    await (await accounts_of(api)).set_staff(ANN["email"], True)
    for path in (url, url.rstrip("/")):
        assert (await api.get(path, headers=header)).status_code == 200


async def test_what_is_taken_back_is_taken_back_at_once(api: Api) -> None:
    header = await staff(api)
    assert (await api.get(f"{ANALYTICS}summary/", headers=header)).status_code == 200
    await (await accounts_of(api)).set_staff(ANN["email"], False)
    assert_problem(await api.get(f"{ANALYTICS}summary/", headers=header), 403, "not_allowed")
    await (await accounts_of(api)).set_staff(ANN["email"], True)
    assert (await api.get(f"{ANALYTICS}summary/", headers=header)).status_code == 200
    # By another process, so that this one doesn't know yet that the sessions have ended.
    users = await api.app.state.dishka_container.get(UserRepo)
    await users.set_active(ANN["email"], False, NOON)
    assert_problem(await api.get(f"{ANALYTICS}summary/", headers=header), 401, "invalid_token")


async def test_the_figures_are_those_of_the_events(api: Api) -> None:
    header = await a_month(api)

    async def told(route: str) -> dict[str, Any]:
        answer = await api.get(ANALYTICS + route, params=NOVEMBER, headers=header)
        assert answer.headers["content-type"] == "application/json"
        content: dict[str, Any] = answer.json()
        assert content.pop("meta") == NOVEMBER
        return content

    assert await told("summary/") == {
        "searches": 6, "users": 2, "ratings": 1, "clicks": 2, "zero_result_searches": 1,
    }  # fmt: skip
    assert await told("searches/top/") == {
        "items": [{"query": "river", "count": 4, "users": 2}, {"query": "rivr", "count": 1, "users": 1}]
    }
    assert await told("searches/zero-results/") == {"items": [{"query": "rivr", "count": 1, "users": 1}]}
    # Of six searches the two of Ann are followed by a click in time; Bob's click comes too late.
    assert await told("clicks/") == {
        "searches": 6, "clicks": 2, "click_through_rate": pytest.approx(2 / 6), "mean_position": 4.5,
    }  # fmt: skip
    assert await told("funnel/") == {"searched": 2, "clicked": 2, "rated": 1}
    assert await told("source/") == {
        "items": [
            {"day": "2026-11-10", "attempts": 5, "failures": 2, "live": 3, "fresh": 0, "stale": 0, "fallback": 0},
            {"day": "2026-11-12", "attempts": 0, "failures": 0, "live": 0, "fresh": 7, "stale": 1, "fallback": 1},
        ]
    }


async def test_who_comes_back_is_told_by_week(api: Api) -> None:
    header = await staff(api)
    week, day = await cohort_of(api, header)
    url, days = f"{ANALYTICS}retention/", {"from": day, "to": f"{date.fromisoformat(day) + timedelta(days=7)}"}
    began = datetime.fromisoformat(f"{day}T00:00:00Z")
    await happened(api, searched(await user_id_of(api, header), "river", began + timedelta(days=7)))
    items = (await api.get(url, params=days, headers=header)).json()["items"]
    assert items == [{"cohort": week, "size": 1, "returned": [0, 1]}]
    table = (await api.get(url, params=days, headers=header | CSV)).text
    assert table == f'"cohort","size","returned"\r\n"{week}","1","0|1"\r\n'


async def test_without_events_there_are_zeros(api: Api) -> None:
    header = await staff(api)
    for route in ROUTES:
        answer = await api.get(
            ANALYTICS + route, params=NOVEMBER | {"from": "2020-01-01", "to": "2020-01-01"}, headers=header
        )
        content = {name: value for name, value in answer.json().items() if name != "meta"}
        assert all(value in (0, None, []) for value in content.values()), route
    answer = await api.get(f"{ANALYTICS}searches/top/", headers=header | CSV)
    assert answer.text == '"query","count","users"\r\n'


@pytest.mark.parametrize("route", ROUTES)
async def test_csv_has_the_same_figures_under_the_same_names(api: Api, route: str) -> None:
    header = await a_month(api)
    plain = await api.get(ANALYTICS + route, params=NOVEMBER, headers=header)
    answer = await api.get(ANALYTICS + route, params=NOVEMBER, headers=header | CSV)
    assert answer.headers["content-type"] == "text/csv; header=present; charset=utf-8"
    name = route.rstrip("/").replace("/", "-")
    assert answer.headers["content-disposition"] == f'attachment; filename="{name}-2026-11-01-2026-11-30.csv"'
    content = plain.json()
    del content["meta"]
    expected = [
        {key: "|".join(map(str, value)) if isinstance(value, list) else str(value) for key, value in row.items()}
        for row in content.get("items", [content])
    ]
    assert list(csv.DictReader(io.StringIO(answer.text, newline=""))) == expected
    assert answer.text.count("\r\n") == answer.text.count("\n") == len(expected) + 1
    for one in (plain, answer):
        assert (one.headers["cache-control"], one.headers["vary"]) == ("no-store", "Accept")
    assert "content-disposition" not in plain.headers


async def test_what_is_not_known_is_an_empty_cell(api: Api) -> None:
    answer = await api.get(f"{ANALYTICS}clicks/", headers=await staff(api) | CSV)
    assert answer.text == '"searches","clicks","click_through_rate","mean_position"\r\n"0","0","0.0",""\r\n'


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
async def test_a_formula_is_none_wherever_a_spreadsheet_may_split_a_cell(api: Api, query: str, cell: str) -> None:
    header = await staff(api)
    await happened(api, searched(None, query))
    answer = await api.get(f"{ANALYTICS}searches/top/", params=NOVEMBER, headers=header | CSV)
    assert list(csv.reader(io.StringIO(answer.content.decode(), newline="")))[1] == [cell, "1", "0"]
    for line in answer.text.split("\r\n")[:-1]:
        assert line.startswith('"')
        assert line.endswith('"')


async def test_strangers_words_are_no_formulas(api: Api) -> None:
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
    await happened(api, *(searched(None, query, times=99 - place) for place, query in enumerate(queries)))
    answer = await api.get(f"{ANALYTICS}searches/top/", params=NOVEMBER, headers=header | CSV)
    rows = list(csv.reader(io.StringIO(answer.content.decode(), newline="")))[1:]
    assert [row[0] for row in rows] == [f"'{query}" for query in queries[:6]] + queries[6:]
    assert b'"say ""hi"", twice","93","0"\r\n' in answer.content
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
def test_csv_goes_only_to_who_prefers_it(accept: str, is_csv: bool) -> None:
    assert prefers_csv([accept]) is is_csv
    assert prefers_csv(accept.split(",")) is is_csv


async def test_days_left_out_are_the_last_thirty(api: Api) -> None:
    header = await staff(api)

    async def meta(**params: str) -> dict[str, str]:
        answer = await api.get(f"{ANALYTICS}summary/", params=params, headers=header)
        assert answer.status_code == 200, answer.text
        told: dict[str, str] = answer.json()["meta"]
        return told

    today = datetime.now(UTC).date()
    assert await meta() in (
        {"from": f"{last - timedelta(days=29)}", "to": f"{last}"} for last in (today, datetime.now(UTC).date())
    )
    assert await meta(to="2026-03-01") == {"from": "2026-01-31", "to": "2026-03-01"}
    yesterday = f"{today - timedelta(days=1)}"
    assert (await meta(**{"from": yesterday}))["from"] == yesterday
    assert await meta(**NOVEMBER, offset="x", fromm="y") == NOVEMBER


async def test_both_days_are_included(api: Api) -> None:
    header = await staff(api)
    first, last = datetime(2026, 11, 3, tzinfo=UTC), datetime(2026, 11, 4, 23, 59, 59, 999_999, tzinfo=UTC)
    moment = timedelta(microseconds=1)
    await happened(api, *(searched(None, f"{at}", at) for at in (first - moment, first, last, last + moment)))
    answer = await api.get(f"{ANALYTICS}summary/?from=2026-11-03&to=2026-11-04", headers=header)
    assert answer.json()["searches"] == 2


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
async def test_days_that_are_none_are_refused(api: Api, query_string: str, field: str) -> None:
    header = await staff(api)
    for route in ROUTES:
        answer = await api.get(f"{ANALYTICS}{route}?{query_string}", headers=header | CSV)
        assert [row["field"] for row in assert_problem(answer, 400, "invalid_parameter")["errors"]] == [field]  # type: ignore[attr-defined]


async def test_a_database_that_is_away_is_told(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(_: Days) -> None:
        raise StoreUnavailable("the database can't be reached", retry_after=7)

    header = await staff(api)
    monkeypatch.setattr(await api.app.state.dishka_container.get(Analytics), "summary", away)
    answer = await api.get(f"{ANALYTICS}summary/", headers=header | CSV)
    assert_problem(answer, 503, "store_unavailable")
    assert answer.headers["retry-after"] == "7"


async def test_answers_are_as_the_document_says(api: Api) -> None:
    served = (await api.get("/openapi.json")).json()
    header = await a_month(api)
    bob = await api.post(
        "/api/v1/authentication/login/", json={"email": "bob@example.com", "password": ANN["password"]}
    )
    others: list[dict[str, str]] = [{}, {"authorization": f"Bearer {bob.json()['access']}"}, header]
    for route in ROUTES:
        path = ANALYTICS + route
        assert PATHS[path]["get"]["security"] == [{"bearer": []}]
        answers: list[httpx.Response] = [await api.get(path, headers=one) for one in others]
        answers.append(await api.get(path, headers=header | CSV))
        answers.append(await api.get(f"{path}?from=x", headers=header))
        assert [answer.status_code for answer in answers] == [401, 403, 200, 200, 400]
        for answer in answers:
            if "csv" in answer.headers["content-type"]:
                assert set(served["paths"][path]["get"]["responses"]["200"]["content"]) == {
                    "application/json",
                    "text/csv",
                }
            else:
                assert_as_documented(served, answer, path)
