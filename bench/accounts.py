"""Accounts under load and process kills: two API processes and two workers on PostgreSQL and Redis, one SMTP sink.

Everything is a process of its own, so that killing one is realistic.
"""

import asyncio
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
from tests.support.servers import free_port, postgres_database, postgres_server, redis_server

from bench.rows import Row

ROOT = Path(__file__).parents[1]
PROGRAM = Path(sys.executable).with_name("movie-search")
AUTH = "/api/v1/authentication/"
PASSWORD = "copper lantern walks home"
KILL_SECONDS = 1.5
"""Average seconds between two kills."""


class Fleet:
    """The processes of a deployment; each can be killed and restarted."""

    def __init__(self, folder: Path, database_url: str, redis_url: str) -> None:
        self.folder = folder
        self.ports = [free_port(), free_port()]
        self.record = folder / "mails.jsonl"
        self.smtp_port = free_port()
        environ = {name: value for name, value in os.environ.items() if not name.startswith("MOVIE_")}
        self.environ = environ | {
            "MOVIE_DATABASE_URL": database_url,
            "MOVIE_REDIS_URL": redis_url,
            "MOVIE_SMTP_URL": f"smtp://127.0.0.1:{self.smtp_port}",
            "MOVIE_PUBLIC_URL": f"http://127.0.0.1:{self.ports[0]}",
            "MOVIE_LIMIT_LOGIN": "off",
            "MOVIE_LIMIT_REGISTER": "off",
            "MOVIE_LIMIT_MAIL": "off",
            "MOVIE_LOG_FORMAT": "json",
            "PYTHONPATH": str(ROOT),
        }
        self.commands: dict[str, list[str | Path]] = {
            "smtp": [
                sys.executable,
                ROOT / "tests" / "support" / "smtp_sink.py",
                "--port",
                str(self.smtp_port),
                "--record",
                self.record,
            ],
            "worker 1": [PROGRAM, "worker"],
            "worker 2": [PROGRAM, "worker"],
            **{f"api {n}": [PROGRAM, "serve", "--port", str(port)] for n, port in enumerate(self.ports, 1)},
        }
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            self.running[name] = subprocess.Popen(
                self.commands[name],
                cwd=self.folder,
                env=self.environ,
                stdout=log,
                stderr=log,
            )

    def stop(self) -> None:
        for process in self.running.values():
            process.terminate()
        for process in self.running.values():
            with suppress(subprocess.TimeoutExpired):
                process.wait(15)
            process.kill()
            process.wait()

    def mails(self) -> list[dict[str, Any]]:
        """Returns the messages accepted by the sink; a kill may have truncated the last line."""
        accepted = []
        for line in self.record.read_bytes().splitlines() if self.record.exists() else ():
            with suppress(ValueError):
                accepted.append(json.loads(line))
        return accepted


def accounts(*, is_full: bool) -> Iterator[Row]:
    """Runs all measurements on one deployment."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        database_url = stack.enter_context(postgres_database(stack.enter_context(postgres_server())))
        fleet = Fleet(folder, database_url, stack.enter_context(redis_server()))
        stack.callback(fleet.stop)
        for name in fleet.commands:
            fleet.start(name)
        rows: list[Row] = []
        for measure in (_logins, _sessions, _registrations, _kills):
            rows += asyncio.run(measure(fleet, is_full))
            yield from rows
            rows.clear()


@asynccontextmanager
async def _clients(fleet: Fleet) -> AsyncIterator[list[httpx.AsyncClient]]:
    clients = [
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=20, trust_env=False) for port in fleet.ports
    ]
    for client in clients:
        while True:
            with suppress(httpx.TransportError):
                if (await client.get("/health/live")).status_code == 200:
                    break
            await asyncio.sleep(0.1)
    yield clients
    for client in clients:
        await client.aclose()


async def user(fleet: Fleet, client: httpx.AsyncClient, name: str) -> dict[str, Any]:
    """Registers and activates a user. Returns the tokens."""
    await client.post(AUTH + "register/", json={"email": f"{name}@example.com", "username": name, "password": PASSWORD})
    while not (mails := [mail for mail in fleet.mails() if f"{name}@example.com" in str(mail["to"])]):  # noqa: ASYNC110
        await asyncio.sleep(0.1)
    return dict((await client.post(mails[0]["links"][0])).json())


async def _logins(fleet: Fleet, is_full: bool) -> list[Row]:
    from argon2 import PasswordHasher

    async with _clients(fleet) as clients:
        client = clients[0]
        await user(fleet, client, "ann")

        async def log_in(address: str, password: str) -> float:
            began = time.perf_counter()
            await client.post(AUTH + "login/", json={"email": address, "password": password})
            return time.perf_counter() - began

        hasher = PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1)
        hashed = hasher.hash(PASSWORD)
        times: dict[str, list[float]] = {"known": [], "unknown": [], "right": [], "hash": []}
        pairs = 2000 if is_full else 400
        for number in range(pairs):
            cases = [("known", "ann@example.com"), ("unknown", f"u{number % 97}@example.com")]
            random.shuffle(cases)
            for case, address in cases:
                times[case].append(await log_in(address, "not the right one"))
            if number % 4 == 0:
                times["right"].append(await log_in("ann@example.com", PASSWORD))
                began = time.perf_counter()
                hasher.verify(hashed, PASSWORD)
                times["hash"].append(time.perf_counter() - began)
        area = _area_under_curve(times["known"], times["unknown"])
        ratio = statistics.median(times["right"]) / statistics.median(times["hash"])
        gap = abs(statistics.median(times["known"]) - statistics.median(times["unknown"])) * 1e3
        rows = [
            Row(f"login, known or unknown, {pairs} pairs: AUC", f"{area:.3f}", "0.50 ± .03", abs(area - 0.5) <= 0.03),
            Row("the same: gap of medians", f"{gap:.2f} ms", "≤ 0.5 ms", gap <= 0.5),
            Row("duration of a login, as a multiple of the hash", f"{ratio:.2f}", "≤ 1.25", ratio <= 1.25),
        ]  # fmt: skip
        access = (await client.post(AUTH + "login/", json={"email": "ann@example.com", "password": PASSWORD})).json()
        idle = await _search_p99(client, access)
        # From a process of its own: otherwise the load of this client process would be measured.
        burst = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "bench.accounts", str(client.base_url), cwd=ROOT, stdout=subprocess.PIPE
        )
        assert burst.stdout is not None
        await burst.stdout.readline()
        busy = await _search_p99(client, access)
        await burst.wait()
        rows.append(Row("search p99 during 200 logins / idle", f"{busy / idle:.2f}", "≤ 2", busy <= 2 * idle))
        return rows


async def _search_p99(client: httpx.AsyncClient, tokens: dict[str, Any]) -> float:
    times = []
    for _ in range(300):
        began = time.perf_counter()
        await client.get("/api/v1/movies/?query=casablanca", headers={"Authorization": f"Bearer {tokens['access']}"})
        times.append(time.perf_counter() - began)
    return statistics.quantiles(times, n=100)[98]


def _area_under_curve(first: list[float], second: list[float]) -> float:
    """Returns the probability that a time in `first` exceeds one in `second` (area under the ROC curve)."""
    ranked = sorted([(value, 0) for value in first] + [(value, 1) for value in second])
    rank_sum = sum(rank for rank, (_, which) in enumerate(ranked, 1) if which == 0)
    return (rank_sum - len(first) * (len(first) + 1) / 2) / (len(first) * len(second))


async def _sessions(fleet: Fleet, _: bool) -> list[Row]:
    async with _clients(fleet) as clients:
        slowest, successors, all_succeeded = 0.0, set(), True
        for round_ in range(10):
            tokens = await user(fleet, clients[0], f"session{round_}")
            headers = {"Authorization": f"Bearer {tokens['access']}"}
            for client in clients:
                await client.get("/api/v1/users/me/", headers=headers)
            refreshed = await asyncio.gather(
                *(
                    clients[n % 2].post(AUTH + "jwt/token/refresh/", json={"refresh": tokens["refresh"]})
                    for n in range(100)
                )
            )
            successors.add(len({answer.json().get("refresh") for answer in refreshed}))
            all_succeeded &= all(answer.status_code == 200 for answer in refreshed)
            await clients[0].post(AUTH + "logout/", headers=headers)
            began = time.perf_counter()
            while (await clients[1].get("/api/v1/movies/?query=x", headers=headers)).status_code != 401:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            slowest = max(slowest, time.perf_counter() - began)
        is_single = successors == {1} and all_succeeded
        return [
            Row("100 refreshes of one token at once, 10 times: successors", str(max(successors)), "1", is_single),
            Row("a logout reaches the other process, slowest of 10", f"{slowest:.2f} s", "≤ 1 s", slowest <= 1),
        ]


async def _registrations(fleet: Fleet, is_full: bool) -> list[Row]:
    """Response times of routes that must not reveal whether an address is registered; taken and free addresses have the
    same history here."""
    pairs = 1000 if is_full else 300
    rows = []
    async with _clients(fleet) as clients:
        for route in ("register", "password/forgot", "verify-email/resend"):
            times: dict[str, list[float]] = {"session": [], "fresh": []}
            for number in range(-20, pairs):
                cases = ["session", "fresh"]
                random.shuffle(cases)
                for case in cases:
                    body = {"email": f"{case}{number % 10}@example.com"}
                    if route == "register":
                        body |= {"username": f"{case} {number % 10} {number}", "password": PASSWORD}
                    began = time.perf_counter()
                    await clients[0].post(f"{AUTH}{route}/", json=body)
                    if number >= 0:
                        times[case].append(time.perf_counter() - began)
            area = _area_under_curve(times["session"], times["fresh"])
            rows.append(
                Row(
                    f"{route}, taken or free, {pairs} pairs: AUC",
                    f"{area:.3f}",
                    "0.50 ± .03",
                    abs(area - 0.5) <= 0.03,
                )
            )
    return rows


async def _kills(fleet: Fleet, is_full: bool) -> list[Row]:
    amount = 10_000 if is_full else 1_000
    done: set[str] = set()
    kills: Counter[str] = Counter()
    names = iter(range(amount))
    async with _clients(fleet) as clients:
        before = -1
        while before != (count := len(fleet.mails())):  # emails requested earlier arrive first
            before = count
            await asyncio.sleep(6)

        async def register_some() -> None:
            for number in names:
                address = f"load{number}@example.com"
                body = {"email": address, "username": f"load{number}", "password": PASSWORD}
                with suppress(httpx.TransportError):
                    answer = await clients[number % 2].post(AUTH + "register/", json=body)
                    if answer.status_code == 201:
                        done.add(address)

        async def kill_some() -> None:
            while True:
                await asyncio.sleep(random.uniform(0.5, 2 * KILL_SECONDS - 0.5))
                name = random.choice(["smtp", "worker 1", "worker 2", "redis"])
                kills["redis frozen and flushed" if name == "redis" else name.split()[0]] += 1
                if name == "redis":
                    await asyncio.to_thread(_freeze_redis, fleet.environ["MOVIE_REDIS_URL"])
                    continue
                process = fleet.running[name]
                process.send_signal(random.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM]))
                await asyncio.to_thread(process.wait)
                await asyncio.sleep(random.uniform(0, 1))
                fleet.start(name)

        killing = asyncio.create_task(kill_some())
        await asyncio.gather(*(register_some() for _ in range(8)))
        killing.cancel()
        await asyncio.gather(killing, return_exceptions=True)
        for name, process in fleet.running.items():
            if process.poll() is not None:
                fleet.start(name)
        ended = time.perf_counter()
        while time.perf_counter() - ended < 90:
            accepted = fleet.mails()[before:]
            missing = done - {address for mail in accepted for address in mail["to"]}
            if not missing:
                break
            await asyncio.sleep(0.5)
        waited = time.perf_counter() - ended
    ids: dict[str, set[str]] = {}
    for mail in accepted:
        ids.setdefault(mail["to"][0], set()).add(mail["message_id"])
    # A registration whose response was lost may have been stored: its email is not a ghost.
    requested = {f"load{number}@example.com" for number in range(amount)}
    ghosts = len(ids.keys() - requested)
    duplicates, allowed = len(accepted) - len(ids), max(2, 20 * amount // 10_000)
    other_ids = sum(len(one) > 1 for one in ids.values())
    killed = ", ".join(f"{count} {name}" for name, count in sorted(kills.items()))
    return [
        Row(f"{len(done)} registrations, kills: {killed}: emails lost", str(len(missing)), "0", not missing),
        Row("the same: ghost emails", str(ghosts), "0", not ghosts),
        Row("the same: emails delivered twice", str(duplicates), f"≤ {allowed}", duplicates <= allowed),
        Row("the same: of these with another Message-ID", str(other_ids), "0", not other_ids),
        Row("the same: last email after the last registration", f"{waited:.1f} s", "≤ 30 s", waited <= 30),
    ]  # fmt: skip


def _freeze_redis(url: str) -> None:
    """Freezes Redis for a second and then deletes its data."""
    from redis import Redis
    from redis.exceptions import RedisError

    with suppress(RedisError), Redis.from_url(url) as client:
        client.execute_command("CLIENT", "PAUSE", "1000", "ALL")
    with suppress(RedisError), Redis.from_url(url) as client:
        client.flushall()


async def _burst(url: str) -> None:
    """Sends 200 concurrent logins; prints a line when they start."""
    async with httpx.AsyncClient(base_url=url, timeout=60, trust_env=False, limits=httpx.Limits()) as client:
        body = {"email": "ann@example.com", "password": PASSWORD}
        print(flush=True)
        await asyncio.gather(*(client.post(AUTH + "login/", json=body) for _ in range(200)))


if __name__ == "__main__":
    asyncio.run(_burst(sys.argv[1]))
