"""Contract of the `PasswordHasher` port."""

from contextlib import AbstractAsyncContextManager

from movie_core.ports import PasswordHasher
from movie_core.testing.shared import clause


class PasswordHasherContract:
    """Contract of every `PasswordHasher`. The numbers in test names are the clauses of the port."""

    def open(self) -> AbstractAsyncContextManager[PasswordHasher]:
        raise NotImplementedError

    def outdated_hash(self) -> str:
        """A hash with lower parameters than those of the adapter that `open` returns."""
        raise NotImplementedError

    @clause
    async def test_1_hashes_differ_unless_the_salt_is_the_same(self) -> None:
        async with self.open() as hasher:
            assert await hasher.hash("secret") != await hasher.hash("secret")
            salt = bytes(range(16))
            assert await hasher.hash("secret", salt=salt) == await hasher.hash("secret", salt=salt)
            assert await hasher.hash("secret", salt=salt) != await hasher.hash("Secret", salt=salt)
            assert "secret" not in await hasher.hash("secret")

    @clause
    async def test_2_a_hash_verifies_only_its_password(self) -> None:
        async with self.open() as hasher:
            for password in ("correct horse", "ü" * 512, "\x00", "a\x00b", "\ud800"):
                hashed = await hasher.hash(password)
                assert await hasher.verify(password, hashed)
                assert not await hasher.verify(password + "x", hashed)

    @clause
    async def test_2_a_missing_or_malformed_hash_verifies_no_password(self) -> None:
        async with self.open() as hasher:
            whole = await hasher.hash("secret")
            for hashed in (None, "", "\x00", "\ud800", "secret", whole[:-5], whole + "x", "$argon2id$", "$" * 1000):
                assert not await hasher.verify("secret", hashed)

    @clause
    async def test_3_a_hash_with_lower_parameters_is_outdated(self) -> None:
        async with self.open() as hasher:
            assert not hasher.is_outdated(await hasher.hash("secret"))
            assert hasher.is_outdated(self.outdated_hash())
