"""The path of the public URL, such as `/movies` of `https://example.org/movies`."""

from collections.abc import Iterable
from urllib.parse import unquote, urlsplit

from litestar.types import HTTPScope


def base_path_of(public_url: str) -> str:
    """The path of the public URL without a slash at its end; empty if it has none."""
    return urlsplit(public_url).path.rstrip("/")


class BasePath:
    """Removes the path of the public URL from requests, so that routes and layers see the same path whether a reverse
    proxy has removed it or not."""

    def __init__(self, public_url: str, routes: Iterable[str]) -> None:
        """`routes` are the paths of all routes."""
        self._raw = base_path_of(public_url).encode()
        self._path = unquote(self._raw.decode())
        self._roots = frozenset(_first_segment(route) for route in routes)

    def remove_from(self, scope: HTTPScope) -> None:
        path = scope["path"]
        if not self._path or not path.startswith(self._path):
            return
        rest = path[len(self._path) :]
        # The public URL may end with the first segment of a route, such as `/api`. A path that is one of a route after
        # the removal was not removed before.
        if rest[:1] not in ("", "/") or _first_segment(rest) not in self._roots:
            return
        scope["path"] = rest or "/"
        raw = scope.get("raw_path")
        if raw:
            scope["raw_path"] = raw[len(self._raw) :] or b"/" if raw.startswith(self._raw) else rest.encode()


def _first_segment(path: str) -> str:
    return path.lstrip("/").partition("/")[0]
