"""Kinds of response and the configuration of the stand-in."""

from typing import Any

import pytest

from movie_adapters.sources.third_party import MAX_TOTAL, parse_movie
from movie_standin.faults import ODD_ITEMS, RESPONSE_KINDS, Behaviour, is_kind


@pytest.mark.parametrize("name", [*RESPONSE_KINDS, "200", "404", "599", "body:{}", "body:"])
def test_a_known_kind_is_accepted(name: str) -> None:
    assert is_kind(name)


@pytest.mark.parametrize("name", ["", "199", "600", "40", "٤٠٠", "Reset", "nothing", 500, None])
def test_an_unknown_kind_is_rejected(name: object) -> None:
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
def test_an_invalid_change_raises_value_error(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        Behaviour().changed(changes)


def test_a_change_leaves_other_fields_unchanged() -> None:
    behaviour = Behaviour(latency_ms=7).changed({"fail_rate": 1, "script": ["500", "ok"]})
    assert behaviour == Behaviour(latency_ms=7, fail_rate=1, script=("500", "ok"))


def test_the_adapter_rejects_the_odd_items_and_the_huge_total() -> None:
    assert not any(parse_movie(item) for item in ODD_ITEMS)
    assert MAX_TOTAL < 10**30
