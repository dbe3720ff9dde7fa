"""What mails say: a letter becomes a message, always the same one for the same letter."""

import unicodedata
from email.headerregistry import Address as Mailbox
from email.message import EmailMessage
from email.policy import SMTP, SMTPUTF8
from html import escape

from email_validator import EmailNotValidError, validate_email

from movie_core.accounts.outbox import SUBJECTS, MailKind, OutgoingEmail

_PRODUCT = "Movie Search"
_MAX_PLAIN_LINE = 900
"""Bytes of a line that may be sent as it is (RFC 5322 allows 998)."""
_BEFORE = {
    MailKind.ACTIVATION: "Somebody, most likely you, registered this address. To activate the account, open the link "
    "and enter the password of the registration, or choose a new one.",
    MailKind.ADDRESS_TAKEN: "Somebody tried to register this address, but you have an account already. Log in with "
    "it, or have your password reset if you forgot it.",
    MailKind.PASSWORD_RESET: "Somebody, most likely you, asked to reset the password of your account. The link opens "
    "a page where you choose a new one.",
    MailKind.PASSWORD_CHANGED: "The password of your account was changed, and all other devices were logged out.",
    MailKind.SESSIONS_ENDED: "Sessions of your account were ended: devices were logged out.",
    MailKind.ACCOUNT_ERASED: "Your account and everything stored about it were deleted.",
    MailKind.TEST: "This is a test message. Email delivery works.",
}
_AFTER = {
    MailKind.ACTIVATION: "If you didn't register, ignore this mail: there will be no account.",
    MailKind.ADDRESS_TAKEN: "If it wasn't you, ignore this mail: nothing was changed.",
    MailKind.PASSWORD_RESET: "If you didn't ask for it, ignore this mail: your password stays as it is.",
    MailKind.PASSWORD_CHANGED: "If it wasn't you, somebody else knows your password or reads your mail. Reset the "
    "password now, and change the password of this mailbox.",
    MailKind.SESSIONS_ENDED: "If neither you nor the operator of this service did this, somebody else uses your "
    "account. Change your password now.",
    MailKind.ACCOUNT_ERASED: "If you didn't ask for this, contact the operator of this service.",
    MailKind.TEST: "",
}
_BEFORE[MailKind.ACTIVATION_RENEWAL] = _BEFORE[MailKind.ACTIVATION]
_AFTER[MailKind.ACTIVATION_RENEWAL] = _AFTER[MailKind.ACTIVATION]
_SEVERAL = (
    "This address was registered several times. Each link asks for the password of its own registration, or for a new "
    "one. The first link that is used creates the account."
)
_BUTTON = {
    MailKind.ACTIVATION: "Activate",
    MailKind.ACTIVATION_RENEWAL: "Activate",
    MailKind.PASSWORD_RESET: "Choose a new password",
}

# Colours of text and page are left to the reader's own scheme; those that are set can be read on white and on black.
_HTML = """\
<!DOCTYPE html>
<html lang="en" style="color-scheme: light dark">
<head>
<meta charset="utf-8">
<meta name="color-scheme" content="light dark">
<meta name="supported-color-schemes" content="light dark">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
</head>
<body style="margin: 0; padding: 24px 16px; font: 16px/1.5 system-ui, -apple-system, 'Segoe UI', sans-serif">
<div style="max-width: 32em; margin: 0 auto">
<p style="margin: 0; color: #808080; font-size: 14px">{product}</p>
<h1 style="margin: 0 0 16px; font-size: 24px; line-height: 1.25">{title}</h1>
{content}
</div>
</body>
</html>
"""
_LINK = """\
<p style="margin: 24px 0 8px">
<a href="{url}"
style="display: inline-block; padding: 10px 20px; border-radius: 6px; background: #2457c5; color: #ffffff;
font-weight: 600; text-decoration: none">{label}</a></p>
<p style="margin: 0 0 24px; font-size: 13px; word-break: break-all">
<a href="{url}" style="color: #5b8def">{url}</a></p>"""


def split_mailbox(address: str) -> tuple[str, str]:
    """Local part, and domain in ASCII (IDNA) and lower case; raises `ValueError` for all but one plain mailbox."""
    local, _, domain = address.rpartition("@")
    if not local or any(c in '@"(),:;<>[]\\' or c.isspace() or unicodedata.category(c)[0] == "C" for c in local):
        raise ValueError("the address is not one plain mailbox")
    try:
        known = validate_email(f"x@{domain}", check_deliverability=False, globally_deliverable=False)
    except EmailNotValidError:
        raise ValueError("the address is not one plain mailbox") from None
    return local, known.ascii_domain.lower()


def needs_utf8(*addresses: str) -> bool:
    """Whether a mail between these addresses takes a server that knows SMTPUTF8: domains have an ASCII form, local
    parts don't."""
    return not all(split_mailbox(address)[0].isascii() for address in addresses)


def message_of(email: OutgoingEmail, sender: str) -> EmailMessage:
    """The message of a letter, the same bytes each time. Raises `ValueError` for an address that isn't one plain
    mailbox."""
    local, domain = split_mailbox(sender)
    # Nothing that users chose but the address gets into a header, and the header classes refuse line breaks.
    message = EmailMessage(SMTPUTF8 if needs_utf8(sender, email.recipient) else SMTP)
    message["From"] = Mailbox(_PRODUCT, local, domain)
    message["To"] = Mailbox("", *split_mailbox(email.recipient))
    message["Subject"] = SUBJECTS[email.kind]
    message["Date"] = email.created_at
    message["Message-ID"] = f"<{email.mail_id}@{domain}>"
    message["Auto-Submitted"] = "auto-generated"
    text, html = _text(email), _html(email)
    message.set_content(text, cte=_encoding(text))
    message.add_alternative(html, subtype="html", cte=_encoding(html))
    # The usual boundary is random.
    message.set_boundary(f"=_{email.mail_id}")
    return message


def _encoding(text: str) -> str:
    # Quoted-printable cuts links over lines, so that they can't be copied from a file by hand.
    is_plain = text.isascii() and max(map(len, text.splitlines())) <= _MAX_PLAIN_LINE
    return "7bit" if is_plain else "quoted-printable"


def _text(email: OutgoingEmail) -> str:
    # A mail contains nothing that a stranger may have chosen: no username and no other field of a registration.
    parts = ["Hello,", _BEFORE[email.kind], *email.links]
    if len(email.links) > 1:
        parts.insert(2, _SEVERAL)
    return "\n\n".join([*parts, *filter(None, [_AFTER[email.kind]]), f"-- \n{_PRODUCT}"]) + "\n"


def _html(email: OutgoingEmail) -> str:
    parts = ["<p>Hello,</p>", f"<p>{escape(_BEFORE[email.kind])}</p>"]
    for number, url in enumerate(email.links, 1):
        label = _BUTTON[email.kind] + (f" registration {number}" if len(email.links) > 1 else "")
        parts.append(_LINK.format(url=escape(url), label=escape(label)))
    if len(email.links) > 1:
        parts.insert(2, f"<p>{_SEVERAL}</p>")
    if _AFTER[email.kind]:
        parts.append(f"<p>{escape(_AFTER[email.kind])}</p>")
    return _HTML.format(title=escape(SUBJECTS[email.kind]), product=_PRODUCT, content="\n".join(parts))
