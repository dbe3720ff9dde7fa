"""The texts of emails, and MIME messages built from them: the same bytes for the same `OutgoingEmail`."""

import unicodedata
from email.headerregistry import Address as Mailbox
from email.message import EmailMessage
from email.policy import SMTP, SMTPUTF8
from html import escape

from email_validator import EmailNotValidError, validate_email

from movie_core.accounts.outbox import SUBJECTS, MailKind, OutgoingEmail

_PRODUCT = "Movie Search"
_MAX_PLAIN_LINE = 900
"""Bytes of the longest line that is sent unencoded (RFC 5322 allows 998)."""
_TEXT_BEFORE_LINKS = {
    MailKind.ACTIVATION: "Someone, probably you, registered this email address. To activate the account, open the "
    "link and enter the password that was chosen at registration, or choose a new one.",
    MailKind.ADDRESS_TAKEN: "Someone tried to register this email address, but you already have an account. Log in "
    "to it, or reset your password if you have forgotten it.",
    MailKind.PASSWORD_RESET: "Someone, probably you, requested a password reset for your account. Open the link to "
    "choose a new password.",
    MailKind.PASSWORD_CHANGED: "The password of your account was changed, and all other devices were logged out.",
    MailKind.SESSIONS_ENDED: "One or more devices were logged out of your account.",
    MailKind.ACCOUNT_ERASED: "Your account and all data stored about it were deleted.",
    MailKind.TEST: "This is a test message. Email delivery works.",
}
_TEXT_AFTER_LINKS = {
    MailKind.ACTIVATION: "If you did not register, ignore this email: no account will be created.",
    MailKind.ADDRESS_TAKEN: "If this was not you, ignore this email: nothing was changed.",
    MailKind.PASSWORD_RESET: "If you did not request this, ignore this email: your password was not changed.",
    MailKind.PASSWORD_CHANGED: "If this was not you, someone else knows your password or can read your email. Reset "
    "your password now, and change the password of this mailbox.",
    MailKind.SESSIONS_ENDED: "If neither you nor the operator of this service did this, someone else is using your "
    "account. Change your password now.",
    MailKind.ACCOUNT_ERASED: "If you did not request this, contact the operator of this service.",
    MailKind.TEST: "",
}
_TEXT_BEFORE_LINKS[MailKind.ACTIVATION_RENEWAL] = _TEXT_BEFORE_LINKS[MailKind.ACTIVATION]
_TEXT_AFTER_LINKS[MailKind.ACTIVATION_RENEWAL] = _TEXT_AFTER_LINKS[MailKind.ACTIVATION]
_SEVERAL_REGISTRATIONS = (
    "This email address was registered several times. Each link asks for the password of its own registration, or for "
    "a new one. The first link that is used creates the account."
)
_BUTTON_LABEL = {
    MailKind.ACTIVATION: "Activate",
    MailKind.ACTIVATION_RENEWAL: "Activate",
    MailKind.PASSWORD_RESET: "Choose a new password",
}

# Text and page colours follow the reader's colour scheme. The colours set here are legible on white and on black.
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
    """Split an address into local part and lower-case ASCII (IDNA) domain.

    Raises `ValueError` unless the text is one plain mailbox.
    """
    local, _, domain = address.rpartition("@")
    if not local or any(c in '@"(),:;<>[]\\' or c.isspace() or unicodedata.category(c)[0] == "C" for c in local):
        raise ValueError("the address is not one plain mailbox")
    try:
        result = validate_email(f"x@{domain}", check_deliverability=False, globally_deliverable=False)
    except EmailNotValidError:
        raise ValueError("the address is not one plain mailbox") from None
    return local, result.ascii_domain.lower()


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
    text, html = _plain_text(email), _html(email)
    message.set_content(text, cte=_encoding(text))
    message.add_alternative(html, subtype="html", cte=_encoding(html))
    # The default boundary is random.
    message.set_boundary(f"=_{email.mail_id}")
    return message


def _encoding(text: str) -> str:
    # Quoted-printable breaks links across lines, so that they can't be copied from an .eml file by hand.
    is_plain = text.isascii() and max(map(len, text.splitlines())) <= _MAX_PLAIN_LINE
    return "7bit" if is_plain else "quoted-printable"


def _plain_text(email: OutgoingEmail) -> str:
    # Abuse prevention: the text contains no username and no other field of a registration, as a stranger may have
    # chosen it.
    parts = ["Hello,", _TEXT_BEFORE_LINKS[email.kind], *email.links]
    if len(email.links) > 1:
        parts.insert(2, _SEVERAL_REGISTRATIONS)
    return "\n\n".join([*parts, *filter(None, [_TEXT_AFTER_LINKS[email.kind]]), f"-- \n{_PRODUCT}"]) + "\n"


def _html(email: OutgoingEmail) -> str:
    parts = ["<p>Hello,</p>", f"<p>{escape(_TEXT_BEFORE_LINKS[email.kind])}</p>"]
    for number, url in enumerate(email.links, 1):
        label = _BUTTON_LABEL[email.kind] + (f" registration {number}" if len(email.links) > 1 else "")
        parts.append(_LINK.format(url=escape(url), label=escape(label)))
    if len(email.links) > 1:
        parts.insert(2, f"<p>{_SEVERAL_REGISTRATIONS}</p>")
    if _TEXT_AFTER_LINKS[email.kind]:
        parts.append(f"<p>{escape(_TEXT_AFTER_LINKS[email.kind])}</p>")
    return _HTML.format(title=escape(SUBJECTS[email.kind]), product=_PRODUCT, content="\n".join(parts))
