import httpx
from tests.support.api import MOVIES, assert_problem


async def test_a_target_of_8_kib_is_the_limit(api: httpx.AsyncClient) -> None:
    fits = f"{MOVIES}?_={'a' * (8192 - len(MOVIES) - 3)}"
    assert len(fits) == 8192
    assert (await api.get(fits)).status_code == 200
    assert_problem(await api.get(fits + "a"), 414, "uri_too_long")


async def test_100_headers_and_16_kib_of_them_are_the_limit(api: httpx.AsyncClient) -> None:
    few = [(f"x-{number}", "1") for number in range(100 - 5)]  # httpx sends five of its own
    assert (await api.get(MOVIES, headers=few)).status_code == 200
    assert_problem(await api.get(MOVIES, headers=[*few, ("x-more", "1")]), 431, "headers_too_large")
    assert_problem(await api.get(MOVIES, headers={"x-long": "a" * 16 * 1024}), 431, "headers_too_large")
    assert (await api.get(MOVIES, headers={"x-long": "a" * 15 * 1024})).status_code == 200
