"""The fast path: cached searches compared with raw ASGI on the same server, and the cache under stampedes, expiry and
faults.

Everything is a process of its own: API processes, the third party's stand-in, Redis. For relative throughput, server
and client have one core each; rounds of the raw application and of searches alternate, so that both run under the same
conditions. The processes write their logs, one line per search, to files; the raw application logs nothing.
"""

import asyncio
import itertools
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import httpx
import uvloop
from redis import Redis
from tests.support.servers import free_port, redis_server

from bench.load import Answer, Stretch, burst, connect, hammer, request_of, steady
from bench.rows import Row
from movie_adapters.catalogue.bundled import bundled_films
from movie_adapters.security.jwt import JwtAccessTokens
from movie_core.accounts.keyring import Keyring, new_id

ROOT = Path(__file__).parents[1]
PROGRAM = Path(sys.executable).with_name("movie-search")
AUTH = "/api/v1/authentication/"
ACCOUNT = {"email": "ann@example.com", "password": "copper lantern walks home"}
SECRET = "only for measuring on this machine"
PUBLIC_URL = "http://127.0.0.1:8000"
"""Public URL of every process, so that one token is valid for all."""
DEADLINE = 3.2
"""Maximum response time of a search, in seconds."""
ROUND_SECONDS = 0.6
MEBIBYTE = 1 << 20
CACHE_MEBIBYTES = 64
"""Cache size for 100,000 queries; scaled down for fewer."""
OWN_MEBIBYTES = 16
"""Allowed growth of a process besides its cache: outstanding requests, log records, and fragmented memory."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Server:
    """A process that serves HTTP."""

    process: subprocess.Popen[bytes]
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def cpu(self) -> float:
        """Returns the CPU seconds used."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory(self) -> float:
        """Returns the resident memory in MiB."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / MEBIBYTE


class StandIn:
    """Client of the stand-in's control interface."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self._client = httpx.Client(base_url=server.url, trust_env=False)

    def behave(self, **changes: object) -> None:
        """Sets fields of `movie_standin.faults.Behaviour`, and clears the recorded calls."""
        self._client.post("/_control", json=changes).raise_for_status()
        self._client.delete("/_calls").raise_for_status()

    def warm_up(self, queries: Sequence[str]) -> None:
        """Fills the stand-in's own cache of about 250 queries. It scans its whole list for a new query, which would
        delay concurrent responses and distort the measurement."""
        self.behave(latency_ms=0, script=[])
        for query in queries:
            self._client.get("/movies/", params={"query": query}).raise_for_status()

    def calls(self) -> int:
        return int(self._client.get("/_calls").json()["total"])

    def times(self) -> list[float]:
        """Returns the times of the last thousand calls, in seconds."""
        return [call["at"] for call in self._client.get("/_calls").json()["calls"]]


class Place:
    """A working directory with a database and one user; `environ` are environment variables of all its processes."""

    def __init__(self, folder: Path, **environ: str) -> None:
        self.folder = folder
        self.cores = sorted(os.sched_getaffinity(0))
        clean = {name: value for name, value in os.environ.items() if not name.startswith("MOVIE_")}
        limits = ("SEARCH", "LOGIN", "REGISTER", "MAIL", "EVENTS")
        self.environ = clean | environ | {f"MOVIE_LIMIT_{name}": "off" for name in limits} | {
            "MOVIE_SECRET_KEY": SECRET,
            "MOVIE_PUBLIC_URL": PUBLIC_URL,
            "MOVIE_ACCESS_TTL": "12h",
            "MOVIE_LOG_FORMAT": "json",
            "PYTHONPATH": str(ROOT),
        }  # fmt: skip
        self._issuer = JwtAccessTokens(Keyring((SECRET,)), issuer=PUBLIC_URL)
        self._numbers = itertools.count(1)
        self.token = self._log_in()
        self._access = self._issuer.read(self.token)

    def _log_in(self) -> str:
        # With a third-party source, which is never called, the bundled films are not loaded.
        with (
            self.api("http://127.0.0.1:9") as api,
            httpx.Client(base_url=api.url, trust_env=False, timeout=20) as client,
        ):
            client.post(f"{AUTH}register/", json={**ACCOUNT, "username": "ann"}).raise_for_status()
            command: list[str | Path] = [PROGRAM, "users", "activate", ACCOUNT["email"]]
            subprocess.run(command, cwd=self.folder, env=self.environ, check=True, stdout=subprocess.DEVNULL)
            return str(client.post(f"{AUTH}login/", json=ACCOUNT).json()["access"])

    def tokens(self, count: int) -> list[str]:
        """Returns different tokens of the same session."""
        return [self._issuer.issue(replace(self._access, token_id=new_id())) for _ in range(count)]

    def ask(self, query: str, offset: int = 0) -> bytes:
        return request_of(_target(query, offset), self.token)

    @contextmanager
    def api(
        self, source_url: str | None = None, redis_url: str | None = None, *, core: int | None = None, **settings: str
    ) -> Iterator[Server]:
        """`movie-search serve`; `settings` are variables without their prefix, in lower case."""
        values = {"source_url": source_url, "redis_url": redis_url, **settings}
        environ = {f"MOVIE_{name.upper()}": value for name, value in values.items() if value is not None}
        with self._serving([PROGRAM, "serve"], core, environ, "/health/live") as server:
            yield server

    @contextmanager
    def upstream(self, **behaviour: object) -> Iterator[StandIn]:
        """Runs the stand-in; by default it never fails and responds after 20 ms."""
        with self._serving([PROGRAM, "upstream"], None, {}, "/_control") as server:
            stand_in = StandIn(server)
            stand_in.behave(**{"fail_rate": 0, "latency_ms": 20, **behaviour})
            yield stand_in

    @contextmanager
    def raw(self, headers: Sequence[tuple[str, str]], body: str, *, core: int | None = None) -> Iterator[Server]:
        file = self.folder / f"answer {next(self._numbers)}.json"
        file.write_text(json.dumps({"headers": headers, "body": body}), encoding="utf-8")
        with self._serving([sys.executable, "-m", "bench.raw_app", "--answer", file], core, {}, "/") as server:
            yield server

    @contextmanager
    def _serving(
        self, command: list[str | Path], core: int | None, environ: dict[str, str], path: str
    ) -> Iterator[Server]:
        port = free_port()
        file = self.folder / f"{next(self._numbers)}.log"
        with file.open("wb") as log:
            process = subprocess.Popen(
                [*command, "--port", str(port)], cwd=self.folder, env=self.environ | environ, stdout=log, stderr=log
            )
        # Before it starts threads, which inherit the affinity; otherwise it would inherit ours.
        os.sched_setaffinity(process.pid, self.cores if core is None else {core})
        server = Server(process, port)
        try:
            while not _answers(server, path):
                if process.poll() is not None:
                    raise RuntimeError(f"{command[0]} did not start: {file.read_text(errors='replace')[-2000:]}")
                time.sleep(0.05)
            yield server
        finally:
            process.send_signal(signal.SIGCONT)
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(20)
            process.kill()
            process.wait()


def fast(*, is_full: bool) -> Iterator[Row]:
    """Runs all measurements, each on new processes."""
    if not hasattr(os, "sched_setaffinity") or "TEST_REDIS_URL" in os.environ:
        print("     fast: skipped; it requires Linux, and a Redis of its own to freeze (unset TEST_REDIS_URL)")
        return
    with tempfile.TemporaryDirectory() as folder:
        place = Place(Path(folder))
        for measure in (
            _warm,
            _limited,
            _failing,
            _stampedes,
            _hot_key,
            _holders,
            _memory,
            _redis_unavailable,
            _browsing,
        ):
            yield from measure(place, is_full)


# --- throughput relative to raw ASGI


@dataclass(frozen=True, slots=True)
class Pair:
    """An API process and the raw application with the same response, on one core; this process has another."""

    api: Server
    raw: Server
    ask: bytes


@contextmanager
def _beside_raw(place: Place, upstream: StandIn, redis_url: str | None = None, **settings: str) -> Iterator[Pair]:
    core = place.cores[0]
    with ExitStack() as stack:
        api = stack.enter_context(place.api(upstream.server.url, redis_url, core=core, **settings))
        warm = run(_answers_one_by_one(api.port, [place.ask("the")] * 50))[-1]
        assert warm.status == 200, warm.body
        lines = warm.head.decode("latin-1").strip().split("\r\n")[1:]
        headers = [(name, value) for name, _, value in (line.partition(": ") for line in lines) if name != "date"]
        raw = stack.enter_context(place.raw(headers, warm.body.decode(), core=core))
        os.sched_setaffinity(0, {place.cores[-1]})
        stack.callback(os.sched_setaffinity, 0, place.cores)
        yield Pair(api, raw, place.ask("the"))


def _warm(place: Place, is_full: bool) -> Iterator[Row]:
    with place.upstream() as upstream, _beside_raw(place, upstream) as pair:
        yield from _share_rows("warm search", _rounds(pair, is_full), 0.65, 1.6)

        def distinct() -> Iterator[bytes]:
            return iter([request_of(_target("the"), token) for token in place.tokens(round(20_000 * ROUND_SECONDS))])

        yield from _share_rows("warm search, new tokens", _rounds(pair, is_full, distinct), 0.35)
        few, many = (
            run(hammer(pair.api.port, itertools.repeat(pair.ask), 2.0, pair.api.cpu, count)) for count in (32, 1000)
        )
        goodput = many.statuses[200] / many.seconds / few.rate
        yield Row("responses/s to 1,000 clients, relative to 32 clients", f"{goodput:.2f}", "≥ 0.90", goodput >= 0.9)
        memory = pair.api.memory()
        yield Row("memory of the API process afterwards", f"{memory:.0f} MiB", "≤ 160 MiB", memory <= 160)


def _limited(place: Place, is_full: bool) -> Iterator[Row]:
    with (
        redis_server() as redis_url,
        place.upstream() as upstream,
        _beside_raw(place, upstream, redis_url, limit_search="9000000/minute") as pair,
    ):
        yield from _share_rows("warm search, limited", _rounds(pair, is_full), 0.6)


def _failing(place: Place, is_full: bool) -> Iterator[Row]:
    with place.upstream() as upstream, _beside_raw(place, upstream, cache_fresh="1s") as pair:
        upstream.behave(fail_rate=0.05)
        yield from _share_rows("warm search, 5 % of calls fail", _rounds(pair, is_full), 0.65)
        upstream.server.process.kill()
        yield from _share_rows("warm search, third party gone", _rounds(pair, is_full), 0.65)


def _rounds(
    pair: Pair, is_full: bool, requests: Callable[[], Iterator[bytes]] | None = None
) -> list[tuple[Stretch, Stretch]]:
    """Alternates rounds of the raw application and of searches; repeats more if some are disturbed."""
    wanted = 25 if is_full else 7
    rounds: list[tuple[Stretch, Stretch]] = []
    while len(_undisturbed(rounds)) < wanted and len(rounds) < 3 * wanted:
        searches = itertools.repeat(pair.ask) if requests is None else requests()
        raw = run(hammer(pair.raw.port, itertools.repeat(pair.ask), ROUND_SECONDS, pair.raw.cpu))
        rounds.append((raw, run(hammer(pair.api.port, searches, ROUND_SECONDS, pair.api.cpu))))
    return rounds


def _undisturbed(rounds: Sequence[tuple[Stretch, Stretch]]) -> list[tuple[Stretch, Stretch]]:
    """Returns the rounds in which both servers used at least 90 % of their core. A round is disturbed, and its rates
    are meaningless, if another process of the machine used that core or the client's."""
    return [each for each in rounds if min(side.cpu / side.seconds for side in each) >= 0.9]


def _share_rows(
    name: str, rounds: Sequence[tuple[Stretch, Stretch]], goal: float, cpu_goal: float | None = None
) -> Iterator[Row]:
    """Rates are medians of undisturbed rounds; CPU time is the total of all rounds."""
    clean = _undisturbed(rounds)
    is_significant = len(clean) >= 3
    share = statistics.median(search.rate / raw.rate for raw, search in clean or rounds)
    rates = [statistics.median(each.rate for each in side) for side in zip(*(clean or rounds), strict=True)]
    costs = [sum(each.cpu for each in side) / sum(each.count for each in side) for side in zip(*rounds, strict=True)]
    rates_text = "{1:,.0f} of {0:,.0f}".format(*rates)
    is_good = is_significant and share >= goal
    yield Row(f"{name}: share of raw ({rates_text}/s)", f"{share:.2f}", f"≥ {goal:.2f}", is_good)
    ratio = costs[1] / costs[0]
    costs_text = "{1:.0f} and {0:.0f} µs".format(*(cost * 1e6 for cost in costs))
    goal_text = "" if cpu_goal is None else f"≤ {cpu_goal}"
    yield Row(f"the same: CPU, multiple of raw ({costs_text})", f"{ratio:.2f}", goal_text, ratio <= (cpu_goal or ratio))
    statuses = sum((search.statuses for _, search in rounds), Counter[int]())
    good = statuses[200] / statuses.total()
    yield Row(f"the same: {statuses.total():,} responses, of them 200", f"{good:.3%}", "100 %", good == 1)
    what = "the same: undisturbed rounds (fewer: the share is unreliable)"
    yield Row(what, f"{len(clean)} of {len(rounds)}", "≥ 3", is_significant)


# --- the cache under many clients


def _stampedes(place: Place, _: bool) -> Iterator[Row]:
    titles = _titles()
    with (
        redis_server() as redis_url,
        place.upstream() as upstream,
        place.api(upstream.server.url, redis_url) as one,
        place.api(upstream.server.url, redis_url) as other,
    ):
        for name, count, failures in (("1 cold key", 1, 0), ("1 key, 3 calls fail", 1, 3), ("100 cold keys", 100, 0)):
            keys = [next(titles) for _ in range(count)]
            upstream.warm_up(keys)
            upstream.behave(latency_ms=500, script=["503"] * failures)
            # Each key is requested from both.
            requests = [((one, other)[n // count % 2].port, place.ask(keys[n % count])) for n in range(1000)]
            answers = run(burst(requests))
            calls, goal = upstream.calls(), count + failures
            yield Row(f"1,000 clients, {name}, two processes: calls", str(calls), str(goal), calls == goal)
            good = sum(answer.status == 200 for answer in answers)
            items = {(n % count, _items(answer)) for n, answer in enumerate(answers)}
            is_same = good == 1000 and len(items) == count
            figure = f"{good} with {len(items)}"
            yield Row("the same: responses 200, different results", figure, f"1000 with {count}", is_same)
            yield _slowest_row("the same: slowest response", answers, DEADLINE)


def _hot_key(place: Place, is_full: bool) -> Iterator[Row]:
    """A cache entry expires under load; a request that waited for the third party would take 200 ms."""
    rate, seconds = (2000, 28) if is_full else (1000, 8)
    with (
        redis_server() as redis_url,
        place.upstream(latency_ms=200) as upstream,
        place.api(upstream.server.url, redis_url, cache_fresh="1s") as one,
        place.api(upstream.server.url, redis_url, cache_fresh="1s") as other,
    ):
        ports = [one.port, other.port]
        run(burst((port, place.ask("the")) for port in ports))
        answers = run(steady(ports, place.ask("the"), rate, seconds))
        times = upstream.times()
    # Entries expire after 0.9 to 1 s: a call within half of that is a second one for the same expiry.
    expiries = 1 + sum(later - earlier > 0.5 for earlier, later in itertools.pairwise(times))
    name = f"hot key, {rate:,}/s for {seconds} s, fresh for 1 s"
    enough = expiries >= 0.6 * seconds
    is_one = len(times) == expiries and enough
    yield Row(f"{name}: calls in {expiries} expiries", str(len(times)), "1 each", is_one)
    yield _all_succeeded_row(answers)
    waited = sum(answer.seconds >= 0.2 for answer in answers)
    yield Row("the same: responses that took as long as a call", str(waited), "0", waited == 0)
    yield _slowest_row("the same: slowest response", answers, 0.05)
    late = statistics.quantiles((answer.seconds for answer in answers), n=100)[98]
    yield Row("the same: p99", _ms(late), "≤ 25 ms", late <= 0.025)


def _holders(place: Place, _: bool) -> Iterator[Row]:
    titles = _titles()
    long_timeout = "2s"  # longer than the latency of the stand-in
    with (
        redis_server() as redis_url,
        place.upstream(latency_ms=800) as upstream,
        place.api(upstream.server.url, redis_url, source_timeout=long_timeout) as holder,
        place.api(upstream.server.url, redis_url, source_timeout=long_timeout) as other,
    ):
        ask = place.ask(next(titles))
        upstream.behave()
        answers = run(_answers_without_holder(holder, holder, ask, None))
        calls = upstream.calls()
        yield Row(
            "first client disconnects: other clients answered",
            _count_succeeded(answers),
            "100",
            _all_succeeded(answers),
        )
        yield Row("the same: calls", str(calls), "1", calls == 1)
        for name, number in (("frozen", signal.SIGSTOP), ("killed", signal.SIGKILL)):
            ask = place.ask(next(titles))
            upstream.behave()
            answers = run(_answers_without_holder(holder, other, ask, number))
            holder.process.send_signal(signal.SIGCONT)
            time.sleep(1.5)  # a frozen process may continue its fetch
            calls = upstream.calls()
            yield Row(
                f"fetching process {name}: answered by the other",
                _count_succeeded(answers),
                "100",
                _all_succeeded(answers),
            )
            yield _slowest_row("the same: slowest of them", answers, DEADLINE)
            yield Row("the same: calls", str(calls), "≤ 2", calls <= 2)


async def _answers_without_holder(
    holder: Server, other: Server, ask: bytes, number: signal.Signals | None
) -> list[Answer]:
    """Returns the responses to a hundred clients of one process while the process that fetches for all gets a signal.
    With `number` None, the client that started the fetch disconnects instead."""
    first = (await connect(holder.port, 1))[0]
    connections = await connect(other.port, 100)
    fetching = asyncio.create_task(first.get(ask))
    await asyncio.sleep(0.2)
    waiting = [asyncio.create_task(connection.get(ask)) for connection in connections]
    await asyncio.sleep(0.2)
    if number is None:
        first.close()
    else:
        holder.process.send_signal(number)
    answers = await asyncio.gather(*waiting)
    fetching.cancel()
    await asyncio.wait([fetching])
    return answers


def _browsing(place: Place, _: bool) -> Iterator[Row]:
    with place.upstream() as upstream, place.api(upstream.server.url) as api:
        requests = [place.ask("the", offset) for offset in range(0, 500, 10)]
        answers = run(_answers_one_by_one(api.port, requests))
        calls = upstream.calls()
    items = {item["id"] for answer in answers for item in json.loads(answer.body).get("items", ())}
    yield Row("browsing 50 pages of 10: calls", str(calls), "≤ 10", calls <= 10)
    yield Row("the same: different movies seen", str(len(items)), "500", len(items) == 500)


# --- bounds


def _memory(place: Place, is_full: bool) -> Iterator[Row]:
    """The third party responds to every query with the same 50 movies, without delay."""
    count = 100_000 if is_full else 10_000
    cap = CACHE_MEBIBYTES * count // 100_000
    movies = [{"id": number, "title": f"The long and winding title of movie {number}"} for number in range(50)]
    source = json.dumps({"items": movies, "total": 50})
    with (
        place.raw([("content-type", "application/json"), ("content-length", str(len(source)))], source) as upstream,
        place.api(upstream.url, cache_bytes=f"{cap}MiB") as api,
    ):
        run(hammer(api.port, iter([place.ask(f"warming up {n}") for n in range(500)]), 600, api.cpu, 16))
        before = api.memory()
        requests = (place.ask(f"never requests for {number}") for number in range(count))
        flood, misses = run(_flooded(api, requests, place.ask("hot")))
        growth = api.memory() - before
    name = f"{flood.count:,} distinct queries ({flood.rate:,.0f}/s)"
    allowed = cap + OWN_MEBIBYTES
    goal = f"≤ {cap} + {OWN_MEBIBYTES}"
    yield Row(f"{name}: memory grew by", f"{growth:.0f} MiB", goal, growth <= allowed)
    good = flood.statuses[200] / flood.count
    yield Row("the same: answered 200", f"{good:.3%}", "100 %", good == 1)
    yield Row("the same: cache misses of a key requested every second", str(misses), "0", misses == 0)


async def _flooded(api: Server, requests: Iterator[bytes], hot: bytes) -> tuple[Stretch, int]:
    """Sends a flood of queries. Returns its statistics, and the cache misses of one query repeated every second."""
    connection = (await connect(api.port, 1))[0]
    await connection.get(hot)
    flood = asyncio.create_task(hammer(api.port, requests, 3600, api.cpu, 16))
    misses = 0
    while not flood.done():
        misses += not _is_hit(await connection.get(hot))
        await asyncio.wait([flood], timeout=1)
    misses += not _is_hit(await connection.get(hot))
    connection.close()
    return await flood, misses


def _redis_unavailable(place: Place, _: bool) -> Iterator[Row]:
    with (
        redis_server() as redis_url,
        place.upstream() as upstream,
        place.api(upstream.server.url, redis_url) as one,
        place.api(upstream.server.url, redis_url) as other,
    ):
        with Redis.from_url(redis_url) as redis:
            number = int(redis.info("server")["process_id"])
        try:
            yield from run(_without_redis(place, one, other, number))
        finally:
            with suppress(ProcessLookupError):
                os.kill(number, signal.SIGCONT)


async def _without_redis(place: Place, one: Server, other: Server, redis: int) -> list[Row]:
    titles = _titles()
    here, there = [(await connect(server.port, 1))[0] for server in (one, other)]

    async def cold(count: int) -> list[Answer]:
        """Sends new queries to both processes in turn."""
        return [await (here, there)[n % 2].get(place.ask(next(titles))) for n in range(count)]

    async def is_shared() -> bool:
        """Returns whether one process has the response that the other has just fetched."""
        ask = place.ask(next(titles))
        await here.get(ask)
        return _is_hit(await there.get(ask))

    await cold(10)
    usual, is_used = await cold(60), await is_shared()
    os.kill(redis, signal.SIGSTOP)
    frozen, is_missed = await cold(120), not await is_shared()
    os.kill(redis, signal.SIGCONT)
    began = time.perf_counter()
    while not (again := await is_shared()) and time.perf_counter() < began + 10:  # noqa: ASYNC110
        await asyncio.sleep(0.05)
    back = time.perf_counter() - began
    await cold(10)
    os.kill(redis, signal.SIGKILL)
    gone = await cold(40)
    median = statistics.median(answer.seconds for answer in usual)
    first, first_gone = (max(answer.seconds for answer in answers[:20]) - median for answers in (frozen, gone))
    later = statistics.median(answer.seconds for answer in frozen[20:]) - median
    good = [*frozen, *gone]
    shared_text = " / ".join("yes" if each else "no" for each in (is_used, not is_missed))
    return [
        Row("processes share the cache, with Redis / without", shared_text, "yes / no", is_used and is_missed),
        Row("Redis frozen, first 20 cold searches: slowest, above normal", _ms(first), "≤ 100 ms", first <= 0.1),
        Row("the same: p50 of the next 100, above normal", _ms(later), "≤ 10 ms", later <= 0.01),
        Row("Redis resumes: used again after", f"{back:.2f} s", "≤ 5 s", again and back <= 5),
        Row("Redis killed, first 20: slowest, above normal", _ms(first_gone), "≤ 50 ms", first_gone <= 0.05),
        Row("frozen or killed: answered 200", _count_succeeded(good), str(len(good)), _all_succeeded(good)),
    ]


# --- helpers


def run(work: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


async def _answers_one_by_one(port: int, requests: Sequence[bytes]) -> list[Answer]:
    connection = (await connect(port, 1))[0]
    answers = [await connection.get(ask) for ask in requests]
    connection.close()
    return answers


def _target(query: str, offset: int = 0) -> str:
    return f"/api/v1/movies/?query={quote(query)}&offset={offset}&limit=10"


def _titles() -> Iterator[str]:
    """Yields different queries that have results."""
    return iter(dict.fromkeys(film.title.casefold() for film in itertools.islice(bundled_films(), 2000)))


def _items(answer: Answer) -> str:
    return json.dumps(json.loads(answer.body)["items"]) if answer.status == 200 else ""


def _is_hit(answer: Answer) -> bool:
    return b"\r\ncache-status: movies; hit" in answer.head


def _all_succeeded(answers: Sequence[Answer]) -> bool:
    return all(answer.status == 200 for answer in answers)


def _count_succeeded(answers: Sequence[Answer]) -> str:
    return str(sum(answer.status == 200 for answer in answers))


def _all_succeeded_row(answers: Sequence[Answer]) -> Row:
    share = sum(answer.status == 200 for answer in answers) / len(answers)
    return Row(f"the same: {len(answers):,} responses, of them 200", f"{share:.3%}", "100 %", share == 1)


def _slowest_row(name: str, answers: Sequence[Answer], limit: float) -> Row:
    slowest = max(answer.seconds for answer in answers)
    return Row(name, _ms(slowest), f"≤ {limit * 1e3:,.0f} ms", slowest <= limit)


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:,.1f} ms"


def _answers(server: Server, path: str) -> bool:
    try:
        httpx.get(server.url + path, trust_env=False, timeout=5)
    except httpx.TransportError:
        return False
    return True
