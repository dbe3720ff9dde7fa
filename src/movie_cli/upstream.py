"""The command `upstream`."""

from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from movie_cli.app import PROCESSES, app
from movie_cli.output import UsageError


@app.command(group=PROCESSES)
async def upstream(
    *,
    host: str = "127.0.0.1",
    port: Annotated[int, Parameter(validator=Number(gte=0, lte=65_535))] = 9000,
    fail_rate: Annotated[float, Parameter(validator=Number(gte=0, lte=1))] = 0.3,
    latency_ms: Annotated[float, Parameter(validator=Number(gte=0, lte=60_000))] = 50,
    faults: str | None = None,
    retry_after: str | None = None,
    seed: int | None = None,
) -> None:
    """Run a stand-in for the third-party movie source, with fault injection.

    It serves `GET /movies/?skip=&limit=&query=` from the bundled films. `POST /_control` changes its behaviour at run
    time, `GET /_calls` lists the requests that it received.

    Parameters
    ----------
    host
        Bind address.
    port
        Port to listen on; 0 selects a free one.
    fail_rate
        Fraction of calls that fail, 0 to 1.
    latency_ms
        Delay before each response, in milliseconds.
    faults
        Comma-separated faults: statuses, and names listed in docs/movie-sources.md. Default: statuses 400 to 409
        at random.
    retry_after
        Value of the Retry-After header of each 429 and 503.
    seed
        Seed of the random number generator, for repeatable runs.
    """
    from movie_adapters.catalogue.bundled import bundled_films
    from movie_standin.faults import Behaviour
    from movie_standin.server import serve_standin

    changes: dict[str, object] = {
        "fail_rate": fail_rate, "latency_ms": latency_ms, "retry_after": retry_after, "seed": seed
    }  # fmt: skip
    if faults is not None:
        changes["faults"] = [fault.strip() for fault in faults.split(",")]
    try:
        behaviour = Behaviour().changed(changes)
    except ValueError as error:
        raise UsageError(f"--faults: {error}") from None
    await serve_standin(bundled_films(), behaviour, host=host, port=port)
