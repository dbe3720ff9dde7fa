from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from movie_adapters.email.syntax import EmailValidatorSyntax
from movie_core.accounts.identifiers import parse_address
from movie_core.errors import InvalidEmail
from movie_core.testing import AddressSyntaxContract


class TestEmailValidatorSyntax(AddressSyntaxContract):
    @asynccontextmanager
    async def open(self) -> AsyncIterator[EmailValidatorSyntax]:
        yield EmailValidatorSyntax()


@pytest.mark.parametrize(
    "domain", ["x.test", "example.com", "mail.local", "box.localhost", "nothing.invalid", "a.example"]
)
def test_special_use_domains_are_accepted(domain: str) -> None:
    assert EmailValidatorSyntax().split(f"ann@{domain}") == ("ann", domain)


@pytest.mark.parametrize("text", ["ann@test", "ann@localhost", "ann@com", "ann@1.2.3.4", "@x.test", "ann@x.1"])
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
