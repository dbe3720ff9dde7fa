"""Validation of email addresses with the library email-validator."""

import email_validator

from movie_core.errors import InvalidEmail
from movie_core.ports import AddressSyntax


class EmailValidatorSyntax(AddressSyntax):
    """`AddressSyntax` that follows the standards for internationalised email addresses; sends no DNS queries."""

    def __init__(self) -> None:
        # Accept special-use domains such as .test and .local: the mail server decides whether it delivers there. The
        # library has no option for that.
        email_validator.SPECIAL_USE_DOMAIN_NAMES.clear()

    def split(self, text: str) -> tuple[str, str]:
        try:
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
                globally_deliverable=True,
            )
        except ValueError:  # the library's errors and those of codecs it uses; their texts repeat the input
            raise InvalidEmail("the address must be one plain mailbox, such as name@example.com") from None
        return mailbox.local_part, mailbox.ascii_domain.lower()
