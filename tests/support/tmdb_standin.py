"""A stand-in for TMDB on a local socket: its v3 paths, pages, errors and quirks, with generated movies."""

import asyncio
import contextlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from movie_core.search.movies import Movie
from movie_core.text import split_words

TOKEN = "eyJhbGciOiJIUzI1NiJ9.stand-in.read-access"
KEY = "0123456789abcdef0123456789abcdef"

Answer = tuple[int, Mapping[str, str], Any]
"""Status, additional headers, and a body: JSON, or raw bytes."""

_PAGE_SIZE, _MAX_PAGE = 20, 500
_MESSAGES = {
    7: (401, "Invalid API key: You must be granted a valid key."),
    11: (500, "Internal error: Something went wrong, contact TMDB."),
    22: (400, "Invalid page: Pages start at 1 and max at 500. They are expected to be an integer."),
    23: (400, "Invalid date: Format needs to be YYYY-MM-DD."),
    25: (429, "Your request count is over the allowed limit."),
    34: (404, "The resource you requested could not be found."),
}


def failure(code: int, **headers: str) -> Answer:
    """Returns TMDB's error response for a code."""
    status, message = _MESSAGES[code]
    return status, headers, {"success": False, "status_code": code, "status_message": message}


def made_up_movies(count: int) -> tuple[Movie, ...]:
    """Returns movies with ids 1 to `count`, most popular first; every title contains the word Reel."""
    genres = ("Action", "Comedy", "Drama", "Horror")
    return tuple(
        Movie(
            id=str(number),
            title=f"Reel {number}",
            year=1920 + number % 100,
            genres=(genres[number % 4],),
            popularity=float(count - number),
        )
        for number in range(1, count + 1)
    )


class TmdbStandin:
    """An async context manager that serves `movies`, whose ids must be numbers; `url` replaces `TMDB_URL`."""

    def __init__(self, movies: Sequence[Movie], *, details: Mapping[int, Mapping[str, Any]] | None = None) -> None:
        self.rows = sorted(map(_Row, movies), key=lambda row: (-row.popularity, row.number))
        self.details = details or {}
        """Additional fields of `movie/{id}`, by id."""
        self.calls: list[tuple[str, dict[str, str]]] = []
        """Paths and parameters of all requests in order, including rejected ones."""
        self.override: Callable[[str, Mapping[str, str]], Answer | None] = lambda _path, _params: None
        """Returns a response that replaces the usual one for a path and parameters, or None."""
        self.url = ""
        self._genres = {name: 10 + place for place, name in enumerate(sorted({g for m in movies for g in m.genres}))}
        self._connections: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> "TmdbStandin":
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/3"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        await self._server.wait_closed()

    def paths(self) -> list[str]:
        return [path for path, _ in self.calls]

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._connections.add(connection)
        connection.add_done_callback(self._connections.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                status, headers, body = self._answer(head.decode("ascii"))
                content = body if isinstance(body, bytes) else json.dumps(body).encode()
                all_headers = {
                    "Content-Type": "application/json;charset=utf-8",
                    "Content-Length": len(content),
                    **headers,
                }
                lines = "".join(f"{name}: {value}\r\n" for name, value in all_headers.items())
                writer.write(f"HTTP/1.1 {status} Status\r\n{lines}\r\n".encode() + content)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    def _answer(self, head: str) -> Answer:
        request, *lines = head.split("\r\n")
        target = urlsplit(request.split(" ")[1])
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        params = dict(parse_qsl(target.query, keep_blank_values=True, strict_parsing=bool(target.query)))
        path = target.path.removeprefix("/3/")
        self.calls.append((path, params))
        # The long token is accepted in the header only, the key in the query only.
        if headers.get("authorization") != f"Bearer {TOKEN}" and params.get("api_key") != KEY:
            return failure(7)
        replacement = self.override(path, params)
        return replacement if replacement is not None else self._route(path, params)

    def _route(self, path: str, params: Mapping[str, str]) -> Answer:
        match path.split("/"):
            case ["search", "movie"]:
                return self._page(self._search(params), params)
            case ["discover", "movie"]:
                dates = [params[name] for name in params if name.startswith("primary_release_date.")]
                if not all(len(date) == 10 for date in dates):
                    return failure(23)
                return self._page(self._discover(params), params)
            case ["genre", "movie", "list"]:
                return 200, {}, {"genres": [{"id": number, "name": name} for name, number in self._genres.items()]}
            case ["movie", number]:
                matches = [row for row in self.rows if str(row.number) == number]
                return (200, {}, self._details(matches[0], params)) if matches else failure(34)
        return failure(34)

    def _search(self, params: Mapping[str, str]) -> list["_Row"]:
        """Exact titles first, then the most popular."""
        wanted = split_words(params["query"])
        year = params.get("primary_release_year")
        matches = [
            row
            for row in self.rows
            if wanted
            and all(any(word.startswith(part) for word in row.words) for part in wanted)
            and (year is None or row.date.startswith(year))
        ]
        return sorted(matches, key=lambda row: row.words != wanted)

    def _discover(self, params: Mapping[str, str]) -> list["_Row"]:
        first, last = params.get("primary_release_date.gte", ""), params.get("primary_release_date.lte", "9999-99-99")
        genre = params.get("with_genres")
        is_dated = "primary_release_date.gte" in params
        matches = [
            row
            for row in self.rows
            if first <= row.date <= last
            and (row.date or not is_dated)
            and (genre is None or int(genre) in self._genre_ids(row))
        ]
        if params["sort_by"] == "primary_release_date.desc":
            by_number = sorted(matches, key=lambda row: row.number)
            return sorted(by_number, key=lambda row: row.date, reverse=True)
        assert params["sort_by"] == "popularity.desc"
        return matches

    def _page(self, matches: list["_Row"], params: Mapping[str, str]) -> Answer:
        if params.get("include_adult") != "false":
            return failure(11)  # every request must contain it
        page = int(params.get("page", "1"))
        if not 1 <= page <= _MAX_PAGE:
            return failure(22)
        body = {
            "page": page,
            "results": [self._row(row) for row in matches[(page - 1) * _PAGE_SIZE : page * _PAGE_SIZE]],
            "total_pages": max(1, -(-len(matches) // _PAGE_SIZE)),
            "total_results": len(matches),
        }
        return 200, {}, body

    def _genre_ids(self, row: "_Row") -> list[int]:
        return [self._genres[name] for name in row.movie.genres]

    def _row(self, row: "_Row") -> dict[str, Any]:
        return {
            "adult": False,
            "backdrop_path": None,
            "genre_ids": self._genre_ids(row),
            "id": row.number,
            "original_language": "en",
            "original_title": row.movie.original_title or row.movie.title,
            "overview": row.movie.overview or "",
            "popularity": row.popularity,
            "poster_path": None,
            "release_date": row.date,
            "title": row.movie.title,
            "video": False,
            "vote_average": 0.0,
            "vote_count": 0,
        }

    def _details(self, row: "_Row", params: Mapping[str, str]) -> dict[str, Any]:
        whole = self._row(row)
        del whole["genre_ids"]
        whole["genres"] = [{"id": self._genres[name], "name": name} for name in row.movie.genres]
        whole |= {"imdb_id": None, "runtime": 0, "production_countries": [], **self.details.get(row.number, {})}
        if params.get("append_to_response") == "credits":
            whole.setdefault("credits", {"cast": [], "crew": []})
        else:
            whole.pop("credits", None)
        return whole


class _Row:
    def __init__(self, movie: Movie) -> None:
        self.movie = movie
        self.number = int(movie.id)
        self.words = split_words(movie.title)
        self.date = "" if movie.year is None else f"{movie.year}-06-15"
        self.popularity = movie.popularity or 0.0
