"""Output of commands: tables, progress bars and errors."""

import io
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Annotated

from cyclopts import CycloptsError, Parameter
from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from movie_adapters.observability.logs import announce
from movie_adapters.settings.settings import SettingError
from movie_core.discovery.recommendations import Progress as StepProgress
from movie_core.errors import Conflict, Invalid, InvalidEmail, MovieError, NotFound

out = Console(markup=False, emoji=False)  # titles contain brackets and colons
err = Console(stderr=True)


JsonOption = Annotated[bool, Parameter(name="--json", negative=())]
"""The option of lists that prints JSON."""


class UsageError(Exception):
    """Invalid arguments or settings; exit code 2."""


class CommandError(Exception):
    """A valid command that failed; exit code 1."""


@contextmanager
def show_steps() -> Iterator[StepProgress]:
    """Like `show_progress`, for work that reports the name of each step and the fraction completed."""
    with show_progress("") as progress:
        yield lambda step, fraction: progress(round(1000 * fraction), 1000, step)


@contextmanager
def show_progress(description: str) -> Iterator[Callable[..., None]]:
    """Shows a progress bar on stderr, from the first update to the end; none if stderr is not a terminal.

    The yielded function takes the amount done, the total, and optionally a new description.
    """
    bars = Progress(
        TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn(), console=err
    )
    task = bars.add_task(description)

    def update(done: int, total: int, current: str = description) -> None:
        if not bars.live.is_started and err.is_terminal:
            bars.start()
        bars.update(task, completed=done, total=total, description=current)

    try:
        yield update
    finally:
        if bars.live.is_started:
            bars.stop()


def print_message(line: str) -> None:
    announce("console", line)


def print_lines(
    headings: Sequence[str], rows: Sequence[Sequence[str]], *, as_json: bool = False, is_headed: bool = True
) -> None:
    """Prints the headings and one line per row, never wrapped: aligned columns on a terminal, otherwise tab-separated
    values, without the headings unless `is_headed`. `as_json`: an array of objects instead, whose keys are the headings
    with `_` for blanks."""
    if as_json:
        keys = [heading.replace(" ", "_") for heading in headings]
        print_json(json.dumps([dict(zip(keys, row, strict=True)) for row in rows], indent=2))
        return
    cells = [[plain(cell) or "-" for cell in row] for row in rows]
    if sys.stdout.isatty():
        cells = [list(headings), *cells]
        widths = [max(map(cell_len, column)) for column in zip(*cells, strict=True)]
        lines = ["  ".join(map(set_cell_size, row, widths)).rstrip() for row in cells]
    else:
        lines = ["\t".join(row) for row in ([list(headings)] if is_headed else []) + cells]
    sys.stdout.writelines(f"{line}\n" for line in lines)


def print_json(text: str) -> None:
    """Prints JSON. Characters that the encoding of stdout lacks are escaped as JSON requires it."""
    if (sys.stdout.encoding or "").lower().replace("-", "") != "utf8" and not text.isascii():
        text = json.dumps(json.loads(text), indent=2)
    sys.stdout.write(text + "\n")


def accept_any_locale() -> None:
    """Makes output independent of the locale: characters that its encoding lacks are escaped. Arguments that the locale
    could not decode are read as UTF-8."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    sys.argv[1:] = [os.fsencode(argument).decode("utf-8", "surrogateescape") for argument in sys.argv[1:]]


@contextmanager
def naming(name: str) -> Iterator[None]:
    """Errors within name the object that they are about."""
    try:
        yield
    except (NotFound, Conflict, InvalidEmail) as error:
        message = f"{plain(name)}: {error.detail}"
        if isinstance(error, Invalid):
            raise UsageError(f"EMAIL: {message}") from None
        raise CommandError(message) from None


def print_done(line: str) -> None:
    sys.stdout.write(plain(line) + "\n")


def format_time(at: datetime | None) -> str:
    return "" if at is None else f"{at:%Y-%m-%dT%H:%M:%SZ}"


def plain(text: str) -> str:
    """Returns the text on one line without control characters, which could come from untrusted users."""
    return "".join(c if c.isprintable() else "?" for c in " ".join(text.split()))


def exit_code_of(work: Callable[[], object]) -> int:
    """Runs `work` and returns the exit code. An error is printed as one line."""
    try:
        work()
        sys.stdout.flush()
    except BrokenPipeError:  # the reader of the pipe has closed it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        return 130
    except (CycloptsError, SettingError, UsageError, Invalid) as error:
        return print_error(2, error)
    except (MovieError, CommandError, OSError) as error:
        return print_error(1, error)
    return 0


def print_error(code: int, error: Exception) -> int:
    field = error.field if isinstance(error, Invalid) else None
    prefix = "" if field in (None, "query", "password") else "EMAIL: " if field == "email" else f"--{field}: "
    print_message(f"{prefix}{plain(str(error))}")
    return code
