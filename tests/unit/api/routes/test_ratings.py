"""The routes of ratings, recommendations, trending movies and events: validation and responses."""

import io
import json
import zipfile
from typing import Any

import pytest
from tests.support.api import ME, Api, OpenApi

from movie_api.routes.ratings import IMPORT_TYPES
from movie_api.user_export import encode_export
from movie_core.accounts.exports import AccountExport, UserExport
from movie_core.discovery.event_recorder import EventRecorder
from movie_core.ports import EventStore

MOVIES = "/api/v1/movies/"
RATING = MOVIES + "101/rating/"
RATINGS = ME + "ratings/"
RECOMMENDATIONS = "/api/v1/recommendations/"
TRENDING = MOVIES + "trending/"
EVENTS = "/api/v1/events/"
JSON = {"content-type": "application/json"}


@pytest.mark.parametrize(
    ("body", "code"),
    [
        *((number, "invalid_rating") for number in ("0", "10.5", "5.3", "-1", "0.0", "1e400")),
        *((value, "invalid_body") for value in ('"5"', "null", "NaN", "true", "[]")),
    ],
)
async def test_a_rating_off_the_scale_is_rejected(api: Api, body: str, code: str) -> None:
    ann = await api.activated()
    response = await api.put(RATING, content=f'{{"rating": {body}}}', headers=ann | JSON)
    assert (response.status_code, response.json()["code"]) == (400, code)
    assert (await api.get(RATING, headers=ann)).status_code == 404


@pytest.mark.parametrize("movie_id", ["nothing", "%00", "..%2F", "x" * 5000, "%F0%9F%92%A1", "' OR 1=1 --"])
async def test_an_unknown_movie_cannot_be_rated(api: Api, movie_id: str) -> None:
    ann = await api.activated()
    for _ in range(3):
        response = await api.put(f"{MOVIES}{movie_id}/rating/", json={"rating": 5}, headers=ann)
        assert response.status_code == 404, response.text
    assert (await api.delete(f"{MOVIES}{movie_id}/rating/", headers=ann)).status_code == 204


async def test_rating_is_idempotent(api: Api) -> None:
    ann = await api.activated()
    responses = [await api.put(RATING, json={"rating": 7.5}, headers=ann) for _ in range(10)]
    assert {response.text for response in responses} == {responses[0].text}
    assert responses[0].json() == {"movie_id": "101", "rating": 7.5, "rated_at": responses[0].json()["rated_at"]}
    assert responses[0].headers["cache-control"] == "no-store"
    page = (await api.get(RATINGS, headers=ann)).json()
    assert (page["total"], page["items"][0]["title"], page["items"][0]["rating"]) == (1, "Bay River", 7.5)


async def test_ratings_are_private_to_their_user(api: Api) -> None:
    ann = await api.activated()
    bob = await api.activated(email="bob@example.com", username="bob")
    await api.put(RATING, json={"rating": 7.5}, headers=ann)
    assert (await api.get(RATING, headers=bob)).json()["code"] == "rating_not_found"
    assert (await api.delete(RATING, headers=bob)).status_code == 204
    assert (await api.get(RATING, headers=ann)).json()["rating"] == 7.5
    assert (await api.get(RATING)).status_code == 401


async def test_the_list_is_paginated_and_never_cached(api: Api) -> None:
    ann = await api.activated()
    for number in range(5):
        await api.put(f"{MOVIES}{100 + number}/rating/", json={"rating": 5}, headers=ann)
    response = await api.get(RATINGS, params={"offset": 2, "limit": 2}, headers=ann)
    page = response.json()
    assert page["page_info"] == {
        "current_page": 2,
        "total_pages": 3,
        "previous": "http://127.0.0.1:8000/api/v1/users/me/ratings/?offset=0&limit=2",
        "next": "http://127.0.0.1:8000/api/v1/users/me/ratings/?offset=4&limit=2",
    }
    assert 'rel="last"' in response.headers["link"]
    assert response.headers.get_list("cache-control") == ["no-store"]
    past = await api.get(RATINGS, params={"offset": 5}, headers=ann)
    assert (past.status_code, past.json()["code"]) == (400, "page_out_of_range")


@pytest.mark.parametrize("path", [RATINGS, RECOMMENDATIONS, TRENDING, MOVIES + "101/similar/"])
@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=101",
        "limit=1e2",
        "limit=",
        "offset=-1",
        "offset=99999999999",
        "offset=1&offset=2",
        "limit=%FF",
    ],
)
async def test_pagination_parameters_are_validated(api: Api, path: str, query: str) -> None:
    response = await api.get(f"{path}?{query}", headers=await api.activated())
    assert (response.status_code, response.json()["code"]) == (400, "invalid_offset_or_limit")


# --- imports


async def test_an_import_reports_every_rejected_row(api: Api) -> None:
    ann = await api.activated()
    rows = [
        {"movie_id": "101", "rating": 8},
        {"movie_id": "101", "rating": 8.3},
        {"movie_id": "nothing", "rating": 8, "rated_at": "2024-05-01T10:00:00Z"},
        {"movie_id": "102", "rating": 3, "rated_at": "2024-05-01T12:00:00+02:00"},
        {"movie_id": "103", "rating": 3, "rated_at": "0001-01-01T00:00:00+05:00"},
    ]
    response = await api.put(RATINGS, json=rows, headers=ann)
    assert response.status_code == 200, response.text
    assert response.json()["accepted"] == 2
    assert [(row["row"], row["code"]) for row in response.json()["rejected"]] == [
        (2, "invalid_rating"),
        (3, "unknown_movie"),
        (5, "invalid_row"),
    ]
    assert (await api.get(f"{MOVIES}102/rating/", headers=ann)).json()["rated_at"] == "2024-05-01T10:00:00Z"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("{}", "invalid_body"),
        ("1", "invalid_body"),
        ('[{"movie_id": "101", "movie_id": "102", "rating": 8}]', "invalid_body"),
        ("[" * 100 + "]" * 100, "invalid_body"),
        ("[" + ",".join(['{"movie_id": "101", "rating": 8}'] * 5001) + "]", "too_many_rows"),
    ],
)
async def test_an_invalid_import_stores_nothing(api: Api, body: str, code: str) -> None:
    ann = await api.activated()
    response = await api.put(RATINGS, content=body, headers=ann | JSON)
    assert (response.status_code, response.json()["code"]) == (400, code)
    assert (await api.get(RATINGS, headers=ann)).json()["total"] == 0


@pytest.mark.parametrize(
    "row",
    [
        "1",
        '{"movie_id": "101"}',
        '{"rating": 8}',
        '{"movie_id": 101, "rating": 8}',
        '{"movie_id": "101", "rating": "8"}',
        '{"movie_id": "101", "rating": 8, "stars": 4}',
        '{"movie_id": "101", "rating": 8, "rated_at": "yesterday"}',
        '{"movie_id": "101", "rating": 8, "rated_at": "2024-05-01T10:00:00"}',
    ],
)
async def test_a_json_row_that_is_not_a_rating_is_a_rejected_row(api: Api, row: str) -> None:
    ann = await api.activated()
    body = f'[{row}, {{"movie_id": "102", "rating": 8}}]'
    result = (await api.put(RATINGS, content=body, headers=ann | JSON)).json()
    assert (result["accepted"], [(one["row"], one["code"]) for one in result["rejected"]]) == (1, [(1, "invalid_row")])
    assert (await api.get(RATINGS, headers=ann)).json()["total"] == 1


async def test_an_import_is_limited_to_two_mebibytes(api: Api) -> None:
    ann = await api.activated()
    row = '{"movie_id": "101", "rating": 8}'
    body = "[" + row + " " * (2 * 1024 * 1024 - len(row) - 2) + "]"
    assert (await api.put(RATINGS, content=body, headers=ann | JSON)).json()["accepted"] == 1
    assert (await api.put(RATINGS, content=body + " ", headers=ann | JSON)).status_code == 413


async def test_near_matches_are_listed(api: Api) -> None:
    file = "Date,Name,Year,Letterboxd URI,Rating\n,Bay River,1950,u,4.5\n"
    response = await api.put(RATINGS, content=file, headers=await api.activated() | {"content-type": "text/csv"})
    assert response.json()["matched_by"]["near_year"] == 1
    assert response.json()["near_matches"] == [
        {"row": 1, "title": "Bay River", "year": 1950}
        | {"movie_id": "101", "movie_title": "Bay River", "movie_year": 1951}
    ]


async def test_an_import_keeps_newer_ratings_unless_it_overwrites(api: Api) -> None:
    ann = await api.activated()
    await api.put(RATING, json={"rating": 9}, headers=ann)
    rows = [{"movie_id": "101", "rating": 3, "rated_at": "2014-05-01T00:00:00Z"}]
    for query, rating, superseded in (("", 9, [1]), ("?overwrite=false", 9, [1]), ("?overwrite=true", 3, [])):
        response = await api.put(RATINGS + query, json=rows, headers=ann)
        assert (response.json()["accepted"], response.json()["superseded"]) == (1, superseded)
        assert (await api.get(RATING, headers=ann)).json()["rating"] == rating
    for query in ("?overwrite=1", "?overwrite=", "?overwrite=true&overwrite=true"):
        response = await api.put(RATINGS + query, json=rows, headers=ann)
        assert (response.status_code, response.json()["code"]) == (400, "invalid_parameter")


async def test_a_file_is_parsed_by_its_media_type(api: Api) -> None:
    ann = await api.activated()
    file = "Date,Name,Year,Letterboxd URI,Rating\r\n2024-03-03,Bay River,1951,https://x,4.5\r\n"
    response = await api.put(RATINGS, content=file, headers=ann | {"content-type": "text/csv; charset=utf-8"})
    assert response.json() == {
        "accepted": 1,
        "rejected": [],
        "superseded": [],
        "matched_by": {"imdb_id": 0, "tmdb_id": 0, "title_year": 1, "near_year": 0},
        "near_matches": [],
    }
    assert (await api.get(RATING, headers=ann)).json() == {
        "movie_id": "101",
        "rating": 9.0,
        "rated_at": "2024-03-03T00:00:00Z",
    }
    for accepted in IMPORT_TYPES.keys() - {"application/json"}:
        for parameters in ("", "; charset=utf-16", ";header=present; charset=windows-1252"):
            again = await api.put(RATINGS, content=file, headers=ann | {"content-type": accepted + parameters})
            assert again.json() == response.json()
    for wrong in ("application/xml", "", "application/json; charset=utf-16", "multipart/form-data"):
        refused = await api.put(RATINGS, content=file, headers=ann | {"content-type": wrong})
        assert refused.status_code == 415
    several = "userId,movieId,rating,timestamp\n1,1,4.0,964982703\n2,1,4.0,964982703\n"
    response = await api.put(RATINGS, content=several, headers=ann | {"content-type": "text/csv"})
    assert (response.status_code, response.json()["code"]) == (400, "several_users")


async def test_the_content_decides_between_tables_json_and_archives(api: Api) -> None:
    ann = await api.activated()
    table = "Date,Name,Year,Letterboxd URI,Rating\n2024-03-03,Bay River,1951,u,4.5\n"
    rows = '[{"rated_at": "2024-03-03T10:00:00.000Z", "rating": 9, "movie": {"title": "Bay River", "year": 1951}}]'
    for name, text in (("ratings.csv", table), ("ratings-movies.json", rows), ("export.json", "\ufeff " + rows)):
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
            file.writestr(name, text)
        for body in (text.encode(), archive.getvalue()):
            response = await api.put(RATINGS, content=body, headers=ann | {"content-type": "text/csv"})
            assert response.json()["accepted"] == 1, response.text
    assert (await api.put(RATINGS, content="\ufeff" + rows, headers=ann | JSON)).json()["accepted"] == 1


async def test_an_unclosed_quote_is_named_and_nothing_is_stored(api: Api) -> None:
    ann = await api.activated() | {"content-type": "text/csv"}
    file = 'Date,Name,Year,Letterboxd URI,Rating,Review\n,Bay River,1951,u,4.5,ok\n,Elm River,1954,v,4,"an open\n'
    response = await api.put(RATINGS, content=file, headers=ann)
    assert (response.status_code, response.json()["code"]) == (400, "unclosed_quote")
    assert "line 3" in response.json()["detail"]
    assert (await api.get(RATINGS, headers=ann)).json()["total"] == 0


async def test_the_export_of_a_user_can_be_imported(api: Api) -> None:
    ann = await api.activated()
    for movie_id, rating in (("101", 7.5), ("203", 3)):
        await api.put(f"{MOVIES}{movie_id}/rating/", json={"rating": rating}, headers=ann)
    export = (await api.get(ME + "export/", headers=ann)).json()
    bob = await api.activated(email="bob@example.com", username="bob")
    for body in (export, export["ratings"]):
        result = (await api.put(RATINGS, json=body, headers=bob)).json()
        assert (result["accepted"], result["rejected"]) == (2, [])
    stored = [(await api.get(RATINGS, headers=user)).json()["items"] for user in (ann, bob)]
    assert stored[0] == stored[1]


# --- recommendations, similar and trending movies


async def test_a_user_without_ratings_gets_popular_movies(api: Api) -> None:
    response = await api.get(RECOMMENDATIONS, params={"limit": 3}, headers=await api.activated())
    page = response.json()
    assert (response.status_code, page["meta"]) == (200, {"tier": "popular"})
    assert page["items"][0]["title"] == "The Glass Orrery"
    assert {"score", "reasons"} <= page["items"][0].keys()
    assert page["page_info"]["next"] == "http://127.0.0.1:8000/api/v1/recommendations/?offset=3&limit=3"
    assert response.headers["cache-control"] == "no-store"


async def test_recommendations_differ_by_user_on_the_same_connection(api: Api) -> None:
    ann = await api.activated()
    bob = await api.activated(email="bob@example.com", username="bob")
    await api.put(f"{MOVIES}201/rating/", json={"rating": 9}, headers=ann)
    await api.put(f"{MOVIES}122/rating/", json={"rating": 9}, headers=bob)
    for _ in range(3):
        of_ann, of_bob = [
            {one["id"] for one in (await api.get(f"{RECOMMENDATIONS}?limit=100", headers=user)).json()["items"]}
            for user in (ann, bob)
        ]
        assert ("201" in of_ann, "122" in of_ann) == (False, True)
        assert ("201" in of_bob, "122" in of_bob) == (True, False)


async def test_similar_movies_of_an_unknown_movie_are_not_found(api: Api) -> None:
    response = await api.get(MOVIES + "101/similar/")
    assert (response.status_code, set(response.json())) == (200, {"total", "items", "page_info"})
    assert (await api.get(MOVIES + "nothing/similar/")).json()["code"] == "movie_not_found"


@pytest.mark.parametrize("query", ["window=year", "window=", "window=day&window=day", "window=%FF"])
async def test_an_unknown_trending_window_is_rejected(api: Api, query: str) -> None:
    response = await api.get(f"{TRENDING}?{query}")
    assert (response.status_code, response.json()["code"]) == (400, "invalid_parameter")


async def test_trending_reports_its_weights_and_half_life(api: Api) -> None:
    meta = (await api.get(TRENDING, params={"window": "week"})).json()["meta"]
    assert (meta["window"], meta["half_life"]) == ("week", 172_800)
    assert meta["weights"] == {"view": 1.0, "click": 1.0, "rating": 2.0, "liked": 4.0}


# --- personal searches


async def test_personal_results_require_a_token_and_are_not_cached(api: Api) -> None:
    ann = await api.activated()
    plain = await api.get(MOVIES, params={"query": "river", "limit": 5}, headers=ann)
    await api.put(f"{MOVIES}{plain.json()['items'][0]['id']}/rating/", json={"rating": 9}, headers=ann)
    for parameters in ({"order": "personal"}, {"exclude": "rated"}, {"order": "personal", "exclude": "rated"}):
        personal = await api.get(MOVIES, params={"query": "river", "limit": 5} | parameters, headers=ann)
        assert personal.status_code == 200, personal.text
        for name, value in parameters.items():
            assert f"{name}={value}" in personal.json()["page_info"]["next"]
        assert (await api.get(MOVIES, params={"query": "river", "limit": 5} | parameters)).status_code == 401
        bad = {"authorization": "Bearer nonsense"}
        response = await api.get(MOVIES, params={"query": "river", "limit": 5} | parameters, headers=bad)
        assert (response.status_code, response.json()["code"]) == (401, "invalid_token")
    assert personal.json()["total"] == plain.json()["total"] - 1


async def test_exclude_accepts_only_rated(api: Api) -> None:
    response = await api.get(MOVIES, params={"exclude": "seen"}, headers=await api.activated())
    assert (response.status_code, response.json()["code"]) == (400, "invalid_parameter")


# --- events


async def stored_events(api: Api) -> list[dict[str, Any]]:
    container = api.app.state.dishka_container
    await (await container.get(EventRecorder)).flush()
    user = (await api.get(ME, headers=await _login(api))).json()["id"]
    stored = await (await container.get(EventStore)).export(user)
    return list(json.loads(await encode_export(UserExport(AccountExport(None), (stored,))))["events"])


async def _login(api: Api) -> dict[str, str]:
    given = {"email": "ann@example.com", "password": "velvet harbour quill tundra"}
    response = await api.post("/api/v1/authentication/login/", json=given)
    return {"authorization": f"Bearer {response.json()['access']}"}


async def test_events_are_accepted_row_by_row(api: Api) -> None:
    ann = await api.activated()
    rows = [
        {"type": "view", "movie_id": "101"},
        {"type": "click", "movie_id": "nothing", "query": "river", "position": 1},
        {"type": "impression", "movie_id": "102", "at": "2020-01-01T00:00:00Z"},
        {"type": "click", "movie_id": "102", "query": "  the   river ", "position": 10_100},
    ]
    response = await api.post(EVENTS, json=rows, headers=ann)
    assert response.status_code == 202
    assert response.json()["accepted"] == 2
    assert [(row["row"], row["code"]) for row in response.json()["rejected"]] == [(2, "unknown_movie"), (3, "too_old")]
    assert [(one["type"], one["movie_id"], one.get("query")) for one in await stored_events(api)] == [
        ("view", "101", None),
        ("click", "102", "the river"),
    ]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("[]", "invalid_body"),
        ('{"type": "view", "movie_id": "101"}', "invalid_body"),
        ('[{"type": "search", "movie_id": "101"}]', "invalid_event"),
        ('[{"type": "view"}]', "invalid_body"),
        ('[{"type": "view", "movie_id": 101}]', "invalid_body"),
        ('[{"type": "view", "movie_id": "101", "position": 0}]', "invalid_event"),
        ('[{"type": "view", "movie_id": "101", "position": 10101}]', "invalid_event"),
        ('[{"type": "view", "movie_id": "101", "position": 1.5}]', "invalid_body"),
        ('[{"type": "view", "movie_id": "101", "query": "a\\u0000b"}]', "invalid_event"),
        ('[{"type": "view", "movie_id": "101", "at": "2026-11-24T09:00:00"}]', "invalid_body"),
        ('[{"type": "view", "movie_id": "101", "who": "bob"}]', "invalid_body"),
        ("[" + ",".join(['{"type": "view", "movie_id": "101"}'] * 101) + "]", "too_many_rows"),
    ],
)
async def test_one_malformed_event_rejects_all(api: Api, body: str, code: str) -> None:
    ann = await api.activated()
    good = '{"type": "view", "movie_id": "101"}'
    if body.startswith("[{") and code != "too_many_rows":
        body = f"[{good},{body[1:]}"
    response = await api.post(EVENTS, content=body, headers=ann | JSON)
    assert (response.status_code, response.json()["code"]) == (400, code)
    assert await stored_events(api) == []


async def test_events_require_a_token_and_are_rate_limited(open_api: OpenApi) -> None:
    async with open_api(MOVIE_LIMIT_EVENTS="2/minute") as api:
        rows = [{"type": "view", "movie_id": "101"}]
        assert (await api.post(EVENTS, json=rows)).status_code == 401
        ann = await api.activated()
        statuses = [(await api.post(EVENTS, json=rows, headers=ann)).status_code for _ in range(3)]
        assert statuses == [202, 202, 429]


async def test_searches_are_recorded_per_user(api: Api) -> None:
    ann = await api.activated()
    for _ in range(2):
        await api.get(MOVIES, params={"query": "river", "limit": 2}, headers=ann)
    await api.get(MOVIES, params={"query": "river", "limit": 2, "offset": 2}, headers=ann)
    await api.get(MOVIES, params={"query": "nothing like it"}, headers=ann)
    await api.get(MOVIES, params={"query": "\x00"}, headers=ann)
    searches = [(one["type"], one["query"], one["found"], one["times"]) for one in await stored_events(api)]
    assert sorted(searches) == [("search", "nothing like it", False, 1), ("search", "river", True, 2)]


async def test_nothing_is_recorded_if_events_are_off(open_api: OpenApi) -> None:
    async with open_api(MOVIE_EVENTS="off") as api:
        ann = await api.activated()
        await api.get(MOVIES, params={"query": "river"}, headers=ann)
        response = await api.post(EVENTS, json=[{"type": "view", "movie_id": "101"}], headers=ann)
        assert response.status_code == 202
        assert await stored_events(api) == []


async def test_stored_data_of_a_user_is_exported_and_erased(api: Api) -> None:
    ann = await api.activated()
    await api.put(RATING, json={"rating": 7.5}, headers=ann)
    assert len(await stored_events(api)) == 1
    stored = (await api.get(ME + "export/", headers=ann)).json()
    assert [one["movie_id"] for one in stored["ratings"]] == ["101"]
    assert [one["type"] for one in stored["events"]] == ["rating"]
    user = stored["account"]["id"]
    assert (await api.delete(ME, headers=ann)).status_code == 204
    events = await api.app.state.dishka_container.get(EventStore)
    assert (await events.export(user)).events == []
