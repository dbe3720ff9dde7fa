"""What the stand-in takes as instructions, and what it searches."""

import json
from typing import Any

import pytest

from movie_adapters.sources.third_party import MAX_TOTAL, read_movie
from movie_core.search.movies import Movie
from movie_standin.server import KINDS, Behaviour, Upstream, is_kind

MOVIES = (Movie(id="7", title="Amber River"), Movie(id="tt7", title="Bay RIVER"), Movie(id="007", title="Undated"))


@pytest.mark.parametrize("name", [*KINDS, "200", "404", "599", "body:{}", "body:"])
def test_a_kind_is_known_by_its_name(name: str) -> None:
    assert is_kind(name)


@pytest.mark.parametrize("name", ["", "199", "600", "40", "٤٠٠", "Reset", "nothing", 500, None])
def test_another_name_is_no_kind(name: object) -> None:
    assert not is_kind(name)


@pytest.mark.parametrize(
    "changes",
    [
        *({"fail_rate": value} for value in (-0.1, 1.1, "0.5", None, True, [])),
        *({"latency_ms": value} for value in (-1, 60_001, "1")),
        *({"faults": value} for value in ([], ["nonsense"], "500", [500])),
        *({"script": ["nonsense"]}, {"script": ["ok"] * 10_001}, {"seed": "x"}, {"location": "a\r\nb: c"}),
        *({"retry_after": "1\n2"}, {"no_such_field": 1}),
    ],
)
def test_a_change_that_makes_no_sense_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        Behaviour().changed(changes)


def test_a_change_leaves_the_rest_as_it_is() -> None:
    behaviour = Behaviour(latency_ms=7).changed({"fail_rate": 1, "script": ["500", "ok"]})
    assert behaviour == Behaviour(latency_ms=7, fail_rate=1, script=("500", "ok"))


def test_its_instructions_can_be_sent_as_they_are_shown() -> None:
    upstream = Upstream(MOVIES)
    status, shown = upstream._control(b"{}")
    assert (status, upstream._control(json.dumps(shown).encode())) == (200, (200, shown))


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"fail_rate": 2}', b'{"refuse_seconds": "x"}', b"[" * 100_000])
def test_instructions_that_can_not_be_read_change_nothing(body: bytes) -> None:
    upstream = Upstream(MOVIES, Behaviour(seed=1))
    status, answer = upstream._control(body)
    assert status == 400
    assert answer["detail"]
    assert upstream.behaviour == Behaviour(seed=1)


@pytest.mark.parametrize(
    ("query", "ids"),
    [("river", [7, "tt7"]), ("RIVER", [7, "tt7"]), ("", [7, "tt7", "007"]), ("x", []), ("amber r", [7])],
)
def test_it_finds_titles_that_contain_the_query(query: str, ids: list[object]) -> None:
    page = Upstream(MOVIES)._page({"skip": ["0"], "limit": ["10"], "query": [query]})
    assert ([item["id"] for item in page["items"]], page["total"]) == (ids, len(ids))


def test_it_answers_the_part_that_is_asked_for() -> None:
    page = Upstream(MOVIES)._page({"skip": ["1"], "limit": ["1"], "query": []})
    assert (page["items"], page["total"]) == ([{"id": "tt7", "title": "Bay RIVER"}], 3)


def test_a_seed_repeats_the_same_failures() -> None:
    behaviour = Behaviour(fail_rate=0.5, seed=3)
    runs = [
        [upstream._next_kind() for _ in range(200)] for upstream in (Upstream((), behaviour), Upstream((), behaviour))
    ]
    assert runs[0] == runs[1]
    assert 60 < runs[0].count("ok") < 140
    assert set(runs[0]) == {"ok", *(str(status) for status in range(400, 410))}


def test_a_script_comes_first_and_once() -> None:
    upstream = Upstream((), Behaviour(fail_rate=0, script=("500", "reset")))
    assert [upstream._next_kind() for _ in range(4)] == ["500", "reset", "ok", "ok"]


def test_what_it_takes_for_odd_is_odd_to_the_adapter_too() -> None:
    from movie_standin import server as upstream

    assert not any(read_movie(item) for item in upstream._ODD_ITEMS)
    assert MAX_TOTAL < 10**30
