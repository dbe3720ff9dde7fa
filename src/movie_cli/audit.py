"""The command `audit list`."""

from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from movie_cli.app import audit_app
from movie_cli.output import JsonOption, format_time, print_lines
from movie_cli.services import open_service
from movie_core.operations.administration import AuditRecorder
from movie_core.paging import MAX_LIMIT, MAX_OFFSET, Window


@audit_app.command(name="list")
async def list_audit(
    *,
    limit: Annotated[int, Parameter(validator=Number(gte=1, lte=MAX_LIMIT))] = 20,
    offset: Annotated[int, Parameter(validator=Number(gte=0, lte=MAX_OFFSET))] = 0,
    as_json: JsonOption = False,
) -> None:
    """List the audit log, newest entry first: time, actor (an account id, or `command line`), action, and the id of the
    account or email concerned.

    Parameters
    ----------
    limit
        Number of entries, 1 to 100.
    offset
        Number of entries to skip, 0 to 10000.
    as_json
        Print JSON, for scripts.
    """
    async with open_service(AuditRecorder) as recorder:
        _, entries = await recorder.list_page(Window(offset, limit))
    print_lines(
        ("time", "actor", "action", "target"),
        [
            (format_time(entry.at), entry.actor, entry.action.value, entry.account_id or entry.mail_id or "")
            for entry in entries
        ],
        as_json=as_json,
    )
