from hypothesis import given
from hypothesis import strategies as st

from movie_adapters.catalogue.vocabulary import LIST_WEIGHT, RevisionCache, WeightedLruCache


def test_the_least_recently_used_value_is_evicted() -> None:
    cache = WeightedLruCache[str, int](3)
    for number, key in enumerate("abc"):
        cache.put(key, number)
    assert cache.get("a") == 0
    cache.put("d", 3)
    assert [cache.get(key) for key in "abcd"] == [0, None, 2, 3]


def test_a_value_heavier_than_the_maximum_is_stored_alone() -> None:
    cache = WeightedLruCache[str, int](10)
    cache.put("a", 1, 4)
    cache.put("b", 2, 40)
    assert (len(cache), cache.get("b"), cache.weight) == (1, 2, 40)
    cache.put("c", 3, 4)
    assert (len(cache), cache.get("c"), cache.weight) == (1, 3, 4)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 12))))
def test_the_weight_is_the_sum_of_the_cached_values(puts: list[tuple[int, int]]) -> None:
    cache, weights = WeightedLruCache[int, int](30), dict[int, int]()
    for key, weight in puts:
        cache.put(key, weight, weight)
        weights[key] = weight
        cached = [key for key in weights if cache.get(key) is not None]
        assert cache.weight == sum(weights[key] for key in cached) <= 30
        assert key in cached


def test_the_number_of_empty_lists_of_terms_is_bounded() -> None:
    cache = RevisionCache(1, max_terms=100 * LIST_WEIGHT)
    for number in range(1000):
        cache.put_terms((str(number),), ([], []))
    assert len(cache.terms) == 100
