import httpx
from tests.support.api import MOVIES, Api


async def test_head_is_get_without_the_body(api: Api) -> None:
    for path in ("/health/live", MOVIES, "/docs", "/nothing"):
        shown, head = await api.get(path), await api.head(path)
        assert (head.status_code, head.content) == (shown.status_code, b""), path
        assert head.headers["content-length"] == shown.headers["content-length"], path


async def test_allow_lists_head_beside_get(api: httpx.AsyncClient) -> None:
    for response in (await api.put("/health/live"), await api.options("/health/live")):
        assert {"GET", "HEAD"} <= set(response.headers["allow"].split(", "))
    assert "HEAD" not in (await api.options("/api/v1/authentication/login/")).headers["allow"]
    assert "HEAD" not in (await api.get("/api/v1/authentication/login/")).headers["allow"]
