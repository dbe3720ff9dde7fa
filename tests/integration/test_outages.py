"""Two API processes during outages of PostgreSQL and Redis: stopped, frozen, without data, full, and recovered."""

import asyncio
import contextlib
import random
import signal
from collections.abc import AsyncIterator, Iterator

import asyncpg
import httpx
import pytest
from redis import Redis
from tests.support.deployment import PATIENCE, Fleet, Scene, eventually, redis_fault, state
from tests.support.servers import OwnServer, own_postgres, own_redis

from movie_core.search.movies import Movie
from movie_standin.faults import Behaviour
from movie_standin.server import StandInServer, running_standin

MOVIES = [Movie(id=str(n), title=f"River {n:05}") for n in range(1, 5001)]
AUTH = "/api/v1/authentication/"
ME = "/api/v1/users/me/"
LOGIN = {"email": "ann@example.com", "password": "copper lantern walks home"}


@pytest.fixture(scope="module")
def database() -> Iterator[OwnServer]:
    with own_postgres() as server:
        yield server


@pytest.fixture(scope="module")
def redis() -> Iterator[OwnServer]:
    with own_redis() as server:
        yield server


@pytest.fixture(scope="module")
def fleet(
    database: OwnServer, redis: OwnServer, source_port: int, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Fleet]:
    """Two API processes and an active account."""
    fleet = Fleet(
        tmp_path_factory.mktemp("outages"),
        MOVIE_DATABASE_URL=database.url,
        MOVIE_REDIS_URL=redis.url,
        MOVIE_SOURCE_URL=f"http://127.0.0.1:{source_port}",
        MOVIE_SOURCE_TIMEOUT="2500ms",
        MOVIE_PUBLIC_SEARCH="false",
    )
    try:
        fleet.begin(2)
        url = f"http://127.0.0.1:{fleet.ports[0]}{AUTH}register/"
        httpx.post(url, json={**LOGIN, "username": "ann"}, trust_env=False).raise_for_status()
        assert fleet.run("users", "activate", LOGIN["email"]).returncode == 0
        yield fleet
    finally:
        fleet.end()


@pytest.fixture
async def upstream(source_port: int) -> AsyncIterator[StandInServer]:
    async with running_standin(MOVIES, Behaviour(fail_rate=0, latency_ms=0), port=source_port) as upstream:
        yield upstream


@pytest.fixture
async def scene(fleet: Fleet, upstream: StandInServer) -> AsyncIterator[Scene]:
    """A scene whose clients are logged in."""
    url = f"http://127.0.0.1:{fleet.ports[0]}{AUTH}login/"
    async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE) as client:
        token = (await client.post(url, json=LOGIN)).raise_for_status().json()["access"]
    scene = Scene(fleet, upstream, token)
    await scene.complete()
    await until_shared(scene)
    yield scene
    await scene.close()


async def until_shared(scene: Scene) -> None:
    """Waits until both processes share their cached responses."""

    async def is_shared(here: int, there: int) -> bool:
        query = scene.cold()
        return (state(await scene.search(query, here)), state(await scene.search(query, there))) == ("live", "fresh")

    await eventually(lambda: is_shared(0, 1))
    await eventually(lambda: is_shared(1, 0))


async def until_logged_in(scene: Scene) -> None:
    """Waits until a login succeeds at each process."""
    for at in range(len(scene.clients)):

        async def succeeds(at: int = at) -> bool:
            return (await log_in(scene, at)).status_code == 200

        await eventually(succeeds)


def bearer(tokens: dict[str, str]) -> dict[str, str]:
    return {"Authorization": f"Bearer {tokens['access']}"}


async def log_in(scene: Scene, at: int = 0) -> httpx.Response:
    return await scene.clients[at].post(AUTH + "login/", json=LOGIN)


async def register(scene: Scene, at: int = 0) -> httpx.Response:
    name = f"u{next(scene.fleet.numbers)}"
    account = {"email": f"{name}@example.com", "username": name, "password": LOGIN["password"]}
    return await scene.clients[at].post(AUTH + "register/", json=account)


async def check_tokens_rejected(scene: Scene, tokens: dict[str, str]) -> None:
    """Checks that both processes reject the tokens after a logout."""
    for at in (0, 1):

        async def is_rejected(at: int = at) -> bool:
            return (await scene.search("river", at, headers=bearer(tokens))).status_code == 401

        await eventually(is_rejected)
    refused = await scene.clients[1].post(AUTH + "jwt/token/refresh/", json={"refresh": tokens["refresh"]})
    assert (refused.status_code, refused.json()["code"]) == (401, "invalid_token")


async def check_searches(scene: Scene, warm: str) -> None:
    """Checks cached and new queries at each process."""
    before = scene.upstream.total_calls
    for at in (0, 1):
        assert state(await scene.search(warm, at)) == "fresh"
    for at in (0, 1) * 31:
        assert state(await scene.search(scene.cold(), at)) == "live"
        assert state(await scene.search(warm, at)) == "fresh"
    assert scene.upstream.total_calls == before + 62


async def check_accounts(scene: Scene) -> dict[str, str]:
    """Checks login, refresh, registration and logout. Returns tokens of an ended session."""
    tokens = (await log_in(scene)).raise_for_status().json()
    refreshed = await scene.clients[1].post(AUTH + "jwt/token/refresh/", json={"refresh": tokens["refresh"]})
    assert refreshed.status_code == 200
    assert (await register(scene, 1)).status_code == 201
    tokens = dict(refreshed.json())
    assert (await scene.search("river", headers=bearer(tokens))).status_code == 200
    assert (await scene.clients[0].post(AUTH + "logout/", headers=bearer(tokens))).status_code == 200
    await check_tokens_rejected(scene, tokens)
    return tokens


async def check_readiness(scene: Scene, *unavailable: str) -> None:
    """Checks that readiness comes to report exactly these dependencies as down, and that the processes stay live."""
    for client in scene.clients:

        async def is_reported(client: httpx.AsyncClient = client) -> bool:
            answer = await client.get("/health/ready")
            assert answer.status_code == 200
            assert (await client.get("/health/live")).status_code == 200
            parts = {name: part["status"] for name, part in answer.json().items() if name != "status"}
            down = {name for name in ("database", "source", "redis") if parts.get(name) != "up"}
            assert answer.json()["status"] == ("degraded" if down else "ready")
            return down == set(unavailable)

        await eventually(is_reported)


# --- Redis


@pytest.mark.parametrize("kind", ["stopped", "frozen", "read-only", "full"])
async def test_nothing_fails_while_redis_is_unavailable(scene: Scene, redis: OwnServer, kind: str) -> None:
    warm = scene.cold()
    for at in (0, 0, 1, 1):
        await scene.search(warm, at)
    with redis_fault(redis, kind):
        await check_searches(scene, warm)
        ended = await check_accounts(scene)
        if kind in {"stopped", "frozen"}:
            await check_readiness(scene, "redis")
    await until_shared(scene)
    await check_tokens_rejected(scene, ended)
    await check_readiness(scene)


async def test_a_redis_flush_under_load_fails_no_request(scene: Scene, redis: OwnServer) -> None:
    tokens = (await log_in(scene)).json()
    await scene.clients[0].post(AUTH + "logout/", headers=bearer(tokens))
    warm = scene.cold()

    async def search(at: int) -> set[int]:
        return {(await scene.search(query, at)).status_code for _ in range(40) for query in (warm, scene.cold())}

    searching = asyncio.gather(*(search(n % 2) for n in range(8)))
    while not searching.done():
        with Redis.from_url(redis.url) as client:
            client.flushall()
        await asyncio.sleep(0.1)
    assert set().union(*await searching) == {200}
    await check_tokens_rejected(scene, tokens)
    await check_accounts(scene)
    await until_shared(scene)


# --- PostgreSQL


@pytest.mark.parametrize("kind", ["stopped", "frozen"])
async def test_search_continues_and_writes_are_rejected_without_the_database(
    scene: Scene, database: OwnServer, kind: str
) -> None:
    warm = scene.cold()
    for at in (0, 0, 1, 1):
        await scene.search(warm, at)
    ended, unseen = [(await log_in(scene)).json() for _ in range(2)]
    await scene.clients[0].post(AUTH + "logout/", headers=bearer(ended))
    await check_tokens_rejected(scene, ended)
    if kind == "stopped":
        await asyncio.to_thread(database.stop)
    else:
        database.signal(signal.SIGSTOP)
    try:
        await check_searches(scene, warm)
        for at in (0, 1):
            assert (await scene.search("river", at, headers=bearer(ended))).status_code == 401
            assert (await scene.search(warm, at, headers=bearer(unseen))).status_code == 200
        refreshing = scene.clients[1].post(AUTH + "jwt/token/refresh/", json={"refresh": unseen["refresh"]})
        for writing in (log_in(scene), log_in(scene, 1), register(scene), register(scene, 1), refreshing):
            answer = await writing
            assert (answer.status_code, answer.json()["code"]) == (503, "store_unavailable")
            assert int(answer.headers["retry-after"]) >= 1
        await check_readiness(scene, "database")
    finally:
        if kind == "stopped":
            await asyncio.to_thread(database.start)
        else:
            database.signal(signal.SIGCONT)
    await until_logged_in(scene)
    assert (await register(scene)).status_code == 201
    await check_tokens_rejected(scene, ended)
    await check_readiness(scene)


async def test_an_unavailable_source_is_reported_but_the_process_stays_live(scene: Scene) -> None:
    await scene.upstream.refuse()
    await check_readiness(scene, "source")
    await scene.upstream.start()
    await check_readiness(scene)


# --- clients that disconnect


async def test_2000_aborted_requests_leak_no_task_or_connection(
    scene: Scene, database: OwnServer, redis: OwnServer
) -> None:
    rng = random.Random(7)
    scene.upstream.behave(Behaviour(fail_rate=0, latency_ms=5))
    known = [scene.cold() for _ in range(100)]
    for query in known:
        await scene.search(query)

    def target() -> str:
        query = scene.cold() if rng.random() < 0.5 else rng.choice(known)
        search = f"/api/v1/movies/?query={query.replace(' ', '+')}"
        return rng.choice((search, search, f"/api/v1/movies/{rng.randint(1, 100)}/", ME, AUTH + "sessions/"))

    async def abort_requests(count: int, at: int) -> None:
        for _ in range(count):
            _, writer = await asyncio.open_connection("127.0.0.1", scene.fleet.ports[at])
            head = f"GET {target()} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {scene.token}\r\n\r\n"
            writer.write(head.encode())
            await asyncio.sleep(rng.random() ** 2 * 0.03)
            writer.transport.abort()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    await asyncio.gather(*(abort_requests(100, n % 2) for n in range(20)))

    async def own_answer(number: int) -> None:
        client = scene.clients[number % 2]
        query = known[number] if number % 2 else scene.cold()
        found: list[httpx.Response] = []

        async def is_found() -> bool:
            found.append(await scene.search(query, number // 2 % 2))
            # 503 or a fallback, while the processes are busy with the aborted requests
            return found[-1].status_code == 200 and state(found[-1]) != "fallback"

        await eventually(is_found)
        assert [item["title"] for item in found[-1].json()["items"]] == [query.title()]
        profile = await client.get(ME)
        assert (profile.status_code, profile.json().get("email")) == (200, LOGIN["email"])

    await asyncio.gather(*(own_answer(number) for number in range(100)))
    connection = await asyncpg.connect(database.url.replace("+asyncpg", ""))
    try:

        async def are_idle() -> bool:
            return await connection.fetchval(BUSY_CONNECTIONS) == 0

        await eventually(are_idle)
        assert await connection.fetchval(ALL_CONNECTIONS) <= 2 * 10, "more than the connection pools hold"
    finally:
        await connection.close()
    with Redis.from_url(redis.url) as client:
        assert len(client.client_list()) <= 2 * 12
    assert not any("Traceback" in program.output() for program in scene.fleet.programs)


ALL_CONNECTIONS = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'movie-search'"
BUSY_CONNECTIONS = f"{ALL_CONNECTIONS} AND state <> 'idle'"
