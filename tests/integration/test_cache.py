"""The cache through running processes: two API processes over PostgreSQL and Redis, and a faulty source."""

import asyncio
import itertools
import json
import os
import re
import signal
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
from bench.load import Answer, burst, connect, request_of, steady
from tests.support.deployment import PATIENCE, Fleet, Scene, eventually, state
from tests.support.servers import postgres_database

from movie_core.search.movies import Movie
from movie_standin.faults import Behaviour
from movie_standin.server import StandInServer, running_standin

MOVIES = [Movie(id=str(n), title=f"River {n:05}") for n in range(1, 4001)]
GOOD = Behaviour(fail_rate=0, latency_ms=0)
SLOW = Behaviour(fail_rate=0, latency_ms=500)
LONG_TIMEOUT = "2500ms"
"""Timeout of one attempt, so that a busy machine does not look like a hanging source."""


@pytest.fixture(scope="module")
def environ(postgres: str, redis_url: str, source_port: int) -> Iterator[dict[str, str]]:
    with postgres_database(postgres) as url:
        yield {
            "MOVIE_DATABASE_URL": url,
            "MOVIE_REDIS_URL": redis_url,
            "MOVIE_SOURCE_URL": f"http://127.0.0.1:{source_port}/lasting",
            "MOVIE_SOURCE_TIMEOUT": LONG_TIMEOUT,
        }


@pytest.fixture(scope="module")
def lasting(environ: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Its entries stay fresh, and its timeouts are long enough for a busy machine."""
    patient = {"MOVIE_SOURCE_TIMEOUT": "15s", "MOVIE_SOURCE_DEADLINE": "15s"}
    fleet = Fleet(tmp_path_factory.mktemp("lasting"), **environ | patient)
    try:
        fleet.begin(2)
        yield fleet
    finally:
        fleet.end()


@pytest.fixture(scope="module")
def brief(environ: dict[str, str], source_port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Its entries are fresh for 450 to 500 ms."""
    own = {"MOVIE_SOURCE_URL": f"http://127.0.0.1:{source_port}/brief", "MOVIE_CACHE_FRESH": "500ms"}
    fleet = Fleet(tmp_path_factory.mktemp("brief"), **environ | own)
    try:
        fleet.begin(2)
        yield fleet
    finally:
        fleet.end()


@pytest.fixture
async def upstream(source_port: int) -> AsyncIterator[StandInServer]:
    async with running_standin(MOVIES, GOOD, port=source_port) as upstream:
        yield upstream


@pytest.fixture
async def scene(lasting: Fleet, upstream: StandInServer) -> AsyncIterator[Scene]:
    scene = Scene(lasting, upstream)
    await scene.complete()
    yield scene
    await scene.close()


@pytest.fixture
async def brief_scene(brief: Fleet, upstream: StandInServer) -> AsyncIterator[Scene]:
    scene = Scene(brief, upstream)
    await scene.complete()
    yield scene
    await scene.close()


def asking(query: str) -> bytes:
    return request_of(f"/api/v1/movies/?query={quote(query)}")


def items(answer: Answer) -> str:
    return json.dumps(json.loads(answer.body)["items"])


async def calls_are(upstream: StandInServer, count: int) -> None:
    async with asyncio.timeout(PATIENCE):
        while upstream.total_calls < count:  # noqa: ASYNC110  (its counter has no event)
            await asyncio.sleep(0.01)


# --- cached results


async def test_an_empty_result_is_cached_for_all_processes(scene: Scene) -> None:
    for at in (0, 0, 1, 1):
        answer = await scene.search("zebra", at)
        assert (answer.status_code, answer.json()["code"]) == (404, "movie_not_found")
    assert scene.upstream.total_calls == 1


async def test_a_matching_etag_is_answered_with_304_without_a_fetch(scene: Scene) -> None:
    query = scene.cold()
    first = await scene.search(query)
    etag = first.headers["etag"]
    assert etag.startswith('W/"')
    for at in (0, 0, 0, 1, 1):  # by the handler, then by the response cache
        same = await scene.search(query, at, headers={"If-None-Match": f'"other", {etag}'})
        assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", etag)
    assert (await scene.search(query, headers={"If-None-Match": '"other"'})).status_code == 200
    assert scene.upstream.total_calls == 1


async def test_all_paths_return_the_same_response(scene: Scene) -> None:
    query = scene.cold()
    target = f"/api/v1/movies/?query={quote(query)}&limit=10"
    for _ in range(2):  # fetched, then cached: the response cache has it from here on
        await scene.search(query)
    by_lane = await scene.search(query)
    by_handler = await scene.clients[0].get(target + "&utm_source=mail")
    elsewhere = await scene.search(query, 1)
    head = await scene.clients[0].head(target)
    changing = {"date", "x-request-id", "age", "cache-status"}
    responses = [
        {name: value for name, value in answer.headers.items() if name not in changing}
        for answer in (by_lane, by_handler, elsewhere, head)
    ]
    assert responses[0] == responses[1] == responses[2] == responses[3]
    assert by_lane.json() == by_handler.json() == elsewhere.json()
    assert (head.status_code, head.content) == (200, b"")
    for answer in (by_lane, by_handler, elsewhere, head):
        assert re.fullmatch(r"movies; hit; ttl=\d+", answer.headers["cache-status"])
    assert scene.upstream.total_calls == 1


async def test_equal_spellings_share_one_call_and_others_do_not(scene: Scene) -> None:
    cats = ("cat", "cat%20", "c%61t", "%20cat++", "cat&_=1", "cat&offset=0&limit=20")
    composed = ("caf%C3%A9", "cafe%CC%81")
    for same, others in ((cats, ("Cat", "CAT")), (composed, ("cafe",))):
        scene.upstream.forget()
        for spelling in same:
            answers = [await client.get(f"/api/v1/movies/?query={spelling}") for client in scene.clients]
            assert {answer.status_code for answer in answers} == {404}
        assert 1 <= scene.upstream.total_calls <= 2, "one call, and perhaps a hedged request on a busy machine"
        for spelling in others:
            calls = scene.upstream.total_calls
            await scene.clients[0].get(f"/api/v1/movies/?query={spelling}", headers={"Accept-Language": "fr"})
            assert scene.upstream.total_calls > calls


async def test_browsing_fifty_pages_of_ten_takes_ten_calls(scene: Scene) -> None:
    found: list[str] = []
    for number in range(50):
        page = await scene.search("River", number % 2, offset=10 * number)
        found += [item["id"] for item in page.json()["items"]]
    assert found == [str(n) for n in range(1, 501)]
    # Different calls, because on a busy machine a slow call is repeated as a hedged request.
    targets = {call["target"] for call in scene.upstream.calls}
    assert len(targets) <= 10
    assert len((await scene.search("River", limit=100)).json()["items"]) == 100
    assert {call["target"] for call in scene.upstream.calls} == targets, "pages of any size are made of the same blocks"


async def test_a_result_is_live_then_fresh_then_stale_then_fresh_again(brief_scene: Scene) -> None:
    scene = brief_scene
    async with asyncio.timeout(PATIENCE):
        while True:  # on a busy machine, the result may be stale before the second search
            scene.upstream.forget()
            query = scene.cold()
            live, fresh, elsewhere = [await scene.search(query, at) for at in (0, 0, 1)]
            if (state(fresh), state(elsewhere)) == ("fresh", "fresh"):
                break
    assert (state(live), live.headers["cache-status"]) == ("live", "movies; fwd=miss")
    assert "age" not in live.headers
    assert (fresh.headers["cache-status"], fresh.headers["age"]) == ("movies; hit; ttl=0", "0")
    await asyncio.sleep(1.1)
    stale = await scene.search(query)
    assert state(stale) == "stale"
    assert re.fullmatch(r"movies; hit; ttl=-[1-9]\d*", stale.headers["cache-status"])
    assert int(stale.headers["age"]) >= 1
    assert {answer.headers["cache-control"] for answer in (live, fresh, stale)} == {"private"}
    assert {answer.headers["etag"] for answer in (live, fresh, stale)} == {live.headers["etag"]}
    assert live.json()["meta"]["fetched_at"] == stale.json()["meta"]["fetched_at"]
    await calls_are(scene.upstream, 2)
    # Another spelling each time, as a stale response may be served from the response cache for a moment.
    again = stale
    async with asyncio.timeout(PATIENCE):
        for number in itertools.count():
            again = await scene.search(query, _=number)
            if state(again) == "fresh":
                break
            assert state(again) == "stale"
    assert again.json()["meta"]["fetched_at"] > stale.json()["meta"]["fetched_at"]


# --- an unavailable source


async def test_all_cached_searches_are_answered_while_the_source_is_unavailable(brief_scene: Scene) -> None:
    scene = brief_scene
    primed = [scene.cold() for _ in range(200)]
    for query in primed:
        assert state(await scene.search(query)) == "live"
    await asyncio.sleep(1)  # the last entries become stale, and the movies of results are stored
    await scene.upstream.refuse()
    for at in (0, 1):
        for query in primed:
            answer = await scene.search(query, at)
            assert (state(answer), answer.json()["items"][0]["title"]) == ("stale", query.title())
            assert re.fullmatch(r"movies; hit; ttl=-\d+", answer.headers["cache-status"])
    unknown = await scene.search("xqzv wkjj", 1)
    assert (unknown.status_code, unknown.json()["code"]) == (503, "source_unavailable")
    assert int(unknown.headers["retry-after"]) >= 1
    for at in (0, 1):
        async with asyncio.timeout(PATIENCE):  # the local movies get a tenth of a second, which a busy machine may need
            while state(fallback := await scene.search(primed[7].removeprefix("river "), at)) is None:
                assert fallback.status_code == 503
                await asyncio.sleep(0.1)
        assert (state(fallback), fallback.json()["meta"]["source"]) == ("fallback", "local")
        assert fallback.headers["cache-status"] == "movies; fwd=miss; detail=fallback"
        assert primed[7].title() in [item["title"] for item in fallback.json()["items"]]

    await scene.upstream.start()

    async def is_live() -> bool:
        return state(await scene.search(scene.cold(), 1)) == "live"

    await eventually(is_live)


async def test_stale_results_are_served_while_the_source_hangs_and_other_searches_fail(brief_scene: Scene) -> None:
    scene = brief_scene
    primed, unknown = scene.cold(), [f"xqzv wkjj {letter}" for letter in "abcdefghij"]
    await scene.search(primed)
    await asyncio.sleep(0.6)
    scene.upstream.behave(Behaviour(fail_rate=1, faults=("hang",), latency_ms=0))
    assert [state(await scene.search(primed, at)) for at in (0, 1, 0, 1)] == ["stale"] * 4
    answers = await asyncio.gather(*(scene.search(query, at) for query in unknown for at in (0, 1)))
    for answer in answers:
        assert (answer.status_code, "retry-after" in answer.headers) == (503, True)


# --- many clients


@pytest.mark.parametrize(
    ("keys", "failures", "calls"), [(1, 0, 1), (1, 3, 4), (20, 0, 20)], ids=["one key", "three fail", "20 keys"]
)
async def test_two_hundred_clients_cost_one_call_per_query(scene: Scene, keys: int, failures: int, calls: int) -> None:
    ports = scene.fleet.ports
    for _ in range(5):
        scene.upstream.forget()
        queries = [scene.cold() for _ in range(keys)]
        scene.upstream.behave(Behaviour(fail_rate=0, latency_ms=500, script=("503",) * failures))
        answers = await burst((ports[n // keys % 2], asking(queries[n % keys])) for n in range(200))
        assert [answer.status for answer in answers] == [200] * 200
        assert len({items(answer) for answer in answers}) == keys
        assert calls <= scene.upstream.total_calls <= 2 * calls
        if scene.upstream.total_calls == calls:
            break
        # On a busy machine Redis took too long for a process, which then calls the source itself for a second or two.
        await asyncio.sleep(3)
    assert scene.upstream.total_calls == calls


async def test_a_hot_key_is_refreshed_once_per_expiry_without_delay(brief_scene: Scene) -> None:
    scene, query = brief_scene, brief_scene.cold()
    scene.upstream.behave(Behaviour(fail_rate=0, latency_ms=100))
    for at in (0, 1):
        await scene.search(query, at)
    answers: list[Answer] = []
    async with asyncio.timeout(PATIENCE):
        while scene.upstream.total_calls < 6:
            answers += await steady(scene.fleet.ports, asking(query), 200, 0.5)
    assert {answer.status for answer in answers} == {200}
    times = [call["at"] for call in scene.upstream.calls]
    assert min(later - earlier for earlier, later in itertools.pairwise(times)) > 0.45


async def test_the_first_caller_may_be_cancelled(scene: Scene) -> None:
    scene.upstream.behave(SLOW)
    query, alone = scene.cold(), scene.cold()
    first, lonely, *others = await connect(scene.fleet.ports[0], 12)
    asked = [asyncio.create_task(each.get(asking(q))) for each, q in ((first, query), (lonely, alone))]
    await calls_are(scene.upstream, 2)
    waiting = [asyncio.create_task(other.get(asking(query))) for other in others]
    await asyncio.sleep(0.1)
    first.close()
    lonely.close()
    answers = await asyncio.gather(*waiting)
    assert [answer.status for answer in answers] == [200] * 10
    assert {answer.status for answer in await asyncio.gather(*asked)} == {0}

    async def is_answered() -> bool:
        return state(await scene.search(alone, 1)) is not None

    await eventually(is_answered)
    for other in others:
        other.close()
    assert scene.upstream.total_calls == 2, "one of the calls has no waiting client left, but had already started"


@pytest.mark.parametrize("fault", [signal.SIGKILL, signal.SIGSTOP])
async def test_the_fetching_process_may_die_or_freeze(
    lasting: Fleet, upstream: StandInServer, fault: signal.Signals
) -> None:
    await asyncio.to_thread(lasting.begin, 1)
    scene = Scene(lasting, upstream)
    try:
        await scene.complete()
        query, holder = scene.cold(), lasting.programs[-1].process
        bodies = [json.dumps({"items": [{"id": "1", "title": title}], "total": 1}) for title in ("Old", "New")]
        upstream.behave(Behaviour(fail_rate=0, latency_ms=400, script=tuple(f"body:{body}" for body in bodies)))
        fetching = asyncio.create_task(scene.search(query, 2))
        await calls_are(upstream, 1)
        waiting = [asyncio.create_task(scene.search(query, at)) for at in (0, 1) * 10]
        await asyncio.sleep(0.1)
        holder.send_signal(fault)
        answers = await asyncio.gather(*waiting)
        assert {answer.status_code for answer in answers} == {200}
        assert {answer.json()["items"][0]["title"] for answer in answers} == {"New"}
        assert upstream.total_calls == 2
        if fault is signal.SIGSTOP:
            holder.send_signal(signal.SIGCONT)
            late = await fetching
            assert late.status_code == 200
            shown = [await scene.search(query, at, limit=limit) for at in (0, 1, 2) for limit in (10, 5)]
            assert {answer.json()["items"][0]["title"] for answer in shown} == {"New"}
            assert upstream.total_calls == 2
        else:
            with pytest.raises(httpx.TransportError):
                await fetching
    finally:
        await scene.close()
        lasting.end(1)


# --- limits and maintenance


def mebibytes(pid: int) -> float:
    """Resident memory."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


async def test_memory_is_bounded_and_used_entries_stay(tmp_path: Path) -> None:
    """Each of the 2,000 queries counted has a response of some 12 KiB: without a limit they would take 30 MiB."""
    text = "".join(f"{number:03}" for number in range(66))
    async with running_standin([Movie(id=str(n), title=f"{text} {n}") for n in range(50)], GOOD) as upstream:
        fleet = Fleet(tmp_path, MOVIE_SOURCE_URL=upstream.url, MOVIE_CACHE_BYTES="1MiB")
        fleet.begin()
        try:
            (port,), pid = fleet.ports, fleet.programs[0].process.pid
            parts = (text[first:last] for first in range(60) for last in range(first + 7, len(text), 2))
            queries = list(dict.fromkeys(parts))[:2400]

            async def ask(queries: Sequence[str]) -> list[Answer]:
                (connection,) = await connect(port, 1)
                answers = [await connection.get(asking(query)) for query in queries]
                connection.close()
                return answers

            hot = await ask([text[:4]] * 2)
            await ask(queries[:400])
            before = mebibytes(pid)
            for first in range(400, 2400, 40):
                answers = await asyncio.gather(*(ask(queries[first + n : first + n + 10]) for n in range(0, 40, 10)))
                assert {answer.status for each in answers for answer in each} == {200}
                hot += await ask([text[:4]])
            assert mebibytes(pid) - before < 12
            assert all(b"cache-status: movies; hit" in answer.head for answer in hot[1:])
            # At least: a busy machine may cause hedged requests.
            assert 1 + 2400 <= upstream.total_calls <= 2500
        finally:
            fleet.end()


async def test_the_command_line_shows_and_flushes_the_cache(scene: Scene) -> None:
    queries = [scene.cold() for _ in range(3)]
    for query in queries:
        for at in (0, 0, 1, 1):
            await scene.search(query, at)
    completed = await asyncio.to_thread(scene.fleet.run, "cache", "stats")
    assert (completed.returncode, completed.stderr) == (0, "")
    heading, figures = completed.stdout.splitlines()
    assert heading.split("\t")[0] == "entries"
    answers, kib = map(int, figures.split("\t"))
    assert answers >= 3
    assert kib >= 1
    flushed = await asyncio.to_thread(scene.fleet.run, "cache", "flush")
    assert flushed.returncode == 0
    assert re.fullmatch(r"cache entries deleted: \d+\n", flushed.stdout)
    assert int(flushed.stdout.split()[-1]) >= 3
    for number, query in enumerate(queries, 4):

        async def is_fetched_again(query: str = query, calls: int = number) -> bool:
            assert (await scene.search(query)).status_code == 200
            return scene.upstream.total_calls >= calls

        await eventually(is_fetched_again)
    assert scene.upstream.total_calls == 6
    await asyncio.sleep(1)
    # The other process has flushed its cache too, and reads from Redis again.
    for query in queries:
        page = (await scene.search(query)).json()
        assert (await scene.search(query, 1)).json()["meta"]["fetched_at"] == page["meta"]["fetched_at"]
    assert scene.upstream.total_calls == 6


@pytest.mark.parametrize("command", ["stats", "flush"])
@pytest.mark.parametrize("url", ["", "redis://127.0.0.1:1"])
def test_without_redis_the_command_line_fails_with_a_message(lasting: Fleet, command: str, url: str) -> None:
    completed = lasting.run("cache", command, MOVIE_REDIS_URL=url)
    assert (completed.returncode, completed.stdout, completed.stderr.count("\n")) == (1, "", 1)
    assert completed.stderr.startswith("movie-search: ")
