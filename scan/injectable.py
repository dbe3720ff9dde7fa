"""A deliberately vulnerable server, the self-check of the scanners: its SQL injection and XSS must be found."""

import json
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit


@contextmanager
def injectable_server() -> Iterator[str]:
    """URL of a server that inserts `title`, from the query string or a JSON body, unescaped into SQL and HTML."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Injectable)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Injectable(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self._answer(parse_qs(urlsplit(self.path).query).get("title", [""])[0])

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        try:
            self._answer(str(json.loads(body)["title"]))
        except (ValueError, KeyError, TypeError):
            self._send(400, "no title")

    def _answer(self, title: str) -> None:
        with sqlite3.connect(":memory:") as database:
            database.execute("CREATE TABLE movies (title TEXT, year INTEGER)")
            database.execute("INSERT INTO movies VALUES ('Up', 2009), ('Heat', 1995)")
            try:
                rows = database.execute(f"SELECT title, year FROM movies WHERE title = '{title}'").fetchall()
            except sqlite3.Error as error:
                self._send(500, f"sqlite3.OperationalError: {error}")
                return
        found = "".join(f"<li>{name} {year}</li>" for name, year in rows) or "<li>nothing</li>"
        links = '<a href="/?title=Up">Up</a>'
        self._send(200, f"<html><body>{links}<p>{title}</p><ul>{found}</ul></body></html>")

    def _send(self, status: int, text: str) -> None:
        content = text.encode(errors="replace")
        self.send_response(status)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Suppresses the request log."""
