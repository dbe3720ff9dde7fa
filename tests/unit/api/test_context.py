import re

import httpx
from tests.support.api import MOVIES


async def test_a_valid_request_id_is_used_and_another_is_replaced(api: httpx.AsyncClient) -> None:
    assert (await api.get(MOVIES, headers={"x-request-id": "a-B_1."})).headers["x-request-id"] == "a-B_1."
    for invalid in (b"", b"a b", b"a" * 65, "ä".encode(), b"<x>"):
        generated = (await api.get(MOVIES, headers={b"x-request-id": invalid})).headers["x-request-id"]
        assert re.fullmatch(r"[0-9a-f]{32}", generated), invalid
