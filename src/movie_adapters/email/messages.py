"""MIME messages, rendered from templates: the same bytes for the same `OutgoingEmail`."""

from email.headerregistry import Address as Mailbox
from email.message import EmailMessage
from email.policy import SMTP, SMTPUTF8
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from movie_adapters.email.syntax import split_mailbox
from movie_core.accounts.outbox import SUBJECTS, OutgoingEmail

_PRODUCT = "Movie Search"
_MAX_PLAIN_LINE = 900
"""Bytes of the longest line that is sent unencoded (RFC 5322 allows 998)."""
_TEMPLATES = Path(__file__).parent / "templates"
"""For each kind of email a template with its wording as plain text; `layout.txt` and `layout.html` arrange it."""


def needs_utf8(*addresses: str) -> bool:
    """Whether an email between these addresses requires the SMTPUTF8 extension.

    A domain always has an ASCII form; a local part has none.
    """
    return not all(split_mailbox(address)[0].isascii() for address in addresses)


def build_message(email: OutgoingEmail, sender: str) -> EmailMessage:
    """Build the MIME message of an email: the same bytes each time.

    Raises `ValueError` for an address that is not one plain mailbox.
    """
    local, domain = split_mailbox(sender)
    # Header injection: the address is the only user input in a header, and the header classes reject line breaks.
    message = EmailMessage(SMTPUTF8 if needs_utf8(sender, email.recipient) else SMTP)
    message["From"] = Mailbox(_PRODUCT, local, domain)
    message["To"] = Mailbox("", *split_mailbox(email.recipient))
    message["Subject"] = SUBJECTS[email.kind]
    message["Date"] = email.created_at
    message["Message-ID"] = f"<{email.mail_id}@{domain}>"
    message["Auto-Submitted"] = "auto-generated"
    text, html = _render(email, "layout.txt"), _render(email, "layout.html")
    message.set_content(text, cte=_encoding(text))
    message.add_alternative(html, subtype="html", cte=_encoding(html))
    # The default boundary is random.
    message.set_boundary(f"=_{email.mail_id}")
    return message


def _encoding(text: str) -> str:
    # Quoted-printable breaks links across lines, so that they can't be copied from an .eml file by hand.
    is_plain = text.isascii() and max(map(len, text.splitlines())) <= _MAX_PLAIN_LINE
    return "7bit" if is_plain else "quoted-printable"


def _render(email: OutgoingEmail, layout: str) -> str:
    # Abuse prevention: the templates get no username and no other field of a registration, as a stranger may have
    # chosen it.
    template = _environment().get_template(f"{email.kind.value}.txt")
    return template.render(layout=layout, subject=SUBJECTS[email.kind], product=_PRODUCT, links=email.links)


@cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
        auto_reload=False,
    )
