"""End-to-end tests of the running program; some start it as a user does."""

import json
import re
import shutil
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from bench.http_server import FRAMING, HOSTS, LIMITS, ODD, Target, pipeline, run_cases
from tests.support.deployment import PATIENCE, Run, Serve, Start, third_party, wait_until
from tests.support.documents import ROOT, example, write_adapter_guide
from tests.support.programs import environment
from tests.support.servers import free_port

MOVIES = "/api/v1/movies/"


@pytest.mark.usefixtures("console_script")
def test_the_first_five_minutes(serve: Serve, run: Run, folder: Path) -> None:
    shutil.rmtree(folder / "var")
    program, api = serve()
    assert "the bundled films are loaded" in program.output()
    assert "search is public" in program.output()
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
    assert run("users", "list").stdout.count("\n") == 1, "there are headings and no default account"
    assert program.stop() == 0


@pytest.mark.usefixtures("console_script")
def test_a_second_start_needs_no_preparation(serve: Serve) -> None:
    program, api = serve()
    assert "the bundled films are loaded" not in program.output()
    assert api.get(MOVIES, params={"query": "metropolis"}).json()["items"][0]["year"] == 1927


@pytest.mark.usefixtures("console_script")
def test_the_examples_of_the_readme_run(start: Start, folder: Path) -> None:
    """With the port of the README replaced by a free one."""
    port = str(free_port())
    api = start("serve", "--port", port)
    api.wait_for("serving")

    def shell(text: str) -> str:
        text = text.replace(":8000", f":{port}").replace(".venv/bin/", f"{Path(sys.executable).parent}/")
        completed = subprocess.run(
            ["bash", "-c", text], cwd=folder, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
        assert completed.returncode == 0, completed.stderr
        return completed.stdout

    json.loads(shell(example("README.md", "register")))
    link = api.wait_for(r"activation\): (http\S+)")[1]
    assert "access" in json.loads(shell(f"LINK={link}\n" + example("README.md", "activate")))
    tokens = json.loads(shell(example("README.md", "log in")))
    page = json.loads(shell(f"ACCESS={tokens['access']}\n" + example("README.md", "curl")))
    output = re.search(r"```json\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert output
    expected = json.loads(output[1])
    assert set(page) == set(expected)
    assert (page["total"], page["items"][0]["id"], page["items"][0]["title"], page["items"][0]["directors"]) == (
        expected["total"],
        *(expected["items"][0][name] for name in ("id", "title", "directors")),
    )
    access = f"ACCESS={tokens['access']}\n"
    rated = shell(access + example("README.md", "rate"))
    rating, end = json.JSONDecoder().raw_decode(rated)
    assert rating["rating"] == 9.5
    assert json.loads(rated[end:])["items"]
    assert json.loads(shell(access + example("docs/ratings.md", "rate")))["movie_id"] == "tt0034583"
    (folder / "ratings.csv").write_text(
        "Date,Name,Year,Letterboxd URI,Rating\n2024-03-03,Casablanca,1942,https://x,4.5\n"
    )
    imported = json.loads(shell(access + example("docs/ratings.md", "import")))
    assert (imported["accepted"], imported["rejected"], imported["superseded"]) == (1, [], [1])
    assert imported["matched_by"]["title_year"] == 1
    assert json.loads(shell(access + example("docs/analytics.md", "record events"))) == {"accepted": 1, "rejected": []}
    assert "Wizard of Oz" in shell(example("README.md", "cli"))
    script = folder / "example.py"
    script.write_text(example("README.md", "python api").replace(":8000", f":{port}"))
    environ = {"ACCESS": tokens["access"], "PATH": ""}
    printed = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, timeout=PATIENCE, check=True, env=environ
    )
    assert printed.stdout == "The Matrix\n"


def test_the_steps_of_the_adapter_guide_run(tmp_path: Path) -> None:
    """In order, in an empty folder, with the packages of the test environment."""
    port = str(free_port())
    environ = environment() | {"MOVIE_PUBLIC_URL": f"http://127.0.0.1:{port}"}

    def step(name: str, **variables: str) -> str:
        text = example("docs/adapters.md", name).replace(":8000", f":{port}")
        text = text.replace(".venv/bin/", f"{Path(sys.executable).parent}/")
        completed = subprocess.run(
            ["bash", "-ec", text],
            cwd=tmp_path,
            env=environ | variables,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert completed.returncode == 0, completed.stdout + completed.stderr
        return completed.stdout

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
        server.wait(PATIENCE)
    found, end = json.JSONDecoder().raw_decode(responses)
    assert [item["title"] for item in found["items"]] == ["The Third Man", "The Third Miracle", "Third Star"]
    assert found["meta"]["source"] == "third_party"
    _, length = json.JSONDecoder().raw_decode(responses[end:])
    printed = re.search(r"```json\n(.*?)```", (ROOT / "docs/adapters.md").read_text(), re.DOTALL)
    assert printed
    assert json.loads(responses[end + length :]) == json.loads(printed[1])


def test_search_works_if_a_third_of_the_source_calls_fail(start: Start, serve: Serve) -> None:
    upstream, url = third_party(start, "--fail-rate", "0.3", "--latency-ms", "5", "--seed", "1")
    # Long, so that a busy machine does not look like a slow source.
    _, api = serve(MOVIE_SOURCE_URL=url, MOVIE_SOURCE_TIMEOUT="10s", MOVIE_SOURCE_DEADLINE="30s")
    words = ["river", "night", "love", "gold", "city", "house", "king", "girl", "west", "star"]
    queries = [f"{word} {letter}" for word in words for letter in "aeiou"] + words
    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(lambda text: api.get(MOVIES, params={"query": text}).status_code, queries))
    assert set(statuses) <= {200, 404}
    assert statuses.count(200) >= len(words)
    page = api.get(MOVIES, params={"query": "casablanca"}).json()
    assert page["meta"]["source"] == "third_party"
    movie_id = page["items"][0]["id"]
    wait_until(lambda: api.get(f"{MOVIES}{movie_id}/").status_code == 200)
    assert api.get(f"{MOVIES}{movie_id}/").json()["meta"]["source"] == "local"
    assert api.get(f"{MOVIES}suggest/?query=casab").json()["items"]
    rejected = api.get(MOVIES, params={"genre": "Drama"})
    assert (rejected.status_code, rejected.json()["code"]) == (400, "filter_unsupported")
    assert upstream.stop() == 0


def test_an_outage_of_the_source_is_reported_and_its_recovery_detected(start: Start, serve: Serve) -> None:
    upstream, url = third_party(start, "--fail-rate", "0", "--latency-ms", "5")
    _, api = serve(MOVIE_SOURCE_URL=url)
    assert api.get("/health/ready").json()["status"] == "ready"
    port = url.rpartition(":")[2]
    upstream.stop()
    unavailable = api.get(MOVIES, params={"query": "river"})
    assert (unavailable.status_code, unavailable.json()["code"]) == (503, "source_unavailable")
    assert int(unavailable.headers["retry-after"]) >= 1
    ready = api.get("/health/ready")
    assert (ready.status_code, ready.json()["status"], ready.json()["source"]["status"]) == (200, "degraded", "down")
    assert api.get("/health/live").status_code == 200
    assert api.get(f"{MOVIES}nothing/").status_code == 404
    start("upstream", "--port", port, "--fail-rate", "0", "--latency-ms", "5").wait_for("serves GET")
    wait_until(lambda: api.get(MOVIES, params={"query": "river"}).status_code == 200)
    wait_until(lambda: api.get("/health/ready").json()["status"] == "ready")  # the readiness result is cached


def test_the_catalogue_on_postgresql(serve: Serve, database_url: str) -> None:
    _, api = serve(MOVIE_DATABASE_URL=database_url)
    wait_until(lambda: api.get(MOVIES, params={"query": "teh matirx"}).status_code == 200)  # 503 on a busy machine
    assert api.get(MOVIES, params={"query": "teh matirx"}).json()["items"][0]["title"] == "The Matrix"
    assert api.get("/health/ready").json() == {
        "status": "ready",
        "database": {"status": "up", "detail": "40077 movies"},
    }


def test_an_unavailable_database_is_reported(start: Start, serve: Serve, tmp_path: Path) -> None:
    unavailable = f"postgresql+asyncpg://postgres@/movies?host={tmp_path}"
    program, api = serve(MOVIE_DATABASE_URL=unavailable)
    assert "starting without the database" in program.output()
    response = api.get(MOVIES)
    assert (response.status_code, response.json()["code"]) == (503, "store_unavailable")
    assert "retry-after" in response.headers
    ready = api.get("/health/ready")
    assert (ready.status_code, ready.json()["status"]) == (503, "unavailable")
    assert api.get("/health/live").status_code == 200
    _, url = third_party(start, "--fail-rate", "0")
    _, searched = serve(MOVIE_DATABASE_URL=unavailable, MOVIE_SOURCE_URL=url)
    assert searched.get(MOVIES, params={"query": "river"}).status_code == 200
    ready = searched.get("/health/ready")
    assert (ready.status_code, ready.json()["status"], ready.json()["database"]["status"]) == (200, "degraded", "down")
    assert str(tmp_path) not in response.text + ready.text


async def test_malformed_requests_and_limits(serve: Serve) -> None:
    program, api = serve()
    target = Target.parse(str(api.base_url))
    verdicts = await run_cases(target, [*FRAMING, *LIMITS, *ODD])
    verdicts += await run_cases(Target.parse(str(api.base_url), get_path="/"), HOSTS)
    verdicts.append(await pipeline(target))
    assert [verdict for verdict in verdicts if not verdict.ok] == []
    assert "Traceback" not in program.output()


@pytest.mark.usefixtures("console_script")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_the_server_with_exit_code_0_after_the_request_in_progress(
    start: Start, serve: Serve, number: signal.Signals
) -> None:
    _, url = third_party(start, "--fail-rate", "0", "--latency-ms", "600")
    program, api = serve(MOVIE_SOURCE_URL=url)
    responses: list[httpx.Response] = []
    thread = threading.Thread(target=lambda: responses.append(api.get(MOVIES, params={"query": "river"})))
    thread.start()
    # At least one: a busy machine may cause a hedged request.
    wait_until(lambda: httpx.get(f"{url}/_calls", trust_env=False).json()["total"] >= 1)
    assert program.stop(number) == 0
    thread.join()
    assert [response.status_code for response in responses] == [200]


@pytest.mark.usefixtures("console_script")
def test_several_workers_share_a_port(serve: Serve, redis_url: str) -> None:
    program, api = serve("--workers", "2", MOVIE_REDIS_URL=redis_url)
    for _ in range(20):
        assert httpx.get(f"{api.base_url}{MOVIES}?query=metropolis", trust_env=False).status_code == 200
    ready = api.get("/health/ready").json()
    assert (ready["status"], ready["redis"]["status"]) == ("ready", "up")
    assert program.stop() == 0


@pytest.mark.usefixtures("console_script")
def test_workers_stop_with_their_parent_process_even_if_it_is_killed(serve: Serve, redis_url: str) -> None:
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


def test_json_logs_have_one_object_per_line_without_queries(serve: Serve) -> None:
    program, api = serve(MOVIE_LOG_FORMAT="json")
    api.get(MOVIES, params={"query": "canary"}, headers={"x-request-id": "journey-1"})
    api.get("/%0d%0a%1b[31m")
    program.stop()
    output = [one for one in map(json.loads, program.output().splitlines()) if one["logger"] != "movie_cli"]
    assert [one["request_id"] for one in output][:1] == ["journey-1"]
    assert len(output) == 2
    assert "canary" not in program.output()


@pytest.mark.usefixtures("console_script")
def test_search_on_the_command_line(run: Run) -> None:
    printed = run("search", "wizard of oz", "--limit", "2")
    assert (printed.returncode, "The Wizard of Oz" in printed.stdout, printed.stderr) == (0, True, "")
    page = json.loads(run("search", "casablanca", "--json", "--limit", "1").stdout)
    assert (len(page["items"]), page["items"][0]["title"]) == (1, "Casablanca")
    filtered = json.loads(run("search", "", "--json", "--year", "1939", "--genre", "western").stdout)
    assert {item["year"] for item in filtered["items"]} == {1939}


@pytest.mark.parametrize(
    ("arguments", "environ", "code", "message"),
    [
        (("search", "zzqxj wvvqk"), {}, 1, "zzqxj wvvqk: no movie matches"),
        (("search", "a", "--order", "personal"), {}, 2, "--order: must be relevance, popularity or year"),
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
        (
            ("users", "list"),
            {"MOVIE_DATABASE_URL": "postgresql+asyncpg://u@db.invalid/movies"},
            2,
            "MOVIE_DATABASE_URL: the host db.invalid cannot be resolved",
        ),
        (("search", "a"), {"MOVIE_DATA_DIR": "/proc/nowhere"}, 2, "MOVIE_DATA_DIR"),
        (("catalogue", "import", "missing.csv"), {}, 2, "missing.csv"),
        (("upstream", "--faults", "bogus"), {}, 2, "--faults"),
        (("config",), {"MOVIE_PUBLIC_SEARCH": "perhaps"}, 2, "MOVIE_PUBLIC_SEARCH"),
    ],
)
def test_an_error_is_one_line_that_names_its_cause(
    run: Run, arguments: tuple[str, ...], environ: dict[str, str], code: int, message: str
) -> None:
    completed = run(*arguments, **environ)
    assert (completed.returncode, completed.stdout) == (code, ""), completed.stderr
    assert len(completed.stderr.splitlines()) == 1, completed.stderr
    assert message.lower() in completed.stderr.lower()


def test_a_port_in_use_is_reported(serve: Serve, run: Run) -> None:
    _, api = serve()
    completed = run("serve", "--port", str(api.base_url.port))
    assert (completed.returncode, len(completed.stderr.splitlines())) == (1, 1)
    assert "--port" in completed.stderr


def test_own_movies_can_be_imported_and_searched(run: Run, tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text("id,title,year,genres\nm1,Zanzibar Quokka Heist,2024,Comedy|Crime\nm2,,2024,\n")
    completed = run("catalogue", "import", "mine.csv")
    assert completed.returncode == 0
    assert "1 added" in completed.stdout
    assert "row 2: no_title" in completed.stderr
    assert json.loads(run("search", "zanzibar quokka", "--json").stdout)["items"][0]["id"] == "m1"
    assert json.loads(run("search", "casablanca", "--json").stdout)["total"] >= 1
    assert "1 unchanged" in run("catalogue", "import", "mine.csv").stdout
    assert "1 movies in total" in run("catalogue", "import", "mine.csv", "--replace").stdout
    assert run("search", "casablanca").returncode == 1
    output = run("catalogue", "info").stdout
    assert "imported" in output


def test_config_and_doctor(run: Run, start: Start) -> None:
    output = run(
        "config", MOVIE_SOURCE="tmdb", MOVIE_SOURCE_TOKEN="canary", MOVIE_REDIS_URL="redis://:canary@127.0.0.1:1"
    )
    assert output.returncode == 0
    assert "canary" not in output.stdout
    assert re.search(r"MOVIE_SOURCE\s+tmdb\s+environment", output.stdout)
    healthy = run("doctor")
    assert (healthy.returncode, "40077 movies" in healthy.stdout) == (0, True)
    unhealthy = run("doctor", MOVIE_SOURCE_URL="http://127.0.0.1:9", MOVIE_REDIS_URL="redis://127.0.0.1:9")
    assert unhealthy.returncode == 1
    assert "MOVIE_SOURCE_URL" in unhealthy.stdout
    assert "MOVIE_REDIS_URL" in unhealthy.stdout
    assert len(unhealthy.stderr.splitlines()) == 1


def test_every_command_has_help(run: Run) -> None:
    for command in ("serve", "search", "upstream", "migrate", "catalogue", "config", "doctor"):
        assert run(command, "--help").stdout.startswith(f"Usage: movie-search {command}")
    assert all(command in run("--help").stdout for command in ("serve", "search", "upstream", "catalogue", "doctor"))


def test_the_core_requires_only_the_standard_library() -> None:
    """Like a wheel without extras: no site-packages, only the folder of the core."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import doctest, movie_core, movie_core.testing\n"
        "assert doctest.testmod(movie_core).failed == 0\n"
        "known = sys.stdlib_module_names | {'movie_core', '__main__'}\n"
        "print(sorted({name.partition('.')[0] for name in sys.modules} - known))"
    )
    completed = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code, str(ROOT / "src")], capture_output=True, text=True, check=True
    )
    assert completed.stdout == "[]\n"
