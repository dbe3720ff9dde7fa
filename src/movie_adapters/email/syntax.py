"""What e-mail addresses may look like, by the library email-validator."""

import email_validator

from movie_core.errors import InvalidEmail
from movie_core.ports import AddressSyntax


class EmailValidatorSyntax(AddressSyntax):
    """`AddressSyntax` by the standards for internationalised mail; no name server is asked."""

    def __init__(self) -> None:
        # Names such as .test and .local: whether mail goes there is for the mail server to say. There is no option.
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
        except ValueError:  # the library's own and those of the codecs below it; their texts repeat the input
            raise InvalidEmail("the address must be one plain mailbox, such as name@example.com") from None
        return mailbox.local_part, mailbox.ascii_domain.lower()
