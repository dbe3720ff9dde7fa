"""The command line, `movie-search`: the same services as the API, for a terminal.

Exit codes: 0 done, 1 could not (also a search without a hit), 2 misuse or a wrong setting. An error is one line on
stderr that names the option or variable.
"""

import logging
import sys
from typing import NoReturn

try:
    from movie_cli import audit, catalogue, mail, processes, recommend, search, upkeep, upstream, users
    from movie_cli.app import app
    from movie_cli.output import exit_code_of
except ModuleNotFoundError as missing:
    sys.exit(f"movie-search: {missing.name} is not installed; install movie-search-backend[all]")

__all__ = [
    "app",
    "audit",
    "catalogue",
    "mail",
    "main",
    "processes",
    "recommend",
    "search",
    "upkeep",
    "upstream",
    "users",
]


def main() -> NoReturn:
    """Run the command that the arguments name."""
    logging.getLogger().addHandler(logging.NullHandler())  # errors say what matters; `serve` sets up logging itself
    sys.exit(exit_code_of(lambda: app(exit_on_error=False, print_error=False, result_action="return_value")))
