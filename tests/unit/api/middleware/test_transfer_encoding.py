from typing import Any

import httpx
import pytest
from litestar.types import Receive, Send
from tests.support.api import LOGIN, Api, assert_problem, with_layers

from movie_api.context import RequestHead
from movie_api.middleware.cors import CorsPolicy
from movie_api.middleware.response_headers import ResponseHeaders
from movie_api.middleware.transfer_encoding import TransferEncoding


@pytest.mark.parametrize("value", ["chunked", "Chunked", "CHUNKED"])
async def test_chunked_is_supported(value: str) -> None:
    async def app(scope: Any, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    layered = with_layers(app, lambda inner: ResponseHeaders(inner, public_url="", cors=CorsPolicy()), TransferEncoding)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(layered), base_url="http://127.0.0.1") as client:
        assert (await client.post("/", headers={"transfer-encoding": value})).status_code == 204


@pytest.mark.parametrize(
    "values",
    [
        ["gzip"],
        ["identity"],
        [""],
        ["xchunked"],
        ["chunked, chunked"],
        ["gzip, chunked"],
        ["chunked;a=b"],
        ['"chunked"'],
        ["chunked", "chunked"],
        ["chunked", "identity"],
        ["", "chunked"],
    ],
)
async def test_another_coding_is_not_implemented(api: Api, values: list[str]) -> None:
    headers = [("content-type", "application/json"), *(("transfer-encoding", value) for value in values)]
    response = await api.post(LOGIN, headers=headers)
    assert_problem(response, 501, "unsupported_transfer_encoding")
    assert response.headers["connection"] == "close"


def test_several_lines_are_one_list() -> None:
    head = RequestHead([(b"transfer-encoding", b"chunked"), (b"transfer-encoding", b"")])
    assert head.transfer_encoding == b"chunked, "
    assert RequestHead([]).transfer_encoding is None
