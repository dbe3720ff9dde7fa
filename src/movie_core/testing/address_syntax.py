"""Contract of the `AddressSyntax` port."""

from contextlib import AbstractAsyncContextManager

from movie_core.errors import InvalidEmail
from movie_core.ports import AddressSyntax
from movie_core.testing.shared import clause


class AddressSyntaxContract:
    """Contract of every `AddressSyntax`. The numbers in test names are the clauses of the port."""

    def open(self) -> AbstractAsyncContextManager[AddressSyntax]:
        raise NotImplementedError

    @clause
    async def test_1_an_address_is_split_into_local_part_and_domain(self) -> None:
        async with self.open() as syntax:
            assert syntax.split("Ada.L+x@Mail.Example.COM") == ("Ada.L+x", "mail.example.com")
            assert syntax.split("jörg@bücher.de") == ("jörg", "xn--bcher-kva.de")
            assert syntax.split("o'neil_1@example.com") == ("o'neil_1", "example.com")
            assert syntax.split("a" * 64 + "@example.com") == ("a" * 64, "example.com")

    @clause
    async def test_1_an_invalid_address_is_rejected(self) -> None:
        wrong = (
            *("", "@", "ada", "ada@", "@example.com", "ada@localhost", "a@b@example.com", "ada@example.com."),
            *(".a@example.com", "a.@example.com", "a..b@example.com", '"a b"@example.com', "a b@example.com"),
            *("ada@[127.0.0.1]", "ada@-example.com", "ada@example-.com", "ada@example..com", "ada@exa_mple.com"),
            *(
                "ada@example.com\n",
                "ada\x00@example.com",
                "\ud800@example.com",
                "ada@\ud800.com",
                "Ada <ada@example.com>",
            ),
            *("a" * 65 + "@example.com", "ada@" + "a" * 64 + ".com", "a" * 10_240, "ada@" + "a." * 5_000 + "com"),
        )
        async with self.open() as syntax:
            for text in wrong:
                try:
                    syntax.split(text)
                except InvalidEmail:
                    continue
                raise AssertionError(f"{text[:80]!r} was accepted")
