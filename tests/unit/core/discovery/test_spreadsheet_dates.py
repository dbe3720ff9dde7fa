"""Dates are read if they have one reading."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from movie_core.discovery.spreadsheet_dates import DateColumn


def read(text: str, *others: str) -> str | None:
    try:
        return DateColumn((text, *others)).read(text).isoformat(" ", "minutes").removesuffix("+00:00")
    except ValueError:
        return None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2016-03-04", "2016-03-04 00:00"),
        ("20160304", "2016-03-04 00:00"),
        ("2016-03-04T22:30:00Z", "2016-03-04 22:30"),
        ("2016-03-04T22:30:00.000Z", "2016-03-04 22:30"),
        ("2016-03-04T22:30:00-02:00", "2016-03-05 00:30"),
        ("2016-03-04 22:30:00", "2016-03-04 22:30"),
        ("2016-03-04 22:30:00 UTC", "2016-03-04 22:30"),
        ("2016-3-4", "2016-03-04 00:00"),
        ("2016/3/4", "2016-03-04 00:00"),
        ("2016/03/04 9:05", "2016-03-04 09:05"),
        ("2016. 3. 4.", "2016-03-04 00:00"),
        ("04.03.2016", "2016-03-04 00:00"),
        ("4.3.16 23:59", "2016-03-04 23:59"),
        ("3/24/2016", "2016-03-24 00:00"),
        ("24/3/2016", "2016-03-24 00:00"),
        ("24-03-2016", "2016-03-24 00:00"),
        ("5/5/2016", "2016-05-05 00:00"),
        ("3/24/16", "2016-03-24 00:00"),
        ("24/3/99", "1999-03-24 00:00"),
        ("3/24/2016 12:05 AM", "2016-03-24 00:05"),
        ("3/24/2016, 1:05:30 pm", "2016-03-24 13:05"),
        ("4-Mar-16", "2016-03-04 00:00"),
        ("04 March 2016", "2016-03-04 00:00"),
        ("4. Mar. 2016", "2016-03-04 00:00"),
        ("Mar 4, 2016", "2016-03-04 00:00"),
        ("September 14 2016", "2016-09-14 00:00"),
        ("Fri Mar  4 22:30:00 2016", "2016-03-04 22:30"),
    ],
)
def test_a_date_with_one_reading_is_read(text: str, expected: str) -> None:
    assert read(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        *("3/4/2016", "3-4-2016", "3/4/16", "24/3/16", "13/13/2016", "0/0/2016", "3/4/216", "2016/3/2016", "216/3/4"),
        *(
            "31.2.2016",
            "3.24.2016",
            "4-Mai-16",
            "Mai 4, 2016",
            "31-Feb-16",
            "Fri Mai  4 22:30:00 2016",
            "yesterday",
            "",
        ),
        *("42433", "2016", "2016-13-01", "2016-03-04 25:00", "3/24/2016 13:00 PM", "3/24/2016 0:00 AM"),
        *("3/24/2016 noon", "0001-01-01T00:00:00+05:00", "٤/٣/٢٠١٦"),
    ],
)
def test_other_dates_are_rejected(text: str) -> None:
    assert read(text) is None


@pytest.mark.parametrize(
    ("others", "expected"),
    [
        (["25/12/2015"], "2016-04-03 00:00"),
        (["12/25/2015", "2015-01-02", "04.03.2016", "", "never"], "2016-03-04 00:00"),
        (["13/13/2016", "5/5/2016"], None),
        (["25/12/2015", "12/25/2015"], None),
    ],
)
def test_the_column_decides_between_day_and_month(others: list[str], expected: str | None) -> None:
    assert read("3/4/2016", *others) == expected


def test_a_year_of_two_digits_is_read_like_the_rest_of_its_column() -> None:
    assert read("3/4/16", "3/24/16") == "2016-03-04 00:00"
    assert read("16/03/04", "16/12/31") is None  # of 2031, or of 2016
    assert read("16/03/04", "99/12/31") == "2016-03-04 00:00"


@given(st.text() | st.from_regex(r"[0-9]{1,4}[./-][0-9]{1,2}[./-][0-9]{1,4}( [0-9:]{0,8}( [AP]M)?)?", fullmatch=True))
def test_any_text_is_a_date_in_utc_or_rejected(text: str) -> None:
    assert read(text) is None or DateColumn([text]).read(text).utcoffset() is not None
