"""Control and search of the stand-in's server."""

import json

import pytest

from movie_core.search.movies import Movie
from movie_standin.faults import Behaviour
from movie_standin.server import StandInServer

MOVIES = (Movie(id="7", title="Amber River"), Movie(id="tt7", title="Bay RIVER"), Movie(id="007", title="Undated"))


def test_control_accepts_its_own_response() -> None:
    upstream = StandInServer(MOVIES)
    status, shown = upstream._change_behaviour(b"{}")
    assert (status, upstream._change_behaviour(json.dumps(shown).encode())) == (200, (200, shown))


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"fail_rate": 2}', b'{"refuse_seconds": "x"}', b"[" * 100_000])
def test_an_invalid_control_request_changes_nothing(body: bytes) -> None:
    upstream = StandInServer(MOVIES, Behaviour(seed=1))
    status, response = upstream._change_behaviour(body)
    assert status == 400
    assert response["detail"]
    assert upstream.behaviour == Behaviour(seed=1)


@pytest.mark.parametrize(
    ("query", "ids"),
    [("river", [7, "tt7"]), ("RIVER", [7, "tt7"]), ("", [7, "tt7", "007"]), ("x", []), ("amber r", [7])],
)
def test_search_finds_titles_that_contain_the_query(query: str, ids: list[object]) -> None:
    page = StandInServer(MOVIES)._page({"skip": ["0"], "limit": ["10"], "query": [query]})
    assert ([item["id"] for item in page["items"]], page["total"]) == (ids, len(ids))


def test_skip_and_limit_select_a_slice() -> None:
    page = StandInServer(MOVIES)._page({"skip": ["1"], "limit": ["1"], "query": []})
    assert (page["items"], page["total"]) == ([{"id": "tt7", "title": "Bay RIVER"}], 3)


def test_a_seed_makes_failures_repeatable() -> None:
    behaviour = Behaviour(fail_rate=0.5, seed=3)
    runs = [
        [upstream._next_kind() for _ in range(200)]
        for upstream in (StandInServer((), behaviour), StandInServer((), behaviour))
    ]
    assert runs[0] == runs[1]
    assert 60 < runs[0].count("ok") < 140
    assert set(runs[0]) == {"ok", *(str(status) for status in range(400, 410))}


def test_a_script_precedes_the_fail_rate_and_runs_once() -> None:
    upstream = StandInServer((), Behaviour(fail_rate=0, script=("500", "reset")))
    assert [upstream._next_kind() for _ in range(4)] == ["500", "reset", "ok", "ok"]
