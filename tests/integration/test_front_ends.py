"""The examples of docs/front-end.md, run in Chromium from a page of another origin than the API."""

import json
import queue
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from tests.support.deployment import PATIENCE
from tests.support.documents import example
from tests.support.programs import PASSWORD, environment, running, signed_up
from tests.support.servers import free_port

PAGE = "docs/front-end.md"
EXAMPLES = ("request", "errors", "tokens", "refresh", "paging", "empty results", "generated client")
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
CHECKS = Path(__file__).with_name("front_end_checks.js")
"""What the page does with the functions of the examples: a check for each of them."""


class Site:
    """A web site with one page and one script. The page posts its results."""

    def __init__(self, script: str) -> None:
        self.results: queue.Queue[dict[str, Any]] = queue.Queue()
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                is_script = self.path == "/page.js"
                body = script if is_script else '<!doctype html><script type="module" src="/page.js"></script>'
                self.send_response(200)
                self.send_header("content-type", "text/javascript" if is_script else "text/html")
                self.end_headers()
                self.wfile.write(body.encode())

            def do_POST(self) -> None:
                site.results.put(json.loads(self.rfile.read(int(self.headers["content-length"]))))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._handler = Handler

    @contextmanager
    def open(self, port: int) -> Iterator[str]:
        server = ThreadingHTTPServer(("127.0.0.1", port), self._handler)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://localhost:{port}"
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


def browse(site: Site, port: int, folder: Path) -> dict[str, Any]:
    """Opens the page of the site in Chromium, and returns its results."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        pytest.skip(f"no browser: install one of {', '.join(BROWSERS)}")
    with site.open(port) as url:
        options = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run")
        command = [browser, *options, f"--user-data-dir={folder / 'profile'}", "--remote-debugging-port=0", url]
        with (folder / "browser.log").open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            return site.results.get(timeout=PATIENCE)
        except queue.Empty:
            raise AssertionError((folder / "browser.log").read_text()) from None
        finally:
            process.terminate()
            process.wait(PATIENCE)


@pytest.fixture(scope="module")
def results(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """The result of each check by its name: true, or the text of an error."""
    folder = tmp_path_factory.mktemp("front-end")
    shutil.copytree(prepared, folder / "var")
    api_port, rejected_port, port = free_port(), free_port(), free_port()
    environ = environment() | {"MOVIE_CORS_ORIGINS": f"http://localhost:{port}", "MOVIE_ACCESS_TTL": "3s"}
    with running(folder, environ, api_port, "serve"):
        api = f"http://127.0.0.1:{api_port}"
        address, _ = signed_up(api, folder)
        blocks = "\n".join(example(PAGE, f"front end {name}") for name in EXAMPLES)
        values = f"const EMAIL = {json.dumps(address)}, PASSWORD = {json.dumps(PASSWORD)};\n"
        script = values + blocks.replace("http://127.0.0.1:8000", api) + CHECKS.read_text()
        found = browse(Site(script), port, folder)
        found["an origin that is not allowed"] = browse(Site(script), rejected_port, folder)
        yield found


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_example_works_from_a_page_of_another_origin(results: dict[str, Any], name: str) -> None:
    assert results[name] is True


def test_pages_of_other_origins_cannot_read_responses(results: dict[str, Any]) -> None:
    rejected = results["an origin that is not allowed"]
    for name in EXAMPLES:
        assert "TypeError" in str(rejected[name]), name
