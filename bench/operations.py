"""A complete deployment over time: rolling restarts of each role, and a soak test under mixed faults.

Two API processes, two workers and a scheduler on their own PostgreSQL and Redis, an SMTP sink and the stand-in for the
third party. Memory and sockets are read from `/proc`, so these figures require Linux.
"""

import asyncio
import itertools
import os
import random
import signal
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import asyncpg
import httpx
from redis import Redis
from redis.exceptions import RedisError
from tests.support.servers import OwnServer, free_port, own_postgres, own_redis

from bench.accounts import AUTH, PASSWORD, PROGRAM, Fleet, user
from bench.fast import SECRET
from bench.http_server import Load, Target, steady
from bench.load import hammer, request_of
from bench.processes import balanced
from bench.rows import Row
from movie_adapters.security.jwt import JwtAccessTokens
from movie_core.accounts.keyring import Keyring, new_id

MOVIES = "/api/v1/movies/"
ROLES = {"API": ("api 1", "api 2"), "worker": ("worker 1", "worker 2"), "scheduler": ("scheduler",)}
RATE = 500
"""Requests per second while API processes restart."""
STOP_SECONDS = 20.0
"""Maximum seconds from SIGTERM to the end of a process."""
SAMPLE_SECONDS = 5.0
CACHE_BYTES = "4MiB"
"""Cache size of an API process in the soak test: small enough to be full before the measurement starts."""
SETTLING = 1 / 3
"""Fraction of the soak test before memory is measured."""
TOKENS = 11_000
"""Tokens sent to each API process before the soak test, as it caches the last 10,000."""
PATHS = 1_100
"""Paths requested from each process before the soak test, as routing caches the last 1,024."""
RECOMMENDED = 2_000
"""Recommendation requests to each process before the soak test: the first ones load numpy, whose memory stays."""
RATED = 300
"""Movies rated in the soak test."""
WORDS = (
    "river",
    "night",
    "love",
    "gold",
    "city",
    "house",
    "king",
    "girl",
    "west",
    "star",
    "day",
    "street",
    "moon",
    "blue",
    "black",
    "last",
    "wild",
    "heart",
    "road",
    "home",
    "war",
    "dark",
    "lady",
    "island",
    "fire",
    "summer",
    "big",
)


class Deployment(Fleet):
    """A fleet with a scheduler and a third party, whose processes are stopped gracefully."""

    def __init__(self, folder: Path, postgres: OwnServer, redis: OwnServer, database_url: str | None = None) -> None:
        super().__init__(folder, database_url or postgres.url, redis.url)
        self.postgres, self.redis = postgres, redis
        port = free_port()
        self.source = f"http://127.0.0.1:{port}"
        self.environ |= {
            "MOVIE_SOURCE_URL": self.source,
            "MOVIE_CACHE_BYTES": CACHE_BYTES,
            "MOVIE_CACHE_FRESH": "5s",
            "MOVIE_SECRET_KEY": SECRET,
            "MOVIE_PUBLIC_SEARCH": "true",
            **{f"MOVIE_LIMIT_{name}": "off" for name in ("SEARCH", "SUGGEST", "EVENTS")},
        }
        self.commands |= {
            "source": [PROGRAM, "upstream", "--port", str(port), "--fail-rate", "0.3", "--latency-ms", "20"],
            "scheduler": [PROGRAM, "scheduler"],
        }

    @property
    def process_names(self) -> list[str]:
        """Returns the names of the deployment's own processes."""
        return [name for names in ROLES.values() for name in names]

    def stop_one(self, name: str) -> tuple[float, int]:
        """Returns the seconds from SIGTERM to the end of the process, and its exit code."""
        began = time.perf_counter()
        self.running[name].terminate()
        code = self.running[name].wait(60)
        return time.perf_counter() - began, code

    def behave(self, **changes: object) -> None:
        """Changes the behaviour of the third party."""
        httpx.post(f"{self.source}/_control", json=changes, trust_env=False, timeout=5).raise_for_status()


@contextmanager
def _deployed() -> Iterator[Deployment]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        deployment = Deployment(folder, stack.enter_context(own_postgres()), stack.enter_context(own_redis()))
        stack.callback(deployment.stop)
        for name in deployment.commands:
            deployment.start(name)
        for port in deployment.ports:
            until_ready(port)
        yield deployment


def until_ready(port: int) -> None:
    """Waits for the readiness probe of an API process. Raises `RuntimeError` after a minute."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        with suppress(httpx.TransportError):
            if httpx.get(f"http://127.0.0.1:{port}/health/ready", trust_env=False, timeout=5).status_code == 200:
                return
        time.sleep(0.02)
    raise RuntimeError("an API process does not become ready")


# --- rolling restarts


def restarting(*, is_full: bool) -> Iterator[Row]:
    """Restarts each process of a role in turn, several times."""
    times = 20 if is_full else 3
    with _deployed() as deployment:
        stops: dict[str, list[tuple[float, int]]] = {role: [] for role in ROLES}

        async def restart(role: str, after: Callable[[str], None]) -> None:
            for _ in range(times):
                for name in ROLES[role]:
                    stops[role].append(await asyncio.to_thread(deployment.stop_one, name))
                    deployment.start(name)
                    await asyncio.to_thread(after, name)

        def wait_for_api(name: str) -> None:
            until_ready(deployment.ports[ROLES["API"].index(name)])

        load = asyncio.run(_under_load(deployment, restart("API", wait_for_api)))
        total = load.ok + load.failed + load.refused
        failed = load.failed + load.refused
        what = f"{times} rolling restarts of the API at {RATE}/s: failed"
        yield Row(what, f"{failed} of {total:,}", "0", not failed)

        def wait_for_work(_: str) -> None:
            time.sleep(2)  # by then it has started to work

        async def restart_rest() -> None:
            await asyncio.gather(restart("worker", wait_for_work), restart("scheduler", wait_for_work))

        registered, sent = asyncio.run(_while_registering(deployment, restart_rest()))
        lost, twice = len(registered - sent.keys()), sum(count - 1 for count in sent.values())
        what = f"{times} of worker and scheduler, {len(registered)} emails: lost, sent twice"
        yield Row(what, f"{lost}, {twice}", "0, 0", not lost and not twice)
        for role, ended in stops.items():
            slowest, codes = max(seconds for seconds, _ in ended), {code for _, code in ended}
            ok = slowest <= STOP_SECONDS and codes == {0}
            figure = f"{slowest:.1f} s, {', '.join(map(str, sorted(codes)))}"
            yield Row(f"{role}: slowest of {len(ended)} stops, exit codes", figure, f"≤ {STOP_SECONDS:.0f} s, 0", ok)


async def _under_load(deployment: Deployment, work: Awaitable[None]) -> Load:
    """Sends requests from five clients until the work ends."""
    working = asyncio.ensure_future(work)
    loads: list[Load] = []
    path = f"{MOVIES}?query=casablanca"
    async with balanced((deployment.ports[0], deployment.ports[1])) as port:
        target = Target("127.0.0.1", port)
        while not working.done():
            clients = (steady(target, rate=RATE // 5, seconds=5, path=path) for _ in range(5))
            loads += await asyncio.gather(*clients)
    await working
    return sum(loads, Load())


async def _while_registering(deployment: Deployment, work: Awaitable[None]) -> tuple[set[str], Counter[str]]:
    """Registers users until the work ends. Returns their addresses and the number of emails sent to each."""
    working = asyncio.ensure_future(work)
    registered: set[str] = set()
    async with httpx.AsyncClient(timeout=20, trust_env=False) as client:
        for number in itertools.count():
            if working.done():
                break
            name = f"mail{number}"
            body = {"email": f"{name}@example.com", "username": name, "password": PASSWORD}
            url = f"http://127.0.0.1:{deployment.ports[number % 2]}{AUTH}register/"
            (await client.post(url, json=body)).raise_for_status()
            registered.add(body["email"])
            await asyncio.sleep(0.1)
    await working
    for _ in range(60):
        sent = Counter(address for mail in deployment.mails() for address in mail["to"])
        if not registered - sent.keys():
            break
        await asyncio.sleep(0.5)
    await asyncio.sleep(2)  # for duplicates
    return registered, Counter(
        address for mail in deployment.mails() for address in mail["to"] if address in registered
    )


# --- soak test


@dataclass
class Samples:
    """Time series of the soak test."""

    at: list[float] = field(default_factory=list)
    memory: dict[str, list[float]] = field(default_factory=dict)
    """Resident memory of each process in MiB."""
    sockets: dict[str, list[float]] = field(default_factory=dict)
    database: list[float] = field(default_factory=list)
    """Our connections to PostgreSQL."""

    def later(self, values: list[float]) -> list[float]:
        return values[int(len(values) * SETTLING) :]


def soaking(*, is_full: bool) -> Iterator[Row]:
    """Sends mixed requests under mixed faults for 2 minutes, or 30 with `is_full`."""
    minutes = 30 if is_full else 2
    with _deployed() as deployment:
        statuses, samples = asyncio.run(_soak(deployment, minutes * 60.0))
    bad = sum(count for status, count in statuses.items() if status >= 500 and status != 503)
    counts_text = ", ".join(f"{status}: {count:,}" for status, count in sorted(statuses.items()))
    print(f"     {minutes} minutes, responses by status: {counts_text}", flush=True)
    yield Row(
        f"{statuses.total():,} requests in {minutes} min: lost, or 5xx except 503",
        f"{bad + statuses[0]}",
        "0",
        bad + statuses[0] == 0,
    )
    hours = [at / 3600 for at in samples.later(samples.at)]
    for name, memory in samples.memory.items():
        slope = _slope(hours, samples.later(memory))
        span = f"{samples.later(memory)[0]:.0f} → {memory[-1]:.0f} MiB"
        goal = "≤ 1 MiB/h" if is_full else "(two minutes are too short)"
        yield Row(f"{name}: growth of its memory ({span})", f"{slope:+.1f} MiB/h", goal, slope <= 1 or not is_full)
    counts = {f"{name}: open sockets": values for name, values in samples.sockets.items()}
    for what, values in (counts | {"connections of PostgreSQL": samples.database}).items():
        later = samples.later(values)
        half = len(later) // 2
        first, last = statistics.median(later[:half]), statistics.median(later[half:])
        yield Row(
            f"{what}: median of first and second half, most",
            f"{first:.0f}, {last:.0f}, {max(values):.0f}",
            "flat",
            last <= first + 2,
        )


def _slope(x: list[float], y: list[float]) -> float:
    """Returns the median slope of all pairs (Theil-Sen estimator), which is robust against single jumps."""
    pairs = itertools.combinations(range(0, len(x), max(1, len(x) // 300)), 2)
    return statistics.median((y[j] - y[i]) / (x[j] - x[i]) for i, j in pairs)


async def _soak(deployment: Deployment, seconds: float) -> tuple[Counter[int], Samples]:
    samples = Samples()
    statuses: Counter[int] = Counter()
    rated = await _fill(deployment)
    end = time.monotonic() + seconds
    work = [_sample(deployment, samples, end), _inject_faults(deployment, end)]
    work += [_simulate_users(deployment, number, statuses, rated, end) for number in range(8)]
    await asyncio.gather(*work)
    return statuses, samples


async def _fill(deployment: Deployment) -> list[str]:
    """Fills everything in the API processes that is bounded by a number of entries: known movies, callers, paths, and
    the modules loaded with the first trained model. Any growth after that is a leak. Returns the ids of movies to rate.
    """
    await asyncio.to_thread(deployment.behave, fail_rate=0, latency_ms=0)
    first, second = deployment.ports
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{first}", timeout=20, trust_env=False) as client:
        tokens = await user(deployment, client, "filler")
        headers = {"Authorization": f"Bearer {tokens['access']}"}
        movie_ids: dict[str, None] = {}
        for query in sorted({word[:length] for word in WORDS for length in range(3, len(word) + 1)}):
            for offset in range(0, 200, 50):
                page = await client.get(MOVIES, params={"query": query, "limit": 50, "offset": offset})
                if page.status_code != 200:
                    break
                movie_ids |= dict.fromkeys(item["id"] for item in page.json()["items"])
        await asyncio.sleep(1)  # until they are stored
        movies = list(movie_ids)
        for movie in movies[:RATED]:
            rated = await client.put(f"{MOVIES}{movie}/rating/", headers=headers, json={"rating": len(movie) % 10 + 1})
            rated.raise_for_status()
    training = await asyncio.create_subprocess_exec(
        PROGRAM, "recommend", "train", cwd=deployment.folder, env=deployment.environ
    )
    assert await training.wait() == 0
    issuer = JwtAccessTokens(Keyring((SECRET,)), issuer=deployment.environ["MOVIE_PUBLIC_URL"])
    access = issuer.read(tokens["access"])
    access_tokens = [issuer.issue(replace(access, token_id=new_id())) for _ in range(TOKENS)]
    for port in (first, second):
        requests = [request_of("/api/v1/users/me/", token) for token in access_tokens]
        requests += [
            request_of(f"{MOVIES}{movie}/", access_tokens[0])
            for movie in itertools.islice(itertools.cycle(movies), PATHS)
        ]
        requests += [request_of("/api/v1/recommendations/", access_tokens[0])] * RECOMMENDED
        done = await hammer(port, iter(requests), 300, lambda: 0.0)
        assert set(done.statuses) == {200}, done.statuses
    await asyncio.to_thread(deployment.behave, fail_rate=0.3, latency_ms=20)
    return movies[:RATED]


async def _sample(deployment: Deployment, samples: Samples, end: float) -> None:
    names = ("api 1", "api 2", "worker 1", "scheduler")
    began = time.monotonic()
    while (now := time.monotonic()) < end:
        with suppress(OSError, asyncpg.PostgresError):
            connection = await asyncpg.connect(deployment.postgres.url.replace("+asyncpg", ""), timeout=5)
            count_connections = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'movie-search'"
            samples.database.append(float(await connection.fetchval(count_connections)))
            await connection.close()
        for name in names:
            process = Path("/proc", str(deployment.running[name].pid))
            pages = int((process / "statm").read_text().split()[1])
            samples.memory.setdefault(name, []).append(pages * os.sysconf("SC_PAGE_SIZE") / 2**20)
            samples.sockets.setdefault(name, []).append(float(_sockets(process)))
        samples.at.append(now - began)
        await asyncio.sleep(SAMPLE_SECONDS)


def _sockets(process: Path) -> int:
    count = 0
    for file in (process / "fd").iterdir():
        with suppress(OSError):  # closed in the meantime
            count += file.readlink().name.startswith("socket:")
    return count


async def _inject_faults(deployment: Deployment, end: float) -> None:
    """Injects one fault after the other, for a few seconds each."""

    async def source(**changes: object) -> None:
        await asyncio.to_thread(deployment.behave, **changes)
        await asyncio.sleep(8)
        await asyncio.to_thread(deployment.behave, fail_rate=0.3, latency_ms=20, faults=["400", "502"])

    async def freeze(send_signal: Callable[[signal.Signals], Any], seconds: float) -> None:
        send_signal(signal.SIGSTOP)
        await asyncio.sleep(seconds)
        send_signal(signal.SIGCONT)

    async def flush_redis() -> None:
        with suppress(RedisError), Redis.from_url(deployment.redis.url) as client:
            client.flushall()

    async def disconnect_database() -> None:
        with suppress(OSError, asyncpg.PostgresError):
            connection = await asyncpg.connect(deployment.postgres.url.replace("+asyncpg", ""), timeout=5)
            await connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'movie-search'"
            )
            await connection.close()

    async def kill_worker() -> None:
        deployment.running["worker 2"].kill()
        await asyncio.to_thread(deployment.running["worker 2"].wait)
        deployment.start("worker 2")

    faults: list[Callable[[], Awaitable[None]]] = [
        lambda: source(fail_rate=1.0),
        lambda: freeze(deployment.redis.signal, 3),
        lambda: source(fail_rate=0.5, faults=["hang", "reset", "503"]),
        lambda: freeze(deployment.running["smtp"].send_signal, 5),
        flush_redis,
        disconnect_database,
        lambda: source(latency_ms=900),
        lambda: freeze(deployment.postgres.signal, 2),
        kill_worker,
    ]
    for fault in itertools.cycle(faults):
        if time.monotonic() + 12 > end:
            return
        await fault()
        await asyncio.sleep(4)


async def _simulate_users(
    deployment: Deployment, number: int, statuses: Counter[int], rated: Sequence[str], end: float
) -> None:
    """Simulates one user after the other: registers, uses all features, logs out; about ten requests per second."""
    rng = random.Random(number)
    limits = httpx.Limits(max_connections=2)
    async with httpx.AsyncClient(timeout=20, trust_env=False, limits=limits) as client:

        async def ask(method: str, path: str, **rest: Any) -> httpx.Response | None:
            url = f"http://127.0.0.1:{deployment.ports[rng.randrange(2)]}{path}"
            await asyncio.sleep(0.08)
            try:
                response = await client.request(method, url, **rest)
            except httpx.TransportError as error:
                print(f"     lost: {method} {path}: {error!r}", flush=True)
                statuses[0] += 1
                return None
            statuses[response.status_code] += 1
            if response.status_code >= 500 and response.status_code != 503:
                print(f"     {response.status_code}: {method} {path}: {response.text}", flush=True)
            return response

        for count in itertools.count():
            name = f"soak{number}x{count}"
            user = {"email": f"{name}@example.com", "password": PASSWORD}
            await ask("POST", f"{AUTH}register/", json=user | {"username": name})
            links: list[str] = []
            while not links and time.monotonic() < end:
                await asyncio.sleep(1)
                links = [m["links"][0] for m in deployment.mails() if user["email"] in m["to"]]
                await ask("GET", f"{MOVIES}?query={rng.choice(WORDS)}")
            activated = await ask("POST", httpx.URL(links[0]).path) if links else None
            if activated is None or activated.status_code != 200:
                activated = await ask("POST", f"{AUTH}login/", json=user)
            if time.monotonic() >= end:
                return
            if activated is None or activated.status_code != 200:
                continue
            await _use(ask, activated.json(), rng, rated, end)


async def _use(
    ask: Callable[..., Awaitable[httpx.Response | None]],
    tokens: dict[str, str],
    rng: random.Random,
    rated: Sequence[str],
    end: float,
) -> None:
    for _ in range(400):
        if time.monotonic() >= end:
            return
        headers = {"Authorization": f"Bearer {tokens['access']}"}
        draw = rng.random()
        movie = rng.choice(rated)
        if draw < 0.55:
            word = rng.choice(WORDS)
            query = word[: rng.randint(3, len(word))]
            path = f"{MOVIES}?query={query}&limit=10&offset={10 * rng.randrange(20)}"
            await ask("GET", path, headers=headers)
        elif draw < 0.65:
            await ask("GET", f"{MOVIES}suggest/?query={rng.choice(WORDS)[:3]}", headers=headers)
        elif draw < 0.72:
            await ask("GET", f"{MOVIES}{movie}/", headers=headers)
        elif draw < 0.80:
            await ask("PUT", f"{MOVIES}{movie}/rating/", headers=headers, json={"rating": rng.randint(1, 10)})
        elif draw < 0.86:
            event = {"type": "click", "movie_id": movie, "query": "river", "position": 1}
            await ask("POST", "/api/v1/events/", headers=headers, json=[event])
        elif draw < 0.89:
            await ask("GET", "/api/v1/recommendations/", headers=headers)
        elif draw < 0.92:
            await ask("GET", f"{MOVIES}trending/", headers=headers)
        elif draw < 0.95:
            await ask("GET", f"{MOVIES}?query=x", headers={"Authorization": "Bearer forged"})
        elif draw < 0.97:
            await ask("POST", "/api/v1/events/", headers=headers | {"Content-Type": "application/json"}, content=b"[{")
        else:
            renewed = await ask("POST", f"{AUTH}jwt/token/refresh/", json={"refresh": tokens["refresh"]})
            if renewed is not None and renewed.status_code == 200:
                tokens = renewed.json()
    await ask("POST", f"{AUTH}logout/", headers={"Authorization": f"Bearer {tokens['access']}"})
