"""Through the running program, started as a user starts it."""

import json
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from bench.http_server import FRAMING, HOSTS, LIMITS, ODD, Target, pipeline, run_cases
from tests.integration.conftest import Program, Serve, Start, wait_until
from tests.support.programs import environment
from tests.support.servers import free_port
from tests.unit.test_docs import example, write_adapter_guide

ROOT = Path(__file__).parents[2]
MOVIES = "/api/v1/movies/"


def test_the_first_five_minutes(serve: Serve, folder: Path) -> None:
    shutil.rmtree(folder / "var")
    program, api = serve()
    assert "the bundled films are loaded" in program.said()
    assert "search is public" in program.said()
    page = api.get(MOVIES, params={"query": "casablanca", "limit": 1}).json()
    assert (page["items"][0]["title"], page["items"][0]["year"]) == ("Casablanca", 1942)
    assert api.get(MOVIES, params={"query": "teh matirx"}).json()["items"][0]["title"] == "The Matrix"
    found, url = [], f"{MOVIES}?query=dracula&limit=7"
    while url:
        page = api.get(url).json()
        found += [item["id"] for item in page["items"]]
        url = page["page_info"]["next"]
    assert len(found) == len(set(found)) == page["total"] > 10
    details = api.get(f"{MOVIES}{found[0]}/").json()
    assert details["id"] == found[0]
    assert details["meta"]["source"] == "catalogue"
    assert api.get(f"{MOVIES}suggest/?query=casabl").json()["items"][0]["title"] == "Casablanca"
    genres = {genre["name"]: genre["movies"] for genre in api.get("/api/v1/genres/").json()["items"]}
    assert genres["Western"] > 1000
    western = api.get(MOVIES, params={"genre": "western", "year": "1950..1959", "order": "popularity"}).json()
    assert all("Western" in item["genres"] and 1950 <= item["year"] <= 1959 for item in western["items"])
    assert api.get("/health/ready").json()["status"] == "ready"
    assert api.get("/docs").status_code == 200
    assert program.stop() == 0


def test_a_second_start_finds_everything_in_place(serve: Serve) -> None:
    program, api = serve()
    assert "the bundled films are loaded" not in program.said()
    assert api.get(MOVIES, params={"query": "metropolis"}).json()["items"][0]["year"] == 1927


def test_the_examples_of_the_readme_run(start: Start, folder: Path) -> None:
    """On the port that the README names, moved to a free one."""
    port = str(free_port())
    api = start("serve", "--port", port)
    api.wait_for("serving")

    def shell(text: str) -> str:
        text = text.replace(":8000", f":{port}").replace(".venv/bin/", f"{Path(sys.executable).parent}/")
        done = subprocess.run(["bash", "-c", text], cwd=folder, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    json.loads(shell(example("README.md", "register")))
    link = api.wait_for(r"activation\): (http\S+)")[1]
    assert "access" in json.loads(shell(f"LINK={link}\n" + example("README.md", "activate")))
    tokens = json.loads(shell(example("README.md", "log in")))
    page = json.loads(shell(f"ACCESS={tokens['access']}\n" + example("README.md", "curl")))
    told = re.search(r"```json\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert told
    promised = json.loads(told[1])
    assert set(page) == set(promised)
    assert (page["total"], page["items"][0]["id"], page["items"][0]["title"], page["items"][0]["directors"]) == (
        promised["total"],
        *(promised["items"][0][name] for name in ("id", "title", "directors")),
    )
    access = f"ACCESS={tokens['access']}\n"
    rated = shell(access + example("README.md", "rate"))
    given, end = json.JSONDecoder().raw_decode(rated)
    assert given["rating"] == 9.5
    assert json.loads(rated[end:])["items"]
    assert json.loads(shell(access + example("docs/ratings.md", "rate")))["movie_id"] == "tt0034583"
    (folder / "ratings.csv").write_text(
        "Date,Name,Year,Letterboxd URI,Rating\n2024-03-03,Casablanca,1942,https://x,4.5\n"
    )
    assert json.loads(shell(access + example("docs/ratings.md", "import"))) == {"accepted": 1, "rejected": []}
    assert json.loads(shell(access + example("docs/analytics.md", "record events"))) == {"accepted": 1, "rejected": []}
    assert "Wizard of Oz" in shell(example("README.md", "cli"))
    script = folder / "example.py"
    script.write_text(example("README.md", "python api").replace(":8000", f":{port}"))
    environ = {"ACCESS": tokens["access"], "PATH": ""}
    shown = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, timeout=60, check=True, env=environ
    )
    assert shown.stdout == "The Matrix\n"


def test_the_steps_of_the_adapter_guide_run(tmp_path: Path) -> None:
    """In order, from an empty folder; the packages are those of the environment of the tests."""
    port = str(free_port())
    environ = environment() | {"MOVIE_PUBLIC_URL": f"http://127.0.0.1:{port}"}

    def step(name: str, **variables: str) -> str:
        text = example("docs/adapters.md", name).replace(":8000", f":{port}")
        text = text.replace(".venv/bin/", f"{Path(sys.executable).parent}/")
        done = subprocess.run(
            ["bash", "-ec", text], cwd=tmp_path, env=environ | variables, capture_output=True, text=True, timeout=60,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    step("data")
    write_adapter_guide(tmp_path)
    assert " passed" in step("prove")
    step("migrate")
    command = example("docs/adapters.md", "serve").split()
    command[0] = str(Path(sys.executable).with_name(Path(command[0]).name))
    log = tmp_path / "serve.log"
    with log.open("wb") as output:
        server = subprocess.Popen([*command, "--port", port], cwd=tmp_path, env=environ, stdout=output, stderr=output)
    try:
        wait_until(lambda: "Uvicorn running" in log.read_text())
        step("register")
        wait_until(lambda: "(activation): " in log.read_text())
        link = re.search(r"activation\): (http\S+)", log.read_text())
        assert link
        access = json.loads(step("activate", LINK=link[1]))["access"]
        responses = step("search", ACCESS=access)
    finally:
        server.terminate()
        server.wait(30)
    found, end = json.JSONDecoder().raw_decode(responses)
    assert [item["title"] for item in found["items"]] == ["The Third Man", "The Third Miracle", "Third Star"]
    assert found["meta"]["source"] == "third_party"
    _, length = json.JSONDecoder().raw_decode(responses[end:])
    shown = re.search(r"```json\n(.*?)```", (ROOT / "docs/adapters.md").read_text(), re.DOTALL)
    assert shown
    assert json.loads(responses[end + length :]) == json.loads(shown[1])


def third_party(start: Start, *arguments: str) -> tuple[Program, str]:
    port = str(free_port())
    program = start("upstream", "--port", port, *arguments)
    program.wait_for("serves GET")
    return program, f"http://127.0.0.1:{port}"


def test_a_source_that_fails_a_third_of_the_time_is_searched_all_the_same(start: Start, serve: Serve) -> None:
    upstream, url = third_party(start, "--fail-rate", "0.3", "--latency-ms", "5", "--seed", "1")
    _, api = serve(MOVIE_SOURCE_URL=url)
    words = ["river", "night", "love", "gold", "city", "house", "king", "girl", "west", "star"]
    queries = [f"{word} {letter}" for word in words for letter in "aeiou"] + words
    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(lambda text: api.get(MOVIES, params={"query": text}).status_code, queries))
    assert set(statuses) <= {200, 404}
    assert statuses.count(200) >= len(words)
    page = api.get(MOVIES, params={"query": "casablanca"}).json()
    assert page["meta"]["source"] == "third_party"
    movie_id = page["items"][0]["id"]
    deadline = time.monotonic() + 5
    while (details := api.get(f"{MOVIES}{movie_id}/")).status_code != 200:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert details.json()["meta"]["source"] == "local"
    assert api.get(f"{MOVIES}suggest/?query=casab").json()["items"]
    refused = api.get(MOVIES, params={"genre": "Drama"})
    assert (refused.status_code, refused.json()["code"]) == (400, "filter_unsupported")
    assert upstream.stop() == 0


def test_a_source_that_goes_away_is_told_and_found_again(start: Start, serve: Serve) -> None:
    upstream, url = third_party(start, "--fail-rate", "0", "--latency-ms", "5")
    _, api = serve(MOVIE_SOURCE_URL=url)
    assert api.get("/health/ready").json()["status"] == "ready"
    port = url.rpartition(":")[2]
    upstream.stop()
    began = time.monotonic()
    away = api.get(MOVIES, params={"query": "river"})
    assert time.monotonic() - began <= 3.2 + MARGIN
    assert (away.status_code, away.json()["code"]) == (503, "source_unavailable")
    assert int(away.headers["retry-after"]) >= 1
    ready = api.get("/health/ready")
    assert (ready.status_code, ready.json()["status"], ready.json()["source"]["status"]) == (200, "degraded", "down")
    assert api.get("/health/live").status_code == 200
    assert api.get(f"{MOVIES}nothing/").status_code == 404
    start("upstream", "--port", port, "--fail-rate", "0", "--latency-ms", "5").wait_for("serves GET")
    deadline = time.monotonic() + 5
    while api.get(MOVIES, params={"query": "river"}).status_code != 200:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    time.sleep(0.6)  # what readiness remembers
    assert api.get("/health/ready").json()["status"] == "ready"


MARGIN = 1.0
"""Seconds that a busy machine may add to what a request takes."""


def test_the_catalogue_on_postgresql(serve: Serve, empty_database_url: str) -> None:
    _, api = serve(MOVIE_DATABASE_URL=empty_database_url)
    assert api.get(MOVIES, params={"query": "teh matirx"}).json()["items"][0]["title"] == "The Matrix"
    assert api.get("/health/ready").json() == {
        "status": "ready",
        "database": {"status": "up", "detail": "40097 movies"},
    }


def test_a_database_that_is_away_is_told(start: Start, serve: Serve, tmp_path: Path) -> None:
    away = f"postgresql+asyncpg://postgres@/movies?host={tmp_path}"
    program, api = serve(MOVIE_DATABASE_URL=away)
    assert "starting without the database" in program.said()
    began = time.monotonic()
    answer = api.get(MOVIES)
    assert time.monotonic() - began < 1 + MARGIN
    assert (answer.status_code, answer.json()["code"]) == (503, "store_unavailable")
    assert "retry-after" in answer.headers
    ready = api.get("/health/ready")
    assert (ready.status_code, ready.json()["status"]) == (503, "unavailable")
    assert api.get("/health/live").status_code == 200
    _, url = third_party(start, "--fail-rate", "0")
    _, searched = serve(MOVIE_DATABASE_URL=away, MOVIE_SOURCE_URL=url)
    assert searched.get(MOVIES, params={"query": "river"}).status_code == 200
    ready = searched.get("/health/ready")
    assert (ready.status_code, ready.json()["status"], ready.json()["database"]["status"]) == (200, "degraded", "down")
    assert str(tmp_path) not in answer.text + ready.text


async def test_broken_requests_and_limits(serve: Serve) -> None:
    program, api = serve()
    target = Target.parse(str(api.base_url))
    verdicts = await run_cases(target, [*FRAMING, *LIMITS, *ODD])
    verdicts += await run_cases(Target.parse(str(api.base_url), get_path="/"), HOSTS)
    verdicts.append(await pipeline(target))
    assert [verdict for verdict in verdicts if not verdict.ok] == []
    assert "Traceback" not in program.said()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_exit_code_0_after_the_running_request(
    start: Start, serve: Serve, number: signal.Signals
) -> None:
    _, url = third_party(start, "--fail-rate", "0", "--latency-ms", "600")
    program, api = serve(MOVIE_SOURCE_URL=url)
    answers: list[httpx.Response] = []
    asking = threading.Thread(target=lambda: answers.append(api.get(MOVIES, params={"query": "river"})))
    asking.start()
    time.sleep(0.3)
    assert program.stop(number) == 0
    asking.join()
    assert [answer.status_code for answer in answers] == [200]


def test_several_workers_serve_side_by_side(serve: Serve, redis_url: str) -> None:
    program, api = serve("--workers", "2", MOVIE_REDIS_URL=redis_url)
    for _ in range(20):
        assert httpx.get(f"{api.base_url}{MOVIES}?query=metropolis", trust_env=False).status_code == 200
    ready = api.get("/health/ready").json()
    assert (ready["status"], ready["redis"]["status"]) == ("ready", "up")
    assert program.stop() == 0


def test_workers_end_with_the_process_that_started_them_even_if_that_is_killed(serve: Serve, redis_url: str) -> None:
    program, api = serve("--workers", "2", MOVIE_REDIS_URL=redis_url)
    assert api.get("/health/live").status_code == 200
    program.stop(signal.SIGKILL)

    def is_gone() -> bool:
        try:
            httpx.get(f"{api.base_url}/health/live", trust_env=False, timeout=1)
        except httpx.ConnectError:
            return True
        except httpx.TransportError:
            pass
        return False

    wait_until(is_gone)


def test_json_logs_are_one_object_a_line_without_what_was_looked_for(serve: Serve) -> None:
    program, api = serve(MOVIE_LOG_FORMAT="json")
    api.get(MOVIES, params={"query": "canary"}, headers={"x-request-id": "journey-1"})
    api.get("/%0d%0a%1b[31m")
    program.stop()
    told = [one for one in map(json.loads, program.said().splitlines()) if one["logger"] != "movie_cli"]
    assert [one["request_id"] for one in told][:1] == ["journey-1"]
    assert len(told) == 2
    assert "canary" not in program.said()


Run = Callable[..., "subprocess.CompletedProcess[str]"]


def test_search_on_the_command_line(run: Run) -> None:
    shown = run("search", "wizard of oz", "--limit", "2")
    assert (shown.returncode, "The Wizard of Oz" in shown.stdout, shown.stderr) == (0, True, "")
    page = json.loads(run("search", "casablanca", "--json", "--limit", "1").stdout)
    assert (len(page["items"]), page["items"][0]["title"]) == (1, "Casablanca")
    filtered = json.loads(run("search", "", "--json", "--year", "1939", "--genre", "western").stdout)
    assert {item["year"] for item in filtered["items"]} == {1939}


@pytest.mark.parametrize(
    ("arguments", "environ", "code", "said"),
    [
        (("search", "zzqxj wvvqk"), {}, 1, "no movie matches"),
        (("search", "a" * 201), {}, 2, "200 characters"),
        (("search", "casablanca", "--limit", "0"), {}, 2, "--limit"),
        (("search", "casablanca", "--offset", "99"), {}, 2, "--offset"),
        (("search", "casablanca", "--year", "19"), {}, 2, "--year"),
        (("search",), {}, 2, "QUERY"),
        (("search", "a", "--nonsense"), {}, 2, "--nonsense"),
        (("nonsense",), {}, 2, "nonsense"),
        (("serve", "--port", "0"), {}, 2, "--port"),
        (("serve", "--workers", "2"), {}, 2, "MOVIE_REDIS_URL"),
        (("serve",), {"MOVIE_SOURCE": "third_party"}, 2, "MOVIE_SOURCE_URL"),
        (("serve",), {"MOVIE_ENV": "production"}, 2, "MOVIE_PUBLIC_URL"),
        (("search", "a"), {"MOVIE_SOURCE_DEADLINE": "soon"}, 2, "MOVIE_SOURCE_DEADLINE"),
        (("search", "a"), {"MOVIE_SOURCE_URL": "http://127.0.0.1:9"}, 1, "source"),
        (("search", "a"), {"MOVIE_DATA_DIR": "/proc/nowhere"}, 2, "MOVIE_DATA_DIR"),
        (("catalogue", "import", "missing.csv"), {}, 2, "missing.csv"),
        (("upstream", "--faults", "bogus"), {}, 2, "--faults"),
        (("config",), {"MOVIE_PUBLIC_SEARCH": "perhaps"}, 2, "MOVIE_PUBLIC_SEARCH"),
    ],
)
def test_an_error_is_one_line_that_names_what_is_wrong(
    run: Run, arguments: tuple[str, ...], environ: dict[str, str], code: int, said: str
) -> None:
    done = run(*arguments, **environ)
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert said.lower() in done.stderr.lower()


def test_a_port_that_is_taken_is_told(serve: Serve, run: Run) -> None:
    _, api = serve()
    done = run("serve", "--port", str(api.base_url.port))
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert "--port" in done.stderr


def test_one_own_films_are_imported_and_searched(run: Run, tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text("id,title,year,genres\nm1,Zanzibar Quokka Heist,2024,Comedy|Crime\nm2,,2024,\n")
    done = run("catalogue", "import", "mine.csv")
    assert done.returncode == 0
    assert "1 added" in done.stdout
    assert "row 2: no_title" in done.stderr
    assert json.loads(run("search", "zanzibar quokka", "--json").stdout)["items"][0]["id"] == "m1"
    assert json.loads(run("search", "casablanca", "--json").stdout)["total"] >= 1
    assert "1 unchanged" in run("catalogue", "import", "mine.csv").stdout
    assert "1 movies in total" in run("catalogue", "import", "mine.csv", "--replace").stdout
    assert run("search", "casablanca").returncode == 1
    told = run("catalogue", "info").stdout
    assert "imported" in told


def test_config_and_doctor(run: Run, start: Start) -> None:
    told = run(
        "config", MOVIE_SOURCE="tmdb", MOVIE_SOURCE_TOKEN="canary", MOVIE_REDIS_URL="redis://:canary@127.0.0.1:1"
    )
    assert told.returncode == 0
    assert "canary" not in told.stdout
    assert re.search(r"MOVIE_SOURCE\s+tmdb\s+environment", told.stdout)
    well = run("doctor")
    assert (well.returncode, "40097 movies" in well.stdout) == (0, True)
    ill = run("doctor", MOVIE_SOURCE_URL="http://127.0.0.1:9", MOVIE_REDIS_URL="redis://127.0.0.1:9")
    assert ill.returncode == 1
    assert "MOVIE_SOURCE_URL" in ill.stdout
    assert "MOVIE_REDIS_URL" in ill.stdout
    assert len(ill.stderr.splitlines()) == 1


def test_every_command_has_help(run: Run) -> None:
    for command in ("serve", "search", "upstream", "migrate", "catalogue", "config", "doctor"):
        assert run(command, "--help").stdout.startswith(f"Usage: movie-search {command}")
    assert all(command in run("--help").stdout for command in ("serve", "search", "upstream", "catalogue", "doctor"))


def test_the_core_needs_the_standard_library_alone() -> None:
    """As from a wheel without extras: no site-packages, only the core's own folder."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import doctest, movie_core, movie_core.testing\n"
        "assert doctest.testmod(movie_core).failed == 0\n"
        "known = sys.stdlib_module_names | {'movie_core', '__main__'}\n"
        "print(sorted({name.partition('.')[0] for name in sys.modules} - known))"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code, str(ROOT / "src")], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
