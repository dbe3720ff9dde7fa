"""The command line, `movie-search`: the services of the API for a terminal.

Exit codes: 0 success, 1 failure (also a search without results), 2 a usage error or an invalid setting. An error is one
line on stderr that names the option or variable.
"""

import logging
import os
import sys
from typing import NoReturn

try:
    from movie_cli import audit, catalogue, mail, operations, processes, recommend, search, upstream, users
    from movie_cli.app import app
    from movie_cli.output import accept_any_locale, exit_code_of
except ModuleNotFoundError as missing:
    sys.exit(f"movie-search: {missing.name} is not installed; install movie-search-backend[all]")
except KeyboardInterrupt:  # the imports take longer than many commands
    sys.exit(130)

__all__ = [
    "app",
    "audit",
    "catalogue",
    "mail",
    "main",
    "operations",
    "processes",
    "recommend",
    "search",
    "upstream",
    "users",
]


def main() -> NoReturn:
    """Runs the command named by the arguments."""
    accept_any_locale()
    # One BLAS thread pool per computation would make concurrent requests wait for each other. Read when numpy loads.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    logging.getLogger().addHandler(logging.NullHandler())  # errors are printed; `serve` configures logging itself
    sys.exit(exit_code_of(lambda: app(exit_on_error=False, print_error=False, result_action="return_value")))
