import logging

import pytest

from movie_core.outage_log import OutageLog

_log = logging.getLogger(__name__)


def test_the_start_and_the_end_of_each_outage_are_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    outage = OutageLog(_log, unavailable="database unavailable: %s", recovered="database available again")
    outage.recovered()
    assert (outage.is_unavailable, caplog.records) == (False, [])
    for error in ("timeout", "refused"):
        for _ in range(3):
            outage.failed(error)
            assert outage.is_unavailable
        for _ in range(3):
            outage.recovered()
            assert not outage.is_unavailable
    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [
        (logging.WARNING, "database unavailable: timeout"),
        (logging.INFO, "database available again"),
        (logging.WARNING, "database unavailable: refused"),
        (logging.INFO, "database available again"),
    ]


def test_the_level_of_an_outage_can_be_chosen(caplog: pytest.LogCaptureFixture) -> None:
    OutageLog(_log, unavailable="token rejected", recovered="token accepted", level=logging.ERROR).failed()
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
