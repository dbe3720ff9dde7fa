from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import email_validator
import pytest
from hypothesis import given
from hypothesis import strategies as st

from movie_adapters.email.syntax import EmailValidatorSyntax, split_mailbox
from movie_core.accounts.identifiers import parse_address
from movie_core.errors import InvalidEmail
from movie_core.testing import AddressSyntaxContract


class TestEmailValidatorSyntax(AddressSyntaxContract):
    @asynccontextmanager
    async def open(self) -> AsyncIterator[EmailValidatorSyntax]:
        yield EmailValidatorSyntax()


SPECIAL_USE = ["x.test", "corp.local", "mail.corp.local", "box.localhost", "nothing.invalid", "x.onion", "home.arpa"]


@pytest.mark.parametrize("domain", [*SPECIAL_USE, "example.com", "a.example"])
def test_special_use_domains_are_accepted_also_for_delivery(domain: str) -> None:
    assert EmailValidatorSyntax().split(f"ann@{domain}") == ("ann", domain)
    assert split_mailbox(f"ann@{domain}") == ("ann", domain)


@pytest.mark.parametrize("domain", ["CORP.Local", "corp.ｌｏｃａｌ", "corp。local", "corp．LOCAL"])
def test_spellings_of_a_special_use_domain_are_normalised(domain: str) -> None:
    assert EmailValidatorSyntax().split(f"ann@{domain}") == ("ann", "corp.local")
    assert split_mailbox(f"ann@{domain}") == ("ann", "corp.local")


def test_a_non_ascii_name_in_a_special_use_domain_is_converted() -> None:
    assert EmailValidatorSyntax().split("ann@bücher.test") == ("ann", "xn--bcher-kva.test")


@pytest.mark.parametrize("domain", SPECIAL_USE)
def test_special_use_domains_are_rejected_on_request(domain: str) -> None:
    with pytest.raises(InvalidEmail) as caught:
        EmailValidatorSyntax(accept_special_use=False).split(f"ann@{domain}")
    assert "special use" in caught.value.detail
    assert split_mailbox(f"ann@{domain}") == ("ann", domain)  # of a user from before the rule


@pytest.mark.parametrize("domain", ["example.com", "a.example", "test.com", "local.example.com", "latest", "x.xlocal"])
def test_other_domains_are_judged_the_same_on_request(domain: str) -> None:
    def result(*, accept_special_use: bool) -> object:
        try:
            return EmailValidatorSyntax(accept_special_use=accept_special_use).split(f"ann@{domain}")
        except InvalidEmail as error:
            return error.detail

    assert result(accept_special_use=True) == result(accept_special_use=False)


def test_the_list_of_the_library_is_not_changed() -> None:
    EmailValidatorSyntax().split("ann@corp.local")
    split_mailbox("ann@corp.local")
    assert "local" in email_validator.SPECIAL_USE_DOMAIN_NAMES
    with pytest.raises(ValueError, match="special-use"):
        email_validator.validate_email("ann@corp.local", check_deliverability=False)


@pytest.mark.parametrize("address", ["root@localhost", "root@mailhost"])
def test_email_is_delivered_to_domains_without_a_dot(address: str) -> None:
    assert "@".join(split_mailbox(address)) == address


def test_a_domain_is_converted_to_lower_case_ascii() -> None:
    assert split_mailbox("Ann@BÜCHER.Example") == ("Ann", "xn--bcher-kva.example")


@pytest.mark.parametrize(
    "text",
    [
        "ann@test",
        "ann@localhost",
        "ann@com",
        "ann@1.2.3.4",
        "@x.test",
        "ann@x.1",
        "ann@.test",
        "ann@-x.test",
        "ann@x..local",
    ],
)
def test_a_domain_needs_a_dot_and_an_alphabetic_top_level_domain(text: str) -> None:
    with pytest.raises(InvalidEmail):
        EmailValidatorSyntax().split(text)


@pytest.mark.parametrize("spelling", ["ann@bücher.de", "ann@BÜCHER.de", "ann@xn--bcher-kva.de", "ann@XN--BCHER-KVA.de"])
def test_spellings_of_a_domain_are_normalised(spelling: str) -> None:
    assert EmailValidatorSyntax().split(spelling)[1] == "xn--bcher-kva.de"
    assert parse_address(spelling, EmailValidatorSyntax()).key == "ann@xn--bcher-kva.de"


def test_the_error_does_not_repeat_the_input() -> None:
    for text in ("<script>@example.com", "zyzzyva", "zyzzyva@zyzzyva", "\u202ezyzzyva@example.com"):
        with pytest.raises(InvalidEmail) as caught:
            EmailValidatorSyntax().split(text)
        assert "zyzzyva" not in caught.value.detail
        assert "script" not in caught.value.detail
        assert caught.value.__cause__ is None
        assert len(caught.value.detail) < 100


@given(st.text(), st.text())
def test_any_text_is_split_or_rejected(local: str, domain: str) -> None:
    for text in (local, f"{local}@{domain}", f"a@{domain}.com", f"{local}@example.com"):
        try:
            _, ascii_domain = EmailValidatorSyntax().split(text)
        except InvalidEmail:
            continue
        assert ascii_domain.isascii()
        assert ascii_domain == ascii_domain.lower()
        assert "." in ascii_domain
