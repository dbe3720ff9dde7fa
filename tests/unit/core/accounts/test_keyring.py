import base64
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from movie_core.accounts.keyring import Keyring, new_id, new_token, token_hash

ONE, OTHER = "1" * 32, "2" * 32


def test_identifiers_and_tokens_are_random_and_fit_for_a_url() -> None:
    ids, tokens = {new_id() for _ in range(100)}, {new_token() for _ in range(100)}
    assert len(ids) == len(tokens) == 100
    assert all(len(one) == 32 and set(one) <= set("0123456789abcdef") for one in ids)
    assert all(len(one) == 43 and one.replace("-", "").replace("_", "").isalnum() and one.isascii() for one in tokens)


@given(st.text(st.characters(codec=None)))
def test_any_string_has_a_hash(text: str) -> None:
    assert token_hash(text) == hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


@pytest.mark.parametrize("secrets", [[], ["x" * 31], ["x" * 32, "short"], ["ü" * 15]])
def test_a_short_secret_or_none_is_refused(secrets: list[str]) -> None:
    with pytest.raises(ValueError, match="at least 32 bytes"):
        Keyring(secrets)


def test_a_secret_is_measured_in_bytes() -> None:
    assert Keyring(["ü" * 16]).by_id == {hashlib.sha256(("ü" * 16).encode()).hexdigest()[:16]: ("ü" * 16).encode()}


def test_the_first_secret_comes_first_by_id_too() -> None:
    assert list(Keyring([ONE, OTHER]).by_id.values()) == [ONE.encode(), OTHER.encode()]
    assert list(Keyring([OTHER, ONE]).by_id.values()) == [OTHER.encode(), ONE.encode()]


def test_a_sealed_token_opens_with_its_secret_alone() -> None:
    token = new_token()
    sealed = Keyring([ONE]).encrypt_token(token)
    assert token not in sealed
    assert token_hash(token) not in sealed
    assert Keyring([ONE]).decrypt_token(sealed, token_hash(token)) == token
    assert Keyring([OTHER, ONE]).decrypt_token(sealed, token_hash(token)) == token
    assert Keyring([OTHER]).decrypt_token(sealed, token_hash(token)) is None


def test_a_seal_opens_for_its_own_hash_alone() -> None:
    keys = Keyring([ONE])
    assert keys.decrypt_token(keys.encrypt_token(new_token()), token_hash(new_token())) is None


def test_two_seals_share_no_pad() -> None:
    keys = Keyring([ONE])
    a, b = new_token(), new_token()
    pads = {int(keys.encrypt_token(token), 16) ^ int(_raw(token).hex(), 16) for token in (a, b)}
    assert len(pads) == 2


def test_a_successor_is_the_same_each_time_and_a_token_like_any_other() -> None:
    keys, token = Keyring([ONE]), new_token()
    (successor,) = keys.successors(token)
    assert keys.successors(token) == (successor,)
    assert len(successor) == len(token)
    assert keys.successors(successor) != (successor,)
    assert Keyring([OTHER]).successors(token) != (successor,)


def test_while_rotating_todays_successor_comes_first() -> None:
    token = new_token()
    assert Keyring([OTHER, ONE]).successors(token) == Keyring([OTHER]).successors(token) + Keyring([ONE]).successors(
        token
    )


@given(st.lists(st.text(max_size=4), max_size=3), st.lists(st.text(max_size=4), max_size=3))
def test_a_salt_tells_its_parts_apart(some: list[str], others: list[str]) -> None:
    keys = Keyring([ONE])
    assert len(keys.salt(*some)) == 16
    assert (keys.salt(*some) == keys.salt(*others)) == (some == others)


def test_parts_that_join_alike_have_different_salts() -> None:
    keys = Keyring([ONE])
    assert len({keys.salt(*parts) for parts in (("ab", "c"), ("a", "bc"), ("abc",), ("abc", ""), ("2:ab", "c"))}) == 5
    assert keys.salt("a") != Keyring([OTHER]).salt("a")


def _raw(token: str) -> bytes:
    return base64.urlsafe_b64decode(token + "=")
