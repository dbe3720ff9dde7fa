import unicodedata
from collections.abc import Sequence

import pytest

from movie_core.accounts.password_rules import check_password, is_hashable, normalise_password
from movie_core.accounts.users import MAX_PASSWORD, MIN_STRENGTH, Address, Username
from movie_core.errors import Invalid, WeakPassword


class Fixed:
    def __init__(self, score: int = 4) -> None:
        self.value = score
        self.guesses: Sequence[str] = ()

    def score(self, password: str, guesses: Sequence[str]) -> int:
        self.guesses = guesses
        return self.value


ADDRESS, USERNAME = (
    Address("Ada.Lovelace@mail.example.com", "ada.lovelace@mail.example.com"),
    Username("Countess", "countess"),
)


def check(password: str, strength: Fixed | None = None, min_length: int = 8) -> None:
    check_password(password, strength or Fixed(), min_length=min_length, address=ADDRESS, username=USERNAME)


def test_a_password_that_violates_no_rule_is_accepted() -> None:
    for accepted in (
        "violet harbour skates",
        "x" * MAX_PASSWORD,
        "ü" * (MAX_PASSWORD // 2),
        "with\x00nul and more",
        "💡" * 8,
    ):
        check(accepted)


@pytest.mark.parametrize(
    ("password", "detail"),
    [
        ("short12", "at least 8 characters"),
        ("", "at least 8 characters"),
        ("x" * (MAX_PASSWORD + 1), "at most 1024 bytes"),
        ("ü" * (MAX_PASSWORD // 2) + "x", "at most 1024 bytes"),
        ("\ud800" * 342, "at most 1024 bytes"),
        ("1029384756", "digits only"),
        ("٣٤٥٦٧٨٩٠", "digits only"),
        ("ada.lovelace", "similar to your address"),
        ("ADA.LOVELACE1", "similar to your address"),
        ("ecalevol.ada", "similar to your address"),
        ("mail.example.com", "similar to your address"),
        ("countess", "similar to your name"),
        ("Countess1", "similar to your name"),
    ],
)
def test_the_violated_password_rule_is_stated(password: str, detail: str) -> None:
    with pytest.raises(WeakPassword, match=detail) as caught:
        check(password)
    assert caught.value.field == "password"
    assert isinstance(caught.value, Invalid)
    assert not password or password not in caught.value.detail


def test_a_long_password_may_contain_a_short_name() -> None:
    check_password(
        "bo" + "violet harbour skates",
        Fixed(),
        min_length=8,
        address=Address("bo@x.test", "bo@x.test"),
        username=Username("bo", "bo"),
    )


def test_the_minimum_length_is_a_setting_in_characters() -> None:
    check("💡" * 8, min_length=8)
    with pytest.raises(WeakPassword, match="at least 12"):
        check("violet ski", min_length=12)


def test_a_guessable_password_is_rejected_and_personal_words_count_as_guesses() -> None:
    strength = Fixed(MIN_STRENGTH - 1)
    with pytest.raises(WeakPassword, match="easily guessed"):
        check("violet harbour", strength)
    assert {"movie", ADDRESS.spelling, "Ada.Lovelace", "example", USERNAME.shown} <= set(strength.guesses)
    check("violet harbour", Fixed(MIN_STRENGTH))


def test_passwords_are_normalised_to_nfc_and_otherwise_unchanged() -> None:
    assert normalise_password(unicodedata.normalize("NFD", "Zoë")) == "Zoë"
    for untouched in (" blank ", "ﬁ", "\x00", "\ud800", "A" * 2000):
        assert normalise_password(untouched) == untouched


@pytest.mark.parametrize(
    ("password", "is_permitted"),
    [("", False), ("x", True), ("x" * 1024, True), ("x" * 1025, False), ("ü" * 512, True), ("ü" * 513, False)],
)
def test_a_password_has_1_to_1024_bytes(password: str, is_permitted: bool) -> None:
    assert is_hashable(password) is is_permitted


@pytest.mark.parametrize("letter", ["\u0390", "\u1f82", "\u1ea4", "\uac01"])
def test_the_longest_password_is_accepted_in_any_unicode_form(letter: str) -> None:
    password = letter * (MAX_PASSWORD // len(letter.encode()))
    assert normalise_password(unicodedata.normalize("NFD", password)) == password


def test_the_rules_that_need_no_address_or_username_apply_without_them() -> None:
    for password, detail in (("short", "at least 8"), ("1029384756", "digits only")):
        with pytest.raises(WeakPassword, match=detail):
            check_password(password, Fixed(), min_length=8, address=None, username=None)
    with pytest.raises(WeakPassword, match="similar to your name"):
        check_password("countess1", Fixed(), min_length=8, address=None, username=USERNAME)
    with pytest.raises(WeakPassword, match="similar to your address"):
        check_password("ada.lovelace", Fixed(), min_length=8, address=ADDRESS, username=None)
    strength = Fixed(MIN_STRENGTH - 1)
    with pytest.raises(WeakPassword, match="easily guessed"):
        check_password("violet harbour", strength, min_length=8, address=None, username=None)
    assert "movie" in strength.guesses


@pytest.mark.parametrize(("name", "is_compared"), [("ev", False), ("eve", True), ("EVE", True)])
def test_a_name_of_two_letters_is_not_compared_with_the_password(name: str, is_compared: bool) -> None:
    def check_own_name() -> None:
        username = Username(name, name.casefold())
        check_password(name, Fixed(), min_length=2, address=None, username=username, field="new_password")

    if is_compared:
        with pytest.raises(WeakPassword, match="similar to your name") as caught:
            check_own_name()
        assert caught.value.field == "new_password"
    else:
        check_own_name()


@pytest.mark.parametrize(
    ("password", "is_similar"), [("countessa", True), ("countess-12", True), ("countess of blessington", False)]
)
def test_similarity_is_the_share_of_common_characters(password: str, is_similar: bool) -> None:
    if is_similar:
        with pytest.raises(WeakPassword, match="similar to your name"):
            check(password)
    else:
        check(password)


def test_the_parts_of_the_domain_are_guesses_and_the_name_is_one() -> None:
    strength = Fixed()
    check("violet harbour skates", strength)
    assert {"mail", "example", "com", "Countess"} <= set(strength.guesses)
    check_password("violet harbour", strength, min_length=8, address=ADDRESS, username=None)
    assert "Countess" not in strength.guesses
