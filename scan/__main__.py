"""Runs a security scanner and evaluates its findings: `python -m scan bandit`; the Makefile has a target for each.

The exit code is 1 if the scanner reports a finding that is not accepted, if an accepted finding no longer occurs, if
the scanner misses a vulnerability planted as a self-check, or if it is not installed.
"""

import argparse
import subprocess
import sys

from scan import atheris, bandit, slow, spectral, sqlmap, wapiti
from scan.findings import ScanError


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m scan", description=(__doc__ or "").partition("\n")[0])
    scanners = parser.add_subparsers(dest="scanner", required=True)
    scanners.add_parser("bandit")
    scanners.add_parser("spectral")
    scanners.add_parser("wapiti")
    of_atheris = scanners.add_parser("atheris")
    of_atheris.add_argument("--runs", type=int, default=10_000_000, help="executions per target")
    of_atheris.add_argument("--seed", type=int, default=1, help="the same seed repeats a run")
    of_atheris.add_argument(
        "--target", choices=atheris.TARGETS, action="append", help="only this target (default: all)"
    )
    of_sqlmap = scanners.add_parser("sqlmap")
    of_sqlmap.add_argument(
        "--level", type=int, choices=range(1, 6), default=2, help="sqlmap's level: number of payloads"
    )
    of_sqlmap.add_argument(
        "--database", choices=sqlmap.DATABASES, action="append", help="only this database (default: both)"
    )
    of_sqlmap.add_argument("--operation", default="", help="operationId of a single operation (default: all)")
    of_slow = scanners.add_parser("slow")
    of_slow.add_argument("--program", default="slowhttptest")
    of_slow.add_argument("--connections", type=int, default=400)
    of_slow.add_argument("--seconds", type=int, default=30, help="duration of each attack")
    args = parser.parse_args()
    try:
        match args.scanner:
            case "bandit":
                is_accepted = bandit.scan()
            case "spectral":
                is_accepted = spectral.scan()
            case "wapiti":
                is_accepted = wapiti.scan()
            case "atheris":
                is_accepted = atheris.scan(args.runs, args.seed, tuple(args.target or atheris.TARGETS))
            case "sqlmap":
                is_accepted = sqlmap.scan(args.level, tuple(args.database or sqlmap.DATABASES), args.operation)
            case _:
                is_accepted = slow.scan(args.program, args.connections, args.seconds)
    except (ScanError, subprocess.TimeoutExpired) as error:
        print(f"scan: {error}", file=sys.stderr)
        return 1
    return 0 if is_accepted else 1


sys.exit(main())
