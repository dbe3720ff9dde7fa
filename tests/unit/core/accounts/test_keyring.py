import base64
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from movie_core.accounts.keyring import Keyring, new_id, new_token, token_hash

ONE, OTHER = "1" * 32, "2" * 32


def test_ids_and_tokens_are_random_and_url_safe() -> None:
    ids, tokens = {new_id() for _ in range(100)}, {new_token() for _ in range(100)}
    assert len(ids) == len(tokens) == 100
    assert all(len(one) == 32 and set(one) <= set("0123456789abcdef") for one in ids)
    assert all(len(one) == 43 and one.replace("-", "").replace("_", "").isalnum() and one.isascii() for one in tokens)


@given(st.text(st.characters(codec=None)))
def test_any_string_has_a_hash(text: str) -> None:
    assert token_hash(text) == hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


@pytest.mark.parametrize("secrets", [[], ["x" * 31], ["x" * 32, "short"], ["ü" * 15]])
def test_a_short_or_missing_secret_is_rejected(secrets: list[str]) -> None:
    with pytest.raises(ValueError, match="at least 32 bytes"):
        Keyring(secrets)


def test_the_length_of_a_secret_is_in_bytes() -> None:
    assert Keyring(["ü" * 16]).by_id == {hashlib.sha256(("ü" * 16).encode()).hexdigest()[:16]: ("ü" * 16).encode()}


def test_the_first_secret_comes_first_by_id_too() -> None:
    assert list(Keyring([ONE, OTHER]).by_id.values()) == [ONE.encode(), OTHER.encode()]
    assert list(Keyring([OTHER, ONE]).by_id.values()) == [OTHER.encode(), ONE.encode()]


def test_an_encrypted_token_is_decrypted_only_with_its_secret() -> None:
    token = new_token()
    encrypted = Keyring([ONE]).encrypt_token(token)
    assert token not in encrypted
    assert token_hash(token) not in encrypted
    assert Keyring([ONE]).decrypt_token(encrypted, token_hash(token)) == token
    assert Keyring([OTHER, ONE]).decrypt_token(encrypted, token_hash(token)) == token
    assert Keyring([OTHER]).decrypt_token(encrypted, token_hash(token)) is None


def test_an_encrypted_token_is_decrypted_only_for_its_hash() -> None:
    keyring = Keyring([ONE])
    assert keyring.decrypt_token(keyring.encrypt_token(new_token()), token_hash(new_token())) is None


def test_two_encrypted_tokens_have_different_pads() -> None:
    keyring = Keyring([ONE])
    a, b = new_token(), new_token()
    pads = {int(keyring.encrypt_token(token), 16) ^ int(_raw(token).hex(), 16) for token in (a, b)}
    assert len(pads) == 2


def test_a_successor_is_deterministic_and_has_the_format_of_a_token() -> None:
    keyring, token = Keyring([ONE]), new_token()
    (successor,) = keyring.successors(token)
    assert keyring.successors(token) == (successor,)
    assert len(successor) == len(token)
    assert keyring.successors(successor) != (successor,)
    assert Keyring([OTHER]).successors(token) != (successor,)


def test_during_key_rotation_the_current_successor_comes_first() -> None:
    token = new_token()
    assert Keyring([OTHER, ONE]).successors(token) == Keyring([OTHER]).successors(token) + Keyring([ONE]).successors(
        token
    )


@given(st.lists(st.text(max_size=4), max_size=3), st.lists(st.text(max_size=4), max_size=3))
def test_different_parts_have_different_salts(some: list[str], others: list[str]) -> None:
    keyring = Keyring([ONE])
    assert len(keyring.salt(*some)) == 16
    assert (keyring.salt(*some) == keyring.salt(*others)) == (some == others)


def test_parts_with_equal_concatenation_have_different_salts() -> None:
    keyring = Keyring([ONE])
    assert (
        len({keyring.salt(*parts) for parts in (("ab", "c"), ("a", "bc"), ("abc",), ("abc", ""), ("2:ab", "c"))}) == 5
    )
    assert keyring.salt("a") != Keyring([OTHER]).salt("a")


def _raw(token: str) -> bytes:
    return base64.urlsafe_b64decode(token + "=")
