"""The output format of all benchmarks."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """A measured figure and its goal."""

    what: str
    figure: str
    goal: str
    ok: bool

    def __str__(self) -> str:
        return f"{'ok  ' if self.ok else 'MISS'} {self.what:<60} {self.figure:>12}   {self.goal}"
