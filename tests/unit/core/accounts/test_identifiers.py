import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from movie_core.accounts.identifiers import IdentifierParser, compose, parse_address, parse_username, utf8_size
from movie_core.accounts.users import MAX_ADDRESS, MAX_USERNAME, Address, Username
from movie_core.errors import InvalidEmail, InvalidUsername
from movie_core.memory import PlainAddressSyntax, PlainUsernameSyntax

ANY_TEXT = st.text(st.characters(codec=None))


def name_of(text: str) -> Username:
    return parse_username(text, PlainUsernameSyntax())


def address_of(text: str) -> Address:
    return parse_address(text, PlainAddressSyntax())


@pytest.mark.parametrize("letter", ["\u0390", "\u1f82", "\u1ea4", "\uac01"])
def test_the_longest_username_is_accepted_in_any_unicode_form(letter: str) -> None:
    name = letter * MAX_USERNAME
    assert name_of(unicodedata.normalize("NFD", name)) == name_of(name)


# --- addresses


def test_email_goes_to_the_spelling_as_entered_and_all_spellings_have_one_key() -> None:
    spellings = ("Ada.Lovelace@Example.COM", "ada.lovelace@example.com", " ADA.LOVELACE@EXAMPLE.com ")
    assert {address_of(spelling).key for spelling in spellings} == {"ada.lovelace@example.com"}
    assert [address_of(spelling).spelling for spelling in spellings] == [spelling.strip() for spelling in spellings]


def test_a_domain_in_any_script_has_one_key() -> None:
    assert address_of("ada@bücher.de").key == address_of("ada@xn--bcher-kva.de").key == "ada@xn--bcher-kva.de"


def test_composed_and_decomposed_letters_are_the_same_address() -> None:
    text = "jörg@example.com"
    decomposed = unicodedata.normalize("NFD", text)
    assert decomposed != text
    assert address_of(decomposed) == address_of(text)


def test_dots_and_tags_make_addresses_different() -> None:
    assert len({address_of(spelling).key for spelling in ("ab@x.test", "a.b@x.test", "ab+c@x.test")}) == 3


def test_a_mailbox_is_equal_only_for_spellings_that_mail_servers_treat_as_equal() -> None:
    sharp, double = address_of("groß@example.com"), address_of("gross@example.com")
    assert sharp.key == double.key
    assert sharp.mailbox != double.mailbox
    assert address_of("Gross@EXAMPLE.com").mailbox == double.mailbox
    assert address_of("GROẞ@example.com").mailbox != sharp.mailbox


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "ada", "ada@", "@example.com", "ada@localhost", "a@b@example.com", "Ada <ada@example.com>"),
        *('"ada"@example.com', "ada@[127.0.0.1]", "ada@example.com, bob@example.com", "ada;bob@example.com"),
        *("ada@example.com\nBcc: bob@example.com", "ada\r@example.com", "ada\x00@example.com", "ada\t@example.com"),
        *(
            "ada\u200b@example.com",
            "ada\u202e@example.com",
            "\ud800@example.com",
            "ada bob@example.com",
            "ada\\@x.test",
        ),
        *("ada(comment)@example.com", "mailto:ada@example.com", "ada\u00a0@example.com", "ada@example.com\n"),
    ],
)
def test_an_address_that_is_not_a_plain_mailbox_is_rejected(text: str) -> None:
    with pytest.raises(InvalidEmail) as caught:
        parse_address(text, PlainAddressSyntax(), field="address")
    assert caught.value.field == "address"


class AnyAddressSyntax:
    """Accepts every text with an @; rejects others with a detail of its own."""

    def split(self, text: str) -> tuple[str, str]:
        local, at, domain = text.partition("@")
        if not at:
            raise InvalidEmail("no @ here", field="other")
        return local, domain


@pytest.mark.parametrize(
    "character", [*'"(),:;<>[]\\', " ", "\u2003", "\x85", "\x7f", "\u200e", "\ue000", "\udfff", "\u0378"]
)
def test_punctuation_spaces_and_invisible_characters_are_rejected_whatever_the_syntax(character: str) -> None:
    with pytest.raises(InvalidEmail, match="one plain mailbox") as caught:
        parse_address(f"ada{character}b@example.com", AnyAddressSyntax())
    assert caught.value.field == "email"
    assert parse_address("ada!b@example.com", AnyAddressSyntax()).spelling == "ada!b@example.com"


def test_the_detail_of_the_syntax_is_reported_for_the_field_of_the_caller() -> None:
    with pytest.raises(InvalidEmail, match="no @ here") as caught:
        parse_address("ada", AnyAddressSyntax(), field="new_email")
    assert caught.value.field == "new_email"


def test_only_spaces_around_an_address_are_ignored() -> None:
    assert address_of("  ada@example.com  ") == address_of("ada@example.com")
    with pytest.raises(InvalidEmail):
        address_of("\u3000ada@example.com")


def test_the_length_of_an_address_is_in_bytes() -> None:
    longest = "a@" + "b." * 124 + "test"
    assert len(longest) == MAX_ADDRESS
    assert address_of(longest).key == longest
    with pytest.raises(InvalidEmail, match="254 bytes"):
        address_of("a" + longest)
    with pytest.raises(InvalidEmail, match="254 bytes"):
        address_of("ü" + longest[1:])


@given(st.one_of(ANY_TEXT, st.tuples(ANY_TEXT, ANY_TEXT).map("@".join), ANY_TEXT.map("{}@example.com".format)))
def test_any_text_is_parsed_or_rejected_and_parsing_is_idempotent(text: str) -> None:
    try:
        address = address_of(text)
    except InvalidEmail:
        return
    assert len(address.spelling.encode()) <= MAX_ADDRESS
    assert not any(c.isspace() or unicodedata.category(c)[0] == "C" for c in address.spelling)
    assert address_of(address.spelling) == address


# --- usernames


@pytest.mark.parametrize(
    "text", ["a", "Ada", "ada.l_2-x", "Ada Lovelace", "żółw", "用户名", "Ада", "नमस्ते", "x" * MAX_USERNAME]
)
def test_a_username_may_have_letters_and_digits_of_any_script(text: str) -> None:
    username = name_of(text)
    assert (username.shown, username.key) == (text, text.casefold())


@pytest.mark.parametrize("text", ["\u0430dmin", "Ad\u03b1", "ada \u0410\u0434\u0430"])
def test_a_username_with_mixed_scripts_is_rejected(text: str) -> None:
    with pytest.raises(InvalidUsername, match="one script"):
        name_of(text)


@pytest.mark.parametrize(
    "text",
    [
        *("Win 900 EUR at www.example.com", "www.evil", "example.com", "Evil.COM", "see bit.ly", "a.b.ru", "ada.test"),
        *("ada.example", "go to example.org.", "exa\uff4dple.com", "-example.com-", "paypal.zip", "free.movie"),
        *("пример.рф", "evil.xn--p1ai", "例子.中国"),
    ],
)
def test_a_username_that_looks_like_a_link_is_rejected(text: str) -> None:
    with pytest.raises(InvalidUsername, match="web or email address"):
        name_of(text)


@pytest.mark.parametrize(
    "text", ["ada.lovelace", "j.r.r.tolkien", "mr.t", "A. Lovelace", "ada.", "ada.2", "www", "ada-com"]
)
def test_a_username_with_dots_is_accepted_if_it_is_no_link(text: str) -> None:
    assert name_of(text).shown == text


def test_usernames_that_look_alike_have_the_same_skeleton() -> None:
    assert name_of("paypa1").skeleton == name_of("PayPaI").skeleton == name_of("paypal").skeleton


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", " ada", "ada ", "a  b", "x" * (MAX_USERNAME + 1), "ada@example.com", "ada/l", "ada\n", "\nada"),
        *("a\tb", "a\u00a0b", "a\u200bb", "a\x00b", "\u202eada", "💡", "\ud800", "½", "<b>", "a'b", "\u0301a"),
        *("admin\ufe0f", "ad\u034fmin", "\u3164", "a\U000e0100"),  # the added characters are invisible
    ],
)
def test_a_malformed_username_is_rejected(text: str) -> None:
    with pytest.raises(InvalidUsername) as caught:
        name_of(text)
    assert caught.value.field == "username"


def test_usernames_that_differ_in_case_or_unicode_form_are_equal() -> None:
    assert name_of("STRASSE").key == name_of("straße").key
    assert name_of(unicodedata.normalize("NFD", "Zoë")) == name_of("Zoë")


@given(ANY_TEXT)
def test_any_text_is_a_username_or_rejected_and_parsing_is_idempotent(text: str) -> None:
    try:
        username = name_of(text)
    except InvalidUsername:
        return
    assert 1 <= len(username.shown) <= MAX_USERNAME
    assert name_of(username.shown) == username


@pytest.mark.parametrize("text", ["a\u0300", "\u0915\u094d\u0937", "\u0e01\u0e33", "a\u0903"])
def test_combining_marks_after_a_letter_are_part_of_a_username(text: str) -> None:
    assert name_of(text).shown == unicodedata.normalize("NFC", text)


@pytest.mark.parametrize("text", ["\u0903a", "a\u20dd", "\u2160", "\u00b2", "a\u02c2", "\u2167x"])
def test_other_marks_numbers_and_symbols_are_no_part_of_a_username(text: str) -> None:
    with pytest.raises(InvalidUsername):
        name_of(text)


def test_the_parser_of_a_deployment_uses_its_syntax() -> None:
    parser = IdentifierParser(AnyAddressSyntax(), PlainUsernameSyntax())
    assert parser.address("ada@localhost").spelling == "ada@localhost"
    assert parser.username("Ada") == name_of("Ada")


def test_a_text_is_composed_only_if_it_may_fit_its_limit_then() -> None:
    decomposed = "e\u0301" * 10  # 30 bytes, 20 in NFC
    assert compose(decomposed, 8) == "é" * 10
    assert compose(decomposed, 7) == decomposed
    assert (utf8_size("é"), utf8_size("\ud800"), utf8_size("")) == (2, 3, 0)
