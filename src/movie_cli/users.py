"""`users …` and `sessions …`."""

import json
import sys
from typing import Annotated

from cyclopts import Parameter

from movie_cli.app import sessions_app, users_app
from movie_cli.output import CommandError, UsageError, format_time, plain, print_done, print_lines, say
from movie_cli.services import as_staff, with_accounts
from movie_core.accounts.services import Accounts
from movie_core.errors import UserNotFound
from movie_core.operations.audit import COMMAND_LINE
from movie_core.paging import MAX_LIMIT, MAX_OFFSET, Window
from movie_core.ports import UserSummary


@users_app.command(name="list")
def list_users(email: str | None = None, /) -> None:
    """Print a line per account or waiting registration, newest first: address, username, state, staff, created, last
    login.

    Parameters
    ----------
    email
        Only those of this address.
    """

    async def work(accounts: Accounts) -> list[UserSummary]:
        people: dict[
            str, UserSummary
        ] = {}  # who registers meanwhile moves the others on, some of them to the next page
        for offset in range(0, MAX_OFFSET + 1, MAX_LIMIT):
            _, page = await accounts.list_users(Window(offset, MAX_LIMIT), email)
            people |= {person.id: person for person in page}
            if len(page) < MAX_LIMIT:
                return list(people.values())
        say(f"only the newest {len(people)} are shown; name an address to see others")
        return list(people.values())

    people = with_accounts(work)
    if email is not None and not people:
        raise UserNotFound("nobody has this address")
    print_lines(
        ("address", "username", "state", "staff", "created", "last login"),
        [
            (
                person.address.spelling,
                person.username.shown,
                "pending" if person.is_pending else "active" if person.is_active else "inactive",
                "staff" if person.is_staff else "",
                format_time(person.created_at),
                format_time(person.last_login),
            )
            for person in people
        ],
    )


@users_app.command
def activate(email: str, /) -> None:
    """Let an address log in, as the newest link mailed to it would; or an account that was deactivated.

    Parameters
    ----------
    email
        Address of the account or registration.
    """
    as_staff(lambda administration: administration.set_active(COMMAND_LINE, email, True))
    print_done(f"{email} is active")


@users_app.command
def deactivate(email: str, /) -> None:
    """Let an account log in no more, and end its sessions.

    Parameters
    ----------
    email
        Address of the account.
    """
    as_staff(lambda administration: administration.set_active(COMMAND_LINE, email, False))
    print_done(f"{email} is inactive")


@users_app.command
def staff(email: str, /, *, remove: Annotated[bool, Parameter(negative=())] = False) -> None:
    """Make an account staff, who may see what operators see.

    Parameters
    ----------
    email
        Address of the account.
    remove
        Take it back.
    """
    as_staff(lambda administration: administration.set_staff(COMMAND_LINE, email, not remove))
    print_done(f"{email} is {'not staff any more' if remove else 'staff'}")


@users_app.command
def export(email: str, /) -> None:
    """Print everything stored about an address, as JSON.

    Parameters
    ----------
    email
        Address of the account or registration.
    """
    stored = with_accounts(lambda accounts: accounts.export_of(email))
    sys.stdout.write(json.dumps(stored, indent=2, ensure_ascii=False) + "\n")


@users_app.command
def erase(email: str, /, *, yes: Annotated[bool, Parameter(negative=())] = False) -> None:
    """Remove everything stored about an address for good: account, registrations, sessions and mails.

    Parameters
    ----------
    email
        Address of the account or registration.
    yes
        Don't ask; needed where nobody can be asked.
    """
    if not yes:
        if not sys.stdin.isatty():
            raise UsageError("--yes: must be given where nobody can be asked")
        sys.stderr.write(f"Remove everything about {plain(email)} for good? [y/N] ")
        sys.stderr.flush()
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            raise CommandError("nothing was removed")
    as_staff(lambda administration: administration.erase(COMMAND_LINE, email))
    print_done(f"{email} is erased")


@sessions_app.command(name="list")
def list_sessions(email: str, /) -> None:
    """Print a line per session, the one used last first: id, device, start, last use.

    Parameters
    ----------
    email
        Address of the account.
    """
    sessions = with_accounts(lambda accounts: accounts.sessions_of(email))
    print_lines(
        ("id", "device", "started", "last used"),
        [(one.id, one.device, format_time(one.created_at), format_time(one.last_used_at)) for one in sessions],
    )


@sessions_app.command(name="end")
def end_sessions(email: str, /) -> None:
    """Log an account out everywhere.

    Parameters
    ----------
    email
        Address of the account.
    """
    ended = as_staff(lambda administration: administration.end_sessions(COMMAND_LINE, email))
    print_done(f"sessions ended: {ended}")
