import logging
import re

import httpx
import pytest
from tests.support.api import MOVIES, OpenApi


async def test_a_request_has_one_log_line_without_the_query(
    api: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "movie_api.access"):
        await api.get(f"{MOVIES}?query=secret", headers={"authorization": "Bearer canary"})
        await api.get("/a%0Ab%1B%5B0m")
    lines = [record.getMessage() for record in caplog.records if record.name == "movie_api.access"]
    assert len(lines) == 2
    assert re.fullmatch(rf"GET {MOVIES} 404 \d+\.\d ms", lines[0])
    assert "\n" not in lines[1]
    assert "\x1b" not in lines[1]
    assert "canary" not in caplog.text
    assert "secret" not in " ".join(lines)


async def test_every_rejected_request_is_logged(open_api: OpenApi, caplog: pytest.LogCaptureFixture) -> None:
    async with open_api(MOVIE_LIMIT_REGISTER="1/minute", MOVIE_PUBLIC_SEARCH="false") as api:
        register, ann = "/api/v1/authentication/register/", await api.activated()
        with caplog.at_level(logging.INFO, "movie_api.access"):
            for status, method, path, headers in (
                (400, "GET", f"{MOVIES}?limit=0", ann),
                (400, "GET", "/", {"host": "evil.test"}),
                (401, "GET", MOVIES, {}),
                (401, "GET", MOVIES, {"authorization": "Bearer forged"}),
                (403, "GET", "/api/v1/admin/users/", ann),
                (405, "PUT", "/", {}),
                (414, "GET", f"/{'a' * 9000}", {}),
                (415, "POST", "/api/v1/authentication/login/", {"content-type": "text/plain"}),
                (429, "POST", register, {"content-type": "application/json"}),
            ):
                assert (await api.request(method, path, headers=headers)).status_code == status, path
                record = caplog.records[-1]
                shown = path.partition("?")[0][:100]
                assert record.getMessage().startswith(f"{method} {shown}"), record.getMessage()
                assert f" {status} " in record.getMessage()
                assert record.user_id == (caplog.records[0].user_id if headers is ann else None)  # type: ignore[attr-defined]
        assert re.fullmatch(r"[0-9a-f]{32}", caplog.records[0].user_id)  # type: ignore[attr-defined]
