"""`mail list`, `mail retry` and `mail test`."""

import asyncio
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from movie_adapters.settings.settings import Settings
from movie_cli.app import mail_app
from movie_cli.output import CommandError, UsageError, format_time, print_done, print_lines
from movie_cli.services import as_staff, beside_serve, open_container
from movie_core.accounts.identifiers import parse_address
from movie_core.accounts.keyring import new_id
from movie_core.accounts.outbox import MailKind, MailRejected, MailState, MailUnavailable, OutgoingEmail
from movie_core.clock import utc_now
from movie_core.operations.audit import COMMAND_LINE
from movie_core.paging import MAX_LIMIT, Window
from movie_core.ports import AddressSyntax, Mailer, Outbox


@mail_app.command(name="list")
def list_mails(
    *,
    state: MailState | None = None,
    limit: Annotated[int, Parameter(validator=Number(gte=1, lte=MAX_LIMIT))] = 20,
) -> None:
    """Print a line per mail, newest first: id, state, tries, recipient, kind, time, last error.

    Parameters
    ----------
    state
        Only mails in this state; dead ones were given up.
    limit
        Lines, 1 to 100.
    """

    async def run() -> None:
        async with beside_serve() as container:
            _, mails = await (await container.get(Outbox)).list_page(Window(limit=limit), state)
        print_lines(
            ("id", "state", "tries", "recipient", "kind", "created", "last error"),
            [
                (
                    mail.id,
                    mail.state.value,
                    str(mail.attempts),
                    mail.recipient,
                    mail.kind.value,
                    format_time(mail.created_at),
                    mail.last_error,
                )
                for mail in mails
            ],
        )

    asyncio.run(run())


@mail_app.command
def retry(*ids: str, all: Annotated[bool, Parameter(negative=())] = False) -> None:
    """Try dead mails again. Whatever delivers mail does so within seconds.

    Parameters
    ----------
    ids
        Which ones, as `mail list` shows them.
    all
        Every dead mail.
    """
    if all == bool(ids):
        raise UsageError("--all: give either this or the ids of mails")
    wanted = sorted(set(ids))
    known = None if all else [one for one in wanted if one.isascii()]  # an argument may be bytes that are no text
    due = len(as_staff(lambda administration: administration.retry(COMMAND_LINE, known)))
    if due < len(wanted):
        raise CommandError(f"mails to be tried again: {due} of {len(wanted)}; the others are not dead, or not there")
    print_done(f"mails to be tried again: {due}")


@mail_app.command
def test(email: str, /) -> None:
    """Send a test mail at once, and tell what the mail server says.

    Parameters
    ----------
    email
        Where to.
    """

    async def run() -> str:
        settings = Settings.load()
        async with open_container(settings) as container:
            address = parse_address(email, await container.get(AddressSyntax))
            message = OutgoingEmail(new_id(), MailKind.TEST, address.spelling, utc_now(), ())
            try:
                await (await container.get(Mailer)).send(message)
            except (MailRejected, MailUnavailable) as error:
                raise CommandError(f"the test mail was not sent: {error.detail}") from None
        if settings.smtp_url is None:
            return f"no MOVIE_SMTP_URL: the test mail is kept in {settings.data_dir / 'mail'}"
        return f"the mail server has taken a test mail to {email}"

    print_done(asyncio.run(run()))
