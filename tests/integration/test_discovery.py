"""Ratings, recommendations, personal order, trends and analytics through running processes: embedded, and as two API
processes and a worker over PostgreSQL and Redis."""

import csv
import io
import json
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from redis import Redis
from tests.support.deployment import LIMITS_OFF, ME, Deployment, Serve, bearer, wait_until

MOVIES = "/api/v1/movies/"
EVENTS = "/api/v1/events/"
ANALYTICS = "/api/v1/analytics/"
RECOMMENDATIONS = "/api/v1/recommendations/"
Run = Callable[..., Any]


class User:
    """A logged-in user whose requests go to all processes in turn."""

    def __init__(self, deployment: Deployment, name: str) -> None:
        self.address = f"{name}@example.com"
        self._clients = [deployment.client, *deployment.others]
        self._headers = bearer(deployment.account(name))
        self._turn = 0

    def ask(self, method: str, path: str, *, json: Any = None, at: int | None = None, **options: Any) -> httpx.Response:
        """Send a request to process `at`, or to the next one in turn."""
        self._turn += 1
        client = self._clients[(self._turn if at is None else at) % len(self._clients)]
        headers = self._headers | options.pop("headers", {})
        return client.request(method, path, json=json, headers=headers, **options)

    def get(self, path: str, **parameters: Any) -> Any:
        answer = self.ask("GET", path, params=parameters or None)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def rate(self, movie_id: str, rating: float) -> httpx.Response:
        answer = self.ask("PUT", f"{MOVIES}{movie_id}/rating/", json={"rating": rating})
        assert answer.status_code == 200, answer.text
        return answer

    def send_events(self, *events: dict[str, Any]) -> Any:
        answer = self.ask("POST", EVENTS, json=list(events))
        assert answer.status_code == 202, answer.text
        return answer.json()

    def walk(self, path: str) -> list[dict[str, Any]]:
        """All items, by following the pagination links."""
        items: list[dict[str, Any]] = []
        next_path: str | None = path
        while next_path is not None:
            page = self.get(next_path)
            items += page["items"]
            next_path = path_of(page["page_info"]["next"])
        return items


def path_of(link: str | None) -> str | None:
    """The path of a link, for use with any process and not only the one at the public URL."""
    return link and "/" + link.split("/", 3)[3]


def test_a_rating_is_stored_listed_and_deleted(deployment: Deployment) -> None:
    ann, bob = User(deployment, "ann"), User(deployment, "bob")
    matrix = ann.get(MOVIES, query="the matrix", limit=1)["items"][0]
    path = f"{MOVIES}{matrix['id']}/rating/"
    assert ann.ask("GET", path).status_code == 404
    rating = ann.rate(matrix["id"], 8.5).json()
    assert rating["movie_id"] == matrix["id"]
    assert rating["rating"] == 8.5
    assert rating["rated_at"].endswith("Z")
    assert ann.get(path) == rating
    page = ann.get(ME + "ratings/")
    assert page["total"] == 1
    assert page["items"] == [matrix | {"rating": 8.5, "rated_at": rating["rated_at"]}]
    assert page["page_info"]["next"] is None
    # Other users do not have it.
    assert bob.ask("GET", path).status_code == 404
    assert bob.get(ME + "ratings/")["total"] == 0
    for _ in range(2):
        assert ann.ask("DELETE", path).status_code == 204
    assert ann.get(ME + "ratings/") == {
        "total": 0,
        "items": [],
        "page_info": {"current_page": 1, "total_pages": 0, "previous": None, "next": None},
    }


def test_concurrent_ratings_of_one_movie_store_one_rating(deployment: Deployment) -> None:
    ann = User(deployment, "ann")
    movie = ann.get(MOVIES, query="casablanca", limit=1)["items"][0]["id"]

    def rate(number: int) -> int:
        rating = {"rating": number % 20 / 2 + 0.5}
        return ann.ask("PUT", f"{MOVIES}{movie}/rating/", json=rating, at=number).status_code

    with ThreadPoolExecutor(16) as pool:
        assert set(pool.map(rate, range(200))) == {200}
    assert ann.get(ME + "ratings/")["total"] == 1
    ann.rate(movie, 9)
    assert [one["rating"] for one in ann.get(ME + "ratings/")["items"]] == [9]


def test_a_rating_affects_the_next_recommendations_and_their_reasons(deployment: Deployment, run: Run) -> None:
    users = [User(deployment, f"user{number}") for number in range(5)]
    westerns = [movie["id"] for movie in users[0].get(MOVIES, genre="Western", order="popularity", limit=12)["items"]]
    horror = [movie["id"] for movie in users[0].get(MOVIES, genre="Horror", order="popularity", limit=12)["items"]]
    horror = [one for one in horror if one not in westerns]
    for number, user in enumerate(users[:4]):
        rows = [{"movie_id": one, "rating": 9} for one in (westerns if number < 3 else horror)]
        answer = user.ask("PUT", ME + "ratings/", json=rows)
        assert (answer.json()["accepted"], answer.json()["rejected"]) == (len(rows), [])

    newcomer = users[4]
    before = newcomer.get(RECOMMENDATIONS)
    assert before["meta"] == {"tier": "popular"}
    assert before["items"]
    trained = run("recommend", "train", **deployment.environ)
    assert trained.returncode == 0, trained.stderr
    assert "users: 4;" in trained.stdout

    newcomer.rate(westerns[0], 9)

    def all_processes_use_the_model() -> bool:
        pages = [newcomer.get(RECOMMENDATIONS) for _ in range(2)]
        return all(page["meta"]["tier"] == "personal" and page["items"][0]["id"] in westerns for page in pages)

    wait_until(all_processes_use_the_model)  # processes check for a newer model every 20 s
    answer = newcomer.get(RECOMMENDATIONS)
    assert answer["meta"] == {"tier": "personal"}
    best = answer["items"][0]
    assert best["id"] in westerns[1:]
    assert {(one["kind"], one["movie_id"]) for one in best["reasons"]} == {("because_you_rated", westerns[0])}

    # A movie is excluded as soon as it is rated, in every process and on every page.
    newcomer.rate(best["id"], 9)
    shown = newcomer.walk(f"{RECOMMENDATIONS}?limit=50")
    ids = [one["id"] for one in shown]
    assert len(ids) == len(set(ids))
    assert not {westerns[0], best["id"]} & set(ids)
    # Another user gets other recommendations.
    assert users[3].get(RECOMMENDATIONS)["items"] != answer["items"]
    similar = newcomer.get(f"{MOVIES}{westerns[0]}/similar/")
    assert westerns[0] not in [one["id"] for one in similar["items"]]
    assert similar["items"][0]["reasons"]


@pytest.mark.usefixtures("untrained")
def test_a_single_process_trains_the_model(serve: Serve) -> None:
    program, client = serve()
    movie = client.get(MOVIES, params={"query": "casablanca", "limit": 1}).json()["items"][0]["id"]
    wait_until(lambda: client.get(f"{MOVIES}{movie}/similar/").json()["total"] > 0)
    assert program.stop() == 0
    assert "Traceback" not in program.output()


def test_pages_in_personal_order_are_complete_while_the_user_rates(deployment: Deployment) -> None:
    ann = User(deployment, "ann")
    plain = [one["id"] for one in ann.walk(f"{MOVIES}?query=river&limit=20")]
    ann.rate(plain[50], 10)
    found: list[str] = []
    path: str | None = f"{MOVIES}?query=river&limit=20&order=personal"
    while path is not None:
        page = ann.ask("GET", path).json()
        assert "order=personal" in (page["page_info"]["next"] or "order=personal")
        found += [one["id"] for one in page["items"]]
        ann.rate(found[-1], 1)
        path = path_of(page["page_info"]["next"])
    assert sorted(found[:100]) == sorted(plain[:100])
    assert found[100:] == plain[100:]
    exact = ann.get(MOVIES, query="The River", order="personal", limit=1)["items"][0]
    assert exact["title"] in {"The River", "River"}


def test_exclude_rated_removes_rated_movies(deployment: Deployment) -> None:
    ann = User(deployment, "ann")
    plain = ann.get(MOVIES, query="casablanca", limit=5)
    ann.rate(plain["items"][0]["id"], 5)
    rest = ann.get(MOVIES, query="casablanca", limit=5, exclude="rated")
    assert rest["total"] == plain["total"] - 1
    assert plain["items"][0] not in rest["items"]


IMDB = """Const,Your Rating,Date Rated,Title,Original Title,URL,Title Type,IMDb Rating,Runtime (mins),Year,Genres,\
Num Votes,Release Date,Directors
tt0034583,10,2024-03-01,Casablanca,Casablanca,https://x/,Movie,8.5,102,1942,"Drama, Romance",1,1942-11-26,Michael Curtiz
tt9999999,7,2024-03-02,Nothing Like This Was Ever Shot,Nothing,https://x/,Movie,1.0,1,2031,Drama,1,2031-01-01,Nobody
"""
LETTERBOXD = """Date,Name,Year,Letterboxd URI,Rating
2024-03-03,Casablanca,1942,https://boxd.it/x,4.5
2024-03-04,The Matrix,1999,https://boxd.it/y,
"""


def test_exports_of_imdb_and_letterboxd_are_imported(deployment: Deployment) -> None:
    ann = User(deployment, "ann")

    def put(text: str) -> Any:
        content = text.encode()
        answer = ann.ask("PUT", ME + "ratings/", content=content, headers={"content-type": "text/csv"})
        assert answer.status_code == 200, answer.text
        return answer.json()

    done = put(IMDB)
    assert done["accepted"] == 1
    assert [(one["row"], one["code"]) for one in done["rejected"]] == [(2, "unknown_movie")]
    [casablanca] = ann.get(ME + "ratings/")["items"]
    assert (casablanca["title"], casablanca["rating"]) == ("Casablanca", 10)
    assert casablanca["rated_at"].startswith("2024-03-01")

    done = put(LETTERBOXD)
    assert done["accepted"] == 1
    assert [one["row"] for one in done["rejected"]] == [2]
    assert [one["rating"] for one in ann.get(ME + "ratings/")["items"]] == [9]

    done = put(LETTERBOXD.replace("2024-03-03", "2014-03-03").replace(",4.5", ",1"))
    assert (done["accepted"], done["superseded"]) == (1, [1])
    assert [one["rating"] for one in ann.get(ME + "ratings/")["items"]] == [9]


def test_views_count_once_a_day_and_trends_are_the_same_for_all_users(deployment: Deployment) -> None:
    ann, bob = User(deployment, "ann"), User(deployment, "bob")
    first, second = (
        ann.get(MOVIES, query=title, limit=1)["items"][0]["id"] for title in ("casablanca", "wizard of oz")
    )
    # The trend store is initialised some seconds after the start of the first process.
    wait_until(lambda: ann.get(MOVIES + "trending/")["meta"]["state"] == "live")
    view = {"type": "view", "movie_id": first}
    for _ in range(10):
        assert ann.send_events(*[view] * 100) == {"accepted": 100, "rejected": []}
    for user in (ann, bob):
        user.send_events({"type": "view", "movie_id": second}, {"type": "impression", "movie_id": second})
    ann.rate(second, 8)

    def counts() -> dict[str, Any]:
        items = bob.get(MOVIES + "trending/", window="week")["items"]
        return {one["id"]: (round(one["score"], 1), one["counts"]) for one in items}

    expected = {
        second: (6.0, {"view": 2, "click": 0, "rating": 1}),
        first: (1.0, {"view": 1, "click": 0, "rating": 0}),
    }
    wait_until(lambda: counts() == expected)
    day = bob.get(MOVIES + "trending/", window="day", limit=1)
    assert [one["id"] for one in day["items"]] == [second]
    meta = day["meta"]
    assert (meta["window"], meta["half_life"]) == ("day", 21600)
    assert meta["weights"] == {"view": 1, "click": 1, "rating": 2, "liked": 4}
    unknown = ann.send_events({"type": "click", "movie_id": "nothing"})
    assert unknown["accepted"] == 0
    assert [(one["row"], one["code"]) for one in unknown["rejected"]] == [(1, "unknown_movie")]


def test_trends_are_rebuilt_after_redis_lost_its_data(deployment: Deployment) -> None:
    if not deployment.environ:
        return  # trends are in the same database as the events then, and cannot be lost separately
    ann = User(deployment, "ann")
    movie = ann.get(MOVIES, query="casablanca", limit=1)["items"][0]["id"]

    def trends() -> list[tuple[str, int]]:
        return [(one["id"], one["counts"]["click"]) for one in ann.get(MOVIES + "trending/")["items"]]

    def state() -> str:
        return str(ann.get(MOVIES + "trending/")["meta"]["state"])

    ann.send_events({"type": "click", "movie_id": movie})
    wait_until(lambda: trends() == [(movie, 1)])
    assert state() == "live"
    with Redis.from_url(deployment.environ["MOVIE_REDIS_URL"]) as redis:
        redis.flushall()
    wait_until(lambda: ann.get(MOVIES + "trending/")["meta"]["state"] == "live" and trends() == [(movie, 1)])


def test_only_staff_can_read_analytics(deployment: Deployment, run: Run) -> None:
    ann, bob = User(deployment, "ann"), User(deployment, "bob")
    assert ann.ask("GET", ANALYTICS + "summary/").status_code == 403
    promoted = run("users", "staff", ann.address, **deployment.environ)
    assert promoted.returncode == 0, promoted.stderr

    clicked = bob.get(MOVIES, query="casablanca", limit=2)["items"][1]["id"]
    for _ in range(2):  # the second response comes from the response cache
        bob.get(MOVIES, query="casablanca", limit=2)
    bob.get(MOVIES, query="casablanca", limit=1, offset=1)  # another page is not a search of its own
    assert bob.ask("GET", MOVIES, params={"query": "qqqqxxxx zzzz"}).status_code == 404
    bob.send_events({"type": "click", "movie_id": clicked, "query": "casablanca", "position": 2})
    bob.rate(clicked, 7)

    def summary() -> dict[str, Any]:
        return {name: value for name, value in ann.get(ANALYTICS + "summary/").items() if name != "meta"}

    expected = {"searches": 4, "users": 1, "ratings": 1, "clicks": 1, "zero_result_searches": 1}
    wait_until(lambda: summary() == expected)
    assert ann.get(ANALYTICS + "searches/top/")["items"] == [
        {"query": "casablanca", "count": 3, "users": 1},
        {"query": "qqqqxxxx zzzz", "count": 1, "users": 1},
    ]
    assert ann.get(ANALYTICS + "searches/zero-results/")["items"] == [
        {"query": "qqqqxxxx zzzz", "count": 1, "users": 1}
    ]
    clicks = ann.get(ANALYTICS + "clicks/")
    assert (clicks["searches"], clicks["clicks"], clicks["mean_position"]) == (4, 1, 2)
    assert clicks["click_through_rate"] == 0.75
    funnel = ann.get(ANALYTICS + "funnel/")
    assert (funnel["searched"], funnel["clicked"], funnel["rated"]) == (1, 1, 1)
    week = datetime.now(UTC).strftime("%G-W%V")
    [cohort] = [one for one in ann.get(ANALYTICS + "retention/")["items"] if one["size"]]
    assert (cohort["cohort"], cohort["size"], cohort["returned"][0]) == (week, 2, 1)
    [source] = ann.get(ANALYTICS + "source/")["items"]
    assert source["live"] == 5
    text = ann.ask("GET", ANALYTICS + "searches/top/", headers={"accept": "text/csv"}).text
    assert list(csv.reader(io.StringIO(text)))[:2] == [["query", "count", "users"], ["casablanca", "3", "1"]]


def test_users_who_disable_recording_have_no_events(deployment: Deployment, run: Run) -> None:
    ann = User(deployment, "ann")
    assert ann.ask("PATCH", ME, json={"record_events": False}).status_code == 200
    movie = ann.get(MOVIES, query="casablanca", limit=1)["items"][0]["id"]
    ann.send_events({"type": "view", "movie_id": movie})
    ann.rate(movie, 9)
    bob = User(deployment, "bob")
    bob.send_events({"type": "view", "movie_id": movie})
    wait_until(lambda: len(bob.get(ME + "export/")["events"]) == 1)
    exported = ann.get(ME + "export/")
    assert exported["events"] == []
    assert [one["movie_id"] for one in exported["ratings"]] == [movie]


def test_erasing_a_user_deletes_all_rows(serve: Serve, run: Run, folder: Any) -> None:
    program, client = serve(**LIMITS_OFF)
    ann = User(Deployment(client, folder, {}), "ann")
    profile = ann.get(ME)
    movie = ann.get(MOVIES, query="casablanca", limit=1)["items"][0]["id"]
    ann.get(MOVIES, query="casablanca", order="personal")
    ann.rate(movie, 9)
    ann.send_events({"type": "view", "movie_id": movie})
    wait_until(lambda: len(ann.get(ME + "export/")["events"]) >= 3)
    ann.rate(movie, 4)  # its event is still in memory when the account is erased
    assert ann.ask("DELETE", ME).status_code == 204
    assert program.stop() == 0
    database = sqlite3.connect(folder / "var" / "movies.db")
    tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    assert {"ratings", "events", "deeds", "kept_orders"} <= set(tables)
    for name in tables:
        if not name.startswith("movie_index"):
            rows = [row for row in database.execute(f'SELECT * FROM "{name}"') if profile["id"] in map(str, row)]
            # Ended sessions are stored for a day.
            assert name == "ended_sessions" or rows == [], name
    database.close()


def test_events_sent_just_before_shutdown_are_stored(serve: Serve, run: Run, folder: Any) -> None:
    program, client = serve(**LIMITS_OFF)
    ann = User(Deployment(client, folder, {}), "ann")
    movies = ann.get(MOVIES, query="the", limit=100)["items"]
    ann.send_events(*[{"type": "impression", "movie_id": movie["id"]} for movie in movies])
    assert len(movies) == 100
    assert program.stop() == 0
    exported = json.loads(run("users", "export", ann.address).stdout)
    assert len(exported["events"]) == 101


def test_the_operator_can_disable_events(serve: Serve, run: Run, folder: Any) -> None:
    program, client = serve(**LIMITS_OFF, MOVIE_EVENTS="off")
    ann = User(Deployment(client, folder, {}), "ann")
    movie = ann.get(MOVIES, query="casablanca", limit=1)["items"][0]["id"]
    ann.send_events({"type": "view", "movie_id": movie})
    assert program.stop() == 0
    assert json.loads(run("users", "export", ann.address).stdout)["events"] == []


@pytest.mark.parametrize("path", [RECOMMENDATIONS, ME + "ratings/", MOVIES + "1/rating/"])
def test_personal_endpoints_require_authentication_with_public_search(serve: Serve, path: str) -> None:
    _, client = serve()
    nonsense = {"authorization": "Bearer nonsense"}
    assert client.get(path).status_code == 401
    assert client.get(path, headers=nonsense).status_code == 401
    assert client.get(MOVIES, params={"query": "river", "order": "personal"}).status_code == 401
    assert client.get(MOVIES, params={"query": "river"}, headers=nonsense).status_code == 200
    assert client.get(MOVIES + "trending/").status_code == 200
