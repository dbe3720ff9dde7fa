"""The commands `mail list`, `mail retry` and `mail test`."""

from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from movie_cli.app import mail_app
from movie_cli.output import CommandError, JsonOption, UsageError, format_time, plain, print_done, print_lines
from movie_cli.services import load_settings, open_container, open_migrated_container, open_service
from movie_core.accounts.identifiers import IdentifierParser
from movie_core.accounts.keyring import new_id
from movie_core.accounts.outbox import MailKind, MailRejected, MailState, MailUnavailable, OutgoingEmail
from movie_core.clock import utc_now
from movie_core.operations.administration import MailAdministration
from movie_core.operations.audit import COMMAND_LINE
from movie_core.paging import MAX_LIMIT, Window
from movie_core.ports import Mailer, Outbox


@mail_app.command(name="list")
async def list_mails(
    *,
    state: MailState | None = None,
    limit: Annotated[int, Parameter(validator=Number(gte=1, lte=MAX_LIMIT))] = 20,
    as_json: JsonOption = False,
) -> None:
    """List outgoing emails, newest first: id, state, attempts, recipient, kind, creation time, last error.

    Parameters
    ----------
    state
        Only emails in this state; dead ones are no longer retried.
    limit
        Number of emails, 1 to 100.
    as_json
        Print JSON, for scripts.
    """
    async with open_migrated_container() as container:
        _, mails = await (await container.get(Outbox)).list_page(Window(limit=limit), state)
    print_lines(
        ("id", "state", "attempts", "recipient", "kind", "created", "last error"),
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
        as_json=as_json,
    )


@mail_app.command
async def retry(*ids: str, all: Annotated[bool, Parameter(negative=())] = False) -> None:
    """Queue dead emails for another delivery attempt; `serve` or the worker sends them within seconds.

    Parameters
    ----------
    ids
        Ids of dead emails, as shown by `mail list`.
    all
        All dead emails.
    """
    if all == bool(ids):
        raise UsageError("--all: specify either this option or ids of emails")
    requested = sorted(set(ids))
    # An argument may contain bytes that are not valid text.
    mail_ids = None if all else [mail_id for mail_id in requested if mail_id.isascii()]
    async with open_service(MailAdministration) as administration:
        queued = await administration.retry(COMMAND_LINE, mail_ids)
    if others := sorted(set(requested) - set(queued)):
        names = ", ".join(map(plain, others))
        raise CommandError(
            f"emails queued for retry: {len(queued)} of {len(requested)}; not dead or not found: {names}"
        )
    print_done(f"emails queued for retry: {len(queued)}")


@mail_app.command
async def test(email: str, /) -> None:
    """Send a test email immediately, and report the result.

    Parameters
    ----------
    email
        Address of the recipient.
    """
    settings = load_settings()
    async with open_container(settings) as container:
        address = (await container.get(IdentifierParser)).address(email)
        message = OutgoingEmail(new_id(), MailKind.TEST, address.spelling, utc_now(), ())
        try:
            await (await container.get(Mailer)).send(message)
        except (MailRejected, MailUnavailable) as error:
            raise CommandError(f"the test email was not sent: {error.detail}") from None
    if settings.smtp_url is None:
        print_done(f"MOVIE_SMTP_URL is not set: the test email is stored in {settings.data_dir / 'mail'}")
    else:
        print_done(f"the mail server has accepted a test email to {email}")
