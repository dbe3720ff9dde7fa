"""Fuzz targets for Atheris: the parsers that read untrusted bytes first.

    .venv-atheris/bin/python -m scan.parsers TARGET [options of libFuzzer]

`scan/atheris.py` runs this module and evaluates its output. A target passes if it raises no exception other than a
`MovieError`, the error can be encoded as a problem document, and the asserted properties hold.
"""

import sys
import tempfile
from collections.abc import Callable, Coroutine, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import atheris

with atheris.instrument_imports(include=["movie_core", "movie_adapters", "movie_api"]):
    import msgspec
    from litestar.datastructures import Headers

    from movie_adapters.catalogue import files as movie_files
    from movie_adapters.catalogue.query import Interpretation
    from movie_adapters.catalogue.terms import index_entry
    from movie_adapters.security import jwt as jwt_tokens
    from movie_api import request_body as bodies
    from movie_api.routes import accounts, movies, ratings
    from movie_core import errors, paging
    from movie_core.accounts import keyring as keys
    from movie_core.accounts import sessions
    from movie_core.discovery import rating_files

import jwt

from scan.seeds import BODY_KINDS, SECRET, SIGNED, TOKEN_ID

MAX_NESTING = bodies.MAX_DEPTH
ISSUER = "https://movies.example.com"
NOW = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)
T = TypeVar("T")


def check_error(error: errors.MovieError) -> None:
    """Every error, including those in `others`, must be encodable as JSON."""
    found = [error, *getattr(error, "others", ())]
    msgspec.json.encode([(one.code, one.detail, one.field) for one in found])


def read_query(data: bytes) -> None:
    """The query string of a search. An accepted query must survive a round trip through its pagination links."""
    try:
        asked = movies.parse_search(data)
    except errors.Invalid as error:
        check_error(error)
        return
    links = paging.PageLinks.of("", asked.window, asked.window.offset + 1, asked.parameters())
    first = movies.parse_search(links.first.partition("?")[2].encode("ascii"))
    if (first.query, first.exclude_rated) != (asked.query, asked.exclude_rated):
        raise AssertionError(f"{asked} became {first}")
    typed = Interpretation.of(asked.query.text)
    for interpretation in (typed, *Interpretation.with_year(asked.query.text)):
        if not interpretation.words or not interpretation.canonical:
            raise AssertionError(f"no word in {interpretation}")
        interpretation.has_words()
        for form in interpretation.forms:
            interpretation.equals(form)
            interpretation.starts_with(form)


def read_rating_file(data: bytes) -> None:
    """A file of ratings. Each row is either accepted or rejected, exactly once."""
    try:
        rows, rejected = rating_files.parse_ratings(data)
    except errors.Invalid as error:
        check_error(error)
        return
    numbers = [one.row for one in rows], [one.row for one in rejected]
    if sorted(numbers[0] + numbers[1]) != list(range(1, len(rows) + len(rejected) + 1)):
        raise AssertionError(f"rows {numbers[0]} and {numbers[1]}")
    msgspec.json.encode([(one.row, one.code, one.detail) for one in rejected])
    msgspec.json.encode([(one.identity.title, one.rating, one.rated_at) for one in rows])


def movie_file_reader(folder: Path) -> Callable[[bytes], None]:
    """A file of movies. The first byte selects the file name, and thereby the expected compression."""
    paths = [folder / name for name in ("movies.csv", "movies.gz", "movies.xz")]

    def read_movie_file(data: bytes) -> None:
        path = paths[data[0] % 16] if data and data[0] % 16 < len(paths) else paths[0]
        path.write_bytes(data[1:])
        try:
            file = movie_files.MovieFile(path)
            found = list(file)
        except errors.InvalidParameter as error:
            check_error(error)
            return
        if file.rows != file.movies + file.reasons.total() + file.skipped.total() or len(found) != file.movies:
            raise AssertionError(f"{file.rows} rows, {file.movies} movies, {file.reasons}, {file.skipped}")
        if len({one.id for one in found}) != len(found):
            raise AssertionError("duplicate id")
        msgspec.json.encode(found)
        for one in found:
            index_entry(one)

    return read_movie_file


def token_reader() -> Callable[[bytes], None]:
    """An access token. Header and payload after the byte `SIGNED` are signed here, to pass signature verification."""
    tokens = jwt_tokens.JwtAccessTokens(keys.Keyring([SECRET]), issuer=ISSUER, clock=lambda: NOW)
    kid = next(iter(keys.Keyring([SECRET]).by_id))

    def read_token(data: bytes) -> None:
        if data[:1] == SIGNED:
            values = {b"KID": kid.encode(), b"ISSUER": ISSUER.encode(), b"NOW": str(int(NOW.timestamp())).encode()}
            text = data[1:]
            for name, value in values.items():
                text = text.replace(name, value)
            header, _, payload = text.partition(b"\n")
            unsigned = b".".join(map(jwt.utils.base64url_encode, (header, payload)))
            signature = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256).sign(
                unsigned, SECRET.encode()
            )
            token = (unsigned + b"." + jwt.utils.base64url_encode(signature)).decode()
        else:
            token = data.decode("latin-1")
        try:
            access = tokens.read(token)
        except errors.InvalidToken as error:
            check_error(error)
            return
        if data[:1] != SIGNED:
            raise AssertionError("accepted a token with a forged signature")
        if not (access.issued_at <= NOW + timedelta(seconds=jwt_tokens.MAX_CLOCK_SKEW) and access.expires_at > NOW):
            raise AssertionError(f"{access} is accepted at {NOW}")
        if tokens.read(tokens.issue(access)) != access:
            raise AssertionError(f"{access} changes in a round trip")

    access = sessions.AccessClaims(TOKEN_ID, TOKEN_ID, TOKEN_ID, NOW, NOW + timedelta(minutes=15))
    if tokens.read(tokens.issue(access)) != access:
        raise AssertionError("the token reader rejects a valid token")
    return read_token


class AnyValue(msgspec.Struct):
    """A body with a field of any type."""

    value: Any


def depth_of(value: object) -> int:
    """Nesting depth of arrays and objects."""
    depth, level = 0, [value]
    while level := [one for one in level if isinstance(one, list | dict)]:
        depth += 1
        level = [part for one in level for part in (one.values() if isinstance(one, dict) else one)]
    return depth


def read_body(data: bytes) -> None:
    """A request body. The first byte selects the reader: any JSON, a rating, a list of rows, or a form."""
    kind = BODY_KINDS.get(data[:1], "any")
    media_type = bodies.FORM if kind == "form" else bodies.JSON
    request: Any = _Request(data[1:], media_type)
    try:
        if kind == "any":
            value = _result(bodies.read_json(request, AnyValue)).value
            if depth_of(value) >= MAX_NESTING:
                raise AssertionError(f"{depth_of(value)} levels are accepted")
            msgspec.json.encode(value)
        elif kind == "rating":
            _result(bodies.read_optional_json(request, ratings.NewRating))
        elif kind == "rows":
            _result(bodies.read_rows(request, ratings.RatingRow, least=1, most=100))
        else:
            _result(bodies.read_form(request, accounts.ActivationForm))
    except errors.Invalid as error:
        check_error(error)


class _Request:
    """The part of a request that the body readers use."""

    def __init__(self, body: bytes, media_type: str) -> None:
        self.headers = Headers({"content-type": media_type})
        self._body = body

    async def body(self) -> bytes:
        return self._body


def _result(reading: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never suspends."""
    try:
        reading.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    raise AssertionError("the reader suspended")


def find_the_planted(data: bytes) -> None:
    """Self-check: a working fuzzer finds this error within some thousand executions."""
    if data[:1] == b"P" and data[1:2] == b"l" and data[2:3] == b"a" and data[3:4] == b"n" and data[4:5] == b"t":
        raise AssertionError("planted")


def target_of(name: str, folder: Path) -> Callable[[bytes], None]:
    targets: Mapping[str, Callable[[], Callable[[bytes], None]]] = {
        "query": lambda: read_query,
        "rating-file": lambda: read_rating_file,
        "movie-file": lambda: movie_file_reader(folder),
        "token": token_reader,
        "body": lambda: read_body,
        "planted": lambda: atheris.instrument_func(find_the_planted),
    }
    return targets[name]()


def main() -> NoReturn:
    name, *options = sys.argv[1:]
    memory = Path("/dev/shm")  # in memory: on disk, writing the files would take most of the time
    with tempfile.TemporaryDirectory(prefix="scan-", dir=memory if memory.is_dir() else None) as folder:
        atheris.Setup([sys.argv[0], *options], target_of(name, Path(folder)))
        atheris.Fuzz()  # ends the process
    raise SystemExit(1)


if __name__ == "__main__":
    main()
