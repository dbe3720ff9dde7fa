"""`upstream`."""

import asyncio
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from movie_cli.app import PROCESSES, app
from movie_cli.output import UsageError


@app.command(group=PROCESSES)
def upstream(
    *,
    host: str = "127.0.0.1",
    port: Annotated[int, Parameter(validator=Number(gte=0, lte=65_535))] = 9000,
    fail_rate: Annotated[float, Parameter(validator=Number(gte=0, lte=1))] = 0.3,
    latency_ms: Annotated[float, Parameter(validator=Number(gte=0, lte=60_000))] = 50,
    faults: str | None = None,
    retry_after: str | None = None,
    seed: int | None = None,
) -> None:
    """Stand in for the third party, failing as it does.

    It answers `GET /movies/?skip=&limit=&query=` from the bundled films. `POST /_control` changes its behaviour while
    it runs, `GET /_calls` tells what it was asked.

    Parameters
    ----------
    host
        Address to listen on.
    port
        Port to listen on; 0 takes a free one.
    fail_rate
        Share of calls that fail, 0 to 1.
    latency_ms
        Milliseconds before each answer.
    faults
        How calls fail, separated by commas: statuses, and names listed in docs/movie-sources.md. Default: 400 to 409
        at random.
    retry_after
        Retry-After header of each 429 and 503.
    seed
        Makes the randomness repeatable.
    """
    from movie_adapters.catalogue.bundled import bundled_films
    from movie_standin.server import Behaviour, serve_upstream

    changes: dict[str, object] = {
        "fail_rate": fail_rate, "latency_ms": latency_ms, "retry_after": retry_after, "seed": seed
    }  # fmt: skip
    if faults is not None:
        changes["faults"] = [fault.strip() for fault in faults.split(",")]
    try:
        behaviour = Behaviour().changed(changes)
    except ValueError as error:
        raise UsageError(f"--faults: {error}") from None
    asyncio.run(serve_upstream(bundled_films(), behaviour, host=host, port=port))
