import pytest
from hypothesis import given
from hypothesis import strategies as st

from movie_adapters.catalogue import vocabulary
from movie_adapters.catalogue.vocabulary import LIST_WEIGHT, Recent, Remembered


def test_what_was_used_longest_ago_goes() -> None:
    recent = Recent[str, int](3)
    for number, key in enumerate("abc"):
        recent.put(key, number)
    assert recent.get("a") == 0
    recent.put("d", 3)
    assert [recent.get(key) for key in "abcd"] == [0, None, 2, 3]


def test_a_value_may_be_heavier_than_all_that_fits_and_then_is_alone() -> None:
    recent = Recent[str, int](10)
    recent.put("a", 1, 4)
    recent.put("b", 2, 40)
    assert (len(recent), recent.get("b"), recent.weight) == (1, 2, 40)
    recent.put("c", 3, 4)
    assert (len(recent), recent.get("c"), recent.weight) == (1, 3, 4)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 12))))
def test_the_weight_is_that_of_what_is_there(puts: list[tuple[int, int]]) -> None:
    recent, weights = Recent[int, int](30), dict[int, int]()
    for key, weight in puts:
        recent.put(key, weight, weight)
        weights[key] = weight
        there = [key for key in weights if recent.get(key) is not None]
        assert recent.weight == sum(weights[key] for key in there) <= 30
        assert key in there


def test_lists_of_terms_are_bounded_even_where_they_are_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vocabulary, "MAX_TERMS", 100 * LIST_WEIGHT)
    remembered = Remembered(1)
    for number in range(1000):
        remembered.keep_terms((str(number),), ([], []))
    assert len(remembered.terms) == 100
