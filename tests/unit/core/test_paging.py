from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from movie_core.errors import InvalidOffsetOrLimit, PageOutOfRange
from movie_core.paging import MAX_LIMIT, MAX_OFFSET, PageInfo, PageLinks, Window, parse_number

windows = st.builds(Window, st.integers(0, MAX_OFFSET), st.integers(1, MAX_LIMIT))
totals = st.integers(0, 3 * MAX_OFFSET)


@given(total=totals, limit=st.integers(1, MAX_LIMIT), start=st.integers(0, 150))
def test_following_next_visits_each_item_once(total: int, limit: int, start: int) -> None:
    visited: list[int] = []
    window: Window | None = Window(start, limit)
    while window is not None:
        visited += range(window.offset, min(window.offset + limit, total))
        following = window.next_offset(total)
        window = None if following is None else Window(following, limit)
    reached = MAX_OFFSET - (MAX_OFFSET - start) % limit + limit
    assert visited == list(range(start, min(total, reached)))


@given(window=windows, total=totals.filter(bool))
def test_last_is_the_final_page_reached_by_next(window: Window, total: int) -> None:
    offset = window.offset % window.limit
    if offset >= total:
        return
    while (following := Window(offset, window.limit).next_offset(total)) is not None:
        offset = following
    assert window.last_offset(total) == offset


@given(window=windows)
def test_previous_ends_at_offset_0(window: Window) -> None:
    steps = 0
    while (before := window.previous_offset()) is not None:
        assert before < window.offset
        assert before == max(0, window.offset - window.limit)
        window = Window(before, window.limit)
        steps += 1
    assert window.offset == 0
    assert steps <= MAX_OFFSET


@given(window=windows, total=st.integers(1, 3 * MAX_OFFSET))
def test_page_numbers_are_those_of_the_original_service(window: Window, total: int) -> None:
    pages = window.total_pages(total)
    assert (pages - 1) * window.limit < total <= pages * window.limit
    assert window.current_page == window.offset // window.limit + 1


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "-1", "+5", "abc", "1.0", "1e2", "0x10", " 5", "5 ", "007", "00", "1_000", "٣", "１０", "²"),
        *("9" * 5000, "1000000000", "5\n", "\x00", "NaN", "1,000"),
    ],
)
def test_a_malformed_number_is_rejected(text: str) -> None:
    with pytest.raises(InvalidOffsetOrLimit):
        parse_number(text, "offset")


@given(number=st.integers(0, 999_999_999))
def test_a_decimal_number_is_parsed(number: int) -> None:
    assert parse_number(str(number), "offset") == number


@pytest.mark.parametrize(("offset", "limit"), [(-1, 10), (10_001, 10), (0, 0), (0, 101), (0, -1)])
def test_a_window_out_of_bounds_is_rejected(offset: int, limit: int) -> None:
    with pytest.raises(InvalidOffsetOrLimit):
        Window(offset, limit)


def test_a_page_past_the_end_is_rejected_with_the_number_of_pages() -> None:
    with pytest.raises(PageOutOfRange, match="42 items on 5 pages"):
        Window(42, 10).check(42)
    Window(41, 10).check(42)


def test_links_are_absolute_and_contain_the_parameters() -> None:
    links = PageLinks.of(
        "http://127.0.0.1:8000/api/v1/movies/", Window(10, 10), 42, [("query", "x y&z=1/ä"), ("year", "1990..1999")]
    )
    assert links.next == (
        "http://127.0.0.1:8000/api/v1/movies/?offset=20&limit=10&query=x%20y%26z%3D1%2F%C3%A4&year=1990..1999"
    )
    assert dict(parse_qsl(urlsplit(links.last).query))["offset"] == "40"
    assert links.header().count('; rel="') == 4


def test_the_first_page_has_no_previous_and_the_last_no_next() -> None:
    only = PageLinks.of("http://x.test/", Window(0, 10), 7)
    assert (only.previous, only.next) == (None, None)
    assert (
        only.header()
        == '<http://x.test/?offset=0&limit=10>; rel="first", <http://x.test/?offset=0&limit=10>; rel="last"'
    )


@given(offset=st.integers(1, 200), limit=st.integers(1, MAX_LIMIT))
def test_an_unaligned_offset_has_a_previous_page(offset: int, limit: int) -> None:
    links = PageLinks.of("http://x.test/", Window(offset, limit), 1000)
    assert links.previous == f"http://x.test/?offset={max(0, offset - limit)}&limit={limit}"


@pytest.mark.parametrize(
    ("offset", "limit", "window"),
    [(None, None, Window(0, 10)), ("20", None, Window(20, 10)), (None, "5", Window(0, 5)), ("1", "2", Window(1, 2))],
)
def test_missing_parameters_have_defaults(offset: str | None, limit: str | None, window: Window) -> None:
    assert Window.parse(offset, limit) == window


def test_a_page_has_its_number_and_links() -> None:
    window = Window(10, 10)
    links = PageLinks.of("http://h/movies/", window, 25, [("query", "a b")])
    first, last = (f"http://h/movies/?offset={offset}&limit=10&query=a%20b" for offset in (0, 20))
    assert links.info(window, 25) == PageInfo(current_page=2, total_pages=3, previous=first, next=last)


@pytest.mark.parametrize("offset", [0, 3, 7, 10, 10_000])
def test_the_links_of_an_empty_list_have_no_negative_offset(offset: int) -> None:
    links = PageLinks.of("https://x.test/", Window(offset), 0)
    assert links.last == links.first == "https://x.test/?offset=0&limit=10"
    assert links.next is None
