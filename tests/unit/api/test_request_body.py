import time
from collections.abc import AsyncIterator

import httpx
import pytest
from tests.unit.api.conftest import ANN, AUTHENTICATION, Api
from tests.unit.api.routes.test_movies import assert_problem

RESEND = f"{AUTHENTICATION}verify-email/resend/"
GOOD = b'{"email": "ann@example.com"}'
JSON = {"content-type": "application/json"}


async def post(api: Api, body: bytes) -> httpx.Response:
    return await api.post(RESEND, content=body, headers=JSON)


@pytest.mark.parametrize(
    "content_type",
    ["application/json", "application/json; charset=utf-8", 'Application/JSON;charset="UTF-8"', "application/json;"],
)
async def test_json_in_utf_8_is_taken(api: Api, content_type: str) -> None:
    assert (await api.post(RESEND, content=GOOD, headers={"content-type": content_type})).status_code == 202


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"content-type": ""},
        {"content-type": "text/plain"},
        {"content-type": "application/xml"},
        {"content-type": "multipart/form-data"},
        {"content-type": "application/x-www-form-urlencoded"},
        {"content-type": "application/json; charset=utf-16"},
        {"content-type": "application/json; charset=latin-1"},
        {"content-type": "application/jsonp"},
        {"content-type": "application/json", "content-encoding": "gzip"},
    ],
)
async def test_another_content_type_is_refused(api: Api, headers: dict[str, str]) -> None:
    refused = await api.post(RESEND, content=GOOD, headers=headers)
    told = assert_problem(refused, 415, "unsupported_media_type")
    assert "application/json" in str(told["detail"])


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"{",
        b"null",
        b"1",
        b'"text"',
        b"[]",
        b"[" + GOOD + b"]",
        GOOD + b"x",
        b"\xef\xbb\xbf" + GOOD,
        GOOD.decode().encode("utf-16"),
        b'{"email": "\xff"}',
        b'{"email": "\\ud800"}',
        b'{"email": "a@example.com", "\\udc00": 1}',
        b'{"email": "a@example.com", "email": "b@example.com"}',
        b'{"email": "a@example.com", "x": {"y": 1, "y": 2}}',
        b'{"email": NaN}',
        b'{"email": "a@example.com", "x": [-Infinity]}',
        b"{'email': 'a@example.com'}",
        b'{"email": "a@example.com",}',
        b'{"email": "a\x00@example.com"}',
        b'{"email": ' + b"9" * 10_000 + b"}",
    ],
)
async def test_what_is_no_proper_object_is_refused(api: Api, body: bytes) -> None:
    assert_problem(await post(api, body), 400, "invalid_body")


async def test_a_body_may_be_32_deep(api: Api) -> None:
    fits = b'{"email": ' + b"[" * 31 + b"]" * 31 + b"}"
    assert assert_problem(await post(api, fits), 400, "invalid_body")["errors"]
    for deeper in (fits.replace(b"[]", b"[[]]"), b"[" * 60_000, b'{"a":' * 13_000, b'{"' + b'\\"' * 32_000):
        body = assert_problem(await post(api, deeper), 400, "invalid_body")
        assert not body["errors"]


async def test_a_whole_number_may_be_written_with_a_fraction_of_nothing(api: Api) -> None:
    session = await api.activated()

    async def tell(position: str) -> httpx.Response:
        body = f'[{{"type": "view", "movie_id": "201", "position": {position}}}]'
        return await api.post("/api/v1/events/", content=body, headers=JSON | session)

    for written in ("2", "2.0", "20e-1", "0.2E1"):
        assert (await tell(written)).json() == {"accepted": 1, "rejected": []}, written
    for written in ("2.5", "1e400", "9007199254740994.0"):
        assert (await tell(written)).status_code == 400, written


async def test_brackets_in_a_text_are_no_depth(api: Api) -> None:
    assert_problem(await post(api, b'{"email": "' + b'[{\\"' * 100 + b'"}'), 400, "invalid_email")


async def test_depth_costs_nothing(api: Api) -> None:
    began = time.process_time()
    await post(api, b"[" * 60_000)
    assert time.process_time() - began < 0.1


async def test_every_field_at_fault_is_named(api: Api) -> None:
    wrong = {"email": ["ann@example.com"], "username": None, "is_staff": True, "role": "admin"}
    body = assert_problem(await api.post(f"{AUTHENTICATION}register/", json=wrong), 400, "invalid_body")
    fields = [row["field"] for row in body["errors"]]  # type: ignore[attr-defined]
    assert fields == ["email", "username", "password", "is_staff", "role"]
    assert (await api.emails()) == []


async def test_a_refusal_repeats_little_of_what_it_refuses(api: Api) -> None:
    wrong = {f"{number:05}{'x' * 1000}": 1 for number in range(50)}
    answer = await api.post(f"{AUTHENTICATION}register/", json=ANN | wrong)
    assert_problem(answer, 400, "invalid_body")
    assert "x" * 100 not in answer.text


async def test_a_body_of_64_kib_is_the_limit(api: Api) -> None:
    async def chunks(size: int) -> AsyncIterator[bytes]:
        for _ in range(size // 1024):
            yield b" " * 1024

    fits = GOOD + b" " * (64 * 1024 - len(GOOD))
    assert (await post(api, fits)).status_code == 202
    answer = await post(api, fits + b" ")
    assert_problem(answer, 413, "content_too_large")
    assert answer.headers["connection"] == "close"
    assert_problem(await api.post(RESEND, content=chunks(66 * 1024), headers=JSON), 413, "content_too_large")


@pytest.mark.parametrize("body", [b"a", b"a=1", b"password=1&password=2", b"=", b"%FF=", b"\xff=1", b"password=%FF"])
async def test_a_form_has_just_its_fields(api: Api, body: bytes) -> None:
    link = f"{AUTHENTICATION}password/reset/uid/token/"
    page = await api.post(link, content=body, headers={"content-type": "application/x-www-form-urlencoded"})
    assert page.status_code == 400
    assert "Invalid body" in page.text
