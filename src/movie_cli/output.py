"""What commands print: lines, progress bars and errors."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime

from cyclopts import CycloptsError
from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from movie_adapters.observability.logs import announce
from movie_adapters.settings.settings import SettingError
from movie_core.discovery.recommendations import Progress as StepProgress
from movie_core.errors import Invalid, MovieError

out = Console(markup=False, emoji=False)  # titles have brackets and colons


err = Console(stderr=True)


class UsageError(Exception):
    """The command can't be carried out as it was given; exit 2."""


class CommandError(Exception):
    """The command was fine but could not be carried out; exit 1."""


@contextmanager
def show_steps() -> Iterator[StepProgress]:
    """As `show_progress`, for work that says itself what it is doing, and which part of that is done."""
    with show_progress("") as progress:
        yield lambda step, part: progress(round(1000 * part), 1000, step)


@contextmanager
def show_progress(what: str) -> Iterator[Callable[..., None]]:
    """A bar on stderr from the first step to the end, told what is done, of how much, and if need be of what; none
    where stderr is no terminal."""
    bars = Progress(
        TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn(), console=err
    )
    task = bars.add_task(what)

    def step(done: int, total: int, now: str = what) -> None:
        if not bars.live.is_started and err.is_terminal:
            bars.start()
        bars.update(task, completed=done, total=total, description=now)

    try:
        yield step
    finally:
        if bars.live.is_started:
            bars.stop()


def say(line: str) -> None:
    announce("console", line)


def print_lines(headings: Sequence[str], rows: Sequence[Sequence[str]], *, is_headed: bool = False) -> None:
    """A line per row, never folded: columns under headings on a terminal, tabs between them for programs, with the
    headings only where `is_headed`."""
    cells = [[plain(cell) or "-" for cell in row] for row in rows]
    if sys.stdout.isatty():
        cells = [list(headings), *cells]
        widths = [max(map(cell_len, column)) for column in zip(*cells, strict=True)]
        lines = ["  ".join(map(set_cell_size, row, widths)).rstrip() for row in cells]
    else:
        lines = ["\t".join(row) for row in ([list(headings)] if is_headed else []) + cells]
    sys.stdout.writelines(f"{line}\n" for line in lines)


def print_done(line: str) -> None:
    sys.stdout.write(plain(line) + "\n")


def format_time(at: datetime | None) -> str:
    return "" if at is None else f"{at:%Y-%m-%dT%H:%M:%SZ}"


def plain(text: str) -> str:
    """On one line, without what a terminal would obey: much of it was written by strangers."""
    return "".join(c if c.isprintable() else "?" for c in " ".join(text.split()))


def exit_code_of(work: Callable[[], object]) -> int:
    """The exit code of some work; an error is told in one line."""
    try:
        work()
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read our output has seen enough
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
    where = "" if field in (None, "query") else "EMAIL: " if field == "email" else f"--{field}: "
    say(f"{where}{plain(str(error))}")
    return code
