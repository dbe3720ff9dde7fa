"""Syntax of email addresses, checked by the library email-validator in one configuration for the API and the worker."""

import re
import unicodedata

import email_validator

from movie_core.errors import InvalidEmail
from movie_core.ports import AddressSyntax

_LABEL_SEPARATOR = re.compile("[.\u3002\uff0e\uff61]")
"""The characters that IDNA treats as dots (RFC 3490, section 3.1)."""


class EmailValidatorSyntax(AddressSyntax):
    """`AddressSyntax` that follows the standards for internationalised email addresses; sends no DNS queries."""

    def __init__(self, *, accept_special_use: bool = True) -> None:
        """`accept_special_use`: accept domains that the public DNS never resolves, such as `.test` and `.local`."""
        self._accept_special_use = accept_special_use

    def split(self, text: str) -> tuple[str, str]:
        try:
            return _validate(text, accept_special_use=self._accept_special_use)
        except ValueError:  # the library's errors and those of codecs it uses; their texts repeat the input
            pass
        if not self._accept_special_use and _special_use_label(text) is not None:
            raise InvalidEmail("the domain is reserved for special use and receives no email from the internet")
        raise InvalidEmail("the address must be one plain mailbox, such as name@example.com")


def split_mailbox(address: str) -> tuple[str, str]:
    """Split an address, of a recipient or sender, into local part and lower-case ASCII (IDNA) domain.

    Accepts each address that `EmailValidatorSyntax` accepts, and domains without a dot such as `localhost`: the mail
    server decides whether it delivers there. Raises `ValueError` unless the text is one plain mailbox.
    """
    local, _, domain = address.rpartition("@")
    if not local or any(c in '@"(),:;<>[]\\' or c.isspace() or unicodedata.category(c)[0] == "C" for c in local):
        raise ValueError("the address is not one plain mailbox")
    try:
        _, ascii_domain = _validate(f"x@{domain}", accept_special_use=True, globally_deliverable=False)
    except ValueError:
        raise ValueError("the address is not one plain mailbox") from None
    return local, ascii_domain


def _validate(text: str, *, accept_special_use: bool, globally_deliverable: bool = True) -> tuple[str, str]:
    """Returns local part and lower-case ASCII domain, or raises `ValueError`.

    The library rejects special-use domains, and only a list of the whole process can change that. Therefore a
    special-use top-level domain is replaced by a neutral one of the same length before the library validates.
    """
    label = _special_use_label(text) if accept_special_use else None
    neutral = "x" * len(label or "")
    if label is not None:
        text = text[: -len(_last_label(text))] + neutral
    mailbox = email_validator.validate_email(
        text,
        allow_smtputf8=True,
        allow_empty_local=False,
        allow_quoted_local=False,
        allow_domain_literal=False,
        allow_display_name=False,
        strict=True,
        check_deliverability=False,
        test_environment=False,
        globally_deliverable=globally_deliverable,
    )
    domain = mailbox.ascii_domain.lower()
    return mailbox.local_part, domain if label is None else domain.removesuffix(neutral) + label


def _special_use_label(text: str) -> str | None:
    """The normalised top-level domain of an address if it is a special-use name (RFC 6761), otherwise None."""
    label = unicodedata.normalize("NFKC", _last_label(text)).lower()
    return label if label in email_validator.SPECIAL_USE_DOMAIN_NAMES else None


def _last_label(text: str) -> str:
    return _LABEL_SEPARATOR.split(text.rpartition("@")[2])[-1]
