"""The commands `users …` and `sessions …`."""

import sys
from getpass import getpass
from typing import Annotated

import msgspec
from cyclopts import Parameter

from movie_api.user_export import encode_export
from movie_cli.app import sessions_app, users_app
from movie_cli.output import (
    CommandError,
    JsonOption,
    UsageError,
    format_time,
    naming,
    plain,
    print_done,
    print_json,
    print_lines,
    print_message,
)
from movie_cli.services import open_migrated_container, open_service
from movie_core.accounts.profiles import Profiles
from movie_core.accounts.registration import Registration
from movie_core.accounts.user_management import UserManagement
from movie_core.accounts.users import UserSummary
from movie_core.operations.administration import UserAdministration
from movie_core.operations.audit import COMMAND_LINE
from movie_core.paging import MAX_LIMIT, MAX_OFFSET, Window


@users_app.command(name="list")
async def list_users(email: str = "", /, *, as_json: JsonOption = False) -> None:
    """List accounts and pending registrations, newest first: address, username, state, staff, creation time, last
    login.

    Parameters
    ----------
    email
        Only accounts and registrations whose address or username contains this text.
    as_json
        Print JSON, for scripts.
    """
    if any("\ud800" <= character <= "\udfff" or character == "\0" for character in email):
        raise UsageError("EMAIL: must be text")
    # A registration made meanwhile shifts later rows, some of them to the next page; the keys remove duplicates.
    users: dict[str, UserSummary] = {}
    async with open_service(UserManagement) as management:
        for offset in range(0, MAX_OFFSET + 1, MAX_LIMIT):
            _, page = await management.list_users(Window(offset, MAX_LIMIT), search=email.strip())
            users |= {user.id: user for user in page}
            if len(page) < MAX_LIMIT:
                break
        else:
            print_message(f"only the newest {len(users)} are shown; specify an address to see others")
    if email and not users:
        raise CommandError(f"{plain(email)}: no account or registration has an address or username with this text")
    print_lines(
        ("address", "username", "state", "staff", "created", "last login"),
        [
            (
                user.address.spelling,
                user.username.shown,
                "pending" if user.is_pending else "active" if user.is_active else "inactive",
                "staff" if user.is_staff else "",
                format_time(user.created_at),
                format_time(user.last_login),
            )
            for user in users.values()
        ],
        as_json=as_json,
    )


@users_app.command
async def create(
    email: str,
    username: str,
    /,
    *,
    staff: Annotated[bool, Parameter(negative=())] = False,
    password_stdin: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Create an active account. Asks for the password twice.

    Parameters
    ----------
    email
        Address of the account.
    username
        Username of the account.
    staff
        Grant the account staff rights.
    password_stdin
        Read the password from the first line of stdin; required if stdin is not a terminal.
    """
    if password_stdin:
        password = sys.stdin.readline().removesuffix("\n").removesuffix("\r")
    elif not sys.stdin.isatty():
        raise UsageError("--password-stdin: required if stdin is not a terminal")
    else:
        password = getpass("Password: ")
        if getpass("Password again: ") != password:
            raise CommandError("the passwords differ")
    async with open_migrated_container() as container:
        registration, administration = await container.get(Registration), await container.get(UserAdministration)
        with naming(email):
            if await registration.create_user(email, username, password) is None:
                raise CommandError(f"{plain(email)}: an account has this address")
            await administration.set_active(COMMAND_LINE, email, True)  # writes the audit log
            if staff:
                await administration.set_staff(COMMAND_LINE, email, True)
    print_done(f"{email} is active{' and staff' if staff else ''}")


@users_app.command
async def activate(email: str, /) -> None:
    """Activate the newest pending registration of an address, or a deactivated account.

    Parameters
    ----------
    email
        Address of the account or registration.
    """
    with naming(email):
        async with open_service(UserAdministration) as administration:
            await administration.set_active(COMMAND_LINE, email, True)
    print_done(f"{email} is active")


@users_app.command
async def deactivate(email: str, /) -> None:
    """Deactivate an account and end its sessions.

    Parameters
    ----------
    email
        Address of the account.
    """
    with naming(email):
        async with open_service(UserAdministration) as administration:
            await administration.set_active(COMMAND_LINE, email, False)
    print_done(f"{email} is inactive")


@users_app.command
async def staff(email: str, /, *, remove: Annotated[bool, Parameter(negative=())] = False) -> None:
    """Grant an account staff rights, or revoke them.

    Parameters
    ----------
    email
        Address of the account.
    remove
        Revoke the rights.
    """
    with naming(email):
        async with open_service(UserAdministration) as administration:
            await administration.set_staff(COMMAND_LINE, email, not remove)
    print_done(f"{email} is {'no longer staff' if remove else 'staff'}")


@users_app.command
async def export(email: str, /) -> None:
    """Export everything stored about an address, as JSON.

    Parameters
    ----------
    email
        Address of the account or registration.
    """
    with naming(email):
        async with open_service(Profiles) as profiles:
            stored = await profiles.export_address(email)
    print_json(msgspec.json.format(await encode_export(stored), indent=2).decode())


@users_app.command
async def erase(email: str, /, *, yes: Annotated[bool, Parameter(negative=())] = False) -> None:
    """Permanently delete everything stored about an address: account, registrations, sessions and emails.

    Parameters
    ----------
    email
        Address of the account or registration.
    yes
        Do not ask for confirmation; required if stdin is not a terminal.
    """
    if not yes:
        if not sys.stdin.isatty():
            raise UsageError("--yes: required if stdin is not a terminal")
        sys.stderr.write(f"Permanently delete everything stored about {plain(email)}? [y/N] ")
        sys.stderr.flush()
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            raise CommandError("nothing was deleted")
    with naming(email):
        async with open_service(UserAdministration) as administration:
            await administration.erase(COMMAND_LINE, email)
    print_done(f"{email} is erased")


@sessions_app.command(name="list")
async def list_sessions(email: str, /, *, as_json: JsonOption = False) -> None:
    """List the sessions of an account, most recently used first: id, device, start, last use.

    Parameters
    ----------
    email
        Address of the account.
    as_json
        Print JSON, for scripts.
    """
    with naming(email):
        async with open_service(UserManagement) as management:
            sessions = await management.list_sessions(email)
    print_lines(
        ("id", "device", "started", "last used"),
        [
            (session.id, session.device, format_time(session.created_at), format_time(session.last_used_at))
            for session in sessions
        ],
        as_json=as_json,
    )


@sessions_app.command(name="end")
async def end_sessions(email: str, /) -> None:
    """End all sessions of an account.

    Parameters
    ----------
    email
        Address of the account.
    """
    with naming(email):
        async with open_service(UserAdministration) as administration:
            ended = await administration.end_sessions(COMMAND_LINE, email)
    print_done(f"sessions ended: {ended}")
