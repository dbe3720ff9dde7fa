"""Metrics, traces and logs of running processes; none of them contains a secret."""

import asyncio
import contextlib
import json
import re
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from prometheus_client.parser import text_string_to_metric_families
from tests.support.deployment import AUTH, LIMITS_OFF, ME, PATIENCE, Program, Start, eventually
from tests.support.servers import free_port
from tests.support.smtp_sink import SmtpSink
from tests.support.tmdb_standin import TOKEN, TmdbStandin, failure, made_up_movies

MOVIES = "/api/v1/movies/"
CALLER = "203.0.113.77"
PASSWORDS = ("canary lantern walks home", "canary harbour quill tundra", "canary thicket moves slowly")
SMTP_PASSWORD = "canary-of-the-mail-server"
DATABASE_PASSWORD = "canary-of-the-database"
SECRET = "canary that signs all tokens of this test"
QUERY = "canary query"
ODD = "odd\r\n\x1b[31m\u2028name"


class Collector:
    """Receives spans by OTLP over HTTP."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(EOFError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            length = re.search(r"content-length: (\d+)", head)
            assert length is not None
            self.bodies.append(await reader.readexactly(int(length[1])))
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            await writer.drain()

    def names(self) -> set[str]:
        names = set()
        for body in self.bodies:
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                names |= {span.name for scope in resource.scope_spans for span in scope.spans}
        return names


@asynccontextmanager
async def collector() -> AsyncIterator[tuple[Collector, str]]:
    collector = Collector()
    server = await asyncio.start_server(collector, "127.0.0.1", 0)
    try:
        yield collector, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


async def until(holds: Callable[[], bool]) -> None:
    async def is_true() -> bool:
        return holds()

    await eventually(is_true)


async def started(program: Program, pattern: str) -> None:
    await asyncio.to_thread(program.wait_for, pattern)


def readings(text: str) -> dict[str, float]:
    """Values, summed over processes and labels other than `state`, `outcome` and `task`."""
    sums: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = [sample.labels[label] for label in ("task", "state", "outcome") if label in sample.labels]
            name = " ".join([sample.name, *labels])
            sums[name] = sums.get(name, 0) + sample.value
    return sums


async def test_a_whole_journey_leaves_no_secret_in_logs_metrics_or_traces(
    start: Start, database_url: str, redis_url: str
) -> None:
    ports = {name: free_port() for name in ("api", "worker")}
    url = f"http://127.0.0.1:{ports['api']}"
    secrets = [*PASSWORDS, SMTP_PASSWORD, DATABASE_PASSWORD, SECRET, TOKEN, QUERY, QUERY.replace(" ", "%20")]
    programs: list[Program] = []
    async with (
        TmdbStandin(made_up_movies(40)) as source,
        SmtpSink(login=("ann", SMTP_PASSWORD)) as sink,
        collector() as (spans, collector_url),
        httpx.AsyncClient(base_url=url, timeout=PATIENCE, trust_env=False, headers={"x-forwarded-for": CALLER}) as api,
    ):
        environ = {
            **LIMITS_OFF,
            "MOVIE_LOG_FORMAT": "json",
            "MOVIE_PUBLIC_URL": url,
            "MOVIE_TRUSTED_PROXIES": "127.0.0.1",
            "MOVIE_SECRET_KEY": SECRET,
            "MOVIE_DATABASE_URL": re.sub(r"//([^:/@]+)@", rf"//\1:{DATABASE_PASSWORD}@", database_url),
            "MOVIE_REDIS_URL": redis_url,
            "MOVIE_SOURCE": "tmdb",
            "MOVIE_SOURCE_URL": source.url,
            "MOVIE_SOURCE_TOKEN": TOKEN,
            "MOVIE_SMTP_URL": f"smtp://ann:{SMTP_PASSWORD}@127.0.0.1:{sink.port}",
            "MOVIE_METRICS_LISTEN": f"127.0.0.1:{ports['worker']}",
            "MOVIE_OTLP_URL": collector_url,
        }
        sink.answers["greeting"] = f"421 {PASSWORDS[0][:6]} later"  # unavailable at first
        programs = [
            start("serve", "--workers", "2", "--port", str(ports["api"]), **environ),
            start("worker", **environ),
            start("scheduler", **environ),
        ]
        await started(programs[0], "serving tmdb")
        await started(programs[1], "worker started")

        ann = {"email": "ann@example.com", "username": "ann", "password": PASSWORDS[0]}
        login = {"email": ann["email"], "password": ann["password"]}
        assert (await api.post(AUTH + "register/", json=ann)).status_code == 201
        await until(lambda: "email delivery unavailable" in programs[1].output())
        sink.answers.clear()
        await until(lambda: len(sink.mails) == 1)
        link = sink.mails[0].links[0].removeprefix(url)
        secrets.append(link.rstrip("/").rpartition("/")[2])
        await api.get(link)
        tokens = (await api.post(link)).json()
        logged_in = (await api.post(AUTH + "login/", json=login)).json()
        wrong = await api.post(AUTH + "login/", json=login | {"password": PASSWORDS[1]})
        assert wrong.status_code == 401
        bearer = {"authorization": f"Bearer {logged_in['access']}"}
        refreshed = (await api.post(AUTH + "jwt/token/refresh/", json={"refresh": logged_in["refresh"]})).json()
        for pair in (tokens, logged_in, refreshed):
            secrets += [pair["access"], pair["refresh"]]

        assert (await api.get(MOVIES, params={"query": "", "limit": 5}, headers=bearer)).status_code == 200
        movie = (await api.get(MOVIES, params={"query": ""}, headers=bearer)).json()["items"][0]["id"]
        assert (await api.get(MOVIES, params={"query": QUERY}, headers=bearer)).status_code == 404
        rated = await api.put(f"{MOVIES}{movie}/rating/", json={"rating": 8.5}, headers=bearer)
        assert rated.status_code == 200, rated.text
        source.override = lambda _path, _params: failure(25)
        for number in range(3):
            answer = await api.get(MOVIES, params={"query": f"{QUERY} {number}"}, headers=bearer)
            assert answer.status_code == 503
        source.override = None

        await api.get("/%0d%0a%1b%5b31m%e2%80%a8")
        await api.get(MOVIES, params={"query": ODD}, headers=bearer | {"user-agent": "\x1b[31m"})
        await api.post(AUTH + "login/", content=json.dumps({"email": ODD, "password": PASSWORDS[2]}))
        await api.patch(ME, json={"username": ODD}, headers=bearer)
        with socket.create_connection(("127.0.0.1", ports["api"])) as raw:
            raw.sendall(b"GET / HTTP/9.9\r\n" + PASSWORDS[2].encode() + b"\x1b[31m\r\n\r\n")
            raw.recv(1000)

        assert (await api.post(AUTH + "password/forgot/", json={"email": ann["email"]})).status_code == 202
        await until(lambda: len(sink.mails) == 2)
        link = sink.mails[1].links[0].removeprefix(url)
        *_, uid, token = link.rstrip("/").split("/")
        secrets.append(token)
        await api.get(link)
        reset = {"uid": uid, "token": token, "password": PASSWORDS[1]}
        assert (await api.post(AUTH + "password/reset/", json=reset)).status_code == 204
        again = (await api.post(AUTH + "login/", json=login | {"password": PASSWORDS[1]})).json()
        secrets += [again["access"], again["refresh"]]
        bearer = {"authorization": f"Bearer {again['access']}"}
        changed = {"old_password": PASSWORDS[1], "new_password": PASSWORDS[2]}
        assert (await api.post(AUTH + "password/change/", json=changed, headers=bearer)).status_code == 204
        user_id = (await api.get(f"{ME}export/", headers=bearer)).text
        assert (await api.post(AUTH + "logout/", headers=bearer)).status_code == 200
        await until(lambda: len(sink.mails) == 4)

        metrics: list[str] = []

        async def are_all_reported() -> bool:
            metrics[:] = [(await api.get("/metrics")).text]
            # Two links and two notifications of a new password, reported by both processes.
            return readings(metrics[0])["movie_mails sent"] == 4 * 2

        await eventually(are_all_reported)
        async with httpx.AsyncClient(trust_env=False) as plain:
            metrics.append((await plain.get(f"http://127.0.0.1:{ports['worker']}/metrics")).text)
        api_metrics = readings(metrics[0])
        assert api_metrics["movie_searches_total live"] + api_metrics["movie_searches_total fresh"] == 3
        assert api_metrics["movie_source_attempts_total status"] >= 3
        assert len(set(re.findall(r'process="(\d+)"', metrics[0]))) == 2
        assert readings(metrics[1])["movie_tasks_total deliver_mail succeeded"] >= 1
        assert readings(metrics[1])["movie_mails dead"] == 0

        for program in programs:
            assert await asyncio.to_thread(program.stop) == 0, program.output()
        names = spans.names()

    assert {"GET /api/v1/movies", "POST /api/v1/authentication/login", "source search", "task deliver_mail"} <= names
    assert any(name.startswith("redis ") for name in names)
    assert any(name.startswith("SELECT ") for name in names)

    lines = [line for program in programs for line in program.log.read_bytes().split(b"\n") if line]
    records = [json.loads(line) for line in lines]
    assert len(records) > 30
    requests = [record for record in records if record["logger"] == "movie_api.access"]
    assert len({record["request_id"] for record in requests}) == len(requests)
    users = {record["user_id"] for record in requests if "user_id" in record}
    assert len(users) == 1
    assert users.pop() in user_id
    everything = b"\n".join([*lines, *(text.encode() for text in metrics), *spans.bodies])
    for secret in (*secrets, CALLER, "\x1b", "\u2028", "\r"):
        assert len(secret) == 1 or len(secret) >= 6
        assert secret.encode() not in (b"\n".join(lines) if len(secret) == 1 else everything), secret
    assert "canary" not in everything.decode("utf-8", "replace").replace(PASSWORDS[0][:6] + " later", "")


@pytest.mark.parametrize("form", ["console", "json"])
async def test_links_are_printed_only_with_the_console_format(start: Start, form: str) -> None:
    port = free_port()
    program = start("serve", "--port", str(port), MOVIE_LOG_FORMAT=form)
    await started(program, "serving catalogue")
    ann = {"email": "ann@example.com", "username": "ann", "password": PASSWORDS[0]}
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as api:
        assert (await api.post(AUTH + "register/", json=ann)).status_code == 201
    folder = program.log.parent
    await until(lambda: list(folder.glob("var/mail/*.eml")))
    await asyncio.to_thread(program.stop)
    output = program.output()
    assert ("verify-email/" in output) is (form == "console")
    if form == "json":
        assert all(json.loads(line) for line in output.splitlines())
