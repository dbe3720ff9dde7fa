"""`audit list`."""

from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from movie_cli.app import audit_app
from movie_cli.output import format_time, print_lines
from movie_cli.services import as_staff
from movie_core.paging import MAX_LIMIT, MAX_OFFSET, Window


@audit_app.command(name="list")
def list_audit(
    *,
    limit: Annotated[int, Parameter(validator=Number(gte=1, lte=MAX_LIMIT))] = 20,
    offset: Annotated[int, Parameter(validator=Number(gte=0, lte=MAX_OFFSET))] = 0,
) -> None:
    """Print a line per deed of staff, newest first: time, who (id of an account, or command line), what, id of the
    account or mail that it was about.

    Parameters
    ----------
    limit
        Lines, 1 to 100.
    offset
        Deeds to pass over, 0 to 10000.
    """
    _, entries = as_staff(lambda administration: administration.audit(Window(offset, limit)))
    print_lines(
        ("time", "who", "what", "about"),
        [(format_time(one.at), one.actor, one.action.value, one.account_id or one.mail_id or "") for one in entries],
    )
