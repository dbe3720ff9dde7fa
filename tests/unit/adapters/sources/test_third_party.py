"""Parsing of responses of the third party, and rejection of invalid ones."""

import json
import logging
import unicodedata
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from movie_adapters.sources.http import (
    MAX_BODY,
    MAX_RETRY_AFTER,
    SourceFault,
    SourceHttp,
    clean_text,
    decode_json,
    parse_retry_after,
)
from movie_adapters.sources.third_party import ThirdPartyMovieSource, parse_movie
from movie_core.errors import FilterUnsupported
from movie_core.paging import Window
from movie_core.search.movies import Movie, MoviePage, MovieQuery, Order, Years
from movie_core.search.retry_policy import StatusSet

Handler = Callable[[httpx.Request], httpx.Response]
STATUSES = StatusSet.parse("400-409,425,429,5xx")


def source_of(handler: Handler, base_url: str = "http://source.test") -> ThirdPartyMovieSource:
    transport = httpx.MockTransport(handler)
    return ThirdPartyMovieSource(SourceHttp(base_url, timeout=1, retry_status=STATUSES, transport=transport))


def answering(answer: Any) -> ThirdPartyMovieSource:
    return source_of(lambda _: httpx.Response(200, content=json.dumps(answer)))


async def search(source: ThirdPartyMovieSource, offset: int = 0, limit: int = 10) -> MoviePage:
    return await source.search(MovieQuery("matrix"), Window(offset, limit))


async def fault_of(source: ThirdPartyMovieSource, offset: int = 0) -> SourceFault:
    with pytest.raises(SourceFault) as caught:
        await search(source, offset)
    return caught.value


GOOD = {"id": 603, "title": "The Matrix"}


@pytest.mark.parametrize("base_url", ["http://source.test/v1", "http://source.test/v1/"])
async def test_the_request_is_the_original_one(base_url: str) -> None:
    asked = []

    def handle(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        return httpx.Response(200, json={"items": [GOOD], "total": 21})

    await search(source_of(handle, base_url), 20, 5)
    assert asked == ["http://source.test/v1/movies/?skip=20&limit=5&query=matrix"]


@pytest.mark.parametrize("text", ["a&limit=1#?/../", "100% +plus;%41", "'\"><script>", "é千💡", "{x}|\\^`~", "a=b&c"])
async def test_a_query_reaches_the_source_unchanged_in_one_parameter(text: str) -> None:
    asked = []

    def handle(request: httpx.Request) -> httpx.Response:
        asked.append(request.url)
        return httpx.Response(200, json={"items": [GOOD], "total": 1})

    await source_of(handle).search(MovieQuery(text), Window())
    assert asked[0].params.multi_items() == [("skip", "0"), ("limit", "10"), ("query", text)]
    assert asked[0].path == "/movies/"


async def test_a_page_is_parsed() -> None:
    page = await search(answering({"items": [GOOD, {"id": "b", "title": "Other", "rating": 5}], "total": 42}))
    assert (page.total, page.source) == (42, "third_party")
    assert page.items == (Movie(id="603", title="The Matrix"), Movie(id="b", title="Other"))


async def test_no_match_is_an_empty_page() -> None:
    assert (await search(answering({"items": [], "total": 0}))).items == ()


async def test_a_window_past_the_end_keeps_the_total() -> None:
    page = await search(answering({"items": [], "total": 5}), offset=10)
    assert (page.total, page.items) == (5, ())


async def test_bad_and_repeated_items_are_dropped_and_counted() -> None:
    bad = [
        *(None, 7, "title", [], {}, {"id": 1}, {"title": "x"}, {"id": None, "title": "x"}, {"id": True, "title": "x"}),
        *(
            {"id": 1.5, "title": "x"},
            {"id": "", "title": "x"},
            {"id": "x" * 201, "title": "x"},
            {"id": [1], "title": "x"},
        ),
        *({"id": "a\nb", "title": "x"}, {"id": 1, "title": None}, {"id": 1, "title": 5}, {"id": 1, "title": " \t\0"}),
        *({"id": "603", "title": "The same id as the good one"}, {"id": 1, "title": "x" * 1001}),
    ]
    source = answering({"items": [GOOD, *bad], "total": 40})
    assert (await search(source, limit=100)).items == (Movie(id="603", title="The Matrix"),)
    assert source.dropped == len(bad)


async def test_items_beyond_the_limit_are_truncated() -> None:
    source = answering({"items": [{"id": number, "title": "x"} for number in range(50)], "total": 50})
    assert [movie.id for movie in (await search(source, limit=3)).items] == ["0", "1", "2"]
    assert source.dropped == 0


@pytest.mark.parametrize(
    "answer",
    [
        *(
            [],
            None,
            1,
            "x",
            {},
            {"items": [GOOD]},
            {"total": 1},
            {"items": {}, "total": 1},
            {"items": None, "total": 1},
        ),
        *({"items": [GOOD], "total": total} for total in (None, -1, "1", 1.0, 1.5, True, [], 0, 10**9 + 1, 10**30)),
        {"items": [GOOD], "total": 1, "error": "try later"},
        {"items": [], "total": 0, "error": {"code": 7}},
        {"items": [], "total": 5},
        {"items": [{"id": 1}, {"title": "x"}], "total": 5},
    ],
)
async def test_a_response_of_the_wrong_shape_is_a_fault(answer: Any) -> None:
    fault = await fault_of(answering(answer))
    assert (fault.kind, fault.retryable) == ("wrong_shape", True)


async def test_an_error_that_is_null_is_none() -> None:
    assert (await search(answering({"items": [GOOD], "total": 1, "error": None}))).total == 1


def test_optional_fields_are_parsed_where_valid() -> None:
    movie = parse_movie(
        GOOD
        | {"year": 1999, "genres": ["Action", "", 5, "Action", "Science\nFiction"], "original_title": " The  Matrix "}
        | {"overview": "Long.", "runtime_minutes": 136, "directors": ["A", "B"], "cast": [], "countries": ["US"]}
        | {"poster_url": "https://img.test/1.jpg", "imdb_id": "tt0133093", "tmdb_id": 603, "popularity": 7}
    )
    assert movie == Movie(
        id="603",
        title="The Matrix",
        year=1999,
        genres=("Action", "Science Fiction"),
        original_title="The Matrix",
        overview="Long.",
        runtime_minutes=136,
        directors=("A", "B"),
        countries=("US",),
        poster_url="https://img.test/1.jpg",
        imdb_id="tt0133093",
        tmdb_id="603",
        popularity=7.0,
    )


def test_invalid_optional_fields_are_omitted() -> None:
    odd = {"year": "1999", "genres": "Action", "runtime_minutes": True, "poster_url": "javascript:alert(1)"}
    odd |= {
        "imdb_id": "0133093",
        "popularity": float("inf"),
        "overview": 5,
        "cast": {"a": 1},
        "tmdb_id": [],
        "directors": None,
    }
    assert parse_movie(GOOD | odd) == Movie(id="603", title="The Matrix")


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("The Matrix", "The Matrix"),
        ("  The \t Matrix ", "The Matrix"),
        ("Two\r\nLines\u2028and\x85more", "Two Lines and more"),
        ("N\0UL\x1b[31m\x7f\x9f", "NUL[31m"),
        ("gnp.\u202eexe\u2066x\u2069", "gnp.exex"),
        ("half \ud83c pair", "half pair"),
        ("<script>", "<script>"),
        ("می\u200cخواهم 👩\u200d🚀", "می\u200cخواهم 👩\u200d🚀"),
        ("\xa0Caf\u00e9\u3000X", "Café X"),
        ("\0 \u202e", ""),
    ],
)
def test_text_is_cleaned(text: str, clean: str) -> None:
    assert clean_text(text) == clean
    assert clean_text(clean) == clean
    assert not any(unicodedata.category(character) in {"Cc", "Cs", "Zl", "Zp"} for character in clean)


async def test_unsupported_filters_and_methods_are_rejected_without_a_call() -> None:
    source = answering({"items": [GOOD], "total": 1})
    for query in (MovieQuery(years=Years(1999, 1999)), MovieQuery(genre="Drama"), MovieQuery(order=Order.YEAR)):
        with pytest.raises(FilterUnsupported):
            await source.search(query, Window())
    for call in (source.get("1"), source.suggest("x", 3), source.genres()):
        with pytest.raises(FilterUnsupported):
            await call


@pytest.mark.parametrize(
    ("status", "kind", "retryable"),
    [
        *((status, "status", True) for status in (400, 401, 403, 404, 409, 425, 429, 500, 503, 599)),
        *((status, "status", False) for status in (410, 418, 422, 451)),
        *((status, "status", True) for status in (201, 204, 206)),
        *((status, "redirect", False) for status in (301, 302, 304, 307, 308)),
    ],
)
async def test_the_setting_decides_which_statuses_are_retryable(status: int, kind: str, retryable: bool) -> None:
    headers = {"Location": "http://169.254.169.254/"}
    fault = await fault_of(source_of(lambda _: httpx.Response(status, headers=headers, json={"items": [], "total": 0})))
    assert (fault.kind, fault.status, fault.retryable, fault.requested_wait) == (kind, status, retryable, None)


async def test_retry_after_is_returned() -> None:
    fault = await fault_of(source_of(lambda _: httpx.Response(429, headers={"Retry-After": "7"})))
    assert (fault.requested_wait, fault.retry_after) == (7.0, 7.0)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        *(("0", 0.0), ("1", 1.0), (" 120 ", 120.0), ("9" * 500, MAX_RETRY_AFTER)),
        *((None, None), ("", None), ("-1", None), ("1.5", None), ("soon", None), ("٣", None), ("1,2", None)),
        *(("Mon, 23 Nov 2026 12:00:30 GMT", 30.0), ("Mon, 23 Nov 2026 11:00:00 GMT", 0.0)),
        ("Mon, 23 Nov 2099 11:00:00 GMT", MAX_RETRY_AFTER),
        ("Mon, 99 Nov 2026 11:00:00 GMT", None),
    ],
)
def test_retry_after_is_parsed(value: str | None, seconds: float | None) -> None:
    assert parse_retry_after(value, now=datetime(2026, 11, 23, 12, tzinfo=UTC)) == seconds


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"<html>", b"{", b'{"a":NaN}', b'{"a":Infinity}', b'{"a":1e999}', b"{} {}", b'{"a":"\xff"}', b"[" * 99),
        *(b"[" * 100_000 + b"]" * 100_000, '{"a":1}'.encode("utf-16"), b"'a'", b'{"a":"\\ud8"}', b"9" * 5000),
    ],
)
def test_invalid_json_is_a_fault(body: bytes) -> None:
    with pytest.raises(SourceFault) as caught:
        decode_json(body)
    assert caught.value.kind == "not_json"


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b'\xef\xbb\xbf{"a": 1}', {"a": 1}),
        (b'{"a": 1, "a": 2}', {"a": 2}),
        (rb'"\ud83d\udca1"', "💡"),
        (rb'"\ud83d x"', "\ufffd x"),
        (rb'"\udca1\ud83d"', "\ufffd\ufffd"),
        (rb'"\ud83d\ud83d\udca1"', "\ufffd💡"),
        (rb'"\\ud83d \ud83d"', "\\ud83d \ufffd"),
    ],
)
def test_odd_json_is_decoded(body: bytes, value: Any) -> None:
    assert decode_json(body) == value


async def test_a_body_of_one_mebibyte_is_the_limit() -> None:
    def body(size: int) -> bytes:
        text = json.dumps({"items": [GOOD], "total": 1})
        return text.encode() + b" " * (size - len(text))

    assert (await search(source_of(lambda _: httpx.Response(200, content=body(MAX_BODY))))).total == 1
    assert (await fault_of(source_of(lambda _: httpx.Response(200, content=body(MAX_BODY + 1))))).kind == "too_large"


@pytest.mark.parametrize("coding", ["br", "deflate", "gzip, gzip", "zstd"])
async def test_an_unsupported_encoding_is_a_fault(coding: str) -> None:
    class Packed(httpx.AsyncByteStream):
        async def __aiter__(self):  # type: ignore[no-untyped-def]  # the generator's own type says nothing more
            yield b"\x1f\x8b"

    headers = {"Content-Encoding": coding}
    source = source_of(lambda _: httpx.Response(200, headers=headers, stream=Packed()))
    assert (await fault_of(source)).kind == "encoding"


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (httpx.ConnectError("x"), "connect"),
        (httpx.ConnectTimeout("x"), "timeout"),
        (httpx.ReadError("x"), "reset"),
        (httpx.RemoteProtocolError("x"), "reset"),
        (OSError("x"), "reset"),
    ],
)
async def test_a_broken_connection_is_a_fault(error: Exception, kind: str) -> None:
    def handle(_: httpx.Request) -> httpx.Response:
        raise error

    fault = await fault_of(source_of(handle))
    assert (fault.kind, fault.retryable) == (kind, True)


@pytest.mark.parametrize(
    "url",
    ["", "source.test", "ftp://source.test", "http://", "http://x/?a=1", "http://x/#a", "http://u:p@x/", "file:///a"],
)
def test_an_invalid_base_url_is_rejected(url: str) -> None:
    with pytest.raises(ValueError):
        SourceHttp(url, timeout=1, retry_status=STATUSES)


async def test_every_request_has_the_configured_headers_and_parameters_and_no_cookies(
    caplog: pytest.LogCaptureFixture,
) -> None:
    asked = []

    def handle(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(200, headers={"Set-Cookie": "a=b"}, json={"x": 1})

    http = SourceHttp(
        "http://source.test",
        timeout=1,
        retry_status=STATUSES,
        headers={"Authorization": "Bearer canary"},
        parameters=(("api_key", "canary"),),
        transport=httpx.MockTransport(handle),
    )
    with caplog.at_level(logging.DEBUG):
        for _ in range(2):
            assert await http.get("3/movie/1", [("language", "en")]) == {"x": 1}
    await http.close()
    assert [str(request.url) for request in asked] == ["http://source.test/3/movie/1?language=en&api_key=canary"] * 2
    assert [request.headers.get("cookie") for request in asked] == [None, None]
    assert asked[0].headers["authorization"] == "Bearer canary"
    assert "canary" not in caplog.text
