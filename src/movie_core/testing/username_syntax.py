"""Contract of the `UsernameSyntax` port."""

from contextlib import AbstractAsyncContextManager

from movie_core.ports import UsernameSyntax
from movie_core.testing.shared import ODD_STRINGS, clause


class UsernameSyntaxContract:
    """Contract of every `UsernameSyntax`. The numbers in test names are the clauses of the port."""

    def open(self) -> AbstractAsyncContextManager[UsernameSyntax]:
        raise NotImplementedError

    @clause
    async def test_1_mixed_scripts_are_detected(self) -> None:
        async with self.open() as syntax:
            for allowed in (
                "Ada",
                "ada 1",
                "\u0410\u043d\u043d\u0430 1",
                "\u5c71\u7530\u305f\u308d\u3046",
                "1",
                "._-",
                "",
                "\xc9va",
            ):
                assert syntax.is_of_one_script(allowed), allowed
            for mixed in ("\u0430dmin", "Ad\u03b1", "ada \u0430\u043d\u043d\u0430", "ada\u5c71"):
                assert not syntax.is_of_one_script(mixed), mixed

    @clause
    async def test_2_confusable_usernames_have_the_same_skeleton(self) -> None:
        async with self.open() as syntax:
            for confusable in (
                ("paypal", "PayPal", "paypa1", "PAYPAI", "p\u0430ypal"),
                ("Oscar", "0scar", "OSCAR"),
                ("mary", "rnary"),
                ("\u0430\u0441\u0435", "ace"),
            ):
                assert len({syntax.skeleton(one) for one in confusable}) == 1, confusable
            different = ["ada", "eve", "anna", "ann", "bob", "u1", "u2", "\u0430\u043d\u043d\u0430"]
            assert len({syntax.skeleton(one) for one in different}) == len(different)
            for odd in ODD_STRINGS:
                assert bool(syntax.skeleton(odd)) is bool(odd)
