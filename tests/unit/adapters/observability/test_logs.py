import asyncio
import json
import logging
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.virtual_time import VirtualTimeLoop

from movie_adapters.observability.logs import (
    MAX_WRITE,
    MAX_WRITE_TO_FILE,
    REQUESTS,
    WAIT_SECONDS,
    announce,
    configure_logging,
    request_log,
)

log = logging.getLogger("tests.logs")


@pytest.fixture(autouse=True)
def restored(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Restores the logging configuration after each test."""
    root = logging.getLogger()
    level = root.level
    monkeypatch.setattr(root, "handlers", [])
    for name in ("logThreads", "logProcesses", "logMultiprocessing", "_srcfile"):
        monkeypatch.setattr(logging, name, getattr(logging, name))
    yield
    for handler in root.handlers:
        handler.close()
    root.setLevel(level)


@pytest.fixture
def writes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Writes to stderr, one item per write."""
    written: list[str] = []
    monkeypatch.setattr(sys.stderr, "write", written.append)
    return written


@pytest.mark.parametrize(("kind", "max_write"), [("pipe", MAX_WRITE), ("file", MAX_WRITE_TO_FILE)])
@pytest.mark.parametrize("form", ["console", "json"])
async def test_lines_are_written_in_batches_and_none_is_lost(
    form: str, kind: str, max_write: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    reader, writer = os.pipe()
    writes: list[str] = []
    with os.fdopen(reader), os.fdopen(writer, "w") as pipe, os.fdopen(os.open(tmp_path / "log", os.O_CREAT)) as file:
        stream = {"pipe": pipe, "file": file}[kind]
        monkeypatch.setattr(stream, "write", writes.append)
        with monkeypatch.context() as replaced:
            replaced.setattr(sys, "stderr", stream)
            configure_logging(form)
            for number in range(500):
                log.info("line %d", number)
            await asyncio.sleep(2 * WAIT_SECONDS)
    lines = "".join(writes).splitlines()
    assert [line.partition("line ")[2].partition('"')[0] for line in lines] == [str(number) for number in range(500)]
    assert len(writes) < 50 * MAX_WRITE // max_write
    assert all(len(write) <= max_write and write.endswith("\n") for write in writes)


async def test_a_warning_flushes_the_buffer(writes: list[str]) -> None:
    configure_logging("console")
    log.info("before")
    assert writes == []
    log.warning("bad news")
    assert [line.split(maxsplit=2)[1:] for line in "".join(writes).splitlines()] == [
        ["INFO", "before"],
        ["WARNING", "bad news"],
    ]


def test_without_an_event_loop_lines_are_written_immediately(writes: list[str]) -> None:
    configure_logging("console")
    log.info("now")
    assert "".join(writes).endswith(" INFO    now\n")


async def test_closing_the_handler_flushes_the_buffer(writes: list[str]) -> None:
    configure_logging("console")
    log.info("last words")
    logging.getLogger().handlers[0].close()
    assert "last words" in "".join(writes)


async def test_a_record_that_cannot_be_formatted_raises_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    class Unformattable:
        def __str__(self) -> str:
            raise RecursionError

    configure_logging("console")
    log.warning("%s", Unformattable())
    log.warning("goes on")
    assert "goes on" in capsys.readouterr().err


async def test_a_closed_stderr_raises_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(_: str) -> int:
        raise BrokenPipeError

    configure_logging("console")
    monkeypatch.setattr(sys.stderr, "write", closed)
    log.error("nobody reads this")


def test_json_is_one_object_per_line_with_its_stack_trace(writes: list[str]) -> None:
    configure_logging("json")
    log.error("it broke", exc_info=ValueError("two\nlines\u2028"), extra={"request_id": "r-1"})
    (line,) = "".join(writes).splitlines()
    line_dict = json.loads(line)
    assert (line_dict["level"], line_dict["logger"], line_dict["message"], line_dict["request_id"]) == (
        "error",
        "tests.logs",
        "it broke",
        "r-1",
    )
    assert "ValueError: two\nlines" in line_dict["trace"]
    assert line_dict["time"].endswith("+00:00")


ODD = 'odd\r\n\x1b[31m\u2028\u2029\x85\x00\x7f\udcff\u202e {"level": "fine"}'
"""Line separators, terminal escape codes, a bidirectional override and a lone surrogate."""


def log_odd_text() -> None:
    """Log `ODD` in every field that may contain client input."""
    log.error("it broke: %s", ODD, exc_info=ValueError(ODD), extra={"request_id": ODD, "user_id": ODD})
    log_request = request_log()
    assert log_request is not None
    log_request(ODD, f"GET {ODD} 200", ODD)


def test_json_escapes_everything_into_one_line(writes: list[str]) -> None:
    configure_logging("json")
    log_odd_text()
    logging.getLogger().handlers[0].flush()
    text = "".join(writes)
    assert text.isascii()
    assert text.count("\n") == len(text.splitlines()) == 2
    first, second = map(json.loads, text.splitlines())
    assert (first["message"], first["request_id"], first["user_id"]) == (f"it broke: {ODD}", ODD, ODD)
    assert (second["message"], second["level"]) == (f"GET {ODD} 200", "info")
    assert ODD in first["trace"]


@pytest.mark.parametrize("character", sorted(set(ODD)))
def test_json_escapes_each_odd_character(character: str, writes: list[str]) -> None:
    configure_logging("json")
    log.info("%s", character)
    line = "".join(writes).removesuffix("\n")
    assert line.isascii()
    assert line.isprintable()
    assert json.loads(line)["message"] == character


def test_the_console_format_escapes_line_separators_and_terminal_codes(writes: list[str]) -> None:
    configure_logging("console")
    log.warning("it broke: %s", ODD)
    log_request = request_log()
    assert log_request is not None
    log_request("an-id", f"GET {ODD} 200", None)
    logging.getLogger().handlers[0].flush()
    lines = "".join(writes).split("\n")
    assert [line.isprintable() for line in lines] == [True, True, True]
    assert lines[0].endswith('odd\\r\\n\\x1b[31m\\u2028\\u2029\\x85\\x00\\x7f\\udcff\\u202e {"level": "fine"}')
    log_odd_text()
    assert all(line.isprintable() for line in "".join(writes).split("\n"))


def test_json_keys_are_ordered_and_the_time_is_utc_in_milliseconds(
    writes: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "time", lambda: 1_700_000_000.25)
    configure_logging("json")
    log.warning("50 %", exc_info=ValueError("bad"), extra={"user_id": "a-user", "request_id": "an-id"})
    assert writes == [
        '{"time":"2023-11-14T22:13:20.250+00:00","level":"warning","logger":"tests.logs","message":"50 %",'
        '"request_id":"an-id","user_id":"a-user","trace":"ValueError: bad"}\n'
    ]


@pytest.mark.parametrize("form", ["console", "json"])
def test_a_line_omits_other_attributes_of_a_record(form: str, writes: list[str]) -> None:
    configure_logging(form)
    log.info("here", stack_info=True, extra={"token": "secret", "client": "192.0.2.7"})
    (line,) = "".join(writes).splitlines()
    assert "here" in line
    assert not any(word in line for word in ("secret", "192.0.2.7", "Stack"))


def test_a_line_has_the_user_id_if_it_is_known(writes: list[str]) -> None:
    configure_logging("json")
    log_request = request_log()
    assert log_request is not None
    log_request("an-id", "GET / 200 0.1 ms", "a-user")
    log_request("an-id", "GET / 200 0.1 ms", None)
    logging.getLogger(REQUESTS).info("GET / 200 0.1 ms", extra={"request_id": "an-id", "user_id": "a-user"})
    lines = [json.loads(line) for line in "".join(writes).splitlines()]
    assert [one.get("user_id") for one in lines] == ["a-user", None, "a-user"]


@pytest.mark.parametrize("form", ["console", "json"])
def test_an_announcement_has_the_format_of_the_log(form: str, writes: list[str]) -> None:
    announce(form, "serving")
    if form == "json":
        line_dict = json.loads("".join(writes))
        assert (line_dict["message"], line_dict["level"], line_dict["logger"]) == ("serving", "info", "movie_cli")
    else:
        assert writes == ["movie-search: serving\n"]


def test_loggers_that_log_complete_urls_are_silenced(writes: list[str]) -> None:
    configure_logging("console")
    logging.getLogger("httpx").info("GET https://example.com/?key=secret")
    assert writes == []


@pytest.mark.parametrize("form", ["console", "json"])
def test_the_fast_path_for_requests_writes_the_same_line_as_the_logger(
    form: str, writes: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "time", lambda: 1_700_000_000.25)
    configure_logging(form)
    log_request = request_log()
    assert log_request is not None
    log_request("an-id", "GET / 200 0.1 ms", None)
    logging.getLogger(REQUESTS).info("GET / 200 0.1 ms", extra={"request_id": "an-id"})
    assert writes[0] == writes[1] != ""


def test_there_is_no_request_log_if_logging_was_configured_elsewhere() -> None:
    assert request_log() is None


def test_lines_after_the_end_of_an_event_loop_are_flushed_by_the_next_one(writes: list[str]) -> None:
    configure_logging("console")

    async def say() -> None:
        log.info("before it ends")

    async def say_again() -> None:
        log.info("afterwards")
        await asyncio.sleep(2 * WAIT_SECONDS)

    for main in (say, say_again):
        with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
            runner.run(main())
    assert [line.split()[-1] for line in "".join(writes).splitlines()] == ["ends", "afterwards"]
