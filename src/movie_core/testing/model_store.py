"""Contract of the `ModelStore` port."""

import asyncio
from contextlib import AbstractAsyncContextManager
from datetime import timedelta

from movie_core.discovery.recommendations import ModelInfo
from movie_core.ports import ModelStore
from movie_core.testing.shared import NOW, clause


class ModelStoreContract:
    """Contract of every `ModelStore`. The numbers in test names are the clauses of the port."""

    def open(self) -> AbstractAsyncContextManager[ModelStore]:
        """The store under test, empty."""
        raise NotImplementedError

    @clause
    async def test_1_and_2_the_last_saved_model_is_the_current_one(self) -> None:
        async with self.open() as models:
            assert await models.current() is None
            for number in range(3):
                info = ModelInfo(NOW + timedelta(microseconds=number), 100_000 + number, 600, 9_000)
                assert await models.save(info, f"version {number}", bytes([number]) * 1000)
                assert await models.current() == (info, f"version {number}")
                assert await models.body(info.made_at) == bytes([number]) * 1000

    @clause
    async def test_1_a_model_saved_again_replaces_itself(self) -> None:
        async with self.open() as models:
            for body in (b"long" * 1_000_000, b"short"):
                await models.save(ModelInfo(NOW, 1, 1, 1), "v", body)
                assert await models.body(NOW) == body

    @clause
    async def test_1_a_model_older_than_the_current_one_is_rejected(self) -> None:
        async with self.open() as models:
            later = ModelInfo(NOW + timedelta(microseconds=1), 2, 2, 2)
            assert await models.save(later, "later", b"later" * 500_000)
            assert not await models.save(ModelInfo(NOW, 1, 1, 1), "earlier", b"earlier")
            assert await models.current() == (later, "later")
            assert await models.body(later.made_at) == b"later" * 500_000
            assert await models.body(NOW) is None

    @clause
    async def test_3_a_replaced_model_has_no_body(self) -> None:
        async with self.open() as models:
            assert await models.body(NOW) is None
            await models.save(ModelInfo(NOW, 1, 1, 1), "old", b"old")
            await models.save(ModelInfo(NOW + timedelta(days=1), 2, 2, 2), "new", b"new")
            assert await models.body(NOW) is None
            assert await models.body(NOW + timedelta(days=1)) == b"new"

    @clause
    async def test_3_large_and_empty_bodies_are_returned_unchanged(self) -> None:
        async with self.open() as models:
            for number, body in enumerate((b"", bytes(range(256)) * 12_000, b"\x00")):
                at = NOW + timedelta(seconds=number)
                await models.save(ModelInfo(at, 1, 1, 1), "v\x00\ud800", body)
                assert await models.body(at) == body

    @clause
    async def test_1_concurrent_saves_leave_one_complete_model(self) -> None:
        async with self.open() as models:
            bodies = {NOW + timedelta(seconds=n): bytes([n]) * 300_000 for n in range(5)}
            await asyncio.gather(
                *(models.save(ModelInfo(at, 1, 1, 1), str(body[:1]), body) for at, body in bodies.items())
            )
            found = await models.current()
            assert found == (ModelInfo(max(bodies), 1, 1, 1), str(bodies[max(bodies)][:1]))
            assert await models.body(max(bodies)) == bodies[max(bodies)]
