import time
from collections.abc import AsyncIterator

import httpx
import pytest
from tests.support.api import ANN, AUTHENTICATION, Api, assert_problem

RESEND = f"{AUTHENTICATION}verify-email/resend/"
VALID_BODY = b'{"email": "ann@example.com"}'
JSON = {"content-type": "application/json"}


async def post(api: Api, body: bytes) -> httpx.Response:
    return await api.post(RESEND, content=body, headers=JSON)


@pytest.mark.parametrize(
    "content_type",
    ["application/json", "application/json; charset=utf-8", 'Application/JSON;charset="UTF-8"', "application/json;"],
)
async def test_json_in_utf_8_is_accepted(api: Api, content_type: str) -> None:
    assert (await api.post(RESEND, content=VALID_BODY, headers={"content-type": content_type})).status_code == 202


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
async def test_another_content_type_is_rejected(api: Api, headers: dict[str, str]) -> None:
    response = await api.post(RESEND, content=VALID_BODY, headers=headers)
    problem = assert_problem(response, 415, "unsupported_media_type")
    assert "application/json" in str(problem["detail"])


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
        b"[" + VALID_BODY + b"]",
        VALID_BODY + b"x",
        b"\xef\xbb\xbf" + VALID_BODY,
        VALID_BODY.decode().encode("utf-16"),
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
async def test_anything_but_a_valid_json_object_is_rejected(api: Api, body: bytes) -> None:
    assert_problem(await post(api, body), 400, "invalid_body")


async def test_json_may_be_nested_32_deep(api: Api) -> None:
    fits = b'{"email": ' + b"[" * 31 + b"]" * 31 + b"}"
    assert assert_problem(await post(api, fits), 400, "invalid_body")["errors"]
    for deeper in (fits.replace(b"[]", b"[[]]"), b"[" * 60_000, b'{"a":' * 13_000, b'{"' + b'\\"' * 32_000):
        body = assert_problem(await post(api, deeper), 400, "invalid_body")
        assert not body["errors"]


async def test_an_integer_may_be_written_with_a_zero_fraction(api: Api) -> None:
    session = await api.activated()

    async def send_event(position: str) -> httpx.Response:
        body = f'[{{"type": "view", "movie_id": "201", "position": {position}}}]'
        return await api.post("/api/v1/events/", content=body, headers=JSON | session)

    for number in ("2", "2.0", "20e-1", "0.2E1"):
        assert (await send_event(number)).json() == {"accepted": 1, "rejected": []}, number
    for number in ("2.5", "1e400", "9007199254740994.0"):
        assert (await send_event(number)).status_code == 400, number


async def test_brackets_in_a_string_do_not_count_as_nesting(api: Api) -> None:
    assert_problem(await post(api, b'{"email": "' + b'[{\\"' * 100 + b'"}'), 400, "invalid_email")


async def test_deep_nesting_is_rejected_quickly(api: Api) -> None:
    started = time.process_time()
    await post(api, b"[" * 60_000)
    assert time.process_time() - started < 0.1


async def test_every_invalid_field_is_named(api: Api) -> None:
    invalid = {"email": ["ann@example.com"], "username": None, "is_staff": True, "role": "admin"}
    body = assert_problem(await api.post(f"{AUTHENTICATION}register/", json=invalid), 400, "invalid_body")
    fields = [row["field"] for row in body["errors"]]  # type: ignore[attr-defined]
    assert fields == ["email", "username", "password", "is_staff", "role"]
    assert (await api.emails()) == []


async def test_an_error_repeats_little_of_the_input(api: Api) -> None:
    invalid = {f"{number:05}{'x' * 1000}": 1 for number in range(50)}
    response = await api.post(f"{AUTHENTICATION}register/", json=ANN | invalid)
    assert_problem(response, 400, "invalid_body")
    assert "x" * 100 not in response.text


async def test_a_body_of_64_kib_is_the_limit(api: Api) -> None:
    async def chunks(size: int) -> AsyncIterator[bytes]:
        for _ in range(size // 1024):
            yield b" " * 1024

    fits = VALID_BODY + b" " * (64 * 1024 - len(VALID_BODY))
    assert (await post(api, fits)).status_code == 202
    response = await post(api, fits + b" ")
    assert_problem(response, 413, "content_too_large")
    assert response.headers["connection"] == "close"
    assert_problem(await api.post(RESEND, content=chunks(66 * 1024), headers=JSON), 413, "content_too_large")


@pytest.mark.parametrize("body", [b"a", b"a=1", b"password=1&password=2", b"=", b"%FF=", b"\xff=1", b"password=%FF"])
async def test_an_invalid_form_is_rejected(api: Api, body: bytes) -> None:
    link = f"{AUTHENTICATION}password/reset/uid/token/"
    page = await api.post(link, content=body, headers={"content-type": "application/x-www-form-urlencoded"})
    assert page.status_code == 400
    assert "Invalid body" in page.text
